//! Independent elements: a formula's stages, carried over arrays.
//!
//! ```text
//! for each block:
//!     usual elements, where at most the gradient is asked for beside the value:  the loop for these
//!     others, and where more is asked for:                                      the loop for everything
//!     the last, incomplete group:                                               the same on a copy, filled up
//! ```
//! - One pass: each element is read once and each result written once.
//! - Nothing here is a vector's work: each stage is dispatched by itself.

use super::formula::{Operands, Results, Stages, Stretch, Walk};
use crate::parallel::{Blocks, Partial, TOGETHER};
use crate::simd::view::{GroupRoom, In, Out, Scratch};
use crate::simd::{Isa, LaneSums, Real, prefers_several_places, stream_fence};

/// A call on `input.len()` elements.
#[derive(Clone, Copy)]
pub struct Pointwise<'a, T> {
    pub input: In<'a, T>,
    pub target: In<'a, T>,
    pub weight: Option<In<'a, T>>,
    /// Repeats along the input, read where the formula has a parameter; empty for ones.
    pub parameter: In<'a, T>,
    /// How many neighbouring elements share a parameter, before the next one's turn.
    pub parameter_run: usize,
    pub results: Results<'a, T>,
    pub hess: Option<Out<'a, T>>,
    pub needs_total: bool,
}

/// Elements of a block: enough to make its fixed costs small, few enough to share out.
const BLOCK: usize = 8192;
/// Unusual elements that are done before usual ones are looked for again.
const UNUSUAL: usize = 512;
/// Elements whose Hessians are made before their gradients: the first-level cache keeps them meanwhile.
const WITH_HESS: usize = 2048;
/// Fewer elements are not worth a loop for usual ones.
const MIN_USUAL: usize = 64;
/// Groups that are done at one of several places before the next.
const TURN: usize = 8;
/// Groups that are asked for so much ahead, where several places are walked.
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
        if self.is_periodic() {
            return self.periodic(isa, start, len);
        }
        let one = [T::from_f64(1.0)];
        let (mut sums, operands) = (LaneSums::zero(), self.operands(start, len, &one));
        let out_of_domain = self.elements(isa, operands, start, &mut sums);
        self.finish(&mut sums, out_of_domain)
    }

    fn together(&self, isa: Isa, first: usize) -> Option<[Partial; TOGETHER]> {
        let (call, start) = (self.call, first * BLOCK);
        let is_whole = start + TOGETHER * BLOCK <= call.input.len();
        if !(is_whole && call.is_plain()) || self.is_periodic() {
            return None;
        }
        let mut walk = call.walk();
        if call.input.is_large() && prefers_several_places() {
            walk = Walk { turn: TURN, ahead: AHEAD, ..walk };
        }
        let one = [T::from_f64(1.0)];
        let starts = [0, 1, 2, 3].map(|place| start + place * BLOCK);
        let mut all_sums = [const { LaneSums::zero() }; TOGETHER];
        let mut all_starts = starts.iter();
        let mut stretches = all_sums.each_mut().map(|sums| {
            let at = *all_starts.next().expect("as many places");
            Stretch { operands: self.operands(at, BLOCK, &one), grad: call.grad(at, BLOCK), sums, done: 0 }
        });
        self.formula.usual(isa, walk, &mut stretches);
        let mut starts = starts.iter();
        Some(stretches.map(|Stretch { operands, sums, done, .. }| {
            let at = starts.next().expect("as many places") + done;
            let is_done = done == BLOCK;
            let out_of_domain = !is_done && self.elements(isa, operands.slice(done, BLOCK - done), at, sums);
            self.finish(sums, out_of_domain)
        }))
    }
}

impl<'a, T: Real> Pointwise<'a, T> {
    /// Whether at most the gradient is asked for beside the value.
    fn is_plain(&self) -> bool {
        let Results { loss, accumulate, .. } = self.results;
        self.weight.is_none() && loss.is_none() && self.hess.is_none() && !accumulate
    }

    /// Whether gradients go past the caches.
    fn is_streamed(&self) -> bool {
        self.results.grad.is_some_and(|grad| self.input.streams_to(grad))
    }

