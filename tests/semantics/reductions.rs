//! Reductions and their divisors, weights, samples that do not count, constant factors.

use crate::common::call::{self, Call, Goal, Loss, SENTINEL, Shape};
use crate::common::{Float, Random, all_of, assert_same_bits, bits};
use losskit::{
    ClassShape, Context, Cost, CrossEntropy, Indices, Mse, Nll, Options, Outputs, Reduction, Targets, Td, TdInputs,
    Weights,
};

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Sum, Reduction::Mean];

fn context() -> Context {
    Context::with_threads(1)
}

/// The samples in reverse.
fn reversed<T: Float>(call: &Call<T>) -> Call<T> {
    let mut call = call.clone();
    let rows = |data: &mut Vec<T>, shape: Shape| {
        if shape.inner == 1 && shape.outer_stride == shape.classes {
            *data = data.chunks_exact(shape.classes).rev().flatten().copied().collect();
        }
    };
    let shape = call.shape();
    let reverse = |data: &mut Option<Vec<T>>| data.iter_mut().for_each(|data| data.reverse());
    rows(&mut call.input, shape);
    match &mut call.loss {
        Loss::Pointwise { target, weight, .. } => {
            target.reverse();
            reverse(weight);
        }
        Loss::CrossEntropy { goal, row, .. } => {
            match goal {
                Goal::I32(targets) => targets.reverse(),
                Goal::I64(targets) => targets.reverse(),
                Goal::U8(targets) => targets.reverse(),
                Goal::Probabilities(targets) => rows(targets, shape),
            }
            reverse(row);
        }
        Loss::Nll { targets, row, .. } => {
            targets.reverse();
            reverse(row);
        }
        Loss::Td(td) => {
            td.action.reverse();
            td.reward.reverse();
            rows(&mut td.next_q, shape);
            td.done.iter_mut().for_each(|done| done.reverse());
            td.online.iter_mut().for_each(|online| rows(online, shape));
            reverse(&mut td.weight);
        }
    }
    call
}

fn order<T: Float>() {
    let has_labels = |call: &Call<T>| call.name.contains("labels");
    let is_rows = |shape: Shape| shape.inner == 1 && shape.outer_stride == shape.classes;
    for call in call::every::<T>().iter().filter(|call| is_rows(call.shape()) && !has_labels(call)) {
        let (there, mut back) =
            (call.run(&context(), Reduction::None), reversed(call).run(&context(), Reduction::None));
        back.loss.reverse();
        let rows = |data: &[T]| data.chunks_exact(call.shape().classes).rev().flatten().copied().collect();
        (back.grad, back.hess) = (rows(&back.grad), rows(&back.hess));
        assert_same_bits(&back.loss, &there.loss, &call.name);
        assert_same_bits(&back.grad, &there.grad, &call.name);
        assert_same_bits(&back.hess, &there.hess, &call.name);
    }
}

#[test]
fn a_samples_own_results_do_not_depend_on_its_place_in_the_batch() {
    order::<f32>();
    order::<f64>();
}

#[test]
fn the_mean_of_pointwise_losses_divides_by_their_number_weighted_or_not() {
    let (input, target, weight) = ([1.0f32, 2.0, 3.0, 4.0], [0.0; 4], [2.0, 0.5, 0.0, 1.0]);
    for (weight, sum) in [(None, 30.0), (Some(&weight[..]), 2.0 + 2.0 + 16.0)] {
        for (reduction, divisor) in [(Reduction::Sum, 1.0), (Reduction::Mean, 4.0)] {
            let (mut loss, mut grad) = ([0.0], [0.0; 4]);
            let options = Options::new().reduction(reduction);
            let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
            let summary = Mse::new().eval(&context(), &input, &target, weight, &options, outputs).unwrap();
            assert_eq!((loss[0], summary.weight_sum), (sum / divisor, 4.0));
            let w = |i: usize| weight.map_or(1.0, |weight| weight[i]);
            assert_eq!(grad, [0, 1, 2, 3].map(|i| 2.0 * input[i] * w(i) / divisor));
        }
    }
}

const LN_2: f64 = std::f64::consts::LN_2;

