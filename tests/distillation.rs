//! The divergence between two softmaxes: against closed forms to twice the digits, against each other, and where there
//! is no number.

mod common;

use common::exact::Exact;
use common::families::CLASS_FAMILIES;
use common::{Float, Random, all_of, assert_same_bits, bits, ulp, ulps_off};
use losskit::{
    ClassShape, Context, Cost, CrossEntropy, Distillation, Error, Isa, Options, Outputs, Reduction, Targets, Weights,
};

const INF: f64 = f64::INFINITY;

/// Each row's own loss and gradient.
fn run<T: Float>(how: Distillation, classes: usize, student: &[T], teacher: &[T]) -> (Vec<T>, Vec<T>) {
    run_in(&Context::with_threads(1), how, classes, student, teacher)
}

fn run_in<T: Float>(
    context: &Context,
    how: Distillation,
    classes: usize,
    student: &[T],
    teacher: &[T],
) -> (Vec<T>, Vec<T>) {
    let rows = student.len() / classes;
    let (mut loss, mut grad) = (vec![T::of(7.0); rows], vec![T::of(7.0); student.len()]);
    let options = Options::new().reduction(Reduction::None);
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
    how.eval(context, ClassShape::rows(rows, classes), student, teacher, None, &options, outputs).unwrap();
    (loss, grad)
}

/// x log x - (x - 1) for x = 1 + z.
fn relative_entropy(x: Exact, z: Exact) -> Exact {
    if x.hi == 0.0 {
        return Exact::ONE;
    }
    if z.hi.abs() > 0.01 {
        let log = if z.hi.abs() < 0.4 { z.ln_1p() } else { x.ln() };
        return x * log - z;
    }
    // z^2 / 2 - z^3 / 6 + z^4 / 12 - ...
    let (mut sum, mut power) = (Exact::ZERO, -z);
    for k in 2..18 {
        power = -(power * z);
        sum = sum + power / Exact::of((k * (k - 1)) as f64);
    }
    sum
}

/// e^x - 1 - x
fn exp_tail(x: Exact) -> Exact {
    if x.hi.abs() > 0.1 {
        return x.exp_m1() - x;
    }
    let (mut sum, mut term) = (Exact::ZERO, x);
    for k in 2..24 {
        term = term * x / Exact::of(f64::from(k));
        sum = sum + term;
    }
    sum
}

/// Two softmaxes p and q of x and y: for each class p, q and log(q / p), none of which is the difference of rounded numbers.
struct Softmaxes {
    p: Vec<Exact>,
    q: Vec<Exact>,
    log_ratio: Vec<Exact>,
    /// u_j: log(q / p) but for what all of these have in common; it is 0 where x is largest. And the sum of p_j u_j.
    mean: Exact,
    u: Vec<Exact>,
}

impl Softmaxes {
    fn of(x: &[Exact], y: &[Exact], temperature: f64) -> Self {
        let t = Exact::of(temperature);
        let below = |logits: &[Exact]| -> Vec<Exact> {
            let max = logits.iter().fold(Exact::of(-INF), |max, &x| max.max(x));
            logits.iter().map(|&x| if x.hi == -INF { x } else { (x - max) / t }).collect()
        };
        let (a, b) = (below(x), below(y));
        let max = |logits: &[Exact]| logits.iter().fold(Exact::of(-INF), |max, &x| max.max(x));
        let common = max(y) - max(x);
        let u: Vec<Exact> = x
            .iter()
            .zip(y)
            .map(|(&x, &y)| match (x.hi == -INF, y.hi == -INF) {
                (true, true) => Exact::ZERO,
                (true, false) => Exact::of(INF),
                (false, true) => Exact::of(-INF),
                _ => ((y - x) - common) / t,
            })
            .collect();
        let sum: Exact = a.iter().map(|a| a.exp()).sum();
        // e^b - e^a
        let difference = |j: usize| {
            if u[j].hi > 0.0 { -(b[j].exp() * (-u[j]).exp_m1()) } else { a[j].exp() * u[j].exp_m1() }
        };
        let log = ((0..x.len()).map(difference).sum::<Exact>() / sum).ln_1p();
        let p: Vec<Exact> = a.iter().map(|a| a.exp() / sum).collect();
        let other: Exact = b.iter().map(|b| b.exp()).sum();
        let q = b.iter().map(|b| b.exp() / other).collect();
        let log_ratio = u.iter().map(|&u| if u.hi.is_finite() { u - log } else { u }).collect();
        let top = (0..x.len()).max_by(|&i, &j| x[i].partial_cmp(&x[j]).expect("numbers")).expect("a class");
        let u_at_top = u[top];
        let from_top = |u: Exact| if u.hi.is_finite() { u - u_at_top } else { u };
        let u: Vec<Exact> = u.into_iter().map(from_top).collect();
        let mean = p.iter().zip(&u).filter(|(p, _)| p.hi > 0.0).map(|(&p, &u)| p * u).sum();
        Softmaxes { p, q, log_ratio, mean, u }
    }

    /// q - p
    fn difference(&self, j: usize) -> Exact {
        let d = self.log_ratio[j];
        if d.hi > 0.0 { -(self.q[j] * (-d).exp_m1()) } else { self.p[j] * d.exp_m1() }
    }

    /// p_j (e^d - 1 - d), d = log(q / p): these add up to KL(p || q).
    fn divergence(&self, j: usize) -> Exact {
        let d = self.log_ratio[j];
        match d.hi > 0.1 {
            true => self.difference(j) - if self.p[j].hi > 0.0 { self.p[j] * d } else { Exact::ZERO },
            false => self.p[j] * exp_tail(d),
        }
    }
}

/// A row's loss and gradient, and what the last places of the gradient are counted at: themselves, or the larger of the
/// opposed terms.
struct Reference {
    loss: Exact,
    grad: Vec<(Exact, f64)>,
}

