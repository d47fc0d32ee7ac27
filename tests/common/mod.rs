//! What the integration tests share: element types, units in the last place, random numbers, and any loss as a value
//! ([`call`]) with what it must give ([`reference`]), to twice the digits of `f64` ([`exact`]).

// Every test file that includes this module uses its own part of it.
#![allow(dead_code)]

pub mod breakpoints;
pub mod call;
pub mod exact;
pub mod families;
pub mod losses;
mod random;
pub mod reference;
pub mod sums;

use losskit::Element;
pub use random::Random;

/// An element type and what the tests need to know of it.
pub trait Float: Element + std::fmt::LowerExp {
    const NAME: &str;
    /// The distance from 1 to the next number.
    const EPSILON: f64;
    const SMALLEST_NORMAL: f64;
    const LARGEST: f64;
    /// The nearest number.
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    /// The same for all NaNs.
    fn bits(self) -> u64;
    /// IEEE addition.
    fn plus(self, other: Self) -> Self;
}

impl Float for f32 {
    const NAME: &str = "f32";
    const EPSILON: f64 = f32::EPSILON as f64;
    const SMALLEST_NORMAL: f64 = f32::MIN_POSITIVE as f64;
    const LARGEST: f64 = f32::MAX as f64;
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn bits(self) -> u64 {
        u64::from(if self.is_nan() { f32::NAN } else { self }.to_bits())
    }
    fn plus(self, other: f32) -> f32 {
        self + other
    }
}

impl Float for f64 {
    const NAME: &str = "f64";
    const EPSILON: f64 = f64::EPSILON;
    const SMALLEST_NORMAL: f64 = f64::MIN_POSITIVE;
    const LARGEST: f64 = f64::MAX;
    fn of(x: f64) -> f64 {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    fn bits(self) -> u64 {
        if self.is_nan() { f64::NAN } else { self }.to_bits()
    }
    fn plus(self, other: f64) -> f64 {
        self + other
    }
}

/// Numbers rounded to the type.
pub fn all_of<T: Float>(numbers: &[f64]) -> Vec<T> {
    numbers.iter().map(|&x| T::of(x)).collect()
}

pub fn bits<T: Float>(numbers: &[T]) -> Vec<u64> {
    numbers.iter().map(|x| x.bits()).collect()
}

/// Equal bits, any NaN like any other.
#[track_caller]
pub fn assert_same_bits<T: Float>(got: &[T], want: &[T], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    if let Some(at) = (0..got.len()).find(|&at| got[at].bits() != want[at].bits()) {
        panic!("{what}: element {at} is {:e}, not {:e}", got[at].wide(), want[at].wide());
    }
}

/// The distance between the type's numbers at `x`, and nowhere less than at the smallest normal one.
pub fn ulp<T: Float>(x: f64) -> f64 {
    let power_of_two = f64::from_bits(x.abs().max(T::SMALLEST_NORMAL).to_bits() & 0x7ff0_0000_0000_0000);
    power_of_two * T::EPSILON
}

/// A result against its exact value, in units in the last place of `scale`: the value itself, or the larger of the
/// opposed terms that it is made of. 0 where both are NaN, or the same infinity.
pub fn ulps_off<T: Float>(got: T, want: exact::Exact, scale: f64) -> f64 {
    let (got, nearest) = (got.wide(), T::of(want.hi).wide());
    if got.is_nan() || !nearest.is_finite() || !got.is_finite() {
        return if got == nearest || (got.is_nan() && nearest.is_nan()) { 0.0 } else { f64::INFINITY };
    }
    (exact::Exact::of(got) - want).hi.abs() / ulp::<T>(scale)
}

/// The same for a result that may be tiny: `want(lift)` is 2^lift times as large, which keeps what the reference's second
/// half would lose below the smallest number.
pub fn ulps_off_even_if_tiny(got: f64, want: impl Fn(i32) -> exact::Exact) -> f64 {
    const LIFT: i32 = 200;
    if got.abs() >= 1e-200 || got.is_nan() {
        let want = want(0);
        return ulps_off(got, want, want.hi);
    }
    let (lifted, want) = (2f64.powi(LIFT), want(LIFT));
    let place = ulp::<f64>(want.hi).max(ulp::<f64>(f64::MIN_POSITIVE) * lifted);
    let off = (exact::Exact::of(got * lifted) - want).hi.abs() / place;
    if off.is_nan() { f64::INFINITY } else { off }
}

impl Random {
    /// In [0, 1), with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / 9_007_199_254_740_992.0
    }
    /// Within `scale` of 0, of all magnitudes below it.
    pub fn number(&mut self, scale: f64) -> f64 {
        let magnitude = 0.5f64.powi(if self.below(3) == 0 { self.below(12) as i32 } else { 0 });
        (2.0 * self.unit() - 1.0) * scale * magnitude
    }
    pub fn numbers<T: Float>(&mut self, n: usize, scale: f64) -> Vec<T> {
        (0..n).map(|_| T::of(self.number(scale))).collect()
    }
    /// In [0, 1], some of them very near to either end.
    pub fn units<T: Float>(&mut self, n: usize) -> Vec<T> {
        let unit = |random: &mut Random| match random.below(6) {
            0 => random.unit() * 0.5f64.powi(random.below(20) as i32),
            1 => 1.0 - random.unit() * 0.5f64.powi(random.below(20) as i32),
            _ => random.unit(),
        };
        (0..n).map(|_| T::of(unit(self))).collect()
    }
    /// Weights between 1/4 and 2.
    pub fn weights<T: Float>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::of(0.25 + 1.75 * self.unit())).collect()
    }
    pub fn indices(&mut self, n: usize, classes: usize) -> Vec<i64> {
        (0..n).map(|_| self.below(classes) as i64).collect()
    }
}
