//! Softmax of rows whose classes come in chunks: the classes that have been added to a row are summarised in a state,
//! and states can be merged.
//!
//! ```text
//! max  = N ln 2 + r,  N whole        rest = sum of e^x_j 2^-N over all classes but one that attains max
//! merged with a state of a smaller maximum:
//!     rest + 2^(N' - N) (rest' + e^r')
//! ```
//! - Powers of two scale without rounding, and e^r' depends on one logit only. So the number of merges and their order
//!   make no difference, except for additions that are accurate to 2^-104.
//! - States are of f64, whatever the type of the logits, and each lane has one row. If the maxima are equal, the larger
//!   rest is the first operand, so merging is commutative to the bit.
//! - rest is stored multiplied by 2^256, so that it is rounded to a subnormal number only once, at the end.
//! - With label smoothing a state also contains sums for the shares of the other classes: see
//!   `softmax_state_spread.rs`.

use super::batches::{Batches, Lane};
use super::class_rows::{rows_in_block, sum_row};
use super::softmax::{Finished, Goal, Penalty, Sample, Smoothing, Softmax};
use super::softmax_state_spread::{GAP_UNIT, Shares, SharesOfRows};
use crate::context::Context;
use crate::factor::Factor;
use crate::indices::{IndexView, Indices};
use crate::parallel::{self, Blocks, Partial};
use crate::shape::Layout;
use crate::simd::view::{Buffer, In, Out};
use crate::simd::{
    Environment, Isa, Kernel, Lanes, Mask, Pack, Pair, Real, Total, exp_non_positive_pair, exp_parts, power_of_two,
    splat, two_diff,
};
use crate::softmax_state::{NUMBERS, SoftmaxState, Spread};

/// The number of rows in a block if only states are read.
const BLOCK: usize = 512;
/// The number of rows that are processed together, one in each lane of a group.
pub const GROUP: usize = <f64 as Real>::GROUP;

/// A chunk: some of the classes of each row.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    pub layout: Layout,
    /// The index of the chunk's first class.
    pub first_class: usize,
    pub targets: Option<IndexView<'a>>,
    pub ignore_index: i64,
}

/// Where the target of a row is, relative to a chunk.
#[derive(Clone, Copy, PartialEq)]
pub enum Target {
    Ignored,
    /// The target is this class of the chunk.
    Here(usize),
    Elsewhere,
}

impl Chunk<'_> {
    #[inline(always)]
    pub fn target(&self, row: usize) -> Target {
        let Some(targets) = self.targets else { return Target::Elsewhere };
        let target = targets.get(row);
        if target == self.ignore_index {
            return Target::Ignored;
        }
        match (target as usize).checked_sub(self.first_class) {
            Some(class) if target >= 0 && class < self.layout.classes => Target::Here(class),
            _ => Target::Elsewhere,
        }
    }

    pub fn rows_per_block<T: Real>(&self) -> usize {
        rows_in_block::<T>(self.layout.classes).clamp(1, BLOCK)
    }

    pub fn blocks<T: Real>(&self) -> usize {
        if self.layout.classes == 0 { 0 } else { self.layout.outer.div_ceil(self.rows_per_block::<T>()) }
    }

    pub fn cycles<T: Real>(&self) -> usize {
        2 * self.rows_per_block::<T>().min(self.layout.outer) * self.layout.classes
    }
}

/// The states of up to a group of rows, one row in each lane, without their numbers for label smoothing.
pub struct Columns {
    numbers: [Buffer<f64>; NUMBERS],
    /// Whether any of the states has numbers for label smoothing.
    is_spread: bool,
}

impl Columns {
    #[inline(always)]
    fn empty() -> Self {
        let ([max, ..], zero) = (SoftmaxState::EMPTY.numbers(), Buffer::new(0.0));
        Columns { numbers: [Buffer::new(max), zero, zero, zero, zero, zero], is_spread: false }
    }

    #[inline(always)]
    fn set(&mut self, row: usize, state: SoftmaxState) {
        for (column, number) in self.numbers.iter_mut().zip(state.numbers()) {
            column.0[row] = number;
        }
        self.is_spread |= !state.spread.is_none();
    }

    #[inline(always)]
    fn get(&self, row: usize) -> SoftmaxState {
        let [max, rest, rest_error, target, seen, target_weight] = &self.numbers;
        let numbers = [max, rest, rest_error, target, seen, target_weight].map(|column| column.0[row]);
        SoftmaxState::from_numbers(numbers)
    }

    #[inline(always)]
    pub fn read(states: In<'_, SoftmaxState>, first: usize, count: usize) -> Self {
        let mut columns = Self::empty();
        for row in 0..count {
            columns.set(row, states.get(first + row));
        }
        columns
    }

