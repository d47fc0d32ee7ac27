//! What is beyond the range of the type in between, but not in the result: sums of huge terms, tiny and huge factors and
//! weights, options that are infinite.

use crate::common::call::{Call, Formula, Goal, Loss, Shape, TdData, classes, pointwise, td};
use crate::common::exact::Exact;
use crate::common::reference::{Reference, reference};
use crate::common::{Float, Random, all_of, assert_same_bits, ulps_off};
use losskit::{ClassShape, Context, Cost, CrossEntropy, Isa, Options, Outputs, Reduction, Targets, Weights};

const INF: f64 = f64::INFINITY;

fn context() -> Context {
    Context::with_threads(1)
}

/// A reduced call: loss and derivatives are right, whatever they are between, and the same bits come out whichever outputs
/// are asked for, in place or not, accumulated or not, on every instruction set.
#[track_caller]
fn check(call: &Call<f32>, reduction: Reduction, scale: f64) {
    let name = format!("{} {reduction:?} scale {scale:e}", call.name);
    let options = Options::new().reduction(reduction).grad_scale(scale);
    let zeros = vec![0.0f32; call.input.len()];
    let got = call.run_with(&context(), reduction, options, &zeros);

    let Reference { loss, grad, hess, divisor } = reference(call);
    // (summed first: divided first, terms could be too small for the reference's second half)
    let sum: Exact = loss.iter().map(|term| term.value).sum();
    let size: f64 = loss.iter().map(|term| term.value.hi.abs()).sum();
    let divisor = if reduction == Reduction::Mean { divisor } else { Exact::ONE };
    let want = sum / divisor;
    let off = ulps_off(got.loss[0], want, size / divisor.hi);
    assert!(off <= 3.5, "{name}: loss {:e}, not {:e}: {off} units", got.loss[0], want.hi);
    let cost = got.cost.mean();
    let mean = sum / reference(call).divisor;
    let error = (Exact::of(cost) - mean).hi.abs();
    assert!(error <= 4e-7 * size / reference(call).divisor.hi, "{name}: cost {cost:e}, not {:e}", mean.hi);
    let factor = Exact::of(scale) / divisor;
    for (what, got, want) in [("gradient", &got.grad, grad), ("Hessian", &got.hess, hess)] {
        let owned = call.shape().owned();
        for (at, (&got, want)) in got.iter().zip(want).enumerate().filter(|(at, _)| owned[*at]) {
            let want = want.times(factor);
            let off = ulps_off(got, want.value, want.scale);
            assert!(off <= 4.0 || want.scale == INF, "{name}: {what} {at} is {got:e}, not {:e}: {off}", want.value.hi);
        }
    }

    let mut loss = [0.0];
    call.eval(&context(), &call.input, &options, Outputs::new().loss(&mut loss)).unwrap();
    assert_same_bits(&loss, &got.loss, &format!("{name}: the loss alone"));
    let mut grad = zeros.clone();
    call.eval(&context(), &call.input, &options, Outputs::new().grad(&mut grad)).unwrap();
    assert_same_bits(&grad, &got.grad, &format!("{name}: the gradient alone"));
    let mut cost = Cost::new();
    call.eval(&context(), &call.input, &options, Outputs::new().cost(&mut cost)).unwrap();
    assert_eq!(cost.mean().to_bits(), got.cost.mean().to_bits(), "{name}: the cost alone");
    if call.has_in_place() {
        let (mut data, mut loss, mut hess) = (call.input.clone(), [0.0], zeros.clone());
        call.eval_in_place(&context(), &mut data, &options, Outputs::new().loss(&mut loss).hess(&mut hess)).unwrap();
        // between rows the input stays
        for at in (0..zeros.len()).filter(|&at| call.shape().owned()[at]) {
            assert_eq!(data[at].bits(), got.grad[at].bits(), "{name}: in place, at {at}");
        }
        assert_same_bits(&loss, &got.loss, &format!("{name}: the loss in place"));
        assert_same_bits(&hess, &got.hess, &format!("{name}: the Hessian in place"));
    }
    let before: Vec<f32> = (0..zeros.len()).map(|i| i as f32 - 3.0).collect();
    let sums = call.run_with(&context(), reduction, options.accumulate_grad(true), &before);
    assert_same_bits(&sums.loss, &got.loss, &format!("{name}: the loss beside accumulated gradients"));
    for at in (0..zeros.len()).filter(|&at| call.shape().owned()[at]) {
        for (sum, own) in [(&sums.grad, &got.grad), (&sums.hess, &got.hess)] {
            // where the difference of two inputs is beyond f32, what it was added to is lost
            if matches!(call.loss, Loss::Pointwise { .. }) && call.input[at].abs() > 1e38 && sum[at].is_infinite() {
                continue;
            }
            assert_eq!(sum[at].bits(), (before[at] + own[at]).bits(), "{name}: accumulated, at {at}");
        }
    }
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let context = Context::with_threads(2).cap_isa(isa);
        call.run_with(&context, reduction, options, &zeros).assert_same_bits(&got, &format!("{name} on {isa:?}"));
    }
}

