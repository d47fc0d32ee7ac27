//! Losses of one indexed element for each sample: nll and td.
//!
//! ```text
//! for each tile of samples (as many as 4 KiB hold):
//!     collect the indexed elements, evaluate the formula's terms on them
//!     zeros to the gradients                        (one streak of writes)
//!     put the formula's gradients in their places
//! ```
//! A tile is computed in `f64` if its sum is not a finite number, or if its weights or factor are far from 1: see
//! `wide.rs`.

use super::formula::{AnyStage, Formula, Operands, Results, Terms};
use super::wide::{self, WideElement, are_far, is_finite};
use crate::factor::Factor;
use crate::indices::IndexView;
use crate::parallel::{Blocks, Partial};
use crate::shape::{Layout, WeightView};
use crate::simd::tile::{Samples, TILE_CLASSES, Tile};
use crate::simd::view::{Buffer, GroupMut, In, Out, Scratch};
use crate::simd::{Isa, Kernel, LaneSums, Lanes, Pack, Real, Total, splat};

/// Roughly the number of elements of the gradients of a block, and the minimum and maximum number of samples in a
/// block.
const BLOCK: usize = 16384;
const MIN_SAMPLES: usize = 32;
const MAX_SAMPLES: usize = 4096;

/// Where the operands of a formula are read, and where its gradient is written.
pub trait Source<T: Real>: Sync {
    /// The class that a sample selects; `None` if the sample is ignored.
    fn class(&self, sample: usize) -> Option<usize>;
    /// Collects the operands of `count` samples. The arrays contain zeros before; they stay 0 for ignored samples.
    fn gather(&self, isa: Isa, layout: &Layout, first: usize, count: usize, to: Gathered<'_, T>);
    /// The operands of one sample in `f64`, without rounding or overflow. Its input is passed, because the gradient may
    /// have overwritten it.
    fn wide(&self, layout: &Layout, sample: usize, input: f64) -> WideElement;
    /// Whether there are weights.
    fn has_weights(&self) -> bool;
    /// The cost of collecting a sample, in cycles.
    #[cfg_attr(not(feature = "rayon"), allow(dead_code))]
    fn cycles(&self, layout: &Layout) -> usize;
    /// The array for the difference of target and input, if it is requested.
    fn difference(&self) -> Option<Out<'_, T>> {
        None
    }
}

/// Arrays for the operands of samples, with room for whole groups.
#[derive(Clone, Copy)]
pub struct Gathered<'a, T> {
    pub input: Out<'a, T>,
    pub target: Out<'a, T>,
    pub weight: Out<'a, T>,
}

/// A call.
pub struct Gather<'a, T, G> {
    pub source: G,
    pub layout: Layout,
    /// One loss for each sample.
    pub loss: Option<Out<'a, T>>,
    pub grad: Option<Out<'a, T>>,
    pub hess: Option<Out<'a, T>>,
    pub accumulate: bool,
    /// The factor of gradient and Hessian, including the constant factor of the formula.
    pub factor: Factor,
    /// The minimum of Hessians, before weight and factor are applied; minus infinity for no minimum.
    pub least_hess: T,
    pub needs_total: bool,
}

/// A call with its formula.
pub struct Evaluation<'a, T, G> {
    pub formula: &'a dyn AnyStage<T>,
    pub call: &'a Gather<'a, T, G>,
}

impl<T: Real, G: Source<T>> Gather<'_, T, G> {
    fn samples_per_block(&self) -> usize {
        let samples = (BLOCK / self.layout.classes).clamp(MIN_SAMPLES, MAX_SAMPLES);
        samples.next_multiple_of(MIN_SAMPLES)
    }

    /// Writes zeros to the elements of these samples, but not to the padding between them.
    fn clear(&self, out: Out<'_, T>, first: usize, count: usize) {
        let (layout, zero) = (&self.layout, T::from_f64(0.0));
        if layout.is_rows() && layout.outer_stride == layout.classes {
            return out.slice(first * layout.classes, count * layout.classes).fill(zero);
        }
        let mut sample = first;
        while sample < first + count {
            // as many samples as are contiguous
            let run = layout.beside(sample).min(first + count - sample);
            let at = layout.offset(sample);
            if layout.is_rows() {
                out.slice(at, layout.classes).fill(zero);
            } else {
                for class in 0..layout.classes {
                    out.slice(at + class * layout.class_stride, run).fill(zero);
                }
            }
            sample += run;
        }
    }
}

