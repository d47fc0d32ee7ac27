//! Labels of 0 and 1 have formulas of their own, by groups: a soft label beside them, or none, must not change a bit.

use crate::common::{Float, Random, assert_same_bits};
use losskit::{Bce, Context, Options, Outputs, Reduction};

/// Two groups of f32.
const GROUPS: usize = 64;

/// Probabilities from one end of the type's range to the other, and odd ones.
fn probabilities<T: Float>() -> Vec<T> {
    let mut random = Random(3);
    let special = [0.0, -0.0, 1.0, 0.5, 1e-45, 5e-324, 1e-40, 3.7e-44, 1.2e-38, 1e-12, 1e-30, f64::NAN, 1.0 - 6e-8];
    let mut all: Vec<T> = special.into_iter().map(T::of).collect();
    for _ in 0..40_000 {
        let p = (-random.unit() * 110.0).exp();
        all.extend([p, 1.0 - p, random.unit(), 2f64.powf(-random.unit() * 40.0), 0.5 + 0.5 * random.unit()].map(T::of));
    }
    all.truncate(all.len() / GROUPS * GROUPS);
    all
}

fn run<T: Float>(p: &[T], y: &[T], reduction: Reduction, with_loss: bool) -> [Vec<T>; 2] {
    let (context, options) = (Context::with_threads(1), Options::new().reduction(reduction));
    let losses = if reduction == Reduction::None { p.len() } else { 1 };
    let (mut loss, mut grad) = (vec![T::of(0.0); losses], vec![T::of(0.0); p.len()]);
    let outputs = Outputs::new().grad(&mut grad);
    let outputs = if with_loss { outputs.loss(&mut loss) } else { outputs };
    Bce::new().eval(&context, p, y, None, &options, outputs).expect("lengths agree");
    [loss, grad]
}

fn soft_neighbours<T: Float>() {
    let p = probabilities::<T>();
    for labels in [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-0.0, 1.0]] {
        let y: Vec<T> = (0..p.len()).map(|i| T::of(labels[i % 2])).collect();
        let mut beside = y.clone();
        for group in beside.chunks_mut(8) {
            group[5] = T::of(0.25);
        }
        for (reduction, with_loss) in [(Reduction::None, true), (Reduction::Sum, true), (Reduction::Sum, false)] {
            let (hard, soft) = (run(&p, &y, reduction, with_loss), run(&p, &beside, reduction, with_loss));
            for (hard, soft) in hard.into_iter().zip(soft) {
                let without = |x: Vec<T>| -> Vec<T> {
                    x.into_iter().enumerate().filter(|(i, _)| i % 8 != 5).map(|(_, x)| x).collect()
                };
                if hard.len() > 1 {
                    assert_same_bits(&without(hard), &without(soft), &format!("{labels:?} {reduction:?} {with_loss}"));
                }
            }
        }
    }
}

#[test]
fn a_soft_label_changes_nothing_beside_it() {
    soft_neighbours::<f32>();
    soft_neighbours::<f64>();
}

fn outsiders<T: Float>() {
    for bad in [-1e-45, -5e-324, -1.0, 1.0 + 1.3e-7, 7.0, f64::INFINITY, f64::NEG_INFINITY] {
        let bad = T::of(bad);
        if bad == T::of(0.0) || bad == T::of(1.0) {
            continue;
        }
        for at in 0..GROUPS {
            for label in [0.0, 1.0, 0.5] {
                let (mut p, mut y) = (vec![T::of(0.25); GROUPS], vec![T::of(1.0); GROUPS]);
                let [right, slope] = run(&p, &y, Reduction::None, true);
                (p[at], y[at]) = (bad, T::of(label));
                let [loss, grad] = run(&p, &y, Reduction::None, true);
                for i in 0..GROUPS {
                    let expected = if i == at { [T::of(f64::NAN); 2] } else { [right[i], slope[i]] };
                    assert_same_bits(&[loss[i], grad[i]], &expected, &format!("{bad:?} at {at}, {label}, seen at {i}"));
                }
                let mut sum = [T::of(0.0)];
                let (context, options) = (Context::with_threads(1), Options::new());
                let summary = Bce::new()
                    .eval(&context, &p, &y, None, &options, Outputs::new().loss(&mut sum))
                    .expect("lengths agree");
                assert!(summary.out_of_domain && sum[0].wide().is_nan(), "{bad:?} at {at}");
            }
        }
    }
}

#[test]
fn inputs_outside_of_the_domain_are_nan_beside_hard_labels() {
    outsiders::<f32>();
    outsiders::<f64>();
}
