//! Softmax family, contiguous classes, more of them than a tile holds.
//!
//! ```text
//! for each batch of rows that fits the L1 cache (one row, if it is long):
//!     for each row, for each chunk of the row:
//!         m = max of the chunk
//!         e = exp(x - m), written to the output;  rest += e          (the chunk is in L1 now)
//!     merge the row's chunks
//!     finish all rows of the batch at once: loss, 1 / (1 + rest)
//!     for each row, for each chunk:  gradient = e * factor of the chunk, but at the target
//! ```
//! - One exponential an element: what the sum needed is what the gradient needs, but for a factor.
//! - Which element attains the maximum is not searched for: the vector it is in says so when its
//!   exponentials are made, in a branch that is all but never taken.
//! - Logarithm and division are made once a batch, for all its rows in a vector.

use super::softmax::{Factors, Goal, Sample, Softmax, Target, distance, exponential};
use crate::parallel::{Blocks, Partial};
use crate::simd::view::{Buffer, In, Out};
use crate::simd::{
    Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Pack, Pair, Real, Total, exp_non_positive_pair,
    exp_non_positive_pair_shifted, exp_non_positive_shifted, first_lanes, splat, total, two_diff, unshift,
};

/// Bytes of a chunk: with its exponentials it fits L1 caches of 32 KiB.
const CHUNK_BYTES: usize = 16384;
/// Most chunks of a row; longer rows have longer chunks.
const MAX_CHUNKS: usize = 256;
/// Bytes of a block, if it has more than one row.
const BLOCK_BYTES: usize = 65536;

/// Blocks of consecutive rows.
pub struct ClassRows<'a, T>(pub &'a Softmax<'a, T>);

impl<T: Real> ClassRows<'_, T> {
    fn rows_per_batch(&self) -> usize {
        (CHUNK_BYTES / (self.0.layout.classes * size_of::<T>())).clamp(1, T::GROUP)
    }
    fn rows_per_block(&self) -> usize {
        let batch = self.rows_per_batch();
        let batches = BLOCK_BYTES / size_of::<T>() / self.0.layout.classes / batch;
        batch * batches.max(1)
    }
}

impl<T: Real> Blocks for ClassRows<'_, T> {
    fn count(&self) -> usize {
        if self.0.layout.samples == 0 { 0 } else { self.0.layout.outer.div_ceil(self.rows_per_block()) }
    }
    fn cycles(&self) -> usize {
        2 * self.rows_per_block().min(self.0.layout.outer) * self.0.layout.classes
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let first = index * self.rows_per_block();
        let count = self.rows_per_block().min(self.0.layout.outer - first);
        isa.dispatch(Block { call: self.0, first, count, batch: self.rows_per_batch() })
    }
}

struct Block<'a, 'b, T> {
    call: &'a Softmax<'b, T>,
    first: usize,
    count: usize,
    batch: usize,
}

impl<T: Real> Kernel for Block<'_, '_, T> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> Partial {
        let Block { call, first, count, batch } = self;
        let mut sums = S::per_group(LaneSum::zero(s));
        let mut done = 0;
        while done < count {
            let rows = batch.min(count - done);
            if call.is_soft() {
                batch_of_rows::<S, T, true>(call, s, first + done, rows, &mut sums);
            } else {
                batch_of_rows::<S, T, false>(call, s, first + done, rows, &mut sums);
            }
            done += rows;
        }
        let total = if call.needs_total { total::<S, T>(s, sums) } else { Default::default() };
        Partial { total, out_of_domain: false }
    }
}

/// Elements of a chunk.
fn chunk_len<T: Real>(classes: usize) -> usize {
    let longer = classes.div_ceil(MAX_CHUNKS).next_multiple_of(T::GROUP);
    (CHUNK_BYTES / size_of::<T>()).max(longer)
}

/// What a row's classes add up to, value and error; in a batch, a row a lane.
struct Rows<T> {
    max: Buffer<T>,
    rest: [Buffer<T>; 2],
    gap: [Buffer<T>; 2],
    mass: [Buffer<T>; 2],
    weight: Buffer<T>,
    hot: Buffer<T>,
    logit: Buffer<T>,
}

