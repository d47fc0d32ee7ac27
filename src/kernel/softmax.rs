//! The softmax family: what a call is, and the mathematics that all its layouts share.
//!
//! ```text
//! m    = max x                     rest = sum of e^(x_j - m) over all j but one that attains m
//! loss = w (sum of q_j (m - x_j)  +  Q log1p(rest)),    Q = sum of q_j
//! p_j  = e^(x_j - m) / (1 + rest)
//! 1 - p_j = rest / (1 + rest)      where x_j = m        (no digits are lost in confident samples)
//! gradient = w (p_j (Q - q_j) - q_j (1 - p_j))          Hessian = w Q p_j (1 - p_j)
//! ```
//! with q the target distribution: for an index t, `hot` at t and `base` (times its class weight)
//! everywhere; hot = 1, base = 0 without smoothing, and then Q = 1, the weight w carrying the class's.
//!
//! What is summed (rest, the target's part) is kept as value and error, `m - x_j` likewise: rounding
//! either alone would cost more than the promised last places.

use super::class_columns::ClassColumns;
use super::class_rows::ClassRows;
use crate::context::Context;
use crate::parallel::{self, Partial};
use crate::shape::{IndexView, Layout};
use crate::simd::view::{In, Out, TILE_CLASSES};
use crate::simd::{Lanes, Pack, Pair, Real, exp_non_positive, log1p_with_error, splat, two_diff};

/// What a sample's classes are held against.
pub enum Goal<'a, T> {
    /// Class indices. `hot` is the target's own share, `base` every class's, `mass` the sum of all
    /// classes' base; class weights multiply base, and the sample's weight or `hot`.
    Indices {
        targets: IndexView<'a>,
        ignore_index: i64,
        class_weight: Option<In<'a, T>>,
        smoothing: Option<Smoothing<T>>,
    },
    /// Class probabilities with the logits' layout: q = class weight * (keep * probability + base).
    Probabilities { targets: In<'a, T>, class_weight: Option<In<'a, T>>, keep: T, base: T },
    /// The distribution itself, written to `grad`.
    Softmax,
    /// Its logarithm, written to `grad`.
    LogSoftmax,
}

/// Label smoothing of index targets.
#[derive(Clone, Copy)]
pub struct Smoothing<T> {
    /// 1 - label_smoothing
    pub hot: T,
    /// label_smoothing / classes
    pub base: T,
    /// The sum over all classes of base times class weight.
    pub mass: T,
}

/// A call.
pub struct Softmax<'a, T> {
    pub layout: Layout,
    pub logits: In<'a, T>,
    pub goal: Goal<'a, T>,
    pub row_weight: Option<In<'a, T>>,
    /// One value per sample.
    pub loss: Option<Out<'a, T>>,
    pub grad: Option<Out<'a, T>>,
    pub hess: Option<Out<'a, T>>,
    pub accumulate: bool,
    /// Factor of gradient and Hessian: value and error.
    pub scale: [T; 2],
    pub needs_total: bool,
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
    /// The sum of the distribution, if it is known without reading probabilities.
    pub mass: T,
}

impl<T: Real> Softmax<'_, T> {
    /// Whether every class has a share of the target distribution of its own.
    #[inline(always)]
    pub fn is_soft(&self) -> bool {
        matches!(self.goal, Goal::Probabilities { .. } | Goal::Indices { smoothing: Some(_), .. })
    }

    /// Whether outputs are made from the exponentials.
    #[inline(always)]
    pub fn keeps_exponentials(&self) -> bool {
        (self.grad.is_some() || self.hess.is_some()) && !matches!(self.goal, Goal::LogSoftmax)
    }

    /// Where exponentials may wait until the sample's sum is known: an output that will be overwritten.
    #[inline(always)]
    pub fn stash(&self) -> Option<Out<'_, T>> {
        if self.keeps_exponentials() && !self.accumulate { self.grad.or(self.hess) } else { None }
    }

    #[inline(always)]
    pub fn target(&self, sample: usize) -> Target<T> {
        let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
        let row_weight = self.row_weight.map_or(one, |view| view.get(sample));
        match &self.goal {
            Goal::Indices { targets, ignore_index, class_weight, smoothing } => {
                let target = targets.get(sample);
                if target == *ignore_index {
                    return Target { class: 0, ignored: true, weight: zero, hot: zero, mass: zero };
                }
                let class = target as usize;
                assert!(class < self.layout.classes, "target out of range");
                let class_weight = class_weight.map_or(one, |view| view.get(class));
                match smoothing {
                    None => Target { class, ignored: false, weight: class_weight * row_weight, hot: one, mass: one },
                    Some(smoothing) => {
                        let hot = smoothing.hot * class_weight;
                        Target { class, ignored: false, weight: row_weight, hot, mass: hot + smoothing.mass }
                    }
                }
            }
            _ => Target { class: 0, ignored: false, weight: row_weight, hot: zero, mass: one },
        }
    }

    /// The distribution's share in a class that all samples have in common.
    #[inline(always)]
    pub fn base(&self, class: usize) -> T {
        match &self.goal {
            Goal::Indices { class_weight, smoothing: Some(smoothing), .. } => match class_weight {
                Some(weight) => smoothing.base * weight.get(class),
                None => smoothing.base,
            },
            _ => T::from_f64(0.0),
        }
    }
}

