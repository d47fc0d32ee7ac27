//! The softmax family: what a call is, and the mathematics that all its layouts share.
//!
//! ```text
//! m    = max x                     rest = sum of e^(x_j - m) over all j but one that attains m
//! loss = w (sum of q_j (m - x_j)  +  Q log1p(rest)),    Q = sum of q_j
//! p_j  = e^(x_j - m) / (1 + rest)
//! 1 - p_j = rest / (1 + rest)      where x_j = m        (no digits are lost in confident samples)
//! gradient = w (p_j (Q - q_j) - q_j (1 - p_j))          Hessian = w Q p_j (1 - p_j)
//! ```
//! With a z-loss, z lse^2 is added to the loss, where lse = m + log1p(rest), and its slope 2 z lse to the Q of the
//! gradient (to the Q of Q p_j, that is) and of the Hessian, which also gains 2 z p_j^2; all times w.
//!
//! q is the target distribution: for an index t, `hot` at t and `base` (times its class weight)
//! everywhere; hot = 1, base = 0 without smoothing, and then Q = 1, the weight w carrying the class's.
//! With smoothing, Q - q is not a difference of shares, which are rounded, but base times a difference of class weights,
//! which are exact: where a confident row has most of its distribution at one class, it is a small number.
//!
//! Bounded logits are c tanh(x / c) in the place of x, and gradients are times 1 - tanh^2.
//!
//! What is summed (rest, the target's part) is kept as value and error, `m - x_t` likewise, and e^(x_j - m) is
//! made without rounding its argument: any of these alone would cost more than the promised last places.

use super::class_columns::ClassColumns;
use super::class_rows::ClassRows;
use super::correct::Correct;
use super::softmax_wide;
use crate::context::Context;
use crate::factor::Factor;
use crate::indices::IndexView;
use crate::parallel::{self, Partial};
use crate::shape::Layout;
use crate::simd::tile::TILE_CLASSES;
use crate::simd::view::{Buffer, In, Out};
use crate::simd::{
    Environment, LaneSum, Lanes, MAX_GROUP, Mask, Pack, Pair, Real, RelativeExp, Total, called_on_one_lane,
    fast_two_sum, log1p_with_error, splat, tanh_with_derivative, two_diff, unshift,
};

/// What a sample's classes are held against.
pub enum Goal<'a, T> {
    /// Class indices. `hot` is the target's own share, `base` every class's, `mass` the sum of all
    /// classes' base; class weights multiply base, and the sample's weight or `hot`.
    Indices { targets: IndexView<'a>, ignore_index: i64, smoothing: Option<Smoothing<T>> },
    /// Class probabilities with the logits' layout: q = class weight * (keep * probability + base).
    Probabilities { targets: In<'a, T>, keep: T, base: T },
    /// The distribution itself, written to `grad`.
    Softmax,
    /// Its logarithm, written to `grad`.
    LogSoftmax,
}

/// Label smoothing of index targets. Without class weights these are 1.
#[derive(Clone, Copy)]
pub struct Smoothing<T> {
    /// 1 - label_smoothing
    pub hot: Total,
    /// label_smoothing / classes: value and error
    pub base: [T; 2],
    /// The sum over all classes of base times class weight.
    mass: Total,
    /// What the target has for each unit of its class weight, hot + base: value and error.
    own: [T; 2],
    /// A power of two that class weights are multiplied by before they are subtracted from their sum.
    unit: T,
    /// The sum of all class weights in that unit: value, error, and the error's error.
    weights: [T; 3],
    /// base by that unit: value and error
    base_of_unit: [T; 2],
    /// A power of two about as large as base: what a class has in the gap, by its weight, so that nothing is rounded.
    gap_share: T,
    /// base by that share.
    pub gap_factor: Total,
}

/// A call.
pub struct Softmax<'a, T> {
    pub layout: Layout,
    pub logits: In<'a, T>,
    pub goal: Goal<'a, T>,
    pub class_weight: Option<In<'a, T>>,
    pub row_weight: Option<In<'a, T>>,
    /// One value per sample.
    pub loss: Option<Out<'a, T>>,
    pub grad: Option<Out<'a, T>>,
    pub hess: Option<Out<'a, T>>,
    /// What Hessians are raised to before weights and scale, if to anything.
    pub min_hess: Option<T>,
    pub accumulate: bool,
    /// Factor of gradient and Hessian; the same in the type, value and error.
    pub factor: Factor,
    pub scale: [T; 2],
    /// Factor of the squared logarithm of the sum of exponentials: value and error. Class weights of index targets are
    /// in the distribution then, not in the sample's weight.
    pub z_loss: Option<[T; 2]>,
    /// What c tanh(x / c) bounds the logits by. Every class has a share of its own then, as with smoothing.
    pub soft_cap: Option<T>,
    pub needs_total: bool,
    /// Where right predictions go, of class indices.
    pub correct: Option<Correct<'a>>,
}

