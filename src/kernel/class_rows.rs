//! The softmax family for contiguous classes, if there are more of them than a tile holds.
//!
//! ```text
//! for each batch of rows that fits the L1 cache (one row, if it is long):
//!     for each row:  m = max of its first chunk
//!     for each row, for each chunk of the row:
//!         m = max of the chunk, but of the first;  sums of the target distribution, if it is soft
//!         e = exp(x - m), written to the output;  rest += e          (the chunk is in L1 now)
//!     merge the row's chunks
//!     finish all rows of the batch at once: loss, 1 / (1 + rest)
//!     for each row, for each chunk:  gradient = e * factor of the chunk, but at the target
//! ```
//! - The next chunk is prefetched while exponentials are computed.
//! - There is one exponential for each element: the gradient uses the exponentials of the sum, multiplied by a factor.
//! - There is no search for the element that attains the maximum. Its group finds it when the exponentials are
//!   computed, in a branch that is almost never taken.
//! - Logarithm and division are computed once for each batch, with all its rows in a vector.

use arrayvec::ArrayVec;

use super::batches::{Batches, Lane};
use super::correct;
use super::softmax::{FactorLanes, Factors, Goal, Origin, Penalty, Sample, Softmax, add_distance, add_two_distances};
use crate::parallel::{Blocks, Partial};
use crate::simd::view::{Buffer, Group, In, Out, Scratch};
use crate::simd::{
    Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Pack, Pair, Real, Total, exp_non_positive_pair,
    exp_non_positive_pair_shifted, splat, total, two_diff, unshift,
};

/// Bytes of a chunk: with its exponentials it fits L1 caches of 32 KiB.
const CHUNK_BYTES: usize = 16384;
/// Most chunks of a row; longer rows have longer chunks.
const MAX_CHUNKS: usize = 256;
/// The maxima of a row's chunks.
pub type Maxima<T> = ArrayVec<T, MAX_CHUNKS>;
/// Bytes of a block, if it has more than one row.
const BLOCK_BYTES: usize = 65536;

/// Blocks of consecutive rows.
pub struct ClassRows<'a, T>(pub &'a Softmax<'a, T>);

impl<T: Real> ClassRows<'_, T> {
    fn rows_per_block(&self) -> usize {
        rows_per_block::<T>(self.0.layout.classes)
    }
}

/// Rows that are finished at once.
pub fn rows_per_batch<T: Real>(classes: usize) -> usize {
    (CHUNK_BYTES / (classes * size_of::<T>())).clamp(1, T::GROUP)
}

/// Rows of a block, in whole batches.
pub fn rows_per_block<T: Real>(classes: usize) -> usize {
    let batch = rows_per_batch::<T>(classes);
    batch * (rows_in_block::<T>(classes) / batch).max(1)
}

/// Rows of so many classes that a block has room for, if it has any.
pub fn rows_in_block<T>(classes: usize) -> usize {
    BLOCK_BYTES / size_of::<T>() / classes
}

impl<T: Real> Blocks for ClassRows<'_, T> {
    fn count(&self) -> usize {
        if self.0.layout.samples == 0 { 0 } else { self.0.layout.outer.div_ceil(self.rows_per_block()) }
    }
    fn cycles(&self) -> usize {
        2 * self.rows_per_block().min(self.0.layout.outer) * self.0.layout.classes
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let (rows, per_block) = (self.0.layout.outer, self.rows_per_block());
        correct::rows(isa, self.0, index * per_block, per_block.min(rows - index * per_block));
        isa.dispatch(Block { call: self.0, index })
    }
}

struct Block<'a, 'b, T> {
    call: &'a Softmax<'b, T>,
    index: usize,
}

impl<T: Real> Kernel for Block<'_, '_, T> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> Partial {
        let Block { call, index } = self;
        let mut sums = S::per_group(LaneSum::zero(s));
        let (rows, classes) = (call.layout.outer, call.layout.classes);
        for (first, count) in Batches::new(rows, rows_per_block::<T>(classes), index, rows_per_batch::<T>(classes)) {
            batch_of_rows(call, s, first, count, &mut sums);
        }
        let total = if call.needs_total { total::<S, T>(s, sums) } else { Default::default() };
        Partial { total, out_of_domain: false }
    }
}

