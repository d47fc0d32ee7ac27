//! Where classes lie in memory: strides, gaps, columns and rows, alignment, sizes beyond 2^31.

use crate::common::call::{self, Call, SENTINEL, Shape, moved};
use crate::common::{Float, Random, assert_same_bits, ulp};
use losskit::{
    ClassShape, Context, CrossEntropy, Error, Indices, LogSoftmax, Mse, Nll, Options, Outputs, Reduction, Softmax,
    Targets, Td, TdInputs, Weights,
};

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Sum, Reduction::Mean];

fn context() -> Context {
    Context::with_threads(1)
}

/// The same samples in two layouts: the same bits, and nothing between the elements written.
fn check_moved<T: Float>(call: &Call<T>, to: Shape) {
    let there = call.moved(to);
    for reduction in REDUCTIONS {
        let (got, want) = (there.run(&context(), reduction), call.run(&context(), reduction));
        let name = format!("{} {reduction:?}", there.name);
        if reduction == Reduction::None {
            assert_same_bits(&got.loss, &want.loss, &format!("{name}: loss"));
        } else {
            // added in another order
            let off = (got.loss[0].wide() - want.loss[0].wide()).abs();
            assert!(off <= ulp::<T>(want.loss[0].wide()), "{name}: {} {}", got.loss[0], want.loss[0]);
        }
        for (output, got, want) in [("grad", &got.grad, &want.grad), ("hess", &got.hess, &want.hess)] {
            for (at, owned) in to.owned().into_iter().enumerate() {
                assert!(owned || got[at].wide() == SENTINEL, "{name}: {output} wrote between elements, at {at}");
            }
            assert_same_bits(
                &moved(got, to, call.shape()),
                &moved(want, call.shape(), call.shape()),
                &format!("{name}: {output}"),
            );
        }
        assert_eq!(got.summary, want.summary, "{name}");
    }
}

fn strided<T: Float>() {
    for (outer, classes, inner) in [(35, 2, 1), (34, 10, 1), (5, 129, 1), (4, 3, 33), (3, 70, 6), (3, 130, 6)] {
        let dense = Shape::new(outer, classes, inner);
        let layouts = [
            dense.strides(classes * inner + 1, inner),
            dense.strides((inner + 3) * classes, inner + 3),
            dense.strides((inner + 3) * classes + 5, inner + 3),
            // classes outermost, dense and not
            dense.strides(inner, inner * outer),
            dense.strides(inner + 2, (inner + 2) * outer + 1),
        ];
        for call in call::classes::<T>(dense) {
            layouts.iter().for_each(|&to| check_moved(&call, to));
        }
    }
    // Rows of several chunks have exponentials by their chunks' maxima, so that only rows compare bit for bit.
    for call in call::classes::<T>(Shape::rows(3, 5000)) {
        check_moved(&call, Shape::rows(3, 5000).strides(5001, 1));
        check_moved(&call, Shape::rows(3, 5000).strides(8192, 1));
    }
    for (rows, actions) in [(35, 2), (7, 33)] {
        for call in call::td::<T>(rows, actions, actions) {
            check_moved(&call, Shape::rows(rows, actions).strides(actions + 1, 1));
            check_moved(&call, Shape::rows(rows, actions).strides(2 * actions, 1));
        }
    }
}

#[test]
fn strides_change_no_bit_and_gaps_are_never_touched() {
    strided::<f32>();
    strided::<f64>();
}

fn transposed<T: Float>() {
    for classes in [2, 3, 10, 64, 65, 100, 128, 129, 1000] {
        for (outer, inner) in [(2, 35), (3, 4), (1, 33)] {
            let rows = Shape::rows(outer * inner, classes);
            for call in call::classes::<T>(rows) {
                check_moved(&call, Shape::new(outer, classes, inner));
            }
        }
    }
}

#[test]
fn columns_give_the_bits_of_transposed_rows() {
    transposed::<f32>();
    transposed::<f64>();
}