/// Rows of two equal logits, each of which has the loss ln 2 times its weight.
fn class_divisors<T: Float>() {
    let (shape, logits) = (ClassShape::rows(4, 2), all_of::<T>(&[0.5; 8]));
    let (class, row) = (all_of::<T>(&[1.0, 3.0]), all_of::<T>(&[0.5, 2.0, 1.0, 64.0]));
    let ce = CrossEntropy::new();
    let targets = Targets::I64(&[0, 1, 1, -100]);
    let soft = all_of::<T>(&[1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5]);
    let mean = |targets: Targets<'_, T>, weights: Weights<'_, T>, sum: f64, divisor: f64| {
        for (reduction, want) in [(Reduction::Sum, sum), (Reduction::Mean, sum / divisor)] {
            let (mut loss, options) = ([T::of(0.0)], Options::new().reduction(reduction));
            let outputs = Outputs::new().loss(&mut loss);
            let summary = ce.eval(&context(), shape, &logits, targets, weights, &options, outputs).unwrap();
            assert_eq!(summary.weight_sum, divisor);
            let want = want * T::of(LN_2).wide();
            assert!((loss[0].wide() - want).abs() <= T::EPSILON * want, "{reduction:?} {} is not {want}", loss[0]);
        }
    };
    mean(targets, Weights::new(), 3.0, 3.0);
    mean(targets, Weights::new().class(&class), 7.0, 7.0);
    mean(targets, Weights::new().row(&row), 3.5, 3.5);
    mean(targets, Weights::new().class(&class).row(&row), 0.5 + 6.0 + 3.0, 0.5 + 6.0 + 3.0);
    // probabilities: never divided by class weights
    let soft = Targets::Probabilities(&soft);
    mean(soft, Weights::new(), 4.0, 4.0);
    mean(soft, Weights::new().class(&class), 1.0 + 3.0 + 3.0 + 2.0, 4.0);
    mean(soft, Weights::new().row(&row), 67.5, 67.5);
    mean(soft, Weights::new().class(&class).row(&row), 0.5 + 6.0 + 3.0 + 128.0, 67.5);

    let nll = |weights: Weights<'_, T>, sum: f64| {
        for (reduction, want) in [(Reduction::Sum, -0.5 * sum), (Reduction::Mean, -0.5)] {
            let (mut loss, mut grad) = ([T::of(0.0)], logits.clone());
            let options = Options::new().reduction(reduction);
            let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
            let targets = Indices::I64(&[0, 1, 1, -100]);
            let summary = Nll::new().eval(&context(), shape, &logits, targets, weights, &options, outputs).unwrap();
            assert_eq!((loss[0].wide(), summary.weight_sum), (want, sum));
            let total: f64 = grad.iter().map(|g| g.wide()).sum();
            let want = if reduction == Reduction::Mean { -1.0 } else { -sum };
            assert!((total - want).abs() <= 4.0 * T::EPSILON * want.abs());
        }
    };
    nll(Weights::new(), 3.0);
    nll(Weights::new().class(&class), 7.0);
    nll(Weights::new().row(&row), 3.5);
    nll(Weights::new().class(&class).row(&row), 9.5);
}

#[test]
fn the_mean_of_class_losses_divides_by_the_weights_of_what_counts() {
    class_divisors::<f32>();
    class_divisors::<f64>();
}

#[test]
fn the_mean_of_td_divides_by_the_batch_weighted_or_not() {
    let q = [1.0f64, 0.0, 0.0, 2.0];
    let inputs = TdInputs::new(2, &q, Indices::U8(&[0, 1]), &[0.0, 0.0], &[0.0; 4]).weight(&[4.0, 0.5]);
    assert_eq!(Td::mse(1.0).mean(&inputs).unwrap(), (4.0 + 2.0) / 2.0);
}

