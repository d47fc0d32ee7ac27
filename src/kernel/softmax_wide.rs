//! Cross-entropy of `f32` logits in `f64`, one sample at a time. It is used if products of weights and factors, with
//! each other or with intermediate results, exceed the range of `f32`.
//!
//! ```text
//! for each sample:
//!     m = max x;  rest = sum of e^(x_j - m) but for one maximum;  gap = sum of q_j (m - x_j);  Q = sum of q_j
//!     loss = w (gap + Q log1p(rest) + z lse^2)
//!     derivatives, class by class, each rounded once
//! ```
//! The formulas are those of `softmax.rs`. Such calls are rare, so this code is small rather than fast.

use core::cmp::Ordering;

use super::softmax::{Goal, Softmax};
use super::wide::are_far;
use crate::parallel::{Blocks, Partial};
use crate::simd::view::In;
use crate::simd::{Isa, Real, Total};

/// Roughly the number of elements in a block.
const BLOCK: usize = 8192;

/// Blocks of consecutive samples.
pub struct Wide<'a, T>(pub &'a Softmax<'a, T>);

/// Whether a call needs this code.
pub fn is_wanted<T: Real>(call: &Softmax<'_, T>) -> bool {
    let is_narrow = size_of::<T>() < size_of::<f64>();
    if !is_narrow || !matches!(call.goal, Goal::Indices { .. } | Goal::Probabilities { .. }) {
        return false;
    }
    call.factor.is_far_from_1() || [call.class_weight, call.row_weight].into_iter().flatten().any(are_far)
}

impl<T: Real> Wide<'_, T> {
    fn samples_per_block(&self) -> usize {
        (BLOCK / self.0.layout.classes.max(1)).max(1)
    }
}

impl<T: Real> Blocks for Wide<'_, T> {
    fn count(&self) -> usize {
        self.0.layout.samples.div_ceil(self.samples_per_block())
    }
    fn cycles(&self) -> usize {
        100 * self.samples_per_block().min(self.0.layout.samples) * self.0.layout.classes
    }
    fn block(&self, _: Isa, index: usize) -> Partial {
        let first = index * self.samples_per_block();
        let count = self.samples_per_block().min(self.0.layout.samples - first);
        let total = (first..first + count).fold(Total::ZERO, |sum, sample| {
            let loss = Sample { call: self.0, sample, at: self.0.layout.offset(sample) }.evaluate();
            sum.merge(Total::new(loss))
        });
        Partial { total, out_of_domain: false }
    }
}

struct Sample<'a, 'b, T> {
    call: &'a Softmax<'b, T>,
    sample: usize,
    /// The position of its class 0.
    at: usize,
}

impl<T: Real> Sample<'_, '_, T> {
    fn weight(weights: Option<In<'_, T>>, at: usize) -> f64 {
        weights.map_or(1.0, |weights| weights.get(at).to_f64())
    }

    /// The logit of a class after the soft cap, and the derivative of the cap.
    fn logit(&self, class: usize) -> [f64; 2] {
        let x = self.call.logits.get(self.at + class * self.call.layout.class_stride).to_f64();
        match self.call.soft_cap {
            Some(cap) if x != f64::NEG_INFINITY => {
                let cap = cap.to_f64();
                let e = libm::exp(-2.0 * (x / cap).abs());
                [cap * libm::tanh(x / cap), 4.0 * e / ((1.0 + e) * (1.0 + e))]
            }
            Some(_) => [x, 0.0],
            None => [x, 1.0],
        }
    }

    /// The share of a class in the target distribution. `target` is the target class, if there is one.
    fn share(&self, class: usize, target: Option<usize>) -> f64 {
        let class_weight = Self::weight(self.call.class_weight, class);
        match &self.call.goal {
            Goal::Probabilities { targets, keep, base } => {
                let probability = targets.get(self.at + class * self.call.layout.class_stride).to_f64();
                (probability * keep.to_f64() + base.to_f64()) * class_weight
            }
            Goal::Indices { smoothing: Some(smoothing), .. } => {
                let hot = if target == Some(class) { smoothing.hot.value() } else { 0.0 };
                (hot + (smoothing.base[0].to_f64() + smoothing.base[1].to_f64())) * class_weight
            }
            _ => f64::from(u8::from(target == Some(class))),
        }
    }

