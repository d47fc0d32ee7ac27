//! e^x within 1 ULP.
//!
//! ```text
//! n = round(x / ln 2);  r = x - n ln 2  (two steps, the first exact);  |r| <= 0.347
//! e^x = 2^n (1 + (r + r^2 q(r)))        q: minimax polynomial
//! ```
//! - The sum is formed from the small end: only its last addition costs half a unit in the last place.
//! - `r^2 q` is formed as `(r q) r`, fused: `r^2` alone may be subnormal, which is slow.
//! - 2^n is built in two factors, so that subnormal results are rounded once, by the second.
//! - An error term of the argument joins where the second reduction step rounds anyway.

use super::pair::{Pair, fast_two_sum};
use super::{Lanes, Pack, Real, pack, splat};

/// What differs between the types.
pub struct Constants {
    /// 1.5 * 2^(mantissa bits): adding it rounds to an integer, left in the lowest bits.
    round: f64,
    /// ln 2 in two parts, the first of the type's precision.
    ln_2: [f64; 2],
    /// The exponent's bias, for the first factor of the scale.
    bias: f64,
    /// 2^-SHIFT: the second factor where x <= 0; its inverse elsewhere.
    shift: f64,
    unshift: f64,
    /// Below it the result is 0.
    lowest: f64,
    /// Above it the result is infinite.
    highest: f64,
    /// From here on numbers are so coarse that differences are exact as long as they matter.
    far: f64,
}

impl Constants {
    /// 2^-SHIFT
    pub const fn unshift(&self) -> f64 {
        self.unshift
    }
    /// SHIFT
    pub const fn shift(&self) -> f64 {
        self.shift
    }
    /// See [`exp_parts`].
    pub const fn far(&self) -> f64 {
        self.far
    }
}

pub mod f32 {
    use super::super::{Lanes, pack::horner};

    pub(in super::super) const CONSTANTS: super::Constants = super::Constants {
        round: 12_582_912.0,
        ln_2: [0.693_147_182_464_599_6, -1.904_654_323_148_236e-9],
        bias: 127.0,
        shift: 64.0,
        unshift: 5.421_010_862_427_522e-20,
        lowest: -104.0,
        highest: 88.722_84,
        far: 65_536.0,
    };
    const POLYNOMIAL: [f32; 5] = [0.5, 0.166_665_32, 0.041_668_326, 0.008_369_228, 0.001_381_584_7];

    #[inline(always)]
    pub(in super::super) fn polynomial<S: Lanes>(s: S, r: S::f32s) -> S::f32s {
        horner::<S, f32>(s, r, &POLYNOMIAL)
    }
}

pub mod f64 {
    use super::super::{Lanes, pack::horner_of_pairs};

    pub(in super::super) const CONSTANTS: super::Constants = super::Constants {
        round: 6_755_399_441_055_744.0,
        ln_2: [core::f64::consts::LN_2, 2.319_046_813_846_299_6e-17],
        bias: 1023.0,
        shift: 256.0,
        unshift: 8.636_168_555_094_445e-78,
        lowest: -746.0,
        highest: 709.782_712_893_384,
        far: 1_099_511_627_776.0,
    };
    const POLYNOMIAL: [f64; 10] = [
        0.500_000_000_000_001_1,
        0.166_666_666_666_664_08,
        0.041_666_666_666_529_58,
        0.008_333_333_333_497_63,
        0.001_388_888_894_382_681_2,
        0.000_198_412_695_002_901_34,
        2.480_149_285_513_418e-5,
        2.755_759_148_985_934_5e-6,
        2.763_034_782_286_431e-7,
        2.499_860_769_197_976e-8,
    ];

    #[inline(always)]
    pub(in super::super) fn polynomial<S: Lanes>(s: S, r: S::f64s) -> S::f64s {
        horner_of_pairs::<S, f64>(s, r, &POLYNOMIAL, 1e-100)
    }
}

/// 1.5 * 2^bits + n + what else `round` has in the lowest bits, and the reduced argument in two parts.
#[inline(always)]
fn reduce<S: Lanes, T: Real>(
    x: Pack<S, T>,
    error: Pack<S, T>,
    round: Pack<S, T>,
) -> (Pack<S, T>, Pack<S, T>, Pack<S, T>) {
    let k = T::EXP;
    let t = x.fma(x.c(core::f64::consts::LOG2_E), round);
    let n = t - round;
    let upper = n.fma(x.c(-k.ln_2[0]), x);
    let lower = n.fma(x.c(-k.ln_2[1]), error);
    (t, upper, lower)
}

called_on_one_lane! {
    /// e^(upper + lower) times the power of two whose exponent, biased, is in the lowest bits of `t`.
    fn scaled(parts: (Pack<S, T>, Pack<S, T>, Pack<S, T>)) -> Pack<S, T> = scaled_inlined
}

