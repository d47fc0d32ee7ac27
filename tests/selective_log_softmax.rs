//! Log-probabilities of chosen classes and entropies, and their gradients: against 106-bit arithmetic, against
//! cross-entropy, and the same bits however they are asked for.

mod common;

use common::call::{Goal, Loss};
use common::exact::Exact;
use common::families::CLASS_FAMILIES;
use common::reference::Distribution;
use common::{Float, Random, all_of, assert_same_bits, ulps_off};
use losskit::{
    ClassShape, Context, CrossEntropy, Entropy, Error, Indices, Isa, LogSoftmax, Options, Outputs, Reduction,
    SelectiveLogSoftmax, Targets, TokenGrads, TokenOutputs, Weights,
};

const IGNORED: i64 = -100;

/// Rows of logits, indices of each, and gradients with respect to the outputs.
#[derive(Clone)]
struct Case<T> {
    rows: usize,
    classes: usize,
    per_row: usize,
    logits: Vec<T>,
    indices: Vec<i64>,
    grads: Grads<T>,
}

/// Of log-probabilities, entropy, lse; those not given are 0.
#[derive(Clone, Default)]
struct Grads<T> {
    log_probs: Option<Vec<T>>,
    entropy: Option<Vec<T>>,
    lse: Option<Vec<T>>,
}

struct Stats<T> {
    log_probs: Vec<T>,
    entropy: Vec<T>,
    lse: Vec<T>,
}

fn one() -> Context {
    Context::with_threads(1)
}

impl<T: Float> Case<T> {
    fn new(classes: usize, per_row: usize, logits: Vec<T>, seed: u64) -> Self {
        let (random, rows) = (&mut Random(seed), logits.len() / classes);
        let indices = random.indices(rows * per_row, classes);
        let mut some = |n| Some(random.numbers(n, 3.0));
        let grads = Grads { log_probs: some(rows * per_row), entropy: some(rows), lse: some(rows) };
        Case { rows, classes, per_row, logits, indices, grads }
    }

    fn random(rows: usize, classes: usize, per_row: usize, seed: u64) -> Self {
        Case::new(classes, per_row, Random(seed).numbers(rows * classes, 20.0), seed)
    }

    fn shape(&self) -> ClassShape {
        ClassShape::rows(self.rows, self.classes)
    }
    fn token(&self) -> SelectiveLogSoftmax {
        SelectiveLogSoftmax::new().per_row(self.per_row)
    }
    fn indices(&self) -> Option<Indices<'_>> {
        Some(Indices::I64(&self.indices))
    }
    fn grads(&self) -> TokenGrads<'_, T> {
        let mut grads = TokenGrads::new();
        if let Some(given) = &self.grads.log_probs {
            grads = grads.log_probs(given);
        }
        if let Some(given) = &self.grads.entropy {
            grads = grads.entropy(given);
        }
        if let Some(given) = &self.grads.lse {
            grads = grads.lse(given);
        }
        grads
    }

    fn stats(&self, context: &Context) -> Stats<T> {
        let room = |n| vec![T::of(7.0); n];
        let mut all =
            Stats { log_probs: room(self.rows * self.per_row), entropy: room(self.rows), lse: room(self.rows) };
        let outputs = TokenOutputs::new().log_probs(&mut all.log_probs).entropy(&mut all.entropy).lse(&mut all.lse);
        self.token().eval(context, self.shape(), &self.logits, self.indices(), outputs).unwrap();
        all
    }

    fn grad(&self, context: &Context) -> Vec<T> {
        let mut grad = vec![T::of(7.0); self.logits.len()];
        self.token().backward(context, self.shape(), &self.logits, self.indices(), self.grads(), &mut grad).unwrap();
        grad
    }
}

fn exact<T: Float>(x: T) -> Exact {
    Exact::of(x.wide())
}

/// The largest errors, in units in the last place.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    log_prob: f64,
    entropy: f64,
    lse: f64,
    grad: f64,
}

