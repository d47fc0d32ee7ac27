//! The divergence between the softmaxes of two rows: the Kullback-Leibler divergence in both directions, and the
//! generalised Jensen-Shannon divergence.
//!
//! ```text
//! p = softmax(x / T), q = softmax(y / T)        a_j = (x_j - max x) / T, b_j = (y_j - max y) / T, u_j = b_j - a_j
//! S = sum of e^a_j
//! L = log1p(sum of e^a_j (e^u_j - 1) / S)       the logarithm of the ratio of the sums of e^b and e^a
//! log(q_j / p_j) = u_j - L
//! KL(p || q) = sum of e^a_j (e^u_j - 1 - u_j) / S  -  (e^L - 1 - L)                  what is summed is never negative
//! its gradient with respect to y: q_j - p_j = p_j (e^(u_j - L) - 1), over T
//!                          to x: p_j (E - u_j), over T,   E = sum of p_k u_k = L - KL(p || q)
//!
//! w KL(p || m) + (1 - w) KL(q || m), m = w p + (1 - w) q:
//!     w sum of m_j f(p_j / m_j) + (1 - w) sum of m_j f(q_j / m_j),          f(r) = r log r - (r - 1) >= 0
//! ```
//! Where the distributions are nearly equal, all of these are much smaller than the probabilities. None of their digits
//! is lost, because they are made of the differences u_j of the logits and not of differences of probabilities or of
//! logarithms. Only u_j - L and the difference in KL can still cancel, so sums and u_j are computed with extra digits
//! ([`Extended`]): `f64` for `f32`, pairs of `f64` for `f64`. In a row with many classes of which only one differs, the
//! extra digits may not suffice for KL. Then the row is summed up again with max y shifted by T L, so that L is nearly
//! 0.
//!
//! A row is processed as follows:
//! - First the kernel finds the largest of x and y. Then it computes the three sums in one pass. Only the larger of
//!   e^a_j and e^b_j is computed as an exponential; the other is the product of it and e^-|u_j|. So nothing overflows,
//!   and if q_j is far larger than p_j, then `e^a_j (e^u_j - 1)` is e^b_j.
//! - The exponentials are kept for the results, on the stack or in the array of the gradient. If neither has room for
//!   them, they are computed again.

use super::class_rows::{maximum, rows_in_block};
use super::log_ratio::{Emission, Ratios, Solution, Solved};
use crate::factor::{finish_all, of_usual_size};
use crate::parallel::{Blocks, Partial};
use crate::shape::Layout;
use crate::simd::extended::Extended;
use crate::simd::view::{In, Out};
use crate::simd::{
    Expm1Pair, Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Mask, Pack, Pair, Real, Total, expm1_pair, fast_two_sum, splat,
    total, two_diff, two_sum, unshift, x_log_x,
};

/// The longest row whose exponentials are kept.
const KEPT: usize = 2048;

/// The divergence between the teacher's distribution p and the student's distribution q.
#[derive(Clone, Copy, PartialEq)]
pub enum Divergence {
    /// KL(p || q)
    Forward,
    /// KL(q || p)
    Reverse,
    /// beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q.
    Mixture { beta: f64 },
}

/// A call.
pub struct Distillation<'a, T> {
    pub layout: Layout,
    pub student: In<'a, T>,
    pub teacher: In<'a, T>,
    pub divergence: Divergence,
    pub temperature: f64,
    /// Rows of weight 0 are not read.
    pub row_weight: Option<In<'a, T>>,
    /// One loss for each row.
    pub loss: Option<Out<'a, T>>,
    /// The gradient with respect to the student's logits.
    pub grad: Option<Out<'a, T>>,
    pub accumulate: bool,
    /// The factor of the gradient, including 1 / T.
    pub scale: Total,
    pub needs_total: bool,
}

impl<T: Real> Distillation<'_, T> {
    fn rows_per_block(&self) -> usize {
        (rows_in_block::<T>(self.layout.classes) / 2).max(1)
    }
}

impl<T: Real> Blocks for Distillation<'_, T> {
    fn count(&self) -> usize {
        if self.layout.samples == 0 { 0 } else { self.layout.outer.div_ceil(self.rows_per_block()) }
    }
    fn cycles(&self) -> usize {
        5 * self.rows_per_block().min(self.layout.outer) * self.layout.classes
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let first = index * self.rows_per_block();
        let count = self.rows_per_block().min(self.layout.outer - first);
        isa.dispatch(Block { call: self, first, count })
    }
}

struct Block<'a, 'b, T> {
    call: &'a Distillation<'b, T>,
    first: usize,
    count: usize,
}

