//! Losses of independent elements, beside the roof at the same sizes.

use crate::data::{Buffer, Float, Random};
use crate::measure::{Bench, Size};
use crate::roof::{self, Beside, Traffic};
use losskit::{Bce, BceWithLogits, Context, Error, Huber, L1, Likelihood, Mse, Options, Outputs, SmoothL1, Summary};

pub type Eval<T> = fn(&Context, &[T], &[T], &Options, Outputs<'_, T>) -> Result<Summary, Error>;
pub type EvalInPlace<T> = fn(&Context, &mut [T], &[T], &Options, Outputs<'_, T>) -> Result<Summary, Error>;

pub struct Loss<T> {
    pub name: &'static str,
    pub inputs: Inputs,
    pub eval: Eval<T>,
    pub eval_in_place: EvalInPlace<T>,
}

/// What the losses are losses of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Inputs {
    /// Numbers against numbers.
    Numbers,
    /// Numbers against 0 and 1.
    Labels,
    /// Probabilities against 0 and 1; others are an error.
    Probabilities,
}

impl Inputs {
    pub fn pair<T: Float>(self, n: usize) -> [Buffer<T>; 2] {
        let mut random = Random(1);
        let input =
            Buffer::new(0, n, || T::of(if self == Inputs::Probabilities { random.unit() } else { random.normal(2.0) }));
        let mut random = Random(2);
        let target = Buffer::new(1, n, || {
            T::of(if self == Inputs::Numbers { random.normal(2.0) } else { random.below(2) as f64 })
        });
        [input, target]
    }
}

macro_rules! losses {
    ($($name: literal $inputs: ident $loss: expr;)*) => {
        [$(Loss {
            name: $name,
            inputs: Inputs::$inputs,
            eval: |context, input, target, options, outputs| $loss.eval(context, input, target, None, options, outputs),
            eval_in_place: |context, input, target, options, outputs| {
                $loss.eval_in_place(context, input, target, None, options, outputs)
            },
        },)*]
    };
}

pub fn losses<T: Float>() -> [Loss<T>; 7] {
    losses! {
        "mse" Numbers Mse::new();
        "l1" Numbers L1::new();
        "huber" Numbers Huber::new(1.0);
        "smooth_l1" Numbers SmoothL1::new(1.0);
        "likelihood" Labels Likelihood::new();
        "bce" Probabilities Bce::new();
        "bce_with_logits" Labels BceWithLogits::new();
    }
}

/// Elements that no cache holds.
const LARGE: usize = 16_777_216;

pub fn run<T: Float>(bench: &mut Bench) {
    for n in [1000, 65_536, LARGE] {
        let shape = n.to_string();
        let size = |arrays| Size { shape: &shape, elements: n, bytes: arrays * n * size_of::<T>() };
        for inputs in [Inputs::Numbers, Inputs::Probabilities, Inputs::Labels] {
            let [input, target] = inputs.pair::<T>(n);
            let mut output = Buffer::new(2, n, || T::of(0.0));
            if inputs == Inputs::Numbers {
                let traffics =
                    [Traffic::Read1, Traffic::Read2, Traffic::Read1Write1, Traffic::Read2Write1, Traffic::InPlace];
                roof::run(bench, &traffics, &shape, [&input, &target], &mut output);
            }
            for loss in losses::<T>().iter().filter(|loss| loss.inputs == inputs) {
                passes(bench, loss, [&input, &target], &mut output, size);
            }
        }
    }
}

fn passes<'a, T: Float>(
    bench: &mut Bench,
    loss: &Loss<T>,
    [input, target]: [&[T]; 2],
    output: &mut [T],
    size: impl Fn(usize) -> Size<'a>,
) {
    let (context, options) = (Context::default(), Options::new());
    let group = |pass| format!("{}_{}_{pass}", loss.name, T::NAME);
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
        (loss.eval)(&context, input, target, &options, Outputs::new().loss(&mut value))
    });
    timed("grad", 3, Traffic::Read2Write1, &mut || {
        (loss.eval)(&context, input, target, &options, Outputs::new().loss(&mut value).grad(output))
    });
    output.copy_from_slice(input);
    if loss.inputs == Inputs::Probabilities {
        // gradients are none: the inputs have to be put back
        let prepare = |output: &mut [T]| output.copy_from_slice(input);
        bench.threads_prepared(&group("inplace"), size(3), output, prepare, |output| {
            (loss.eval_in_place)(&context, output, target, &options, Outputs::new().loss(&mut value))
        });
    } else {
        timed("inplace", 3, Traffic::InPlace, &mut || {
            (loss.eval_in_place)(&context, output, target, &options, Outputs::new().loss(&mut value))
        });
    }
}