impl Worst {
    fn and(self, other: Worst) -> Worst {
        Worst {
            log_prob: self.log_prob.max(other.log_prob),
            entropy: self.entropy.max(other.entropy),
            lse: self.lse.max(other.lse),
            grad: self.grad.max(other.grad),
        }
    }
    #[track_caller]
    fn check(self, what: &str) -> Worst {
        assert!(self.log_prob <= 3.0 && self.entropy <= 3.0 && self.lse <= 1.5 && self.grad <= 4.0, "{what}: {self:?}");
        self
    }
}

/// The sum of positive terms, and of negative ones: opposed, so that a unit in the last place is the larger one's.
#[derive(Clone, Copy)]
struct Terms(Exact, Exact);

impl Terms {
    const NONE: Terms = Terms(Exact::ZERO, Exact::ZERO);
    fn plus(self, term: Exact) -> Terms {
        if term.hi < 0.0 { Terms(self.0, self.1 - term) } else { Terms(self.0 + term, self.1) }
    }
    fn ulps_off<T: Float>(self, got: T) -> f64 {
        ulps_off(got, self.0 - self.1, self.0.max(self.1).hi)
    }
}

fn worst<T: Float>(case: &Case<T>, context: &Context) -> Worst {
    let (stats, grad) = (case.stats(context), case.grad(context));
    let mut worst = Worst::default();
    for row in 0..case.rows {
        let logits = &case.logits[row * case.classes..][..case.classes];
        let entries = row * case.per_row..(row + 1) * case.per_row;
        let indices = &case.indices[entries.clone()];
        let all = Distribution::of(logits);
        let log = all.rest.ln_1p();
        let is_there = |class: usize| all.e[class].hi != 0.0;
        let mean: Exact = (0..case.classes).filter(|&j| is_there(j)).map(|j| all.p(j) * all.below[j]).sum();
        for (&index, got) in indices.iter().zip(&stats.log_probs[entries.clone()]) {
            let want = if index == IGNORED { Exact::ZERO } else { -(all.below[index as usize] + log) };
            worst.log_prob = worst.log_prob.max(ulps_off(*got, want, want.hi));
        }
        let want = log + mean;
        worst.entropy = worst.entropy.max(ulps_off(stats.entropy[row], want, want.hi));
        let max = exact(logits[all.first]);
        let scale = max.abs().max(log).max((max + log).abs()).hi;
        worst.lse = worst.lse.max(ulps_off(stats.lse[row], max + log, scale));

        let of_row = |grads: &Option<Vec<T>>| grads.as_ref().map_or(Exact::ZERO, |grads| exact(grads[row]));
        let (h, l) = (of_row(&case.grads.entropy), of_row(&case.grads.lse));
        let given: Vec<(usize, Exact)> = match &case.grads.log_probs {
            None => vec![],
            Some(grads) => {
                let counted = indices.iter().zip(&grads[entries]).filter(|(index, _)| **index != IGNORED);
                counted.map(|(&index, &grad)| (index as usize, exact(grad))).collect()
            }
        };
        for j in 0..case.classes {
            let (p, not_p) = (all.p(j), all.not_p(j));
            let others: Exact = given.iter().filter(|given| given.0 != j).map(|given| given.1).sum();
            let mut terms = Terms::NONE;
            for given in given.iter().filter(|given| given.0 == j) {
                terms = terms.plus(given.1 * not_p);
            }
            terms = terms.plus(-(p * others)).plus(p * l);
            if is_there(j) {
                // two opposed terms
                terms = terms.plus(-(h * p * mean)).plus(h * p * all.below[j]);
            }
            let got = grad[row * case.classes + j];
            worst.grad = worst.grad.max(terms.ulps_off(got));
        }
    }
    worst
}

fn family_rows<T: Float>(classes: usize, rows: usize, seed: u64) -> Vec<(String, Vec<T>, Vec<i64>)> {
    CLASS_FAMILIES
        .iter()
        .map(|family| {
            let call = family.rows::<T>(classes, rows, seed);
            let Loss::CrossEntropy { goal: Goal::I64(targets), .. } = call.loss else { unreachable!() };
            (format!("{} {} of {classes}", T::NAME, family.name), call.input, targets)
        })
        .collect()
}

