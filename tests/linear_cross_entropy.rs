//! Cross-entropy of a linear layer: what the layer's outputs, made in full, give.

mod common;

use common::{Float, Random};
use losskit::{
    ClassShape, Context, Cost, CrossEntropy, Error, Indices, LinearCrossEntropy, LinearInputs, LinearOutputs, Options,
    Outputs, Reduction, Targets, Weights,
};

const ROWS: usize = 37;
const CLASSES: usize = 129;
const WIDTH: usize = 19;

struct Case<T> {
    hidden: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T>,
    targets: Vec<i64>,
    class_weight: Vec<T>,
    row_weight: Vec<T>,
}

/// Loss, and gradients of hidden, weight and bias.
struct Results {
    loss: Vec<f64>,
    grads: [Vec<f64>; 3],
    cost: f64,
}

fn case<T: Float>() -> Case<T> {
    let random = &mut Random(9);
    let mut targets = random.indices(ROWS, CLASSES);
    targets[5] = -100;
    Case {
        hidden: random.numbers(ROWS * WIDTH, 1.0),
        weight: random.numbers(CLASSES * WIDTH, 1.0),
        bias: random.numbers(CLASSES, 1.0),
        targets,
        class_weight: random.weights(CLASSES),
        row_weight: random.weights(ROWS),
    }
}

fn wide<T: Float>(numbers: &[T]) -> Vec<f64> {
    numbers.iter().map(|x| x.wide()).collect()
}

impl<T: Float> Case<T> {
    /// By all logits, in f64.
    fn whole(&self, smoothing: f64, with_bias: bool, options: &Options, reduction: Reduction) -> Results {
        let (hidden, weight, bias) = (wide(&self.hidden), wide(&self.weight), wide(&self.bias));
        let mut logits = vec![0.0; ROWS * CLASSES];
        for (row, logits) in logits.chunks_mut(CLASSES).enumerate() {
            for (class, logit) in logits.iter_mut().enumerate() {
                let products = (0..WIDTH).map(|i| hidden[row * WIDTH + i] * weight[class * WIDTH + i]);
                *logit = products.sum::<f64>() + if with_bias { bias[class] } else { 0.0 };
            }
        }
        let (class_weight, row_weight) = (wide(&self.class_weight), wide(&self.row_weight));
        let mut loss = vec![0.0; if reduction == Reduction::None { ROWS } else { 1 }];
        let (mut slopes, mut cost) = (logits.clone(), Cost::new());
        let outputs = Outputs::new().loss(&mut loss).grad(&mut slopes).cost(&mut cost);
        let weights = Weights::new().class(&class_weight).row(&row_weight);
        let (shape, targets) = (ClassShape::rows(ROWS, CLASSES), Targets::I64(&self.targets));
        let ce = CrossEntropy::new().label_smoothing(smoothing);
        ce.eval(&Context::default(), shape, &logits, targets, weights, options, outputs).unwrap();
        let slope = |row: usize, class: usize| slopes[row * CLASSES + class];
        let sum = |n: usize, term: &dyn Fn(usize) -> f64| (0..n).map(term).sum::<f64>();
        let of_hidden = |at: usize| sum(CLASSES, &|c| slope(at / WIDTH, c) * weight[c * WIDTH + at % WIDTH]);
        let of_weight = |at: usize| sum(ROWS, &|r| slope(r, at / WIDTH) * hidden[r * WIDTH + at % WIDTH]);
        let of_bias = |class: usize| sum(ROWS, &|row| slope(row, class));
        let grads = [
            (0..ROWS * WIDTH).map(of_hidden).collect(),
            (0..CLASSES * WIDTH).map(of_weight).collect(),
            (0..CLASSES).map(of_bias).collect(),
        ];
        Results { loss, grads, cost: cost.mean() }
    }

