//! One file for each access pattern; a loss is a formula that one of them evaluates.

pub mod batches;
#[cfg(feature = "linear")]
pub mod bias;
pub mod class_backward;
mod class_columns;
mod class_rows;
pub mod copied;
pub mod correct;
pub mod distillation;
#[doc(hidden)]
pub mod elementary;
pub mod formula;
pub mod gather;
mod log_ratio;
pub mod pointwise;
pub mod softmax;
pub mod softmax_state;
pub mod softmax_state_gradient;
pub mod softmax_state_spread;
mod softmax_wide;
pub mod targets;
pub mod tokens;
pub mod wide;
