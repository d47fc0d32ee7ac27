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
//! - the largest of x and y; then, part by part, the exponentials of x relative to it, and those of y with the sum of
//!   p_j g_j. A divergence to the mixture m needs p and q first, so its sums are a pass of their own;
//! - rows that are short enough keep their exponentials on the stack for what follows; longer ones make them anew, as
//!   there is no room for two arrays; but the student's wait where the gradient will be, if nothing is there.
//!
//! The rest leaves out one class that attains the maximum: so the divergence of confident rows keeps its digits.

use super::class_rows::{Groups, each_group, maximum, rows_in_block, without_maxima};
use crate::parallel::{Blocks, Partial};
use crate::shape::Layout;
use crate::simd::view::{In, Out};
use crate::simd::{
    Isa, Kernel, LaneSum, Lanes, Mask, Pack, Pair, Real, Temperature, TemperedExp, Total, fast_two_sum, log1p, splat,
    total, two_diff, two_sum, unshift, x_log_x,
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
    #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
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
        let [p, q] = kept;
        let room = [Out::from(&mut p[..]), Out::from(&mut q[..])];
        let kept = match grad {
            _ if len <= KEPT && (is_mixture || grad.is_some()) => {
                [Some(room[0].slice(0, len)), Some(room[1].slice(0, len))]
            }
            Some(grad) if !self.accumulate && !student.begins_with(grad) => {
                if is_reverse {
                    [Some(grad), None]
                } else {
                    [None, Some(grad)]
                }
            }
            _ => [None; 2],
        };
        let pair = RowPair::new(s, [x, y], self.temperature, kept, self.layout.outer_stride);
        let factor = self.scale.mul(Total::new(weight.to_f64()));
        let loss = if let Divergence::Mixture { beta } = self.divergence {
            let sums = pair.sum::<false>(room[0]);
            let mixture = Mixture::new(s, beta, &sums);
            let terms = MixtureTerms { pair, mixture, sums: [S::per_group(LaneSum::zero(s)); 2] };
            let terms = each_group::<T, _>(len, terms).sums;
            let [p, q] = [total::<S, T>(s, terms[0]), total::<S, T>(s, terms[1])];
            let scale = Total::new(T::EXP.unshift());
            let (p, q) = (p.mul(scale), q.mul(scale));
            if let Some(grad) = grad {
                let mean = splat_pair(s, q);
                let rest = Total::new(1.0).merge(Total::new(-beta));
                let weight = splat_pair(s, factor.mul(rest).over(sums.all(1)));
                each_group::<T, _>(len, MixtureGrad { pair, mixture, mean, weight, out: self.sink(grad) });
            }
            let loss = beta * p.value() + (1.0 - beta) * q.value();
            if (sums.rest[0].hi + sums.rest[1].hi).is_nan() { f64::NAN } else { loss }
        } else {
            let sums = pair.sum::<true>(room[0]);
            let [log_p, log_q] = [sums.log(s, 0), sums.log(s, 1)];
            let gap = sums.gap.over(sums.all(0));
            let mean = gap.value();
            if let Some(grad) = grad {
                let out = self.sink(grad);
                let factors = [sums.factor(factor, 0), sums.factor(factor, 1)];
                let factors = [splat(s, factors[0]), splat(s, factors[1])];
                if is_reverse {
                    let mean = splat_pair(s, gap);
                    let factor = sums.factor(factor.over(Total::new(self.temperature.value)), 0);
                    each_group::<T, _>(len, ReverseGrad { pair, mean, factor: splat(s, factor), out });
                } else {
                    each_group::<T, _>(len, ForwardGrad { pair, factors, out });
                }
            }
            let loss = mean / self.temperature.value + (log_q - log_p);
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
    /// Room for the exponentials, shifted as they are.
    kept: [Option<Out<'a, T>>; 2],
    /// Whether both have a largest logit, and it is a number.
    is_number: bool,
    /// How far the next rows are.
    stride: usize,
}

/// What a row adds up to. `rest` leaves out one class that attains the maximum; NaN if there is no number.
struct RowSums {
    rest: [Total; 2],
    gap: Total,
}

impl RowSums {
    /// The sum of all exponentials.
    #[inline(always)]
    fn all(&self, which: usize) -> Total {
        Total::new(1.0).merge(self.rest[which])
    }
    /// Its logarithm.
    #[inline(always)]
    fn log<S: Lanes>(&self, s: S, which: usize) -> f64 {
        log1p(splat::<S, f64>(s, self.rest[which].value())).first()
    }
    /// What makes a probability of an exponential, times a factor.
    #[inline(always)]
    fn factor<T: Real>(&self, factor: Total, which: usize) -> T {
        T::from_f64(factor.over(self.all(which)).value())
    }
}

impl<'a, S: Lanes, T: Real> RowPair<'a, S, T> {
    #[inline(always)]
    fn new(
        s: S,
        logits: [In<'a, T>; 2],
        temperature: Temperature<T>,
        kept: [Option<Out<'a, T>>; 2],
        stride: usize,
    ) -> Self {
        let found = [maximum(s, logits[0]), maximum(s, logits[1])];
        let is_number = found[0].to_f64().is_finite() && found[1].to_f64().is_finite();
        let max = if is_number { found } else { [T::ZERO; 2] };
        let max = [splat(s, max[0]), splat(s, max[1])];
        let exp = [TemperedExp::new(max[0], temperature), TemperedExp::new(max[1], temperature)];
        RowPair { logits, max, exp, kept, is_number, stride }
    }

    /// With `GAP` the sum of p_j g_j T too. `room` is for KEPT exponentials.
    #[inline(always)]
    #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
    fn sum<const GAP: bool>(self, room: Out<'a, T>) -> RowSums {
        let (s, len) = (self.max[0].s, self.logits[0].len());
        let zeros = S::per_group(LaneSum::zero(s));
        let (mut rest, mut ties, mut gap, mut far) = ([zeros; 2], [0; 2], zeros, zeros);
        // x, then y: of either there are enough registers
        let mut start = 0;
        while start < len {
            let count = KEPT.min(len - start);
            let x = self.logits[0].slice(start, count);
            let p = match self.kept[0] {
                Some(kept) => kept.slice(start, count),
                None => room.slice(0, count),
            };
            let stash = if GAP || self.kept[0].is_some() { Some(p) } else { None };
            let [exp, _] = self.exp;
            let pass = Exponentials { exp, max: self.max[0], logits: x, stash, rest: rest[0], ties: ties[0] };
            let pass = each_group::<T, _>(count, pass);
            (rest[0], ties[0]) = (pass.rest, pass.ties);
            let stash = match self.kept[1] {
                Some(kept) => Some(kept.slice(start, count)),
                None => None,
            };
            let [_, exp] = self.exp;
            let logits = self.logits[1].slice(start, count);
            let pass = Exponentials { exp, max: self.max[1], logits, stash, rest: rest[1], ties: ties[1] };
            let pass = if GAP {
                let pass = Gaps { exponentials: pass, x, max: self.max[0], p: p.as_in(), gap, far };
                let pass = each_group::<T, _>(count, pass);
                (gap, far) = (pass.gap, pass.far);
                pass.exponentials
            } else {
                each_group::<T, _>(count, pass)
            };
            (rest[1], ties[1]) = (pass.rest, pass.ties);
            start += count;
        }
        let scale = Total::new(T::EXP.unshift());
        let rest = [total::<S, T>(s, rest[0]), total::<S, T>(s, rest[1])];
        let others = [ties[0] as f64 - 1.0, ties[1] as f64 - 1.0];
        let rest = [rest[0].mul(scale).merge(Total::new(others[0])), rest[1].mul(scale).merge(Total::new(others[1]))];
        let gap = match GAP {
            true => total::<S, T>(s, gap).mul(scale).merge(total::<S, T>(s, far)),
            false => Total::ZERO,
        };
        RowSums { rest: if self.is_number { rest } else { [Total::new(f64::NAN); 2] }, gap }
    }

    /// The `i`-th vector of x (0) or y (1) in the group at `at`; -inf where there is none.
    #[inline(always)]
    fn load(&self, which: usize, at: usize, len: usize, i: usize) -> Pack<S, T> {
        let s = self.max[0].s;
        self.logits[which].part(at, len).load_or(s, i, splat(s, -T::INFINITY))
    }

    /// Asks for a group of the next rows, whose maxima take no longer to find than they take to read.
    #[inline(always)]
    fn prefetch_next(&self, at: usize) {
        self.logits[0].prefetch(at + self.stride);
        self.logits[1].prefetch(at + self.stride);
    }

    /// Exponentials as `sum` has them.
    #[inline(always)]
    fn exponential(&self, which: usize, at: usize, len: usize, i: usize) -> Pack<S, T> {
        match self.kept[which] {
            Some(kept) => kept.as_in().part(at, len).load(self.max[0].s, i),
            None => self.exp[which].shifted(self.load(which, at, len, i)),
        }
    }
}

/// What a shifted exponential may be multiplied by.
#[inline(always)]
fn large<T: Real>() -> f64 {
    if size_of::<T>() == size_of::<f32>() { 1e18 } else { 1e200 }
}

/// Half of [`unshift`]: its square root. What is multiplied by large numbers is not to become subnormal before.
#[inline(always)]
fn half_unshift<S: Lanes, T: Real>(s: S) -> Pack<S, T> {
    let power = if size_of::<T>() == size_of::<f32>() { 1.0 / 4_294_967_296.0 } else { 2.938_735_877_055_719e-39 };
    splat(s, T::from_f64(power))
}

/// The exponentials of a part of x or y.
#[derive(Clone, Copy)]
struct Exponentials<'a, S: Lanes, T: Real> {
    exp: TemperedExp<S, T>,
    max: Pack<S, T>,
    logits: In<'a, T>,
    stash: Option<Out<'a, T>>,
    rest: S::PerGroup<LaneSum<S>>,
    /// Elements that attain the maximum; their exponentials are not in `rest`.
    ties: usize,
}

impl<S: Lanes, T: Real> Exponentials<'_, S, T> {
    /// The `i`-th vector and that half a group further.
    #[inline(always)]
    fn two(&mut self, at: usize, len: usize, i: usize) -> [Pack<S, T>; 2] {
        let s = self.max.s;
        let x = self.logits.part(at, len).load_two(s, i, splat(s, -T::INFINITY));
        let e = [self.exp.shifted(x[0]), self.exp.shifted(x[1])];
        let [e, terms] = without_maxima(e, x, self.max, &mut self.ties);
        if let Some(stash) = self.stash {
            stash.part(at, len).store_two(i, e);
        }
        self.rest.as_mut()[i].add_two(terms[0], terms[1]);
        x
    }
}

impl<S: Lanes, T: Real> Groups for Exponentials<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let vectors = self.logits.part(at, len).vectors::<S>();
        for i in 0..(Pack::<S, T>::PER_GROUP / 2).min(vectors) {
            self.two(at, len, i);
        }
    }
}

