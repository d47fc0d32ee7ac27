//! Smooth L1 (Girshick, 2015; PyTorch's smooth_l1_loss): huber with delta = beta, divided by beta.
//!
//! With d = input - target:
//!
//! - where |d| < beta: loss = d^2 / (2 beta), gradient = d / beta, Hessian = 1 / beta
//! - elsewhere: loss = |d| - beta / 2, gradient = sign(d), Hessian = 0
//!
//! With beta = 0 the loss is that of l1.
//!
//! `beta` must not be negative, otherwise the call returns LK_INVALID_BETA. It may be infinite; loss and gradient are
//! then 0 for every d.

use super::element::{AnyFormula, Element};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::{Formula, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Pack, Real, splat};

/// Smooth L1 (Girshick, 2015; PyTorch's `smooth_l1_loss`): `huber(delta = beta) / beta`.
///
/// ```text
/// d = input - target
/// loss     = d^2 / (2 beta)    where |d| < beta,    |d| - beta / 2    elsewhere
/// gradient = d / beta          where |d| < beta,    sign(d)           elsewhere
/// Hessian  = 1 / beta          where |d| < beta,    0                 elsewhere
/// ```
///
/// With beta = 0 this is [`L1`](crate::L1). With an infinite beta, loss and gradient are 0 for every d. The mean
/// divides by the number of elements, with or without weights. Beta is rounded to the element type.
///
/// ```
/// use losskit::SmoothL1;
/// let mut grad = [0.0f32; 2];
/// let loss = SmoothL1::new(2.0).mean_with_grad(&[1.0, 5.0], &[0.0, 0.0], &mut grad)?;
/// assert_eq!((loss, grad), ((0.25 + 4.0) / 2.0, [0.25, 0.5]));
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SmoothL1 {
    beta: f64,
}

impl SmoothL1 {
    /// `beta` is the difference up to which the loss is quadratic. It must not be negative, otherwise calls return
    /// [`Error::InvalidBeta`]. It may be infinite.
    pub const fn new(beta: f64) -> Self {
        SmoothL1 { beta }
    }
    pointwise_methods! { <T: Element> }
}

/// Beta 1, as in PyTorch.
impl Default for SmoothL1 {
    fn default() -> Self {
        Self::new(1.0)
    }
}

#[derive(Clone, Copy)]
pub struct Smooth<T> {
    /// Beta. A beta of 0 is replaced by the smallest positive number, so that every other difference is beyond it.
    beta: T,
    /// The Hessian for differences less than beta.
    curvature: T,
    /// -1/2; 0 for a beta of 0.
    minus_half: T,
    /// The limit of |d|, which is infinity. If beta is infinite, it is the largest finite number instead, because the
    /// loss is then 0 for every d.
    largest: T,
}

impl<T: Real> Formula<T> for Smooth<T> {
    type Wide = Smooth<f64>;
    fn wide(self) -> Smooth<f64> {
        Smooth::new(if self.minus_half == T::ZERO { 0.0 } else { self.beta.to_f64() })
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let d = input - target;
        let (size, beta) = (d.abs().at_most(splat(d.s, self.largest)), splat(d.s, self.beta));
        let inner = size.at_most(beta);
        let slope = inner / beta;
        Terms { value: [slope, inner.fma(splat(d.s, self.minus_half), size)], grad: slope.times_sign_of(d) }
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Pack<S, T> {
        let d = input - target;
        let inner = d.abs().lt(splat(d.s, self.beta));
        d.or_nan(inner.select(splat(d.s, self.curvature), d.c(0.0)))
    }
}

impl<T: Real> Smooth<T> {
    /// The formula with a beta that is not negative.
    fn new(beta: T) -> Self {
        if beta == T::ZERO {
            let (curvature, minus_half) = (T::ZERO, T::ZERO);
            return Smooth { beta: T::SMALLEST, curvature, minus_half, largest: T::INFINITY };
        }
        let largest = if beta == T::INFINITY { T::MAX } else { T::INFINITY };
        Smooth { beta, curvature: T::from_f64(1.0) / beta, minus_half: T::from_f64(-0.5), largest }
    }
}

impl<T: Element> PointwiseLoss<T> for SmoothL1 {
    fn formula(&self) -> Result<AnyFormula<T>, Error> {
        if self.beta >= 0.0 {
            Ok(AnyFormula::SmoothL1(Smooth::new(T::from_f64(self.beta))))
        } else {
            Err(Error::InvalidBeta { value: self.beta })
        }
    }
}
