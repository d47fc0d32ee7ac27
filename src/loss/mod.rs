//! One file for each loss: options, formula, semantics.

mod table;

pub(crate) use table::for_pointwise_losses;

/// The files of the losses of independent elements, and their types under one name.
macro_rules! modules {
    ($($file: ident $Loss: ident $formula: tt $arguments: tt $input: ident;)*) => {
        $(mod $file;)*

        /// The losses of independent elements.
        pub mod pointwise_losses {
            $(pub use super::$file::$Loss;)*
        }
    };
}
for_pointwise_losses! { modules }

mod classes;
mod cross_entropy;
mod distillation;
mod element;
mod entropy;
#[cfg(feature = "linear")]
mod linear_cross_entropy;
mod nll;
mod pointwise;
mod selective_log_softmax;
mod softmax;
mod softmax_state;
mod td;

pub use cross_entropy::CrossEntropy;
#[cfg(feature = "capi")]
pub(crate) use cross_entropy::CrossEntropyInputs;
pub use distillation::Distillation;
#[cfg(feature = "capi")]
pub(crate) use distillation::DistillationInputs;
pub use element::Element;
pub use entropy::Entropy;
#[cfg(feature = "linear")]
pub use linear_cross_entropy::{LinearCrossEntropy, LinearInputs, LinearOutputs};
pub use nll::Nll;
#[cfg(feature = "capi")]
pub(crate) use nll::NllInputs;
#[cfg(feature = "capi")]
pub(crate) use pointwise::{Operands, PointwiseLoss, check_parameter, evaluate as evaluate_pointwise};
pub use selective_log_softmax::{SelectiveLogSoftmax, TokenGrads, TokenOutputs};
#[cfg(feature = "capi")]
pub(crate) use selective_log_softmax::{TokenGradViews, TokenOutputViews};
pub use softmax::{LogSoftmax, Softmax};
#[cfg(feature = "capi")]
pub(crate) use softmax_state::{CheckedChunk, ChunkInput, merge as merge_states};
pub use softmax_state::{ChunkedCrossEntropy, ClassChunk};
#[cfg(feature = "capi")]
pub(crate) use td::TdViews;
pub use td::{Td, TdInputs};
