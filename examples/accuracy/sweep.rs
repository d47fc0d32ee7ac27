//! One row of a table: a subject's errors over very many inputs, taken a chunk at a time by all threads.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicU64, Ordering};

use losskit::Context;

use crate::common::breakpoints::{around_float64, random_float64};
use crate::common::{Float, Random, ulps_off_even_if_tiny};
use crate::subjects::{SUBJECTS, Subject};

/// Inputs of a chunk of work.
pub const CHUNK: u64 = 1 << 16;

const BUCKETS: [f64; 6] = [0.5, 0.6, 0.75, 1.0, 2.0, 4.0];

/// A type whose inputs can be gone through.
pub trait Swept: Float {
    /// How far `got` is from what it should be, in units in the last place of the number that this is near.
    fn error(subject: &Subject, input: Self, got: Self) -> f64;
}

/// Against the C library's double precision, whose error is below 2^-28 of a float32's last place.
impl Swept for f32 {
    fn error(subject: &Subject, input: f32, got: f32) -> f64 {
        let exact = (subject.double)(f64::from(input));
        if got.is_nan() || exact.is_nan() {
            return if got.is_nan() == exact.is_nan() { 0.0 } else { f64::INFINITY };
        }
        let nearest = exact as f32;
        if got == nearest && got.is_infinite() {
            return 0.0;
        }
        if got.is_infinite() || nearest.is_infinite() {
            // the threshold to infinity is half a unit wide; beyond it is wrong by the rest
            let finite = if got.is_infinite() { exact } else { f64::from(got) };
            return (finite.abs() - 2f64.powi(128)).abs() / ulp(f64::from(f32::MAX));
        }
        (f64::from(got) - exact).abs() / ulp(exact)
    }
}

fn ulp(exact: f64) -> f64 {
    let exponent = (exact.abs().to_bits() >> 52) as i32 - 1023;
    2f64.powi(exponent.max(-126) - 23)
}

/// Against arithmetic of 106 bits.
impl Swept for f64 {
    fn error(subject: &Subject, input: f64, got: f64) -> f64 {
        ulps_off_even_if_tiny(got, |lift| (subject.exact)(input, lift))
    }
}

#[derive(Clone, Copy)]
struct Errors {
    worst: f64,
    input: f64,
    output: f64,
    /// How many are at most the bucket's bound, and above the one before; the last: above all.
    histogram: [u64; BUCKETS.len() + 1],
}

impl Errors {
    const NONE: Errors = Errors { worst: -1.0, input: 0.0, output: 0.0, histogram: [0; BUCKETS.len() + 1] };

    fn of<T: Swept>(subject: &Subject, context: &Context, inputs: &[T]) -> Self {
        let mut outputs = vec![T::of(0.0); inputs.len()];
        subject.evaluate(context, inputs, &mut outputs);
        let mut errors = Errors::NONE;
        for (&input, &output) in inputs.iter().zip(&outputs) {
            let error = T::error(subject, input, output);
            if error > errors.worst {
                (errors.worst, errors.input, errors.output) = (error, input.wide(), output.wide());
            }
            errors.histogram[BUCKETS.iter().position(|&bound| error <= bound).unwrap_or(BUCKETS.len())] += 1;
        }
        errors
    }

    fn merge(&mut self, other: &Errors) {
        if other.worst > self.worst {
            (self.worst, self.input, self.output) = (other.worst, other.input, other.output);
        }
        for (sum, count) in self.histogram.iter_mut().zip(other.histogram) {
            *sum += count;
        }
    }
}

/// The table of all subjects whose name contains `only`, over `chunks` chunks of inputs, and whether a bound is broken.
pub fn table<T: Swept>(
    contexts: &[Context],
    only: &str,
    chunks: u64,
    inputs: impl Fn(u64) -> Vec<T> + Sync,
) -> (String, bool) {
    let mut text = String::from("| function | worst | at | gives |");
    BUCKETS.iter().for_each(|bound| text += &format!(" <= {bound} |"));
    text += &format!(" more |\n|---|--:|--:|--:|{}\n", "--:|".repeat(BUCKETS.len() + 1));
    let mut broken = false;
    for (done, subject) in SUBJECTS.iter().enumerate().filter(|(_, subject)| subject.name.contains(only)) {
        let next = AtomicU64::new(0);
        let work = |context: &Context| {
            let mut errors = Errors::NONE;
            loop {
                let chunk = next.fetch_add(1, Ordering::Relaxed);
                if chunk >= chunks {
                    return errors;
                }
                errors.merge(&Errors::of(subject, context, &inputs(chunk)));
                progress(done, chunk, chunks);
            }
        };
        let mut errors = Errors::NONE;
        std::thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = contexts.iter().map(|context| scope.spawn(move || work(context))).collect();
            workers.into_iter().for_each(|worker| errors.merge(&worker.join().expect("a worker does not panic")));
        });
        let total: u64 = errors.histogram.iter().sum();
        let (input, output) = (T::of(errors.input), T::of(errors.output));
        text += &format!("| {} | {:.3} | {input:e} | {output:e} |", subject.name, errors.worst);
        for count in errors.histogram {
            // what is 0 is 0, and what is not does not look like it
            text += &match 100.0 * count as f64 / total as f64 {
                0.0 => " 0 |".to_string(),
                share if share < 0.0001 => format!(" {count} inputs |"),
                share => format!(" {share:.4} % |"),
            };
        }
        text += "\n";
        broken |= errors.worst > subject.bound;
    }
    if stderr().is_terminal() {
        eprint!("\r{:40}\r", "");
    }
    (text, broken)
}

/// A bar on a terminal, nothing elsewhere.
fn progress(done: usize, chunk: u64, chunks: u64) {
    if chunk.is_multiple_of(64) && stderr().is_terminal() {
        let filled = (chunk * 20 / chunks) as usize;
        eprint!("\r[{}{}] {}/{}", "#".repeat(filled), ".".repeat(20 - filled), done + 1, SUBJECTS.len());
        let _ = stderr().flush();
    }
}

/// Every `step`th float32 there is.
pub fn every_float32(contexts: &[Context], only: &str, step: u64) -> (String, bool) {
    table(contexts, only, (1u64 << 32).div_ceil(step).div_ceil(CHUNK), |chunk| {
        let numbers = (0..CHUNK).map(|i| (chunk * CHUNK + i) * step);
        numbers.take_while(|&bits| bits < 1 << 32).map(|bits| f32::from_bits(bits as u32)).collect()
    })
}

/// All around the breakpoints, then 2^`random` numbers of several kinds.
pub fn sampled_float64(contexts: &[Context], only: &str, random: u32) -> (String, bool) {
    let dense: Vec<f64> = around_float64().collect();
    let dense_chunks = (dense.len() as u64).div_ceil(CHUNK);
    table(contexts, only, dense_chunks + (1u64 << random).div_ceil(CHUNK), |chunk| {
        match chunk.checked_sub(dense_chunks) {
            None => dense.iter().copied().skip((chunk * CHUNK) as usize).take(CHUNK as usize).collect(),
            Some(seed) => {
                let random = &mut Random(seed);
                (0..CHUNK).map(|i| random_float64(random, i)).collect()
            }
        }
    })
}
