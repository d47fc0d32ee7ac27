//! Applies the stages of a formula to arrays of independent elements.
//!
//! ```text
//! for each block:
//!     usual elements, where at most the gradient is asked for beside the value:  the loop for these
//!     others, and where more is asked for:                                      the loop for everything
//!     the last, incomplete group:                                               the same on a copy, filled up
//! ```
//! - There is one pass: each element is read once and each result is written once.
//! - If a term or a difference exceeds the range of `f32`, the sum of the block is not a finite number. The block is
//!   then computed again, group by group. Groups whose sum is not finite are added up in `f64`, and their results that
//!   are not finite are computed in `f64` (but not derivatives that were added to something). If gradients overwrite
//!   the input, the loops stop before large inputs, whose groups are processed one by one, with a copy of the input.
//! - If the factor of derivatives is not a normal number of the type, all derivatives are computed in `f64`.
//! - This file has no vector code: each stage is dispatched separately.

use super::formula::{MODERATE, Operands, Results, Stages, Stretch, Walk};
use super::wide::{self, MODERATE_FACTOR, WideElement, is_finite};
use crate::factor::Factor;
use crate::parallel::{Blocks, Partial, TOGETHER};
use crate::simd::view::{GroupRoom, In, Out, Scratch};
use crate::simd::{Isa, LaneSums, Real, Total, prefers_several_places, stream_fence};

/// A call on `input.len()` elements.
#[derive(Clone, Copy)]
pub struct Pointwise<'a, T> {
    pub input: In<'a, T>,
    pub target: In<'a, T>,
    pub weight: Option<In<'a, T>>,
    /// The parameters, which repeat along the input. They are read if the formula has a parameter; an empty array means
    /// that all are 1.
    pub parameter: In<'a, T>,
    /// How many consecutive elements share one parameter.
    pub parameter_run: usize,
    pub results: Results<'a, T>,
    pub hess: Option<Out<'a, T>>,
    /// The factor of derivatives. `results` contains the same factor, rounded to the type.
    pub factor: Factor,
    /// Whether a parameter is infinite. It then counts as 1 for elements whose target is 0.
    pub has_infinite_parameter: bool,
    /// Whether no parameter is larger than [`wide::MODERATE_FACTOR`].
    pub has_moderate_parameter: bool,
    pub needs_total: bool,
}

/// The number of elements in a block: enough to make its fixed costs small, and few enough to divide the work among
/// threads.
const BLOCK: usize = 8192;
/// How many unusual elements are processed before the loop for usual ones is tried again.
const UNUSUAL: usize = 512;
/// How many elements' Hessians are computed before their gradients. The operands fit into the first-level cache.
const WITH_HESS: usize = 2048;
/// The number of elements in a piece. If gradients overwrite the input, each piece is checked for large elements first.
const PIECE: usize = 2048;
/// For fewer elements the loop for usual ones is not faster.
const MIN_USUAL: usize = 64;
/// If several places are read in turn: how many groups of one place are processed before the next place.
const TURN: usize = 8;
/// If several places are read in turn: how many groups ahead operands are prefetched.
const AHEAD: usize = 8;

/// A call of one formula.
pub struct Evaluation<'a, T> {
    pub formula: &'a dyn Stages<T>,
    pub call: &'a Pointwise<'a, T>,
}

