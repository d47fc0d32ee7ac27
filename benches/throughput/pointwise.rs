//! Losses of independent elements, beside the roof at the same sizes.

#[path = "../../tests/common/losses.rs"]
pub mod losses;

use crate::data::{Buffer, Float, Random};
use crate::measure::{Bench, Size};
use crate::roof::{self, Beside, Traffic};
use losses::{Formula, Inputs};
use losskit::{Context, Error, Options, Outputs, Reduction, Summary};

/// Inputs of n elements.
pub fn pair<T: Float>(inputs: Inputs, n: usize) -> [Buffer<T>; 2] {
    let mut random = Random(1);
    let is_probability = inputs == Inputs::OnlyProbabilities;
    let input = Buffer::new(0, n, || T::of(if is_probability { random.unit() } else { random.normal(2.0) }));
    let mut random = Random(2);
    let target =
        Buffer::new(1, n, || T::of(if inputs.have_labels() { random.below(2) as f64 } else { random.normal(2.0) }));
    [input, target]
}

/// All losses, their options 1 and none; those whose inputs are made alike one after the other.
pub fn losses<T: Float>() -> Vec<(Inputs, Vec<Formula<T>>)> {
    let mut all: Vec<(Inputs, Vec<Formula<T>>)> = Vec::new();
    for formula in Formula::all(1.0, &[]) {
        // a probability is as fast as any number, where any number will do
        let inputs = if formula.inputs() == Inputs::Probabilities { Inputs::Logits } else { formula.inputs() };
        match all.iter_mut().find(|group| group.0 == inputs) {
            Some(group) => group.1.push(formula),
            None => all.push((inputs, vec![formula])),
        }
    }
    all
}

/// Elements that the second-level cache holds.
const IN_CACHE: usize = 65_536;
/// Elements that no cache holds.
const LARGE: usize = 16_777_216;

pub fn run<T: Float>(bench: &mut Bench) {
    for n in [1000, IN_CACHE, LARGE] {
        let shape = n.to_string();
        let size = |arrays| Size { shape: &shape, elements: n, bytes: arrays * n * size_of::<T>() };
        for (inputs, losses) in losses::<T>() {
            let [input, target] = pair::<T>(inputs, n);
            let mut output = Buffer::new(2, n, || T::of(0.0));
            if inputs == Inputs::Numbers {
                let traffics =
                    [Traffic::Read1, Traffic::Read2, Traffic::Read1Write1, Traffic::Read2Write1, Traffic::InPlace];
                roof::run(bench, &traffics, &shape, [&input, &target], &mut output);
            }
            for loss in &losses {
                passes(bench, loss, [&input, &target], &mut output, size);
                if n == IN_CACHE {
                    rarer_passes(bench, loss, [&input, &target], &mut output, size);
                }
            }
        }
    }
}

/// The first part of an id.
fn group_name<T: Float>(formula: &Formula<T>, pass: &str) -> String {
    format!("{}_{}_{pass}", formula.name(), T::NAME)
}

fn passes<'a, T: Float>(
    bench: &mut Bench,
    formula: &Formula<T>,
    [input, target]: [&[T]; 2],
    output: &mut [T],
    size: impl Fn(usize) -> Size<'a>,
) {
    let (context, options, loss) = (Context::default(), Options::new(), formula.loss());
    let group = |pass| group_name::<T>(formula, pass);
    // what memory binds takes turns with the roof
    let is_large = T::NAME == "f32" && input.len() >= LARGE;
    let mut scratch = Buffer::new(2, if is_large { input.len() } else { 0 }, || T::of(0.0));
    let mut timed = |pass, arrays, traffic, call: &mut (dyn FnMut() -> Result<Summary, Error> + Send)| {
        if is_large {
            let mut roof = Beside::new(traffic, [input, target], &mut scratch);
            bench.threads_beside(&group(pass), size(arrays), &mut roof, call);
        } else {
            bench.threads(&group(pass), "", size(arrays), call);
        }
    };
    let mut value = [T::of(0.0)];
    timed("value", 2, Traffic::Read2, &mut || {
        loss.eval(&context, input, target, None, &options, Outputs::new().loss(&mut value))
    });
    timed("grad", 3, Traffic::Read2Write1, &mut || {
        loss.eval(&context, input, target, None, &options, Outputs::new().loss(&mut value).grad(output))
    });
    output.copy_from_slice(input);
    if formula.inputs() == Inputs::OnlyProbabilities {
        // gradients are none: the inputs have to be put back
        let prepare = |output: &mut [T]| output.copy_from_slice(input);
        bench.threads_prepared(&group("inplace"), size(3), output, prepare, |output| {
            loss.eval_in_place(&context, output, target, None, &options, Outputs::new().loss(&mut value))
        });
    } else {
        timed("inplace", 3, Traffic::InPlace, &mut || {
            loss.eval_in_place(&context, output, target, None, &options, Outputs::new().loss(&mut value))
        });
    }
}

/// Value and gradient with what is asked for less often.
fn rarer_passes<'a, T: Float>(
    bench: &mut Bench,
    formula: &Formula<T>,
    [input, target]: [&[T]; 2],
    output: &mut [T],
    size: impl Fn(usize) -> Size<'a>,
) {
    let (context, loss, mut random) = (Context::default(), formula.loss(), Random(3));
    let group = |pass| group_name::<T>(formula, pass);
    let n = input.len();
    let weight = Buffer::new(0, n, || T::of(random.unit()));
    let (mut value, mut second) = ([T::of(0.0)], Buffer::new(1, n, || T::of(0.0)));

    let options = Options::new();
    bench.threads(&group("weighted"), "", size(4), || {
        let outputs = Outputs::new().loss(&mut value).grad(output);
        loss.eval(&context, input, target, Some(&weight), &options, outputs)
    });
    bench.threads(&group("hess"), "", size(4), || {
        let outputs = Outputs::new().loss(&mut value).grad(output).hess(&mut second);
        loss.eval(&context, input, target, None, &options, outputs)
    });
    let none = options.reduction(Reduction::None);
    bench.threads(&group("none"), "", size(4), || {
        loss.eval(&context, input, target, None, &none, Outputs::new().loss(&mut second).grad(output))
    });
    // a gradient of zeros, which stay finite however often they are added
    let accumulate = options.accumulate_grad(true).grad_scale(0.0);
    output.fill(T::of(0.0));
    bench.threads(&group("accumulate"), "", size(4), || {
        loss.eval(&context, input, target, None, &accumulate, Outputs::new().loss(&mut value).grad(output))
    });
    if formula.inputs().have_labels() {
        let labels = Buffer::new(1, n, || T::of(random.unit()));
        bench.threads(&group("soft"), "", size(3), || {
            loss.eval(&context, input, &labels, None, &options, Outputs::new().loss(&mut value).grad(output))
        });
    }
}
