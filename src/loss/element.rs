//! The element types, and the one door from losses to kernels.

use super::bce::Logs;
use super::bce_with_logits::Logistic;
use super::huber::Hub;
use super::l1::Absolute;
use super::likelihood::Linear;
use super::mse::Square;
use super::smooth_l1::Smooth;
use crate::context::Context;
#[cfg(feature = "linear")]
use crate::kernel::bias::{ColumnSums, Spread};
use crate::kernel::class_backward::Backward;
use crate::kernel::distillation::Distillation;
use crate::kernel::gather::{Gather, Nll, Td};
use crate::kernel::pointwise::Pointwise;
use crate::kernel::softmax::{self, Softmax};
use crate::kernel::softmax_state::{Finish, Gradient, Update};
use crate::kernel::tokens::{TokenGradient, TokenStats};
use crate::parallel::{self, Partial};
use crate::simd::{Environment, Real};

/// An element type: `f32` or `f64`. Sealed.
#[allow(private_interfaces)]
pub trait Element: Real {
    #[doc(hidden)]
    fn reduce(here: Environment, context: &Context, work: Work<'_, Self>) -> Partial;
}

/// A call of any kernel.
///
/// Public functions are generic over the element type, so whoever calls them compiles them. This is
/// where that ends: kernels are compiled in this crate, once for each type.
pub(crate) enum Work<'a, T> {
    Bce(&'a Pointwise<'a, T, Logs>),
    BceWithLogits(&'a Pointwise<'a, T, Logistic>),
    Huber(&'a Pointwise<'a, T, Hub<T>>),
    L1(&'a Pointwise<'a, T, Absolute>),
    Likelihood(&'a Pointwise<'a, T, Linear>),
    Mse(&'a Pointwise<'a, T, Square>),
    SmoothL1(&'a Pointwise<'a, T, Smooth<T>>),
    #[cfg(feature = "linear")]
    BiasRows(&'a Spread<'a, T>),
    #[cfg(feature = "linear")]
    BiasSums(&'a ColumnSums<'a, T>),
    Nll(&'a Gather<'a, T, Nll<'a, T>>),
    Softmax(&'a Softmax<'a, T>),
    SoftmaxBackward(&'a Backward<'a, T>),
    Distillation(&'a Distillation<'a, T>),
    StateUpdate(&'a Update<'a, T>),
    StateFinish(&'a Finish<'a, T>),
    StateGradient(&'a Gradient<'a, T>),
    TdMse(&'a Gather<'a, T, Td<'a, T, Square>>),
    TdHuber(&'a Gather<'a, T, Td<'a, T, Hub<T>>>),
    TokenStats(&'a TokenStats<'a, T>),
    TokenGradient(&'a TokenGradient<'a, T>),
}

impl<T: Real> Work<'_, T> {
    fn reduce(self, here: Environment, context: &Context) -> Partial {
        match self {
            Work::Bce(call) => parallel::reduce(here, context, call),
            Work::BceWithLogits(call) => parallel::reduce(here, context, call),
            Work::Huber(call) => parallel::reduce(here, context, call),
            Work::L1(call) => parallel::reduce(here, context, call),
            Work::Likelihood(call) => parallel::reduce(here, context, call),
            Work::Mse(call) => parallel::reduce(here, context, call),
            Work::SmoothL1(call) => parallel::reduce(here, context, call),
            #[cfg(feature = "linear")]
            Work::BiasRows(call) => parallel::reduce(here, context, call),
            #[cfg(feature = "linear")]
            Work::BiasSums(call) => parallel::reduce(here, context, call),
            Work::Nll(call) => parallel::reduce(here, context, call),
            Work::Softmax(call) => softmax::run(here, context, call),
            Work::SoftmaxBackward(call) => parallel::reduce(here, context, call),
            Work::Distillation(call) => parallel::reduce(here, context, call),
            Work::StateUpdate(call) => parallel::reduce(here, context, call),
            Work::StateFinish(call) => parallel::reduce(here, context, call),
            Work::StateGradient(call) => parallel::reduce(here, context, call),
            Work::TdMse(call) => parallel::reduce(here, context, call),
            Work::TdHuber(call) => parallel::reduce(here, context, call),
            Work::TokenStats(call) => parallel::reduce(here, context, call),
            Work::TokenGradient(call) => parallel::reduce(here, context, call),
        }
    }
}

#[allow(private_interfaces)]
impl Element for f32 {
    fn reduce(here: Environment, context: &Context, work: Work<'_, f32>) -> Partial {
        work.reduce(here, context)
    }
}

#[allow(private_interfaces)]
impl Element for f64 {
    fn reduce(here: Environment, context: &Context, work: Work<'_, f64>) -> Partial {
        work.reduce(here, context)
    }
}
