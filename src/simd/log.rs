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

/// What differs between the types.
pub struct Constants {
    /// The bits of sqrt(1/2) in the type, and of 1.
    sqrt_half: u64,
    one: u64,
    mantissa: u64,
    /// 1.5 * 2^(mantissa bits), as in exp, and its bits.
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
    use super::super::{Lanes, pack::horner};

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
        let p = horner::<S, f32>(s, f, &POLYNOMIAL);
        let q = s.fma_f32s(f, p, s.splat_f32s(-0.5));
        s.mul_f32s(s.mul_f32s(f, q), f)
    }
}

pub mod f64 {
    use super::super::{Lanes, pack::horner};

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

    /// log(1 + f) - f = s (f^2 / 2 + z p(z)) - f^2 / 2, for log(1 + f) = 2 atanh(s)
    #[inline(always)]
    pub(in super::super) fn tail<S: Lanes>(s: S, f: S::f64s) -> S::f64s {
        let ratio = s.div_f64s(f, s.add_f64s(s.splat_f64s(2.0), f));
        let z = s.mul_f64s(ratio, ratio);
        let p = s.mul_f64s(z, horner::<S, f64>(s, z, &POLYNOMIAL));
        let half_square = s.mul_f64s(s.mul_f64s(f, s.splat_f64s(0.5)), f);
        s.fma_f64s(ratio, s.add_f64s(half_square, p), s.neg_f64s(half_square))
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
    // |k ln 2| > |f| unless k = 0, where nothing is lost
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

/// log(1 + x + error), `error` below the last place of `x`: NaN below -1, -inf at -1.
#[inline(always)]
pub fn log1p_with_error<S: Lanes, T: Real>(x: Pack<S, T>, error: Pack<S, T>) -> Pack<S, T> {
    let k = T::LOG;
    let one = x.c(1.0);
    let sum = x + one;
    let (exponent, mantissa) = split(sum);
    // 2^-k: the bits of 1, less what the split took off the sum's exponent
    let scale = one.sub_bits(sum.sub_bits(mantissa));
    let huge = x.gt(x.c(k.huge));
    let offset = scale - one;
    let f = huge.select(mantissa - one, x.fma(scale, offset));
    // f is rounded where it is finer than x: from sqrt(2) - 1 to 1/2
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

/// log p for p in [0, 1], but at 0, where it is some number below -100. What it gives elsewhere is of no use.
#[inline(always)]
pub fn log_fraction<S: Lanes, T: Real>(p: Pack<S, T>) -> Pack<S, T> {
    let k = T::LOG;
    // lifted whether subnormal or not: a fraction cannot overflow; -0 becomes 0
    let (exponent, mantissa) = split(p.fma(p.c(k.lift), p.c(0.0)));
    combine(exponent - p.c(k.lift_exponent), mantissa - p.c(1.0), p.c(0.0))
}

/// log(1 - p) for p in [0, 1]; NaN for NaN. What it gives elsewhere is of no use.
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

/// log(1 + x) for x in [0, 1]; NaN for NaN. What it gives elsewhere is of no use.
#[inline(always)]
pub fn log1p_fraction<S: Lanes, T: Real>(x: Pack<S, T>) -> Pack<S, T> {
    // 1 + x is scaled by 1/2, or not at all
    let upper_half = x.gt(x.c(core::f64::consts::SQRT_2 - 1.0));
    let half = upper_half.keep(x.c(0.5));
    let scale = x.c(1.0) - half;
    let f = x.fma(scale, -half);
    let lost = x.fma(scale, -half - f);
    combine(upper_half.keep(x.c(1.0)), f, lost.fma(-f, lost))
}

/// x log x - (x - 1) and log x for x >= 0 and its error, z being x - 1 to all its digits: the first is z^2 / 2 and more near
/// z = 0, and nothing cancels there. At x = 0 the logarithm is some number below -100.
#[inline(always)]
pub fn x_log_x<S: Lanes, T: Real>(x: Pair<S, T>, z: Pack<S, T>) -> (Pack<S, T>, Pack<S, T>) {
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
    let log = sum + (lost + exponent.fma(z.c(k.ln_2[1]), tail + error.fma(-f, error)));
    let near = x.hi.fma(tail, z * z);
    (is_near.select(near, x.hi.fma(log, -z)), log)
}
