//! Binary cross-entropy of probabilities (PyTorch's binary_cross_entropy).
//!
//! With p = input, y = target and logarithms clamped at -100:
//!
//! - loss = -(y log p + (1 - y) log(1 - p))
//! - gradient = (p - y) / max(p (1 - p), 1e-12)
//! - Hessian = (y (1 - p)^2 + (1 - y) p^2) / max(p (1 - p), 1e-12)^2
//!
//! If an input lies outside of [0, 1], the results are NaN for this element and in a reduced loss, and the call returns
//! LK_INPUT_OUT_OF_DOMAIN. A NaN input gives NaN but not this status. Targets may be any number from 0 to 1.

use super::element::{AnyFormula, Element};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::{Formula, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Mask, Pack, Pair, Real, fraction_or_complement, log_complement, log_fraction};

/// Binary cross-entropy of probabilities (PyTorch's `binary_cross_entropy`).
///
/// ```text
/// p = input, y = target, logs clamped at -100
/// loss     = -(y log p + (1 - y) log(1 - p))
/// gradient = (p - y) / max(p (1 - p), 1e-12)
/// Hessian  = (y (1 - p)^2 + (1 - y) p^2) / max(p (1 - p), 1e-12)^2
/// ```
///
/// If an input lies outside of [0, 1], the results are NaN for this element and in a reduced loss, and
/// [`Summary::out_of_domain`] is set. Targets may be any number from 0 to 1. The mean divides by the number of
/// elements, with or without weights.
///
/// ```
/// use losskit::Bce;
/// let (p, y) = ([0.2f64, 0.4, 0.8, 0.3, 0.9], [0.0, 0.0, 1.0, 0.0, 1.0]);
/// let loss = Bce::new().mean(&p, &y)?;
/// assert!((loss - 0.2838).abs() < 5e-5);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bce {}

impl Bce {
    /// No options.
    pub const fn new() -> Self {
        Bce {}
    }
    pointwise_methods! { <T: Element> }
}

#[derive(Clone, Copy)]
pub struct Logs;

/// The limits at which logarithms, and p (1 - p), are clamped.
const LEAST: f64 = -100.0;
const FLOOR: f64 = 1e-12;

impl<T: Real> Formula<T> for Logs {
    type Wide = Self;
    const IS_LONG: bool = true;
    const HAS_USUAL_CASE: bool = true;

    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let [terms] = self.terms_of_several([[input, target, target]]);
        terms
    }

    #[inline(always)]
    fn terms_of_several<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        let mut logs = operands;
        for i in 0..N {
            logs[i][0] = log_fraction(operands[i][0]).at_least(operands[i][0].c(LEAST));
        }
        for i in 0..N {
            logs[i][1] = log_complement(operands[i][0]).at_least(operands[i][0].c(LEAST));
        }
        let [p, y, _] = operands[0];
        let mut all = [of_logs(logs[0], p, y); N];
        for i in 1..N {
            let [p, y, _] = operands[i];
            all[i] = of_logs(logs[i], p, y);
        }
        all
    }

    /// Soft labels, and inputs outside of [0, 1].
    #[inline(always)]
    fn is_unusual<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>) -> Mask<S, T> {
        is_soft(target) | is_outside(input)
    }

    #[inline(always)]
    fn usual_terms<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        let [p, y, _] = operands[0];
        let mut reduced = [fraction_or_complement(p, y.c(1.0) - y); N];
        for i in 1..N {
            let [p, y, _] = operands[i];
            reduced[i] = fraction_or_complement(p, y.c(1.0) - y);
        }
        let mut all = [with_grad(reduced[0].log().at_least(p.c(LEAST)), p, y); N];
        for i in 1..N {
            let [p, y, _] = operands[i];
            all[i] = with_grad(reduced[i].log().at_least(p.c(LEAST)), p, y);
        }
        all
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Pack<S, T> {
        let (p, y, one) = (input, target, input.c(1.0));
        let (not_p, not_y, floor) = (one - p, one - y, p.c(FLOOR));
        // (1 - p) / variance and p / variance are 1 / p and 1 / (1 - p) unless the variance is clamped. They are
        // squared after the division, because p^2 may underflow.
        let not_p_pair = Pair { hi: not_p, lo: (one - not_p) - p };
        let [a, b] = [Pair::new(p).recip(), not_p_pair.recip()];
        let hess = a.mul(a).scale(y).add(b.mul(b).scale(not_y)).round();
        let [a, b] = [not_p / floor, p / floor];
        let clamped = (y * a).fma(a, (not_y * b) * b);
        floor.lt(variance(p)).select(hess, clamped)
    }

    #[inline(always)]
    fn outside<S: Lanes>(self, input: Pack<S, T>) -> Option<Mask<S, T>> {
        Some(is_outside(input))
    }
}

/// Whether p is outside of [0, 1].
#[inline(always)]
fn is_outside<S: Lanes, T: Real>(p: Pack<S, T>) -> Mask<S, T> {
    (p * (p.c(1.0) - p)).lt(p.c(0.0))
}

/// Whether a label is a number other than 0 and 1.
#[inline(always)]
pub fn is_soft<S: Lanes, T: Real>(y: Pack<S, T>) -> Mask<S, T> {
    y.c(0.0).lt(y.fma(-y, y).abs())
}

/// The terms, given log p and log(1 - p).
#[inline(always)]
fn of_logs<S: Lanes, T: Real>([log_p, log_not_p, _]: [Pack<S, T>; 3], p: Pack<S, T>, y: Pack<S, T>) -> Terms<S, T> {
    with_grad(y.fma(log_p, (y.c(1.0) - y) * log_not_p), p, y)
}

/// The terms whose value is the negative of `log`.
#[inline(always)]
fn with_grad<S: Lanes, T: Real>(log: Pack<S, T>, p: Pack<S, T>, y: Pack<S, T>) -> Terms<S, T> {
    Terms { value: [-log, p.c(1.0)], grad: (p - y) / variance(p) }
}

/// p (1 - p), clamped.
#[inline(always)]
fn variance<S: Lanes, T: Real>(p: Pack<S, T>) -> Pack<S, T> {
    (p * (p.c(1.0) - p)).at_least(p.c(FLOOR))
}

impl<T: Element> PointwiseLoss<T> for Bce {
    fn formula(&self) -> Result<AnyFormula<T>, Error> {
        Ok(AnyFormula::Bce(Logs))
    }
    fn targets_are_labels(&self) -> bool {
        true
    }
}
