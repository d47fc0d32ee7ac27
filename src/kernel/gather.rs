//! One indexed element a sample: nll and td.
//!
//! ```text
//! for each group of samples:
//!     collect the indexed elements, evaluate the formula on whole vectors
//!     zeros to the gradients                        (one streak of writes)
//!     put the formula's gradients in their places
//! ```

use super::pointwise::{Formula, Terms};
use crate::parallel::{Blocks, Partial};
use crate::shape::{IndexView, Layout, WeightView};
use crate::simd::tile::{Samples, TILE_CLASSES, Tile};
use crate::simd::view::{Buffer, In, Out};
use crate::simd::{Isa, Kernel, LaneSum, Lanes, MAX_GROUP, Pack, Real, splat, total};

/// Elements that a block's gradients have, roughly, and the fewest and most samples of a block.
const BLOCK: usize = 16384;
const MIN_SAMPLES: usize = 32;
const MAX_SAMPLES: usize = 4096;

/// Where a formula's operands come from, and where its gradient goes.
pub trait Source<T: Real>: Sync {
    type Formula: Formula<T>;

    fn formula(&self) -> Self::Formula;
    /// The class that a sample points at; none if it does not count.
    fn class(&self, sample: usize) -> Option<usize>;
    /// The operands of some samples, no more than a group.
    fn gather<S: Lanes>(&self, s: S, layout: &Layout, first: usize, count: usize) -> Gathered<T>;
    /// What collecting a sample costs, in cycles.
    #[cfg_attr(not(feature = "rayon"), allow(dead_code))]
    fn cycles(&self, layout: &Layout) -> usize;
    /// Where the difference of target and input is wanted.
    fn difference(&self) -> Option<Out<'_, T>> {
        None
    }
}

/// A group's operands. Samples that do not count have weight 0 and finite operands.
pub struct Gathered<T> {
    pub input: Buffer<T>,
    pub target: Buffer<T>,
    pub weight: Buffer<T>,
}

impl<T: Real> Gathered<T> {
    fn new() -> Self {
        let zeros = Buffer::new(T::from_f64(0.0));
        Gathered { input: zeros, target: zeros, weight: zeros }
    }
}

/// A call.
pub struct Gather<'a, T, G> {
    pub source: G,
    pub layout: Layout,
    /// One value per sample.
    pub loss: Option<Out<'a, T>>,
    pub grad: Option<Out<'a, T>>,
    pub hess: Option<Out<'a, T>>,
    pub accumulate: bool,
    /// Factor of gradient and Hessian, with the formula's own in it.
    pub factor: T,
    pub needs_total: bool,
}