fn transposed_softmax<T: Float>() {
    for classes in [2, 3, 10, 64, 65, 100, 128, 129, 1000] {
        let (rows, columns) = (Shape::rows(70, classes), Shape::new(2, classes, 35).strides(36 * classes, 36));
        let random = &mut Random(classes as u64);
        let logits: Vec<T> = call::spread(rows, || T::of(random.number(9.0)));
        let upstream: Vec<T> = call::spread(rows, || T::of(random.number(2.0)));
        let run = |shape: Shape| {
            let (logits, upstream) = (moved(&logits, rows, shape), moved(&upstream, rows, shape));
            let sentinels = vec![T::of(SENTINEL); shape.elements()];
            let mut outputs = [sentinels.clone(), sentinels.clone(), sentinels.clone(), sentinels];
            let [p, p_back, log_p, log_p_back] = &mut outputs;
            let (context, class_shape) = (context(), shape.class_shape());
            Softmax::new().eval(&context, class_shape, &logits, p).unwrap();
            Softmax::new().backward(&context, class_shape, p, &upstream, p_back).unwrap();
            LogSoftmax::new().eval(&context, class_shape, &logits, log_p).unwrap();
            LogSoftmax::new().backward(&context, class_shape, log_p, &upstream, log_p_back).unwrap();
            // in place
            for (log, want) in [(false, &*p), (true, &*log_p)] {
                let mut logits = logits.clone();
                for (x, owned) in logits.iter_mut().zip(shape.owned()).filter(|(_, owned)| !owned) {
                    *x = T::of(if owned { 0.0 } else { SENTINEL });
                }
                match log {
                    false => Softmax::new().eval_in_place(&context, class_shape, &mut logits).unwrap(),
                    true => LogSoftmax::new().eval_in_place(&context, class_shape, &mut logits).unwrap(),
                }
                assert_same_bits(&logits, want, "in place");
            }
            for output in &outputs {
                for (x, _) in output.iter().zip(shape.owned()).filter(|(_, owned)| !owned) {
                    assert_eq!(x.wide(), SENTINEL, "wrote between elements");
                }
            }
            outputs.map(|output| moved(&output, shape, rows))
        };
        let (got, want) = (run(columns), run(rows));
        for (what, i) in ["softmax", "softmax backward", "log_softmax", "log_softmax backward"].into_iter().zip(0..) {
            assert_same_bits(&got[i], &want[i], &format!("{what} {} of {classes} classes", T::NAME));
        }
    }
}

#[test]
fn softmax_of_columns_gives_the_bits_of_transposed_rows_forwards_backwards_and_in_place() {
    transposed_softmax::<f32>();
    transposed_softmax::<f64>();
}

/// A slice that begins `by` elements behind a 64-byte boundary.
fn shifted<T: Float>(data: &[T], by: usize) -> (Vec<T>, usize) {
    let mut buffer = vec![T::of(f64::NAN); data.len() + 64 + by];
    let start = buffer.as_ptr().align_offset(64) + by;
    buffer[start..start + data.len()].copy_from_slice(data);
    (buffer, start)
}

fn unaligned<T: Float>() {
    for call in call::every::<T>() {
        let want = call.run(&context(), Reduction::Mean);
        for by in [0, 1, 2, 3, 5, 8] {
            let n = call.input.len();
            let ((input, at), fill) = (shifted(&call.input, by), vec![T::of(SENTINEL); n]);
            let ((mut grad, grad_at), (mut hess, hess_at)) = (shifted(&fill, by + 1), shifted(&fill, 2 * by));
            let mut loss = [T::of(0.0)];
            let grads = (&mut grad[grad_at..grad_at + n], &mut hess[hess_at..hess_at + n]);
            let outputs = Outputs::new().loss(&mut loss).grad(grads.0).hess(grads.1);
            call.eval(&context(), &input[at..at + n], &Options::new(), outputs).unwrap();
            let name = format!("{} shifted by {by}", call.name);
            assert_same_bits(&loss, &want.loss, &name);
            assert_same_bits(&grad[grad_at..grad_at + n], &want.grad, &name);
            assert_same_bits(&hess[hess_at..hess_at + n], &want.hess, &name);
            // nothing before or behind
            let outside = grad[..grad_at].iter().chain(&grad[grad_at + n..]);
            assert!(outside.chain(&hess[..hess_at]).chain(&hess[hess_at + n..]).all(|x| x.wide().is_nan()), "{name}");
        }
    }
}

