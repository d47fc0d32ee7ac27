//! Infinities, NaNs, joints, ends of the range.

use crate::common::call::{Call, Formula, Goal, Loss, Results, Shape, pointwise};
use crate::common::reference::reference;
use crate::common::{Float, Random, all_of, assert_same_bits, ulps_off};
use losskit::{
    Bce, ClassShape, Context, Cost, CrossEntropy, Huber, Isa, L1, LogSoftmax, Mse, Nll, Options, Outputs, Reduction,
    SmoothL1, Softmax, Targets,
};

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;
const MAX32: f64 = f32::MAX as f64;

fn context() -> Context {
    Context::with_threads(1)
}

/// What a row has at class `class`, and its loss; from every layout.
struct Row {
    name: String,
    loss: f64,
    grad: Vec<f64>,
    hess: Vec<f64>,
}

/// A target as an index or as probabilities.
#[derive(Clone)]
enum Goals<'a> {
    Index(i64),
    Probabilities(&'a [f64]),
}

/// The row among ordinary ones, in each kernel's layout; for many classes with masked ones behind it, which change
/// nothing. Ordinary rows must be as they are without it.
fn everywhere<T: Float>(logits: &[f64], goal: Goals<'_>, smoothing: f64) -> Vec<Row> {
    let few = logits.len();
    let mut rows = Vec::new();
    // with smoothing masked classes have a share, so that there may be none
    let numbers_of_classes = if smoothing > 0.0 { vec![few] } else { vec![few, 64, 65, 100, 5000] };
    for classes in numbers_of_classes {
        for (shape, place) in [
            (Shape::rows(1, classes), 0),
            (Shape::rows(34, classes), 33),
            (Shape::rows(5, classes), 2),
            (Shape::new(2, classes, 17), 20),
            (Shape::new(1, classes, 40).strides(43 * classes, 43), 5),
        ] {
            if classes == 5000 && shape.samples() > 5 {
                continue;
            }
            let build = |special: bool| {
                let mut input = vec![T::of(NAN); shape.elements()];
                let mut probabilities = vec![T::of(NAN); shape.elements()];
                let mut targets = vec![0i64; shape.samples()];
                for sample in 0..shape.samples() {
                    let is_special = special && sample == place;
                    for class in 0..classes {
                        let plain = ((sample * 7 + class * 3) % 11) as f64 / 4.0;
                        let x = if is_special { logits.get(class).copied().unwrap_or(-INF) } else { plain };
                        input[shape.at(sample, class)] = T::of(x);
                        let q = match goal {
                            Goals::Probabilities(q) => q.get(class).copied().unwrap_or(0.0),
                            Goals::Index(_) => 0.0,
                        };
                        probabilities[shape.at(sample, class)] = T::of(q);
                    }
                    if let (true, Goals::Index(target)) = (is_special, &goal) {
                        targets[sample] = *target;
                    }
                }
                let goal = match goal {
                    Goals::Index(_) => Goal::I64(targets),
                    Goals::Probabilities(_) => Goal::Probabilities(probabilities),
                };
                let loss = Loss::CrossEntropy { smoothing, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
                let call = Call { name: format!("{} {shape:?}", T::NAME), input, loss };
                call.run(&context(), Reduction::None)
            };
            let (got, plain): (Results<T>, _) = (build(true), build(false));
            for sample in (0..shape.samples()).filter(|&sample| sample != place) {
                let all = |results: &Results<T>| -> Vec<u64> {
                    let places = (0..classes).map(|class| shape.at(sample, class));
                    let outputs = places.flat_map(|at| [results.grad[at].bits(), results.hess[at].bits()]);
                    outputs.chain([results.loss[sample].bits()]).collect()
                };
                assert_eq!(all(&got), all(&plain), "{shape:?}: sample {sample} beside {logits:?}");
            }
            let of = |output: &[T]| -> Vec<f64> {
                let all: Vec<f64> = (0..classes).map(|class| output[shape.at(place, class)].wide()).collect();
                let nan = all[0].is_nan();
                assert!(
                    all[few..].iter().all(|&x| x == 0.0 || nan && x.is_nan()),
                    "{shape:?}: masked classes {logits:?}"
                );
                all[..few].to_vec()
            };
            let name = format!("{} {shape:?} {logits:?}", T::NAME);
            rows.push(Row { name, loss: got.loss[place].wide(), grad: of(&got.grad), hess: of(&got.hess) });
        }
    }
    rows
}

fn index<T: Float>(logits: &[f64], target: i64) -> Vec<Row> {
    everywhere::<T>(logits, Goals::Index(target), 0.0)
}

fn masked<T: Float>() {
    let bare = index::<T>(&[1.0, 2.0], 0).remove(0);
    for row in index::<T>(&[1.0, -INF, 2.0], 0) {
        assert_eq!(row.loss, bare.loss, "{}", row.name);
        assert_eq!(row.grad, [bare.grad[0], 0.0, bare.grad[1]], "{}", row.name);
        assert_eq!(row.hess, [bare.hess[0], 0.0, bare.hess[1]], "{}", row.name);
        assert!(row.grad[1].is_sign_positive(), "{}", row.name);
    }
    // the only class left is certain
    for row in index::<T>(&[-INF, 0.5, -INF], 1) {
        assert_eq!((row.loss, &row.grad[..], &row.hess[..]), (0.0, &[0.0; 3][..], &[0.0; 3][..]), "{}", row.name);
    }
}

#[test]
fn masked_classes_have_no_probability_and_no_gradient() {
    masked::<f32>();
    masked::<f64>();
}

fn masked_target<T: Float>() {
    for row in index::<T>(&[1.0, -INF, 1.0], 1) {
        assert_eq!((row.loss, row.grad, row.hess), (INF, vec![0.5, -1.0, 0.5], vec![0.25, 0.0, 0.25]), "{}", row.name);
    }
    for row in index::<T>(&[-INF, 3.0], 0) {
        assert_eq!((row.loss, row.grad), (INF, vec![-1.0, 1.0]), "{}", row.name);
    }
}

#[test]
fn a_target_at_minus_infinity_has_loss_infinity_and_gradient_minus_1() {
    masked_target::<f32>();
    masked_target::<f64>();
}

fn no_class_left<T: Float>() {
    for (logits, target) in
        [(&[-INF; 3], 0), (&[-INF; 3], 2), (&[INF, 0.0, INF], 0), (&[INF, 0.0, INF], 1), (&[INF; 3], 1)]
    {
        for row in index::<T>(logits, target) {
            let nans = row.grad.iter().chain(&row.hess).all(|x| x.is_nan());
            assert!(row.loss.is_nan() && nans, "{}: {} {:?} {:?}", row.name, row.loss, row.grad, row.hess);
        }
    }
}

#[test]
fn all_minus_infinity_or_infinity_twice_is_nan() {
    no_class_left::<f32>();
    no_class_left::<f64>();
}

fn infinity_once<T: Float>() {
    for row in index::<T>(&[0.0, INF, -2.0], 1) {
        assert_eq!((row.loss, row.grad, row.hess), (0.0, vec![0.0; 3], vec![0.0; 3]), "{}", row.name);
    }
    for row in index::<T>(&[0.0, INF, -INF], 0) {
        assert_eq!((row.loss, row.grad), (INF, vec![-1.0, 1.0, 0.0]), "{}", row.name);
    }
}

#[test]
fn infinity_once_is_certain() {
    infinity_once::<f32>();
    infinity_once::<f64>();
}

fn nan_logits<T: Float>() {
    for place in 0..3 {
        for target in 0..3 {
            for other in [0.5, INF, -INF] {
                let mut logits = [1.0, other, 2.0];
                logits[place] = NAN;
                for row in index::<T>(&logits, target) {
                    let nans = row.grad.iter().all(|x| x.is_nan());
                    assert!(row.loss.is_nan() && nans, "{}: {} {:?}", row.name, row.loss, row.grad);
                }
            }
        }
    }
}

#[test]
fn a_nan_logit_makes_its_row_nan_and_no_other() {
    nan_logits::<f32>();
    nan_logits::<f64>();
}

/// Every place of a wide row: first and last lanes, chunks, tails.
#[test]
fn a_nan_is_found_wherever_it_is() {
    for classes in [1usize, 7, 33, 65, 100, 4096, 9001] {
        let places = [0, 1, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 4095, 4096, 8191, 8192, 9000];
        for place in places.into_iter().filter(|&place| place < classes) {
            let mut logits = vec![0.25f32; classes];
            logits[place] = f32::NAN;
            for target in [0, classes as i64 - 1] {
                let mut grad = vec![0.0; classes];
                let shape = ClassShape::rows(1, classes);
                let loss = CrossEntropy::new().mean_with_grad(shape, &logits, Targets::I64(&[target]), &mut grad);
                assert!(loss.unwrap().is_nan() && grad.iter().all(|x| x.is_nan()), "{classes} {place}");
            }
        }
    }
}

fn shares_of_masked_classes<T: Float>() {
    let soft = |logits: &[f64], q: &[f64]| everywhere::<T>(logits, Goals::Probabilities(q), 0.0);
    let bare = soft(&[1.0, 2.5], &[0.25, 0.75]).remove(0);
    for row in soft(&[1.0, -INF, 2.5], &[0.25, 0.0, 0.75]) {
        assert_eq!(row.loss, bare.loss, "{}", row.name);
        assert_eq!(row.grad, [bare.grad[0], 0.0, bare.grad[1]], "{}", row.name);
        assert_eq!(row.hess, [bare.hess[0], 0.0, bare.hess[1]], "{}", row.name);
    }
    for row in soft(&[1.0, 2.0, 0.0], &[0.5, NAN, 0.25]) {
        assert!(row.loss.is_nan() && row.grad[1].is_nan(), "{}: {} {:?}", row.name, row.loss, row.grad);
    }
}

#[test]
fn a_share_of_0_at_minus_infinity_contributes_nothing() {
    shares_of_masked_classes::<f32>();
    shares_of_masked_classes::<f64>();
}

fn wrong_shares<T: Float>() {
    let soft = |logits: &[f64], q: &[f64]| everywhere::<T>(logits, Goals::Probabilities(q), 0.0);
    for row in soft(&[1.0, -INF, 1.0], &[0.5, 0.25, 0.25]) {
        assert_eq!((row.loss, row.grad), (INF, vec![0.0, -0.25, 0.25]), "{}", row.name);
    }
    // smoothing gives every class a share
    for row in everywhere::<T>(&[1.0, -INF, 1.0], Goals::Index(0), 0.375) {
        assert_eq!((row.loss, row.grad), (INF, vec![-0.25, -0.125, 0.375]), "{}", row.name);
    }
    for row in everywhere::<T>(&[1.0, -INF, 1.0], Goals::Probabilities(&[1.0, 0.0, 0.0]), 0.375) {
        assert_eq!((row.loss, row.grad), (INF, vec![-0.25, -0.125, 0.375]), "{}", row.name);
    }
}

/// Infinitely wrong, and the gradient there is minus the share.
#[test]
fn a_share_at_minus_infinity_has_loss_infinity() {
    wrong_shares::<f32>();
    wrong_shares::<f64>();
}

fn extreme_logits<T: Float>() {
    let max = T::LARGEST;
    let near = |got: f64, want: f64| (got - want).abs() <= 3.0 * T::EPSILON * want;
    for row in index::<T>(&[max, -max, 0.0], 0) {
        assert_eq!((row.loss, row.grad), (0.0, vec![0.0; 3]), "{}", row.name);
    }
    // twice the largest number is out of range
    for row in index::<T>(&[max, -max, 0.0], 1) {
        assert_eq!((row.loss, row.grad), (INF, vec![1.0, -1.0, 0.0]), "{}", row.name);
    }
    for row in index::<T>(&[max, -max, 0.0], 2) {
        assert_eq!((row.loss, row.grad), (max, vec![1.0, 0.0, -1.0]), "{}", row.name);
    }
    for x in [max, -max, 1e30, -1e30, T::SMALLEST_NORMAL, 0.0, -0.0] {
        for row in index::<T>(&[x, x], 1) {
            assert!(near(row.loss, std::f64::consts::LN_2), "{}: {}", row.name, row.loss);
            assert_eq!((row.grad, row.hess), (vec![0.5, -0.5], vec![0.25; 2]), "{}", row.name);
        }
    }
    let (large, larger) = (T::of(1e30).wide(), T::of(2e30).wide());
    for row in index::<T>(&[large, larger], 0) {
        assert_eq!((row.loss, row.grad), (larger - large, vec![-1.0, 1.0]), "{}", row.name);
    }
    for row in everywhere::<T>(&[large, larger], Goals::Probabilities(&[0.25, 0.75]), 0.0) {
        let want = 0.25 * (larger - large);
        assert!(near(row.loss, want), "{}: {} {want}", row.name, row.loss);
        assert_eq!(row.grad, [-0.25, 0.25], "{}", row.name);
    }
}

#[test]
fn extreme_logits_overflow_only_where_the_exact_loss_does() {
    extreme_logits::<f32>();
    extreme_logits::<f64>();
}

/// A quarter of twice the largest number is half of it.
fn share_of_a_large_distance<T: Float>() {
    let max = T::LARGEST;
    for row in everywhere::<T>(&[max, -max], Goals::Probabilities(&[0.75, 0.25]), 0.0) {
        assert_eq!((row.loss, row.grad), (max / 2.0, vec![0.25, -0.25]), "{}", row.name);
    }
    for row in everywhere::<T>(&[max, -max], Goals::Index(1), 0.75) {
        // 1/4 + 3/8 of twice the largest number are more than it; 3/8 are not
        assert_eq!(row.loss, INF, "{}", row.name);
    }
    for row in everywhere::<T>(&[max, -max], Goals::Index(0), 0.75) {
        assert_eq!(row.loss, T::of(0.75 * max).wide(), "{}", row.name);
    }
}

#[test]
fn a_share_of_a_distance_beyond_the_largest_number_does_not_overflow() {
    share_of_a_large_distance::<f32>();
    share_of_a_large_distance::<f64>();
}

fn mean_of_large_losses<T: Float>() {
    let x = T::of(T::LARGEST / 1.5);
    let (input, target) = (vec![x; 1000], vec![T::of(0.0); 1000]);
    let mut cost = Cost::new();
    let mut loss = [T::of(0.0)];
    let outputs = Outputs::new().loss(&mut loss).cost(&mut cost);
    L1::new().eval(&context(), &input, &target, None, &Options::new(), outputs).unwrap();
    assert_eq!(loss, [x], "mean of l1");
    assert_eq!(cost.mean(), x.wide(), "cost of l1");
    let logits: Vec<T> = (0..1000).flat_map(|_| [x, T::of(0.0)]).collect();
    let mean = CrossEntropy::new().mean(ClassShape::rows(1000, 2), &logits, Targets::U8(&[1; 1000])).unwrap();
    assert_eq!(mean, x, "mean of cross_entropy");
}

#[test]
fn a_mean_of_large_losses_is_finite_f32() {
    mean_of_large_losses::<f32>();
}

#[test]
fn a_mean_in_f64_overflows_where_the_sum_does() {
    // f32 is added in f64, which has the room; f64 has none above it, and what a mean divides is a sum
    let (x, zeros) = ([1.5e308f64; 2], [0.0; 2]);
    assert_eq!(L1::new().mean(&x, &zeros), Ok(f64::INFINITY));
    assert_eq!(L1::new().mean(&x[..1], &zeros[..1]), Ok(1.5e308));
}

/// All outputs of one pointwise element.
fn element<T: Float>(formula: Formula<T>, x: f64, y: f64) -> [f64; 3] {
    let loss = Loss::Pointwise { formula, target: vec![T::of(y)], weight: None };
    let got = Call { name: format!("{x} {y}"), input: vec![T::of(x)], loss }.run(&context(), Reduction::None);
    [got.loss[0].wide(), got.grad[0].wide(), got.hess[0].wide()]
}

/// Every layout and kind of target, with an infinite weight at a class or a row: the sum is that of the samples, on
/// every instruction set.
fn infinite_weights<T: Float>() {
    let mut random = Random(41);
    let shapes = [Shape::rows(1, 7), Shape::rows(33, 7), Shape::rows(2, 100), Shape::rows(1, 5000)];
    for shape in shapes.into_iter().chain([Shape::new(3, 5, 7), Shape::new(2, 70, 3), Shape::new(1, 1, 40)]) {
        let targets = random.indices(shape.samples(), shape.classes);
        let probabilities = random.units(shape.elements());
        for goal in [Goal::I64(targets), Goal::Probabilities(probabilities)] {
            for (smoothing, class_weight, row_weight) in
                [0.0, 0.875].into_iter().flat_map(|smoothing| [(smoothing, INF, -5.69), (smoothing, 2.0, INF)])
            {
                let mut class: Vec<T> = random.weights(shape.classes);
                let mut row: Vec<T> = random.weights(shape.samples());
                class[4 % shape.classes] = T::of(class_weight);
                row[2 % shape.samples()] = T::of(row_weight);
                let name = format!("{} {shape:?} smoothing {smoothing}, {class_weight}, {row_weight}", T::NAME);
                let input = random.numbers(shape.elements(), 4.0);
                let (class, row) = (Some(class), Some(row));
                let loss =
                    Loss::CrossEntropy { smoothing, z: 0.0, ignore: -100, shape, goal: goal.clone(), class, row };
                let call = Call { name: name.clone(), input, loss };
                let scalar = Context::with_threads(1).cap_isa(Isa::Scalar);
                let want = [Reduction::None, Reduction::Sum, Reduction::Mean].map(|r| call.run(&scalar, r));
                let sum: f64 = want[0].loss.iter().map(|x| x.wide()).sum();
                let got = want[1].loss[0].wide();
                let is_near = (got - sum).abs() <= 64.0 * T::EPSILON * sum.abs();
                assert!(is_near || got == sum || got.is_nan() && sum.is_nan(), "{name}: {got} is not {sum}");
                for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                    let context = Context::with_threads(1).cap_isa(isa);
                    for (reduction, want) in [Reduction::None, Reduction::Sum, Reduction::Mean].iter().zip(&want) {
                        call.run(&context, *reduction).assert_same_bits(want, &format!("{name} {isa:?}"));
                    }
                }
            }
        }
    }
}

