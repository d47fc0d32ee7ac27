//! One vector with operators, so that code looks like the formulas it computes.

use core::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Sub};

use super::{Lanes, Real};

/// A vector of `T` in the registers of `S`. Operators work lane by lane and round as IEEE 754 says.
#[derive(Clone, Copy)]
pub struct Pack<S: Lanes, T: Real> {
    pub s: S,
    pub v: T::V<S>,
}

/// A truth value for each lane.
#[derive(Clone, Copy)]
pub struct Mask<S: Lanes, T: Real> {
    s: S,
    m: T::M<S>,
}

#[inline(always)]
pub fn pack<S: Lanes, T: Real>(s: S, v: T::V<S>) -> Pack<S, T> {
    Pack { s, v }
}

/// The same value in every lane.
#[inline(always)]
pub fn splat<S: Lanes, T: Real>(s: S, x: T) -> Pack<S, T> {
    pack(s, T::splat(s, x))
}

/// The first `count` lanes of `x`, the others of `rest`.
#[inline(always)]
pub fn first_lanes<S: Lanes, T: Real>(x: Pack<S, T>, count: usize, rest: Pack<S, T>) -> Pack<S, T> {
    let inside = pack(x.s, T::lane_index(x.s)).lt(splat(x.s, T::from_f64(count as f64)));
    inside.select(x, rest)
}

/// The polynomial with these coefficients, the constant one first.
#[inline(always)]
pub fn horner<S: Lanes, T: Real>(s: S, x: T::V<S>, coefficients: &[T]) -> T::V<S> {
    let (&last, rest) = coefficients.split_last().expect("a polynomial has a coefficient");
    let mut sum = T::splat(s, last);
    for &c in rest.iter().rev() {
        sum = T::fma(s, sum, x, T::splat(s, c));
    }
    sum
}

/// The same polynomial with a shorter chain of operations: first pairs of terms, then Horner's scheme in x^2. It takes
/// one more operation, but half the time if the CPU has nothing else to do meanwhile. `tiny` is added to x^2 because
/// operations on subnormal numbers are slow.
#[inline(always)]
pub fn horner_of_pairs<S: Lanes, T: Real>(s: S, x: T::V<S>, coefficients: &[T], tiny: T) -> T::V<S> {
    let square = T::fma(s, x, x, T::splat(s, tiny));
    let (pairs, last) = coefficients.as_chunks::<2>();
    let (&[even, odd], rest) = pairs.split_last().expect("a polynomial has two coefficients");
    let mut sum = T::fma(s, T::splat(s, odd), x, T::splat(s, even));
    if let &[last] = last {
        sum = T::fma(s, T::splat(s, last), square, sum);
    }
    for &[even, odd] in rest.iter().rev() {
        sum = T::fma(s, sum, square, T::fma(s, T::splat(s, odd), x, T::splat(s, even)));
    }
    sum
}

impl<S: Lanes, T: Real> Pack<S, T> {
    /// The number of lanes in a vector.
    pub const LANES: usize = size_of::<T::V<S>>() / size_of::<T>();
    /// The number of vectors in a group.
    pub const PER_GROUP: usize = T::GROUP / Self::LANES;

    /// The same number, hidden from the compiler for types of one lane, because it would unroll every loop over the 32
    /// vectors of a group.
    #[inline(always)]
    pub fn per_group() -> usize {
        if S::AT_ONCE == 1 { core::hint::black_box(Self::PER_GROUP) } else { Self::PER_GROUP }
    }