/// A sample's target, as a scalar.
#[derive(Clone, Copy)]
pub struct Target<T> {
    /// 0 for goals other than indices.
    pub class: usize,
    pub ignored: bool,
    /// The weight of the whole sample.
    pub weight: T,
    /// The target's own share of the distribution.
    pub hot: T,
    /// The sum of the distribution, if it is known without reading probabilities: value and error.
    pub mass: [T; 2],
}

impl<T: Real> Softmax<'_, T> {
    /// Whether every class has a share of the target distribution of its own.
    #[inline(always)]
    pub fn is_soft(&self) -> bool {
        matches!(self.goal, Goal::Probabilities { .. } | Goal::Indices { smoothing: Some(_), .. })
    }

    /// Logits, bounded if they are to be, and by the largest of all (which its neighbours' rounding could exceed).
    /// Those that are -inf stay so: they are masked.
    #[inline(always)]
    pub fn capped<S: Lanes>(&self, x: Pack<S, T>, max: Pack<S, T>) -> Pack<S, T> {
        match self.soft_cap {
            Some(cap) => {
                let cap = splat(x.s, cap);
                let [tanh, _] = tanh_with_derivative(x / cap);
                x.same(x.c(f64::NEG_INFINITY)).select(x, (cap * tanh).at_most(max))
            }
            None => x,
        }
    }

    /// The derivative of what bounds the logits; 1 if nothing does.
    #[inline(always)]
    pub fn cap_slope<S: Lanes>(&self, x: Pack<S, T>) -> Pack<S, T> {
        match self.soft_cap {
            Some(cap) => tanh_with_derivative(x / splat(x.s, cap))[1],
            None => x.c(1.0),
        }
    }

    /// Whether outputs are made from the exponentials.
    #[inline(always)]
    pub fn keeps_exponentials(&self) -> bool {
        (self.grad.is_some() || self.hess.is_some()) && !matches!(self.goal, Goal::LogSoftmax)
    }

    /// Where exponentials may wait until the sample's sum is known: an output that will be overwritten.
    #[inline(always)]
    pub fn stash(&self) -> Option<Out<'_, T>> {
        let has_room = !self.accumulate && self.soft_cap.is_none();
        if self.keeps_exponentials() && has_room { self.grad.or(self.hess) } else { None }
    }

    #[inline(always)]
    pub fn target(&self, sample: usize) -> Target<T> {
        let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
        let row_weight = self.row_weight.map_or(one, |view| view.get(sample));
        match &self.goal {
            Goal::Indices { targets, ignore_index, smoothing } => {
                let target = targets.get(sample);
                if target == *ignore_index {
                    return Target { class: 0, ignored: true, weight: zero, hot: zero, mass: [zero; 2] };
                }
                let class = target as usize;
                assert!(class < self.layout.classes, "target out of range");
                let class_weight = self.class_weight.map_or(one, |view| view.get(class));
                match smoothing {
                    None => {
                        let weight = class_weight * row_weight;
                        Target { class, ignored: false, weight, hot: one, mass: [one, zero] }
                    }
                    Some(smoothing) => {
                        let (hot, mass) = smoothing.shares(class_weight);
                        Target { class, ignored: false, weight: row_weight, hot, mass }
                    }
                }
            }
            _ => Target { class: 0, ignored: false, weight: row_weight, hot: zero, mass: [one, zero] },
        }
    }

    /// The target distribution's share in a class, but for an index target's own.
    #[inline(always)]
    pub fn share<S: Lanes>(
        &self,
        s: S,
        probability: Option<Pack<S, T>>,
        class_weight: Option<Pack<S, T>>,
    ) -> Pack<S, T> {
        match (&self.goal, probability) {
            (&Goal::Probabilities { keep, base, .. }, Some(probability)) => {
                let q = probability.fma(splat(s, keep), splat(s, base));
                match class_weight {
                    Some(weight) => q * weight,
                    None => q,
                }
            }
            (Goal::Indices { smoothing: Some(smoothing), .. }, _) => smoothing.base(s, class_weight),
            _ => splat(s, T::from_f64(0.0)),
        }
    }

    /// As [`share`](Self::share), for the sum that the gap is made of.
    #[inline(always)]
    pub fn gap_share<S: Lanes>(
        &self,
        s: S,
        probability: Option<Pack<S, T>>,
        class_weight: Option<Pack<S, T>>,
    ) -> Pack<S, T> {
        match (self.smoothing(), class_weight) {
            (Some(smoothing), Some(weight)) => weight * splat(s, smoothing.gap_share),
            (Some(smoothing), None) => splat(s, smoothing.gap_share),
            (None, _) => self.share(s, probability, class_weight),
        }
    }

    /// The weight of a class in all lanes, where every class has a share of the distribution.
    #[inline(always)]
    #[allow(clippy::manual_map, reason = "closures may be compiled apart, without the instruction set")]
    pub fn share_weight_of<S: Lanes>(&self, s: S, class: usize) -> Option<Pack<S, T>> {
        match self.share_weight() {
            Some(view) => Some(splat(s, view.get(class))),
            None => None,
        }
    }

    /// The label smoothing of index targets, if every class has a share of the distribution.
    #[inline(always)]
    pub fn smoothing(&self) -> Option<&Smoothing<T>> {
        match &self.goal {
            Goal::Indices { smoothing, .. } => smoothing.as_ref(),
            _ => None,
        }
    }

    /// The weights of the classes where every class has a share of the distribution.
    #[inline(always)]
    pub fn share_weight(&self) -> Option<In<'_, T>> {
        if self.is_soft() { self.class_weight } else { None }
    }
}

