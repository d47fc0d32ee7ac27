//! The softmax family and nll, beside the roof at the sizes of their shapes.

use crate::data::{Buffer, Float, Random};
use crate::measure::{Bench, Size};
use crate::roof::{self, Beside, Traffic};
use losskit::{
    ClassChunk, ClassShape, Context, CrossEntropy, Distillation, Entropy, Indices, Isa, LogSoftmax, Nll, Options,
    Outputs, SelectiveLogSoftmax, Softmax, SoftmaxState, Targets, TokenGrads, TokenOutputs, Weights,
};

#[derive(Clone, Copy)]
struct Shape<'a> {
    /// Its part of the id. What has an `inner` is timed as rows too.
    name: &'a str,
    outer: usize,
    classes: usize,
    inner: usize,
    /// Whether quick runs time all losses at it.
    is_typical: bool,
}

/// Timed on AVX2 too.
const TEN_CLASSES: &str = "65536x10";

const SHAPES: [Shape<'static>; 8] = [
    Shape { name: "65536x2", outer: 65_536, classes: 2, inner: 1, is_typical: false },
    Shape { name: TEN_CLASSES, outer: 65_536, classes: 10, inner: 1, is_typical: true },
    Shape { name: "65536x64", outer: 65_536, classes: 64, inner: 1, is_typical: false },
    Shape { name: "4096x1000", outer: 4096, classes: 1000, inner: 1, is_typical: true },
    Shape { name: "512x32000", outer: 512, classes: 32_000, inner: 1, is_typical: false },
    Shape { name: "128x128256", outer: 128, classes: 128_256, inner: 1, is_typical: false },
    Shape { name: "1x1000000", outer: 1, classes: 1_000_000, inner: 1, is_typical: false },
    Shape { name: "8x21x512x512", outer: 8, classes: 21, inner: 512 * 512, is_typical: false },
];

impl Shape<'_> {
    fn samples(&self) -> usize {
        self.outer * self.inner
    }
    fn elements(&self) -> usize {
        self.samples() * self.classes
    }
    /// Rows that memory binds, so that they take turns with the roof.
    fn is_wide(&self) -> bool {
        self.outer > 1 && self.classes >= 32_000
    }
    fn class_shape(&self) -> ClassShape {
        ClassShape::new(self.outer, self.classes, self.inner)
    }
}

/// What every loss at a shape works on.
#[derive(Clone, Copy)]
struct Case<'a, T> {
    shape: &'a Shape<'a>,
    logits: &'a [T],
    indices: &'a [i64],
    probabilities: &'a [T],
}

pub fn run<T: Float>(bench: &mut Bench) {
    for shape in &SHAPES {
        let mut random = Random(3);
        let logits = Buffer::new(0, shape.elements(), || T::of(random.normal(3.0)));
        let indices: Vec<i64> = (0..shape.samples()).map(|_| random.below(shape.classes) as i64).collect();
        let mean = 1.0 / shape.classes as f64;
        let probabilities = Buffer::new(1, shape.elements(), || T::of(2.0 * mean * random.unit()));
        let mut output = Buffer::new(2, shape.elements(), || T::of(0.0));
        let traffics = [Traffic::Read1, Traffic::Read2, Traffic::Read1Write1, Traffic::Read2Write1];
        if !bench.is_quick || T::NAME == "f32" {
            roof::run(bench, &traffics, shape.name, [&logits, &probabilities], &mut output);
        }
        let case = Case { shape, logits: &logits, indices: &indices, probabilities: &probabilities };
        cross_entropy(bench, &case, &mut output);
        if shape.inner > 1 {
            let (name, samples) = (format!("{}x{}", shape.samples(), shape.classes), shape.samples());
            let rows = Shape { name: &name, outer: samples, inner: 1, ..*shape };
            cross_entropy(bench, &Case { shape: &rows, ..case }, &mut output);
        }
        cross_entropy_probabilities(bench, &case, &mut output);
        if !bench.is_quick || shape.is_typical {
            nll(bench, &case, &mut output);
            distributions(bench, &case, &mut output);
        }
        if shape.inner == 1 && shape.classes >= 1000 {
            states(bench, &case, &mut output);
            tokens(bench, &case, &mut output);
            if shape.outer > 1 {
                distillation(bench, &case, &mut output);
            }
        }
    }
}

