//! Trains a small network on handwritten digits: the twin of `c_examples/train_digits.c`.
//!
//! ```text
//! cargo run --release --example digits
//! cargo run --release --example digits -- mse      or bce, cross_entropy
//! ```
//!
//! 64 pixels, 32 hidden units with ReLU, 10 outputs; stochastic gradient descent with momentum on batches of 32. The
//! layers are plain loops; each loss and its gradient are one call to losskit, which also gathers the cost, the exact
//! mean loss over an epoch. Rust never fuses a multiplication and an addition by itself, so it computes what the C
//! program does: the same numbers are printed, and the weights have the same bits, as their hash on the last line
//! tells.
//!
//! Ends with status 1 if fewer than 95 % of the test samples are recognised.

use std::process::ExitCode;

use losskit::{BceWithLogits, ClassShape, Context, Cost, CrossEntropy, Error, Mse, Options, Outputs, Targets, Weights};

const SAMPLES: usize = 1797;
const TEST: usize = 360;
const TRAIN: usize = SAMPLES - TEST;
const PIXELS: usize = 64;
const HIDDEN: usize = 32;
const CLASSES: usize = 10;
const BATCH: usize = 32;
const EPOCHS: usize = 60;
const MOMENTUM: f32 = 0.9;

/// splitmix64 (Steele, Lea and Flood, 2014)
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-bound, bound).
    fn uniform(&mut self, bound: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / 16_777_216.0;
        (2.0 * unit - 1.0) * bound
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for i in (1..order.len()).rev() {
            order.swap(i, (self.bits() % (i as u64 + 1)) as usize);
        }
    }
}

/// The digits of `c_examples/data/`: a sample is 64 pixel bytes and a label byte.
struct Digits {
    pixels: Vec<[f32; PIXELS]>,
    labels: Vec<u8>,
}

impl Digits {
    fn read() -> Self {
        let bytes = include_bytes!("../c_examples/data/digits.bin");
        let samples = bytes.chunks_exact(PIXELS + 1);
        Digits {
            pixels: samples.clone().map(|sample| std::array::from_fn(|j| f32::from(sample[j]) / 16.0)).collect(),
            labels: samples.map(|sample| sample[PIXELS]).collect(),
        }
    }
}

/// A dense layer with its gradients and velocities, `weight[n_out][n_in]`.
struct Layer {
    n_in: usize,
    weight: Vec<f32>,
    bias: Vec<f32>,
    weight_grad: Vec<f32>,
    bias_grad: Vec<f32>,
    weight_velocity: Vec<f32>,
    bias_velocity: Vec<f32>,
}

impl Layer {
    fn new(random: &mut Random, n_in: usize, n_out: usize) -> Self {
        let bound = 1.0 / (n_in as f32).sqrt();
        let (weights, biases) = (vec![0.0; n_in * n_out], vec![0.0; n_out]);
        Layer {
            n_in,
            weight: weights.iter().map(|_| random.uniform(bound)).collect(),
            bias: biases.clone(),
            weight_grad: weights.clone(),
            bias_grad: biases.clone(),
            weight_velocity: weights,
            bias_velocity: biases,
        }
    }

    fn forward(&self, input: &[f32]) -> Vec<f32> {
        let mut output = Vec::new();
        for row in input.chunks_exact(self.n_in) {
            for (weight, &bias) in self.weight.chunks_exact(self.n_in).zip(&self.bias) {
                output.push(weight.iter().zip(row).fold(bias, |sum, (w, x)| sum + w * x));
            }
        }
        output
    }

    fn parameter_grad(&mut self, input: &[f32], output_grad: &[f32]) {
        self.weight_grad.fill(0.0);
        self.bias_grad.fill(0.0);
        for (row, slopes) in input.chunks_exact(self.n_in).zip(output_grad.chunks_exact(self.bias.len())) {
            for (o, &slope) in slopes.iter().enumerate() {
                self.bias_grad[o] += slope;
                let grad = &mut self.weight_grad[o * self.n_in..][..self.n_in];
                grad.iter_mut().zip(row).for_each(|(grad, x)| *grad += slope * x);
            }
        }
    }