fn call(formula: Formula<f32>, input: Vec<f32>, target: Vec<f32>) -> Call<f32> {
    let name = format!("{formula:?} n={} of {:e}", input.len(), input[0]);
    Call { name, input, loss: Loss::Pointwise { formula, target, weight: None } }
}

/// x, and then zeros.
fn one_of(n: usize, x: f64) -> Vec<f32> {
    let mut all = vec![0.0; n];
    all[0] = x as f32;
    all
}

#[test]
fn one_exploding_element_does_not_make_the_mean_infinite() {
    let zeros = |n| vec![0.0; n];
    for n in [4, 40, 1100] {
        check(&call(Formula::Mse, one_of(n, 2e19), zeros(n)), Reduction::Mean, 1.0);
        check(&call(Formula::Huber(f64::from(3e18f32)), one_of(n, 2e20), zeros(n)), Reduction::Mean, 1.0);
        check(&call(Formula::Huber(f64::from(f32::MAX)), one_of(n, 1e19), one_of(n, -1e19)), Reduction::Mean, 1.0);
        let pos_weight = Formula::BceWithLogits(vec![3.0]);
        check(&call(pos_weight, one_of(n, -3e38), one_of(n, 1.0)), Reduction::Mean, 1.0);
        let weights = Formula::BceWithLogits(vec![1.0, 3.0, 0.5, 100.0]);
        check(&call(weights, one_of(n, -3e38), one_of(n, 1.0)), Reduction::Mean, 1.0);
        // the difference itself is beyond the range, and the gradient of mse with it
        for formula in [Formula::Mse, Formula::L1, Formula::SmoothL1(2.0), Formula::Huber(1.5)] {
            check(&call(formula, one_of(n, 3e38), one_of(n, -3e38)), Reduction::Mean, 1.0);
        }
        check(&call(Formula::Likelihood, one_of(n, 3e38), one_of(n, 2.0)), Reduction::Mean, 1.0);
    }
    assert_eq!(losskit::Mse::new().mean(&[2e19f32, 0.0, 0.0, 0.0], &[0.0; 4]), Ok(1e38f32));
    // a sum that has no number is infinite
    check(&call(Formula::L1, vec![3e38; 4], vec![0.0; 4]), Reduction::Sum, 1.0);
    check(&call(Formula::Mse, vec![3e38; 4], vec![-3e38; 4]), Reduction::Sum, 1.0);
}

/// Exploding elements anywhere, in every call that there is.
#[test]
fn exploding_elements_are_found_wherever_they_are() {
    for n in [33, 1024 + 60, 8192 + 1500] {
        for mut call in pointwise::<f32>(n) {
            let Loss::Pointwise { formula, target, .. } = &mut call.loss else { unreachable!() };
            // of many blocks, one loss of each kind is enough
            let is_enough = n > 8192 && !matches!(formula, Formula::Mse | Formula::Huber(_));
            if is_enough || matches!(formula, Formula::Bce) {
                continue;
            }
            let numbers = !formula.inputs().have_labels();
            for at in [n - 1, n / 2 + 1, 7] {
                call.input[at] = -3e38;
                target[at] = if numbers { 2e38 } else { 1.0 };
            }
            check(&call, Reduction::Mean, 1.0);
        }
    }
}

