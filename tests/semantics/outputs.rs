//! Where results go: accumulated, in place, some of them, all of them.

use crate::common::call::{self, Call, Formula, Loss, SENTINEL, Shape};
use crate::common::{Float, Random, assert_same_bits};
use losskit::{
    BceWithLogits, ClassShape, Context, Cost, CrossEntropy, Huber, Indices, Mse, Nll, Options, Outputs, Reduction,
    SmoothL1, Targets, Weights,
};

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Sum, Reduction::Mean];

fn context() -> Context {
    Context::with_threads(1)
}

fn accumulated<T: Float>() {
    for call in call::every::<T>() {
        let random = &mut Random(11);
        let before: Vec<T> = random.numbers(call.input.len(), 3.0);
        let owned = call.shape().owned();
        for reduction in REDUCTIONS {
            for grad_scale in [1.0, 0.3] {
                let options = Options::new().grad_scale(grad_scale);
                let plain = call.run_with(&context(), reduction, options, &before);
                let got = call.run_with(&context(), reduction, options.accumulate_grad(true), &before);
                let sum = |plain: &[T]| -> Vec<T> {
                    (0..plain.len()).map(|at| if owned[at] { before[at].plus(plain[at]) } else { before[at] }).collect()
                };
                let name = format!("{} {reduction:?}", call.name);
                assert_same_bits(&got.grad, &sum(&plain.grad), &format!("{name} grad"));
                assert_same_bits(&got.hess, &sum(&plain.hess), &format!("{name} hess"));
                assert_same_bits(&got.loss, &plain.loss, &format!("{name} loss"));
                assert_eq!(got.cost, plain.cost, "{name} cost");
            }
        }
    }
}

#[test]
fn accumulate_grad_is_one_addition_of_the_plain_gradient() {
    accumulated::<f32>();
    accumulated::<f64>();
}

fn in_place<T: Float>(is_meant: impl Fn(&Call<T>) -> bool) {
    for call in call::every::<T>().into_iter().filter(is_meant) {
        for reduction in REDUCTIONS {
            let apart = call.run_with(&context(), reduction, Options::new().grad_scale(0.7), &call.input);
            let options = Options::new().reduction(reduction).grad_scale(0.7);
            let (mut grad, mut hess, mut cost) = (call.input.clone(), call.input.clone(), Cost::new());
            let mut loss = vec![T::of(SENTINEL); call.losses(reduction)];
            let outputs = Outputs::new().loss(&mut loss).hess(&mut hess).cost(&mut cost);
            let summary = call.eval_in_place(&context(), &mut grad, &options, outputs).unwrap();
            let all = call::Results { loss, grad, hess, cost, summary };
            all.assert_same_bits(&apart, &format!("{} {reduction:?} in place", call.name));
            // and the gradient alone
            let mut grad = call.input.clone();
            call.eval_in_place(&context(), &mut grad, &options, Outputs::new()).unwrap();
            assert_same_bits(&grad, &apart.grad, &format!("{} {reduction:?} alone in place", call.name));
        }
    }
}

#[test]
fn gradient_in_place_is_the_gradient() {
    in_place::<f32>(|call| call.has_in_place() && !is_nll(call));
    in_place::<f64>(|call| call.has_in_place() && !is_nll(call));
}

#[test]
fn gradient_of_nll_in_place_is_the_gradient() {
    in_place::<f32>(is_nll);
    in_place::<f64>(is_nll);
}

fn is_nll<T>(call: &Call<T>) -> bool {
    matches!(call.loss, Loss::Nll { .. })
}