impl<T: Real> Smoothing<T> {
    /// Of `hot` = 1 - label_smoothing and `base` = label_smoothing / classes, given the sum of all class weights.
    pub fn new(hot: Total, base: Total, weights: Total) -> Self {
        // 2^-64 brings a sum that is beyond the range of f32 back, whatever the number of classes
        let fits = T::from_f64(weights.value().abs()) < T::INFINITY;
        let unit = if fits { 1.0 } else { 1.0 / 18_446_744_073_709_551_616.0 };
        // (no smaller than 2^-64, nor is there one without smoothing)
        let exponent = f64::INFINITY.to_bits();
        let gap_share = f64::from_bits(base.value().max(1.0 / 18_446_744_073_709_551_616.0).to_bits() & exponent);
        let gap_share = if base.value() == 0.0 { 0.0 } else { gap_share };
        let scaled = weights.mul(Total::new(unit));
        let [first, second] = scaled.split::<T>();
        let third = ((scaled.hi - first.to_f64()) - second.to_f64()) + scaled.lo;
        let third = if third.is_finite() { T::from_f64(third) } else { T::ZERO };
        Smoothing {
            hot,
            base: base.split(),
            mass: base.mul(weights),
            own: hot.merge(base).split(),
            unit: T::from_f64(unit),
            weights: [first, second, third],
            base_of_unit: base.mul(Total::new(1.0 / unit)).split(),
            gap_share: T::from_f64(gap_share),
            gap_factor: if gap_share == 0.0 { Total::new(1.0) } else { base.over(Total::new(gap_share)) },
        }
    }

    /// The gap from the sum of gap shares times max - x_j.
    #[inline(always)]
    pub fn gap<S: Lanes>(&self, sum: Pair<S, T>) -> Pair<S, T> {
        let (s, [hi, lo]) = (sum.hi.s, self.gap_factor.split::<T>());
        sum.mul(Pair { hi: splat(s, hi), lo: splat(s, lo) }).or_single(sum.hi * splat(s, hi))
    }

    /// A target's share, and what all others have: value and error.
    #[inline(always)]
    pub fn target_shares<S: Lanes>(&self, class_weight: Pack<S, T>) -> (Pack<S, T>, Pair<S, T>) {
        let (s, [hi, lo]) = (class_weight.s, self.own);
        let own = Pair { hi: splat(s, hi), lo: splat(s, lo) }.scale(class_weight).round();
        (own, self.of_others(class_weight))
    }

