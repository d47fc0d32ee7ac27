//! The targets of a loss over classes: indices or probabilities.

use crate::simd::view::In;

/// Class indices, one for each sample, in one of the supported integer types.
///
/// An unsigned index greater than `i64::MAX` is treated as `i64::MAX`, which is not a class either.
///
/// ```
/// use losskit::{ClassShape, Indices, Nll};
/// let loss = Nll::new().mean(ClassShape::rows(1, 2), &[-0.5f32, -0.9], Indices::U8(&[1]))?;
/// assert_eq!(loss, 0.9);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Indices<'a> {
    /// 32 bits, signed.
    I32(&'a [i32]),
    /// 64 bits, signed.
    I64(&'a [i64]),
    /// 8 bits: up to 256 classes.
    U8(&'a [u8]),
    /// 16 bits, signed.
    I16(&'a [i16]),
    /// 16 bits: up to 65,536 classes.
    U16(&'a [u16]),
    /// 32 bits, unsigned.
    U32(&'a [u32]),
    /// 64 bits, unsigned.
    U64(&'a [u64]),
}

/// The targets of a loss over classes: an index for each sample, or a probability for each class of each sample.
///
/// Probabilities have the shape and strides of the logits.
///
/// ```
/// use losskit::{ClassShape, CrossEntropy, Targets};
/// let (shape, logits) = (ClassShape::rows(1, 2), [0.0f32, 3.0]);
/// let hard = CrossEntropy::new().mean(shape, &logits, Targets::I64(&[1]))?;
/// let soft = CrossEntropy::new().mean(shape, &logits, Targets::Probabilities(&[0.0, 1.0]))?;
/// assert_eq!(hard, soft);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Targets<'a, T> {
    /// An index for each sample.
    I32(&'a [i32]),
    /// An index for each sample.
    I64(&'a [i64]),
    /// An index for each sample.
    U8(&'a [u8]),
    /// An index for each sample.
    I16(&'a [i16]),
    /// An index for each sample.
    U16(&'a [u16]),
    /// An index for each sample.
    U32(&'a [u32]),
    /// An index for each sample.
    U64(&'a [u64]),
    /// A probability for each class of each sample.
    Probabilities(&'a [T]),
}

impl<'a, T> From<Indices<'a>> for Targets<'a, T> {
    fn from(indices: Indices<'a>) -> Self {
        match indices {
            Indices::I32(indices) => Targets::I32(indices),
            Indices::I64(indices) => Targets::I64(indices),
            Indices::U8(indices) => Targets::U8(indices),
            Indices::I16(indices) => Targets::I16(indices),
            Indices::U16(indices) => Targets::U16(indices),
            Indices::U32(indices) => Targets::U32(indices),
            Indices::U64(indices) => Targets::U64(indices),
        }
    }
}

/// [`Indices`] as a view. The commonest types are read where they are needed, the others by a function.
#[derive(Clone, Copy)]
pub(crate) enum IndexView<'a> {
    I32(In<'a, i32>),
    I64(In<'a, i64>),
    U8(In<'a, u8>),
    Other(OtherIndices<'a>),
}

/// Views of the less common types.
#[derive(Clone, Copy)]
pub(crate) enum OtherIndices<'a> {
    I16(In<'a, i16>),
    U16(In<'a, u16>),
    U32(In<'a, u32>),
    U64(In<'a, u64>),
}

impl IndexView<'_> {
    #[cfg(feature = "linear")]
    pub fn slice(self, at: usize, len: usize) -> Self {
        match self {
            IndexView::I32(view) => IndexView::I32(view.slice(at, len)),
            IndexView::I64(view) => IndexView::I64(view.slice(at, len)),
            IndexView::U8(view) => IndexView::U8(view.slice(at, len)),
            IndexView::Other(OtherIndices::I16(view)) => IndexView::Other(OtherIndices::I16(view.slice(at, len))),
            IndexView::Other(OtherIndices::U16(view)) => IndexView::Other(OtherIndices::U16(view.slice(at, len))),
            IndexView::Other(OtherIndices::U32(view)) => IndexView::Other(OtherIndices::U32(view.slice(at, len))),
            IndexView::Other(OtherIndices::U64(view)) => IndexView::Other(OtherIndices::U64(view.slice(at, len))),
        }
    }
    #[inline(always)]
    pub fn get(&self, at: usize) -> i64 {
        match self {
            IndexView::I32(view) => i64::from(view.get(at)),
            IndexView::I64(view) => view.get(at),
            IndexView::U8(view) => i64::from(view.get(at)),
            IndexView::Other(view) => {
                let mut index = [0];
                view.read(at, &mut index);
                index[0]
            }
        }
    }
    /// As many from `at` on as fit.
    #[inline(always)]
    pub fn read(&self, at: usize, to: &mut [i64]) {
        match self {
            IndexView::I32(view) => read(*view, at, to, i64::from),
            IndexView::I64(view) => read(*view, at, to, i64::from),
            IndexView::U8(view) => read(*view, at, to, i64::from),
            IndexView::Other(view) => view.read(at, to),
        }
    }
    pub fn len(&self) -> usize {
        match self {
            IndexView::I32(view) => view.len(),
            IndexView::I64(view) => view.len(),
            IndexView::U8(view) => view.len(),
            IndexView::Other(OtherIndices::I16(view)) => view.len(),
            IndexView::Other(OtherIndices::U16(view)) => view.len(),
            IndexView::Other(OtherIndices::U32(view)) => view.len(),
            IndexView::Other(OtherIndices::U64(view)) => view.len(),
        }
    }
}

impl OtherIndices<'_> {
    /// As many from `at` on as fit.
    #[cold]
    #[inline(never)]
    pub fn read(&self, at: usize, to: &mut [i64]) {
        match self {
            OtherIndices::I16(view) => read(*view, at, to, i64::from),
            OtherIndices::U16(view) => read(*view, at, to, i64::from),
            OtherIndices::U32(view) => read(*view, at, to, i64::from),
            OtherIndices::U64(view) => read(*view, at, to, |index| i64::try_from(index).unwrap_or(i64::MAX)),
        }
    }
}

#[inline(always)]
fn read<I: Copy>(from: In<'_, I>, at: usize, to: &mut [i64], index: impl Fn(I) -> i64) {
    let from = from.slice(at, to.len());
    for (i, to) in to.iter_mut().enumerate() {
        *to = index(from.get(i));
    }
}

impl<'a> From<Indices<'a>> for IndexView<'a> {
    fn from(indices: Indices<'a>) -> Self {
        match indices {
            Indices::I32(indices) => IndexView::I32(indices.into()),
            Indices::I64(indices) => IndexView::I64(indices.into()),
            Indices::U8(indices) => IndexView::U8(indices.into()),
            Indices::I16(indices) => IndexView::Other(OtherIndices::I16(indices.into())),
            Indices::U16(indices) => IndexView::Other(OtherIndices::U16(indices.into())),
            Indices::U32(indices) => IndexView::Other(OtherIndices::U32(indices.into())),
            Indices::U64(indices) => IndexView::Other(OtherIndices::U64(indices.into())),
        }
    }
}

/// [`Targets`] as views.
#[derive(Clone, Copy)]
pub(crate) enum TargetView<'a, T> {
    Indices(IndexView<'a>),
    Probabilities(In<'a, T>),
}

impl<'a, T> From<Targets<'a, T>> for TargetView<'a, T> {
    fn from(targets: Targets<'a, T>) -> Self {
        let indices = match targets {
            Targets::I32(indices) => Indices::I32(indices),
            Targets::I64(indices) => Indices::I64(indices),
            Targets::U8(indices) => Indices::U8(indices),
            Targets::I16(indices) => Indices::I16(indices),
            Targets::U16(indices) => Indices::U16(indices),
            Targets::U32(indices) => Indices::U32(indices),
            Targets::U64(indices) => Indices::U64(indices),
            Targets::Probabilities(targets) => return TargetView::Probabilities(targets.into()),
        };
        TargetView::Indices(indices.into())
    }
}