/// Elements of a chunk.
pub fn chunk_len<T: Real>(classes: usize) -> usize {
    let longer = classes.div_ceil(MAX_CHUNKS).next_multiple_of(T::GROUP);
    (CHUNK_BYTES / size_of::<T>()).max(longer)
}

/// A row whose classes are summed up chunk by chunk.
pub trait Chunked<T: Real> {
    type Sum;

    /// The largest of `len` classes from `start` on.
    fn maximum(&self, start: usize, len: usize) -> T;
    /// What these add up to, given the largest.
    fn chunk(&self, start: usize, len: usize, max: T) -> Self::Sum;
    /// The sum of a chunk and of those before it.
    fn after(&self, sum: Self::Sum, before: Self::Sum) -> Self::Sum;
}

/// The maximum of a row's first chunk: found for many rows at once, for what needs it would wait for it.
#[inline(always)]
pub fn first_maximum<T: Real, C: Chunked<T>>(row: &C, classes: usize) -> T {
    row.maximum(0, chunk_len::<T>(classes).min(classes))
}

/// A row's sum, given the maximum of its first chunk. The maxima of all chunks go to `maxima`.
#[inline(always)]
pub fn sum_chunks<T: Real, C: Chunked<T>>(row: &C, classes: usize, first: T, maxima: &mut Maxima<T>) -> C::Sum {
    let chunk = chunk_len::<T>(classes);
    maxima.clear();
    let (mut whole, mut start, mut max) = (None, 0, first);
    loop {
        let part = row.chunk(start, chunk.min(classes - start), max);
        maxima.push(max);
        let sum = match whole {
            Some(before) => row.after(part, before),
            None => part,
        };
        start += chunk;
        if start >= classes {
            return sum;
        }
        whole = Some(sum);
        max = row.maximum(start, chunk.min(classes - start));
    }
}

/// What a row's classes add up to, value and error; in a batch, a row a lane.
struct Rows<T> {
    max: Buffer<T>,
    rest: Lane<T>,
    gap: Lane<T>,
    /// The same unrounded.
    wide_gap: [f64; MAX_GROUP],
    mass: Lane<T>,
    weight: Buffer<T>,
    hot: Buffer<T>,
    /// 1 where there is a row that counts, 0 elsewhere.
    counts: Buffer<T>,
    /// The class weight of a target with smoothing.
    class_weight: Buffer<T>,
    logit: Buffer<T>,
}