impl<T: Real> Kernel for Block<'_, '_, T> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> Partial {
        let Block { call, first, count } = self;
        let (mut room, mut sum) = ([T::ZERO; KEPT], Total::ZERO);
        for row in first..first + count {
            let weight = call.row_weight.map_or(T::from_f64(1.0), |weights| weights.get(row));
            let loss = call.row(s, row, weight, &mut room);
            if let Some(out) = call.loss {
                out.set(row, loss);
            }
            sum = sum.merge(Total::new(loss.to_f64()));
        }
        Partial { total: if call.needs_total { sum } else { Total::ZERO }, out_of_domain: false }
    }
}

impl<T: Real> Distillation<'_, T> {
    /// Returns the loss of a row and writes its gradient.
    #[inline(always)]
    #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
    fn row<S: Lanes>(&self, s: S, row: usize, weight: T, room: &mut [T; KEPT]) -> T {
        let (at, len) = (self.layout.offset(row), self.layout.classes);
        let grad = match self.grad {
            Some(grad) => Some(grad.slice(at, len)),
            None => None,
        };
        if weight == T::ZERO {
            if let (Some(grad), false) = (grad, self.accumulate) {
                grad.fill(T::ZERO);
            }
            return T::ZERO;
        }
        let (teacher, student) = (self.teacher.slice(at, len), self.student.slice(at, len));
        let is_reverse = self.divergence == Divergence::Reverse;
        let logits = if is_reverse { [student, teacher] } else { [teacher, student] };
        let is_mixture = matches!(self.divergence, Divergence::Mixture { .. });
        let room = Out::from(&mut room[..]);
        let kept = match grad {
            _ if !is_mixture && grad.is_none() => None,
            _ if len <= KEPT => Some(room.slice(0, len)),
            Some(grad) if !self.accumulate && !student.begins_with(grad) => Some(grad),
            _ => None,
        };
        let found = [maximum(s, logits[0]), maximum(s, logits[1])];
        let ratios = Ratios::new(s, logits, found, self.temperature, is_reverse);
        let (ratios, solution) = ratios.solve(kept);
        if solution.divergence.is_nan() {
            // if one of the rows has no distribution, the gradient is NaN for every class
            if let Some(grad) = grad {
                grad.fill(T::NAN);
            }
            return T::NAN;
        }
        let (factor, exponent) = of_usual_size::<T>(self.scale.mul(Total::new(weight.to_f64())));
        let row = Solved { ratios, solution, kept, room, stride: self.layout.outer_stride };
        let Divergence::Mixture { beta } = self.divergence else {
            if let Some(grad) = grad {
                let to = Sink { grad, accumulate: self.accumulate, exponent };
                let factors = solution.factors(factor);
                if is_reverse {
                    row.emit(ReverseGrad { factor: splat_factor(s, factors[0]), to });
                } else {
                    row.emit(ForwardGrad { factors: [splat_factor(s, factors[0]), splat_factor(s, factors[1])], to });
                }
            }
            return T::from_f64(weight.to_f64() * solution.divergence);
        };
        let mixture = Mixture::new(s, beta, &solution);
        let sums = row.emit(MixtureTerms { mixture, sums: [S::per_group(LaneSum::zero(s)); 2] }).sums;
        let scale = Total::new(T::EXP.unshift());
        let [p, q] = [total::<S, T>(s, sums[0]).mul(scale), total::<S, T>(s, sums[1]).mul(scale)];
        if let Some(grad) = grad {
            let [of_p, of_q] = solution.factors(factor.mul(Total::new(1.0).merge(Total::new(-beta))));
            let factors = [splat_factor(s, of_p), splat_factor(s, of_q)];
            let to = Sink { grad, accumulate: self.accumulate, exponent };
            row.emit(MixtureGrad { mixture, mean: Pair::splat(s, q.split()), factors, to });
        }
        T::from_f64(weight.to_f64() * (beta * p.value() + (1.0 - beta) * q.value()))
    }
}

/// Where the gradient of a row is written.
#[derive(Clone, Copy)]
struct Sink<'a, T> {
    grad: Out<'a, T>,
    accumulate: bool,
    /// The exponent of a power of two that the gradient must still be multiplied by. It is not 0 if the factor is very
    /// large or very small.
    exponent: i32,
}

impl<T: Real> Sink<'_, T> {
    /// Writes the `i`-th vector of the group at `at`.
    #[inline(always)]
    fn put<S: Lanes>(&self, at: usize, len: usize, i: usize, x: Pack<S, T>) {
        if self.exponent != 0 {
            let (mut made, first) = ([T::ZERO; MAX_GROUP], i * Pack::<S, T>::LANES);
            T::store_partial(x.s, &mut made[..Pack::<S, T>::LANES], x.v);
            let count = Pack::<S, T>::LANES.min(len - first);
            return finish_all(
                In::from(&made[..count]),
                self.exponent,
                self.grad.slice(at + first, count),
                self.accumulate,
            );
        }
        let to = self.grad.part(at, len);
        to.store(i, if self.accumulate { to.as_group().load(x.s, i) + x } else { x });
    }
}

