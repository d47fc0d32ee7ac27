//! The worked examples that the losses are explained by.

mod common;

use common::{Float, all_of};
use losskit::{
    Bce, BceWithLogits, ClassShape, Context, Cost, CrossEntropy, Huber, Indices, L1, Likelihood, LogSoftmax, Mse, Nll,
    Options, Outputs, Reduction, Softmax, Targets, Weights,
};

#[track_caller]
fn assert_near<T: Float>(got: T, want: f64, tolerance: f64) {
    assert!((got.wide() - want).abs() <= tolerance, "{got}, not {want}");
}

fn likelihood<T: Float>() {
    let target = all_of::<T>(&[1.0, 1.0, 0.0, 0.0, 0.0]);
    let p = all_of::<T>(&[0.5, 0.9, 0.2, 0.6, 0.1]);
    let mut grad = all_of::<T>(&[0.0; 5]);
    let loss = Likelihood::new().mean_with_grad(&p, &target, &mut grad).unwrap();
    // -(0.5 + 0.9 + 0.8 + 0.4 + 0.9) / 5
    assert_near(loss, -0.7, T::EPSILON);
    assert_eq!(grad, all_of::<T>(&[-0.2, -0.2, 0.2, 0.2, 0.2]));
}

#[test]
fn likelihood_of_five_samples_is_minus_0_7() {
    likelihood::<f32>();
    likelihood::<f64>();
}

fn bce<T: Float>() {
    let target = [0.0, 0.0, 1.0, 0.0, 1.0];
    let right: [f64; 5] = [0.8, 0.6, 0.8, 0.7, 0.9];
    // the probability of class 1, of which the probability of being right is p or 1 - p
    let p: Vec<f64> = target.iter().zip(right).map(|(&y, right)| if y == 1.0 { right } else { 1.0 - right }).collect();
    let mut grad = all_of::<T>(&[0.0; 5]);
    let loss = Bce::new().mean_with_grad(&all_of::<T>(&p), &all_of(&target), &mut grad).unwrap();
    assert_near(loss, 0.2838, 5e-5);
    assert_near(loss, -right.map(f64::ln).iter().sum::<f64>() / 5.0, 2.0 * T::EPSILON);
    for ((grad, y), right) in grad.iter().zip(target).zip(right) {
        let want = if y == 1.0 { -1.0 } else { 1.0 } / right / 5.0;
        assert_near(*grad, want, 2.0 * T::EPSILON);
    }
}

#[test]
fn bce_of_five_probabilities_is_0_28() {
    bce::<f32>();
    bce::<f64>();
}

const CATEGORICAL: [f64; 5] = [0.8, 0.0, 0.0, 0.2, 0.0];

fn categorical<T: Float>() {
    let context = Context::with_threads(1);
    let shape = ClassShape::rows(1, 5);
    let infinity = f64::INFINITY;

    let log_probs = all_of::<T>(&CATEGORICAL.map(f64::ln));
    assert_eq!(log_probs[1].wide(), -infinity);
    let mut grad = all_of::<T>(&[9.0; 5]);
    let loss = Nll::new().mean_with_grad(shape, &log_probs, Indices::U8(&[0]), &mut grad).unwrap();
    assert_near(loss, 0.2231, 5e-5);
    assert_eq!(loss, T::of(-T::of(0.8f64.ln()).wide()));
    assert_eq!(grad, all_of::<T>(&[-1.0, 0.0, 0.0, 0.0, 0.0]));

    // logits that give that softmax: its logarithms, shifted by whatever is exact
    let logits: Vec<T> = log_probs.iter().map(|x| T::of(x.wide() + 4.0)).collect();
    let mut p = grad.clone();
    Softmax::new().eval(&context, shape, &logits, &mut p).unwrap();
    for (&p, want) in p.iter().zip(CATEGORICAL) {
        assert_near(p, want, 4.0 * T::EPSILON * want);
    }
    let loss = CrossEntropy::new().mean_with_grad(shape, &logits, Targets::U8(&[0]), &mut grad).unwrap();
    assert_near(loss, 0.2231, 5e-5);
    assert_near(loss, -0.8f64.ln(), 4.0 * T::EPSILON);
    for (&grad, want) in grad.iter().zip([-0.2, 0.0, 0.0, 0.2, 0.0]) {
        assert_near(grad, want, 4.0 * T::EPSILON * f64::abs(want));
    }

    // the way from one to the other
    let mut through = grad.clone();
    LogSoftmax::new().eval(&context, shape, &logits, &mut through).unwrap();
    assert_eq!(Nll::new().mean(shape, &through, Indices::I32(&[0])).unwrap(), loss);
    assert_eq!(through[1].wide(), -infinity);
}

#[test]
fn categorical_cross_entropy_is_0_22_through_nll_and_through_logits() {
    categorical::<f32>();
    categorical::<f64>();
}

