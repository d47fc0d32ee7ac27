//! log x and log(1 + x) within 1 ULP.
//!
//! ```text
//! x = 2^k (1 + f),  sqrt(1/2) <= 1 + f < sqrt(2)
//! log x = k ln 2 + (f + tail(f))
//! ```
//! - log1p takes `f = x 2^-k + (2^-k - 1)` in one fused step: 1 + x is rounded only to choose k. Where f
//!   itself is rounded, a second step says by how much.
//! - ln 2 comes in two parts; k times the first is exact, the second joins the tail.

use super::{Lanes, Pack, Pair, Real};

/// The constants that differ between the types.
pub struct Constants {
    /// The bits of sqrt(1/2) in the type, and of 1.
    sqrt_half: u64,
    one: u64,
    mantissa: u64,
    /// 1.5 * 2^(mantissa bits), as in exp, and the bits of this number.
    round: f64,
    /// The exponent's bias.
    bias: f64,
    /// ln 2: the first part has so few bits that k times it is exact.
    ln_2: [f64; 2],
    /// The smallest normal number, what lifts a subnormal above it, and by how many powers of two.
    smallest: f64,
    lift: f64,
    lift_exponent: f64,
    /// Below this log1p(x) is x; above that 1 + x is x.
    tiny: f64,
    huge: f64,
}

pub mod f32 {
    use super::super::{Lanes, pack::horner_of_pairs};

    pub(in super::super) const CONSTANTS: super::Constants = super::Constants {
        sqrt_half: 0x3f35_04f3,
        one: 0x3f80_0000,
        mantissa: 0x007f_ffff,
        round: 12_582_912.0,
        bias: 127.0,
        ln_2: [0.693_145_751_953_125, 1.428_606_820_309_417e-6],
        smallest: f32::MIN_POSITIVE as f64,
        lift: 16_777_216.0,
        lift_exponent: 24.0,
        tiny: 1e-10,
        huge: 1e15,
    };

    /// It has no effect on the result of a logarithm.
    const TINY: f32 = 1e-20;

    /// (log(1 + f) - f + f^2 / 2) / f^3
    const POLYNOMIAL: [f32; 9] = [
        0.333_333_12,
        -0.250_000_1,
        0.200_021_25,
        -0.166_680_25,
        0.142_194_78,
        -0.124_050_55,
        0.118_881_11,
        -0.116_786_79,
        0.067_504_08,
    ];

    /// log(1 + f) - f = f^2 (f p(f) - 1/2)
    #[inline(always)]
    pub(in super::super) fn tail<S: Lanes>(s: S, f: S::f32s) -> S::f32s {
        let p = horner_of_pairs::<S, f32>(s, f, &POLYNOMIAL, TINY);
        let q = s.fma_f32s(f, p, s.splat_f32s(-0.5));
        s.mul_f32s(s.mul_f32s(f, q), f)
    }

    /// (log(1 + x) - x + x^2 / 2 - x^3 / 3) / x^4 on all of [0, 1], where 1/3 is `THIRD`
    const THIRD: f32 = 0.333_332_78;
    const FRACTION: [f32; 8] = [
        -0.249_976_37,
        0.199_648_11,
        -0.164_041_94,
        0.131_411_88,
        -0.093_164_28,
        0.051_016_57,
        -0.018_076_146,
        0.002_996_575,
    ];

    #[inline(always)]
    pub(in super::super) fn log1p_fraction<S: Lanes>(s: S, x: S::f32s) -> S::f32s {
        let p = horner_of_pairs::<S, f32>(s, x, &FRACTION, TINY);
        let q = s.fma_f32s(s.fma_f32s(p, x, s.splat_f32s(THIRD)), x, s.splat_f32s(-0.5));
        // not as x^2 q, because x^2 may be subnormal, which is slow
        s.fma_f32s(s.mul_f32s(x, q), x, x)
    }
}

pub mod f64 {
    use super::super::{Lanes, pack, pack::horner_of_pairs};