#[test]
fn alignment_changes_no_bit() {
    unaligned::<f32>();
    unaligned::<f64>();
}

#[test]
fn unaligned_targets_and_weights_change_no_bit() {
    let random = &mut Random(23);
    let (x, y, w): (Vec<f64>, Vec<f64>, Vec<f64>) =
        (random.numbers(300, 3.0), random.numbers(300, 3.0), random.weights(300));
    let targets = random.indices(100, 3);
    let mut want = None;
    for by in 0..5 {
        let [(x, i), (y, j), (w, k)] = [(&x, by), (&y, 2 * by), (&w, 3 * by)].map(|(data, by)| shifted(data, by));
        let (x, y, w) = (&x[i..i + 300], &y[j..j + 300], &w[k..k + 300]);
        let mut targets_there = vec![-1; by];
        targets_there.extend(&targets);
        let targets = Targets::I64(&targets_there[by..]);
        let (mut loss, mut grad, mut ce_loss, mut ce_grad) = ([0.0], vec![0.0; 300], [0.0], vec![0.0; 300]);
        let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
        Mse::new().eval(&context(), x, y, Some(w), &Options::new(), outputs).unwrap();
        let weights = Weights::new().row(&w[..100]);
        let outputs = Outputs::new().loss(&mut ce_loss).grad(&mut ce_grad);
        let shape = ClassShape::rows(100, 3);
        CrossEntropy::new().eval(&context(), shape, x, targets, weights, &Options::new(), outputs).unwrap();
        let got = (loss, grad, ce_loss, ce_grad);
        assert_eq!(*want.get_or_insert(got.clone()), got, "shifted by {by}");
    }
}

#[test]
fn elements_count_from_the_first_to_the_last() {
    assert_eq!(ClassShape::rows(0, 7).elements(), 0);
    assert_eq!(ClassShape::new(3, 7, 0).elements(), 0);
    assert_eq!(ClassShape::rows(3, 7).elements(), 21);
    assert_eq!(ClassShape::rows(3, 7).outer_stride(10).elements(), 27);
    assert_eq!(ClassShape::new(2, 3, 5).elements(), 30);
    assert_eq!(ClassShape::new(2, 3, 5).class_stride(8).elements(), 2 * 16 + 5 + 5);
    assert_eq!(ClassShape::new(2, 3, 5).class_stride(8).outer_stride(24).elements(), 24 + 16 + 5);
    // classes outermost
    assert_eq!(ClassShape::rows(4, 3).outer_stride(1).class_stride(4).elements(), 12);
    assert_eq!(ClassShape::rows(4, 3).outer_stride(2).class_stride(9).elements(), 2 * 9 + 3 * 2 + 1);
}

/// 64-bit arithmetic: beyond 2^31 and 2^32 elements by strides, not by memory.
#[cfg(target_pointer_width = "64")]
#[test]
fn shapes_beyond_2_to_the_31_are_counted_right() {
    let (k, two_31) = (1usize << 10, 1usize << 31);
    assert_eq!(ClassShape::rows(two_31, 3).elements(), 3 * two_31);
    assert_eq!(ClassShape::rows(two_31, 3).samples(), two_31);
    assert_eq!(ClassShape::new(k, two_31, k).elements(), two_31 << 20);
    assert_eq!(ClassShape::rows(2, 5).outer_stride(two_31 + 7).elements(), two_31 + 12);
    assert_eq!(ClassShape::rows(9, 2).class_stride(two_31 * 16).outer_stride(3).elements(), 16 * two_31 + 25);
    assert_eq!(ClassShape::rows(usize::MAX, 1).elements(), usize::MAX);
    // more than memory can be
    for shape in [
        ClassShape::rows(usize::MAX, 2),
        ClassShape::new(1 << 33, 1, 1 << 31),
        ClassShape::rows(2, 3).outer_stride(usize::MAX - 1),
        ClassShape::rows(3, 3).outer_stride(usize::MAX / 2 + 1),
        ClassShape::rows(1, usize::MAX).class_stride(2),
        ClassShape::new(1, 2, usize::MAX),
    ] {
        assert_eq!(shape.elements(), usize::MAX, "{shape:?}");
        let error = CrossEntropy::new().mean(shape, &[0.0f32; 6], Targets::I64(&[0, 1])).unwrap_err();
        assert_eq!(error, Error::SizeTooLarge { name: "shape" }, "{shape:?}");
    }
    assert_eq!(ClassShape::new(1 << 33, 1, 1 << 31).samples(), usize::MAX);
}

