//! The float64 inputs at which functions are looked at: there are too many to take all.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, SQRT_2};

use super::Random;

/// Where something is decided once: ends of the results' range, clamps, joints of two formulas.
const PLACES: [f64; 32] = [
    0.0,
    f64::MIN_POSITIVE,
    // e^-100 and 1e-12, where bce's clamps begin; p (1 - p) reaches the latter on either side
    3.720_075_976_020_836e-44,
    1e-12,
    1.000_000_000_001e-12,
    0.999_999_999_999,
    // log1p of smaller numbers is the number itself
    1e-20,
    1.110_223_024_625_156_5e-16,
    1e-10,
    0.25,
    // where log1p's argument is first split, and the logit whose exponential that is
    SQRT_2 - 1.0,
    0.881_373_587_019_543,
    1.0 - FRAC_1_SQRT_2,
    0.5,
    LN_2 / 2.0,
    LN_2,
    FRAC_1_SQRT_2,
    1.0,
    SQRT_2,
    2.0,
    // beyond it 1 + e^-x is 1; the same for float32
    36.736_800_569_677_1,
    37.429_947_750_237_05,
    17.328_679_513_998_633,
    100.0,
    // where e^-x leaves the normal numbers, and all numbers; where e^x does
    708.396_418_532_264_1,
    745.133_219_101_941_1,
    746.0,
    709.782_712_893_384,
    // where a maximum is subtracted first, and where 1 + x is x
    1_099_511_627_776.0,
    9_007_199_254_740_992.0,
    1e30,
    f64::MAX,
];

/// The numbers next to a place, `reach` of them on either side, of both signs.
fn around(place: f64, reach: u64) -> impl Iterator<Item = f64> {
    let bits = place.abs().to_bits();
    (bits.saturating_sub(reach)..=bits + reach).map(f64::from_bits).flat_map(|x| [x, -x])
}

/// Every number next to a breakpoint: where exp splits its argument (at odd multiples of ln 2 / 2), where log does (at
/// sqrt(2) times any power of two) and log1p (at one less), and powers of two and one less.
pub fn around_float64() -> impl Iterator<Item = f64> {
    let splits_of_exp = (0..1077).map(|n| (f64::from(n) + 0.5) * LN_2);
    let powers = (-1074..1024).map(|n: i32| 2f64.powi(n / 2) * 2f64.powi(n - n / 2));
    let splits_of_logs = powers.flat_map(|power| [power, power * SQRT_2, power - 1.0, power * SQRT_2 - 1.0]);
    let many = splits_of_exp.chain(splits_of_logs).filter(|x| x.is_finite());
    let specials = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001)];
    many.flat_map(|place| around(place, 48))
        .chain(PLACES.into_iter().flat_map(|place| around(place, 4096)))
        .chain(specials)
}

/// In turn: any bits, where exponentials are finite, common logits, fractions, what log1p is made for.
pub fn random_float64(random: &mut Random, i: u64) -> f64 {
    match i % 5 {
        0 => f64::from_bits(random.bits()),
        1 => (2.0 * random.unit() - 1.0) * 750.0,
        2 => (2.0 * random.unit() - 1.0) * 20.0,
        3 => random.unit(),
        _ => (2.0 * random.unit() - 1.0) * 4.0,
    }
}
