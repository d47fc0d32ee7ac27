//! Arrays that no cache holds are walked in ways of their own: gradients are written around the caches, and some CPUs
//! read at several places at once. The bits are those of the usual loops.

mod common;

use common::assert_same_bits;
use common::losses::Formula;
use losskit::{ClassShape, Context, CrossEntropy, Options, Outputs, Targets, Weights, set_prefers_several_places};

/// More than a large array has, in `f32`, and no whole number of anything.
const LEN: usize = (1 << 23) + 5003;

/// Numbers that are cheap to make: from `-range` to `range`, in steps of 2^-12 of it, none of them next to its like.
fn numbers(len: usize, range: f32, factor: usize) -> Vec<f32> {
    (0..len).map(|i| range * ((i.wrapping_mul(factor) >> 7 & 8191) as f32 / 4096.0 - 1.0)).collect()
}

/// Value and gradient: as they are asked for by most, in the input's place, and beside a Hessian, which takes the loop for
/// everything.
fn check(formula: &Formula<f32>, input: &[f32], target: &[f32]) {
    let (what, loss) = (formula.name(), formula.loss());
    let (context, options) = (Context::with_threads(2), Options::new());
    let (mut want, mut grad, mut hess) = ([f32::NAN], vec![0.0; input.len()], vec![0.0; input.len()]);
    let outputs = Outputs::new().loss(&mut want).grad(&mut grad).hess(&mut hess);
    loss.eval(&context, input, target, None, &options, outputs).unwrap();
    assert!(want[0].is_finite());

    let mut value = [f32::NAN];
    loss.eval(&context, input, target, None, &options, Outputs::new().loss(&mut value)).unwrap();
    assert_same_bits(&value, &want, &format!("{what}, value"));

    // the output begins within a vector
    let mut memory = vec![f32::NAN; input.len() + 2];
    let outputs = Outputs::new().loss(&mut value).grad(&mut memory[1..][..input.len()]);
    loss.eval(&context, input, target, None, &options, outputs).unwrap();
    assert_same_bits(&value, &want, &format!("{what}, value with gradient"));
    assert_same_bits(&memory[1..][..input.len()], &grad, &format!("{what}, gradient"));
    assert!(memory[0].is_nan() && memory[input.len() + 1].is_nan(), "{what}: written beyond the end");

    let mut replaced = input.to_vec();
    let outputs = Outputs::new().loss(&mut value);
    loss.eval_in_place(&context, &mut replaced, target, None, &options, outputs).unwrap();
    assert_same_bits(&value, &want, &format!("{what}, value in place"));
    assert_same_bits(&replaced, &grad, &format!("{what}, gradient in place"));
}

#[test]
fn independent_elements() {
    let (input, target) = (numbers(LEN, 4.0, 2_654_435_761), numbers(LEN, 4.0, 40_503));
    let labels: Vec<f32> = target.iter().map(|x| f32::from(*x > 0.0)).collect();
    let probabilities: Vec<f32> = input.iter().map(|x| 0.5 + x / 8.0).collect();
    // more labels than a vector repeats
    let weights = numbers(LEN / 7, 0.5, 40_503).iter().map(|x| 1.0 + x).collect::<Vec<_>>();
    let mut formulas = Formula::all(1.5, &[]);
    formulas.extend(Formula::all(1.5, &weights).into_iter().filter(|formula| !formula.array().is_empty()));
    for formula in formulas {
        let input = if formula.inputs().are_probabilities() { &probabilities } else { &input };
        let target = if formula.inputs().have_labels() { &labels } else { &target };
        let whole = if formula.array().is_empty() { LEN } else { LEN / 7 * 7 };
        // whatever this CPU prefers
        for several_places in [false, true] {
            set_prefers_several_places(several_places);
            check(&formula, &input[..whole], &target[..whole]);
        }
    }
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