/// The square root of the factor that undoes the scaling of exponentials. The factor is applied in two steps, so that
/// numbers which are multiplied by large numbers later do not become subnormal first.
#[inline(always)]
fn half_unshift<S: Lanes, T: Real>(s: S) -> Pack<S, T> {
    let power = if size_of::<T>() == size_of::<f32>() { 1.0 / 4_294_967_296.0 } else { 2.938_735_877_055_719e-39 };
    splat(s, T::from_f64(power))
}

/// The factor of the gradient in all lanes.
#[inline(always)]
fn splat_factor<S: Lanes, T: Real>(s: S, factor: Total) -> Pack<S, T> {
    splat(s, T::from_f64(factor.value()))
}

/// z, which is about -|log(q_j / p_j)|: the logarithm of the ratio of the exponential that is not kept to the one that
/// is. `below` has the halves of log(p_j / q_j).
#[inline(always)]
fn exponent<S: Lanes, T: Real>(kept: Pack<S, T>, below: [T::Extended<S>; 2]) -> Pair<S, T> {
    let d = T::Extended::split::<T>(below);
    let is_y = kept.lt(kept.c(0.0));
    let hi = is_y.select(d.hi, -d.hi);
    // if it is larger, the exponential is 0 anyway
    let bounded = hi.at_most(kept.c(40.0));
    Pair { hi: bounded, lo: bounded.same(hi).keep(is_y.select(d.lo, -d.lo)) }
}

#[derive(Clone, Copy)]
struct ForwardGrad<'a, S: Lanes, T: Real> {
    factors: [Pack<S, T>; 2],
    to: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Emission<S, T> for ForwardGrad<'_, S, T> {
    const BELOW_MEAN: bool = false;

    #[inline(always)]
    fn vector(&mut self, kept: Pack<S, T>, below: [T::Extended<S>; 2], at: usize, len: usize, i: usize) {
        let [p, q] = self.factors;
        let half = half_unshift(kept.s);
        // of p_j (e^z - 1) and -q_j (e^z - 1)
        let less_one = expm1_pair(exponent(kept, below)).less_one.hi;
        let factor = kept.lt(kept.c(0.0)).select(q, p);
        self.to.put(at, len, i, (((kept * half) * factor) * less_one) * half);
    }
}

#[derive(Clone, Copy)]
struct ReverseGrad<'a, S: Lanes, T: Real> {
    factor: Pack<S, T>,
    to: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Emission<S, T> for ReverseGrad<'_, S, T> {
    const BELOW_MEAN: bool = true;

    #[inline(always)]
    fn vector(&mut self, kept: Pack<S, T>, below: [T::Extended<S>; 2], at: usize, len: usize, i: usize) {
        let slope = T::Extended::split::<T>(below).hi;
        let half = half_unshift(kept.s);
        let slope = kept.same(kept.c(0.0)).drop(slope);
        self.to.put(at, len, i, (((kept * half) * self.factor) * slope) * half);
    }
}

/// `x + error - mean`, where `hi` is the nearest number. If these are not finite, it is x - mean.
#[inline(always)]
fn less<S: Lanes, T: Real>(x: Pack<S, T>, error: Pack<S, T>, mean: Pair<S, T>) -> Pair<S, T> {
    let difference = two_diff(x, mean.hi);
    let error = difference.lo + (error - mean.lo);
    fast_two_sum(difference.hi, error.same(error).keep(error))
}

/// The shares of the mixture, and the factors that turn exponentials into probabilities. Their rounding errors would
/// shift all logarithms of a row in the same direction.
#[derive(Clone, Copy)]
struct Mixture<S: Lanes, T: Real> {
    /// beta, 1 - beta
    share: [Pair<S, T>; 2],
    /// 1 / sum of all exponentials.
    recip: [Pack<S, T>; 2],
}

/// The mixture for some classes. The exponential that is kept belongs to a, and the other one to b.
struct Mixed<S: Lanes, T: Real> {
    /// Whether a is q and b is p.
    is_y: Mask<S, T>,
    /// m / a
    m: Pack<S, T>,
    /// b / a, shifted
    other: Pack<S, T>,
    /// a / m and b / m
    ratio: [Pair<S, T>; 2],
    /// The two ratios minus 1.
    excess: [Pack<S, T>; 2],
}

