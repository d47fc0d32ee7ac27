//! Binary cross-entropy of probabilities.

use super::element::{Element, Work};
use super::pointwise::{self, PointwiseLoss, pointwise_methods};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::pointwise::{Formula, Pointwise, Terms};
use crate::options::{Options, Outputs, Summary};
use crate::simd::{Lanes, Mask, Pack, Pair, Real, log_complement, log_fraction};

/// Binary cross-entropy of probabilities (PyTorch's `binary_cross_entropy`).
///
/// ```text
/// p = input, y = target, logs clamped at -100
/// loss     = -(y log p + (1 - y) log(1 - p))
/// gradient = (p - y) / max(p (1 - p), 1e-12)
/// Hessian  = (y (1 - p)^2 + (1 - y) p^2) / max(p (1 - p), 1e-12)^2
/// ```
///
/// Inputs outside of [0, 1] give NaN at that element and in a reduced loss, and the call says so
/// ([`Summary::out_of_domain`]). Targets may be soft. The mean divides by the number of elements,
/// weighted or not.
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

impl<T: Real> Formula<T> for Logs {
    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let (p, y, one) = (input, target, input.c(1.0));
        let (not_p, not_y) = (one - p, one - y);
        let least = p.c(-100.0);
        let log_p = log_fraction(p).at_least(least);
        let log_not_p = log_complement(p).at_least(least);
        let floor = p.c(1e-12);
        let variance = (p * not_p).at_least(floor);
        // (1 - p) / variance and p / variance are 1 / p and 1 / (1 - p) unless it is clamped. They are squared after
        // the division, for p^2 alone may underflow.
        let not_p_pair = Pair { hi: not_p, lo: (one - not_p) - p };
        let [a, b] = [Pair::new(p).recip(), not_p_pair.recip()];
        let hess = a.mul(a).scale(y).add(b.mul(b).scale(not_y)).round();
        let [a, b] = [not_p / floor, p / floor];
        let clamped = (y * a).fma(a, (not_y * b) * b);
        Terms {
            value: [-y.fma(log_p, not_y * log_not_p), one],
            grad: (p - y) / variance,
            hess: floor.lt(variance).select(hess, clamped),
        }
    }

    #[inline(always)]
    fn outside<S: Lanes>(self, input: Pack<S, T>) -> Option<Mask<S, T>> {
        Some(input.lt(input.c(0.0)) | input.gt(input.c(1.0)))
    }
}

impl<T: Element> PointwiseLoss<T> for Bce {
    type Formula = Logs;
    fn work<'a>(call: &'a Pointwise<'a, T, Logs>) -> Work<'a, T> {
        Work::Bce(call)
    }
    fn formula(&self) -> Result<Logs, Error> {
        Ok(Logs)
    }
}
