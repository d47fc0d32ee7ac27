//! The softmax family with one sample in each lane: for few classes in any layout, and for classes that are not
//! contiguous.
//!
//! ```text
//! for each group of samples (as many as 128 bytes hold):
//!     copy the samples to a tile [classes][group], if the classes are few
//!     max       over the classes, lane by lane
//!     e         = exp(x - max), kept in place of x;  rest += e
//!     finish    loss, 1 / (1 + rest)
//!     gradient  = e * factor
//!     copy the tile back;  write the gradients at the targets
//! ```
//! - With a tile, rows of 2 to 128 classes are as fast as columns: there are no sums across lanes and no half-empty
//!   vectors, and the work for each sample is done for a whole vector of samples at once.
//! - A tile also prevents planes that are a large power of two apart from sharing cache sets.
//! - Each phase processes all vectors of the group in turn, so that the long dependency chains of the finish overlap.
//! - If there are more classes than a tile holds, they are read directly from their arrays, and e is kept in the
//!   output.

use super::correct;
use super::softmax::{Factors, Goal, Origin, Penalty, Sample, Softmax, add_distance, add_two_distances};
use crate::parallel::{Blocks, Partial};
use crate::shape::Layout;
use crate::simd::tile::{Put, Samples, TILE_CLASSES, Tile};
use crate::simd::view::{Buffer, CACHE_LINE, In, Out, Planes, PlanesMut};
use crate::simd::{Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Pack, Pair, Real, splat, stream_fence, total, unshift};

/// Elements of a block.
const BLOCK: usize = 8192;

/// Blocks of consecutive samples, or, without tiles, of groups that each lie in one `inner` run.
pub struct ClassColumns<'a, T>(pub &'a Softmax<'a, T>);

impl<T: Real> ClassColumns<'_, T> {
    fn is_tiled(&self) -> bool {
        self.0.layout.classes <= TILE_CLASSES
    }

    /// Groups of samples.
    fn groups(&self) -> usize {
        let layout = &self.0.layout;
        if self.is_tiled() {
            layout.samples.div_ceil(T::GROUP)
        } else {
            layout.samples / layout.row_length * layout.row_length.div_ceil(T::GROUP)
        }
    }

    fn groups_per_block(&self) -> usize {
        (BLOCK / (self.0.layout.classes * T::GROUP)).max(1)
    }
}

impl<T: Real> Blocks for ClassColumns<'_, T> {
    fn count(&self) -> usize {
        if self.0.layout.samples == 0 { 0 } else { self.groups().div_ceil(self.groups_per_block()) }
    }
    fn cycles(&self) -> usize {
        let layout = &self.0.layout;
        3 * (self.groups_per_block() * T::GROUP).min(layout.samples) * layout.classes
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let first = index * self.groups_per_block();
        let count = self.groups_per_block().min(self.groups() - first);
        isa.dispatch(Block { call: self.0, is_tiled: self.is_tiled(), first, count })
    }
}

struct Block<'a, 'b, T> {
    call: &'a Softmax<'b, T>,
    is_tiled: bool,
    first: usize,
    count: usize,
}

impl<T: Real> Kernel for Block<'_, '_, T> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> Partial {
        let Block { call, is_tiled, first, count } = self;
        let mut sums = S::per_group(LaneSum::zero(s));
        let mut tiles = [Tile::new(), Tile::new(), Tile::new()];
        let [x, probabilities, hess] = &mut tiles;
        let classes = if is_tiled { call.layout.classes } else { 1 };
        let tiles = [
            x.zeros(classes),
            probabilities.zeros(if matches!(call.goal, Goal::Probabilities { .. }) { classes } else { 1 }),
            hess.zeros(if call.hess.is_some() || is_log(call) || call.soft_cap.is_some() { classes } else { 1 }),
        ];
        let mut right = 0;
        for group in first..first + count {
            // on types of one lane one does for all
            right += match (is_tiled, call.is_soft() || S::AT_ONCE == 1) {
                (true, true) => tiled::<S, T, true>(call, s, group, tiles, &mut sums),
                (true, false) => tiled::<S, T, false>(call, s, group, tiles, &mut sums),
                (false, true) => direct::<S, T, true>(call, s, group, &mut sums),
                (false, false) => direct::<S, T, false>(call, s, group, &mut sums),
            };
        }
        if let Some(correct) = call.correct {
            correct.add(right);
        }
        if call.logits.is_large() {
            stream_fence();
        }
        let total = if call.needs_total { total::<S, T>(s, sums) } else { Default::default() };
        Partial { total, out_of_domain: false }
    }
}

fn is_log<T>(call: &Softmax<'_, T>) -> bool {
    matches!(call.goal, Goal::LogSoftmax)
}

