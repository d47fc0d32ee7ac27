//! The linear "maximum likelihood" loss: minus the probability of the correct label.
//!
//! With p = input, y = target: loss = -(y p + (1 - y)(1 - p)), gradient = 1 - 2 y, Hessian = 0.

use super::element::{AnyFormula, Element};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::{Formula, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Pack, Real};

/// The linear "maximum likelihood" loss: minus the mean probability of the correct label.
///
/// ```text
/// p = input, y = target
/// loss = -(y p + (1 - y)(1 - p))        gradient = 1 - 2 y        Hessian = 0
/// ```
///
/// The mean divides by the number of elements, with or without weights.
///
/// ```
/// use losskit::Likelihood;
/// let (p, y) = ([0.5f32, 0.9, 0.2, 0.6, 0.1], [1.0, 1.0, 0.0, 0.0, 0.0]);
/// let loss = Likelihood::new().mean(&p, &y)?;     // -(0.5 + 0.9 + 0.8 + 0.4 + 0.9) / 5
/// assert!((loss + 0.7).abs() < 1e-6);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {}

impl Likelihood {
    /// No options.
    pub const fn new() -> Self {
        Likelihood {}
    }
    pointwise_methods! { <T: Element> }
}

#[derive(Clone, Copy)]
pub struct Linear;

impl<T: Real> Formula<T> for Linear {
    type Wide = Self;
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let (p, y, one) = (input, target, input.c(1.0));
        let right = y.fma(p, (one - y) * (one - p));
        Terms { value: [-right, one], grad: p.or_nan(y.fma(p.c(-2.0), one)) }
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Pack<S, T> {
        let (p, y, one) = (input, target, input.c(1.0));
        let right = y.fma(p, (one - y) * (one - p));
        right.or_nan(p.c(0.0))
    }
}

impl<T: Element> PointwiseLoss<T> for Likelihood {
    fn formula(&self) -> Result<AnyFormula<T>, Error> {
        Ok(AnyFormula::Likelihood(Linear))
    }
    fn targets_are_labels(&self) -> bool {
        true
    }
}