fn accuracy<T: Float>(classes: usize, rows: usize) -> Worst {
    let mut all = Worst::default();
    for (name, logits, targets) in family_rows::<T>(classes, rows, 3) {
        for per_row in [1, 3] {
            let mut case = Case::new(classes, per_row, logits.clone(), 5);
            case.indices.iter_mut().step_by(per_row).zip(&targets).for_each(|(index, &target)| *index = target);
            all = all.and(worst(&case, &one()).check(&name));
            // each alone, where the other terms hide nothing
            let grads = std::mem::take(&mut case.grads);
            case.grads = Grads { log_probs: grads.log_probs.clone(), ..Grads::default() };
            all = all.and(worst(&case, &one()).check(&name));
            case.grads = Grads { entropy: grads.entropy.clone(), ..Grads::default() };
            all = all.and(worst(&case, &one()).check(&name));
            case.grads = Grads { lse: grads.lse.clone(), ..Grads::default() };
            all = all.and(worst(&case, &one()).check(&name));
        }
    }
    all
}

#[test]
fn results_are_within_their_units_in_the_last_place() {
    let (mut single, mut double) = (Worst::default(), Worst::default());
    for (classes, rows) in [(2, 300), (3, 200), (10, 100), (65, 30), (129, 20), (1000, 9), (4500, 3), (30_000, 1)] {
        single = single.and(accuracy::<f32>(classes, rows));
        double = double.and(accuracy::<f64>(classes, rows));
    }
    println!("f32 {single:?}\nf64 {double:?}");
}

/// A width that ends in every place of a group.
#[test]
fn every_width_is_right() {
    for classes in 1..=70 {
        let name = format!("{classes} classes");
        worst(&Case::<f32>::random(9, classes, 2, classes as u64), &one()).check(&name);
        worst(&Case::<f64>::random(9, classes, 2, classes as u64), &one()).check(&name);
    }
}

#[test]
fn one_log_probability_a_row_is_minus_cross_entropy_to_the_bit() {
    fn same<T: Float>(rows: usize, classes: usize) {
        let mut case = Case::<T>::random(rows, classes, 1, 77);
        case.indices[rows / 2] = IGNORED;
        let options = Options::new().reduction(Reduction::None);
        let mut loss = vec![T::of(7.0); rows];
        let targets = Targets::I64(&case.indices);
        CrossEntropy::new()
            .eval(&one(), case.shape(), &case.logits, targets, Weights::new(), &options, Outputs::new().loss(&mut loss))
            .unwrap();
        let negative: Vec<T> = loss.iter().map(|loss| T::of(0.0 - loss.wide())).collect();
        assert_same_bits(&case.stats(&one()).log_probs, &negative, &format!("{} {rows} x {classes}", T::NAME));
    }
    for (rows, classes) in [(20, 100), (9, 1000), (3, 20_000), (1, 5), (2, 1_100_000)] {
        same::<f32>(rows, classes);
        same::<f64>(rows, classes);
    }
}

#[test]
fn all_classes_of_a_row_are_log_softmax() {
    fn same<T: Float>(classes: usize) {
        let mut case = Case::<T>::random(3, classes, classes, 4);
        case.indices = (0..3).flat_map(|_| 0..classes as i64).collect();
        let mut all = vec![T::of(7.0); 3 * classes];
        LogSoftmax::new().eval(&one(), case.shape(), &case.logits, &mut all).unwrap();
        for (got, want) in case.stats(&one()).log_probs.iter().zip(&all) {
            assert!(ulps_off(*got, exact(*want), want.wide()) <= 4.0, "{got:e}, not {want:e}");
        }
    }
    same::<f32>(300);
    same::<f64>(300);
}

