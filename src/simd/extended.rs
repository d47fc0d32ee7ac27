//! Arithmetic with extra digits, for differences of nearly equal numbers: `f64` for `f32`, and unevaluated sums of two
//! `f64` for `f64`. A formula is written once for both.
//!
//! ```text
//! n = round(x / ln 2);  r = x - n ln 2;  tail(r) = e^r - 1 - r = r^2 (1/2 + r/6 + ...)
//! e^x - 1 = 2^n (r + tail(r)) + (2^n - 1)
//! e^x - 1 - x = tail(x) where n = 0: nothing cancels, however small x is
//! ```

use super::pack::{horner_of_pairs, pack};
use super::{LaneSum, Lanes, Mask, Pack, Pair, Real, Total, fast_two_sum, splat, two_diff, two_sum};

/// (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2, with a relative error of 2^-40.
const TAIL: [f64; 8] = [
    0.499_999_999_999_553_86,
    0.166_666_666_667_385_94,
    0.041_666_666_785_854_72,
    0.008_333_333_293_510_568,
    0.001_388_883_920_108_445_9,
    0.000_198_413_090_725_166_6,
    2.486_782_034_989_66e-5,
    2.757_735_769_565_795e-6,
];

/// The higher terms of the same polynomial, beginning with r^3. The error is 2^-68 of the whole polynomial.
const HIGHER_TAIL: [f64; 10] = [
    0.008_333_333_333_333_333,
    0.001_388_888_888_888_889,
    0.000_198_412_698_412_682_85,
    2.480_158_730_159_021_5e-5,
    2.755_731_923_434_404e-6,
    2.755_731_921_881_929e-7,
    2.505_208_423_588_491e-8,
    2.087_675_481_519_671e-9,
    1.608_202_049_420_803_2e-10,
    1.148_032_494_139_033_2e-11,
];
/// 1/4! and 1/3!
const LOWER_TAIL: [[f64; 2]; 2] =
    [[0.041_666_666_666_666_664, 2.312_964_634_635_742_7e-18], [0.166_666_666_666_666_66, 9.251_858_538_542_97e-18]];

/// ln 2 in three parts, of which the first two have so few bits that n times them is exact.
const LN_2: [f64; 3] = [0.693_147_180_369_123_8, 1.908_214_929_268_704_3e-10, 1.883_502_979_478_968_5e-22];

/// 1.5 * 2^52, and the bias of the exponent, as in exp.
const ROUND: f64 = 6_755_399_441_055_744.0;
const BIAS: f64 = 1023.0;

/// The number of vectors of `f64` that hold the digits of one vector of `T`.
#[inline(always)]
pub const fn halves<S: Lanes, T: Real>() -> usize {
    if Pack::<S, T>::LANES > S::F64_LANES { 2 } else { 1 }
}

/// A vector as `f64`: its halves, or the vector itself and zeros.
#[inline(always)]
pub fn widen<S: Lanes, T: Real>(x: Pack<S, T>) -> [Pack<S, f64>; 2] {
    let (lower, upper) = T::widen(x.s, x.v);
    let upper = match upper {
        Some(upper) => upper,
        None => x.s.splat_f64s(0.0),
    };
    [pack(x.s, lower), pack(x.s, upper)]
}

/// The inverse, rounded to nearest.
#[inline(always)]
pub fn narrow<S: Lanes, T: Real>([lower, upper]: [Pack<S, f64>; 2]) -> Pack<S, T> {
    pack(lower.s, T::narrow(lower.s, lower.v, upper.v))
}

/// A number with extra digits in each `f64` lane.
pub trait Extended<S: Lanes>: Copy {
    fn of(x: Total, s: S) -> Self;
    fn of_exact(x: Pack<S, f64>) -> Self;
    fn of_difference(a: Pack<S, f64>, b: Pack<S, f64>) -> Self;
    /// Rounded to `f64`.
    fn round(self) -> Pack<S, f64>;
    /// The first lane.
    fn total(self) -> Total;
    /// `self + b`, where `b` is not the larger, or `self` is 0.
    fn add_smaller(self, b: Self) -> Self;
    fn sub(self, b: Self) -> Self;
    fn mul(self, b: Self) -> Self;
    fn times_power(self, power: Pack<S, f64>) -> Self;
    fn select(mask: Mask<S, f64>, a: Self, b: Self) -> Self;
    /// The larger of both; NaN where `self` is.
    fn at_least(self, floor: Pack<S, f64>) -> Self;
    /// x - max. If x is -inf, the result is -inf, or a number that is lower than all that matter.
    fn below(x: Pack<S, f64>, max: Self) -> Self;
    /// (y - its maximum) - (x - its maximum), computed from the two differences. It is finite even if an element is
    /// -inf.
    fn gap(x: Pack<S, f64>, y: Pack<S, f64>, below: [Self; 2], maxima: [Self; 2]) -> Self;
    /// x - n ln 2
    fn reduced(self, n: Pack<S, f64>) -> Self;
    /// e^r - 1 - r for |r| <= ln 2 / 2.
    fn tail(self) -> Self;
    /// Adds the halves of a vector to a sum.
    fn add_to(sum: &mut LaneSum<S>, halves: [Self; 2]);
    /// The nearest `T`, and the rounding error.
    fn split<T: Real>(halves: [Self; 2]) -> Pair<S, T>;
}