    pub(in super::super) const CONSTANTS: super::Constants = super::Constants {
        sqrt_half: 0x3fe6_a09e_667f_3bcd,
        one: 0x3ff0_0000_0000_0000,
        mantissa: 0x000f_ffff_ffff_ffff,
        round: 6_755_399_441_055_744.0,
        bias: 1023.0,
        ln_2: [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10],
        smallest: f64::MIN_POSITIVE,
        lift: 18_014_398_509_481_984.0,
        lift_exponent: 54.0,
        tiny: 1e-20,
        huge: 1e30,
    };

    /// It has no effect on the result of a logarithm.
    const TINY: f64 = 1e-100;

    /// With s = f / (2 + f), z = s^2: (2 atanh(s) - 2 s) / (s z)
    const POLYNOMIAL: [f64; 7] = [
        0.666_666_666_666_673_5,
        0.399_999_999_994_071_2,
        0.285_714_287_442_570_5,
        0.222_221_983_648_076_13,
        0.181_835_759_129_211_35,
        0.153_137_365_882_468_07,
        0.147_992_529_479_297_4,
    ];

    /// The same for f from 0 to 1.
    const FRACTION: [f64; 10] = [
        0.666_666_666_666_666_6,
        0.400_000_000_000_126_25,
        0.285_714_285_673_638_27,
        0.222_222_227_023_747_25,
        0.181_817_899_135_278_82,
        0.153_855_612_881_855_2,
        0.133_142_397_519_653_3,
        0.120_004_740_956_178_51,
        0.088_026_870_156_803_51,
        0.161_616_115_359_794_73,
    ];

    #[inline(always)]
    pub(in super::super) fn tail<S: Lanes>(s: S, f: S::f64s) -> S::f64s {
        tail_by(s, f, &POLYNOMIAL)
    }

    #[inline(always)]
    pub(in super::super) fn log1p_fraction<S: Lanes>(s: S, x: S::f64s) -> S::f64s {
        s.add_f64s(x, tail_by(s, x, &FRACTION))
    }

    /// log(1 + f) - f = s (f^2 / 2 + z p(z)) - f^2 / 2, for log(1 + f) = 2 atanh(s)
    #[inline(always)]
    fn tail_by<S: Lanes>(s: S, f: S::f64s, polynomial: &[f64]) -> S::f64s {
        let ratio = s.div_f64s(f, s.add_f64s(s.splat_f64s(2.0), f));
        let z = s.mul_f64s(ratio, ratio);
        let p = s.mul_f64s(z, horner_of_pairs::<S, f64>(s, z, polynomial, TINY));
        let half_square = s.mul_f64s(s.mul_f64s(f, s.splat_f64s(0.5)), f);
        s.fma_f64s(ratio, s.add_f64s(half_square, p), (-pack::<S, f64>(s, half_square)).v)
    }
}

/// k as a number, and 2^k (as the mantissa's complement: `x` with its mantissa in [sqrt(1/2), sqrt(2))).
#[inline(always)]
fn split<S: Lanes, T: Real>(x: Pack<S, T>) -> (Pack<S, T>, Pack<S, T>) {
    let k = T::LOG;
    let offset = x.add_bits(x.bits(k.one - k.sqrt_half));
    let biased = offset.shr_exponent().or_bits(x.c(k.round));
    let exponent = biased - x.c(k.round + k.bias);
    let mantissa = offset.and_bits(x.bits(k.mantissa)).add_bits(x.bits(k.sqrt_half));
    (exponent, mantissa)
}

/// k ln 2 + log(1 + f), with `more` added to the small parts.
#[inline(always)]
fn combine<S: Lanes, T: Real>(exponent: Pack<S, T>, f: Pack<S, T>, more: Pack<S, T>) -> Pack<S, T> {
    let k = T::LOG;
    let tail = Pack { s: f.s, v: T::log_tail(f.s, f.v) };
    let tail = exponent.fma(f.c(k.ln_2[1]), tail + more);
    let upper = exponent * f.c(k.ln_2[0]);
    // |k ln 2| > |f| unless k = 0, and then nothing is lost
    let sum = upper + f;
    let lost = f - (sum - upper);
    sum + (lost + tail)
}