/// The exponentials of a part of y, and p_j g_j T, from those of x.
#[derive(Clone, Copy)]
struct Gaps<'a, S: Lanes, T: Real> {
    exponentials: Exponentials<'a, S, T>,
    x: In<'a, T>,
    max: Pack<S, T>,
    p: In<'a, T>,
    gap: S::PerGroup<LaneSum<S>>,
    /// What is too large for the others; not shifted.
    far: S::PerGroup<LaneSum<S>>,
}

impl<S: Lanes, T: Real> Groups for Gaps<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let max = [self.max, self.exponentials.max];
        let s = max[0].s;
        // further below than anything that counts, so that the difference is no NaN where both are masked
        let floor = max[0].c(-1e-1 * large::<T>());
        let (x, p) = (self.x.part(at, len), self.p.part(at, len));
        for i in 0..(Pack::<S, T>::PER_GROUP / 2).min(x.vectors::<S>()) {
            let x = x.load_two(s, i, splat(s, -T::INFINITY));
            let p = p.load_two(s, i, splat(s, T::ZERO));
            let y = self.exponentials.two(at, len, i);
            let gaps =
                [(x[0] - max[0]).at_least(floor) - (y[0] - max[1]), (x[1] - max[0]).at_least(floor) - (y[1] - max[1])];
            let mut terms = [p[0] * gaps[0], p[1] * gaps[1]];
            // NaN is no matter: the result will be NaN
            if floor.c(large::<T>()).le(gaps[0].abs() + gaps[1].abs()).any() {
                let [first, second] =
                    [large_terms(max, [x[0], y[0]], p[0], gaps[0]), large_terms(max, [x[1], y[1]], p[1], gaps[1])];
                terms = [first[0], second[0]];
                self.far.as_mut()[i].add_two(first[1], second[1]);
            }
            self.gap.as_mut()[i].add_two(terms[0], terms[1]);
        }
    }
}