#[test]
fn a_lost_loss_is_infinite_but_not_the_cost() {
    let huge = call(Formula::Mse, one_of(4, 2e19), vec![0.0; 4]);
    let got = huge.run(&context(), Reduction::None);
    assert_eq!(got.loss, [f32::INFINITY, 0.0, 0.0, 0.0]);
    let exact = f64::from(2e19f32) * f64::from(2e19f32) / 4.0;
    assert!((got.cost.mean() - exact).abs() <= 1e-15 * exact);
    // the weight brings it back
    let Loss::Pointwise { formula, target, .. } = huge.loss else { unreachable!() };
    let loss = Loss::Pointwise { formula, target, weight: Some(vec![1e-30; 4]) };
    let got = Call { name: "weighted".into(), input: one_of(4, 3e38), loss }.run(&context(), Reduction::None);
    assert!(got.loss[0] == INF as f32);
}

/// Few, one for each way through memory.
fn shapes() -> [Shape; 5] {
    let few = [Shape::rows(35, 3), Shape::new(2, 5, 17), Shape::new(1, 130, 35)];
    [few[0], few[1], few[2], Shape::rows(2, 4500), Shape::rows(3, 130).strides(131, 1)]
}

#[test]
fn one_exploding_sample_of_classes_does_not_make_the_mean_infinite() {
    for shape in shapes() {
        for mut call in classes::<f32>(shape) {
            if call.name.contains("z_loss") {
                // squared it is beyond any type
                continue;
            }
            let (size, is_nll) = (if call.name.contains("nll") { -3e38 } else { 3e38 }, call.name.contains("nll"));
            for sample in [1, shape.samples() - 1] {
                for class in 0..shape.classes {
                    call.input[shape.at(sample, class)] = if class % 2 == 0 || is_nll { size } else { -size };
                }
            }
            check(&call, Reduction::Mean, 1.0);
        }
    }
    for (rows, actions, row_stride) in [(40, 2, 2), (37, 5, 8), (1030, 3, 3)] {
        for mut call in td::<f32>(rows, actions, row_stride) {
            let at = call.shape().at(rows - 2, 0);
            (0..actions).for_each(|action| call.input[at + action] = -3e38);
            let Loss::Td(TdData { reward, next_q, done, .. }) = &mut call.loss else { unreachable!() };
            (reward[rows - 2], reward[1]) = (3e38, 3e38);
            // the target too
            (0..actions).for_each(|action| next_q[call.input.len().min(row_stride + action)] = 2e38);
            if let Some(done) = done {
                done[1] = 0;
            }
            check(&call, Reduction::Mean, 1e-10);
        }
    }
}

/// Factors that the type has no number for.
#[test]
fn gradients_are_rounded_once_whatever_the_factor() {
    let scales = [1e-60, 3e-39, -1e45];
    for n in [1, 60, 1100] {
        for mut call in pointwise::<f32>(n) {
            let Loss::Pointwise { formula, target, .. } = &mut call.loss else { unreachable!() };
            if matches!(formula, Formula::Mse | Formula::Huber(_)) {
                for (i, (input, target)) in call.input.iter_mut().zip(target).enumerate() {
                    // of all sizes
                    let size = 10f32.powi(i as i32 % 60 - 40);
                    (*input, *target) = (*input * size, *target * size);
                }
            }
            scales.into_iter().for_each(|scale| check(&call, Reduction::Mean, scale));
            check(&call, Reduction::Sum, 1e40);
        }
    }
    for call in shapes()[..3].iter().flat_map(|shape| classes::<f32>(*shape)).chain(td(37, 5, 8)) {
        scales.into_iter().for_each(|scale| check(&call, Reduction::Mean, scale));
        check(&call, Reduction::Sum, 1e40);
    }
    let mse = |x: f32, scale: f64| {
        let mut grad = [0.0];
        let options = Options::new().grad_scale(scale).reduction(Reduction::Sum);
        losskit::Mse::new().eval(&context(), &[x], &[0.0], None, &options, Outputs::new().grad(&mut grad)).unwrap();
        grad[0]
    };
    assert_eq!(mse(1e-20, 1e40), (2.0 * f64::from(1e-20f32) * 1e40) as f32);
    assert_eq!(mse(1e38, 1e-42), (2.0 * f64::from(1e38f32) * 1e-42) as f32);
    assert_eq!(mse(1e-20, INF), f32::INFINITY);
}

