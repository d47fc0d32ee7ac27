//! Finishes the rows of a block in batches, with one row in each lane.

use crate::simd::view::Buffer;
use crate::simd::{Lanes, Pair, Real, Total};

/// Iterates over batches: the first row and the number of rows of each.
pub struct Batches {
    first: usize,
    end: usize,
    rows: usize,
}

impl Batches {
    /// The batches of the `index`-th block, with `per_batch` rows each. There are `rows` rows in total, and `per_block`
    /// in each block.
    #[inline(always)]
    pub fn new(rows: usize, per_block: usize, index: usize, per_batch: usize) -> Self {
        let first = index * per_block;
        Batches { first, end: rows.min(first + per_block), rows: per_batch }
    }
}

impl Iterator for Batches {
    type Item = (usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, usize)> {
        let (first, count) = (self.first, self.rows.min(self.end - self.first));
        self.first += count;
        if count > 0 { Some((first, count)) } else { None }
    }
}

/// A number for each row of a batch, one row in each lane, with its rounding error.
#[derive(Clone, Copy)]
pub struct Lane<T>([Buffer<T>; 2]);

impl<T: Real> Lane<T> {
    #[inline(always)]
    pub fn zero() -> Self {
        Lane([Buffer::new(T::ZERO); 2])
    }
    #[inline(always)]
    pub fn set(&mut self, row: usize, [hi, lo]: [T; 2]) {
        (self.0[0].0[row], self.0[1].0[row]) = (hi, lo);
    }
    /// The number of one row.
    pub fn get(&self, row: usize) -> Total {
        Total { hi: self.0[0].0[row].to_f64(), lo: self.0[1].0[row].to_f64() }
    }
    #[inline(always)]
    pub fn load<S: Lanes>(&self, s: S, i: usize) -> Pair<S, T> {
        Pair { hi: self.0[0].group().load(s, i), lo: self.0[1].group().load(s, i) }
    }
    #[inline(always)]
    pub fn store<S: Lanes>(&mut self, i: usize, x: Pair<S, T>) {
        self.0[0].group_mut().store(i, x.hi);
        self.0[1].group_mut().store(i, x.lo);
    }
    /// The number of one row in all lanes.
    #[inline(always)]
    pub fn splat<S: Lanes>(&self, s: S, row: usize) -> Pair<S, T> {
        Pair::splat(s, [self.0[0].0[row], self.0[1].0[row]])
    }
}
