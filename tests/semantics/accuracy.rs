//! Every loss within the last places promised, at sizes around every edge of lanes, tiles, chunks and blocks.

use std::collections::BTreeMap;

use crate::common::call::{self, Call, Goal, Loss, Results, SENTINEL, Shape, spread};
use crate::common::exact::Exact;
use crate::common::reference::{Distribution, Term, divisor, reference};
use crate::common::{Float, Random, ulps_off};
use losskit::{Context, LogSoftmax, Reduction, Softmax};

/// The promise, in units in the last place: of the exact value, or of the larger of opposed terms.
const LOSS: f64 = 3.0;
/// Of elements whose label is soft and whose loss has a weight: products with it and with pos_weight are rounded once more.
const SOFT_WEIGHTED_LOSS: f64 = 4.0;
const GRAD: f64 = 4.0;
const HESS: f64 = 4.0;
/// Of the sum of the losses' magnitudes.
const REDUCED: f64 = 1.0;
/// Of `f64`, for products of class and row weights are rounded before they are added.
const WEIGHT_SUM: f64 = 1.0;

fn context() -> Context {
    Context::with_threads(1)
}

/// The worst of each kind of result, and where.
#[derive(Default)]
struct Worst(BTreeMap<String, (f64, f64, String)>);

impl Worst {
    fn add(&mut self, kind: String, bound: f64, off: f64, place: impl FnOnce() -> String) {
        let worst = self.0.entry(kind).or_insert((0.0, bound, String::new()));
        if off > worst.0 {
            *worst = (off, bound, place());
        }
    }

    fn elements<T: Float>(&mut self, call: &Call<T>, output: &str, bound: f64, got: &[T], want: &[Option<Term>]) {
        let mut worst = (0.0, 0);
        for (at, (got, want)) in got.iter().zip(want).enumerate() {
            match want {
                None => assert_eq!(got.wide(), SENTINEL, "{} {output}: wrote between elements, at {at}", call.name),
                Some(want) => {
                    let off = ulps_off(*got, want.value, want.scale);
                    worst = if off > worst.0 { (off, at) } else { worst };
                }
            }
        }
        if let Some(Some(want)) = want.get(worst.1) {
            let kind = format!("{} {output} {}", kind(call), T::NAME);
            let place = || format!("{}: {:e}, not {:e}, at {}", call.name, got[worst.1].wide(), want.value.hi, worst.1);
            self.add(kind, bound, worst.0, place);
        }
    }

    fn losses_and_gradients<T: Float>(&mut self, call: &Call<T>) {
        let want = reference(call);
        let losses: Vec<Option<Term>> = want.loss.iter().copied().map(Some).collect();
        let is_pointwise = matches!(call.loss, Loss::Pointwise { .. });
        let bound = if is_pointwise && call.name.contains("soft weighted") { SOFT_WEIGHTED_LOSS } else { LOSS };
        self.elements(call, "loss", bound, &call.run(&context(), Reduction::None).loss, &losses);
        self.reductions(call, "grad", GRAD, |got| &got.grad, &want.grad, want.divisor);
    }

    fn hessians<T: Float>(&mut self, call: &Call<T>) {
        let want = reference(call);
        self.reductions(call, "hess", HESS, |got| &got.hess, &want.hess, want.divisor);
    }

    fn reductions<T: Float>(
        &mut self,
        call: &Call<T>,
        output: &str,
        bound: f64,
        got: impl Fn(&Results<T>) -> &[T],
        want: &[Term],
        divisor: Exact,
    ) {
        let owned = call.shape().owned();
        for reduction in [Reduction::None, Reduction::Mean] {
            let factor = match reduction {
                Reduction::Mean if divisor.hi == 0.0 => Exact::ZERO,
                Reduction::Mean => Exact::ONE / divisor,
                _ => Exact::ONE,
            };
            let want: Vec<Option<Term>> =
                want.iter().zip(&owned).map(|(want, owned)| owned.then(|| want.times(factor))).collect();
            let results = call.run(&context(), reduction);
            self.elements(call, &format!("{output} {reduction:?}"), bound, got(&results), &want);
        }
    }

