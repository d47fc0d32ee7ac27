//! Reduced losses beside the exact sum of their terms, on distributions where plain sums drift.

use losskit::{BceWithLogits, ClassShape, Context, CrossEntropy, L1, Options, Outputs, Reduction, Summary, Targets};

use super::exact::Exact;
use super::{Float, Random, ulps_off};

/// A kind of terms.
#[derive(Clone, Copy, Debug)]
pub enum Terms {
    /// 0.1 each: sums that round drift all in one direction.
    Constant,
    /// In [0, 1)
    Uniform,
    /// Of all magnitudes from 1e-12 to 1e12.
    Wide,
    /// As wide, and of both signs: in units of the sum of magnitudes.
    Signed,
    /// bce_with_logits of common logits
    Logits,
    /// cross_entropy of two classes
    Classes,
}

impl Terms {
    pub const ALL: [Terms; 6] =
        [Terms::Constant, Terms::Uniform, Terms::Wide, Terms::Signed, Terms::Logits, Terms::Classes];

    pub fn name(self) -> &'static str {
        match self {
            Terms::Constant => "0.1 each",
            Terms::Uniform => "uniform",
            Terms::Wide => "1e-12 to 1e12",
            Terms::Signed => "the same, both signs",
            Terms::Logits => "bce_with_logits",
            Terms::Classes => "cross_entropy, 2 classes",
        }
    }

    /// How far the sum and the mean of n losses are off.
    pub fn errors<T: Float>(self, n: usize, context: &Context) -> [f64; 2] {
        let random = &mut Random(n as u64);
        let wide = |random: &mut Random| 10f64.powf(24.0 * random.unit() - 12.0);
        let number = |random: &mut Random| match self {
            Terms::Constant => 0.1,
            Terms::Uniform => random.unit(),
            Terms::Wide | Terms::Signed => wide(random),
            Terms::Logits | Terms::Classes => random.number(8.0),
        };
        let count = if matches!(self, Terms::Classes) { 2 * n } else { n };
        let input: Vec<T> = (0..count).map(|_| T::of(number(random))).collect();
        let zeros = vec![T::of(0.0); n];
        let targets = vec![0u8; n];
        let signs: Option<Vec<T>> = matches!(self, Terms::Signed)
            .then(|| (0..n).map(|_| T::of(if random.below(2) == 0 { -1.0 } else { 1.0 })).collect());
        let eval = |reduction, loss: &mut [T]| -> Summary {
            let (options, outputs) = (Options::new().reduction(reduction), Outputs::new().loss(loss));
            let done = match self {
                Terms::Classes => {
                    let (shape, targets) = (ClassShape::rows(n, 2), Targets::U8(&targets));
                    CrossEntropy::new().eval(context, shape, &input, targets, Default::default(), &options, outputs)
                }
                Terms::Logits => BceWithLogits::new().eval(context, &input, &zeros, None, &options, outputs),
                _ => L1::new().eval(context, &input, &zeros, signs.as_deref(), &options, outputs),
            };
            done.expect("lengths agree")
        };
        let mut terms = vec![T::of(0.0); n];
        eval(Reduction::None, &mut terms);
        let terms = || terms.iter().map(|term| Exact::of(term.wide()));
        let (sum, size): (Exact, Exact) = (terms().sum(), terms().map(Exact::abs).sum());
        [(Reduction::Sum, Exact::ONE), (Reduction::Mean, Exact::of(n as f64))].map(|(reduction, divisor)| {
            let mut got = [T::of(0.0)];
            eval(reduction, &mut got);
            ulps_off(got[0], sum / divisor, (size / divisor).hi)
        })
    }
}
