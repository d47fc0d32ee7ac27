//! How far two rows' softmaxes are from each other: Kullback-Leibler either way, and the generalised Jensen-Shannon
//! divergence between.
//!
//! ```text
//! p = softmax(x / T), q = softmax(y / T)            a_j = x_j - max x, b_j = y_j - max y
//! KL(p || q) = sum of p_j g_j  +  log1p(rest of q) - log1p(rest of p),      g_j = (a_j - b_j) / T
//! its gradient with respect to y: (q_j - p_j) / T;   to x: p_j (g_j - sum of p_k g_k) / T
//!
//! w KL(p || m) + (1 - w) KL(q || m), m = w p + (1 - w) q:
//!     w sum of m_j f(p_j / m_j) + (1 - w) sum of m_j f(q_j / m_j),          f(u) = u log u - (u - 1) >= 0
//! ```
//! For each row:
//! - the largest of x and y; then both exponentials of each class, relative to these, with the sums of rest and of
//!   p_j g_j in the same pass. A divergence to the mixture m needs p and q first, so its sums are a pass of their own;
//! - rows that are short enough keep their exponentials on the stack for what follows; longer ones make them anew, as
//!   there is no room for two arrays, and the gradient may be where the logits are.
//!
//! The rest leaves out one class that attains the maximum: so the divergence of confident rows keeps its digits.

use super::class_rows::{Groups, each_group, maximum, rows_in_block};
use crate::parallel::{Blocks, Partial};
use crate::shape::Layout;
use crate::simd::view::{In, Out};
use crate::simd::{
    Isa, Kernel, LaneSum, Lanes, Mask, Pack, Real, Temperature, TemperedExp, Total, log1p, splat, total, unshift,
    x_log_x,
};

/// Longest row whose exponentials are kept.
const KEPT: usize = 2048;

/// What is between the teacher's distribution p and the student's distribution q.
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
    pub temperature: Temperature<T>,
    /// Rows of weight 0 are not read.
    pub row_weight: Option<In<'a, T>>,
    /// One value a row.
    pub loss: Option<Out<'a, T>>,
    /// Of the student's logits.
    pub grad: Option<Out<'a, T>>,
    pub accumulate: bool,
    /// A factor of the gradient, 1 / T included.
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
        let (mut kept, mut sum) = ([[T::ZERO; KEPT]; 2], Total::ZERO);
        for row in first..first + count {
            let weight = call.row_weight.map_or(T::from_f64(1.0), |weights| weights.get(row));
            let loss = call.row(s, row, weight, &mut kept);
            if let Some(out) = call.loss {
                out.set(row, loss);
            }
            sum = sum.merge(Total::new(loss.to_f64()));
        }
        Partial { total: if call.needs_total { sum } else { Total::ZERO }, out_of_domain: false }
    }
}

impl<T: Real> Distillation<'_, T> {
    /// A row's loss; its gradient is written.
    #[inline(always)]
    fn row<S: Lanes>(&self, s: S, row: usize, weight: T, kept: &mut [[T; KEPT]; 2]) -> T {
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
        let [x, y] = if is_reverse { [student, teacher] } else { [teacher, student] };
        let is_mixture = matches!(self.divergence, Divergence::Mixture { .. });
        let kept = if len <= KEPT && (is_mixture || grad.is_some()) {
            let [p, q] = kept;
            Some([Out::from(&mut p[..len]), Out::from(&mut q[..len])])
        } else {
            None
        };
        let pair = RowPair::new(s, [x, y], self.temperature, kept);
        let factor = self.scale.mul(Total::new(weight.to_f64()));
        let loss = if let Divergence::Mixture { beta } = self.divergence {
            let sums = pair.sum::<false>();
            let mixture = Mixture::new(s, beta, &sums);
            let terms = MixtureTerms { pair, mixture, sums: [S::per_group(LaneSum::zero(s)); 2] };
            let terms = each_group::<T, _>(len, terms).sums;
            let [p, q] = [total::<S, T>(s, terms[0]), total::<S, T>(s, terms[1])];
            let scale = Total::new(T::EXP.unshift());
            let (p, q) = (p.mul(scale), q.mul(scale));
            if let Some(grad) = grad {
                let mean = splat(s, T::from_f64(q.value()));
                let factor = splat(s, T::from_f64(factor.value() * (1.0 - beta)));
                each_group::<T, _>(len, MixtureGrad { pair, mixture, mean, factor, out: self.sink(grad) });
            }
            let loss = beta * p.value() + (1.0 - beta) * q.value();
            if (sums.rest[0] + sums.rest[1]).is_nan() { f64::NAN } else { loss }
        } else {
            let sums = pair.sum::<true>();
            let [log_p, log_q] = [sums.log(s, 0), sums.log(s, 1)];
            let mean = sums.gap / sums.all(0);
            if let Some(grad) = grad {
                let out = self.sink(grad);
                let factors = [sums.factor(factor, 0), sums.factor(factor, 1)];
                let factors = [splat(s, factors[0]), splat(s, factors[1])];
                if is_reverse {
                    let mean = splat(s, T::from_f64(mean));
                    each_group::<T, _>(len, ReverseGrad { pair, mean, factor: factors[0], out });
                } else {
                    each_group::<T, _>(len, ForwardGrad { pair, factors, out });
                }
            }
            let loss = mean + (log_q - log_p);
            // what rounding leaves of nothing
            if loss < 0.0 { 0.0 } else { loss }
        };
        T::from_f64(weight.to_f64() * loss)
    }

    fn sink<'a>(&self, grad: Out<'a, T>) -> Sink<'a, T> {
        Sink { grad, accumulate: self.accumulate }
    }
}