fn factors_of_f64() {
    let mse = |x: f64, n: usize, scale: f64| {
        let (mut grad, zeros) = (vec![0.0; n], vec![0.0; n]);
        let options = Options::new().grad_scale(scale);
        losskit::Mse::new()
            .eval(&context(), &vec![x; n], &zeros, None, &options, Outputs::new().grad(&mut grad))
            .unwrap();
        grad[0]
    };
    // 2 * 1.5e308 is no number, and 3e-308 / 8 has fewer digits
    assert_eq!(mse(0.5, 4, 1.5e308), 1.5e308 / 4.0);
    assert_eq!(mse(0.25, 1, 1.5e308), 0.75e308);
    let off = ulps_off(mse(1e10, 24, 3e-308), Exact::of(3e-308) * Exact::of(2e10) / Exact::of(24.0), 2.5e-299);
    assert!(off <= 2.0, "off by {off}");
    assert_eq!(mse(1e300, 1024, 5e-324), 2.0 * (5e-324 * 1e300) / 1024.0);
}

#[test]
fn factors_of_f64_are_not_lost_in_between() {
    factors_of_f64();
}

/// Class weights that are all alike change no mean.
#[test]
fn class_weights_may_be_of_any_size() {
    for (i, shape) in shapes().into_iter().take(4).enumerate() {
        let (samples, random) = (shape.samples(), &mut Random(shape.classes as u64));
        let weights = [1e-42f64, 3e38, 1e38, 1e-40, 1e-13, 1e30];
        for &weight in &weights[..if i == 0 { 6 } else { 2 }] {
            for call in classes::<f32>(shape) {
                let mut call = call;
                if call.name.contains("z_loss") {
                    continue;
                }
                let (Loss::CrossEntropy { class, row, .. } | Loss::Nll { class, row, .. }) = &mut call.loss else {
                    unreachable!()
                };
                (*class, *row) = (Some(vec![weight as f32; shape.classes]), None);
                call.name += &format!(", class weights {weight:e}");
                check(&call, Reduction::Mean, 1.0);
                // a row's weight may bring a class's back
                let rows = random.weights::<f32>(samples).into_iter().map(|x| x * (1.0 / weight).min(1e38) as f32);
                let (Loss::CrossEntropy { row, .. } | Loss::Nll { row, .. }) = &mut call.loss else { unreachable!() };
                *row = Some(rows.collect());
                call.name += " and rows";
                check(&call, Reduction::Mean, 1.0);
                check(&call, Reduction::Sum, 1.0);
            }
        }
    }
}

/// Loss, gradient and Hessian of one element.
fn element<T: Float>(formula: Formula<T>, x: f64, y: f64) -> [f64; 3] {
    let loss = Loss::Pointwise { formula, target: vec![T::of(y)], weight: None };
    let got = Call { name: format!("{x} {y}"), input: vec![T::of(x)], loss }.run(&context(), Reduction::None);
    [got.loss[0].wide(), got.grad[0].wide(), got.hess[0].wide()]
}