    fn fused(&self, how: &LinearCrossEntropy, with_bias: bool, options: &Options, reduction: Reduction) -> Results {
        let mut loss = vec![T::of(7.0); if reduction == Reduction::None { ROWS } else { 1 }];
        let mut grads = [ROWS * WIDTH, CLASSES * WIDTH, CLASSES].map(|n| vec![T::of(0.5); n]);
        let mut cost = Cost::new();
        let weights = Weights::new().class(&self.class_weight).row(&self.row_weight);
        let inputs = LinearInputs::new(ROWS, WIDTH, CLASSES, &self.hidden, &self.weight, Indices::I64(&self.targets));
        let inputs = if with_bias { inputs.bias(&self.bias) } else { inputs }.weights(weights);
        let [hidden, weight, bias] = &mut grads;
        let outputs = LinearOutputs::new().loss(&mut loss).grad_hidden(hidden).grad_weight(weight).grad_bias(bias);
        how.eval(&Context::with_threads(2), &inputs, options, outputs.cost(&mut cost)).unwrap();
        Results { loss: wide(&loss), grads: grads.map(|grad| wide(&grad)), cost: cost.mean() }
    }
}

/// Within a share of the largest.
#[track_caller]
fn assert_close(got: &[f64], want: &[f64], share: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    assert!(largest > 0.0, "{what}: nothing to compare");
    for (at, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= share * largest, "{what}: {got:e}, not {want:e}, at {at}");
    }
}

fn check<T: Float>() {
    let case = case::<T>();
    let share = 64.0 * T::EPSILON;
    let row = CLASSES * size_of::<T>();
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        for (smoothing, with_bias, adds) in [(0.0, true, false), (0.1, false, true)] {
            let options = Options::new().reduction(reduction).grad_scale(1.5);
            let want = case.whole(smoothing, with_bias, &options, reduction);
            // less than a row, some rows with and without a rest, all
            for memory in [0, row, 7 * row, 36 * row, 64 << 20] {
                let how = LinearCrossEntropy::new().label_smoothing(smoothing).memory(memory);
                let got = case.fused(&how, with_bias, &options.accumulate_grad(adds), reduction);
                let what = format!("{} {reduction:?} in {memory} bytes", T::NAME);
                assert_close(&got.loss, &want.loss, share, &what);
                assert_close(&[got.cost], &[want.cost], share, &what);
                for (got, want) in got.grads.iter().zip(&want.grads) {
                    let before = if adds { 0.5 } else { 0.0 };
                    let new: Vec<f64> = got.iter().map(|x| x - before).collect();
                    // what 0.5 takes from the last places, in each block
                    let least = if adds { 40.0 * T::EPSILON } else { 0.0 };
                    let largest = want.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
                    assert_close(&new, want, share + least / largest, &what);
                }
            }
        }
    }
}

#[test]
fn blocks_of_any_size_give_what_all_logits_give() {
    check::<f32>();
    check::<f64>();
}

#[test]
fn of_no_rows_the_mean_is_not_a_number_and_gradients_are_zero() {
    let (mut loss, mut grad) = ([7.0f32], [7.0f32; 6]);
    let inputs = LinearInputs::new(0, 2, 3, &[], &[0.0; 6], Indices::U8(&[]));
    let outputs = LinearOutputs::new().loss(&mut loss).grad_weight(&mut grad);
    let summary = LinearCrossEntropy::new().eval(&Context::default(), &inputs, &Options::new(), outputs).unwrap();
    assert!(loss[0].is_nan() && summary.weight_sum == 0.0);
    assert_eq!(grad, [0.0; 6]);
}