impl<T: Real, G: Source<T>> Blocks for Evaluation<'_, T, G> {
    fn count(&self) -> usize {
        let Gather { layout, .. } = self.call;
        if layout.samples == 0 { 0 } else { layout.samples.div_ceil(self.call.samples_per_block()) }
    }

    fn cycles(&self) -> usize {
        let Gather { layout, source, grad, .. } = self.call;
        let zeros = if grad.is_some() { layout.classes / 4 } else { 0 };
        self.call.samples_per_block().min(layout.samples) * (source.cycles(layout) + zeros)
    }

    fn block(&self, isa: Isa, index: usize) -> Partial {
        let per_block = self.call.samples_per_block();
        let first = index * per_block;
        let count = per_block.min(self.call.layout.samples - first);
        let (mut sums, mut wide) = (LaneSums::zero(), None);
        for done in (0..count).step_by(<Scratch<T>>::LEN) {
            self.tile(isa, first + done, <Scratch<T>>::LEN.min(count - done), &mut sums, &mut wide);
        }
        if !self.call.needs_total {
            return Partial::default();
        }
        let total = sums.total();
        Partial { total: wide.map_or(total, |wide| total.merge(wide)), out_of_domain: false }
    }
}

impl<T: Real, G: Source<T>> Evaluation<'_, T, G> {
    /// Processes a tile of samples. Values are added to `sums`, or to `wide` if they are computed in `f64`.
    fn tile(&self, isa: Isa, first: usize, count: usize, sums: &mut LaneSums<T>, wide: &mut Option<Total>) {
        let Evaluation { formula, call } = self;
        let (layout, source) = (&call.layout, &call.source);
        let len = count.next_multiple_of(T::GROUP);
        let mut rooms = [const { <Scratch<T>>::new() }; 6];
        let [input, target, weight, loss, grad, hess] = rooms.each_mut().map(|room| room.zeros(len));
        source.gather(isa, layout, first, count, Gathered { input, target, weight });
        // not earlier, because the gradient may overwrite the input
        if !call.accumulate {
            for out in [call.grad, call.hess].into_iter().flatten() {
                call.clear(out, first, count);
            }
        }
        // Samples beyond the last are zeros, which do not change the sum. Derivatives are multiplied by weights when
        // they are written.
        let operands = Operands { input: input.as_in(), target: target.as_in(), parameter: input.as_in() };
        let (factor, least_hess) = (T::from_f64(1.0), call.least_hess);
        let nothing = Results { loss: None, grad: None, accumulate: false, factor, least_hess };
        let made = Results { loss: Some(loss), ..nothing };
        let sums_before = *sums;
        formula.any(isa, operands, Some(weight.as_in()), made, sums);
        let is_narrow = size_of::<T>() < size_of::<f64>();
        let are_weights_far = is_narrow && source.has_weights() && are_far(weight.as_in().slice(0, count));
        let are_values_wide = is_narrow && (are_weights_far || !{ *sums }.total().hi.is_finite());
        if are_values_wide {
            *sums = sums_before;
        }
        if call.grad.is_some() {
            formula.any(isa, operands, None, Results { grad: Some(grad), ..nothing }, &mut LaneSums::zero());
        }
        if call.hess.is_some() {
            formula.hess(isa, operands, None, Results { grad: Some(hess), ..nothing });
        }
        if let Some(out) = call.loss {
            for i in 0..count {
                out.set(first + i, loss.as_in().get(i));
            }
        }
        if let Some(difference) = source.difference() {
            for i in 0..count {
                difference.set(first + i, target.as_in().get(i) - input.as_in().get(i));
            }
        }
        let makes_all = are_weights_far || !call.factor.fits::<T>();
        if are_values_wide || makes_all {
            let total =
                self.widely(isa, first, input.as_in().slice(0, count), [grad, hess], [are_weights_far, makes_all]);
            if are_values_wide {
                *wide = Some(wide.map_or(total, |wide| wide.merge(total)));
            }
            return;
        }
        let factor = T::from_f64(call.factor.value);
        for (out, made) in [(call.grad, grad), (call.hess, hess)] {
            let Some(out) = out else { continue };
            for i in 0..count {
                let Some(class) = source.class(first + i) else { continue };
                let result = (made.as_in().get(i) * weight.as_in().get(i)) * factor;
                self.put(out, first + i, class, result);
            }
        }
    }

    /// Writes a derivative to its position, or adds it to the contents.
    #[inline(always)]
    fn put(&self, out: Out<'_, T>, sample: usize, class: usize, result: T) {
        let Gather { layout, accumulate, .. } = self.call;
        let at = layout.offset(sample) + class * layout.class_stride;
        out.set(at, if *accumulate { out.as_in().get(at) + result } else { result });
    }

    /// Computes values in `f64`, and returns their sum. Writes derivatives, and those losses and differences that are
    /// not finite. `made` contains the derivatives without weights and factor. The last argument says whether all
    /// losses, and all derivatives, are computed in `f64`, or only those that are not finite.
    #[cold]
    #[inline(never)]
    fn widely(
        &self,
        isa: Isa,
        first: usize,
        input: In<'_, T>,
        made: [Out<'_, T>; 2],
        [makes_all_losses, makes_all]: [bool; 2],
    ) -> Total {
        let Evaluation { formula, call } = self;
        let (layout, source, factor) = (&call.layout, &call.source, &call.factor);
        let mut total = Total::ZERO;
        for at in (0..input.len()).step_by(wide::GROUP) {
            let count = wide::GROUP.min(input.len() - at);
            let element = |i: usize| source.wide(layout, first + at + i, input.get(at + i).to_f64());
            let results = wide::evaluate(*formula, isa, count, &element, factor.value, call.least_hess.to_f64());
            total = total.merge(results.total);
            for i in 0..count {
                let sample = first + at + i;
                let Some(class) = source.class(sample) else { continue };
                let WideElement { input, target, weight, .. } = element(i);
                if let Some(out) = call.loss
                    && (makes_all_losses || !is_finite(out.as_in().get(sample)))
                {
                    out.set(sample, T::from_f64(results.loss[i]));
                }
                if let Some(out) = source.difference()
                    && !is_finite(out.as_in().get(sample))
                {
                    out.set(sample, T::from_f64(target - input));
                }
                for (out, made, wide) in [(call.grad, made[0], results.grad), (call.hess, made[1], results.hess)] {
                    let Some(out) = out else { continue };
                    let plain = made.as_in().get(at + i) * T::from_f64(weight) * T::from_f64(factor.value);
                    let result = if makes_all || !is_finite(plain) { factor.finish(wide[i]) } else { plain };
                    self.put(out, sample, class, result);
                }
            }
        }
        total
    }
}