    /// The share of all classes but one, of this weight, which is not the target: value and error.
    #[inline(always)]
    fn of_others<S: Lanes>(&self, class_weight: Pack<S, T>) -> Pair<S, T> {
        let s = class_weight.s;
        let ([first, second, third], [hi, lo]) = (self.weights, self.base_of_unit);
        let weights = two_diff(splat(s, first), class_weight * splat(s, self.unit));
        let weights = fast_two_sum(weights.hi, weights.lo + (splat(s, second) + splat(s, third)));
        weights.mul(Pair { hi: splat(s, hi), lo: splat(s, lo) })
    }

    /// A class's share of what is spread over all of them.
    #[inline(always)]
    pub fn base<S: Lanes>(&self, s: S, class_weight: Option<Pack<S, T>>) -> Pack<S, T> {
        let [hi, lo] = [splat(s, self.base[0]), splat(s, self.base[1])];
        match class_weight {
            Some(weight) => weight.fma(hi, weight * lo),
            None => hi,
        }
    }

    /// The target's own share, and the sum of the distribution.
    #[inline(always)]
    pub fn shares(&self, class_weight: T) -> (T, [T; 2]) {
        let hot = self.hot.mul(Total::new(class_weight.to_f64()));
        (hot.split()[0], hot.merge(self.mass).split())
    }
}

/// A sample in each lane, its classes summed up.
#[derive(Clone, Copy)]
pub struct Sample<S: Lanes, T: Real> {
    pub max: Pack<S, T>,
    pub rest: Pair<S, T>,
    /// The target's logit.
    pub target: Pack<S, T>,
    pub hot: Pack<S, T>,
    /// The sum of `base q_j (m - x_j)`.
    pub gap: Pair<S, T>,
    pub mass: Pair<S, T>,
    pub weight: Pack<S, T>,
    pub penalty: Option<Penalty<S, T>>,
}

/// The z-loss.
#[derive(Clone, Copy)]
pub struct Penalty<S: Lanes, T: Real> {
    factor: Pair<S, T>,
    /// The largest logit, also if that is infinite.
    largest: Pack<S, T>,
}

impl<S: Lanes, T: Real> Penalty<S, T> {
    #[inline(always)]
    pub fn new(z_loss: Option<[T; 2]>, largest: Pack<S, T>) -> Option<Self> {
        match z_loss {
            Some(factor) => Some(Penalty { factor: Pair::splat(largest.s, factor), largest }),
            None => None,
        }
    }

    /// Its value, and its derivative by the logarithm of the sum, given log1p(rest).
    #[inline(always)]
    fn value_and_slope(self, log: Pack<S, T>) -> (Pack<S, T>, Pair<S, T>) {
        let Penalty { factor, largest } = self;
        let infinity = log.c(f64::INFINITY);
        let lse = Pair::new(largest).add(Pair::new(log));
        let part = factor.mul(lse);
        let value = part.mul(lse).round();
        // where there are no errors of infinite products
        let far = largest + log;
        let (far_part, far_value) = (factor.hi * far, factor.hi * far * far);
        let value = far_value.abs().lt(infinity).select(value, far_value);
        let (is_near, part) = (far_part.abs().lt(infinity), fast_two_sum(part.hi, part.lo));
        let part = Pair { hi: is_near.select(part.hi, far_part), lo: is_near.keep(part.lo) };
        (value, Pair { hi: part.hi + part.hi, lo: part.lo + part.lo })
    }
}

/// What the outputs of a sample are made from.
pub struct Finished<S: Lanes, T: Real> {
    pub loss: Pack<S, T>,
    /// The derivative of the z-loss by the logarithm of the sum, if there is one.
    pub slope: Option<Pair<S, T>>,
    /// log1p(rest)
    pub log: Pack<S, T>,
    /// 1 / (1 + rest)
    pub recip: Pair<S, T>,
    /// 1 - p where p is the largest: rest / (1 + rest)
    pub top: Pack<S, T>,
}

called_on_one_lane! {
    fn finish_sample(sample: Sample<S, T>) -> Finished<S, T> = finish_sample_inlined
}

#[inline(always)]
fn finish_sample_inlined<S: Lanes, T: Real>(sample: Sample<S, T>) -> Finished<S, T> {
    sample.finish_inlined()
}

impl<S: Lanes, T: Real> Sample<S, T> {
    #[inline(always)]
    pub fn finish(self) -> Finished<S, T> {
        finish_sample(self)
    }

