//! Every loss, type, option and layout, at sizes around all edges, boiled down to digests.
//!
//! Fixed inputs, so a digest is a promise about bits: it may depend on nothing but the inputs. NaNs count as
//! NaNs, whatever their payload.

#[path = "../common/losses.rs"]
mod losses;
#[path = "../common/random.rs"]
mod random;

use losses::{Formula, Inputs};
use losskit::{
    ClassChunk, ClassShape, Context, Cost, CrossEntropy, Distillation, Element, Error, Indices, LogSoftmax, Nll,
    Options, Outputs, Reduction, SelectiveLogSoftmax, Softmax, SoftmaxState, Summary, Targets, Td, TdInputs,
    TokenGrads, TokenOutputs, Weights,
};
use random::Random;

/// What the workload needs to know of an element type.
pub trait Number: Element {
    fn of(x: f64) -> Self;
    fn to_bits_u64(self) -> u64;
}
impl Number for f32 {
    fn of(x: f64) -> Self {
        x as f32
    }
    fn to_bits_u64(self) -> u64 {
        if self.is_nan() { 0x7fc0_0000 } else { u64::from(self.to_bits()) }
    }
}
impl Number for f64 {
    fn of(x: f64) -> Self {
        x
    }
    fn to_bits_u64(self) -> u64 {
        if self.is_nan() { 0x7ff8_0000_0000_0000 } else { self.to_bits() }
    }
}

/// FNV-1a over 64-bit words.
#[derive(Clone, Copy)]
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }
    fn numbers<T: Number>(&mut self, numbers: &[T]) {
        numbers.iter().for_each(|x| self.word(x.to_bits_u64()));
    }
}

impl Random {
    /// In [0, 1), 24 bits: exact in either type.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 40) as f64 / 16_777_216.0
    }
    /// Within `scale` of 0.
    fn numbers<T: Number>(&mut self, n: usize, scale: f64) -> Vec<T> {
        (0..n).map(|_| T::of((2.0 * self.unit() - 1.0) * scale)).collect()
    }
    fn units<T: Number>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::of(self.unit())).collect()
    }
    fn indices(&mut self, n: usize, classes: usize) -> Vec<i64> {
        (0..n).map(|_| self.below(classes) as i64).collect()
    }
    /// Special values here and there.
    fn spoil<T: Number>(&mut self, numbers: &mut [T], specials: &[f64]) {
        for _ in 0..numbers.len().div_ceil(40) {
            let at = self.below(numbers.len());
            numbers[at] = T::of(specials[self.below(specials.len())]);
        }
    }
}

const SPECIALS: [f64; 14] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    0.0,
    -0.0,
    1e-45,
    -1e-40,
    5e-324,
    3e38,
    -3e38,
    1e300,
    88.7,
    -103.9,
    -745.0,
];
const PROBABILITY_SPECIALS: [f64; 9] = [f64::NAN, 0.0, 1.0, 1e-45, 1e-30, 0.999_999_94, 1.5, -0.25, 1e-310];

/// Around lanes, groups and blocks.
const SIZES: [usize; 25] =
    [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 1000, 8191, 8192, 8193, 24579];

const REDUCTIONS: [Reduction; 3] = [Reduction::Mean, Reduction::Sum, Reduction::None];

/// Where calls run: a context, and what is done before (true) and after (false) each.
pub struct Setting<'a> {
    pub context: &'a Context,
    pub around: fn(bool),
}

impl Setting<'_> {
    fn call<R>(&self, call: impl FnOnce(&Context) -> R) -> R {
        (self.around)(true);
        let result = call(self.context);
        (self.around)(false);
        result
    }
}

/// A name and a digest for each loss and type.
pub fn digests(context: &Context) -> Vec<(String, u64)> {
    digests_in(&Setting { context, around: |_| () })
}

pub fn digests_in(setting: &Setting<'_>) -> Vec<(String, u64)> {
    let mut digests = typed::<f32>(setting, "f32");
    digests.extend(typed::<f64>(setting, "f64"));
    digests
}