#[test]
fn a_mean_of_nothing_and_one_of_weights_that_cancel() {
    fn check<T: Float>() {
        let (hidden, weight) = (Random(1).numbers::<T>(4, 1.0), Random(2).numbers::<T>(6, 1.0));
        let run = |targets: [i64; 2], class: [f64; 3], row: [f64; 2], options: Options| {
            let (class, row) = (class.map(T::of), row.map(T::of));
            let weights = Weights::new().class(&class).row(&row);
            let inputs = LinearInputs::new(2, 2, 3, &hidden, &weight, Indices::I64(&targets)).weights(weights);
            let (mut loss, mut grad_hidden, mut grad_weight) = ([T::of(7.0)], vec![T::of(7.0); 4], vec![T::of(7.0); 6]);
            let outputs = LinearOutputs::new().loss(&mut loss).grad_hidden(&mut grad_hidden);
            let outputs = outputs.grad_weight(&mut grad_weight);
            let how = LinearCrossEntropy::new().memory(0);
            let summary = how.eval(&Context::with_threads(1), &inputs, &options, outputs).unwrap();
            (loss[0].wide(), wide(&[grad_hidden, grad_weight].concat()), summary.weight_sum)
        };
        let (ones, plain, zero) = ([1.0; 3], Options::new(), Options::new().zero_if_empty(true));
        for (targets, class, row) in
            [([-100, -100], ones, [1.0; 2]), ([0, 1], ones, [0.0; 2]), ([0, 1], [0.0, 0.0, 1.0], [1.0; 2])]
        {
            let (loss, grads, divisor) = run(targets, class, row, plain);
            assert!(loss.is_nan() && divisor == 0.0 && grads.iter().all(|&grad| grad == 0.0));
            let (loss, grads, divisor) = run(targets, class, row, zero);
            assert!(loss == 0.0 && divisor == 0.0 && grads.iter().all(|&grad| grad == 0.0));
        }
        for (class, row) in [(ones, [2.0, -2.0]), ([3.0, -3.0, 0.0], [1.0; 2])] {
            for options in [plain, zero] {
                let (loss, grads, divisor) = run([0, 1], class, row, options);
                assert!(loss.is_nan() && divisor == 0.0 && grads.iter().all(|grad| grad.is_nan()));
                let (loss, grads, _) = run([0, 1], class, row, options.reduction(Reduction::Sum));
                assert!(loss.is_finite() && grads.iter().all(|grad| grad.is_finite()));
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn wrong_arguments_are_refused_and_nothing_is_written() {
    let (hidden, weight) = ([0.5f32; 4], [0.5f32; 6]);
    let good = LinearInputs::new(2, 2, 3, &hidden, &weight, Indices::U8(&[0, 2]));
    let refused = |inputs: &LinearInputs<'_, f32>, how: LinearCrossEntropy, scale: f64| {
        let (mut loss, mut grad) = ([7.0f32], [7.0f32; 4]);
        let outputs = LinearOutputs::new().loss(&mut loss).grad_hidden(&mut grad);
        let options = Options::new().grad_scale(scale);
        let error = how.eval(&Context::default(), inputs, &options, outputs).unwrap_err();
        assert_eq!((loss, grad), ([7.0], [7.0; 4]));
        error
    };
    let how = LinearCrossEntropy::new();
    let words = |inputs: &LinearInputs<'_, f32>| refused(inputs, how, 1.0).to_string();
    let targets = Indices::U8(&[0, 2]);
    assert_eq!(
        words(&LinearInputs::new(2, 2, 3, &hidden[..3], &weight, targets)),
        "hidden has 3 elements, 4 are needed"
    );
    assert_eq!(
        words(&LinearInputs::new(2, 2, 3, &hidden, &weight[..5], targets)),
        "weight has 5 elements, 6 are needed"
    );
    assert_eq!(words(&good.bias(&[0.0; 2])), "bias has 2 elements, 3 are needed");
    assert_eq!(words(&good.weights(Weights::new().class(&[1.0]))), "class_weight has 1 elements, 3 are needed");
    assert_eq!(words(&good.weights(Weights::new().row(&[1.0]))), "row_weight has 1 elements, 2 are needed");
    let wrong = LinearInputs::new(2, 2, 3, &hidden, &weight, Indices::U8(&[0, 3]));
    assert_eq!(words(&wrong), "target 3 at row 1 must be below 3");
    let few = LinearInputs::new(2, 2, 3, &hidden, &weight, Indices::U8(&[0]));
    assert_eq!(words(&few), "targets has 1 elements, 2 are needed");
    assert_eq!(refused(&good, how, f64::NAN), Error::NanOption { name: "grad_scale" });
    assert_eq!(refused(&good, how.label_smoothing(2.0), 1.0), Error::InvalidLabelSmoothing { value: 2.0 });
    let mut short = [7.0f32; 2];
    let outputs = LinearOutputs::new().grad_bias(&mut short);
    let error = how.eval(&Context::default(), &good, &Options::new(), outputs).unwrap_err();
    assert_eq!(error.to_string(), "grad_bias has 2 elements, 3 are needed");
}

/// As in cross-entropy: nothing is left half written.
#[test]
fn a_scale_divided_by_infinite_weights_makes_gradients_that_are_not_numbers() {
    let (mut loss, mut grad) = ([7.0f32], [7.0f32; 2]);
    let weights = Weights::new().row(&[f32::INFINITY]);
    let inputs = LinearInputs::new(1, 2, 3, &[0.5; 2], &[0.5; 6], Indices::U8(&[1])).weights(weights);
    let outputs = LinearOutputs::new().loss(&mut loss).grad_hidden(&mut grad);
    let options = Options::new().grad_scale(f64::INFINITY);
    LinearCrossEntropy::new().eval(&Context::default(), &inputs, &options, outputs).unwrap();
    assert!(loss[0].is_nan() && grad.iter().all(|x| x.is_nan()));
}

/// By a plain matrix product and [`CrossEntropy`] in the same type: whatever the options, the layer adds no semantics.
fn check_z_loss<T: Float>() {
    let case = case::<T>();
    let weights = Weights::new().class(&case.class_weight).row(&case.row_weight);
    let (rows, options) = (ClassShape::rows(ROWS, CLASSES), Options::new().reduction(Reduction::Mean));
    let [hidden, weight, bias] = [&case.hidden, &case.weight, &case.bias].map(|numbers| wide(numbers));
    let product = |at: usize| {
        let (row, class) = (at / CLASSES, at % CLASSES);
        (0..WIDTH).fold(bias[class], |sum, i| sum + hidden[row * WIDTH + i] * weight[class * WIDTH + i])
    };
    let logits: Vec<T> = (0..ROWS * CLASSES).map(|at| T::of(product(at))).collect();
    let mut losses = Vec::new();
    for (smoothing, z_loss) in [(0.0, 0.0), (0.0, 0.25), (0.2, 0.0), (0.2, 0.25), (1.0, -0.5)] {
        let what = format!("{} smoothing {smoothing}, z-loss {z_loss}", T::NAME);
        let ce = CrossEntropy::new().label_smoothing(smoothing).z_loss(z_loss);
        let (mut loss, mut slopes) = ([T::of(0.0)], vec![T::of(0.0); logits.len()]);
        let (targets, outputs) = (Targets::I64(&case.targets), Outputs::new().loss(&mut loss).grad(&mut slopes));
        ce.eval(&Context::default(), rows, &logits, targets, weights, &options, outputs).unwrap();
        let slopes = wide(&slopes);
        let sum = |n: usize, term: &dyn Fn(usize) -> f64| (0..n).map(term).sum::<f64>();
        let of_hidden =
            |at: usize| sum(CLASSES, &|c| slopes[at / WIDTH * CLASSES + c] * weight[c * WIDTH + at % WIDTH]);
        let of_weight = |at: usize| sum(ROWS, &|r| slopes[r * CLASSES + at / WIDTH] * hidden[r * WIDTH + at % WIDTH]);
        let want = [
            (0..ROWS * WIDTH).map(of_hidden).collect::<Vec<_>>(),
            (0..CLASSES * WIDTH).map(of_weight).collect(),
            (0..CLASSES).map(|class| sum(ROWS, &|row| slopes[row * CLASSES + class])).collect(),
        ];
        let how = LinearCrossEntropy::new().label_smoothing(smoothing).z_loss(z_loss);
        for memory in [0, 5 * CLASSES * size_of::<T>(), 64 << 20] {
            let got = case.fused(&how.memory(memory), true, &options, Reduction::Mean);
            let share = 64.0 * T::EPSILON;
            assert_close(&got.loss, &[loss[0].wide()], share, &what);
            got.grads.iter().zip(&want).for_each(|(got, want)| assert_close(got, want, share, &what));
        }
        losses.push(loss[0].wide());
    }
    // each option does something
    losses.sort_by(f64::total_cmp);
    assert!(losses.windows(2).all(|pair| pair[1] - pair[0] > 1e-3), "{losses:?}");
}

#[test]
fn smoothing_and_z_loss_are_those_of_cross_entropy() {
    check_z_loss::<f32>();
    check_z_loss::<f64>();
}