impl<'a, T: Float> Case<'a, T> {
    fn size(&self, arrays: usize) -> Size<'a> {
        let elements = self.shape.elements();
        Size { shape: self.shape.name, elements, bytes: arrays * elements * size_of::<T>() }
    }
}

fn cross_entropy<T: Float>(bench: &mut Bench, case: &Case<'_, T>, output: &mut [T]) {
    let (shape, targets, loss) = (case.shape.class_shape(), Targets::I64(case.indices), CrossEntropy::new());
    let (context, options, weights) = (Context::default(), Options::new(), Weights::new());
    let group = |pass| format!("cross_entropy_{}_{pass}", T::NAME);
    let mut value = [T::of(0.0)];
    bench.threads(&group("value"), "", case.size(1), || {
        loss.eval(&context, shape, case.logits, targets, weights, &options, Outputs::new().loss(&mut value))
    });
    let mut grad = |context: &Context, output: &mut [T]| {
        let outputs = Outputs::new().loss(&mut value).grad(output);
        loss.eval(context, shape, case.logits, targets, weights, &options, outputs)
    };
    if case.shape.is_wide() && T::NAME == "f32" {
        let mut scratch = Buffer::new(2, output.len(), || T::of(0.0));
        let mut roof = Beside::new(Traffic::Read1Write1, [case.logits; 2], &mut scratch);
        bench.threads_beside(&group("grad"), case.size(2), &mut roof, || grad(&context, output));
    } else {
        bench.threads(&group("grad"), "", case.size(2), || grad(&context, output));
    }
    if case.shape.name == TEN_CLASSES && T::NAME == "f32" && context.isa() == Isa::Avx512 {
        let context = Context::default().cap_isa(Isa::Avx2);
        bench.threads(&group("grad"), "_avx2", case.size(2), || grad(&context, output));
    }
    let prepare = |output: &mut [T]| output.copy_from_slice(case.logits);
    bench.threads_prepared(&group("inplace"), case.size(2), output, prepare, |output| {
        loss.eval_in_place(&context, shape, output, targets, weights, &options, Outputs::new().loss(&mut value))
    });
}

fn cross_entropy_probabilities<T: Float>(bench: &mut Bench, case: &Case<'_, T>, output: &mut [T]) {
    let (shape, targets) = (case.shape.class_shape(), Targets::Probabilities(case.probabilities));
    let (context, options, weights) = (Context::default(), Options::new(), Weights::new());
    let mut value = [T::of(0.0)];
    bench.threads(&format!("cross_entropy_probabilities_{}_grad", T::NAME), "", case.size(3), || {
        let outputs = Outputs::new().loss(&mut value).grad(output);
        CrossEntropy::new().eval(&context, shape, case.logits, targets, weights, &options, outputs)
    });
}

/// The logits serve as log-probabilities: nll computes nothing from them.
fn nll<T: Float>(bench: &mut Bench, case: &Case<'_, T>, output: &mut [T]) {
    let (shape, targets) = (case.shape.class_shape(), Indices::I64(case.indices));
    let (context, options, weights) = (Context::default(), Options::new(), Weights::new());
    let mut value = [T::of(0.0)];
    bench.threads(&format!("nll_{}_value", T::NAME), "", case.size(0), || {
        Nll::new().eval(&context, shape, case.logits, targets, weights, &options, Outputs::new().loss(&mut value))
    });
    bench.threads(&format!("nll_{}_grad", T::NAME), "", case.size(1), || {
        let outputs = Outputs::new().loss(&mut value).grad(output);
        Nll::new().eval(&context, shape, case.logits, targets, weights, &options, outputs)
    });
}

fn distributions<T: Float>(bench: &mut Bench, case: &Case<'_, T>, output: &mut [T]) {
    let (context, shape) = (Context::default(), case.shape.class_shape());
    bench.threads(&format!("softmax_{}_value", T::NAME), "", case.size(2), || {
        Softmax::new().eval(&context, shape, case.logits, output)
    });
    bench.threads(&format!("log_softmax_{}_value", T::NAME), "", case.size(2), || {
        LogSoftmax::new().eval(&context, shape, case.logits, output)
    });
}

