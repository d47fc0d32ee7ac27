//! Mean squared error (PyTorch's mse_loss).
//!
//! With d = input - target: loss = d^2, gradient = 2 d, Hessian = 2.

use super::element::{AnyFormula, Element};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::{Formula, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Pack, Real};

/// Mean squared error (PyTorch's `mse_loss`).
///
/// ```text
/// d = input - target        loss = d^2        gradient = 2 d        Hessian = 2
/// ```
///
/// The mean divides by the number of elements, with or without weights. In Q-learning, `target` is `r + gamma max Q(s',
/// a')`; [`Td`](crate::Td) computes this target too.
///
/// ```
/// use losskit::Mse;
/// let mut grad = [0.0f32; 2];
/// let loss = Mse::new().mean_with_grad(&[1.0, 2.0], &[0.0, 5.0], &mut grad)?;
/// assert_eq!((loss, grad), (5.0, [1.0, -3.0]));
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mse {}

impl Mse {
    /// No options.
    pub const fn new() -> Self {
        Mse {}
    }
    pointwise_methods! { <T: Element> }
}

#[derive(Clone, Copy)]
pub struct Square;

impl<T: Real> Formula<T> for Square {
    type Wide = Self;
    const FACTOR: f64 = 2.0;

    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let d = input - target;
        Terms { value: [d, d], grad: d }
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Pack<S, T> {
        let d = input - target;
        d.or_nan(d.c(1.0))
    }
}

impl<T: Element> PointwiseLoss<T> for Mse {
    fn formula(&self) -> Result<AnyFormula<T>, Error> {
        Ok(AnyFormula::Mse(Square))
    }
}