#[test]
fn infinite_weights_stay_in_their_samples() {
    infinite_weights::<f32>();
    infinite_weights::<f64>();
}

fn joints<T: Float>() {
    for (delta, d) in [(1.0, 1.0), (0.5, -0.5), (2.0, 2.0), (T::of(0.1).wide(), T::of(0.1).wide())] {
        let [loss, grad, hess] = element::<T>(Formula::Huber(delta), d, 0.0);
        assert_eq!((loss, grad), (T::of(delta * delta / 2.0).wide(), d));
        assert!(hess == 0.0 || hess == 1.0);
        let [loss, grad, hess] = element::<T>(Formula::SmoothL1(delta), d, 0.0);
        assert_eq!((loss, grad), (delta / 2.0, d.signum()));
        assert!(hess == 0.0 || hess == T::of(1.0 / delta).wide());
    }
    for x in [0.0, 1.0, -7.5, T::LARGEST] {
        for formula in [Formula::L1, Formula::SmoothL1(0.0), Formula::Huber(1.0), Formula::SmoothL1(1.0), Formula::Mse]
        {
            let curved = !matches!(formula, Formula::L1 | Formula::SmoothL1(0.0));
            let [loss, grad, hess] = element::<T>(formula, x, x);
            assert_eq!((loss, grad), (0.0, 0.0));
            assert_eq!(hess > 0.0, curved);
        }
    }
    assert_eq!(element::<T>(Formula::L1, 3.0, 1.0), [2.0, 1.0, 0.0]);
    assert_eq!(element::<T>(Formula::L1, 1.0, 3.0), [2.0, -1.0, 0.0]);
    assert_eq!(element::<T>(Formula::Huber(1.0), 0.5, 0.0), [0.125, 0.5, 1.0]);
    assert_eq!(element::<T>(Formula::Huber(1.0), -2.0, 0.0), [1.5, -1.0, 0.0]);
}

