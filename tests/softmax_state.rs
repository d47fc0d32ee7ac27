//! Rows of classes in pieces: whatever the pieces, their order and the tree they are merged in.

mod common;

use common::call::{Goal, Loss};
use common::exact::Exact;
use common::families::CLASS_FAMILIES;
use common::reference::Distribution;
use common::{Float, Random, all_of, assert_same_bits, bits, ulp, ulps_off};
use losskit::{
    ChunkedCrossEntropy, ClassChunk, ClassShape, Context, CrossEntropy, Error, Indices, Isa, Options, Outputs,
    Reduction, SoftmaxState, Targets, Weights,
};

/// Rows of logits and their targets.
struct Rows<T> {
    rows: usize,
    classes: usize,
    logits: Vec<T>,
    targets: Vec<i64>,
}

/// First class and number of classes.
type Piece = (usize, usize);

impl<T: Float> Rows<T> {
    fn new(logits: Vec<T>, targets: Vec<i64>) -> Self {
        Rows { rows: targets.len(), classes: logits.len() / targets.len(), logits, targets }
    }

    fn random(rows: usize, classes: usize, seed: u64) -> Self {
        let random = &mut Random(seed);
        let logits = random.numbers(rows * classes, 20.0);
        Rows::new(logits, random.indices(rows, classes))
    }

    fn piece(&self, (first, len): Piece) -> Vec<T> {
        self.logits.chunks(self.classes).flat_map(|row| row[first..first + len].to_vec()).collect()
    }

    fn empty(&self) -> Vec<SoftmaxState> {
        vec![SoftmaxState::new(); self.rows]
    }

    fn update(&self, context: &Context, states: &mut [SoftmaxState], piece: Piece) {
        let chunk = ClassChunk::new(self.rows, piece.1, piece.0);
        SoftmaxState::update(states, context, chunk, &self.piece(piece), Some(Indices::I64(&self.targets))).unwrap();
    }

    /// Each piece in a state of its own, merged two by two as they come.
    fn merged(&self, context: &Context, pieces: &[Piece], random: &mut Random) -> Vec<SoftmaxState> {
        let mut all: Vec<Vec<SoftmaxState>> = Vec::new();
        for &piece in pieces {
            let new_one = all.is_empty() || random.below(2) == 0;
            if new_one {
                all.push(self.empty());
            }
            let at = if new_one { all.len() - 1 } else { random.below(all.len()) };
            self.update(context, &mut all[at], piece);
        }
        while all.len() > 1 {
            let from = all.swap_remove(random.below(all.len()));
            let into = random.below(all.len());
            SoftmaxState::merge_all(&mut all[into], context, &from).unwrap();
        }
        all.pop().unwrap_or_else(|| self.empty())
    }

    fn grad(&self, context: &Context, states: &[SoftmaxState], pieces: &[Piece], scale: f64) -> Vec<T> {
        let mut whole = vec![T::of(7.0); self.logits.len()];
        for &(first, len) in pieces {
            let chunk = ClassChunk::new(self.rows, len, first);
            let mut grad = self.piece((first, len));
            let targets = Some(Indices::I64(&self.targets));
            SoftmaxState::grad_in_place(states, context, chunk, &mut grad, targets, None, scale).unwrap();
            for (row, grad) in grad.chunks(len.max(1)).enumerate() {
                whole[row * self.classes + first..][..len].copy_from_slice(grad);
            }
        }
        whole
    }

    fn whole(&self, context: &Context) -> (Vec<T>, Vec<T>) {
        let (mut loss, mut grad) = (vec![T::of(0.0); self.rows], self.logits.clone());
        let shape = ClassShape::rows(self.rows, self.classes);
        let options = Options::new().reduction(Reduction::None);
        let outputs = Outputs::new().loss(&mut loss).grad(&mut grad);
        let targets = Targets::I64(&self.targets);
        CrossEntropy::new().eval(context, shape, &self.logits, targets, Weights::new(), &options, outputs).unwrap();
        (loss, grad)
    }
}

