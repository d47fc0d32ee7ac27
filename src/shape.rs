//! Shapes: reductions, the memory layout of classes, targets and weights.

use crate::error::Error;
use crate::simd::Total;
use crate::simd::tile::Samples;
use crate::simd::view::In;

/// How the losses of the samples are combined (PyTorch's `reduction`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The mean: the sum divided by the number of samples or by the sum of their weights. Each loss says which.
    Mean,
    /// The sum.
    Sum,
    /// No reduction: one loss for each sample. Gradients are those of the sample's own loss.
    None,
}

/// What a mean divides by.
#[derive(Clone, Copy)]
pub(crate) struct Divisor {
    pub sum: Total,
    /// Whether the sum is 0 although some of its terms are not: no number is the mean then.
    pub cancels: bool,
}

impl Divisor {
    /// So many samples that count alike.
    pub fn count(samples: usize) -> Self {
        Divisor { sum: Total::new(samples as f64), cancels: false }
    }

    /// Whether nothing counts.
    pub fn is_nothing(&self) -> bool {
        self.sum.value() == 0.0 && !self.cancels
    }
}

/// The memory layout of arrays with classes: `logits[outer][classes][inner]`, where the last index is contiguous.
///
/// `inner` is 1 if each row holds the classes of one sample. Images `[N, C, H, W]` have outer `N`, classes `C` and
/// inner `H * W`. Each `(outer, inner)` position is one sample, so there are `outer * inner` samples. Strides are
/// numbers of elements. Gradients, Hessians and probability targets have the same strides as the logits; padding
/// between rows is never accessed. Index targets, row weights and the losses of samples are dense: `[outer][inner]`.
///
/// ```
/// use losskit::ClassShape;
/// let rows = ClassShape::rows(32, 10);
/// assert_eq!((rows.samples(), rows.elements()), (32, 320));
/// let padded = ClassShape::rows(32, 50_257).outer_stride(50_304);     // a padded vocabulary
/// let images = ClassShape::new(8, 21, 64 * 64);
/// assert_eq!(images.samples(), 8 * 64 * 64);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassShape {
    pub(crate) outer: usize,
    pub(crate) classes: usize,
    pub(crate) inner: usize,
    /// 0: dense
    pub(crate) outer_stride: usize,
    pub(crate) class_stride: usize,
}

impl ClassShape {
    /// Dense rows, each with the classes of one sample.
    pub const fn rows(rows: usize, classes: usize) -> Self {
        Self::new(rows, classes, 1)
    }
    /// Dense `[outer][classes][inner]`.
    pub const fn new(outer: usize, classes: usize, inner: usize) -> Self {
        ClassShape { outer, classes, inner, outer_stride: 0, class_stride: 0 }
    }
    /// The number of elements from one outer index to the next; 0 for dense.
    pub const fn outer_stride(mut self, elements: usize) -> Self {
        self.outer_stride = elements;
        self
    }
    /// The number of elements from one class to the next; 0 for dense (`inner`).
    pub const fn class_stride(mut self, elements: usize) -> Self {
        self.class_stride = elements;
        self
    }
    /// The number of samples, `outer * inner` (saturating).
    pub const fn samples(&self) -> usize {
        self.outer.saturating_mul(self.inner)
    }
    /// The number of elements from the first to the last, including padding between them (saturating).
    pub const fn elements(&self) -> usize {
        match self.layout() {
            Ok(layout) => layout.elements,
            Err(_) => usize::MAX,
        }
    }

    /// The strides in full, if the shape is one that memory can hold and no two elements coincide.
    pub(crate) const fn layout(&self) -> Result<Layout, Error> {
        let ClassShape { outer, classes, inner, .. } = *self;
        let class_stride = if self.class_stride == 0 { inner } else { self.class_stride };
        let Some(samples) = outer.checked_mul(inner) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        if classes == 0 && samples > 0 {
            return Err(Error::LengthMismatch { name: "classes", length: 0, needed: 1 });
        }
        if samples == 0 {
            return Ok(Layout { outer, classes, inner, outer_stride: 0, class_stride: 0, samples, elements: 0 });
        }
        let Some(planes) = (classes - 1).checked_mul(class_stride) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        let Some(one_outer) = planes.checked_add(inner) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        let outer_stride = if self.outer_stride == 0 { one_outer } else { self.outer_stride };
        let Some(rows) = (outer - 1).checked_mul(outer_stride) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        let Some(elements) = rows.checked_add(one_outer) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        // One of the two outer dimensions encloses the other; the innermost is contiguous.
        let class_in_outer = (classes == 1 || class_stride >= inner) && (outer == 1 || outer_stride >= one_outer);
        let outer_in_class = outer_stride >= inner && class_stride >= rows + inner;
        if !class_in_outer && !outer_in_class {
            return Err(Error::InvalidStride { outer_stride, class_stride });
        }
        Ok(Layout { outer, classes, inner, outer_stride, class_stride, samples, elements })
    }
}

/// A [`ClassShape`] that was checked, its strides written out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub outer: usize,
    pub classes: usize,
    pub inner: usize,
    pub outer_stride: usize,
    pub class_stride: usize,
    pub samples: usize,
    /// From the first element to the last.
    pub elements: usize,
}

impl Layout {
    /// Independent elements.
    pub fn elements(n: usize) -> Self {
        Layout { outer: n, classes: 1, inner: 1, outer_stride: 1, class_stride: 1, samples: n, elements: n }
    }

