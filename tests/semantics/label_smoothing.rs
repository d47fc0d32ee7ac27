//! Label smoothing of confident rows: gradients within 4 units in the last place of p (Q - q) + q (1 - p), the sum of what
//! is left of p Q and q without their common part, beside numbers of twice the digits of `f64`.

use crate::common::call::{Call, Goal, Loss, Shape, spread};
use crate::common::reference::reference;
use crate::common::{Float, Random, ulps_off};
use losskit::{Context, CrossEntropy, Options, Outputs, Reduction, Targets, Weights};

/// The promise for losses and for gradients.
const BOUNDS: [f64; 2] = [3.0, 4.0];

const SMOOTHINGS: [f64; 11] = [1e-30, 1e-9, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.625, 0.75, 0.999, 1.0];

#[derive(Clone, Copy, Debug)]
enum Weighted {
    No,
    /// Between 1/4 and 2.
    Alike,
    /// From 2^-20 to 2^20.
    Wide,
    /// One that has more than all others, so that its share is most of the distribution though it is no target.
    One,
}

fn weights<T: Float>(kind: Weighted, classes: usize, random: &mut Random) -> Option<Vec<T>> {
    match kind {
        Weighted::No => None,
        Weighted::Alike => Some(random.weights(classes)),
        Weighted::Wide => Some((0..classes).map(|_| T::of(2f64.powf(40.0 * random.unit() - 20.0))).collect()),
        Weighted::One => {
            let mut weights = random.weights(classes);
            weights[random.below(classes)] = T::of(3.0 * classes as f64 * (1.0 + random.unit()));
            Some(weights)
        }
    }
}

/// Logits of which the target or another class leads by 0.1 to 79, but of every eighth sample. (No
/// probability is below the smallest normal number.)
fn logits<T: Float>(shape: Shape, targets: &[i64], random: &mut Random) -> Vec<T> {
    let mut logits = spread(shape, || T::of(random.number(2.0)));
    for (sample, &target) in targets.iter().enumerate().filter(|(sample, _)| sample % 8 != 7) {
        let leads = if sample % 4 == 3 { random.below(shape.classes) } else { target as usize };
        logits[shape.at(sample, leads)] = T::of(2.0 + 10f64.powf(2.9 * random.unit() - 1.0));
    }
    logits
}

/// The worst loss and gradient of a shape, in units in the last place.
fn check<T: Float>(shape: Shape, failures: &mut Vec<String>) {
    let random = &mut Random(shape.elements() as u64);
    for smoothing in SMOOTHINGS {
        for kind in [Weighted::No, Weighted::Alike, Weighted::Wide, Weighted::One] {
            let targets = random.indices(shape.samples(), shape.classes);
            let loss = Loss::CrossEntropy {
                smoothing,
                z: 0.0,
                ignore: -100,
                shape,
                goal: Goal::I64(targets.clone()),
                class: weights(kind, shape.classes, random),
                row: Some(random.weights(shape.samples())),
            };
            let call = Call { name: String::new(), input: logits::<T>(shape, &targets, random), loss };
            let (got, want) = (call.run(&Context::with_threads(1), Reduction::None), reference(&call));
            for (which, got, want) in [(0, &got.loss, &want.loss), (1, &got.grad, &want.grad)] {
                for (at, (got, want)) in got.iter().zip(want).enumerate().filter(|(_, (_, want))| want.scale != 0.0) {
                    let off = ulps_off(*got, want.value, want.scale);
                    if off > BOUNDS[which] {
                        let what = ["loss", "gradient"][which];
                        let place = format!("{shape:?} smoothing {smoothing:e}, weighted {kind:?}, at {at}");
                        failures.push(format!("{what} {} {off:.2} ULP off: {place}, {got:e}", T::NAME));
                    }
                }
            }
        }
    }
}

fn check_all(shapes: &[Shape]) {
    let mut failures = Vec::new();
    for &shape in shapes {
        check::<f32>(shape, &mut failures);
        check::<f64>(shape, &mut failures);
    }
    assert!(failures.is_empty(), "{} of them:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

#[test]
fn confident_rows_of_few_classes() {
    check_all(&[1, 2, 3, 5, 10, 64, 128].map(|classes| Shape::rows(1 + 4000 / classes, classes)));
}

#[test]
fn confident_rows_of_many_classes() {
    check_all(&[Shape::rows(2, 30), Shape::rows(16, 129), Shape::rows(8, 1000), Shape::rows(4, 9000)]);
}

#[test]
fn confident_columns() {
    check_all(&[
        Shape::new(4, 2, 70),
        Shape::new(3, 10, 33),
        Shape::new(2, 70, 35),
        Shape::new(2, 130, 33),
        Shape::rows(40, 6).strides(1, 40),
    ]);
}

/// The sum of class weights is beyond the type's range, though no share is.
fn large_weights<T: Float>(largest: f64) {
    let context = Context::with_threads(1);
    let options = Options::new().reduction(Reduction::Sum);
    for shape in [Shape::rows(3, 5), Shape::rows(1, 300), Shape::new(1, 5, 9)] {
        let logits: Vec<T> = (0..shape.elements()).map(|i| T::of((i % 7) as f64)).collect();
        let targets = vec![1i64; shape.samples()];
        let run = |weight: f64, scale: f64| {
            let class = vec![T::of(weight); shape.classes];
            let mut grad = vec![T::of(0.0); logits.len()];
            let (outputs, weights) = (Outputs::new().grad(&mut grad), Weights::new().class(&class));
            let (targets, options) = (Targets::I64(&targets), options.grad_scale(scale));
            let loss = CrossEntropy::new().label_smoothing(0.1);
            loss.eval(&context, shape.class_shape(), &logits, targets, weights, &options, outputs).expect("good input");
            grad
        };
        // powers of two change no digit, but such weights of f32 are multiplied in f64
        let scale = 2f64.powi(-100);
        for (got, want) in run(largest, scale).into_iter().zip(run(1.0, scale * largest)) {
            let off = (got.wide() - want.wide()).abs() / want.wide().abs();
            assert!(off <= 4.0 * T::EPSILON, "{} {shape:?}: {got:e}, not {want:e}", T::NAME);
        }
    }
}

#[test]
fn class_weights_whose_sum_is_beyond_the_range() {
    large_weights::<f32>(2f64.powi(126));
}