    /// Beside the sum of the losses as they are, each rounded.
    fn reduced_losses<T: Float>(&mut self, call: &Call<T>) {
        let losses = call.run(&context(), Reduction::None).loss;
        let losses = || losses.iter().map(|loss| Exact::of(loss.wide()));
        let (sum, size): (Exact, Exact) = (losses().sum(), losses().map(Exact::abs).sum());
        let weights = divisor(call);
        for reduction in [Reduction::Sum, Reduction::Mean] {
            let got = call.run(&context(), reduction);
            let off = ulps_off(got.summary.weight_sum, weights, weights.hi);
            self.add(format!("weight_sum {}", T::NAME), WEIGHT_SUM, off, || call.name.clone());
            let divisor = if reduction == Reduction::Mean { weights } else { Exact::ONE };
            let off = ulps_off(got.loss[0], sum / divisor, (size / divisor).hi);
            let place = || format!("{}: {:e}, not {:e}", call.name, got.loss[0], (sum / divisor).hi);
            self.add(format!("{reduction:?} {} {}", kind(call), T::NAME), REDUCED, off, place);
        }
    }

    fn assert(self) {
        assert!(!self.0.is_empty());
        let print = |(kind, (off, bound, place)): (&String, &(f64, f64, String))| {
            format!("{off:.3} ULP, not {bound}: {kind}: {place}\n")
        };
        let failures: String = self.0.iter().filter(|(_, (off, bound, _))| off > bound).map(print).collect();
        assert!(failures.is_empty(), "\n{failures}");
    }
}

/// The call's name without its sizes.
fn kind<T: Float>(call: &Call<T>) -> &str {
    call.name.split(T::NAME).next().unwrap_or_default().trim_end()
}

/// Whether every class has a share of the target.
fn is_soft<T>(call: &Call<T>) -> bool {
    match &call.loss {
        Loss::CrossEntropy { smoothing, goal, .. } => *smoothing > 0.0 || matches!(goal, Goal::Probabilities(_)),
        _ => false,
    }
}

/// Looks at calls of both types, then says what was too far off.
macro_rules! check {
    ($method: ident, $calls: ident $(, $filter: expr)?) => {{
        let mut worst = Worst::default();
        $calls::<f32>()$(.filter($filter))?.for_each(|call| worst.$method(&call));
        $calls::<f64>()$(.filter($filter))?.for_each(|call| worst.$method(&call));
        worst.assert();
    }};
}

/// The tests of a family of class losses.
macro_rules! family {
    ($name: ident, $calls: ident) => {
        mod $name {
            use super::*;

            #[test]
            fn losses_and_gradients_of_hard_labels() {
                check!(losses_and_gradients, $calls, |call| !is_soft(call));
            }
            #[test]
            fn losses_and_gradients_of_soft_labels() {
                check!(losses_and_gradients, $calls, |call| is_soft(call));
            }
            #[test]
            fn hessians() {
                check!(hessians, $calls);
            }
            #[test]
            fn reduced_losses() {
                check!(reduced_losses, $calls);
            }
        }
    };
}

/// Lanes of every width, groups, blocks of 8192, and a few blocks.
fn pointwise<T: Float>() -> impl Iterator<Item = Call<T>> {
    let lanes = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 320];
    let blocks = [8191, 8192, 8193, 24_576, 24_579];
    lanes.into_iter().chain(blocks).flat_map(call::pointwise)
}

#[test]
fn pointwise_losses_and_gradients() {
    check!(losses_and_gradients, pointwise);
}
#[test]
fn pointwise_hessians() {
    check!(hessians, pointwise);
}
#[test]
fn pointwise_reduced_losses() {
    check!(reduced_losses, pointwise);
}

/// Numbers of classes that go through tiles, and beyond; rows short of a group, and a group and one.
fn few_classes<T: Float>() -> impl Iterator<Item = Call<T>> {
    let all = (1..=70).chain([95, 96, 97, 100, 126, 127, 128, 129, 130]);
    let shapes = all.flat_map(|classes| [1, 5, 33].map(|rows| Shape::rows(rows, classes)));
    shapes.flat_map(call::classes)
}
family! { rows_of_few_classes, few_classes }

