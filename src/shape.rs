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

/// The number that a mean divides by.
#[derive(Clone, Copy)]
pub(crate) struct Divisor {
    pub sum: Total,
    /// Whether the sum is 0 although some of its terms are not; the mean is then NaN.
    pub cancels: bool,
}

impl Divisor {
    /// This number of samples, each with weight 1.
    pub fn count(samples: usize) -> Self {
        Divisor { sum: Total::new(samples as f64), cancels: false }
    }

    /// Whether there is nothing to average.
    pub fn is_nothing(&self) -> bool {
        self.sum.value() == 0.0 && !self.cancels
    }
}

/// The memory layout of arrays with classes: `logits[outer][classes][inner]`, where the last index is contiguous.
///
/// `inner` is 1 if each row holds the classes of one sample. Images `[N, C, H, W]` have outer `N`, classes `C` and
/// inner `H * W`. Each `(outer, inner)` position is one sample, so there are `outer * inner` samples. Strides are
/// numbers of elements. Probability targets have the same strides as the logits, and so have gradients and Hessians
/// unless [`dense_grad`](Self::dense_grad) or [`grad_strides`](Self::grad_strides) gives them other strides. Padding
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
    /// Unless all of `inner` is contiguous: how many elements of it are, and how many lie from the start of one such
    /// row to the start of the next.
    row_of_inner: Option<[usize; 2]>,
    /// The outer stride and the class stride of the gradient, if they differ from those of the logits. An inner `None`
    /// means dense, as in the two strides below.
    grad_strides: Option<[Option<usize>; 2]>,
    outer_stride: Option<usize>,
    class_stride: Option<usize>,
}

