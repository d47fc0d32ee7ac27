//! Log-probabilities of some classes of each row, the row's entropy, and the gradient of both. Contiguous classes.
//!
//! ```text
//! m = max x        e_j = e^(x_j - m)        rest = sum of e_j but for one j that attains m        S = 1 + rest
//! gap      = sum of e_j (m - x_j)
//! log_prob = -((m - x_t) + log S)
//! entropy  = log S + gap / S                       lse = m + log S
//! gradient = (sum of g_i where t_i = j) - p_j (sum of g_i - l + h (gap / S - (m - x_j)))
//! ```
//! with g, h and l the gradients with respect to log-probabilities, entropy and lse.
//!
//! - All terms of the outputs are positive: nothing cancels. The entropy costs a product and a sum an element, and no
//!   logarithm of a probability is taken: log p_j + entropy = gap / S - (m - x_j).
//! - Passes over memory and exponentials are those of `class_rows.rs`: two for the gradient, by chunks that fit the L1 cache,
//!   the exponentials waiting in its place. Where they would replace logits that the entropy's gradient needs, or
//!   what is added to, they are made twice.
//! - A class's own share is added to its element in the end. Only where a class has most of the probability would that
//!   lose digits: there 1 - p is rest / S.

use super::batches::{Batches, Lane};
use super::class_rows::{
    Chunked, Groups, Maxima, chunk_len, each_group, exponentials, first_maximum, maximum, prefetch_next_chunk,
    rest_of_chunk, rows_per_batch, rows_per_block, sum_chunks,
};
use super::softmax::{Finished, Origin, Sample};
use crate::indices::IndexView;
use crate::parallel::{Blocks, Partial};
use crate::shape::Layout;
use crate::simd::view::{Buffer, In, Out};
use crate::simd::{
    Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Pack, Pair, Real, Total, exp_non_positive_pair_shifted, splat, total,
    two_diff, unshift,
};

/// Elements that are made apart where they are to be added to others.
const PART: usize = 1024;

/// Rows of logits, and classes of each.
#[derive(Clone, Copy)]
pub struct TokenRows<'a, T> {
    pub layout: Layout,
    pub logits: In<'a, T>,
    pub indices: Option<IndexView<'a>>,
    /// Indices of each row; 0 if there are none.
    pub per_row: usize,
    pub ignore_index: i64,
}

impl<T: Real> TokenRows<'_, T> {
    /// The class of an entry of `[rows][per_row]`, if it counts.
    #[inline(always)]
    fn class(&self, entry: usize) -> Option<usize> {
        let Some(indices) = &self.indices else { return None };
        let index = indices.get(entry);
        if index == self.ignore_index {
            return None;
        }
        assert!((index as usize) < self.layout.classes, "index out of range");
        Some(index as usize)
    }

    /// Whether a row counts: it has no indices, or one that does.
    #[inline(always)]
    fn counts(&self, row: usize) -> bool {
        let mut counts = self.per_row == 0;
        for entry in row * self.per_row..(row + 1) * self.per_row {
            counts |= self.class(entry).is_some();
        }
        counts
    }

    fn blocks(&self) -> usize {
        if self.layout.samples == 0 { 0 } else { self.layout.outer.div_ceil(rows_per_block::<T>(self.layout.classes)) }
    }

    fn cycles(&self) -> usize {
        let Layout { outer, classes, .. } = self.layout;
        rows_per_block::<T>(classes).min(outer).saturating_mul(2 * classes + self.per_row)
    }

    #[inline(always)]
    fn batches(&self, index: usize) -> Batches {
        let Layout { outer, classes, .. } = self.layout;
        Batches::new(outer, rows_per_block::<T>(classes), index, rows_per_batch::<T>(classes))
    }
}

/// Log-probabilities, entropies, logarithms of sums of exponentials: what is asked for.
pub struct TokenStats<'a, T> {
    pub rows: TokenRows<'a, T>,
    /// `[rows][per_row]`
    pub log_probs: Option<Out<'a, T>>,
    pub entropy: Option<Out<'a, T>>,
    pub lse: Option<Out<'a, T>>,
}