/// Runs with nothing that counts.
fn check_nothing<T: Float>(call: &Call<T>, is_zero: impl Fn(f64) -> bool) {
    for reduction in REDUCTIONS {
        let got = call.run(&context(), reduction);
        assert_eq!(got.summary.weight_sum, 0.0, "{}", call.name);
        match reduction {
            Reduction::Mean => assert!(got.loss[0].wide().is_nan(), "{}: {}", call.name, got.loss[0]),
            _ => assert!(got.loss.iter().all(|loss| loss.bits() == 0), "{}: {:?}", call.name, got.loss),
        }
        let owned = call.shape().owned();
        for (at, _) in owned.iter().enumerate().filter(|(_, owned)| **owned) {
            let (grad, hess) = (got.grad[at].wide(), got.hess[at].wide());
            assert!(is_zero(grad) && is_zero(hess), "{} {reduction:?}: {grad} {hess} at {at}", call.name);
        }
        assert!(got.cost.mean().is_nan());
        // the same bits, but for the mean, which is 0 if it is asked to be; the cost has nothing either way
        let zero = Options::new().zero_if_empty(true);
        let mut or_0 = call.run_with(&context(), reduction, zero, &vec![T::of(SENTINEL); call.input.len()]);
        if reduction == Reduction::Mean {
            assert_eq!(or_0.loss[0].bits(), 0, "{}: {}", call.name, or_0.loss[0]);
            or_0.loss.clone_from(&got.loss);
        }
        or_0.assert_same_bits(&got, &call.name);
        // joining it to a cost changes nothing
        let (mut cost, mut joined) = (Cost::new(), Cost::new());
        cost.add(3.0, 2.0);
        joined.add(3.0, 2.0);
        joined.merge(&got.cost);
        assert_eq!(joined, cost, "{}", call.name);
    }
}

fn empty_batches<T: Float>() {
    let mut calls = call::pointwise::<T>(0);
    for shape in
        [Shape::rows(0, 5), Shape::rows(0, 100), Shape::new(0, 5, 7), Shape::new(3, 5, 0), Shape::new(0, 90, 9)]
    {
        calls.extend(call::classes(shape));
    }
    calls.extend(call::td(0, 3, 3));
    for call in &calls {
        check_nothing(call, |_| unreachable!("there are no elements"));
    }
}

#[test]
fn an_empty_batch_has_mean_nan_and_sum_0() {
    empty_batches::<f32>();
    empty_batches::<f64>();
}

/// Small classes and many, rows and columns, dense and not.
fn shapes() -> Vec<Shape> {
    vec![
        Shape::rows(35, 4),
        Shape::rows(34, 64),
        Shape::rows(5, 65),
        Shape::rows(3, 5000),
        Shape::new(2, 5, 34),
        Shape::new(2, 70, 35),
        Shape::rows(34, 3).strides(5, 1),
        Shape::rows(3, 100).strides(101, 1),
        Shape::rows(34, 3).strides(1, 40),
        Shape::new(2, 66, 5).strides(6, 13),
    ]
}

fn all_ignored<T: Float>() {
    let nans = |numbers: &mut Option<Vec<T>>| numbers.iter_mut().for_each(|numbers| numbers.fill(T::of(f64::NAN)));
    for shape in shapes() {
        for mut call in call::classes::<T>(shape) {
            match &mut call.loss {
                Loss::CrossEntropy { goal: Goal::I64(targets), ignore, class, row, .. }
                | Loss::Nll { targets, ignore, class, row, .. } => {
                    targets.fill(*ignore);
                    nans(class);
                    nans(row);
                }
                _ => continue,
            }
            call.input.fill(T::of(f64::NAN));
            check_nothing(&call, |x| x.to_bits() == 0);
        }
    }
}

#[test]
fn a_batch_of_ignored_rows_has_mean_nan_sum_0_and_zero_gradients() {
    all_ignored::<f32>();
    all_ignored::<f64>();
}

fn weightless<T: Float>() {
    for shape in shapes() {
        for mut call in call::classes::<T>(shape) {
            let (Loss::CrossEntropy { row, .. } | Loss::Nll { row, .. }) = &mut call.loss else { unreachable!() };
            *row = Some(all_of(&vec![0.0; shape.samples()]));
            for reduction in REDUCTIONS {
                let got = call.run(&context(), reduction);
                let is_zero = |numbers: &[T]| {
                    numbers.iter().zip(shape.owned()).all(|(x, owned)| x.wide() == if owned { 0.0 } else { SENTINEL })
                };
                assert!(is_zero(&got.grad) && is_zero(&got.hess), "{} {reduction:?}", call.name);
                assert_eq!(got.summary.weight_sum, 0.0);
                assert_eq!(got.loss[0].wide().is_nan(), reduction == Reduction::Mean, "{}", call.name);
                let zero = Options::new().zero_if_empty(true);
                let or_0 = call.run_with(&context(), reduction, zero, &vec![T::of(SENTINEL); call.input.len()]);
                assert!(or_0.loss.iter().all(|loss| loss.wide() == 0.0), "{} {reduction:?}", call.name);
                assert!(is_zero(&or_0.grad) && is_zero(&or_0.hess), "{} {reduction:?}", call.name);
            }
        }
    }
}

