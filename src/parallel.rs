//! Divides the work into fixed blocks and adds up their results along a fixed tree, with the same bits on one thread
//! and on many.
//!
//! ```text
//! tree(blocks) = one block:  its partial result
//!                else:       tree(first 2^k) merged with tree(rest), 2^k the largest power below their number
//! ```
//! The shape of the tree depends only on the number of blocks; the threads only decide who computes which branch.

use crate::context::Context;
#[cfg(feature = "rayon")]
use crate::simd::in_environment;
use crate::simd::{Environment, Isa, Total};

/// Work that comes in blocks, each of which gives a partial result.
pub trait Blocks: Sync {
    fn count(&self) -> usize;
    /// A rough estimate of the work in one block, in CPU cycles.
    #[cfg_attr(not(feature = "rayon"), allow(dead_code))]
    fn cycles(&self) -> usize;
    fn block(&self, isa: Isa, index: usize) -> Partial;
    /// Processes several blocks from `first` on in alternation, if that is faster and there are enough of them.
    fn together(&self, _isa: Isa, _first: usize) -> Option<[Partial; TOGETHER]> {
        None
    }
}

/// The number of blocks that may be processed in alternation.
pub const TOGETHER: usize = 4;

/// The sums over a block of samples.
#[derive(Clone, Copy, Default)]
pub struct Partial {
    pub total: Total,
    pub out_of_domain: bool,
}

impl Partial {
    fn merge(self, later: Partial) -> Partial {
        Partial { total: self.total.merge(later.total), out_of_domain: self.out_of_domain | later.out_of_domain }
    }
}

/// A call with less work than this stays on its thread, because waking another thread takes some 10 microseconds.
#[cfg(feature = "rayon")]
const MIN_PARALLEL_CYCLES: usize = 200_000;
/// Tasks smaller than this are not split further.
#[cfg(feature = "rayon")]
const MIN_TASK_CYCLES: usize = 50_000;

/// The merged partial results of all blocks. (This is not generic, because otherwise tasks and joins would be compiled
/// for each kind of blocks.)
pub fn reduce(_here: Environment, context: &Context, blocks: &dyn Blocks) -> Partial {
    let (count, isa) = (blocks.count(), context.isa());
    if count == 0 {
        return Partial::default();
    }
    #[cfg(feature = "rayon")]
    if count > 1 && count.saturating_mul(blocks.cycles()) >= MIN_PARALLEL_CYCLES && context.has_threads() {
        let leaf = (MIN_TASK_CYCLES / blocks.cycles().max(1)).max(1);
        return context.install(|| join(blocks, isa, 0, count, leaf));
    }
    serial(blocks, isa, 0, count)
}

fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn serial(blocks: &dyn Blocks, isa: Isa, first: usize, count: usize) -> Partial {
    if count == 1 {
        return blocks.block(isa, first);
    }
    if count == TOGETHER
        && let Some([a, b, c, d]) = blocks.together(isa, first)
    {
        return a.merge(b).merge(c.merge(d));
    }
    let half = split(count);
    serial(blocks, isa, first, half).merge(serial(blocks, isa, first + half, count - half))
}

#[cfg(feature = "rayon")]
fn join(blocks: &dyn Blocks, isa: Isa, first: usize, count: usize, leaf: usize) -> Partial {
    if count <= leaf {
        return in_environment(|_| serial(blocks, isa, first, count));
    }
    let half = split(count);
    let (a, b) =
        rayon::join(|| join(blocks, isa, first, half, leaf), || join(blocks, isa, first + half, count - half, leaf));
    in_environment(|_| a.merge(b))
}