    /// Whether some of these losses of `f32` are no numbers.
    #[inline(always)]
    pub fn has_no_number(&self, losses: Pack<S, T>) -> bool {
        size_of::<T>() < size_of::<f64>() && !losses.abs().lt(losses.c(f64::INFINITY)).all()
    }

    /// The losses of `f32` again where they are no numbers, in `f64`, as all of them are given; `gaps` are those in `f64`, by `gap_factor`.
    #[inline(always)]
    pub fn widely(&self, losses: &mut Pack<S, T>, gaps: &[f64], gap_factor: f64) -> [f64; MAX_GROUP] {
        let zero = self.max.c(0.0);
        let (factor, largest) = match self.penalty {
            Some(Penalty { factor, largest }) => (factor, largest),
            None => (Pair::new(zero), zero),
        };
        let numbers = [
            *losses,
            self.max,
            self.rest.hi,
            self.rest.lo,
            self.target,
            self.hot,
            self.mass.hi,
            self.weight,
            factor.hi,
            factor.lo,
            largest,
        ];
        let mut lanes = [[T::ZERO; MAX_GROUP]; 11];
        for (lanes, numbers) in lanes.iter_mut().zip(numbers) {
            T::store_partial(zero.s, &mut lanes[..Pack::<S, T>::LANES], numbers.v);
        }
        let wide = wide_losses(&mut lanes, Pack::<S, T>::LANES, gaps, gap_factor);
        *losses = Pack { s: zero.s, v: T::load_partial(zero.s, &lanes[0][..Pack::<S, T>::LANES]) };
        wide
    }

    #[inline(always)]
    fn finish_inlined(self) -> Finished<S, T> {
        let (zero, infinity) = (self.max.c(0.0), self.max.c(f64::INFINITY));
        // no class left, or no number
        let rest = self.rest.hi;
        let rest = Pair { hi: self.max.same(-infinity).select(rest.c(f64::NAN), rest), lo: self.rest.lo };
        let log = log1p_with_error(rest.hi, rest.lo);
        let lead = two_diff(self.max, self.target);
        let none = self.max.same(self.target) | self.hot.same(zero);
        let lead =
            Pair { hi: none.select(zero, lead.hi), lo: none.select(zero, lead.hi.lt(infinity).select(lead.lo, zero)) };
        // apart, where the difference is larger than any number
        let far = lead.hi.same(infinity).select(self.hot * self.max - self.hot * self.target, zero);
        let large = lead.hi.lt(infinity).select(self.hot.fma(lead.hi, self.gap.hi), far + self.gap.hi);
        let small = self.mass.hi.fma(log, self.hot.fma(lead.lo, self.mass.lo.fma(log, self.gap.lo)));
        let recip = rest.add(Pair::new(rest.hi.c(1.0))).recip();
        let top = rest.mul(recip).round();
        let (mut value, mut slope) = (large + small, None);
        if let Some(penalty) = self.penalty {
            let added = penalty.value_and_slope(log);
            (value, slope) = (value + added.0, Some(added.1));
        }
        Finished { loss: self.weight * value, slope, log, recip, top }
    }
}

/// See [`Sample::widely`]: the losses come first.
#[cold]
#[inline(never)]
fn wide_losses<T: Real>(
    lanes: &mut [[T; MAX_GROUP]; 11],
    count: usize,
    gaps: &[f64],
    gap_factor: f64,
) -> [f64; MAX_GROUP] {
    let mut wide = [0.0; MAX_GROUP];
    for (lane, wide) in wide[..count].iter_mut().enumerate() {
        let [loss, max, rest, rest_lo, target, hot, mass, weight, z, z_lo, largest] =
            lanes.each_ref().map(|numbers| numbers[lane].to_f64());
        *wide = loss;
        if loss.is_finite() {
            continue;
        }
        let log = if max == f64::NEG_INFINITY { f64::NAN } else { libm::log1p(rest + rest_lo) };
        let lead = if max == target || hot == 0.0 { 0.0 } else { hot * (max - target) };
        let (z, lse) = (z + z_lo, largest + log);
        let penalty = if z == 0.0 { 0.0 } else { z * lse * lse };
        let gap = gaps.get(lane).copied().unwrap_or(0.0) * gap_factor;
        *wide = weight * (lead + gap + mass * log + penalty);
        lanes[0][lane] = T::from_f64(*wide);
    }
    wide
}

