#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(test, allow(dead_code))]

mod context;
mod cost;
mod error;
// Unit tests link the library beside themselves, whose symbols these would be once more.
#[cfg(all(feature = "capi", not(test)))]
#[allow(unsafe_code, missing_docs)]
mod ffi;
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
#[doc(hidden)]
pub use kernel::elementary::Function as ElementaryFunction;
pub use loss::{
    Bce, BceWithLogits, ClassChunk, CrossEntropy, Distillation, Element, Entropy, Huber, L1, Likelihood, LogSoftmax,
    Mse, Nll, SelectiveLogSoftmax, SmoothL1, Softmax, Td, TdInputs, TokenGrads, TokenOutputs,
};
#[cfg(feature = "linear")]
pub use loss::{LinearCrossEntropy, LinearInputs, LinearOutputs};
pub use options::{Options, Outputs, Summary};
pub use shape::{ClassShape, Indices, Reduction, Targets, Weights};
pub use simd::Isa;
pub use softmax_state::SoftmaxState;

#[cfg(all(test, not(debug_assertions)))]
extern crate self as losskit;

#[cfg(all(test, not(debug_assertions)))]
#[path = "../tests/large_arrays.rs"]
mod large_arrays;
#[cfg(all(test, not(debug_assertions)))]
mod widths;