    /// The states of the `i`-th vector of rows.
    #[inline(always)]
    pub fn load<S: Lanes>(&self, s: S, i: usize) -> States<S> {
        let mut numbers = [splat(s, 0.0); NUMBERS];
        for (number, column) in numbers.iter_mut().zip(&self.numbers) {
            *number = column.group().load(s, i);
        }
        let [max, rest, rest_error, target, seen, target_weight] = numbers;
        States { max, rest: Pair { hi: rest, lo: rest_error }, target, seen, target_weight }
    }

    #[inline(always)]
    fn store<S: Lanes>(&mut self, i: usize, states: States<S>) {
        let States { max, rest, target, seen, target_weight } = states;
        let numbers = [max, rest.hi, rest.lo, target, seen, target_weight];
        for (column, number) in self.numbers.iter_mut().zip(numbers) {
            column.group_mut().store(i, number);
        }
    }

    /// Merges the first `count` states into the given ones, including their numbers for label smoothing.
    #[inline(always)]
    fn merge_into<S: Lanes>(
        &self,
        s: S,
        into: Out<'_, SoftmaxState>,
        first: usize,
        count: usize,
        spread: impl Fn(usize) -> Spread,
    ) {
        let mut merged = Columns::read(into.as_in(), first, count);
        let is_spread = self.is_spread | merged.is_spread;
        for i in 0..count.div_ceil(Pack::<S, f64>::LANES) {
            merged.store(i, merged.load(s, i).merge(self.load(s, i)));
        }
        for row in 0..count {
            let mut state = merged.get(row);
            if is_spread {
                let before = into.as_in().get(first + row);
                state.spread = before.spread.merge(spread(row), before.max, self.numbers[0].0[row], state.max);
            }
            into.set(first + row, state);
        }
    }
}

/// States, one in each lane.
#[derive(Clone, Copy)]
pub struct States<S: Lanes> {
    max: Pack<S, f64>,
    rest: Pair<S, f64>,
    target: Pack<S, f64>,
    seen: Pack<S, f64>,
    target_weight: Pack<S, f64>,
}

/// What is computed from states in addition to the plain cross-entropy.
#[derive(Clone, Copy)]
pub struct Terms {
    pub label_smoothing: f64,
    /// The value and its rounding error.
    pub z_loss: Option<[f64; 2]>,
}

impl Terms {
    /// The target distributions of rows; `None` without label smoothing, when the weight of the target is enough.
    #[inline(always)]
    pub fn shares(&self, states: In<'_, SoftmaxState>, first: usize, count: usize) -> Option<SharesOfRows> {
        match self.label_smoothing == 0.0 {
            true => None,
            false => Some(SharesOfRows::new(states, first, count, self.label_smoothing)),
        }
    }
}

/// A maximum as N ln 2 + r. If a maximum is infinite or too large for this, N and r are 0, and the sum of its state is
/// relative to the maximum itself.
#[derive(Clone, Copy)]
struct Anchor<S: Lanes> {
    max: Pack<S, f64>,
    is_near: Mask<S, f64>,
    /// N
    power: Pack<S, f64>,
    /// e^r, scaled.
    own: Pair<S, f64>,
}

impl<S: Lanes> Anchor<S> {
    #[inline(always)]
    fn new(max: Pack<S, f64>) -> Self {
        let is_near = max.abs().lt(max.c(f64::EXP.far()));
        let (own, power) = exp_parts(is_near.select(max, max.c(0.0)));
        Anchor { max, is_near, power, own: times(own, 1.0 / f64::EXP.unshift()) }
    }

    /// The sum of all exponentials of a state with this maximum, including that of the maximum itself, relative to a
    /// larger maximum.
    #[inline(always)]
    fn all_relative_to(&self, larger: &Self, rest: Pair<S, f64>) -> Pair<S, f64> {
        let all = rest.add(self.own);
        // 2^d as two factors, because d may be less than the exponents of normal numbers
        let d = self.power - larger.power;
        let upper = d.at_least(d.c(-1000.0));
        let lower = (d - upper).at_least(d.c(-1000.0));
        let [upper, lower] = [power_of_two(upper), power_of_two(lower)];
        let near = Pair { hi: all.hi * upper * lower, lo: all.lo * upper * lower };
        let both = self.is_near & larger.is_near;
        if both.all() {
            return near;
        }
        let d = two_diff(self.max, larger.max);
        let e = exp_non_positive_pair(d.hi, d.lo);
        let far = all.mul(self.own.recip()).mul(e).mul(larger.own);
        Pair::select(both, near, far)
    }
}