#[inline(always)]
fn batch_of_rows<S: Lanes, T: Real>(
    call: &Softmax<'_, T>,
    s: S,
    first: usize,
    count: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) {
    let (layout, classes) = (&call.layout, call.layout.classes);
    let empty = Buffer::new(T::ZERO);
    let mut rows = Rows {
        max: empty,
        rest: Lane::zero(),
        gap: Lane::zero(),
        wide_gap: [0.0; MAX_GROUP],
        mass: Lane::zero(),
        weight: empty,
        hot: empty,
        counts: empty,
        class_weight: Buffer::new(T::from_f64(1.0)),
        logit: empty,
    };
    let mut targets = ArrayVec::<_, MAX_GROUP>::new();
    let mut maxima = Maxima::new();
    let with_probabilities = matches!(call.goal, Goal::Probabilities { .. });
    // all maxima first: a row's exponentials would wait for its own
    for i in 0..count {
        let target = call.target(first + i);
        targets.push(target);
        if target.ignored {
            continue;
        }
        let row = Row { call, s, at: layout.offset(first + i) };
        // before e may take the logit's place
        rows.logit.0[i] = call.logits.get(row.at + target.class);
        rows.max.0[i] = first_maximum(&row, classes);
        rows.weight.0[i] = target.weight;
        rows.counts.0[i] = T::from_f64(1.0);
        rows.hot.0[i] = target.hot;
        if let Some(view) = call.share_weight() {
            rows.class_weight.0[i] = view.get(target.class);
        }
    }
    for (i, &target) in targets.iter().enumerate() {
        if target.ignored {
            continue;
        }
        let row = Row { call, s, at: layout.offset(first + i) };
        let sum = sum_chunks(&row, classes, rows.max.0[i], &mut maxima);
        rows.max.0[i] = sum.max;
        rows.rest.set(i, sum.rest.split());
        let gap = match call.smoothing() {
            Some(smoothing) => sum.gap.mul(smoothing.gap_factor),
            None => sum.gap,
        };
        rows.gap.set(i, gap.split());
        rows.wide_gap[i] = gap.value();
        rows.mass.set(i, if with_probabilities { sum.mass.split() } else { target.mass });
    }

    let (lanes, has_outputs) = (Pack::<S, T>::LANES, call.grad.is_some() || call.hess.is_some());
    let has_target_grad = call.grad.is_some() && matches!(call.goal, Goal::Indices { .. });
    let (mut recip, mut factors) = (Lane::zero(), FactorLanes::zero());
    let (mut log, mut slope, mut at_target) = (empty, Lane::zero(), empty);
    for i in 0..count.div_ceil(lanes) {
        let (max, mass, weight) = (rows.max.group().load(s, i), rows.mass.load(s, i), rows.weight.group().load(s, i));
        let logit = rows.logit.group().load(s, i);
        let target = call.capped(logit, max);
        let sample = Sample {
            max,
            rest: rows.rest.load(s, i),
            target,
            hot: rows.hot.group().load(s, i),
            gap: rows.gap.load(s, i),
            mass: if with_probabilities { Pair::new(mass.hi) } else { mass },
            weight,
            penalty: Penalty::new(call.z_loss, max),
        };
        let mut finished = sample.finish();
        if call.z_loss.is_some() {
            // an infinite factor makes NaN of the zeros where there is no row
            let counts = rows.counts.group().load(s, i);
            finished.loss = counts.same(counts.c(1.0)).keep(finished.loss);
        }
        if sample.has_no_number(finished.loss) {
            let wide = sample.widely(&mut finished.loss, &rows.wide_gap[i * lanes..], 1.0);
            sums.as_mut()[i].add_each(s, &wide);
        } else if call.needs_total {
            sums.as_mut()[i].add(finished.loss);
        }
        if let Some(loss) = call.loss {
            loss.store(first + i * lanes, (count - i * lanes).min(lanes), finished.loss);
        }
        if !has_outputs {
            continue;
        }
        let factor = Factors::new(finished.recip, finished.top, mass, weight, call.scale, finished.slope)
            .with_hot(rows.hot.group().load(s, i));
        if let Some(first) = finished.slope {
            slope.store(i, first);
        }
        recip.store(i, finished.recip);
        factors.store(i, factor);
        log.group_mut().store(i, finished.log);
        if has_target_grad {
            let e = Origin::new(max).exponential(target);
            let grad = match call.smoothing() {
                Some(smoothing) => {
                    let (own, others) = smoothing.target_shares(rows.class_weight.group().load(s, i));
                    Factors::new(finished.recip, finished.top, others, weight, call.scale, finished.slope)
                        .grad_beside_others(e, own)
                }
                None => factor.grad(e, e.c(1.0), slope.load(s, i).hi, None),
            };
            at_target.group_mut().store(i, if call.soft_cap.is_some() { grad * call.cap_slope(logit) } else { grad });
        }
    }
    if !has_outputs {
        return;
    }

    for (i, &target) in targets.iter().enumerate() {
        let row = Row { call, s, at: layout.offset(first + i) };
        if target.ignored {
            row.clear(classes);
            continue;
        }
        let finish = RowFinish {
            max: rows.max.0[i],
            weight: target.weight,
            mass: rows.mass.splat(s, i),
            recip: recip.splat(s, i),
            factors: factors.splat(s, i),
            log: splat(s, log.0[i]),
            slope: slope.splat(s, i),
            class: target.class,
            at_target: at_target.0[i],
        };
        // the maxima are those of the batch's only row, if it has several chunks
        row.emit(finish, &maxima);
    }
}