    fn input_grad(&self, output_grad: &[f32]) -> Vec<f32> {
        let mut input_grad = Vec::new();
        for slopes in output_grad.chunks_exact(self.bias.len()) {
            let mut row = vec![0.0; self.n_in];
            for (weight, &slope) in self.weight.chunks_exact(self.n_in).zip(slopes) {
                row.iter_mut().zip(weight).for_each(|(grad, w)| *grad += slope * w);
            }
            input_grad.extend(row);
        }
        input_grad
    }

    fn descend(&mut self, learning_rate: f32) {
        let step = |value: &mut [f32], grad: &[f32], velocity: &mut [f32]| {
            for ((value, grad), velocity) in value.iter_mut().zip(grad).zip(velocity) {
                *velocity = MOMENTUM * *velocity + grad;
                *value -= learning_rate * *velocity;
            }
        };
        step(&mut self.weight, &self.weight_grad, &mut self.weight_velocity);
        step(&mut self.bias, &self.bias_grad, &mut self.bias_velocity);
    }
}

struct Network {
    hidden: Layer,
    output: Layer,
}

impl Network {
    /// Hidden units and outputs, row by row.
    fn forward(&self, pixels: &[f32]) -> [Vec<f32>; 2] {
        let mut hidden = self.hidden.forward(pixels);
        hidden.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 });
        let outputs = self.output.forward(&hidden);
        [hidden, outputs]
    }

    fn backward(&mut self, pixels: &[f32], hidden: &[f32], outputs_grad: &[f32]) {
        self.output.parameter_grad(hidden, outputs_grad);
        let mut hidden_grad = self.output.input_grad(outputs_grad);
        for (grad, &x) in hidden_grad.iter_mut().zip(hidden) {
            *grad = if x <= 0.0 { 0.0 } else { *grad };
        }
        self.hidden.parameter_grad(pixels, &hidden_grad);
    }

    /// FNV-1a over the bits of all parameters.
    fn hash(&self) -> u64 {
        let Network { hidden, output } = self;
        let values = [&hidden.weight, &hidden.bias, &output.weight, &output.bias].into_iter().flatten();
        let bytes = values.flat_map(|value| value.to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

#[derive(Clone, Copy)]
enum Loss {
    CrossEntropy,
    Mse,
    Bce,
}

impl Loss {
    fn named(name: &str) -> Option<Self> {
        match name {
            "cross_entropy" => Some(Loss::CrossEntropy),
            "mse" => Some(Loss::Mse),
            "bce" => Some(Loss::Bce),
            _ => None,
        }
    }

    fn learning_rate(self) -> f32 {
        match self {
            Loss::CrossEntropy | Loss::Mse => 0.1,
            Loss::Bce => 0.6,
        }
    }

    /// Adds the batch to the cost and, if asked for, gives the gradient of its mean loss.
    fn eval(self, outputs: &[f32], labels: &[u8], cost: &mut Cost, grad: Option<&mut [f32]>) -> Result<(), Error> {
        let (context, options) = (Context::default(), Options::new());
        let mut wanted = Outputs::new().cost(cost);
        if let Some(grad) = grad {
            wanted = wanted.grad(grad);
        }
        // for losses that know nothing of classes: 1 for the right output, 0 for the others
        let one_hot =
            || labels.iter().flat_map(|&l| (0..CLASSES as u8).map(move |c| f32::from(c == l))).collect::<Vec<_>>();
        match self {
            Loss::CrossEntropy => {
                let (shape, targets) = (ClassShape::rows(labels.len(), CLASSES), Targets::U8(labels));
                CrossEntropy::new().eval(&context, shape, outputs, targets, Weights::new(), &options, wanted)
            }
            Loss::Mse => Mse::new().eval(&context, outputs, &one_hot(), None, &options, wanted),
            Loss::Bce => BceWithLogits::new().eval(&context, outputs, &one_hot(), None, &options, wanted),
        }?;
        Ok(())
    }
}

fn gather(digits: &Digits, order: &[usize]) -> (Vec<f32>, Vec<u8>) {
    (order.iter().flat_map(|&i| digits.pixels[i]).collect(), order.iter().map(|&i| digits.labels[i]).collect())
}

fn train_epoch(digits: &Digits, loss: Loss, order: &[usize], network: &mut Network) -> Result<f64, Error> {
    let mut cost = Cost::new();
    for order in order.chunks(BATCH) {
        let (pixels, labels) = gather(digits, order);
        let [hidden, outputs] = network.forward(&pixels);
        let mut outputs_grad = vec![0.0; outputs.len()];
        loss.eval(&outputs, &labels, &mut cost, Some(&mut outputs_grad))?;
        network.backward(&pixels, &hidden, &outputs_grad);
        network.hidden.descend(loss.learning_rate());
        network.output.descend(loss.learning_rate());
    }
    Ok(cost.mean())
}

/// Of the test samples: the cost, and how often a digit is recognised as another.
fn test(
    digits: &Digits,
    loss: Loss,
    order: &[usize],
    network: &Network,
) -> Result<(f64, [[usize; CLASSES]; CLASSES]), Error> {
    let (mut cost, mut confusion) = (Cost::new(), [[0; CLASSES]; CLASSES]);
    for order in order.chunks(BATCH) {
        let (pixels, labels) = gather(digits, order);
        let [_, outputs] = network.forward(&pixels);
        loss.eval(&outputs, &labels, &mut cost, None)?;
        for (row, &label) in outputs.chunks_exact(CLASSES).zip(&labels) {
            let guess = (1..CLASSES).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            confusion[usize::from(label)][guess] += 1;
        }
    }
    Ok((cost.mean(), confusion))
}

fn main() -> Result<ExitCode, Error> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "cross_entropy".to_owned());
    let Some(loss) = Loss::named(&name) else {
        eprintln!("usage: digits [cross_entropy|mse|bce]");
        return Ok(ExitCode::from(2));
    };
    let digits = Digits::read();
    let mut random = Random(1);
    let mut order: Vec<usize> = (0..SAMPLES).collect();
    random.shuffle(&mut order);
    let mut network =
        Network { hidden: Layer::new(&mut random, PIXELS, HIDDEN), output: Layer::new(&mut random, HIDDEN, CLASSES) };

    println!("{PIXELS}-{HIDDEN}-{CLASSES} network, loss {name}, {TRAIN} training and {TEST} test samples");
    let (mut cost, mut confusion, mut correct) = (0.0, [[0; CLASSES]; CLASSES], 0);
    let percent = |correct: usize| 100.0 * correct as f64 / TEST as f64;
    for epoch in 1..=EPOCHS {
        let (train_order, test_order) = order.split_at_mut(TRAIN);
        random.shuffle(train_order);
        let train_cost = train_epoch(&digits, loss, train_order, &mut network)?;
        (cost, confusion) = test(&digits, loss, test_order, &network)?;
        correct = (0..CLASSES).map(|digit| confusion[digit][digit]).sum();
        if epoch == 1 || epoch % 10 == 0 {
            let accuracy = percent(correct);
            println!("epoch {epoch:2}/{EPOCHS}  cost {train_cost:8.6}  test accuracy {accuracy:5.1} %");
        }
    }

    println!("\nconfusion matrix of the test samples (row: true digit, column: recognised as)");
    println!("   {}", (0..CLASSES).map(|guess| format!("{guess:4}")).collect::<String>());
    for (digit, row) in confusion.iter().enumerate() {
        println!("{digit:3}{}", row.iter().map(|count| format!("{count:4}")).collect::<String>());
    }
    let accuracy = percent(correct);
    println!("\n{name}: test cost {cost:.6}, test accuracy {accuracy:.1} % ({correct} of {TEST})");
    println!("weights hash {:016x}", network.hash());
    if accuracy < 95.0 {
        eprintln!("test accuracy is below 95 %");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