impl<S: Lanes, T: Real> Mixture<S, T> {
    #[inline(always)]
    fn new(s: S, beta: f64, solution: &Solution) -> Self {
        // (1 - beta cannot be represented in f64 if beta is small)
        let rest = Total::new(1.0).merge(Total::new(-beta));
        let [p, q] = solution.factors(Total::new(1.0));
        Mixture {
            share: [Pair::splat(s, Total::new(beta).split()), Pair::splat(s, rest.split())],
            recip: [splat_factor(s, p), splat_factor(s, q)],
        }
    }

    #[inline(always)]
    fn of(&self, kept: Pack<S, T>, below: [T::Extended<S>; 2]) -> Mixed<S, T> {
        let Expm1Pair { exp_shifted, less_one } = expm1_pair(exponent(kept, below));
        let exp = exp_shifted.times_power(unshift(kept.s));
        let is_y = kept.lt(kept.c(0.0));
        let [p, q] = self.share;
        let [a, b] = [Pair::select(is_y, q, p), Pair::select(is_y, p, q)];
        let part = exp.product(b);
        let sum = two_sum(a.hi, part.hi);
        let m = Pair { hi: sum.hi, lo: sum.lo + (a.lo + part.lo) };
        // if a share or an exponential is 0, m may be 0
        let (zero, one) = (kept.c(0.0), kept.c(1.0));
        let counts = zero.lt(m.hi);
        let inverse = one / counts.select(m.hi, one);
        let d = quotient(less_one, m, inverse);
        let [over_a, over_b] = [d.product(a), d.product(b)];
        Mixed {
            is_y,
            m: counts.keep(m.hi),
            other: exp_shifted.hi,
            ratio: [quotient(Pair::new(one), m, inverse), quotient(exp, m, inverse)],
            excess: [-over_b.round(), over_a.round()],
        }
    }
}

/// a / m; `hi` need not be the nearest number.
#[inline(always)]
fn quotient<S: Lanes, T: Real>(a: Pair<S, T>, m: Pair<S, T>, inverse: Pack<S, T>) -> Pair<S, T> {
    let hi = a.hi * inverse;
    let rest = (-hi).fma(m.hi, a.hi) + ((-hi).fma(m.lo, a.lo));
    Pair { hi, lo: rest * inverse }
}

#[derive(Clone, Copy)]
struct MixtureTerms<S: Lanes, T: Real> {
    mixture: Mixture<S, T>,
    /// The sums of m f(p / m) and of m f(q / m).
    sums: [S::PerGroup<LaneSum<S>>; 2],
}

impl<S: Lanes, T: Real> Emission<S, T> for MixtureTerms<S, T> {
    const BELOW_MEAN: bool = false;

    #[inline(always)]
    fn vector(&mut self, kept: Pack<S, T>, below: [T::Extended<S>; 2], _: usize, _: usize, i: usize) {
        let Mixed { is_y, m, ratio, excess, .. } = self.mixture.of(kept, below);
        let [p, q] = self.mixture.recip;
        let m = (kept.abs() * is_y.select(q, p)) * m;
        let terms = [m * x_log_x(ratio[0], excess[0]).0, m * x_log_x(ratio[1], excess[1]).0];
        self.sums[0].as_mut()[i].add(is_y.select(terms[1], terms[0]));
        self.sums[1].as_mut()[i].add(is_y.select(terms[0], terms[1]));
    }
}

#[derive(Clone, Copy)]
struct MixtureGrad<'a, S: Lanes, T: Real> {
    mixture: Mixture<S, T>,
    /// KL(q || m)
    mean: Pair<S, T>,
    factors: [Pack<S, T>; 2],
    to: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Emission<S, T> for MixtureGrad<'_, S, T> {
    const BELOW_MEAN: bool = false;

    #[inline(always)]
    fn vector(&mut self, kept: Pack<S, T>, below: [T::Extended<S>; 2], at: usize, len: usize, i: usize) {
        let Mixed { is_y, other, ratio, excess, .. } = self.mixture.of(kept, below);
        let [a, b] = ratio;
        let ratio = Pair::select(is_y, a, b);
        let (_, log) = x_log_x(ratio, is_y.select(excess[0], excess[1]));
        let slope = less(log, log.c(0.0), self.mean);
        let [p, q] = self.factors;
        let half = half_unshift(kept.s);
        let of_q = is_y.select(other.c(1.0 / T::EXP.unshift()), other);
        let weight = ((kept.abs() * half) * (of_q * half) * half) * is_y.select(q, p);
        let more = weight * slope.lo;
        self.to.put(at, len, i, weight.fma(slope.hi, more.same(more).keep(more)) * half);
    }
}
