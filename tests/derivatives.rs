//! Gradients and Hessians are the derivatives of the loss that the same call gives, and keep its symmetries.

mod common;

use common::call::{self, Call, Formula, Goal, Loss, Shape, spread};
use common::exact::Exact;
use common::losses::Inputs;
use common::reference::reference;
use common::{Float, Random, assert_same_bits, ulps_off};
use losskit::{Context, LogSoftmax, Options, Outputs, Reduction, Softmax};
use proptest::prelude::*;

/// Largest step of a central difference; and for probabilities, whose logarithms bend sharply.
const STEP: f64 = 1.0 / 16.0;
const PROBABILITY_STEP: f64 = 1.0 / 256.0;

/// First and second derivative of f at 0, from central differences with steps h, h/2 and h/4, whose errors of order h^2
/// and h^4 cancel (Richardson).
fn derivatives(f: impl Fn(f64) -> f64, h: f64) -> [f64; 2] {
    let here = f(0.0);
    let differences = |h: f64| {
        let (above, below) = (f(h), f(-h));
        [(above - below) / (2.0 * h), ((above - here) - (here - below)) / (h * h)]
    };
    let [a, b, c] = [h, h / 2.0, h / 4.0].map(differences);
    [0, 1].map(|i| {
        let [ab, bc] = [[a[i], b[i]], [b[i], c[i]]].map(|[coarse, fine]| fine + (fine - coarse) / 3.0);
        bc + (bc - ab) / 15.0
    })
}

/// The step at element `i`, after moving it away from joints where the loss has no such derivatives.
fn settle(call: &mut Call<f64>, at: usize) -> f64 {
    let away = |d: f64, joints: &[f64]| {
        let near = joints.iter().any(|joint| (d.abs() - joint).abs() <= STEP);
        if near { 0.25 } else { 0.0 }
    };
    match &call.loss {
        Loss::Pointwise { formula, target, .. } => {
            let joints = match formula {
                Formula::L1 => vec![0.0],
                Formula::Huber(joint) | Formula::SmoothL1(joint) => vec![*joint],
                formula if formula.inputs() == Inputs::OnlyProbabilities => {
                    call.input[at] = 0.25 + 0.5 * call.input[at];
                    return PROBABILITY_STEP;
                }
                _ => vec![],
            };
            call.input[at] += away(call.input[at] - target[at], &joints);
        }
        Loss::Td(td) => {
            // how far q is from its target, told by the call itself
            let mut errors = vec![0.0; td.shape.samples()];
            let context = Context::with_threads(1);
            let inputs = td.inputs(&call.input);
            td.loss().eval(&context, &inputs, &Options::new(), Outputs::new(), Some(&mut errors)).unwrap();
            let row = at / td.shape.outer_stride;
            call.input[at] += away(errors[row], td.delta.as_slice()) * -errors[row].signum();
        }
        _ => {}
    }
    STEP
}

/// Every element of the input, or every `stride`-th.
fn check_derivatives(call: &mut Call<f64>, stride: usize) {
    let context = Context::with_threads(1);
    let places: Vec<usize> =
        call.shape().owned().iter().enumerate().filter(|(_, owned)| **owned).map(|(at, _)| at).collect();
    let places: Vec<usize> = places.into_iter().step_by(stride).collect();
    let steps: Vec<f64> = places.iter().map(|&at| settle(call, at)).collect();
    for (reduction, grad_scale) in [(Reduction::Sum, 1.0), (Reduction::Mean, 0.75)] {
        let options = Options::new().reduction(reduction).grad_scale(grad_scale);
        let zeros = vec![0.0; call.input.len()];
        let got = call.run_with(&context, reduction, options, &zeros);
        if got.summary.weight_sum == 0.0 {
            continue;
        }
        for (&at, &step) in places.iter().zip(&steps) {
            let loss = |by: f64| {
                let (mut input, mut loss) = (call.input.clone(), [0.0]);
                input[at] += by;
                call.eval(&context, &input, &options, Outputs::new().loss(&mut loss)).unwrap();
                loss[0]
            };
            let [grad, hess] = derivatives(loss, step).map(|derivative| derivative * grad_scale);
            let scale = 1.0 + got.loss[0].abs();
            let check = |what: &str, got: f64, want: f64, tolerance: f64| {
                let right = (got - want).abs() <= tolerance * scale.max(want.abs());
                assert!(
                    right,
                    "{} {reduction:?} {what} at {at}: {got:e}, the difference quotient is {want:e}",
                    call.name
                );
            };
            check("gradient", got.grad[at], grad, 1e-10);
            check("Hessian", got.hess[at], hess, 1e-8);
        }
    }
}