/// What turns a sample's e^(x_j - m) into gradients and Hessians.
#[derive(Clone, Copy)]
pub struct Factors<S: Lanes, T: Real> {
    /// To the probability.
    recip: Pack<S, T>,
    /// 1 - p where e^(x_j - m) is 1, and the same times the weight.
    complement: Pack<S, T>,
    top: Pack<S, T>,
    /// To the probability times the weight, and times the mass too.
    plain: Pack<S, T>,
    pub massive: Pack<S, T>,
    mass: Pack<S, T>,
    /// The target's own share with smoothing, or 0.
    hot: Pack<S, T>,
    /// Sample weight times scale.
    weight: Pack<S, T>,
}

called_on_one_lane! {
    fn new_factors(recip: Pair<S, T>, top: Pack<S, T>, mass: Pair<S, T>, weight: Pack<S, T>, scale: [T; 2],
        slope: Option<Pair<S, T>>) -> Factors<S, T> = new_factors_inlined
}

#[inline(always)]
fn new_factors_inlined<S: Lanes, T: Real>(
    recip: Pair<S, T>,
    top: Pack<S, T>,
    mass: Pair<S, T>,
    weight: Pack<S, T>,
    scale: [T; 2],
    slope: Option<Pair<S, T>>,
) -> Factors<S, T> {
    Factors::new_inlined(recip, top, mass, weight, scale, slope)
}

impl<S: Lanes, T: Real> Factors<S, T> {
    #[inline(always)]
    pub fn new(
        recip: Pair<S, T>,
        top: Pack<S, T>,
        mass: Pair<S, T>,
        weight: Pack<S, T>,
        scale: [T; 2],
        slope: Option<Pair<S, T>>,
    ) -> Self {
        new_factors(recip, top, mass, weight, scale, slope)
    }

    #[inline(always)]
    fn new_inlined(
        recip: Pair<S, T>,
        top: Pack<S, T>,
        mass: Pair<S, T>,
        weight: Pack<S, T>,
        scale: [T; 2],
        slope: Option<Pair<S, T>>,
    ) -> Self {
        let s = weight.s;
        let weight = Pair::splat(s, scale).scale(weight);
        let plain = recip.mul(weight);
        let massive = match slope {
            Some(slope) => plain.mul(mass.add(slope)).round(),
            None => plain.mul(mass).round(),
        };
        Factors {
            recip: recip.round(),
            complement: top,
            top: weight.scale(top).round(),
            plain: plain.round(),
            massive,
            mass: mass.hi,
            hot: weight.hi.c(0.0),
            weight: weight.round(),
        }
    }

    /// With the share that an index target has besides what every class has.
    #[inline(always)]
    pub fn with_hot(self, hot: Pack<S, T>) -> Self {
        Factors { hot, ..self }
    }

    /// That share.
    #[inline(always)]
    pub fn hot(&self) -> Pack<S, T> {
        self.hot
    }

    #[inline(always)]
    pub fn s(&self) -> S {
        self.plain.s
    }

    /// Of nothing.
    #[inline(always)]
    pub fn zero(s: S) -> Self {
        let zero = splat(s, T::from_f64(0.0));
        Factors {
            recip: zero,
            complement: zero,
            top: zero,
            plain: zero,
            massive: zero,
            mass: zero,
            hot: zero,
            weight: zero,
        }
    }

    /// The probability times the sample's weight, and its complement times it.
    #[inline(always)]
    fn weighted(&self, e: Pack<S, T>) -> (Pack<S, T>, Pack<S, T>) {
        let complement = (-e).fma(self.plain, self.weight);
        (e * self.plain, e.same(e.c(1.0)).select(self.top, complement))
    }

    /// The gradient where the target distribution has the share q. Where that is most of the distribution, both
    /// terms of Q p - q lose what they have in common first. `slope` is that of a z-loss, or 0. `smoothed` says how q was
    /// made, if it is that of an index target and not its own class.
    #[inline(always)]
    pub fn grad(
        &self,
        e: Pack<S, T>,
        q: Pack<S, T>,
        slope: Pack<S, T>,
        smoothed: Option<(&Smoothing<T>, Pack<S, T>)>,
    ) -> Pack<S, T> {
        let rest = (self.mass - q) + slope;
        let (grad, is_most) = (e.fma(self.massive, -(q * self.weight)), rest.lt(q));
        if !is_most.any() {
            return grad;
        }
        let rest = match smoothed {
            Some((smoothing, class_weight)) => (self.hot + smoothing.of_others(class_weight).round()) + slope,
            None => rest,
        };
        let (p, complement) = self.weighted(e);
        is_most.select((-q).fma(complement, p * rest), grad)
    }

