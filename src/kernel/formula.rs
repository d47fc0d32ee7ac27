//! Formulas of independent elements, and the stages that are compiled for each formula.
//!
//! ```text
//! usual    sum[lane] += value                                  without gradients
//!          sum[lane] += value, grad = grad * factor            with gradients; light formulas have a second one, for
//!                                                              large arrays: it asks ahead and writes past the caches
//! any      value = weight * value, grad = (weight * factor) * grad, losses, sums with what is there: as asked for
//! hess     the Hessian, likewise
//! ```
//! - Large calls spend their time in the loops for usual elements. These read directly from the arrays, and stop before
//!   a group with elements that need more work (soft labels, differences beyond the range of the type).
//! - `any` branches once for each vector and each optional output or input. So a formula is compiled only four or five
//!   times for each type and instruction set, whatever combinations calls use.
//! - A formula works on whole vectors, and on four of them at once if it has many steps, so that the steps of different
//!   vectors overlap.
//! - Values are added in as many lanes as a group has elements, whatever the width of registers. So the vectors of a
//!   group are independent of each other and keep the execution units busy.
//! - All stages process whole groups. The last, incomplete group is padded (`pointwise.rs`), so that it runs through
//!   the same loops.
//! - For instruction sets with one lane there are only `any` and `hess`: they are for correctness, and small.

use core::hint::black_box;

use crate::simd::view::{GroupMut, GroupRoom, Groups, GroupsMut, In, Out};
use crate::simd::{Isa, Kernel, LaneSum, LaneSums, Lanes, Mask, Pack, Real, exact_product, splat};

/// A loss of independent elements.
pub trait Formula<T: Real>: Copy + Sync {
    /// A constant factor of the gradient and the Hessian. It is included in the single multiplication by `1 / n`.
    const FACTOR: f64 = 1.0;
    /// Whether [`terms`](Formula::terms) reads its parameter vector.
    const HAS_PARAMETER: bool = false;
    /// Whether the terms have so many steps that processing four vectors at once is faster, even if a group has fewer.
    const IS_LONG: bool = false;
    /// Whether some elements, the usual ones, need less work than others.
    const HAS_USUAL_CASE: bool = false;

    /// The same formula in `f64`, for results that exceed the range of `f32`.
    type Wide: Formula<f64>;
    fn wide(self) -> Self::Wide;

    /// Value and gradient of each lane.
    fn terms<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, parameter: Pack<S, T>) -> Terms<S, T>;

    /// The terms of several vectors. A formula with many steps should do each step for all vectors before the next
    /// step.
    #[inline(always)]
    fn terms_of_several<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        let [input, target, parameter] = operands[0];
        let mut all = [self.terms(input, target, parameter); N];
        for i in 1..N {
            let [input, target, parameter] = operands[i];
            all[i] = self.terms(input, target, parameter);
        }
        all
    }

    /// Which elements need more work than the usual ones. Elements outside of the domain are among them; NaNs may or
    /// may not be.
    #[inline(always)]
    fn is_unusual<S: Lanes>(self, input: Pack<S, T>, _target: Pack<S, T>) -> Mask<S, T> {
        input.same(input)
    }

    /// The [`terms`](Formula::terms) of usual elements, with the same bits.
    #[inline(always)]
    fn usual_terms<S: Lanes, const N: usize>(self, operands: [[Pack<S, T>; 3]; N]) -> [Terms<S, T>; N] {
        self.terms_of_several(operands)
    }

    /// The Hessian.
    fn hess<S: Lanes>(self, input: Pack<S, T>, target: Pack<S, T>, parameter: Pack<S, T>) -> Pack<S, T>;

    /// Which elements are outside of the domain of the loss; their results are NaN. A formula that defines this must
    /// have a usual case, and these elements must not be usual.
    #[inline(always)]
    fn outside<S: Lanes>(self, _input: Pack<S, T>) -> Option<Mask<S, T>> {
        None
    }
}

/// The results of a formula.
#[derive(Clone, Copy)]
pub struct Terms<S: Lanes, T: Real> {
    /// The value, as two factors, so that a weight can be multiplied in before the product is rounded.
    pub value: [Pack<S, T>; 2],
    pub grad: Pack<S, T>,
}