#[test]
fn gradients_at_joints_are_what_pytorch_gives() {
    joints::<f32>();
    joints::<f64>();
}

fn slopes<T: Float>() {
    let betas = [T::SMALLEST_NORMAL / 8.0, 1e-37, 1e-30, 1.1e-30, 0.1, 1.0, 3.0, 0.9e30, 1e30, 1e37, T::LARGEST];
    for beta in betas.map(|beta| T::of(beta).wide()) {
        for share in [1.0, 0.999, 0.7, 1.0 / 3.0, 1e-3, 1e-7, 1e-30, 1e-44] {
            let d = T::of(beta * share).wide();
            let [_, grad, _] = element::<T>(Formula::SmoothL1(beta), -d, 0.0);
            let (want, smallest) = (-d / beta, T::SMALLEST_NORMAL * T::EPSILON);
            let error = (grad - want).abs();
            assert!(error <= 0.51 * T::EPSILON * want.abs() + smallest, "{d} / {beta} is {want}, not {grad}");
        }
        for (d, want) in [(beta, 1.0), (-beta, -1.0), (T::LARGEST, 1.0), (INF, 1.0), (0.0, 0.0)] {
            assert_eq!(element::<T>(Formula::SmoothL1(beta), d, 0.0)[1], want, "beta {beta}, d {d}");
        }
    }
}

