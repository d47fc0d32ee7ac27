//! Softmax family, a sample a lane: for few classes in any layout, and for classes that lie apart.
//!
//! ```text
//! for each group of samples (as many as 128 bytes hold):
//!     copy the samples to a tile [classes][group], if the classes are few
//!     max       over the classes, lane by lane
//!     e         = exp(x - max), kept in place of x;  rest += e
//!     finish    loss, 1 / (1 + rest)
//!     gradient  = e * factor, but at the target
//!     copy the tile back
//! ```
//! - A tile makes rows of 2 to 64 classes as good as columns: no sum across lanes, no half-empty vectors,
//!   and what is done once a sample is done for a whole vector of samples.
//! - It also keeps planes that are a large power of two apart out of each other's cache sets.
//! - The phases go over all vectors of the group in turn, so that the long chains of the finish overlap.
//! - More classes than a tile holds are read where they lie, and e waits in the output.

use super::softmax::{Factors, Goal, Origin, Sample, Softmax, distance};
use crate::parallel::{Blocks, Partial};
use crate::simd::view::{Buffer, In, Out, TILE_CLASSES, Tile};
use crate::simd::{Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Pack, Pair, Real, splat, total, unshift};

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
        if self.is_tiled() { layout.samples.div_ceil(T::GROUP) } else { layout.outer * layout.inner.div_ceil(T::GROUP) }
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
        for group in first..first + count {
            match (is_tiled, call.is_soft()) {
                (true, false) => tiled::<S, T, false>(call, s, group, &mut sums),
                (true, true) => tiled::<S, T, true>(call, s, group, &mut sums),
                (false, false) => direct::<S, T, false>(call, s, group, &mut sums),
                (false, true) => direct::<S, T, true>(call, s, group, &mut sums),
            }
        }
        let total = if call.needs_total { total::<S, T>(s, sums) } else { Default::default() };
        Partial { total, out_of_domain: false }
    }
}

/// A group of samples: class j of lane l is at `j * stride + l` of each view.
#[derive(Clone, Copy)]
struct Columns<'a, T> {
    lanes: usize,
    stride: usize,
    x: In<'a, T>,
    /// Where e is kept.
    stash: Option<Out<'a, T>>,
    probabilities: Option<In<'a, T>>,
    grad: Option<Out<'a, T>>,
    hess: Option<Out<'a, T>>,
    accumulate: bool,
}