/// Where a row's gradient goes.
#[derive(Clone, Copy)]
struct Sink<'a, T> {
    grad: Out<'a, T>,
    accumulate: bool,
}

impl<T: Real> Sink<'_, T> {
    /// The `i`-th vector of the group at `at`.
    #[inline(always)]
    fn put<S: Lanes>(&self, at: usize, len: usize, i: usize, x: Pack<S, T>) {
        let to = self.grad.part(at, len);
        to.store(i, if self.accumulate { to.as_group().load(x.s, i) + x } else { x });
    }
}

/// x and y, and their exponentials.
#[derive(Clone, Copy)]
struct RowPair<'a, S: Lanes, T: Real> {
    logits: [In<'a, T>; 2],
    max: [Pack<S, T>; 2],
    exp: [TemperedExp<S, T>; 2],
    inverse: Pack<S, T>,
    /// Room for the exponentials, shifted as they are.
    kept: Option<[Out<'a, T>; 2]>,
    /// Whether both have a largest logit, and it is a number.
    is_number: bool,
}

/// What a row adds up to. `rest` leaves out one class that attains the maximum; NaN if there is no number.
struct RowSums {
    rest: [f64; 2],
    gap: f64,
}

impl RowSums {
    /// The sum of all exponentials.
    #[inline(always)]
    fn all(&self, which: usize) -> f64 {
        1.0 + self.rest[which]
    }
    /// Its logarithm.
    #[inline(always)]
    fn log<S: Lanes>(&self, s: S, which: usize) -> f64 {
        log1p(splat::<S, f64>(s, self.rest[which])).first()
    }
    /// What makes a probability of an exponential, times a factor.
    #[inline(always)]
    fn factor<T: Real>(&self, factor: Total, which: usize) -> T {
        T::from_f64(factor.value() / self.all(which))
    }
}

impl<'a, S: Lanes, T: Real> RowPair<'a, S, T> {
    #[inline(always)]
    fn new(s: S, logits: [In<'a, T>; 2], temperature: Temperature<T>, kept: Option<[Out<'a, T>; 2]>) -> Self {
        let found = [maximum(s, logits[0]), maximum(s, logits[1])];
        let is_number = found[0].to_f64().is_finite() && found[1].to_f64().is_finite();
        let max = if is_number { found } else { [T::ZERO; 2] };
        let max = [splat(s, max[0]), splat(s, max[1])];
        let exp = [TemperedExp::new(max[0], temperature), TemperedExp::new(max[1], temperature)];
        RowPair { logits, max, exp, inverse: splat(s, temperature.inverse), kept, is_number }
    }

    /// With `GAP` the sum of p_j g_j too.
    #[inline(always)]
    fn sum<const GAP: bool>(self) -> RowSums {
        let s = self.inverse.s;
        let zeros = S::per_group(LaneSum::zero(s));
        let pass = Sums::<S, T, GAP> { pair: self, rest: [zeros; 2], gap: zeros, far: zeros, ties: [0; 2] };
        let Sums { rest, gap, far, ties, .. } = each_group::<T, _>(self.logits[0].len(), pass);
        let scale = Total::new(T::EXP.unshift());
        let rest = [total::<S, T>(s, rest[0]), total::<S, T>(s, rest[1])];
        let others = [ties[0] as f64 - 1.0, ties[1] as f64 - 1.0];
        let rest = [rest[0].mul(scale).merge(Total::new(others[0])), rest[1].mul(scale).merge(Total::new(others[1]))];
        let gap = match GAP {
            true => total::<S, T>(s, gap).mul(scale).merge(total::<S, T>(s, far)),
            false => Total::ZERO,
        };
        let or_nan = if self.is_number { 0.0 } else { f64::NAN };
        RowSums { rest: [rest[0].value() + or_nan, rest[1].value() + or_nan], gap: gap.value() }
    }

    /// The `i`-th vector of x (0) or y (1) in the group at `at`; -inf where there is none.
    #[inline(always)]
    fn load(&self, which: usize, at: usize, len: usize, i: usize) -> Pack<S, T> {
        let s = self.inverse.s;
        self.logits[which].part(at, len).load_or(s, i, splat(s, -T::INFINITY))
    }

    /// Exponentials as `sum` has them.
    #[inline(always)]
    fn exponential(&self, which: usize, at: usize, len: usize, i: usize) -> Pack<S, T> {
        match self.kept {
            Some(kept) => kept[which].as_in().part(at, len).load(self.inverse.s, i),
            None => self.exp[which].shifted(self.load(which, at, len, i)),
        }
    }

    /// g_j
    #[inline(always)]
    fn gap(&self, x: Pack<S, T>, y: Pack<S, T>) -> Pack<S, T> {
        ((x - self.max[0]) - (y - self.max[1])) * self.inverse
    }

    /// p_j g_j where g_j is large or no number: what can be added to the others, and what is too large for that and not
    /// shifted.
    #[inline(always)]
    fn large_terms(&self, x: Pack<S, T>, y: Pack<S, T>, e: Pack<S, T>) -> [Pack<S, T>; 2] {
        let (zero, lowest, half) = (x.c(0.0), x.c(f64::NEG_INFINITY), x.c(0.5));
        let gap = self.gap(x, y);
        let usual = is_usual(gap);
        let difference = (x * half - self.max[0] * half) - (y * half - self.max[1] * half);
        let far = ((e * unshift(x.s)) * self.inverse) * difference * x.c(2.0);
        let far = (usual | e.same(zero)).select(zero, far);
        // p_j may be below the smallest number
        let infinite = y.same(lowest) & lowest.lt(x);
        [usual.select(e * gap, zero), infinite.select(x.c(f64::INFINITY), far)]
    }
}

/// Whether a shifted exponential times it is no larger than numbers can be.
#[inline(always)]
fn is_usual<S: Lanes, T: Real>(gap: Pack<S, T>) -> Mask<S, T> {
    let limit = if size_of::<T>() == size_of::<f32>() { 1e18 } else { 1e200 };
    gap.abs().lt(gap.c(limit))
}

#[derive(Clone, Copy)]
struct Sums<'a, S: Lanes, T: Real, const GAP: bool> {
    pair: RowPair<'a, S, T>,
    rest: [S::PerGroup<LaneSum<S>>; 2],
    gap: S::PerGroup<LaneSum<S>>,
    far: S::PerGroup<LaneSum<S>>,
    /// Elements that attain each maximum; their exponentials are not in `rest`.
    ties: [usize; 2],
}