fn any_outputs<T: Float>() {
    for call in call::every::<T>() {
        for reduction in REDUCTIONS {
            for accumulate in [false, true] {
                let options = Options::new().reduction(reduction).accumulate_grad(accumulate);
                let before: Vec<T> = Random(13).numbers(call.input.len(), 1.0);
                let all = call.run_with(&context(), reduction, options, &before);
                for asked in 0..16 {
                    let (mut grad, mut hess, mut cost) = (before.clone(), before.clone(), Cost::new());
                    let mut loss = vec![T::of(SENTINEL); call.losses(reduction)];
                    let [has_loss, has_grad, has_hess, has_cost] = [1, 2, 4, 8].map(|bit| asked & bit != 0);
                    let mut outputs = Outputs::new();
                    if has_loss {
                        outputs = outputs.loss(&mut loss);
                    }
                    if has_grad {
                        outputs = outputs.grad(&mut grad);
                    }
                    if has_hess {
                        outputs = outputs.hess(&mut hess);
                    }
                    if has_cost {
                        outputs = outputs.cost(&mut cost);
                    }
                    let summary = call.eval(&context(), &call.input, &options, outputs).unwrap();
                    let name = format!("{} {reduction:?} accumulate {accumulate} outputs {asked:04b}", call.name);
                    if has_loss {
                        assert_same_bits(&loss, &all.loss, &name);
                    }
                    assert_same_bits(&grad, if has_grad { &all.grad } else { &before }, &name);
                    assert_same_bits(&hess, if has_hess { &all.hess } else { &before }, &name);
                    assert_eq!(cost, if has_cost { all.cost } else { Cost::new() }, "{name}");
                    assert_eq!(summary, all.summary, "{name}");
                }
            }
        }
    }
}

#[test]
fn which_outputs_are_asked_for_changes_no_bit_of_the_others() {
    any_outputs::<f32>();
    any_outputs::<f64>();
}

/// mean and mean_with_grad are eval with the defaults.
fn short_forms<T: Float>() {
    for call in call::every::<T>() {
        let mut grad = vec![T::of(SENTINEL); call.input.len()];
        let (x, g) = (&call.input, &mut grad);
        let (value, with_grad) = match &call.loss {
            Loss::Pointwise { formula, target: y, weight: None } => {
                let loss = formula.loss();
                (loss.mean(x, y), loss.mean_with_grad(x, y, g))
            }
            Loss::CrossEntropy { smoothing, z, ignore, shape, goal, class: None, row: None } => {
                let loss = CrossEntropy::new().label_smoothing(*smoothing).z_loss(*z).ignore_index(*ignore);
                let (shape, targets) = (shape.class_shape(), goal.targets());
                (loss.mean(shape, x, targets), loss.mean_with_grad(shape, x, targets, g))
            }
            Loss::Nll { ignore, shape, targets, class: None, row: None } => {
                let loss = Nll::new().ignore_index(*ignore);
                let (shape, targets) = (shape.class_shape(), Indices::I64(targets));
                (loss.mean(shape, x, targets), loss.mean_with_grad(shape, x, targets, g))
            }
            Loss::Td(td) => (td.loss().mean(&td.inputs(x)), td.loss().mean_with_grad(&td.inputs(x), g)),
            _ => continue,
        };
        let all = call.run(&Context::default(), Reduction::Mean);
        assert_same_bits(&[value.unwrap(), with_grad.unwrap()], &[all.loss[0]; 2], &call.name);
        assert_same_bits(&grad, &all.grad, &call.name);
    }
}

#[test]
fn mean_and_mean_with_grad_are_the_full_form_with_defaults() {
    short_forms::<f32>();
    short_forms::<f64>();
}

#[test]
fn defaults_are_pytorchs() {
    assert_eq!(Huber::default(), Huber::new(1.0));
    assert_eq!(SmoothL1::default(), SmoothL1::new(1.0));
    assert_eq!(CrossEntropy::default(), CrossEntropy::new().ignore_index(-100).label_smoothing(0.0));
    assert_eq!(Nll::default(), Nll::new().ignore_index(-100));
    assert_eq!(BceWithLogits::<f32>::default(), BceWithLogits::new().pos_weight(&[]));
    assert_eq!(Options::default(), Options::new().reduction(Reduction::Mean).accumulate_grad(false).grad_scale(1.0));
}