    /// Counts the sample if its prediction is correct, if counting is requested.
    fn predicts(&self, target: Option<usize>) {
        let Some(correct) = self.call.correct else { return };
        let x = |class: usize| self.call.logits.get(self.at + class * self.call.layout.class_stride);
        let is_below = |class: usize, target: usize| match class.cmp(&target) {
            Ordering::Less => x(class) < x(target),
            _ => x(class) <= x(target),
        };
        let is_right = target.is_some_and(|target| (0..self.call.layout.classes).all(|class| is_below(class, target)));
        correct.set(self.sample, is_right);
        correct.add(usize::from(is_right));
    }

    /// Returns the loss and writes the derivatives.
    fn evaluate(&self) -> f64 {
        let Sample { call, sample, at } = *self;
        let (classes, stride) = (call.layout.classes, call.layout.class_stride);
        let outputs = [call.grad, call.hess];
        let put = |which: usize, class: usize, x: f64| {
            let Some(out) = outputs[which] else { return };
            let (place, x) = (at + class * stride, call.factor.finish::<T>(x));
            out.set(place, if call.accumulate { out.as_in().get(place) + x } else { x });
        };
        let mut weight = Self::weight(call.row_weight, sample);
        let mut target = None;
        if let Goal::Indices { targets, ignore_index, smoothing } = &call.goal {
            let index = targets.get(sample);
            if index == *ignore_index {
                if !call.accumulate {
                    (0..classes).for_each(|class| [0, 1].into_iter().for_each(|which| put(which, class, 0.0)));
                }
                if let Some(out) = call.loss {
                    out.set(sample, T::ZERO);
                }
                self.predicts(None);
                return 0.0;
            }
            assert!((index as usize) < classes, "target out of range");
            target = Some(index as usize);
            self.predicts(target);
            if smoothing.is_none() {
                weight *= Self::weight(call.class_weight, index as usize);
            }
        }

        let (mut first, mut max) = (0, f64::NEG_INFINITY);
        for class in 0..classes {
            let [x, _] = self.logit(class);
            if max < x {
                (first, max) = (class, x);
            }
        }
        let (mut rest, mut gap, mut mass) = (0.0, Total::ZERO, Total::ZERO);
        for class in 0..classes {
            let ([x, _], q) = (self.logit(class), self.share(class, target));
            if class != first {
                rest += libm::exp(x - max);
            }
            if q != 0.0 && x != max {
                gap = gap.merge(Total::new(q * (max - x)));
            }
            mass = mass.merge(Total::new(q));
        }
        if max == f64::NEG_INFINITY {
            // all classes are masked, or a logit is NaN
            rest = f64::NAN;
        }
        let (gap, mass, log) = (gap.value(), mass.value(), libm::log1p(rest));
        let z = call.z_loss.map_or(0.0, |[hi, lo]| hi.to_f64() + lo.to_f64());
        let lse = max + log;
        let penalty = if z == 0.0 { 0.0 } else { z * lse * lse };
        let loss = weight * (gap + mass * log + penalty);
        if let Some(out) = call.loss {
            out.set(sample, T::from_f64(loss));
        }

        let slope = if z == 0.0 { 0.0 } else { 2.0 * z * lse };
        let factor = weight * call.factor.value;
        for class in 0..classes {
            let ([x, of_cap], q) = (self.logit(class), self.share(class, target));
            let e = if class == first { 1.0 } else { libm::exp(x - max) };
            let p = e / (1.0 + rest);
            let others = if class == first { rest } else { 1.0 + (rest - e) };
            let not_p = others / (1.0 + rest);
            let hess = p * ((mass + slope) * not_p + 2.0 * z * p);
            let hess = match call.min_hess {
                Some(least) if hess < least.to_f64() * mass => least.to_f64() * mass,
                _ => hess,
            };
            put(1, class, factor * hess);
            put(0, class, factor * ((p * ((mass - q) + slope) - q * not_p) * of_cap));
        }
        loss
    }
}