/// The arrays that a formula is applied to. There are as many targets as inputs, and either as many parameters or one
/// for all elements.
#[derive(Clone, Copy)]
pub struct Operands<'a, T> {
    pub input: In<'a, T>,
    pub target: In<'a, T>,
    pub parameter: In<'a, T>,
}

impl<'a, T: Real> Operands<'a, T> {
    pub fn len(&self) -> usize {
        self.input.len()
    }

    /// The operands of the `len` elements from `at` on.
    #[inline(always)]
    pub fn slice(self, at: usize, len: usize) -> Self {
        let Operands { input, target, parameter } = self;
        let parameter = if parameter.len() == 1 { parameter } else { parameter.slice(at, len) };
        Operands { input: input.slice(at, len), target: target.slice(at, len), parameter }
    }

    /// Fills up the operands of an incomplete group with copies of the last element. If there is one parameter for all
    /// elements, it stays one.
    #[inline(always)]
    pub fn filled_up<'b>(self, [input, target, parameter]: [&'b mut GroupRoom<T>; 3]) -> Operands<'b, T>
    where
        'a: 'b,
    {
        let own = self.parameter;
        Operands {
            input: self.input.filled_up(input),
            target: self.target.filled_up(target),
            parameter: if own.len() == 1 { own } else { own.filled_up(parameter) },
        }
    }
}

/// The arrays that results are written to, and how.
#[derive(Clone, Copy)]
pub struct Results<'a, T> {
    /// One loss for each element.
    pub loss: Option<Out<'a, T>>,
    pub grad: Option<Out<'a, T>>,
    /// Whether derivatives are added to the contents of their arrays.
    pub accumulate: bool,
    /// The factor of derivatives.
    pub factor: T,
    /// The minimum of Hessians, before weight and factor are applied; minus infinity for no minimum.
    pub least_hess: T,
}

/// A range of whole groups of elements that the loops for usual elements process, and how far they have come.
pub struct Stretch<'a, T> {
    pub operands: Operands<'a, T>,
    /// The array for the gradients, if they are requested.
    pub grad: Option<Out<'a, T>>,
    pub sums: &'a mut LaneSums<T>,
    /// The number of elements that have been processed.
    pub done: usize,
}

/// 2^50. If the magnitudes of elements are below this limit, their differences, squares and derivatives are in the
/// range of `f32`, even after multiplication by a moderate factor.
pub const MODERATE: f64 = (1u64 << 50) as f64;

/// How the loop goes through several stretches.
#[derive(Clone, Copy)]
pub struct Walk<T> {
    /// The number of groups of one stretch that are processed before the loop turns to the next stretch.
    pub turn: usize,
    /// How many groups ahead operands are prefetched; 0 for no prefetching.
    pub ahead: usize,
    /// The factor of gradients.
    pub factor: T,
    /// Whether gradients are written around the caches. The caller must then execute a fence.
    pub streamed: bool,
    /// Whether the loop stops before elements that are not [moderate](MODERATE), because gradients would overwrite
    /// them.
    pub guarded: bool,
}

