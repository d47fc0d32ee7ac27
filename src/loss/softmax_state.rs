//! Cross-entropy of classes that come in chunks.

use super::cross_entropy::CrossEntropy;
use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::indices::{IndexView, Indices};
use crate::kernel::softmax_state::{self, Chunk, Finish, Terms, Update};
use crate::kernel::softmax_state_gradient::Gradient;
use crate::kernel::targets;
use crate::options::{check_elements, check_length, check_optional};
use crate::shape::{ClassShape, Layout, WeightView};
use crate::simd::view::{In, Out, in_place};
use crate::simd::{Environment, Total, in_environment};
use crate::softmax_state::SoftmaxState;

/// A chunk of consecutive classes: `logits[rows][classes]`, whose first class has the index `first_class` among all
/// classes.
///
/// ```
/// use losskit::ClassChunk;
/// let shard = ClassChunk::new(32, 12_565, 2 * 12_565);        // the third of four
/// let padded = shard.row_stride(12_576);
/// # let _ = padded;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClassChunk {
    rows: usize,
    classes: usize,
    first_class: usize,
    row_stride: Option<usize>,
    ignore_index: i64,
}

impl ClassChunk {
    /// Dense rows; `ignore_index` -100.
    pub const fn new(rows: usize, classes: usize, first_class: usize) -> Self {
        ClassChunk { rows, classes, first_class, row_stride: None, ignore_index: -100 }
    }
    /// The number of elements from one row to the next, unless the rows are dense; 0 gives [`Error::InvalidStride`].
    pub const fn row_stride(mut self, elements: usize) -> Self {
        self.row_stride = Some(elements);
        self
    }
    /// Rows with this target are ignored, and their logits are not read.
    pub const fn ignore_index(mut self, target: i64) -> Self {
        self.ignore_index = target;
        self
    }

    pub(crate) fn check(self) -> Result<CheckedChunk, Error> {
        let ClassChunk { rows, classes, first_class, row_stride, ignore_index } = self;
        if first_class.checked_add(classes).is_none_or(|end| end > isize::MAX as usize) {
            return Err(Error::SizeTooLarge { name: "chunk" });
        }
        // if there are no classes, nothing is read
        let shape = ClassShape::rows(if classes == 0 { 0 } else { rows }, classes).maybe_outer_stride(row_stride);
        let layout = Layout { outer: rows, samples: rows, ..shape.layout()? };
        Ok(CheckedChunk { layout, first_class, ignore_index })
    }
}

/// A [`ClassChunk`] that has been checked.
#[derive(Clone, Copy)]
pub(crate) struct CheckedChunk {
    pub layout: Layout,
    first_class: usize,
    ignore_index: i64,
}

impl CheckedChunk {
    fn with_targets<'a>(
        self,
        here: Environment,
        context: &Context,
        targets: Option<IndexView<'a>>,
    ) -> Result<Chunk<'a>, Error> {
        let CheckedChunk { layout, first_class, ignore_index } = self;
        if let Some(targets) = targets {
            check_length("targets", targets.len(), layout.samples)?;
            // the total number of classes is not known, so any index may be valid
            let weights = WeightView::<f32> { class: None, row: None };
            targets::check(here, context, targets, isize::MAX as usize, Some(ignore_index), weights)?;
        }
        Ok(Chunk { layout, first_class, targets, ignore_index })
    }

    /// Checks that all arrays have the lengths that the chunk needs.
    fn check<T: Copy>(
        &self,
        states: usize,
        class_weight: Option<In<'_, T>>,
        row_weight: Option<In<'_, T>>,
    ) -> Result<(), Error> {
        check_length("states", states, self.layout.samples)?;
        check_optional("class_weight", class_weight, self.layout.classes)?;
        check_optional("row_weight", row_weight, self.layout.samples)
    }
}