/// A weight of 0 does not hide what is no number, whatever the mean of nothing is.
#[test]
fn nan_under_a_weight_of_0_is_nan_though_nothing_counts() {
    let (shape, logits) = (ClassShape::rows(2, 2), [0.0f32, f32::NAN, 0.0, 0.0]);
    let (weights, options) = (Weights::new().row(&[0.0, 0.0]), Options::new().zero_if_empty(true));
    let mut loss = [0.0];
    let outputs = Outputs::new().loss(&mut loss);
    CrossEntropy::new().eval(&context(), shape, &logits, Targets::U8(&[0, 1]), weights, &options, outputs).unwrap();
    assert!(loss[0].is_nan());
}

/// Weights of the samples that count, no two alike, that add up to 0.
fn cancelling<T: Float>(counts: &[bool]) -> Vec<T> {
    let mut weights = vec![0.0; counts.len()];
    let counted: Vec<_> = (0..counts.len()).filter(|&sample| counts[sample]).collect();
    for (i, &sample) in counted.iter().enumerate() {
        weights[sample] = (i + 1) as f64;
    }
    if let Some(&last) = counted.last() {
        weights[last] = 0.0;
        weights[last] = -weights.iter().sum::<f64>();
    }
    all_of(&weights)
}

/// Neither the mean nor a gradient of it is a number; sums are as ever, and so is what they divide by.
fn check_cancelled<T: Float>(call: &Call<T>, counts: &[bool]) {
    for options in [Options::new(), Options::new().zero_if_empty(true)] {
        let before = vec![T::of(SENTINEL); call.input.len()];
        let mean = call.run_with(&context(), Reduction::Mean, options, &before);
        assert!(mean.loss[0].wide().is_nan(), "{}: {}", call.name, mean.loss[0]);
        assert_eq!(mean.summary.weight_sum, 0.0, "{}", call.name);
        let sum = call.run_with(&context(), Reduction::Sum, options, &before);
        assert!(sum.loss[0].wide().is_finite(), "{}: {}", call.name, sum.loss[0]);
        assert_eq!(sum.summary.weight_sum, 0.0, "{}", call.name);
        assert_eq!(mean.cost, sum.cost);
        for (sample, &counts) in counts.iter().enumerate() {
            for at in (0..call.shape().classes).map(|class| call.shape().at(sample, class)) {
                let (mean, sum) = (mean.grad[at].wide(), sum.grad[at].wide());
                assert!(sum.is_finite(), "{}: {sum} at {at}", call.name);
                // nll's gradient is 0 where the target is not
                assert!(mean.is_nan() || (mean == 0.0 && sum == 0.0), "{}: {mean} at {at}", call.name);
                assert!(counts || mean == 0.0, "{}: {mean} at {at}, which is ignored", call.name);
            }
        }
    }
}

