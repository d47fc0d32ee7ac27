//! Right predictions: the number of samples whose first largest logit is the target's, and which they are.

use crate::common::call::Shape;
use crate::common::{Float, Random};
use losskit::{
    BceWithLogits, ClassShape, Context, CrossEntropy, Error, Indices, Nll, Options, Outputs, Reduction, Targets,
    Weights,
};

/// The index that `torch.argmax` documents: that of the first maximum. None where there is a NaN.
fn argmax<T: Float>(logits: &[T]) -> Option<usize> {
    let mut best = 0;
    for (class, x) in logits.iter().enumerate() {
        if x.wide().is_nan() {
            return None;
        }
        if x.wide() > logits[best].wide() {
            best = class;
        }
    }
    Some(best)
}

/// Logits of few different values, so that many are equal, and some special ones.
fn logits<T: Float>(shape: Shape, random: &mut Random) -> Vec<T> {
    let specials = [f64::NEG_INFINITY, f64::INFINITY, f64::NAN, -0.0, 0.0];
    let mut all = vec![T::of(1e30); shape.elements()];
    for sample in 0..shape.samples() {
        let kinds = if sample % 5 == 0 { 3 } else { 1000 };
        for class in 0..shape.classes {
            let at = shape.at(sample, class);
            all[at] = T::of(match random.below(kinds * shape.classes) {
                special if special < 5 && sample % 3 == 0 => specials[special],
                _ => random.below(kinds) as f64 - 1.0,
            });
        }
    }
    all
}

struct Case<T> {
    shape: Shape,
    logits: Vec<T>,
    targets: Vec<i64>,
    is_correct: Vec<bool>,
}

impl<T: Float> Case<T> {
    /// Half of the targets are right, some are ignored.
    fn new(shape: Shape) -> Self {
        let random = &mut Random(shape.elements() as u64);
        let logits = logits::<T>(shape, random);
        let (mut targets, mut is_correct) = (Vec::new(), Vec::new());
        for sample in 0..shape.samples() {
            let row: Vec<T> = (0..shape.classes).map(|class| logits[shape.at(sample, class)]).collect();
            let predicted = argmax(&row);
            let target = match (random.below(8), predicted) {
                (0, _) => -100,
                (1..=4, Some(class)) => class as i64,
                // one that is as large, but not the first
                (5, Some(class)) => (0..row.len()).rfind(|&other| row[other] == row[class]).unwrap() as i64,
                _ => random.below(shape.classes) as i64,
            };
            targets.push(target);
            is_correct.push(predicted.is_some_and(|class| class as i64 == target));
        }
        Case { shape, logits, targets, is_correct }
    }

    fn check(&self) {
        let (count, n) = (self.is_correct.iter().filter(|right| **right).count() as u64, self.shape.samples());
        let name = format!("{:?} {}", self.shape, T::NAME);
        let shape = self.shape.class_shape();
        let losses = [
            CrossEntropy::new(),
            CrossEntropy::new().label_smoothing(0.1),
            CrossEntropy::new().soft_cap(1.5),
            CrossEntropy::new().z_loss(1e-4),
        ];
        let weight = vec![T::of(0.25); self.shape.classes];
        for loss in losses {
            for threads in [1, 2] {
                let context = Context::with_threads(threads);
                let (options, targets) = (Options::new().reduction(Reduction::None), Targets::I64(&self.targets));
                let (mut each, mut right, mut loss_of) = (vec![true; n], 77, vec![T::of(0.0); n]);
                let mut plain = loss_of.clone();
                let weights = Weights::new().class(&weight);
                let outputs = Outputs::new().loss(&mut plain);
                loss.eval(&context, shape, &self.logits, targets, weights, &options, outputs).unwrap();
                // beside a gradient in the logits' place
                let mut in_place = self.logits.clone();
                let outputs = Outputs::new().loss(&mut loss_of).correct(&mut right).is_correct(&mut each);
                loss.eval_in_place(&context, shape, &mut in_place, targets, weights, &options, outputs).unwrap();
                assert_eq!(right, count, "{name}");
                assert_eq!(each, self.is_correct, "{name}");
                crate::common::assert_same_bits(&loss_of, &plain, &name);
                // alone
                let mut right = 77;
                let outputs = Outputs::new().correct(&mut right);
                loss.eval(&context, shape, &self.logits, targets, weights, &options, outputs).unwrap();
                assert_eq!(right, count, "{name}");
                let mut each = vec![true; n];
                let outputs = Outputs::new().is_correct(&mut each);
                loss.eval(&context, shape, &self.logits, targets, weights, &options, outputs).unwrap();
                assert_eq!(each, self.is_correct, "{name}");
            }
        }
    }
}

fn check_all(shapes: &[Shape]) {
    for &shape in shapes {
        Case::<f32>::new(shape).check();
        Case::<f64>::new(shape).check();
    }
}

#[test]
fn rows() {
    let few = [1, 2, 3, 10, 63, 64, 65, 128].map(|classes| Shape::rows(700, classes));
    let many = [129, 1000, 4097, 20_000].map(|classes| Shape::rows(9, classes));
    check_all(&few);
    check_all(&many);
    check_all(&[
        Shape::rows(0, 5),
        Shape::rows(1, 50),
        Shape::rows(70, 7).strides(9, 1),
        Shape::rows(20, 300).strides(301, 1),
    ]);
}