/// Cross-entropy of classes that come in chunks: [`CrossEntropy`] with options for [`SoftmaxState`]s.
///
/// First [`update`](Self::update) the states with the chunks of their classes and [merge](SoftmaxState::merge_all) the
/// states of each row. Then [`finish`](Self::finish) computes the losses and [`grad`](Self::grad) the gradient of each
/// chunk. Use the same options for all of these calls.
///
/// ```text
/// q = target distribution: class weight times (1 - e at the target, and e / all classes everywhere), Q = sum of q_j
/// loss     = -sum of q_j log p_j + z lse^2
/// gradient = (Q + 2 z lse) p - q                                with a soft cap times its derivative
/// ```
///
/// The loss is within 2 units in the last place of that of [`CrossEntropy`] for the whole row, whatever the chunks. The
/// gradient has the error bounds of [`CrossEntropy`]'s.
///
/// ```
/// use losskit::{ChunkedCrossEntropy, ClassChunk, Context, Indices, SoftmaxState};
/// let (context, loss, targets) = (Context::default(), ChunkedCrossEntropy::new().label_smoothing(0.1), Indices::I64(&[3]));
/// // classes 0 and 1 here, 2 and 3 there
/// let (low, high) = (ClassChunk::new(1, 2, 0), ClassChunk::new(1, 2, 2));
/// let (mut here, mut there) = ([SoftmaxState::new()], [SoftmaxState::new()]);
/// loss.update(&mut here, &context, low, &[0.0f32, 0.0], Some(targets), None)?;
/// loss.update(&mut there, &context, high, &[0.0f32, 1.0], Some(targets), None)?;
/// SoftmaxState::merge_all(&mut here, &context, &there)?;
///
/// let (mut of_row, mut grad) = ([0.0f32], [0.0f32; 2]);
/// loss.finish(&here, &context, Some(&mut of_row), None)?;
/// loss.grad(&here, &context, low, &[0.0f32, 0.0], Some(targets), None, None, 1.0, &mut grad)?;
/// let lse = (3.0 + 1f32.exp()).ln();
/// assert!((of_row[0] - (lse - 0.925)).abs() < 1e-6);             // the target has 0.9 + 0.1 / 4 of the distribution
/// assert!((grad[0] - ((-lse).exp() - 0.025)).abs() < 1e-6);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkedCrossEntropy(CrossEntropy);

impl Default for ChunkedCrossEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedCrossEntropy {
    /// No label smoothing, no z-loss, no soft cap: the options of [`SoftmaxState::update`] and the other methods of
    /// [`SoftmaxState`].
    pub const fn new() -> Self {
        ChunkedCrossEntropy(CrossEntropy::new())
    }
    /// As [`CrossEntropy::label_smoothing`], over the classes of all chunks.
    pub const fn label_smoothing(self, share: f64) -> Self {
        ChunkedCrossEntropy(self.0.label_smoothing(share))
    }
    /// As [`CrossEntropy::z_loss`].
    pub const fn z_loss(self, factor: f64) -> Self {
        ChunkedCrossEntropy(self.0.z_loss(factor))
    }
    /// As [`CrossEntropy::soft_cap`].
    pub const fn soft_cap(self, cap: f64) -> Self {
        ChunkedCrossEntropy(self.0.soft_cap(cap))
    }

    /// Adds a chunk of classes to the states of its rows, as [`SoftmaxState::update`]. `class_weight` has the weights
    /// of the classes in this chunk.
    ///
    /// # Errors
    /// As [`SoftmaxState::update`], and [`Error::InvalidLabelSmoothing`], [`Error::InvalidSoftCap`] and
    /// [`Error::NanOption`].
    pub fn update<T: Element>(
        &self,
        states: &mut [SoftmaxState],
        context: &Context,
        chunk: ClassChunk,
        logits: &[T],
        targets: Option<Indices<'_>>,
        class_weight: Option<&[T]>,
    ) -> Result<(), Error> {
        let chunk = chunk.check()?;
        check_elements(&chunk.layout, "logits", logits.len())?;
        let input = ChunkInput {
            chunk,
            logits: logits.into(),
            targets: targets.map(IndexView::from),
            class_weight: class_weight.map(In::from),
        };
        chunk.check(states.len(), input.class_weight, None)?;
        self.run_update(context, input, states.into())
    }

    /// Computes the loss and the logarithm of the sum of exponentials of each row, as [`SoftmaxState::finish`]. Row
    /// weights are not applied. For a mean, divide by the sum of [`SoftmaxState::target_weight`].
    ///
    /// # Errors
    /// As [`SoftmaxState::finish`], and those of the options as in [`update`](Self::update).
    pub fn finish<T: Element>(
        &self,
        states: &[SoftmaxState],
        context: &Context,
        loss: Option<&mut [T]>,
        lse: Option<&mut [T]>,
    ) -> Result<(), Error> {
        for (name, out) in [("loss", &loss), ("lse", &lse)] {
            out.as_ref().map_or(Ok(()), |out| check_length(name, out.len(), states.len()))?;
        }
        self.run_finish(context, states.into(), loss.map(Out::from), lse.map(Out::from))
    }

    /// Computes the gradient with respect to the logits of a chunk, as [`SoftmaxState::grad`]; q includes the class
    /// weights. Without targets it is the gradient of the logarithm of the sum of exponentials, also if logits are
    /// capped.
    ///
    /// # Errors
    /// As [`SoftmaxState::grad`], and those of the options as in [`update`](Self::update).
    #[allow(clippy::too_many_arguments)]
    pub fn grad<T: Element>(
        &self,
        states: &[SoftmaxState],
        context: &Context,
        chunk: ClassChunk,
        logits: &[T],
        targets: Option<Indices<'_>>,
        class_weight: Option<&[T]>,
        row_weight: Option<&[T]>,
        grad_scale: f64,
        grad: &mut [T],
    ) -> Result<(), Error> {
        let chunk = chunk.check()?;
        check_elements(&chunk.layout, "logits", logits.len())?;
        check_elements(&chunk.layout, "grad", grad.len())?;
        let logits = logits.into();
        self.any_grad(states, context, chunk, logits, targets, class_weight, row_weight, grad_scale, grad.into())
    }