impl<S: Lanes, T: Real, const GAP: bool> Groups for Sums<'_, S, T, GAP> {
    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let pair = self.pair;
        let s = pair.inverse.s;
        let lowest = splat(s, -T::INFINITY);
        let zero = lowest.c(0.0);
        let vectors = pair.logits[0].part(at, len).vectors::<S>();
        // vectors half a group apart are added to each other
        let half = Pack::<S, T>::PER_GROUP / 2;
        for i in 0..half.min(vectors) {
            let other = i + half;
            let has_other = other < vectors;
            let load = [
                [pair.load(0, at, len, i), if has_other { pair.load(0, at, len, other) } else { lowest }],
                [pair.load(1, at, len, i), if has_other { pair.load(1, at, len, other) } else { lowest }],
            ];
            let mut p = [zero; 2];
            for which in 0..2 {
                let [a, b] = load[which];
                let e = [pair.exp[which].shifted(a), pair.exp[which].shifted(b)];
                if let Some(kept) = pair.kept {
                    let kept = kept[which].part(at, len);
                    kept.store(i, e[0]);
                    if has_other {
                        kept.store(other, e[1]);
                    }
                }
                let mut terms = e;
                let ties = [a.same(pair.max[which]), b.same(pair.max[which])];
                if (ties[0] | ties[1]).any() {
                    self.ties[which] += ties[0].count() + ties[1].count();
                    terms = [ties[0].select(zero, e[0]), ties[1].select(zero, e[1])];
                }
                self.rest[which].as_mut()[i].add_two(terms[0], terms[1]);
                if which == 0 {
                    p = e;
                }
            }
            if GAP {
                let [x, y] = load;
                let gaps = [pair.gap(x[0], y[0]), pair.gap(x[1], y[1])];
                let mut terms = [p[0] * gaps[0], p[1] * gaps[1]];
                if !(is_usual(gaps[0]) & is_usual(gaps[1])).all() {
                    let [first, second] = [pair.large_terms(x[0], y[0], p[0]), pair.large_terms(x[1], y[1], p[1])];
                    terms = [first[0], second[0]];
                    self.far.as_mut()[i].add_two(first[1], second[1]);
                }
                self.gap.as_mut()[i].add_two(terms[0], terms[1]);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct ForwardGrad<'a, S: Lanes, T: Real> {
    pair: RowPair<'a, S, T>,
    factors: [Pack<S, T>; 2],
    out: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Groups for ForwardGrad<'_, S, T> {
    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let ForwardGrad { pair, factors, out } = *self;
        let unshift = unshift(pair.inverse.s);
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let p = (pair.exponential(0, at, len, i) * unshift) * factors[0];
            let q = pair.exponential(1, at, len, i) * unshift;
            out.put(at, len, i, q.fma(factors[1], -p));
        }
    }
}