fn one() -> Context {
    Context::with_threads(1)
}

fn finish<T: Float>(states: &[SoftmaxState]) -> (Vec<T>, Vec<T>) {
    let mut out = (vec![T::of(7.0); states.len()], vec![T::of(7.0); states.len()]);
    SoftmaxState::finish(states, &one(), Some(&mut out.0), Some(&mut out.1)).unwrap();
    out
}

/// Any cut into pieces, in any order; some are empty.
fn pieces(classes: usize, most: usize, random: &mut Random) -> Vec<Piece> {
    let mut cuts: Vec<usize> = (0..random.below(most)).map(|_| random.below(classes + 1)).collect();
    cuts.extend([0, classes]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|cut| (cut[0], cut[1] - cut[0])).collect();
    shuffled(pieces, random)
}

fn shuffled<X>(mut all: Vec<X>, random: &mut Random) -> Vec<X> {
    for i in (1..all.len()).rev() {
        all.swap(i, random.below(i + 1));
    }
    all
}

/// Numbers of the type between both.
fn steps_apart<T: Float>(a: T, b: T) -> f64 {
    (a.wide() - b.wide()).abs() / ulp::<T>(a.wide().abs().min(b.wide().abs()))
}

/// Loss within 2 units of the whole's and 3 of the exact one, gradient within 4 of the exact one.
#[track_caller]
fn check<T: Float>(rows: &Rows<T>, states: &[SoftmaxState], pieces: &[Piece], what: &str) -> [f64; 2] {
    let (loss, lse) = finish::<T>(states);
    let (whole, _) = rows.whole(&one());
    let grad = rows.grad(&one(), states, pieces, 1.0);
    let mut worst = [0.0f64; 2];
    for row in 0..rows.rows {
        let logits = &rows.logits[row * rows.classes..][..rows.classes];
        let target = rows.targets[row] as usize;
        let distribution = Distribution::of(logits);
        let log = distribution.rest.ln_1p();
        let exact = distribution.below[target] + log;
        let off = ulps_off(loss[row], exact, exact.hi);
        assert!(off <= 3.0, "{what}: loss {row} is {:e}, {off} off {:e}", loss[row].wide(), exact.hi);
        let apart = steps_apart(loss[row], whole[row]);
        assert!(apart <= 2.0, "{what}: loss {row} is {:e}, the whole's {:e}", loss[row].wide(), whole[row].wide());
        let max = Exact::of(logits[distribution.first].wide());
        let off = ulps_off(lse[row], max + log, max.abs().max(log).max((max + log).abs()).hi);
        assert!(off <= 1.5, "{what}: lse {row} is {:e}, {off} off {:e}", lse[row].wide(), (max + log).hi);
        worst[0] = worst[0].max(apart);
        for class in 0..rows.classes {
            let want = if class == target { -distribution.not_p(class) } else { distribution.p(class) };
            let got = grad[row * rows.classes + class];
            let off = ulps_off(got, want, want.hi);
            assert!(off <= 4.0, "{what}: gradient {row}, {class} is {:e}, {off} off {:e}", got.wide(), want.hi);
            worst[1] = worst[1].max(off);
        }
    }
    worst
}

fn any_partition<T: Float>(classes: usize, rows: usize, tries: u64) {
    for (i, family) in CLASS_FAMILIES.iter().enumerate() {
        let call = family.rows::<T>(classes, rows, i as u64);
        let Loss::CrossEntropy { goal: Goal::I64(targets), .. } = call.loss else { unreachable!() };
        let rows = Rows::new(call.input, targets);
        for seed in 0..tries {
            let random = &mut Random(seed);
            let most = [2, 5, 40][random.below(3)];
            let pieces = pieces(classes, most, random);
            let states = rows.merged(&one(), &pieces, random);
            check(&rows, &states, &pieces, &format!("{}, {classes} classes, seed {seed}", call.name));
        }
    }
}

