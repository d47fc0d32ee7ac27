//! Labels: those outside of [0, 1] if they are looked for, and the weights that positive ones have.

use crate::common::call::{self, Loss, SENTINEL};
use crate::common::{Float, Random, all_of, assert_same_bits};
use losskit::{BceWithLogits, Context, Options, Outputs, Reduction};

fn labels_are_looked_at<T: Float>() {
    let wrong = [-1.0, -1e-30, 1.0 + T::EPSILON, f64::INFINITY, f64::NEG_INFINITY];
    let right = [0.0, -0.0, 1.0, 0.5, f64::NAN];
    for context in [Context::with_threads(1), Context::with_threads(3)] {
        for n in [1, 7, 64, 1000, 70_000] {
            for call in call::pointwise::<T>(n).into_iter().filter(|call| n < 10_000 || call.name.contains("labels")) {
                for (label, is_wrong) in wrong.map(|label| (label, true)).into_iter().chain(right.map(|x| (x, false))) {
                    for at in [0, n / 2, n - 1] {
                        let mut call = call.clone();
                        let Loss::Pointwise { formula, target, .. } = &mut call.loss else { unreachable!() };
                        let has_labels = formula.inputs().have_labels();
                        target[at] = T::of(label);
                        let plain = call.run(&context, Reduction::Mean);
                        assert!(!plain.summary.out_of_domain, "{}", call.name);
                        let options = Options::new().check_targets(true);
                        let before = vec![T::of(SENTINEL); n];
                        let mut looked = call.run_with(&context, Reduction::Mean, options, &before);
                        assert_eq!(looked.summary.out_of_domain, is_wrong && has_labels, "{} {label}", call.name);
                        looked.summary = plain.summary;
                        looked.assert_same_bits(&plain, &call.name);
                    }
                }
            }
        }
    }
}

#[test]
fn labels_outside_0_to_1_are_told_if_they_are_looked_for() {
    labels_are_looked_at::<f32>();
    labels_are_looked_at::<f64>();
}

/// As if each weight stood as often in the array as there are elements of its label.
fn weights_of_channels<T: Float>() {
    let context = Context::with_threads(2);
    for (samples, labels, inner) in
        [(5, 3, 1), (5, 3, 2), (3, 2, 7), (1, 4, 64), (2, 3, 65), (3, 5, 511), (2, 3, 8192), (3, 7, 5000), (40, 2, 33)]
    {
        let n = samples * labels * inner;
        let random = &mut Random(n as u64);
        let (logits, targets) = (random.numbers::<T>(n, 3.0), random.units::<T>(n));
        let weights = random.weights::<T>(labels);
        let each: Vec<T> = (0..n).map(|i| weights[i / inner % labels]).collect();
        let run = |loss: BceWithLogits<'_, T>| {
            let mut results = [0, 1, 2].map(|_| vec![T::of(SENTINEL); n]);
            let [loss_of, grad, hess] = &mut results;
            let outputs = Outputs::new().loss(loss_of).grad(grad).hess(hess);
            let options = Options::new().reduction(Reduction::None);
            loss.eval(&context, &logits, &targets, None, &options, outputs).unwrap();
            let mean = loss.mean(&logits, &targets).unwrap();
            (results, mean)
        };
        let (got, mean) = run(BceWithLogits::new().pos_weight(&weights).inner(inner));
        let (want, mean_of_each) = run(BceWithLogits::new().pos_weight(&each));
        for (got, want) in got.iter().zip(&want) {
            assert_same_bits(got, want, &format!("{samples} {labels} {inner}"));
        }
        assert_same_bits(&[mean], &[mean_of_each], "mean");
    }
    // one weight for all has no place to repeat at, and no elements have none
    let one = all_of::<T>(&[2.0]);
    assert!(BceWithLogits::new().pos_weight(&one).inner(0).mean(&one, &one).is_ok());
    let two = all_of::<T>(&[2.0, 3.0]);
    assert!(BceWithLogits::new().pos_weight(&two).inner(0).mean(&[], &[]).unwrap().wide().is_nan());
}

#[test]
fn a_positive_weight_is_that_of_its_label_whatever_lies_within() {
    weights_of_channels::<f32>();
    weights_of_channels::<f64>();
}

/// One weight is that of all labels, however many elements a label is said to have.
#[test]
fn one_positive_weight_needs_no_number_of_elements_of_a_label() {
    for (n, weight) in [1, 3, 70, 9000].into_iter().flat_map(|n| [(n, 2.0), (n, f32::INFINITY)]) {
        let (logits, labels) = (vec![0.5f32; n], vec![1.0f32; n]);
        let [mut given, mut missing] = [logits.clone(), logits];
        for (inner, grad) in [(1, &mut given), (0, &mut missing)] {
            let loss = BceWithLogits::new().pos_weight(std::slice::from_ref(&weight)).inner(inner);
            loss.eval_in_place(&Context::default(), grad, &labels, None, &Options::new(), Outputs::new()).unwrap();
        }
        assert_same_bits(&missing, &given, &n.to_string());
    }
}