fn reference(beta: f64, temperature: f64, student: &[Exact], teacher: &[Exact]) -> Reference {
    let (t, classes) = (Exact::of(temperature), student.len());
    let itself = |value: Exact| (value, value.abs().hi);
    if beta == 0.0 {
        let both = Softmaxes::of(teacher, student, temperature);
        let grad = (0..classes).map(|j| itself(both.difference(j) / t)).collect();
        return Reference { loss: (0..classes).map(|j| both.divergence(j)).sum(), grad };
    }
    if beta == 1.0 {
        let both = Softmaxes::of(student, teacher, temperature);
        let of = |j: usize| if both.p[j].hi == 0.0 { Exact::ZERO } else { both.p[j] * (both.mean - both.u[j]) / t };
        let grad = (0..classes).map(|j| itself(of(j))).collect();
        return Reference { loss: (0..classes).map(|j| both.divergence(j)).sum(), grad };
    }
    let both = Softmaxes::of(teacher, student, temperature);
    let (beta, rest) = (Exact::of(beta), Exact::ONE - Exact::of(beta));
    let (mut of_p, mut of_q, mut logs) = (Exact::ZERO, Exact::ZERO, Vec::new());
    for j in 0..classes {
        let (p, q) = (both.p[j], both.q[j]);
        let (m, difference) = (beta * p + rest * q, both.difference(j));
        if m.hi == 0.0 {
            logs.push(Exact::ZERO);
            continue;
        }
        let excess = [-(rest * difference / m), beta * difference / m];
        of_p = of_p + m * relative_entropy(p / m, excess[0]);
        of_q = of_q + m * relative_entropy(q / m, excess[1]);
        let log = if excess[1].hi.abs() < 0.4 { excess[1].ln_1p() } else { (q / m).ln() };
        logs.push(if q.hi == 0.0 { Exact::ZERO } else { log });
    }
    let grad = (0..classes).map(|j| {
        let factor = rest * both.q[j] / t;
        (factor * (logs[j] - of_q), factor.hi * logs[j].abs().max(of_q).hi)
    });
    Reference { loss: beta * of_p + rest * of_q, grad: grad.collect() }
}

fn exact<T: Float>(numbers: &[T]) -> Vec<Exact> {
    numbers.iter().map(|x| Exact::of(x.wide())).collect()
}

const BETAS: [f64; 5] = [0.0, 1.0, 0.5, 0.1, 0.875];
const TEMPERATURES: [f64; 5] = [1.0, 2.0, 0.9, 3.3, 0.07];

/// Below it the reference has not all of its digits.
const REFERENCE_ENDS: f64 = 1e-280;

/// The worst errors of loss and gradient.
#[track_caller]
fn check<T: Float>(how: (f64, f64), classes: usize, student: &[T], teacher: &[T], what: &str) -> [f64; 2] {
    let (beta, temperature) = how;
    let how = Distillation::new().beta(beta).temperature(temperature);
    let (loss, grad) = run(how, classes, student, teacher);
    let mut worst = [0.0f64; 2];
    let rows = student.chunks(classes).zip(teacher.chunks(classes));
    for (row, (student, teacher)) in rows.enumerate() {
        let want = reference(beta, temperature, &exact(student), &exact(teacher));
        let what = format!("{what}, {}, beta {beta}, T {temperature}, {classes} classes, row {row}", T::NAME);
        assert!(loss[row].wide() >= 0.0, "{what}: {:e}", loss[row].wide());
        let off = ulps_off(loss[row], want.loss, want.loss.hi);
        let off = if loss[row].wide() < REFERENCE_ENDS && want.loss.hi < REFERENCE_ENDS { 0.0 } else { off };
        assert!(off <= 8.0, "{what}: loss {:e}, not {:e}, {off} off", loss[row].wide(), want.loss.hi);
        worst[0] = worst[0].max(off);
        for (class, &(value, scale)) in want.grad.iter().enumerate() {
            let got = grad[row * classes + class];
            // what is subtracted from the logarithms may be subnormal before the division by T^2
            let smallest = T::SMALLEST_NORMAL / (temperature * temperature).min(1.0);
            let off = (Exact::of(got.wide()) - value).hi.abs() / ulp::<T>(scale.max(smallest));
            if got.wide().abs() < REFERENCE_ENDS && scale < REFERENCE_ENDS {
                continue;
            }
            assert!(off <= 8.0, "{what}: gradient {class} is {:e}, not {:e}, {off} off", got.wide(), value.hi);
            worst[1] = worst[1].max(off);
        }
    }
    worst
}

fn family_rows<T: Float>(family: usize, classes: usize, rows: usize, seed: u64) -> Vec<T> {
    CLASS_FAMILIES[family].rows::<T>(classes, rows, seed).input
}

fn accuracy<T: Float>(classes: usize, rows: usize) {
    let mut worst = [[0.0f64; 2]; 3];
    for (i, family) in CLASS_FAMILIES.iter().enumerate() {
        for (seed, (beta, temperature)) in
            BETAS.iter().flat_map(|&beta| TEMPERATURES.map(|temperature| (beta, temperature))).enumerate()
        {
            let teacher = family_rows::<T>(i, classes, rows, seed as u64);
            let random = &mut Random(seed as u64);
            // a student of its own; the teacher but for noise; the same elsewhere on the line of numbers
            let own = family_rows::<T>((i + seed) % CLASS_FAMILIES.len(), classes, rows, 77 + seed as u64);
            let noise = [1.0, 0.01, 1e-4, 1e-7, 1e-12][seed % 5];
            let near: Vec<T> = teacher.iter().map(|x| T::of(x.wide() + random.number(noise))).collect();
            let far: Vec<T> = teacher.iter().map(|x| T::of(x.wide() + 300.0 + random.number(noise))).collect();
            // by a last place, here and there
            let next: Vec<T> =
                teacher.iter().map(|x| T::of(x.wide() * (1.0 + random.number(0.7) * T::EPSILON))).collect();
            for student in [own, near, far, next] {
                let off = check((beta, temperature), classes, &student, &teacher, family.name);
                let kind = if beta == 0.0 {
                    0
                } else if beta == 1.0 {
                    1
                } else {
                    2
                };
                for which in 0..2 {
                    worst[kind][which] = worst[kind][which].max(off[which]);
                }
            }
        }
    }
    println!("{}, {classes} classes: forward {:?}, reverse {:?}, mixture {:?}", T::NAME, worst[0], worst[1], worst[2]);
}

