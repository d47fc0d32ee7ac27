//! Bounded logits: beside formulas in float64, in every layout and with every kind of target.

use crate::common::{Float, Random};
use losskit::{ClassShape, Context, CrossEntropy, Error, Options, Outputs, Reduction, Targets, Weights};

const CAP: f64 = 5.0;
const INF: f64 = f64::INFINITY;

/// A shape, its classes, and where class j of sample i is.
type Place = fn(usize, usize) -> usize;
const SHAPES: [(ClassShape, usize, usize, Place); 8] = [
    (ClassShape::rows(40, 3), 40, 3, |i, j| 3 * i + j),
    (ClassShape::rows(1, 40), 1, 40, |_, j| j),
    (ClassShape::rows(37, 64).outer_stride(70), 37, 64, |i, j| 70 * i + j),
    (ClassShape::rows(9, 130), 9, 130, |i, j| 130 * i + j),
    (ClassShape::rows(3, 9001), 3, 9001, |i, j| 9001 * i + j),
    (ClassShape::new(2, 7, 45), 90, 7, |i, j| (i / 45 * 7 + j) * 45 + i % 45),
    (ClassShape::new(2, 80, 33), 66, 80, |i, j| (i / 33 * 80 + j) * 33 + i % 33),
    (ClassShape::rows(6, 7).outer_stride(1).class_stride(6), 6, 7, |i, j| 6 * j + i),
];

/// What targets are; with a z-loss where they are smoothed.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Hard,
    Smoothed,
    Probabilities,
}

struct Case<T> {
    shape: ClassShape,
    samples: usize,
    classes: usize,
    place: Place,
    kind: Kind,
    logits: Vec<T>,
    indices: Vec<i64>,
    probabilities: Vec<T>,
    class_weight: Vec<T>,
}

impl<T: Float> Case<T> {
    fn new(&(shape, samples, classes, place): &(ClassShape, usize, usize, Place), kind: Kind) -> Self {
        let random = &mut Random(7);
        let elements = 1 + (0..samples).flat_map(|i| (0..classes).map(move |j| place(i, j))).max().unwrap();
        let numbers = |random: &mut Random, n, f: fn(f64) -> f64| (0..n).map(|_| T::of(f(random.unit()))).collect();
        Case {
            shape,
            samples,
            classes,
            place,
            kind,
            // far beyond the bound too
            logits: numbers(random, elements, |x| (x - 0.5).powi(3) * 400.0),
            indices: (0..samples).map(|i| if i % 5 == 4 { -100 } else { (i * 31 % classes) as i64 }).collect(),
            probabilities: numbers(random, elements, |x| x),
            class_weight: numbers(random, classes, |x| 0.5 + x),
        }
    }

    fn loss(&self) -> CrossEntropy {
        let smoothed = self.kind == Kind::Smoothed;
        let loss = CrossEntropy::new().soft_cap(CAP);
        if smoothed { loss.label_smoothing(0.25).z_loss(0.125) } else { loss }
    }