fn typed<T: Number>(setting: &Setting<'_>, type_name: &str) -> Vec<(String, u64)> {
    let mut digests = Vec::new();
    for formula in Formula::<T>::all(1.0, &[]) {
        let numbers = match formula.name() {
            "smooth_l1" => [2.5, 0.0],
            _ => [1.0, 7.3],
        };
        let name = formula.name();
        let with = |number, array: &[T]| Formula::by_name(name, number, array).expect("it is one");
        let mut kinds = numbers.map(|number| with(number, &[])).to_vec();
        kinds.dedup();
        digests.push((format!("{name} {type_name}"), pointwise_digest(setting, &kinds, 1)));
        let labels = with(1.0, &Random(99).units(5));
        if !labels.array().is_empty() {
            digests.push((format!("{name}(pos_weight) {type_name}"), pointwise_digest(setting, &[labels], 5)));
        }
    }

    let mut digest = Digest::new();
    cross_entropy::<T>(&mut digest, setting, [0.0; 6]);
    digests.push((format!("cross_entropy {type_name}"), digest.0));
    let mut digest = Digest::new();
    cross_entropy::<T>(&mut digest, setting, [1e-4, 0.5, 1e-4, -0.25, 1.0, 1e3]);
    digests.push((format!("cross_entropy with z_loss {type_name}"), digest.0));
    let mut digest = Digest::new();
    soft_caps::<T>(&mut digest, setting);
    digests.push((format!("cross_entropy with soft_cap {type_name}"), digest.0));
    let mut digest = Digest::new();
    distributions::<T>(&mut digest, setting);
    digests.push((format!("softmax {type_name}"), digest.0));
    let mut digest = Digest::new();
    states::<T>(&mut digest, setting);
    digests.push((format!("softmax_state {type_name}"), digest.0));
    let mut digest = Digest::new();
    tokens::<T>(&mut digest, setting);
    digests.push((format!("selective_log_softmax {type_name}"), digest.0));
    let mut digest = Digest::new();
    distillation::<T>(&mut digest, setting);
    digests.push((format!("distillation {type_name}"), digest.0));
    let mut digest = Digest::new();
    nll::<T>(&mut digest, setting);
    digests.push((format!("nll {type_name}"), digest.0));
    let mut digest = Digest::new();
    td::<T>(&mut digest, setting);
    digests.push((format!("td {type_name}"), digest.0));
    digests
}

/// A line for each digest, in the order of what is recorded; what is not, at the end.
pub fn text(mut digests: Vec<(String, u64)>, recorded: &str) -> String {
    digests.sort_by_key(|(name, _)| recorded.find(&format!(" {name}\n")).unwrap_or(usize::MAX));
    digests.iter().map(|(name, digest)| format!("{digest:016x} {name}\n")).collect()
}

/// A loss of independent elements with some options each.
fn pointwise_digest<T: Number>(setting: &Setting<'_>, kinds: &[Formula<T>], period: usize) -> u64 {
    let mut digest = Digest::new();
    for formula in kinds {
        let loss = formula.loss();
        let is_probability = formula.inputs().are_probabilities();
        let specials: &[f64] =
            if formula.inputs() == Inputs::OnlyProbabilities { &PROBABILITY_SPECIALS } else { &SPECIALS };
        pointwise::<T>(
            &mut digest,
            |random, n| if is_probability { random.units(n) } else { random.numbers(n, 20.0) },
            specials,
            period,
            |i, y, w, o, out| setting.call(|context| loss.eval(context, i, y, w, o, out)),
            |i, y, w, o, out| setting.call(|context| loss.eval_in_place(context, i, y, w, o, out)),
        );
    }
    digest.0
}

/// Room for all outputs, filled with numbers to accumulate onto.
struct Room<T> {
    loss: Vec<T>,
    grad: Vec<T>,
    hess: Vec<T>,
    cost: Cost,
}