/// The logits' gradient, from those of the outputs.
pub struct TokenGradient<'a, T> {
    pub rows: TokenRows<'a, T>,
    /// `[rows][per_row]`
    pub log_probs: Option<In<'a, T>>,
    pub entropy: Option<In<'a, T>>,
    pub lse: Option<In<'a, T>>,
    pub accumulate: bool,
    pub grad: Out<'a, T>,
}

impl<T: Real> Blocks for TokenStats<'_, T> {
    fn count(&self) -> usize {
        self.rows.blocks()
    }
    fn cycles(&self) -> usize {
        self.rows.cycles()
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        isa.dispatch(Block { rows: &self.rows, index, outputs: Asked::Stats(self) });
        Partial::default()
    }
}

impl<T: Real> Blocks for TokenGradient<'_, T> {
    fn count(&self) -> usize {
        self.rows.blocks()
    }
    fn cycles(&self) -> usize {
        self.rows.cycles()
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        isa.dispatch(Block { rows: &self.rows, index, outputs: Asked::Gradient(self) });
        Partial::default()
    }
}

/// What is made of the rows' sums.
#[derive(Clone, Copy)]
enum Asked<'a, 'b, T> {
    Stats(&'a TokenStats<'b, T>),
    Gradient(&'a TokenGradient<'b, T>),
}

struct Block<'a, 'b, T> {
    rows: &'a TokenRows<'b, T>,
    index: usize,
    outputs: Asked<'a, 'b, T>,
}

impl<T: Real> Kernel for Block<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let Block { rows, index, outputs } = self;
        for (first, count) in rows.batches(index) {
            batch(rows, s, first, count, outputs);
        }
    }
}

/// Sums up a batch's rows, and makes of them what is asked for.
#[inline(always)]
fn batch<S: Lanes, T: Real>(rows: &TokenRows<'_, T>, s: S, first: usize, count: usize, outputs: Asked<'_, '_, T>) {
    let (layout, classes) = (rows.layout, rows.layout.classes);
    let largest = first_maxima(rows, s, first, count);
    let (mut summed, mut maxima, mut shares) = (Summed::zero(), Maxima::new(), BatchShares::zero());
    let with_entropy = match outputs {
        Asked::Stats(call) => call.entropy.is_some(),
        Asked::Gradient(call) => call.entropy.is_some(),
    };
    for i in 0..count {
        let row = first + i;
        if !rows.counts(row) {
            continue;
        }
        let at = layout.offset(row);
        let stash = match outputs {
            Asked::Gradient(call) if call.keeps() => Some(call.grad.slice(at, classes)),
            _ => None,
        };
        let line = Row { s, x: rows.logits.slice(at, classes), stash, with_entropy };
        let sum = sum_chunks(&line, classes, largest.0[i], &mut maxima);
        summed.set(i, sum);
        if let Asked::Gradient(call) = outputs {
            shares.set(i, call, row, call.shares(row, &sum, stash, &maxima));
        }
    }
    match outputs {
        Asked::Stats(call) => stats(call, s, first, count, &summed),
        Asked::Gradient(call) => gradients(call, s, first, count, &summed, &shares, &maxima),
    }
}

/// A row or a chunk, summed up.
#[derive(Clone, Copy)]
struct Sum<T> {
    max: T,
    rest: Total,
    gap: Total,
}

