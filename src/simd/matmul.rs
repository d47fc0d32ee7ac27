//! Matrix products, by the gemm crates for `f32` and `f64`.

use gemm_common::Parallelism;

use super::Real;

/// gemm works in steps along `inner`. In each step it copies the elements of as many rows of the left matrix as fit
/// into the third-level cache. Calls with fewer rows keep these copies small, and also the memory that glibc's heap
/// retains for them, which can be ten times as much. Larger copies are hardly faster.
pub const COPY_BYTES: usize = 768 << 10;
/// The number of elements in such a step. gemm chooses it for most caches; for some it takes twice as many.
const DEPTH: usize = 512;

/// Divides `count` into shares of at most `most` each, as few as possible. Returns their size; only the last share may
/// be smaller.
pub fn even_share(count: usize, most: usize) -> usize {
    count.div_ceil(count.div_ceil(most))
}

/// A matrix product of gemm for one element type: see gemm-common's `gemm_def`.
pub type Gemm<T> = unsafe fn(
    m: usize,
    n: usize,
    k: usize,
    dst: *mut T,
    dst_cs: isize,
    dst_rs: isize,
    read_dst: bool,
    lhs: *const T,
    lhs_cs: isize,
    lhs_rs: isize,
    rhs: *const T,
    rhs_cs: isize,
    rhs_rs: isize,
    alpha: T,
    beta: T,
    conj_dst: bool,
    conj_lhs: bool,
    conj_rhs: bool,
    parallelism: Parallelism,
);

/// A matrix in memory: element (i, j) is at `i * row_stride + j * column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    pub data: &'a [T],
    pub rows: usize,
    pub columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Dense rows.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "a matrix of another size");
        Matrix { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        let Matrix { data, rows, columns, row_stride, column_stride } = self;
        Matrix { data, rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride }
    }

    /// Writes the product with `right` as dense rows, or adds it to the contents; on the threads of the current pool if
    /// `parallel` is true. It processes as many rows at a time as gemm can copy within [`COPY_BYTES`].
    pub fn multiply(self, right: Matrix<'_, T>, into: &mut [T], adds: bool, parallel: bool)
    where
        T: Real,
    {
        let (rows, inner, columns) = (self.rows, self.columns, right.columns);
        assert_eq!(inner, right.rows, "matrices that do not fit");
        assert_eq!(Some(into.len()), rows.checked_mul(columns), "a product of another size");
        if into.is_empty() {
            return;
        }
        let step = even_share(rows, COPY_BYTES / (size_of::<T>() * inner.clamp(1, DEPTH)));
        for (index, into) in into.chunks_mut(step * columns).enumerate() {
            self.some_rows(index * step, into.len() / columns).multiply_at_once(right, into, adds, parallel);
        }
    }

    fn some_rows(self, first: usize, rows: usize) -> Self {
        Matrix { data: &self.data[(first * self.row_stride).min(self.data.len())..], rows, ..self }
    }

    fn multiply_at_once(self, right: Matrix<'_, T>, into: &mut [T], adds: bool, parallel: bool)
    where
        T: Real,
    {
        let (rows, inner, columns) = (self.rows, self.columns, right.columns);
        if inner == 0 {
            if !adds {
                into.fill(T::ZERO);
            }
            return;
        }
        let parallelism = match parallel {
            #[cfg(feature = "rayon")]
            true => Parallelism::Rayon(0),
            _ => Parallelism::None,
        };
        let one = T::from_f64(1.0);
        // Computes the transposed product of the transposed matrices, because gemm writes columns faster than rows.
        // SAFETY: all three have the elements that their sizes and strides name, checked in `new` and `multiply`, and
        // `into` is borrowed alone
        unsafe {
            T::gemm()(
                columns,
                rows,
                inner,
                into.as_mut_ptr(),
                columns as isize,
                1,
                adds,
                right.data.as_ptr(),
                right.row_stride as isize,
                right.column_stride as isize,
                self.data.as_ptr(),
                self.row_stride as isize,
                self.column_stride as isize,
                one,
                one,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}