impl<T: Real> Blocks for Evaluation<'_, T> {
    fn count(&self) -> usize {
        self.call.input.len().div_ceil(BLOCK)
    }

    fn cycles(&self) -> usize {
        BLOCK.min(self.call.input.len())
    }

    fn block(&self, isa: Isa, index: usize) -> Partial {
        let start = index * BLOCK;
        let len = BLOCK.min(self.call.input.len() - start);
        if self.is_in_chunks() {
            return self.chunks(isa, start, len, false);
        }
        if self.is_replaced() {
            return self.pieces(isa, start, len, 0, ChunkSums::new());
        }
        let mut sums = LaneSums::zero();
        let out_of_domain = self.whole(isa, start, len, &mut sums);
        self.finish(isa, start, len, &mut sums, out_of_domain)
    }

    fn together(&self, isa: Isa, first: usize) -> Option<[Partial; TOGETHER]> {
        let (call, start) = (self.call, first * BLOCK);
        let is_whole = start + TOGETHER * BLOCK <= call.input.len();
        if !(is_whole && call.is_plain()) || self.is_periodic() {
            return None;
        }
        let at_several_places = call.input.is_large() && prefers_several_places();
        let starts = [0, 1, 2, 3].map(|place| start + place * BLOCK);
        let is_replaced = self.is_replaced();
        if self.is_in_chunks() || is_replaced && !call.has_moderate_parameter {
            return None;
        }
        let mut walk = Walk { guarded: is_replaced, ..call.walk() };
        if at_several_places {
            walk = Walk { turn: TURN, ahead: AHEAD, ..walk };
        }
        let one = [T::from_f64(1.0)];
        let mut all_sums = [const { LaneSums::zero() }; TOGETHER];
        let mut all_starts = starts.iter();
        let mut stretches = all_sums.each_mut().map(|sums| {
            let at = *all_starts.next().expect("as many places");
            Stretch { operands: self.operands(at, BLOCK, &one), grad: call.grad(at, BLOCK), sums, done: 0 }
        });
        self.formula.usual(isa, walk, &mut stretches);
        let mut starts = starts.iter();
        Some(stretches.map(|Stretch { operands, sums, done, .. }| {
            let start = *starts.next().expect("as many places");
            let is_done = done == BLOCK;
            if is_replaced {
                return self.pieces(isa, start, BLOCK, done, ChunkSums { sums: *sums, ..ChunkSums::new() });
            }
            let out_of_domain = !is_done && self.elements(isa, operands.slice(done, BLOCK - done), start + done, sums);
            self.finish(isa, start, BLOCK, sums, out_of_domain)
        }))
    }
}

impl<'a, T: Real> Pointwise<'a, T> {
    /// Whether no output is requested except the reduced value and a gradient, and there are no weights and no
    /// accumulation.
    fn is_plain(&self) -> bool {
        let Results { loss, accumulate, .. } = self.results;
        self.weight.is_none() && loss.is_none() && self.hess.is_none() && !accumulate
    }

    /// Whether gradients are written around the caches.
    fn is_streamed(&self) -> bool {
        self.results.grad.is_some_and(|grad| self.input.streams_to(grad))
    }

    /// The array for the gradients of the `len` elements from `at` on.
    fn grad(&self, at: usize, len: usize) -> Option<Out<'a, T>> {
        self.results.grad.map(|grad| grad.slice(at, len))
    }

    /// How plain calls process one stretch after the other.
    fn walk(&self) -> Walk<T> {
        Walk { turn: usize::MAX, ahead: 0, factor: self.results.factor, streamed: self.is_streamed(), guarded: false }
    }

    /// The part of the call for the `len` elements from `at` on, without parameters.
    fn part(&self, at: usize, len: usize) -> Pointwise<'a, T> {
        let part = |out: Option<Out<'a, T>>| out.map(|out| out.slice(at, len));
        let Pointwise { input, target, weight, results, hess, .. } = *self;
        Pointwise {
            input: input.slice(at, len),
            target: target.slice(at, len),
            weight: weight.map(|weight| weight.slice(at, len)),
            parameter: In::from(&[][..]),
            results: Results { loss: part(results.loss), grad: part(results.grad), ..results },
            hess: part(hess),
            ..*self
        }
    }
}

/// What is computed for a chunk in `f64`.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    /// The sum of the values, and results that are infinite or NaN.
    NoNumbers,
    /// Only results that are infinite. Results that are NaN are outside of the domain.
    Infinite,
    /// All derivatives.
    AllDerivatives,
}