/// The stages of a formula. Each is dispatched separately and processes whole groups.
pub trait Stages<T: Real>: AnyStage<T> {
    /// Whether the formula reads a parameter.
    fn has_parameter(&self) -> bool;
    /// Adds up values, and writes gradients if all stretches have an array for them. Stops in each stretch before the
    /// first group with unusual elements.
    fn usual(&self, isa: Isa, walk: Walk<T>, stretches: &mut [Stretch<'_, T>]);
}

/// The stages for everything that the loops for usual elements do not handle.
pub trait AnyStage<T: Real>: Sync {
    /// Computes the results of arbitrary elements, with weights. Results outside of the domain are NaN. Returns whether
    /// there are such elements.
    fn any(
        &self,
        isa: Isa,
        operands: Operands<'_, T>,
        weight: Option<In<'_, T>>,
        results: Results<'_, T>,
        sums: &mut LaneSums<T>,
    ) -> bool;
    /// Computes the Hessian, and writes it to the array that `results` has for the gradient.
    fn hess(&self, isa: Isa, operands: Operands<'_, T>, weight: Option<In<'_, T>>, results: Results<'_, T>);
    /// Calls `user` with the same stage of the formula in `f64`.
    fn wide(&self, user: &mut dyn FnMut(&dyn AnyStage<f64>));
}

impl<T: Real, F: Formula<T>> Stages<T> for F {
    fn has_parameter(&self) -> bool {
        F::HAS_PARAMETER
    }
    fn usual(&self, isa: Isa, walk: Walk<T>, stretches: &mut [Stretch<'_, T>]) {
        let (formula, with_grad) = (*self, stretches.iter().all(|stretch| stretch.grad.is_some()));
        let is_large = walk.ahead > 0 || walk.streamed;
        match with_grad {
            // a group of a long formula takes so long that a separate loop would not be faster
            true if F::IS_LONG || is_large => isa.dispatch(Usual::<_, _, true, true> { formula, walk, stretches }),
            true => isa.dispatch(Usual::<_, _, true, false> { formula, walk, stretches }),
            false => isa.dispatch(Usual::<_, _, false, true> { formula, walk, stretches }),
        }
    }
}

impl<T: Real, F: Formula<T>> AnyStage<T> for F {
    fn any(
        &self,
        isa: Isa,
        operands: Operands<'_, T>,
        weight: Option<In<'_, T>>,
        results: Results<'_, T>,
        sums: &mut LaneSums<T>,
    ) -> bool {
        isa.dispatch(Any { formula: *self, operands, weight, results, sums })
    }
    fn hess(&self, isa: Isa, operands: Operands<'_, T>, weight: Option<In<'_, T>>, results: Results<'_, T>) {
        isa.dispatch(Hess { formula: *self, operands, weight, results });
    }
    fn wide(&self, user: &mut dyn FnMut(&dyn AnyStage<f64>)) {
        user(&Formula::wide(*self));
    }
}

/// Operands in whole groups.
#[derive(Clone, Copy)]
struct OperandGroups<'a, S: Lanes, T: Real> {
    s: S,
    input: Groups<'a, T>,
    target: Groups<'a, T>,
    parameter: Parameter<'a, S, T>,
}

#[derive(Clone, Copy)]
enum Parameter<'a, S: Lanes, T: Real> {
    Each(Groups<'a, T>),
    All(Pack<S, T>),
}

impl<'a, S: Lanes, T: Real> OperandGroups<'a, S, T> {
    #[inline(always)]
    fn new<F: Formula<T>>(s: S, operands: Operands<'a, T>, count: usize) -> Self {
        let Operands { input, target, parameter } = operands;
        let parameter = if F::HAS_PARAMETER && parameter.len() != 1 {
            Parameter::Each(parameter.groups(count))
        } else {
            Parameter::All(splat(s, parameter.get(0)))
        };
        OperandGroups { s, input: input.groups(count), target: target.groups(count), parameter }
    }

    /// The `i`-th vector, counted from the beginning of a group.
    #[inline(always)]
    fn load(&self, group: usize, i: usize) -> [Pack<S, T>; 3] {
        let (s, i, group) = (self.s, i % Pack::<S, T>::PER_GROUP, group + i / Pack::<S, T>::PER_GROUP);
        let parameter = match self.parameter {
            Parameter::Each(groups) => groups.get(group).load(s, i),
            Parameter::All(x) => x,
        };
        [self.input.get(group).load(s, i), self.target.get(group).load(s, i), parameter]
    }

    /// Prefetches a group, which may be beyond the last one.
    #[inline(always)]
    fn prefetch(&self, group: usize) {
        self.input.prefetch(group);
        self.target.prefetch(group);
    }

    /// N vectors, from the `i`-th on.
    #[inline(always)]
    fn load_several<const N: usize>(&self, group: usize, i: usize) -> [[Pack<S, T>; 3]; N] {
        let mut operands = [self.load(group, i); N];
        for (k, operands) in operands.iter_mut().enumerate().skip(1) {
            *operands = self.load(group, i + k);
        }
        operands
    }
}

/// The loops in which large calls spend their time: with or without gradients, and with or without the features that
/// only large arrays need.
struct Usual<'a, 'b, T, F, const GRAD: bool, const LARGE: bool> {
    formula: F,
    walk: Walk<T>,
    stretches: &'a mut [Stretch<'b, T>],
}

impl<T: Real, F: Formula<T>, const GRAD: bool, const LARGE: bool> Kernel for Usual<'_, '_, T, F, GRAD, LARGE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        if S::AT_ONCE == 1 {
            return;
        }
        let Usual { formula, walk, stretches } = self;
        let (mut before, mut goes_on) = (0, true);
        while goes_on {
            goes_on = false;
            for stretch in &mut *stretches {
                let left = stretch.operands.len() - stretch.done;
                let count = (left / T::GROUP).min(walk.turn);
                // a stretch that has stopped does not continue
                if count == 0 || stretch.done != before {
                    continue;
                }
                let groups = UsualGroups::<S, T, F, GRAD, LARGE> {
                    formula,
                    operands: OperandGroups::new::<F>(s, stretch.operands.slice(before, left), count),
                    grad: if GRAD {
                        stretch.grad.expect("gradients have a place").slice(before, left).groups(count)
                    } else {
                        GroupsMut::none()
                    },
                    walk,
                };
                let done = groups.run(count, stretch.sums);
                stretch.done += done * T::GROUP;
                goes_on |= done == count;
            }
            before = before.saturating_add(walk.turn.saturating_mul(T::GROUP));
        }
    }
}