/// Every option of the losses of independent elements at the ends of its range, with inputs at the ends of theirs.
fn options_at_their_ends<T: Float>() {
    let (max, tiny, small) = (T::LARGEST, T::SMALLEST_NORMAL * T::EPSILON, T::SMALLEST_NORMAL);
    let nan = f64::NAN;
    // (formula, input, target, [loss, gradient, Hessian])
    let table: Vec<(Formula<T>, f64, f64, [f64; 3])> = vec![
        // huber: delta |d| outside of delta, d^2 / 2 inside
        (Formula::Huber(tiny), 0.0, 0.0, [0.0, 0.0, 1.0]),
        (Formula::Huber(tiny), 1.0, 0.0, [tiny, tiny, 0.0]),
        (Formula::Huber(tiny), max, 0.0, [tiny * max, tiny, 0.0]),
        (Formula::Huber(tiny), max, -max, [T::of(2.0 * (tiny * max)).wide(), tiny, 0.0]),
        (Formula::Huber(tiny), INF, 0.0, [INF, tiny, 0.0]),
        (Formula::Huber(tiny), -INF, INF, [INF, -tiny, 0.0]),
        (Formula::Huber(max), 0.0, 0.0, [0.0, 0.0, 1.0]),
        (Formula::Huber(max), 1.0, 0.0, [0.5, 1.0, 1.0]),
        (Formula::Huber(max), max, 0.0, [INF, max, 1.0]),
        (Formula::Huber(max), max, -max, [INF, max, 0.0]),
        (Formula::Huber(max), INF, 0.0, [INF, max, 0.0]),
        (Formula::Huber(INF), 0.0, 0.0, [0.0, 0.0, 1.0]),
        (Formula::Huber(INF), tiny, 0.0, [0.0, tiny, 1.0]),
        (Formula::Huber(INF), -3.0, 1.0, [8.0, -4.0, 1.0]),
        (Formula::Huber(INF), max, 0.0, [INF, max, 1.0]),
        (Formula::Huber(INF), max, -max, [INF, INF, 1.0]),
        (Formula::Huber(INF), INF, 0.0, [INF, INF, 1.0]),
        (Formula::Huber(INF), 0.0, INF, [INF, -INF, 1.0]),
        (Formula::Huber(INF), -INF, 2.0, [INF, -INF, 1.0]),
        (Formula::Huber(INF), INF, -INF, [INF, INF, 1.0]),
        (Formula::Huber(INF), INF, INF, [nan, nan, nan]),
        // smooth_l1: |d| - beta / 2 outside of beta, d^2 / (2 beta) inside
        (Formula::SmoothL1(0.0), 0.0, 0.0, [0.0, 0.0, 0.0]),
        (Formula::SmoothL1(0.0), tiny, 0.0, [tiny, 1.0, 0.0]),
        (Formula::SmoothL1(0.0), -max, 0.0, [max, -1.0, 0.0]),
        (Formula::SmoothL1(0.0), max, -max, [INF, 1.0, 0.0]),
        (Formula::SmoothL1(0.0), INF, 0.0, [INF, 1.0, 0.0]),
        (Formula::SmoothL1(tiny), 1.0, 0.0, [1.0, 1.0, 0.0]),
        (Formula::SmoothL1(tiny), max, 0.0, [max, 1.0, 0.0]),
        (Formula::SmoothL1(tiny), INF, 0.0, [INF, 1.0, 0.0]),
        (Formula::SmoothL1(max), 0.0, 0.0, [0.0, 0.0, T::of(1.0 / max).wide()]),
        (Formula::SmoothL1(max), max, 0.0, [max / 2.0, 1.0, 0.0]),
        (Formula::SmoothL1(max), max, -max, [INF, 1.0, 0.0]),
        (Formula::SmoothL1(INF), 0.0, 0.0, [0.0, 0.0, 0.0]),
        (Formula::SmoothL1(INF), tiny, 0.0, [0.0, 0.0, 0.0]),
        (Formula::SmoothL1(INF), max, 0.0, [0.0, 0.0, 0.0]),
        (Formula::SmoothL1(INF), max, -max, [0.0, 0.0, 0.0]),
        (Formula::SmoothL1(INF), INF, 0.0, [0.0, 0.0, 0.0]),
        (Formula::SmoothL1(INF), nan, 0.0, [nan, nan, nan]),
        // bce_with_logits: w y log(1 + e^-x) + (1 - y) log(1 + e^x)
        (Formula::BceWithLogits(all_of(&[0.0])), -max, 1.0, [0.0, 0.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[0.0])), -INF, 1.0, [0.0, 0.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[0.0])), max, 0.0, [max, 1.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[tiny])), -max, 1.0, [tiny * max, -tiny, 0.0]),
        (Formula::BceWithLogits(all_of(&[small])), max, 1.0, [0.0, 0.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[max])), -2.0, 1.0, [INF, nan, nan]),
        (Formula::BceWithLogits(all_of(&[max])), max, 0.0, [max, 1.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[max])), -max, 0.0, [0.0, 0.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[INF])), 0.0, 0.0, [2f64.ln(), 0.5, 0.25]),
        (Formula::BceWithLogits(all_of(&[INF])), max, 0.0, [max, 1.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[INF])), -max, 0.0, [0.0, 0.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[INF])), INF, 0.0, [INF, 1.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[INF])), -INF, 0.0, [0.0, 0.0, 0.0]),
        (Formula::BceWithLogits(all_of(&[INF])), 1.0, 1.0, [INF, -INF, nan]),
        (Formula::BceWithLogits(all_of(&[INF])), -max, 1.0, [INF, -INF, nan]),
        (Formula::BceWithLogits(all_of(&[INF, 2.0, 1.0])), -max, 0.0, [0.0, 0.0, 0.0]),
    ];
    for (formula, x, y, want) in table {
        let got = match &formula {
            // one of three labels: its neighbours are ordinary
            Formula::BceWithLogits(weights) if weights.len() > 1 => {
                let target = all_of(&[y, 1.0, 0.0]);
                let loss = Loss::Pointwise { formula: formula.clone(), target, weight: None };
                let call = Call { name: "labels".into(), input: all_of::<T>(&[x, 0.5, -0.5]), loss };
                let got = call.run(&context(), Reduction::None);
                [got.loss[0].wide(), got.grad[0].wide(), got.hess[0].wide()]
            }
            _ => element::<T>(formula.clone(), x, y),
        };
        for (what, got, want) in
            [("loss", got[0], want[0]), ("gradient", got[1], want[1]), ("Hessian", got[2], want[2])]
        {
            let is_near = got == want || (got - want).abs() <= 3.0 * T::EPSILON * want.abs();
            assert!(
                is_near || want.is_nan() && (got.is_nan() || x.is_finite()),
                "{} {formula:?} {x:e} {y:e}: {what} is {got:e}, not {want:e}",
                T::NAME
            );
        }
    }
}