#[test]
fn errors_are_within_a_few_units_however_near_the_distributions() {
    for (classes, rows) in [(2, 30), (3, 20), (10, 10), (33, 5), (100, 3), (1000, 1), (2500, 1)] {
        accuracy::<f32>(classes, rows);
        accuracy::<f64>(classes, rows);
    }
}

/// Against the definitions, word for word, with 400 digits: `golden/distillation.py`.
#[test]
fn near_distributions_have_all_digits_of_their_definition() {
    fn check_line<T: Float>(words: &[&str]) {
        let number = |word: &&str| word.parse::<f64>().expect("a number");
        let [beta, temperature] = [number(&words[1]), number(&words[2])];
        let classes = words[3].parse::<usize>().expect("a number of classes");
        let numbers: Vec<f64> = words[4..].iter().map(number).collect();
        let (teacher, student) = (all_of::<T>(&numbers[..classes]), all_of::<T>(&numbers[classes..2 * classes]));
        let (loss, wanted) = (numbers[2 * classes], &numbers[2 * classes + 1..]);
        let what = format!("{}, beta {beta}, T {temperature}, {teacher:?}, {student:?}", T::NAME);
        let how = Distillation::new().beta(beta).temperature(temperature);
        let (got, grad) = run(how, classes, &student, &teacher);
        let off = ulps_off(got[0], Exact::of(loss), loss);
        assert!(off <= 8.0, "{what}: loss {:e}, not {loss:e}, {off} off", got[0].wide());
        let scales: Vec<f64> = match beta == 0.0 || beta == 1.0 {
            true => wanted.to_vec(),
            false => {
                reference(beta, temperature, &exact(&student), &exact(&teacher)).grad.iter().map(|x| x.1).collect()
            }
        };
        for ((&got, &want), scale) in grad.iter().zip(wanted).zip(scales) {
            let off = ulps_off(got, Exact::of(want), scale);
            assert!(off <= 8.0, "{what}: gradient {:e}, not {want:e}, {off} off", got.wide());
        }
    }
    for line in include_str!("golden/distillation.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "f32" => check_line::<f32>(&words),
            _ => check_line::<f64>(&words),
        }
    }
}

/// Classes that a row's student, its teacher or both mask, and a row that is all but equal elsewhere.
#[test]
fn near_distributions_with_masked_classes_have_all_digits() {
    fn masked<T: Float>() {
        let random = &mut Random(12);
        for classes in [3, 40, 70, 2100] {
            let mut teacher = random.numbers::<T>(classes, 4.0);
            let mut student: Vec<T> = teacher.iter().map(|x| T::of(x.wide() + random.number(1e-3))).collect();
            for at in (1..classes).step_by(3) {
                (teacher[at], student[at]) = (T::of(-INF), T::of(-INF));
            }
            for beta in BETAS {
                check((beta, 1.3), classes, &student, &teacher, "masked by both");
            }
            // by one of them, which the other all but does
            let (mut of_teacher, mut of_student) = (teacher.clone(), student.clone());
            (of_teacher[1], of_student[1]) = (T::of(-25.0), T::of(-25.5));
            check((0.0, 1.3), classes, &of_student, &teacher, "masked by the teacher");
            check((1.0, 1.3), classes, &student, &of_teacher, "masked by the student");
            for beta in [0.5, 0.1] {
                check((beta, 1.3), classes, &of_student, &teacher, "masked by the teacher");
                check((beta, 1.3), classes, &student, &of_teacher, "masked by the student");
            }
        }
    }
    masked::<f32>();
    masked::<f64>();
}

/// A large vocabulary whose largest logit alone differs: here the row is summed up twice.
#[test]
fn one_class_of_many_that_differs_is_right() {
    fn many<T: Float>(classes: usize) {
        let mut teacher = all_of::<T>(&vec![0.0; classes]);
        let mut student = teacher.clone();
        (teacher[5], student[5]) = (T::of(0.5), T::of(0.5 + 1.0 / 64.0));
        for beta in [0.0, 1.0, 0.25] {
            check((beta, 1.0), classes, &student, &teacher, "one of many");
            check((beta, 1.0), classes, &teacher, &student, "one of many");
        }
    }
    for classes in [1000, 50_000] {
        many::<f32>(classes);
        many::<f64>(classes);
    }
}

#[test]
fn every_width_is_right() {
    fn widths<T: Float>() {
        for classes in (1..=70).chain([2047, 2048, 2049, 4096, 9001]) {
            let random = &mut Random(classes as u64);
            let rows = if classes > 70 { 1 } else { 2 };
            let (student, teacher) =
                (random.numbers::<T>(rows * classes, 8.0), random.numbers::<T>(rows * classes, 8.0));
            for how in [(0.0, 1.0), (1.0, 2.0), (0.3, 0.9)] {
                check(how, classes, &student, &teacher, "any width");
            }
        }
    }
    widths::<f32>();
    widths::<f64>();
}

#[test]
fn logits_of_any_size_are_right() {
    for numbers in [
        [1e6, 1e6 - 1.0, 1e6 + 2.0, 1e6 - 3.5],
        [-1e6, -1e6 - 1.0, -1e6 + 2.0, -1e6 - 3.5],
        [1e10, 1e10 - 8192.0, 1e10, 0.0],
        [65_536.0, 65_535.0, 65_530.5, 65_536.5],
        [80.0, -80.0, 0.0, 79.0],
    ] {
        for other in [[0.0, 0.5, 1.0, -2.0], [3e4, 3e4, 3e4, 3e4 - 2.0]] {
            for beta in BETAS {
                for temperature in [1.0, 2.0, 0.3, 1000.0, 1e-9, 1e9] {
                    let how = (beta, temperature);
                    check::<f64>(how, 4, &numbers, &other, "sizes");
                    check::<f64>(how, 4, &other, &numbers, "sizes");
                    check::<f32>(how, 4, &all_of(&numbers), &all_of(&other), "sizes");
                    check::<f32>(how, 4, &all_of(&other), &all_of(&numbers), "sizes");
                }
            }
        }
    }
}