/// Multiplies both parts by a power of two.
#[inline(always)]
fn times<S: Lanes>(x: Pair<S, f64>, scale: f64) -> Pair<S, f64> {
    x.times_power(x.hi.c(scale))
}

impl<S: Lanes> States<S> {
    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        let (a, b) = (self.rest, other.rest);
        let smaller = a.hi.lt(b.hi) | (a.hi.same(b.hi) & a.lo.lt(b.lo));
        let swap = self.max.lt(other.max) | (self.max.same(other.max) & smaller);
        let max = [swap.select(other.max, self.max), swap.select(self.max, other.max)];
        let rest = [Pair::select(swap, b, a), Pair::select(swap, a, b)];
        let all = Anchor::new(max[1]).all_relative_to(&Anchor::new(max[0]), rest[1]);
        // if all classes are masked, there is no maximum whose exponential would be 1
        let none = max[1].same(max[1].c(f64::NEG_INFINITY));
        let zero = max[1].c(0.0);
        let sum = rest[0].add(Pair::select(none, Pair::new(zero), all));
        // if the sum is NaN, all numbers of the state become NaN
        let rest = Pair { hi: sum.hi, lo: sum.hi.or_nan(sum.lo) };
        States {
            max: sum.hi.or_nan(max[0]),
            rest,
            target: self.target + other.target,
            seen: self.seen + other.seen,
            target_weight: self.target_weight + other.target_weight,
        }
    }

    /// The target distributions of the `i`-th vector of rows. Without label smoothing they consist of the weight of the
    /// target.
    #[inline(always)]
    pub fn shares(&self, shares: &Option<SharesOfRows>, i: usize) -> Shares<S> {
        match shares {
            Some(shares) => shares.load(self.max.s, i),
            None => {
                let weight = Pair::new(self.target_weight);
                Shares { hot: weight, mass: weight, gap: Pair::new(self.max.c(0.0)) }
            }
        }
    }

    #[inline(always)]
    pub fn finish(self, shares: Shares<S>, z_loss: Option<[f64; 2]>) -> Finished<S, f64> {
        Sample {
            max: self.max,
            rest: self.rest.mul(Anchor::new(self.max).own.recip()),
            target: self.target,
            hot: shares.hot.round(),
            gap: shares.gap,
            mass: shares.mass,
            weight: self.max.c(1.0),
            penalty: Penalty::new(z_loss, self.max),
        }
        .finish()
    }
}

/// A call that has only logits, with a soft cap if there is one.
#[inline(always)]
pub fn only_logits<'a, T: Real>(layout: Layout, logits: In<'a, T>, soft_cap: Option<T>) -> Softmax<'a, T> {
    Softmax {
        factor: Factor::ONE,
        layout,
        logits,
        goal: Goal::Softmax,
        class_weight: None,
        row_weight: None,
        loss: None,
        grad: None,
        hess: None,
        min_hess: None,
        accumulate: false,
        scale: [T::ZERO; 2],
        z_loss: None,
        soft_cap,
        needs_total: false,
        correct: None,
    }
}

/// Adds a chunk of classes to the states.
pub struct Update<'a, T> {
    pub chunk: Chunk<'a>,
    pub logits: In<'a, T>,
    pub class_weight: Option<In<'a, T>>,
    pub soft_cap: Option<T>,
    /// With label smoothing, the sum of the chunk's class weights.
    pub weights: Option<Total>,
    pub states: Out<'a, SoftmaxState>,
}

impl<T: Real> Blocks for Update<'_, T> {
    fn count(&self) -> usize {
        self.chunk.blocks::<T>()
    }
    fn cycles(&self) -> usize {
        self.chunk.cycles::<T>()
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        isa.dispatch(UpdateBlock(self, index));
        Partial::default()
    }
}

struct UpdateBlock<'a, 'b, T>(&'a Update<'b, T>, usize);

