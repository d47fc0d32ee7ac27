//! Absolute error (PyTorch's l1_loss).
//!
//! With d = input - target: loss = |d|, gradient = sign(d) (0 at 0), Hessian = 0.

use super::element::{AnyFormula, Element};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::{Formula, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Pack, Real};

/// Absolute error (PyTorch's `l1_loss`).
///
/// ```text
/// d = input - target        loss = |d|        gradient = sign(d), 0 at d = 0        Hessian = 0
/// ```
///
/// The mean divides by the number of elements, with or without weights.
///
/// ```
/// use losskit::L1;
/// let mut grad = [0.0f64; 4];
/// let loss = L1::new().mean_with_grad(&[1.0, 2.0, 0.0, 7.0], &[0.0, 5.0, 0.0, 7.0], &mut grad)?;
/// assert_eq!((loss, grad), (1.0, [0.25, -0.25, 0.0, 0.0]));
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct L1 {}

impl L1 {
    /// No options.
    pub const fn new() -> Self {
        L1 {}
    }
    pointwise_methods! { <T: Element> }
}

#[derive(Clone, Copy)]
pub struct Absolute;

impl<T: Real> Formula<T> for Absolute {
    type Wide = Self;
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let d = input - target;
        let zero = d.c(0.0);
        let sign = zero.lt(d).select(d.c(1.0), d.lt(zero).select(d.c(-1.0), d));
        Terms { value: [d.abs(), d.c(1.0)], grad: sign }
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Pack<S, T> {
        let d = input - target;
        d.or_nan(d.c(0.0))
    }
}

impl<T: Element> PointwiseLoss<T> for L1 {
    fn formula(&self) -> Result<AnyFormula<T>, Error> {
        Ok(AnyFormula::L1(Absolute))
    }
}
