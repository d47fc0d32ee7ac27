//! Every error that Rust can cause: its message, its number, and outputs that it leaves alone.

mod common;

use common::call::{self, Call, Formula, Goal, Loss, Shape};
use common::{Float, all_of};
use losskit::{
    Bce, BceWithLogits, ClassShape, Context, Cost, CrossEntropy, Error, Huber, Indices, LogSoftmax, Mse, Nll, Options,
    Outputs, Reduction, SmoothL1, Softmax, Targets, Td, TdInputs, Weights,
};

const NAN: f64 = f64::NAN;

fn context() -> Context {
    Context::with_threads(1)
}

/// The error, and what it says.
#[track_caller]
fn assert_error<R: std::fmt::Debug>(result: Result<R, Error>, error: Error, status: i32, message: &str) {
    let got = result.unwrap_err();
    // a NaN in it is equal to nothing
    assert_eq!(format!("{got:?}"), format!("{error:?}"));
    assert_eq!((got.status(), got.to_string().as_str()), (status, message));
}

const SENTINEL: f32 = 777.0;

/// Outputs of some lengths, that must be untouched when dropped.
struct Untouched {
    loss: Vec<f32>,
    grad: Vec<f32>,
    hess: Vec<f32>,
    cost: Cost,
}

impl Untouched {
    fn new(loss: usize, elements: usize) -> Self {
        let mut cost = Cost::new();
        cost.add(1.0, 2.0);
        Untouched { loss: vec![SENTINEL; loss], grad: vec![SENTINEL; elements], hess: vec![SENTINEL; elements], cost }
    }
    fn outputs(&mut self) -> Outputs<'_, f32> {
        Outputs::new().loss(&mut self.loss).grad(&mut self.grad).hess(&mut self.hess).cost(&mut self.cost)
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        let mut numbers = self.loss.iter().chain(&self.grad).chain(&self.hess);
        let untouched = numbers.all(|&x| x == SENTINEL) && self.cost.mean() == 0.5;
        assert!(untouched || std::thread::panicking(), "an error wrote to an output");
    }
}

fn length(name: &'static str, length: usize, needed: usize) -> (Error, String) {
    (Error::LengthMismatch { name, length, needed }, format!("{name} has {length} elements, {needed} are needed"))
}

#[track_caller]
fn assert_length<R: std::fmt::Debug>(result: Result<R, Error>, name: &'static str, is: usize, needed: usize) {
    let (error, message) = length(name, is, needed);
    assert_error(result, error, -3, &message);
}

/// The lengths of each array of a pointwise call on 5 elements, one of them wrong.
#[test]
fn pointwise_arrays_of_another_length_are_refused() {
    let x = [0.5f32; 9];
    let eval = |target: usize, weight: usize, reduction: Reduction, [loss, grad, hess]: [usize; 3]| {
        let mut outputs = Untouched::new(loss, 0);
        (outputs.grad, outputs.hess) = (vec![SENTINEL; grad], vec![SENTINEL; hess]);
        let options = Options::new().reduction(reduction);
        Mse::new().eval(&context(), &x[..5], &x[..target], Some(&x[..weight]), &options, outputs.outputs())
    };
    for wrong in [0, 4, 6] {
        assert_length(eval(wrong, 5, Reduction::Mean, [1, 5, 5]), "target", wrong, 5);
        assert_length(eval(5, wrong, Reduction::Mean, [1, 5, 5]), "weight", wrong, 5);
        assert_length(eval(5, 5, Reduction::Mean, [1, wrong, 5]), "grad", wrong, 5);
        assert_length(eval(5, 5, Reduction::Sum, [1, 5, wrong]), "hess", wrong, 5);
        assert_length(eval(5, 5, Reduction::None, [wrong, 5, 5]), "loss", wrong, 5);
        assert_length(eval(5, 5, Reduction::Mean, [wrong, 5, 5]), "loss", wrong, 1);
        assert_length(eval(5, 5, Reduction::Sum, [wrong, 5, 5]), "loss", wrong, 1);
    }
    let mut grad = [SENTINEL; 4];
    assert_length(Mse::new().mean(&x[..5], &x[..4]), "target", 4, 5);
    assert_length(Mse::new().mean_with_grad(&x[..5], &x[..5], &mut grad), "grad", 4, 5);
    let mut input = [0.5f32; 5];
    let options = Options::new();
    assert_length(
        Bce::new().eval_in_place(&context(), &mut input, &x[..6], None, &options, Outputs::new()),
        "target",
        6,
        5,
    );
    let outputs = Outputs::new().hess(&mut grad);
    assert_length(Bce::new().eval_in_place(&context(), &mut input, &x[..5], None, &options, outputs), "hess", 4, 5);
    assert_eq!((grad, input), ([SENTINEL; 4], [0.5; 5]));
    // even if there is nothing
    assert_length(Mse::new().mean(&[], &x[..1]), "target", 1, 0);
    assert_length(Mse::new().mean(&x[..1], &[]), "target", 0, 1);
}