/// p_j g_j T where that difference is large: what can be added to the others, and what is too large for that and not
/// shifted.
#[inline(always)]
fn large_terms<S: Lanes, T: Real>(
    max: [Pack<S, T>; 2],
    [x, y]: [Pack<S, T>; 2],
    e: Pack<S, T>,
    gap: Pack<S, T>,
) -> [Pack<S, T>; 2] {
    let (zero, lowest, half) = (x.c(0.0), x.c(f64::NEG_INFINITY), x.c(0.5));
    let is_large = gap.c(large::<T>()).le(gap.abs());
    let difference = (x * half - max[0] * half) - (y * half - max[1] * half);
    let far = (e * unshift(x.s)) * difference * x.c(2.0);
    let far = e.same(zero).select(zero, is_large.select(far, zero));
    // p_j may be below the smallest number
    let infinite = y.same(lowest) & lowest.lt(x);
    [is_large.select(zero, e * gap), infinite.select(x.c(f64::INFINITY), far)]
}

#[derive(Clone, Copy)]
struct ForwardGrad<'a, S: Lanes, T: Real> {
    pair: RowPair<'a, S, T>,
    factors: [Pack<S, T>; 2],
    out: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Groups for ForwardGrad<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let ForwardGrad { pair, factors, out } = *self;
        pair.prefetch_next(at);
        let unshift = unshift(pair.max[0].s);
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let p = (pair.exponential(0, at, len, i) * unshift) * factors[0];
            let q = pair.exponential(1, at, len, i) * unshift;
            // (not fused, so that equal ones leave nothing)
            out.put(at, len, i, q * factors[1] - p);
        }
    }
}