/// Minus the log-probability of the target.
pub struct Nll<'a, T> {
    /// The layout of the log-probabilities. The gradient may have other strides.
    pub layout: Layout,
    pub log_probs: In<'a, T>,
    pub targets: IndexView<'a>,
    pub ignore_index: i64,
    pub weights: WeightView<'a, T>,
}

#[derive(Clone, Copy)]
pub struct Negative;

impl<T: Real> Formula<T> for Negative {
    type Wide = Self;
    fn wide(self) -> Self {
        self
    }

    #[inline(always)]
    fn terms<S: Lanes>(self, input: Pack<S, T>, _: Pack<S, T>, _: Pack<S, T>) -> Terms<S, T> {
        let zero = input.c(0.0);
        Terms { value: [zero - input, input.c(1.0)], grad: input.or_nan(input.c(-1.0)) }
    }

    #[inline(always)]
    fn hess<S: Lanes>(self, input: Pack<S, T>, _: Pack<S, T>, _: Pack<S, T>) -> Pack<S, T> {
        input.or_nan(input.c(0.0))
    }
}

impl<T: Real> Source<T> for Nll<'_, T> {
    #[inline]
    fn class(&self, sample: usize) -> Option<usize> {
        let target = self.targets.get(sample);
        if target == self.ignore_index { None } else { Some(target as usize) }
    }

    fn gather(&self, _: Isa, _: &Layout, first: usize, count: usize, to: Gathered<'_, T>) {
        let (layout, one) = (&self.layout, T::from_f64(1.0));
        for i in 0..count {
            let sample = first + i;
            let Some(class) = self.class(sample) else { continue };
            assert!(class < layout.classes, "target out of range");
            let class_weight = self.weights.class.map_or(one, |view| view.get(class));
            let row_weight = self.weights.row.map_or(one, |view| view.get(sample));
            to.input.set(i, self.log_probs.get(layout.offset(sample) + class * layout.class_stride));
            to.weight.set(i, class_weight * row_weight);
        }
    }

    fn wide(&self, _: &Layout, sample: usize, input: f64) -> WideElement {
        let nothing = WideElement { input, target: 0.0, parameter: 1.0, weight: 0.0 };
        let Some(class) = self.class(sample) else { return nothing };
        let weight = |view: Option<In<'_, T>>, at: usize| view.map_or(1.0, |view| view.get(at).to_f64());
        WideElement { weight: weight(self.weights.class, class) * weight(self.weights.row, sample), ..nothing }
    }

    fn has_weights(&self) -> bool {
        self.weights.class.is_some() || self.weights.row.is_some()
    }

    fn cycles(&self, _: &Layout) -> usize {
        8
    }
}