#[derive(Clone, Copy)]
struct ReverseGrad<'a, S: Lanes, T: Real> {
    pair: RowPair<'a, S, T>,
    /// The sum of p_k g_k.
    mean: Pack<S, T>,
    factor: Pack<S, T>,
    out: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Groups for ReverseGrad<'_, S, T> {
    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let ReverseGrad { pair, mean, factor, out } = *self;
        let unshift = unshift(mean.s);
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let e = pair.exponential(0, at, len, i);
            let gap = pair.gap(pair.load(0, at, len, i), pair.load(1, at, len, i));
            let slope = e.same(e.c(0.0)).select(e.c(0.0), gap - mean);
            out.put(at, len, i, ((e * unshift) * factor) * slope);
        }
    }
}

/// What makes the mixture of two distributions.
#[derive(Clone, Copy)]
struct Mixture<S: Lanes, T: Real> {
    /// 1 / sum of all exponentials.
    recip: [Pack<S, T>; 2],
    /// beta, 1 - beta
    share: [Pack<S, T>; 2],
}

/// p, q and m of some classes, shifted, and p / m, q / m with what they are more than 1.
struct Mixed<S: Lanes, T: Real> {
    q: Pack<S, T>,
    m: Pack<S, T>,
    ratio: [Pack<S, T>; 2],
    excess: [Pack<S, T>; 2],
}

impl<S: Lanes, T: Real> Mixture<S, T> {
    #[inline(always)]
    fn new(s: S, beta: f64, sums: &RowSums) -> Self {
        let recip = [1.0 / sums.all(0), 1.0 / sums.all(1)];
        Mixture {
            recip: [splat(s, T::from_f64(recip[0])), splat(s, T::from_f64(recip[1]))],
            share: [splat(s, T::from_f64(beta)), splat(s, T::from_f64(1.0 - beta))],
        }
    }

    #[inline(always)]
    fn of(&self, p: Pack<S, T>, q: Pack<S, T>) -> Mixed<S, T> {
        let (p, q) = (p * self.recip[0], q * self.recip[1]);
        let m = self.share[0].fma(p, self.share[1] * q);
        // what is so small, shifted as it is, is below the smallest number
        let tiny = if size_of::<T>() == size_of::<f32>() { 2e-36 } else { 2e-306 };
        let counts = p.c(tiny).lt(m);
        let inverse = p.c(1.0) / counts.select(m, p.c(1.0));
        let d = (q - p) * inverse;
        Mixed {
            q,
            m: counts.keep(m),
            ratio: [p * inverse, q * inverse],
            excess: [-(self.share[1] * d), self.share[0] * d],
        }
    }
}

#[derive(Clone, Copy)]
struct MixtureTerms<'a, S: Lanes, T: Real> {
    pair: RowPair<'a, S, T>,
    mixture: Mixture<S, T>,
    /// Of m f(p / m) and m f(q / m).
    sums: [S::PerGroup<LaneSum<S>>; 2],
}

impl<S: Lanes, T: Real> Groups for MixtureTerms<'_, S, T> {
    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let MixtureTerms { pair, mixture, .. } = *self;
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let mixed = mixture.of(pair.exponential(0, at, len, i), pair.exponential(1, at, len, i));
            for which in 0..2 {
                let term = mixed.m * x_log_x(mixed.ratio[which], mixed.excess[which]).0;
                self.sums[which].as_mut()[i].add(term);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct MixtureGrad<'a, S: Lanes, T: Real> {
    pair: RowPair<'a, S, T>,
    mixture: Mixture<S, T>,
    /// KL(q || m)
    mean: Pack<S, T>,
    factor: Pack<S, T>,
    out: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Groups for MixtureGrad<'_, S, T> {
    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let MixtureGrad { pair, mixture, mean, factor, out } = *self;
        let unshift = unshift(mean.s);
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let mixed = mixture.of(pair.exponential(0, at, len, i), pair.exponential(1, at, len, i));
            let log = x_log_x(mixed.ratio[1], mixed.excess[1]).1;
            out.put(at, len, i, ((mixed.q * unshift) * factor) * (log - mean));
        }
    }
}