/// A number whose magnitude is larger than that of any `f32`, and of sums of them.
const LARGEST_F32: f64 = 1e60;

impl<S: Lanes> Extended<S> for Pack<S, f64> {
    #[inline(always)]
    fn of(x: Total, s: S) -> Self {
        splat(s, x.value())
    }
    #[inline(always)]
    fn of_exact(x: Pack<S, f64>) -> Self {
        x
    }
    #[inline(always)]
    fn of_difference(a: Pack<S, f64>, b: Pack<S, f64>) -> Self {
        a - b
    }
    #[inline(always)]
    fn round(self) -> Pack<S, f64> {
        self
    }
    #[inline(always)]
    fn total(self) -> Total {
        Total::new(self.first())
    }
    #[inline(always)]
    fn add_smaller(self, b: Self) -> Self {
        self + b
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        self - b
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self * b
    }
    #[inline(always)]
    fn times_power(self, power: Pack<S, f64>) -> Self {
        self * power
    }
    #[inline(always)]
    fn select(mask: Mask<S, f64>, a: Self, b: Self) -> Self {
        mask.select(a, b)
    }
    #[inline(always)]
    fn at_least(self, floor: Pack<S, f64>) -> Self {
        Pack::at_least(self, floor)
    }
    #[inline(always)]
    fn below(x: Pack<S, f64>, max: Self) -> Self {
        x - max
    }
    #[inline(always)]
    fn gap(x: Pack<S, f64>, y: Pack<S, f64>, _: [Self; 2], maxima: [Self; 2]) -> Self {
        // the difference of equal logits is exactly 0, even if the maxima are much larger
        let lowest = x.c(-LARGEST_F32);
        (y.at_least(lowest) - x.at_least(lowest)) - (maxima[1] - maxima[0])
    }
    #[inline(always)]
    fn reduced(self, n: Pack<S, f64>) -> Self {
        n.fma(n.c(-(LN_2[1] + LN_2[2])), n.fma(n.c(-LN_2[0]), self))
    }
    #[inline(always)]
    fn tail(self) -> Self {
        self * self * pack(self.s, horner_of_pairs::<S, f64>(self.s, self.v, &TAIL, 0.0))
    }
    #[inline(always)]
    fn add_to(sum: &mut LaneSum<S>, terms: [Self; 2]) {
        sum.add_halves(terms);
    }
    #[inline(always)]
    fn split<T: Real>(halves: [Self; 2]) -> Pair<S, T> {
        let hi = narrow(halves);
        let rounded = widen(hi);
        Pair { hi, lo: narrow([halves[0] - rounded[0], halves[1] - rounded[1]]) }
    }
}

