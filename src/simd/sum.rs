//! Sums whose bits depend on the terms' order alone, good to the last place of the element type.
//!
//! `f32` terms are added in `f64` lanes. `f64` terms are added with their rounding errors (Knuth's
//! two-sum, lane by lane), for plain lanes are off by 30 ULP after 4,096 equal terms.

use super::pair::{Pair, fast_two_sum, two_sum};
#[cfg(feature = "linear")]
use super::view::Out;
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

    /// Adds two vectors: `f32` lanes are added to each other first, where one rounding is no matter.
    #[inline(always)]
    pub fn add_two<T: Real>(&mut self, a: Pack<S, T>, b: Pack<S, T>) {
        if size_of::<T>() == size_of::<f32>() {
            self.add(a + b);
        } else {
            self.add(a);
            self.add(b);
        }
    }

    /// Adds a b + c d, likewise.
    #[inline(always)]
    pub fn add_two_products<T: Real>(&mut self, [a, b]: [Pack<S, T>; 2], [c, d]: [Pack<S, T>; 2]) {
        if size_of::<T>() == size_of::<f32>() {
            self.add(a.fma(b, c * d));
        } else {
            self.add(a * b);
            self.add(c * d);
        }
    }

    /// The two halves' sums.
    #[inline(always)]
    fn plus(self, s: S, b: Self) -> Self {
        LaneSum { first: s.add_f64s(self.first, b.first), second: s.add_f64s(self.second, b.second) }
    }

    /// The sums and errors of `f64` lanes, as [`Total::merge`].
    #[inline(always)]
    fn merge(self, s: S, b: Self) -> Self {
        let sum = two_sum::<S, f64>(pack(s, self.first), pack(s, b.first));
        LaneSum { first: sum.hi.v, second: s.add_f64s(sum.lo.v, s.add_f64s(self.second, b.second)) }
    }

    /// Each lane's sum times a power of two. An infinite one has no error term.
    #[inline(always)]
    pub fn lanes<T: Real>(self, s: S, scale: f64) -> Pair<S, T> {
        let scale = s.splat_f64s(scale);
        let (first, second) = (s.mul_f64s(self.first, scale), s.mul_f64s(self.second, scale));
        let sum = match T::widen(s, T::narrow(s, first, second)) {
            (lower, Some(upper)) => {
                let lo = T::narrow(s, s.sub_f64s(first, lower), s.sub_f64s(second, upper));
                Pair { hi: pack(s, T::narrow(s, first, second)), lo: pack(s, lo) }
            }
            (hi, None) => {
                let sum = fast_two_sum::<S, f64>(pack(s, hi), pack(s, second));
                let is_finite = pack::<S, f64>(s, hi).abs().lt(pack(s, s.splat_f64s(f64::INFINITY)));
                let hi = is_finite.select(sum.hi, pack(s, hi)).v;
                Pair { hi: pack(s, T::narrow(s, hi, hi)), lo: pack(s, T::narrow(s, sum.lo.v, sum.lo.v)) }
            }
        };
        let is_finite = sum.hi.abs().lt(sum.hi.c(f64::INFINITY));
        Pair { hi: sum.hi, lo: is_finite.select(sum.lo, sum.hi.c(0.0)) }
    }
}

/// Adds the first `count` lanes, each to a number of its own, from `at` on.
#[cfg(feature = "linear")]
#[inline(always)]
pub fn add_lanes<S: Lanes, T: Real>(x: Pack<S, T>, sums: Out<'_, f64>, at: usize, count: usize) {
    let (s, lanes) = (x.s, S::F64_LANES);
    let (lower, upper) = T::widen(s, x.v);
    let first = count.min(lanes);
    sums.store(at, first, sums.as_in().load(s, at, first) + pack(s, lower));
    if let (Some(upper), true) = (upper, count > lanes) {
        let (at, rest) = (at + lanes, count - lanes);
        sums.store(at, rest, sums.as_in().load(s, at, rest) + pack(s, upper));
    }
}

/// The sum of a group's lanes, in an order that the group's 128 bytes fix: each half is added to the other, down to one.
#[inline(always)]
pub fn total<S: Lanes, T: Real>(s: S, mut group: S::PerGroup<LaneSum<S>>) -> Total {
    let is_wide = size_of::<T>() == size_of::<f32>();
    let mut vectors = Pack::<S, T>::PER_GROUP;
    while vectors > 1 {
        vectors /= 2;
        for i in 0..vectors {
            let (a, b) = (group.as_ref()[i], group.as_ref()[i + vectors]);
            group.as_mut()[i] = if is_wide { a.plus(s, b) } else { a.merge(s, b) };
        }
    }
    let LaneSum { first, second } = group.as_ref()[0];
    if is_wide {
        let both = if Pack::<S, T>::LANES > S::F64_LANES { s.add_f64s(first, second) } else { first };
        return Total::new(s.sum_of_halves(both));
    }
    let mut width = S::F64_LANES;
    let (mut hi, mut lo) = ([0.0; MAX_GROUP], [0.0; MAX_GROUP]);
    s.partial_store_f64s(&mut hi[..width], first);
    s.partial_store_f64s(&mut lo[..width], second);
    while width > 1 {
        width /= 2;
        for i in 0..width {
            let sum = Total { hi: hi[i], lo: lo[i] }.merge(Total { hi: hi[i + width], lo: lo[i + width] });
            (hi[i], lo[i]) = (sum.hi, sum.lo);
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

    /// The exact a * b.
    pub fn product(a: f64, b: f64) -> Total {
        let hi = a * b;
        Total { hi, lo: fma(a, b, -hi) }
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

    /// self / divisor.
    pub fn over(self, divisor: Total) -> Total {
        let (numerator, denominator) = (self.value(), divisor.value());
        let quotient = numerator / denominator;
        if !quotient.is_finite() || quotient == 0.0 || !denominator.is_finite() {
            return Total::new(quotient);
        }
        // what is left of the numerator, including the parts that value() rounded off
        let rest = fma(-quotient, denominator, numerator);
        let rest = rest + ((self.hi - numerator) + self.lo) - quotient * ((divisor.hi - denominator) + divisor.lo);
        Total { hi: quotient, lo: rest / denominator }
    }

    /// self / divisor, rounded to within half a unit in the last place and a trifle.
    pub fn divided_by(self, divisor: Total) -> f64 {
        // what the usual call's one division rounds to is what its rest would not change
        if self.lo == 0.0 && divisor.lo == 0.0 { self.hi / divisor.hi } else { self.over(divisor).value() }
    }
}