#[test]
fn gradient_and_hessian_of_pointwise_losses_are_their_derivatives() {
    for n in [1, 60, 100] {
        call::pointwise(n).iter_mut().for_each(|call| check_derivatives(call, 1));
    }
}

#[test]
fn gradient_and_hessian_of_class_losses_are_their_derivatives() {
    let shapes = [
        (Shape::rows(1, 1), 1),
        (Shape::rows(5, 2), 1),
        (Shape::rows(4, 10), 1),
        (Shape::rows(2, 100), 3),
        (Shape::rows(1, 5000), 501),
        (Shape::new(2, 3, 5), 1),
        (Shape::new(1, 70, 3), 7),
        (Shape::new(2, 3, 4).strides(40, 5), 1),
        (Shape::rows(6, 4).strides(1, 9), 1),
    ];
    for (shape, stride) in shapes {
        call::classes(shape).iter_mut().for_each(|call| check_derivatives(call, stride));
    }
}

#[test]
fn gradient_and_hessian_of_td_are_its_derivatives() {
    for (rows, actions, row_stride) in [(5, 2, 2), (7, 6, 9), (2, 70, 70)] {
        call::td(rows, actions, row_stride).iter_mut().for_each(|call| check_derivatives(call, 1));
    }
}

/// sum of g_j y_j(x), whose gradient `backward` gives.
fn check_backward(shape: Shape, stride: usize) {
    let context = Context::with_threads(1);
    let random = &mut Random(7);
    let logits: Vec<f64> = spread(shape, || random.number(4.0));
    let upstream: Vec<f64> = spread(shape, || random.number(2.0));
    let (class_shape, owned) = (shape.class_shape(), shape.owned());
    let nans = vec![f64::NAN; shape.elements()];
    let forward = |logits: &[f64], log: bool| {
        let mut output = nans.clone();
        match log {
            false => Softmax::new().eval(&context, class_shape, logits, &mut output),
            true => LogSoftmax::new().eval(&context, class_shape, logits, &mut output),
        }
        .unwrap();
        output
    };
    for log in [false, true] {
        let (output, mut grad) = (forward(&logits, log), nans.clone());
        match log {
            false => Softmax::new().backward(&context, class_shape, &output, &upstream, &mut grad),
            true => LogSoftmax::new().backward(&context, class_shape, &output, &upstream, &mut grad),
        }
        .unwrap();
        for at in (0..shape.elements()).filter(|&at| owned[at]).step_by(stride) {
            let value = |by: f64| {
                let mut logits = logits.clone();
                logits[at] += by;
                let output = forward(&logits, log);
                (0..output.len()).filter(|&i| owned[i]).map(|i| output[i] * upstream[i]).sum()
            };
            let [want, _] = derivatives(value, STEP);
            let tolerance = 1e-10 * shape.elements() as f64;
            assert!((grad[at] - want).abs() < tolerance, "{shape:?} log {log} at {at}: {}, not {want}", grad[at]);
        }
    }
}

#[test]
fn backward_of_softmax_and_log_softmax_are_their_derivatives() {
    check_backward(Shape::rows(3, 1), 1);
    check_backward(Shape::rows(5, 7), 1);
    check_backward(Shape::rows(2, 100), 3);
    check_backward(Shape::new(2, 5, 6), 1);
    check_backward(Shape::new(1, 70, 3).strides(280, 4), 5);
    check_backward(Shape::rows(4, 3).strides(1, 4), 1);
}

