//! The element types, and the only way from losses to kernels.

use super::table::for_pointwise_losses;
use crate::context::Context;
#[cfg(feature = "linear")]
use crate::kernel::bias::{ColumnSums, Spread};
use crate::kernel::class_backward::Backward;
use crate::kernel::distillation::Distillation;
use crate::kernel::formula::{Formula, Stages};
use crate::kernel::gather::{self, Gather};
use crate::kernel::pointwise::{self, Pointwise};
use crate::kernel::softmax::{self, Softmax};
use crate::kernel::softmax_state::{Finish, Update};
use crate::kernel::softmax_state_gradient::Gradient;
use crate::kernel::tokens::{TokenGradient, TokenStats};
use crate::parallel::{self, Partial};
use crate::simd::{Environment, Real};

/// An element type: `f32` or `f64`. Sealed.
#[allow(private_interfaces)]
pub trait Element: Real {
    #[doc(hidden)]
    fn reduce(here: Environment, context: &Context, work: Work<'_, Self>) -> Partial;
}

/// One of the formulas of the losses of independent elements.
macro_rules! formulas {
    ($($file: ident $Loss: ident ($formula: ident $(<$t: ident>)?) $arguments: tt $input: ident;)*) => {
        #[derive(Clone, Copy)]
        pub(crate) enum AnyFormula<T> {
            $($Loss(super::$file::$formula $(<$t>)?),)*
        }

        impl<T: Real> AnyFormula<T> {
            pub(crate) fn factor(&self) -> f64 {
                match self {
                    $(Self::$Loss(_) => <super::$file::$formula $(<$t>)? as Formula<T>>::FACTOR,)*
                }
            }

            fn stages(&self) -> &dyn Stages<T> {
                match self {
                    $(Self::$Loss(formula) => formula,)*
                }
            }
        }
    };
}
for_pointwise_losses! { formulas }

/// A call of any kernel.
///
/// Public functions are generic over the element type, so they are compiled in the crate that calls them. This enum
/// ends that: kernels are compiled in this crate, once for each type.
pub(crate) enum Work<'a, T> {
    Pointwise(AnyFormula<T>, &'a Pointwise<'a, T>),
    #[cfg(feature = "linear")]
    BiasRows(&'a Spread<'a, T>),
    #[cfg(feature = "linear")]
    BiasSums(&'a ColumnSums<'a, T>),
    Nll(&'a Gather<'a, T, gather::Nll<'a, T>>),
    Softmax(&'a Softmax<'a, T>),
    SoftmaxBackward(&'a Backward<'a, T>),
    Distillation(&'a Distillation<'a, T>),
    StateUpdate(&'a Update<'a, T>),
    StateFinish(&'a Finish<'a, T>),
    StateGradient(&'a Gradient<'a, T>),
    Td(AnyFormula<T>, &'a Gather<'a, T, gather::Td<'a, T>>),
    TokenStats(&'a TokenStats<'a, T>),
    TokenGradient(&'a TokenGradient<'a, T>),
}

impl<T: Real> Work<'_, T> {
    fn reduce(self, here: Environment, context: &Context) -> Partial {
        match self {
            Work::Pointwise(formula, call) => {
                parallel::reduce(here, context, &pointwise::Evaluation { formula: formula.stages(), call })
            }
            #[cfg(feature = "linear")]
            Work::BiasRows(call) => parallel::reduce(here, context, call),
            #[cfg(feature = "linear")]
            Work::BiasSums(call) => parallel::reduce(here, context, call),
            Work::Nll(call) => {
                parallel::reduce(here, context, &gather::Evaluation { formula: &gather::Negative, call })
            }
            Work::Softmax(call) => softmax::run(here, context, call),
            Work::SoftmaxBackward(call) => parallel::reduce(here, context, call),
            Work::Distillation(call) => parallel::reduce(here, context, call),
            Work::StateUpdate(call) => parallel::reduce(here, context, call),
            Work::StateFinish(call) => parallel::reduce(here, context, call),
            Work::StateGradient(call) => parallel::reduce(here, context, call),
            Work::Td(formula, call) => {
                parallel::reduce(here, context, &gather::Evaluation { formula: formula.stages(), call })
            }
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
