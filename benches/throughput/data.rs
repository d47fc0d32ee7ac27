//! Inputs: fixed random numbers, in memory that vectors and streaming stores are aligned to.

#[path = "../../tests/common/random.rs"]
mod random;

use losskit::Element;
pub use random::Random;
use std::ops::{Deref, DerefMut};

/// An element type of the benchmarks.
pub trait Float: Element + 'static {
    const NAME: &str;
    fn of(x: f64) -> Self;
}
impl Float for f32 {
    const NAME: &str = "f32";
    fn of(x: f64) -> f32 {
        x as f32
    }
}
impl Float for f64 {
    const NAME: &str = "f64";
    fn of(x: f64) -> f64 {
        x
    }
}

/// Elements that begin at a multiple of 64 bytes; in each place at another offset within a page, so that arrays that
/// are walked together do not compete for the same sets of the cache.
pub struct Buffer<T> {
    memory: Vec<T>,
    start: usize,
    len: usize,
}

const PAGE: usize = 4096;
const OFFSETS: [usize; 3] = [0, 1088, 2176];

impl<T: Copy> Buffer<T> {
    /// `place` 0 to 2: which of the arrays of a call it is.
    pub fn new(place: usize, len: usize, mut element: impl FnMut() -> T) -> Self {
        let memory: Vec<T> = (0..len + 2 * PAGE / size_of::<T>()).map(|_| element()).collect();
        let start = memory.as_ptr().align_offset(PAGE) + OFFSETS[place] / size_of::<T>();
        Buffer { memory, start, len }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.memory[self.start..][..self.len]
    }
}
impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..][..self.len]
    }
}

impl Random {
    /// In (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 41) as f64 + 0.5) / (1u64 << 23) as f64
    }
    /// Nearly normal, mean 0: a sum of four uniform numbers.
    pub fn normal(&mut self, deviation: f64) -> f64 {
        let bits = self.bits();
        let sum: u64 = (0..4).map(|i| (bits >> (16 * i)) & 0xffff).sum();
        (sum as f64 / 65536.0 - 2.0) * 3f64.sqrt() * deviation
    }
}