/// The value of an action compared with the reward and the value of the next state.
pub struct Td<'a, T> {
    pub q: In<'a, T>,
    pub actions: IndexView<'a>,
    pub reward: In<'a, T>,
    /// Not 0 if the episode has ended, so there is no next state.
    pub done: Option<In<'a, u8>>,
    pub next_q: In<'a, T>,
    /// Chooses the next action, if given (double DQN).
    pub next_q_online: Option<In<'a, T>>,
    pub weight: Option<In<'a, T>>,
    pub gamma: T,
    pub td_error: Option<Out<'a, T>>,
}

impl<T: Real> Source<T> for Td<'_, T> {
    #[inline]
    fn class(&self, sample: usize) -> Option<usize> {
        Some(self.actions.get(sample) as usize)
    }

    fn gather(&self, isa: Isa, layout: &Layout, first: usize, count: usize, to: Gathered<'_, T>) {
        for i in 0..count {
            let (sample, action) = (first + i, self.actions.get(first + i) as usize);
            assert!(action < layout.classes, "action out of range");
            to.input.set(i, self.q.get(layout.offset(sample) + action));
            to.weight.set(i, self.weight.map_or(T::from_f64(1.0), |view| view.get(sample)));
        }
        isa.dispatch(TdTargets { td: self, layout, first, count, to: to.target });
    }

    fn wide(&self, layout: &Layout, sample: usize, input: f64) -> WideElement {
        let at = layout.offset(sample);
        let is_done = self.gamma == T::ZERO || self.done.is_some_and(|done| done.get(sample) != 0);
        let mut target = self.reward.get(sample).to_f64();
        if !is_done {
            let next = self.next_q.slice(at, layout.classes);
            let chooses = self.next_q_online.map_or(next, |online| online.slice(at, layout.classes));
            target += self.gamma.to_f64() * next.get(first_maximum(chooses)).to_f64();
        }
        WideElement { input, target, parameter: 1.0, weight: self.weight.map_or(1.0, |view| view.get(sample).to_f64()) }
    }

    fn has_weights(&self) -> bool {
        self.weight.is_some()
    }

    fn cycles(&self, layout: &Layout) -> usize {
        16 + layout.classes * if self.next_q_online.is_some() { 2 } else { 1 }
    }

    fn difference(&self) -> Option<Out<'_, T>> {
        self.td_error
    }
}

/// `reward + gamma next`, or the reward alone if the episode has ended.
struct TdTargets<'a, 'b, T> {
    td: &'a Td<'b, T>,
    layout: &'a Layout,
    first: usize,
    count: usize,
    to: Out<'a, T>,
}

impl<T: Real> Kernel for TdTargets<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let TdTargets { td, layout, first, count, to } = self;
        for at in (0..count).step_by(T::GROUP) {
            td.targets(s, layout, first + at, T::GROUP.min(count - at), to.part(at, T::GROUP));
        }
    }
}