/// The group's targets, a sample a lane.
struct Targets<T> {
    count: usize,
    /// 0 where there is none.
    class: [usize; MAX_GROUP],
    is_ignored: [bool; MAX_GROUP],
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
        let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
        let zeros = Buffer::new(zero);
        let mut targets = Targets {
            count,
            class: [0; MAX_GROUP],
            is_ignored: [false; MAX_GROUP],
            any_ignored: false,
            weight: zeros,
            hot: zeros,
            mass: [zeros; 2],
        };
        targets.weight.0[..count].fill(one);
        let Goal::Indices { targets: indices, ignore_index, class_weight, smoothing } = &call.goal else {
            if let Some(row_weight) = call.row_weight {
                targets.weigh(|lane| row_weight.get(sample + lane));
            }
            return targets;
        };
        let mut raw = [0; MAX_GROUP];
        indices.read(sample, &mut raw[..count]);
        let mut most = 0;
        for (lane, &target) in raw[..count].iter().enumerate() {
            let is_ignored = target == *ignore_index;
            let class = if is_ignored { 0 } else { target as usize };
            most = most.max(class);
            targets.class[lane] = class;
            targets.is_ignored[lane] = is_ignored;
            targets.any_ignored |= is_ignored;
        }
        assert!(most < call.layout.classes, "target out of range");
        if let Some(row_weight) = call.row_weight {
            targets.weigh(|lane| row_weight.get(sample + lane));
        }
        let class = targets.class;
        match (smoothing, class_weight) {
            (None, Some(class_weight)) => targets.weigh(|lane| class_weight.get(class[lane])),
            (Some(smoothing), _) => {
                for (lane, &class) in class[..count].iter().enumerate() {
                    let class_weight = class_weight.map_or(one, |view| view.get(class));
                    let (hot, mass) = smoothing.shares(class_weight);
                    targets.hot.0[lane] = hot;
                    (targets.mass[0].0[lane], targets.mass[1].0[lane]) = (mass[0], mass[1]);
                }
            }
            (None, None) => {}
        }
        if targets.any_ignored {
            for (weight, &is_ignored) in targets.weight.0[..count].iter_mut().zip(&targets.is_ignored) {
                *weight = if is_ignored { zero } else { *weight };
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

    /// Zeros to the lanes of a tile that do not count.
    fn clear(&self, tile: Out<'_, T>, classes: usize) {
        let lanes = if self.any_ignored { self.count } else { 0 };
        for lane in (0..lanes).filter(|&lane| self.is_ignored[lane]) {
            (0..classes).for_each(|class| tile.set(class * T::GROUP + lane, T::from_f64(0.0)));
        }
    }

    /// One number a lane, from its class.
    #[inline(always)]
    fn each(&self, f: impl Fn(usize, usize) -> T) -> Buffer<T> {
        let mut buffer = Buffer::new(T::from_f64(0.0));
        for (lane, x) in buffer.0[..self.count].iter_mut().enumerate() {
            *x = f(lane, self.class[lane]);
        }
        buffer
    }
}

/// Through tiles.
#[inline(always)]
fn tiled<S: Lanes, T: Real, const SOFT: bool>(
    call: &Softmax<'_, T>,
    s: S,
    group: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) {
    let (layout, classes) = (&call.layout, call.layout.classes);
    let sample = group * T::GROUP;
    let samples = T::GROUP.min(layout.samples - sample);
    let targets = Targets::new(call, sample, samples);
    let (mut x, mut probabilities, mut hess) = (Tile::new(), Tile::new(), Tile::new());

    let x = x.zeros(classes);
    let fill = |tile: Out<'_, T>, from: In<'_, T>| {
        layout.runs(sample, samples, |lane, at, run| tile.fill_lanes(lane, from.after(at), run));
        targets.clear(tile, classes);
    };
    fill(x, call.logits);
    let probabilities = match &call.goal {
        Goal::Probabilities { targets, .. } => {
            let tile = probabilities.zeros(classes);
            fill(tile, *targets);
            Some(tile.as_in())
        }
        _ => None,
    };
    let grad = call.grad.map(|out| (out, x));
    let hess = call.hess.map(|out| (out, hess.zeros(classes)));
    let columns = Columns {
        lanes: T::GROUP,
        stride: T::GROUP,
        x: x.as_in(),
        stash: if call.keeps_exponentials() { Some(x) } else { None },
        probabilities,
        grad: grad.map(|(_, tile)| tile),
        hess: hess.map(|(_, tile)| tile),
        accumulate: false,
    };
    evaluate::<S, T, SOFT, true>(call, s, columns, &targets, sample, sums);
    for (out, tile) in [grad, hess].into_iter().flatten() {
        targets.clear(tile, classes);
        if call.accumulate && targets.any_ignored {
            // zeros could change the sign of what is there
            for lane in (0..samples).filter(|&lane| !targets.is_ignored[lane]) {
                layout.runs(sample + lane, 1, |_, at, run| tile.put_lanes(lane, out.after(at), run, true));
            }
        } else {
            layout.runs(sample, samples, |lane, at, run| tile.put_lanes(lane, out.after(at), run, call.accumulate));
        }
    }
}

/// Where they lie.
#[inline(always)]
fn direct<S: Lanes, T: Real, const SOFT: bool>(
    call: &Softmax<'_, T>,
    s: S,
    group: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) {
    let layout = &call.layout;
    let per_outer = layout.inner.div_ceil(T::GROUP);
    let (outer, inner) = (group / per_outer, group % per_outer * T::GROUP);
    let lanes = T::GROUP.min(layout.inner - inner);
    let sample = outer * layout.inner + inner;
    let at = outer * layout.outer_stride + inner;
    let elements = (layout.classes - 1) * layout.class_stride + lanes;
    let columns = Columns {
        lanes,
        stride: layout.class_stride,
        x: call.logits.slice(at, elements),
        stash: call.stash().map(|out| out.slice(at, elements)),
        probabilities: match &call.goal {
            Goal::Probabilities { targets, .. } => Some(targets.slice(at, elements)),
            _ => None,
        },
        grad: call.grad.map(|out| out.slice(at, elements)),
        hess: call.hess.map(|out| out.slice(at, elements)),
        accumulate: call.accumulate,
    };
    evaluate::<S, T, SOFT, false>(call, s, columns, &Targets::new(call, sample, lanes), sample, sums);
}

impl<'a, T: Real> Columns<'a, T> {
    /// Where class `class` of the i-th vector is, and how many of its lanes there are.
    #[inline(always)]
    fn at<S: Lanes, const TILE: bool>(&self, class: usize, i: usize) -> (usize, usize) {
        let lanes = Pack::<S, T>::LANES;
        if TILE {
            (class * T::GROUP + i * lanes, lanes)
        } else {
            (class * self.stride + i * lanes, (self.lanes - i * lanes).min(lanes))
        }
    }

    #[inline(always)]
    fn load<S: Lanes, const TILE: bool>(&self, s: S, from: In<'a, T>, class: usize, i: usize) -> Pack<S, T> {
        let (at, lanes) = self.at::<S, TILE>(class, i);
        from.load(s, at, lanes)
    }

    /// Logits, 0 for samples that do not count (as a tile has them).
    #[inline(always)]
    fn logits<S: Lanes, const TILE: bool>(&self, s: S, targets: &Targets<T>, class: usize, i: usize) -> Pack<S, T> {
        let x = self.load::<S, TILE>(s, self.x, class, i);
        if TILE { x } else { targets.hide(x, x.c(0.0), i) }
    }

    /// Results, or their sum with what is there; lanes that are ignored get zeros, or stay. (No closure: one that is
    /// called twice may be compiled apart, without the instruction set.)
    #[inline(always)]
    fn write<S: Lanes, const TILE: bool>(
        &self,
        out: Out<'_, T>,
        targets: &Targets<T>,
        class: usize,
        i: usize,
        result: Pack<S, T>,
    ) {
        let (at, lanes) = self.at::<S, TILE>(class, i);
        let result = if TILE {
            result
        } else if self.accumulate {
            let old = out.as_in().load(result.s, at, lanes);
            targets.hide(old + result, old, i)
        } else {
            targets.hide(result, result.c(0.0), i)
        };
        out.store(at, lanes, result);
    }

    /// The target distribution's share in a class, but for an index target's own.
    #[inline(always)]
    fn share<S: Lanes, const TILE: bool>(&self, call: &Softmax<'_, T>, s: S, class: usize, i: usize) -> Pack<S, T> {
        let probability = self.probabilities.map(|view| self.load::<S, TILE>(s, view, class, i));
        call.share(s, probability, call.share_weight().map(|view| splat(s, view.get(class))))
    }
}

impl<T: Real> Targets<T> {
    /// `x` in lanes that count, `other` in those that are ignored.
    #[inline(always)]
    fn hide<S: Lanes>(&self, x: Pack<S, T>, other: Pack<S, T>, i: usize) -> Pack<S, T> {
        if !self.any_ignored {
            return x;
        }
        let mut counts = Buffer::new(T::from_f64(0.0));
        for (counts, &is_ignored) in counts.0.iter_mut().zip(&self.is_ignored) {
            *counts = T::from_f64(if is_ignored { 0.0 } else { 1.0 });
        }
        x.c(0.0).lt(counts.group().load(x.s, i)).select(x, other)
    }
}

/// All outputs of a group.
#[inline(always)]
fn evaluate<S: Lanes, T: Real, const SOFT: bool, const TILE: bool>(
    call: &Softmax<'_, T>,
    s: S,
    columns: Columns<'_, T>,
    targets: &Targets<T>,
    sample: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) {
    let (classes, lanes) = (call.layout.classes, Pack::<S, T>::LANES);
    let vectors = targets.count.div_ceil(lanes);
    let constant = |x: f64| splat::<S, T>(s, T::from_f64(x));
    let (zero, one, infinity) = (constant(0.0), constant(1.0), constant(f64::INFINITY));
    let shifted_one = constant(1.0 / T::EXP.unshift());
    let has_indices = matches!(call.goal, Goal::Indices { .. });
    let with_probabilities = columns.probabilities.is_some();

    // before e takes the logits' place
    let logit = match has_indices {
        true => targets.each(|lane, class| columns.x.get(class * columns.stride + lane)),
        false => Buffer::new(T::from_f64(0.0)),
    };
    let logit = |i: usize| {
        let x = logit.group().load(s, i);
        if TILE { x } else { targets.hide(x, zero, i) }
    };

    let mut max = S::per_group(zero);
    for i in 0..vectors {
        let mut most = columns.logits::<S, TILE>(s, targets, 0, i);
        for class in 1..classes {
            most = most.max_any(columns.logits::<S, TILE>(s, targets, class, i));
        }
        // one sign of zero, whichever instruction set chose
        max.as_mut()[i] = most + zero;
    }

    let mut samples = S::per_group([Pair::new(zero); 3]);
    for i in 0..vectors {
        let most = max.as_ref()[i];
        let origin = Origin::new(most);
        let (mut rest, mut gap, mut mass) = (LaneSum::zero(s), LaneSum::zero(s), LaneSum::zero(s));
        let mut ties = -one;
        // the exponentials of +inf are not what the function gives
        let any_infinite = most.same(infinity).any();
        // classes half a group apart are added to each other, as rows do it
        let half = T::GROUP / 2;
        for first in (0..classes).step_by(T::GROUP) {
            for class in first..classes.min(first + half) {
                let mut terms = [zero; 2];
                for (term, class) in terms.iter_mut().zip([class, class + half]) {
                    if class >= classes {
                        break;
                    }
                    let x = columns.logits::<S, TILE>(s, targets, class, i);
                    let tie = x.same(origin.max);
                    let mut e = origin.shifted(x);
                    ties = ties + tie.select(one, zero);
                    *term = tie.select(zero, e);
                    if any_infinite {
                        e = tie.select(shifted_one, e);
                    }
                    if let Some(stash) = columns.stash {
                        let (at, lanes) = columns.at::<S, TILE>(class, i);
                        stash.store(at, lanes, e);
                    }
                    if SOFT {
                        let q = columns.share::<S, TILE>(call, s, class, i);
                        gap.add(distance(q, origin.max, x));
                        if with_probabilities {
                            mass.add(q);
                        }
                    }
                }
                rest.add_two(terms[0], terms[1]);
            }
        }
        rest.add(ties * shifted_one);
        let mut rest = rest.lanes(s, T::EXP.unshift());
        // +inf twice has no distribution
        rest.hi = (most.same(infinity) & zero.lt(ties)).select(constant(f64::NAN), rest.hi);
        let (gap, mass) = match SOFT {
            true => (gap.lanes(s, 1.0), mass.lanes(s, 1.0)),
            false => (Pair::new(zero), Pair::new(one)),
        };
        samples.as_mut()[i] = [rest, gap, mass];
    }

    let mut factors = S::per_group(Factors::zero(s));
    let mut logs = S::per_group(zero);
    for i in 0..vectors {
        let [rest, gap, shares] = samples.as_ref()[i];
        let (hot, mass) = if !SOFT {
            (one, Pair::new(one))
        } else if with_probabilities {
            (zero, shares)
        } else {
            let mass = [0, 1].map(|part| targets.mass[part].group().load(s, i));
            (targets.hot.group().load(s, i), Pair { hi: mass[0], lo: mass[1] })
        };
        let weight = targets.weight.group().load(s, i);
        let finished =
            Sample { max: max.as_ref()[i], rest, target: logit(i), hot, gap, mass: mass.hi, weight }.finish();
        let value = targets.hide(finished.loss, zero, i);
        if call.needs_total {
            sums.as_mut()[i].add(value);
        }
        if let Some(loss) = call.loss {
            loss.store(sample + i * lanes, (targets.count - i * lanes).min(lanes), value);
        }
        factors.as_mut()[i] = Factors::new(finished.recip, finished.top, mass, weight, call.scale);
        logs.as_mut()[i] = finished.log;
    }
    if columns.grad.is_none() && columns.hess.is_none() {
        return;
    }

    // The target's gradient has its own formula; it is written last.
    let mut at_target = Buffer::new(T::from_f64(0.0));
    if let Some(grad) = columns.grad
        && has_indices
    {
        let base = match SOFT {
            true => targets.each(|_, class| {
                call.share(s, None, call.share_weight().map(|view| splat(s, view.get(class)))).first()
            }),
            false => Buffer::new(T::from_f64(0.0)),
        };
        for i in 0..vectors {
            let e = Origin::new(max.as_ref()[i]).exponential(logit(i));
            let q = if SOFT { targets.hot.group().load(s, i) + base.group().load(s, i) } else { one };
            at_target.group_mut().store(i, factors.as_ref()[i].grad(e, q));
        }
        if columns.accumulate {
            let old = targets.each(|lane, class| grad.as_in().get(class * columns.stride + lane));
            for i in 0..vectors {
                let sum = old.group().load(s, i) + at_target.group().load(s, i);
                at_target.group_mut().store(i, sum);
            }
        }
    }
    for i in 0..vectors {
        let (factors, max, log) = (factors.as_ref()[i], max.as_ref()[i], logs.as_ref()[i]);
        let origin = Origin::new(max);
        for class in 0..classes {
            let e = match (&call.goal, columns.stash) {
                (Goal::LogSoftmax, _) => zero,
                (_, Some(stash)) => columns.load::<S, TILE>(s, stash.as_in(), class, i) * unshift(s),
                (_, None) => origin.exponential(columns.logits::<S, TILE>(s, targets, class, i)),
            };
            // the stash may be either output: e was read before
            if let Some(grad) = columns.grad {
                let result = if let Goal::LogSoftmax = call.goal {
                    let x = columns.logits::<S, TILE>(s, targets, class, i);
                    -(x.same(max).select(zero, max - x) + log)
                } else if SOFT {
                    factors.grad(e, columns.share::<S, TILE>(call, s, class, i))
                } else {
                    factors.plain_grad(e)
                };
                columns.write::<S, TILE>(grad, targets, class, i, result);
            }
            if let Some(hess) = columns.hess {
                columns.write::<S, TILE>(hess, targets, class, i, factors.hess(e));
            }
        }
    }
    if let Some(grad) = columns.grad
        && has_indices
    {
        for lane in (0..targets.count).filter(|&lane| !targets.is_ignored[lane]) {
            grad.set(targets.class[lane] * columns.stride + lane, at_target.0[lane]);
        }
    }
}
