//! Cross-entropy of classes in pieces with label smoothing, class weights, z-loss and soft cap: what whole rows give,
//! whatever the pieces and the order they are merged in.

mod common;

use common::call::{Call, Goal, Loss, Shape, spread};
use common::reference::reference;
use common::{Float, Random, assert_same_bits, ulp, ulps_off};
use losskit::{
    ChunkedCrossEntropy, ClassChunk, ClassShape, Context, CrossEntropy, Error, Indices, Isa, Options, Outputs,
    Reduction, SoftmaxState, Targets, Weights,
};

/// Rows of logits, with a loss of whole rows and the same of pieces.
struct Rows<T> {
    name: String,
    shape: Shape,
    logits: Vec<T>,
    targets: Vec<i64>,
    class: Option<Vec<T>>,
    row: Vec<T>,
    whole: CrossEntropy,
    loss: ChunkedCrossEntropy,
}

/// First class and number of classes.
type Piece = (usize, usize);

fn one() -> Context {
    Context::with_threads(1)
}

/// A cut into pieces, some of which are empty, in any order.
fn pieces(classes: usize, random: &mut Random) -> Vec<Piece> {
    let mut cuts: Vec<usize> = (0..random.below(8)).map(|_| random.below(classes + 1)).collect();
    cuts.extend([0, classes]);
    cuts.sort_unstable();
    let mut pieces: Vec<Piece> = cuts.windows(2).map(|cut| (cut[0], cut[1] - cut[0])).collect();
    for i in (1..pieces.len()).rev() {
        pieces.swap(i, random.below(i + 1));
    }
    pieces
}

impl<T: Float> Rows<T> {
    /// The target leads by up to 100 in most rows, another class in some.
    fn new(rows: usize, classes: usize, seed: u64) -> Self {
        let (shape, random) = (Shape::rows(rows, classes), &mut Random(seed));
        let mut targets = random.indices(rows, classes);
        let mut logits: Vec<T> = spread(shape, || T::of(random.number(6.0)));
        for (sample, &target) in targets.iter().enumerate().filter(|(sample, _)| sample % 3 != 0) {
            let leads = if sample % 4 == 1 { random.below(classes) } else { target as usize };
            logits[shape.at(sample, leads)] = T::of(6.0 + 10f64.powf(3.0 * random.unit() - 1.0));
        }
        targets.iter_mut().skip(5).step_by(9).for_each(|target| *target = -100);
        let row = random.weights(rows);
        let (whole, loss) = (CrossEntropy::new(), ChunkedCrossEntropy::new());
        Rows { name: T::NAME.to_owned(), shape, logits, targets, class: None, row, whole, loss }
    }

    fn weighted(self, seed: u64) -> Self {
        let class = Some(Random(seed).weights(self.shape.classes));
        Rows { name: format!("{} weighted", self.name), class, ..self }
    }

    fn smoothed(self, share: f64) -> Self {
        let (whole, loss) = (self.whole.label_smoothing(share), self.loss.label_smoothing(share));
        Rows { name: format!("{} smoothing {share:e}", self.name), whole, loss, ..self }
    }

    fn with_z_loss(self, factor: f64) -> Self {
        let (whole, loss) = (self.whole.z_loss(factor), self.loss.z_loss(factor));
        Rows { name: format!("{} z {factor:e}", self.name), whole, loss, ..self }
    }

    fn capped(self, cap: f64) -> Self {
        let (whole, loss) = (self.whole.soft_cap(cap), self.loss.soft_cap(cap));
        Rows { name: format!("{} cap {cap}", self.name), whole, loss, ..self }
    }

    fn piece(&self, (first, len): Piece) -> Vec<T> {
        self.logits.chunks(self.shape.classes).flat_map(|row| row[first..first + len].to_vec()).collect()
    }

    fn class_piece(&self, (first, len): Piece) -> Option<&[T]> {
        self.class.as_ref().map(|class| &class[first..first + len])
    }

    fn chunk(&self, (first, len): Piece) -> ClassChunk {
        ClassChunk::new(self.shape.outer, len, first)
    }