#[inline(always)]
fn batch_of_rows<S: Lanes, T: Real, const SOFT: bool>(
    call: &Softmax<'_, T>,
    s: S,
    first: usize,
    count: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) {
    let (layout, classes) = (&call.layout, call.layout.classes);
    let zero = T::from_f64(0.0);
    let empty = Buffer::new(zero);
    let mut rows = Rows {
        max: empty,
        rest: [empty; 2],
        gap: [empty; 2],
        mass: [empty; 2],
        weight: empty,
        hot: empty,
        logit: empty,
    };
    let mut targets = [Target { class: 0, ignored: false, weight: zero, hot: zero, mass: [zero; 2] }; MAX_GROUP];
    let mut maxima = [zero; MAX_CHUNKS];
    let with_probabilities = matches!(call.goal, Goal::Probabilities { .. });
    for (i, target) in targets[..count].iter_mut().enumerate() {
        *target = call.target(first + i);
        if target.ignored {
            continue;
        }
        let row = Row { call, s, at: layout.offset(first + i) };
        // before e may take the logit's place
        rows.logit.0[i] = call.logits.get(row.at + target.class);
        let sum = row.sum::<SOFT>(&mut maxima);
        rows.max.0[i] = sum.max;
        for (pair, total) in [(&mut rows.rest, sum.rest), (&mut rows.gap, sum.gap)] {
            let [hi, lo] = total.split();
            (pair[0].0[i], pair[1].0[i]) = (hi, lo);
        }
        let mass = if with_probabilities { sum.mass.split() } else { target.mass };
        (rows.mass[0].0[i], rows.mass[1].0[i]) = (mass[0], mass[1]);
        rows.weight.0[i] = target.weight;
        rows.hot.0[i] = target.hot;
    }

    let lanes = Pack::<S, T>::LANES;
    let mut recip = [empty; 2];
    let (mut top, mut log) = (empty, empty);
    for i in 0..count.div_ceil(lanes) {
        let pair = |[hi, lo]: &[Buffer<T>; 2]| Pair { hi: hi.group().load(s, i), lo: lo.group().load(s, i) };
        let sample = Sample {
            max: rows.max.group().load(s, i),
            rest: pair(&rows.rest),
            target: rows.logit.group().load(s, i),
            hot: rows.hot.group().load(s, i),
            gap: pair(&rows.gap),
            mass: rows.mass[0].group().load(s, i),
            weight: rows.weight.group().load(s, i),
        };
        let finished = sample.finish();
        if call.needs_total {
            sums.as_mut()[i].add(finished.loss);
        }
        if let Some(loss) = call.loss {
            loss.store(first + i * lanes, (count - i * lanes).min(lanes), finished.loss);
        }
        recip[0].group_mut().store(i, finished.recip.hi);
        recip[1].group_mut().store(i, finished.recip.lo);
        top.group_mut().store(i, finished.top);
        log.group_mut().store(i, finished.log);
    }
    if call.grad.is_none() && call.hess.is_none() {
        return;
    }

    for (i, &target) in targets[..count].iter().enumerate() {
        let row = Row { call, s, at: layout.offset(first + i) };
        if target.ignored {
            row.clear(classes);
            continue;
        }
        let finish = RowFinish {
            max: rows.max.0[i],
            recip: Pair { hi: splat(s, recip[0].0[i]), lo: splat(s, recip[1].0[i]) },
            top: splat(s, top.0[i]),
            log: splat(s, log.0[i]),
            mass: Pair { hi: splat(s, rows.mass[0].0[i]), lo: splat(s, rows.mass[1].0[i]) },
            logit: rows.logit.0[i],
            target,
        };
        // the maxima of the only row of the batch, if it has several chunks
        row.emit::<SOFT>(finish, &maxima);
    }
}

/// One row's work.
struct Row<'a, 'b, S, T> {
    call: &'a Softmax<'b, T>,
    s: S,
    /// Where its class 0 is.
    at: usize,
}

/// A row or a chunk, summed up.
struct Sum<T> {
    max: T,
    rest: Total,
    gap: Total,
    mass: Total,
}