#[test]
fn positive_weights_that_do_not_repeat_along_the_input_are_refused() {
    let x = [0.5f32; 7];
    for labels in [2, 3, 4, 5, 6, 7] {
        let weights = vec![1.0; labels];
        let mut outputs = Untouched::new(1, 7);
        let loss = BceWithLogits::new().pos_weight(&weights);
        let result = loss.eval(&context(), &x, &x, None, &Options::new(), outputs.outputs());
        if labels == 7 {
            assert!(result.is_ok());
            std::mem::forget(outputs);
        } else {
            assert_length(result, "pos_weight", labels, 7);
        }
    }
    let six = [0.5f32; 6];
    for (labels, inner, name, length, needed) in [
        (2, 2, "pos_weight", 2, 3),
        (2, 4, "inner", 4, 6),
        (3, 0, "inner", 0, 1),
        (2, 6, "pos_weight", 2, 1),
        (2, usize::MAX, "inner", usize::MAX, 6),
    ] {
        let weights = vec![1.0; labels];
        let mut outputs = Untouched::new(1, 6);
        let loss = BceWithLogits::new().pos_weight(&weights).inner(inner);
        let result = loss.eval(&context(), &six, &six, None, &Options::new(), outputs.outputs());
        assert_length(result, name, length, needed);
    }
    assert!(BceWithLogits::new().pos_weight(&[2.0]).mean(&x, &x).is_ok());
    assert!(BceWithLogits::new().pos_weight(&[]).mean(&x, &x).is_ok());
    assert!(BceWithLogits::new().pos_weight(&[1.0f32, 2.0]).mean(&[], &[]).unwrap().is_nan());
}

/// Lengths of cross_entropy on [4, 3].
#[test]
fn class_arrays_of_another_length_are_refused() {
    let shape = ClassShape::rows(4, 3);
    let data = [0.5f32; 20];
    let indices = [0i32; 20];
    struct Lengths {
        logits: usize,
        targets: usize,
        class: usize,
        row: usize,
        outputs: [usize; 3],
    }
    let right = || Lengths { logits: 12, targets: 4, class: 3, row: 4, outputs: [1, 12, 12] };
    let eval = |lengths: Lengths, soft: bool, reduction: Reduction| {
        let [loss, grad, hess] = lengths.outputs;
        let mut outputs = Untouched::new(loss, 0);
        (outputs.grad, outputs.hess) = (vec![SENTINEL; grad], vec![SENTINEL; hess]);
        let weights = Weights::new().class(&data[..lengths.class]).row(&data[..lengths.row]);
        let (options, logits) = (Options::new().reduction(reduction), &data[..lengths.logits]);
        let targets = match soft {
            true => Targets::Probabilities(&data[..lengths.targets]),
            false => Targets::I32(&indices[..lengths.targets]),
        };
        CrossEntropy::new().eval(&context(), shape, logits, targets, weights, &options, outputs.outputs())
    };
    let mean = Reduction::Mean;
    for wrong in [0, 11, 13] {
        assert_length(eval(Lengths { logits: wrong, ..right() }, false, mean), "logits", wrong, 12);
        assert_length(eval(Lengths { targets: wrong, ..right() }, true, mean), "targets", wrong, 12);
        assert_length(eval(Lengths { outputs: [1, wrong, 12], ..right() }, false, mean), "grad", wrong, 12);
        assert_length(eval(Lengths { outputs: [1, 12, wrong], ..right() }, false, mean), "hess", wrong, 12);
    }
    for wrong in [0, 5, 12] {
        assert_length(eval(Lengths { targets: wrong, ..right() }, false, mean), "targets", wrong, 4);
        assert_length(eval(Lengths { class: wrong, ..right() }, false, mean), "class_weight", wrong, 3);
        assert_length(eval(Lengths { row: wrong, ..right() }, false, mean), "row_weight", wrong, 4);
        assert_length(eval(Lengths { outputs: [wrong, 12, 12], ..right() }, false, mean), "loss", wrong, 1);
        let outputs = [wrong, 12, 12];
        assert_length(eval(Lengths { outputs, ..right() }, false, Reduction::None), "loss", wrong, 4);
    }
    // with gaps: too short by one
    let gaps = ClassShape::rows(2, 3).outer_stride(5);
    let targets = Targets::I32(&indices[..2]);
    assert_length(CrossEntropy::new().mean(gaps, &data[..7], targets), "logits", 7, 8);
    let mut grad = [SENTINEL; 7];
    assert_length(CrossEntropy::new().mean_with_grad(gaps, &data[..8], targets, &mut grad), "grad", 7, 8);
    let soft = Targets::Probabilities(&data[..7]);
    assert_length(CrossEntropy::new().mean(gaps, &data[..8], soft), "targets", 7, 8);

    let nll = |logits: usize, targets: usize, class: usize, row: usize, loss: usize, elements: usize| {
        let mut outputs = Untouched::new(loss, elements);
        let weights = Weights::new().class(&data[..class]).row(&data[..row]);
        let (targets, options) = (Indices::I32(&indices[..targets]), Options::new());
        Nll::new().eval(&context(), shape, &data[..logits], targets, weights, &options, outputs.outputs())
    };
    assert_length(nll(13, 4, 3, 4, 1, 12), "log_probs", 13, 12);
    assert_length(nll(12, 3, 3, 4, 1, 12), "targets", 3, 4);
    assert_length(nll(12, 4, 4, 4, 1, 12), "class_weight", 4, 3);
    assert_length(nll(12, 4, 3, 3, 1, 12), "row_weight", 3, 4);
    assert_length(nll(12, 4, 3, 4, 4, 12), "loss", 4, 1);
    assert_length(nll(12, 4, 3, 4, 1, 11), "grad", 11, 12);
    assert_eq!(grad, [SENTINEL; 7]);
}