impl<T: Real> Kernel for UpdateBlock<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let UpdateBlock(Update { chunk, logits, class_weight, soft_cap, weights, states }, index) = self;
        let layout = chunk.layout;
        let (mut call, is_plain) = (only_logits(layout, *logits, *soft_cap), weights.is_none() && soft_cap.is_none());
        if weights.is_some() {
            let smoothing = Smoothing::new(Total::ZERO, Total::new(GAP_UNIT), Total::ZERO);
            let targets = Indices::U8(&[]).into();
            call.goal = Goal::Indices { targets, ignore_index: 0, smoothing: Some(smoothing) };
            call.class_weight = *class_weight;
        }
        for (first, count) in Batches::new(layout.outer, chunk.rows_per_block::<T>(), index, GROUP) {
            let (mut news, mut gaps) = (Columns::empty(), Lane::<f64>::zero());
            news.is_spread = weights.is_some();
            for row in 0..count {
                let target = chunk.target(first + row);
                let mut state = SoftmaxState::EMPTY;
                if target == Target::Ignored {
                    state.seen = f64::INFINITY;
                } else {
                    let at = layout.offset(first + row);
                    // (rows without label smoothing and without a soft cap are compiled separately)
                    let (max, rest, gap) = match is_plain {
                        true => sum_row(&only_logits(layout, *logits, None), s, at),
                        false => sum_row(&call, s, at),
                    };
                    (state.max, state.rest, state.rest_error) = (max.to_f64(), rest.hi, rest.lo);
                    if let Target::Here(class) = target {
                        let logit = call.capped(splat(s, logits.get(at + class)), splat(s, max)).first();
                        // The maximum of a row with a NaN is unspecified, and capped logits depend on it.
                        state.target = if rest.hi.is_nan() { f64::NAN } else { logit.to_f64() };
                        state.seen = 1.0;
                        state.target_weight = match class_weight {
                            Some(view) => view.get(class).to_f64(),
                            None => 1.0,
                        };
                    }
                    if weights.is_some() {
                        gaps.set(row, gap.split());
                    }
                }
                news.set(row, state);
            }
            for i in 0..count.div_ceil(Pack::<S, f64>::LANES) {
                let new = news.load(s, i);
                // the maximum of a row with a NaN is unspecified
                let max = new.rest.hi.or_nan(new.max);
                news.store(i, States { max, rest: new.rest.mul(Anchor::new(max).own), ..new });
            }
            news.merge_into(s, *states, first, count, |row| match weights {
                Some(weights) if chunk.target(first + row) != Target::Ignored => {
                    Spread::new(layout.classes, *weights, gaps.get(row))
                }
                _ => Spread::NONE,
            });
        }
    }
}

struct Merge<'a> {
    into: Out<'a, SoftmaxState>,
    from: In<'a, SoftmaxState>,
}

impl Blocks for Merge<'_> {
    fn count(&self) -> usize {
        self.from.len().div_ceil(BLOCK)
    }
    fn cycles(&self) -> usize {
        40 * BLOCK.min(self.from.len())
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        isa.dispatch(MergeBlock(self, index));
        Partial::default()
    }
}

struct MergeBlock<'a, 'b>(&'a Merge<'b>, usize);

impl Kernel for MergeBlock<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let MergeBlock(Merge { into, from }, index) = self;
        for (first, count) in Batches::new(from.len(), BLOCK, index, GROUP) {
            Columns::read(*from, first, count).merge_into(s, *into, first, count, |row| from.get(first + row).spread);
        }
    }
}

/// Merges states into as many other states, row by row.
pub fn merge(here: Environment, context: &Context, into: Out<'_, SoftmaxState>, from: In<'_, SoftmaxState>) {
    parallel::reduce(here, context, &Merge { into, from });
}

/// The results for rows.
pub struct Finish<'a, T> {
    pub states: In<'a, SoftmaxState>,
    pub terms: Terms,
    pub loss: Option<Out<'a, T>>,
    pub lse: Option<Out<'a, T>>,
}

impl<T: Real> Blocks for Finish<'_, T> {
    fn count(&self) -> usize {
        self.states.len().div_ceil(BLOCK)
    }
    fn cycles(&self) -> usize {
        40 * BLOCK.min(self.states.len())
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        isa.dispatch(FinishBlock(self, index));
        Partial::default()
    }
}

struct FinishBlock<'a, 'b, T>(&'a Finish<'b, T>, usize);

impl<T: Real> Kernel for FinishBlock<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let FinishBlock(Finish { states, terms, loss, lse }, index) = self;
        for (first, count) in Batches::new(states.len(), BLOCK, index, GROUP) {
            let columns = Columns::read(*states, first, count);
            let shares = terms.shares(*states, first, count);
            let mut results = [Buffer::new(0.0); 2];
            for i in 0..count.div_ceil(Pack::<S, f64>::LANES) {
                let states = columns.load(s, i);
                let finished = states.finish(states.shares(&shares, i), terms.z_loss);
                let (zero, lowest) = (states.max.c(0.0), states.max.c(f64::NEG_INFINITY));
                let is_ignored = states.seen.same(zero.c(f64::INFINITY));
                results[0].group_mut().store(i, is_ignored.select(zero, finished.loss));
                let lse = states.max.same(lowest).select(lowest, states.max + finished.log);
                results[1].group_mut().store(i, lse);
            }
            for (out, results) in [loss, lse].into_iter().zip(&results) {
                if let Some(out) = out {
                    for row in 0..count {
                        out.set(first + row, T::from_f64(results.0[row]));
                    }
                }
            }
        }
    }
}