/// Shapes of every layout: rows and columns, dense, with gaps, classes outermost.
fn shapes() -> impl Strategy<Value = Shape> {
    (1usize..40, prop_oneof![1usize..12, 60usize..70, 100usize..300], 1usize..36, 0usize..3, 0usize..4).prop_map(
        |(outer, classes, inner, gap, layout)| match layout {
            0 => Shape::rows(outer, classes),
            1 => Shape::rows(outer, classes).strides(classes + gap, 1),
            2 => Shape::new(outer.min(4), classes, inner).strides((inner + gap) * classes + gap, inner + gap),
            _ => Shape::rows(outer, classes).strides(1 + gap, (1 + gap) * outer),
        },
    )
}

fn run<T: Float>(call: &Call<T>, reduction: Reduction) -> call::Results<T> {
    call.run(&Context::with_threads(1), reduction)
}

/// Whether a common shift of a sample's logits changes nothing.
fn is_shiftable<T: Float>(call: &Call<T>) -> bool {
    matches!(call.loss, Loss::CrossEntropy { z, .. } if z == 0.0)
}

/// The gradients of a sample's logits cancel, because a common shift of them changes nothing.
fn gradients_cancel<T: Float>(shape: Shape) {
    for call in call::classes::<T>(shape).iter().filter(|call| is_shiftable(call)) {
        let (got, terms) = (run(call, Reduction::Sum), reference(call).grad);
        for sample in 0..shape.samples() {
            let places = || (0..shape.classes).map(|class| shape.at(sample, class));
            let sum: Exact = places().map(|at| Exact::of(got.grad[at].wide())).sum();
            let size: f64 = places().map(|at| terms[at].scale.abs()).sum();
            // each may be off by 4 units in the last place of its terms
            let right = sum.hi.abs() <= 4.0 * T::EPSILON * size;
            assert!(right, "{}: sample {sample}: {:e}, of terms of {size:e}", call.name, sum.hi);
        }
    }
}

/// Logits on a grid of 1/256, to which a shift adds no rounding.
fn shift_changes_no_bit<T: Float>(shape: Shape, shift: f64) {
    for mut call in call::classes::<T>(shape).into_iter().filter(is_shiftable) {
        call.input.iter_mut().for_each(|x| *x = T::of((x.wide() * 256.0).round() / 256.0));
        let plain = run(&call, Reduction::Mean);
        call.input.iter_mut().for_each(|x| *x = T::of(x.wide() + shift));
        run(&call, Reduction::Mean).assert_same_bits(&plain, &format!("{} shifted by {shift}", call.name));
    }
}

/// The calls with index targets, without smoothing and class weights: with these, and with probabilities that are 1 at
/// the target and 0 elsewhere.
fn hard_and_one_hot<T: Float>(shape: Shape) -> Vec<[Call<T>; 2]> {
    let mut calls = call::classes::<T>(shape);
    calls.retain(|call| is_shiftable(call) && !call.name.contains("soft"));
    let pair = |call: Call<T>| {
        let Loss::CrossEntropy { goal, ignore, row, .. } = call.loss else { unreachable!() };
        let mut one_hot: Vec<T> = spread(shape, || T::of(0.0));
        let target = |sample| goal.index(sample).filter(|target| *target != ignore).unwrap_or(0);
        let targets: Vec<i64> = (0..shape.samples()).map(target).collect();
        for (sample, &target) in targets.iter().enumerate() {
            one_hot[shape.at(sample, target as usize)] = T::of(1.0);
        }
        [Goal::I64(targets), Goal::Probabilities(one_hot)].map(|goal| {
            let loss =
                Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -100, shape, goal, class: None, row: row.clone() };
            Call { name: format!("{} one-hot", call.name), input: call.input.clone(), loss }
        })
    };
    calls.into_iter().map(pair).collect()
}

