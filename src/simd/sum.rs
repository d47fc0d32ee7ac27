//! Sums that are accurate to the last place of the element type, and whose bits depend only on the order of the terms.
//!
//! `f32` terms are added in `f64` lanes. `f64` terms are added together with their rounding errors (Knuth's two-sum,
//! lane by lane), because plain lanes have an error of 30 ULP after 4,096 equal terms.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

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

    /// Adds a vector of `f32` that was computed as `f64`.
    #[inline(always)]
    pub fn add_halves(&mut self, [lower, upper]: [Pack<S, f64>; 2]) {
        self.first = (pack::<S, f64>(lower.s, self.first) + lower).v;
        self.second = (pack::<S, f64>(lower.s, self.second) + upper).v;
    }

    /// Adds a vector of `f64` and what that was rounded by.
    #[inline(always)]
    pub fn add_pair(&mut self, x: Pair<S, f64>) {
        self.add(x.hi);
        self.second = (pack::<S, f64>(x.hi.s, self.second) + x.lo).v;
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

    /// Adds q (a - b) of `f32` lanes, which `f64` has numbers for.
    #[inline(always)]
    pub fn add_wide_product<T: Real>(&mut self, q: Pack<S, T>, [a, b]: [Pack<S, T>; 2]) {
        let s = q.s;
        let (q, a, b) = (T::widen(s, q.v), T::widen(s, a.v), T::widen(s, b.v));
        self.first = s.add_f64s(self.first, s.mul_f64s(q.0, s.sub_f64s(a.0, b.0)));
        if let (Some(q), Some(a), Some(b)) = (q.1, a.1, b.1) {
            self.second = s.add_f64s(self.second, s.mul_f64s(q, s.sub_f64s(a, b)));
        }
    }

    /// Adds a number to each lane of `f32`, from the first of these on.
    #[inline(always)]
    pub fn add_each(&mut self, s: S, numbers: &[f64; MAX_GROUP]) {
        self.first = s.add_f64s(self.first, load_f64s(s, &numbers[..]));
        self.second = s.add_f64s(self.second, load_f64s(s, &numbers[S::F64_LANES..]));
    }

    /// The sums of `f32` lanes, the first of these on.
    #[inline(always)]
    pub fn write_each(self, s: S, numbers: &mut [f64; MAX_GROUP]) {
        store_f64s(s, &mut numbers[..], self.first);
        store_f64s(s, &mut numbers[S::F64_LANES..], self.second);
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

/// The vector at the slice's beginning. (pulp's own way is by a table of functions, for slices that are shorter.)
#[inline(always)]
fn load_f64s<S: Lanes>(_: S, from: &[f64]) -> S::f64s {
    assert!(from.len() >= S::F64_LANES);
    // SAFETY: the slice has a vector's elements, just checked; a vector type takes any bits of them
    unsafe { from.as_ptr().cast::<S::f64s>().read_unaligned() }
}

/// The inverse.
#[inline(always)]
fn store_f64s<S: Lanes>(_: S, to: &mut [f64], x: S::f64s) {
    assert!(to.len() >= S::F64_LANES);
    // SAFETY: the slice has a vector's elements, just checked
    unsafe { to.as_mut_ptr().cast::<S::f64s>().write_unaligned(x) }
}

/// The running sums of a group's lanes in memory: what one stage leaves for the next. A lane's place is the same whatever
/// the vectors.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub struct LaneSums<T> {
    /// `f32`: the lanes' sums. `f64`, which has half as many lanes: the sums, and what they lost to rounding. Nothing yet
    /// unless `has_terms`: a small call would spend as long on zeros as on its sum.
    lanes: MaybeUninit<[f64; MAX_GROUP]>,
    has_terms: bool,
    life: PhantomData<T>,
}

impl<T: Real> LaneSums<T> {
    const IS_WIDE: bool = size_of::<T>() == size_of::<f32>();

    pub const fn zero() -> Self {
        LaneSums { lanes: MaybeUninit::uninit(), has_terms: false, life: PhantomData }
    }

    /// What is there.
    #[inline(always)]
    fn lanes(&mut self) -> &mut [f64; MAX_GROUP] {
        if !self.has_terms {
            self.lanes.write([0.0; MAX_GROUP]);
            self.has_terms = true;
        }
        // SAFETY: all of them were written, just now or before `has_terms` was set
        unsafe { self.lanes.assume_init_mut() }
    }

    #[inline(always)]
    pub fn load<S: Lanes>(&self, s: S) -> S::PerGroup<LaneSum<S>> {
        let (lanes, width) = (Pack::<S, T>::LANES, S::F64_LANES);
        let mut group = S::per_group(LaneSum::zero(s));
        if S::AT_ONCE == 1 {
            // in memory: as 32 variables they would unroll all that is done with them
            core::hint::black_box(&mut group);
        }
        if !self.has_terms {
            return group;
        }
        // SAFETY: `has_terms` says that all of them were written
        let from = unsafe { self.lanes.assume_init_ref() };
        for (i, sum) in group.as_mut()[..Pack::<S, T>::per_group()].iter_mut().enumerate() {
            sum.first = load_f64s(s, &from[i * lanes..]);
            if !Self::IS_WIDE {
                sum.second = load_f64s(s, &from[T::GROUP + i * lanes..]);
            } else if lanes > width {
                sum.second = load_f64s(s, &from[i * lanes + width..]);
            }
        }
        group
    }

    #[inline(always)]
    pub fn store<S: Lanes>(&mut self, s: S, mut group: S::PerGroup<LaneSum<S>>) {
        if S::AT_ONCE == 1 {
            core::hint::black_box(&mut group);
        }
        let (lanes, width) = (Pack::<S, T>::LANES, S::F64_LANES);
        // SAFETY: bytes that are written before they are read: all of them, by the vectors of a group
        let to = unsafe { &mut *self.lanes.as_mut_ptr() };
        for (i, sum) in group.as_ref()[..Pack::<S, T>::per_group()].iter().enumerate() {
            store_f64s(s, &mut to[i * lanes..], sum.first);
            if !Self::IS_WIDE {
                store_f64s(s, &mut to[T::GROUP + i * lanes..], sum.second);
            } else if lanes > width {
                store_f64s(s, &mut to[i * lanes + width..], sum.second);
            }
        }
        self.has_terms = true;
    }

    pub fn has_terms(&self) -> bool {
        self.has_terms
    }

    /// Forgets the terms of the lanes after the first `count`.
    pub fn keep_first(&mut self, count: usize) {
        let lanes = self.lanes();
        lanes[count..T::GROUP].fill(0.0);
        if !Self::IS_WIDE {
            lanes[T::GROUP + count..2 * T::GROUP].fill(0.0);
        }
    }

    /// Adds the sums of one term a lane, but only of the first `count` lanes.
    pub fn add_first(&mut self, count: usize, terms: &mut Self) {
        if Self::IS_WIDE {
            for (sum, term) in self.lanes()[..count].iter_mut().zip(&terms.lanes()[..count]) {
                *sum += term;
            }
        } else {
            for lane in 0..count {
                let sum = self.get(lane).merge(terms.get(lane));
                self.set(lane, sum);
            }
        }
    }

    /// The sum of the lanes: each half is added to the other, down to one.
    pub fn total(&mut self) -> Total {
        let mut width = T::GROUP;
        while width > 1 {
            width /= 2;
            if Self::IS_WIDE {
                let (sums, others) = self.lanes().split_at_mut(width);
                for (sum, other) in sums.iter_mut().zip(others) {
                    *sum += *other;
                }
            } else {
                for i in 0..width {
                    let sum = self.get(i).merge(self.get(i + width));
                    self.set(i, sum);
                }
            }
        }
        if Self::IS_WIDE { Total::new(self.lanes()[0]) } else { self.get(0) }
    }

    /// A lane's sum and error, of `f64`.
    fn get(&mut self, lane: usize) -> Total {
        let lanes = self.lanes();
        Total { hi: lanes[lane], lo: lanes[T::GROUP + lane] }
    }
    fn set(&mut self, lane: usize, sum: Total) {
        let lanes = self.lanes();
        (lanes[lane], lanes[T::GROUP + lane]) = (sum.hi, sum.lo);
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
    let mut vectors = Pack::<S, T>::per_group();
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
    store_f64s(s, &mut hi, first);
    store_f64s(s, &mut lo, second);
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

    /// The exact a + b, whichever is larger.
    #[inline]
    pub fn sum(a: f64, b: f64) -> Total {
        let hi = a + b;
        let from_b = hi - a;
        Total { hi, lo: (a - (hi - from_b)) + (b - from_b) }
    }

    #[inline]
    pub fn merge(self, b: Total) -> Total {
        let sum = Total::sum(self.hi, b.hi);
        Total { hi: sum.hi, lo: sum.lo + (self.lo + b.lo) }
    }

    pub fn minus(self, b: Total) -> Total {
        self.merge(Total { hi: -b.hi, lo: -b.lo })
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