/// Slices too short for such strides are told how long they had to be.
#[cfg(target_pointer_width = "64")]
#[test]
fn huge_strides_are_told_apart_from_the_memory_there_is() {
    let huge = 1usize << 34;
    let shape = ClassShape::rows(3, 4).outer_stride(huge);
    let (logits, targets) = ([0.0f32; 12], [0i64, 1, 2]);
    let needed = 2 * huge + 4;
    let error = Error::LengthMismatch { name: "logits", length: 12, needed };
    assert_eq!(CrossEntropy::new().mean(shape, &logits, Targets::I64(&targets)), Err(error.clone()));
    let mut output = logits;
    assert_eq!(Softmax::new().eval(&context(), shape, &logits, &mut output), Err(error));
    let error = Error::LengthMismatch { name: "log_probs", length: 12, needed };
    assert_eq!(Nll::new().mean(shape, &logits, Indices::I64(&targets)), Err(error));
    let inputs = TdInputs::new(4, &logits, Indices::I64(&targets), &[0.0; 3], &logits).row_stride(huge);
    let error = Td::mse(1.0).mean(&inputs).unwrap_err();
    assert!(matches!(error, Error::LengthMismatch { length: 12, needed: n, .. } if n == needed), "{error}");
    // one row has no stride
    let one = ClassShape::rows(1, 12).outer_stride(huge);
    assert!(CrossEntropy::new().mean(one, &logits, Targets::I64(&targets[..1])).is_ok());
}

/// Longer slices serve a shape with gaps, whose last gap may or may not be there.
#[test]
fn a_shape_with_gaps_takes_slices_with_and_without_the_last_gap() {
    let shape = ClassShape::rows(2, 3).outer_stride(5);
    for length in [8, 9, 10, 100] {
        let (logits, mut grad) = (vec![0.5f32; length], vec![9.0; length]);
        CrossEntropy::new().mean_with_grad(shape, &logits, Targets::U8(&[0, 1]), &mut grad).unwrap();
        assert_eq!(grad[3..5], [9.0; 2]);
        assert!(grad[8..].iter().all(|&x| x == 9.0));
    }
    assert!(CrossEntropy::new().mean(shape, &[0.5f32; 7], Targets::U8(&[0, 1])).is_err());
}

/// What a call on one shape gives: loss, gradient, Hessian, or the error.
fn outputs_of<T: Float>(
    nll: bool,
    shape: ClassShape,
    logits: &[T],
    targets: &[i64],
    options: &Options,
    elements: usize,
) -> Result<[Vec<T>; 3], Error> {
    let losses = shape.samples();
    let (mut loss, mut grad, mut hess) =
        (vec![T::of(0.0); losses], vec![T::of(SENTINEL); elements], vec![T::of(SENTINEL); elements]);
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad).hess(&mut hess);
    let class: [T; 7] = core::array::from_fn(|class| T::of(1.0 + class as f64 / 8.0));
    let weights = if nll { Weights::new().class(&class) } else { Weights::new() };
    if nll {
        Nll::new().eval(&context(), shape, logits, Indices::I64(targets), weights, options, outputs)?;
    } else {
        CrossEntropy::new().eval(&context(), shape, logits, Targets::I64(targets), weights, options, outputs)?;
    }
    Ok([loss, grad, hess])
}