/// A group of samples.
#[derive(Clone, Copy)]
struct Columns<'a, T> {
    x: Planes<'a, T>,
    /// The logits again, if they are on the stack.
    tile: Option<PlanesMut<'a, T>>,
    /// Where exponentials are kept.
    stash: Option<PlanesMut<'a, T>>,
    probabilities: Option<Planes<'a, T>>,
    grad: Option<PlanesMut<'a, T>>,
    hess: Option<PlanesMut<'a, T>>,
    /// The derivatives of bounded logits, if these replace the logits of a tile.
    cap_slopes: Option<PlanesMut<'a, T>>,
    accumulate: bool,
    /// What is asked for meanwhile: the next group's inputs, and what this one's gradient replaces.
    next: Lines,
    replaced: Option<(In<'a, T>, Lines)>,
}

/// The group's targets, a sample a lane.
struct Targets<T> {
    count: usize,
    /// 0 where there is none.
    class: [usize; MAX_GROUP],
    /// 1 in lanes that count, 0 in those that are ignored and beyond the samples.
    counts: Buffer<T>,
    all_count: bool,
    any_ignored: bool,
    /// 0 for samples that do not count.
    weight: Buffer<T>,
    /// Only with smoothing: the target's own share, and the sum of all.
    hot: Buffer<T>,
    mass: [Buffer<T>; 2],
}

impl<T: Real> Targets<T> {
    #[inline(always)]
    fn new(call: &Softmax<'_, T>, sample: usize, count: usize) -> Self {
        let one = T::from_f64(1.0);
        let zeros = Buffer::new(T::ZERO);
        let mut counts = Buffer::new(one);
        counts.0[count..T::GROUP].fill(T::ZERO);
        let mut targets = Targets {
            count,
            class: [0; MAX_GROUP],
            counts,
            all_count: count == T::GROUP,
            any_ignored: false,
            weight: counts,
            hot: zeros,
            mass: [zeros; 2],
        };
        if let Some(row_weight) = call.row_weight {
            targets.weigh(|lane| row_weight.get(sample + lane));
        }
        let Goal::Indices { targets: indices, ignore_index, smoothing } = &call.goal else {
            return targets;
        };
        let mut raw = [0; MAX_GROUP];
        if count == T::GROUP {
            // a length that is known makes vectors of all this
            indices.read(sample, &mut raw[..T::GROUP]);
        } else {
            indices.read(sample, &mut raw[..count]);
        }
        let (classes, ignore_index) = (call.layout.classes, *ignore_index);
        let (mut class, mut any_ignored, mut out_of_range) = ([0; MAX_GROUP], false, false);
        let mut lane = 0;
        while lane < T::GROUP {
            let is_ignored = raw[lane] == ignore_index;
            class[lane] = if is_ignored { 0 } else { raw[lane] as usize };
            out_of_range |= class[lane] >= classes;
            any_ignored |= is_ignored & (lane < count);
            lane += 1;
        }
        assert!(!out_of_range, "target out of range");
        (targets.class, targets.any_ignored) = (class, any_ignored);
        match (smoothing, call.class_weight) {
            (None, Some(class_weight)) => {
                targets.weigh(|lane| class_weight.get(class[lane]));
            }
            (Some(smoothing), class_weight) => {
                for (lane, &class) in targets.class[..count].iter().enumerate() {
                    let class_weight = class_weight.map_or(one, |view| view.get(class));
                    let (hot, mass) = smoothing.shares(class_weight);
                    targets.hot.0[lane] = hot;
                    (targets.mass[0].0[lane], targets.mass[1].0[lane]) = (mass[0], mass[1]);
                }
            }
            (None, None) => {}
        }
        if targets.any_ignored {
            targets.all_count = false;
            for (lane, &target) in raw[..count].iter().enumerate() {
                let is_ignored = target == ignore_index;
                targets.counts.0[lane] = if is_ignored { T::ZERO } else { one };
                targets.weight.0[lane] = if is_ignored { T::ZERO } else { targets.weight.0[lane] };
            }
        }
        targets
    }

    #[inline(always)]
    fn weigh(&mut self, weight: impl Fn(usize) -> T) {
        for (lane, x) in self.weight.0[..self.count].iter_mut().enumerate() {
            *x = *x * weight(lane);
        }
    }

    #[inline(always)]
    fn is_ignored(&self, lane: usize) -> bool {
        self.any_ignored && self.counts.0[lane] == T::ZERO
    }

    /// Zeros to the lanes of a tile that do not count.
    #[inline(always)]
    fn clear(&self, tile: PlanesMut<'_, T>, classes: usize) {
        let lanes = if self.any_ignored { self.count } else { 0 };
        for lane in 0..lanes {
            let classes = if self.is_ignored(lane) { classes } else { 0 };
            for class in 0..classes {
                tile.set(class, lane, T::ZERO);
            }
        }
    }

