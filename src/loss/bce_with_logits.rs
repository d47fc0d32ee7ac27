//! Binary cross-entropy of logits.

use super::element::{Element, Work};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::pointwise::{Formula, Pointwise, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Pack, Pair, Real, exp_non_positive, log1p_fraction};

/// Binary cross-entropy of logits (PyTorch's `binary_cross_entropy_with_logits`).
///
/// ```text
/// x = input, y = target, w = pos_weight, sigma(x) = 1 / (1 + e^-x)
/// loss     = w y log(1 + e^-x) + (1 - y) log(1 + e^x)
/// gradient = (1 - y) sigma(x) - w y sigma(-x)
/// Hessian  = (w y + 1 - y) sigma(x) sigma(-x)
/// ```
///
/// Nothing overflows, and saturated logits keep their gradient: e^-|x| is the only exponential. Targets
/// may be soft. The mean divides by the number of elements, weighted or not.
///
/// ```
/// use losskit::BceWithLogits;
/// let mut grad = [0.0f32; 2];
/// let loss = BceWithLogits::new().mean_with_grad(&[0.0, 50.0], &[1.0, 1.0], &mut grad)?;
/// assert_eq!(loss, 0.5 * std::f32::consts::LN_2);
/// assert!(grad[0] == -0.25 && grad[1] < 0.0);
///
/// let weights = [1.0f32, 3.0];        // one for each label
/// let loss = BceWithLogits::new().pos_weight(&weights).mean(&[0.0; 4], &[1.0; 4])?;
/// assert_eq!(loss, 2.0 * std::f32::consts::LN_2);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BceWithLogits<'a, T> {
    pos_weight: &'a [T],
}

impl<'a, T> BceWithLogits<'a, T> {
    /// No positive weights.
    pub const fn new() -> Self {
        BceWithLogits { pos_weight: &[] }
    }
    /// Weights of the positive term: one for all elements, or one for each label, repeating along the
    /// input, `[samples][labels]`. The input's length must be a multiple of their number, else calls give
    /// [`Error::LengthMismatch`].
    pub const fn pos_weight(mut self, weights: &'a [T]) -> Self {
        self.pos_weight = weights;
        self
    }
}

impl<T> Default for BceWithLogits<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Element> BceWithLogits<'_, T> {
    pointwise_methods! {}
}

#[derive(Clone, Copy)]
pub struct Logistic;

impl<T: Real> Formula<T> for Logistic {
    const HAS_PARAMETER: bool = true;

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, pos_weight: Pack<S, T>) -> Terms<S, T> {
        let (x, y, one, zero) = (input, target, input.c(1.0), input.c(0.0));
        let size = x.abs();
        let e = exp_non_positive(-size);
        let (positive, negative) = (y * pos_weight, one - y);
        // log(1 + e^-x) = max(-x, 0) + log(1 + e^-|x|), and likewise for x: one maximum is 0
        let below = x.lt(zero);
        let (share, other) = (below.select(positive, negative), below.select(negative, positive));
        // a share of 0 takes nothing, not even of infinity
        let linear = share.same(zero).drop(share * size);
        let both = y.fma(pos_weight, negative);
        let denominator = one + e;
        let inverse = Pair { hi: denominator, lo: e - (denominator - one) }.recip();
        Terms {
            value: [both.fma(log1p_fraction(e), linear), one],
            // (1 - y) sigma(x) - w y sigma(-x): the larger sigma is 1 / (1 + e), the other e times that
            grad: ((-e).fma(other, share) / denominator).times_sign_of(x + zero),
            hess: inverse.mul(inverse).scale(e).scale(both).round(),
        }
    }
}

impl<T: Element> PointwiseLoss<T> for BceWithLogits<'_, T> {
    type Formula = Logistic;
    fn work<'a>(call: &'a Pointwise<'a, T, Logistic>) -> Work<'a, T> {
        Work::BceWithLogits(call)
    }
    fn formula(&self) -> Result<Logistic, Error> {
        Ok(Logistic)
    }
    fn parameter(&self) -> &[T] {
        self.pos_weight
    }
}
