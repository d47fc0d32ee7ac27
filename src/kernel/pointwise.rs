//! Independent elements: a formula over vectors, carried over arrays.
//!
//! ```text
//! for each group of 128 bytes of the block:
//!     value, grad = formula(input, target), hess = another       (what is not asked for falls away)
//!     sum[lane] += weight * value
//!     grad = (weight * grad) * factor
//! ```
//! - One pass: each element is read once and each result written once.
//! - The formula works on whole vectors; the last, incomplete group goes through masked lanes.
//! - Values are added in as many lanes as a group has elements, whatever the register's width, so the
//!   vectors of a group are independent of each other and keep the units busy.
//! - Where all elements of a group are of the usual kind (hard labels), a formula may have less to do.
//! - The two usual calls (value; value and gradient) have loops of their own, the rest share one that
//!   branches once a group.

use core::hint::black_box;

use crate::parallel::{Blocks, Partial, TOGETHER};
use crate::simd::view::{Groups, GroupsMut, In, Out};
use crate::simd::{Isa, Kernel, LaneSum, Lanes, Mask, Pack, Real, exact_product, prefers_several_places, splat, total};

/// A loss of independent elements.
pub trait Formula<T: Real>: Copy + Sync {
    /// A constant factor of gradient and Hessian, folded into the one multiplication by `1 / n`.
    const FACTOR: f64 = 1.0;
    /// Whether [`terms`](Formula::terms) reads its parameter vector.
    const HAS_PARAMETER: bool = false;

    /// Value and gradient of each lane.
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, parameter: Pack<S, T>) -> Terms<S, T>;

    /// Whether the terms take so many steps that it pays to have four vectors under way, however few a group has.
    const IS_LONG: bool = false;
    /// Whether there are elements that cost less than others.
    const HAS_USUAL_CASE: bool = false;

    /// Which elements do not, where there is no parameter. Those outside of the domain are among them; what is not a
    /// number may be or not.
    #[inline(always)]
    fn is_unusual<S: Lanes>(self, input: Pack<S, T>, _target: Pack<S, T>) -> Mask<S, T> {
        input.same(input)
    }

    /// The [`terms`](Formula::terms) of the others, to the bit.
    #[inline(always)]
    fn usual_terms<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        self.terms_of_several(operands)
    }

    /// The terms of four vectors or more. What takes many steps had better do each for all of them: while one waits,
    /// another goes on. (Two are too few for that.)
    #[inline(always)]
    fn terms_of_several<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        one_by_one(self, operands)
    }

    /// The Hessian.
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, parameter: Pack<S, T>) -> Pack<S, T>;

    /// Where the loss is not defined: NaN is written there.
    #[inline(always)]
    fn outside<S: Lanes>(self, _input: Pack<S, T>) -> Option<Mask<S, T>> {
        None
    }
}

/// The terms of each vector, one after the other.
#[inline(always)]
fn one_by_one<S: Lanes, T: Real, F: Formula<T>, const N: usize>(
    formula: F,
    operands: [[Pack<S, T>; 3]; N],
) -> [Terms<S, T>; N] {
    let [input, target, parameter] = operands[0];
    let mut all = [formula.terms(input, target, parameter); N];
    for i in 1..N {
        let [input, target, parameter] = operands[i];
        all[i] = formula.terms(input, target, parameter);
    }
    all
}

/// What a formula gives.
#[derive(Clone, Copy)]
pub struct Terms<S: Lanes, T: Real> {
    /// The value, as a product: a weight joins it before the product is rounded.
    pub value: [Pack<S, T>; 2],
    pub grad: Pack<S, T>,
}

/// A call on `input.len()` elements.
pub struct Pointwise<'a, T, F> {
    pub formula: F,
    pub input: In<'a, T>,
    pub target: In<'a, T>,
    pub weight: Option<In<'a, T>>,
    /// Repeats along the input, read where the formula has a parameter; empty for ones.
    pub parameter: In<'a, T>,
    /// One value per element.
    pub loss: Option<Out<'a, T>>,
    pub grad: Option<Out<'a, T>>,
    pub hess: Option<Out<'a, T>>,
    pub accumulate: bool,
    /// Factor of gradient and Hessian, with the formula's own in it.
    pub factor: T,
    pub needs_total: bool,
}