/// Some groups of a stretch.
struct UsualGroups<'a, S: Lanes, T: Real, F, const GRAD: bool, const LARGE: bool> {
    formula: F,
    operands: OperandGroups<'a, S, T>,
    grad: GroupsMut<'a, T>,
    walk: Walk<T>,
}

impl<S: Lanes, T: Real, F: Formula<T>, const GRAD: bool, const LARGE: bool> UsualGroups<'_, S, T, F, GRAD, LARGE> {
    /// Returns how many groups have been processed.
    #[inline(always)]
    fn run(&self, count: usize, to: &mut LaneSums<T>) -> usize {
        let mut sums = to.load(self.operands.s);
        let mut group = 0;
        if Pack::<S, T>::PER_GROUP == 2 {
            // two groups at a time, so that there are four vectors here as well
            while group + 1 < count && self.are_usual::<2>(group) {
                self.vectors::<4>(group, 0, &mut sums);
                group += 2;
            }
        } else {
            while group < count && self.are_usual::<1>(group) {
                for i in 0..Pack::<S, T>::PER_GROUP / 4 {
                    self.vectors::<4>(group, 4 * i, &mut sums);
                }
                group += 1;
            }
        }
        to.store(self.operands.s, sums);
        group
    }

    /// Whether all elements of `GROUPS` groups, from this one on, are usual ones.
    #[inline(always)]
    fn are_usual<const GROUPS: usize>(&self, group: usize) -> bool {
        if GRAD && self.walk.guarded && !self.are_moderate::<GROUPS>(group) {
            return false;
        }
        if !F::HAS_USUAL_CASE {
            return true;
        }
        let [input, target, _] = self.operands.load(group, 0);
        let mut unusual = self.formula.is_unusual(input, target);
        for i in 1..GROUPS * Pack::<S, T>::PER_GROUP {
            let [input, target, _] = self.operands.load(group, i);
            unusual = unusual | self.formula.is_unusual(input, target);
        }
        !unusual.any()
    }

    /// Whether all elements of `GROUPS` groups, from this one on, are moderate or NaN.
    #[inline(always)]
    fn are_moderate<const GROUPS: usize>(&self, group: usize) -> bool {
        let [input, target, _] = self.operands.load(group, 0);
        let mut largest = [input.abs(), target.abs()];
        for i in 1..GROUPS * Pack::<S, T>::PER_GROUP {
            let [input, target, _] = self.operands.load(group, i);
            largest = [input.abs().at_least(largest[0]), target.abs().at_least(largest[1])];
        }
        let limit = input.c(MODERATE);
        !(limit.le(largest[0]) | limit.le(largest[1])).any()
    }

    /// Adds up the values of N vectors, from a group's `first` on, and writes their gradients.
    #[inline(always)]
    fn vectors<const N: usize>(&self, group: usize, first: usize, sums: &mut S::PerGroup<LaneSum<S>>) {
        let per_group = Pack::<S, T>::PER_GROUP;
        let Walk { ahead, factor, streamed, .. } = self.walk;
        let terms = self.formula.usual_terms(self.operands.load_several::<N>(group, first));
        if LARGE && ahead > 0 && first.is_multiple_of(per_group) {
            self.operands.prefetch(group + first / per_group + ahead);
            if N > per_group {
                self.operands.prefetch(group + first / per_group + 1 + ahead);
            }
        }
        let mut grads = terms.map(|Terms { grad, .. }| grad);
        for (k, Terms { value: [a, b], grad }) in terms.into_iter().enumerate() {
            let (group, i) = (group + (first + k) / per_group, (first + k) % per_group);
            sums.as_mut()[i].add(a * b);
            grads[k] = grad * splat(grad.s, factor);
            if GRAD && !LARGE {
                self.grad.get(group).store(i, grads[k]);
            }
        }
        if GRAD && LARGE {
            // one branch for all of them
            for (k, grad) in grads.into_iter().enumerate() {
                let to = self.grad.get(group + (first + k) / per_group);
                let i = (first + k) % per_group;
                if streamed { to.stream(i, grad) } else { to.store(i, grad) }
            }
        }
    }
}

