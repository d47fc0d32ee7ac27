//! Arrays that no cache holds are walked in ways of their own: gradients are written around the caches, and some CPUs
//! read at several places at once. The bits are those of the usual loops.
//!
//! `widths.rs` takes this file in too, where all CPUs read at several places.

use losskit::{
    Bce, BceWithLogits, ClassShape, Context, CrossEntropy, Huber, L1, Likelihood, Mse, Options, Outputs, SmoothL1,
    Targets, Weights,
};

/// More than a large array has, in `f32`, and no whole number of anything.
const LEN: usize = (1 << 23) + 5003;

/// Numbers that are cheap to make: from `-range` to `range`, in steps of 2^-12 of it, none of them next to its like.
fn numbers(len: usize, range: f32, factor: usize) -> Vec<f32> {
    (0..len).map(|i| range * ((i.wrapping_mul(factor) >> 7 & 8191) as f32 / 4096.0 - 1.0)).collect()
}

// (Its own, for tests/common cannot be part of the library's tests twice: the workload has taken its random numbers.)
fn assert_same_bits(got: &[f32], want: &[f32], what: &str) {
    assert_eq!(got.len(), want.len());
    let differ = got.iter().zip(want).position(|(got, want)| got.to_bits() != want.to_bits());
    assert_eq!(differ, None, "{what}: the first element that differs");
}

/// Value and gradient of `$loss`: as they are asked for by most, in the input's place, and beside a Hessian, which takes
/// the loop for everything.
macro_rules! check {
    ($what: literal, $loss: expr, $input: expr, $target: expr) => {{
        let (input, target): (&[f32], &[f32]) = ($input, $target);
        let (context, options) = (Context::with_threads(2), Options::new());
        let (mut want, mut grad, mut hess) = ([f32::NAN], vec![0.0; input.len()], vec![0.0; input.len()]);
        let outputs = Outputs::new().loss(&mut want).grad(&mut grad).hess(&mut hess);
        $loss.eval(&context, input, target, None, &options, outputs).unwrap();
        assert!(want[0].is_finite());

        let mut value = [f32::NAN];
        $loss.eval(&context, input, target, None, &options, Outputs::new().loss(&mut value)).unwrap();
        assert_same_bits(&value, &want, concat!($what, ", value"));

        // the output begins within a vector
        let mut memory = vec![f32::NAN; input.len() + 2];
        let outputs = Outputs::new().loss(&mut value).grad(&mut memory[1..][..input.len()]);
        $loss.eval(&context, input, target, None, &options, outputs).unwrap();
        assert_same_bits(&value, &want, concat!($what, ", value with gradient"));
        assert_same_bits(&memory[1..][..input.len()], &grad, concat!($what, ", gradient"));
        assert!(memory[0].is_nan() && memory[input.len() + 1].is_nan(), "{}: written beyond the end", $what);

        let mut replaced = input.to_vec();
        let outputs = Outputs::new().loss(&mut value);
        $loss.eval_in_place(&context, &mut replaced, target, None, &options, outputs).unwrap();
        assert_same_bits(&value, &want, concat!($what, ", value in place"));
        assert_same_bits(&replaced, &grad, concat!($what, ", gradient in place"));
    }};
}

#[test]
fn independent_elements() {
    let (input, target) = (numbers(LEN, 4.0, 2_654_435_761), numbers(LEN, 4.0, 40_503));
    check!("mse", Mse::new(), &input, &target);
    check!("l1", L1::new(), &input, &target);
    check!("huber", Huber::new(1.0), &input, &target);
    check!("smooth_l1", SmoothL1::new(1.5), &input, &target);
    let labels: Vec<f32> = target.iter().map(|x| f32::from(*x > 0.0)).collect();
    check!("bce_with_logits", BceWithLogits::new(), &input, &labels);
    // beyond the elements that a vector repeats
    let weights = numbers(LEN / 7, 0.5, 40_503).iter().map(|x| 1.0 + x).collect::<Vec<_>>();
    let whole = LEN / 7 * 7;
    let weighted = BceWithLogits::new().pos_weight(&weights);
    check!("bce_with_logits with pos_weight", weighted, &input[..whole], &labels[..whole]);
    let probabilities: Vec<f32> = input.iter().map(|x| 0.5 + x / 8.0).collect();
    check!("bce", Bce::new(), &probabilities, &labels);
    check!("likelihood", Likelihood::new(), &probabilities, &labels);
}

#[test]
fn class_columns() {
    let (outer, classes) = (3, 5);
    let inner = LEN.div_ceil(outer * classes);
    let shape = ClassShape::new(outer, classes, inner);
    let logits = numbers(outer * classes * inner, 8.0, 2_654_435_761);
    let labels: Vec<u8> = (0..outer * inner).map(|i| (i * 7 % classes) as u8).collect();
    let probabilities = vec![0.2; logits.len()];
    let (context, options, weights) = (Context::with_threads(2), Options::new(), Weights::new());
    let loss = CrossEntropy::new();
    for targets in [Targets::U8(&labels), Targets::Probabilities(&probabilities)] {
        let (mut value, mut memory) = ([f32::NAN], vec![f32::NAN; logits.len() + 2]);
        let outputs = Outputs::new().loss(&mut value).grad(&mut memory[1..][..logits.len()]);
        loss.eval(&context, shape, &logits, targets, weights, &options, outputs).unwrap();
        assert!(memory[0].is_nan() && memory[logits.len() + 1].is_nan(), "written beyond the end");

        let (mut want, mut replaced) = ([f32::NAN], logits.clone());
        let outputs = Outputs::new().loss(&mut want);
        loss.eval_in_place(&context, shape, &mut replaced, targets, weights, &options, outputs).unwrap();
        assert!(want[0].is_finite());
        assert_same_bits(&value, &want, "value");
        assert_same_bits(&memory[1..][..logits.len()], &replaced, "gradient");
    }
}