/// Strides of the gradient's own, and crops: the bits of dense calls, and nothing between the elements written.
fn apart<T: Float>() {
    let options = Options::new().reduction(Reduction::None);
    let random = &mut Random(41);
    for nll in [false, true] {
        for (outer, classes, rows, length) in [(1, 7, 1, 1), (40, 7, 1, 1), (3, 7, 5, 4), (2, 7, 3, 40), (2, 7, 2, 16)]
        {
            let inner = rows * length;
            let samples = outer * inner;
            let dense: Vec<T> = random.numbers(samples * classes, 5.0);
            let mut targets = random.indices(samples, classes);
            targets[samples / 2] = -100;
            let shape = ClassShape::new(outer, classes, inner);
            let want = outputs_of(nll, shape, &dense, &targets, &options, dense.len()).unwrap();
            // (outer stride, class stride, row stride) of the logits
            let (plane, gap) = ((rows - 1) * (length + 3) + length, 3);
            let layouts = [
                (classes * inner + gap, inner, length),
                (inner, outer * inner, length),
                ((plane + 1) * classes + 2, plane + 1, length + 3),
            ];
            for (outer_stride, class_stride, row_stride) in layouts {
                let place = |i: usize| {
                    let (o, class, at) = (i / (classes * inner), i / inner % classes, i % inner);
                    o * outer_stride + class * class_stride + at / length * row_stride + at % length
                };
                let there = shape.outer_stride(outer_stride).class_stride(class_stride).row_stride(length, row_stride);
                let mut logits = vec![T::of(f64::NAN); there.elements()];
                dense.iter().enumerate().for_each(|(i, &x)| logits[place(i)] = x);
                let name = format!("{there:?} nll {nll}");
                // the gradient as the logits lie
                let [loss, grad, hess] = outputs_of(nll, there, &logits, &targets, &options, logits.len()).unwrap();
                assert_same_bits(&loss, &want[0], &name);
                for (got, want) in [(&grad, &want[1]), (&hess, &want[2])] {
                    let mut expected = vec![T::of(SENTINEL); logits.len()];
                    want.iter().enumerate().for_each(|(i, &x)| expected[place(i)] = x);
                    assert_same_bits(got, &expected, &name);
                }
                // the gradient dense, or with gaps of its own
                for (outer_stride, class_stride) in
                    [(classes * inner, inner), (0, inner), (classes * (inner + 1), inner + 1)]
                {
                    let own = match outer_stride {
                        0 => there.dense_grad(),
                        _ => there.grad_strides(outer_stride, class_stride),
                    };
                    let outer_stride = if outer_stride == 0 { classes * inner } else { outer_stride };
                    let place = |i: usize| {
                        i / (classes * inner) * outer_stride + i / inner % classes * class_stride + i % inner
                    };
                    let elements = place(dense.len() - 1) + 1;
                    let [loss, grad, hess] = outputs_of(nll, own, &logits, &targets, &options, elements).unwrap();
                    assert_same_bits(&loss, &want[0], &name);
                    for (got, want) in [(&grad, &want[1]), (&hess, &want[2])] {
                        let mut expected = vec![T::of(SENTINEL); elements];
                        want.iter().enumerate().for_each(|(i, &x)| expected[place(i)] = x);
                        assert_same_bits(got, &expected, &name);
                    }
                    // without a gradient there is nothing to copy
                    let mut loss = vec![T::of(0.0); samples];
                    let (weights, outputs) = (Weights::new(), Outputs::new().loss(&mut loss));
                    if !nll {
                        CrossEntropy::new()
                            .eval(&context(), own, &logits, Targets::I64(&targets), weights, &options, outputs)
                            .unwrap();
                        assert_same_bits(&loss, &want[0], &name);
                    }
                    let adding = options.accumulate_grad(true);
                    let error = outputs_of(nll, own, &logits, &targets, &adding, elements).unwrap_err();
                    let name = "accumulate_grad where the gradient has strides of its own";
                    assert_eq!(error, Error::UnsupportedOption { name });
                    // too short
                    let error = outputs_of(nll, own, &logits, &targets, &options, elements - 1).unwrap_err();
                    assert_eq!(error, Error::LengthMismatch { name: "grad", length: elements - 1, needed: elements });
                }
            }
        }
    }
    // many classes, read where they lie
    let (classes, rows, length) = (150, 3, 21);
    let shape = ClassShape::new(2, classes, rows * length);
    let dense: Vec<T> = random.numbers(shape.elements(), 5.0);
    let targets = random.indices(shape.samples(), classes);
    let want = outputs_of(false, shape, &dense, &targets, &options, dense.len()).unwrap();
    let there = shape.class_stride(rows * 30).row_stride(length, 30);
    let mut logits = vec![T::of(f64::NAN); there.elements()];
    for (i, &x) in dense.iter().enumerate() {
        let (plane, at) = (i / (rows * length), i % (rows * length));
        let outer = plane / classes * ((classes - 1) * rows * 30 + (rows - 1) * 30 + length);
        logits[outer + plane % classes * rows * 30 + at / length * 30 + at % length] = x;
    }
    let own = there.dense_grad();
    let got = outputs_of(false, own, &logits, &targets, &options, dense.len()).unwrap();
    for (got, want) in got.iter().zip(&want) {
        assert_same_bits(got, want, "crops of many classes");
    }
    let [loss, ..] = outputs_of(false, there, &logits, &targets, &options, logits.len()).unwrap();
    assert_same_bits(&loss, &want[0], "crops of many classes");
}