    /// Writes each sample's number to its class.
    #[inline(always)]
    fn set(&self, planes: PlanesMut<'_, T>, x: &Buffer<T>) {
        for lane in 0..self.count {
            if !self.is_ignored(lane) {
                planes.set(self.class[lane], lane, x.0[lane]);
            }
        }
    }

    /// The same, for the samples of a run, which begin at `lane`.
    #[inline(always)]
    fn set_run(&self, out: Out<'_, T>, run: Samples, lane: usize, x: &Buffer<T>) {
        assert!(lane + run.count <= T::GROUP);
        let mut at = 0;
        for lane in lane..lane + run.count {
            if !self.is_ignored(lane) {
                out.set(at + self.class[lane] * run.class_stride, x.0[lane]);
            }
            at += run.stride;
        }
    }

    /// The number of right predictions, if that is asked for.
    #[inline(always)]
    fn right<S: Lanes, const TILE: bool>(&self, s: S, call: &Softmax<'_, T>, x: Planes<'_, T>, sample: usize) -> usize {
        let Some(correct) = call.correct else { return 0 };
        let mut counts = [true; MAX_GROUP];
        for (lane, counts) in counts[..self.count].iter_mut().enumerate() {
            *counts = !self.is_ignored(lane);
        }
        correct::lanes::<S, T, TILE>(s, correct, x, call.layout.classes, &self.class, &counts[..self.count], sample)
    }

    /// `x` in lanes that count, `other` in the rest.
    #[inline(always)]
    fn hide<S: Lanes>(&self, x: Pack<S, T>, other: Pack<S, T>, i: usize) -> Pack<S, T> {
        if self.all_count {
            return x;
        }
        x.c(0.0).lt(self.counts.group().load(x.s, i)).select(x, other)
    }

    /// One number a lane, from its class.
    #[inline(always)]
    fn each(&self, f: impl Fn(usize, usize) -> T) -> Buffer<T> {
        let mut buffer = Buffer::new(T::ZERO);
        for (lane, x) in buffer.0[..self.count].iter_mut().enumerate() {
            *x = f(lane, self.class[lane]);
        }
        buffer
    }
}