/// A sample in each lane, its classes summed up.
pub struct Sample<S: Lanes, T: Real> {
    pub max: Pack<S, T>,
    pub rest: Pair<S, T>,
    /// The target's logit.
    pub target: Pack<S, T>,
    pub hot: Pack<S, T>,
    /// The sum of `base q_j (m - x_j)`.
    pub gap: Pair<S, T>,
    pub mass: Pack<S, T>,
    pub weight: Pack<S, T>,
}

/// What the outputs of a sample are made from.
pub struct Finished<S: Lanes, T: Real> {
    pub loss: Pack<S, T>,
    /// log1p(rest)
    pub log: Pack<S, T>,
    /// 1 / (1 + rest)
    pub recip: Pair<S, T>,
    /// 1 - p where p is the largest: rest / (1 + rest)
    pub top: Pack<S, T>,
}

impl<S: Lanes, T: Real> Sample<S, T> {
    #[inline(always)]
    pub fn finish(self) -> Finished<S, T> {
        let (zero, infinity) = (self.max.c(0.0), self.max.c(f64::INFINITY));
        // no class left, or no number
        let rest = self.rest.hi;
        let rest = Pair { hi: self.max.same(-infinity).select(rest.c(f64::NAN), rest), lo: self.rest.lo };
        let log = log1p_with_error(rest.hi, rest.lo);
        let lead = two_diff(self.max, self.target);
        let none = self.max.same(self.target) | self.hot.same(zero);
        let lead =
            Pair { hi: none.select(zero, lead.hi), lo: none.select(zero, lead.hi.lt(infinity).select(lead.lo, zero)) };
        let large = self.hot.fma(lead.hi, self.gap.hi);
        let small = self.mass.fma(log, self.hot.fma(lead.lo, self.gap.lo));
        let recip = rest.add(Pair::new(rest.hi.c(1.0))).recip();
        let top = rest.mul(recip).round();
        Finished { loss: self.weight * (large + small), log, recip, top }
    }
}

/// What turns a sample's e^(x_j - m) into gradients and Hessians.
#[derive(Clone, Copy)]
pub struct Factors<S: Lanes, T: Real> {
    /// To the probability.
    pub recip: Pack<S, T>,
    /// 1 - p where e^(x_j - m) is 1.
    pub top: Pack<S, T>,
    /// To the gradient in classes that have no share of the target distribution.
    pub plain: Pack<S, T>,
    pub mass: Pack<S, T>,
    /// Sample weight times scale.
    pub weight: Pack<S, T>,
}

impl<S: Lanes, T: Real> Factors<S, T> {
    #[inline(always)]
    pub fn new(recip: Pair<S, T>, top: Pack<S, T>, mass: Pack<S, T>, weight: Pack<S, T>, scale: [T; 2]) -> Self {
        let s = mass.s;
        let scale = Pair { hi: splat(s, scale[0]), lo: splat(s, scale[1]) };
        let weight = scale.scale(weight);
        Factors { recip: recip.round(), top, plain: recip.mul(weight).round(), mass, weight: weight.round() }
    }

    /// Probability and its complement.
    #[inline(always)]
    fn probability(&self, e: Pack<S, T>) -> (Pack<S, T>, Pack<S, T>) {
        let p = e * self.recip;
        let one = e.c(1.0);
        (p, e.same(one).select(self.top, one - p))
    }

    /// The gradient where the target distribution has the share q.
    #[inline(always)]
    pub fn grad(&self, e: Pack<S, T>, q: Pack<S, T>) -> Pack<S, T> {
        let (p, complement) = self.probability(e);
        (p * (self.mass - q) - q * complement) * self.weight
    }

    /// The gradient where it has none.
    #[inline(always)]
    pub fn plain_grad(&self, e: Pack<S, T>) -> Pack<S, T> {
        e * self.plain
    }

    #[inline(always)]
    pub fn hess(&self, e: Pack<S, T>) -> Pack<S, T> {
        let (p, complement) = self.probability(e);
        (p * complement) * (self.mass * self.weight)
    }
}

/// e^(x - max), where x = max exactly 1; also where both are +inf.
#[inline(always)]
pub fn exponential<S: Lanes, T: Real>(x: Pack<S, T>, max: Pack<S, T>) -> Pack<S, T> {
    let d = two_diff(x, max);
    x.same(max).select(x.c(1.0), exp_non_positive(d.hi, d.lo))
}

/// All outputs of a call, with whichever kernel its layout asks for.
pub fn run<T: Real>(context: &Context, call: &Softmax<'_, T>) -> Partial {
    if call.layout.classes > TILE_CLASSES && call.layout.is_rows() {
        parallel::reduce(context, &ClassRows(call))
    } else {
        parallel::reduce(context, &ClassColumns(call))
    }
}