impl<T: Real> Td<'_, T> {
    /// The targets of a group, or of fewer samples.
    #[inline(always)]
    fn targets<S: Lanes>(&self, s: S, layout: &Layout, first: usize, count: usize, to: GroupMut<'_, T>) {
        // 0 beyond the last sample, because an infinite gamma must not give NaN in those lanes
        let mut goes_on = Buffer::new(T::ZERO);
        for lane in 0..count {
            let is_done = self.done.is_some_and(|done| done.get(first + lane) != 0);
            goes_on.0[lane] = if is_done { T::ZERO } else { T::from_f64(1.0) };
        }
        if self.gamma == T::ZERO {
            // the next state does not matter, so its values may be anything
            goes_on = Buffer::new(T::ZERO);
        }
        let next = self.next(s, layout, first, count, &goes_on);
        let (reward, gamma) = (self.reward.part(first, count), splat(s, self.gamma));
        for i in 0..count.div_ceil(Pack::<S, T>::LANES) {
            // not by multiplication by 0, which gives NaN for infinite values
            let goes_on = goes_on.group().load(s, i).same(gamma.c(1.0));
            let (gamma, next) = (goes_on.keep(gamma), goes_on.keep(next.group().load(s, i)));
            to.store(i, gamma.fma(next, reward.load(s, i)));
        }
    }

    /// The values of the next actions.
    #[inline(always)]
    fn next<S: Lanes>(&self, s: S, layout: &Layout, first: usize, count: usize, goes_on: &Buffer<T>) -> Buffer<T> {
        if self.next_q_online.is_none() && count == T::GROUP && layout.classes <= TILE_CLASSES {
            return maxima_of_rows(s, self.next_q.after(layout.offset(first)), layout);
        }
        let mut next = Buffer::new(T::ZERO);
        for (lane, next) in next.0[..count].iter_mut().enumerate() {
            if goes_on.0[lane] == T::ZERO {
                continue;
            }
            let at = layout.offset(first + lane);
            let actions = self.next_q.slice(at, layout.classes);
            *next = match self.next_q_online {
                None => maximum(s, actions),
                Some(online) => actions.get(first_maximum(online.slice(at, layout.classes))),
            };
        }
        next
    }
}

/// [`maximum`] of each row of a group, the first of which begins where `x` does.
#[inline(always)]
fn maxima_of_rows<S: Lanes, T: Real>(s: S, x: In<'_, T>, layout: &Layout) -> Buffer<T> {
    let (classes, mut maxima) = (layout.classes, Buffer::new(T::ZERO));
    let mut tile = Tile::new();
    let tile = tile.zeros(classes);
    tile.fill(s, 0, x, Samples { count: T::GROUP, stride: layout.outer_stride, classes, class_stride: 1 });
    for i in 0..Pack::<S, T>::per_group() {
        let mut most = tile.class::<true>(0).as_group().load(s, i);
        let mut numbers = most;
        for class in 1..classes {
            let x = tile.class::<true>(class).as_group().load(s, i);
            most = most.max_any(x);
            numbers = x.same(x).select(numbers, x);
        }
        // the same sign of zero on all instruction sets
        maxima.group_mut().store(i, numbers.or_nan(most + most.c(0.0)));
    }
    maxima
}

/// The largest element; NaN if there is one.
#[inline(always)]
fn maximum<S: Lanes, T: Real>(s: S, x: In<'_, T>) -> T {
    let lanes = Pack::<S, T>::LANES;
    let mut most = splat(s, x.get(0));
    let mut numbers = most;
    let mut at = 0;
    while at < x.len() {
        // the last vector may overlap the one before it, which does not change a maximum
        let here = if x.len() < lanes { at } else { at.min(x.len() - lanes) };
        let count = lanes.min(x.len() - here);
        let vector = x.load(s, here, count);
        let vector = if count < lanes { crate::simd::first_lanes(vector, count, most) } else { vector };
        most = most.max_any(vector);
        numbers = vector.same(vector).select(numbers, vector);
        at += lanes;
    }
    if numbers.same(numbers).all() {
        // the same sign of zero on all instruction sets
        T::reduce_max_any(s, most.v) + T::from_f64(0.0)
    } else {
        T::NAN
    }
}

/// The index of the first maximum; of the first NaN if there is one.
fn first_maximum<T: Real>(x: In<'_, T>) -> usize {
    let mut best = 0;
    for i in 0..x.len() {
        let (candidate, most) = (x.get(i), x.get(best));
        if candidate.is_nan() {
            return i;
        }
        if candidate > most {
            best = i;
        }
    }
    best
}