    /// Where a sample's class 0 is.
    #[inline(always)]
    pub fn offset(&self, sample: usize) -> usize {
        if self.inner == 1 {
            sample * self.outer_stride
        } else {
            sample / self.inner * self.outer_stride + sample % self.inner
        }
    }

    /// Of `count` consecutive samples as many, from the first on, as are evenly apart, and the element they begin at.
    #[inline(always)]
    pub fn run(&self, first: usize, count: usize) -> (usize, Samples) {
        let Layout { inner, outer_stride, classes, class_stride, .. } = *self;
        let (stride, left) = if inner == 1 { (outer_stride, count) } else { (1, inner - first % inner) };
        (self.offset(first), Samples { count: left.min(count), stride, classes, class_stride })
    }

    /// Whether each sample's classes are contiguous.
    pub fn is_rows(&self) -> bool {
        self.inner == 1 && (self.class_stride == 1 || self.classes == 1)
    }

    /// Whether no element lies between the first and the last that is none of the shape's.
    pub fn is_dense(&self) -> bool {
        self.samples.checked_mul(self.classes) == Some(self.elements)
    }
}

/// Class indices, one for each sample, in one of the supported integer types.
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
    /// A probability for each class of each sample.
    Probabilities(&'a [T]),
}

impl<'a, T> From<Indices<'a>> for Targets<'a, T> {
    fn from(indices: Indices<'a>) -> Self {
        match indices {
            Indices::I32(indices) => Targets::I32(indices),
            Indices::I64(indices) => Targets::I64(indices),
            Indices::U8(indices) => Targets::U8(indices),
        }
    }
}

/// Weights of a loss over classes: one for each class, one for each sample, both, or neither.
///
/// The weight of a sample is its own weight times the weight of its target class.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a, T> {
    pub(crate) class: Option<&'a [T]>,
    pub(crate) row: Option<&'a [T]>,
}

impl<'a, T> Weights<'a, T> {
    /// No weights: all are 1.
    pub const fn new() -> Self {
        Weights { class: None, row: None }
    }
    /// A weight for each class (PyTorch's `weight`).
    pub const fn class(mut self, weights: &'a [T]) -> Self {
        self.class = Some(weights);
        self
    }
    /// A weight for each sample.
    pub const fn row(mut self, weights: &'a [T]) -> Self {
        self.row = Some(weights);
        self
    }
}

impl<T> Default for Weights<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// [`Indices`] as a view.
#[derive(Clone, Copy)]
pub(crate) enum IndexView<'a> {
    I32(In<'a, i32>),
    I64(In<'a, i64>),
    U8(In<'a, u8>),
}

impl IndexView<'_> {
    #[cfg(feature = "linear")]
    pub fn slice(self, at: usize, len: usize) -> Self {
        match self {
            IndexView::I32(view) => IndexView::I32(view.slice(at, len)),
            IndexView::I64(view) => IndexView::I64(view.slice(at, len)),
            IndexView::U8(view) => IndexView::U8(view.slice(at, len)),
        }
    }
    #[inline(always)]
    pub fn get(&self, at: usize) -> i64 {
        match self {
            IndexView::I32(view) => i64::from(view.get(at)),
            IndexView::I64(view) => view.get(at),
            IndexView::U8(view) => i64::from(view.get(at)),
        }
    }
    /// As many from `at` on as fit.
    #[inline(always)]
    pub fn read(&self, at: usize, to: &mut [i64]) {
        #[inline(always)]
        fn read<I: Copy + Into<i64>>(from: In<'_, I>, at: usize, to: &mut [i64]) {
            let from = from.slice(at, to.len());
            for (i, to) in to.iter_mut().enumerate() {
                *to = from.get(i).into();
            }
        }
        match self {
            IndexView::I32(view) => read(*view, at, to),
            IndexView::I64(view) => read(*view, at, to),
            IndexView::U8(view) => read(*view, at, to),
        }
    }
    pub fn len(&self) -> usize {
        match self {
            IndexView::I32(view) => view.len(),
            IndexView::I64(view) => view.len(),
            IndexView::U8(view) => view.len(),
        }
    }
}

impl<'a> From<Indices<'a>> for IndexView<'a> {
    fn from(indices: Indices<'a>) -> Self {
        match indices {
            Indices::I32(indices) => IndexView::I32(indices.into()),
            Indices::I64(indices) => IndexView::I64(indices.into()),
            Indices::U8(indices) => IndexView::U8(indices.into()),
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
        match targets {
            Targets::I32(indices) => TargetView::Indices(Indices::I32(indices).into()),
            Targets::I64(indices) => TargetView::Indices(Indices::I64(indices).into()),
            Targets::U8(indices) => TargetView::Indices(Indices::U8(indices).into()),
            Targets::Probabilities(targets) => TargetView::Probabilities(targets.into()),
        }
    }
}

/// [`Weights`] as views.
#[derive(Clone, Copy)]
pub(crate) struct WeightView<'a, T> {
    pub class: Option<In<'a, T>>,
    pub row: Option<In<'a, T>>,
}

impl<'a, T> From<Weights<'a, T>> for WeightView<'a, T> {
    fn from(weights: Weights<'a, T>) -> Self {
        WeightView { class: weights.class.map(In::from), row: weights.row.map(In::from) }
    }
}
