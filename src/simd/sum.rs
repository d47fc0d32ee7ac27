//! Sums whose bits depend on the terms' order alone, good to the last place of the element type.
//!
//! `f32` terms are added in `f64` lanes. `f64` terms are added with their rounding errors (Knuth's
//! two-sum, lane by lane), for plain lanes are off by 30 ULP after 4,096 equal terms.

use super::pair::{Pair, fast_two_sum, two_sum};
use super::{Lanes, MAX_GROUP, Pack, Real, pack};

/// The running sum of a vector's lanes. `f32`: the two halves; `f64`: sum and error.
pub struct LaneSum<S: Lanes> {
    first: S::f64s,
    second: S::f64s,
}

impl<S: Lanes> Clone for LaneSum<S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<S: Lanes> Copy for LaneSum<S> {}

impl<S: Lanes> LaneSum<S> {
    #[inline(always)]
    pub fn zero(s: S) -> Self {
        let zero = s.splat_f64s(0.0);
        LaneSum { first: zero, second: zero }
    }

    #[inline(always)]
    pub fn add<T: Real>(&mut self, x: Pack<S, T>) {
        let s = x.s;
        match T::widen(s, x.v) {
            (lower, Some(upper)) => {
                self.first = s.add_f64s(self.first, lower);
                self.second = s.add_f64s(self.second, upper);
            }
            (x, None) => {
                let sum = two_sum::<S, f64>(pack(s, self.first), pack(s, x));
                self.first = sum.hi.v;
                self.second = s.add_f64s(self.second, sum.lo.v);
            }
        }
    }

    /// Each lane's sum.
    #[inline(always)]
    pub fn lanes<T: Real>(self, s: S) -> Pair<S, T> {
        let hi = T::narrow(s, self.first, self.second);
        match T::widen(s, hi) {
            (lower, Some(upper)) => {
                let lower = s.sub_f64s(self.first, lower);
                let upper = s.sub_f64s(self.second, upper);
                Pair { hi: pack(s, hi), lo: pack(s, T::narrow(s, lower, upper)) }
            }
            (hi, None) => {
                let sum = fast_two_sum::<S, f64>(pack(s, hi), pack(s, self.second));
                let (hi, lo) = (sum.hi.v, sum.lo.v);
                Pair { hi: pack(s, T::narrow(s, hi, hi)), lo: pack(s, T::narrow(s, lo, lo)) }
            }
        }
    }
}

/// The sum of a group's lanes, in an order that the group's 128 bytes fix.
#[inline(always)]
pub fn total<S: Lanes, T: Real>(s: S, group: S::PerGroup<LaneSum<S>>) -> Total {
    let lanes = Pack::<S, T>::LANES;
    let mut hi = [0.0; MAX_GROUP];
    let mut lo = [0.0; MAX_GROUP];
    for (i, sum) in group.as_ref()[..Pack::<S, T>::PER_GROUP].iter().enumerate() {
        let at = i * lanes;
        if size_of::<T>() == size_of::<f32>() {
            s.partial_store_f64s(&mut hi[at..][..S::F64_LANES], sum.first);
            if lanes > S::F64_LANES {
                s.partial_store_f64s(&mut hi[at + S::F64_LANES..][..S::F64_LANES], sum.second);
            }
        } else {
            s.partial_store_f64s(&mut hi[at..][..lanes], sum.first);
            s.partial_store_f64s(&mut lo[at..][..lanes], sum.second);
        }
    }
    let mut width = T::GROUP;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            if size_of::<T>() == size_of::<f32>() {
                hi[i] += hi[i + width];
            } else {
                let sum = Total { hi: hi[i], lo: lo[i] }.merge(Total { hi: hi[i + width], lo: lo[i + width] });
                (hi[i], lo[i]) = (sum.hi, sum.lo);
            }
        }
    }
    Total { hi: hi[0], lo: lo[0] }
}

/// `a * b + c`, rounded once.
fn fma(a: f64, b: f64, c: f64) -> f64 {
    #[cfg(feature = "std")]
    return a.mul_add(b, c);
    #[cfg(not(feature = "std"))]
    libm::fma(a, b, c)
}

/// A sum and what it lost to rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    pub hi: f64,
    pub lo: f64,
}

impl Total {
    pub const ZERO: Total = Total { hi: 0.0, lo: 0.0 };

    pub fn new(x: f64) -> Total {
        Total { hi: x, lo: 0.0 }
    }

    #[inline]
    pub fn merge(self, b: Total) -> Total {
        let hi = self.hi + b.hi;
        let from_b = hi - self.hi;
        let error = (self.hi - (hi - from_b)) + (b.hi - from_b);
        Total { hi, lo: error + (self.lo + b.lo) }
    }

    /// self * b, off by 2^-104 of it.
    pub fn mul(self, b: Total) -> Total {
        let hi = self.hi * b.hi;
        Total { hi, lo: fma(self.hi, b.hi, -hi) + (self.hi * b.lo + self.lo * b.hi) }
    }

    /// The nearest `f64`. An infinite or NaN sum has no meaningful error term.
    pub fn value(self) -> f64 {
        if self.hi.is_finite() { self.hi + self.lo } else { self.hi }
    }

    /// The nearest `T`, and the nearest to what that leaves.
    pub fn split<T: Real>(self) -> [T; 2] {
        let value = self.value();
        let hi = T::from_f64(value);
        if !hi.to_f64().is_finite() {
            return [hi, T::from_f64(0.0)];
        }
        [hi, T::from_f64((self.hi - hi.to_f64()) + self.lo)]
    }

    /// self / divisor, rounded to within half a unit in the last place and a trifle.
    pub fn divided_by(self, divisor: Total) -> f64 {
        let (numerator, denominator) = (self.value(), divisor.value());
        let quotient = numerator / denominator;
        if !quotient.is_finite() || quotient == 0.0 || !denominator.is_finite() {
            return quotient;
        }
        // what is left of the numerator, including the parts that value() rounded off
        let rest = fma(-quotient, denominator, numerator);
        let rest = rest + ((self.hi - numerator) + self.lo) - quotient * ((divisor.hi - denominator) + divisor.lo);
        quotient + rest / denominator
    }
}
