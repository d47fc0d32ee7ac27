//! A call of any loss as a value that owns its data, so that a test can say "for every loss".

pub use super::losses::Formula;
use super::{Float, Random};
use losskit::{
    ClassShape, Context, Cost, CrossEntropy, Error, Indices, Nll, Options, Outputs, Reduction, Summary, Targets, Td,
    TdInputs, Weights,
};

/// `[outer][classes][inner]` with its strides in full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    pub outer: usize,
    pub classes: usize,
    pub inner: usize,
    pub outer_stride: usize,
    pub class_stride: usize,
}

impl Shape {
    pub fn rows(rows: usize, classes: usize) -> Self {
        Self::new(rows, classes, 1)
    }
    pub fn new(outer: usize, classes: usize, inner: usize) -> Self {
        Shape { outer, classes, inner, outer_stride: classes * inner, class_stride: inner }
    }
    pub fn strides(self, outer_stride: usize, class_stride: usize) -> Self {
        Shape { outer_stride, class_stride, ..self }
    }
    pub fn samples(&self) -> usize {
        self.outer * self.inner
    }
    /// From the first to the last element.
    pub fn elements(&self) -> usize {
        if self.samples() * self.classes == 0 {
            return 0;
        }
        (self.outer - 1) * self.outer_stride + (self.classes - 1) * self.class_stride + self.inner
    }
    /// Where a class of a sample lies.
    pub fn at(&self, sample: usize, class: usize) -> usize {
        sample / self.inner * self.outer_stride + class * self.class_stride + sample % self.inner
    }
    pub fn class_shape(&self) -> ClassShape {
        ClassShape::new(self.outer, self.classes, self.inner)
            .outer_stride(self.outer_stride)
            .class_stride(self.class_stride)
    }
    /// Whether each element is one of the shape's, or lies between them.
    pub fn owned(&self) -> Vec<bool> {
        let mut owned = vec![false; self.elements()];
        for sample in 0..self.samples() {
            (0..self.classes).for_each(|class| owned[self.at(sample, class)] = true);
        }
        owned
    }
}

#[derive(Clone, Debug)]
pub enum Goal<T> {
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    Probabilities(Vec<T>),
}

