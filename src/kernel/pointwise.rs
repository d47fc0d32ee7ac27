//! Independent elements: a formula over vectors, carried over arrays.
//!
//! ```text
//! for each group of 128 bytes of the block:
//!     value, grad, hess = formula(input, target)        (what is not asked for falls away)
//!     sum[lane] += weight * value
//!     grad = (weight * grad) * factor
//! ```
//! - One pass: each element is read once and each result written once.
//! - The formula works on whole vectors; the last, incomplete group goes through masked lanes.
//! - Values are added in as many lanes as a group has elements, whatever the register's width, so the
//!   vectors of a group are independent of each other and keep the units busy.
//! - The two usual calls (value; value and gradient) have loops of their own, the rest share one that
//!   branches once a group.

use crate::parallel::{Blocks, Partial, TOGETHER};
use crate::simd::view::{Groups, GroupsMut, In, Out};
use crate::simd::{Isa, Kernel, LaneSum, Lanes, Mask, Pack, Real, exact_product, prefers_several_places, splat, total};

/// A loss of independent elements.
pub trait Formula<T: Real>: Copy + Sync {
    /// A constant factor of gradient and Hessian, folded into the one multiplication by `1 / n`.
    const FACTOR: f64 = 1.0;
    /// Whether [`terms`](Formula::terms) reads its parameter vector.
    const HAS_PARAMETER: bool = false;

    /// Value, gradient and Hessian of each lane.
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, parameter: Pack<S, T>) -> Terms<S, T>;

    /// Where the loss is not defined: NaN is written there.
    #[inline(always)]
    fn outside<S: Lanes>(self, _input: Pack<S, T>) -> Option<Mask<S, T>> {
        None
    }
}

/// What a formula gives.
#[derive(Clone, Copy)]
pub struct Terms<S: Lanes, T: Real> {
    /// The value, as a product: a weight joins it before the product is rounded.
    pub value: [Pack<S, T>; 2],
    pub grad: Pack<S, T>,
    pub hess: Pack<S, T>,
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
    /// The formula's terms with their factors, NaN outside of the domain.
    #[inline(always)]
    fn weighted<S: Lanes>(
        &self,
        [input, target, parameter]: [Pack<S, T>; 3],
        weight: Option<Pack<S, T>>,
        factor: Pack<S, T>,
        outside: &mut Option<Mask<S, T>>,
    ) -> Weighted<S, T> {
        let mut terms = self.formula.terms(input, target, parameter);
        if let Some(here) = self.formula.outside(input) {
            let nan = input.c(f64::NAN);
            let [a, b] = terms.value;
            let hide = |x| here.select(nan, x);
            terms = Terms { value: [hide(a), b], grad: hide(terms.grad), hess: hide(terms.hess) };
            *outside = Some(here);
        }
        match weight {
            None => Weighted {
                value: terms.value[0] * terms.value[1],
                grad: terms.grad * factor,
                hess: terms.hess * factor,
            },
            Some(weight) => {
                let factor = exact_product(weight, factor);
                Weighted {
                    value: terms.weighted_value(weight),
                    grad: factor.scale_once(terms.grad),
                    hess: factor.scale_once(terms.hess),
                }
            }
        }
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
        let mut works = [self.work::<S, LOOP>(s, start, len); BLOCKS];
        for (i, work) in works.iter_mut().enumerate().skip(1) {
            *work = self.work::<S, LOOP>(s, start + i * len, len);
        }
        let (whole, mut done) = (len / T::GROUP, 0);
        while done < whole {
            let end = if BLOCKS == 1 { whole } else { whole.min(done + TURN) };
            for (work, sums) in works.iter().zip(sums.iter_mut()) {
                // not through the references: stores to the outputs could be stores to them
                let (mut lanes, mut outside) = (sums.lanes, None);
                for i in done..end {
                    if BLOCKS > 1 {
                        let ahead = work.start + (i + AHEAD) * T::GROUP;
                        self.input.prefetch(s, ahead);
                        self.target.prefetch(s, ahead);
                    }
                    work.group::<LOOP, true>(i, &mut lanes, &mut outside);
                }
                sums.lanes = lanes;
                sums.outside |= outside.is_some_and(Mask::any);
            }
            done = end;
        }
        if !len.is_multiple_of(T::GROUP) {
            for (work, sums) in works.iter().zip(sums) {
                let mut outside = None;
                work.group::<LOOP, false>(whole, &mut sums.lanes, &mut outside);
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
    /// The `index`-th group, which is `WHOLE` or the last.
    #[inline(always)]
    fn group<const LOOP: u8, const WHOLE: bool>(
        &self,
        index: usize,
        sums: &mut S::PerGroup<LaneSum<S>>,
        outside: &mut Option<Mask<S, T>>,
    ) {
        let (call, s, any) = (self.call, self.factor.s, LOOP == ANY);
        let input = self.input.get::<WHOLE>(index);
        let target = self.target.get::<WHOLE>(index);
        let weight = self.weight.map(|groups| groups.get::<WHOLE>(index));
        let loss = self.loss.map(|groups| groups.get::<WHOLE>(index));
        let grad = self.grad.map(|groups| groups.get::<WHOLE>(index));
        let hess = self.hess.map(|groups| groups.get::<WHOLE>(index));
        let vectors = input.vectors::<S>();
        for (i, sum) in sums.as_mut()[..vectors].iter_mut().enumerate() {
            let parameter = match F::HAS_PARAMETER && call.parameter.len() > 1 {
                true => call.parameter(s, self.start + index * T::GROUP + i * Pack::<S, T>::LANES),
                false => self.parameter,
            };
            let weight = weight.map(|group| group.load(s, i));
            let mut here = None;
            let operands = [input.load(s, i), target.load(s, i), parameter];
            let terms = call.weighted(operands, weight, self.factor, &mut here);
            if let Some(here) = here {
                let here = if WHOLE { here } else { here & input.counts(s, i) };
                *outside = Some(outside.map_or(here, |before| before | here));
            }
            if !any || call.needs_total {
                sum.add(input.or(i, terms.value, splat(s, T::ZERO)));
            }
            if let Some(loss) = loss {
                loss.store(i, terms.value);
            }
            if let Some(grad) = grad {
                let add = any && call.accumulate;
                match LOOP {
                    STREAMED => grad.stream(i, terms.grad),
                    _ => grad.store(i, if add { grad.as_group().load(s, i) + terms.grad } else { terms.grad }),
                }
            }
            if let Some(hess) = hess {
                hess.store(i, if call.accumulate { hess.as_group().load(s, i) + terms.hess } else { terms.hess });
            }
        }
    }
}

/// Terms with their weight and factor.
struct Weighted<S: Lanes, T: Real> {
    value: Pack<S, T>,
    grad: Pack<S, T>,
    hess: Pack<S, T>,
}

impl<S: Lanes, T: Real> Terms<S, T> {
    /// Value times weight, rounded as often as the value alone.
    #[inline(always)]
    pub fn weighted_value(&self, weight: Pack<S, T>) -> Pack<S, T> {
        let [a, b] = self.value;
        exact_product(weight, a).scale_once(b)
    }
}