#[test]
fn softmax_arrays_of_another_length_are_refused() {
    let (shape, data) = (ClassShape::rows(4, 3), [0.5f32; 13]);
    let mut output = [SENTINEL; 13];
    for wrong in [0, 11, 13] {
        let short = &data[..wrong];
        assert_length(Softmax::new().eval(&context(), shape, short, &mut output[..12]), "logits", wrong, 12);
        assert_length(
            LogSoftmax::new().eval(&context(), shape, &data[..12], &mut output[..wrong]),
            "output",
            wrong,
            12,
        );
        assert_length(Softmax::new().eval_in_place(&context(), shape, &mut output[..wrong]), "logits", wrong, 12);
        let backward = |output: usize, upstream: usize, grad: &mut [f32]| {
            LogSoftmax::new().backward(&context(), shape, &data[..output], &data[..upstream], grad)
        };
        assert_length(backward(wrong, 12, &mut output[..12]), "output", wrong, 12);
        assert_length(backward(12, wrong, &mut output[..12]), "grad_output", wrong, 12);
        assert_length(backward(12, 12, &mut output[..wrong]), "grad_input", wrong, 12);
    }
    assert_eq!(output, [SENTINEL; 13]);
}

#[test]
fn td_arrays_of_another_length_are_refused() {
    let data = [0.5f32; 20];
    let flags = [0u8; 20];
    // four rows of three actions
    let right = || TdInputs::new(3, &data[..12], Indices::U8(&flags[..4]), &data[..4], &data[..12]);
    let eval = |inputs: TdInputs<'_, f32>, td_error: usize| {
        let (mut outputs, mut errors) = (Untouched::new(1, 12), vec![SENTINEL; td_error]);
        let result = Td::mse(0.9).eval(&context(), &inputs, &Options::new(), outputs.outputs(), Some(&mut errors));
        assert!(errors.iter().all(|&x| x == SENTINEL));
        result
    };
    let inputs = |q: usize, action: usize, next_q: usize| {
        TdInputs::new(3, &data[..q], Indices::U8(&flags[..action]), &data[..4], &data[..next_q])
    };
    for wrong in [0, 11, 13] {
        assert_length(eval(inputs(wrong, 4, 12), 4), "q", wrong, 12);
        assert_length(eval(inputs(12, 4, wrong), 4), "next_q", wrong, 12);
        assert_length(eval(right().next_q_online(&data[..wrong]), 4), "next_q_online", wrong, 12);
    }
    for wrong in [0, 3, 5] {
        assert_length(eval(inputs(12, wrong, 12), 4), "action", wrong, 4);
        assert_length(eval(right().done(&flags[..wrong]), 4), "done", wrong, 4);
        assert_length(eval(right().weight(&data[..wrong]), 4), "weight", wrong, 4);
        assert_length(eval(right(), wrong), "td_error", wrong, 4);
    }
}

