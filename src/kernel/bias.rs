//! The bias of a linear layer: each row starts with the bias, and its gradient is the sum of the rows.

use crate::parallel::{Blocks, Partial};
use crate::simd::view::{In, Out};
use crate::simd::{Isa, Kernel, Lanes, Pack, Real, add_lanes};

/// Copies the bias to every row.
pub struct Spread<'a, T> {
    pub bias: In<'a, T>,
    pub matrix: Out<'a, T>,
    pub rows: usize,
}

impl<T: Real> Blocks for Spread<'_, T> {
    fn count(&self) -> usize {
        self.rows
    }
    fn cycles(&self) -> usize {
        self.bias.len() / 4
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let columns = self.bias.len();
        isa.dispatch(Copy { from: self.bias, to: self.matrix.slice(index * columns, columns) });
        Partial::default()
    }
}

struct Copy<'a, T> {
    from: In<'a, T>,
    to: Out<'a, T>,
}

impl<T: Real> Kernel for Copy<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let (len, lanes) = (self.from.len(), Pack::<S, T>::LANES);
        for at in (0..len).step_by(lanes) {
            let count = lanes.min(len - at);
            self.to.store(at, count, self.from.load(s, at, count));
        }
    }
}

/// The number of columns in a block. Their sums fit into the first-level cache.
const COLUMNS: usize = 1024;

/// Adds each column to its sum, row by row.
pub struct ColumnSums<'a, T> {
    pub matrix: In<'a, T>,
    pub rows: usize,
    pub columns: usize,
    /// One sum for each column.
    pub sums: Out<'a, f64>,
}

impl<T: Real> Blocks for ColumnSums<'_, T> {
    fn count(&self) -> usize {
        self.columns.div_ceil(COLUMNS)
    }
    fn cycles(&self) -> usize {
        self.rows * COLUMNS.min(self.columns) / 4
    }
    fn block(&self, isa: Isa, index: usize) -> Partial {
        let first = index * COLUMNS;
        isa.dispatch(Columns { call: self, first, count: COLUMNS.min(self.columns - first) });
        Partial::default()
    }
}

struct Columns<'a, 'b, T> {
    call: &'a ColumnSums<'b, T>,
    first: usize,
    count: usize,
}

impl<T: Real> Kernel for Columns<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Lanes>(self, s: S) {
        let Columns { call, first, count } = self;
        let (columns, lanes) = (call.columns, Pack::<S, T>::LANES);
        let sums = call.sums.slice(first, count);
        for row in 0..call.rows {
            let row = call.matrix.slice(row * columns + first, count);
            for at in (0..count).step_by(lanes) {
                let lanes = lanes.min(count - at);
                add_lanes(row.load(s, at, lanes), sums, at, lanes);
            }
        }
    }
}