#[test]
fn options_at_their_ends_give_the_limits() {
    options_at_their_ends::<f32>();
    options_at_their_ends::<f64>();
}

fn td_without_a_future<T: Float>() {
    for next in [-INF, INF, f64::NAN, T::LARGEST] {
        for actions in [2, 40, 100] {
            for double in [false, true] {
                let shape = Shape::rows(35, actions);
                let n = 35 * actions;
                let data = TdData {
                    gamma: 0.0,
                    delta: None,
                    shape,
                    action: vec![1; 35],
                    reward: all_of::<T>(&[2.0; 35]),
                    next_q: all_of::<T>(&vec![next; n]),
                    done: None,
                    online: double.then(|| all_of::<T>(&vec![next; n])),
                    weight: None,
                };
                let call = Call { name: "td".into(), input: all_of::<T>(&vec![0.5; n]), loss: Loss::Td(data) };
                let got = call.run(&context(), Reduction::Mean);
                assert_eq!(got.loss[0].wide(), 2.25, "gamma 0 beside {next}");
                assert_eq!(got.grad[1].wide(), T::of(-3.0 / 35.0).wide());
            }
        }
    }
}

#[test]
fn without_a_discount_the_target_is_the_reward_whatever_follows() {
    td_without_a_future::<f32>();
    td_without_a_future::<f64>();
}

/// Soft labels are goals too: an index's neighbour in the sum.
#[test]
fn soft_labels_far_apart_add_up_in_f64() {
    let shape = Shape::rows(4, 3);
    let mut input = vec![0.0f32; 12];
    input[..3].copy_from_slice(&[3e38, -3e38, -3e38]);
    let mut q = vec![0.25f32; 12];
    q[..3].copy_from_slice(&[0.0, 0.5, 0.5]);
    let goal = Goal::Probabilities(q);
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
    check(&Call { name: "soft".into(), input, loss }, Reduction::Mean, 1.0);
}