impl<T> Goal<T> {
    pub fn index(&self, sample: usize) -> Option<i64> {
        match self {
            Goal::I32(targets) => Some(i64::from(targets[sample])),
            Goal::I64(targets) => Some(targets[sample]),
            Goal::U8(targets) => Some(i64::from(targets[sample])),
            Goal::Probabilities(_) => None,
        }
    }
    pub fn targets(&self) -> Targets<'_, T> {
        match self {
            Goal::I32(targets) => Targets::I32(targets),
            Goal::I64(targets) => Targets::I64(targets),
            Goal::U8(targets) => Targets::U8(targets),
            Goal::Probabilities(targets) => Targets::Probabilities(targets),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Loss<T> {
    Pointwise {
        formula: Formula<T>,
        target: Vec<T>,
        weight: Option<Vec<T>>,
    },
    CrossEntropy {
        smoothing: f64,
        z: f64,
        ignore: i64,
        shape: Shape,
        goal: Goal<T>,
        class: Option<Vec<T>>,
        row: Option<Vec<T>>,
    },
    Nll {
        ignore: i64,
        shape: Shape,
        targets: Vec<i64>,
        class: Option<Vec<T>>,
        row: Option<Vec<T>>,
    },
    Td(TdData<T>),
}

#[derive(Clone, Debug)]
pub struct TdData<T> {
    pub gamma: f64,
    /// None: mean squared error
    pub delta: Option<f64>,
    pub shape: Shape,
    pub action: Vec<i64>,
    pub reward: Vec<T>,
    pub next_q: Vec<T>,
    pub done: Option<Vec<u8>>,
    pub online: Option<Vec<T>>,
    pub weight: Option<Vec<T>>,
}

impl<T: Float> TdData<T> {
    pub fn loss(&self) -> Td {
        self.delta.map_or(Td::mse(self.gamma), |delta| Td::huber(self.gamma, delta))
    }
    pub fn inputs<'a>(&'a self, q: &'a [T]) -> TdInputs<'a, T> {
        let mut inputs = TdInputs::new(self.shape.classes, q, Indices::I64(&self.action), &self.reward, &self.next_q)
            .row_stride(self.shape.outer_stride);
        if let Some(done) = &self.done {
            inputs = inputs.done(done);
        }
        if let Some(online) = &self.online {
            inputs = inputs.next_q_online(online);
        }
        if let Some(weight) = &self.weight {
            inputs = inputs.weight(weight);
        }
        inputs
    }
}

#[derive(Clone, Debug)]
pub struct Call<T> {
    pub name: String,
    pub input: Vec<T>,
    pub loss: Loss<T>,
}

/// All outputs of a call.
#[derive(Clone, Debug)]
pub struct Results<T> {
    pub loss: Vec<T>,
    pub grad: Vec<T>,
    pub hess: Vec<T>,
    pub cost: Cost,
    pub summary: Summary,
}

impl<T: Float> Results<T> {
    #[track_caller]
    pub fn assert_same_bits(&self, other: &Results<T>, what: &str) {
        super::assert_same_bits(&self.loss, &other.loss, &format!("{what}: loss"));
        super::assert_same_bits(&self.grad, &other.grad, &format!("{what}: grad"));
        super::assert_same_bits(&self.hess, &other.hess, &format!("{what}: hess"));
        assert_eq!(self.cost.mean().bits(), other.cost.mean().bits(), "{what}: cost");
        let weights = [self.summary.weight_sum, other.summary.weight_sum].map(f64::to_bits);
        assert_eq!(weights[0], weights[1], "{what}: weight_sum");
        assert_eq!(self.summary.out_of_domain, other.summary.out_of_domain, "{what}: out_of_domain");
    }
}

/// What tests fill outputs with.
pub const SENTINEL: f64 = 777.0;

fn weights<'a, T>(class: &'a Option<Vec<T>>, row: &'a Option<Vec<T>>) -> Weights<'a, T> {
    let mut weights = Weights::new();
    if let Some(class) = class {
        weights = weights.class(class);
    }
    if let Some(row) = row {
        weights = weights.row(row);
    }
    weights
}

impl<T: Float> Call<T> {
    pub fn samples(&self) -> usize {
        match &self.loss {
            Loss::Pointwise { .. } => self.input.len(),
            Loss::CrossEntropy { shape, .. } | Loss::Nll { shape, .. } => shape.samples(),
            Loss::Td(td) => td.shape.samples(),
        }
    }

    /// How the input lies; a pointwise one as rows of one class.
    pub fn shape(&self) -> Shape {
        match &self.loss {
            Loss::Pointwise { .. } => Shape::rows(self.input.len(), 1),
            Loss::CrossEntropy { shape, .. } | Loss::Nll { shape, .. } => *shape,
            Loss::Td(td) => td.shape,
        }
    }

    pub fn losses(&self, reduction: Reduction) -> usize {
        if reduction == Reduction::None { self.samples() } else { 1 }
    }

    /// The loss of `input` in place of the call's own.
    pub fn eval(
        &self,
        context: &Context,
        input: &[T],
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        match &self.loss {
            Loss::Pointwise { formula, target, weight } => {
                formula.loss().eval(context, input, target, weight.as_deref(), options, outputs)
            }
            Loss::CrossEntropy { smoothing, z, ignore, shape, goal, class, row } => {
                let loss = CrossEntropy::new().label_smoothing(*smoothing).z_loss(*z).ignore_index(*ignore);
                let (shape, weights) = (shape.class_shape(), weights(class, row));
                loss.eval(context, shape, input, goal.targets(), weights, options, outputs)
            }
            Loss::Nll { ignore, shape, targets, class, row } => {
                let (shape, weights) = (shape.class_shape(), weights(class, row));
                let loss = Nll::new().ignore_index(*ignore);
                loss.eval(context, shape, input, Indices::I64(targets), weights, options, outputs)
            }
            Loss::Td(td) => td.loss().eval(context, &td.inputs(input), options, outputs, None),
        }
    }

    pub fn has_in_place(&self) -> bool {
        !matches!(self.loss, Loss::Td(_))
    }

    pub fn eval_in_place(
        &self,
        context: &Context,
        input: &mut [T],
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        match &self.loss {
            Loss::Pointwise { formula, target, weight } => {
                formula.loss().eval_in_place(context, input, target, weight.as_deref(), options, outputs)
            }
            Loss::CrossEntropy { smoothing, z, ignore, shape, goal, class, row } => {
                let loss = CrossEntropy::new().label_smoothing(*smoothing).z_loss(*z).ignore_index(*ignore);
                let (shape, weights) = (shape.class_shape(), weights(class, row));
                loss.eval_in_place(context, shape, input, goal.targets(), weights, options, outputs)
            }
            Loss::Nll { ignore, shape, targets, class, row } => {
                let (shape, weights) = (shape.class_shape(), weights(class, row));
                let loss = Nll::new().ignore_index(*ignore);
                loss.eval_in_place(context, shape, input, Indices::I64(targets), weights, options, outputs)
            }
            Loss::Td(_) => panic!("td has no gradient in place"),
        }
    }

    /// The same samples in another layout of as many.
    pub fn moved(&self, to: Shape) -> Call<T> {
        let mut call = Call { name: format!("{} moved to {to:?}", self.name), ..self.clone() };
        call.input = moved(&self.input, self.shape(), to);
        match &mut call.loss {
            Loss::Pointwise { .. } => panic!("a pointwise loss has one layout"),
            Loss::CrossEntropy { shape, goal, .. } => {
                if let Goal::Probabilities(targets) = goal {
                    *targets = moved(targets, *shape, to);
                }
                *shape = to;
            }
            Loss::Nll { shape, .. } => *shape = to,
            Loss::Td(td) => {
                td.next_q = moved(&td.next_q, td.shape, to);
                td.online = td.online.as_ref().map(|online| moved(online, td.shape, to));
                td.shape = to;
            }
        }
        call
    }

    /// All outputs.
    pub fn run(&self, context: &Context, reduction: Reduction) -> Results<T> {
        self.run_with(context, reduction, Options::new(), &vec![T::of(SENTINEL); self.input.len()])
    }

    /// All outputs, gradient and Hessian beginning with `before`.
    pub fn run_with(&self, context: &Context, reduction: Reduction, options: Options, before: &[T]) -> Results<T> {
        let mut loss = vec![T::of(SENTINEL); self.losses(reduction)];
        let (mut grad, mut hess, mut cost) = (before.to_vec(), before.to_vec(), Cost::new());
        let outputs = Outputs::new().loss(&mut loss).grad(&mut grad).hess(&mut hess).cost(&mut cost);
        let summary = self
            .eval(context, &self.input, &options.reduction(reduction), outputs)
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Results { loss, grad, hess, cost, summary }
    }
}

/// Every pointwise loss on n elements: plain against numbers or hard labels, and weighted against numbers or soft labels.
pub fn pointwise<T: Float>(n: usize) -> Vec<Call<T>> {
    let random = &mut Random(n as u64);
    let weight = random.weights(n);
    let mut formulas = Formula::all(1.25, &[]);
    let further = |array: &[T]| Formula::all(0.75, array);
    let mut with_options = further(&[T::of(2.5)]);
    for labels in [3, 5, 64, 100].into_iter().filter(|&labels| n.is_multiple_of(labels)) {
        with_options.extend(further(&random.weights(labels)));
    }
    for formula in with_options {
        // without options, or without those that differ, it is there already
        if !formulas.contains(&formula) {
            formulas.push(formula);
        }
    }
    let mut calls = Vec::new();
    for formula in formulas {
        let inputs = formula.inputs();
        for is_weighted in [false, true] {
            let input = if inputs.are_probabilities() { random.units(n) } else { random.numbers(n, 9.0) };
            let (target, kind) = match (inputs.have_labels(), is_weighted) {
                (true, false) => ((0..n).map(|_| T::of(random.below(2) as f64)).collect(), ""),
                (true, true) => (random.units(n), " soft weighted"),
                (false, false) => (random.numbers(n, 4.0), ""),
                (false, true) => (random.numbers(n, 4.0), " weighted"),
            };
            let option = match formula.array().len() {
                0 => "",
                1 => " for all",
                _ => " labels",
            };
            let name = format!("{}{option}{kind} {} n={n}", formula.name(), T::NAME);
            let loss =
                Loss::Pointwise { formula: formula.clone(), target, weight: is_weighted.then(|| weight.clone()) };
            calls.push(Call { name, input, loss });
        }
    }
    calls
}

/// Numbers in the places of the shape, NaN between them.
pub fn spread<T: Float>(shape: Shape, numbers: impl FnMut() -> T) -> Vec<T> {
    let mut numbers = numbers;
    shape.owned().into_iter().map(|owned| if owned { numbers() } else { T::of(f64::NAN) }).collect()
}

/// Each sample's classes from one layout to another; NaN between them.
pub fn moved<T: Float>(data: &[T], from: Shape, to: Shape) -> Vec<T> {
    assert_eq!((from.samples(), from.classes), (to.samples(), to.classes));
    let mut moved = vec![T::of(f64::NAN); to.elements()];
    for sample in 0..from.samples() {
        (0..from.classes).for_each(|class| moved[to.at(sample, class)] = data[from.at(sample, class)]);
    }
    moved
}

/// Probabilities of classes: they add up to 1 but for rounding, and some are 0.
pub fn distributions<T: Float>(shape: Shape, random: &mut Random) -> Vec<T> {
    let mut all = vec![T::of(f64::NAN); shape.elements()];
    for sample in 0..shape.samples() {
        let mut shares: Vec<f64> = (0..shape.classes).map(|_| random.unit() * random.below(4) as f64).collect();
        shares[0] += 0.125;
        let total: f64 = shares.iter().sum();
        shares.iter().enumerate().for_each(|(class, share)| all[shape.at(sample, class)] = T::of(share / total));
    }
    all
}

/// cross_entropy and nll of this shape, every kind of target and weight.
pub fn classes<T: Float>(shape: Shape) -> Vec<Call<T>> {
    let Shape { outer, classes, inner, outer_stride, class_stride } = shape;
    let random = &mut Random((outer * 1_000_003 + classes * 1009 + inner) as u64);
    let mut calls = Vec::new();
    let mut add = |name: &str, input: Vec<T>, loss: Loss<T>| {
        let name = format!("{name} {} [{outer}, {classes}, {inner}] by ({outer_stride}, {class_stride})", T::NAME);
        calls.push(Call { name, input, loss });
    };
    let n = shape.samples();
    let logits = |random: &mut Random, scale: f64| spread(shape, || T::of(random.number(scale)));
    let some_ignored = |random: &mut Random, targets: Vec<i64>, ignore: i64| -> Vec<i64> {
        targets.into_iter().map(|target| if random.below(4) == 0 { ignore } else { target }).collect()
    };
    let targets = random.indices(n, classes);
    let (class, row) = (Some(random.weights(classes)), Some(random.weights(n)));

    let goal = Goal::I64(targets.clone());
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
    add("cross_entropy", logits(random, 6.0), loss);
    // where one class is far ahead
    let mut confident = logits(random, 6.0);
    for (sample, &target) in targets.iter().enumerate().filter(|(sample, _)| sample % 3 != 0) {
        confident[shape.at(sample, target as usize)] = T::of(10.0 + 40.0 * random.unit());
    }
    let goal = Goal::I32(targets.iter().map(|&target| target as i32).collect());
    let loss = Loss::CrossEntropy {
        smoothing: 0.0,
        z: 0.0,
        ignore: -100,
        shape,
        goal,
        class: class.clone(),
        row: row.clone(),
    };
    add("cross_entropy confident weighted", confident.clone(), loss);
    let goal = Goal::I64(some_ignored(random, targets.clone(), -7));
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -7, shape, goal, class: None, row: row.clone() };
    add("cross_entropy ignoring", logits(random, 3.0), loss);
    let goal = Goal::I64(some_ignored(random, targets.clone(), -100));
    let loss =
        Loss::CrossEntropy { smoothing: 0.125, z: 0.0, ignore: -100, shape, goal, class: class.clone(), row: None };
    add("cross_entropy smoothed ignoring", logits(random, 6.0), loss);
    let goal = Goal::U8(targets.iter().map(|&target| (target % 256) as u8).collect());
    let loss = Loss::CrossEntropy { smoothing: 0.1, z: 0.0, ignore: -100, shape, goal, class: None, row: row.clone() };
    add("cross_entropy smoothed", logits(random, 6.0), loss);
    let goal = Goal::Probabilities(distributions(shape, random));
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.0, ignore: -100, shape, goal, class: None, row: None };
    add("cross_entropy soft", logits(random, 6.0), loss);
    let goal = Goal::Probabilities(distributions(shape, random));
    let loss = Loss::CrossEntropy {
        smoothing: 0.125,
        z: 0.0,
        ignore: -100,
        shape,
        goal,
        class: class.clone(),
        row: row.clone(),
    };
    add("cross_entropy soft smoothed weighted", confident.clone(), loss);
    let goal = Goal::I64(some_ignored(random, targets.clone(), -100));
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.25, ignore: -100, shape, goal, class: None, row: row.clone() };
    add("cross_entropy with z_loss", confident.clone(), loss);
    let goal = Goal::I64(targets.clone());
    let (class_, row_) = (class.clone(), row.clone());
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 1e-4, ignore: -100, shape, goal, class: class_, row: row_ };
    add("cross_entropy with z_loss, class weights", confident.clone(), loss);
    let goal = Goal::I64(targets.clone());
    let loss =
        Loss::CrossEntropy { smoothing: 0.1, z: 0.01, ignore: -100, shape, goal, class: class.clone(), row: None };
    add("cross_entropy with z_loss smoothed", logits(random, 6.0), loss);
    let goal = Goal::Probabilities(distributions(shape, random));
    let loss = Loss::CrossEntropy { smoothing: 0.0, z: 0.5, ignore: -100, shape, goal, class: None, row: None };
    add("cross_entropy with z_loss soft", confident, loss);

    let log_probs = |random: &mut Random| spread(shape, || T::of(-8.0 * random.unit()));
    let loss = Loss::Nll { ignore: -100, shape, targets: targets.clone(), class: None, row: None };
    add("nll", log_probs(random), loss);
    let loss = Loss::Nll { ignore: 300, shape, targets: some_ignored(random, targets, 300), class, row };
    add("nll ignoring weighted", log_probs(random), loss);
    calls
}