impl ClassShape {
    /// Dense rows, each with the classes of one sample.
    pub const fn rows(rows: usize, classes: usize) -> Self {
        Self::new(rows, classes, 1)
    }
    /// Dense `[outer][classes][inner]`.
    pub const fn new(outer: usize, classes: usize, inner: usize) -> Self {
        ClassShape {
            outer,
            classes,
            inner,
            row_of_inner: None,
            grad_strides: None,
            outer_stride: None,
            class_stride: None,
        }
    }
    /// The number of elements from one outer index to the next, unless the shape is dense. 0, the stride of a broadcast
    /// tensor, gives [`Error::InvalidStride`]: copy such a tensor first.
    pub const fn outer_stride(mut self, elements: usize) -> Self {
        self.outer_stride = Some(elements);
        self
    }
    /// The number of elements from one class to the next, unless the classes are dense. It must not be 0 either.
    pub const fn class_stride(mut self, elements: usize) -> Self {
        self.class_stride = Some(elements);
        self
    }
    /// A crop of images: `inner` is rows of `length` elements, which begin `stride` elements apart. Index targets, row
    /// weights and losses are still dense.
    ///
    /// ```
    /// use losskit::{ClassShape, CrossEntropy, Targets};
    /// // the left two columns of a 2 x 3 image of two classes
    /// let logits = [1.0f32, 1.0, 9.0, 1.0, 1.0, 9.0, 1.0, 1.0, 9.0, 1.0, 1.0, 9.0];
    /// let shape = ClassShape::new(1, 2, 4).row_stride(2, 3).class_stride(6);
    /// let loss = CrossEntropy::new().mean(shape, &logits, Targets::I32(&[0, 1, 1, 0]))?;
    /// assert_eq!(loss, 2f32.ln());
    /// # Ok::<(), losskit::Error>(())
    /// ```
    pub const fn row_stride(mut self, length: usize, stride: usize) -> Self {
        self.row_of_inner = Some([length, stride]);
        self
    }
    /// Makes the gradient and the Hessian dense, whatever the strides of the logits are. The same applies to the output
    /// of [`Softmax`] and [`LogSoftmax`], and to `grad_input` of their backward passes.
    ///
    /// All inputs of the logits' shape are copied first, and the results are those of the copies, bit for bit:
    ///
    /// - One copy is written to the array of the gradient, or else of the Hessian or output, which then replaces it.
    /// - Memory for the other copies is allocated by the call. These are class probabilities; the teacher's logits; the
    ///   output, in a backward pass; and the logits, if the call adds to its gradient
    ///   ([`accumulate_grad`](crate::Options::accumulate_grad)) or writes no array of their shape. If there is not
    ///   enough memory, the call returns [`Error::OutOfMemory`]; without the feature `std`, it returns
    ///   [`Error::UnsupportedOption`].
    /// - [`Nll`] copies nothing. It reads only the log-probabilities of the targets.
    ///
    /// So a call that computes the loss alone is faster with a shape without these strides. [`Distillation`],
    /// [`Entropy`] and [`SelectiveLogSoftmax`] need contiguous classes. With a dense gradient they take transposed
    /// logits, because the classes of the copy are contiguous.
    ///
    /// If the logits are dense too, there is nothing to copy. Otherwise the gradient cannot be computed in place:
    /// functions such as [`CrossEntropy::eval_in_place`] return [`Error::UnsupportedOption`].
    ///
    /// ```
    /// use losskit::{ClassShape, CrossEntropy, Targets};
    /// // [classes][rows], transposed; the gradient is [rows][classes]
    /// let (logits, mut grad) = ([0.0f32, 3.0, 0.0, 3.0, 0.0, 3.0], [0.0; 6]);
    /// let shape = ClassShape::rows(2, 3).outer_stride(1).class_stride(2).dense_grad();
    /// CrossEntropy::new().mean_with_grad(shape, &logits, Targets::I32(&[0, 1]), &mut grad)?;
    /// assert!(grad[0] < 0.0 && grad[4] < 0.0 && grad[1] == grad[2]);
    /// # Ok::<(), losskit::Error>(())
    /// ```
    ///
    /// [`CrossEntropy::eval_in_place`]: crate::CrossEntropy::eval_in_place
    /// [`Distillation`]: crate::Distillation
    /// [`Entropy`]: crate::Entropy
    /// [`LogSoftmax`]: crate::LogSoftmax
    /// [`Nll`]: crate::Nll
    /// [`SelectiveLogSoftmax`]: crate::SelectiveLogSoftmax
    /// [`Softmax`]: crate::Softmax
    pub const fn dense_grad(mut self) -> Self {
        self.grad_strides = Some([None; 2]);
        self
    }
    /// Like [`dense_grad`](Self::dense_grad), but with these strides instead of dense arrays. All copies have these
    /// strides.
    pub const fn grad_strides(mut self, outer: usize, class: usize) -> Self {
        self.grad_strides = Some([Some(outer), Some(class)]);
        self
    }
    /// [`outer_stride`](Self::outer_stride), if there is one.
    pub(crate) const fn maybe_outer_stride(mut self, elements: Option<usize>) -> Self {
        self.outer_stride = elements;
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

    /// The strides of the gradient as the C interface passes them. If both are 0, they are the strides of the logits;
    /// if one is 0, that one is dense.
    #[cfg(feature = "capi")]
    pub(crate) const fn grad_strides_or_dense(mut self, outer: usize, class: usize) -> Self {
        const fn unless_0(stride: usize) -> Option<usize> {
            if stride == 0 { None } else { Some(stride) }
        }
        if outer != 0 || class != 0 {
            self.grad_strides = Some([unless_0(outer), unless_0(class)]);
        }
        self
    }

    /// The layout with all strides written out. An error if the array would not fit into the address space, or if two
    /// elements would have the same address.
    pub(crate) const fn layout(&self) -> Result<Layout, Error> {
        let ClassShape { outer, classes, inner, .. } = *self;
        let (row_length, row_stride, span) = match self.rows_of_inner() {
            Ok(rows) => rows,
            Err(error) => return Err(error),
        };
        let own_grad = match self.own_grad() {
            Ok(own_grad) => own_grad,
            Err(error) => return Err(error),
        };
        let class_stride = match self.class_stride {
            Some(stride) => stride,
            None => span,
        };
        let Some(samples) = outer.checked_mul(inner) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        if classes == 0 && samples > 0 {
            return Err(Error::LengthMismatch { name: "classes", length: 0, needed: 1 });
        }
        let of_nothing = Layout {
            outer,
            classes,
            inner,
            outer_stride: 0,
            class_stride: 0,
            samples,
            elements: 0,
            row_length,
            row_stride,
            own_grad,
        };
        if samples == 0 {
            return Ok(of_nothing);
        }
        if let (Some(0), _) | (_, Some(0)) = (self.outer_stride, self.class_stride) {
            let outer_stride = match self.outer_stride {
                Some(stride) => stride,
                None => class_stride,
            };
            return Err(Error::InvalidStride { outer_stride, class_stride });
        }
        let Some(planes) = (classes - 1).checked_mul(class_stride) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        let Some(one_outer) = planes.checked_add(span) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        let outer_stride = match self.outer_stride {
            Some(stride) => stride,
            None => one_outer,
        };
        let Some(rows) = (outer - 1).checked_mul(outer_stride) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        let Some(elements) = rows.checked_add(one_outer) else {
            return Err(Error::SizeTooLarge { name: "shape" });
        };
        // One of the two outer dimensions encloses the other; the innermost is contiguous.
        let class_in_outer = (classes == 1 || class_stride >= span) && (outer == 1 || outer_stride >= one_outer);
        let outer_in_class = outer_stride >= span && class_stride >= rows + span;
        if !class_in_outer && !outer_in_class {
            return Err(Error::InvalidStride { outer_stride, class_stride });
        }
        // strides of the gradient that are those of the logits are not strides of its own
        let own_grad = match own_grad {
            Some(own) if own.outer == outer_stride && own.class == class_stride && row_length == inner => None,
            own_grad => own_grad,
        };
        Ok(Layout { outer_stride, class_stride, elements, own_grad, ..of_nothing })
    }

    /// Three numbers of elements: in a contiguous row of `inner`, from one such row to the next, and from the first
    /// element of `inner` to the last.
    const fn rows_of_inner(&self) -> Result<(usize, usize, usize), Error> {
        let inner = self.inner;
        let Some([row_length, row_stride]) = self.row_of_inner else {
            return Ok((inner, inner, inner));
        };
        if row_length == 0 || !inner.is_multiple_of(row_length) {
            return Err(Error::LengthMismatch { name: "shape.row_length", length: row_length, needed: inner });
        }
        if row_stride < row_length {
            return Err(Error::InvalidStride { outer_stride: row_stride, class_stride: row_length });
        }
        let rows = inner / row_length;
        if rows == 1 || row_stride == row_length {
            return Ok((inner, inner, inner));
        }
        match (rows - 1).checked_mul(row_stride) {
            Some(last) => match last.checked_add(row_length) {
                Some(span) => Ok((row_length, row_stride, span)),
                None => Err(Error::SizeTooLarge { name: "shape" }),
            },
            None => Err(Error::SizeTooLarge { name: "shape" }),
        }
    }

    const fn own_grad(&self) -> Result<Option<Strides>, Error> {
        let Some([outer_stride, class_stride]) = self.grad_strides else {
            return Ok(None);
        };
        let dense = Self::new(self.outer, self.classes, self.inner);
        match (ClassShape { outer_stride, class_stride, ..dense }).layout() {
            Ok(Layout { outer_stride, class_stride, elements, .. }) => {
                Ok(Some(Strides { outer: outer_stride, class: class_stride, elements }))
            }
            Err(error) => Err(error),
        }
    }
}

/// A [`ClassShape`] that has been checked, with all strides written out.
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
    /// How many elements of `inner` are contiguous, and how far apart such rows begin. Without gaps both are `inner`.
    pub row_length: usize,
    pub row_stride: usize,
    /// The memory layout of the gradient and the Hessian, if it differs from that of the logits.
    pub own_grad: Option<Strides>,
}