#[test]
fn any_partition_merged_in_any_tree_gives_the_whole() {
    for (classes, rows, tries) in [(2, 40, 4), (10, 40, 8), (1000, 17, 4), (9000, 2, 2)] {
        any_partition::<f32>(classes, rows, tries);
        any_partition::<f64>(classes, rows, tries);
    }
}

/// Thousands of merges, each of which finds a new maximum, or none: nothing adds up.
#[test]
fn classes_one_by_one_give_the_whole() {
    fn check_order<T: Float>(step: f64) {
        let classes = 2000;
        let ascending: Vec<f64> = (0..classes).map(|class| 1.0 + step * class as f64).collect();
        let rows = Rows::new(all_of::<T>(&ascending), vec![1500]);
        let pieces: Vec<Piece> = (0..classes).map(|class| (class, 1)).collect();
        for backwards in [false, true] {
            let order = if backwards { pieces.iter().copied().rev().collect() } else { pieces.clone() };
            let mut states = rows.empty();
            order.iter().for_each(|&piece| rows.update(&one(), &mut states, piece));
            check(&rows, &states, &order, &format!("{} by {step}, backwards: {backwards}", T::NAME));
        }
    }
    for step in [0.001, 0.3, 0.0] {
        check_order::<f32>(step);
        check_order::<f64>(step);
    }
}

#[test]
fn logits_of_any_size_can_be_cut() {
    fn sizes<T: Float>(numbers: &[f64]) {
        let rows = Rows::new(all_of::<T>(numbers), vec![numbers.len() as i64 - 1]);
        for seed in 0..6 {
            let random = &mut Random(seed);
            let pieces = shuffled((0..numbers.len()).map(|class| (class, 1)).collect(), random);
            let states = rows.merged(&one(), &pieces, random);
            check(&rows, &states, &pieces, &format!("{} {numbers:?}", T::NAME));
        }
    }
    let far = 1_099_511_627_776.0; // 2^40
    sizes::<f64>(&[far, far - 0.5, far + 0.25, far - 1.0]);
    sizes::<f64>(&[-far, -far + 0.5, -far - 0.25, -far - 1.0]);
    sizes::<f64>(&[1e300, 1e300, 1.0, -1e300]);
    sizes::<f64>(&[far * 4096.0, far * 4096.0 - 1.0, far * 4096.0 - 3.0]);
    sizes::<f32>(&[1e38, 1e38, 1.0, -1e38]);
    sizes::<f32>(&[65_536.0, 65_535.992, 65_535.0, 65_536.008]);
    // exponentials near and below the smallest numbers
    sizes::<f64>(&[-690.0, 0.0, -700.5, -695.0]);
    sizes::<f64>(&[-743.5, 0.0, -744.25]);
    sizes::<f32>(&[-101.5, 0.0, -102.25, -100.0]);
    sizes::<f32>(&[-5e-30, 3e-39, 0.0]);
}

#[test]
fn a_row_in_one_piece_has_the_bits_of_cross_entropy_in_f64() {
    for classes in [2, 128, 129, 1000, 5000] {
        let rows = Rows::<f64>::random(20, classes, classes as u64);
        let mut states = rows.empty();
        rows.update(&one(), &mut states, (0, classes));
        let (loss, _) = finish(&states);
        let apart = rows.whole(&one()).0.iter().zip(&loss).filter(|(a, b)| a != b).count();
        // what rest was rounded to differs by 2^-104 of it
        assert!(apart <= 1, "{classes}: {apart} of 20 losses differ");
    }
}

fn words(states: &[SoftmaxState]) -> Vec<u64> {
    let count = size_of_val(states) / size_of::<f64>();
    // SAFETY: so many numbers, repr(C)
    let numbers = unsafe { std::slice::from_raw_parts(states.as_ptr().cast::<f64>(), count) };
    bits(numbers)
}

