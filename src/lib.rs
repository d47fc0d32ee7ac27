//! Loss functions and their gradients for batches of data, on CPUs.
//!
//! One call computes the loss and its gradient, with AVX-512, AVX2 or NEON instructions, on all cores. The loss of a
//! sample is within 3 units in the last place of the exact value. Results are bit-identical on all CPUs and with any
//! number of threads. (The one exception is `LinearCrossEntropy`, which contains matrix products.)
//!
//! The crate works on slices of `f32` and `f64`. It has no tensors, no automatic differentiation and no GPU code.
//!
//! # A first program
//!
//! ```
//! use losskit::{ClassShape, CrossEntropy, Targets};
//!
//! let logits = [2.0f32, 1.0, 0.1, 0.5, 2.5, 0.0]; // two samples, three classes
//! let mut grad = [0.0; 6];
//! let shape = ClassShape::rows(2, 3);
//! let loss = CrossEntropy::new().mean_with_grad(shape, &logits, Targets::I32(&[0, 1]), &mut grad)?;
//! assert!((loss - 0.3069).abs() < 5e-5 && (grad[0] + 0.1705).abs() < 5e-5);
//! # Ok::<(), losskit::Error>(())
//! ```
//!
//! Every loss has `mean` and `mean_with_grad` for this, or an `eval` that takes all options. `eval` is called with a
//! [`Context`] (threads and instruction set), [`Options`] (reduction, scale of the gradient and others) and [`Outputs`]
//! (the arrays that are wanted). Here `eval_in_place` overwrites the input with its gradient, and the mean over two
//! batches is accumulated in a [`Cost`]:
//!
//! ```
//! use losskit::{Context, Cost, Mse, Options, Outputs};
//!
//! let (context, options, mut cost) = (Context::default(), Options::new().grad_scale(0.5), Cost::new());
//! let (mut outputs, targets) = ([0.5f32, 3.0, 2.0], [1.0, 1.0, 0.0]);
//! for (outputs, targets) in outputs.chunks_mut(2).zip(targets.chunks(2)) {
//!     Mse::new().eval_in_place(&context, outputs, targets, None, &options, Outputs::new().cost(&mut cost))?;
//! }
//! assert_eq!(cost.mean(), 2.75);
//! assert_eq!(outputs, [-0.25, 1.0, 2.0]);
//! # Ok::<(), losskit::Error>(())
//! ```
//!
//! # In your `Cargo.toml`
//!
//! ```toml
//! [dependencies]
//! losskit = { path = "../losskit" }
//!
//! [profile.dev.package.losskit]
//! opt-level = 3
//! debug-assertions = false
//! ```
//!
//! The last three lines have losskit optimised in debug builds. Cargo ignores the profiles in the `Cargo.toml` of a
//! dependency, and without optimisation the library is slower than a loop written by hand. Release builds need no
//! settings. Rust 1.88 is the oldest supported version.
//!
//! | feature | | default |
//! | --- | --- | --- |
//! | `std` | environment variables, and detection of the CPU by the standard library | yes |
//! | `rayon` | several threads | yes |
//! | `linear` | `LinearCrossEntropy`, with the gemm crate's matrix products; needs `std` | |
//! | `capi` | the C ABI, `lk_*` symbols; includes `linear`; refuses to compile with `panic = "abort"` | |
//!
//! Without default features the crate is `no_std` and runs on the caller's thread alone.
//!
//! # Losses
//!
//! | | PyTorch |
//! | --- | --- |
//! | [`Mse`] | `mse_loss` |
//! | [`L1`] | `l1_loss` |
//! | [`Huber`] | `huber_loss` |
//! | [`SmoothL1`] | `smooth_l1_loss` |
//! | [`Bce`] | `binary_cross_entropy` |
//! | [`BceWithLogits`] | `binary_cross_entropy_with_logits` |
//! | [`Likelihood`] | |
//! | [`Nll`] | `nll_loss` |
//! | [`CrossEntropy`] | `cross_entropy` |
//! | [`Softmax`], [`LogSoftmax`] | `softmax`, `log_softmax` |
//! | [`SelectiveLogSoftmax`] | TRL's `selective_log_softmax` |
//! | [`Entropy`] | `Categorical(logits=x).entropy()` |
//! | [`Distillation`] | `kl_div` |
//! | [`SoftmaxState`], [`ChunkedCrossEntropy`]: classes that come in chunks | |
//! | `LinearCrossEntropy` (feature `linear`) | `linear_cross_entropy` |
//! | [`Td`]: Q-learning | |
//! | [`Cost`]: the mean over a data set | |
//!
//! # From C and C++
//!
//! The library has a C ABI with the headers `losskit.h` and `losskit.hpp`; `README.md` begins with a program in C. The
//! pages in `docs/` of the repository describe accuracy, speed, threads, the differences from PyTorch, and how to use a
//! loss in an autograd engine.

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

/// The Rust programs of the README and of the pages in docs/, which rustdoc runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/options.md")]
#[doc = include_str!("../docs/autograd.md")]
struct Pages;
