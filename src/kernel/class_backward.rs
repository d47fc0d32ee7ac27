//! The backward passes of softmax and its logarithm.
//!
//! ```text
//! softmax:      grad_input = y (g - sum of g_j y_j)
//! log_softmax:  grad_input = g - e^y (sum of g_j)             y: the output, g: its gradient
//! ```
//! There are two passes over the classes of a sample, the second while they are in cache. Lanes are classes if the
//! classes are contiguous, and samples otherwise.

use crate::parallel::{Blocks, Partial};
use crate::shape::Layout;
use crate::simd::view::{In, Out};
use crate::simd::{Isa, Kernel, LaneSum, Lanes, Pack, Real, exp, splat, total};

/// The number of elements in a block.
const BLOCK: usize = 16384;

/// A call.
pub struct Backward<'a, T> {
    pub layout: Layout,
    pub output: In<'a, T>,
    pub grad_output: In<'a, T>,
    pub grad_input: Out<'a, T>,
    /// Whether the output is the logarithm of the softmax.
    pub log: bool,
}

impl<T: Real> Backward<'_, T> {
    /// The number of groups of contiguous samples in each row of `inner`. If the classes are contiguous, each sample is
    /// a group.
    fn groups_per_row(&self) -> usize {
        self.layout.row_length.div_ceil(T::GROUP)
    }
    fn groups_per_block(&self) -> usize {
        let samples = if self.layout.is_rows() { 1 } else { T::GROUP };
        (BLOCK / (samples * self.layout.classes)).max(1)
    }
    fn groups(&self) -> usize {
        self.layout.samples / self.layout.row_length * self.groups_per_row()
    }
}

impl<T: Real> Blocks for Backward<'_, T> {
    fn count(&self) -> usize {
        if self.layout.samples == 0 { 0 } else { self.groups().div_ceil(self.groups_per_block()) }
    }
    fn cycles(&self) -> usize {
        2 * BLOCK.max(self.layout.classes).min(self.layout.elements)
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let first = index * self.groups_per_block();
        isa.dispatch(Block { call: self, first, end: self.groups().min(first + self.groups_per_block()) });
        Partial::default()
    }
}

struct Block<'a, 'b, T> {
    call: &'a Backward<'b, T>,
    first: usize,
    end: usize,
}

impl<T: Real> Kernel for Block<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let layout = &self.call.layout;
        let per_row = self.call.groups_per_row();
        for group in self.first..self.end {
            let (row, in_row) = (group / per_row, group % per_row * T::GROUP);
            let at = layout.offset(row * layout.row_length + in_row);
            if layout.is_rows() {
                self.call.row(s, at);
            } else {
                self.call.columns(s, at, T::GROUP.min(layout.row_length - in_row));
            }
        }
    }
}

impl<T: Real> Backward<'_, T> {
    #[inline(always)]
    fn term<S: Lanes>(&self, y: Pack<S, T>, g: Pack<S, T>) -> Pack<S, T> {
        if self.log { g } else { g * y }
    }

    #[inline(always)]
    fn grad<S: Lanes>(&self, y: Pack<S, T>, g: Pack<S, T>, sum: Pack<S, T>) -> Pack<S, T> {
        if self.log { g - exp(y) * sum } else { y * (g - sum) }
    }

    #[inline(always)]
    fn row<S: Lanes>(&self, s: S, at: usize) {
        let (len, lanes) = (self.layout.classes, Pack::<S, T>::LANES);
        let (y, g) = (self.output.slice(at, len), self.grad_output.slice(at, len));
        let out = self.grad_input.slice(at, len);
        let mut sums = S::per_group(LaneSum::zero(s));
        for i in 0..len.div_ceil(lanes) {
            let (at, count) = (i * lanes, lanes.min(len - i * lanes));
            let term = self.term(y.load(s, at, count), g.load(s, at, count));
            sums.as_mut()[i % Pack::<S, T>::PER_GROUP].add(term);
        }
        let sum = splat(s, total::<S, T>(s, sums).split()[0]);
        for i in 0..len.div_ceil(lanes) {
            let (at, count) = (i * lanes, lanes.min(len - i * lanes));
            out.store(at, count, self.grad(y.load(s, at, count), g.load(s, at, count), sum));
        }
    }

    #[inline(always)]
    fn columns<S: Lanes>(&self, s: S, at: usize, samples: usize) {
        let (classes, stride, lanes) = (self.layout.classes, self.layout.class_stride, Pack::<S, T>::LANES);
        for i in 0..samples.div_ceil(lanes) {
            let (at, count) = (at + i * lanes, lanes.min(samples - i * lanes));
            let load = |view: In<'_, T>, class: usize| view.load(s, at + class * stride, count);
            let mut sum = LaneSum::zero(s);
            for class in 0..classes {
                sum.add(self.term(load(self.output, class), load(self.grad_output, class)));
            }
            let sum = sum.lanes(s, 1.0).round();
            for class in 0..classes {
                let grad = self.grad(load(self.output, class), load(self.grad_output, class), sum);
                self.grad_input.store(at + class * stride, count, grad);
            }
        }
    }
}