/// The maximum of a row that begins at `at`, its rest, and its gap if every class has a share.
#[inline(always)]
pub fn sum_row<S: Lanes, T: Real>(call: &Softmax<'_, T>, s: S, at: usize) -> (T, Total, Total) {
    let (row, classes) = (Row { call, s, at }, call.layout.classes);
    let sum = sum_chunks(&row, classes, first_maximum(&row, classes), &mut Maxima::new());
    (sum.max, sum.rest, sum.gap)
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
    /// With the classes of the chunks before.
    #[inline(always)]
    fn after<S: Lanes>(self, before: Self, s: S) -> Self {
        let (larger, smaller) = if before.max < self.max { (self, before) } else { (before, self) };
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

/// What a row's outputs are made from.
struct RowFinish<S: Lanes, T: Real> {
    max: T,
    weight: T,
    mass: Pair<S, T>,
    recip: Pair<S, T>,
    factors: Factors<S, T>,
    log: Pack<S, T>,
    slope: Pair<S, T>,
    /// The target's class, and the gradient there.
    class: usize,
    at_target: T,
}

impl<'a, S: Lanes, T: Real> Row<'a, '_, S, T> {
    #[inline(always)]
    fn stretch(&self, start: usize, len: usize) -> Stretch<'a, T> {
        let (call, at) = (self.call, self.at + start);
        Stretch {
            x: call.logits.slice(at, len),
            probabilities: match &call.goal {
                Goal::Probabilities { targets, .. } => Some(targets.slice(at, len)),
                _ => None,
            },
            class_weight: call.share_weight().map(|view| view.slice(start, len)),
            stash: call.stash().map(|view| view.slice(at, len)),
            grad: call.grad.map(|view| view.slice(at, len)),
            hess: call.hess.map(|view| view.slice(at, len)),
        }
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
    fn emit(&self, row: RowFinish<S, T>, maxima: &[T]) {
        let (call, s, classes) = (self.call, self.s, self.call.layout.classes);
        let chunk = chunk_len::<T>(classes);
        let old = match call.grad {
            Some(grad) if call.accumulate => grad.as_in().get(self.at + row.class),
            _ => T::ZERO,
        };
        let several = classes > chunk;
        for (i, &max) in maxima.iter().enumerate() {
            let (start, len) = (i * chunk, chunk.min(classes - i * chunk));
            let max = if several { max } else { row.max };
            let mut factors = row.factors;
            if several && max != row.max {
                let d = two_diff(splat(s, max), splat(s, row.max));
                let recip = row.recip.mul(exp_non_positive_pair(d.hi, d.lo));
                let top = splat::<S, T>(s, T::from_f64(1.0)) - recip.round();
                let slope = if call.z_loss.is_some() { Some(row.slope) } else { None };
                factors =
                    Factors::new(recip, top, row.mass, splat(s, row.weight), call.scale, slope).with_hot(factors.hot());
            }
            let stretch = self.stretch(start, len);
            let is_plain = call.hess.is_none() && !call.accumulate && !matches!(call.goal, Goal::LogSoftmax);
            if !call.is_soft()
                && is_plain
                && let (Some(stash), Some(grad)) = (stretch.stash, stretch.grad)
            {
                each_group::<T, _>(len, Scaling { stash: stash.as_in(), grad, factors });
            } else {
                let (mut room, mut done) = (Room::new(), 0);
                while done < len {
                    let count = call.soft_cap.map_or(len, |_| Room::<T>::LEN.min(len - done));
                    let (mut stretch, mut slopes) = (self.stretch(start + done, count), None);
                    let origin = Origin::new(splat(s, max));
                    if call.soft_cap.is_some() {
                        let bounded = room.bounded(call, stretch.x, origin.max);
                        (stretch.x, slopes) = (bounded.0, Some(bounded.1));
                    }
                    let (row_max, log, slope) = (splat(s, row.max), row.log, row.slope.hi);
                    match call.is_soft() || S::AT_ONCE == 1 {
                        true => {
                            let pass =
                                Emission::<S, T, true> { call, stretch, slopes, origin, factors, row_max, log, slope };
                            each_group::<T, _>(count, pass);
                        }
                        false => {
                            let pass =
                                Emission::<S, T, false> { call, stretch, slopes, origin, factors, row_max, log, slope };
                            each_group::<T, _>(count, pass);
                        }
                    }
                    done += count;
                }
            }
        }
        if let (Some(grad), Goal::Indices { .. }) = (call.grad, &call.goal) {
            grad.set(self.at + row.class, if call.accumulate { old + row.at_target } else { row.at_target });
        }
    }
}

impl<S: Lanes, T: Real> Chunked<T> for Row<'_, '_, S, T> {
    type Sum = Sum<T>;

    #[inline(always)]
    fn maximum(&self, start: usize, len: usize) -> T {
        let s = self.s;
        let max = maximum(s, self.call.logits.slice(self.at + start, len));
        match self.call.soft_cap {
            Some(_) => self.call.capped(splat(s, max), splat(s, T::INFINITY)).first(),
            None => max,
        }
    }

    /// Leaves the exponentials, by the chunk's own maximum, in the stash.
    #[inline(always)]
    fn chunk(&self, start: usize, len: usize, max: T) -> Sum<T> {
        let (s, call) = (self.s, self.call);
        let origin = Origin::new(splat(s, max));
        let mut room = Room::new();
        let (mut gap, mut mass, mut rest) = (Total::ZERO, Total::ZERO, Total::ZERO);
        let (mut done, mut ties) = (0, 0);
        while done < len {
            // all at once, but bounded logits no more at a time than there is room for
            let count = call.soft_cap.map_or(len, |_| Room::<T>::LEN.min(len - done));
            let mut stretch = self.stretch(start + done, count);
            if call.soft_cap.is_some() {
                stretch.x = room.bounded(call, stretch.x, origin.max).0;
            }
            if call.is_soft() {
                // before exponentials may take the logits' place
                let zeros = S::per_group(LaneSum::zero(s));
                let pass = each_group::<T, _>(count, Gaps { call, stretch, max: origin.max, gap: zeros, mass: zeros });
                (gap, mass) = (gap.merge(total::<S, T>(s, pass.gap)), mass.merge(total::<S, T>(s, pass.mass)));
            }
            let below = match S::AT_ONCE > 1 && origin.is_near() {
                true => exponentials_of_stretch::<S, T, true>(stretch, origin, &mut ties),
                false => exponentials_of_stretch::<S, T, false>(stretch, origin, &mut ties),
            };
            rest = rest.merge(below);
            done += count;
        }
        Sum { max, rest: rest_of_chunk(max, rest, ties), gap, mass }
    }

    #[inline(always)]
    fn after(&self, sum: Sum<T>, before: Sum<T>) -> Sum<T> {
        sum.after(before, self.s)
    }
}

/// The largest element, as a number: where there is a NaN it may be any, for the sum will be NaN.
#[inline(always)]
pub fn maximum<S: Lanes, T: Real>(s: S, x: In<'_, T>) -> T {
    let pass = each_group::<T, _>(x.len(), Maximum { s, x, most: S::per_group(splat(s, -T::INFINITY)) });
    let of_vectors = &pass.most.as_ref()[..Pack::<S, T>::per_group()];
    let mut most = of_vectors[0];
    // not `fold`, whose function need not be inlined: it would be compiled without the instruction set
    for other in &of_vectors[1..] {
        most = most.max_any(*other);
    }
    let zero = T::from_f64(0.0);
    let most = T::reduce_max_any(s, most.v) + zero;
    if most.is_nan() { zero } else { most }
}

/// Room for a chunk's bounded logits and their derivatives.
struct Room<T>([Scratch<T, CHUNK_BYTES>; 2]);

impl<T: Real> Room<T> {
    const LEN: usize = Scratch::<T, CHUNK_BYTES>::LEN;

    #[inline(always)]
    fn new() -> Self {
        Room([Scratch::new(), Scratch::new()])
    }

    /// Those of no more logits than there is room for.
    #[inline(always)]
    fn bounded<'a, S: Lanes>(
        &'a mut self,
        call: &Softmax<'_, T>,
        x: In<'_, T>,
        max: Pack<S, T>,
    ) -> (In<'a, T>, In<'a, T>) {
        let [to, slopes] = &mut self.0;
        let (to, slopes) = (to.zeros(x.len()), slopes.zeros(x.len()));
        for at in (0..x.len()).step_by(T::GROUP) {
            let len = T::GROUP.min(x.len() - at);
            let (x, to, slopes) = (x.part(at, len), to.part(at, len), slopes.part(at, len));
            for i in 0..x.vectors::<S>() {
                let x = x.load(max.s, i);
                to.store(i, call.capped(x, max));
                slopes.store(i, call.cap_slope(x));
            }
        }
        (to.as_in(), slopes.as_in())
    }
}

