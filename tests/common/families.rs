//! Calls of one width and one kind of input each, by which accuracy is told.

use std::f64::consts::{PI, TAU};

use losskit::{Context, Reduction};

use super::call::{Call, Formula, Goal, Loss, Shape};
use super::reference::{Term, reference};
use super::{Float, Random, ulps_off};

/// Numbers of classes.
pub const WIDTHS: [usize; 5] = [2, 10, 1000, 32_000, 128_256];

/// A kind of logits: how one is drawn, and by how much the target or another class then leads all others.
pub struct Family {
    pub name: &'static str,
    draw: fn(&mut Random) -> f64,
    lead: Option<(Leader, [f64; 2])>,
}

#[derive(Clone, Copy)]
enum Leader {
    Target,
    Other,
}

const fn family(name: &'static str, draw: fn(&mut Random) -> f64) -> Family {
    Family { name, draw, lead: None }
}

const fn leading(name: &'static str, leader: Leader, from: f64, to: f64) -> Family {
    Family { name, draw: |random| normal(random), lead: Some((leader, [from, to])) }
}

/// N(0, 1), by Box and Muller.
fn normal(random: &mut Random) -> f64 {
    (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (TAU * random.unit()).cos()
}

fn uniform(random: &mut Random, scale: f64) -> f64 {
    (2.0 * random.unit() - 1.0) * scale
}

/// Cauchy's distribution, without its last ends.
fn heavy(random: &mut Random) -> f64 {
    (PI * (random.unit() - 0.5)).tan().clamp(-1e6, 1e6)
}

/// Positive or negative, of all magnitudes alike.
fn of_all_sizes(random: &mut Random) -> f64 {
    let size = 100.0 * 1e-11f64.powf(random.unit());
    if random.below(2) == 0 { size } else { -size }
}

pub const CLASS_FAMILIES: [Family; 8] = [
    family("normal, N(0, 3)", |random| 3.0 * normal(random)),
    family("uniform, within 10", |random| uniform(random, 10.0)),
    family("heavy-tailed, Cauchy", heavy),
    family("far from 0, N(1000, 3)", |random| 1000.0 + 3.0 * normal(random)),
    leading("target leads by 0.1 to 1", Leader::Target, 0.1, 1.0),
    leading("target leads by 1 to 10", Leader::Target, 1.0, 10.0),
    leading("target leads by 10 to 100", Leader::Target, 10.0, 100.0),
    leading("another leads by 0.1 to 100", Leader::Other, 0.1, 100.0),
];

/// Logits of one label.
pub const BINARY_FAMILIES: [Family; 6] = [
    family("normal, N(0, 3)", |random| 3.0 * normal(random)),
    family("uniform, within 10", |random| uniform(random, 10.0)),
    family("heavy-tailed, Cauchy", heavy),
    family("saturated, up to 100", |random| uniform(random, 100.0)),
    family("saturated, up to 1000", |random| uniform(random, 1000.0)),
    family("of all sizes, 1e-9 to 100", of_all_sizes),
];

impl Family {
    /// cross_entropy of as many rows, with index targets.
    pub fn rows<T: Float>(&self, classes: usize, rows: usize, seed: u64) -> Call<T> {
        let random = &mut Random(seed.wrapping_mul(0x1_0001).wrapping_add(classes as u64));
        let shape = Shape::rows(rows, classes);
        let targets = random.indices(rows, classes);
        let mut logits: Vec<f64> = (0..shape.elements()).map(|_| (self.draw)(random)).collect();
        if let Some((leader, [from, to])) = self.lead {
            for (row, &target) in logits.chunks_mut(classes).zip(&targets) {
                let at = match leader {
                    Leader::Target => target as usize,
                    Leader::Other => (target as usize + 1 + random.below(classes - 1)) % classes,
                };
                let others = row.iter().enumerate().filter(|&(class, _)| class != at).map(|(_, &x)| x);
                // of all magnitudes alike
                let lead = from * (to / from).powf(random.unit());
                row[at] = others.fold(f64::NEG_INFINITY, f64::max) + lead;
            }
        }
        let goal = Goal::I64(targets);
        let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
        Call { name: format!("cross_entropy {} {}", T::NAME, self.name), input: super::all_of(&logits), loss }
    }

    /// Every pointwise loss of n elements, with targets of 0 or 1 where they are labels.
    pub fn pointwise<T: Float>(&self, n: usize, seed: u64) -> Vec<Call<T>> {
        let random = &mut Random(seed ^ 0x5eed);
        let logits: Vec<f64> = (0..n).map(|_| (self.draw)(random)).collect();
        let labels: Vec<f64> = (0..n).map(|_| random.below(2) as f64).collect();
        let others: Vec<f64> = (0..n).map(|_| (self.draw)(random)).collect();
        let probabilities: Vec<f64> = logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
        let calls = [
            ("bce_with_logits", Formula::BceWithLogits(vec![]), &logits, &labels),
            ("bce", Formula::Bce, &probabilities, &labels),
            ("mse", Formula::Mse, &logits, &others),
            ("huber", Formula::Huber(1.25), &logits, &others),
        ];
        let call = |(name, formula, input, target): (&str, _, &Vec<f64>, &Vec<f64>)| Call {
            name: name.into(),
            input: super::all_of(input),
            loss: Loss::Pointwise { formula, target: super::all_of(target), weight: None },
        };
        calls.into_iter().map(call).collect()
    }
}

/// The largest errors of a call's results, each sample's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worst {
    pub loss: f64,
    pub grad: f64,
    pub hess: f64,
}

impl Worst {
    pub const BOUND: Worst = Worst { loss: 3.0, grad: 4.0, hess: 4.0 };

    pub fn of<T: Float>(call: &Call<T>, context: &Context) -> Self {
        let (got, want) = (call.run(context, Reduction::None), reference(call));
        Worst {
            loss: largest(&got.loss, &want.loss),
            grad: largest(&got.grad, &want.grad),
            hess: largest(&got.hess, &want.hess),
        }
    }

    pub fn and(self, other: Worst) -> Self {
        Worst { loss: self.loss.max(other.loss), grad: self.grad.max(other.grad), hess: self.hess.max(other.hess) }
    }

    pub fn is_within_bounds(&self) -> bool {
        let bound = Worst::BOUND;
        self.loss <= bound.loss && self.grad <= bound.grad && self.hess <= bound.hess
    }
}

fn largest<T: Float>(got: &[T], want: &[Term]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(&got, want)| ulps_off(got, want.value, want.scale)).fold(0.0, f64::max)
}
