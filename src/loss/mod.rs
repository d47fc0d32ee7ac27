//! One file for each loss: options, formula, semantics.

mod bce;
mod bce_with_logits;
mod classes;
mod cross_entropy;
mod distillation;
mod element;
mod entropy;
mod huber;
mod l1;
mod likelihood;
#[cfg(feature = "linear")]
mod linear_cross_entropy;
mod mse;
mod nll;
mod pointwise;
mod selective_log_softmax;
mod smooth_l1;
mod softmax;
mod softmax_state;
mod td;

pub use bce::Bce;
pub use bce_with_logits::BceWithLogits;
pub use cross_entropy::CrossEntropy;
#[cfg(feature = "capi")]
pub(crate) use cross_entropy::CrossEntropyInputs;
pub use distillation::Distillation;
#[cfg(feature = "capi")]
pub(crate) use distillation::DistillationInputs;
pub use element::Element;
pub use entropy::Entropy;
pub use huber::Huber;
pub use l1::L1;
pub use likelihood::Likelihood;
#[cfg(feature = "linear")]
pub use linear_cross_entropy::{LinearCrossEntropy, LinearInputs, LinearOutputs};
pub use mse::Mse;
pub use nll::Nll;
#[cfg(feature = "capi")]
pub(crate) use nll::NllInputs;
#[cfg(feature = "capi")]
pub(crate) use pointwise::{Operands, PointwiseLoss, check_parameter, evaluate as evaluate_pointwise};
pub use selective_log_softmax::{SelectiveLogSoftmax, TokenGrads, TokenOutputs};
#[cfg(feature = "capi")]
pub(crate) use selective_log_softmax::{TokenGradViews, TokenOutputViews};
pub use smooth_l1::SmoothL1;
pub use softmax::{LogSoftmax, Softmax};
pub use softmax_state::ClassChunk;
#[cfg(feature = "capi")]
pub(crate) use softmax_state::{CheckedChunk, finish as finish_states, merge as merge_states};
#[cfg(feature = "capi")]
pub(crate) use td::TdViews;
pub use td::{Td, TdInputs};
