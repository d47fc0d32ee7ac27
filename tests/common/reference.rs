//! What a call must give, from closed forms, for finite inputs: each sample's own loss, gradient and Hessian.

use super::Float;
use super::call::{Call, Formula, Goal, Loss, Shape, TdData};
use super::exact::Exact;

/// An exact value, and what its last place is counted at: the value, or the larger of the opposed terms it is the
/// difference of. Where it is a matter of rounding which of two values is right, the scale is infinite.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    pub value: Exact,
    pub scale: f64,
}

impl Term {
    pub const ZERO: Term = Term { value: Exact::ZERO, scale: 0.0 };
    fn of(value: Exact) -> Self {
        Term { value, scale: value.hi }
    }
    /// a - b
    fn difference(a: Exact, b: Exact) -> Self {
        Term { value: a - b, scale: a.abs().max(b.abs()).max((a - b).abs()).hi }
    }
    pub fn times(self, factor: Exact) -> Self {
        Term { value: self.value * factor, scale: self.scale * factor.hi.abs() }
    }
}

/// One loss a sample; gradient and Hessian where the input lies, 0 in its gaps.
pub struct Reference {
    pub loss: Vec<Term>,
    pub grad: Vec<Term>,
    pub hess: Vec<Term>,
    /// What a mean divides by.
    pub divisor: Exact,
}

fn exact<T: Float>(x: T) -> Exact {
    Exact::of(x.wide())
}

fn weight<T: Float>(weights: &Option<Vec<T>>, at: usize) -> Exact {
    weights.as_ref().map_or(Exact::ONE, |weights| exact(weights[at]))
}

pub fn reference<T: Float>(call: &Call<T>) -> Reference {
    let reference = match &call.loss {
        Loss::Pointwise { formula, target, weight: weights } => {
            let mut all = Reference { loss: vec![], grad: vec![], hess: vec![], divisor: Exact::ZERO };
            for (i, (&x, &y)) in call.input.iter().zip(target).enumerate() {
                let terms = pointwise(formula, exact(x), exact(y), i);
                let [loss, grad, hess] = terms.map(|term| term.times(weight(weights, i)));
                all.loss.push(loss);
                all.grad.push(grad);
                all.hess.push(hess);
            }
            all
        }
        Loss::CrossEntropy { .. } => cross_entropy(call),
        Loss::Nll { ignore, shape, targets, class, row } => {
            let mut all = zeros(*shape);
            for (sample, &target) in targets.iter().enumerate().filter(|(_, target)| *target != ignore) {
                let at = shape.at(sample, target as usize);
                let w = weight(class, target as usize) * weight(row, sample);
                all.loss[sample] = Term::of(-(w * exact(call.input[at])));
                all.grad[at] = Term::of(-w);
            }
            all
        }
        Loss::Td(data) => td(call, data),
    };
    Reference { divisor: divisor(call), ..reference }
}

/// What a mean divides by, alone.
pub fn divisor<T: Float>(call: &Call<T>) -> Exact {
    let samples = Exact::of(call.samples() as f64);
    match &call.loss {
        Loss::Pointwise { .. } | Loss::Td(_) => samples,
        Loss::CrossEntropy { goal: Goal::Probabilities(_), row, .. } => {
            (0..call.samples()).map(|sample| weight(row, sample)).sum()
        }
        Loss::CrossEntropy { ignore, class, row, .. } | Loss::Nll { ignore, class, row, .. } => {
            let target = |sample| match &call.loss {
                Loss::CrossEntropy { goal, .. } => goal.index(sample),
                Loss::Nll { targets, .. } => Some(targets[sample]),
                _ => None,
            };
            let counted = (0..call.samples()).filter_map(|sample| Some((sample, target(sample)?)));
            let counted = counted.filter(|(_, target)| target != ignore);
            counted.map(|(sample, target)| weight(class, target as usize) * weight(row, sample)).sum()
        }
    }
}

fn zeros(shape: Shape) -> Reference {
    let outputs = vec![Term::ZERO; shape.elements()];
    let loss = vec![Term::ZERO; shape.samples()];
    Reference { loss, grad: outputs.clone(), hess: outputs, divisor: Exact::ZERO }
}

fn huber(d: Exact, delta: Exact) -> [Exact; 3] {
    if d.abs() <= delta {
        return [(d * d).scaled(-1), d, Exact::ONE];
    }
    [delta * (d.abs() - delta.scaled(-1)), if d.hi < 0.0 { -delta } else { delta }, Exact::ZERO]
}

