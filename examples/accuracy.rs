//! The errors of what losses are made from, in units in the last place (ULP): every float32 there is.
//!
//! ```text
//! cargo run --release --example accuracy                 all 2^32 inputs of each function, minutes
//! cargo run --release --example accuracy -- --step 1021  every 1021st only, seconds
//! cargo run --release --example accuracy -- --isa scalar
//! ```
//!
//! Functions of one variable are taken as they are; sigmoid, softplus and the clamped logarithms are taken
//! from the losses that consist of them. The reference is the C library's double precision, whose error is
//! below 2^-28 of a float32's last place, and the inputs next to a breakpoint are all among the 2^32. A result
//! below the smallest normal number is measured in that number's ULP.
//!
//! Ends with status 1 if a bound is broken: 1 ULP for functions, 3 for losses, 4 for gradients.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicU64, Ordering};

use losskit::{Bce, BceWithLogits, Context, ElementaryFunction, Isa, Options, Outputs, Reduction};

/// One column of the table: name, bound, what losskit gives and what it should be.
struct Subject {
    name: &'static str,
    bound: f64,
    evaluate: fn(&Context, &[f32], &mut [f32]),
    reference: fn(f64) -> f64,
}

fn elementary(function: ElementaryFunction) -> impl Fn(&Context, &[f32], &mut [f32]) {
    move |context, input, output| function.evaluate(context.isa(), input, output)
}

/// Each sample's loss or gradient for a target of 0 or 1.
fn bce_with_logits(context: &Context, input: &[f32], output: &mut [f32], target: f32, is_grad: bool) {
    let targets = vec![target; input.len()];
    let options = Options::new().reduction(Reduction::None);
    let outputs = if is_grad { Outputs::new().grad(output) } else { Outputs::new().loss(output) };
    BceWithLogits::new().eval(context, input, &targets, None, &options, outputs).expect("lengths agree");
}

fn bce(context: &Context, input: &[f32], output: &mut [f32], target: f32, is_grad: bool) {
    let targets = vec![target; input.len()];
    let options = Options::new().reduction(Reduction::None);
    let outputs = if is_grad { Outputs::new().grad(output) } else { Outputs::new().loss(output) };
    Bce::new().eval(context, input, &targets, None, &options, outputs).expect("lengths agree");
}

/// log(1 + e^x)
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn in_domain(p: f64, value: f64) -> f64 {
    if (0.0..=1.0).contains(&p) { value } else { f64::NAN }
}

const SUBJECTS: [Subject; 12] = [
    Subject {
        name: "exp",
        bound: 1.0,
        evaluate: |c, x, y| elementary(ElementaryFunction::Exp)(c, x, y),
        reference: f64::exp,
    },
    Subject {
        name: "exp, x <= 0",
        bound: 1.0,
        evaluate: |c, x, y| {
            let x: Vec<f32> = x.iter().map(|x| -x.abs()).collect();
            elementary(ElementaryFunction::ExpNonPositive)(c, &x, y)
        },
        reference: |x| (-x.abs()).exp(),
    },
    Subject {
        name: "log",
        bound: 1.0,
        evaluate: |c, x, y| elementary(ElementaryFunction::Log)(c, x, y),
        reference: f64::ln,
    },
    Subject {
        name: "log1p",
        bound: 1.0,
        evaluate: |c, x, y| elementary(ElementaryFunction::Log1p)(c, x, y),
        reference: f64::ln_1p,
    },
    Subject {
        name: "bce_with_logits, y = 0 (softplus)",
        bound: 3.0,
        evaluate: |c, x, y| bce_with_logits(c, x, y, 0.0, false),
        reference: softplus,
    },
    Subject {
        name: "bce_with_logits, y = 1",
        bound: 3.0,
        evaluate: |c, x, y| bce_with_logits(c, x, y, 1.0, false),
        reference: |x| softplus(-x),
    },
    Subject {
        name: "its gradient, y = 0 (sigmoid)",
        bound: 4.0,
        evaluate: |c, x, y| bce_with_logits(c, x, y, 0.0, true),
        reference: |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
    },
    Subject {
        name: "its gradient, y = 1",
        bound: 4.0,
        evaluate: |c, x, y| bce_with_logits(c, x, y, 1.0, true),
        reference: |x| if x > 0.0 { -(-x).exp() / (1.0 + (-x).exp()) } else { -1.0 / (1.0 + x.exp()) },
    },
    Subject {
        name: "bce, y = 0",
        bound: 3.0,
        evaluate: |c, x, y| bce(c, x, y, 0.0, false),
        reference: |p| in_domain(p, -(-p).ln_1p().max(-100.0)),
    },
    Subject {
        name: "bce, y = 1",
        bound: 3.0,
        evaluate: |c, x, y| bce(c, x, y, 1.0, false),
        reference: |p| in_domain(p, -p.ln().max(-100.0)),
    },
    Subject {
        name: "its gradient, y = 0",
        bound: 4.0,
        evaluate: |c, x, y| bce(c, x, y, 0.0, true),
        reference: |p| in_domain(p, p / (p * (1.0 - p)).max(1e-12)),
    },
    Subject {
        name: "its gradient, y = 1",
        bound: 4.0,
        evaluate: |c, x, y| bce(c, x, y, 1.0, true),
        reference: |p| in_domain(p, (p - 1.0) / (p * (1.0 - p)).max(1e-12)),
    },
];