/// Elements of a block: enough to make its fixed costs small, few enough to share out.
const BLOCK: usize = 8192;

impl<T: Real, F: Formula<T>> Blocks for Pointwise<'_, T, F> {
    fn count(&self) -> usize {
        self.input.len().div_ceil(BLOCK)
    }
    fn cycles(&self) -> usize {
        BLOCK.min(self.input.len())
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let start = index * BLOCK;
        let [partial] = isa.dispatch(Block { call: self, start, len: BLOCK.min(self.input.len() - start) });
        partial
    }
    fn together(&self, isa: Isa, first: usize) -> Option<[Partial; TOGETHER]> {
        let start = first * BLOCK;
        let is_whole = start + TOGETHER * BLOCK <= self.input.len();
        let is_faster = is_whole && self.is_plain() && self.input.is_large() && prefers_several_places();
        is_faster.then(|| isa.dispatch(Block { call: self, start, len: BLOCK }))
    }
}

/// One block, or several that follow each other.
struct Block<'a, 'b, T, F, const BLOCKS: usize> {
    call: &'a Pointwise<'b, T, F>,
    start: usize,
    /// Elements of each.
    len: usize,
}

/// Which loop: the usual ones, or the one for everything.
const VALUE: u8 = 0;
const VALUE_AND_GRAD: u8 = 1;
const STREAMED: u8 = 2;
const ANY: u8 = 3;

/// Groups that are done at one of several places before the next.
const TURN: usize = 4;
/// Groups that are asked for so much ahead, where several places are walked.
const AHEAD: usize = 8;

#[derive(Clone, Copy)]
struct Sums<S: Lanes> {
    lanes: S::PerGroup<LaneSum<S>>,
    outside: bool,
}

impl<T: Real, F: Formula<T>, const BLOCKS: usize> Kernel for Block<'_, '_, T, F, BLOCKS> {
    type Output = [Partial; BLOCKS];

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> [Partial; BLOCKS] {
        let Block { call, start, len } = self;
        let mut sums = [Sums { lanes: S::per_group(LaneSum::zero(s)), outside: false }; BLOCKS];
        match (call.is_plain(), call.grad.is_some()) {
            (true, false) => call.elements::<S, VALUE, BLOCKS>(s, start, len, &mut sums),
            (true, true) if call.is_streamed() => {
                call.elements::<S, STREAMED, BLOCKS>(s, start, len, &mut sums);
                s.stream_fence();
            }
            (true, true) => call.elements::<S, VALUE_AND_GRAD, BLOCKS>(s, start, len, &mut sums),
            _ if BLOCKS == 1 => call.elements::<S, ANY, BLOCKS>(s, start, len, &mut sums),
            _ => unreachable!("for plain calls only"),
        }
        let mut partials = [Partial::default(); BLOCKS];
        for (partial, sums) in partials.iter_mut().zip(&sums) {
            partial.out_of_domain = sums.outside;
            if call.needs_total {
                partial.total = total::<S, T>(s, sums.lanes);
            }
        }
        partials
    }
}

