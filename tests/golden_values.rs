//! Every loss gives what PyTorch computed in float64 (tests/golden/README.md).

mod common;
mod golden;

use common::call::{Call, Formula, Goal, Loss, Shape};
use common::exact::Exact;
use common::reference::reference;
use common::{Float, all_of, ulp, ulps_off};
use losskit::{Context, Reduction};

/// The promise, in units in the last place; PyTorch's float64 is exact beside f32.
const LOSS: f64 = 3.0;
const GRAD: f64 = 4.0;
/// A reduced value, beside the sum of the losses' magnitudes: one more rounding.
const REDUCED: f64 = LOSS + 1.0;

/// What PyTorch's own rounding may amount to in float64, in a sample's loss and gradient: it subtracts a logit from the
/// logsumexp (or from minus the log-sigmoid), so errors are of the size of the logits; gradients are differences of
/// rounded probabilities.
fn rounding_of_the_reference<T: Float>(case: &golden::Case, call: &Call<T>, sample: usize) -> [f64; 2] {
    let largest = |numbers: &[f64]| numbers.iter().filter(|x| x.is_finite()).fold(1.0f64, |a, b| a.max(b.abs()));
    let weight = largest(&case.weight) * case.options.pos_weight.unwrap_or(1.0) * 2.0 * f64::EPSILON;
    let shape = call.shape();
    let logits: Vec<f64> = (0..shape.classes).map(|class| case.input[shape.at(sample, class)]).collect();
    match case.loss.as_str() {
        "bce_with_logits" | "cross_entropy" | "cross_entropy_probs" => [weight * largest(&logits), weight],
        // its 1e-12 is an f32
        "bce" if case.note == "logs clamped at -100" => [0.0, 4e-9 * 1e12],
        _ => [0.0, 0.0],
    }
}

fn call<T: Float>(case: &golden::Case) -> Call<T> {
    let options = &case.options;
    let (input, target) = (all_of(&case.input), &case.target);
    let some_weight = (!case.weight.is_empty()).then(|| all_of::<T>(&case.weight));
    let shape = match case.shape[..] {
        [n] => Shape::rows(n, 1),
        [rows, classes] => Shape::rows(rows, classes),
        [outer, classes, height, width] => Shape::new(outer, classes, height * width),
        _ => panic!("a shape of {:?}", case.shape),
    };
    let pointwise = |formula| Loss::Pointwise { formula, target: all_of(target), weight: some_weight.clone() };
    let indices = || target.iter().map(|&target| target as i64).collect();
    let cross_entropy = |goal| Loss::CrossEntropy {
        smoothing: options.label_smoothing.unwrap_or(0.0),
        z: 0.0,
        ignore: options.ignore_index.unwrap_or(-100),
        shape,
        goal,
        class: some_weight.clone(),
        row: None,
    };
    let loss = match case.loss.as_str() {
        "cross_entropy" => cross_entropy(Goal::I64(indices())),
        "cross_entropy_probs" => cross_entropy(Goal::Probabilities(all_of(target))),
        "nll" => {
            let ignore = options.ignore_index.unwrap_or(-100);
            Loss::Nll { ignore, shape, targets: indices(), class: some_weight.clone(), row: None }
        }
        name => {
            let number = options.delta.or(options.beta).unwrap_or(1.0);
            let formula = Formula::by_name(name, number, &all_of(options.pos_weight.as_slice()));
            pointwise(formula.unwrap_or_else(|| panic!("losses.json has a loss {name}")))
        }
    };
    let name = format!("{} {:?} {:?} {:?} {options:?} {}", case.loss, case.note, case.reduction, case.shape, T::NAME);
    Call { name, input, loss }
}

fn check<T: Float>() {
    let context = Context::with_threads(1);
    for case in golden::cases() {
        let call = call::<T>(&case);
        let reduction = match case.reduction {
            golden::Reduction::None => Reduction::None,
            golden::Reduction::Mean => Reduction::Mean,
            golden::Reduction::Sum => Reduction::Sum,
        };
        let got = call.run(&context, reduction);
        // where to count last places: gradients are differences of larger terms
        let terms = reference(&call);
        let divisor = if reduction == Reduction::Mean { case.divisor } else { 1.0 };
        let slack: Vec<[f64; 2]> =
            (0..call.samples()).map(|sample| rounding_of_the_reference(&case, &call, sample)).collect();
        let right = |got: T, want: f64, scale: f64, bound: f64, slack: f64| {
            let off = ulps_off(got, Exact::of(want), scale);
            off <= bound || (got.wide() - want).abs() <= bound * ulp::<T>(scale) + slack
        };

        assert_eq!(got.loss.len(), case.value.len());
        if reduction == Reduction::None {
            for (at, (&got, &want)) in got.loss.iter().zip(&case.value).enumerate() {
                let right = right(got, want, terms.loss[at].scale, LOSS, slack[at][0]);
                assert!(right, "{}: loss {at} is {got:e}, not {want:e}", call.name);
            }
        } else {
            let size = terms.loss.iter().map(|term| term.scale.abs()).sum::<f64>() / divisor;
            let slack = slack.iter().map(|slack| slack[0]).sum::<f64>() / divisor;
            let (got, want) = (got.loss[0], case.value[0]);
            assert!(right(got, want, size, REDUCED, slack), "{}: loss is {got:e}, not {want:e}", call.name);
        }
        assert_eq!(got.grad.len(), case.grad.len());
        for (sample, slack) in slack.iter().enumerate() {
            for class in 0..call.shape().classes {
                let at = call.shape().at(sample, class);
                let (got, want, scale) = (got.grad[at], case.grad[at], terms.grad[at].scale / divisor);
                let right = right(got, want, scale, GRAD, slack[1] / divisor);
                assert!(right, "{}: gradient {at} is {got:e}, not {want:e}", call.name);
            }
        }
        let off = ulps_off(got.summary.weight_sum, Exact::of(case.divisor), case.divisor);
        assert!(off <= 0.5, "{}: divides by {}, not {}", call.name, got.summary.weight_sum, case.divisor);
    }
}

#[test]
fn f32_gives_pytorchs_values_to_the_last_places() {
    check::<f32>();
}

#[test]
fn f64_gives_pytorchs_values_but_for_pytorchs_own_rounding() {
    check::<f64>();
}