impl<T: Number> Room<T> {
    fn new(random: &mut Random, samples: usize, elements: usize, reduction: Reduction) -> Self {
        let losses = if reduction == Reduction::None { samples } else { 1 };
        Room {
            loss: vec![T::of(0.0); losses],
            grad: random.numbers(elements, 1.0),
            hess: random.numbers(elements, 1.0),
            cost: Cost::new(),
        }
    }
    fn outputs(&mut self) -> Outputs<'_, T> {
        Outputs::new().loss(&mut self.loss).grad(&mut self.grad).hess(&mut self.hess).cost(&mut self.cost)
    }
    fn digest(&self, digest: &mut Digest, summary: Result<Summary, Error>) {
        let summary = summary.expect("the workload has no bad input");
        digest.numbers(&self.loss);
        digest.numbers(&self.grad);
        digest.numbers(&self.hess);
        digest.numbers(&[summary.weight_sum, self.cost.mean()]);
        digest.word(u64::from(summary.out_of_domain));
    }
}

type Eval<'a, T> = dyn Fn(&[T], &[T], Option<&[T]>, &Options, Outputs<'_, T>) -> Result<Summary, Error> + 'a;
type EvalInPlace<'a, T> = dyn Fn(&mut [T], &[T], Option<&[T]>, &Options, Outputs<'_, T>) -> Result<Summary, Error> + 'a;