impl<T: Real> Sum<T> {
    /// With the classes of another chunk, which has the later ones.
    #[inline(always)]
    fn merge<S: Lanes>(self, later: Self, s: S) -> Self {
        let (larger, smaller) = if self.max < later.max { (later, self) } else { (self, later) };
        // a chunk of masked classes only has no maximum that could be left out
        let terms = if smaller.max == -T::INFINITY {
            smaller.rest
        } else {
            let d = two_diff(splat(s, smaller.max), splat(s, larger.max));
            let [hi, lo] = exp_non_positive_pair_shifted(d.hi, d.lo).first().map(T::to_f64);
            smaller.rest.merge(Total::new(1.0)).mul(Total { hi, lo }).mul(Total::new(T::EXP.unshift()))
        };
        let mut gap = larger.gap.merge(smaller.gap);
        if smaller.mass != Total::ZERO && smaller.max != larger.max {
            let distance = larger.max.to_f64() - smaller.max.to_f64();
            gap = gap.merge(Total::new(distance).mul(smaller.mass));
        }
        Sum { max: larger.max, rest: larger.rest.merge(terms), gap, mass: larger.mass.merge(smaller.mass) }
    }
}

struct RowFinish<S: Lanes, T: Real> {
    max: T,
    recip: Pair<S, T>,
    top: Pack<S, T>,
    log: Pack<S, T>,
    mass: Pair<S, T>,
    logit: T,
    target: Target<T>,
}

impl<S: Lanes, T: Real> Row<'_, '_, S, T> {
    /// Sums up the row, leaves the exponentials of each chunk, by its own maximum, in the stash, and
    /// those maxima in `maxima`.
    #[inline(always)]
    fn sum<const SOFT: bool>(&self, maxima: &mut [T; MAX_CHUNKS]) -> Sum<T> {
        let (s, classes) = (self.s, self.call.layout.classes);
        let chunk = chunk_len::<T>(classes);
        let mut whole = self.sum_chunk::<SOFT>(0, chunk.min(classes));
        maxima[0] = whole.max;
        for (i, max) in maxima[..classes.div_ceil(chunk)].iter_mut().enumerate().skip(1) {
            let start = i * chunk;
            let part = self.sum_chunk::<SOFT>(start, chunk.min(classes - start));
            *max = part.max;
            whole = whole.merge(part, s);
        }
        whole
    }

    #[inline(always)]
    fn sum_chunk<const SOFT: bool>(&self, start: usize, len: usize) -> Sum<T> {
        let s = self.s;
        let x = self.call.logits.slice(self.at + start, len);
        let max = maximum(s, x);
        let mut pass = Exponentials {
            call: self.call,
            x,
            max: splat(s, if max == -T::INFINITY { T::from_f64(0.0) } else { max }),
            stash: self.call.stash().map(|out| out.slice(self.at + start, len)),
            at: self.at,
            start,
            rest: S::per_group(LaneSum::zero(s)),
            gap: S::per_group(LaneSum::zero(s)),
            mass: S::per_group(LaneSum::zero(s)),
            ties: 0,
        };
        each_vector::<S, T, _>(len, &mut Phase::<SOFT, _>(&mut pass));
        let ties = if max == -T::INFINITY { 0.0 } else { pass.ties as f64 - 1.0 };
        let rest = match max == T::INFINITY && pass.ties > 1 {
            true => Total::new(f64::NAN),
            false => {
                let rest = total::<S, T>(s, pass.rest).mul(Total::new(T::EXP.unshift()));
                rest.merge(Total::new(ties))
            }
        };
        let (gap, mass) = match SOFT {
            true => (total::<S, T>(s, pass.gap), total::<S, T>(s, pass.mass)),
            false => (Total::ZERO, Total::ZERO),
        };
        Sum { max, rest, gap, mass }
    }

    /// Zeros for a row that does not count.
    fn clear(&self, classes: usize) {
        for out in [self.call.grad, self.call.hess].into_iter().flatten() {
            if !self.call.accumulate {
                out.slice(self.at, classes).fill(T::from_f64(0.0));
            }
        }
    }