    /// The gradient where the target distribution has the share q, and these are factors with the sum of all others' shares
    /// as mass.
    #[inline(always)]
    pub fn grad_beside_others(&self, e: Pack<S, T>, q: Pack<S, T>) -> Pack<S, T> {
        (-q).fma(self.weighted(e).1, e * self.massive)
    }

    /// The gradient at the target that has all of it, without a z-loss.
    #[inline(always)]
    pub fn target_grad(&self, e: Pack<S, T>) -> Pack<S, T> {
        // (not the negative, which could be -0)
        e.c(0.0) - self.weighted(e).1
    }

    /// The gradient where it has none.
    #[inline(always)]
    pub fn plain_grad(&self, e: Pack<S, T>) -> Pack<S, T> {
        e * self.massive
    }

    /// The Hessian, and no less than `least` times the weights.
    #[inline(always)]
    pub fn hess(&self, e: Pack<S, T>, z_loss: Option<[T; 2]>, least: Option<T>) -> Pack<S, T> {
        let hess = self.any_hess(e, z_loss);
        match least {
            Some(least) => {
                let (weight, zero) = (self.mass * self.weight, e.c(0.0));
                let least = splat(e.s, least) * weight;
                // negative weights turn more into less
                weight.lt(zero).select(hess.at_most(least), hess.at_least(least))
            }
            None => hess,
        }
    }

    #[inline(always)]
    fn any_hess(&self, e: Pack<S, T>, z_loss: Option<[T; 2]>) -> Pack<S, T> {
        let one = e.c(1.0);
        // (p itself would be rounded)
        let complement = e.same(one).select(self.complement, (-e).fma(self.recip, one));
        match z_loss {
            Some([z, _]) => e * self.massive.fma(complement, self.plain * splat(e.s, z + z) * (e * self.recip)),
            None => (e * self.massive) * complement,
        }
    }
}

/// Factors of many samples, a sample a lane.
pub struct FactorLanes<T>([Buffer<T>; 8]);

impl<T: Real> FactorLanes<T> {
    #[inline(always)]
    pub fn zero() -> Self {
        FactorLanes([Buffer::new(T::ZERO); 8])
    }
    #[inline(always)]
    pub fn store<S: Lanes>(&mut self, i: usize, factors: Factors<S, T>) {
        let Factors { recip, complement, top, plain, massive, mass, hot, weight } = factors;
        let numbers = [recip, complement, top, plain, massive, mass, hot, weight];
        for (k, &x) in numbers.iter().enumerate() {
            self.0[k].group_mut().store(i, x);
        }
    }
    /// One sample's in all lanes.
    #[inline(always)]
    pub fn splat<S: Lanes>(&self, s: S, sample: usize) -> Factors<S, T> {
        let [recip, complement, top, plain, massive, mass, hot, weight] = &self.0;
        Factors {
            recip: splat(s, recip.0[sample]),
            complement: splat(s, complement.0[sample]),
            top: splat(s, top.0[sample]),
            plain: splat(s, plain.0[sample]),
            massive: splat(s, massive.0[sample]),
            mass: splat(s, mass.0[sample]),
            hot: splat(s, hot.0[sample]),
            weight: splat(s, weight.0[sample]),
        }
    }
}

/// Adds a class's part of the gap: q (max - x). Where `f32` has no number for the product or the difference, `f64` has.
#[inline(always)]
pub fn add_distance<S: Lanes, T: Real>(sum: &mut LaneSum<S>, q: Pack<S, T>, max: Pack<S, T>, x: Pack<S, T>) {
    let mut part = q * (max - x);
    let is_usual = part.abs().lt(max.c(f64::INFINITY));
    if !is_usual.all() {
        if size_of::<T>() < size_of::<f64>() {
            part = is_usual.keep(part);
            add_far_distance(sum, is_usual, q, max, x);
        } else {
            part = distance(q, max, x);
        }
    }
    sum.add(part);
}