#[test]
fn gradients_with_strides_of_their_own_and_crops() {
    apart::<f32>();
    apart::<f64>();
}

#[test]
fn layouts_that_a_function_does_not_have_are_refused() {
    let (logits, mut out) = ([0.0f32; 24], [7.0f32; 24]);
    let crop = ClassShape::new(1, 2, 4).row_stride(2, 3).class_stride(6);
    let own = ClassShape::rows(4, 2).grad_strides(3, 1);
    let refused = |name| Err(Error::UnsupportedOption { name });
    assert_eq!(Softmax::new().eval(&context(), crop, &logits[..11], &mut out[..11]), refused("shape.row_stride"));
    let name = "a gradient with strides of its own";
    assert_eq!(LogSoftmax::new().eval(&context(), own, &logits[..8], &mut out[..8]), refused(name));
    let name = "a gradient with strides of its own in place";
    let (targets, options) = (Indices::I64(&[0; 4]), Options::new());
    let (weights, outputs) = (Weights::new(), Outputs::new());
    let in_place = Nll::new().eval_in_place(&context(), own, &mut out[..8], targets, weights, &options, outputs);
    assert_eq!(in_place.map(|_| ()), refused(name));
    let name = "class probabilities where the gradient has strides of its own";
    let soft = CrossEntropy::new().mean(own, &logits[..8], Targets::Probabilities(&logits[..8]));
    assert_eq!(soft.map(|_| ()), refused(name));
    let name = "hess without grad where they have strides of their own";
    let outputs = Outputs::new().hess(&mut out[..11]);
    let alone = Nll::new().eval(&context(), own, &logits[..8], targets, weights, &options, outputs);
    assert_eq!(alone.map(|_| ()), refused(name));
    assert_eq!(out, [7.0; 24]);
    // strides of 0, which broadcast tensors have
    let rows = ClassShape::rows(4, 2);
    for shape in [rows.outer_stride(0), rows.class_stride(0), rows.grad_strides(0, 1), rows.grad_strides(2, 0)] {
        let error = CrossEntropy::new().mean(shape, &logits, Targets::I64(&[0; 4])).unwrap_err();
        assert!(matches!(error, Error::InvalidStride { .. }), "{shape:?}: {error}");
    }
    let td = TdInputs::new(2, &logits[..8], targets, &[0.0; 4], &logits[..8]).row_stride(0);
    let error = Td::mse(0.5).eval(&context(), &td, &options, Outputs::new(), None).unwrap_err();
    assert!(matches!(error, Error::InvalidStride { .. }), "{error}");
    // rows that do not fill the plane, and rows that overlap
    let length = |shape: ClassShape| CrossEntropy::new().mean(shape, &logits, Targets::I64(&[0; 4])).map(|_| ());
    let error = Error::LengthMismatch { name: "shape.row_length", length: 3, needed: 4 };
    assert_eq!(length(ClassShape::new(1, 2, 4).row_stride(3, 5)), Err(error));
    let error = Error::InvalidStride { outer_stride: 1, class_stride: 2 };
    assert_eq!(length(ClassShape::new(1, 2, 4).row_stride(2, 1)), Err(error));
}