    /// The row's outputs from what its exponentials added up to.
    #[inline(always)]
    fn emit<const SOFT: bool>(&self, row: RowFinish<S, T>, maxima: &[T; MAX_CHUNKS]) {
        let (call, s, classes) = (self.call, self.s, self.call.layout.classes);
        let chunk = chunk_len::<T>(classes);
        let target = row.target;
        let indices = matches!(call.goal, Goal::Indices { .. });
        let old = match call.grad {
            Some(grad) if indices && call.accumulate => grad.as_in().get(self.at + target.class),
            _ => T::from_f64(0.0),
        };
        let mut at_target = T::from_f64(0.0);
        let several = classes > chunk;
        for (i, &max) in maxima[..classes.div_ceil(chunk)].iter().enumerate() {
            let (start, len) = (i * chunk, chunk.min(classes - i * chunk));
            let max = if several { max } else { row.max };
            let (mut recip, mut top) = (row.recip, row.top);
            if several && max != row.max {
                let d = two_diff(splat(s, max), splat(s, row.max));
                recip = recip.mul(exp_non_positive_pair(d.hi, d.lo));
                top = splat::<S, T>(s, T::from_f64(1.0)) - recip.round();
            }
            let mut pass = Emission {
                call,
                x: call.logits.slice(self.at + start, len),
                max: splat(s, if max == -T::INFINITY { T::from_f64(0.0) } else { max }),
                stash: call.stash().map(|out| out.slice(self.at + start, len)),
                grad: call.grad.map(|out| out.slice(self.at + start, len)),
                hess: call.hess.map(|out| out.slice(self.at + start, len)),
                at: self.at,
                start,
                factors: Factors::new(recip, top, row.mass, splat(s, target.weight), call.scale),
                row_max: splat(s, row.max),
                log: row.log,
            };
            if indices && (start..start + len).contains(&target.class) {
                let e = exponential(splat(s, row.logit), pass.max);
                let q = splat(s, target.hot) + call.base(s, target.class);
                at_target = pass.factors.grad(e, q).first();
            }
            each_vector::<S, T, _>(len, &mut Phase::<SOFT, _>(&mut pass));
        }
        if let Some(grad) = call.grad
            && indices
        {
            let result = if call.accumulate { old + at_target } else { at_target };
            grad.set(self.at + target.class, result);
        }
    }
}

/// The largest element, as a number: where there is a NaN it may be any, for the sum will be NaN.
#[inline(always)]
fn maximum<S: Lanes, T: Real>(s: S, x: In<'_, T>) -> T {
    let lowest = splat(s, -T::INFINITY);
    let mut most = S::per_group(lowest);
    let whole = x.len() - x.len() % T::GROUP;
    let mut at = 0;
    while at < whole {
        let group = x.group(at);
        for (i, most) in most.as_mut()[..Pack::<S, T>::PER_GROUP].iter_mut().enumerate() {
            *most = most.max_any(group.load(s, i));
        }
        at += T::GROUP;
    }
    let mut largest = lowest;
    while at < x.len() {
        let lanes = Pack::<S, T>::LANES.min(x.len() - at);
        largest = largest.max_any(first_lanes(x.load(s, at, lanes), lanes, lowest));
        at += lanes;
    }
    for most in &most.as_ref()[..Pack::<S, T>::PER_GROUP] {
        largest = largest.max_any(*most);
    }
    let zero = T::from_f64(0.0);
    let largest = T::reduce_max_any(s, largest.v) + zero;
    if largest.is_nan() { zero } else { largest }
}

/// What is done with each vector of a chunk.
trait Vectors<S: Lanes> {
    /// The vector at element `at`, the i-th of its group, of which `lanes` count.
    fn vector(&mut self, at: usize, i: usize, lanes: usize);
}

/// A pass with or without a soft target distribution.
struct Phase<'a, const SOFT: bool, P>(&'a mut P);

#[inline(always)]
fn each_vector<S: Lanes, T: Real, P: Vectors<S>>(len: usize, pass: &mut P) {
    let lanes = Pack::<S, T>::LANES;
    let whole = len - len % T::GROUP;
    let mut at = 0;
    while at < whole {
        for i in 0..Pack::<S, T>::PER_GROUP {
            pass.vector(at + i * lanes, i, lanes);
        }
        at += T::GROUP;
    }
    for i in 0..(len - whole).div_ceil(lanes) {
        pass.vector(whole + i * lanes, i, lanes.min(len - whole - i * lanes));
    }
}

/// First pass over a chunk.
struct Exponentials<'a, 'b, S: Lanes, T: Real> {
    call: &'a Softmax<'b, T>,
    x: In<'a, T>,
    max: Pack<S, T>,
    stash: Option<Out<'a, T>>,
    /// Where the row begins, and the chunk in it.
    at: usize,
    start: usize,
    rest: S::PerGroup<LaneSum<S>>,
    gap: S::PerGroup<LaneSum<S>>,
    mass: S::PerGroup<LaneSum<S>>,
    ties: usize,
}

