//! Gradients with strides of their own, and crops of images: every function gives the bits that it gives for dense
//! arrays, and writes nothing between the elements.

use crate::common::call::SENTINEL;
use crate::common::{Float, Random, assert_same_bits};
use losskit::{
    ClassShape, Context, CrossEntropy, Distillation, Entropy, Error, Indices, LogSoftmax, Nll, Options, Outputs,
    Reduction, SelectiveLogSoftmax, Softmax, Targets, Td, TdInputs, TokenGrads, TokenOutputs, Weights,
};

fn context() -> Context {
    Context::with_threads(1)
}

/// How an array `[outer][classes][rows][length]` lies: how far apart the elements of all dimensions but the last are.
#[derive(Clone, Copy, Debug)]
struct Strides {
    sizes: [usize; 4],
    strides: [usize; 3],
}

impl Strides {
    fn dense(sizes: [usize; 4]) -> Self {
        let [_, classes, rows, length] = sizes;
        Strides { sizes, strides: [classes * rows * length, rows * length, length] }
    }

    /// Strided logits: padded, transposed (classes outermost), and cropped.
    fn of_logits(sizes: [usize; 4]) -> Vec<Self> {
        let [outer, classes, rows, length] = sizes;
        let (inner, plane) = (rows * length, (rows - 1) * (length + 3) + length);
        let layouts = [
            [classes * inner + 3, inner, length],
            [inner, outer * inner, length],
            [inner + 1, outer * (inner + 1) + 2, length],
            [(plane + 1) * classes + 2, plane + 1, length + 3],
        ];
        layouts.map(|strides| Strides { sizes, strides }).to_vec()
    }

    /// Where gradients are to lie: dense, and with gaps.
    fn of_gradients(sizes: [usize; 4]) -> [Self; 2] {
        let [_, classes, rows, length] = sizes;
        let plane = if rows * length == 1 { 1 } else { rows * length + 1 };
        [Self::dense(sizes), Strides { sizes, strides: [classes * plane + 2, plane, length] }]
    }

    /// Where an element of the dense array lies.
    fn at(&self, element: usize) -> usize {
        let ([_, classes, rows, length], [outer, class, row]) = (self.sizes, self.strides);
        let (column, element) = (element % length, element / length);
        let (of_rows, element) = (element % rows, element / rows);
        element / classes * outer + element % classes * class + of_rows * row + column
    }

    /// The elements of a dense array as they lie here, `between` them something else.
    fn spread<T: Float>(&self, dense: &[T], between: f64) -> Vec<T> {
        let len = (0..dense.len()).map(|i| self.at(i) + 1).max().unwrap_or(0);
        let mut there = vec![T::of(between); len];
        dense.iter().enumerate().for_each(|(i, &x)| there[self.at(i)] = x);
        there
    }

    fn shape(&self) -> ClassShape {
        let ([outer, classes, rows, length], [of_outer, class, row]) = (self.sizes, self.strides);
        let shape = ClassShape::new(outer, classes, rows * length).outer_stride(of_outer).class_stride(class);
        if rows == 1 { shape } else { shape.row_stride(length, row) }
    }
}

/// A function of arrays that lie as the shape says. It writes arrays that lie as the shape's gradient, and gives what
/// else it computes.
type Function<'a, T> = &'a dyn Fn(ClassShape, &[Vec<T>], &mut [Vec<T>]) -> Result<Vec<T>, Error>;