/// From 50 logits' own losses in 106 bits: the formula of the gradient is the derivative of the formula of the loss.
#[test]
fn the_gradient_is_the_derivative() {
    let random = &mut Random(4);
    for beta in BETAS {
        for temperature in TEMPERATURES {
            let size = temperature * 3.0;
            let (student, teacher) = (random.numbers::<f64>(7, size), random.numbers::<f64>(7, size));
            let (_, grad) = run(Distillation::new().beta(beta).temperature(temperature), 7, &student, &teacher);
            let teacher = exact(&teacher);
            for class in 0..7 {
                let step = Exact::of(1e-9 * temperature);
                let loss = |step: Exact| {
                    let mut moved = exact(&student);
                    moved[class] = moved[class] + step;
                    reference(beta, temperature, &moved, &teacher).loss
                };
                let slope = (loss(step) - loss(-step)) / (step + step);
                let off = (Exact::of(grad[class]) - slope).hi.abs() * temperature;
                assert!(off < 1e-13, "beta {beta}, T {temperature}: {:e}, not {:e}", grad[class], slope.hi);
            }
        }
    }
}

/// What PyTorch's and TRL's formulas say, word for word, in plain numbers.
#[test]
fn beta_goes_the_way_it_does_in_trl() {
    let log_softmax = |logits: &[f64]| -> Vec<f64> {
        let sum: f64 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x - sum.ln()).collect()
    };
    // F.kl_div(input, target, log_target=True)
    let kl_div = |input: &[f64], target: &[f64]| -> f64 {
        input.iter().zip(target).map(|(input, target)| target.exp() * (target - input)).sum()
    };
    let (student, teacher) = ([0.3, -1.0, 2.0, 0.0], [1.5, 0.2, -0.7, 0.9]);
    let (s, t) = (log_softmax(&student), log_softmax(&teacher));
    let of = |beta: f64| run(Distillation::new().beta(beta), 4, &student, &teacher).0[0];
    let jsd = |beta: f64| {
        let mixture: Vec<f64> = s.iter().zip(&t).map(|(s, t)| ((1.0 - beta) * s.exp() + beta * t.exp()).ln()).collect();
        beta * kl_div(&mixture, &t) + (1.0 - beta) * kl_div(&mixture, &s)
    };
    assert!((of(0.0) - kl_div(&s, &t)).abs() < 1e-14);
    assert!((of(1.0) - kl_div(&t, &s)).abs() < 1e-14);
    for beta in [0.1, 0.5, 0.8] {
        assert!((of(beta) - jsd(beta)).abs() < 1e-14);
    }
    // Agarwal et al. (2024): JSD(beta) / beta tends to the forward KL; likewise JSD(beta) / (1 - beta) to the reverse
    assert!((of(1e-7) / 1e-7 - of(0.0)).abs() < 1e-5);
    assert!((of(1.0 - 1e-7) / 1e-7 - of(1.0)).abs() < 1e-5);
}

#[test]
fn student_and_teacher_exchange_with_beta() {
    let random = &mut Random(8);
    let (student, teacher) = (random.numbers::<f64>(40, 5.0), random.numbers::<f64>(40, 5.0));
    for beta in BETAS {
        let how = Distillation::new().beta(beta).temperature(1.7);
        let (loss, _) = run(how, 8, &student, &teacher);
        let (swapped, grad) = run(how.beta(1.0 - beta), 8, &teacher, &student);
        for row in 0..5 {
            assert!((loss[row] - swapped[row]).abs() <= 1e-14 * loss[row].max(1.0), "beta {beta}");
        }
        // the swapped call's gradient is the derivative with respect to the teacher's logits
        for at in 0..8 {
            let loss_at = |step: f64| {
                let mut moved = exact(&teacher[..8]);
                moved[at] = moved[at] + Exact::of(step);
                reference(beta, 1.7, &exact(&student[..8]), &moved).loss
            };
            let slope = (loss_at(1e-9) - loss_at(-1e-9)) / Exact::of(2e-9);
            assert!((slope.hi - grad[at]).abs() < 1e-13, "beta {beta}: {:e}, not {:e}", grad[at], slope.hi);
        }
    }
}

#[test]
fn equal_distributions_are_at_no_distance() {
    let teacher = Random(1).numbers::<f32>(3000, 9.0);
    for beta in BETAS {
        for temperature in TEMPERATURES {
            let (loss, grad) = run(Distillation::new().beta(beta).temperature(temperature), 1000, &teacher, &teacher);
            assert!(loss.iter().all(|&loss| loss == 0.0), "beta {beta}: {loss:?}");
            assert!(grad.iter().all(|&grad| grad == 0.0), "beta {beta}");
            let (loss, grad) = run(Distillation::new().beta(beta), 1, &teacher, &teacher[..]);
            assert!(loss.iter().chain(&grad).all(|&x| x == 0.0), "one class");
        }
    }
}

