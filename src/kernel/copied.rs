//! An array of classes copied to another that has other strides.

use crate::parallel::{Blocks, Partial};
use crate::shape::Layout;
use crate::simd::view::{In, Out};
use crate::simd::{Isa, Real};

/// Samples that are copied class by class: few enough for the caches to keep a line of each.
const SAMPLES: usize = 64;
/// Elements of a block, roughly.
const BLOCK: usize = 32768;

/// A call. Both layouts are of the same shape.
pub struct Copied<'a, T> {
    pub from: In<'a, T>,
    pub layout: Layout,
    pub copy: Out<'a, T>,
    pub to: Layout,
}

impl<T: Real> Copied<'_, T> {
    fn samples_per_block(&self) -> usize {
        (BLOCK / self.layout.classes.max(1)).max(1).next_multiple_of(SAMPLES)
    }
}

impl<T: Real> Blocks for Copied<'_, T> {
    fn count(&self) -> usize {
        self.layout.samples.div_ceil(self.samples_per_block())
    }
    fn cycles(&self) -> usize {
        2 * self.samples_per_block().min(self.layout.samples) * self.layout.classes
    }
    fn block(&self, _: Isa, index: usize) -> Partial {
        let Copied { from, layout, copy, to } = self;
        let first = index * self.samples_per_block();
        let end = (first + self.samples_per_block()).min(layout.samples);
        for at in (first..end).step_by(SAMPLES) {
            let count = SAMPLES.min(end - at);
            let [mut there, mut here] = [[0; SAMPLES]; 2];
            for i in 0..count {
                (there[i], here[i]) = (layout.offset(at + i), to.offset(at + i));
            }
            for class in 0..layout.classes {
                for i in 0..count {
                    let x = from.get(there[i] + class * layout.class_stride);
                    copy.set(here[i] + class * to.class_stride, x);
                }
            }
        }
        Partial::default()
    }
}