/// The memory layout of one array with the shape of a [`Layout`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strides {
    pub outer: usize,
    pub class: usize,
    pub elements: usize,
}

impl Layout {
    /// Independent elements.
    pub fn elements(n: usize) -> Self {
        Layout {
            outer: n,
            classes: 1,
            inner: 1,
            outer_stride: 1,
            class_stride: 1,
            samples: n,
            elements: n,
            row_length: 1,
            row_stride: 1,
            own_grad: None,
        }
    }

    /// The position of a sample's class 0.
    #[inline(always)]
    pub fn offset(&self, sample: usize) -> usize {
        if self.inner == 1 {
            sample * self.outer_stride
        } else {
            sample / self.inner * self.outer_stride + self.in_plane(sample % self.inner)
        }
    }

    /// The position of an inner index.
    #[inline(always)]
    fn in_plane(&self, inner: usize) -> usize {
        if self.row_length == self.inner {
            inner
        } else {
            inner / self.row_length * self.row_stride + inner % self.row_length
        }
    }

    /// The number of contiguous samples from this one to the end of its row.
    #[inline(always)]
    pub fn beside(&self, sample: usize) -> usize {
        let inner = sample % self.inner;
        if self.row_length == self.inner { self.inner - inner } else { self.row_length - inner % self.row_length }
    }

    /// The memory layout of the gradient and the Hessian.
    pub fn of_grad(self) -> Self {
        match self.own_grad {
            Some(Strides { outer, class, elements }) => Layout {
                outer_stride: outer,
                class_stride: class,
                elements,
                row_length: self.inner,
                row_stride: self.inner,
                own_grad: None,
                ..self
            },
            None => self,
        }
    }

    /// Of `count` consecutive samples, the longest leading run that is evenly spaced, and the element at which it
    /// begins.
    #[inline(always)]
    pub fn run(&self, first: usize, count: usize) -> (usize, Samples) {
        let Layout { inner, outer_stride, classes, class_stride, .. } = *self;
        let (stride, left) = if inner == 1 { (outer_stride, count) } else { (1, self.beside(first)) };
        (self.offset(first), Samples { count: left.min(count), stride, classes, class_stride })
    }

    /// Whether each sample's classes are contiguous.
    pub fn is_rows(&self) -> bool {
        self.inner == 1 && (self.class_stride == 1 || self.classes == 1)
    }

    /// Whether there are no gaps: every element from the first to the last belongs to the shape.
    pub fn is_dense(&self) -> bool {
        self.samples.checked_mul(self.classes) == Some(self.elements)
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