impl<T: Real, F: Formula<T>> Pointwise<'_, T, F> {
    /// The formula's terms of these operands, NaN outside of the domain.
    #[inline(always)]
    fn terms<S: Lanes, const N: usize, const USUAL: bool>(
        &self,
        operands: [[Pack<S, T>; 3]; N],
        outside: &mut [Option<Mask<S, T>>; N],
    ) -> [Terms<S, T>; N] {
        if USUAL {
            return self.formula.usual_terms(operands);
        }
        let mut all = if N >= 4 { self.formula.terms_of_several(operands) } else { one_by_one(self.formula, operands) };
        for i in 0..N {
            let [input, ..] = operands[i];
            outside[i] = self.formula.outside(input);
            if let Some(outside) = outside[i] {
                let ([a, b], nan) = (all[i].value, input.c(f64::NAN));
                all[i] = Terms { value: [outside.select(nan, a), b], grad: outside.select(nan, all[i].grad) };
            }
        }
        all
    }

    /// Whether the value is asked for, and at most the gradient: there are loops of their own for these.
    fn is_plain(&self) -> bool {
        let is_bare = self.weight.is_none() && self.loss.is_none() && self.hess.is_none() && !self.accumulate;
        is_bare && self.needs_total
    }

    /// Whether the gradient goes past the caches.
    fn is_streamed(&self) -> bool {
        self.grad.is_some_and(|grad| self.input.streams_to(grad))
    }

    #[inline(always)]
    fn work<S: Lanes, const LOOP: u8>(&self, s: S, start: usize, len: usize) -> Elements<'_, '_, S, T, F> {
        let any = LOOP == ANY;
        Elements {
            call: self,
            start,
            factor: splat(s, self.factor),
            is_bare: self.parameter.len() == 0,
            parameter: if F::HAS_PARAMETER { self.parameter(s, start) } else { splat(s, T::ZERO) },
            input: self.input.slice(start, len).groups(),
            target: self.target.slice(start, len).groups(),
            weight: if any { self.weight.map(|view| view.slice(start, len).groups()) } else { None },
            loss: if any { self.loss.map(|view| view.slice(start, len).groups()) } else { None },
            grad: if LOOP == VALUE { None } else { self.grad.map(|view| view.slice(start, len).groups()) },
            hess: if any { self.hess.map(|view| view.slice(start, len).groups()) } else { None },
        }
    }

    /// Blocks: whole groups, and the last one.
    #[inline(always)]
    fn elements<S: Lanes, const LOOP: u8, const BLOCKS: usize>(
        &self,
        s: S,
        start: usize,
        len: usize,
        sums: &mut [Sums<S>; BLOCKS],
    ) {
        let (whole, mut done) = (len / T::GROUP, 0);
        while done < whole {
            let end = if BLOCKS == 1 { whole } else { whole.min(done + TURN) };
            for (i, sums) in sums.iter_mut().enumerate() {
                // made anew for each turn, so that it stays in registers: in a list it would be read for each group
                let work = self.work::<S, LOOP>(s, start + i * len, len);
                // not through the reference: stores to the outputs could be stores to it
                let (mut lanes, mut outside) = (sums.lanes, None);
                let mut i = done;
                while i < end {
                    if BLOCKS > 1 {
                        let ahead = work.start + (i + AHEAD) * T::GROUP;
                        self.input.prefetch(s, ahead);
                        self.target.prefetch(s, ahead);
                    }
                    if F::IS_LONG && S::AT_ONCE > 1 && BLOCKS == 1 && Pack::<S, T>::PER_GROUP == 2 && i + 2 <= end {
                        work.groups::<LOOP, true, 2>(i, &mut lanes, &mut outside);
                        i += 2;
                    } else {
                        work.groups::<LOOP, true, 1>(i, &mut lanes, &mut outside);
                        i += 1;
                    }
                }
                sums.lanes = lanes;
                sums.outside |= outside.is_some_and(Mask::any);
            }
            done = end;
        }
        if !len.is_multiple_of(T::GROUP) {
            for (i, sums) in sums.iter_mut().enumerate() {
                let work = self.work::<S, LOOP>(s, start + i * len, len);
                let mut outside = None;
                work.groups::<LOOP, false, 1>(whole, &mut sums.lanes, &mut outside);
                sums.outside |= outside.is_some_and(Mask::any);
            }
        }
    }

    /// The parameters that belong to the vector at element `at`.
    #[inline(always)]
    fn parameter<S: Lanes>(&self, s: S, at: usize) -> Pack<S, T> {
        let (period, lanes) = (self.parameter.len(), Pack::<S, T>::LANES);
        if period <= 1 {
            return splat(s, if period == 0 { T::from_f64(1.0) } else { self.parameter.get(0) });
        }
        let at = at % period;
        if lanes <= period - at {
            return self.parameter.load(s, at, lanes);
        }
        let mut vector = crate::simd::view::Buffer::new(T::from_f64(0.0));
        for (i, x) in vector.0[..lanes].iter_mut().enumerate() {
            *x = self.parameter.get((at + i) % period);
        }
        vector.group().load(s, 0)
    }
}

