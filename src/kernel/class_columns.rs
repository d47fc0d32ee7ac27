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

use super::softmax::{Factors, Goal, Sample, Softmax, Target, exponential};
use crate::parallel::{Blocks, Partial};
use crate::simd::view::{Buffer, In, Out, TILE_CLASSES, Tile};
use crate::simd::{Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Pack, Pair, Real, exp_non_positive, splat, total, two_diff};

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
        self.groups().div_ceil(self.groups_per_block())
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
struct Group<'a, T> {
    samples: usize,
    lanes: usize,
    stride: usize,
    x: In<'a, T>,
    /// Where e is kept.
    stash: Option<Out<'a, T>>,
    probabilities: Option<In<'a, T>>,
    grad: Option<Out<'a, T>>,
    hess: Option<Out<'a, T>>,
    accumulate: bool,
    /// 1 in lanes that count, if others are to be hidden.
    counted: Option<Buffer<T>>,
    targets: [Target<T>; MAX_GROUP],
}

#[inline(always)]
fn targets<T: Real>(call: &Softmax<'_, T>, sample: usize, count: usize) -> [Target<T>; MAX_GROUP] {
    let zero = T::from_f64(0.0);
    let mut targets = [Target { class: 0, ignored: true, weight: zero, hot: zero, mass: zero }; MAX_GROUP];
    if call.has_targets() || call.row_weight.is_some() {
        for (lane, target) in targets[..count].iter_mut().enumerate() {
            *target = call.target(sample + lane);
        }
    } else {
        let one = T::from_f64(1.0);
        targets[..count].fill(Target { class: 0, ignored: false, weight: one, hot: zero, mass: one });
    }
    targets
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
    let targets = targets(call, sample, samples);
    let elements = (classes - 1) * layout.class_stride + 1;
    let (mut x, mut probabilities, mut hess) = (Tile::new(), Tile::new(), Tile::new());

    let x = x.zeros(classes);
    let from_probabilities = match &call.goal {
        Goal::Probabilities { targets, .. } => Some(*targets),
        _ => None,
    };
    let probabilities = from_probabilities.map(|view| (view, probabilities.zeros(classes)));
    for (lane, target) in targets[..samples].iter().enumerate() {
        if target.ignored {
            continue;
        }
        let at = layout.offset(sample + lane);
        x.set_lane(lane, classes, call.logits.slice(at, elements), layout.class_stride);
        if let Some((from, tile)) = probabilities {
            tile.set_lane(lane, classes, from.slice(at, elements), layout.class_stride);
        }
    }
    let grad = call.grad.map(|out| (out, x));
    let hess = call.hess.map(|out| (out, hess.zeros(classes)));
    let view = Group {
        samples,
        lanes: T::GROUP,
        stride: T::GROUP,
        x: x.as_in(),
        stash: if call.keeps_exponentials() { Some(x) } else { None },
        probabilities: probabilities.map(|(_, tile)| tile.as_in()),
        grad: grad.map(|(_, tile)| tile),
        hess: hess.map(|(_, tile)| tile),
        accumulate: false,
        counted: None,
        targets,
    };
    evaluate::<S, T, SOFT>(call, s, &view, sample, sums);
    for (out, tile) in [grad, hess].into_iter().flatten() {
        for (lane, target) in view.targets[..samples].iter().enumerate() {
            if !(target.ignored && call.accumulate) {
                let to = out.slice(layout.offset(sample + lane), elements);
                tile.put_lane(lane, classes, to, layout.class_stride, call.accumulate);
            }
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
    let targets = targets(call, sample, lanes);
    let counted = if targets[..lanes].iter().any(|target| target.ignored) {
        let mut counted = Buffer::new(T::from_f64(0.0));
        for (counts, target) in counted.0.iter_mut().zip(&targets) {
            *counts = T::from_f64(if target.ignored { 0.0 } else { 1.0 });
        }
        Some(counted)
    } else {
        None
    };
    let view = Group {
        samples: lanes,
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
        counted,
        targets,
    };
    evaluate::<S, T, SOFT>(call, s, &view, sample, sums);
}

impl<T: Real> Group<'_, T> {
    /// Where class `class` of the i-th vector is, and how many of its lanes there are.
    #[inline(always)]
    fn at<S: Lanes>(&self, class: usize, i: usize) -> (usize, usize) {
        let lanes = Pack::<S, T>::LANES;
        (class * self.stride + i * lanes, (self.lanes - i * lanes).min(lanes))
    }

    /// Logits, 0 for samples that do not count.
    #[inline(always)]
    fn logits<S: Lanes>(&self, s: S, class: usize, i: usize) -> Pack<S, T> {
        let (at, lanes) = self.at::<S>(class, i);
        let x = self.x.load(s, at, lanes);
        match &self.counted {
            Some(counted) => {
                let zero = x.c(0.0);
                zero.lt(counted.group().load(s, i)).select(x, zero)
            }
            None => x,
        }
    }

    /// One number a lane, made from its target.
    #[inline(always)]
    fn each_target(&self, f: impl Fn(usize, &Target<T>) -> T) -> Buffer<T> {
        let mut buffer = Buffer::new(T::from_f64(0.0));
        for (lane, target) in self.targets[..self.samples].iter().enumerate() {
            buffer.0[lane] = f(lane, target);
        }
        buffer
    }
}

/// All outputs of a group.
#[inline(always)]
fn evaluate<S: Lanes, T: Real, const SOFT: bool>(
    call: &Softmax<'_, T>,
    s: S,
    group: &Group<'_, T>,
    sample: usize,
    sums: &mut S::PerGroup<LaneSum<S>>,
) {
    let classes = call.layout.classes;
    let vectors = group.samples.div_ceil(Pack::<S, T>::LANES);
    let constant = |x: f64| splat::<S, T>(s, T::from_f64(x));
    let (zero, one, infinity) = (constant(0.0), constant(1.0), constant(f64::INFINITY));

    // before e takes the logits' place
    let logit = group.each_target(|lane, target| {
        if target.ignored { T::from_f64(0.0) } else { group.x.get(target.class * group.stride + lane) }
    });

    let mut max = S::per_group(zero);
    for i in 0..vectors {
        let mut most = group.logits(s, 0, i);
        for class in 1..classes {
            most = most.max_any(group.logits(s, class, i));
        }
        // one sign of zero, whichever instruction set chose
        max.as_mut()[i] = most + zero;
    }

    let with_probabilities = group.probabilities.is_some();
    let weight = group.each_target(|_, target| target.weight);
    let mut samples = S::per_group((Pair::new(zero), Pair::new(zero), zero));
    for i in 0..vectors {
        let most = max.as_ref()[i];
        let from = most.same(-infinity).select(zero, most);
        let (mut rest, mut gap, mut mass) = (LaneSum::zero(s), LaneSum::zero(s), LaneSum::zero(s));
        let mut ties = -one;
        for class in 0..classes {
            let x = group.logits(s, class, i);
            let d = two_diff(x, from);
            let e = exp_non_positive(d.hi, d.lo);
            let tie = x.same(from);
            rest.add(tie.select(zero, e));
            ties = ties + tie.select(one, zero);
            if let Some(stash) = group.stash {
                let (at, lanes) = group.at::<S>(class, i);
                stash.store(at, lanes, tie.select(one, e));
            }
            if SOFT {
                let q = share(call, group, s, class, i);
                gap.add((tie | q.same(zero)).select(zero, q * -d.hi));
                if with_probabilities {
                    mass.add(q);
                }
            }
        }
        rest.add(ties);
        let mut rest = rest.lanes(s);
        // the limit of no one distribution: +inf twice
        rest.hi = (most.same(infinity) & zero.lt(ties)).select(constant(f64::NAN), rest.hi);
        samples.as_mut()[i] = (rest, gap.lanes(s), mass.lanes::<T>(s).round());
    }

    let mass = group.each_target(|_, target| target.mass);
    let hot = group.each_target(|_, target| target.hot);
    let mut factors = S::per_group(Factors { recip: zero, top: zero, plain: zero, mass: zero, weight: zero });
    let mut logs = S::per_group(zero);
    for i in 0..vectors {
        let (rest, gap, shares) = samples.as_ref()[i];
        let mass = if with_probabilities { shares } else { mass.group().load(s, i) };
        let weight = weight.group().load(s, i);
        let max = max.as_ref()[i];
        let (hot, target) = (hot.group().load(s, i), logit.group().load(s, i));
        let finished = Sample { max, rest, target, hot, gap, mass, weight }.finish();
        if call.needs_total {
            sums.as_mut()[i].add(finished.loss);
        }
        if let Some(loss) = call.loss {
            let lanes = Pack::<S, T>::LANES;
            loss.store(sample + i * lanes, (group.samples - i * lanes).min(lanes), finished.loss);
        }
        factors.as_mut()[i] = Factors::new(finished.recip, finished.top, mass, weight, call.scale);
        logs.as_mut()[i] = finished.log;
    }
    if group.grad.is_none() && group.hess.is_none() {
        return;
    }

    // The target's gradient has its own formula; it is written last.
    let indices = matches!(call.goal, Goal::Indices { .. });
    let mut at_target = Buffer::new(T::from_f64(0.0));
    if let Some(grad) = group.grad
        && indices
    {
        let base = group.each_target(|_, target| call.base(target.class));
        let old = group.each_target(|lane, target| match group.accumulate && !target.ignored {
            true => grad.as_in().get(target.class * group.stride + lane),
            false => T::from_f64(0.0),
        });
        for i in 0..vectors {
            let e = exponential(logit.group().load(s, i), max.as_ref()[i]);
            let q = hot.group().load(s, i) + base.group().load(s, i);
            let result = factors.as_ref()[i].grad(e, q);
            let result = if group.accumulate { old.group().load(s, i) + result } else { result };
            at_target.group_mut().store(i, result);
        }
    }
    for i in 0..vectors {
        let (factors, max, log) = (factors.as_ref()[i], max.as_ref()[i], logs.as_ref()[i]);
        for class in 0..classes {
            let (at, lanes) = group.at::<S>(class, i);
            let (grad, hess);
            if let Goal::LogSoftmax = call.goal {
                let x = group.logits(s, class, i);
                grad = -(x.same(max).select(zero, max - x) + log);
                hess = zero;
            } else {
                let e = match group.stash {
                    Some(stash) => stash.as_in().load(s, at, lanes),
                    None => exponential(group.logits(s, class, i), max),
                };
                grad = if SOFT { factors.grad(e, share(call, group, s, class, i)) } else { factors.plain_grad(e) };
                hess = factors.hess(e);
            }
            // the stash may be either output
            for (out, result) in [(group.grad, grad), (group.hess, hess)] {
                let Some(out) = out else { continue };
                let mut result = result;
                if group.accumulate {
                    let old = out.as_in().load(s, at, lanes);
                    result = old + result;
                    if let Some(counted) = &group.counted {
                        result = zero.lt(counted.group().load(s, i)).select(result, old);
                    }
                }
                out.store(at, lanes, result);
            }
        }
    }
    if let Some(grad) = group.grad
        && indices
    {
        for (lane, target) in group.targets[..group.samples].iter().enumerate() {
            if !target.ignored {
                grad.set(target.class * group.stride + lane, at_target.0[lane]);
            }
        }
    }
}

/// The target distribution's share in a class, but for an index target's own.
#[inline(always)]
fn share<S: Lanes, T: Real>(call: &Softmax<'_, T>, group: &Group<'_, T>, s: S, class: usize, i: usize) -> Pack<S, T> {
    match (&call.goal, group.probabilities) {
        (&Goal::Probabilities { class_weight, keep, base, .. }, Some(probabilities)) => {
            let (at, lanes) = group.at::<S>(class, i);
            let q = probabilities.load(s, at, lanes).fma(splat(s, keep), splat(s, base));
            class_weight.map_or(q, |weight| q * splat(s, weight.get(class)))
        }
        _ => splat(s, call.base(class)),
    }
}