    fn targets(&self) -> Targets<'_, T> {
        match self.kind {
            Kind::Probabilities => Targets::Probabilities(&self.probabilities),
            _ => Targets::I64(&self.indices),
        }
    }

    fn run(&self, context: &Context, options: &Options, grad: &mut [T]) -> Vec<T> {
        let mut loss = vec![T::of(7.0); self.samples];
        let (outputs, weights) = (Outputs::new().loss(&mut loss).grad(grad), Weights::new().class(&self.class_weight));
        let targets = self.targets();
        self.loss().eval(context, self.shape, &self.logits, targets, weights, options, outputs).expect("good input");
        loss
    }

    /// The loss, and the gradients, each with the size of its opposed terms.
    fn reference(&self, sample: usize) -> (f64, Vec<(f64, f64)>) {
        let x: Vec<f64> = (0..self.classes).map(|j| self.logits[(self.place)(sample, j)].wide()).collect();
        if self.kind != Kind::Probabilities && self.indices[sample] == -100 {
            return (0.0, vec![(0.0, 0.0); self.classes]);
        }
        let y: Vec<f64> = x.iter().map(|x| if *x == -INF { -INF } else { CAP * (x / CAP).tanh() }).collect();
        let max = y.iter().copied().fold(-INF, f64::max);
        let sum: f64 = y.iter().map(|y| (y - max).exp()).sum();
        let lse = max + sum.ln();
        let (keep, z) = if self.kind == Kind::Smoothed { (0.75, 0.125) } else { (1.0, 0.0) };
        let q = |j: usize| {
            let own = match self.kind {
                Kind::Probabilities => self.probabilities[(self.place)(sample, j)].wide(),
                _ => f64::from(self.indices[sample] == j as i64),
            };
            self.class_weight[j].wide() * (keep * own + (1.0 - keep) / self.classes as f64)
        };
        let mass: f64 = (0..self.classes).map(q).sum();
        let loss: f64 = (0..self.classes).filter(|&j| q(j) != 0.0).map(|j| q(j) * (lse - y[j])).sum();
        let grad = (0..self.classes).map(|j| {
            let slope = if x[j] == -INF { 1.0 } else { (x[j] / CAP).cosh().powi(-2) };
            let p = (y[j] - lse).exp() * (mass + 2.0 * z * lse);
            (slope * (p - q(j)), slope * p.abs().max(q(j)))
        });
        (loss + z * lse * lse, grad.collect())
    }

    /// Losses are off by a few last places of the bounded logits, of which the largest is the cap.
    fn check(&self, name: &str) {
        let options = Options::new().reduction(Reduction::None);
        let mut grad = vec![T::of(7.0); self.logits.len()];
        let loss = self.run(&Context::with_threads(1), &options, &mut grad);
        let mut owned = vec![false; grad.len()];
        // the reference's own
        let of_sums = f64::EPSILON * self.classes as f64 / 16.0;
        for (sample, loss) in loss.iter().enumerate() {
            let (want, grads) = self.reference(sample);
            let bound = T::EPSILON * (4.0 * want.abs() + 8.0 * CAP) + of_sums * want.abs();
            assert!((loss.wide() - want).abs() <= bound, "{name}, sample {sample}: {loss:e}, not {want:e}");
            for (j, (want, size)) in grads.iter().enumerate() {
                let at = (self.place)(sample, j);
                owned[at] = true;
                // the slope's argument is off by half a last place: as often as it is large
                let far = self.logits[at].wide().abs().min(1e3) / CAP;
                let bound = T::EPSILON * (8.0 + 8.0 * CAP + 2.0 * far) * size + of_sums * size + T::SMALLEST_NORMAL;
                let got = grad[at].wide();
                assert!((got - want).abs() <= bound, "{name}, sample {sample}, class {j}: {got:e}, not {want:e}");
            }
        }
        for (grad, _) in grad.iter().zip(owned).filter(|(_, owned)| !owned) {
            assert_eq!(grad.wide(), 7.0, "{name} wrote between elements");
        }

        // whatever is asked for, in place, on more threads, added to what is there
        let mut again = vec![T::of(7.0); self.logits.len()];
        assert_eq!(self.run(&Context::with_threads(3), &options, &mut again), loss, "{name}");
        assert_eq!(again, grad, "{name}");
        let (targets, weights) = (self.targets(), Weights::new().class(&self.class_weight));
        let mut alone = vec![T::of(0.0); loss.len()];
        let (outputs, context) = (Outputs::new().loss(&mut alone), Context::with_threads(1));
        self.loss().eval(&context, self.shape, &self.logits, targets, weights, &options, outputs).expect("good input");
        assert_eq!(alone, loss, "{name}");
        let mut in_place = self.logits.clone();
        let outputs = Outputs::new().loss(&mut alone);
        let done = self.loss().eval_in_place(&context, self.shape, &mut in_place, targets, weights, &options, outputs);
        done.expect("good input");
        assert_eq!(alone, loss, "{name}");
        let mut added = vec![T::of(1.0); self.logits.len()];
        self.run(&context, &options.accumulate_grad(true), &mut added);
        for sample in 0..self.samples {
            for at in (0..self.classes).map(|j| (self.place)(sample, j)) {
                assert_eq!(in_place[at], grad[at], "{name}");
                assert_eq!(added[at], T::of(1.0) + grad[at], "{name}");
            }
        }
    }
}