/// Padded rows, in place, accumulated, any threads and instruction set, each output and gradient alone or with others.
#[test]
fn bits_do_not_depend_on_how_they_are_asked_for() {
    fn same<T: Float>(rows: usize, classes: usize, per_row: usize) {
        let what = format!("{} {rows} x {classes}", T::NAME);
        let mut case = Case::<T>::random(rows, classes, per_row, 6);
        for (i, special) in [f64::NEG_INFINITY, f64::NAN, f64::INFINITY].into_iter().enumerate() {
            let at = (i % rows) * classes + (7 * i) % classes;
            case.logits[at] = T::of(special);
        }
        let last = case.indices.len() - per_row;
        case.indices[last..].fill(IGNORED);
        case.indices[0] = IGNORED;
        let (stats, grad) = (case.stats(&one()), case.grad(&one()));

        let check = |context: &Context, what: &str| {
            let others = case.stats(context);
            assert_same_bits(&others.log_probs, &stats.log_probs, what);
            assert_same_bits(&others.entropy, &stats.entropy, what);
            assert_same_bits(&others.lse, &stats.lse, what);
            assert_same_bits(&case.grad(context), &grad, what);
        };
        for threads in [2, 3, 8] {
            check(&Context::with_threads(threads), &what);
        }
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            check(&one().cap_isa(isa), &what);
        }

        let mut alone = vec![T::of(7.0); rows * per_row];
        let outputs = TokenOutputs::new().log_probs(&mut alone);
        case.token().eval(&one(), case.shape(), &case.logits, case.indices(), outputs).unwrap();
        assert_same_bits(&alone, &stats.log_probs, &what);
        let mut alone = vec![T::of(7.0); rows];
        let outputs = TokenOutputs::new().lse(&mut alone);
        case.token().eval(&one(), case.shape(), &case.logits, case.indices(), outputs).unwrap();
        assert_same_bits(&alone, &stats.lse, &what);
        let outputs = TokenOutputs::new().entropy(&mut alone);
        case.token().eval(&one(), case.shape(), &case.logits, case.indices(), outputs).unwrap();
        assert_same_bits(&alone, &stats.entropy, &what);

        let short: Vec<i32> = case.indices.iter().map(|&index| index as i32).collect();
        let mut others = vec![T::of(7.0); grad.len()];
        let indices = Some(Indices::I32(&short));
        case.token().backward(&one(), case.shape(), &case.logits, indices, case.grads(), &mut others).unwrap();
        assert_same_bits(&others, &grad, &what);

        // padding is not touched
        let (stride, before) = (classes + 3, T::of(-3.0));
        let len = (rows - 1) * stride + classes;
        let (mut padded, mut padded_grad) = (vec![before; len], vec![before; len]);
        for row in 0..rows {
            padded[row * stride..][..classes].copy_from_slice(&case.logits[row * classes..][..classes]);
        }
        let shape = case.shape().outer_stride(stride);
        let want: Vec<T> = (0..len)
            .map(|i| if i % stride < classes { grad[i / stride * classes + i % stride] } else { before })
            .collect();
        case.token().backward(&one(), shape, &padded, case.indices(), case.grads(), &mut padded_grad).unwrap();
        assert_same_bits(&padded_grad, &want, &what);
        let mut log_probs = vec![T::of(7.0); rows * per_row];
        let outputs = TokenOutputs::new().log_probs(&mut log_probs);
        case.token().eval(&one(), shape, &padded, case.indices(), outputs).unwrap();
        assert_same_bits(&log_probs, &stats.log_probs, &what);
        case.token().backward_in_place(&one(), shape, &mut padded, case.indices(), case.grads()).unwrap();
        assert_same_bits(&padded, &want, &what);

        // accumulated: one addition
        let old: Vec<T> = Random(9).numbers(grad.len(), 2.0);
        let mut sums = old.clone();
        let token = case.token().accumulate_grad(true);
        token.backward(&one(), case.shape(), &case.logits, case.indices(), case.grads(), &mut sums).unwrap();
        let is_ignored = |i: usize| i / classes == rows - 1;
        let want: Vec<T> = (0..grad.len()).map(|i| if is_ignored(i) { old[i] } else { old[i].plus(grad[i]) }).collect();
        assert_same_bits(&sums, &want, &what);

        // without the entropy, the exponentials wait in the gradient's place
        let mut case = case.clone();
        case.grads.entropy = None;
        let grad = case.grad(&one());
        let mut place = case.logits.clone();
        case.token().backward_in_place(&one(), case.shape(), &mut place, case.indices(), case.grads()).unwrap();
        assert_same_bits(&place, &grad, &what);
        case.grads.entropy = Some(vec![T::of(0.0); rows]);
        let with_zeros: Vec<f64> = case.grad(&one()).iter().map(|x| x.wide()).collect();
        assert!(with_zeros.iter().zip(&grad).all(|(a, b)| *a == b.wide() || a.is_nan()), "{what}");
    }
    for (rows, classes, per_row) in [(1, 1, 1), (5, 2, 3), (70, 10, 1), (40, 65, 2), (9, 1003, 4), (5, 9001, 1)] {
        same::<f32>(rows, classes, per_row);
        same::<f64>(rows, classes, per_row);
    }
    same::<f32>(2, 1_100_000, 2);
}