/// One log-probability a row, the entropies, and both in one pass; each with its gradient.
fn tokens<T: Float>(bench: &mut Bench, case: &Case<'_, T>, output: &mut [T]) {
    let (context, shape, indices) = (Context::default(), case.shape.class_shape(), Some(Indices::I64(case.indices)));
    let (mut log_probs, mut entropy) = (vec![T::of(0.0); shape.samples()], vec![T::of(0.0); shape.samples()]);
    let (token, only_entropy) = (SelectiveLogSoftmax::new(), Entropy::new());
    let group = |name: &str, pass| format!("{name}_{}_{pass}", T::NAME);
    let [one, other, both] = ["selective_log_softmax", "entropy", "selective_log_softmax_entropy"];
    bench.threads(&group(one, "value"), "", case.size(1), || {
        token.eval(&context, shape, case.logits, indices, TokenOutputs::new().log_probs(&mut log_probs))
    });
    bench.threads(&group(other, "value"), "", case.size(1), || {
        only_entropy.eval(&context, shape, case.logits, &mut entropy)
    });
    bench.threads(&group(both, "value"), "", case.size(1), || {
        let outputs = TokenOutputs::new().log_probs(&mut log_probs).entropy(&mut entropy);
        token.eval(&context, shape, case.logits, indices, outputs)
    });
    let grads = TokenGrads::new().log_probs(&log_probs);
    bench.threads(&group(one, "grad"), "", case.size(2), || {
        token.backward(&context, shape, case.logits, indices, grads, output)
    });
    bench.threads(&group(other, "grad"), "", case.size(2), || {
        only_entropy.backward(&context, shape, case.logits, &entropy, output)
    });
    let prepare = |output: &mut [T]| output.copy_from_slice(case.logits);
    bench.threads_prepared(&group(other, "inplace"), case.size(2), output, prepare, |output| {
        only_entropy.backward_in_place(&context, shape, output, &entropy)
    });
    let grads = grads.entropy(&entropy);
    bench.threads(&group(both, "grad"), "", case.size(2), || {
        token.backward(&context, shape, case.logits, indices, grads, output)
    });
}

/// Rows in one piece: what a shard of as many classes takes, and what merging as many rows does.
fn states<T: Float>(bench: &mut Bench, case: &Case<'_, T>, output: &mut [T]) {
    let (context, rows, targets) = (Context::default(), case.shape.outer, Some(Indices::I64(case.indices)));
    let chunk = ClassChunk::new(rows, case.shape.classes, 0);
    let mut states = vec![SoftmaxState::new(); rows];
    bench.threads(&format!("softmax_state_{}_update", T::NAME), "", case.size(1), || {
        states.fill(SoftmaxState::new());
        SoftmaxState::update(&mut states, &context, chunk, case.logits, targets)
    });
    bench.threads(&format!("softmax_state_{}_grad", T::NAME), "", case.size(2), || {
        SoftmaxState::grad(&states, &context, chunk, case.logits, targets, None, 1.0, output)
    });
    let others = states.clone();
    let size = Size { shape: case.shape.name, elements: rows, bytes: 3 * size_of_val(&others[..]) };
    bench.threads(&format!("softmax_state_{}_merge", T::NAME), "", size, || {
        SoftmaxState::merge_all(&mut states, &context, &others)
    });
}

/// The same logits, once more at random, are the teacher's.
fn distillation<T: Float>(bench: &mut Bench, case: &Case<'_, T>, output: &mut [T]) {
    let (context, options, shape) = (Context::default(), Options::new(), case.shape.class_shape());
    let mut random = Random(4);
    let teacher = Buffer::new(1, case.shape.elements(), || T::of(random.normal(3.0)));
    let mut value = [T::of(0.0)];
    for (name, beta) in [("kl", 0.0), ("reverse_kl", 1.0), ("jsd", 0.5)] {
        if bench.is_quick && beta == 1.0 {
            continue;
        }
        let loss = Distillation::new().beta(beta).temperature(2.0);
        let group = |pass| format!("distillation_{name}_{}_{pass}", T::NAME);
        bench.threads(&group("value"), "", case.size(2), || {
            let outputs = Outputs::new().loss(&mut value);
            loss.eval(&context, shape, case.logits, &teacher, None, &options, outputs)
        });
        bench.threads(&group("grad"), "", case.size(3), || {
            let outputs = Outputs::new().loss(&mut value).grad(output);
            loss.eval(&context, shape, case.logits, &teacher, None, &options, outputs)
        });
    }
}