/// Every option of cross_entropy at the ends of its range: loss and gradient of one row of two classes, whose first is the target.
fn class_options_at_their_ends<T: Float>() {
    let (max, small, tiny, ln_2) = (T::LARGEST, T::SMALLEST_NORMAL, T::SMALLEST_NORMAL * T::EPSILON, 2f64.ln());
    let loss = CrossEntropy::new();
    // (options, logits, loss, gradient)
    let table = [
        (loss.label_smoothing(tiny), [0.0, 0.0], ln_2, [-0.5, 0.5]),
        (loss.label_smoothing(5e-324), [-max, max], INF, [-1.0, 1.0]),
        (loss.label_smoothing(1.0), [0.0, 0.0], ln_2, [0.0, 0.0]),
        (loss.label_smoothing(1.0), [max, -max], max, [0.5, -0.5]),
        (loss.label_smoothing(1.0), [0.0, -INF], INF, [0.5, -0.5]),
        (loss.label_smoothing(0.5), [INF, 0.0], INF, [0.25, -0.25]),
        (loss.z_loss(5e-324), [0.0, 0.0], ln_2, [-0.5, 0.5]),
        // beside an infinite loss the gradient is no number
        (loss.z_loss(max), [1.0, 1.0], INF, [f64::NAN, f64::NAN]),
        (loss.z_loss(max), [max, -max], INF, [f64::NAN, f64::NAN]),
        (loss.z_loss(INF), [1.0, 1.0], INF, [f64::NAN, f64::NAN]),
        (loss.z_loss(INF), [-2.0, -2.0], INF, [f64::NAN, f64::NAN]),
        (loss.soft_cap(small), [max, 0.0], ln_2, [0.0, 0.5]),
        (loss.soft_cap(small), [-max, max], ln_2, [0.0, 0.0]),
        (loss.soft_cap(max), [0.0, 0.0], ln_2, [-0.5, 0.5]),
        (loss.soft_cap(max), [-max, max], INF, [T::of(-(1.0 - 1f64.tanh().powi(2))).wide(), 1.0 - 1f64.tanh().powi(2)]),
        (loss.soft_cap(1.0), [0.0, -INF], 0.0, [0.0, 0.0]),
        (loss.soft_cap(1.0), [INF, INF], ln_2, [0.0, 0.0]),
    ];
    let mut wrong = Vec::new();
    for (loss, logits, want, want_grad) in table {
        for rows in [1, 40] {
            let logits = all_of::<T>(&logits.repeat(rows));
            let (mut each, mut grad) = (vec![T::of(7.0); rows], vec![T::of(7.0); 2 * rows]);
            let (targets, options) = (vec![0i64; rows], Options::new().reduction(Reduction::None));
            let outputs = Outputs::new().loss(&mut each).grad(&mut grad);
            let shape = ClassShape::rows(rows, 2);
            loss.eval(&context(), shape, &logits, Targets::I64(&targets), Weights::new(), &options, outputs).unwrap();
            let is_near = |got: T, want: f64| {
                let got = got.wide();
                got == want || (got - want).abs() <= 8.0 * T::EPSILON * want.abs() || !got.is_finite() && want.is_nan()
            };
            for row in [0, rows - 1] {
                let got = (each[row], [grad[2 * row], grad[2 * row + 1]]);
                let is_right =
                    is_near(got.0, want) && is_near(got.1[0], want_grad[0]) && is_near(got.1[1], want_grad[1]);
                if !is_right {
                    let what = format!("{} {loss:?} {:?}, {rows} rows", T::NAME, &logits[..2]);
                    wrong.push(format!("{what}: {got:?}, not {want:e} {want_grad:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn class_options_at_their_ends_give_the_limits() {
    class_options_at_their_ends::<f32>();
    class_options_at_their_ends::<f64>();
}