#[derive(Clone, Copy)]
struct ReverseGrad<'a, S: Lanes, T: Real> {
    pair: RowPair<'a, S, T>,
    /// The sum of p_k g_k T.
    mean: Pair<S, T>,
    factor: Pack<S, T>,
    out: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Groups for ReverseGrad<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let ReverseGrad { pair, mean, factor, out } = *self;
        pair.prefetch_next(at);
        let half = half_unshift(factor.s);
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let e = pair.exponential(0, at, len, i);
            let x = two_diff(pair.load(0, at, len, i), pair.max[0]);
            let y = two_diff(pair.load(1, at, len, i), pair.max[1]);
            let gap = two_diff(x.hi, y.hi);
            let slope = less(gap.hi, gap.lo + (x.lo - y.lo), mean).hi;
            let slope = e.same(e.c(0.0)).select(e.c(0.0), slope);
            out.put(at, len, i, (((e * half) * factor) * slope) * half);
        }
    }
}

/// `x + error - mean`, `hi` the nearest number; where these are not finite, x - mean.
#[inline(always)]
fn less<S: Lanes, T: Real>(x: Pack<S, T>, error: Pack<S, T>, mean: Pair<S, T>) -> Pair<S, T> {
    let difference = two_diff(x, mean.hi);
    let error = difference.lo + (error - mean.lo);
    fast_two_sum(difference.hi, error.same(error).keep(error))
}

/// A number in all lanes, and what that leaves of it.
#[inline(always)]
fn splat_pair<S: Lanes, T: Real>(s: S, x: Total) -> Pair<S, T> {
    let [hi, lo] = x.split();
    Pair { hi: splat(s, hi), lo: splat(s, lo) }
}

/// What makes the mixture of two distributions. Roundings of these would shift a row's logarithms all the same way.
#[derive(Clone, Copy)]
struct Mixture<S: Lanes, T: Real> {
    /// 1 / sum of all exponentials.
    recip: [Pair<S, T>; 2],
    /// beta, 1 - beta
    share: [Pair<S, T>; 2],
}

/// m of some classes, shifted, and p / m, q / m with what they are more than 1.
struct Mixed<S: Lanes, T: Real> {
    m: Pack<S, T>,
    ratio: [Pair<S, T>; 2],
    excess: [Pack<S, T>; 2],
}