#[inline(always)]
fn scaled_inlined<S: Lanes, T: Real>((t, upper, lower): (Pack<S, T>, Pack<S, T>, Pack<S, T>)) -> Pack<S, T> {
    let r = upper + lower;
    let q = pack(r.s, T::exp_polynomial(r.s, r.v));
    let (offset, power) = (upper + (r * q).fma(r, lower), t.shl_exponent());
    // (1 + offset) * power, rounded just so: the power is a normal number, or 0
    offset.fma(power, power)
}

called_on_one_lane! {
    /// e^(upper + lower) for small numbers, value and error: good to a tenth of a unit in the last place and better.
    fn small_pair(upper: Pack<S, T>, lower: Pack<S, T>) -> Pair<S, T> = small_pair_inlined
}

#[inline(always)]
fn small_pair_inlined<S: Lanes, T: Real>(upper: Pack<S, T>, lower: Pack<S, T>) -> Pair<S, T> {
    let r = fast_two_sum(upper, lower);
    let q = pack(r.hi.s, T::exp_polynomial(r.hi.s, r.hi.v));
    let sum = fast_two_sum(upper.c(1.0), r.hi);
    let tail = (r.hi * q).fma(r.hi, sum.lo + r.lo);
    fast_two_sum(sum.hi, tail)
}

/// What `scaled` gives, value and error.
#[inline(always)]
fn scaled_pair<S: Lanes, T: Real>((t, upper, lower): (Pack<S, T>, Pack<S, T>, Pack<S, T>)) -> Pair<S, T> {
    let (e, scale) = (small_pair(upper, lower), t.shl_exponent());
    Pair { hi: e.hi * scale, lo: e.lo * scale }
}

/// e^x = 2^n e^r with a whole n and |r| <= 0.347: e^r, value and error, and n. For |x| below `far`.
#[inline(always)]
pub fn exp_parts<S: Lanes, T: Real>(x: Pack<S, T>) -> (Pair<S, T>, Pack<S, T>) {
    let round = x.c(T::EXP.round);
    let (t, upper, lower) = reduce(x, x.c(0.0), round);
    (small_pair(upper, lower), t - round)
}

/// 2^n for whole n of a normal number's exponent; 0 for the one below these.
#[inline(always)]
pub fn power_of_two<S: Lanes, T: Real>(n: Pack<S, T>) -> Pack<S, T> {
    (n + n.c(T::EXP.round + T::EXP.bias)).shl_exponent()
}

/// 2^-SHIFT
#[inline(always)]
pub fn unshift<S: Lanes, T: Real>(s: S) -> Pack<S, T> {
    splat(s, T::from_f64(T::EXP.unshift()))
}

/// What `reduce` rounds with for x <= 0, so that e^x comes out 2^SHIFT times as large.
#[inline(always)]
fn shifted_round<S: Lanes, T: Real>(s: S) -> Pack<S, T> {
    let k = T::EXP;
    splat(s, T::from_f64(k.round + k.bias + k.shift))
}

/// Where `reduce` with this `round` comes to an exponent of 0, so that `scaled` is 0: arguments below it are taken
/// to be it.
#[inline(always)]
fn end<S: Lanes, T: Real>(round: Pack<S, T>) -> Pack<S, T> {
    (round.c(T::EXP.round) - round) * round.c(core::f64::consts::LN_2)
}

/// e^x for x <= 0; e^-inf is 0.
#[inline(always)]
pub fn exp_non_positive<S: Lanes, T: Real>(x: Pack<S, T>) -> Pack<S, T> {
    let round = shifted_round(x.s);
    scaled(reduce(x.at_least(end(round)), x.c(0.0), round)) * unshift(x.s)
}

/// e^(x + error) 2^SHIFT for x <= 0, value and error, where `error` is below the last place of `x`; 0 for e^-inf.
#[inline(always)]
pub fn exp_non_positive_pair_shifted<S: Lanes, T: Real>(x: Pack<S, T>, error: Pack<S, T>) -> Pair<S, T> {
    let round = shifted_round(x.s);
    let e = scaled_pair(reduce(x, error, round));
    // (the error of an infinite x is no number)
    let zero = x.lt(end(round));
    Pair { hi: zero.select(x.c(0.0), e.hi), lo: zero.select(x.c(0.0), e.lo) }
}

/// The same, not shifted.
#[inline(always)]
pub fn exp_non_positive_pair<S: Lanes, T: Real>(x: Pack<S, T>, error: Pack<S, T>) -> Pair<S, T> {
    exp_non_positive_pair_shifted(x, error).times_power(unshift(x.s))
}

/// e^x for any x.
#[inline(always)]
pub fn exp<S: Lanes, T: Real>(x: Pack<S, T>) -> Pack<S, T> {
    let k = T::EXP;
    let (t, upper, lower) = reduce(x, x.c(0.0), x.c(k.round + k.bias));
    // 2^n in two factors that are both normal: 2^(n - s) 2^s with s = shift or -shift
    let negative = x.le(x.c(0.0));
    let shift = negative.select(x.c(k.round + k.shift), x.c(k.round - k.shift)).sub_bits(x.c(k.round));
    let unshift = negative.select(x.c(k.unshift), x.c(1.0 / k.unshift));
    let result = scaled((t.add_bits(shift), upper, lower)) * unshift;
    let result = x.lt(x.c(k.lowest)).select(x.c(0.0), result);
    x.gt(x.c(k.highest)).select(x.c(f64::INFINITY), result)
}