    /// Like [`grad`](Self::grad), but overwrites the logits with their gradient.
    ///
    /// # Errors
    /// As [`grad`](Self::grad).
    #[allow(clippy::too_many_arguments)]
    pub fn grad_in_place<T: Element>(
        &self,
        states: &[SoftmaxState],
        context: &Context,
        chunk: ClassChunk,
        logits: &mut [T],
        targets: Option<Indices<'_>>,
        class_weight: Option<&[T]>,
        row_weight: Option<&[T]>,
        grad_scale: f64,
    ) -> Result<(), Error> {
        let chunk = chunk.check()?;
        check_elements(&chunk.layout, "logits", logits.len())?;
        let (logits, grad) = in_place(logits);
        self.any_grad(states, context, chunk, logits, targets, class_weight, row_weight, grad_scale, grad)
    }

    #[allow(clippy::too_many_arguments)]
    fn any_grad<T: Element>(
        &self,
        states: &[SoftmaxState],
        context: &Context,
        chunk: CheckedChunk,
        logits: In<'_, T>,
        targets: Option<Indices<'_>>,
        class_weight: Option<&[T]>,
        row_weight: Option<&[T]>,
        grad_scale: f64,
        grad: Out<'_, T>,
    ) -> Result<(), Error> {
        let (class_weight, row_weight) = (class_weight.map(In::from), row_weight.map(In::from));
        chunk.check(states.len(), class_weight, row_weight)?;
        let input = ChunkInput { chunk, logits, targets: targets.map(IndexView::from), class_weight };
        self.run_grad(context, input, states.into(), row_weight, grad_scale, grad)
    }

    fn terms(&self) -> Terms {
        let (label_smoothing, z_loss) = self.0.shares();
        let z_loss = if z_loss == 0.0 { None } else { Some(Total::new(z_loss).split()) };
        Terms { label_smoothing, z_loss }
    }

    pub(crate) fn run_update<T: Element>(
        &self,
        context: &Context,
        input: ChunkInput<'_, T>,
        states: Out<'_, SoftmaxState>,
    ) -> Result<(), Error> {
        let soft_cap = self.0.check::<T>()?;
        let ChunkInput { chunk, logits, targets, class_weight } = input;
        in_environment(|here| {
            let chunk = chunk.with_targets(here, context, targets)?;
            let weights = if self.terms().label_smoothing == 0.0 {
                None
            } else {
                let classes = Total::new(chunk.layout.classes as f64);
                Some(class_weight.map_or(classes, |weights| targets::sum(here, context, weights)))
            };
            let update = Update { chunk, logits, class_weight, soft_cap, weights, states };
            T::reduce(here, context, Work::StateUpdate(&update));
            Ok(())
        })
    }

    pub(crate) fn run_finish<T: Element>(
        &self,
        context: &Context,
        states: In<'_, SoftmaxState>,
        loss: Option<Out<'_, T>>,
        lse: Option<Out<'_, T>>,
    ) -> Result<(), Error> {
        self.0.check::<T>()?;
        if loss.is_some() {
            for row in 0..states.len() {
                let times = states.get(row).seen;
                if times != 1.0 && times != f64::INFINITY {
                    return Err(Error::IncompleteState { row, times });
                }
            }
        }
        let call = Finish { states, terms: self.terms(), loss, lse };
        in_environment(|here| T::reduce(here, context, Work::StateFinish(&call)));
        Ok(())
    }

    pub(crate) fn run_grad<T: Element>(
        &self,
        context: &Context,
        input: ChunkInput<'_, T>,
        states: In<'_, SoftmaxState>,
        row_weight: Option<In<'_, T>>,
        grad_scale: f64,
        grad: Out<'_, T>,
    ) -> Result<(), Error> {
        let soft_cap = self.0.check::<T>()?;
        if grad_scale.is_nan() {
            return Err(Error::NanOption { name: "grad_scale" });
        }
        let ChunkInput { chunk, logits, targets, class_weight } = input;
        in_environment(|here| {
            let chunk = chunk.with_targets(here, context, targets)?;
            let (scale, terms) = (grad_scale, self.terms());
            let call = Gradient { chunk, logits, states, class_weight, row_weight, terms, soft_cap, scale, grad };
            T::reduce(here, context, Work::StateGradient(&call));
            Ok(())
        })
    }
}

