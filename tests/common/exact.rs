//! Numbers of twice the digits of `f64`: a reference to hold both element types against.
//!
//! Unevaluated sums of two `f64`, the second below the last place of the first (Dekker, 1971): about 106 bits, where
//! nothing under- or overflows.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::LazyLock;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exact {
    pub hi: f64,
    pub lo: f64,
}

const LN_2: Exact = Exact { hi: std::f64::consts::LN_2, lo: 2.319_046_813_846_299_6e-17 };

/// 1/1! to 1/9!
static INVERSE_FACTORIALS: LazyLock<[Exact; 9]> = LazyLock::new(|| {
    let mut inverse = Exact::ONE;
    std::array::from_fn(|k| {
        inverse = inverse / Exact::of((k + 1) as f64);
        inverse
    })
});

/// Where e^x - 1 and log(1 + x) are x, to these digits.
const TINY: f64 = 1e-33;

/// The exact `a + b`, where a is 0 or not the smaller.
fn ordered(a: f64, b: f64) -> Exact {
    let hi = a + b;
    Exact { hi, lo: if hi.is_finite() { b - (hi - a) } else { 0.0 } }
}

/// The exact `a + b`.
fn sum(a: f64, b: f64) -> Exact {
    if a.abs() < b.abs() { ordered(b, a) } else { ordered(a, b) }
}

/// The exact `a * b`.
fn product(a: f64, b: f64) -> Exact {
    let hi = a * b;
    Exact { hi, lo: if hi.is_finite() { a.mul_add(b, -hi) } else { 0.0 } }
}

impl Exact {
    pub const ZERO: Exact = Exact { hi: 0.0, lo: 0.0 };
    pub const ONE: Exact = Exact { hi: 1.0, lo: 0.0 };

    pub fn of(x: f64) -> Self {
        Exact { hi: x, lo: 0.0 }
    }
    pub fn abs(self) -> Self {
        if self.hi < 0.0 { -self } else { self }
    }
    pub fn max(self, other: Self) -> Self {
        if self < other { other } else { self }
    }
    /// Times 2^n.
    pub fn scaled(self, n: i32) -> Self {
        let (half, rest) = (2f64.powi(n / 2), 2f64.powi(n - n / 2));
        Exact { hi: self.hi * half * rest, lo: self.lo * half * rest }
    }

    /// e^x - 1.
    pub fn exp_m1(self) -> Self {
        if self.hi.abs() < TINY {
            return self;
        }
        if self.hi > 709.8 || self.hi < -745.2 {
            return Exact::of(self.hi.exp_m1());
        }
        let n = (self.hi / LN_2.hi).round();
        let r = (self - LN_2 * Exact::of(n)).scaled(-8);
        // r + r^2/2! + ... + r^9/9!, then (1 + e)^2 - 1 eight times
        let mut sum = Exact::ZERO;
        for inverse in INVERSE_FACTORIALS.iter().rev() {
            sum = sum * r + *inverse;
        }
        let mut e = sum * r;
        for _ in 0..8 {
            e = e * e + e + e;
        }
        if n == 0.0 { e } else { (e + Exact::ONE).scaled(n as i32) - Exact::ONE }
    }

    /// e^x; 0 at -inf.
    pub fn exp(self) -> Self {
        self.exp_scaled(0)
    }

    /// e^x 2^lift, for a lift that is not negative: keeps all digits where e^x is below the smallest normal number.
    pub fn exp_scaled(self, lift: i32) -> Self {
        if self.hi > 709.8 || self.hi < -745.2 - f64::from(lift) * LN_2.hi {
            return Exact::of(self.hi.exp());
        }
        let n = (self.hi / LN_2.hi).round();
        ((self - LN_2 * Exact::of(n)).exp_m1() + Exact::ONE).scaled(n as i32 + lift)
    }

    /// tanh x, times 2^lift.
    pub fn tanh_scaled(self, lift: i32) -> Self {
        if self.hi < 0.0 {
            return -(-self).tanh_scaled(lift);
        }
        // where it is 1 to all digits
        let twice = if self.hi > 350.0 { Exact::of(700.0) } else { self + self };
        -(-twice).exp_m1().scaled(lift) / (Exact::ONE + (-twice).exp())
    }

    /// 1 - tanh^2 x, times 2^lift.
    pub fn tanh_derivative_scaled(self, lift: i32) -> Self {
        let size = self.abs();
        let (e, sum) = ((-(size + size)).exp_scaled(lift), Exact::ONE + (-(size + size)).exp());
        Exact::of(4.0) * e / (sum * sum)
    }

    /// log(1 + x): one Newton step from `f64`'s.
    pub fn ln_1p(self) -> Self {
        if self.hi.abs() < TINY {
            return self;
        }
        if self.hi > 1e40 {
            return self.ln();
        }
        let guess = Exact::of(self.hi.ln_1p());
        let there = guess.exp_m1();
        if guess.hi == 0.0 || !guess.hi.is_finite() {
            return guess;
        }
        guess + (self - there) / (there + Exact::ONE)
    }

    /// log x: likewise.
    pub fn ln(self) -> Self {
        if self.hi > 0.5 && self.hi < 2.0 {
            return (self - Exact::ONE).ln_1p();
        }
        let guess = Exact::of(self.hi.ln());
        if !guess.hi.is_finite() {
            return guess;
        }
        // e^-guess x, which is near 1, in two factors: x may be subnormal
        let half = Exact::of(guess.hi * -0.5).exp();
        guess + (self * half * half - Exact::ONE)
    }
}

impl Add for Exact {
    type Output = Exact;
    fn add(self, b: Exact) -> Exact {
        let high = sum(self.hi, b.hi);
        let low = sum(self.lo, b.lo);
        let first = ordered(high.hi, high.lo + low.hi);
        ordered(first.hi, first.lo + low.lo)
    }
}
impl Neg for Exact {
    type Output = Exact;
    fn neg(self) -> Exact {
        Exact { hi: -self.hi, lo: -self.lo }
    }
}
impl Sub for Exact {
    type Output = Exact;
    fn sub(self, b: Exact) -> Exact {
        self + -b
    }
}
impl Mul for Exact {
    type Output = Exact;
    fn mul(self, b: Exact) -> Exact {
        let high = product(self.hi, b.hi);
        if !high.hi.is_finite() {
            return high;
        }
        ordered(high.hi, high.lo + (self.hi * b.lo + self.lo * b.hi))
    }
}
impl Div for Exact {
    type Output = Exact;
    fn div(self, b: Exact) -> Exact {
        let first = self.hi / b.hi;
        if !first.is_finite() {
            return Exact::of(first);
        }
        let rest = self - b * Exact::of(first);
        let second = rest.hi / b.hi;
        let rest = rest - b * Exact::of(second);
        ordered(first, second) + Exact::of(rest.hi / b.hi)
    }
}
impl std::iter::Sum for Exact {
    fn sum<I: Iterator<Item = Exact>>(numbers: I) -> Exact {
        numbers.fold(Exact::ZERO, Add::add)
    }
}
impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Exact) -> Option<Ordering> {
        match self.hi.partial_cmp(&other.hi) {
            Some(Ordering::Equal) => self.lo.partial_cmp(&other.lo),
            order => order,
        }
    }
}