/// Through tiles. Gives the number of right predictions, if that is asked for.
#[inline(always)]
fn tiled<S: Lanes, T: Real, const SOFT: bool>(
    call: &Softmax<'_, T>,
    s: S,
    group: usize,
    [x, probabilities, other]: [PlanesMut<'_, T>; 3],
    sums: &mut S::PerGroup<LaneSum<S>>,
) -> usize {
    let (layout, classes) = (&call.layout, call.layout.classes);
    let sample = group * T::GROUP;
    let samples = T::GROUP.min(layout.samples - sample);
    let targets = Targets::new(call, sample, samples);
    if samples < T::GROUP {
        // nothing of other groups in the lanes beyond
        x.clear();
        probabilities.clear();
    }
    fill(layout, s, x, call.logits, sample, samples);
    targets.clear(x, classes);
    let right = targets.right::<S, true>(s, call, x.as_planes(), sample);
    let probabilities = match &call.goal {
        Goal::Probabilities { targets: from, .. } => {
            fill(layout, s, probabilities, *from, sample, samples);
            targets.clear(probabilities, classes);
            Some(probabilities.as_planes())
        }
        _ => None,
    };
    let grad = call.grad.map(|out| (out, x));
    let hess = call.hess.map(|out| (out, other));
    let columns = Columns {
        x: x.as_planes(),
        tile: Some(x),
        // always: without a branch the loop is faster
        stash: Some(if is_log(call) { other } else { x }),
        probabilities,
        grad: grad.map(|(_, tile)| tile),
        hess: hess.map(|(_, tile)| tile),
        cap_slopes: if call.soft_cap.is_some() { Some(other) } else { None },
        accumulate: false,
        next: Lines::of::<T>(layout, sample + T::GROUP),
        replaced: match call.grad {
            Some(grad) if layout.inner == 1 || !call.logits.streams_to(grad) => {
                Some((grad.as_in(), Lines::of::<T>(layout, sample)))
            }
            _ => None,
        },
    };
    let at_target = evaluate::<S, T, SOFT, true>(call, s, columns, &targets, sample, sums);
    for (k, result) in [grad, hess].into_iter().enumerate() {
        let has_targets = k == 0 && matches!(call.goal, Goal::Indices { .. });
        let Some((out, tile)) = result else { continue };
        targets.clear(tile, classes);
        let put = match call.accumulate {
            true => Put::Add,
            false if call.logits.streams_to(out) => Put::Stream,
            false => Put::Replace,
        };
        // afterwards, if that is not past the caches: vectors that were partly written just now are slow to read
        let is_late = put == Put::Replace;
        if has_targets && !is_late {
            targets.set(tile, &at_target);
        }
        if call.accumulate && targets.any_ignored {
            // zeros could change the sign of what is there
            for lane in 0..samples {
                if !targets.is_ignored(lane) {
                    let (at, run) = layout.run(sample + lane, 1);
                    tile.put(s, lane, out.after(at), run, Put::Add);
                }
            }
            continue;
        }
        let mut lane = 0;
        while lane < samples {
            let (at, run) = layout.run(sample + lane, samples - lane);
            tile.put(s, lane, out.after(at), run, put);
            if has_targets && is_late {
                targets.set_run(out.after(at), run, lane, &at_target);
            }
            lane += run.count;
        }
    }
    right
}

/// Copies samples to a tile.
#[inline(always)]
fn fill<S: Lanes, T: Real>(
    layout: &Layout,
    s: S,
    tile: PlanesMut<'_, T>,
    from: In<'_, T>,
    sample: usize,
    samples: usize,
) {
    let mut lane = 0;
    while lane < samples {
        let (at, run) = layout.run(sample + lane, samples - lane);
        tile.fill(s, lane, from.after(at), run);
        lane += run.count;
    }
}

/// The cache lines where a group of samples lies: as many as a group of elements has for each class, whichever way the
/// classes go.
#[derive(Clone, Copy)]
struct Lines {
    start: usize,
    step: usize,
}

impl Lines {
    #[inline(always)]
    fn of<T: Real>(layout: &Layout, sample: usize) -> Self {
        let step = if layout.inner == 1 { T::GROUP } else { layout.class_stride };
        // (where a sample beyond the last would lie may be no address)
        Lines { start: layout.offset(sample.min(layout.samples - 1)), step }
    }

    /// Asks for the line that has the `i`-th vector of a class.
    #[inline(always)]
    fn prefetch<S: Lanes, T: Real>(self, _: S, from: In<'_, T>, class: usize, i: usize) {
        from.prefetch_line(self.start + class * self.step + i * Pack::<S, T>::LANES);
    }
}

/// Where they lie.
#[inline(always)]
fn direct<S: Lanes, T: Real, const SOFT: bool>(
    call: &Softmax<'_, T>,
    s: S,
    group: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) -> usize {
    let layout = &call.layout;
    let (classes, stride) = (layout.classes, layout.class_stride);
    let per_row = layout.row_length.div_ceil(T::GROUP);
    let (row, in_row) = (group / per_row, group % per_row * T::GROUP);
    let lanes = T::GROUP.min(layout.row_length - in_row);
    let sample = row * layout.row_length + in_row;
    let at = layout.offset(sample);
    let columns = Columns {
        x: call.logits.planes(at, classes, stride, lanes),
        tile: None,
        stash: call.stash().map(|out| out.planes(at, classes, stride, lanes)),
        probabilities: match &call.goal {
            Goal::Probabilities { targets, .. } => Some(targets.planes(at, classes, stride, lanes)),
            _ => None,
        },
        grad: call.grad.map(|out| out.planes(at, classes, stride, lanes)),
        hess: call.hess.map(|out| out.planes(at, classes, stride, lanes)),
        cap_slopes: None,
        accumulate: call.accumulate,
        next: Lines::of::<T>(layout, sample + T::GROUP),
        replaced: None,
    };
    let targets = Targets::new(call, sample, lanes);
    let right = targets.right::<S, false>(s, call, columns.x, sample);
    let at_target = evaluate::<S, T, SOFT, false>(call, s, columns, &targets, sample, sums);
    if let (Some(grad), Goal::Indices { .. }) = (columns.grad, &call.goal) {
        targets.set(grad, &at_target);
    }
    right
}

impl<'a, T: Real> Columns<'a, T> {
    /// Logits, 0 for samples that do not count (as a tile has them).
    #[inline(always)]
    fn logits<S: Lanes, const TILE: bool>(&self, s: S, targets: &Targets<T>, class: usize, i: usize) -> Pack<S, T> {
        let x = self.x.class::<TILE>(class).load(s, i);
        if TILE { x } else { targets.hide(x, x.c(0.0), i) }
    }

    /// Results, or their sum with what is there; lanes that are ignored get zeros, or stay. (No closure: one that is
    /// called twice may be compiled apart, without the instruction set.)
    #[inline(always)]
    fn write<S: Lanes, const TILE: bool>(
        &self,
        out: PlanesMut<'_, T>,
        targets: &Targets<T>,
        class: usize,
        i: usize,
        result: Pack<S, T>,
    ) {
        let out = out.class::<TILE>(class);
        let result = if TILE {
            result
        } else if self.accumulate {
            let old = out.as_group().load(result.s, i);
            targets.hide(old + result, old, i)
        } else {
            targets.hide(result, result.c(0.0), i)
        };
        out.store(i, result);
    }

    /// A class's probabilities, if it has any.
    #[inline(always)]
    #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
    fn probability<S: Lanes, const TILE: bool>(&self, s: S, class: usize, i: usize) -> Option<Pack<S, T>> {
        match self.probabilities {
            Some(planes) => Some(planes.class::<TILE>(class).load(s, i)),
            None => None,
        }
    }

    /// Outputs from the exponentials.
    #[inline(always)]
    fn emit<S: Lanes, const SOFT: bool, const TILE: bool>(
        &self,
        call: &Softmax<'_, T>,
        s: S,
        targets: &Targets<T>,
        vectors: usize,
        [max, logs, slopes]: [S::PerGroup<Pack<S, T>>; 3],
        factors: S::PerGroup<Factors<S, T>>,
    ) {
        let classes = call.layout.classes;
        for i in 0..vectors {
            let (factors, max, log) = (factors.as_ref()[i], max.as_ref()[i], logs.as_ref()[i]);
            let slope = slopes.as_ref()[i];
            let origin = Origin::new(max);
            for class in 0..classes {
                let e = match (&call.goal, self.stash) {
                    (Goal::LogSoftmax, _) => max.c(0.0),
                    (_, Some(stash)) => stash.as_planes().class::<TILE>(class).load(s, i) * unshift(s),
                    (_, None) => {
                        let x = self.logits::<S, TILE>(s, targets, class, i);
                        origin.exponential(if SOFT { call.capped(x, origin.max) } else { x })
                    }
                };
                // the stash may be either output: e was read before
                if let Some(grad) = self.grad {
                    let result = if let Goal::LogSoftmax = call.goal {
                        let x = self.logits::<S, TILE>(s, targets, class, i);
                        -(x.same(max).drop(max - x) + log)
                    } else if SOFT && call.is_soft() {
                        let class_weight = call.share_weight_of(s, class);
                        let share = call.share(s, self.probability::<S, TILE>(s, class, i), class_weight);
                        let grad = factors.grad(e, share, slope, call.smoothing().zip(class_weight));
                        match self.cap_slopes {
                            _ if call.soft_cap.is_none() => grad,
                            Some(slopes) => grad * slopes.as_planes().class::<TILE>(class).load(s, i),
                            None => grad * call.cap_slope(self.logits::<S, TILE>(s, targets, class, i)),
                        }
                    } else {
                        factors.plain_grad(e)
                    };
                    self.write::<S, TILE>(grad, targets, class, i, result);
                }
                if let Some(hess) = self.hess {
                    self.write::<S, TILE>(hess, targets, class, i, factors.hess(e, call.z_loss, call.min_hess));
                }
            }
        }
    }
}

/// What a vector of samples adds up to over the classes.
#[derive(Clone, Copy)]
struct Tally<S: Lanes, T: Real> {
    rest: LaneSum<S>,
    gap: LaneSum<S>,
    mass: LaneSum<S>,
    /// Classes that attain the maximum, less one; their exponentials are not in `rest`.
    ties: Pack<S, T>,
}

impl<S: Lanes, T: Real> Tally<S, T> {
    /// A class's part of the gap, and of the mass if that is asked for.
    #[inline(always)]
    fn add_share(&mut self, seen: Seen<S, T>, max: Pack<S, T>, with_mass: bool) {
        add_distance(&mut self.gap, seen.share, max, seen.x);
        if with_mass {
            self.mass.add(seen.share);
        }
    }

    /// The same of two classes: `f32` lanes are added to each other first, where one rounding is no matter.
    #[inline(always)]
    fn add_two_shares(&mut self, [a, b]: [Seen<S, T>; 2], max: Pack<S, T>, with_mass: bool) {
        if size_of::<T>() == size_of::<f32>() {
            add_two_distances(&mut self.gap, [a.share, b.share], max, [a.x, b.x]);
            if with_mass {
                self.mass.add_two(a.share, b.share);
            }
        } else {
            self.add_share(a, max, with_mass);
            self.add_share(b, max, with_mass);
        }
    }
}

/// Two vectors' classes added up, exponentials kept if they are needed: the i-th vector, and the next, if there is one.
/// (Two, because one alone would load its constants for itself and wait for its own results.)
#[inline(always)]
fn tally<S: Lanes, T: Real, const SOFT: bool, const TILE: bool>(
    call: &Softmax<'_, T>,
    columns: Columns<'_, T>,
    targets: &Targets<T>,
    i: usize,
    max: [Pack<S, T>; 2],
    any_infinite: bool,
) -> [Tally<S, T>; 2] {
    let (s, classes) = (max[0].s, call.layout.classes);
    let origins = [Origin::new(max[0]), Origin::new(max[1])];
    let nothing = LaneSum::zero(s);
    let mut tallies = [Tally { rest: nothing, gap: nothing, mass: nothing, ties: max[0].c(-1.0) }; 2];
    let mut visit = Visit { call, columns, targets, i, origins, any_infinite };
    // classes half a group apart are added to each other, as rows do it
    let half = T::GROUP / 2;
    for first in (0..classes).step_by(T::GROUP) {
        let with_partner = (classes - first).saturating_sub(half).min(half);
        for class in first..first + with_partner {
            let a = visit.class::<SOFT, TILE>(class, &mut tallies);
            let b = visit.class::<SOFT, TILE>(class + half, &mut tallies);
            for k in 0..2 {
                tallies[k].rest.add_two(a[k].term, b[k].term);
                if SOFT {
                    tallies[k].add_two_shares([a[k], b[k]], origins[k].max, columns.probabilities.is_some());
                }
            }
        }
        for class in first + with_partner..classes.min(first + half) {
            let a = visit.class::<SOFT, TILE>(class, &mut tallies);
            for k in 0..2 {
                tallies[k].rest.add(a[k].term);
                if SOFT {
                    tallies[k].add_share(a[k], origins[k].max, columns.probabilities.is_some());
                }
            }
        }
    }
    tallies
}

/// What a class adds to its samples' sums.
#[derive(Clone, Copy)]
struct Seen<S: Lanes, T: Real> {
    /// The exponential, 0 where it is the largest.
    term: Pack<S, T>,
    /// Of the target distribution.
    share: Pack<S, T>,
    x: Pack<S, T>,
}

/// Two vectors of samples on the way through their classes.
struct Visit<'a, 'b, S: Lanes, T: Real> {
    call: &'a Softmax<'b, T>,
    columns: Columns<'a, T>,
    targets: &'a Targets<T>,
    i: usize,
    origins: [Origin<S, T>; 2],
    any_infinite: bool,
}

impl<S: Lanes, T: Real> Visit<'_, '_, S, T> {
    #[inline(always)]
    fn class<const SOFT: bool, const TILE: bool>(
        &mut self,
        class: usize,
        tallies: &mut [Tally<S, T>; 2],
    ) -> [Seen<S, T>; 2] {
        let Visit { call, columns, targets, i, origins, any_infinite } = self;
        let s = origins[0].max.s;
        let one = origins[0].max.c(1.0);
        let mut seen = [Seen { term: one, share: one, x: one }; 2];
        for k in 0..2 {
            // (one for each cache line that the group fills)
            if k == 0 || CACHE_LINE <= size_of::<T>() * Pack::<S, T>::LANES {
                columns.next.prefetch(s, call.logits, class, *i + k);
                if SOFT && let Goal::Probabilities { targets, .. } = &call.goal {
                    columns.next.prefetch(s, *targets, class, *i + k);
                }
                if TILE && let Some((grad, lines)) = columns.replaced {
                    lines.prefetch(s, grad, class, *i + k);
                }
            }
            let (tally, origin) = (&mut tallies[k], &origins[k]);
            let mut x = columns.logits::<S, TILE>(s, targets, class, *i + k);
            if SOFT && !TILE {
                x = call.capped(x, origin.max);
            }
            let tie = x.same(origin.max);
            // a tile was made near
            let mut e = if TILE && !SOFT { origin.shifted::<true>(x) } else { origin.shifted::<false>(x) };
            tally.ties = tally.ties + tie.keep(one);
            seen[k] = Seen { term: tie.drop(e), share: one, x };
            if let Some(stash) = columns.stash {
                if !TILE && *any_infinite {
                    // the exponentials of +inf are not what the function gives
                    e = tie.select(x.c(1.0 / T::EXP.unshift()), e);
                }
                stash.class::<TILE>(class).store(*i + k, e);
            }
            if SOFT {
                seen[k].share =
                    call.gap_share(s, columns.probability::<S, TILE>(s, class, *i + k), call.share_weight_of(s, class));
            }
        }
        seen
    }
}

/// Logits with the same distribution where the largest is +inf: 0 for it, -inf for the others. Gives the largest.
#[inline(always)]
fn spread_infinities<S: Lanes, T: Real>(tile: PlanesMut<'_, T>, max: Pack<S, T>, i: usize) -> Pack<S, T> {
    let (zero, infinity) = (max.c(0.0), max.c(f64::INFINITY));
    let is_infinite = max.same(infinity);
    for class in 0..tile.classes() {
        let x = tile.class::<true>(class).as_group().load(max.s, i);
        let spread = x.same(infinity).select(zero, x - infinity);
        tile.class::<true>(class).store(i, is_infinite.select(spread, x));
    }
    is_infinite.select(zero, max)
}

/// Logits less the largest where that is so large that exponentials would have to subtract it first. Gives the largest.
#[inline(always)]
fn bring_near<S: Lanes, T: Real>(tile: PlanesMut<'_, T>, max: Pack<S, T>, i: usize) -> Pack<S, T> {
    let size = max.abs();
    let is_far = max.c(T::EXP.far()).le(size) & size.lt(max.c(f64::INFINITY));
    if !is_far.any() {
        return max;
    }
    let subtracted = is_far.keep(max);
    for class in 0..tile.classes() {
        let class = tile.class::<true>(class);
        class.store(i, class.as_group().load(max.s, i) - subtracted);
    }
    max - subtracted
}

/// Bounded logits in the place of logits, and their derivatives.
#[inline(always)]
fn bound<S: Lanes, T: Real>(
    call: &Softmax<'_, T>,
    logits: PlanesMut<'_, T>,
    slopes: PlanesMut<'_, T>,
    max: Pack<S, T>,
    i: usize,
) {
    for class in 0..logits.classes() {
        let tile = logits.class::<true>(class);
        let x = tile.as_group().load(max.s, i);
        tile.store(i, call.capped(x, max));
        slopes.class::<true>(class).store(i, call.cap_slope(x));
    }
}

/// All outputs of a group but the gradients at the targets of indices, which are what it gives.
#[inline(always)]
fn evaluate<S: Lanes, T: Real, const SOFT: bool, const TILE: bool>(
    call: &Softmax<'_, T>,
    s: S,
    columns: Columns<'_, T>,
    targets: &Targets<T>,
    sample: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) -> Buffer<T> {
    let (classes, lanes) = (call.layout.classes, Pack::<S, T>::LANES);
    let vectors = if TILE { Pack::<S, T>::per_group() } else { targets.count.div_ceil(lanes) };
    let constant = |x: f64| splat::<S, T>(s, T::from_f64(x));
    let (zero, one, infinity) = (constant(0.0), constant(1.0), constant(f64::INFINITY));
    let has_indices = matches!(call.goal, Goal::Indices { .. });
    let with_probabilities = columns.probabilities.is_some();
    let (is_soft, is_capped) = (SOFT && call.is_soft(), SOFT && call.soft_cap.is_some());

    let mut max = S::per_group(-infinity);
    for class in 0..classes {
        for (i, most) in max.as_mut()[..vectors].iter_mut().enumerate() {
            *most = most.max_any(columns.logits::<S, TILE>(s, targets, class, i));
        }
    }
    let mut any_infinite = false;
    for (i, most) in max.as_mut()[..vectors].iter_mut().enumerate() {
        // one sign of zero, whichever instruction set chose
        *most = *most + zero;
        if is_capped {
            *most = call.capped(*most, infinity);
            if let (Some(tile), Some(slopes)) = (columns.tile, columns.cap_slopes) {
                bound(call, tile, slopes, *most, i);
            }
        }
        any_infinite |= most.same(infinity).any();
    }
    let largest = max;
    if any_infinite && let Some(tile) = columns.tile {
        for i in 0..vectors {
            max.as_mut()[i] = spread_infinities(tile, max.as_ref()[i], i);
        }
    }

    // before e takes the logits' place
    let logit = match has_indices {
        true => columns.x.pick::<TILE>(&targets.class),
        false => Buffer::new(T::ZERO),
    };
    let logit = |i: usize| {
        let x = logit.group().load(s, i);
        if TILE { x } else { targets.hide(x, zero, i) }
    };

    // what the tile's logits are relative to, from here on
    let mut top = max;
    if !is_soft && let Some(tile) = columns.tile {
        for i in 0..vectors {
            top.as_mut()[i] = bring_near(tile, max.as_ref()[i], i);
        }
    }

    let nothing = Pair::new(zero);
    let (mut rests, mut gaps, mut shares) =
        (S::per_group(nothing), S::per_group(LaneSum::zero(s)), S::per_group(Pair::new(one)));
    for i in (0..vectors).step_by(2) {
        let pair = [top.as_ref()[i], top.as_ref()[i + 1]];
        let tallies = tally::<S, T, SOFT, TILE>(call, columns, targets, i, pair, any_infinite);
        for (i, tally) in (i..vectors).zip(tallies) {
            let Tally { mut rest, gap, mass, ties } = tally;
            rest.add(ties * constant(1.0 / T::EXP.unshift()));
            let mut rest = rest.lanes(s, T::EXP.unshift());
            if any_infinite {
                // +inf twice has no distribution
                rest.hi = (largest.as_ref()[i].same(infinity) & zero.lt(ties)).select(constant(f64::NAN), rest.hi);
            }
            rests.as_mut()[i] = rest;
            if is_soft {
                (gaps.as_mut()[i], shares.as_mut()[i]) = (gap, mass.lanes(s, 1.0));
            }
        }
    }

    // The target's gradient has its own formula.
    let mut at_target = Buffer::new(T::ZERO);
    let has_target_grad = has_indices && columns.grad.is_some();
    let (mut kept, mut class_weight, mut cap_slope) = (at_target, Buffer::new(T::from_f64(1.0)), at_target);
    if has_target_grad {
        if TILE && let Some(stash) = columns.stash {
            kept = stash.as_planes().pick::<TILE>(&targets.class);
        }
        if SOFT && let Some(view) = call.share_weight() {
            class_weight = targets.each(|_, class| view.get(class));
        }
        if is_capped && let Some(slopes) = columns.cap_slopes {
            cap_slope = slopes.as_planes().pick::<TILE>(&targets.class);
        }
    }

    // the usual emission needs one factor alone
    let is_usual = TILE && !is_soft && !is_log(call) && columns.hess.is_none();
    let mut factors = if is_usual { None } else { Some(S::per_group(Factors::zero(s))) };
    let (mut massive, mut logs, mut slopes) = (S::per_group(zero), S::per_group(zero), S::per_group(zero));
    for i in 0..vectors {
        let (hot, mass) = if !is_soft {
            (one, Pair::new(one))
        } else if with_probabilities {
            (zero, shares.as_ref()[i])
        } else {
            let [hi, lo] = [targets.mass[0].group().load(s, i), targets.mass[1].group().load(s, i)];
            (targets.hot.group().load(s, i), Pair { hi, lo })
        };
        let rest = rests.as_ref()[i];
        let gap = if is_soft { gaps.as_ref()[i].lanes(s, 1.0) } else { nothing };
        let gap = match call.smoothing() {
            Some(smoothing) => smoothing.gap(gap),
            None => gap,
        };
        let weight = targets.weight.group().load(s, i);
        let penalty = Penalty::new(call.z_loss, largest.as_ref()[i]);
        let max = max.as_ref()[i];
        let target = if is_capped && !TILE { call.capped(logit(i), max) } else { logit(i) };
        let exact_mass = if with_probabilities { Pair::new(mass.hi) } else { mass };
        let lanes = Sample { max, rest, target, hot, gap, mass: exact_mass, weight, penalty };
        let finished = lanes.finish();
        let mut value = targets.hide(finished.loss, zero, i);
        if lanes.has_no_number(value) {
            let mut wide_gaps = [0.0; MAX_GROUP];
            if is_soft {
                gaps.as_ref()[i].write_each(s, &mut wide_gaps);
            }
            let gap_factor = match call.smoothing() {
                Some(smoothing) => smoothing.gap_factor.value(),
                None => 1.0,
            };
            let wide = lanes.widely(&mut value, &wide_gaps, gap_factor);
            sums.as_mut()[i].add_each(s, &wide);
        } else if call.needs_total {
            sums.as_mut()[i].add(value);
        }
        if let Some(loss) = call.loss {
            loss.part(sample, targets.count).store(i, value);
        }
        let factor = Factors::new(finished.recip, finished.top, mass, weight, call.scale, finished.slope).with_hot(hot);
        let slope = match finished.slope {
            Some(slope) => slope.hi,
            None => zero,
        };
        if has_target_grad {
            let e = if TILE { kept.group().load(s, i) * unshift(s) } else { Origin::new(max).exponential(target) };
            let result = if is_soft && let Some(smoothing) = call.smoothing() {
                let (own, others) = smoothing.target_shares(class_weight.group().load(s, i));
                let grad = Factors::new(finished.recip, finished.top, others, weight, call.scale, finished.slope)
                    .grad_beside_others(e, own);
                match columns.cap_slopes {
                    _ if !is_capped => grad,
                    Some(_) => grad * cap_slope.group().load(s, i),
                    None => grad * call.cap_slope(logit(i)),
                }
            } else if call.z_loss.is_some() {
                factor.grad(e, one, slope, None)
            } else {
                factor.target_grad(e)
            };
            at_target.group_mut().store(i, result);
        }
        (massive.as_mut()[i], logs.as_mut()[i], slopes.as_mut()[i]) = (factor.massive, finished.log, slope);
        if let Some(factors) = &mut factors {
            factors.as_mut()[i] = factor;
        }
    }
    if columns.accumulate
        && has_target_grad
        && let Some(grad) = columns.grad
    {
        let old = grad.as_planes().pick::<TILE>(&targets.class);
        for i in 0..vectors {
            let sum = old.group().load(s, i) + at_target.group().load(s, i);
            at_target.group_mut().store(i, sum);
        }
    }

    match (factors, columns.tile) {
        (None, Some(tile)) if columns.grad.is_some() => {
            for class in 0..classes {
                let class = tile.class::<true>(class);
                for (i, massive) in massive.as_ref()[..vectors].iter().enumerate() {
                    class.store(i, class.as_group().load(s, i) * unshift(s) * *massive);
                }
            }
        }
        (Some(factors), _) if columns.grad.is_some() || columns.hess.is_some() => {
            columns.emit::<S, SOFT, TILE>(call, s, targets, vectors, [top, logs, slopes], factors);
        }
        _ => {}
    }
    at_target
}