/// Part of a row: what is read and written there.
#[derive(Clone, Copy)]
struct Stretch<'a, T> {
    x: In<'a, T>,
    probabilities: Option<In<'a, T>>,
    class_weight: Option<In<'a, T>>,
    stash: Option<Out<'a, T>>,
    grad: Option<Out<'a, T>>,
    hess: Option<Out<'a, T>>,
}

/// What is done with each group of a stretch.
pub trait Groups: Copy {
    /// Whether it is to be small rather than fast: whole groups and the last one go through one loop.
    const IS_SMALL: bool;

    /// The group at element `at`, of which `len` elements count.
    fn group(&mut self, at: usize, len: usize);
}

/// A pass over a stretch. (By value: the last group indexes the pass's sums by a variable, so they are in memory
/// then; those of the loop are to stay in registers.)
#[inline(always)]
pub fn each_group<T: Real, P: Groups>(len: usize, pass: P) -> P {
    let mut in_loop = pass;
    let mut at = 0;
    let whole = if P::IS_SMALL { len } else { len - len % T::GROUP };
    while at < whole {
        in_loop.group(at, if P::IS_SMALL { T::GROUP.min(len - at) } else { T::GROUP });
        at += T::GROUP;
    }
    let mut pass = in_loop;
    if whole < len {
        pass.group(whole, len - whole);
    }
    pass
}