/// Chunks of 2048 f64 or 4096 f32, and several of them; of 2^18 classes one call of each kind.
fn many_classes<T: Float>() -> impl Iterator<Item = Call<T>> {
    let shapes =
        [100, 127, 128, 129, 1000, 2047, 2048, 2049, 4095, 4096, 4097, 8192].map(|classes| Shape::rows(3, classes));
    let is_meant = |call: &Call<T>| ["confident weighted", "soft smoothed"].iter().any(|name| call.name.contains(name));
    let most = call::classes(Shape::rows(1, 1 << 18)).into_iter().filter(is_meant);
    shapes.into_iter().chain([Shape::rows(2, 20_000)]).flat_map(call::classes).chain(most)
}
family! { rows_of_many_classes, many_classes }

/// `inner` short of a group, a group and more; strides with gaps; classes outermost.
fn columns<T: Float>() -> impl Iterator<Item = Call<T>> {
    let dense = [2, 3, 10, 65, 100, 128, 129]
        .into_iter()
        .flat_map(|classes| [2, 15, 16, 17, 31, 32, 33, 70].map(|inner| Shape::new(2, classes, inner)));
    let strided = [
        Shape::rows(35, 7).strides(11, 1),
        Shape::rows(5, 130).strides(133, 1),
        Shape::new(3, 5, 7).strides(70, 10),
        Shape::new(3, 66, 35).strides(66 * 40 + 3, 40),
        Shape::new(3, 130, 35).strides(130 * 40 + 3, 40),
        Shape::rows(40, 5).strides(1, 41),
        Shape::rows(40, 80).strides(2, 90),
        Shape::new(4, 9, 3).strides(5, 21),
    ];
    dense.chain(strided).flat_map(call::classes)
}
family! { columns_and_strided_classes, columns }

fn temporal_differences<T: Float>() -> impl Iterator<Item = Call<T>> {
    let shapes = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 300].into_iter().flat_map(|actions| {
        [(0, actions), (1, actions), (33, actions), (40, actions + 3)].map(|(rows, stride)| (rows, actions, stride))
    });
    let long = [(1, 20_000, 20_000), (4096, 2, 2), (8193, 3, 4)];
    shapes.chain(long).flat_map(|(rows, actions, stride)| call::td(rows, actions, stride))
}

#[test]
fn temporal_differences_losses_and_gradients() {
    check!(losses_and_gradients, temporal_differences);
}
#[test]
fn temporal_differences_hessians() {
    check!(hessians, temporal_differences);
}
#[test]
fn temporal_differences_reduced_losses() {
    check!(reduced_losses, temporal_differences);
}

/// A constant loss is where plain sums drift furthest, mixed signs where they cancel.
fn add_up<T: Float>(worst: &mut Worst, numbers: impl Fn(usize) -> f64) {
    for n in [2, 1000, 8192, 100_000] {
        let target: Vec<T> = (0..n).map(|i| T::of(numbers(i))).collect();
        let (formula, weight) = (call::Formula::L1, Some(target.iter().map(|y| T::of(y.wide().signum())).collect()));
        let loss = Loss::Pointwise { formula, target, weight };
        worst.reduced_losses(&Call { name: format!("l1 {} n={n}", T::NAME), input: vec![T::of(0.0); n], loss });
    }
}

#[test]
fn sums_are_right_whatever_the_distribution() {
    let numbers: [fn(usize) -> f64; 5] = [
        |_| 0.1,
        |_| 1.0 / 3.0,
        |i| if i % 2 == 0 { 0.1 } else { -0.1 },
        |i| [1e30, 0.1, -1e30, 1e-30][i % 4],
        |i| 1.0 / (1 + i) as f64,
    ];
    for numbers in numbers {
        let mut worst = Worst::default();
        add_up::<f32>(&mut worst, numbers);
        add_up::<f64>(&mut worst, numbers);
        worst.assert();
    }
}

