//! How long a cycle is: a chain of multiplications, each waiting for the one before.

use crate::measure::{Bench, Size};
use std::convert::Infallible;
use std::hint::black_box;

/// The latency of a multiplication on x86-64 CPUs, Intel's since 2008 and AMD's since 2017.
const CYCLES_A_TURN: usize = 3;
const TURNS: usize = 100_000;

/// Elements are cycles.
pub fn run(bench: &mut Bench) {
    if cfg!(target_arch = "x86_64") {
        let cycles = CYCLES_A_TURN * TURNS;
        let size = Size { shape: &cycles.to_string(), elements: cycles, bytes: 0 };
        bench.latency("clock", "t1", size, || {
            Ok::<_, Infallible>((0..TURNS).fold(black_box(3u64), |x, _| x.wrapping_mul(x)))
        });
    }
}