impl<T: Real, G: Source<T>> Gather<'_, T, G> {
    fn samples_per_block(&self) -> usize {
        let samples = (BLOCK / self.layout.classes).clamp(MIN_SAMPLES, MAX_SAMPLES);
        samples.next_multiple_of(MIN_SAMPLES)
    }

    /// Zeros to the elements of these samples, but not between them.
    fn clear(&self, out: Out<'_, T>, first: usize, count: usize) {
        let (layout, zero) = (&self.layout, T::from_f64(0.0));
        if layout.is_rows() && layout.outer_stride == layout.classes {
            return out.slice(first * layout.classes, count * layout.classes).fill(zero);
        }
        let mut sample = first;
        while sample < first + count {
            // as many as lie beside each other
            let run = (layout.inner - sample % layout.inner).min(first + count - sample);
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

impl<T: Real, G: Source<T>> Blocks for Gather<'_, T, G> {
    fn count(&self) -> usize {
        if self.layout.samples == 0 { 0 } else { self.layout.samples.div_ceil(self.samples_per_block()) }
    }
    fn cycles(&self) -> usize {
        let zeros = if self.grad.is_some() { self.layout.classes / 4 } else { 0 };
        self.samples_per_block().min(self.layout.samples) * (self.source.cycles(&self.layout) + zeros)
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let first = index * self.samples_per_block();
        let count = self.samples_per_block().min(self.layout.samples - first);
        isa.dispatch(Block { call: self, first, count })
    }
}

struct Block<'a, 'b, T, G> {
    call: &'a Gather<'b, T, G>,
    first: usize,
    count: usize,
}

impl<T: Real, G: Source<T>> Kernel for Block<'_, '_, T, G> {
    type Output = Partial;

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> Partial {
        let Block { call, first, count } = self;
        let mut sums = S::per_group(LaneSum::zero(s));
        let mut done = 0;
        while done < count {
            let samples = T::GROUP.min(count - done);
            call.group(s, first + done, samples, &mut sums);
            done += samples;
        }
        let total = if call.needs_total { total::<S, T>(s, sums) } else { Default::default() };
        Partial { total, out_of_domain: false }
    }
}

impl<T: Real, G: Source<T>> Gather<'_, T, G> {
    #[inline(always)]
    fn group<S: Lanes>(&self, s: S, first: usize, count: usize, sums: &mut S::PerGroup<LaneSum<S>>) {
        let gathered = self.source.gather(s, &self.layout, first, count);
        // not before: the gradient may stand where the input stands
        if !self.accumulate {
            for out in [self.grad, self.hess].into_iter().flatten() {
                self.clear(out, first, count);
            }
        }
        let (formula, factor) = (self.source.formula(), splat::<S, T>(s, self.factor));
        let lanes = Pack::<S, T>::LANES;
        let mut results = [Buffer::new(T::from_f64(0.0)); 2];
        for i in 0..count.div_ceil(lanes) {
            let (at, lanes) = (first + i * lanes, (count - i * lanes).min(lanes));
            let input = gathered.input.group().load(s, i);
            let target = gathered.target.group().load(s, i);
            let weight = gathered.weight.group().load(s, i);
            let terms = formula.terms(input, target, input);
            let value = terms.weighted_value(weight);
            if self.needs_total {
                sums.as_mut()[i].add(value);
            }
            if let Some(loss) = self.loss {
                loss.store(at, lanes, value);
            }
            if let Some(difference) = self.source.difference() {
                difference.store(at, lanes, target - input);
            }
            results[0].group_mut().store(i, (terms.grad * weight) * factor);
            if self.hess.is_some() {
                results[1].group_mut().store(i, (formula.hess(input, target, input) * weight) * factor);
            }
        }
        for (out, results) in [self.grad, self.hess].into_iter().zip(&results) {
            let Some(out) = out else { continue };
            for (lane, &result) in results.0[..count].iter().enumerate() {
                let sample = first + lane;
                if let Some(class) = self.source.class(sample) {
                    let at = self.layout.offset(sample) + class * self.layout.class_stride;
                    out.set(at, if self.accumulate { out.as_in().get(at) + result } else { result });
                }
            }
        }
    }
}

/// Minus the log-probability of the target.
pub struct Nll<'a, T> {
    pub log_probs: In<'a, T>,
    pub targets: IndexView<'a>,
    pub ignore_index: i64,
    pub weights: WeightView<'a, T>,
}

#[derive(Clone, Copy)]
pub struct Negative;

impl<T: Real> Formula<T> for Negative {
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
    type Formula = Negative;

    fn formula(&self) -> Negative {
        Negative
    }

    #[inline(always)]
    fn class(&self, sample: usize) -> Option<usize> {
        let target = self.targets.get(sample);
        if target == self.ignore_index { None } else { Some(target as usize) }
    }

    #[inline(always)]
    fn gather<S: Lanes>(&self, _: S, layout: &Layout, first: usize, count: usize) -> Gathered<T> {
        let mut gathered = Gathered::new();
        let one = T::from_f64(1.0);
        for lane in 0..count {
            let sample = first + lane;
            let Some(class) = self.class(sample) else { continue };
            assert!(class < layout.classes, "target out of range");
            let class_weight = self.weights.class.map_or(one, |view| view.get(class));
            let row_weight = self.weights.row.map_or(one, |view| view.get(sample));
            gathered.input.0[lane] = self.log_probs.get(layout.offset(sample) + class * layout.class_stride);
            gathered.weight.0[lane] = class_weight * row_weight;
        }
        gathered
    }

