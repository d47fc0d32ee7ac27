//! Unevaluated sums of two numbers: numbers with twice the precision, for results that would lose digits in a single
//! number.
//!
//! Dekker (1971), Knuth (TAOCP 2, 4.2.2); the names are those of Hida, Li and Bailey's QD library.

use super::{Lanes, Mask, Pack, Real, splat};

/// The number `hi + lo`, where `lo` is below the last place of `hi`.
#[derive(Clone, Copy)]
pub struct Pair<S: Lanes, T: Real> {
    pub hi: Pack<S, T>,
    pub lo: Pack<S, T>,
}

/// The exact `a + b`, whichever of the two is larger.
#[inline(always)]
pub fn two_sum<S: Lanes, T: Real>(a: Pack<S, T>, b: Pack<S, T>) -> Pair<S, T> {
    let hi = a + b;
    let from_b = hi - a;
    Pair { hi, lo: (a - (hi - from_b)) + (b - from_b) }
}

/// The exact `a + b` where |a| >= |b|.
#[inline(always)]
pub fn fast_two_sum<S: Lanes, T: Real>(a: Pack<S, T>, b: Pack<S, T>) -> Pair<S, T> {
    let hi = a + b;
    Pair { hi, lo: b - (hi - a) }
}

/// The exact `a - b`.
#[inline(always)]
pub fn two_diff<S: Lanes, T: Real>(a: Pack<S, T>, b: Pack<S, T>) -> Pair<S, T> {
    two_sum(a, -b)
}

/// The exact `a * b`, unless it underflows.
#[inline(always)]
pub fn exact_product<S: Lanes, T: Real>(a: Pack<S, T>, b: Pack<S, T>) -> Pair<S, T> {
    let hi = a * b;
    let lo = a.fma(b, -hi);
    // an infinite product has no error term
    Pair { hi, lo: lo.same(lo).select(lo, hi.c(0.0)) }
}

impl<S: Lanes, T: Real> Pair<S, T> {
    #[inline(always)]
    pub fn new(hi: Pack<S, T>) -> Self {
        Pair { hi, lo: hi.c(0.0) }
    }

    /// A number and its rounding error, in all lanes.
    #[inline(always)]
    pub fn splat(s: S, [hi, lo]: [T; 2]) -> Self {
        Pair { hi: splat(s, hi), lo: splat(s, lo) }
    }

    /// `a` where the mask is set, else `b`.
    #[inline(always)]
    pub fn select(mask: Mask<S, T>, a: Self, b: Self) -> Self {
        Pair { hi: mask.select(a.hi, b.hi), lo: mask.select(a.lo, b.lo) }
    }

    /// The first lanes.
    #[inline(always)]
    pub fn first(self) -> [T; 2] {
        [self.hi.first(), self.lo.first()]
    }

    /// The nearest single number.
    #[inline(always)]
    pub fn round(self) -> Pack<S, T> {
        self.hi + self.lo
    }

    #[inline(always)]
    pub fn add(self, b: Self) -> Self {
        let sum = two_sum(self.hi, b.hi);
        fast_two_sum(sum.hi, sum.lo + (self.lo + b.lo))
    }

    #[inline(always)]
    pub fn mul(self, b: Self) -> Self {
        let hi = self.hi * b.hi;
        let lo = self.hi.fma(b.hi, -hi);
        fast_two_sum(hi, self.hi.fma(b.lo, self.lo.fma(b.hi, lo)))
    }

    /// Like [`mul`](Self::mul), but `hi` need not be the nearest number.
    #[inline(always)]
    pub fn product(self, b: Self) -> Self {
        let hi = self.hi * b.hi;
        Pair { hi, lo: self.hi.fma(b.hi, -hi) + self.hi.fma(b.lo, self.lo * b.hi) }
    }

    /// The exact product with a power of two.
    #[inline(always)]
    pub fn times_power(self, power: Pack<S, T>) -> Self {
        Pair { hi: self.hi * power, lo: self.lo * power }
    }

    #[inline(always)]
    pub fn scale(self, b: Pack<S, T>) -> Self {
        let hi = self.hi * b;
        let lo = self.hi.fma(b, -hi);
        fast_two_sum(hi, self.lo.fma(b, lo))
    }

    /// The pair itself; or, where the result in single numbers is infinite or NaN, that result with no error.
    #[inline(always)]
    pub fn or_single(self, single: Pack<S, T>) -> Self {
        let is_finite = single.abs().lt(single.c(f64::INFINITY));
        Pair { hi: is_finite.select(self.hi, single), lo: is_finite.select(self.lo, single.c(0.0)) }
    }

    /// self * b as a single number.
    #[inline(always)]
    pub fn scale_once(self, b: Pack<S, T>) -> Pack<S, T> {
        let product = self.hi * b;
        product.abs().lt(product.c(f64::INFINITY)).select(self.hi.fma(b, self.lo * b), product)
    }

    /// 1 / self.
    #[inline(always)]
    pub fn recip(self) -> Self {
        let hi = self.hi.c(1.0) / self.hi;
        let rest = (-hi).fma(self.hi, hi.c(1.0));
        let rest = (-hi).fma(self.lo, rest);
        Pair { hi, lo: hi * rest }
    }
}