/// With class indices in every type that they come in.
#[test]
fn index_types_make_no_difference() {
    for shape in [Shape::rows(33, 5), Shape::rows(4, 200), Shape::new(2, 6, 20)] {
        let random = &mut Random(17);
        let logits: Vec<f32> = call::spread(shape, || f32::of(random.number(5.0)));
        let targets = random.indices(shape.samples(), shape.classes);
        let i32s: Vec<i32> = targets.iter().map(|&target| target as i32).collect();
        let u8s: Vec<u8> = targets.iter().map(|&target| target as u8).collect();
        let i16s: Vec<i16> = targets.iter().map(|&target| target as i16).collect();
        let u16s: Vec<u16> = targets.iter().map(|&target| target as u16).collect();
        let u32s: Vec<u32> = targets.iter().map(|&target| target as u32).collect();
        let u64s: Vec<u64> = targets.iter().map(|&target| target as u64).collect();
        let class_weight: Vec<f32> = random.weights(shape.classes);
        let indices = [
            Indices::I64(&targets),
            Indices::I32(&i32s),
            Indices::U8(&u8s),
            Indices::I16(&i16s),
            Indices::U16(&u16s),
            Indices::U32(&u32s),
            Indices::U64(&u64s),
        ];
        let class_shape: ClassShape = shape.class_shape();
        let results = indices.map(|indices| {
            let (mut grad, mut nll_grad) = (logits.clone(), logits.clone());
            let targets = Targets::from(indices);
            let loss = CrossEntropy::new().mean_with_grad(class_shape, &logits, targets, &mut grad).unwrap();
            let nll = Nll::new().mean_with_grad(class_shape, &logits, indices, &mut nll_grad).unwrap();
            let mut weighted = [0.0];
            let (weights, outputs) = (Weights::new().class(&class_weight), Outputs::new().loss(&mut weighted));
            CrossEntropy::new()
                .eval(&context(), class_shape, &logits, targets, weights, &Options::new(), outputs)
                .unwrap();
            (loss, grad, nll, nll_grad, weighted)
        });
        for result in &results[1..] {
            assert_eq!(&results[0], result);
        }
    }
}

/// A loss whose outputs are none still says what is wrong and what it divides by.
#[test]
fn no_outputs_are_outputs_too() {
    for call in call::every::<f32>() {
        let summary = call.eval(&context(), &call.input, &Options::new(), Outputs::new()).unwrap();
        assert_eq!(summary.weight_sum, call.run(&context(), Reduction::Mean).summary.weight_sum);
    }
    let call = Call {
        name: String::new(),
        input: vec![0.5f32, 1.5],
        loss: Loss::Pointwise { formula: Formula::Bce, target: vec![0.0; 2], weight: None },
    };
    assert!(call.eval(&context(), &call.input, &Options::new(), Outputs::new()).unwrap().out_of_domain);
}

/// Large gradients are written past the caches, however the array is aligned: the same as in parts, which are not.
fn large<T: Float>() {
    let (elements, part) = ((32 << 20) / size_of::<T>() + 5, 1 << 20);
    let random = &mut Random(23);
    // (a short period, for speed)
    let some: Vec<T> = random.numbers(4099, 3.0);
    let repeated = |from: usize| -> Vec<T> { (0..elements).map(|i| some[(from + i) % some.len()]).collect() };
    let (input, target) = (repeated(0), repeated(7));
    let options = Options::new().reduction(Reduction::Sum);
    let eval = |range: std::ops::Range<usize>, grad: &mut [T]| {
        let mut loss = [T::of(0.0)];
        let (outputs, context) = (Outputs::new().loss(&mut loss).grad(grad), Context::with_threads(2));
        Mse::new().eval(&context, &input[range.clone()], &target[range], None, &options, outputs).unwrap();
    };
    let mut want = vec![T::of(0.0); elements];
    for start in (0..elements).step_by(part) {
        let range = start..elements.min(start + part);
        eval(range.clone(), &mut want[range]);
    }
    let mut room = vec![T::of(SENTINEL); elements + 18];
    // bytes: none, one element, 16, 32
    for shift in [0, 1, 16 / size_of::<T>(), 32 / size_of::<T>()] {
        eval(0..elements, &mut room[shift..shift + elements]);
        assert_same_bits(&room[shift..shift + elements], &want, &format!("{} shifted by {shift}", T::NAME));
        assert_eq!(room[shift + elements].wide(), SENTINEL, "written beyond the end");
        room.fill(T::of(SENTINEL));
    }
}

#[test]
fn gradients_larger_than_the_caches_are_the_same() {
    large::<f32>();
    large::<f64>();
}