    fn cycles(&self, _: &Layout) -> usize {
        8
    }
}

/// The value of an action against what follows it.
pub struct Td<'a, T, F> {
    pub formula: F,
    pub q: In<'a, T>,
    pub actions: IndexView<'a>,
    pub reward: In<'a, T>,
    /// Not 0: the episode ended, nothing follows.
    pub done: Option<In<'a, u8>>,
    pub next_q: In<'a, T>,
    /// Chooses the next action, if given (double DQN).
    pub next_q_online: Option<In<'a, T>>,
    pub weight: Option<In<'a, T>>,
    pub gamma: T,
    pub td_error: Option<Out<'a, T>>,
}

impl<T: Real, F: Formula<T>> Source<T> for Td<'_, T, F> {
    type Formula = F;

    fn formula(&self) -> F {
        self.formula
    }

    #[inline(always)]
    fn class(&self, sample: usize) -> Option<usize> {
        Some(self.actions.get(sample) as usize)
    }

    #[inline(always)]
    fn gather<S: Lanes>(&self, s: S, layout: &Layout, first: usize, count: usize) -> Gathered<T> {
        let mut gathered = Gathered::new();
        let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
        let mut actions = [0; MAX_GROUP];
        self.actions.read(first, &mut actions[..count]);
        for (lane, &action) in actions[..count].iter().enumerate() {
            assert!((0..layout.classes as i64).contains(&action), "action out of range");
            gathered.input.0[lane] = self.q.get(layout.offset(first + lane) + action as usize);
        }
        // 0 beyond the last sample: an infinite gamma must not make a NaN of the lanes there
        let mut goes_on = Buffer::new(zero);
        for lane in 0..count {
            gathered.weight.0[lane] = self.weight.map_or(one, |view| view.get(first + lane));
            goes_on.0[lane] = if self.done.is_some_and(|done| done.get(first + lane) != 0) { zero } else { one };
        }
        let next = self.next(s, layout, first, count, &goes_on);
        let (reward, gamma) = (self.reward.part(first, count), splat(s, self.gamma));
        for i in 0..count.div_ceil(Pack::<S, T>::LANES) {
            // not products with 0, which are NaN for what is infinite
            let goes_on = goes_on.group().load(s, i).same(splat(s, one));
            let (gamma, next) = (goes_on.keep(gamma), goes_on.keep(next.group().load(s, i)));
            gathered.target.group_mut().store(i, gamma.fma(next, reward.load(s, i)));
        }
        gathered
    }

    fn cycles(&self, layout: &Layout) -> usize {
        16 + layout.classes * if self.next_q_online.is_some() { 2 } else { 1 }
    }

    fn difference(&self) -> Option<Out<'_, T>> {
        self.td_error
    }
}

impl<T: Real, F> Td<'_, T, F> {
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
    for i in 0..Pack::<S, T>::PER_GROUP {
        let mut most = tile.class::<true>(0).as_group().load(s, i);
        let mut numbers = most;
        for class in 1..classes {
            let x = tile.class::<true>(class).as_group().load(s, i);
            most = most.max_any(x);
            numbers = x.same(x).select(numbers, x);
        }
        // one sign of zero, whichever instruction set chose
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
        // the last vector may overlap the one before: a maximum does not mind
        let here = if x.len() < lanes { at } else { at.min(x.len() - lanes) };
        let count = lanes.min(x.len() - here);
        let vector = x.load(s, here, count);
        let vector = if count < lanes { crate::simd::first_lanes(vector, count, most) } else { vector };
        most = most.max_any(vector);
        numbers = vector.same(vector).select(numbers, vector);
        at += lanes;
    }
    if numbers.same(numbers).all() {
        // one sign of zero, whichever instruction set chose
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
