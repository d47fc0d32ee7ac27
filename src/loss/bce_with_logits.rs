//! Binary cross-entropy of logits (PyTorch's binary_cross_entropy_with_logits).
//!
//! With x = input, y = target, w = pos_weight and sigma(x) = 1 / (1 + e^-x):
//!
//! - loss = w y log(1 + e^-x) + (1 - y) log(1 + e^x)
//! - gradient = (1 - y) sigma(x) - w y sigma(-x)
//! - Hessian = (w y + 1 - y) sigma(x) sigma(-x)
//!
//! `pos_weight` has `n_pos_weight` elements: 0 for none (`pos_weight` may be NULL; all weights are 1), 1 for the same
//! weight everywhere, or one for each label. The input is then [samples][labels][`params->inner`]. `inner` is 1 (also
//! if `params` is NULL) if each label is one element, and H * W for one weight for each channel of [N, C, H, W]. `n`
//! must be a multiple of `inner` times `n_pos_weight`, otherwise the call returns LK_LENGTH_MISMATCH. An infinite
//! weight has no effect where the target is 0; elsewhere loss and gradient are infinite, and the Hessian is NaN.

use super::element::{AnyFormula, Element};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::{Formula, Terms};
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
/// The only exponential is e^-|x|, so nothing overflows, and the gradient of saturated logits stays accurate. Targets
/// may be any number from 0 to 1. The mean divides by the number of elements, with or without weights.
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
    inner: usize,
}

impl<'a, T> BceWithLogits<'a, T> {
    /// No positive weights.
    pub const fn new() -> Self {
        BceWithLogits { pos_weight: &[], inner: 1 }
    }
    /// Weights of the positive term: one for all elements, or one for each label. Weights of labels repeat along the
    /// input, which is `[samples][labels]`. The length of the input must be a multiple of their number, otherwise calls
    /// return [`Error::LengthMismatch`]. An infinite weight has no effect where the target is 0; elsewhere loss and
    /// gradient are infinite, and the Hessian is NaN.
    pub const fn pos_weight(mut self, weights: &'a [T]) -> Self {
        self.pos_weight = weights;
        self
    }
    /// The number of consecutive elements that belong to the same label and share a positive weight. It is 1 by
    /// default; for `[N, C, H, W]` with one weight for each of the C channels it is H * W. The input is
    /// `[samples][labels][inner]`: element i has the weight (i / inner) mod the number of weights. If the length of the
    /// input is not a multiple of inner times the number of weights, calls return [`Error::LengthMismatch`].
    ///
    /// ```
    /// use losskit::BceWithLogits;
    /// let weights = [1.0f32, 3.0];                    // of two channels, of 1 by 2 pixels
    /// let loss = BceWithLogits::new().pos_weight(&weights).inner(2);
    /// assert_eq!(loss.mean(&[0.0; 4], &[1.0, 1.0, 1.0, 0.0])?, 1.5 * std::f32::consts::LN_2);
    /// # Ok::<(), losskit::Error>(())
    /// ```
    pub const fn inner(mut self, elements: usize) -> Self {
        self.inner = elements;
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
    type Wide = Self;
    const HAS_PARAMETER: bool = true;
    const IS_LONG: bool = true;

    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, x: Pack<S, T>, y: Pack<S, T>, pos_weight: Pack<S, T>) -> Terms<S, T> {
        let [terms] = self.terms_of_several([[x, y, pos_weight]]);
        terms
    }

    #[inline(always)]
    fn terms_of_several<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        let mut exp_and_log = operands;
        for i in 0..N {
            exp_and_log[i][0] = exp_non_positive(-operands[i][0].abs());
        }
        for [e, log, _] in &mut exp_and_log {
            *log = log1p_fraction(*e);
        }
        let mut all = [terms(operands[0], exp_and_log[0]); N];
        for i in 1..N {
            all[i] = terms(operands[i], exp_and_log[i]);
        }
        all
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, x: Pack<S, T>, y: Pack<S, T>, pos_weight: Pack<S, T>) -> Pack<S, T> {
        let (one, e) = (x.c(1.0), exp_non_positive(-x.abs()));
        let denominator = one + e;
        let inverse = Pair { hi: denominator, lo: e - (denominator - one) }.recip();
        inverse.mul(inverse).scale(e).scale(y.fma(pos_weight, one - y)).round()
    }
}

/// The terms, given e = e^-|x| and log(1 + e).
#[inline(always)]
fn terms<S: Lanes, T: Real>([x, y, pos_weight]: [Pack<S, T>; 3], [e, log, _]: [Pack<S, T>; 3]) -> Terms<S, T> {
    let (one, zero, size) = (x.c(1.0), x.c(0.0), x.abs());
    let (positive, negative) = (y * pos_weight, one - y);
    // log(1 + e^-x) = max(-x, 0) + log(1 + e^-|x|), and similarly for x; one of the two maxima is 0
    let below = x.lt(zero);
    let (share, other) = (below.select(positive, negative), below.select(negative, positive));
    // a share of 0 gives 0, even of infinity
    let linear = share.same(zero).drop(share * size);
    let both = y.fma(pos_weight, negative);
    Terms {
        value: [both.fma(log, linear), one],
        // (1 - y) sigma(x) - w y sigma(-x): the larger sigma is 1 / (1 + e), and the other is e times this
        grad: ((-e).fma(other, share) / (one + e)).times_sign_of(x + zero),
    }
}

impl<T: Element> PointwiseLoss<T> for BceWithLogits<'_, T> {
    fn formula(&self) -> Result<AnyFormula<T>, Error> {
        Ok(AnyFormula::BceWithLogits(Logistic))
    }
    fn parameter(&self) -> &[T] {
        self.pos_weight
    }
    fn parameter_run(&self) -> usize {
        self.inner
    }
    fn targets_are_labels(&self) -> bool {
        true
    }
}