#[derive(Clone, Copy)]
struct Maximum<'a, S: Lanes, T: Real> {
    s: S,
    x: In<'a, T>,
    most: S::PerGroup<Pack<S, T>>,
}

impl<S: Lanes, T: Real> Groups for Maximum<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let x = self.x.part(at, len);
        for (i, most) in self.most.as_mut()[..x.vectors::<S>()].iter_mut().enumerate() {
            *most = most.max_any(x.load_or(self.s, i, splat(self.s, -T::INFINITY)));
        }
    }
}

/// The target distribution's sums over a chunk.
#[derive(Clone, Copy)]
struct Gaps<'a, 'b, S: Lanes, T: Real> {
    call: &'a Softmax<'b, T>,
    stretch: Stretch<'a, T>,
    max: Pack<S, T>,
    gap: S::PerGroup<LaneSum<S>>,
    mass: S::PerGroup<LaneSum<S>>,
}

impl<S: Lanes, T: Real> Gaps<'_, '_, S, T> {
    /// The gap's shares in the `i`-th vector of the group `x` at `at`; 0 beyond its end.
    #[inline(always)]
    fn share(&self, x: Group<'_, T>, at: usize, len: usize, i: usize) -> Pack<S, T> {
        let s = self.max.s;
        let (probabilities, class_weight) = shares(&self.stretch, at, len);
        let q = self.call.gap_share(s, probabilities.map(|q| q.load(s, i)), class_weight.map(|w| w.load(s, i)));
        x.or(i, q, self.max.c(0.0))
    }
}

impl<S: Lanes, T: Real> Groups for Gaps<'_, '_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let Gaps { stretch, max, .. } = *self;
        let s = max.s;
        if let Some(probabilities) = stretch.probabilities {
            prefetch_next_chunk(probabilities, at);
        }
        let x = stretch.x.part(at, len);
        let half = Pack::<S, T>::PER_GROUP / 2;
        for i in 0..half.min(x.vectors::<S>()) {
            let q = [self.share(x, at, len, i), self.share(x, at, len, i + half)];
            let x = x.load_two(s, i, max);
            let (gap, mass) = (self.gap.as_mut(), self.mass.as_mut());
            if size_of::<T>() == size_of::<f32>() {
                // to each other first, where one rounding is no matter
                add_two_distances(&mut gap[i], q, max, x);
                mass[i].add_two(q[0], q[1]);
            } else {
                for k in 0..2 {
                    add_distance(&mut gap[i + k * half], q[k], max, x[k]);
                    mass[i + k * half].add(q[k]);
                }
            }
        }
    }
}