/// td on rows of actions.
pub fn td<T: Float>(rows: usize, actions: usize, row_stride: usize) -> Vec<Call<T>> {
    let random = &mut Random((rows * 1009 + actions) as u64);
    let shape = Shape::rows(rows, actions).strides(row_stride, 1);
    let values = |random: &mut Random| spread(shape, || T::of(random.number(4.0)));
    let mut data = |delta: Option<f64>, all: bool| TdData::<T> {
        gamma: 0.99,
        delta,
        shape,
        action: random.indices(rows, actions),
        reward: random.numbers(rows, 2.0),
        next_q: values(random),
        done: all
            .then(|| (0..rows).map(|_| if random.below(3) == 0 { 1 + random.below(255) as u8 } else { 0 }).collect()),
        online: all.then(|| values(random)),
        weight: all.then(|| random.weights(rows)),
    };
    let data = [
        ("td mse", data(None, false)),
        ("td mse double", data(None, true)),
        ("td huber double", data(Some(1.5), true)),
    ];
    data.into_iter()
        .map(|(name, data)| {
            let name = format!("{name} {} [{rows}, {actions}] by {row_stride}", T::NAME);
            Call { name, input: values(random), loss: Loss::Td(data) }
        })
        .collect()
}

/// Some of everything: each loss, each layout, small.
pub fn every<T: Float>() -> Vec<Call<T>> {
    let shapes = [
        Shape::rows(37, 2),
        Shape::rows(35, 10),
        Shape::rows(9, 100),
        Shape::rows(3, 5000),
        Shape::new(3, 5, 34),
        Shape::new(2, 70, 35),
        Shape::new(2, 130, 35),
        Shape::rows(34, 7).strides(9, 1),
        Shape::rows(5, 130).strides(131, 1),
        Shape::new(3, 4, 6).strides(40, 8),
        // classes outermost
        Shape::rows(35, 6).strides(1, 40),
        Shape::new(3, 66, 4).strides(5, 16),
        Shape::new(3, 130, 4).strides(5, 16),
    ];
    let mut calls = pointwise(0);
    for n in [1, 60, 8192 + 300] {
        calls.extend(pointwise(n));
    }
    calls.extend(shapes.into_iter().flat_map(classes));
    for (rows, actions, row_stride) in [(40, 2, 2), (37, 5, 8), (3, 200, 201), (200, 33, 33)] {
        calls.extend(td(rows, actions, row_stride));
    }
    calls
}