/// A loss of such arrays.
type Loss<'a, T> = &'a dyn Fn(ClassShape, &[Vec<T>], &Options, Outputs<'_, T>) -> Result<(), Error>;

/// Compares a function of strided arrays with the same function of dense ones. `before` is what stands in each of the
/// arrays that it writes.
fn check<T: Float>(name: &str, sizes: [usize; 4], inputs: &[&[T]], before: &[&[T]], function: Function<'_, T>) {
    check_with(name, sizes, inputs, before, sizes[2] > 1, function);
}

/// The same. `also_as_logits`: what is written may lie as the logits do, too.
fn check_with<T: Float>(
    name: &str,
    sizes: [usize; 4],
    inputs: &[&[T]],
    before: &[&[T]],
    also_as_logits: bool,
    function: Function<'_, T>,
) {
    let dense = Strides::dense(sizes);
    let spread = |strides: Strides, arrays: &[&[T]], between| -> Vec<Vec<T>> {
        arrays.iter().map(|array| strides.spread(array, between)).collect()
    };
    let mut want = spread(dense, before, SENTINEL);
    let rest = function(dense.shape(), &spread(dense, inputs, f64::NAN), &mut want).unwrap();
    for from in Strides::of_logits(sizes) {
        let there = spread(from, inputs, f64::NAN);
        let check_there = |shape: ClassShape, to: Strides| {
            let name = format!("{name} {} {from:?} {to:?}", T::NAME);
            let mut got = spread(to, before, SENTINEL);
            let rest_there = function(shape, &there, &mut got).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_same_bits(&rest_there, &rest, &name);
            for (got, want) in got.iter().zip(&want) {
                assert_same_bits(got, &to.spread(want, SENTINEL), &name);
            }
            // an array that is too short
            let mut short = spread(to, before, SENTINEL);
            let Some(last) = short.last_mut() else { return };
            let needed = last.len();
            last.pop();
            let unchanged = short.clone();
            let error = function(shape, &there, &mut short).unwrap_err();
            assert!(
                matches!(error, Error::LengthMismatch { length, needed: n, .. } if (length, n) == (needed - 1, needed)),
                "{name}: {error}"
            );
            short.iter().zip(&unchanged).for_each(|(short, unchanged)| assert_same_bits(short, unchanged, &name));
        };
        for to in Strides::of_gradients(sizes) {
            check_there(from.shape().grad_strides(to.strides[0], to.strides[1]), to);
        }
        check_there(from.shape().dense_grad(), dense);
        if also_as_logits {
            check_there(from.shape(), from);
        }
    }
}

/// `[N, C]` and `[N, C, H, W]`, of few classes and of many.
const SIZES: [[usize; 4]; 9] = [
    [1, 7, 1, 1],
    [40, 7, 1, 1],
    [5, 150, 1, 1],
    [2, 5000, 1, 1],
    [2, 33_000, 1, 1],
    [3, 7, 5, 4],
    [2, 7, 3, 40],
    [2, 7, 2, 16],
    [2, 150, 3, 21],
];

/// Losses whose options are those of [`Options`]: each combination of outputs, added to what is there or not.
fn check_loss<T: Float>(name: &str, sizes: [usize; 4], inputs: &[&[T]], most_outputs: usize, eval: Loss<'_, T>) {
    let random = &mut Random(5);
    let [grad, hess]: [Vec<T>; 2] = [(); 2].map(|()| random.numbers(inputs[0].len(), 1.0));
    let samples = sizes[0] * sizes[2] * sizes[3];
    for reduction in [Reduction::None, Reduction::Mean] {
        // losses are added in another order where a mean is computed of logits as they lie
        let also_as_logits = sizes[2] > 1 && reduction == Reduction::None;
        for (accumulate, grad_scale) in [(false, 1.0), (true, 1.0), (false, 1e36)] {
            if grad_scale != 1.0 && sizes[1] > 200 {
                // far from 1 it takes another, slow way, which does not depend on the number of classes
                continue;
            }
            let options = Options::new().reduction(reduction).accumulate_grad(accumulate).grad_scale(grad_scale);
            for (has_grad, has_hess) in [(true, true), (true, false), (false, true), (false, false)] {
                let before: Vec<&[T]> =
                    [(has_grad, &grad), (has_hess, &hess)].iter().filter(|x| x.0).map(|x| &x.1[..]).collect();
                if has_hess && most_outputs == 1 {
                    continue;
                }
                let name = format!("{name} {reduction:?} {accumulate} {grad_scale} {has_grad} {has_hess}");
                check_with(&name, sizes, inputs, &before, also_as_logits, &|shape, inputs, results| {
                    let mut loss = vec![T::of(0.0); if reduction == Reduction::None { samples } else { 1 }];
                    let mut results = results.iter_mut();
                    let mut outputs = Outputs::new().loss(&mut loss);
                    if has_grad {
                        outputs = outputs.grad(results.next().unwrap());
                    }
                    if has_hess {
                        outputs = outputs.hess(results.next().unwrap());
                    }
                    eval(shape, inputs, &options, outputs)?;
                    Ok(loss)
                });
            }
        }
    }
}

/// Losses, forward and backward passes.
fn every_function<T: Float>() {
    let context = &context();
    let random = &mut Random(41);
    for sizes in SIZES {
        let [outer, classes, rows, length] = sizes;
        let samples = outer * rows * length;
        let n = samples * classes;
        let [x, y]: [Vec<T>; 2] = [(); 2].map(|()| random.numbers(n, 5.0));
        let probabilities: Vec<T> = random.units(n);
        let [class_weight, row_weight]: [Vec<T>; 2] = [classes, samples].map(|n| random.weights(n));
        let mut targets = random.indices(samples, classes);
        targets[samples / 2] = -100;
        let weights = Weights::new().class(&class_weight).row(&row_weight);

        check_loss("cross_entropy", sizes, &[&x], 2, &|shape, inputs, options, outputs| {
            let targets = Targets::I64(&targets);
            CrossEntropy::new().eval(context, shape, &inputs[0], targets, weights, options, outputs).map(|_| ())
        });
        check_loss("cross_entropy with smoothing", sizes, &[&x], 2, &|shape, inputs, options, outputs| {
            let (loss, targets) = (CrossEntropy::new().label_smoothing(0.1).z_loss(0.01), Targets::I64(&targets));
            loss.eval(context, shape, &inputs[0], targets, weights, options, outputs).map(|_| ())
        });
        check_loss("cross_entropy with soft_cap", sizes, &[&x], 1, &|shape, inputs, options, outputs| {
            let (loss, targets) = (CrossEntropy::new().soft_cap(3.0), Targets::I64(&targets));
            loss.eval(context, shape, &inputs[0], targets, weights, options, outputs).map(|_| ())
        });
        check_loss(
            "cross_entropy of probabilities",
            sizes,
            &[&x, &probabilities],
            2,
            &|shape, inputs, options, outputs| {
                let targets = Targets::Probabilities(&inputs[1]);
                CrossEntropy::new().eval(context, shape, &inputs[0], targets, weights, options, outputs).map(|_| ())
            },
        );
        check_loss("nll", sizes, &[&x], 2, &|shape, inputs, options, outputs| {
            let targets = Indices::I64(&targets);
            Nll::new().eval(context, shape, &inputs[0], targets, weights, options, outputs).map(|_| ())
        });

        check("softmax", sizes, &[&x], &[&y], &|shape, inputs, outputs| {
            Softmax::new().eval(context, shape, &inputs[0], &mut outputs[0]).map(|()| Vec::new())
        });
        check("log_softmax", sizes, &[&x], &[&y], &|shape, inputs, outputs| {
            LogSoftmax::new().eval(context, shape, &inputs[0], &mut outputs[0]).map(|()| Vec::new())
        });
        check("softmax backward", sizes, &[&probabilities, &x], &[&y], &|shape, inputs, outputs| {
            Softmax::new().backward(context, shape, &inputs[0], &inputs[1], &mut outputs[0]).map(|()| Vec::new())
        });
        check("log_softmax backward", sizes, &[&x, &probabilities], &[&y], &|shape, inputs, outputs| {
            LogSoftmax::new().backward(context, shape, &inputs[0], &inputs[1], &mut outputs[0]).map(|()| Vec::new())
        });
        if rows * length > 1 {
            continue;
        }

        for beta in [0.0, 0.3, 1.0] {
            let loss = Distillation::new().beta(beta).temperature(2.0);
            let name = format!("distillation {beta}");
            check_loss(&name, sizes, &[&x, &y], 1, &|shape, inputs, options, outputs| {
                let (student, teacher) = (&inputs[0], &inputs[1]);
                loss.eval(context, shape, student, teacher, Some(&row_weight), options, outputs).map(|_| ())
            });
        }
        check("entropy", sizes, &[&x], &[], &|shape, inputs, _| {
            let mut entropy = vec![T::of(0.0); samples];
            Entropy::new().eval(context, shape, &inputs[0], &mut entropy).map(|()| entropy)
        });
        check("selective_log_softmax", sizes, &[&x], &[], &|shape, inputs, _| {
            let (mut log_probs, mut entropy) = (vec![T::of(0.0); samples], vec![T::of(0.0); samples]);
            let outputs = TokenOutputs::new().log_probs(&mut log_probs).entropy(&mut entropy);
            SelectiveLogSoftmax::new().eval(context, shape, &inputs[0], Some(Indices::I64(&targets)), outputs)?;
            Ok([log_probs, entropy].concat())
        });
        for accumulate in [false, true] {
            check("entropy backward", sizes, &[&x], &[&y], &|shape, inputs, outputs| {
                let entropy = Entropy::new().accumulate_grad(accumulate);
                entropy.backward(context, shape, &inputs[0], &row_weight, &mut outputs[0]).map(|()| Vec::new())
            });
            check("selective_log_softmax backward", sizes, &[&x], &[&y], &|shape, inputs, outputs| {
                let token = SelectiveLogSoftmax::new().accumulate_grad(accumulate);
                let grads = TokenGrads::new().log_probs(&row_weight).lse(&row_weight);
                let indices = Some(Indices::I64(&targets));
                token.backward(context, shape, &inputs[0], indices, grads, &mut outputs[0]).map(|()| Vec::new())
            });
        }
    }
}

#[test]
fn gradients_with_strides_of_their_own_and_crops() {
    every_function::<f32>();
    every_function::<f64>();
}

/// Large enough for several threads.
#[test]
fn threads_change_no_bit_of_gradients_with_strides_of_their_own() {
    let (rows, classes, random) = (5000, 100, &mut Random(43));
    let [logits, probabilities]: [Vec<f32>; 2] = [random.numbers(rows * classes, 5.0), random.units(rows * classes)];
    let shape = ClassShape::rows(rows, classes).outer_stride(1).class_stride(rows).dense_grad();
    let [one, several] = [1, 3].map(|threads| {
        let (mut loss, mut grad) = ([0.0], vec![1.0; rows * classes]);
        let (targets, weights) = (Targets::Probabilities(&probabilities), Weights::new());
        let (options, outputs) = (Options::new().accumulate_grad(true), Outputs::new().loss(&mut loss).grad(&mut grad));
        let context = Context::with_threads(threads);
        CrossEntropy::new().eval(&context, shape, &logits, targets, weights, &options, outputs).unwrap();
        (loss, grad)
    });
    assert_same_bits(&several.0, &one.0, "loss");
    assert_same_bits(&several.1, &one.1, "grad");
}

/// Where the gradient's strides are those of the logits there is nothing to copy, so the gradient may take their place.
#[test]
fn strides_of_the_logits_are_none_of_the_gradients_own() {
    let x = [0.5f32, 1.5, -1.0, 2.0, 0.0, 0.25];
    let shape = ClassShape::rows(2, 3);
    let (mut want, mut got) = ([0.0; 6], x);
    Softmax::new().eval(&context(), shape, &x, &mut want).unwrap();
    Softmax::new().eval_in_place(&context(), shape.dense_grad(), &mut got).unwrap();
    assert_eq!(got, want);
}

#[test]
fn in_place_there_are_no_strides_of_the_gradients_own() {
    let (mut out, ones, targets) = ([7.0f32; 8], [1.0f32; 8], Indices::I64(&[0; 4]));
    let (context, options, weights) = (&context(), &Options::new(), Weights::new());
    let shape = ClassShape::rows(4, 2).outer_stride(1).class_stride(4).dense_grad();
    let out = &mut out[..];
    let all = [
        CrossEntropy::new()
            .eval_in_place(context, shape, out, Targets::I64(&[0; 4]), weights, options, Outputs::new())
            .map(|_| ()),
        Nll::new().eval_in_place(context, shape, out, targets, weights, options, Outputs::new()).map(|_| ()),
        Distillation::new().eval_in_place(context, shape, out, &ones, None, options, Outputs::new()).map(|_| ()),
        Softmax::new().eval_in_place(context, shape, out),
        LogSoftmax::new().eval_in_place(context, shape, out),
        Entropy::new().backward_in_place(context, shape, out, &ones[..4]),
        SelectiveLogSoftmax::new().backward_in_place(context, shape, out, None, TokenGrads::new().lse(&ones[..4])),
    ];
    let name = "a gradient with strides of its own in place";
    assert!(all.iter().all(|result| *result == Err(Error::UnsupportedOption { name })), "{all:?}");
    assert_eq!(out, [7.0; 8]);
}

/// What reads rows of contiguous classes can copy transposed logits to such rows, but not images.
#[test]
fn classes_that_no_strides_make_contiguous_are_refused() {
    let (x, mut out, context) = ([1.0f32; 24], [7.0f32; 24], &context());
    let crop = ClassShape::new(1, 2, 4).row_stride(2, 3).class_stride(6);
    let apart = ClassShape::rows(4, 2).grad_strides(1, 4);
    for (shape, elements, name) in [
        (crop, 11, "shape.inner"),
        (crop.dense_grad(), 11, "shape.inner"),
        (ClassShape::new(2, 2, 2).dense_grad(), 8, "shape.inner"),
        (apart, 8, "shape.class_stride"),
    ] {
        let x = &x[..elements];
        let refused = Err(Error::UnsupportedOption { name });
        assert_eq!(Entropy::new().eval(context, shape, x, &mut out[..4]), refused);
        let of_grad = if name == "shape.inner" && elements == 11 && shape == crop { 11 } else { 8 };
        assert_eq!(Entropy::new().backward(context, shape, x, &x[..4], &mut out[..of_grad]), refused);
        let name = "a shape whose classes are not contiguous";
        let refused = Err(Error::UnsupportedOption { name });
        assert_eq!(Distillation::new().mean_with_grad(shape, x, x, &mut out[..of_grad]), refused);
    }
    assert_eq!(out, [7.0; 24]);
}

/// Copies that memory has no room for.
#[cfg(target_pointer_width = "64")]
#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let (x, mut entropy, mut correct) = ([1.0f32; 6], [7.0f32; 2], 7);
    for outer in [1usize << 58, 1 << 62] {
        let shape = ClassShape::rows(2, 3).grad_strides(outer, 1);
        let bytes = (outer + 3).saturating_mul(4);
        let error = Error::OutOfMemory { bytes };
        assert_eq!(Distillation::new().mean(shape, &x, &x), Err(error.clone()));
        assert_eq!(CrossEntropy::new().mean(shape, &x, Targets::Probabilities(&x)), Err(error.clone()));
        assert_eq!(Entropy::new().eval(&context(), shape, &x, &mut entropy), Err(error.clone()));
        let outputs = Outputs::new().loss(&mut entropy[..1]).correct(&mut correct);
        let (targets, weights) = (Targets::U8(&[0, 1]), Weights::new());
        let loss = CrossEntropy::new().eval(&context(), shape, &x, targets, weights, &Options::new(), outputs);
        assert_eq!(loss, Err(error));
        assert_eq!((entropy, correct), ([7.0; 2], 7));
    }
}