    /// Each piece in states of its own, or in those of another; merged two by two as they come.
    fn merged(&self, context: &Context, pieces: &[Piece], random: &mut Random) -> Vec<SoftmaxState> {
        let mut all: Vec<Vec<SoftmaxState>> = vec![vec![SoftmaxState::new(); self.shape.outer]];
        for &piece in pieces {
            if random.below(2) == 0 {
                all.push(vec![SoftmaxState::new(); self.shape.outer]);
            }
            let at = random.below(all.len());
            let (targets, class) = (Some(Indices::I64(&self.targets)), self.class_piece(piece));
            let logits = self.piece(piece);
            self.loss.update(&mut all[at], context, self.chunk(piece), &logits, targets, class).unwrap();
        }
        while all.len() > 1 {
            let from = all.swap_remove(random.below(all.len()));
            let into = random.below(all.len());
            SoftmaxState::merge_all(&mut all[into], context, &from).unwrap();
        }
        all.pop().unwrap()
    }

    fn losses(&self, context: &Context, states: &[SoftmaxState]) -> [Vec<T>; 2] {
        let [mut loss, mut lse] = [vec![T::of(7.0); states.len()], vec![T::of(7.0); states.len()]];
        self.loss.finish(states, context, Some(&mut loss), Some(&mut lse)).unwrap();
        [loss, lse]
    }

    /// In place, and by the other form the same.
    fn grad(&self, context: &Context, states: &[SoftmaxState], pieces: &[Piece]) -> Vec<T> {
        let mut whole = vec![T::of(7.0); self.logits.len()];
        for &piece in pieces {
            let (chunk, class, targets) =
                (self.chunk(piece), self.class_piece(piece), Some(Indices::I64(&self.targets)));
            let logits = self.piece(piece);
            let mut grad = logits.clone();
            let (row, loss) = (Some(&self.row[..]), &self.loss);
            loss.grad_in_place(states, context, chunk, &mut grad, targets, class, row, 0.75).unwrap();
            let mut apart = vec![T::of(7.0); grad.len()];
            loss.grad(states, context, chunk, &logits, targets, class, row, 0.75, &mut apart).unwrap();
            assert_same_bits(&grad, &apart, &self.name);
            for (row, grad) in grad.chunks(piece.1.max(1)).enumerate() {
                whole[row * self.shape.classes + piece.0..][..piece.1].copy_from_slice(grad);
            }
        }
        whole
    }

    /// Losses and gradients of whole rows, times row weights and scale as the pieces'.
    fn of_whole_rows(&self) -> [Vec<T>; 2] {
        let (mut loss, mut grad) = (vec![T::of(0.0); self.shape.outer], vec![T::of(0.0); self.logits.len()]);
        let options = Options::new().reduction(Reduction::None).grad_scale(0.75);
        let eval = |weights, outputs| {
            let (shape, targets) = (self.shape.class_shape(), Targets::I64(&self.targets));
            self.whole.eval(&one(), shape, &self.logits, targets, weights, &options, outputs).unwrap();
        };
        let weights = || self.class.as_ref().map_or(Weights::new(), |class| Weights::new().class(class));
        eval(weights(), Outputs::new().loss(&mut loss));
        eval(weights().row(&self.row), Outputs::new().grad(&mut grad));
        [loss, grad]
    }