/// A block's groups.
#[derive(Clone, Copy)]
struct Elements<'a, 'b, S: Lanes, T: Real, F> {
    call: &'a Pointwise<'b, T, F>,
    start: usize,
    factor: Pack<S, T>,
    /// Without a parameter.
    is_bare: bool,
    /// Where it is the same everywhere.
    parameter: Pack<S, T>,
    input: Groups<'b, T>,
    target: Groups<'b, T>,
    weight: Option<Groups<'b, T>>,
    loss: Option<GroupsMut<'b, T>>,
    grad: Option<GroupsMut<'b, T>>,
    hess: Option<GroupsMut<'b, T>>,
}

impl<S: Lanes, T: Real, F: Formula<T>> Elements<'_, '_, S, T, F> {
    /// The groups from `first` on, which are `WHOLE` or the last.
    #[inline(always)]
    fn groups<const LOOP: u8, const WHOLE: bool, const GROUPS: usize>(
        &self,
        first: usize,
        sums: &mut S::PerGroup<LaneSum<S>>,
        outside: &mut Option<Mask<S, T>>,
    ) {
        // an incomplete group is too rare for a loop of its own
        if F::HAS_USUAL_CASE && S::AT_ONCE > 1 && WHOLE && self.is_bare && self.is_usual::<GROUPS>(first) {
            self.vectors::<LOOP, WHOLE, GROUPS, true>(first, sums, outside);
        } else {
            // hidden after the question, for what it read would have to be kept for a rare case
            let first = if F::HAS_USUAL_CASE { black_box(first) } else { first };
            self.vectors::<LOOP, WHOLE, GROUPS, false>(first, sums, outside);
        }
    }

    /// Whether all elements of whole groups are usual ones.
    #[inline(always)]
    fn is_usual<const GROUPS: usize>(&self, first: usize) -> bool {
        let formula = self.call.formula;
        let [input, target, _] = self.operands::<true>(first, 0);
        let mut unusual = formula.is_unusual(input, target);
        for i in 1..GROUPS * Pack::<S, T>::PER_GROUP {
            let [input, target, _] = self.operands::<true>(first, i);
            unusual = unusual | formula.is_unusual(input, target);
        }
        !unusual.any()
    }

    #[inline(always)]
    fn vectors<const LOOP: u8, const WHOLE: bool, const GROUPS: usize, const USUAL: bool>(
        &self,
        first: usize,
        sums: &mut S::PerGroup<LaneSum<S>>,
        outside: &mut Option<Mask<S, T>>,
    ) {
        let vectors =
            if WHOLE { GROUPS * Pack::<S, T>::PER_GROUP } else { self.input.get::<WHOLE>(first).vectors::<S>() };
        if !WHOLE || S::AT_ONCE == 1 {
            for i in 0..vectors {
                self.turn::<LOOP, WHOLE, USUAL, 1>(first, i, sums, outside);
            }
        } else if vectors >= 4 {
            for i in 0..vectors / 4 {
                self.turn::<LOOP, WHOLE, USUAL, 4>(first, 4 * i, sums, outside);
            }
        } else {
            self.turn::<LOOP, WHOLE, USUAL, 2>(first, 0, sums, outside);
        }
    }