/// The inputs of a chunk, after the lengths have been checked.
#[derive(Clone, Copy)]
pub(crate) struct ChunkInput<'a, T> {
    pub chunk: CheckedChunk,
    pub logits: In<'a, T>,
    pub targets: Option<IndexView<'a>>,
    pub class_weight: Option<In<'a, T>>,
}

impl Default for SoftmaxState {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftmaxState {
    /// A state to which no classes have been added.
    pub const fn new() -> Self {
        Self::EMPTY
    }

    /// Adds a chunk of classes to the states of its rows. Add each class exactly once, to one of the states that will
    /// be merged.
    ///
    /// For label smoothing, class weights, z-loss and soft-capped logits see [`ChunkedCrossEntropy`].
    ///
    /// Targets are indices among all classes. A target that is not in this chunk must be in another chunk. Without
    /// targets there is no loss, only the logarithm of the sum of exponentials. Logits of -inf mask their classes.
    ///
    /// # Errors
    /// [`Error::TargetOutOfRange`] for a negative target that is not `ignore_index`, [`Error::LengthMismatch`],
    /// [`Error::SizeTooLarge`], [`Error::InvalidStride`]. After an error nothing was written.
    pub fn update<T: Element>(
        states: &mut [SoftmaxState],
        context: &Context,
        chunk: ClassChunk,
        logits: &[T],
        targets: Option<Indices<'_>>,
    ) -> Result<(), Error> {
        ChunkedCrossEntropy::new().update(states, context, chunk, logits, targets, None)
    }

    /// Adds the classes of another state of the same row to this state. Exchanging the two states gives the same bits.
    pub fn merge(&mut self, other: &SoftmaxState) {
        let into = core::slice::from_mut(self);
        merge(&Context::default(), into.into(), core::slice::from_ref(other).into());
    }

    /// [`merge`](Self::merge) for many rows at once.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`].
    pub fn merge_all(states: &mut [SoftmaxState], context: &Context, others: &[SoftmaxState]) -> Result<(), Error> {
        check_length("from", others.len(), states.len())?;
        merge(context, states.into(), others.into());
        Ok(())
    }

    /// Computes the loss and the logarithm of the sum of exponentials of each row. For ignored rows the loss is 0 and
    /// the logarithm is -inf.
    ///
    /// The loss is `(max - x_t) + log1p(rest)`, as that of [`CrossEntropy`](crate::CrossEntropy).
    ///
    /// # Errors
    /// [`Error::IncompleteState`] if losses are requested and the target of a row has not been added exactly once;
    /// [`Error::LengthMismatch`]. After an error nothing was written.
    pub fn finish<T: Element>(
        states: &[SoftmaxState],
        context: &Context,
        loss: Option<&mut [T]>,
        lse: Option<&mut [T]>,
    ) -> Result<(), Error> {
        ChunkedCrossEntropy::new().finish(states, context, loss, lse)
    }

    /// Computes the gradient with respect to the logits of a chunk, after all classes have been added to the states of
    /// its rows: `row_weight grad_scale (p_j - q_j)` with q_j = 1 for the target and 0 elsewhere. It is 0 for ignored
    /// rows. Without targets it is the gradient of the logarithm of the sum of exponentials.
    ///
    /// For the gradient of the mean over a batch, set `grad_scale` to 1 / (number of rows that are not ignored, or the
    /// sum of their weights).
    ///
    /// # Errors
    /// As [`update`](Self::update), and [`Error::NanOption`] if `grad_scale` is NaN.
    #[allow(clippy::too_many_arguments)]
    pub fn grad<T: Element>(
        states: &[SoftmaxState],
        context: &Context,
        chunk: ClassChunk,
        logits: &[T],
        targets: Option<Indices<'_>>,
        row_weight: Option<&[T]>,
        grad_scale: f64,
        grad: &mut [T],
    ) -> Result<(), Error> {
        let loss = ChunkedCrossEntropy::new();
        loss.grad(states, context, chunk, logits, targets, None, row_weight, grad_scale, grad)
    }

    /// Like [`grad`](Self::grad), but overwrites the logits with their gradient.
    ///
    /// # Errors
    /// As [`grad`](Self::grad).
    pub fn grad_in_place<T: Element>(
        states: &[SoftmaxState],
        context: &Context,
        chunk: ClassChunk,
        logits: &mut [T],
        targets: Option<Indices<'_>>,
        row_weight: Option<&[T]>,
        grad_scale: f64,
    ) -> Result<(), Error> {
        let loss = ChunkedCrossEntropy::new();
        loss.grad_in_place(states, context, chunk, logits, targets, None, row_weight, grad_scale)
    }
}

pub(crate) fn merge(context: &Context, into: Out<'_, SoftmaxState>, from: In<'_, SoftmaxState>) {
    in_environment(|here| softmax_state::merge(here, context, into, from));
}