impl<S: Lanes, T: Real, const SOFT: bool> Vectors<S> for Phase<'_, SOFT, Exponentials<'_, '_, S, T>> {
    #[inline(always)]
    fn vector(&mut self, at: usize, i: usize, lanes: usize) {
        let pass = &mut *self.0;
        let s = pass.max.s;
        let mut x = pass.x.load(s, at, lanes);
        let zero = x.c(0.0);
        let is_whole = lanes == Pack::<S, T>::LANES;
        if !is_whole {
            x = first_lanes(x, lanes, x.c(f64::NEG_INFINITY));
        }
        let d = two_diff(x, pass.max);
        let mut term = exp_non_positive_shifted(d.hi, d.lo);
        let mut e = term * unshift(s);
        let tie = x.same(pass.max);
        if tie.any() {
            pass.ties += tie.count();
            e = tie.select(x.c(1.0), e);
            term = tie.select(zero, term);
        }
        pass.rest.as_mut()[i].add(term);
        if let Some(stash) = pass.stash {
            stash.store(at, lanes, e);
        }
        if SOFT {
            let mut q = share(pass.call, s, pass.at, pass.start + at, lanes);
            if !is_whole {
                q = first_lanes(q, lanes, zero);
            }
            pass.gap.as_mut()[i].add(distance(q, pass.max, x, d.hi));
            pass.mass.as_mut()[i].add(q);
        }
    }
}

/// Second pass over a chunk.
struct Emission<'a, 'b, S: Lanes, T: Real> {
    call: &'a Softmax<'b, T>,
    x: In<'a, T>,
    max: Pack<S, T>,
    stash: Option<Out<'a, T>>,
    grad: Option<Out<'a, T>>,
    hess: Option<Out<'a, T>>,
    at: usize,
    start: usize,
    factors: Factors<S, T>,
    row_max: Pack<S, T>,
    log: Pack<S, T>,
}

impl<S: Lanes, T: Real> Emission<'_, '_, S, T> {
    // no closure: one that is called twice may be compiled apart, without the instruction set
    #[inline(always)]
    fn write(&self, out: Out<'_, T>, at: usize, lanes: usize, result: Pack<S, T>) {
        let result = if self.call.accumulate { out.as_in().load(result.s, at, lanes) + result } else { result };
        out.store(at, lanes, result);
    }
}

impl<S: Lanes, T: Real, const SOFT: bool> Vectors<S> for Phase<'_, SOFT, Emission<'_, '_, S, T>> {
    #[inline(always)]
    fn vector(&mut self, at: usize, _: usize, lanes: usize) {
        let pass = &mut *self.0;
        let (s, factors) = (pass.max.s, pass.factors);
        let x = || pass.x.load(s, at, lanes);
        let e = match (&pass.call.goal, pass.stash) {
            (Goal::LogSoftmax, _) => splat(s, T::from_f64(0.0)),
            (_, Some(stash)) => stash.as_in().load(s, at, lanes),
            (_, None) => exponential(x(), pass.max),
        };
        // the stash may be either output: e was read before
        if let Some(grad) = pass.grad {
            let result = if let Goal::LogSoftmax = pass.call.goal {
                let x = x();
                -(x.same(pass.row_max).select(x.c(0.0), pass.row_max - x) + pass.log)
            } else if SOFT {
                factors.grad(e, share(pass.call, s, pass.at, pass.start + at, lanes))
            } else {
                factors.plain_grad(e)
            };
            pass.write(grad, at, lanes, result);
        }
        if let Some(hess) = pass.hess {
            pass.write(hess, at, lanes, factors.hess(e));
        }
    }
}

/// The target distribution's share in the classes from `class` on, but for an index target's own.
#[inline(always)]
fn share<S: Lanes, T: Real>(call: &Softmax<'_, T>, s: S, row: usize, class: usize, lanes: usize) -> Pack<S, T> {
    let weighted = |q: Pack<S, T>, weight: Option<In<'_, T>>| weight.map_or(q, |view| q * view.load(s, class, lanes));
    match &call.goal {
        Goal::Probabilities { targets, class_weight, keep, base } => {
            let q = targets.load(s, row + class, lanes).fma(splat(s, *keep), splat(s, *base));
            weighted(q, *class_weight)
        }
        Goal::Indices { class_weight, smoothing: Some(smoothing), .. } => {
            let one = splat(s, T::from_f64(1.0));
            smoothing.base(class_weight.map_or(one, |view| view.load(s, class, lanes)))
        }
        _ => splat(s, T::from_f64(0.0)),
    }
}