/// The loop for everything.
struct Any<'a, T, F> {
    formula: F,
    operands: Operands<'a, T>,
    weight: Option<In<'a, T>>,
    results: Results<'a, T>,
    sums: &'a mut LaneSums<T>,
}

impl<T: Real, F: Formula<T>> Kernel for Any<'_, T, F> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) -> bool {
        let Any { formula, operands, weight, results, sums: to } = self;
        let (count, Results { loss, grad, accumulate, factor, .. }) = (operands.len() / T::GROUP, results);
        let everything = Everything {
            formula,
            operands: OperandGroups::new::<F>(s, operands, count),
            weight: Weights::new(weight, count),
            loss: groups(loss, count),
            grad: groups(grad, count),
            accumulate,
            factor: splat(s, factor),
        };
        let (mut sums, mut outside) = (to.load(s), None);
        let mut group = 0;
        if F::IS_LONG && Pack::<S, T>::PER_GROUP == 2 {
            while group + 1 < count {
                everything.vectors::<4>(group, 0, &mut sums, &mut outside);
                group += 2;
            }
        }
        while group < count {
            if S::AT_ONCE == 1 {
                for i in 0..Pack::<S, T>::per_group() {
                    everything.vectors::<1>(group, i, &mut sums, &mut outside);
                }
            } else if F::IS_LONG && Pack::<S, T>::PER_GROUP > 2 {
                for i in 0..Pack::<S, T>::PER_GROUP / 4 {
                    everything.vectors::<4>(group, 4 * i, &mut sums, &mut outside);
                }
            } else {
                // with all possible outputs, four vectors would not fit into the registers
                for i in 0..Pack::<S, T>::PER_GROUP / 2 {
                    everything.vectors::<2>(group, 2 * i, &mut sums, &mut outside);
                }
            }
            group += 1;
        }
        to.store(s, sums);
        outside.is_some_and(Mask::any)
    }
}

/// The groups of an array, if there is an array.
#[inline(always)]
#[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
fn groups<T: Real>(out: Option<Out<'_, T>>, count: usize) -> Option<GroupsMut<'_, T>> {
    match out {
        Some(out) => Some(out.groups(count)),
        None => None,
    }
}

/// The Hessian.
struct Hess<'a, T, F> {
    formula: F,
    operands: Operands<'a, T>,
    weight: Option<In<'a, T>>,
    results: Results<'a, T>,
}

impl<T: Real, F: Formula<T>> Kernel for Hess<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let Hess { formula, operands, weight, results } = self;
        let Results { grad: to, accumulate, factor, least_hess, .. } = results;
        let count = operands.len() / T::GROUP;
        let operands = OperandGroups::new::<F>(s, operands, count);
        let (weight, factor, least) = (Weights::new(weight, count), splat(s, factor), splat(s, least_hess));
        let Some(to) = groups(to, count) else { return };
        // hides the number from the compiler, which would otherwise unroll this loop for no benefit
        let vectors = black_box(Pack::<S, T>::PER_GROUP);
        for group in 0..count {
            for i in 0..vectors {
                let [input, target, parameter] = operands.load(group, i);
                let mut hess = formula.hess(input, target, parameter).at_least(least);
                if let Some(outside) = formula.outside(input) {
                    hess = outside.select(input.c(f64::NAN), hess);
                }
                weight.get(s, group, i).put(hess, factor, to.get(group), i, accumulate);
            }
        }
    }
}