/// The sum of a stretch's exponentials, which are kept; those that attain the maximum are counted instead.
#[inline(always)]
fn exponentials_of_stretch<S: Lanes, T: Real, const NEAR: bool>(
    stretch: Stretch<'_, T>,
    origin: Origin<S, T>,
    ties: &mut usize,
) -> Total {
    let (s, Stretch { x, stash, .. }) = (origin.max.s, stretch);
    let rest = S::per_group(LaneSum::zero(s));
    let pass = each_group::<T, _>(x.len(), Exponentials::<S, T, NEAR> { x, stash, origin, rest, ties: 0 });
    *ties += pass.ties;
    total::<S, T>(s, pass.rest)
}

/// The exponentials of a chunk.
#[derive(Clone, Copy)]
struct Exponentials<'a, S: Lanes, T: Real, const NEAR: bool> {
    x: In<'a, T>,
    stash: Option<Out<'a, T>>,
    origin: Origin<S, T>,
    rest: S::PerGroup<LaneSum<S>>,
    /// Elements that attain the maximum; their exponentials are not in `rest`.
    ties: usize,
}

impl<S: Lanes, T: Real, const NEAR: bool> Groups for Exponentials<'_, S, T, NEAR> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let origin = self.origin;
        let s = origin.max.s;
        let lowest = splat(s, -T::INFINITY);
        prefetch_next_chunk(self.x, at);
        let x = self.x.part(at, len);
        let stash = self.stash.map(|view| view.part(at, len));
        // vectors half a group apart are added to each other
        let half = Pack::<S, T>::PER_GROUP / 2;
        for i in 0..half.min(x.vectors::<S>()) {
            let x = x.load_two(s, i, lowest);
            let [e, terms] = exponentials::<S, T, NEAR>(&origin, x, &mut self.ties);
            if let Some(stash) = stash {
                stash.store_two(i, e);
            }
            self.rest.as_mut()[i].add_two(terms[0], terms[1]);
        }
    }
}

/// Asks for the group of the next chunk, whose maximum takes no longer to find than it takes to read: it should be here
/// by then.
#[inline(always)]
pub fn prefetch_next_chunk<T: Real>(x: In<'_, T>, at: usize) {
    x.prefetch(at + CHUNK_BYTES / size_of::<T>());
}

/// e^(x - max) 2^SHIFT, and the same with 0 in the place of those that attain the maximum, which are counted.
#[inline(always)]
pub fn exponentials<S: Lanes, T: Real, const NEAR: bool>(
    origin: &Origin<S, T>,
    x: [Pack<S, T>; 2],
    ties: &mut usize,
) -> [[Pack<S, T>; 2]; 2] {
    without_maxima([origin.shifted::<NEAR>(x[0]), origin.shifted::<NEAR>(x[1])], x, origin.max, ties)
}

/// Exponentials that are 2^SHIFT where `x` is the maximum, and the same with 0 there; those are counted.
#[inline(always)]
pub fn without_maxima<S: Lanes, T: Real>(
    mut e: [Pack<S, T>; 2],
    x: [Pack<S, T>; 2],
    max: Pack<S, T>,
    ties: &mut usize,
) -> [[Pack<S, T>; 2]; 2] {
    let mut terms = e;
    let is_max = [x[0].same(max), x[1].same(max)];
    if (is_max[0] | is_max[1]).any() {
        *ties += is_max[0].count() + is_max[1].count();
        let (zero, shifted_one) = (e[0].c(0.0), e[0].c(1.0 / T::EXP.unshift()));
        for ((e, term), is_max) in e.iter_mut().zip(&mut terms).zip(is_max) {
            *term = is_max.select(zero, *e);
            *e = is_max.select(shifted_one, *e);
        }
    }
    [e, terms]
}