#[test]
fn merging_commutes_to_the_bit() {
    fn commutes<T: Float>(logits: &[f64], cut: usize) {
        let rows = Rows::new(all_of::<T>(logits), vec![0]);
        let [mut a, mut b] = [(0, cut), (cut, rows.classes - cut)].map(|piece| {
            let mut states = rows.empty();
            rows.update(&one(), &mut states, piece);
            states
        });
        let (a_before, b_before) = (a.clone(), b.clone());
        SoftmaxState::merge_all(&mut a, &one(), &b_before).unwrap();
        SoftmaxState::merge_all(&mut b, &one(), &a_before).unwrap();
        assert_eq!(words(&a), words(&b), "{} {logits:?} cut at {cut}", T::NAME);
    }
    let random = &mut Random(3);
    for case in 0..2000 {
        let specials = [f64::NEG_INFINITY, f64::INFINITY, f64::NAN, 0.0, -0.0, 1e30, 5.0];
        let logits: Vec<f64> = (0..2 + random.below(40))
            .map(|_| match random.below(4) {
                0 => specials[random.below(if case % 3 == 0 { specials.len() } else { 1 })],
                // equal maxima in both halves
                1 => 5.0,
                _ => random.number(5.0),
            })
            .collect();
        let cut = random.below(logits.len() + 1);
        commutes::<f32>(&logits, cut);
        commutes::<f64>(&logits, cut);
    }
}

#[test]
fn merging_is_associative() {
    fn associates<T: Float>() {
        for seed in 0..200 {
            let rows = Rows::<T>::random(3, 30, seed);
            let [a, b, c] = [(0, 7), (7, 13), (20, 10)].map(|piece| {
                let mut states = rows.empty();
                rows.update(&one(), &mut states, piece);
                states
            });
            let merge = |a: &[SoftmaxState], b: &[SoftmaxState]| {
                let mut all = a.to_vec();
                SoftmaxState::merge_all(&mut all, &one(), b).unwrap();
                all
            };
            let left = finish::<T>(&merge(&merge(&a, &b), &c)).0;
            let right = finish::<T>(&merge(&a, &merge(&b, &c))).0;
            let apart = left.iter().zip(&right).map(|(&a, &b)| steps_apart(a, b)).fold(0.0, f64::max);
            assert!(apart <= 1.0, "{} seed {seed}: {apart}", T::NAME);
        }
    }
    associates::<f32>();
    associates::<f64>();
}

#[test]
fn bits_do_not_depend_on_threads_or_instruction_set() {
    fn same<T: Float>(rows: usize, classes: usize) {
        let mut rows = Rows::<T>::random(rows, classes, 11);
        for (at, special) in [(3, f64::NEG_INFINITY), (classes + 5, f64::NAN), (2 * classes + 1, f64::INFINITY)] {
            rows.logits[at] = T::of(special);
        }
        let pieces = pieces(classes, 6, &mut Random(5));
        let run = |context: &Context| {
            let states = rows.merged(context, &pieces, &mut Random(1));
            let grad = rows.grad(context, &states, &pieces, 0.3);
            let mut out = (vec![T::of(7.0); rows.rows], vec![T::of(7.0); rows.rows]);
            SoftmaxState::finish(&states, context, Some(&mut out.0), Some(&mut out.1)).unwrap();
            (words(&states), bits(&grad), bits(&out.0), bits(&out.1))
        };
        let want = run(&one());
        for threads in [2, 3, 8] {
            assert!(run(&Context::with_threads(threads)) == want, "{} on {threads} threads", T::NAME);
        }
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            assert!(run(&Context::with_threads(1).cap_isa(isa)) == want, "{} with {}", T::NAME, isa.name());
        }
    }
    same::<f32>(7, 30_011);
    same::<f64>(7, 30_011);
    same::<f32>(1500, 301);
    same::<f64>(1500, 301);
}