/// Loss, gradient and Hessian of element `i`, without its weight.
fn pointwise<T: Float>(formula: &Formula<T>, x: Exact, y: Exact, i: usize) -> [Term; 3] {
    let (d, one, two) = (x - y, Exact::ONE, Exact::of(2.0));
    // which side of a joint is right is free
    let near = |joint: f64| (d.hi.abs() - joint).abs() < 4.0 * T::EPSILON * joint;
    let free = |near: bool, value: Exact| if near { Term { value, scale: f64::INFINITY } } else { Term::of(value) };
    match formula {
        Formula::Mse => [d * d, two * d, two].map(Term::of),
        Formula::L1 => [d.abs(), Exact::of(if d.hi == 0.0 { 0.0 } else { d.hi.signum() }), Exact::ZERO].map(Term::of),
        Formula::Huber(delta) => {
            let [loss, grad, hess] = huber(d, Exact::of(*delta));
            [Term::of(loss), Term::of(grad), free(near(*delta), hess)]
        }
        Formula::SmoothL1(0.0) => pointwise(&Formula::<T>::L1, x, y, i),
        Formula::SmoothL1(beta) => {
            let beta_ = Exact::of(*beta);
            let [loss, grad, hess] = huber(d, beta_);
            [Term::of(loss / beta_), Term::of(grad / beta_), free(near(*beta), hess / beta_)]
        }
        Formula::Bce => {
            let least = Exact::of(-100.0);
            let (log_p, log_not_p) = if x.hi == 0.0 {
                (least, Exact::ZERO)
            } else if x == one {
                (Exact::ZERO, least)
            } else if x.hi < 0.5 {
                (x.ln().max(least), (-x).ln_1p().max(least))
            } else {
                ((x - one).ln_1p().max(least), (one - x).ln().max(least))
            };
            let variance = (x * (one - x)).max(Exact::of(1e-12));
            // (the square of a tiny x would be lost)
            let (of_x, of_not_x) = (x / variance, (one - x) / variance);
            let hess = y * of_not_x * of_not_x + (one - y) * of_x * of_x;
            let grad = Term::difference(x, y).times(one / variance);
            [Term::of(-(y * log_p + (one - y) * log_not_p)), grad, Term::of(hess)]
        }
        Formula::BceWithLogits(pos_weight) => {
            let w = if pos_weight.is_empty() { one } else { exact(pos_weight[i % pos_weight.len()]) };
            let e = (-x.abs()).exp();
            let (sigma, sigma_of_minus) =
                if x.hi < 0.0 { (e / (one + e), one / (one + e)) } else { (one / (one + e), e / (one + e)) };
            let log = e.ln_1p();
            let (log_of_minus, log) = if x.hi < 0.0 { (log - x, log) } else { (log, log + x) };
            let (positive, negative) = (w * y, one - y);
            [
                Term::of(positive * log_of_minus + negative * log),
                Term::difference(negative * sigma, positive * sigma_of_minus),
                Term::of((positive + negative) * sigma * sigma_of_minus),
            ]
        }
        Formula::Likelihood => {
            let loss = Term::of(-(y * x + (one - y) * (one - x)));
            [loss, Term::difference(one, two * y), Term::ZERO]
        }
    }
}

/// The first maximum of a sample's classes, the logits' distances below it, their exponentials, and the sum of these
/// but for the maximum's own.
pub struct Distribution {
    pub first: usize,
    pub below: Vec<Exact>,
    pub e: Vec<Exact>,
    pub rest: Exact,
}

impl Distribution {
    pub fn of<T: Float>(logits: &[T]) -> Self {
        let first = (0..logits.len()).fold(0, |best, i| if logits[best] < logits[i] { i } else { best });
        let distance = |&x: &T| match x.wide() {
            f64::NEG_INFINITY => Exact::of(f64::INFINITY),
            x => exact(logits[first]) - Exact::of(x),
        };
        let below: Vec<Exact> = logits.iter().map(distance).collect();
        let e: Vec<Exact> = below.iter().map(|&below| (-below).exp()).collect();
        let rest = e.iter().enumerate().filter(|&(class, _)| class != first).map(|(_, &e)| e).sum();
        Distribution { first, below, e, rest }
    }
    pub fn p(&self, class: usize) -> Exact {
        self.e[class] / (self.rest + Exact::ONE)
    }
    pub fn not_p(&self, class: usize) -> Exact {
        let others = if class == self.first { self.rest } else { self.rest + Exact::ONE - self.e[class] };
        others / (self.rest + Exact::ONE)
    }
}