#[test]
fn entropy_alone_is_the_same_entropy() {
    fn same<T: Float>() {
        let mut case = Case::<T>::random(7, 333, 1, 8);
        let (mut entropy, mut grad) = (vec![T::of(7.0); 7], vec![T::of(7.0); 7 * 333]);
        Entropy::new().eval(&one(), case.shape(), &case.logits, &mut entropy).unwrap();
        assert_same_bits(&entropy, &case.stats(&one()).entropy, T::NAME);
        case.grads = Grads { entropy: case.grads.entropy, ..Grads::default() };
        let given = case.grads.entropy.clone().unwrap();
        Entropy::new().backward(&one(), case.shape(), &case.logits, &given, &mut grad).unwrap();
        let want = case.grad(&one());
        assert_same_bits(&grad, &want, T::NAME);
        let twice: Vec<T> = want.iter().map(|&x| x.plus(x)).collect();
        Entropy::new().accumulate_grad(true).backward(&one(), case.shape(), &case.logits, &given, &mut grad).unwrap();
        assert_same_bits(&grad, &twice, T::NAME);
        Entropy::new().backward_in_place(&one(), case.shape(), &mut case.logits, &given).unwrap();
        assert_same_bits(&case.logits, &want, T::NAME);
    }
    same::<f32>();
    same::<f64>();
}