fn out_of_range(target: i64, row: usize, classes: usize) -> (Error, String) {
    let error = Error::TargetOutOfRange { target, row, classes };
    let reason = if target < 0 { "not be negative".to_owned() } else { format!("be below {classes}") };
    (error, format!("target {target} at row {row} must {reason}"))
}

#[test]
fn targets_out_of_range_are_refused_wherever_they_are() {
    for (rows, classes) in [(1, 1), (5, 3), (40, 128), (40, 129), (7, 5000), (40_000, 2)] {
        let logits = vec![0.5f32; rows * classes];
        let shape = ClassShape::rows(rows, classes);
        for row in [0, rows / 2, rows - 1] {
            for target in
                [classes as i64, -1, -99, i64::MIN, i64::MAX, 1 << 32, 1 << 31, -(1 << 32), 256 * classes as i64]
            {
                let check = |target: i64, targets: Indices<'_>| {
                    let (error, message) = out_of_range(target, row, classes);
                    let mut outputs = Untouched::new(rows, rows * classes);
                    let options = Options::new().reduction(Reduction::None);
                    let weights = Weights::new;
                    let result =
                        Nll::new().eval(&context(), shape, &logits, targets, weights(), &options, outputs.outputs());
                    assert_error(result, error.clone(), -8, &message);
                    for smoothing in [0.0, 0.5] {
                        let loss = CrossEntropy::new().label_smoothing(smoothing);
                        let targets = targets.into();
                        let result =
                            loss.eval(&context(), shape, &logits, targets, weights(), &options, outputs.outputs());
                        assert_error(result, error.clone(), -8, &message);
                    }
                    let mut in_place = logits.clone();
                    let options = Options::new();
                    let result = CrossEntropy::new().eval_in_place(
                        &context(),
                        shape,
                        &mut in_place,
                        targets.into(),
                        weights(),
                        &options,
                        Outputs::new(),
                    );
                    assert_error(result, error, -8, &message);
                    assert_eq!(in_place, logits);
                };
                let mut targets = vec![0i64; rows];
                targets[row] = target;
                check(target, Indices::I64(&targets));
                if let Ok(target) = i32::try_from(target) {
                    let mut targets = vec![0i32; rows];
                    targets[row] = target;
                    check(i64::from(target), Indices::I32(&targets));
                }
                if classes < 256 {
                    let mut targets = vec![0u8; rows];
                    targets[row] = 255;
                    check(255, Indices::U8(&targets));
                }
            }
            if classes > 1 && rows * classes < 10_000 {
                break;
            }
        }
    }
}

#[test]
fn the_first_target_out_of_range_is_named() {
    let (shape, logits) = (ClassShape::rows(5, 3), [0.5f64; 15]);
    let (error, message) = out_of_range(7, 3, 3);
    assert_error(CrossEntropy::new().mean(shape, &logits, Targets::I64(&[0, 1, 2, 7, -1])), error, -8, &message);
    let (error, message) = out_of_range(-5, 1, 3);
    assert_error(CrossEntropy::new().mean(shape, &logits, Targets::I32(&[0, -5, -6, 7, -1])), error, -8, &message);
    // the class weight of a class that is none must not be looked up
    let weights = Weights::new().class(&[1.0; 3]).row(&[1.0; 5]);
    let (targets, options) = (Targets::I64(&[0, 1, 2, i64::MAX, 0]), Options::new());
    let result = CrossEntropy::new().eval(&context(), shape, &logits, targets, weights, &options, Outputs::new());
    let (error, message) = out_of_range(i64::MAX, 3, 3);
    assert_error(result, error, -8, &message);
}