/// How far `got` is from `exact`, in units in the last place of the number that `exact` is near.
fn ulps(got: f32, exact: f64) -> f64 {
    if got.is_nan() || exact.is_nan() {
        return if got.is_nan() == exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let nearest = exact as f32;
    if got == nearest {
        return if got.is_infinite() { 0.0 } else { (f64::from(got) - exact).abs() / ulp(exact) };
    }
    if got.is_infinite() || nearest.is_infinite() {
        // the threshold to infinity is half a unit wide; beyond it is wrong by the rest
        let finite = if got.is_infinite() { exact } else { f64::from(got) };
        return (finite.abs() - 2f64.powi(128)).abs() / ulp(f64::from(f32::MAX));
    }
    (f64::from(got) - exact).abs() / ulp(exact)
}

fn ulp(exact: f64) -> f64 {
    let exponent = (exact.abs().to_bits() >> 52) as i32 - 1023;
    2f64.powi(exponent.max(-126) - 23)
}

const BUCKETS: [f64; 6] = [0.5, 0.6, 0.75, 1.0, 2.0, 4.0];

#[derive(Clone, Copy)]
struct Errors {
    worst: f64,
    input: f32,
    output: f32,
    /// How many are at most the bucket's bound, and above the one before; the last: above all.
    histogram: [u64; BUCKETS.len() + 1],
}

impl Errors {
    const NONE: Errors = Errors { worst: -1.0, input: 0.0, output: 0.0, histogram: [0; BUCKETS.len() + 1] };

    fn merge(&mut self, other: &Errors) {
        if other.worst > self.worst {
            (self.worst, self.input, self.output) = (other.worst, other.input, other.output);
        }
        for (sum, count) in self.histogram.iter_mut().zip(other.histogram) {
            *sum += count;
        }
    }
}

/// Inputs of a chunk of work.
const CHUNK: u64 = 1 << 16;

fn measure(subject: &Subject, context: &Context, step: u64, first: u64) -> Errors {
    let inputs: Vec<f32> = (0..CHUNK)
        .map(|i| (first + i) * step)
        .take_while(|&bits| bits < 1 << 32)
        .map(|bits| f32::from_bits(bits as u32))
        .collect();
    let mut outputs = vec![0.0; inputs.len()];
    (subject.evaluate)(context, &inputs, &mut outputs);
    let mut errors = Errors::NONE;
    for (&input, &output) in inputs.iter().zip(&outputs) {
        let error = ulps(output, (subject.reference)(f64::from(input)));
        if error > errors.worst {
            (errors.worst, errors.input, errors.output) = (error, input, output);
        }
        errors.histogram[BUCKETS.iter().position(|&bound| error <= bound).unwrap_or(BUCKETS.len())] += 1;
    }
    errors
}

fn main() {
    let mut step = 1;
    let mut isa = Isa::best();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--step" => step = value.parse().expect("--step takes a number"),
            "--isa" => isa = Isa::from_name(&value).expect("--isa takes scalar, neon, avx2 or avx512"),
            _ => panic!("usage: accuracy [--step N] [--isa NAME]"),
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let contexts: Vec<Context> = (0..threads).map(|_| Context::with_threads(1).cap_isa(isa)).collect();
    let chunks = (1u64 << 32).div_ceil(step).div_ceil(CHUNK);
    println!("float32 on {}, every {step}. input; errors in ULP\n", contexts[0].isa().name());
    print!("| function | worst | at | gives |");
    BUCKETS.iter().for_each(|bound| print!(" <= {bound} |"));
    println!(" more |\n|---|---|---|---|{}", "---|".repeat(BUCKETS.len() + 1));

    let mut broken = false;
    for (done, subject) in SUBJECTS.iter().enumerate() {
        let next = AtomicU64::new(0);
        let mut errors = Errors::NONE;
        std::thread::scope(|scope| {
            let workers: Vec<_> = contexts
                .iter()
                .map(|context| {
                    let next = &next;
                    scope.spawn(move || {
                        let mut errors = Errors::NONE;
                        loop {
                            let chunk = next.fetch_add(1, Ordering::Relaxed);
                            if chunk >= chunks {
                                return errors;
                            }
                            errors.merge(&measure(subject, context, step, chunk * CHUNK));
                            progress(done, chunk, chunks);
                        }
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| errors.merge(&worker.join().expect("a worker does not panic")));
        });
        let total: u64 = errors.histogram.iter().sum();
        print!("| {} | {:.3} | {:e} | {:e} |", subject.name, errors.worst, errors.input, errors.output);
        errors.histogram.iter().for_each(|&count| print!(" {:.4} % |", 100.0 * count as f64 / total as f64));
        println!();
        broken |= errors.worst > subject.bound;
    }
    if stderr().is_terminal() {
        eprint!("\r{:40}\r", "");
    }
    std::process::exit(i32::from(broken));
}

/// A bar on a terminal, nothing elsewhere.
fn progress(done: usize, chunk: u64, chunks: u64) {
    if chunk.is_multiple_of(64) && stderr().is_terminal() {
        let filled = (chunk * 20 / chunks) as usize;
        eprint!("\r[{}{}] {}/{}", "#".repeat(filled), ".".repeat(20 - filled), done + 1, SUBJECTS.len());
        let _ = stderr().flush();
    }
}