/// Weights in whole groups, if there are any.
#[derive(Clone, Copy)]
struct Weights<'a, T>(Option<Groups<'a, T>>);

/// The weights of a vector.
#[derive(Clone, Copy)]
struct Weight<S: Lanes, T: Real>(Option<Pack<S, T>>);

impl<'a, T: Real> Weights<'a, T> {
    #[inline(always)]
    fn new(weight: Option<In<'a, T>>, count: usize) -> Self {
        match weight {
            Some(weight) => Weights(Some(weight.groups(count))),
            None => Weights(None),
        }
    }

    #[inline(always)]
    fn get<S: Lanes>(&self, s: S, group: usize, i: usize) -> Weight<S, T> {
        match self.0 {
            Some(weight) => Weight(Some(weight.get(group).load(s, i))),
            None => Weight(None),
        }
    }
}

impl<S: Lanes, T: Real> Weight<S, T> {
    /// The value a b, multiplied by the weight. It is rounded as many times as without a weight.
    #[inline(always)]
    fn value(self, a: Pack<S, T>, b: Pack<S, T>) -> Pack<S, T> {
        match self.0 {
            Some(weight) => exact_product(weight, a).scale_once(b),
            None => a * b,
        }
    }

    /// Multiplies a derivative by weight and factor, and writes it or adds it to the contents of the array.
    #[inline(always)]
    fn put(self, x: Pack<S, T>, factor: Pack<S, T>, to: GroupMut<'_, T>, i: usize, adds: bool) {
        let x = match self.0 {
            Some(weight) => exact_product(weight, factor).scale_once(x),
            None => x * factor,
        };
        to.store(i, if adds { to.as_group().load(x.s, i) + x } else { x });
    }
}

/// Processes arbitrary elements in whole groups.
struct Everything<'a, S: Lanes, T: Real, F> {
    formula: F,
    operands: OperandGroups<'a, S, T>,
    weight: Weights<'a, T>,
    loss: Option<GroupsMut<'a, T>>,
    grad: Option<GroupsMut<'a, T>>,
    accumulate: bool,
    factor: Pack<S, T>,
}

impl<S: Lanes, T: Real, F: Formula<T>> Everything<'_, S, T, F> {
    /// Processes N vectors of a group, from the `first` on.
    #[inline(always)]
    fn vectors<const N: usize>(
        &self,
        group: usize,
        first: usize,
        sums: &mut S::PerGroup<LaneSum<S>>,
        outside: &mut Option<Mask<S, T>>,
    ) {
        let operands = self.operands.load_several::<N>(group, first);
        let mut are_usual = F::IS_LONG && F::HAS_USUAL_CASE && S::AT_ONCE > 1;
        if are_usual {
            let [input, target, _] = operands[0];
            let mut unusual = self.formula.is_unusual(input, target);
            for [input, target, _] in &operands[1..] {
                unusual = unusual | self.formula.is_unusual(*input, *target);
            }
            are_usual = !unusual.any();
        }
        let terms = match are_usual {
            true => self.formula.usual_terms(operands),
            false => self.formula.terms_of_several(operands),
        };
        for (i, (Terms { value: [mut a, b], mut grad }, [input, ..])) in terms.into_iter().zip(operands).enumerate() {
            let (group, i) = (group + (first + i) / Pack::<S, T>::PER_GROUP, (first + i) % Pack::<S, T>::PER_GROUP);
            if let Some(here) = self.formula.outside(input) {
                (a, grad) = (here.select(input.c(f64::NAN), a), here.select(input.c(f64::NAN), grad));
                *outside = Some(match *outside {
                    Some(before) => before | here,
                    None => here,
                });
            }
            let weight = self.weight.get(a.s, group, i);
            let value = weight.value(a, b);
            sums.as_mut()[i].add(value);
            if let Some(loss) = self.loss {
                loss.get(group).store(i, value);
            }
            if let Some(to) = self.grad {
                weight.put(grad, self.factor, to.get(group), i, self.accumulate);
            }
        }
    }
}