/// log x: NaN below 0, -inf at 0.
#[inline(always)]
pub fn log<S: Lanes, T: Real>(x: Pack<S, T>) -> Pack<S, T> {
    let k = T::LOG;
    let subnormal = x.lt(x.c(k.smallest));
    let lifted = subnormal.select(x * x.c(k.lift), x);
    let (exponent, mantissa) = split(lifted);
    let exponent = exponent - subnormal.select(x.c(k.lift_exponent), x.c(0.0));
    let result = combine(exponent, mantissa - x.c(1.0), x.c(0.0));
    let result = x.le(x.c(0.0)).select(x.lt(x.c(0.0)).select(x.c(f64::NAN), x.c(f64::NEG_INFINITY)), result);
    x.lt(x.c(f64::INFINITY)).select(result, x)
}

called_on_one_lane! {
    /// log(1 + x + error), `error` below the last place of `x`: NaN below -1, -inf at -1.
    pub fn log1p_with_error(x: Pack<S, T>, error: Pack<S, T>) -> Pack<S, T> = log1p_with_error_inlined
}

#[inline(always)]
fn log1p_with_error_inlined<S: Lanes, T: Real>(x: Pack<S, T>, error: Pack<S, T>) -> Pack<S, T> {
    let k = T::LOG;
    let one = x.c(1.0);
    let sum = x + one;
    let (exponent, mantissa) = split(sum);
    // 2^-k: the bits of 1, less what the split took off the sum's exponent
    let scale = one.sub_bits(sum.sub_bits(mantissa));
    let huge = x.gt(x.c(k.huge));
    let offset = scale - one;
    let f = huge.select(mantissa - one, x.fma(scale, offset));
    // f is rounded if its last place is finer than that of x: from sqrt(2) - 1 to 1/2
    let lost = x.fma(scale, offset - f);
    let error = huge.select(x.c(0.0), error.fma(scale, lost));
    // to first order, log(1 + f + error) - log(1 + f) = error / (1 + f)
    let result = combine(exponent, f, error.fma(-f, error));
    let result = x.abs().lt(x.c(k.tiny)).select(x, result);
    let end = x.lt(x.c(-1.0)).select(x.c(f64::NAN), x.c(f64::NEG_INFINITY));
    let result = x.le(x.c(-1.0)).select(end, result);
    x.lt(x.c(f64::INFINITY)).select(result, x)
}

/// log(1 + x).
#[inline(always)]
pub fn log1p<S: Lanes, T: Real>(x: Pack<S, T>) -> Pack<S, T> {
    log1p_with_error(x, x.c(0.0))
}

/// log p for p in [0, 1], except that at 0 it is some number below -100. For other p the result is unspecified.
#[inline(always)]
pub fn log_fraction<S: Lanes, T: Real>(p: Pack<S, T>) -> Pack<S, T> {
    let k = T::LOG;
    // scaled up even if it is not subnormal, because a number up to 1 cannot overflow; -0 becomes 0
    let (exponent, mantissa) = split(p.fma(p.c(k.lift), p.c(0.0)));
    combine(exponent - p.c(k.lift_exponent), mantissa - p.c(1.0), p.c(0.0))
}

/// log(1 - p) for p in [0, 1]; NaN for NaN. For other p the result is unspecified.
#[inline(always)]
pub fn log_complement<S: Lanes, T: Real>(p: Pack<S, T>) -> Pack<S, T> {
    let one = p.c(1.0);
    let complement = one - p;
    let (exponent, mantissa) = split(complement);
    let scale = one.sub_bits(complement.sub_bits(mantissa));
    let offset = scale - one;
    let f = (-p).fma(scale, offset);
    let lost = (-p).fma(scale, offset - f);
    let result = combine(exponent, f, lost.fma(-f, lost));
    complement.same(p.c(0.0)).select(p.c(f64::NEG_INFINITY), result)
}