impl<T: Real> Sum<T> {
    /// With the classes of the chunks before.
    #[inline(always)]
    fn after<S: Lanes>(self, before: Self, s: S) -> Self {
        let (larger, smaller) = if before.max < self.max { (self, before) } else { (before, self) };
        // a chunk of masked classes only has no maximum, and no sums
        let is_none = smaller.max == -T::INFINITY;
        let all = if is_none { smaller.rest } else { smaller.rest.merge(Total::new(1.0)) };
        let d = two_diff(splat(s, smaller.max), splat(s, larger.max));
        let [hi, lo] = exp_non_positive_pair_shifted(d.hi, d.lo).first();
        if is_none || hi == T::ZERO {
            // (where there is a NaN, it stays)
            let nothing = if all.hi.is_nan() { all } else { Total::ZERO };
            return Sum { rest: larger.rest.merge(nothing), ..larger };
        }
        let (factor, unshift) = (Total { hi: hi.to_f64(), lo: lo.to_f64() }, Total::new(T::EXP.unshift()));
        let [hi, lo] = d.first();
        let distance = Total { hi: -hi.to_f64(), lo: -lo.to_f64() };
        Sum {
            max: larger.max,
            rest: larger.rest.merge(all.mul(factor).mul(unshift)),
            gap: larger.gap.merge(smaller.gap.merge(all.mul(distance)).mul(factor).mul(unshift)),
        }
    }
}

/// One row's logits, and where their exponentials may wait.
struct Row<'a, S, T> {
    s: S,
    x: In<'a, T>,
    stash: Option<Out<'a, T>>,
    with_entropy: bool,
}

impl<S: Lanes, T: Real> Chunked<T> for Row<'_, S, T> {
    type Sum = Sum<T>;

    #[inline(always)]
    fn maximum(&self, start: usize, len: usize) -> T {
        maximum(self.s, self.x.slice(start, len))
    }

    /// Leaves the exponentials, by the chunk's own maximum, in the stash.
    #[inline(always)]
    #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
    fn chunk(&self, start: usize, len: usize, max: T) -> Sum<T> {
        let s = self.s;
        let x = self.x.slice(start, len);
        let stash = match self.stash {
            Some(stash) => Some(stash.slice(start, len)),
            None => None,
        };
        let origin = Origin::new(splat(s, max));
        if self.with_entropy || S::AT_ONCE == 1 {
            sum_exponentials::<S, T, true, false>(x, stash, max, origin)
        } else if origin.is_near() {
            sum_exponentials::<S, T, false, true>(x, stash, max, origin)
        } else {
            sum_exponentials::<S, T, false, false>(x, stash, max, origin)
        }
    }

    #[inline(always)]
    fn after(&self, sum: Sum<T>, before: Sum<T>) -> Sum<T> {
        sum.after(before, self.s)
    }
}

/// A chunk's exponentials, summed up and kept.
#[inline(always)]
fn sum_exponentials<S: Lanes, T: Real, const ENTROPY: bool, const NEAR: bool>(
    x: In<'_, T>,
    stash: Option<Out<'_, T>>,
    max: T,
    origin: Origin<S, T>,
) -> Sum<T> {
    let s = origin.max.s;
    let zeros = S::per_group(LaneSum::zero(s));
    let pass = Sums::<S, T, ENTROPY, NEAR> { x, stash, origin, rest: zeros, gap: zeros, ties: 0 };
    let Sums { rest, gap, ties, .. } = each_group::<T, _>(x.len(), pass);
    let rest = rest_of_chunk(max, total::<S, T>(s, rest), ties);
    // (beside an infinite maximum all exponentials are 0)
    let gap = if ENTROPY && max != T::INFINITY {
        total::<S, T>(s, gap).mul(Total::new(-T::EXP.unshift()))
    } else {
        Total::ZERO
    };
    Sum { max, rest, gap }
}

/// The maxima of the first chunks of a batch's rows.
#[inline(always)]
fn first_maxima<S: Lanes, T: Real>(rows: &TokenRows<'_, T>, s: S, first: usize, count: usize) -> Buffer<T> {
    let TokenRows { layout, logits, .. } = rows;
    let mut maxima = Buffer::new(T::ZERO);
    for i in 0..count {
        if rows.counts(first + i) {
            let x = logits.slice(layout.offset(first + i), layout.classes);
            maxima.0[i] = first_maximum(&Row { s, x, stash: None, with_entropy: false }, layout.classes);
        }
    }
    maxima
}