#[test]
fn special_values_mean_what_they_mean_to_cross_entropy() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let cases: [&[f64]; 12] = [
        &[-inf, 1.0, 2.0],
        &[1.0, -inf, -inf],
        &[-inf, -inf, -inf],
        &[inf, 1.0, 2.0],
        &[1.0, inf, 2.0],
        &[inf, inf, 2.0],
        &[nan, 1.0, 2.0],
        &[1.0, nan, 2.0],
        &[inf, nan, -inf],
        &[-inf, inf, -inf],
        &[0.0, -0.0, -0.0],
        &[1.0, 1.0, 1.0],
    ];
    fn check_case<T: Float>(case: &[f64]) {
        let rows = Rows::new(all_of::<T>(case), vec![0]);
        let (loss, grad) = rows.whole(&one());
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut states = rows.empty();
            order.iter().for_each(|&class| rows.update(&one(), &mut states, (class, 1)));
            let what = format!("{} {case:?} in order {order:?}", T::NAME);
            let got = finish::<T>(&states);
            let is_close = |a: T, b: T| a.bits() == b.bits() || steps_apart(a, b) <= 2.0;
            assert!(is_close(got.0[0], loss[0]), "{what}: {:e}, not {:e}", got.0[0].wide(), loss[0].wide());
            let got = rows.grad(&one(), &states, &[(0, 1), (1, 2)], 1.0);
            for (got, want) in got.iter().zip(&grad) {
                assert!(is_close(*got, *want), "{what}: gradient {:e}, not {:e}", got.wide(), want.wide());
            }
        }
    }
    for case in cases {
        check_case::<f32>(case);
        check_case::<f64>(case);
    }
}

#[test]
fn lse_of_special_rows() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for (logits, want) in [
        (vec![], -inf),
        (vec![-inf, -inf], -inf),
        (vec![inf, 3.0], inf),
        (vec![nan, 3.0], nan),
        (vec![inf, inf], nan),
        (vec![0.0; 4], 4f64.ln()),
    ] {
        let mut states = [SoftmaxState::new()];
        let chunk = ClassChunk::new(1, logits.len(), 0);
        SoftmaxState::update(&mut states, &one(), chunk, &logits, None).unwrap();
        let mut lse = [7.0];
        SoftmaxState::finish(&states, &one(), None, Some(&mut lse)).unwrap();
        assert_same_bits(&lse, &[want], &format!("{logits:?}"));
    }
}

#[test]
fn ignored_rows_are_not_read_and_give_zeros() {
    let logits = [f32::NAN, f32::NAN, 1.0, 2.0, f32::INFINITY, f32::INFINITY];
    let targets = [-7, 1, -7];
    let chunk = |first| ClassChunk::new(3, 1, first).ignore_index(-7).row_stride(2);
    let mut states = [SoftmaxState::new(); 3];
    for class in 0..2 {
        let targets = Some(Indices::I32(&targets));
        SoftmaxState::update(&mut states, &one(), chunk(class), &logits[class..], targets).unwrap();
    }
    let (mut loss, mut lse) = ([7.0f32; 3], [7.0f32; 3]);
    SoftmaxState::finish(&states, &one(), Some(&mut loss), Some(&mut lse)).unwrap();
    assert_eq!(loss, [0.0, (-1f64).exp().ln_1p() as f32, 0.0]);
    assert_eq!(lse, [f32::NEG_INFINITY, (2.0 + (-1f64).exp().ln_1p()) as f32, f32::NEG_INFINITY]);
    let mut grad = [7.0f32; 6];
    let p = 1.0 / (1.0 + 1f64.exp());
    let targets = Some(Indices::I32(&targets));
    SoftmaxState::grad(&states, &one(), chunk(0), &logits, targets, None, 1.0, &mut grad).unwrap();
    // what lies between the rows is not touched
    assert_eq!(grad, [0.0, 7.0, p as f32, 7.0, 0.0, 7.0]);
}