fn everywhere<T: Float>() {
    for (i, shape) in SHAPES.iter().enumerate() {
        for kind in [Kind::Hard, Kind::Smoothed, Kind::Probabilities] {
            let mut case = Case::<T>::new(shape, kind);
            case.check(&format!("{} {i}", T::NAME));
            // masked classes, and the largest logits of all
            let target = case.indices[0] as usize;
            if kind == Kind::Hard && case.classes > 4 {
                let at = |j: usize| (case.place)(0, (target + j) % case.classes);
                let places = [at(1), at(2), at(3)];
                for (place, x) in places.into_iter().zip([-INF, INF, -1e30]) {
                    case.logits[place] = T::of(x);
                }
                case.check(&format!("{} {i} of extremes", T::NAME));
            }
        }
    }
}

#[test]
fn losses_and_gradients_are_those_of_bounded_logits() {
    everywhere::<f32>();
    everywhere::<f64>();
}

#[test]
fn a_huge_bound_bounds_nothing() {
    let (shape, logits) = (ClassShape::rows(2, 3), [1.0f64, 2.0, -3.0, 0.5, -0.25, 0.125]);
    let (targets, mut grads) = (Targets::I32(&[2, 0]), [[0.0; 6]; 2]);
    let [capped, plain] = [CrossEntropy::new().soft_cap(1e12), CrossEntropy::new()];
    let losses = [
        capped.mean_with_grad(shape, &logits, targets, &mut grads[0]).unwrap(),
        plain.mean_with_grad(shape, &logits, targets, &mut grads[1]).unwrap(),
    ];
    assert!((losses[0] - losses[1]).abs() < 1e-14);
    for (a, b) in grads[0].iter().zip(&grads[1]) {
        assert!((a - b).abs() < 1e-14);
    }
}

#[test]
fn nan_is_nan_in_its_sample_alone() {
    let logits = [1.0f32, f32::NAN, 0.0, 1.0, 2.0, 3.0];
    let (mut loss, mut grad) = ([0.0; 2], [0.0; 6]);
    let options = Options::new().reduction(Reduction::None);
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
    let (context, shape, targets) = (Context::default(), ClassShape::rows(2, 3), Targets::U8(&[0, 0]));
    let capped = CrossEntropy::new().soft_cap(30.0);
    capped.eval(&context, shape, &logits, targets, Weights::new(), &options, outputs).unwrap();
    assert!(loss[0].is_nan() && grad[..3].iter().all(|x| x.is_nan()));
    assert!(loss[1].is_finite() && grad[3..].iter().all(|x| x.is_finite()));
}

#[test]
fn bounds_are_positive_numbers_of_the_type_and_there_is_no_hessian() {
    let (shape, targets) = (ClassShape::rows(1, 2), Targets::U8(&[0]));
    for cap in [-1.0, INF, -INF, 1e-60, 1e60] {
        let refused = CrossEntropy::new().soft_cap(cap).mean(shape, &[1.0f32, 2.0], targets);
        assert_eq!(refused.unwrap_err(), Error::InvalidSoftCap { value: cap });
    }
    assert!(CrossEntropy::new().soft_cap(1e-60).mean(shape, &[1.0f64, 2.0], Targets::U8(&[0])).is_ok());
    let mut hess = [7.0f32; 2];
    let (context, options, outputs) = (Context::default(), Options::new(), Outputs::new().hess(&mut hess));
    let capped = CrossEntropy::new().soft_cap(30.0);
    let refused = capped.eval(&context, shape, &[1.0, 2.0], targets, Weights::new(), &options, outputs);
    assert_eq!(refused.unwrap_err(), Error::UnsupportedOption { name: "hess" });
    assert_eq!(hess, [7.0; 2]);
}
