//! A constant factor of derivatives, whatever its size.

use crate::simd::view::{In, Out};
use crate::simd::{Real, Total};

/// What derivatives are multiplied by: `value * 2^exponent`. The exponent is 0 unless the factor is no normal number of `f64`.
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

    /// The same where a step of it may be no normal number; `value` is what the usual way gives.
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

    /// Whether it is 0, or of a size that the type's normal numbers have: one multiplication in that type is as good as any.
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

    /// Whether its product with a weight of usual size may be no number of `f32`, or have less than its digits.
    #[inline]
    pub fn is_far_from_1(&self) -> bool {
        self.exponent != 0 || !(is_between(self.value, -60, 60) || self.has_no_size())
    }

    /// The nearest number.
    pub fn to_f64(self) -> f64 {
        libm::scalbn(self.value, self.exponent)
    }

    /// What is left to do for a derivative that `value` alone was multiplied with: rounded once to its type.
    pub fn finish<T: Real>(&self, derivative: f64) -> T {
        T::from_f64(if self.exponent == 0 { derivative } else { libm::scalbn(derivative, self.exponent) })
    }
}

/// A factor as one of usual size, `value`, times 2^exponent. The exponent is 0 unless `f32`, or the type, could lose digits of
/// products with the factor itself.
pub fn of_usual_size<T: Real>(factor: Total) -> (Total, i32) {
    let most = if size_of::<T>() < size_of::<f64>() { 60 } else { 900 };
    if is_between(factor.hi, -most, most) || factor.hi == 0.0 || !factor.hi.is_finite() {
        return (factor, 0);
    }
    // a large one leaves room for products that are small
    let (_, size) = libm::frexp(factor.hi);
    let exponent = if size > 0 { size - most } else { size };
    (Total { hi: libm::scalbn(factor.hi, -exponent), lo: libm::scalbn(factor.lo, -exponent) }, exponent)
}

/// Writes each derivative times 2^exponent, rounded once, or adds it. They may stand where they are written.
#[cold]
#[inline(never)]
pub fn finish_all<T: Real>(made: In<'_, T>, exponent: i32, to: Out<'_, T>, accumulate: bool) {
    for i in 0..made.len() {
        let made = T::from_f64(libm::scalbn(made.get(i).to_f64(), exponent));
        to.set(i, if accumulate { to.as_in().get(i) + made } else { made });
    }
}

/// Whether the size is from 2^least to less than 2^most, which are normal numbers.
#[inline]
fn is_between(x: f64, least: i32, most: i32) -> bool {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    (least..most).contains(&exponent)
}
