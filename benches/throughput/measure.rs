//! How a call is timed: on each number of threads, from within the pool.

use crate::data::Float;
use crate::machine;
use crate::roof::Beside;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use losskit::Error;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Of calls: what fails is not timed.
const RIGHT: &str = "a right call";

pub struct Bench {
    criterion: Criterion,
    pools: Vec<ThreadPool>,
    /// Whether only a part of the shapes is to be timed.
    pub is_quick: bool,
}

/// What one call works on.
#[derive(Clone, Copy)]
pub struct Size<'a> {
    /// The last part of the id.
    pub shape: &'a str,
    pub elements: usize,
    /// Bytes that go between the CPU and memory if the caches hold nothing.
    pub bytes: usize,
}

impl Bench {
    /// As `LOSSKIT_BENCH` and criterion's arguments say.
    pub fn from_environment() -> Self {
        let mode = std::env::var("LOSSKIT_BENCH").unwrap_or_else(|_| "long".to_owned());
        assert!(mode == "quick" || mode == "long", "LOSSKIT_BENCH={mode}: quick or long");
        assert!(std::env::var_os("LOSSKIT_NUM_THREADS").is_none(), "LOSSKIT_NUM_THREADS: benchmarks set it themselves");
        let is_quick = mode == "quick";
        let (warm_up, measurement) = if is_quick { (5, 20) } else { (300, 1500) };
        let criterion = Criterion::default()
            .sample_size(if is_quick { 10 } else { 20 })
            .nresamples(if is_quick { 2000 } else { 20_000 })
            .warm_up_time(Duration::from_millis(warm_up))
            .measurement_time(Duration::from_millis(measurement))
            .without_plots()
            .configure_from_args();
        let is_measuring = std::env::args().any(|argument| argument == "--bench")
            && !std::env::args().any(|argument| ["--test", "--list"].contains(&&*argument));
        machine::report(&mode, is_measuring);
        let pool = |threads| ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        let mut counts = machine::thread_counts();
        if is_quick && counts.len() > 2 {
            counts = vec![1, machine::cores()];
        }
        let pools = counts.into_iter().map(pool).collect();
        Bench { criterion, pools, is_quick }
    }

    pub fn finish(&mut self) {
        self.criterion.final_summary();
    }

    fn group(&mut self, name: &str, size: Size<'_>) -> BenchmarkGroup<'_, WallTime> {
        let mut group = self.criterion.benchmark_group(name);
        group.throughput(match size.bytes {
            0 => Throughput::Elements(size.elements as u64),
            bytes => Throughput::ElementsAndBytes { elements: size.elements as u64, bytes: bytes as u64 },
        });
        group
    }

    /// `call` on the calling thread.
    pub fn latency<R, E: Debug>(
        &mut self,
        group: &str,
        function: &str,
        size: Size<'_>,
        mut call: impl FnMut() -> Result<R, E>,
    ) {
        let id = BenchmarkId::new(function, size.shape);
        self.group(group, size).bench_function(id, |bencher| bencher.iter(|| call().expect(RIGHT)));
    }

    /// `call` on each number of threads; `variant` is added to the name of each.
    pub fn threads<R>(
        &mut self,
        group: &str,
        variant: &str,
        size: Size<'_>,
        mut call: impl FnMut() -> Result<R, Error> + Send,
    ) {
        self.each_pool(group, &[variant], size, |_, calls| {
            let start = Instant::now();
            for _ in 0..calls {
                std::hint::black_box(call().expect(RIGHT));
            }
            start.elapsed()
        });
    }

    /// As [`threads`](Self::threads), in turns with a pass of `roof`, which is timed as variant `_roof`: how fast memory
    /// is changes within seconds where others share it. Quick runs take no turns.
    pub fn threads_beside<T: Float, R>(
        &mut self,
        group: &str,
        size: Size<'_>,
        roof: &mut Beside<'_, T>,
        mut call: impl FnMut() -> Result<R, Error> + Send,
    ) {
        if self.is_quick {
            return self.threads(group, "", size, call);
        }
        self.each_pool(group, &["", "_roof"], size, |which, calls| {
            let timed = |_| {
                let start = Instant::now();
                std::hint::black_box(call().expect(RIGHT));
                let between = Instant::now();
                std::hint::black_box(roof.pass());
                [between - start, between.elapsed()][which]
            };
            (0..calls).map(timed).sum()
        });
    }

    /// As [`threads`](Self::threads) on `array`, `prepare` before each call and not timed.
    pub fn threads_prepared<T: Send, R>(
        &mut self,
        group: &str,
        size: Size<'_>,
        array: &mut [T],
        prepare: impl Fn(&mut [T]) + Sync,
        mut call: impl FnMut(&mut [T]) -> Result<R, Error> + Send,
    ) {
        self.each_pool(group, &[""], size, |_, calls| {
            let timed = |_| {
                prepare(array);
                let start = Instant::now();
                std::hint::black_box(call(array).expect(RIGHT));
                start.elapsed()
            };
            (0..calls).map(timed).sum()
        });
    }

    /// `time` is given the place of the variant that it is to time, and how many calls.
    fn each_pool(
        &mut self,
        group: &str,
        variants: &[&str],
        size: Size<'_>,
        mut time: impl FnMut(usize, u64) -> Duration + Send,
    ) {
        let pools = std::mem::take(&mut self.pools);
        for pool in &pools {
            for (which, variant) in variants.iter().enumerate() {
                let function = format!("t{}{variant}", pool.current_num_threads());
                self.group(group, size).bench_function(BenchmarkId::new(function, size.shape), |bencher| {
                    bencher.iter_custom(|calls| pool.install(|| time(which, calls)));
                });
            }
        }
        self.pools = pools;
    }
}
