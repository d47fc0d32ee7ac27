//! Throughput of every loss, latency of small calls, and the roof: the fastest loops over memory that the same machine
//! runs.
//!
//! ```text
//! cargo bench                                 # all, takes its time
//! LOSSKIT_BENCH=quick cargo bench             # all in under two minutes, less exact
//! cargo bench -- cross_entropy_f32_grad       # only ids with this in them
//! benches/targets.py                          # the last run as a table of targets
//! ```
//! An id is `<loss>_<type>_<pass>/<threads>/<shape>`.
//! - Passes: `value`; `grad`, value and gradient; `inplace`, the same, the gradient where the input stood. Of losses of
//!   independent elements also `grad` with more: `weighted`; `hess`, the Hessian too; `none`, each element's loss;
//!   `accumulate`, added to a gradient that is there; `soft`, labels between 0 and 1.
//! - Threads: `t1`, `t2`, `t4`, ... up to all cores. Calls come from a thread of a rayon pool of that size, which the
//!   context uses as it is the current one. A loop of the roof is shared out in the same pool.
//! - `roof_<type>_<traffic>`: loops that move the same bytes and compute next to nothing (`roof.rs`).
//! - `latency_<loss>_f32`: one small call on one thread, through the Rust API and through the C ABI (`latency.rs`).
//! - `linear_matmuls_f32`: the three matrix products of `linear_cross_entropy_f32_grad` (`linear.rs`).
//! - `clock`: a loop that takes 3 cycles a turn, which tells how long a cycle is.
//!
//! Inputs are made once, outputs are written before they are timed. What belongs together (a loss, and the roof at its
//! size) is timed one after the other, and where memory binds in turns (`mse_f32_grad/t1_roof`), but in
//! quick runs.

mod classes;
mod clock;
mod data;
mod latency;
mod linear;
mod machine;
mod measure;
mod pointwise;
mod roof;
mod td;

use measure::Bench;

fn main() {
    let mut bench = Bench::from_environment();
    clock::run(&mut bench);
    latency::run(&mut bench);
    roof::run_plain_mse(&mut bench);
    pointwise::run::<f32>(&mut bench);
    pointwise::run::<f64>(&mut bench);
    classes::run::<f32>(&mut bench);
    classes::run::<f64>(&mut bench);
    linear::run(&mut bench);
    td::run::<f32>(&mut bench);
    td::run::<f64>(&mut bench);
    bench.finish();
}