/// Exact answers, and limits.
#[test]
fn special_values() {
    fn row<T: Float>(logits: &[f64], index: i64) -> ([f64; 3], Vec<f64>) {
        let mut case = Case::new(logits.len(), 1, all_of::<T>(logits), 1);
        case.indices = vec![index];
        let all = vec![T::of(1.0)];
        case.grads = Grads { log_probs: Some(all.clone()), entropy: Some(all), lse: None };
        let stats = case.stats(&one());
        let grad = case.grad(&one());
        let mut place = case.logits.clone();
        case.token().backward_in_place(&one(), case.shape(), &mut place, case.indices(), case.grads()).unwrap();
        assert_same_bits(&place, &grad, "in place");
        let stats = [stats.log_probs[0], stats.entropy[0], stats.lse[0]].map(T::wide);
        (stats, grad.iter().map(|x| x.wide()).collect())
    }
    fn check<T: Float>() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let ln = |x: f64| T::of(x.ln()).wide();
        let same = |got: ([f64; 3], Vec<f64>), stats: [f64; 3], grad: &[f64]| {
            let is_same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
            let all_same = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(*a, *b));
            assert!(all_same(&got.0, &stats) && all_same(&got.1, grad), "{} {got:?}, not {stats:?}, {grad:?}", T::NAME);
        };
        // one class
        same(row::<T>(&[3.0], 0), [0.0, 0.0, 3.0], &[0.0]);
        // equal ones
        same(row::<T>(&[0.0, 0.0], 1), [-ln(2.0), ln(2.0), ln(2.0)], &[-0.5, 0.5]);
        same(row::<T>(&[-0.0, 0.0, 0.0, -0.0], 0), [-ln(4.0), ln(4.0), ln(4.0)], &[0.75, -0.25, -0.25, -0.25]);
        // masked classes; one of them asked for
        same(row::<T>(&[0.0, -inf, 0.0], 0), [-ln(2.0), ln(2.0), ln(2.0)], &[0.5, 0.0, -0.5]);
        same(row::<T>(&[0.0, -inf, 0.0], 1), [-inf, ln(2.0), ln(2.0)], &[-0.5, 1.0, -0.5]);
        same(row::<T>(&[5.0, -inf, -inf], 0), [0.0, 0.0, 5.0], &[0.0, 0.0, 0.0]);
        same(row::<T>(&[-inf, -inf], 0), [nan, nan, -inf], &[nan, nan]);
        // a class that is sure
        same(row::<T>(&[1.0, inf, -inf], 1), [0.0, 0.0, inf], &[0.0, 0.0, 0.0]);
        same(row::<T>(&[1.0, inf, 2.0], 0), [-inf, 0.0, inf], &[1.0, -1.0, 0.0]);
        same(row::<T>(&[inf, inf, 2.0], 0), [nan, nan, nan], &[nan, nan, nan]);
        same(row::<T>(&[nan, 1.0, -inf], 1), [nan, nan, nan], &[nan, nan, nan]);
        same(row::<T>(&[nan, -inf, -inf], 1), [nan, nan, nan], &[nan, nan, nan]);
        // the largest numbers: no difference overflows but where the result does
        let most = T::LARGEST;
        same(row::<T>(&[most, -most], 0), [0.0, 0.0, most], &[0.0, 0.0]);
        same(row::<T>(&[most, -most], 1), [-inf, 0.0, most], &[-1.0, 1.0]);
        same(row::<T>(&[most, most], 1), [-ln(2.0), ln(2.0), most], &[-0.5, 0.5]);
        // an ignored row is not read
        same(row::<T>(&[nan, 1.0], IGNORED), [0.0, 0.0, 0.0], &[0.0, 0.0]);
        // chunks that have nothing of the sum
        let mut long = vec![-inf; 20_000];
        (long[3], long[9000]) = (2.0, 2.0);
        let mut grad = vec![0.0; 20_000];
        (grad[3], grad[9000]) = (0.5, -0.5);
        let lse = T::of(2.0 + 2f64.ln()).wide();
        same(row::<T>(&long, 3), [-ln(2.0), ln(2.0), lse], &grad);
        long[19_999] = -most;
        same(row::<T>(&long, 3), [-ln(2.0), ln(2.0), lse], &grad);
        long[19_999] = inf;
        same(row::<T>(&long, 19_999), [0.0, 0.0, inf], &vec![0.0; 20_000]);
        long[19_999] = nan;
        assert!(row::<T>(&long, 3).1.iter().all(|x| x.is_nan()));
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn ignored_indices_are_zeros_and_their_gradients_are_not_read() {
    fn check<T: Float>() {
        let mut case = Case::<T>::random(3, 50, 3, 12);
        case.indices[1] = IGNORED;
        case.indices[3..6].fill(IGNORED);
        case.logits[50] = T::of(f64::NAN);
        for grads in [&mut case.grads.log_probs, &mut case.grads.entropy, &mut case.grads.lse] {
            let grads = grads.as_mut().unwrap();
            let per_row = grads.len() / 3;
            grads[per_row..2 * per_row].fill(T::of(f64::NAN));
        }
        case.grads.log_probs.as_mut().unwrap()[1] = T::of(f64::NAN);
        let (stats, grad) = (case.stats(&one()), case.grad(&one()));
        assert_same_bits(&stats.log_probs[3..6], &[T::of(0.0); 3], "log_probs");
        assert_same_bits(&[stats.log_probs[1], stats.entropy[1], stats.lse[1]], &[T::of(0.0); 3], "outputs");
        assert_same_bits(&grad[50..100], &[T::of(0.0); 50], "gradient");
        assert!(grad.iter().all(|x| x.wide().is_finite()));
        // as if they were not there
        let keep = |from: &[T]| vec![from[0], from[2]];
        let first = Case {
            rows: 1,
            classes: 50,
            per_row: 2,
            logits: case.logits[..50].to_vec(),
            indices: vec![case.indices[0], case.indices[2]],
            grads: Grads {
                log_probs: case.grads.log_probs.as_ref().map(|grads| keep(grads)),
                entropy: case.grads.entropy.as_ref().map(|grads| grads[..1].to_vec()),
                lse: case.grads.lse.as_ref().map(|grads| grads[..1].to_vec()),
            },
        };
        assert_same_bits(&first.grad(&one()), &grad[..50], "the first row");
        assert_same_bits(&first.stats(&one()).log_probs, &keep(&stats.log_probs), "the first row");
        // another number to ignore; without indices every row counts
        let token = case.token().ignore_index(7);
        case.indices.iter_mut().for_each(|index| *index = if *index == IGNORED { 7 } else { *index.min(&mut 6) });
        let mut entropy = vec![T::of(7.0); 3];
        let outputs = TokenOutputs::new().entropy(&mut entropy);
        token.eval(&one(), case.shape(), &case.logits, case.indices(), outputs).unwrap();
        assert_eq!(entropy[1].wide(), 0.0);
        let outputs = TokenOutputs::new().entropy(&mut entropy);
        token.eval(&one(), case.shape(), &case.logits, None, outputs).unwrap();
        assert!(entropy[1].wide().is_nan());
    }
    check::<f32>();
    check::<f64>();
}