/// First pass over a chunk.
#[derive(Clone, Copy)]
struct Sums<'a, S: Lanes, T: Real, const ENTROPY: bool, const NEAR: bool> {
    x: In<'a, T>,
    stash: Option<Out<'a, T>>,
    origin: Origin<S, T>,
    /// Exponentials, and exponentials times x - max, both 2^SHIFT times as large.
    rest: S::PerGroup<LaneSum<S>>,
    gap: S::PerGroup<LaneSum<S>>,
    /// Elements that attain the maximum; their exponentials are not in `rest`.
    ties: usize,
}

impl<S: Lanes, T: Real, const ENTROPY: bool, const NEAR: bool> Groups for Sums<'_, S, T, ENTROPY, NEAR> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let (origin, x) = (self.origin, self.x.part(at, len));
        let s = origin.max.s;
        prefetch_next_chunk(self.x, at);
        let lowest = splat(s, -T::INFINITY);
        #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
        let stash = match self.stash {
            Some(stash) => Some(stash.part(at, len)),
            None => None,
        };
        let vectors = x.vectors::<S>();
        // vectors half a group apart are added to each other
        let half = Pack::<S, T>::PER_GROUP / 2;
        for i in 0..half.min(vectors) {
            let x = x.load_two(s, i, lowest);
            let [e, terms] = exponentials::<S, T, NEAR>(&origin, x, &mut self.ties);
            if let Some(stash) = stash {
                stash.store_two(i, e);
            }
            self.rest.as_mut()[i].add_two(terms[0], terms[1]);
            if ENTROPY {
                let d = [origin.difference(x[0]), origin.difference(x[1])];
                self.gap.as_mut()[i].add_two_products([terms[0], d[0]], [terms[1], d[1]]);
            }
        }
    }
}

/// What rows add up to. Of rows that do not count, zeros, which make the outputs zeros.
struct Summed<T> {
    max: Buffer<T>,
    rest: Lane<T>,
    gap: Lane<T>,
}

impl<T: Real> Summed<T> {
    #[inline(always)]
    fn zero() -> Self {
        Summed { max: Buffer::new(T::ZERO), rest: Lane::zero(), gap: Lane::zero() }
    }
    #[inline(always)]
    fn set(&mut self, row: usize, sum: Sum<T>) {
        self.max.0[row] = sum.max;
        self.rest.set(row, sum.rest.split());
        self.gap.set(row, sum.gap.split());
    }
    #[inline(always)]
    fn finish<S: Lanes>(&self, s: S, i: usize) -> Finished<S, T> {
        let max = self.max.group().load(s, i);
        let (zero, one) = (Pair::new(max.c(0.0)), max.c(1.0));
        Sample {
            max,
            rest: self.rest.load(s, i),
            target: max,
            hot: one,
            gap: zero,
            mass: Pair::new(one),
            weight: one,
            penalty: None,
        }
        .finish()
    }
}