/// The sums over the chunks of a block.
struct ChunkSums<T> {
    sums: LaneSums<T>,
    /// The total of `sums`.
    total: Total,
    /// The total of the chunks that were added up in `f64`, if there are any.
    wide: Option<Total>,
    out_of_domain: bool,
}

impl<T: Real> ChunkSums<T> {
    const fn new() -> Self {
        ChunkSums { sums: LaneSums::zero(), total: Total::ZERO, wide: None, out_of_domain: false }
    }

    fn finish(&self) -> Partial {
        let total = self.wide.map_or(self.total, |wide| self.total.merge(wide));
        Partial { total, out_of_domain: self.out_of_domain }
    }
}

impl<'a, T: Real> Evaluation<'a, T> {
    fn is_periodic(&self) -> bool {
        self.formula.has_parameter() && self.call.parameter.len() > 1
    }

    /// The operands of some elements. The parameter is the same for all of them, or `one` if there is none.
    fn operands<'b>(&self, at: usize, len: usize, one: &'b [T; 1]) -> Operands<'b, T>
    where
        'a: 'b,
    {
        let Pointwise { input, target, parameter, .. } = *self.call;
        let parameter = if parameter.len() == 1 { parameter } else { In::from(&one[..]) };
        Operands { input: input.slice(at, len), target: target.slice(at, len), parameter }
    }

    /// Processes the `len` elements from `at` on and adds their values to `sums`. Returns whether one of them is
    /// outside of the formula's domain.
    #[inline]
    fn whole(&self, isa: Isa, at: usize, len: usize, sums: &mut LaneSums<T>) -> bool {
        if self.is_periodic() {
            return self.periodic(isa, at, len, sums);
        }
        let one = [T::from_f64(1.0)];
        self.elements(isa, self.operands(at, len, &one), at, sums)
    }

    /// Processes the `len` elements from `at` on, with parameters that repeat.
    fn periodic(&self, isa: Isa, start: usize, len: usize, sums: &mut LaneSums<T>) -> bool {
        let Pointwise { input, target, .. } = *self.call;
        let (mut room, mut out_of_domain) = (<Scratch<T>>::new(), false);
        let room = room.zeros(<Scratch<T>>::LEN.min(len));
        for done in (0..len).step_by(<Scratch<T>>::LEN) {
            let (at, len) = (start + done, <Scratch<T>>::LEN.min(len - done));
            let parameter = self.repeated(room, at, len);
            let operands = Operands { input: input.slice(at, len), target: target.slice(at, len), parameter };
            out_of_domain |= self.elements(isa, operands, at, sums);
        }
        out_of_domain
    }

    /// The parameters of the `len` elements from `at` on.
    fn repeated<'b>(&self, room: Out<'b, T>, at: usize, len: usize) -> In<'b, T> {
        let Pointwise { parameter, parameter_run, .. } = *self.call;
        if parameter_run == 1 {
            for i in 0..len {
                room.set(i, parameter.get((at + i) % parameter.len()));
            }
        } else {
            let mut i = 0;
            while i < len {
                let (run, place) = ((at + i) / parameter_run, (at + i) % parameter_run);
                let count = (parameter_run - place).min(len - i);
                room.slice(i, count).fill(parameter.get(run % parameter.len()));
                i += count;
            }
        }
        room.as_in().slice(0, len)
    }

    fn finish(&self, isa: Isa, start: usize, len: usize, sums: &mut LaneSums<T>, out_of_domain: bool) -> Partial {
        if self.call.is_streamed() {
            stream_fence();
        }
        let total = if self.call.needs_total || Self::IS_NARROW { sums.total() } else { Default::default() };
        if Self::IS_NARROW && !total.hi.is_finite() {
            return Partial { out_of_domain, ..self.chunks(isa, start, len, true) };
        }
        Partial { total, out_of_domain }
    }

    /// The number of elements in a chunk: one group, so it does not depend on the instruction set.
    const CHUNK: usize = T::GROUP;
    /// Whether `f64` has a larger range than this type.
    const IS_NARROW: bool = size_of::<T>() < size_of::<f64>();

    /// Whether blocks are processed in chunks.
    fn is_in_chunks(&self) -> bool {
        self.is_factor_far() || self.call.has_infinite_parameter
    }

    /// Whether the gradients overwrite the input, which would be needed to compute them again in `f64`.
    fn is_replaced(&self) -> bool {
        let Pointwise { input, results: Results { grad, .. }, .. } = *self.call;
        Self::IS_NARROW && grad.is_some_and(|grad| input.begins_with(grad))
    }

    /// Whether the terms and derivatives of these elements are finite. It may be true if an element itself is NaN.
    fn is_moderate(&self, isa: Isa, at: usize, len: usize) -> bool {
        let Pointwise { input, target, weight, .. } = *self.call;
        let is_below = |array: In<'a, T>, limit| wide::are_below(isa, array.slice(at, len), limit);
        self.call.has_moderate_parameter
            && is_below(input, MODERATE)
            && is_below(target, MODERATE)
            && weight.is_none_or(|weight| is_below(weight, MODERATE_FACTOR))
    }

    /// Processes the rest of a block, from `done` on, whose gradients overwrite the input. Usual elements go through
    /// the loop for them, which stops before large ones. Others are processed in pieces, which are checked first; if a
    /// piece has large elements, its groups are processed one by one.
    fn pieces(&self, isa: Isa, start: usize, len: usize, done: usize, mut to: ChunkSums<T>) -> Partial {
        let one = [T::from_f64(1.0)];
        let (mut done, whole) = (done, len - len % T::GROUP);
        let is_plain = self.call.is_plain() && !self.is_periodic() && self.call.has_moderate_parameter;
        while done < len {
            if is_plain && whole - done.min(whole) >= MIN_USUAL {
                let (at, left) = (start + done, whole - done);
                let operands = self.operands(at, left, &one);
                let stretch = Stretch { operands, grad: self.call.grad(at, left), sums: &mut to.sums, done: 0 };
                let mut stretch = [stretch];
                self.formula.usual(isa, Walk { guarded: true, ..self.call.walk() }, &mut stretch);
                done += stretch[0].done;
            }
            let (at, left) = (start + done, (if is_plain { UNUSUAL } else { PIECE }).min(len - done));
            if left > 0 {
                self.piece(isa, at, left, &mut to);
            }
            done += left;
        }
        to.total = to.sums.total();
        to.finish()
    }

    /// Processes some elements whose gradients overwrite them.
    fn piece(&self, isa: Isa, at: usize, len: usize, to: &mut ChunkSums<T>) {
        if self.is_moderate(isa, at, len) {
            to.out_of_domain |= self.whole(isa, at, len, &mut to.sums);
            return;
        }
        for done in (0..len).step_by(Self::CHUNK) {
            self.chunk(isa, at + done, Self::CHUNK.min(len - done), false, to);
        }
    }

    /// Whether all derivatives are computed in `f64` because of their factor.
    fn is_factor_far(&self) -> bool {
        let Pointwise { factor, weight, .. } = self.call;
        !factor.fits::<T>() || Self::IS_NARROW && weight.is_some() && factor.is_far_from_1()
    }

    /// Processes a block in chunks. `again` means that all of it has been processed already, except for results that
    /// exceed the range of `f32`.
    #[cold]
    #[inline(never)]
    fn chunks(&self, isa: Isa, start: usize, len: usize, again: bool) -> Partial {
        let mut sums = ChunkSums::new();
        for done in (0..len).step_by(Self::CHUNK) {
            self.chunk(isa, start + done, Self::CHUNK.min(len - done), again, &mut sums);
        }
        sums.finish()
    }

    #[inline(never)]
    fn chunk(&self, isa: Isa, at: usize, len: usize, again: bool, to: &mut ChunkSums<T>) {
        let (mut part, one) = (self.call.part(at, len), [T::from_f64(1.0)]);
        let mut rooms = [const { GroupRoom::new() }; 6];
        let [repeated, parameters, changed_input, kept_input, grad, hess] = &mut rooms;
        let mut parameter = match self.call.parameter.len() {
            0 => In::from(&one[..]),
            1 if !self.call.has_infinite_parameter => self.call.parameter,
            _ => self.repeated(repeated.zeros(len), at, len),
        };
        if self.call.has_infinite_parameter {
            // Infinity times 0 would be NaN. If the target is 0, the parameter does not matter. Otherwise the factor
            // that the parameter is multiplied by is not 0 but underflows if the input is large.
            let (parameters, input) = (parameters.copied(parameter), changed_input.copied(part.input));
            for i in 0..len {
                let x = part.input.get(i);
                if part.target.get(i) == T::ZERO {
                    parameters.set(i, one[0]);
                } else if parameter.get(i) == T::INFINITY && is_finite(x) {
                    input.set(i, if x < T::ZERO { -one[0] } else { one[0] });
                }
            }
            (parameter, part.input) = (parameters.as_in(), input.as_in());
        }
        // copies of what is needed again if a result is not finite
        let is_factor_far = self.is_factor_far();
        let (accumulate, results, of_hess) = (part.results.accumulate, part.results, part.hess);
        let mut before = [None; 2];
        if Self::IS_NARROW && !again && !is_factor_far {
            if results.grad.is_some_and(|grad| part.input.begins_with(grad)) {
                part.input = kept_input.copied(part.input).as_in();
            }
            if accumulate {
                before = [
                    results.grad.map(|out| grad.copied(out.as_in()).as_in()),
                    of_hess.map(|out| hess.copied(out.as_in()).as_in()),
                ];
            }
        }
        if again {
            (part.results.loss, part.results.grad, part.hess) = (None, None, None);
        } else if is_factor_far {
            (part.results.grad, part.hess) = (None, None);
        }
        let operands = Operands { input: part.input, target: part.target, parameter };
        let sums_before = to.sums;
        let out_of_domain = Evaluation { formula: self.formula, call: &part }.elements(isa, operands, 0, &mut to.sums);
        to.out_of_domain |= out_of_domain;
        let total = { to.sums }.total();
        (part.results, part.hess) = (results, of_hess);
        if again && accumulate {
            // the previous contents, to which derivatives were added, have been overwritten
            (part.results.grad, part.hess) = (None, None);
        }
        let part = Evaluation { formula: self.formula, call: &part };
        if !Self::IS_NARROW || total.hi.is_finite() {
            to.total = total;
        } else {
            to.sums = sums_before;
            let which = if out_of_domain { Wanted::Infinite } else { Wanted::NoNumbers };
            let total = part.widely(isa, operands, before, which);
            to.wide = Some(to.wide.map_or(total, |wide| wide.merge(total)));
        }
        if is_factor_far && (results.grad.is_some() || of_hess.is_some()) {
            part.widely(isa, operands, before, Wanted::AllDerivatives);
        }
    }

    /// Computes the sum of the elements' values in `f64`, and the results that `wanted` says. `before` has the previous
    /// contents of the arrays to which derivatives were added.
    #[cold]
    #[inline(never)]
    fn widely(&self, isa: Isa, operands: Operands<'_, T>, before: [Option<In<'_, T>>; 2], wanted: Wanted) -> Total {
        let Pointwise { weight, results, hess, factor, .. } = *self.call;
        let Operands { input, target, parameter } = operands;
        let parameter_of = |i: usize| if parameter.len() == 1 { parameter.get(0) } else { parameter.get(i) };
        let weight_of = |i: usize| weight.map_or(T::from_f64(1.0), |weight| weight.get(i));
        let is_known =
            |i: usize| [input.get(i), target.get(i), parameter_of(i), weight_of(i)].iter().any(|x| x.is_nan());
        let [makes_all, is_outside] = [Wanted::AllDerivatives, Wanted::Infinite].map(|which| wanted == which);
        // the sum need not be computed if it is NaN anyway
        let has_total = !makes_all && !is_outside && !(0..operands.len()).any(is_known);
        let outputs = [results.loss, results.grad, hess];
        let is_lost = |out: Out<'_, T>, i: usize| {
            let x = out.as_in().get(i);
            if is_outside { !x.is_nan() && !is_finite(x) } else { !is_finite(x) }
        };
        let is_wanted = |i: usize| !is_known(i) && outputs.into_iter().flatten().any(|out| is_lost(out, i));
        let mut total = if has_total { Total::ZERO } else { Total::new(f64::NAN) };
        for at in (0..operands.len()).step_by(wide::GROUP) {
            let count = wide::GROUP.min(operands.len() - at);
            if !(makes_all || has_total || (at..at + count).any(is_wanted)) {
                continue;
            }
            let element = |i: usize| WideElement {
                input: input.get(at + i).to_f64(),
                target: target.get(at + i).to_f64(),
                parameter: parameter_of(at + i).to_f64(),
                weight: weight_of(at + i).to_f64(),
            };
            let made = wide::evaluate(self.formula, isa, count, &element, factor.value, results.least_hess.to_f64());
            total = total.merge(made.total);
            for (i, at) in (at..at + count).enumerate() {
                if let Some(out) = results.loss
                    && !makes_all
                    && is_lost(out, at)
                {
                    out.set(at, T::from_f64(made.loss[i]));
                }
                for (out, before, made) in [(results.grad, before[0], made.grad), (hess, before[1], made.hess)] {
                    let Some(out) = out else { continue };
                    let made = factor.finish::<T>(made[i]);
                    if makes_all {
                        let old = out.as_in().get(at);
                        out.set(at, if results.accumulate { old + made } else { made });
                    } else if !self.is_factor_far() && is_lost(out, at) {
                        out.set(at, before.map_or(made, |before| before.get(at) + made));
                    }
                }
            }
        }
        total
    }

    /// Processes elements, the first of which is number `at` of the call. Returns whether some are outside of the
    /// domain.
    fn elements(&self, isa: Isa, operands: Operands<'_, T>, at: usize, sums: &mut LaneSums<T>) -> bool {
        let len = operands.len();
        let rest = len % T::GROUP;
        let whole = len - rest;
        let (mut done, mut out_of_domain) = (0, false);
        while done < whole {
            let mut unusual = (whole - done).min(if self.call.hess.is_some() { WITH_HESS } else { whole });
            if self.call.is_plain() && unusual >= MIN_USUAL {
                done += self.usual(isa, operands.slice(done, unusual), at + done, sums);
                unusual = UNUSUAL.min(whole - done);
            }
            if unusual > 0 {
                out_of_domain |= self.any(isa, operands.slice(done, unusual), at + done, sums);
                done += unusual;
            }
        }
        if rest > 0 {
            let last = operands.slice(whole, rest);
            out_of_domain |= match self.call.is_plain() {
                true => self.last_plain(isa, last, at + whole, sums),
                false => self.last(isa, last, at + whole, sums),
            };
        }
        out_of_domain
    }

    /// Processes elements in whole groups, up to the first unusual one. Returns how many were processed.
    fn usual(&self, isa: Isa, operands: Operands<'_, T>, at: usize, sums: &mut LaneSums<T>) -> usize {
        let grad = self.call.grad(at, operands.len());
        let mut stretch = [Stretch { operands, grad, sums, done: 0 }];
        self.formula.usual(isa, self.call.walk(), &mut stretch);
        stretch[0].done
    }

    /// Processes arbitrary elements in whole groups.
    fn any(&self, isa: Isa, operands: Operands<'_, T>, at: usize, sums: &mut LaneSums<T>) -> bool {
        let (Pointwise { weight, results, hess, .. }, len) = (*self.call, operands.len());
        let part = |out: Option<Out<'a, T>>| out.map(|out| out.slice(at, len));
        let weight = weight.map(|weight| weight.slice(at, len));
        let results = Results { loss: part(results.loss), grad: part(results.grad), ..results };
        self.stages(isa, operands, weight, results, part(hess), sums)
    }

    /// Computes everything that is requested.
    fn stages(
        &self,
        isa: Isa,
        operands: Operands<'_, T>,
        weight: Option<In<'_, T>>,
        results: Results<'_, T>,
        hess: Option<Out<'_, T>>,
        sums: &mut LaneSums<T>,
    ) -> bool {
        // first, because the gradient may overwrite the input
        if hess.is_some() {
            self.formula.hess(isa, operands, weight, Results { grad: hess, ..results });
        }
        self.formula.any(isa, operands, weight, results, sums)
    }

    /// Like [`last`](Self::last), for plain calls. Most small calls consist only of this.
    fn last_plain(&self, isa: Isa, operands: Operands<'_, T>, at: usize, sums: &mut LaneSums<T>) -> bool {
        let (count, mut rooms) = (operands.len(), [const { GroupRoom::new() }; 4]);
        let [input, target, parameter, grad] = &mut rooms;
        let operands = operands.filled_up([input, target, parameter]);
        let Results { grad: out, .. } = self.call.results;
        let grad = out.map(|_| grad.zeros(T::GROUP));
        let made = Results { loss: None, grad, accumulate: false, ..self.call.results };
        let (is_first, mut here) = (!sums.has_terms(), LaneSums::zero());
        let out_of_domain = self.formula.any(isa, operands, None, made, if is_first { sums } else { &mut here });
        // values beyond the last element do not count
        if is_first {
            sums.keep_first(count);
        } else {
            sums.add_first(count, &mut here);
        }
        if let (Some(grad), Some(out)) = (grad, out) {
            out.slice(at, count).copy_from(grad.as_in().slice(0, count));
        }
        out_of_domain
    }

    /// Processes an incomplete group, on copies that are filled up.
    fn last(&self, isa: Isa, operands: Operands<'_, T>, at: usize, sums: &mut LaneSums<T>) -> bool {
        let (Pointwise { weight, results, hess: hess_out, .. }, count) = (*self.call, operands.len());
        let mut rooms = [const { GroupRoom::new() }; 7];
        let [input, target, parameter, weight_room, loss, grad, hess] = &mut rooms;
        let operands = operands.filled_up([input, target, parameter]);
        let weight = weight.map(|weight| weight.slice(at, count).filled_up(weight_room));
        let (loss, grad, hess) = (
            results.loss.map(|_| loss.zeros(T::GROUP)),
            results.grad.map(|_| grad.zeros(T::GROUP)),
            hess_out.map(|_| hess.zeros(T::GROUP)),
        );
        let made = Results { loss, grad, accumulate: false, ..results };
        // values beyond the last element do not count
        let out_of_domain = if sums.has_terms() {
            let mut here = LaneSums::zero();
            let out_of_domain = self.stages(isa, operands, weight, made, hess, &mut here);
            sums.add_first(count, &mut here);
            out_of_domain
        } else {
            let out_of_domain = self.stages(isa, operands, weight, made, hess, sums);
            sums.keep_first(count);
            out_of_domain
        };
        let adds = results.accumulate;
        for (made, out, adds) in [(loss, results.loss, false), (grad, results.grad, adds), (hess, hess_out, adds)] {
            let (Some(made), Some(out)) = (made, out) else { continue };
            let (made, out) = (made.as_in().slice(0, count), out.slice(at, count));
            if adds {
                (0..count).for_each(|i| out.set(i, out.as_in().get(i) + made.get(i)));
            } else {
                out.copy_from(made);
            }
        }
        out_of_domain
    }
}