fn cancelling_rows<T: Float>() {
    for shape in shapes() {
        for mut call in call::classes::<T>(shape) {
            let (Loss::CrossEntropy { class, row, .. } | Loss::Nll { class, row, .. }) = &mut call.loss else {
                unreachable!()
            };
            (*class, *row) = (None, None);
            // of the samples that are ignored the gradient is 0
            let each = call.run(&context(), Reduction::None);
            let counts: Vec<_> = each.loss.iter().map(|loss| loss.wide() != 0.0).collect();
            if counts.iter().filter(|&&counts| counts).count() < 2 {
                continue;
            }
            let (Loss::CrossEntropy { row, .. } | Loss::Nll { row, .. }) = &mut call.loss else { unreachable!() };
            *row = Some(cancelling(&counts));
            check_cancelled(&call, &counts);
        }
    }
    // class weights: as many samples of either class, or of three classes
    let shape = Shape::rows(6, 3);
    let targets = vec![0, 1, 2, 0, 2, 1];
    for class in [[1.0, -1.0, 0.0], [1.0, 2.0, -3.0], [0.1, 0.2, -0.3]] {
        let class = all_of::<T>(&class);
        let is_0 = class.iter().map(|weight| weight.wide()).sum::<f64>() == 0.0;
        for smoothing in [0.0, 0.1] {
            let (goal, class) = (Goal::I64(targets.clone()), Some(class.clone()));
            let loss = Loss::CrossEntropy { smoothing, z: 0.0, ignore: -100, shape, goal, class, row: None };
            let call = Call { name: "cross_entropy".to_owned(), input: Random(3).numbers(18, 2.0), loss };
            // rounded, the last three need not add up to 0: the mean is one, if a large one
            if is_0 {
                check_cancelled(&call, &[true; 6]);
            } else {
                assert!(call.run(&context(), Reduction::Mean).loss[0].wide().is_finite());
            }
        }
        if is_0 {
            let class = Some(class.clone());
            let loss = Loss::Nll { ignore: -100, shape, targets: targets.clone(), class, row: None };
            let call = Call { name: "nll".to_owned(), input: all_of(&[-0.5; 18]), loss };
            check_cancelled(&call, &[true; 6]);
        }
    }
}

#[test]
fn weights_that_add_up_to_0_have_no_mean_and_no_gradient_of_it() {
    cancelling_rows::<f32>();
    cancelling_rows::<f64>();
}

#[test]
fn rows_of_weight_0_have_mean_nan_and_zero_gradients() {
    weightless::<f32>();
    weightless::<f64>();
}

/// Every third row is ignored, and holds NaN logits under a NaN weight.
fn ignored_rows<T: Float>(ignore: i64) {
    for shape in shapes() {
        let random = &mut Random(5);
        let ignored: Vec<bool> = (0..shape.samples()).map(|sample| sample % 3 == 1).collect();
        let other = |random: &mut Random| loop {
            let class = random.below(shape.classes) as i64;
            if class != ignore {
                return class;
            }
        };
        let targets: Vec<i64> = ignored.iter().map(|&is| if is { ignore } else { other(random) }).collect();
        let mut input: Vec<T> = call::spread(shape, || T::of(random.number(4.0)));
        let (class, mut row) = (random.weights::<T>(shape.classes), random.weights::<T>(shape.samples()));
        for sample in (0..shape.samples()).filter(|&sample| ignored[sample]) {
            (0..shape.classes).for_each(|class| input[shape.at(sample, class)] = T::of(f64::NAN));
            row[sample] = T::of(f64::NAN);
        }
        for (class, row) in [(None, None), (Some(class), Some(row))] {
            let check = |name: &str, loss| {
                let name = format!("{name} {} {shape:?} ignoring {ignore}", T::NAME);
                check_ignored(&Call { name, input: input.clone(), loss }, &ignored);
            };
            let weights = || (class.clone(), row.clone());
            for smoothing in [0.0, 0.125] {
                let ((class, row), goal) = (weights(), Goal::I64(targets.clone()));
                let loss = Loss::CrossEntropy { smoothing, z: 0.0, ignore, shape, goal, class, row };
                check(&format!("cross_entropy smoothed by {smoothing}"), loss);
            }
            let ((class, row), targets) = (weights(), targets.clone());
            check("nll", Loss::Nll { ignore, shape, targets, class, row });
        }
    }
}

fn check_ignored<T: Float>(call: &Call<T>, ignored: &[bool]) {
    let (shape, name) = (call.shape(), &call.name);
    for reduction in REDUCTIONS {
        let got = call.run(&context(), reduction);
        let counted = ignored.iter().filter(|ignored| !**ignored).count();
        assert!(got.loss.iter().chain([&T::of(got.cost.mean())]).all(|loss| loss.wide().is_finite()), "{name}: loss");
        assert!(got.summary.weight_sum > 0.1 * counted as f64 && got.summary.weight_sum < 4.0 * counted as f64);
        let before: Vec<T> = (0..call.input.len()).map(|at| T::of([-0.0, f64::NAN, 3.0][at % 3])).collect();
        let added = call.run_with(&context(), reduction, Options::new().accumulate_grad(true), &before);
        for (sample, &ignored) in ignored.iter().enumerate() {
            if reduction == Reduction::None && ignored {
                assert_eq!(got.loss[sample].bits(), 0, "{name}: loss of ignored sample {sample}");
            }
            for at in (0..shape.classes).map(|class| shape.at(sample, class)) {
                let [grad, hess] = [&got.grad, &got.hess].map(|output| output[at]);
                if ignored {
                    let zeros = [grad.bits(), hess.bits()] == [0, 0];
                    assert!(zeros, "{name} {reduction:?}: {grad:e} {hess:e} at {at} of ignored sample {sample}");
                    let kept = [added.grad[at].bits(), added.hess[at].bits()] == [before[at].bits(); 2];
                    assert!(kept, "{name} {reduction:?}: accumulated at {at} of ignored sample {sample}");
                } else {
                    let finite = grad.wide().is_finite() && hess.wide().is_finite();
                    assert!(finite, "{name} {reduction:?}: {grad:e} {hess:e} at {at} of sample {sample}");
                }
            }
        }
    }
}