#[test]
fn slopes_of_smooth_l1_are_quotients_whatever_beta() {
    slopes::<f32>();
    slopes::<f64>();
}

/// The same data through two formulas.
fn results<T: Float>(n: usize, formula: Formula<T>) -> Results<T> {
    let mut call = pointwise::<T>(n).into_iter().find(|call| call.name.starts_with("huber")).unwrap();
    for (at, x) in [(1, NAN), (5, INF), (9, -INF), (13, T::LARGEST), (17, T::SMALLEST_NORMAL / 4.0), (18, 0.0)] {
        call.input[at] = T::of(x);
    }
    let Loss::Pointwise { formula: own, target, .. } = &mut call.loss else { unreachable!() };
    (*own, target[18]) = (formula, T::of(0.0));
    call.run(&context(), Reduction::None)
}

fn relatives<T: Float>() {
    let n = 300;
    let (l1, smooth) = (results::<T>(n, Formula::L1), results::<T>(n, Formula::SmoothL1(0.0)));
    smooth.assert_same_bits(&l1, "smooth_l1 with beta 0 is l1");

    let (mse, huber) = (results::<T>(n, Formula::Mse), results::<T>(n, Formula::Huber(INF)));
    for i in 0..n {
        let half = [&mse.loss, &mse.grad, &mse.hess].map(|x| T::of(x[i].wide() / 2.0).bits());
        // d^2 may be beyond the range where d^2 / 2 is not
        let got = [&huber.loss, &huber.grad, &huber.hess].map(|x| x[i].bits());
        assert!(got == half || mse.loss[i].wide() == INF, "huber with delta infinity is mse/2, at {i}");
    }

    let smooth = results::<T>(n, Formula::SmoothL1(INF));
    for i in (0..n).filter(|&i| ![1, 5, 9].contains(&i)) {
        assert_eq!([smooth.loss[i], smooth.grad[i], smooth.hess[i]].map(|x| x.wide()), [0.0; 3], "at {i}");
    }

    for delta in [0.1, 0.75, 1.0, 3.0] {
        let delta = T::of(delta).wide();
        let (huber, smooth) = (results::<T>(n, Formula::Huber(delta)), results::<T>(n, Formula::SmoothL1(delta)));
        for (huber, smooth) in [(&huber.loss, &smooth.loss), (&huber.grad, &smooth.grad), (&huber.hess, &smooth.hess)] {
            for i in 0..n {
                // where delta is larger than 1, the product may be beyond the type's range
                let (got, want) = (huber[i].wide(), T::of(delta * smooth[i].wide()).wide());
                let right = got == want || (got - want).abs() <= 6.0 * T::EPSILON * want.abs() + T::SMALLEST_NORMAL;
                assert!(right || got.is_nan() && want.is_nan(), "delta {delta} at {i}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn huber_smooth_l1_l1_and_mse_are_related_as_they_should_be() {
    relatives::<f32>();
    relatives::<f64>();
}

fn infinite_differences<T: Float>() {
    for (x, sign) in [(INF, 1.0), (-INF, -1.0)] {
        assert_eq!(element::<T>(Formula::Mse, x, 1.0), [INF, x, 2.0]);
        assert_eq!(element::<T>(Formula::L1, x, 1.0), [INF, sign, 0.0]);
        assert_eq!(element::<T>(Formula::Huber(0.5), x, 1.0), [INF, 0.5 * sign, 0.0]);
        assert_eq!(element::<T>(Formula::SmoothL1(0.5), x, 1.0), [INF, sign, 0.0]);
        assert_eq!(element::<T>(Formula::L1, 1.0, x), [INF, -sign, 0.0]);
        for formula in [Formula::Mse, Formula::L1, Formula::Huber(0.5), Formula::SmoothL1(0.5), Formula::SmoothL1(0.0)]
        {
            assert!(element::<T>(formula, x, x)[..2].iter().all(|x| x.is_nan()));
        }
    }
    // largest numbers, exact results in range
    let max = T::LARGEST;
    assert_eq!(element::<T>(Formula::L1, max, 0.0), [max, 1.0, 0.0]);
    assert_eq!(element::<T>(Formula::L1, max / 2.0, -max / 2.0), [max, 1.0, 0.0]);
    assert_eq!(element::<T>(Formula::Huber(1.0), -max, 0.0), [max, -1.0, 0.0]);
    assert_eq!(element::<T>(Formula::SmoothL1(1.0), max, 0.0), [max, 1.0, 0.0]);
    assert_eq!(element::<T>(Formula::Mse, max / 2.0, 0.0)[1..], [max, 2.0]);
    // beta beyond d: d^2 / (2 beta)
    assert_eq!(element::<T>(Formula::SmoothL1(max), max / 2.0, 0.0)[0], T::of(max / 8.0).wide());
}

#[test]
fn infinite_and_largest_differences_give_the_limits() {
    infinite_differences::<f32>();
    infinite_differences::<f64>();
}

/// delta (|d| - delta/2) with d of twice the largest number and delta 1/4.
#[test]
fn huber_of_a_difference_beyond_the_largest_number_does_not_overflow() {
    assert_eq!(element::<f32>(Formula::Huber(0.25), MAX32, -MAX32), [MAX32 / 2.0, 0.25, 0.0]);
    assert_eq!(element::<f64>(Formula::Huber(0.25), f64::MAX, -f64::MAX), [f64::MAX / 2.0, 0.25, 0.0]);
}

fn nan_placement<T: Float>() {
    for call in pointwise::<T>(41) {
        let clean = call.run(&context(), Reduction::None);
        for at in 0..41 {
            for operand in 0..3 {
                let mut call = call.clone();
                let Loss::Pointwise { target, weight, .. } = &mut call.loss else { unreachable!() };
                match (operand, weight) {
                    (0, _) => call.input[at] = T::of(NAN),
                    (1, _) => target[at] = T::of(NAN),
                    (_, Some(weight)) => weight[at] = T::of(NAN),
                    (_, None) => continue,
                }
                let got = call.run(&context(), Reduction::None);
                let name = format!("{} operand {operand} at {at}", call.name);
                for (output, got, clean) in [
                    ("loss", &got.loss, &clean.loss),
                    ("grad", &got.grad, &clean.grad),
                    ("hess", &got.hess, &clean.hess),
                ] {
                    let nans: Vec<usize> = (0..41).filter(|&i| got[i].wide().is_nan()).collect();
                    assert_eq!(nans, [at], "{name}: {output}");
                    for i in (0..41).filter(|&i| i != at) {
                        assert_eq!(got[i].bits(), clean[i].bits(), "{name}: {output} {i}");
                    }
                }
                assert!(!got.summary.out_of_domain, "{name}");
                for reduction in [Reduction::Sum, Reduction::Mean] {
                    let got = call.run(&context(), reduction);
                    assert!(got.loss[0].wide().is_nan() && got.cost.mean().is_nan(), "{name}");
                }
            }
        }
    }
}

#[test]
fn nan_in_is_nan_out_at_that_sample_alone_and_in_the_reduced_loss() {
    nan_placement::<f32>();
    nan_placement::<f64>();
}

fn domain<T: Float>() {
    let eps = T::EPSILON;
    for outside in [-T::SMALLEST_NORMAL, -1.0, 1.0 + eps, 2.0, INF, -INF] {
        for at in [0, 7, 8, 31, 32, 40] {
            let call = pointwise::<T>(41).into_iter().find(|call| call.name.starts_with("bce soft")).unwrap();
            let clean = call.run(&context(), Reduction::None);
            assert!(!clean.summary.out_of_domain);
            let mut call = call;
            call.input[at] = T::of(outside);
            let got = call.run(&context(), Reduction::None);
            assert!(got.summary.out_of_domain);
            for (got, clean) in [(&got.loss, &clean.loss), (&got.grad, &clean.grad), (&got.hess, &clean.hess)] {
                for i in 0..41 {
                    let want = if i == at { T::of(NAN) } else { clean[i] };
                    assert_eq!(got[i].bits(), want.bits(), "{outside} at {at}: {i}");
                }
            }
            let got = call.run(&context(), Reduction::Mean);
            assert!(got.summary.out_of_domain && got.loss[0].wide().is_nan() && got.cost.mean().is_nan());
        }
    }
    for inside in [0.0, -0.0, 1.0, T::SMALLEST_NORMAL, 1.0 - eps / 2.0, NAN] {
        let mut loss = [T::of(0.0)];
        let outputs = Outputs::new().loss(&mut loss);
        let (x, y) = ([T::of(inside)], [T::of(0.5)]);
        let summary = Bce::new().eval(&context(), &x, &y, None, &Options::new(), outputs).unwrap();
        assert!(!summary.out_of_domain, "{inside}");
        assert_eq!(loss[0].wide().is_nan(), inside.is_nan());
    }
}

#[test]
fn bce_outside_of_0_to_1_is_nan_there_and_said_so() {
    domain::<f32>();
    domain::<f64>();
}

fn bce_ends<T: Float>() {
    let least = T::of(1e-12).wide();
    let steep = T::of(1.0 / least).wide();
    let near = |got: [f64; 3], want: [f64; 3]| {
        let right = got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 4.0 * T::EPSILON * want.abs());
        assert!(right, "{got:?} {want:?}");
    };
    near(element::<T>(Formula::Bce, 0.0, 0.0), [0.0, 0.0, 0.0]);
    near(element::<T>(Formula::Bce, 1.0, 1.0), [0.0, 0.0, 0.0]);
    near(element::<T>(Formula::Bce, 0.0, 1.0), [100.0, -steep, steep * steep]);
    near(element::<T>(Formula::Bce, 1.0, 0.0), [100.0, steep, steep * steep]);
    near(element::<T>(Formula::Bce, -0.0, 0.25), [25.0, -0.25 * steep, 0.25 * steep * steep]);
    near(element::<T>(Formula::Bce, 0.5, 1.0), [std::f64::consts::LN_2, -2.0, 4.0]);
    // exp(-100) is where the clamp begins
    near(
        element::<T>(Formula::Bce, T::of(1e-40).wide(), 1.0),
        [T::of(1e-40).wide().ln(), 1.0, 0.0].map(|x| {
            if x < 0.0 {
                -x
            } else if x == 1.0 {
                -steep
            } else {
                steep * steep
            }
        }),
    );
    near(element::<T>(Formula::Bce, T::of(1e-44).wide(), 1.0), [100.0, -steep, steep * steep]);
}

#[test]
fn bce_clamps_its_logs_at_minus_100() {
    bce_ends::<f32>();
    bce_ends::<f64>();
}

/// Logits from where sigmoid is all but linear to where it has long been 0.
fn saturated<T: Float>() {
    let sizes = [
        0.0, 1e-30, 1e-10, 0.001, 0.3, 1.0, 5.0, 17.0, 36.0, 60.0, 87.0, 88.0, 95.0, 103.0, 104.0, 120.0, 700.0, 745.0,
        746.0, 1e6,
    ];
    let (mut input, mut target) = (Vec::new(), Vec::new());
    for x in sizes.iter().flat_map(|&x| [x, -x]) {
        for y in [0.0, 1.0, 0.25] {
            input.push(T::of(x));
            target.push(T::of(y));
        }
    }
    for pos_weight in [vec![], vec![T::of(3.0)]] {
        let loss =
            Loss::Pointwise { formula: Formula::BceWithLogits(pos_weight), target: target.clone(), weight: None };
        let call = Call { name: "saturated".into(), input: input.clone(), loss };
        let (got, want) = (call.run(&context(), Reduction::None), reference(&call));
        for i in 0..input.len() {
            let name = format!("{} x {} y {}", T::NAME, input[i], target[i]);
            let off = ulps_off(got.loss[i], want.loss[i].value, want.loss[i].scale);
            assert!(off <= 3.0, "{name}: loss {:e}, not {:e}: {off} ULP", got.loss[i], want.loss[i].value.hi);
            let off = ulps_off(got.grad[i], want.grad[i].value, want.grad[i].scale);
            assert!(off <= 4.0, "{name}: gradient {:e}, not {:e}: {off} ULP", got.grad[i], want.grad[i].value.hi);
            let off = ulps_off(got.hess[i], want.hess[i].value, want.hess[i].scale);
            assert!(off <= 4.0, "{name}: Hessian {:e}, not {:e}: {off} ULP", got.hess[i], want.hess[i].value.hi);
        }
    }
    let max = T::LARGEST;
    assert_eq!(element::<T>(Formula::BceWithLogits(vec![]), max, 1.0), [0.0, 0.0, 0.0]);
    assert_eq!(element::<T>(Formula::BceWithLogits(vec![]), max, 0.0), [max, 1.0, 0.0]);
    assert_eq!(element::<T>(Formula::BceWithLogits(vec![]), -max, 1.0), [max, -1.0, 0.0]);
    assert_eq!(element::<T>(Formula::BceWithLogits(vec![]), -max, 0.0), [0.0, 0.0, 0.0]);
}

#[test]
fn saturated_logits_keep_their_loss_and_gradient() {
    saturated::<f32>();
    saturated::<f64>();
}

/// Rows where one class is ahead by so much, against the others' in a sum that is all of the loss.
fn confident<T: Float>(leads: &[f64]) {
    for classes in [2, 5, 64, 65, 200, 5000] {
        for columns in [false, true] {
            let shape = match columns {
                false => Shape::rows(leads.len(), classes),
                true => Shape::new(1, classes, leads.len()),
            };
            let mut input = vec![T::of(0.0); shape.elements()];
            for (sample, &lead) in leads.iter().enumerate() {
                (0..classes).for_each(|class| input[shape.at(sample, class)] = T::of((class % 5) as f64 / -3.0));
                input[shape.at(sample, classes / 2)] = T::of(lead);
            }
            for target in [classes / 2, 0] {
                let goal = Goal::I64(vec![target as i64; leads.len()]);
                let loss =
                    Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
                let call = Call { name: format!("{} {shape:?}", T::NAME), input: input.clone(), loss };
                let (got, want) = (call.run(&context(), Reduction::None), reference(&call));
                for (sample, lead) in leads.iter().enumerate() {
                    let (got, want) = (got.loss[sample], want.loss[sample].value);
                    let off = ulps_off(got, want, want.hi);
                    assert!(off <= 3.0, "{} lead {lead}: {got:e}, not {:e}: {off} ULP", call.name, want.hi);
                }
                for (at, (&got, want)) in got.grad.iter().zip(&want.grad).enumerate() {
                    let off = ulps_off(got, want.value, want.value.hi);
                    assert!(off <= 4.0, "{} gradient {at}: {got:e}, not {:e}: {off} ULP", call.name, want.value.hi);
                }
            }
        }
    }
}

#[test]
fn confident_rows_keep_all_their_digits() {
    let leads = [0.0, 1e-6, 0.01, 1.0, 4.0, 15.9, 16.0, 17.0, 30.0, 36.0, 37.5, 60.0, 84.0, 85.5];
    confident::<f32>(&leads);
    confident::<f64>(&leads);
    confident::<f64>(&[88.0, 95.0, 103.0, 105.0, 300.0, 700.0, 705.0]);
}

/// The others' exponentials are subnormal; what they add up to may not be.
#[test]
fn confident_rows_keep_their_digits_where_exponentials_are_subnormal() {
    confident::<f32>(&[87.5, 88.0, 92.0, 95.0, 103.0, 105.0, 120.0]);
    // the reference adds in f64's own range, so it has no more digits below it than what it is to judge: there,
    // closed forms take its place
    let tiny = |lead: f64| CrossEntropy::new().mean(ClassShape::rows(1, 2), &[lead, 0.0], Targets::U8(&[0])).unwrap();
    for (lead, loss) in [(735.0, 6.217e-320), (740.0, 4.2e-322), (746.0, 0.0), (800.0, 0.0)] {
        assert_eq!(tiny(lead), loss, "{lead}");
    }
    // 63 of e^-735: each alone would be rounded to a multiple of 5e-324
    let mut row = [0.0; 64];
    row[0] = 735.0;
    let sum = CrossEntropy::new().mean(ClassShape::rows(1, 64), &row, Targets::U8(&[0])).unwrap();
    assert_eq!(sum, 3.916483e-318);
}

fn special_distributions<T: Float>() {
    let run = |logits: &[f64]| {
        let logits = all_of::<T>(logits);
        let mut outputs = [logits.clone(), logits.clone()];
        let shape = ClassShape::rows(1, logits.len());
        Softmax::new().eval(&context(), shape, &logits, &mut outputs[0]).unwrap();
        LogSoftmax::new().eval(&context(), shape, &logits, &mut outputs[1]).unwrap();
        outputs.map(|output| output.iter().map(|x| x.wide()).collect::<Vec<_>>())
    };
    for classes in [3, 64, 65, 5000] {
        let row = |first: &[f64]| {
            let mut logits = vec![-INF; classes];
            logits[..3].copy_from_slice(first);
            run(&logits).map(|output| {
                let rest = if output[0].is_nan() { NAN } else { output.last().copied().unwrap() };
                assert!(output[3..].iter().all(|x| *x == rest || rest.is_nan() && x.is_nan()));
                [output[0], output[1], output[2]]
            })
        };
        assert_eq!(row(&[1.5, -INF, 1.5])[0], [0.5, 0.0, 0.5]);
        assert_eq!(row(&[1.5, -INF, -INF]), [[1.0, 0.0, 0.0], [0.0, -INF, -INF]]);
        assert_eq!(row(&[T::LARGEST, -T::LARGEST, 0.0]), [[1.0, 0.0, 0.0], [0.0, -INF, -T::LARGEST]]);
        assert_eq!(row(&[0.0, INF, -INF]), [[0.0, 1.0, 0.0], [-INF, 0.0, -INF]]);
        for nan in [[-INF; 3], [INF, INF, 0.0], [NAN, 0.0, 1.0], [INF, NAN, 1.0], [-INF, NAN, -INF]] {
            assert!(row(&nan).as_flattened().iter().all(|x| x.is_nan()), "{nan:?}");
        }
    }
}

#[test]
fn softmax_of_special_logits_is_what_its_loss_takes_it_for() {
    special_distributions::<f32>();
    special_distributions::<f64>();
}

/// Zeros of both signs are one number.
#[test]
fn the_sign_of_zero_changes_no_bit() {
    let eval = |zeros: [f32; 3]| {
        let mut logits = vec![-1.0; 70];
        logits[..3].copy_from_slice(&zeros);
        let results = [3, 70].map(|classes| {
            let mut grad = vec![0.0; classes];
            let shape = ClassShape::rows(1, classes);
            let loss =
                CrossEntropy::new().mean_with_grad(shape, &logits[..classes], Targets::U8(&[1]), &mut grad).unwrap();
            let mut log_probs = logits[..classes].to_vec();
            LogSoftmax::new().eval_in_place(&context(), shape, &mut log_probs).unwrap();
            (vec![loss], grad, log_probs)
        });
        results.map(|(loss, grad, log_probs)| [loss, grad, log_probs].concat())
    };
    let want = eval([0.0; 3]);
    for zeros in [[-0.0, 0.0, 0.0], [0.0, -0.0, 0.0], [-0.0; 3], [0.0, 0.0, -0.0]] {
        let got = eval(zeros);
        assert_same_bits(&got[0], &want[0], "few classes");
        assert_same_bits(&got[1], &want[1], "many classes");
    }
    // a loss of nothing is +0
    assert_eq!(Mse::new().mean(&[0.0f32, -0.0], &[-0.0, 0.0]).unwrap().to_bits(), 0);
    assert_eq!(L1::new().mean(&[-0.0f64], &[0.0]).unwrap().to_bits(), 0);
    assert_eq!(Huber::new(1.0).mean(&[-0.0f32], &[0.0]).unwrap().to_bits(), 0);
    assert_eq!(SmoothL1::new(1.0).mean(&[-0.0f32], &[0.0]).unwrap().to_bits(), 0);
    let zero = Nll::new().mean(ClassShape::rows(1, 1), &[0.0f32], losskit::Indices::U8(&[0])).unwrap();
    assert_eq!(zero.to_bits(), 0);
}