#[inline(always)]
fn stats<S: Lanes, T: Real>(call: &TokenStats<'_, T>, s: S, first: usize, count: usize, rows: &Summed<T>) {
    let TokenRows { layout, logits, per_row, .. } = call.rows;
    let lanes = Pack::<S, T>::LANES;
    let mut logs = Buffer::new(T::ZERO);
    for i in 0..count.div_ceil(lanes) {
        let (finished, here) = (rows.finish(s, i), (count - i * lanes).min(lanes));
        let log = finished.log;
        logs.group_mut().store(i, log);
        if let Some(entropy) = call.entropy {
            let mean = rows.gap.load(s, i).mul(finished.recip);
            entropy.store(first + i * lanes, here, mean.hi + (mean.lo + log));
        }
        if let Some(lse) = call.lse {
            let (max, rest) = (rows.max.group().load(s, i), rows.rest.load(s, i).hi);
            let lowest = max.c(f64::NEG_INFINITY);
            let is_none = max.same(lowest) & rest.same(rest);
            lse.store(first + i * lanes, here, is_none.select(lowest, max + log));
        }
    }
    let Some(log_probs) = call.log_probs else { return };
    let entries = count * per_row;
    let (mut row, mut column, mut done) = (0, 0, 0);
    while done < entries {
        let here = T::GROUP.min(entries - done);
        let zero = Buffer::new(T::ZERO);
        let (mut max, mut log, mut logit) = (zero, zero, zero);
        for i in 0..here {
            if let Some(class) = call.rows.class(first * per_row + done + i) {
                max.0[i] = rows.max.0[row];
                log.0[i] = logs.0[row];
                logit.0[i] = logits.get(layout.offset(first + row) + class);
            }
            column += 1;
            if column == per_row {
                (row, column) = (row + 1, 0);
            }
        }
        for i in 0..here.div_ceil(lanes) {
            let (max, log, logit) = (max.group().load(s, i), log.group().load(s, i), logit.group().load(s, i));
            let (zero, infinity) = (max.c(0.0), max.c(f64::INFINITY));
            let lead = two_diff(max, logit);
            let is_max = max.same(logit);
            let (hi, lo) = (is_max.drop(lead.hi), is_max.drop(lead.lo));
            // (an infinite difference has no error)
            let lo = hi.lt(infinity).select(lo, zero);
            // (not the negative, which could be -0)
            let result = zero - (hi + (log + lo));
            log_probs.store(first * per_row + done + i * lanes, (here - i * lanes).min(lanes), result);
        }
        done += here;
    }
}

/// The gradients of a row's log-probabilities, summed up.
struct Shares {
    /// That of the class that has most of the probability, if there is one, and of all others.
    top: Total,
    others: Total,
    /// That class, if it has any.
    top_class: usize,
}

/// No class.
const NONE: usize = usize::MAX;

impl<T: Real> TokenGradient<'_, T> {
    /// Right after the row was summed up.
    #[inline(always)]
    fn shares(&self, row: usize, sum: &Sum<T>, stash: Option<Out<'_, T>>, maxima: &[T]) -> Shares {
        let mut shares = Shares { top: Total::ZERO, others: Total::ZERO, top_class: NONE };
        let Some(grads) = self.log_probs else { return shares };
        let TokenRows { layout, logits, per_row, .. } = self.rows;
        let (at, chunk) = (layout.offset(row), chunk_len::<T>(layout.classes));
        let is_confident = sum.rest.value() < 1.0;
        let one = T::from_f64(1.0 / T::EXP.unshift());
        for entry in row * per_row..(row + 1) * per_row {
            let Some(class) = self.rows.class(entry) else { continue };
            let grad = Total::new(grads.get(entry).to_f64());
            let is_top = is_confident
                && match stash {
                    Some(stash) => maxima[class / chunk] == sum.max && stash.as_in().get(class) == one,
                    None => logits.get(at + class) == sum.max,
                };
            if is_top {
                shares.top = shares.top.merge(grad);
                shares.top_class = class;
            } else {
                shares.others = shares.others.merge(grad);
            }
        }
        shares
    }

    /// Adds a row's own shares to its elements from `start` on, and puts `top` where the top class's is.
    #[inline(always)]
    fn add_shares(&self, row: usize, start: usize, grad: Out<'_, T>, top_class: usize, top: T) {
        let Some(grads) = self.log_probs else { return };
        let (per_row, len) = (self.rows.per_row, grad.as_in().len());
        for entry in row * per_row..(row + 1) * per_row {
            let Some(class) = self.rows.class(entry) else { continue };
            if class < start || class - start >= len {
                continue;
            }
            let own = if class == top_class { top } else { grad.as_in().get(class - start) + grads.get(entry) };
            grad.set(class - start, own);
        }
    }
}

/// What a chunk's exponentials become gradients by: e level + e (x - max) slope.
#[derive(Clone, Copy)]
struct Line<S: Lanes, T: Real> {
    level: Pack<S, T>,
    slope: Pack<S, T>,
}