#[test]
fn columns() {
    check_all(&[
        Shape::new(3, 5, 34),
        Shape::new(2, 70, 300),
        Shape::new(3, 130, 35),
        Shape::new(2, 130, 7).strides(130 * 9 + 4, 9),
        Shape::rows(50, 6).strides(1, 60),
        Shape::rows(50, 140).strides(2, 101),
        Shape::new(3, 200, 64),
    ]);
}

#[test]
fn the_first_of_equal_logits_is_the_prediction() {
    let shape = ClassShape::rows(1, 3);
    let inf = f32::INFINITY;
    for (logits, first) in [
        ([1.0, 1.0, 1.0], 0),
        ([0.0, 2.0, 2.0], 1),
        ([-0.0, 0.0, -1.0], 0),
        ([-inf, -inf, -inf], 0),
        ([0.0, inf, inf], 1),
        ([1.0, -inf, 1.5], 2),
    ] {
        for target in 0..3u8 {
            let mut correct = 9;
            let (context, targets, outputs) = (Context::default(), [target], Outputs::new().correct(&mut correct));
            let (targets, options) = (Targets::U8(&targets), Options::new());
            CrossEntropy::new().eval(&context, shape, &logits, targets, Weights::new(), &options, outputs).unwrap();
            assert_eq!(correct, u64::from(target == first), "{logits:?} {target}");
        }
    }
}

#[test]
fn a_nan_is_no_right_prediction() {
    for at in 0..70 {
        let mut logits = [0.0f64; 70];
        (logits[at], logits[9]) = (f64::NAN, if at == 9 { f64::NAN } else { 3.0 });
        let mut correct = 9;
        let (context, outputs) = (Context::default(), Outputs::new().correct(&mut correct));
        let (shape, targets, options) = (ClassShape::rows(1, 70), Targets::I32(&[9]), Options::new());
        CrossEntropy::new().eval(&context, shape, &logits, targets, Weights::new(), &options, outputs).unwrap();
        assert_eq!(correct, 0, "NaN at {at}");
    }
}

#[test]
fn what_has_no_predictions_refuses() {
    let refused = Err(Error::UnsupportedOption { name: "correct" });
    let (context, options, shape, x) = (Context::default(), Options::new(), ClassShape::rows(1, 2), [0.5f32, 0.5]);
    let (mut correct, mut each, mut loss) = (9, [true; 1], [7.0f32]);
    let weights = Weights::new();
    let outputs = Outputs::new().loss(&mut loss).correct(&mut correct);
    let loss_of = CrossEntropy::new();
    assert_eq!(loss_of.eval(&context, shape, &x, Targets::Probabilities(&x), weights, &options, outputs), refused);
    let outputs = Outputs::new().loss(&mut loss).is_correct(&mut each);
    assert_eq!(Nll::new().eval(&context, shape, &x, Indices::U8(&[0]), weights, &options, outputs), refused);
    let outputs = Outputs::new().loss(&mut loss).correct(&mut correct);
    assert_eq!(BceWithLogits::new().eval(&context, &x, &x, None, &options, outputs), refused);
    let mut two = [true; 2];
    let outputs = Outputs::new().loss(&mut loss).is_correct(&mut two).correct(&mut correct);
    let error = loss_of.eval(&context, shape, &x, Targets::U8(&[0]), weights, &options, outputs).unwrap_err();
    assert_eq!(error.to_string(), "is_correct has 2 elements, 1 are needed");
    assert_eq!((correct, each, two, loss), (9, [true], [true; 2], [7.0]));
}

#[test]
fn of_a_linear_layer() {
    use losskit::{LinearCrossEntropy, LinearInputs, LinearOutputs};
    // with a unit matrix, hidden activations are the logits
    let case = Case::<f64>::new(Shape::rows(40, 12));
    let hidden: Vec<f64> = case.logits.iter().map(|x| if x.is_finite() { *x } else { 0.0 }).collect();
    let weight: Vec<f64> = (0..144).map(|i| f64::from(u8::from(i % 13 == 0))).collect();
    let want: Vec<bool> = hidden
        .chunks(12)
        .zip(&case.targets)
        .map(|(row, &target)| argmax(row).is_some_and(|class| class as i64 == target))
        .collect();
    for memory in [1, 7 * 12 * 8, 1 << 20] {
        for with_grad in [false, true] {
            let (mut correct, mut each, mut loss, mut grad) = (9, [true; 40], [0.0], vec![0.0; 480]);
            let inputs = LinearInputs::new(40, 12, 12, &hidden, &weight, Indices::I64(&case.targets));
            let mut outputs = LinearOutputs::new().loss(&mut loss).correct(&mut correct).is_correct(&mut each);
            if with_grad {
                outputs = outputs.grad_hidden(&mut grad);
            }
            let loss = LinearCrossEntropy::new().memory(memory);
            loss.eval(&Context::with_threads(1), &inputs, &Options::new(), outputs).unwrap();
            assert_eq!(each.to_vec(), want);
            assert_eq!(correct, want.iter().filter(|right| **right).count() as u64);
        }
    }
}