fn pointwise<'a, T: Number>(
    digest: &mut Digest,
    input: impl Fn(&mut Random, usize) -> Vec<T>,
    specials: &[f64],
    period: usize,
    eval: impl Fn(&[T], &[T], Option<&[T]>, &Options, Outputs<'_, T>) -> Result<Summary, Error> + 'a,
    eval_in_place: impl Fn(&mut [T], &[T], Option<&[T]>, &Options, Outputs<'_, T>) -> Result<Summary, Error> + 'a,
) {
    let (eval, eval_in_place): (&Eval<'_, T>, &EvalInPlace<'_, T>) = (&eval, &eval_in_place);
    let mut random = Random(1);
    for (round, size) in SIZES.into_iter().enumerate() {
        let size = size - size % period;
        // one element more, so that every other round is misaligned
        let shift = round % 2;
        let mut x = input(&mut random, size + shift);
        let mut y: Vec<T> = random.units(size + shift);
        if round % 3 == 1 {
            y.iter_mut().for_each(|y| *y = T::of(f64::from(u8::from(*y > T::of(0.5)))));
        }
        if round % 4 == 3 {
            random.spoil(&mut x, specials);
        }
        let weight: Vec<T> = random.units(size);
        let (x, y) = (&mut x[shift..], &y[shift..]);
        let reduction = REDUCTIONS[round % 3];
        let options = Options::new().reduction(reduction).grad_scale(if round % 5 == 0 { 3.7 } else { 1.0 });

        // the usual calls
        let mut room = Room::new(&mut random, size, size, reduction);
        let summary = eval(x, y, None, &options, Outputs::new().loss(&mut room.loss));
        room.digest(digest, summary);
        let mut room = Room::new(&mut random, size, size, reduction);
        let summary = {
            let Room { loss, grad, .. } = &mut room;
            eval(x, y, None, &options, Outputs::new().loss(loss).grad(grad))
        };
        room.digest(digest, summary);
        // everything at once, weighted, added
        for weight in [None, Some(&weight[..])] {
            for accumulate in [false, true] {
                let options = options.accumulate_grad(accumulate);
                let mut room = Room::new(&mut random, size, size, reduction);
                let summary = eval(x, y, weight, &options, room.outputs());
                room.digest(digest, summary);
            }
        }
        let mut room = Room::<T>::new(&mut random, size, size, reduction);
        let summary = eval_in_place(x, y, Some(&weight), &options, Outputs::new().loss(&mut room.loss));
        room.digest(digest, summary);
        digest.numbers(x);
    }
}

/// Layouts: narrow and wide rows, chunks, columns, images, gaps.
fn shapes() -> Vec<(ClassShape, usize)> {
    let rows = [
        (0, 5),
        (3, 1),
        (77, 2),
        (33, 3),
        (70, 10),
        (31, 17),
        (5, 64),
        (5, 65),
        (40, 100),
        (7, 1000),
        (2, 4096),
        (3, 4097),
        (2, 9001),
        (1, 20000),
    ];
    let mut shapes: Vec<_> =
        rows.into_iter().map(|(rows, classes)| (ClassShape::rows(rows, classes), classes)).collect();
    shapes.extend([
        (ClassShape::new(3, 5, 7), 5),
        (ClassShape::new(2, 21, 100), 21),
        (ClassShape::new(2, 70, 33), 70),
        (ClassShape::new(1, 300, 5), 300),
        (ClassShape::rows(9, 10).outer_stride(13), 10),
        (ClassShape::rows(4, 130).outer_stride(150), 130),
        (ClassShape::new(2, 6, 5).class_stride(8).outer_stride(50), 6),
        (ClassShape::new(2, 66, 9).class_stride(11).outer_stride(800), 66),
        (ClassShape::rows(6, 7).outer_stride(1).class_stride(6), 7),
    ]);
    shapes
}

/// With a z-loss for each kind of call.
fn cross_entropy<T: Number>(digest: &mut Digest, setting: &Setting<'_>, z_loss: [f64; 6]) {
    let mut random = Random(2);
    for (round, (shape, classes)) in shapes().into_iter().enumerate() {
        let (samples, elements) = (shape.samples(), shape.elements());
        for variant in 0..6 {
            let mut logits: Vec<T> = random.numbers(elements, [1.0, 8.0, 90.0, 700.0][variant % 4]);
            if variant == 3 && elements > 0 {
                random.spoil(&mut logits, &SPECIALS);
            }
            if variant == 4 && elements > 0 {
                random.spoil(&mut logits, &[f64::NEG_INFINITY]);
            }
            let mut targets = random.indices(samples, classes);
            if variant % 2 == 1 {
                targets.iter_mut().step_by(3).for_each(|target| *target = -100);
            }
            let probabilities: Vec<T> = random.units(elements);
            let narrow: Vec<i32> = targets.iter().map(|&target| target as i32).collect();
            let targets = match variant {
                2 | 5 => Targets::Probabilities(&probabilities),
                0 | 3 => Targets::I64(&targets),
                _ => Targets::I32(&narrow),
            };
            let (class_weight, row_weight): (Vec<T>, Vec<T>) = (random.units(classes), random.units(samples));
            let mut weights = Weights::new();
            if variant % 2 == 1 {
                weights = weights.class(&class_weight);
            }
            if variant > 2 {
                weights = weights.row(&row_weight);
            }
            let loss =
                CrossEntropy::new().label_smoothing([0.0, 0.0, 0.0, 0.1, 0.3, 0.05][variant]).z_loss(z_loss[variant]);
            let reduction = REDUCTIONS[(round + variant) % 3];
            let options = Options::new().reduction(reduction).grad_scale(if variant == 1 { 0.3 } else { 1.0 });

            // value; value and gradient; everything; added; in place
            let mut room = Room::new(&mut random, samples, elements, reduction);
            let summary = setting.call(|context| {
                loss.eval(context, shape, &logits, targets, weights, &options, Outputs::new().loss(&mut room.loss))
            });
            room.digest(digest, summary);
            let mut room = Room::new(&mut random, samples, elements, reduction);
            let outputs = Outputs::new().loss(&mut room.loss).grad(&mut room.grad);
            let summary =
                setting.call(|context| loss.eval(context, shape, &logits, targets, weights, &options, outputs));
            room.digest(digest, summary);
            for accumulate in [false, true] {
                let options = options.accumulate_grad(accumulate);
                let mut room = Room::new(&mut random, samples, elements, reduction);
                let summary = setting
                    .call(|context| loss.eval(context, shape, &logits, targets, weights, &options, room.outputs()));
                room.digest(digest, summary);
            }
            let mut room = Room::<T>::new(&mut random, samples, elements, reduction);
            let outputs = Outputs::new().loss(&mut room.loss);
            let summary = setting
                .call(|context| loss.eval_in_place(context, shape, &mut logits, targets, weights, &options, outputs));
            room.digest(digest, summary);
            digest.numbers(&logits);
        }
    }
}

/// Bounded logits, of indices and of probabilities.
fn soft_caps<T: Number>(digest: &mut Digest, setting: &Setting<'_>) {
    let mut random = Random(29);
    for (round, (shape, classes)) in shapes().into_iter().enumerate() {
        let (samples, elements) = (shape.samples(), shape.elements());
        let mut logits: Vec<T> = random.numbers(elements, [1.0, 8.0, 90.0][round % 3]);
        if round % 2 == 1 && elements > 0 {
            random.spoil(&mut logits, &SPECIALS);
        }
        let (indices, probabilities): (Vec<i64>, Vec<T>) = (random.indices(samples, classes), random.units(elements));
        for targets in [Targets::I64(&indices), Targets::Probabilities(&probabilities)] {
            let loss = CrossEntropy::new().soft_cap(if round % 3 == 0 { 0.75 } else { 30.0 });
            let options = Options::new().reduction(REDUCTIONS[round % 3]);
            let mut room = Room::new(&mut random, samples, elements, REDUCTIONS[round % 3]);
            let outputs = Outputs::new().loss(&mut room.loss).grad(&mut room.grad);
            let weights = Weights::new();
            let summary =
                setting.call(|context| loss.eval(context, shape, &logits, targets, weights, &options, outputs));
            room.digest(digest, summary);
        }
    }
}

/// Rows in chunks of every size around all edges, merged, and their gradients.
fn states<T: Number>(digest: &mut Digest, setting: &Setting<'_>) {
    let random = &mut Random(17);
    for classes in SIZES {
        for rows in [1, 5, 33] {
            let mut logits: Vec<T> = random.numbers(rows * 2 * classes, 30.0);
            if rows > 1 && classes > 0 {
                random.spoil(&mut logits[2 * classes..], &SPECIALS);
            }
            let mut targets = random.indices(rows, 2 * classes.max(1));
            targets[rows / 2] = if rows > 1 { -100 } else { 0 };
            let (targets, stride) = (Some(Indices::I64(&targets)), 2 * classes);
            let mut states = vec![SoftmaxState::new(); rows];
            let mut others = states.clone();
            let len = (rows - 1) * stride + classes;
            let halves = [0, classes].map(|first| ClassChunk::new(rows, classes, first).row_stride(stride));
            let update = |states: &mut [SoftmaxState], chunk: ClassChunk, logits: &[T]| {
                setting.call(|context| SoftmaxState::update(states, context, chunk, logits, targets)).unwrap();
            };
            update(&mut states, halves[0], &logits[..len]);
            update(&mut others, halves[1], &logits[classes..][..len]);
            setting.call(|context| SoftmaxState::merge_all(&mut states, context, &others)).unwrap();
            let mut out = [vec![T::of(0.0); rows], vec![T::of(0.0); rows]];
            let [loss, lse] = &mut out;
            let loss = if classes > 0 { Some(&mut loss[..]) } else { None };
            setting.call(|context| SoftmaxState::finish(&states, context, loss, Some(lse))).unwrap();
            out.iter().for_each(|out| digest.numbers(out));
            let weights: Vec<T> = random.units(rows);
            let mut grad = logits.clone();
            for (chunk, first) in halves.into_iter().zip([0, classes]) {
                let (grad, weights) = (&mut grad[first..][..len], Some(&weights[..]));
                let place = &mut grad[..];
                setting
                    .call(|context| SoftmaxState::grad_in_place(&states, context, chunk, place, targets, weights, 0.7))
                    .unwrap();
            }
            digest.numbers(&grad);
        }
    }
}

/// Log-probabilities and entropies around all edges, padded rows, their gradients beside, in place and accumulated.
fn tokens<T: Number>(digest: &mut Digest, setting: &Setting<'_>) {
    let random = &mut Random(23);
    for classes in SIZES.into_iter().filter(|&classes| classes > 0) {
        for (rows, per_row) in [(1, 1), (5, 3), (33, 1)] {
            let stride = classes + 5;
            let mut logits: Vec<T> = random.numbers((rows - 1) * stride + classes, 30.0);
            if rows > 1 {
                random.spoil(&mut logits[2 * stride..], &SPECIALS);
            }
            let mut indices = random.indices(rows * per_row, classes);
            indices[rows / 2] = if rows > 1 { -100 } else { 0 };
            let (shape, indices) = (ClassShape::rows(rows, classes).outer_stride(stride), Some(Indices::I64(&indices)));
            let token = SelectiveLogSoftmax::new().per_row(per_row);
            let mut out = [vec![T::of(7.0); rows * per_row], vec![T::of(7.0); rows], vec![T::of(7.0); rows]];
            let [log_probs, entropy, lse] = &mut out;
            setting
                .call(|context| {
                    let outputs = TokenOutputs::new().log_probs(log_probs).entropy(entropy).lse(lse);
                    token.eval(context, shape, &logits, indices, outputs)
                })
                .expect("good input");
            out.iter().for_each(|out| digest.numbers(out));
            let given: [Vec<T>; 3] = [rows * per_row, rows, rows].map(|n| random.numbers(n, 2.0));
            let grads = TokenGrads::new().log_probs(&given[0]).lse(&given[2]);
            for grads in [grads, grads.entropy(&given[1])] {
                let mut grad: Vec<T> = random.numbers(logits.len(), 1.0);
                for token in [token.accumulate_grad(true), token] {
                    setting
                        .call(|context| token.backward(context, shape, &logits, indices, grads, &mut grad))
                        .expect("good input");
                    digest.numbers(&grad);
                }
            }
            let grads = grads.entropy(&given[1]);
            setting
                .call(|context| token.backward_in_place(context, shape, &mut logits, indices, grads))
                .expect("good input");
            digest.numbers(&logits);
        }
    }
}

/// Rows below and above what is kept on the stack, each divergence, temperatures of 1 and of no power of two.
fn distillation<T: Number>(digest: &mut Digest, setting: &Setting<'_>) {
    let random = &mut Random(18);
    for (round, classes) in SIZES.into_iter().filter(|&classes| classes > 0).enumerate() {
        let rows = if classes > 1000 { 2 } else { 7 };
        let (shape, elements) = (ClassShape::rows(rows, classes), rows * classes);
        for (variant, (beta, temperature)) in
            [(0.0, 1.0), (0.0, 2.7), (1.0, 0.9), (0.5, 1.0), (0.3, 4.0)].into_iter().enumerate()
        {
            let scale = [1.0, 8.0, 90.0, 700.0][(round + variant) % 4];
            let (mut student, mut teacher): (Vec<T>, Vec<T>) =
                (random.numbers(elements, scale), random.numbers(elements, scale));
            if variant % 2 == 1 {
                random.spoil(&mut student, &SPECIALS);
                random.spoil(&mut teacher, &[f64::NEG_INFINITY, -3e38, -1e20]);
            }
            let weights: Vec<T> = random.units(rows);
            let weights = if round % 2 == 0 { Some(&weights[..]) } else { None };
            let how = Distillation::new().beta(beta).temperature(temperature);
            let reduction = REDUCTIONS[(round + variant) % 3];
            for accumulate in [false, true] {
                let options = Options::new().reduction(reduction).accumulate_grad(accumulate).grad_scale(0.7);
                let mut room = Room::new(random, rows, elements, reduction);
                let summary = {
                    let Room { loss, grad, cost, .. } = &mut room;
                    let outputs = Outputs::new().loss(loss).grad(grad).cost(cost);
                    setting.call(|context| how.eval(context, shape, &student, &teacher, weights, &options, outputs))
                };
                room.digest(digest, summary);
            }
            let options = Options::new().reduction(reduction);
            let mut room = Room::<T>::new(random, rows, elements, reduction);
            let outputs = Outputs::new().loss(&mut room.loss);
            let summary = setting
                .call(|context| how.eval_in_place(context, shape, &mut student, &teacher, weights, &options, outputs));
            room.digest(digest, summary);
            digest.numbers(&student);
        }
    }
}

fn distributions<T: Number>(digest: &mut Digest, setting: &Setting<'_>) {
    let mut random = Random(3);
    for (shape, _) in shapes() {
        let elements = shape.elements();
        for scale in [1.0, 30.0] {
            let mut logits: Vec<T> = random.numbers(elements, scale);
            if scale > 1.0 && elements > 0 {
                random.spoil(&mut logits, &SPECIALS);
            }
            let grad_output: Vec<T> = random.numbers(elements, 1.0);
            let mut output = vec![T::of(7.0); elements];
            let mut grad_input = vec![T::of(7.0); elements];
            setting.call(|context| Softmax::new().eval(context, shape, &logits, &mut output)).expect("good input");
            setting
                .call(|context| Softmax::new().backward(context, shape, &output, &grad_output, &mut grad_input))
                .expect("good input");
            digest.numbers(&output);
            digest.numbers(&grad_input);
            setting.call(|context| LogSoftmax::new().eval(context, shape, &logits, &mut output)).expect("good input");
            setting
                .call(|context| LogSoftmax::new().backward(context, shape, &output, &grad_output, &mut grad_input))
                .expect("good input");
            digest.numbers(&output);
            digest.numbers(&grad_input);
            setting.call(|context| LogSoftmax::new().eval_in_place(context, shape, &mut logits)).expect("good input");
            digest.numbers(&logits);
        }
    }
}

fn nll<T: Number>(digest: &mut Digest, setting: &Setting<'_>) {
    let mut random = Random(4);
    let more = [(ClassShape::rows(9000, 3), 3)];
    for (round, (shape, classes)) in shapes().into_iter().chain(more).enumerate() {
        let (samples, elements) = (shape.samples(), shape.elements());
        let mut log_probs: Vec<T> = random.numbers(elements, 50.0);
        if elements > 0 {
            random.spoil(&mut log_probs, &SPECIALS);
        }
        let mut targets = random.indices(samples, classes);
        targets.iter_mut().step_by(5).for_each(|target| *target = -100);
        let (class_weight, row_weight): (Vec<T>, Vec<T>) = (random.units(classes), random.units(samples));
        for accumulate in [false, true] {
            let reduction = REDUCTIONS[round % 3];
            let options = Options::new().reduction(reduction).accumulate_grad(accumulate);
            let weights =
                if accumulate { Weights::new().class(&class_weight).row(&row_weight) } else { Weights::new() };
            let mut room = Room::new(&mut random, samples, elements, reduction);
            let targets = Indices::I64(&targets);
            let summary = setting.call(|context| {
                Nll::new().eval(context, shape, &log_probs, targets, weights, &options, room.outputs())
            });
            room.digest(digest, summary);
        }
    }
}

fn td<T: Number>(digest: &mut Digest, setting: &Setting<'_>) {
    let mut random = Random(5);
    for (round, (batch, actions)) in
        [(0, 3), (1, 1), (5, 2), (33, 3), (100, 4), (64, 7), (31, 16), (31, 17), (9, 18), (1000, 33)]
            .into_iter()
            .enumerate()
    {
        let n = batch * actions;
        let (q, mut next_q, online) =
            (random.numbers::<T>(n, 5.0), random.numbers::<T>(n, 5.0), random.numbers::<T>(n, 5.0));
        if n > 0 {
            random.spoil(&mut next_q, &SPECIALS);
        }
        let action = random.indices(batch, actions);
        let (reward, weight): (Vec<T>, Vec<T>) = (random.numbers(batch, 1.0), random.units(batch));
        let done: Vec<u8> = (0..batch).map(|_| u8::from(random.below(4) == 0)).collect();
        let inputs = TdInputs::new(actions, &q, Indices::I64(&action), &reward, &next_q);
        let full = inputs.done(&done).next_q_online(&online).weight(&weight);
        for (loss, inputs) in
            [(Td::mse(0.9), inputs), (Td::huber(0.99, 1.5), inputs.done(&done)), (Td::huber(1.0, 0.5), full)]
        {
            let reduction = REDUCTIONS[round % 3];
            let options = Options::new().reduction(reduction);
            let mut room = Room::new(&mut random, batch, n, reduction);
            let mut error = vec![T::of(0.0); batch];
            let summary =
                setting.call(|context| loss.eval(context, &inputs, &options, room.outputs(), Some(&mut error)));
            room.digest(digest, summary);
            digest.numbers(&error);
        }
    }
}