#[test]
fn a_nearly_certain_teacher_gives_cross_entropy() {
    let student = Random(5).numbers::<f64>(30, 4.0);
    let mut teacher = vec![0.0; 30];
    let targets = [3, 0, 9];
    for (row, &target) in targets.iter().enumerate() {
        teacher[row * 10 + target as usize] = 2000.0;
    }
    let (loss, grad) = run(Distillation::new(), 10, &student, &teacher);
    let (mut want, mut want_grad) = ([0.0; 3], [0.0; 30]);
    let options = Options::new().reduction(Reduction::None);
    let outputs = Outputs::new().loss(&mut want).grad(&mut want_grad);
    let shape = ClassShape::rows(3, 10);
    CrossEntropy::new()
        .eval(&Context::default(), shape, &student, Targets::I64(&targets), Weights::new(), &options, outputs)
        .unwrap();
    for (got, want) in loss.iter().chain(&grad).zip(want.iter().chain(&want_grad)) {
        assert!((got - want).abs() <= 4.0 * ulp::<f64>(want.abs().max(1.0)), "{got:e}, not {want:e}");
    }
}

fn same<T: Float>(got: &[T], want: &[f64], what: &str) {
    for (got, &want) in got.iter().zip(want) {
        let (got, close) = (got.wide(), 1e-6 * want.abs());
        let is_same = got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= close;
        assert!(is_same, "{what}: {got:e}, not {want:e}");
    }
}

#[test]
fn masked_classes_and_what_is_no_number() {
    fn case<T: Float>(beta: f64, student: &[f64], teacher: &[f64], loss: f64, grad: &[f64]) {
        let what = format!("{} beta {beta}, {student:?}, {teacher:?}", T::NAME);
        // among other rows, and with classes around
        let got = run(Distillation::new().beta(beta), student.len(), &all_of::<T>(student), &all_of::<T>(teacher));
        same(&got.0, &[loss], &what);
        same(&got.1, grad, &what);
    }
    fn cases<T: Float>() {
        let (low, nan) = (-INF, f64::NAN);
        let nans = [nan; 3];
        let third = 1.0 / 3.0;
        for beta in BETAS {
            // masked by both: as if the class were not there
            case::<T>(beta, &[1.0, low, 1.0], &[2.0, low, 2.0], 0.0, &[0.0; 3]);
            case::<T>(beta, &[low, 1.0, low], &[low, -7.0, low], 0.0, &[0.0; 3]);
            // no number
            for (student, teacher) in [
                ([nan, 1.0, 2.0], [0.0, 1.0, 2.0]),
                ([0.0, 1.0, 2.0], [0.0, nan, 2.0]),
                ([low; 3], [0.0, 1.0, 2.0]),
                ([0.0, 1.0, 2.0], [low; 3]),
                ([0.0, INF, 2.0], [0.0, 1.0, 2.0]),
                ([0.0, 1.0, 2.0], [INF, 1.0, INF]),
                ([nan; 3], [nan; 3]),
            ] {
                case::<T>(beta, &student, &teacher, nan, &nans);
            }
        }
        // masked by the student alone
        case::<T>(0.0, &[low, 0.0, 0.0], &[0.0; 3], INF, &[-third, 0.5 - third, 0.5 - third]);
        case::<T>(0.0, &[low, 0.0, 0.0], &[-800.0, 0.0, 0.0], INF, &[0.0; 3]);
        case::<T>(0.0, &[low, 0.0, 0.0], &[-1e30, 0.0, 0.0], INF, &[0.0; 3]);
        let log = (1.5f64).ln();
        case::<T>(1.0, &[low, 0.0, 0.0], &[0.0; 3], log, &[0.0; 3]);
        // by the teacher alone
        case::<T>(0.0, &[0.0; 3], &[low, 0.0, 0.0], log, &[third, third - 0.5, third - 0.5]);
        case::<T>(1.0, &[0.0; 3], &[low, 0.0, 0.0], INF, &[nan, low, low]);
        // disjoint: -beta log beta - (1 - beta) log(1 - beta)
        for beta in [0.5f64, 0.25] {
            let rest = 1.0 - beta;
            let loss = -beta * beta.ln() - rest * rest.ln();
            let (student, teacher) = (all_of::<T>(&[low, 0.0]), all_of::<T>(&[0.0, low]));
            let (got, grad) = run(Distillation::new().beta(beta), 2, &student, &teacher);
            same(&got, &[loss], "disjoint");
            // a logarithm less their mean, which is a sum of rounded terms: a quarter of a last place of both
            let close = 0.25 * ulp::<T>(1.0) * rest;
            assert!(grad[0].wide() == 0.0 && grad[1].wide().abs() <= close, "disjoint: {grad:?}");
        }
    }
    cases::<f32>();
    cases::<f64>();
}

#[test]
fn no_finite_logits_overflow_but_to_what_is_too_large() {
    let (big, third) = (f64::from(f32::MAX), 1.0 / 3.0);
    for beta in BETAS {
        let how = Distillation::new().beta(beta);
        for (student, teacher) in [([big, -big, 0.0], [big, -big, 0.0]), ([-big, -big, -big], [-big, -big, -big])] {
            let (loss, grad) = run(how, 3, &all_of::<f32>(&student), &all_of::<f32>(&teacher));
            assert!(loss[0] == 0.0 && grad.iter().all(|&x| x == 0.0), "beta {beta}: {loss:?} {grad:?}");
        }
    }
    // the teacher thinks likely what the student thinks all but impossible
    for far in [1e15, 1e20, 1e30, 3e38] {
        let (loss, grad) = run::<f32>(Distillation::new(), 3, &all_of(&[-far, 0.0, 0.0]), &[0.0; 3]);
        same(&loss, &[far * third], "far");
        same(&grad, &[-third, 0.5 - third, 0.5 - third], "far");
        let (loss, _) = run::<f32>(Distillation::new(), 3, &all_of(&[0.0, 0.0, far]), &[0.0; 3]);
        same(&loss, &[far * 2.0 * third], "far");
        // what the teacher thinks impossible is no matter
        let (loss, _) = run::<f32>(Distillation::new(), 3, &[0.0; 3], &all_of(&[-far, 0.0, 0.0]));
        same(&loss, &[1.5f64.ln()], "far");
    }
    let (loss, _) = run::<f32>(Distillation::new(), 3, &all_of(&[-big, big * 0.5, 0.0]), &all_of(&[0.0, 0.0, 1.0]));
    let p = 1.0 / (2.0 + 1f64.exp());
    let want = p * 1.5 * big + (1.0 - 2.0 * p) * 0.5 * big;
    same(&loss, &[want], "as large as can be");
}