    /// The first lane.
    #[inline(always)]
    pub fn first(self) -> T {
        let mut first = [T::default()];
        T::store_partial(self.s, &mut first, self.v);
        first[0]
    }
    /// The constant `x` in every lane.
    #[inline(always)]
    pub fn c(self, x: f64) -> Self {
        splat(self.s, T::from_f64(x))
    }
    /// `self * b + c`, rounded once.
    #[inline(always)]
    pub fn fma(self, b: Self, c: Self) -> Self {
        pack(self.s, T::fma(self.s, self.v, b.v, c.v))
    }
    #[inline(always)]
    pub fn abs(self) -> Self {
        pack(self.s, T::abs(self.s, self.v))
    }
    #[inline(always)]
    pub fn lt(self, b: Self) -> Mask<S, T> {
        Mask { s: self.s, m: T::less(self.s, self.v, b.v) }
    }
    #[inline(always)]
    pub fn le(self, b: Self) -> Mask<S, T> {
        Mask { s: self.s, m: T::less_equal(self.s, self.v, b.v) }
    }
    #[inline(always)]
    pub fn gt(self, b: Self) -> Mask<S, T> {
        b.lt(self)
    }
    /// Whether the lanes are equal (false on NaN).
    #[inline(always)]
    pub fn same(self, b: Self) -> Mask<S, T> {
        Mask { s: self.s, m: T::equal(self.s, self.v, b.v) }
    }
    /// The larger, as the instruction of the instruction set computes it: see [`Real::max_any`].
    #[inline(always)]
    pub fn max_any(self, b: Self) -> Self {
        pack(self.s, T::max_any(self.s, self.v, b.v))
    }
    /// The larger of both; NaN where `self` is. (Of zeros either.)
    #[inline(always)]
    pub fn at_least(self, floor: Self) -> Self {
        pack(self.s, T::at_least(self.s, self.v, floor.v))
    }
    /// The smaller of both; NaN where `self` is. (Of zeros either.)
    #[inline(always)]
    pub fn at_most(self, ceiling: Self) -> Self {
        pack(self.s, T::at_most(self.s, self.v, ceiling.v))
    }
    /// `x` where `self` is a number, NaN where it is not.
    #[inline(always)]
    pub fn or_nan(self, x: Self) -> Self {
        self.same(self).select(x, self)
    }
    #[inline(always)]
    pub fn add_bits(self, b: Self) -> Self {
        pack(self.s, T::add_bits(self.s, self.v, b.v))
    }
    #[inline(always)]
    pub fn sub_bits(self, b: Self) -> Self {
        pack(self.s, T::sub_bits(self.s, self.v, b.v))
    }
    #[inline(always)]
    pub fn and_bits(self, b: Self) -> Self {
        pack(self.s, T::and_bits(self.s, self.v, b.v))
    }
    #[inline(always)]
    pub fn or_bits(self, b: Self) -> Self {
        pack(self.s, T::or_bits(self.s, self.v, b.v))
    }
    /// `self` with its sign multiplied by the sign of `b`.
    #[inline(always)]
    pub fn times_sign_of(self, b: Self) -> Self {
        let sign = b.and_bits(b.c(-0.0));
        pack(self.s, T::xor_bits(self.s, self.v, sign.v))
    }
    #[inline(always)]
    pub fn bits(self, bits: u64) -> Self {
        pack(self.s, T::splat_bits(self.s, bits))
    }
    #[inline(always)]
    pub fn shl_exponent(self) -> Self {
        pack(self.s, T::shl_exponent(self.s, self.v))
    }
    #[inline(always)]
    pub fn shr_exponent(self) -> Self {
        pack(self.s, T::shr_exponent(self.s, self.v))
    }
}

impl<S: Lanes, T: Real> Mask<S, T> {
    /// `x` where the mask is set, 0 elsewhere.
    #[inline(always)]
    pub fn keep(self, x: Pack<S, T>) -> Pack<S, T> {
        pack(self.s, T::keep(self.s, self.m, x.v))
    }
    /// 0 where the mask is set, `x` elsewhere.
    #[inline(always)]
    pub fn drop(self, x: Pack<S, T>) -> Pack<S, T> {
        pack(self.s, T::drop(self.s, self.m, x.v))
    }
    #[inline(always)]
    pub fn select(self, a: Pack<S, T>, b: Pack<S, T>) -> Pack<S, T> {
        pack(self.s, T::select(self.s, self.m, a.v, b.v))
    }
    #[inline(always)]
    pub fn all(self) -> bool {
        let (zero, one) = (splat::<S, T>(self.s, T::from_f64(0.0)), splat(self.s, T::from_f64(1.0)));
        !zero.lt(self.select(zero, one)).any()
    }
    /// The number of lanes that are true.
    #[inline(always)]
    pub fn count(self) -> usize {
        let marks = self.select(splat(self.s, T::from_f64(1.0)), splat(self.s, T::from_f64(0.0)));
        T::reduce_sum(self.s, marks.v).to_f64() as usize
    }
    #[inline(always)]
    pub fn any(self) -> bool {
        T::any(self.s, self.m)
    }
}

macro_rules! operator {
    ($($trait: ident $function: ident;)*) => {$(
        impl<S: Lanes, T: Real> $trait for Pack<S, T> {
            type Output = Self;
            #[inline(always)]
            fn $function(self, b: Self) -> Self {
                pack(self.s, <T as Real>::$function(self.s, self.v, b.v))
            }
        }
    )*};
}
operator! { Add add; Sub sub; Mul mul; Div div; }

impl<S: Lanes, T: Real> Neg for Pack<S, T> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        pack(self.s, T::negate(self.s, self.v))
    }
}
impl<S: Lanes, T: Real> BitAnd for Mask<S, T> {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, b: Self) -> Self {
        Mask { s: self.s, m: T::and(self.s, self.m, b.m) }
    }
}
impl<S: Lanes, T: Real> BitOr for Mask<S, T> {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, b: Self) -> Self {
        Mask { s: self.s, m: T::or(self.s, self.m, b.m) }
    }
}