    /// N vectors at a time, from the `start`-th on. All inputs are read before the first output is written, so that none
    /// has to wait for that.
    #[inline(always)]
    fn turn<const LOOP: u8, const WHOLE: bool, const USUAL: bool, const N: usize>(
        &self,
        first: usize,
        start: usize,
        sums: &mut S::PerGroup<LaneSum<S>>,
        outside: &mut Option<Mask<S, T>>,
    ) {
        let mut operands = [self.operands::<WHOLE>(first, start); N];
        for (i, operands) in operands.iter_mut().enumerate().skip(1) {
            *operands = self.operands::<WHOLE>(first, start + i);
        }
        let mut here = [None; N];
        let terms = self.call.terms::<S, N, USUAL>(operands, &mut here);
        for i in 0..N {
            let at = start + i;
            if let Some(here) = here[i] {
                let inside = self.input.get::<WHOLE>(first + at / Pack::<S, T>::PER_GROUP);
                let here = if WHOLE { here } else { here & inside.counts(self.factor.s, at) };
                *outside = Some(outside.map_or(here, |before| before | here));
            }
            let sum = &mut sums.as_mut()[at % Pack::<S, T>::PER_GROUP];
            self.put::<LOOP, WHOLE>(first, at, operands[i], here[i], terms[i], sum);
        }
    }

    /// Input, target and parameter of the `i`-th vector.
    #[inline(always)]
    fn operands<const WHOLE: bool>(&self, first: usize, i: usize) -> [Pack<S, T>; 3] {
        let (call, s, index) = (self.call, self.factor.s, first + i / Pack::<S, T>::PER_GROUP);
        let i = i % Pack::<S, T>::PER_GROUP;
        let parameter = match F::HAS_PARAMETER && call.parameter.len() > 1 {
            true => call.parameter(s, self.start + index * T::GROUP + i * Pack::<S, T>::LANES),
            false => self.parameter,
        };
        [self.input.get::<WHOLE>(index).load(s, i), self.target.get::<WHOLE>(index).load(s, i), parameter]
    }

    /// Adds its value up, and writes what is asked for.
    #[inline(always)]
    fn put<const LOOP: u8, const WHOLE: bool>(
        &self,
        first: usize,
        i: usize,
        operands: [Pack<S, T>; 3],
        outside: Option<Mask<S, T>>,
        terms: Terms<S, T>,
        sum: &mut LaneSum<S>,
    ) {
        let (index, i) = (first + i / Pack::<S, T>::PER_GROUP, i % Pack::<S, T>::PER_GROUP);
        let (call, factor, any) = (self.call, self.factor, LOOP == ANY);
        let s = factor.s;
        let weight = self.weight.map(|groups| groups.get::<WHOLE>(index).load(s, i));
        let value = match weight {
            None => terms.value[0] * terms.value[1],
            Some(weight) => terms.weighted_value(weight),
        };
        if !any || call.needs_total {
            sum.add(self.input.get::<WHOLE>(index).or(i, value, splat(s, T::ZERO)));
        }
        if let Some(loss) = self.loss {
            loss.get::<WHOLE>(index).store(i, value);
        }
        if let Some(out) = self.grad {
            let out = out.get::<WHOLE>(index);
            let grad = scaled(terms.grad, weight, factor);
            match LOOP {
                STREAMED => out.stream(i, grad),
                _ if any && call.accumulate => out.store(i, out.as_group().load(s, i) + grad),
                _ => out.store(i, grad),
            }
        }
        if let Some(out) = self.hess {
            let out = out.get::<WHOLE>(index);
            let [input, target, parameter] = operands;
            let hess = call.formula.hess(input, target, parameter);
            let hess = match outside {
                Some(outside) => outside.select(input.c(f64::NAN), hess),
                None => hess,
            };
            let hess = scaled(hess, weight, factor);
            out.store(i, if call.accumulate { out.as_group().load(s, i) + hess } else { hess });
        }
    }
}

/// A derivative with weight and factor.
#[inline(always)]
fn scaled<S: Lanes, T: Real>(x: Pack<S, T>, weight: Option<Pack<S, T>>, factor: Pack<S, T>) -> Pack<S, T> {
    match weight {
        None => x * factor,
        Some(weight) => exact_product(weight, factor).scale_once(x),
    }
}

impl<S: Lanes, T: Real> Terms<S, T> {
    /// Value times weight, rounded as often as the value alone.
    #[inline(always)]
    pub fn weighted_value(&self, weight: Pack<S, T>) -> Pack<S, T> {
        let [a, b] = self.value;
        exact_product(weight, a).scale_once(b)
    }
}