fn options(reduction: Reduction) -> Options {
    Options::new().reduction(reduction)
}

#[test]
fn reductions_weights_and_accumulation_are_those_of_cross_entropy() {
    fn each<T: Float>(how: Distillation, classes: usize) {
        let rows = 9;
        let random = &mut Random(2);
        let n = rows * classes;
        let (mut student, mut teacher) = (random.numbers::<T>(n, 6.0), random.numbers::<T>(n, 6.0));
        let mut weights = random.weights::<T>(rows);
        let (loss, grad) = run(how, classes, &student, &teacher);
        // rows of weight 0 are not read
        for row in [2, 8] {
            weights[row] = T::of(0.0);
            student[row * classes..][..classes].fill(T::of(-INF));
            teacher[row * classes..][..classes].fill(T::of(f64::NAN));
        }
        let (context, shape) = (Context::with_threads(1), ClassShape::rows(rows, classes));
        let sum: Exact = weights.iter().map(|w| Exact::of(w.wide())).sum();
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            let losses = if reduction == Reduction::None { rows } else { 1 };
            let (mut got, mut got_grad, mut cost) = (vec![T::of(9.0); losses], vec![T::of(9.0); n], Cost::new());
            let scale = 0.25;
            let options = options(reduction).grad_scale(scale);
            let outputs = Outputs::new().loss(&mut got).grad(&mut got_grad).cost(&mut cost);
            let summary = how.eval(&context, shape, &student, &teacher, Some(&weights), &options, outputs).unwrap();
            assert_eq!(summary.weight_sum, sum.hi);
            let divisor = if reduction == Reduction::Mean { sum } else { Exact::ONE };
            let counts = |row: usize| weights[row].wide() != 0.0;
            let weighted = |row: usize| {
                if counts(row) { Exact::of(loss[row].wide() * weights[row].wide()) } else { Exact::ZERO }
            };
            let total: Exact = (0..rows).map(weighted).sum();
            if reduction == Reduction::None {
                (0..rows).for_each(|row| assert!(ulps_off(got[row], weighted(row), weighted(row).hi) <= 1.0));
            } else {
                assert!(ulps_off(got[0], total / divisor, (total / divisor).hi) <= 2.0);
            }
            assert!((cost.mean() - (total / sum).hi).abs() <= 2.0 * ulp::<T>((total / sum).hi));
            for (at, got) in got_grad.iter().enumerate() {
                let row = at / classes;
                if !counts(row) {
                    assert_eq!(got.bits(), 0);
                    continue;
                }
                let want = Exact::of(grad[at].wide() * weights[row].wide() * scale) / divisor;
                // both were rounded where their terms are larger
                let place = weights[row].wide() * scale / divisor.hi;
                assert!((got.wide() - want.hi).abs() <= 16.0 * T::EPSILON * place, "{at}: {:e}", got.wide());
            }
            // added: one addition of the same
            let before = random.numbers::<T>(n, 1.0);
            let mut added = before.clone();
            let outputs = Outputs::new().grad(&mut added);
            let adding = options.accumulate_grad(true);
            how.eval(&context, shape, &student, &teacher, Some(&weights), &adding, outputs).unwrap();
            let want: Vec<T> = before.iter().zip(&got_grad).map(|(a, &b)| a.plus(b)).collect();
            assert_same_bits(&added, &want, "accumulated");
            // in place, and the value alone
            let mut place = student.clone();
            let mut alone = vec![T::of(9.0); losses];
            let outputs = Outputs::new();
            how.eval_in_place(&context, shape, &mut place, &teacher, Some(&weights), &options, outputs).unwrap();
            assert_same_bits(&place, &got_grad, "in place");
            let outputs = Outputs::new().loss(&mut alone);
            how.eval(&context, shape, &student, &teacher, Some(&weights), &options, outputs).unwrap();
            assert_same_bits(&alone, &got, "value alone");
        }
    }
    for beta in [0.0, 1.0, 0.4] {
        for classes in [1, 5, 40, 2500] {
            let how = Distillation::new().beta(beta).temperature(1.5);
            each::<f32>(how, classes);
            each::<f64>(how, classes);
        }
    }
}

#[test]
fn no_rows_have_no_mean() {
    let how = Distillation::new();
    let loss: f32 = how.mean(ClassShape::rows(0, 5), &[], &[]).unwrap();
    assert!(loss.is_nan());
    let mut loss = [1.0f64];
    let outputs = Outputs::new().loss(&mut loss);
    let options = options(Reduction::Sum);
    how.eval(&Context::default(), ClassShape::rows(0, 0), &[], &[], None, &options, outputs).unwrap();
    assert_eq!(loss, [0.0]);
    // all rows masked
    let (mut loss, mut grad) = ([1.0f32], [1.0; 4]);
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
    let (shape, weights) = (ClassShape::rows(2, 2), Some(&[0.0f32; 2][..]));
    how.eval(&Context::default(), shape, &[1.0; 4], &[2.0; 4], weights, &Options::new(), outputs).unwrap();
    assert!(loss[0].is_nan() && grad == [0.0; 4]);
}

#[test]
fn gaps_between_rows_are_not_touched() {
    let shape = ClassShape::rows(3, 5).outer_stride(8);
    let random = &mut Random(3);
    let (student, teacher) = (random.numbers::<f32>(21, 3.0), random.numbers::<f32>(21, 3.0));
    let dense = |from: &[f32]| -> Vec<f32> { (0..3).flat_map(|row| from[8 * row..][..5].to_vec()).collect() };
    let mut grad = [7.0f32; 21];
    let how = Distillation::new().beta(0.5);
    let loss = how.mean_with_grad(shape, &student, &teacher, &mut grad).unwrap();
    let mut want = [0.0; 15];
    let shape = ClassShape::rows(3, 5);
    assert_eq!(how.mean_with_grad(shape, &dense(&student), &dense(&teacher), &mut want).unwrap(), loss);
    assert_eq!(dense(&grad), want);
    assert!((0..21).filter(|at| at % 8 >= 5).all(|at| grad[at] == 7.0));
}