/// What a batch's rows have of their own, a row a lane.
struct BatchShares<T> {
    top: Lane<T>,
    others: Lane<T>,
    top_class: [usize; MAX_GROUP],
    /// The entropy's gradient.
    entropy: Buffer<T>,
}

impl<T: Real> BatchShares<T> {
    #[inline(always)]
    fn zero() -> Self {
        let (lane, top_class) = (Lane::zero(), [NONE; MAX_GROUP]);
        BatchShares { top: lane, others: lane, top_class, entropy: Buffer::new(T::ZERO) }
    }

    #[inline(always)]
    fn set(&mut self, i: usize, call: &TokenGradient<'_, T>, row: usize, shares: Shares) {
        let others = match call.lse {
            Some(lse) => shares.others.merge(Total::new(-lse.get(row).to_f64())),
            None => shares.others,
        };
        self.top.set(i, shares.top.split());
        self.others.set(i, others.split());
        self.top_class[i] = shares.top_class;
        if let Some(grads) = call.entropy {
            self.entropy.0[i] = grads.get(row);
        }
    }
}

impl<T: Real> TokenGradient<'_, T> {
    /// Whether exponentials wait where the gradient will be.
    #[inline(always)]
    fn keeps(&self) -> bool {
        !(self.accumulate || (self.entropy.is_some() && self.rows.logits.begins_with(self.grad)))
    }
}

#[inline(always)]
fn gradients<S: Lanes, T: Real>(
    call: &TokenGradient<'_, T>,
    s: S,
    first: usize,
    count: usize,
    rows: &Summed<T>,
    shares: &BatchShares<T>,
    maxima: &Maxima<T>,
) {
    let TokenRows { layout, logits, .. } = call.rows;
    let classes = layout.classes;
    let (keeps, with_entropy) = (call.keeps(), call.entropy.is_some());
    let BatchShares { top, others, top_class, entropy } = shares;
    // minus the level, minus the slope, and the result at the top class
    let (mut level, mut slope, mut at_top) = (Lane::zero(), Lane::zero(), Buffer::new(T::ZERO));
    for i in 0..count.div_ceil(Pack::<S, T>::LANES) {
        let (finished, top) = (rows.finish(s, i), top.load(s, i));
        let recip = finished.recip;
        let mut not_own = recip.mul(others.load(s, i));
        if with_entropy {
            let weight = recip.scale(entropy.group().load(s, i));
            not_own = not_own.add(weight.mul(rows.gap.load(s, i).mul(recip)));
            slope.store(i, weight);
        }
        level.store(i, not_own.add(recip.mul(top)));
        at_top.group_mut().store(i, top.hi.fma(finished.top, -not_own.round()));
    }

    for (i, &top_class) in top_class[..count].iter().enumerate() {
        let row = first + i;
        let grad = call.grad.slice(layout.offset(row), classes);
        if !call.rows.counts(row) {
            if !call.accumulate {
                grad.fill(T::ZERO);
            }
            continue;
        }
        let lines = Lines { max: splat(s, rows.max.0[i]), level: level.splat(s, i), slope: slope.splat(s, i) };
        let chunk = chunk_len::<T>(classes);
        for (c, &max) in maxima.iter().enumerate() {
            let (start, len) = (c * chunk, chunk.min(classes - c * chunk));
            // the maxima are those of the batch's only row, if it has several chunks
            let max = splat(s, if classes > chunk { max } else { rows.max.0[i] });
            let line = lines.of_chunk(max, with_entropy);
            let x = logits.slice(layout.offset(row) + start, len);
            let grad = grad.slice(start, len);
            let origin = Origin::new(max);
            if call.accumulate {
                let mut part = [T::ZERO; PART];
                let mut done = 0;
                while done < len {
                    let here = PART.min(len - done);
                    let (x, to) = (x.slice(done, here), grad.slice(done, here));
                    let part = Out::from(&mut part[..here]);
                    each_group::<T, _>(
                        here,
                        Emission::<S, T, false> { x, grad: part, origin, line, with_entropy, is_kept: false },
                    );
                    call.add_shares(row, start + done, part, top_class, at_top.0[i]);
                    each_group::<T, _>(here, Addition { s, from: part.as_in(), to });
                    done += here;
                }
            } else if keeps && !with_entropy && S::AT_ONCE > 1 {
                each_group::<T, _>(len, Emission::<S, T, true> { x, grad, origin, line, with_entropy, is_kept: true });
            } else {
                each_group::<T, _>(
                    len,
                    Emission::<S, T, false> { x, grad, origin, line, with_entropy, is_kept: keeps },
                );
            }
        }
        if !call.accumulate {
            call.add_shares(row, 0, grad, top_class, at_top.0[i]);
        }
    }
}