fn yes_or_no<T: Float>() {
    let logits = all_of::<T>(&[-30.0, -3.0, -0.5, 0.0, 0.25, 2.0, 20.0, 100.0]);
    let yes: Vec<T> = (0..8).map(|i| T::of(f64::from(i % 2))).collect();
    let classes: Vec<u8> = (0..8).map(|i| i % 2).collect();
    // no has logit 0, yes the one output
    let rows: Vec<T> = logits.iter().flat_map(|&x| [T::of(0.0), x]).collect();
    let (shape, context) = (ClassShape::rows(8, 2), Context::with_threads(1));
    let options = Options::new().reduction(Reduction::None);
    let (mut binary, mut binary_grad) = (logits.clone(), logits.clone());
    let outputs = Outputs::new().loss(&mut binary).grad(&mut binary_grad);
    BceWithLogits::new().eval(&context, &logits, &yes, None, &options, outputs).unwrap();
    let (mut two, mut two_grad) = (logits.clone(), rows.clone());
    let outputs = Outputs::new().loss(&mut two).grad(&mut two_grad);
    CrossEntropy::new().eval(&context, shape, &rows, Targets::U8(&classes), Weights::new(), &options, outputs).unwrap();
    for i in 0..8 {
        assert_near(binary[i], two[i].wide(), 3.0 * T::EPSILON * two[i].wide());
        assert_near(binary_grad[i], two_grad[2 * i + 1].wide(), 4.0 * T::EPSILON * two_grad[2 * i + 1].wide().abs());
        assert_near(two_grad[2 * i], -two_grad[2 * i + 1].wide(), 8.0 * T::EPSILON * two_grad[2 * i].wide().abs());
    }
    let binary = BceWithLogits::new().mean(&logits, &yes).unwrap();
    let two = CrossEntropy::new().mean(shape, &rows, Targets::U8(&classes)).unwrap();
    assert_near(binary, two.wide(), 4.0 * T::EPSILON * two.wide());
}

#[test]
fn one_binary_output_and_two_classes_have_the_same_loss() {
    yes_or_no::<f32>();
    yes_or_no::<f64>();
}

fn huber<T: Float>() {
    let eval = |d: f64, delta: f64| {
        let mut grad = [T::of(0.0)];
        let loss = Huber::new(delta).mean_with_grad(&[T::of(d)], &[T::of(0.0)], &mut grad).unwrap();
        (loss, grad[0])
    };
    for d in [0.0, 0.125, -0.5, 0.75, -1.0, 1.0] {
        let mut grad = [T::of(0.0)];
        let mse = Mse::new().mean_with_grad(&[T::of(d)], &[T::of(0.0)], &mut grad).unwrap();
        assert_eq!(eval(d, 1.0), (T::of(mse.wide() / 2.0), T::of(grad[0].wide() / 2.0)));
    }
    for d in [1.5, -2.0, 64.0, -4096.0] {
        let mut grad = [T::of(0.0)];
        let l1 = L1::new().mean_with_grad(&[T::of(d)], &[T::of(0.0)], &mut grad).unwrap();
        assert_eq!(eval(d, 1.0), (T::of(l1.wide() - 0.5), grad[0]));
        assert_eq!(eval(d, 0.5), (T::of((l1.wide() - 0.25) / 2.0), T::of(grad[0].wide() / 2.0)));
    }
    // one outlier among small errors: mse's gradient goes with it, huber's does not
    let (input, target) = (all_of::<T>(&[1.0, 2.0, 3.0, 100.0]), all_of::<T>(&[1.5, 2.5, 2.5, 0.0]));
    let mut grads = [input.clone(), input.clone()];
    Mse::new().mean_with_grad(&input, &target, &mut grads[0]).unwrap();
    Huber::new(1.0).mean_with_grad(&input, &target, &mut grads[1]).unwrap();
    assert_eq!(grads[0], all_of::<T>(&[-0.25, -0.25, 0.25, 50.0]));
    assert_eq!(grads[1], all_of::<T>(&[-0.125, -0.125, 0.125, 0.25]));
}

#[test]
fn huber_is_half_of_mse_inside_and_l1_like_outside() {
    huber::<f32>();
    huber::<f64>();
}

#[test]
fn a_data_sets_cost_is_the_mean_over_its_samples_not_over_its_batches() {
    let (context, mut cost) = (Context::default(), Cost::new());
    let (p, y) = ([0.5f32, 0.9, 0.2, 0.6, 0.1], [1.0f32, 1.0, 0.0, 0.0, 0.0]);
    let mut means = Vec::new();
    for batch in [0..2, 2..5] {
        let mut loss = [0.0];
        let outputs = Outputs::new().loss(&mut loss).cost(&mut cost);
        let (p, y) = (&p[batch.clone()], &y[batch]);
        Likelihood::new().eval(&context, p, y, None, &Options::new(), outputs).unwrap();
        means.push(loss[0]);
    }
    assert_near(cost.mean(), -0.7, 1e-7);
    assert_eq!(means, [-0.7, -0.7]);
    let mut cost = Cost::new();
    for batch in [0..1, 1..5] {
        let outputs = Outputs::new().cost(&mut cost);
        Likelihood::new().eval(&context, &p[batch.clone()], &y[batch], None, &Options::new(), outputs).unwrap();
    }
    assert_near(cost.mean(), -0.7, 1e-7);
}