impl<S: Lanes> Extended<S> for Pair<S, f64> {
    #[inline(always)]
    fn of(x: Total, s: S) -> Self {
        Pair::splat(s, x.split())
    }
    #[inline(always)]
    fn of_exact(x: Pack<S, f64>) -> Self {
        Pair::new(x)
    }
    #[inline(always)]
    fn of_difference(a: Pack<S, f64>, b: Pack<S, f64>) -> Self {
        two_diff(a, b)
    }
    #[inline(always)]
    fn round(self) -> Pack<S, f64> {
        Pair::round(self)
    }
    #[inline(always)]
    fn total(self) -> Total {
        let [hi, lo] = self.first();
        Total { hi, lo }
    }
    #[inline(always)]
    fn add_smaller(self, b: Self) -> Self {
        let sum = fast_two_sum(self.hi, b.hi);
        Pair { hi: sum.hi, lo: sum.lo + (self.lo + b.lo) }
    }
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        let difference = two_diff(self.hi, b.hi);
        Pair { hi: difference.hi, lo: difference.lo + (self.lo - b.lo) }
    }
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        self.product(b)
    }
    #[inline(always)]
    fn times_power(self, power: Pack<S, f64>) -> Self {
        Pair::times_power(self, power)
    }
    #[inline(always)]
    fn select(mask: Mask<S, f64>, a: Self, b: Self) -> Self {
        Pair::select(mask, a, b)
    }
    #[inline(always)]
    fn at_least(self, floor: Pack<S, f64>) -> Self {
        let hi = self.hi.at_least(floor);
        Pair { hi, lo: hi.same(self.hi).keep(self.lo) }
    }
    #[inline(always)]
    fn below(x: Pack<S, f64>, max: Self) -> Self {
        let difference = two_diff(x, max.hi);
        Extended::at_least(Pair { hi: difference.hi, lo: difference.lo - max.lo }, x.c(-f64::MAX))
    }
    #[inline(always)]
    fn gap(_: Pack<S, f64>, _: Pack<S, f64>, below: [Self; 2], _: [Self; 2]) -> Self {
        let gap = Extended::sub(below[1], below[0]);
        // small differences may be all in `lo`
        fast_two_sum(gap.hi, gap.lo)
    }
    #[inline(always)]
    fn reduced(self, n: Pack<S, f64>) -> Self {
        let r = two_sum(n.fma(n.c(-LN_2[0]), self.hi), n * n.c(-LN_2[1]));
        Pair { hi: r.hi, lo: r.lo + n.fma(n.c(-LN_2[2]), self.lo) }
    }
    #[inline(always)]
    fn tail(self) -> Self {
        let s = self.hi.s;
        let mut sum = Pair::new(pack(s, horner_of_pairs::<S, f64>(s, self.hi.v, &HIGHER_TAIL, 0.0)));
        for c in LOWER_TAIL {
            sum = Pair::splat(s, c).add_smaller(sum.product(self));
        }
        let sum = Pair::new(sum.hi.c(0.5)).add_smaller(sum.product(self));
        sum.product(self).product(self)
    }
    #[inline(always)]
    fn add_to(sum: &mut LaneSum<S>, terms: [Self; 2]) {
        sum.add_pair(terms[0]);
    }
    #[inline(always)]
    fn split<T: Real>([x, _]: [Self; 2]) -> Pair<S, T> {
        // (an infinite number has no rounding error)
        let x = fast_two_sum(x.hi, x.lo.same(x.lo).keep(x.lo));
        Pair { hi: narrow([x.hi, x.hi]), lo: narrow([x.lo, x.lo]) }
    }
}

/// e^x in parts: 2^n, r + tail(r), and tail(r).
struct Parts<S: Lanes, X> {
    power: Pack<S, f64>,
    offset: X,
    tail: X,
    is_small: Mask<S, f64>,
}

/// `round` is ROUND plus the bias of the exponent, plus a number that is added to the exponent.
#[inline(always)]
fn parts<S: Lanes, X: Extended<S>>(x: X, round: f64) -> Parts<S, X> {
    let rounded = x.round();
    let round = rounded.c(round);
    let t = rounded.fma(rounded.c(core::f64::consts::LOG2_E), round);
    let n = t - round;
    let r = x.reduced(n);
    let tail = r.tail();
    Parts { power: t.shl_exponent(), offset: r.add_smaller(tail), tail, is_small: n.same(n.c(0.0)) }
}

#[inline(always)]
fn one<S: Lanes, X: Extended<S>>(s: S) -> X {
    X::of(Total::new(1.0), s)
}

/// The exponential of a number that is not below [`floor`], multiplied by 2^SHIFT of the exponential of `T`. At
/// [`floor`] it is 0.
#[inline(always)]
pub fn exp_shifted<S: Lanes, T: Real, X: Extended<S>>(s: S, x: X) -> X {
    let Parts { power, offset, .. } = parts(x, ROUND + BIAS + T::EXP.shift());
    one::<S, X>(s).add_smaller(offset).times_power(power)
}

/// See [`exp_shifted`]; for [`Expm1`] without a shift.
pub fn floor(shift: f64) -> f64 {
    -(BIAS + shift) * core::f64::consts::LN_2
}

/// e^x, and numbers that are derived from it without loss of digits.
pub struct Expm1<S: Lanes, X> {
    /// e^x
    pub exp: X,
    /// e^x - 1
    pub less_one: X,
    /// e^x - 1 - x where `is_small`
    pub tail: X,
    pub is_small: Mask<S, f64>,
}

/// Computes these for an x that is not below [`floor`].
#[inline(always)]
pub fn expm1<S: Lanes, X: Extended<S>>(s: S, x: X) -> Expm1<S, X> {
    let Parts { power, offset, tail, is_small } = parts(x, ROUND + BIAS);
    let less_one = X::of_difference(power, power.c(1.0)).add_smaller(offset.times_power(power));
    Expm1 { exp: one::<S, X>(s).add_smaller(offset).times_power(power), less_one, tail, is_small }
}