/// The same of two classes of `f32`.
#[inline(always)]
pub fn add_two_distances<S: Lanes, T: Real>(
    sum: &mut LaneSum<S>,
    q: [Pack<S, T>; 2],
    max: Pack<S, T>,
    x: [Pack<S, T>; 2],
) {
    let mut both = q[0].fma(max - x[0], q[1] * (max - x[1]));
    let is_usual = both.abs().lt(max.c(f64::INFINITY));
    if !is_usual.all() {
        both = is_usual.keep(both);
        for k in 0..2 {
            add_far_distance(sum, is_usual, q[k], max, x[k]);
        }
    }
    sum.add(both);
}

/// A class's part of the gap in lanes that are not usual.
#[inline(always)]
fn add_far_distance<S: Lanes, T: Real>(
    sum: &mut LaneSum<S>,
    is_usual: Mask<S, T>,
    q: Pack<S, T>,
    max: Pack<S, T>,
    x: Pack<S, T>,
) {
    let is_nothing = is_usual | x.same(max) | q.same(q.c(0.0));
    sum.add_wide_product(is_nothing.drop(q), [is_nothing.drop(max), is_nothing.drop(x)]);
}

called_on_one_lane! {
    /// A class's part of the gap in `f64`. Where the difference is larger than any number, it is taken apart.
    fn distance(q: Pack<S, T>, max: Pack<S, T>, x: Pack<S, T>) -> Pack<S, T> = distance_inlined
}

#[inline(always)]
fn distance_inlined<S: Lanes, T: Real>(q: Pack<S, T>, max: Pack<S, T>, x: Pack<S, T>) -> Pack<S, T> {
    let (zero, d) = (q.c(0.0), max - x);
    let apart = q.fma(max, -(q * x));
    (x.same(max) | q.same(zero)).select(zero, d.same(q.c(f64::INFINITY)).select(apart, q * d))
}

/// What a sample's exponentials are relative to.
#[derive(Clone, Copy)]
pub struct Origin<S: Lanes, T: Real> {
    /// The largest logit; 0 if all are -inf.
    pub max: Pack<S, T>,
    exp: RelativeExp<S, T>,
}

impl<S: Lanes, T: Real> Origin<S, T> {
    #[inline(always)]
    pub fn new(max: Pack<S, T>) -> Self {
        let max = max.same(max.c(f64::NEG_INFINITY)).select(max.c(0.0), max);
        Origin { max, exp: RelativeExp::new(max) }
    }

    /// Whether all maxima are of the usual size.
    #[inline(always)]
    pub fn is_near(&self) -> bool {
        self.exp.is_near()
    }

    /// e^(x - max) 2^SHIFT, unless both are +inf. With `NEAR`, which is faster, only if [`is_near`](Self::is_near).
    #[inline(always)]
    pub fn shifted<const NEAR: bool>(&self, x: Pack<S, T>) -> Pack<S, T> {
        if NEAR { self.exp.shifted_near(x) } else { self.exp.shifted(x) }
    }

    /// x - max, rounded; a finite number where e^(x - max) is 0. NaN where both are +inf.
    #[inline(always)]
    pub fn difference(&self, x: Pack<S, T>) -> Pack<S, T> {
        self.exp.difference(x)
    }

    /// e^(x - max), where x = max exactly 1; also where both are +inf.
    #[inline(always)]
    pub fn exponential(&self, x: Pack<S, T>) -> Pack<S, T> {
        self.exponential_of::<false>(x)
    }

    /// The same; `NEAR` as for [`shifted`](Self::shifted).
    #[inline(always)]
    pub fn exponential_of<const NEAR: bool>(&self, x: Pack<S, T>) -> Pack<S, T> {
        x.same(self.max).select(x.c(1.0), self.shifted::<NEAR>(x) * unshift(x.s))
    }
}

/// All outputs of a call, with whichever kernel its layout asks for.
pub fn run<T: Real>(here: Environment, context: &Context, call: &Softmax<'_, T>) -> Partial {
    let Layout { classes, samples, .. } = call.layout;
    if softmax_wide::is_wanted(call) {
        return parallel::reduce(here, context, &softmax_wide::Wide(call));
    }
    // a tile of a few rows takes as long as a full one
    let is_wide = classes > TILE_CLASSES || samples <= 2 + classes / 16;
    if is_wide && call.layout.is_rows() {
        parallel::reduce(here, context, &ClassRows(call))
    } else {
        parallel::reduce(here, context, &ClassColumns(call))
    }
}