#[test]
fn ignored_rows_are_not_read_and_have_no_loss_and_no_gradient() {
    for ignore in [-100, -1, i64::MIN, i64::MAX, 1_000_000] {
        ignored_rows::<f32>(ignore);
    }
    ignored_rows::<f64>(-100);
    // a class of its own
    ignored_rows::<f32>(1);
    ignored_rows::<f64>(2);
}

#[test]
fn ignore_index_may_be_any_u8() {
    let (shape, logits) = (ClassShape::rows(3, 2), [f32::NAN, f32::NAN, 0.0, 0.0, 1.0, 1.0]);
    let ce = CrossEntropy::new().ignore_index(255);
    let loss = ce.mean(shape, &logits, Targets::U8(&[255, 0, 1])).unwrap();
    assert_eq!(loss, std::f32::consts::LN_2);
    let nll = Nll::new().ignore_index(255);
    assert_eq!(nll.mean(shape, &logits, Indices::U8(&[255, 0, 1])).unwrap(), -0.5);
    // -100 is none
    assert!(CrossEntropy::new().mean(shape, &logits, Targets::U8(&[156, 0, 1])).is_err());
}

#[test]
fn ignore_index_is_compared_before_the_range_check() {
    let (shape, logits) = (ClassShape::rows(2, 3), [0.0f64; 6]);
    for ignore in [3, 77, -1, i64::from(i32::MIN), i64::from(i32::MAX)] {
        let ce = CrossEntropy::new().ignore_index(ignore);
        assert!(ce.mean(shape, &logits, Targets::I64(&[ignore, 2])).is_ok());
        assert!(ce.mean(shape, &logits, Targets::I32(&[ignore as i32, 2])).is_ok());
        assert!(ce.mean(shape, &logits, Targets::I64(&[4, ignore])).is_err());
        let nll = Nll::new().ignore_index(ignore);
        assert!(nll.mean(shape, &logits, Indices::I64(&[ignore, 2])).is_ok());
        assert!(nll.mean(shape, &logits, Indices::I32(&[4, ignore as i32])).is_err());
    }
}

fn nan_under_weight_0<T: Float>() {
    let nan = T::of(f64::NAN);
    let mut calls = Vec::new();
    for mut call in call::pointwise::<T>(40) {
        let Loss::Pointwise { weight, .. } = &mut call.loss else { unreachable!() };
        let mut weights = all_of::<T>(&[1.0; 40]);
        weights[5] = T::of(0.0);
        *weight = Some(weights);
        calls.push((call, 5, vec![5]));
    }
    for shape in [Shape::rows(40, 4), Shape::rows(9, 70), Shape::new(2, 80, 6)] {
        for mut call in call::classes::<T>(shape) {
            let (Loss::CrossEntropy { row, .. } | Loss::Nll { row, .. }) = &mut call.loss else { unreachable!() };
            let mut weights = all_of::<T>(&vec![1.0; shape.samples()]);
            weights[5] = T::of(0.0);
            *row = Some(weights);
            if let Loss::CrossEntropy { goal: Goal::I64(targets), .. } | Loss::Nll { targets, .. } = &mut call.loss {
                targets[5] = 0;
            }
            let places = if matches!(call.loss, Loss::Nll { .. }) { 0..1 } else { 0..shape.classes };
            calls.push((call, shape.at(5, 0), places.map(|class| shape.at(5, class)).collect()));
        }
    }
    for mut call in call::td::<T>(40, 3, 3) {
        let Loss::Td(td) = &mut call.loss else { unreachable!() };
        let mut weights = all_of::<T>(&[1.0; 40]);
        weights[5] = T::of(0.0);
        (td.weight, td.action[5]) = (Some(weights), 0);
        calls.push((call, 15, vec![15]));
    }
    for (mut call, at, nans) in calls {
        let clean = call.run(&context(), Reduction::None);
        assert_eq!(clean.loss[5].wide(), 0.0, "{}", call.name);
        assert!(nans.iter().all(|&at| clean.grad[at].wide() == 0.0), "{}", call.name);
        call.input[at] = nan;
        for reduction in REDUCTIONS {
            let got = call.run(&context(), reduction);
            let places = if reduction == Reduction::None { vec![5] } else { vec![0] };
            let of = |x: &[T]| -> Vec<usize> { (0..x.len()).filter(|&at| x[at].wide().is_nan()).collect() };
            assert_eq!(of(&got.loss), places, "{} {reduction:?}", call.name);
            assert_eq!(of(&got.grad), nans, "{} {reduction:?}", call.name);
            assert!(got.cost.mean().is_nan());
        }
    }
}

