//! The least Hessian: before weights and factors, of what a loss reads, and of nothing else.

use crate::common::call::{self, Call, Goal, Loss, SENTINEL};
use crate::common::{Float, all_of, assert_same_bits};
use losskit::{BceWithLogits, Context, Options, Outputs, Reduction};

fn context() -> Context {
    Context::with_threads(1)
}

/// The factor of a sample's Hessian before which it is raised: weights, and the sum of its target distribution. None if the
/// sample is ignored.
fn share<T: Float>(call: &Call<T>, sample: usize) -> Option<f64> {
    let of = |weights: &Option<Vec<T>>, at: usize| weights.as_ref().map_or(1.0, |weights| weights[at].wide());
    Some(match &call.loss {
        Loss::Pointwise { weight, .. } => of(weight, sample),
        Loss::Td(td) => of(&td.weight, sample),
        Loss::Nll { targets, ignore, .. } if targets[sample] == *ignore => return None,
        Loss::Nll { targets, class, row, .. } => of(class, targets[sample] as usize) * of(row, sample),
        Loss::CrossEntropy { smoothing, ignore, shape, goal, class, row, .. } => {
            let target = goal.index(sample);
            if target == Some(*ignore) {
                return None;
            }
            let q = |j: usize| match (goal, target) {
                (Goal::Probabilities(q), _) => q[shape.at(sample, j)].wide(),
                (_, target) => f64::from(target == Some(j as i64)),
            };
            let smoothed = |j| (1.0 - smoothing) * q(j) + smoothing / shape.classes as f64;
            of(row, sample) * sum((0..shape.classes).map(|j| smoothed(j) * of(class, j)))
        }
    })
}

/// The sum of positive numbers, rounded hardly more than once (Kahan's).
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut error) = (0.0, 0.0);
    for term in terms {
        let term: f64 = term - error;
        let next: f64 = sum + term;
        (error, sum) = ((next - sum) - term, next);
    }
    sum
}

/// Whether the loss of a sample depends on this class.
fn is_read<T: Float>(call: &Call<T>, sample: usize, class: usize) -> bool {
    match &call.loss {
        Loss::Nll { targets, .. } => targets[sample] == class as i64,
        Loss::Td(td) => td.action[sample] == class as i64,
        _ => true,
    }
}

fn check<T: Float>(call: &Call<T>, least: f64) {
    let blank = vec![T::of(SENTINEL); call.input.len()];
    let plain = call.run(&context(), Reduction::None);
    let options = Options::new().min_hess(least);
    let raised = call.run_with(&context(), Reduction::None, options, &blank);
    assert_same_bits(&raised.loss, &plain.loss, &call.name);
    assert_same_bits(&raised.grad, &plain.grad, &call.name);
    let shape = call.shape();
    let owned = shape.owned();
    assert!((0..owned.len()).all(|at| owned[at] || raised.hess[at].wide() == SENTINEL), "{}", call.name);
    for sample in 0..call.samples() {
        let share = share(call, sample);
        for class in 0..shape.classes {
            let at = shape.at(sample, class);
            let (got, plain) = (raised.hess[at].wide(), plain.hess[at].wide());
            let want = match share {
                Some(share) if is_read(call, sample, class) => plain.max(least * share),
                _ => 0.0,
            };
            // four units in the last place, and in f64 as many for what this reckons with itself
            let places = if T::NAME == "f64" { 8.0 } else { 4.0 };
            let is_near = (got - want).abs() <= places * T::EPSILON * want;
            assert!(is_near, "{}, least {least}: {got:e} for {want:e} at {at}", call.name);
        }
    }
    // a mean's is divided, and what is added is what is written
    let mean = call.run_with(&context(), Reduction::Mean, options.grad_scale(0.5), &blank);
    let added = call.run_with(&context(), Reduction::Mean, options.grad_scale(0.5).accumulate_grad(true), &blank);
    for at in (0..owned.len()).filter(|&at| owned[at]) {
        let want = raised.hess[at].wide() * 0.5 / mean.summary.weight_sum;
        let got = mean.hess[at];
        // with a z-loss the Hessian has two terms that may be opposed, each rounded with the factor
        let places = if call.name.contains("z_loss") { 1000.0 } else { 6.0 };
        assert!((got.wide() - want).abs() <= places * T::EPSILON * want, "{}: {got:e} for {want:e}", call.name);
        let sum = if got.wide() == 0.0 { blank[at] } else { blank[at].plus(got) };
        assert_eq!(added.hess[at].bits(), sum.bits(), "{} at {at}", call.name);
    }
}

fn every_loss<T: Float>() {
    for call in call::every::<T>() {
        for least in [1e-16, 0.15, 3.0] {
            check(&call, least);
        }
    }
}

#[test]
fn hessians_are_raised_before_weights_and_factors() {
    every_loss::<f32>();
    every_loss::<f64>();
}

/// XGBoost's logistic objective: max(p (1 - p), 1e-16) times the weight.
#[test]
fn saturated_logits_keep_a_hessian() {
    let (logits, labels, weight) = ([0.0f64, 40.0, -90.0, 1000.0], [1.0, 1.0, 0.0, 1.0], [1.0, 2.0, 3.0, 0.5]);
    let mut hess = [0.0; 4];
    let options = Options::new().reduction(Reduction::Sum).min_hess(1e-16);
    let outputs = Outputs::new().hess(&mut hess);
    BceWithLogits::new().eval(&context(), &logits, &labels, Some(&weight), &options, outputs).unwrap();
    assert_eq!(hess, [0.25, 2e-16, 3e-16, 0.5e-16]);
}

/// Whatever is no number stays none, and a negative weight turns the least into the most.
#[test]
fn nan_stays_and_negative_weights_turn_the_floor_around() {
    fn check<T: Float>() {
        let [logits, labels] = [&[f64::NAN, 90.0, 90.0], &[1.0, 1.0, 1.0]].map(|x| all_of::<T>(x));
        let weight = all_of::<T>(&[1.0, -2.0, 0.0]);
        let mut hess = all_of::<T>(&[0.0; 3]);
        let options = Options::new().reduction(Reduction::Sum).min_hess(0.125);
        let outputs = Outputs::new().hess(&mut hess);
        BceWithLogits::new().eval(&context(), &logits, &labels, Some(&weight), &options, outputs).unwrap();
        assert!(hess[0].wide().is_nan());
        assert_eq!([hess[1].wide(), hess[2].wide()], [-0.25, 0.0]);
        let shape = losskit::ClassShape::rows(3, 2);
        let logits = all_of::<T>(&[f64::NAN, 0.0, 90.0, 0.0, 90.0, 0.0]);
        let weights = losskit::Weights::new().row(&weight);
        let (mut hess, targets) = (all_of::<T>(&[0.0; 6]), losskit::Targets::U8(&[0, 0, 0]));
        let outputs = Outputs::new().hess(&mut hess);
        losskit::CrossEntropy::new().eval(&context(), shape, &logits, targets, weights, &options, outputs).unwrap();
        assert!(hess[0].wide().is_nan() && hess[1].wide().is_nan());
        assert_eq!(hess[2..].iter().map(|x| x.wide()).collect::<Vec<_>>(), [-0.25, -0.25, 0.0, 0.0]);
    }
    check::<f32>();
    check::<f64>();
}
