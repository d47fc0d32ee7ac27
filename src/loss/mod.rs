//! One file for each loss: options, formula, semantics.

mod bce;
mod bce_with_logits;
mod huber;
mod l1;
mod likelihood;
mod mse;
mod pointwise;
mod smooth_l1;

pub use bce::Bce;
pub use bce_with_logits::BceWithLogits;
pub use huber::Huber;
pub use l1::L1;
pub use likelihood::Likelihood;
pub use mse::Mse;
pub(crate) use pointwise::{Operands, PointwiseLoss, evaluate as evaluate_pointwise};
pub use smooth_l1::SmoothL1;