#[test]
fn strides_that_shapes_do_not_have_are_refused() {
    let logits = [0.0f32; 24];
    // strides of 0, which expanded tensors have
    let rows = ClassShape::rows(4, 2);
    for shape in [
        rows.outer_stride(0),
        rows.class_stride(0),
        rows.outer_stride(0).dense_grad(),
        rows.class_stride(0).dense_grad(),
        rows.grad_strides(0, 1),
        rows.grad_strides(2, 0),
    ] {
        let error = CrossEntropy::new().mean(shape, &logits, Targets::I64(&[0; 4])).unwrap_err();
        assert!(matches!(error, Error::InvalidStride { .. }), "{shape:?}: {error}");
    }
    let td = TdInputs::new(2, &logits[..8], Indices::I64(&[0; 4]), &[0.0; 4], &logits[..8]).row_stride(0);
    let error = Td::mse(0.5).mean(&td).unwrap_err();
    assert!(matches!(error, Error::InvalidStride { .. }), "{error}");
    // rows that do not fill the plane, and rows that overlap
    let length = |shape: ClassShape| CrossEntropy::new().mean(shape, &logits, Targets::I64(&[0; 4])).map(|_| ());
    let error = Error::LengthMismatch { name: "shape.row_length", length: 3, needed: 4 };
    assert_eq!(length(ClassShape::new(1, 2, 4).row_stride(3, 5)), Err(error));
    let error = Error::InvalidStride { outer_stride: 1, class_stride: 2 };
    assert_eq!(length(ClassShape::new(1, 2, 4).row_stride(2, 1)), Err(error));
}