#[test]
fn bits_do_not_depend_on_threads_or_instruction_set() {
    fn same<T: Float>(rows: usize, classes: usize) {
        let random = &mut Random(6);
        let n = rows * classes;
        let (mut student, mut teacher) = (random.numbers::<T>(n, 12.0), random.numbers::<T>(n, 12.0));
        for (at, special) in [(3, -INF), (classes + 5, f64::NAN), (2 * classes + 1, INF), (3 * classes + 2, -1e30)] {
            student[at % n] = T::of(special);
            teacher[(at + 7) % n] = T::of(special);
        }
        for (beta, temperature) in [(0.0, 1.0), (0.0, 2.7), (1.0, 0.8), (0.3, 1.3)] {
            let how = Distillation::new().beta(beta).temperature(temperature);
            let run = |context: &Context| {
                let (loss, grad) = run_in(context, how, classes, &student, &teacher);
                let mut sum = [T::of(0.0)];
                let (shape, options) = (ClassShape::rows(rows, classes), options(Reduction::Sum));
                let outputs = Outputs::new().loss(&mut sum);
                how.eval(context, shape, &student, &teacher, None, &options, outputs).unwrap();
                (bits(&loss), bits(&grad), bits(&sum))
            };
            let want = run(&Context::with_threads(1));
            for threads in [2, 3, 8] {
                assert!(run(&Context::with_threads(threads)) == want, "{} on {threads} threads", T::NAME);
            }
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let context = Context::with_threads(1).cap_isa(isa);
                assert!(run(&context) == want, "{} with {}", T::NAME, isa.name());
            }
        }
    }
    same::<f32>(7, 30_011);
    same::<f64>(7, 30_011);
    same::<f32>(900, 301);
    same::<f64>(900, 301);
}

/// Factors and weights that f32 has no number for, or whose product it has none for: as f64 has them.
#[test]
fn gradients_are_rounded_once_whatever_the_factor() {
    let (random, context) = (&mut Random(12), Context::with_threads(1));
    for classes in [5, 40, 2500] {
        let (student, near) = (random.numbers::<f32>(2 * classes, 4.0), random.numbers::<f32>(2 * classes, 1e-3));
        let teacher: Vec<f32> = student.iter().zip(near).map(|(x, d)| x + d).collect();
        let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let shape = ClassShape::rows(2, classes);
        for (scale, weights) in [
            (1e40, [1.0f32, 0.5]),
            (1e-42, [1.0, 3.0]),
            (1e-30, [1e-20, 3e38]),
            (1.0, [1e-42, 3e38]),
            (1e60, [1e-40, 1e-30]),
        ] {
            for beta in [0.0, 1.0, 0.3] {
                let how = Distillation::new().beta(beta);
                let options = options(Reduction::Sum).grad_scale(scale);
                let (mut want, mut grad) = (vec![0.0f64; 2 * classes], vec![7.0f32; 2 * classes]);
                let (x, y, w) = (wide(&student), wide(&teacher), wide(&weights));
                how.eval(&context, shape, &x, &y, Some(&w), &options, Outputs::new().grad(&mut want)).unwrap();
                let outputs = Outputs::new().grad(&mut grad);
                how.eval(&context, shape, &student, &teacher, Some(&weights), &options, outputs).unwrap();
                let mut sums = vec![1e-3f32; 2 * classes];
                let (outputs, adding) = (Outputs::new().grad(&mut sums), options.accumulate_grad(true));
                how.eval(&context, shape, &student, &teacher, Some(&weights), &adding, outputs).unwrap();
                for (row, want) in want.chunks(classes).enumerate() {
                    let largest = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                    for (class, want) in want.iter().enumerate() {
                        let got = grad[row * classes + class];
                        // where log(q / p) is much less than elsewhere digits are lost, as docs/numbers.md says
                        let bound = (8.0 * f64::from(f32::EPSILON) * want.abs()).max(1e-11 * largest) + 1e-45;
                        let is_near = (f64::from(got) - want).abs() <= bound || got == *want as f32;
                        assert!(is_near, "{how:?} {scale:e} {weights:?}: {got:e}, not {want:e}");
                        let sum = sums[row * classes + class];
                        assert_eq!(sum.to_bits(), (1e-3f32 + got).to_bits(), "accumulated");
                    }
                }
            }
        }
    }
}

/// Short rows of what is no usual number, of every kind of divergence.
#[test]
fn rows_without_numbers_have_the_same_bits_on_every_instruction_set() {
    fn same<T: Float>(largest: f64) {
        let random = &mut Random(11);
        let specials = [INF, -INF, f64::NAN, 0.0, -0.0, largest, -largest, 1e-40, 6e-189, 1.0];
        let contexts: Vec<Context> = Isa::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .map(|isa| Context::with_threads(1).cap_isa(isa))
            .collect();
        for round in 0..4000 {
            let (classes, rows) = (1 + random.below(20), 1 + random.below(2));
            let shape = ClassShape::rows(rows, classes);
            let range = largest.log10();
            let mut numbers = |n: usize, specials_of_8: usize| -> Vec<T> {
                let number = |random: &mut Random| match random.below(8) {
                    choice if choice < specials_of_8 => specials[random.below(specials.len())],
                    _ => random.number(1.0) * 10f64.powf(random.number(range)),
                };
                (0..n).map(|_| T::of(number(random))).collect()
            };
            let often = [1, 6][round % 2];
            let (student, teacher) = (numbers(rows * classes, often), numbers(rows * classes, often));
            let (weights, before) = (numbers(rows, 2), numbers(rows * classes, 1));
            let how = Distillation::new().beta([0.0, 1.0, 0.3][round % 3]).temperature([1.0, 0.7, 40.0][round / 3 % 3]);
            let accumulate = round % 4 < 2;
            let options = Options::new().accumulate_grad(accumulate).reduction(Reduction::None);
            let run = |context: &Context| {
                let (mut loss, mut grad) = (vec![T::of(7.0); rows], before.clone());
                let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
                how.eval(context, shape, &student, &teacher, Some(&weights), &options, outputs).unwrap();
                (bits(&loss), bits(&grad), grad)
            };
            let want = run(&contexts[0]);
            for context in &contexts[1..] {
                let (loss, grad, numbers) = run(context);
                let (of, got) = ((&student, &teacher, &weights), (&numbers, &want.2));
                assert!(loss == want.0 && grad == want.1, "{} {how:?} {of:?}: {got:?}", T::NAME);
            }
        }
    }
    same::<f32>(f64::from(f32::MAX));
    same::<f64>(f64::MAX);
}