    /// Within 2 units in the last place of the whole rows' losses; losses within 3 of the exact ones and gradients within 4 of
    /// their opposed terms.
    fn check(&self, smoothing: f64, z: f64) {
        for seed in 0..4 {
            let random = &mut Random(seed);
            let pieces = pieces(self.shape.classes, random);
            let states = self.merged(&one(), &pieces, random);
            let [loss, _] = self.losses(&one(), &states);
            let grad = self.grad(&one(), &states, &pieces);
            let of = |row: Option<Vec<T>>| Call {
                name: self.name.clone(),
                input: self.logits.clone(),
                loss: Loss::CrossEntropy {
                    smoothing,
                    z,
                    ignore: -100,
                    shape: self.shape,
                    goal: Goal::I64(self.targets.clone()),
                    class: self.class.clone(),
                    row,
                },
            };
            let (exact, exact_grad) = (reference(&of(None)).loss, reference(&of(Some(self.row.clone()))).grad);
            let [whole, _] = self.of_whole_rows();
            for (row, (got, want)) in loss.iter().zip(&exact).enumerate() {
                let off = ulps_off(*got, want.value, want.scale);
                assert!(off <= 3.0, "{} seed {seed}: loss {row} is {got:e}, {off} off {:e}", self.name, want.value.hi);
                let apart = (got.wide() - whole[row].wide()).abs() / ulp::<T>(want.scale);
                assert!(apart <= 2.0, "{} seed {seed}: loss {row} is {got:e}, the whole's {:e}", self.name, whole[row]);
            }
            for (at, (got, want)) in grad.iter().zip(&exact_grad).enumerate() {
                let (value, scale) = (want.value * common::exact::Exact::of(0.75), want.scale * 0.75);
                let off = ulps_off(*got, value, scale);
                let name = &self.name;
                assert!(off <= 4.0, "{name} seed {seed}: gradient {at} is {got:e}, {off} off {:e}", value.hi);
            }
        }
    }
}

const SIZES: [(usize, usize); 5] = [(40, 1), (40, 2), (40, 10), (17, 1000), (2, 9000)];

fn check_all<T: Float>() {
    for (seed, (rows, classes)) in SIZES.into_iter().enumerate() {
        let rows = || Rows::<T>::new(rows, classes, seed as u64);
        rows().weighted(3).check(0.0, 0.0);
        for share in [1e-9, 0.1, 0.625, 1.0] {
            rows().smoothed(share).check(share, 0.0);
            rows().weighted(4).smoothed(share).check(share, 0.0);
        }
        rows().with_z_loss(0.01).check(0.0, 0.01);
        rows().weighted(5).with_z_loss(0.01).check(0.0, 0.01);
        rows().weighted(6).smoothed(0.1).with_z_loss(0.01).check(0.1, 0.01);
    }
}

#[test]
fn pieces_of_f32_give_what_whole_rows_give() {
    check_all::<f32>();
}
#[test]
fn pieces_of_f64_give_what_whole_rows_give() {
    check_all::<f64>();
}

/// Thousands of merges: nothing adds up.
#[test]
fn classes_one_by_one_give_the_whole() {
    fn one_by_one<T: Float>() {
        let rows = Rows::<T>::new(3, 2000, 8).weighted(2).smoothed(0.1);
        let pieces: Vec<Piece> = (0..2000).map(|class| (class, 1)).collect();
        let mut states = vec![SoftmaxState::new(); 3];
        for &piece in &pieces {
            let (targets, class) = (Some(Indices::I64(&rows.targets)), rows.class_piece(piece));
            let chunk = rows.chunk(piece);
            rows.loss.update(&mut states, &one(), chunk, &rows.piece(piece), targets, class).unwrap();
        }
        let ([loss, _], [whole, _]) = (rows.losses(&one(), &states), rows.of_whole_rows());
        for (got, want) in loss.iter().zip(&whole) {
            assert!((got.wide() - want.wide()).abs() <= 2.0 * ulp::<T>(want.wide()), "{got:e}, not {want:e}");
        }
    }
    one_by_one::<f32>();
    one_by_one::<f64>();
}

#[test]
fn capped_logits_are_near_those_of_whole_rows() {
    fn capped<T: Float>(smoothing: f64, z: f64) {
        for (rows, classes) in SIZES {
            let cap = 5.0;
            let rows = Rows::<T>::new(rows, classes, 9).weighted(2).smoothed(smoothing).with_z_loss(z).capped(cap);
            let random = &mut Random(5);
            let pieces = pieces(classes, random);
            let states = rows.merged(&one(), &pieces, random);
            let ([loss, _], [whole, whole_grad]) = (rows.losses(&one(), &states), rows.of_whole_rows());
            for (got, want) in loss.iter().zip(&whole) {
                // of the largest logits that there are, and of what they add to a z-loss
                let bound = T::EPSILON * (4.0 * want.wide().abs() + 8.0 * cap + 16.0 * z * cap * 20.0);
                assert!((got.wide() - want.wide()).abs() <= bound, "{} {got:e}, not {want:e}", rows.name);
            }
            for (got, want) in rows.grad(&one(), &states, &pieces).iter().zip(&whole_grad) {
                let bound = T::EPSILON * 16.0 * (1.0 + cap) * want.wide().abs().max(0.05);
                assert!((got.wide() - want.wide()).abs() <= bound, "{} {got:e}, not {want:e}", rows.name);
            }
        }
    }
    for (smoothing, z) in [(0.0, 0.0), (0.1, 0.0), (0.1, 0.01)] {
        capped::<f32>(smoothing, z);
        capped::<f64>(smoothing, z);
    }
}