/// A row's line, the signs reversed, relative to its maximum.
struct Lines<S: Lanes, T: Real> {
    max: Pack<S, T>,
    level: Pair<S, T>,
    slope: Pair<S, T>,
}

impl<S: Lanes, T: Real> Lines<S, T> {
    /// That of a chunk, relative to its own.
    #[inline(always)]
    fn of_chunk(&self, max: Pack<S, T>, with_entropy: bool) -> Line<S, T> {
        let Lines { max: row_max, mut level, mut slope } = *self;
        let zero = max.c(0.0);
        if !max.same(row_max).all() {
            let d = two_diff(max, row_max);
            let (shifted, unshift) = (exp_non_positive_pair_shifted(d.hi, d.lo), unshift(max.s));
            let factor = shifted.times_power(unshift);
            level = level.mul(factor);
            if with_entropy {
                let is_far = shifted.hi.same(zero);
                let distance = Pair { hi: is_far.drop(d.hi), lo: is_far.drop(d.lo) };
                // as below: the factor alone may be subnormal
                level = level.add(slope.mul(distance.mul(shifted).times_power(unshift)));
                slope = slope.mul(factor);
            }
        }
        Line { level: zero - level.round(), slope: zero - slope.round() }
    }
}

/// Second pass over a chunk. `PLAIN`: of exponentials that wait, without an entropy.
#[derive(Clone, Copy)]
struct Emission<'a, S: Lanes, T: Real, const PLAIN: bool> {
    x: In<'a, T>,
    /// Also the stash.
    grad: Out<'a, T>,
    origin: Origin<S, T>,
    line: Line<S, T>,
    with_entropy: bool,
    is_kept: bool,
}

impl<S: Lanes, T: Real, const PLAIN: bool> Groups for Emission<'_, S, T, PLAIN> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let Emission { origin, line, .. } = *self;
        let s = origin.max.s;
        let (x, grad) = (self.x.part(at, len), self.grad.part(at, len));
        for i in 0..x.vectors::<S>() {
            let x = x.load(s, i);
            let is_max = x.same(origin.max);
            let shifted = match PLAIN || self.is_kept {
                true => grad.as_group().load(s, i),
                false => is_max.select(x.c(1.0 / T::EXP.unshift()), origin.shifted::<false>(x)),
            };
            let flat = (shifted * unshift(s)) * line.level;
            let result = if !PLAIN && self.with_entropy {
                // e alone may be subnormal where this product is not
                let e_difference = (shifted * is_max.drop(origin.difference(x))) * unshift(s);
                e_difference.fma(line.slope, flat)
            } else {
                flat
            };
            grad.store(i, result);
        }
    }
}

/// Adds a part to what is there.
#[derive(Clone, Copy)]
struct Addition<'a, S: Lanes, T: Real> {
    s: S,
    from: In<'a, T>,
    to: Out<'a, T>,
}

impl<S: Lanes, T: Real> Groups for Addition<'_, S, T> {
    const IS_SMALL: bool = S::AT_ONCE == 1;

    #[inline(always)]
    fn group(&mut self, at: usize, len: usize) {
        let (from, to) = (self.from.part(at, len), self.to.part(at, len));
        for i in 0..from.vectors::<S>() {
            to.store(i, to.as_group().load(self.s, i) + from.load(self.s, i));
        }
    }
}