    /// Where some gradients go.
    fn grad(&self, at: usize, len: usize) -> Option<Out<'a, T>> {
        self.results.grad.map(|grad| grad.slice(at, len))
    }

    /// How plain calls go through one stretch after the other.
    fn walk(&self) -> Walk<T> {
        Walk { turn: usize::MAX, ahead: 0, factor: self.results.factor, streamed: self.is_streamed() }
    }
}

impl<'a, T: Real> Evaluation<'a, T> {
    fn is_periodic(&self) -> bool {
        self.formula.has_parameter() && self.call.parameter.len() > 1
    }

    /// Operands whose parameter is the same for all, or `one` if there is none.
    fn operands<'b>(&self, at: usize, len: usize, one: &'b [T; 1]) -> Operands<'b, T>
    where
        'a: 'b,
    {
        let Pointwise { input, target, parameter, .. } = *self.call;
        let parameter = if parameter.len() == 1 { parameter } else { In::from(&one[..]) };
        Operands { input: input.slice(at, len), target: target.slice(at, len), parameter }
    }

    /// The `len` elements from `at` on, whose parameters repeat.
    fn periodic(&self, isa: Isa, at: usize, len: usize) -> Partial {
        let Pointwise { input, target, parameter, parameter_run, .. } = *self.call;
        let (mut room, mut sums, mut out_of_domain) = (<Scratch<T>>::new(), LaneSums::zero(), false);
        let room = room.zeros(<Scratch<T>>::LEN.min(len));
        for done in (0..len).step_by(<Scratch<T>>::LEN) {
            let (at, len) = (at + done, <Scratch<T>>::LEN.min(len - done));
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
            let parameter = room.as_in().slice(0, len);
            let operands = Operands { input: input.slice(at, len), target: target.slice(at, len), parameter };
            out_of_domain |= self.elements(isa, operands, at, &mut sums);
        }
        self.finish(&mut sums, out_of_domain)
    }

    fn finish(&self, sums: &mut LaneSums<T>, out_of_domain: bool) -> Partial {
        if self.call.is_streamed() {
            stream_fence();
        }
        let total = if self.call.needs_total { sums.total() } else { Default::default() };
        Partial { total, out_of_domain }
    }

    /// The elements that begin at `at`. Gives whether some are outside of the domain.
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

    /// Elements in whole groups, as far as they are usual ones. Gives their number.
    fn usual(&self, isa: Isa, operands: Operands<'_, T>, at: usize, sums: &mut LaneSums<T>) -> usize {
        let grad = self.call.grad(at, operands.len());
        let mut stretch = [Stretch { operands, grad, sums, done: 0 }];
        self.formula.usual(isa, self.call.walk(), &mut stretch);
        stretch[0].done
    }

    /// Any elements, in whole groups.
    fn any(&self, isa: Isa, operands: Operands<'_, T>, at: usize, sums: &mut LaneSums<T>) -> bool {
        let (Pointwise { weight, results, hess, .. }, len) = (*self.call, operands.len());
        let part = |out: Option<Out<'a, T>>| out.map(|out| out.slice(at, len));
        let weight = weight.map(|weight| weight.slice(at, len));
        let results = Results { loss: part(results.loss), grad: part(results.grad), ..results };
        self.stages(isa, operands, weight, results, part(hess), sums)
    }

    /// All that is asked for.
    fn stages(
        &self,
        isa: Isa,
        operands: Operands<'_, T>,
        weight: Option<In<'_, T>>,
        results: Results<'_, T>,
        hess: Option<Out<'_, T>>,
        sums: &mut LaneSums<T>,
    ) -> bool {
        // first, for the gradient may take the input's place
        if hess.is_some() {
            self.formula.hess(isa, operands, weight, Results { grad: hess, ..results });
        }
        self.formula.any(isa, operands, weight, results, sums)
    }

    /// As [`last`](Self::last), where at most the gradient is asked for beside the value: small calls are no more than this.
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

    /// Fewer than a group, on copies that are filled up.
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