/// Central differences of the outputs, in f64.
#[test]
fn gradients_are_derivatives() {
    let case = Case::<f64>::random(2, 20, 3, 21);
    let objective = |logits: &[f64]| {
        let moved = Case { logits: logits.to_vec(), ..case.clone() };
        let stats = moved.stats(&one());
        let dot =
            |a: &[f64], b: &Option<Vec<f64>>| -> f64 { a.iter().zip(b.as_ref().unwrap()).map(|(a, b)| a * b).sum() };
        dot(&stats.log_probs, &case.grads.log_probs)
            + dot(&stats.entropy, &case.grads.entropy)
            + dot(&stats.lse, &case.grads.lse)
    };
    let grad = case.grad(&one());
    for at in 0..case.logits.len() {
        let step = 1e-5;
        let [mut up, mut down] = [case.logits.clone(), case.logits.clone()];
        up[at] += step;
        down[at] -= step;
        let slope = (objective(&up) - objective(&down)) / (2.0 * step);
        assert!((slope - grad[at]).abs() < 1e-8, "{at}: {slope}, not {}", grad[at]);
    }
}

#[test]
fn nothing_asked_for_and_nothing_there() {
    let case = Case::<f32>::random(2, 3, 1, 1);
    let none = TokenOutputs::new();
    case.token().eval(&one(), case.shape(), &case.logits, case.indices(), none).unwrap();
    let mut grad = [7.0f32; 6];
    case.token().backward(&one(), case.shape(), &case.logits, None, TokenGrads::new(), &mut grad).unwrap();
    assert_eq!(grad, [0.0; 6]);
    let (empty, indices) = (ClassShape::rows(0, 3), Some(Indices::I64(&[])));
    let outputs = TokenOutputs::<f32>::new().log_probs(&mut []).entropy(&mut []).lse(&mut []);
    case.token().eval(&one(), empty, &[], indices, outputs).unwrap();
    case.token().backward::<f32>(&one(), empty, &[], indices, TokenGrads::new(), &mut []).unwrap();
    // rows of no samples
    let outputs = TokenOutputs::<f32>::new().entropy(&mut []);
    case.token().eval(&one(), ClassShape::new(2, 3, 0), &[], indices, outputs).unwrap();
    // no indices a row
    let (mut entropy, mut log_probs) = ([7.0f32; 2], []);
    let outputs = TokenOutputs::new().log_probs(&mut log_probs).entropy(&mut entropy);
    case.token().per_row(0).eval(&one(), case.shape(), &case.logits, Some(Indices::I64(&[])), outputs).unwrap();
    assert_same_bits(&entropy, &case.stats(&one()).entropy, "entropy");
}