#[test]
fn gradients_take_weights_and_scale() {
    let rows = Rows::<f64>::random(5, 12, 4);
    let mut states = rows.empty();
    rows.update(&one(), &mut states, (0, 12));
    let plain = rows.grad(&one(), &states, &[(0, 12)], 1.0);
    let weights = [0.0, 1.0, -0.5, 2.0, 4.0];
    let mut grad = rows.logits.clone();
    let (chunk, targets) = (ClassChunk::new(5, 12, 0), Some(Indices::I64(&rows.targets)));
    SoftmaxState::grad(&states, &one(), chunk, &rows.logits, targets, Some(&weights), 0.25, &mut grad).unwrap();
    for (i, (got, plain)) in grad.iter().zip(&plain).enumerate() {
        // powers of two: exact
        assert_eq!(*got, 0.25 * weights[i / 12] * plain);
    }
    // without targets: the gradient of lse, which sums up to 1
    SoftmaxState::grad(&states, &one(), chunk, &rows.logits, None, None, 1.0, &mut grad).unwrap();
    for row in grad.chunks(12) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-15 && row.iter().all(|&p| p > 0.0));
    }
}

/// Factors and weights that f32 has no number for, or whose product it has none for: as f64 has them.
#[test]
fn gradients_are_rounded_once_whatever_the_factor() {
    let rows = Rows::<f32>::random(4, 40, 6);
    let logits: Vec<f64> = rows.logits.iter().map(|&x| f64::from(x)).collect();
    let class_weight: [f32; 40] = core::array::from_fn(|class| [1.0, 1e-40, 2.5, 1e38][class % 4]);
    let wide_class_weight = class_weight.map(f64::from);
    let (chunk, targets) = (ClassChunk::new(4, 40, 0), Some(Indices::I64(&rows.targets)));
    for (scale, weights) in
        [(1e40, [1.0f32; 4]), (1e-42, [3.0; 4]), (1e-30, [1e38; 4]), (1e60, [1e-42, 1e-30, 1.0, 0.0])]
    {
        let wide_weights = weights.map(f64::from);
        let plain = ChunkedCrossEntropy::new();
        for (how, has_class_weight) in [(plain, false), (plain, true), (plain.label_smoothing(0.1), false)] {
            let (class_weight, wide_class_weight) =
                if has_class_weight { (Some(&class_weight[..]), Some(&wide_class_weight[..])) } else { (None, None) };
            let (mut states, mut want) = (rows.empty(), vec![0.0f64; 160]);
            how.update(&mut states, &one(), chunk, &logits, targets, wide_class_weight).unwrap();
            let w = Some(&wide_weights[..]);
            how.grad(&states, &one(), chunk, &logits, targets, wide_class_weight, w, scale, &mut want).unwrap();
            let (mut states, mut grad) = (rows.empty(), vec![7.0f32; 160]);
            how.update(&mut states, &one(), chunk, &rows.logits, targets, class_weight).unwrap();
            let w = Some(&weights[..]);
            how.grad(&states, &one(), chunk, &rows.logits, targets, class_weight, w, scale, &mut grad).unwrap();
            if how != plain {
                // opposed terms make what f64 has another number of digits: the same without these factors
                let mut plain = vec![7.0f32; 160];
                how.grad(&states, &one(), chunk, &rows.logits, targets, class_weight, None, 1.0, &mut plain).unwrap();
                for (i, want) in want.iter_mut().enumerate() {
                    *want = f64::from(plain[i]) * scale * f64::from(weights[i / 40]);
                }
            }
            let largest = want.iter().fold(0.0f64, |most, want| most.max(want.abs()));
            for (got, want) in grad.iter().zip(want) {
                // (roundings of opposed terms are apart by those of the larger)
                let size = if how == plain { want.abs() } else { largest };
                let is_near = (f64::from(*got) - want).abs() <= 4.0 * f64::from(f32::EPSILON) * size + 1e-45;
                assert!(is_near || *got == want as f32, "{how:?} {scale:e} {weights:?}: {got:e}, not {want:e}");
            }
        }
    }
}