impl<S: Lanes, T: Real> Mixture<S, T> {
    #[inline(always)]
    fn new(s: S, beta: f64, sums: &RowSums) -> Self {
        let one = Total::new(1.0);
        // (1 - beta is no f64 where beta is small)
        let rest = one.merge(Total::new(-beta));
        Mixture {
            recip: [splat_pair(s, one.over(sums.all(0))), splat_pair(s, one.over(sums.all(1)))],
            share: [splat_pair(s, Total::new(beta)), splat_pair(s, rest)],
        }
    }

    /// Of exponentials.
    #[inline(always)]
    fn of(&self, p: Pair<S, T>, q: Pair<S, T>) -> Mixed<S, T> {
        let (p, q) = (product(p, self.recip[0]), product(q, self.recip[1]));
        let (a, b) = (product(p, self.share[0]), product(q, self.share[1]));
        let sum = two_sum(a.hi, b.hi);
        let m = Pair { hi: sum.hi, lo: sum.lo + (a.lo + b.lo) };
        // what is so small, shifted as it is, is below the smallest number
        let tiny = if size_of::<T>() == size_of::<f32>() { 2e-36 } else { 2e-306 };
        let one = m.hi.c(1.0);
        let counts = one.c(tiny).lt(m.hi);
        let inverse = one / counts.select(m.hi, one);
        let d = ((q.hi - p.hi) + (q.lo - p.lo)) * inverse;
        Mixed {
            m: counts.keep(m.hi),
            ratio: [quotient(p, m, inverse, counts), quotient(q, m, inverse, counts)],
            excess: [-(self.share[1].hi * d), self.share[0].hi * d],
        }
    }
}

/// a b, `hi` not the nearest number.
#[inline(always)]
fn product<S: Lanes, T: Real>(a: Pair<S, T>, b: Pair<S, T>) -> Pair<S, T> {
    let hi = a.hi * b.hi;
    Pair { hi, lo: a.hi.fma(b.hi, -hi) + a.hi.fma(b.lo, a.lo * b.hi) }
}

/// a / m, likewise.
#[inline(always)]
fn quotient<S: Lanes, T: Real>(a: Pair<S, T>, m: Pair<S, T>, inverse: Pack<S, T>, counts: Mask<S, T>) -> Pair<S, T> {
    let hi = a.hi * inverse;
    let rest = (-hi).fma(m.hi, a.hi) + (-hi).fma(m.lo, a.lo);
    Pair { hi, lo: counts.keep(rest * inverse) }
}

#[derive(Clone, Copy)]
struct MixtureTerms<'a, S: Lanes, T: Real> {
    pair: RowPair<'a, S, T>,
    mixture: Mixture<S, T>,
    /// Of m f(p / m) and m f(q / m).
    sums: [S::PerGroup<LaneSum<S>>; 2],
}

impl<S: Lanes, T: Real> Groups for MixtureTerms<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let MixtureTerms { pair, mixture, .. } = *self;
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let [p, q] = [pair.exponential(0, at, len, i), pair.exponential(1, at, len, i)];
            let mixed = mixture.of(Pair::new(p), Pair::new(q));
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
    mean: Pair<S, T>,
    /// What makes q of an exponential, times the gradient's factor.
    weight: Pair<S, T>,
    out: Sink<'a, T>,
}

impl<S: Lanes, T: Real> Groups for MixtureGrad<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let MixtureGrad { pair, mixture, mean, weight, out } = *self;
        pair.prefetch_next(at);
        let half = half_unshift(mean.hi.s);
        for i in 0..pair.logits[0].part(at, len).vectors::<S>() {
            let [p, q] = [pair.load(0, at, len, i), pair.load(1, at, len, i)];
            let [p, q] = [pair.exp[0].shifted_pair(p), pair.exp[1].shifted_pair(q)];
            let mixed = mixture.of(p, q);
            let (_, log) = x_log_x(mixed.ratio[1], mixed.excess[1]);
            let slope = less(log, log.c(0.0), mean);
            let q = product(Pair { hi: q.hi * half, lo: q.lo * half }, weight);
            let more = q.hi.fma(slope.lo, q.lo * slope.hi);
            out.put(at, len, i, q.hi.fma(slope.hi, more.same(more).keep(more)) * half);
        }
    }
}
