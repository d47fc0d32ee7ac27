//! The constant factor of derivatives, which may be of any size.

use crate::simd::view::{In, Out};
use crate::simd::{Real, Total};

/// Derivatives are multiplied by this factor, which is `value * 2^exponent`. The exponent is 0 unless the factor is not
/// a normal number of `f64`.
#[derive(Clone, Copy, Debug)]
pub struct Factor {
    pub value: f64,
    exponent: i32,
}

impl Factor {
    pub const ONE: Factor = Factor { value: 1.0, exponent: 0 };

    /// `own * scale / divisor`; `own` is a power of two, and the divisor is not 0.
    #[inline]
    pub fn new(own: f64, scale: f64, divisor: Option<Total>) -> Factor {
        let value = match divisor {
            Some(divisor) => Total::new(own * scale).divided_by(divisor),
            None => own * scale,
        };
        if is_between(scale, -960, 960) && is_between(value, -960, 960) {
            return Factor { value, exponent: 0 };
        }
        Self::far(own, scale, divisor, value)
    }

    /// The same if an intermediate result may not be a normal number. `value` is the result of the usual computation.
    #[cold]
    #[inline(never)]
    fn far(own: f64, scale: f64, divisor: Option<Total>, value: f64) -> Factor {
        let has_numbers = scale.is_finite() && divisor.is_none_or(|divisor| divisor.value().is_finite());
        if scale == 0.0 || !has_numbers {
            return Factor { value, exponent: 0 };
        }
        let (scale, mut exponent) = libm::frexp(scale);
        let value = match divisor {
            Some(divisor) => {
                let (_, of_divisor) = libm::frexp(divisor.hi);
                exponent -= of_divisor;
                let part = |x| libm::scalbn(x, -of_divisor);
                Total::new(own * scale).divided_by(Total { hi: part(divisor.hi), lo: part(divisor.lo) })
            }
            None => own * scale,
        };
        let all = libm::scalbn(value, exponent);
        if all.is_normal() { Factor { value: all, exponent: 0 } } else { Factor { value, exponent } }
    }

    /// Whether the factor is 0, infinite, NaN or a normal number of the type. A single multiplication in that type is
    /// then accurate.
    #[inline]
    pub fn fits<T: Real>(&self) -> bool {
        let [least, most] = if size_of::<T>() < size_of::<f64>() { [-126, 127] } else { [-1022, 1023] };
        self.exponent == 0 && (is_between(self.value, least, most) || self.has_no_size())
    }

    /// Whether it is 0, infinite or NaN.
    #[cold]
    fn has_no_size(&self) -> bool {
        self.value == 0.0 || !self.value.is_finite()
    }

    /// Whether the product with a weight of moderate size may overflow in `f32` or lose digits.
    #[inline]
    pub fn is_far_from_1(&self) -> bool {
        self.exponent != 0 || !(is_between(self.value, -60, 60) || self.has_no_size())
    }

    /// The nearest number of the type.
    pub fn to_f64(self) -> f64 {
        libm::scalbn(self.value, self.exponent)
    }

    /// Completes a derivative that has been multiplied by `value` only: applies the exponent, and rounds once to the
    /// type.
    pub fn finish<T: Real>(&self, derivative: f64) -> T {
        T::from_f64(if self.exponent == 0 { derivative } else { libm::scalbn(derivative, self.exponent) })
    }
}

/// Splits a factor into a number of moderate size and a power of two, and returns that number and the exponent. The
/// exponent is 0 unless products with the factor itself could lose digits in `f32`, or in the type.
pub fn of_usual_size<T: Real>(factor: Total) -> (Total, i32) {
    let most = if size_of::<T>() < size_of::<f64>() { 60 } else { 900 };
    if is_between(factor.hi, -most, most) || factor.hi == 0.0 || !factor.hi.is_finite() {
        return (factor, 0);
    }
    // a large factor is not reduced to 1, so that products with small numbers keep their digits
    let (_, size) = libm::frexp(factor.hi);
    let exponent = if size > 0 { size - most } else { size };
    (Total { hi: libm::scalbn(factor.hi, -exponent), lo: libm::scalbn(factor.lo, -exponent) }, exponent)
}

/// Multiplies each derivative by 2^exponent, rounds it once, and writes it or adds it to the output. `made` and `to`
/// may be the same array.
#[cold]
#[inline(never)]
pub fn finish_all<T: Real>(made: In<'_, T>, exponent: i32, to: Out<'_, T>, accumulate: bool) {
    for i in 0..made.len() {
        let made = T::from_f64(libm::scalbn(made.get(i).to_f64(), exponent));
        to.set(i, if accumulate { to.as_in().get(i) + made } else { made });
    }
}

/// Whether the magnitude is at least 2^least and less than 2^most, which must be normal numbers.
#[inline]
fn is_between(x: f64, least: i32, most: i32) -> bool {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    (least..most).contains(&exponent)
}