#[test]
fn merging_one_by_one_is_merging_all() {
    let rows = Rows::<f32>::random(40, 9, 5);
    let [mut a, b] = [(0, 4), (4, 5)].map(|piece| {
        let mut states = rows.empty();
        rows.update(&one(), &mut states, piece);
        states
    });
    let singly: Vec<_> = a
        .iter()
        .zip(&b)
        .map(|(&a, b)| {
            let mut a = a;
            a.merge(b);
            a
        })
        .collect();
    SoftmaxState::merge_all(&mut a, &one(), &b).unwrap();
    assert_eq!(words(&singly), words(&a));
}

#[test]
fn wrong_arguments_are_refused_and_nothing_is_written() {
    let context = one();
    let logits = [1.0f32, 2.0, 3.0, 4.0];
    let mut states = [SoftmaxState::new(); 2];
    let untouched = states;
    let chunk = ClassChunk::new(2, 2, 4);
    let mut update = |chunk, logits: &[f32], targets: &[i64]| {
        let error = SoftmaxState::update(&mut states, &context, chunk, logits, Some(Indices::I64(targets)));
        assert_eq!(states, untouched);
        error.unwrap_err().to_string()
    };
    assert_eq!(update(chunk, &logits[..3], &[0, 0]), "logits has 3 elements, 4 are needed");
    assert_eq!(update(chunk, &logits, &[0]), "targets has 1 elements, 2 are needed");
    assert_eq!(update(ClassChunk::new(1, 4, 0), &logits, &[0]), "states has 2 elements, 1 are needed");
    assert_eq!(update(chunk, &logits, &[0, -1]), "target -1 at row 1 must not be negative");
    assert_eq!(
        update(chunk.row_stride(1), &logits, &[0, 0]),
        "outer stride 1 and class stride 1 let elements coincide"
    );
    let end = ClassChunk::new(2, 2, usize::MAX - 1);
    assert_eq!(update(end, &logits, &[0, 0]), "chunk would take more bytes than an address can count");

    SoftmaxState::update(&mut states, &context, chunk, &logits, Some(Indices::U8(&[5, 0]))).unwrap();
    let mut loss = [7.0f32; 2];
    let mut finish = |states: &[SoftmaxState]| {
        let error = SoftmaxState::finish(states, &context, Some(&mut loss[..states.len()]), None).unwrap_err();
        assert_eq!(loss, [7.0; 2]);
        error
    };
    assert_eq!(finish(&states), Error::IncompleteState { row: 1, times: 0.0 });
    let mut twice = states;
    twice[0].merge(&states[0]);
    let error = finish(&twice);
    assert_eq!(error.to_string(), "the target of row 0 was seen 2 times, not once");
    assert_eq!(error.status(), -16);
    assert_eq!(
        SoftmaxState::merge_all(&mut twice, &context, &states[..1]).unwrap_err().to_string(),
        "from has 1 elements, 2 are needed"
    );
    let mut grad = [7.0f32; 4];
    let targets = Some(Indices::U8(&[5, 4]));
    let error = SoftmaxState::grad(&states, &context, chunk, &logits, targets, None, f64::NAN, &mut grad).unwrap_err();
    assert_eq!(error.to_string(), "grad_scale is NaN");
    let error =
        SoftmaxState::grad(&states, &context, chunk, &logits, targets, Some(&[1.0]), 1.0, &mut grad).unwrap_err();
    assert_eq!(error.to_string(), "row_weight has 1 elements, 2 are needed");
    let error = SoftmaxState::grad(&states, &context, chunk, &logits, targets, None, 1.0, &mut grad[1..]).unwrap_err();
    assert_eq!(error.to_string(), "grad has 3 elements, 4 are needed");
    assert_eq!(grad, [7.0; 4]);
}
