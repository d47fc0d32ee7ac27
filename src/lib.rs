#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod context;
mod cost;
mod error;
mod factor;
#[cfg(feature = "capi")]
#[allow(unsafe_code, missing_docs)]
mod ffi;
#[cfg(feature = "rayon")]
mod fork;
mod indices;
mod kernel;
mod loss;
mod options;
mod parallel;
mod shape;
#[allow(unsafe_code, missing_docs)]
mod simd;
mod softmax_state;

pub use context::Context;
pub use cost::Cost;
pub use error::Error;
pub use indices::{Indices, Targets};
#[doc(hidden)]
pub use kernel::elementary::Function as ElementaryFunction;
pub use loss::pointwise_losses::*;
pub use loss::{
    ChunkedCrossEntropy, ClassChunk, CrossEntropy, Distillation, Element, Entropy, LogSoftmax, Nll,
    SelectiveLogSoftmax, Softmax, Td, TdInputs, TokenGrads, TokenOutputs,
};
#[cfg(feature = "linear")]
pub use loss::{LinearCrossEntropy, LinearInputs, LinearOutputs};
pub use options::{Options, Outputs, Summary};
pub use shape::{ClassShape, Reduction, Weights};
pub use simd::Isa;
#[doc(hidden)]
pub use simd::{fma_f32 as soft_fma, set_prefers_several_places};
pub use softmax_state::SoftmaxState;

/// The Rust programs of the pages in docs/, which rustdoc runs as it does those of the README.
#[cfg(doctest)]
#[doc = include_str!("../docs/autograd.md")]
struct Pages;