/// Loss, gradient and what the mean divides by, of two rows with these weights.
fn mean_of<T: Float>(weights: [f64; 2], options: &Options) -> (T, Vec<T>, f64) {
    let (student, teacher) = (all_of::<T>(&[0.0, 1.0, 2.0, 0.5]), all_of::<T>(&[1.0, 1.0, 0.0, 0.0]));
    let (weights, shape) = (all_of::<T>(&weights), ClassShape::rows(2, 2));
    let (mut loss, mut grad) = ([T::of(7.0)], all_of::<T>(&[7.0; 4]));
    let (outputs, context) = (Outputs::new().loss(&mut loss).grad(&mut grad), Context::default());
    let how = Distillation::new();
    let summary = how.eval(&context, shape, &student, &teacher, Some(&weights), options, outputs).unwrap();
    (loss[0], grad, summary.weight_sum)
}

#[test]
fn a_mean_of_nothing_and_one_of_weights_that_cancel() {
    fn check<T: Float>() {
        let zero = Options::new().zero_if_empty(true);
        // rows of weight 0 are a mask: nothing is left
        for (options, is_nan) in [(Options::new(), true), (zero, false)] {
            let (loss, grad, divisor) = mean_of::<T>([0.0, 0.0], &options);
            assert!(loss.wide() == 0.0 || is_nan && loss.wide().is_nan(), "{loss}");
            assert!(grad.iter().all(|grad| grad.wide() == 0.0) && divisor == 0.0);
            let empty = &[];
            let (mut loss, shape) = ([T::of(7.0)], ClassShape::rows(0, 2));
            let (outputs, context) = (Outputs::new().loss(&mut loss), Context::default());
            Distillation::new().eval(&context, shape, empty, empty, None, &options, outputs).unwrap();
            assert!(loss[0].wide() == 0.0 || is_nan && loss[0].wide().is_nan(), "{}", loss[0]);
            // no mean, whichever it is
            let (loss, grad, divisor) = mean_of::<T>([0.5, -0.5], &options);
            assert!(loss.wide().is_nan() && grad.iter().all(|grad| grad.wide().is_nan()) && divisor == 0.0);
            let (sum, grad, _) = mean_of::<T>([0.5, -0.5], &options.reduction(Reduction::Sum));
            assert!(sum.wide().is_finite() && grad.iter().all(|grad| grad.wide() != 0.0));
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn bad_input_is_refused_and_nothing_is_written() {
    let shape = ClassShape::rows(2, 3);
    let logits = [1.0f32; 6];
    #[track_caller]
    fn refused<R: std::fmt::Debug>(result: Result<R, Error>, message: &str) {
        assert_eq!(result.unwrap_err().to_string(), message);
    }
    let how = Distillation::new();
    refused(how.mean(shape, &logits[..5], &logits), "student has 5 elements, 6 are needed");
    refused(how.mean(shape, &logits, &logits[..4]), "teacher has 4 elements, 6 are needed");
    refused(
        how.mean(ClassShape::new(1, 3, 2), &logits, &logits),
        "a shape whose classes are not contiguous is not supported",
    );
    for (beta, text) in [(-0.1, "-0.1"), (1.5, "1.5"), (f64::NAN, "NaN")] {
        refused(
            how.beta(beta).mean(shape, &logits, &logits),
            &format!("beta {text} is outside its range, or not a number"),
        );
    }
    for (temperature, text) in [(0.0, "0"), (-1.0, "-1"), (INF, "inf"), (f64::NAN, "NaN"), (1e10, "1e10")] {
        let result = how.temperature(temperature).mean(shape, &logits, &logits);
        refused(result, &format!("temperature {text} is outside [1e-9, 1e9]"));
    }
    let context = Context::default();
    let (mut loss, mut grad, mut hess) = ([7.0], [7.0; 6], [7.0; 6]);
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad).hess(&mut hess);
    refused(how.eval(&context, shape, &logits, &logits, None, &Options::new(), outputs), "hess is not supported");
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
    let weights = Some(&logits[..1]);
    let result = how.eval(&context, shape, &logits, &logits, weights, &Options::new(), outputs);
    refused(result, "row_weight has 1 elements, 2 are needed");
    let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
    let options = Options::new().grad_scale(f64::NAN);
    refused(how.eval(&context, shape, &logits, &logits, None, &options, outputs), "grad_scale is NaN");
    let outputs = Outputs::new().grad(&mut grad[..5]);
    let result = how.eval(&context, shape, &logits, &logits, None, &Options::new(), outputs);
    refused(result, "grad has 5 elements, 6 are needed");
    assert_eq!((loss, grad, hess), ([7.0], [7.0; 6], [7.0; 6]));
    let adding = Options::new().accumulate_grad(true);
    let mut place = logits;
    let result = how.eval_in_place(&context, shape, &mut place, &logits, None, &adding, Outputs::new());
    let words = "input and grad overlap; a gradient may take its input's place, but not with accumulate_grad (LK_ACCUMULATE_GRAD)";
    refused(result, words);
}