/// One-hot probabilities keep the last places that index targets have, confident rows too.
fn one_hot_keeps_the_last_places<T: Float>(shape: Shape) {
    for [hard, soft] in hard_and_one_hot::<T>(shape) {
        let (got, want) = (run(&soft, Reduction::None), reference(&hard));
        let outputs = [("loss", &got.loss, &want.loss, 3.0), ("grad", &got.grad, &want.grad, 4.0)];
        for (output, got, want, bound) in outputs {
            for (at, (&got, want)) in got.iter().zip(want).enumerate().filter(|(_, (_, want))| want.scale != 0.0) {
                let off = ulps_off(got, want.value, want.value.hi);
                let name = &soft.name;
                assert!(off <= bound, "{name}: {output} {at} is {got:e}, not {:e}: {off} ULP", want.value.hi);
            }
        }
    }
}

/// Where the logits' differences are exact, unweighted, they give the same bits. (Elsewhere the last may differ: with
/// shares in every class, a difference's rounding error is not carried along for each of them.)
fn one_hot_is_the_index<T: Float>(shape: Shape) {
    for mut calls in hard_and_one_hot::<T>(shape) {
        for call in &mut calls {
            call.input.iter_mut().for_each(|x| *x = T::of((x.wide() * 256.0).round() / 256.0));
            let Loss::CrossEntropy { row, .. } = &mut call.loss else { unreachable!() };
            *row = None;
        }
        for reduction in [Reduction::None, Reduction::Sum] {
            let [hard, soft] = [0, 1].map(|i| run(&calls[i], reduction));
            soft.assert_same_bits(&hard, &format!("{} {reduction:?}", calls[0].name));
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn gradients_of_a_samples_logits_cancel(shape in shapes()) {
        gradients_cancel::<f32>(shape);
        gradients_cancel::<f64>(shape);
    }

    #[test]
    fn a_common_shift_of_the_logits_changes_no_bit(shape in shapes(), shift in -2000i32..2000) {
        shift_changes_no_bit::<f32>(shape, f64::from(shift) / 4.0);
        shift_changes_no_bit::<f64>(shape, f64::from(shift) * 1024.0);
    }

    #[test]
    fn one_hot_probabilities_keep_the_last_places_of_index_targets(shape in shapes()) {
        one_hot_keeps_the_last_places::<f32>(shape);
        one_hot_keeps_the_last_places::<f64>(shape);
    }

    #[test]
    fn one_hot_probabilities_give_the_bits_of_index_targets(shape in shapes()) {
        one_hot_is_the_index::<f32>(shape);
        one_hot_is_the_index::<f64>(shape);
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn random_shapes_have_the_derivatives_of_their_loss(shape in shapes()) {
        let stride = (shape.samples() * shape.classes / 12).max(1);
        call::classes(shape).iter_mut().for_each(|call| check_derivatives(call, stride));
    }
}

/// softmax itself: a shift changes no bit, and probabilities add up to 1.
#[test]
fn softmax_is_a_distribution_that_ignores_shifts() {
    fn check<T: Float>(shape: Shape) {
        let context = Context::with_threads(1);
        let random = &mut Random(3);
        let logits: Vec<T> = spread(shape, || T::of((random.number(8.0) * 256.0).round() / 256.0));
        let shifted: Vec<T> = logits.iter().map(|x| T::of(x.wide() - 512.0)).collect();
        let outputs = [&logits, &shifted].map(|logits| {
            let (mut p, mut log_p) = (logits.clone(), logits.clone());
            Softmax::new().eval(&context, shape.class_shape(), logits, &mut p).unwrap();
            LogSoftmax::new().eval(&context, shape.class_shape(), logits, &mut log_p).unwrap();
            (p, log_p)
        });
        assert_same_bits(&outputs[1].0, &outputs[0].0, "softmax shifted");
        assert_same_bits(&outputs[1].1, &outputs[0].1, "log_softmax shifted");
        for sample in 0..shape.samples() {
            let p = |class| Exact::of(outputs[0].0[shape.at(sample, class)].wide());
            let off = (0..shape.classes).map(p).sum::<Exact>() - Exact::ONE;
            assert!(off.hi.abs() <= 4.0 * T::EPSILON, "{shape:?}: 1 + {:e}", off.hi);
        }
    }
    for shape in [Shape::rows(40, 3), Shape::rows(5, 1000), Shape::new(2, 10, 33), Shape::new(2, 80, 5)] {
        check::<f32>(shape);
        check::<f64>(shape);
    }
}