#[test]
fn actions_out_of_range_are_refused() {
    let q = [0.5f32; 12];
    for (actions, wrong) in
        [(Indices::I32(&[0, 1, -1, 0]), -1), (Indices::I64(&[0, 1, 3, 9]), 3), (Indices::U8(&[0, 1, 255, 0]), 255)]
    {
        let (error, message) = out_of_range(wrong, 2, 3);
        let (mut outputs, mut errors) = (Untouched::new(1, 12), [SENTINEL; 4]);
        let inputs = TdInputs::new(3, &q, actions, &[0.0; 4], &q);
        let result =
            Td::huber(0.9, 1.0).eval(&context(), &inputs, &Options::new(), outputs.outputs(), Some(&mut errors));
        assert_error(result, error, -8, &message);
        assert_eq!(errors, [SENTINEL; 4]);
    }
    // -100 is no action to be ignored
    let inputs = TdInputs::new(3, &q, Indices::I64(&[-100, 0, 0, 0]), &[0.0; 4], &q);
    let (error, message) = out_of_range(-100, 0, 3);
    assert_error(Td::mse(0.9).mean(&inputs), error, -8, &message);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let (x, y) = ([0.5f32, 1.5], [0.0f32; 2]);
    let refuse = |result: Result<losskit::Summary, Error>, error: Error, status: i32, message: &str| {
        assert_error(result, error, status, message);
    };
    let plain = Options::new();
    for (delta, text) in [(0.0, "0"), (-0.0, "-0"), (-1.5, "-1.5"), (NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
        let mut outputs = Untouched::new(1, 2);
        let error = || Error::InvalidDelta { value: delta };
        let message = format!("delta {text} is not greater than 0");
        refuse(Huber::new(delta).eval(&context(), &x, &y, None, &plain, outputs.outputs()), error(), -9, &message);
        let inputs = TdInputs::new(2, &x, Indices::U8(&[0]), &[0.0], &y);
        refuse(Td::huber(0.9, delta).eval(&context(), &inputs, &plain, outputs.outputs(), None), error(), -9, &message);
    }
    // not in this type
    assert_error(
        Huber::new(1e-60).mean(&x, &y),
        Error::InvalidDelta { value: 1e-60 },
        -9,
        "delta 1e-60 is 0 in the element type, must be greater than 0",
    );
    assert!(Huber::new(1e-60).mean(&[0.5f64], &[0.0]).is_ok());
    assert!(Huber::new(f64::INFINITY).mean(&x, &y).is_ok());

    for (beta, text) in [(-1.5, "-1.5"), (-0.0001, "-1e-4"), (NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
        let mut outputs = Untouched::new(1, 2);
        let error = Error::InvalidBeta { value: beta };
        let message = format!("beta {text} is outside its range, or not a number");
        refuse(SmoothL1::new(beta).eval(&context(), &x, &y, None, &plain, outputs.outputs()), error, -10, &message);
    }
    assert!(SmoothL1::new(-0.0).mean(&x, &y).is_ok());
    assert!(SmoothL1::new(f64::INFINITY).mean(&x, &y).is_ok());

    let shape = ClassShape::rows(1, 2);
    let soft = || Targets::Probabilities(&y);
    for (smoothing, text) in [(-0.1, "-0.1"), (1.5, "1.5"), (f64::INFINITY, "inf")] {
        for targets in [Targets::U8(&[0]), soft()] {
            let mut outputs = Untouched::new(1, 2);
            let error = Error::InvalidLabelSmoothing { value: smoothing };
            let message = format!("label_smoothing {text} is outside [0, 1]");
            let loss = CrossEntropy::new().label_smoothing(smoothing);
            let weights = Weights::new();
            refuse(loss.eval(&context(), shape, &x, targets, weights, &plain, outputs.outputs()), error, -11, &message);
        }
    }
    for smoothing in [0.0, -0.0, 0.5, 1.0] {
        assert!(CrossEntropy::new().label_smoothing(smoothing).mean(shape, &x, Targets::U8(&[0])).is_ok());
    }
}

#[test]
fn options_that_are_nan_are_refused() {
    let nan = |name: &'static str| (Error::NanOption { name }, format!("{name} is NaN"));
    for call in call::every::<f32>() {
        let mut outputs = Untouched::new(1, call.input.len());
        let result = call.eval(&context(), &call.input, &Options::new().grad_scale(NAN), outputs.outputs());
        let (error, message) = nan("grad_scale");
        assert_error(result, error, -12, &message);
        let result = call.eval(&context(), &call.input, &Options::new().min_hess(NAN), outputs.outputs());
        let (error, message) = nan("min_hess");
        assert_error(result, error, -12, &message);
        if call.has_in_place() {
            let mut input = call.input.clone();
            let result = call.eval_in_place(&context(), &mut input, &Options::new().grad_scale(NAN), Outputs::new());
            let (error, message) = nan("grad_scale");
            assert_error(result, error, -12, &message);
            common::assert_same_bits(&input, &call.input, &call.name);
        }
    }
    let mut outputs = Untouched::new(1, 2);
    let (x, options) = ([0.5f32, 1.5], Options::new());
    let (targets, weights) = (Targets::U8(&[0]), Weights::new());
    let losses = [
        (CrossEntropy::new().label_smoothing(NAN), "label_smoothing"),
        (CrossEntropy::new().z_loss(NAN), "z_loss"),
        (CrossEntropy::new().soft_cap(NAN), "soft_cap"),
    ];
    for (loss, name) in losses {
        let result = loss.eval(&context(), ClassShape::rows(1, 2), &x, targets, weights, &options, outputs.outputs());
        let (error, message) = nan(name);
        assert_error(result, error, -12, &message);
    }
    let inputs = TdInputs::new(2, &x, Indices::U8(&[0]), &[0.0], &x);
    for td in [Td::mse(NAN), Td::huber(NAN, 1.0)] {
        let (error, message) = nan("gamma");
        assert_error(td.eval(&context(), &inputs, &options, outputs.outputs(), None), error, -12, &message);
    }
    // an infinite scale is one
    assert!(Mse::new().eval(&context(), &x, &x, None, &options.grad_scale(f64::INFINITY), Outputs::new()).is_ok());
}

#[test]
fn strides_under_which_elements_coincide_are_refused() {
    for (shape, outer_stride, class_stride) in [
        (ClassShape::rows(4, 3).outer_stride(2), 2, 1),
        (ClassShape::rows(4, 3).outer_stride(1), 1, 1),
        (ClassShape::rows(4, 3).class_stride(2).outer_stride(4), 4, 2),
        (ClassShape::rows(4, 3).outer_stride(1).class_stride(3), 1, 3),
        (ClassShape::rows(4, 3).outer_stride(2).class_stride(6), 2, 6),
        (ClassShape::new(2, 3, 5).class_stride(4), 13, 4),
        (ClassShape::new(2, 3, 5).outer_stride(14), 14, 5),
        (ClassShape::new(2, 3, 5).outer_stride(4).class_stride(20), 4, 20),
    ] {
        let mut outputs = Untouched::new(1, 100);
        let data = [0.5f32; 100];
        let error = || Error::InvalidStride { outer_stride, class_stride };
        let message = format!("outer stride {outer_stride} and class stride {class_stride} let elements coincide");
        let (options, weights) = (Options::new(), Weights::new());
        let targets = Targets::Probabilities(&data);
        let result = CrossEntropy::new().eval(&context(), shape, &data, targets, weights, &options, outputs.outputs());
        assert_error(result, error(), -6, &message);
        let result =
            Nll::new().eval(&context(), shape, &data, Indices::U8(&[0; 4]), weights, &options, outputs.outputs());
        assert_error(result, error(), -6, &message);
        assert_error(Softmax::new().eval_in_place(&context(), shape, &mut outputs.grad), error(), -6, &message);
    }
    let q = [0.5f32; 12];
    let inputs = TdInputs::new(3, &q, Indices::U8(&[0; 4]), &[0.0; 4], &q).row_stride(2);
    let message = "outer stride 2 and class stride 1 let elements coincide";
    assert_error(Td::mse(0.5).mean(&inputs), Error::InvalidStride { outer_stride: 2, class_stride: 1 }, -6, message);
    // a single row, a single class have no such stride
    let mean = |shape, logits: &[f32], targets: &[u8]| CrossEntropy::new().mean(shape, logits, Targets::U8(targets));
    assert!(mean(ClassShape::rows(1, 3).outer_stride(1), &q[..3], &[0]).is_ok());
    assert!(mean(ClassShape::rows(3, 1).outer_stride(1), &q[..3], &[0; 3]).is_ok());
    assert!(mean(ClassShape::new(1, 1, 3).class_stride(1), &q[..3], &[0; 3]).is_ok());
}

#[test]
fn samples_without_classes_are_refused() {
    let shape = ClassShape::rows(3, 0);
    let mut outputs = Untouched::new(1, 0);
    let targets = Targets::Probabilities(&[]);
    let (options, weights) = (Options::new(), Weights::new());
    let result = CrossEntropy::new().eval(&context(), shape, &[], targets, weights, &options, outputs.outputs());
    assert_length(result, "classes", 0, 1);
    assert_length(Softmax::new().eval::<f32>(&context(), shape, &[], &mut []), "classes", 0, 1);
    assert_length(Nll::new().mean::<f32>(shape, &[], Indices::U8(&[0; 3])), "classes", 0, 1);
    let inputs = TdInputs::<f32>::new(0, &[], Indices::U8(&[0; 3]), &[0.0; 3], &[]);
    assert_length(Td::mse(0.9).mean(&inputs), "classes", 0, 1);
}

/// No samples of no classes: an empty batch like any other.
#[test]
fn no_samples_without_classes_are_an_empty_batch() {
    let (context, none) = (context(), Targets::<f32>::U8(&[]));
    for shape in [ClassShape::rows(0, 0), ClassShape::new(0, 0, 4), ClassShape::new(4, 0, 0), ClassShape::new(0, 0, 0)]
    {
        assert!(CrossEntropy::new().mean(shape, &[], none).unwrap().is_nan());
        assert!(CrossEntropy::new().label_smoothing(0.5).mean(shape, &[], none).unwrap().is_nan());
        assert!(CrossEntropy::new().mean::<f64>(shape, &[], Targets::Probabilities(&[])).unwrap().is_nan());
        assert!(Nll::new().mean::<f32>(shape, &[], Indices::I64(&[])).unwrap().is_nan());
        Softmax::new().eval::<f32>(&context, shape, &[], &mut []).unwrap();
        LogSoftmax::new().backward::<f64>(&context, shape, &[], &[], &mut []).unwrap();
    }
    assert!(Td::mse(0.9).mean::<f32>(&TdInputs::new(0, &[], Indices::U8(&[]), &[], &[])).unwrap().is_nan());
}

const OVERLAP_BECAUSE_ACCUMULATED: &str =
    "input and grad overlap; a gradient may take its input's place, but not with accumulate_grad (LK_ACCUMULATE_GRAD)";

#[test]
fn an_accumulated_gradient_in_place_is_refused() {
    for call in call::every::<f32>().into_iter().filter(|call| call.has_in_place()) {
        let error = |accumulates| Error::PartialOverlap { first: "input", second: "grad", accumulates };
        let (mut input, mut grad) = (call.input.clone(), vec![SENTINEL; call.input.len()]);
        let options = Options::new().accumulate_grad(true);
        let mut outputs = Untouched::new(1, call.input.len());
        let quiet = Outputs::new().loss(&mut outputs.loss).hess(&mut outputs.hess).cost(&mut outputs.cost);
        let result = call.eval_in_place(&context(), &mut input, &options, quiet);
        assert_error(result, error(true), -5, OVERLAP_BECAUSE_ACCUMULATED);
        // nor is there a place for two gradients
        let result = call.eval_in_place(&context(), &mut input, &Options::new(), Outputs::new().grad(&mut grad));
        assert_error(result, error(false), -5, "input and grad overlap");
        common::assert_same_bits(&input, &call.input, &call.name);
        assert!(grad.iter().all(|&x| x == SENTINEL));
    }
}

#[cfg(target_pointer_width = "64")]
#[test]
fn shapes_larger_than_memory_are_refused() {
    let huge = ClassShape::new(1 << 40, 1 << 40, 1);
    let mut outputs = Untouched::new(1, 2);
    let error = || Error::SizeTooLarge { name: "shape" };
    let message = "shape would take more bytes than an address can count";
    let (options, targets) = (Options::new(), Targets::U8(&[0, 0]));
    let data = [0.5f32; 2];
    let result =
        CrossEntropy::new().eval(&context(), huge, &data, targets, Weights::new(), &options, outputs.outputs());
    assert_error(result, error(), -4, message);
    assert_error(Softmax::new().eval(&context(), huge, &data, &mut outputs.grad), error(), -4, message);
    assert_error(Nll::new().mean(huge, &data, Indices::U8(&[0])), error(), -4, message);
    let inputs = TdInputs::new(usize::MAX, &data, Indices::U8(&[0; 2]), &[0.0; 2], &data);
    assert_error(Td::mse(0.5).mean(&inputs), error(), -4, message);
}

/// Numbers that C code has been compiled with.
#[test]
fn every_error_has_its_own_number_for_ever() {
    let name = "x";
    let errors = [
        (Error::NullPointer { name }, -1, "x is null"),
        (Error::Misaligned { name, alignment: 8 }, -2, "x is not aligned to 8 bytes"),
        (Error::LengthMismatch { name, length: 1, needed: 2 }, -3, "x has 1 elements, 2 are needed"),
        (Error::SizeTooLarge { name }, -4, "x would take more bytes than an address can count"),
        (Error::PartialOverlap { first: "x", second: "y", accumulates: false }, -5, "x and y overlap"),
        (Error::PartialOverlap { first: "input", second: "grad", accumulates: true }, -5, OVERLAP_BECAUSE_ACCUMULATED),
        (
            Error::InvalidStride { outer_stride: 1, class_stride: 2 },
            -6,
            "outer stride 1 and class stride 2 let elements coincide",
        ),
        (Error::UnknownConstant { name, value: -9, known_as: "", expected: "A or B" }, -7, "x is -9, must be A or B"),
        (
            Error::UnknownConstant { name, value: 1, known_as: "LK_F64", expected: "A or B" },
            -7,
            "x is LK_F64 (1), must be A or B",
        ),
        (Error::TargetOutOfRange { target: 7, row: 3, classes: 5 }, -8, "target 7 at row 3 must be below 5"),
        (Error::TargetOutOfRange { target: -7, row: 3, classes: 5 }, -8, "target -7 at row 3 must not be negative"),
        (Error::InvalidDelta { value: -0.5 }, -9, "delta -0.5 is not greater than 0"),
        (Error::InvalidBeta { value: -0.5 }, -10, "beta -0.5 is outside its range, or not a number"),
        (Error::InvalidSoftCap { value: -1.0 }, -18, "soft_cap -1 is not a positive number of the element type"),
        (Error::InvalidLabelSmoothing { value: 2.0 }, -11, "label_smoothing 2 is outside [0, 1]"),
        (Error::NanOption { name }, -12, "x is NaN"),
        (Error::InvalidStructSize { name, size: 4, needed: 8 }, -13, "x.struct_size is 4, at least 8 is needed"),
        (Error::UnsupportedOption { name }, -14, "x is not supported"),
        (Error::Panic { message: "x" }, -15, "internal error: x"),
        (Error::IncompleteState { row: 3, times: 2.0 }, -16, "the target of row 3 was seen 2 times, not once"),
        (Error::TooManyThreads { threads: 5000, most: 4096 }, -20, "5000 threads are more than 4096"),
    ];
    for (error, status, message) in errors {
        assert_eq!((error.status(), error.to_string().as_str()), (status, message));
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        assert_eq!(boxed.to_string(), message);
    }
}

/// With an exponent where that is shorter, so that no number fills the message; and as it was given, in `f32` too.
#[test]
fn numbers_in_messages_are_in_their_shortest_form() {
    let numbers = [
        (0.0, "0"),
        (-0.0, "-0"),
        (-0.5, "-0.5"),
        (-100.0, "-100"),
        (-1000.0, "-1e3"),
        (-1234.5, "-1234.5"),
        (-0.001, "-1e-3"),
        (-1e-300, "-1e-300"),
        (-1e300, "-1e300"),
        (-5e-324, "-5e-324"),
        (f64::MIN, "-1.7976931348623157e308"),
        (f32::MIN.into(), "-3.4028235e38"),
        ((-0.1f32).into(), "-0.1"),
        (-0.1, "-0.1"),
        (-1.0 / 3.0, "-0.3333333333333333"),
        (-1e-45f32 as f64, "-1e-45"),
        (f64::NEG_INFINITY, "-inf"),
        (NAN, "NaN"),
    ];
    for (value, text) in numbers {
        let messages = [
            (Error::InvalidDelta { value }, format!("delta {text} is not greater than 0")),
            (Error::InvalidBeta { value }, format!("beta {text} is outside its range, or not a number")),
            (Error::InvalidLabelSmoothing { value }, format!("label_smoothing {text} is outside [0, 1]")),
            (Error::InvalidTemperature { value }, format!("temperature {text} is outside [1e-9, 1e9]")),
            (Error::InvalidSoftCap { value }, format!("soft_cap {text} is not a positive number of the element type")),
            (
                Error::IncompleteState { row: 2, times: value },
                format!("the target of row 2 was seen {text} times, not once"),
            ),
        ];
        for (error, message) in messages {
            assert_eq!(error.to_string(), message);
        }
    }
    for (value, text) in [(1e-60, "1e-60"), (5e-324, "5e-324")] {
        let message = format!("delta {text} is 0 in the element type, must be greater than 0");
        assert_eq!(Error::InvalidDelta { value }.to_string(), message);
    }
}

/// Which error comes first is not promised, but that there is one, and nothing is written.
#[test]
fn several_errors_at_once_are_an_error() {
    fn check<T: Float>() {
        let shape = Shape::rows(3, 2);
        let goal = Goal::I64(vec![0, 9, 0]);
        let loss = Loss::CrossEntropy { smoothing: 3.0, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
        let call = Call { name: String::new(), input: all_of::<T>(&[0.5; 6]), loss };
        let mut grad = all_of::<T>(&[9.0; 5]);
        let options = Options::new().grad_scale(NAN);
        assert!(call.eval(&context(), &call.input, &options, Outputs::new().grad(&mut grad)).is_err());
        assert_eq!(grad, all_of::<T>(&[9.0; 5]));
        let formula = Formula::Huber(-1.0);
        let loss = Loss::Pointwise { formula, target: all_of(&[0.5; 2]), weight: Some(all_of(&[0.5; 7])) };
        let call = Call { name: String::new(), input: all_of::<T>(&[0.5; 6]), loss };
        assert!(call.eval(&context(), &call.input, &options, Outputs::new().grad(&mut grad)).is_err());
        assert_eq!(grad, all_of::<T>(&[9.0; 5]));
    }
    check::<f32>();
    check::<f64>();
}