#[test]
fn a_weight_of_0_does_not_hide_a_nan() {
    nan_under_weight_0::<f32>();
    nan_under_weight_0::<f64>();
}

fn scales<T: Float>() {
    for call in call::every::<T>() {
        for reduction in REDUCTIONS {
            let plain = call.run(&context(), reduction);
            for scale in [0.5, -4096.0, 1.0, 0.0] {
                let options = Options::new().grad_scale(scale);
                let before = vec![T::of(SENTINEL); call.input.len()];
                let got = call.run_with(&context(), reduction, options, &before);
                assert_same_bits(&got.loss, &plain.loss, &call.name);
                assert_eq!(got.cost, plain.cost);
                let owned = call.shape().owned();
                for (got, plain) in [(&got.grad, &plain.grad), (&got.hess, &plain.hess)] {
                    // powers of two, so that nothing is rounded
                    let scaled = |(plain, owned): (&T, &bool)| if *owned { plain.wide() * scale } else { SENTINEL };
                    let want: Vec<f64> = plain.iter().zip(&owned).map(scaled).collect();
                    let got: Vec<f64> = got.iter().map(|x| x.wide()).collect();
                    // as numbers: 0 has the sign that the factor gives it
                    assert_eq!(got, want, "{} {reduction:?} scaled by {scale}", call.name);
                }
            }
        }
    }
}

#[test]
fn grad_scale_scales_gradient_and_hessian_and_nothing_else() {
    scales::<f32>();
    scales::<f64>();
}