#[test]
fn bad_calls_are_refused_and_nothing_is_written() {
    let shape = ClassShape::rows(2, 3);
    let logits = [0.5f32; 6];
    let token = SelectiveLogSoftmax::new().per_row(2);
    let good = [0i64, 1, 2, 0];
    #[track_caller]
    fn refused(result: Result<(), Error>, status: i32, words: &str) {
        let error = result.unwrap_err();
        assert_eq!((error.status(), error.to_string().as_str()), (status, words));
    }
    let eval = |shape, logits: &[f32], indices: Option<Indices<'_>>, [a, b, c]: [usize; 3], status, words: &str| {
        let mut out = [[7.0f32; 8]; 3];
        let [log_probs, entropy, lse] = &mut out;
        let outputs = TokenOutputs::new().log_probs(&mut log_probs[..a]).entropy(&mut entropy[..b]).lse(&mut lse[..c]);
        refused(token.eval(&one(), shape, logits, indices, outputs), status, words);
        assert_eq!(out, [[7.0; 8]; 3]);
        let (given, mut grad) = ([1.0f32; 8], [7.0f32; 8]);
        let grads = TokenGrads::new().log_probs(&given[..a]).entropy(&given[..b]).lse(&given[..c]);
        let words = ["log_probs has", "entropy has", "lse has"]
            .iter()
            .find(|name| words.starts_with(**name))
            .map_or(words.to_owned(), |_| format!("grad_{words}"));
        let elements = if shape.elements() < 8 { shape.elements() } else { 6 };
        refused(token.backward(&one(), shape, logits, indices, grads, &mut grad[..elements]), status, &words);
        assert_eq!(grad, [7.0; 8]);
    };
    let (indices, all) = (Some(Indices::I64(&good)), [4, 2, 2]);
    eval(shape, &logits[..5], indices, all, -3, "logits has 5 elements, 6 are needed");
    eval(shape, &logits, None, all, -3, "indices has 0 elements, 4 are needed");
    eval(shape, &logits, Some(Indices::I64(&good[..3])), all, -3, "indices has 3 elements, 4 are needed");
    eval(shape, &logits, indices, [3, 2, 2], -3, "log_probs has 3 elements, 4 are needed");
    eval(shape, &logits, indices, [4, 1, 2], -3, "entropy has 1 elements, 2 are needed");
    eval(shape, &logits, indices, [4, 2, 3], -3, "lse has 3 elements, 2 are needed");
    let wrong = Some(Indices::I64(&[0, 1, 2, 3]));
    eval(shape, &logits, wrong, all, -8, "target 3 at row 1 must be below 3");
    let wrong = Some(Indices::I32(&[0, -1, 2, 2]));
    eval(shape, &logits, wrong, all, -8, "target -1 at row 0 must not be negative");
    eval(ClassShape::new(1, 3, 2), &logits, indices, all, -14, "shape.inner is not supported");
    let apart = ClassShape::rows(2, 2).class_stride(2).outer_stride(3);
    eval(apart, &logits, indices, all, -14, "shape.class_stride is not supported");
    let words = "outer stride 2 and class stride 1 let elements coincide";
    eval(shape.outer_stride(2), &logits, indices, all, -6, words);

    let mut grad = [7.0f32; 5];
    let result = token.backward(&one(), shape, &logits, indices, TokenGrads::new(), &mut grad);
    refused(result, -3, "grad has 5 elements, 6 are needed");
    let mut place = logits;
    let result = token.accumulate_grad(true).backward_in_place(&one(), shape, &mut place, indices, TokenGrads::new());
    let words = "logits and grad overlap; a gradient may take its input's place, but not with accumulate_grad (LK_ACCUMULATE_GRAD)";
    refused(result, -5, words);
    let many = SelectiveLogSoftmax::new().per_row(usize::MAX);
    let result = many.eval(&one(), shape, &logits, indices, TokenOutputs::new());
    refused(result, -4, "indices would take more bytes than an address can count");
    assert_eq!(place, logits);
}