fn cross_entropy<T: Float>(call: &Call<T>) -> Reference {
    let Loss::CrossEntropy { smoothing, z, ignore, shape, goal, class, row } = &call.loss else { unreachable!() };
    let classes = shape.classes;
    let keep = Exact::ONE - Exact::of(*smoothing);
    let base = Exact::of(*smoothing) / Exact::of(classes as f64);
    let mut all = zeros(*shape);
    for sample in 0..shape.samples() {
        let target = goal.index(sample);
        if target == Some(*ignore) {
            continue;
        }
        let logits: Vec<T> = (0..classes).map(|class| call.input[shape.at(sample, class)]).collect();
        let distribution = Distribution::of(&logits);
        let log = distribution.rest.ln_1p();
        let mut w = weight(row, sample);
        if let (Some(target), 0.0, 0.0) = (target, *smoothing, *z) {
            w = w * weight(class, target as usize);
            all.loss[sample] = Term::of(w * (distribution.below[target as usize] + log));
            for class in 0..classes {
                let (at, p, not_p) = (shape.at(sample, class), distribution.p(class), distribution.not_p(class));
                all.grad[at] = Term::of(if class == target as usize { -(w * not_p) } else { w * p });
                all.hess[at] = Term::of(w * p * not_p);
            }
            continue;
        }
        let q: Vec<Exact> = (0..classes)
            .map(|class_| {
                let share = match goal {
                    Goal::Probabilities(targets) => exact(targets[shape.at(sample, class_)]) * keep,
                    _ if target == Some(class_ as i64) => keep,
                    _ => Exact::ZERO,
                };
                (share + base) * weight(class, class_)
            })
            .collect();
        let mass: Exact = q.iter().copied().sum();
        let gap: Exact = (0..classes).filter(|&class| q[class].hi != 0.0).map(|i| q[i] * distribution.below[i]).sum();
        let z = Exact::of(*z);
        let lse = exact(logits[distribution.first]) + log;
        let slope = z * lse + z * lse;
        let plain = gap + mass * log;
        let value = plain + z * lse * lse;
        // an error of the sum's logarithm shows in the square as often as the slope says
        let scale = value.hi.max(log.hi * slope.hi.abs());
        all.loss[sample] = Term { value, scale }.times(w);
        let class_weights: Exact = (0..classes).map(|class_| weight(class, class_)).sum();
        for (index, &q) in q.iter().enumerate() {
            let (at, p, not_p) = (shape.at(sample, index), distribution.p(index), distribution.not_p(index));
            // as Q p - q, the opposed terms, but with their common part taken out
            let rest = match target {
                // the sum of the others' shares without the target's, which may be so large that they are lost beside it
                Some(target) => {
                    let hot =
                        if target as usize == index { Exact::ZERO } else { keep * weight(class, target as usize) };
                    hot + base * (class_weights - weight(class, index))
                }
                None => mass - q,
            };
            let (others, own) = (p * rest, q * not_p);
            let opposed = match target {
                // label smoothing: what is left of them without that part
                Some(_) => others + own,
                None => (mass * p).max(q),
            };
            let scale = opposed.max((slope * p).abs()).hi;
            let value = others + slope * p - own;
            all.grad[at] = Term { value, scale: scale.max(value.hi.abs()) }.times(w);
            let terms = [mass * p * not_p, slope * p * not_p, (z + z) * p * p];
            let scale = terms.iter().fold(0.0, |most: f64, term| most.max(term.hi.abs()));
            let value: Exact = terms.into_iter().sum();
            all.hess[at] = Term { value, scale: scale.max(value.hi) }.times(w);
        }
    }
    all
}

fn td<T: Float>(call: &Call<T>, data: &TdData<T>) -> Reference {
    let shape = data.shape;
    let mut all = zeros(shape);
    let first_maximum = |values: &[T], row: usize| {
        let at = |action| values[shape.at(row, action)];
        (0..shape.classes).fold(0, |best, action| if at(best) < at(action) { action } else { best })
    };
    for row in 0..shape.samples() {
        let at = shape.at(row, data.action[row] as usize);
        let (q, reward) = (exact(call.input[at]), exact(data.reward[row]));
        let done = data.done.as_ref().is_some_and(|done| done[row] != 0);
        let next = match done {
            true => Exact::ZERO,
            false => {
                let action = first_maximum(data.online.as_ref().unwrap_or(&data.next_q), row);
                Exact::of(data.gamma) * exact(data.next_q[shape.at(row, action)])
            }
        };
        let d = q - (reward + next);
        // the last place of d is that of the largest among itself and what it is made of
        let largest = q.abs().max(reward.abs()).max(next.abs()).max(d.abs()).hi;
        let near = data.delta.is_some_and(|delta| (d.hi.abs() - delta).abs() < 4.0 * T::EPSILON * largest);
        let [loss, grad, hess] = match data.delta {
            None => [d * d, Exact::of(2.0) * d, Exact::of(2.0)],
            Some(delta) => huber(d, Exact::of(delta)),
        };
        let w = weight(&data.weight, row);
        let slope = if data.delta.is_none() { 2.0 } else { 1.0 };
        // an error of d shows in the loss as often as the slope says
        let loss_scale = loss.hi.max(largest * grad.hi.abs());
        all.loss[row] = Term { value: loss, scale: loss_scale }.times(w);
        all.grad[at] = Term { value: grad, scale: slope * largest }.times(w);
        all.hess[at] = Term { value: hess, scale: if near { f64::INFINITY } else { hess.hi } }.times(w);
    }
    all
}
