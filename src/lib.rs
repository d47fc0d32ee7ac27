#![cfg_attr(not(feature = "std"), no_std)]
#[doc(hidden)]
pub mod simd;
pub use simd::Isa;