/// For p in [0, 1]: p if `complement` is 0, and 1 - p if it is 1, reduced to the argument of a logarithm. The logarithm
/// has the same bits as [`log_fraction`] and [`log_complement`], except where these are below -100; NaN for NaN.
#[inline(always)]
pub fn fraction_or_complement<S: Lanes, T: Real>(p: Pack<S, T>, complement: Pack<S, T>) -> Reduced<S, T> {
    let (k, one) = (T::LOG, p.c(1.0));
    let difference = complement - p;
    // the rounding error of 1 - p
    let error = (complement - difference) - p;
    let lift = p.c(k.lift);
    let lifted = difference.abs() * lift;
    let (exponent, mantissa) = split(lifted);
    let scale = one.sub_bits(lifted.sub_bits(mantissa));
    let (rounded, error) = (mantissa - one, (error * lift) * scale);
    let f = rounded + error;
    let lost = (rounded - f) + error;
    Reduced { exponent: exponent - p.c(k.lift_exponent), f, error: lost.fma(-f, lost) }
}

/// An argument 2^k (1 + f + error).
#[derive(Clone, Copy)]
pub struct Reduced<S: Lanes, T: Real> {
    exponent: Pack<S, T>,
    f: Pack<S, T>,
    error: Pack<S, T>,
}

impl<S: Lanes, T: Real> Reduced<S, T> {
    #[inline(always)]
    pub fn log(self) -> Pack<S, T> {
        combine(self.exponent, self.f, self.error)
    }
}

/// log(1 + x) for x in [0, 1], with an error of up to 1.2 ULP; NaN for NaN. For other x the result is unspecified.
#[inline(always)]
pub fn log1p_fraction<S: Lanes, T: Real>(x: Pack<S, T>) -> Pack<S, T> {
    Pack { s: x.s, v: T::log1p_fraction(x.s, x.v) }
}

called_on_one_lane! {
    /// x log x - (x - 1) and log x, for x >= 0 with its rounding error, where z is x - 1 with all digits. Near z = 0
    /// the first result is computed as z^2 / 2 plus higher terms, so nothing cancels. At x = 0 the logarithm is some
    /// number below -100.
    pub fn x_log_x(x: Pair<S, T>, z: Pack<S, T>) -> (Pack<S, T>, Pack<S, T>) = x_log_x_inlined
}

#[inline(always)]
fn x_log_x_inlined<S: Lanes, T: Real>(x: Pair<S, T>, z: Pack<S, T>) -> (Pack<S, T>, Pack<S, T>) {
    let k = T::LOG;
    let one = z.c(1.0);
    let subnormal = x.hi.lt(z.c(k.smallest));
    let lifted = subnormal.select(x.hi * z.c(k.lift), x.hi);
    let (exponent, mantissa) = split(lifted);
    // 2^-k, as in log1p
    let scale = one.sub_bits(lifted.sub_bits(mantissa));
    let exponent = exponent - subnormal.keep(z.c(k.lift_exponent));
    let is_near = exponent.same(z.c(0.0));
    let f = is_near.select(z, mantissa - one);
    let error = (is_near | subnormal).drop(x.lo * scale);
    let tail = Pack { s: z.s, v: T::log_tail(z.s, f.v) };
    let upper = exponent * z.c(k.ln_2[0]);
    let sum = upper + f;
    let lost = f - (sum - upper);
    let rest = lost + exponent.fma(z.c(k.ln_2[1]), tail + error.fma(-f, error));
    let near = x.hi.fma(tail, z * z);
    // x (sum + rest) - (x - 1), of x's two parts
    let far = x.hi.fma(sum, one - x.hi) + x.hi.fma(rest, x.lo * (sum - one));
    (is_near.select(near, far), sum + rest)
}
