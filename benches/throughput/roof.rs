//! The roof: how fast this machine moves bytes.
//!
//! Loops that read one or two arrays and write none, another or one of them, and do no more with an element than an
//! exclusive or. A loss that moves the same bytes can be no faster. Each is there with stores through the caches
//! (`t1_plain`) and around them (`t1_stream`), and for large arrays also from front to back instead of at several places
//! (`t1_plain_linear`, `t1_stream_linear`); the fastest is the roof. Large losses that are measured by it take turns with
//! it, too (`mse_f32_grad/t1_roof`).

mod loops;
mod plain_mse;
mod vectors;

use crate::data::{Buffer, Float};
use crate::machine;
use crate::measure::{Bench, Size};
use crate::pointwise::losses::Inputs;
use crate::pointwise::pair;
pub use loops::Traffic;
use loops::{Walk, Way};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

pub fn run<T: Float>(
    bench: &mut Bench,
    traffics: &[Traffic],
    shape: &str,
    [first, second]: [&[T]; 2],
    output: &mut Buffer<T>,
) {
    let isa = machine::isa();
    for &traffic in traffics {
        let group = format!("roof_{}_{}", T::NAME, traffic.name());
        let size = Size { shape, elements: first.len(), bytes: traffic.arrays() * size_of_val(first) };
        for way in traffic.ways(isa, size.bytes) {
            bench.threads(&group, &format!("_{}", way.name()), size, || {
                Ok(Walk::new(traffic, way, [first, second], &mut *output).run(isa))
            });
        }
    }
}

/// On one thread, where the caches hold the arrays.
pub fn run_plain_mse(bench: &mut Bench) {
    for n in [1000, 65_536] {
        let size = Size { shape: &n.to_string(), elements: n, bytes: 3 * n * size_of::<f32>() };
        let [input, target] = pair::<f32>(Inputs::Numbers, n);
        let mut grad = Buffer::new(2, n, || 0.0);
        bench.latency("plain_mse_f32_grad", "t1", size, || {
            Ok::<_, Infallible>(plain_mse::mean_with_grad(machine::isa(), &input, &target, &mut grad))
        });
    }
}

/// The roof that a loss on the same arrays takes turns with.
pub struct Beside<'a, T> {
    traffic: Traffic,
    inputs: [&'a [T]; 2],
    /// No loss's: in place, numbers would come out that losses have more to do with.
    output: &'a mut [T],
    /// For each number of threads.
    fastest: HashMap<usize, Way>,
}

impl<'a, T: Float> Beside<'a, T> {
    pub fn new(traffic: Traffic, inputs: [&'a [T]; 2], output: &'a mut [T]) -> Self {
        Beside { traffic, inputs, output, fastest: HashMap::new() }
    }

    /// One pass of the current pool, the fastest way, which the first call finds.
    pub fn pass(&mut self) -> u32 {
        let threads = rayon::current_num_threads();
        if !self.fastest.contains_key(&threads) {
            let way = self.find_fastest();
            self.fastest.insert(threads, way);
        }
        self.walk(self.fastest[&threads])
    }

    fn find_fastest(&mut self) -> Way {
        let ways = self.traffic.ways(machine::isa(), self.traffic.arrays() * size_of_val(self.inputs[0]));
        let mut best = vec![Duration::MAX; ways.len()];
        for _ in 0..5 {
            for (&way, best) in ways.iter().zip(&mut best) {
                let start = Instant::now();
                std::hint::black_box(self.walk(way));
                *best = start.elapsed().min(*best);
            }
        }
        let (way, _) = ways.into_iter().zip(best).min_by_key(|&(_, time)| time).expect("at least one");
        way
    }

    fn walk(&mut self, way: Way) -> u32 {
        Walk::new(self.traffic, way, self.inputs, &mut *self.output).run(machine::isa())
    }
}
