//! Huber's loss (Huber, 1964; PyTorch's huber_loss).
//!
//! With d = input - target:
//!
//! - where |d| <= delta: loss = d^2 / 2, gradient = d, Hessian = 1
//! - elsewhere: loss = delta (|d| - delta / 2), gradient = delta sign(d), Hessian = 0
//!
//! `delta` must be greater than 0, otherwise the call returns LK_INVALID_DELTA. It may be infinite; the loss is then
//! d^2 / 2 everywhere.

use super::element::{AnyFormula, Element};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::{Formula, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Mask, Pack, Real, splat};

/// Huber's loss (Huber, 1964; PyTorch's `huber_loss`).
///
/// ```text
/// d = input - target
/// loss     = d^2 / 2                    where |d| <= delta,    delta (|d| - delta / 2)  elsewhere
/// gradient = d                          where |d| <= delta,    delta sign(d)            elsewhere
/// Hessian  = 1                          where |d| <= delta,    0                        elsewhere
/// ```
///
/// The loss is half the squared error up to delta and linear beyond it, which limits the influence of outliers. With an
/// infinite delta it is half the squared error everywhere. The mean divides by the number of elements, with or without
/// weights. Delta is rounded to the element type.
///
/// ```
/// use losskit::Huber;
/// let mut grad = [0.0f32; 2];
/// let loss = Huber::new(1.0).mean_with_grad(&[0.5, 3.0], &[0.0, 0.0], &mut grad)?;
/// assert_eq!((loss, grad), ((0.125 + 2.5) / 2.0, [0.25, 0.5]));
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Huber {
    delta: f64,
}

impl Huber {
    /// `delta` is the difference up to which the loss is quadratic. It must be greater than 0, otherwise calls return
    /// [`Error::InvalidDelta`]. It may be infinite.
    pub const fn new(delta: f64) -> Self {
        Huber { delta }
    }
    pointwise_methods! { <T: Element> }
}

/// Delta 1, as in PyTorch.
impl Default for Huber {
    fn default() -> Self {
        Self::new(1.0)
    }
}

#[derive(Clone, Copy)]
pub struct Hub<T> {
    pub delta: T,
}

impl<T: Real> Hub<T> {
    /// Delta in the element type, if it is valid there.
    pub fn new(delta: f64) -> Result<Self, Error> {
        let rounded = T::from_f64(delta);
        if rounded > T::from_f64(0.0) { Ok(Hub { delta: rounded }) } else { Err(Error::InvalidDelta { value: delta }) }
    }
}

impl<T: Real> Formula<T> for Hub<T> {
    type Wide = Hub<f64>;
    const HAS_USUAL_CASE: bool = true;

    fn wide(self) -> Hub<f64> {
        Hub { delta: self.delta.to_f64() }
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let Terms { value: [inner, outer], grad } = self.near(input, target);
        // if d overflows, |d| - inner / 2 is split into its terms, because its product with delta may still be finite
        let is_far = self.is_unusual(input, target);
        let far = inner.fma(input.abs(), inner * target.abs());
        // this is NaN if delta is infinite and the input or the target is 0
        let far = far.same(far).select(far, input.c(f64::INFINITY));
        Terms { value: [is_far.select(far, inner), is_far.select(input.c(1.0), outer)], grad }
    }

    #[inline(always)]
    fn is_unusual<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>) -> Mask<S, T> {
        (input - target).abs().same(input.c(f64::INFINITY))
    }

    #[inline(always)]
    fn usual_terms<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        let [input, target, _] = operands[0];
        let mut all = [self.near(input, target); N];
        for i in 1..N {
            let [input, target, _] = operands[i];
            all[i] = self.near(input, target);
        }
        all
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Pack<S, T> {
        let d = input - target;
        d.or_nan(d.abs().le(splat(d.s, self.delta)).select(d.c(1.0), d.c(0.0)))
    }
}

impl<T: Real> Hub<T> {
    /// The terms of a finite d.
    #[inline(always)]
    fn near<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>) -> Terms<S, T> {
        let d = input - target;
        let size = d.abs();
        let inner = size.at_most(splat(d.s, self.delta));
        Terms { value: [inner, inner.fma(d.c(-0.5), size)], grad: inner.times_sign_of(d) }
    }
}

impl<T: Element> PointwiseLoss<T> for Huber {
    fn formula(&self) -> Result<AnyFormula<T>, Error> {
        Hub::new(self.delta).map(AnyFormula::Huber)
    }
}
