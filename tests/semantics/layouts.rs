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