/// e^(x - max) for many x <= max, as a softmax needs it: without rounding x - max, which would cost up to 64 units in
/// the last place, and without carrying that difference's error along.
///
/// ```text
/// max = N ln 2 + m                             once
/// n   = round((x - max) / ln 2)
/// r   = (x - (n + N) ln 2) - m                 small numbers both, so nothing to speak of is lost
/// ```
/// Only where |max| is so large that this would lose digits, max is subtracted first (then N = 0, m = 0): there x - max
/// is exact, or e^(x - max) is 0.
#[derive(Clone, Copy)]
pub struct RelativeExp<S: Lanes, T: Real> {
    /// max or 0
    subtracted: Pack<S, T>,
    /// 0 or max
    near: Pack<S, T>,
    /// What takes n + N from n as `reduce` has it.
    round: Pack<S, T>,
    /// The upper part of m.
    upper: Pack<S, T>,
    end: Pack<S, T>,
}

impl<S: Lanes, T: Real> RelativeExp<S, T> {
    /// `max` is larger than -inf.
    #[inline(always)]
    pub fn new(max: Pack<S, T>) -> Self {
        let k = T::EXP;
        let (zero, to_integer) = (max.c(0.0), max.c(k.round));
        let is_near = max.abs().lt(max.c(k.far));
        let near = is_near.select(max, zero);
        let n = near.fma(max.c(core::f64::consts::LOG2_E), to_integer) - to_integer;
        let round = shifted_round(max.s);
        RelativeExp {
            subtracted: is_near.select(zero, max),
            near,
            round: round - n,
            upper: n.fma(max.c(-k.ln_2[0]), near),
            end: near + end(round),
        }
    }

    /// Whether no maximum is so large that it is subtracted first.
    #[inline(always)]
    pub fn is_near(&self) -> bool {
        !self.subtracted.c(0.0).lt(self.subtracted.abs()).any()
    }

    /// e^(x - max) 2^SHIFT for x <= max, unless both are +inf. A normal number as long as e^(x - max) is at least
    /// 2^-SHIFT times the smallest one, so that sums keep their digits; 0 for e^-inf, exactly 2^SHIFT for e^0.
    #[inline(always)]
    pub fn shifted(&self, x: Pack<S, T>) -> Pack<S, T> {
        self.shifted_near(x - self.subtracted)
    }

    /// The same if [`is_near`](Self::is_near).
    #[inline(always)]
    pub fn shifted_near(&self, x: Pack<S, T>) -> Pack<S, T> {
        let k = T::EXP;
        let x = x.at_least(self.end);
        let t = (x - self.near).fma(x.c(core::f64::consts::LOG2_E), shifted_round(x.s));
        let n = t - self.round;
        let upper = n.fma(x.c(-k.ln_2[0]), x) - self.upper;
        // of n alone, which a common shift of x and max does not change; off by a sixteenth of the last place at most
        let lower = t.fma(x.c(-k.ln_2[1]), x.c((k.round + k.bias + k.shift) * k.ln_2[1]));
        scaled((t, upper, lower))
    }

    /// x - max, rounded; a finite number where e^(x - max) is 0.
    #[inline(always)]
    pub fn difference(&self, x: Pack<S, T>) -> Pack<S, T> {
        (x - self.subtracted).at_least(self.end) - self.near
    }
}

/// e^x 2^SHIFT and e^x - 1, each with its error.
pub struct Expm1Pair<S: Lanes, T: Real> {
    pub exp_shifted: Pair<S, T>,
    pub less_one: Pair<S, T>,
}

called_on_one_lane! {
    /// Of an argument whose error is below its last place, and which is at most 40. Near 0, e^x - 1 keeps all its digits; it is
    /// -1 for -inf.
    pub fn expm1_pair(x: Pair<S, T>) -> Expm1Pair<S, T> = expm1_pair_inlined
}

#[inline(always)]
fn expm1_pair_inlined<S: Lanes, T: Real>(x: Pair<S, T>) -> Expm1Pair<S, T> {
    let one = x.hi.c(1.0);
    let round = shifted_round(x.hi.s);
    let hi = x.hi.at_least(end(round));
    let (t, upper, lower) = reduce(hi, hi.same(x.hi).keep(x.lo), round);
    let r = upper + lower;
    let q = pack(r.s, T::exp_polynomial(r.s, r.v));
    let (rest, shifted) = ((r * q).fma(r, lower), t.shl_exponent());
    let power = shifted * unshift(x.hi.s);
    let sum = fast_two_sum(one, upper);
    let whole = fast_two_sum(power - one, upper * power);
    Expm1Pair {
        exp_shifted: fast_two_sum(sum.hi, sum.lo + rest).times_power(shifted),
        less_one: fast_two_sum(whole.hi, rest.fma(power, whole.lo)),
    }
}
