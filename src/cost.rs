//! The cost of a data set: an exact sum, so the order of batches and merges does not change a single bit.

use crate::simd::{Total, in_environment};

/// The number of bits in a digit.
const DIGIT: u32 = 32;
/// The number of digits of the fixed-point number. The unit of digit 0 is 2^-1088, and the last digit reaches beyond
/// 2^1120.
const DIGITS: usize = 69;
/// The exponent of the unit of digit 0.
const LOWEST: i32 = -1088;
/// The entries after the digits. They count the terms that are not finite.
const NAN: usize = 69;
const POSITIVE_INFINITY: usize = 70;
const NEGATIVE_INFINITY: usize = 71;

/// The mean loss over a data set, accumulated batch by batch.
///
/// A cost holds the sum of the losses and the sum of the weights as fixed-point numbers that cover the whole range of
/// `f64`, with 32 bits in each `i64`. Additions are exact, so the mean has the same bits whatever the order of batches
/// and merges and whatever the threads. A cost with all entries 0 is empty. To merge two costs, add all their entries;
/// so an integer sum over many machines (`MPI_SUM` over `MPI_INT64_T`) merges up to 2^30 of them.
///
/// ```
/// use losskit::Cost;
/// let (mut all, mut a, mut b) = (Cost::new(), Cost::new(), Cost::new());
/// a.add(1e300, 1.0);
/// b.add(3.0, 1.0);
/// b.add(-1e300, 1.0);
/// all.merge(&a);
/// all.merge(&b);
/// assert_eq!(all.mean(), 1.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Cost {
    sum: [i64; 72],
    weight: [i64; 72],
}

impl Default for Cost {
    fn default() -> Self {
        Self::new()
    }
}

impl Cost {
    /// A cost without any batch. Its mean is NaN.
    pub const fn new() -> Self {
        Cost { sum: [0; 72], weight: [0; 72] }
    }

    /// Adds a batch: the sum of its losses, and the number that its mean divides by (the number of samples or the sum
    /// of their weights).
    pub fn add(&mut self, sum: f64, weight: f64) {
        add(&mut self.sum, sum);
        add(&mut self.weight, weight);
    }

    /// Adds all batches of another cost.
    pub fn merge(&mut self, other: &Cost) {
        for (into, from) in [(&mut self.sum, &other.sum), (&mut self.weight, &other.weight)] {
            for (into, from) in into.iter_mut().zip(from) {
                *into = into.wrapping_add(*from);
            }
            carry(into);
        }
    }

    /// The sum of all losses divided by the sum of all weights. The error is less than one unit in the last place. The
    /// result is NaN if the cost is empty.
    pub fn mean(&self) -> f64 {
        in_environment(|_| {
            let ((sum, sum_exponent), (weight, weight_exponent)) = (value(&self.sum), value(&self.weight));
            libm::scalbn(sum.divided_by(weight), sum_exponent - weight_exponent)
        })
    }

    /// The perplexity, which is e to the power of the mean. It is meaningful if the losses are negative log-likelihoods
    /// in nats, as those of [`CrossEntropy`](crate::CrossEntropy) and [`Nll`](crate::Nll) are. The result is infinite
    /// if it exceeds the range of `f64`, and NaN if the cost is empty. The mean is rounded first, so for a mean of 10
    /// the error is some 10 units in the last place.
    ///
    /// ```
    /// use losskit::Cost;
    /// let mut cost = Cost::new();
    /// assert!(cost.perplexity().is_nan());
    /// cost.add(2.0 * 8f64.ln(), 2.0);                     // two tokens, each one of eight alike
    /// assert!((cost.perplexity() - 8.0).abs() < 1e-14);
    /// ```
    pub fn perplexity(&self) -> f64 {
        let mean = self.mean();
        in_environment(|_| libm::exp(mean))
    }

    /// The sum of all losses.
    #[cfg(feature = "linear")]
    pub(crate) fn sum(&self) -> f64 {
        in_environment(|_| {
            let (sum, exponent) = value(&self.sum);
            libm::scalbn(sum.value(), exponent)
        })
    }

    pub(crate) fn add_totals(&mut self, sum: Total, weight: Total) {
        for (into, total) in [(&mut self.sum, sum), (&mut self.weight, weight)] {
            add(into, total.hi);
            if total.hi.is_finite() {
                add(into, total.lo);
            }
        }
    }
}

fn add(number: &mut [i64; 72], x: f64) {
    if x.is_nan() {
        number[NAN] = number[NAN].wrapping_add(1);
    } else if x.is_infinite() {
        let at = if x > 0.0 { POSITIVE_INFINITY } else { NEGATIVE_INFINITY };
        number[at] = number[at].wrapping_add(1);
    } else {
        // looks at the bits, because comparisons treat subnormal numbers as 0 if the caller has enabled flushing
        let bits = x.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        // x = mantissa * 2^scale
        let (mantissa, scale) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
        let at = (scale - LOWEST) as u32;
        let mut wide = u128::from(mantissa) << (at % DIGIT);
        let sign = if x.is_sign_negative() { -1 } else { 1 };
        let mut digit = (at / DIGIT) as usize;
        while wide != 0 {
            number[digit] = number[digit].wrapping_add(sign * i64::from(wide as u32));
            wide >>= DIGIT;
            digit += 1;
        }
        carry(number);
    }
}

/// Brings every digit except the highest into 0..2^32, so that equal numbers have equal digits.
fn carry(number: &mut [i64; 72]) {
    let mut carry = 0;
    for digit in &mut number[..DIGITS - 1] {
        let sum = digit.wrapping_add(carry);
        carry = sum >> DIGIT;
        *digit = sum & 0xffff_ffff;
    }
    number[DIGITS - 1] = number[DIGITS - 1].wrapping_add(carry);
}

/// The leading bits of the number as an unevaluated sum, and an exponent, because the number itself may exceed the
/// range of `f64`. The result depends only on the number, not on the additions that led to it.
fn value(number: &[i64; 72]) -> (Total, i32) {
    let [nan, positive, negative] = [NAN, POSITIVE_INFINITY, NEGATIVE_INFINITY].map(|i| number[i] != 0);
    if nan || (positive && negative) {
        return (Total::new(f64::NAN), 0);
    }
    if positive || negative {
        return (Total::new(if positive { f64::INFINITY } else { f64::NEG_INFINITY }), 0);
    }
    let mut digits = *number;
    carry(&mut digits);
    // computes the magnitude; a negative number has a negative highest digit
    let negative = digits[DIGITS - 1] < 0;
    if negative {
        for digit in &mut digits[..DIGITS] {
            *digit = digit.wrapping_neg();
        }
        carry(&mut digits);
    }
    // The leading five digits hold at least 129 bits. Each of them is exact as an f64. Their sum as a Total is exact
    // except for bits that are 2^106 times smaller than the first.
    let top = digits[..DIGITS].iter().rposition(|&digit| digit != 0).unwrap_or(0);
    let mut total = Total::ZERO;
    for i in (top.saturating_sub(4)..=top).rev() {
        let below = (top - i) as i32 * DIGIT as i32;
        total = total.merge(Total::new(libm::scalbn(digits[i] as f64, -below)));
    }
    let hi = total.hi + total.lo;
    let total = Total { hi, lo: total.lo - (hi - total.hi) };
    let total = if negative { Total { hi: -total.hi, lo: -total.lo } } else { total };
    (total, LOWEST + top as i32 * DIGIT as i32)
}