/// The sum of a chunk's exponentials but one that attains the maximum, from the shifted sum of those that do not and the
/// number of those that do.
#[inline(always)]
pub fn rest_of_chunk<T: Real>(max: T, below: Total, ties: usize) -> Total {
    if max == T::INFINITY && ties > 1 {
        return Total::new(f64::NAN);
    }
    let others = if max == -T::INFINITY { 0.0 } else { ties as f64 - 1.0 };
    below.mul(Total::new(T::EXP.unshift())).merge(Total::new(others))
}

/// What the target distribution's shares in a group are made from.
#[inline(always)]
fn shares<'a, T: Real>(
    stretch: &Stretch<'a, T>,
    at: usize,
    len: usize,
) -> (Option<Group<'a, T>>, Option<Group<'a, T>>) {
    let part = |view: Option<In<'a, T>>| view.map(|view| view.part(at, len));
    (part(stretch.probabilities), part(stretch.class_weight))
}

/// The last pass over a chunk, where the gradient is the exponential times a factor.
#[derive(Clone, Copy)]
struct Scaling<'a, S: Lanes, T: Real> {
    stash: In<'a, T>,
    grad: Out<'a, T>,
    factors: Factors<S, T>,
}

impl<S: Lanes, T: Real> Groups for Scaling<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let (e, grad) = (self.stash.part(at, len), self.grad.part(at, len));
        for i in 0..e.vectors::<S>() {
            let s = self.factors.s();
            grad.store(i, self.factors.plain_grad(e.load(s, i) * unshift(s)));
        }
    }
}

/// The last pass over a chunk, for everything.
#[derive(Clone, Copy)]
struct Emission<'a, 'b, S: Lanes, T: Real, const SOFT: bool> {
    call: &'a Softmax<'b, T>,
    stretch: Stretch<'a, T>,
    /// The derivatives of bounded logits.
    slopes: Option<In<'a, T>>,
    origin: Origin<S, T>,
    factors: Factors<S, T>,
    row_max: Pack<S, T>,
    log: Pack<S, T>,
    slope: Pack<S, T>,
}

impl<S: Lanes, T: Real, const SOFT: bool> Groups for Emission<'_, '_, S, T, SOFT> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let Emission { call, stretch, slopes, origin, factors, row_max, log, slope } = self;
        let s = row_max.s;
        let x = stretch.x.part(at, len);
        let stash = stretch.stash.map(|view| view.part(at, len));
        let (grad, hess) = (stretch.grad.map(|view| view.part(at, len)), stretch.hess.map(|view| view.part(at, len)));
        let (probabilities, class_weight) = shares(stretch, at, len);
        for i in 0..x.vectors::<S>() {
            let e = match (&call.goal, stash) {
                (Goal::LogSoftmax, _) => splat(s, T::from_f64(0.0)),
                (_, Some(stash)) => stash.as_group().load(s, i) * unshift(s),
                (_, None) => origin.exponential(x.load(s, i)),
            };
            // the stash may be either output: e was read before
            let mut results = [None; 2];
            if grad.is_some() {
                results[0] = Some(if let Goal::LogSoftmax = call.goal {
                    let x = x.load(s, i);
                    -(x.same(*row_max).select(x.c(0.0), *row_max - x) + *log)
                } else if SOFT && call.is_soft() {
                    let probability = probabilities.map(|q| q.load(s, i));
                    let class_weight = class_weight.map(|w| w.load(s, i));
                    let share = call.share(s, probability, class_weight);
                    let grad = factors.grad(e, share, *slope, call.smoothing().zip(class_weight));
                    match slopes {
                        Some(slopes) => grad * slopes.part(at, len).load(s, i),
                        None => grad,
                    }
                } else {
                    factors.plain_grad(e)
                });
            }
            if hess.is_some() {
                results[1] = Some(factors.hess(e, call.z_loss, call.min_hess));
            }
            for (out, result) in [grad, hess].into_iter().zip(results) {
                if let (Some(out), Some(result)) = (out, result) {
                    out.store(i, if call.accumulate { out.as_group().load(s, i) + result } else { result });
                }
            }
        }
    }
}