/// grad_scale and 1/n are one factor, rounded once, and applied by one multiplication.
fn one_multiplication<T: Float>() {
    // cross_entropy carries the factor in two parts, and a sum of weights has more digits than `weight_sum`; a
    // pointwise weight and the factor are one exact product, which rounds once less than one after the other
    let other = |call: &Call<T>| {
        let is_pointwise = matches!(call.loss, Loss::Pointwise { weight: Some(_), .. });
        call.name.starts_with("cross_entropy") || call.name.starts_with("nll ignoring weighted") || is_pointwise
    };
    let calls = call::every::<T>().into_iter().filter(|call| !other(call));
    for call in calls.filter(|call| call.samples() > 0) {
        let each = call.run(&context(), Reduction::None);
        for reduction in REDUCTIONS {
            for scale in [1.0 / 3.0, 1e-3] {
                let options = Options::new().grad_scale(scale);
                let got = call.run_with(&context(), reduction, options, &each.grad);
                let own = if call.name.starts_with("mse") || call.name.starts_with("td mse") { 2.0 } else { 1.0 };
                let divisor = if reduction == Reduction::Mean { got.summary.weight_sum } else { 1.0 };
                let factor = T::of(own * scale / divisor).wide();
                for (got, each) in [(&got.grad, &each.grad), (&got.hess, &each.hess)] {
                    for (at, owned) in call.shape().owned().into_iter().enumerate() {
                        if owned {
                            // the product of two f32 is exact in f64; of two f64, rounded once
                            let want = T::of(each[at].wide() / own * factor);
                            let name = &call.name;
                            assert_eq!(
                                got[at].bits(),
                                want.bits(),
                                "{name} {reduction:?} at {at}: {:e} {want:e}",
                                got[at]
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn constant_factors_are_one_multiplication() {
    one_multiplication::<f32>();
    one_multiplication::<f64>();
}

/// Micro-batches as they should be added up: SUM with grad_scale = 1 / total weight, one total for all.
#[test]
fn accumulated_sums_over_micro_batches_are_the_gradient_of_the_whole_mean() {
    let calls = call::classes::<f64>(Shape::rows(12, 5));
    let whole = calls.iter().find(|call| call.name.contains("confident weighted")).unwrap();
    let want = whole.run(&context(), Reduction::Mean);
    let Loss::CrossEntropy { goal: Goal::I32(targets), class, row, .. } = &whole.loss else { unreachable!() };
    let mut grad = vec![0.0; 60];
    let options = Options::new().reduction(Reduction::Sum).accumulate_grad(true);
    let options = options.grad_scale(1.0 / want.summary.weight_sum);
    let (class, row) = (class.as_ref().unwrap(), row.as_ref().unwrap());
    for batch in [0..5, 5..6, 6..12] {
        let elements = batch.start * 5..batch.end * 5;
        let weights = Weights::new().class(class).row(&row[batch.clone()]);
        let (shape, targets) = (ClassShape::rows(batch.len(), 5), Targets::I32(&targets[batch]));
        let outputs = Outputs::new().grad(&mut grad[elements.clone()]);
        let logits = &whole.input[elements];
        CrossEntropy::new().eval(&context(), shape, logits, targets, weights, &options, outputs).unwrap();
    }
    for (got, want) in grad.iter().zip(&want.grad) {
        assert!((got - want).abs() <= 4.0 * f64::EPSILON * want.abs(), "{got} {want}");
    }
}

/// The loss of each sample is what it would be alone.
#[test]
fn none_gives_each_pointwise_sample_what_it_has_alone() {
    for call in call::pointwise::<f32>(33) {
        let Loss::Pointwise { formula, target, weight } = &call.loss else { unreachable!() };
        let got = call.run(&context(), Reduction::None);
        for i in 0..33 {
            let formula = formula.of_element(i);
            let weight = weight.as_ref().map(|weight| vec![weight[i]]);
            let loss = Loss::Pointwise { formula, target: vec![target[i]], weight };
            let alone = Call { name: call.name.clone(), input: vec![call.input[i]], loss };
            let alone = alone.run(&context(), Reduction::Sum);
            let all = [&got.loss, &got.grad, &got.hess].map(|x| x[i].bits());
            assert_eq!(all, [&alone.loss, &alone.grad, &alone.hess].map(|x| bits(x)[0]), "{}", call.name);
        }
    }
}

/// A factor that is infinite in the type makes no NaN where there is no sample that counts, whatever the vectors.
fn infinite_z_loss<T: Float>() {
    for shape in [Shape::rows(3, 40), Shape::rows(3, 4), Shape::rows(3, 300), Shape::new(1, 4, 3)] {
        let logits = vec![T::of(1.0); shape.elements()];
        let run = |targets: &[i64], reduction: Reduction, loss: &mut [T]| {
            let (options, outputs) = (Options::new().reduction(reduction), Outputs::new().loss(loss));
            let (shape, targets) = (shape.class_shape(), Targets::I64(targets));
            let loss = CrossEntropy::new().z_loss(f64::INFINITY);
            loss.eval(&context(), shape, &logits, targets, Weights::new(), &options, outputs).expect("lengths agree");
        };
        let (mut each, mut sum) = ([T::of(7.0); 3], [T::of(7.0)]);
        run(&[-100, 1, -100], Reduction::None, &mut each);
        assert_same_bits(&each, &[0.0, f64::INFINITY, 0.0].map(T::of), &format!("{shape:?}"));
        run(&[-100, 1, 2], Reduction::Sum, &mut sum);
        assert_same_bits(&sum, &[T::of(f64::INFINITY)], &format!("{shape:?}"));
    }
}

#[test]
fn an_infinite_z_loss_is_that_of_the_samples_that_count() {
    infinite_z_loss::<f32>();
    infinite_z_loss::<f64>();
}