fn distributions<T: Float>(worst: &mut Worst) {
    let context = context();
    let shapes = (1..=66).chain([127, 128, 129]).map(|classes| Shape::rows(34, classes)).chain([
        Shape::rows(3, 1000),
        Shape::rows(2, 4097),
        Shape::new(2, 5, 33),
        Shape::new(2, 70, 33),
        Shape::new(2, 130, 33),
        Shape::rows(5, 9).strides(12, 1),
    ]);
    for shape in shapes {
        let random = &mut Random(shape.elements() as u64);
        let logits: Vec<T> = spread(shape, || T::of(random.number(20.0)));
        let upstream: Vec<T> = spread(shape, || T::of(random.number(2.0)));
        let sentinels = vec![T::of(SENTINEL); shape.elements()];
        let (mut p, mut log_p) = (sentinels.clone(), sentinels.clone());
        let (mut p_back, mut log_p_back) = (sentinels.clone(), sentinels);
        let class_shape = shape.class_shape();
        Softmax::new().eval(&context, class_shape, &logits, &mut p).unwrap();
        LogSoftmax::new().eval(&context, class_shape, &logits, &mut log_p).unwrap();
        Softmax::new().backward(&context, class_shape, &p, &upstream, &mut p_back).unwrap();
        LogSoftmax::new().backward(&context, class_shape, &log_p, &upstream, &mut log_p_back).unwrap();
        for sample in 0..shape.samples() {
            let gather = |from: &[T]| -> Vec<T> { (0..shape.classes).map(|c| from[shape.at(sample, c)]).collect() };
            let distribution = Distribution::of(&gather(&logits));
            let exact = |from: &[T]| -> Vec<Exact> { gather(from).iter().map(|x| Exact::of(x.wide())).collect() };
            // backwards from the outputs as they are
            let (y, log_y, g) = (exact(&p), exact(&log_p), exact(&upstream));
            let log = distribution.rest.ln_1p();
            let dot: Exact = y.iter().zip(&g).map(|(&y, &g)| y * g).sum();
            let size: Exact = y.iter().zip(&g).map(|(&y, &g)| (y * g).abs()).sum();
            let sum: Exact = g.iter().copied().sum();
            let sum_size: Exact = g.iter().map(|g| g.abs()).sum();
            for class in 0..shape.classes {
                let at = shape.at(sample, class);
                let place = || format!("{shape:?} sample {sample} class {class}");
                let mut add = |kind: &str, bound, got: T, value: Exact, scale: Exact| {
                    worst.add(format!("{kind} {}", T::NAME), bound, ulps_off(got, value, scale.hi), place);
                };
                let value = distribution.p(class);
                add("softmax", GRAD, p[at], value, value);
                let value = -(distribution.below[class] + log);
                add("log_softmax", LOSS, log_p[at], value, value);
                let scale = y[class] * g[class].abs().max(size);
                add("softmax backward", GRAD, p_back[at], y[class] * (g[class] - dot), scale);
                let share = log_y[class].exp();
                let scale = g[class].abs().max(share * sum_size);
                add("log_softmax backward", GRAD, log_p_back[at], g[class] - share * sum, scale);
            }
        }
        for (at, _) in shape.owned().iter().enumerate().filter(|(_, owned)| !**owned) {
            for output in [&p, &log_p, &p_back, &log_p_back] {
                assert_eq!(output[at].wide(), SENTINEL, "{shape:?}: wrote between elements, at {at}");
            }
        }
    }
}

#[test]
fn softmax_and_its_logarithm_forwards_and_backwards() {
    let mut worst = Worst::default();
    distributions::<f32>(&mut worst);
    distributions::<f64>(&mut worst);
    worst.assert();
}

/// The reference itself, against constants of 32 digits.
#[test]
fn the_reference_is_good_to_twice_the_digits() {
    let near = |got: Exact, hi: f64, lo: f64| {
        let off = (got - Exact { hi, lo }).hi.abs() / hi.abs();
        assert!(off < 1e-30, "{got:?} is off by {off:e}");
    };
    near(Exact::ONE.exp(), std::f64::consts::E, 1.445_646_891_729_250_2e-16);
    near(Exact::of(2.0).ln(), std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);
    near(Exact::of(10.0).ln(), std::f64::consts::LN_10, -2.170_756_223_382_249_4e-16);
    near(Exact::ONE.ln_1p(), std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);
    near(Exact::ONE / Exact::of(3.0), 1.0 / 3.0, 1.850_371_707_708_594e-17);
    for x in [1e-300, 1e-20, 0.3, 5.0, 1e9] {
        let there_and_back = Exact::of(x).ln_1p().exp_m1();
        near(there_and_back, x, 0.0);
        near(Exact::of(x).ln().exp(), x, 0.0);
    }
}