#[test]
fn special_logits_mean_what_they_mean_to_cross_entropy() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let cases: [[f64; 3]; 8] = [
        [-inf, 1.0, 2.0],
        [1.0, -inf, 2.0],
        [-inf, -inf, -inf],
        [inf, 1.0, 2.0],
        [1.0, inf, 2.0],
        [nan, 1.0, 2.0],
        [1.0, nan, 2.0],
        [3e38, -3e38, 0.0],
    ];
    fn check<T: Float>(case: [f64; 3], class: Option<[f64; 3]>, smoothing: f64) {
        let mut rows = Rows::<T>::new(1, 3, 1).smoothed(smoothing);
        rows.logits = case.map(T::of).to_vec();
        (rows.targets, rows.row) = (vec![0], vec![T::of(1.0)]);
        rows.class = class.map(|class| class.map(T::of).to_vec());
        let [loss, grad] = rows.of_whole_rows();
        for pieces in [[(0, 1), (1, 1), (2, 1)], [(2, 1), (1, 1), (0, 1)], [(0, 3), (3, 0), (3, 0)]] {
            let states = rows.merged(&one(), &pieces, &mut Random(1));
            let what = format!("{} {case:?} {class:?} in {pieces:?}", rows.name);
            let near = |a: T, b: T| a.bits() == b.bits() || (a.wide() - b.wide()).abs() <= 4.0 * ulp::<T>(b.wide());
            let [got, _] = rows.losses(&one(), &states);
            assert!(near(got[0], loss[0]), "{what}: {:e}, not {:e}", got[0], loss[0]);
            for (got, want) in rows.grad(&one(), &states, &pieces).iter().zip(&grad) {
                assert!(near(*got, *want), "{what}: gradient {got:e}, not {want:e}");
            }
        }
    }
    for case in cases {
        for class in [None, Some([1.0, 2.0, 0.5]), Some([1.0, 0.0, 0.5])] {
            for smoothing in [0.0, 0.25] {
                check::<f32>(case, class, smoothing);
                check::<f64>(case, class, smoothing);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads_or_instruction_set() {
    fn same<T: Float>() {
        let rows = Rows::<T>::new(700, 301, 4).weighted(2).smoothed(0.1).with_z_loss(0.01).capped(30.0);
        let pieces = pieces(301, &mut Random(3));
        let run = |context: &Context| {
            let states = rows.merged(context, &pieces, &mut Random(1));
            let [loss, lse] = rows.losses(context, &states);
            [loss, lse, rows.grad(context, &states, &pieces)]
        };
        let want = run(&one());
        let others = Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(|isa| one().cap_isa(isa));
        for context in others.chain([Context::with_threads(2), Context::with_threads(3)]) {
            for (got, want) in run(&context).iter().zip(&want) {
                assert_same_bits(got, want, &format!("{} {context:?}", rows.name));
            }
        }
    }
    same::<f32>();
    same::<f64>();
}

#[test]
fn merging_commutes_to_the_bit() {
    for seed in 0..200 {
        let rows = Rows::<f32>::new(4, 30, seed).weighted(seed).smoothed(0.1);
        let cut = seed as usize % 31;
        let [a, b] = [(0, cut), (cut, 30 - cut)].map(|piece| rows.merged(&one(), &[piece], &mut Random(1)));
        let [mut there, mut back] = [a.clone(), b.clone()];
        SoftmaxState::merge_all(&mut there, &one(), &b).unwrap();
        SoftmaxState::merge_all(&mut back, &one(), &a).unwrap();
        assert_eq!(there, back, "seed {seed}");
    }
}

#[test]
fn the_mean_divides_by_the_targets_weights() {
    let rows = Rows::<f64>::new(40, 10, 3).weighted(7).smoothed(0.1);
    let states = rows.merged(&one(), &[(0, 4), (4, 6)], &mut Random(2));
    let [loss, _] = rows.losses(&one(), &states);
    let weights: f64 = states.iter().map(SoftmaxState::target_weight).sum();
    let class = rows.class.as_ref().unwrap();
    let want: f64 = rows.targets.iter().filter(|target| **target >= 0).map(|&target| class[target as usize]).sum();
    assert!((weights - want).abs() < 1e-12);
    let mut mean = [0.0];
    let (shape, targets, weights_of) =
        (ClassShape::rows(40, 10), Targets::I64(&rows.targets), Weights::new().class(class));
    let outputs = Outputs::new().loss(&mut mean);
    rows.whole.eval(&one(), shape, &rows.logits, targets, weights_of, &Options::new(), outputs).unwrap();
    assert!((loss.iter().sum::<f64>() / weights - mean[0]).abs() < 1e-13 * mean[0]);
}

#[test]
fn without_targets_it_is_the_gradient_of_the_capped_sum() {
    let (loss, chunk) =
        (ChunkedCrossEntropy::new().soft_cap(2.0).label_smoothing(0.5).z_loss(1.0), ClassChunk::new(1, 3, 0));
    let logits = [3.0f64, -1.0, 0.5];
    let (mut states, mut lse, mut grad) = ([SoftmaxState::new()], [0.0], [0.0; 3]);
    loss.update(&mut states, &one(), chunk, &logits, None, None).unwrap();
    loss.finish(&states, &one(), None, Some(&mut lse)).unwrap();
    loss.grad(&states, &one(), chunk, &logits, None, None, None, 1.0, &mut grad).unwrap();
    let capped = logits.map(|x| 2.0 * (x / 2.0).tanh());
    let want: f64 = capped.iter().map(|x| x.exp()).sum::<f64>().ln();
    assert!((lse[0] - want).abs() < 1e-14);
    for (i, x) in logits.iter().enumerate() {
        let slope = (x / 2.0).cosh().powi(-2);
        assert!((grad[i] - slope * (capped[i] - want).exp()).abs() < 1e-14);
    }
}

#[test]
fn wrong_options_are_refused_and_nothing_is_written() {
    let (logits, chunk, targets) = ([1.0f32, 2.0], ClassChunk::new(1, 2, 0), Some(Indices::U8(&[0])));
    let mut states = [SoftmaxState::new()];
    let mut check = |loss: ChunkedCrossEntropy, class: Option<&[f32]>, want: Error| {
        let (mut of_row, mut grad) = ([7.0f32], [7.0f32; 2]);
        assert_eq!(loss.update(&mut states, &one(), chunk, &logits, targets, class), Err(want.clone()));
        let error = loss.grad(&states, &one(), chunk, &logits, targets, class, None, 1.0, &mut grad);
        assert_eq!(error, Err(want.clone()));
        if class.is_none() {
            assert_eq!(loss.finish(&states, &one(), Some(&mut of_row), None), Err(want));
        }
        assert_eq!((states, of_row, grad), ([SoftmaxState::new()], [7.0], [7.0; 2]));
    };
    let loss = ChunkedCrossEntropy::new();
    check(loss.label_smoothing(1.5), None, Error::InvalidLabelSmoothing { value: 1.5 });
    check(loss.label_smoothing(f64::NAN), None, Error::NanOption { name: "label_smoothing" });
    check(loss.z_loss(f64::NAN), None, Error::NanOption { name: "z_loss" });
    check(loss.soft_cap(-1.0), None, Error::InvalidSoftCap { value: -1.0 });
    let error = Error::LengthMismatch { name: "class_weight", length: 3, needed: 2 };
    check(loss, Some(&[1.0; 3]), error);
}
