//! Cross-entropy of classes that come in pieces.

use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::softmax_state::{self, Chunk, Finish, Gradient, Update};
use crate::kernel::targets;
use crate::options::{check_elements, check_length, check_optional};
use crate::shape::{ClassShape, IndexView, Indices, Layout, WeightView};
use crate::simd::view::{In, Out, in_place};
use crate::simd::{Environment, Total, in_environment};
use crate::softmax_state::SoftmaxState;

/// Which classes a piece of logits has: `logits[rows][classes]`, of which the first is class `first_class` of all.
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
    row_stride: usize,
    ignore_index: i64,
}

impl ClassChunk {
    /// Dense rows; `ignore_index` -100.
    pub const fn new(rows: usize, classes: usize, first_class: usize) -> Self {
        ClassChunk { rows, classes, first_class, row_stride: 0, ignore_index: -100 }
    }
    /// Elements from one row to the next; 0 for dense.
    pub const fn row_stride(mut self, elements: usize) -> Self {
        self.row_stride = elements;
        self
    }
    /// Rows with this target do not count, and their logits are not read.
    pub const fn ignore_index(mut self, target: i64) -> Self {
        self.ignore_index = target;
        self
    }

    pub(crate) fn check(self) -> Result<CheckedChunk, Error> {
        let ClassChunk { rows, classes, first_class, row_stride, ignore_index } = self;
        if first_class.checked_add(classes).is_none_or(|end| end > isize::MAX as usize) {
            return Err(Error::SizeTooLarge { name: "chunk" });
        }
        // of no classes there is nothing to read
        let shape = ClassShape::rows(if classes == 0 { 0 } else { rows }, classes).outer_stride(row_stride);
        let layout = Layout { outer: rows, samples: rows, ..shape.layout()? };
        Ok(CheckedChunk { layout, first_class, ignore_index })
    }
}

/// A [`ClassChunk`] that memory can hold.
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
            // how many classes there are is not known: any index may be one
            let weights = WeightView::<f32> { class: None, row: None };
            targets::check(here, context, targets, isize::MAX as usize, Some(ignore_index), weights)?;
        }
        Ok(Chunk { layout, first_class, targets, ignore_index })
    }

    pub fn update<T: Element>(
        self,
        context: &Context,
        logits: In<'_, T>,
        targets: Option<IndexView<'_>>,
        states: Out<'_, SoftmaxState>,
    ) -> Result<(), Error> {
        in_environment(|here| {
            let chunk = self.with_targets(here, context, targets)?;
            T::reduce(here, context, Work::StateUpdate(&Update { chunk, logits, states }));
            Ok(())
        })
    }

    #[allow(clippy::too_many_arguments)]
    pub fn grad<T: Element>(
        self,
        context: &Context,
        logits: In<'_, T>,
        targets: Option<IndexView<'_>>,
        states: In<'_, SoftmaxState>,
        row_weight: Option<In<'_, T>>,
        grad_scale: f64,
        grad: Out<'_, T>,
    ) -> Result<(), Error> {
        if grad_scale.is_nan() {
            return Err(Error::NanOption { name: "grad_scale" });
        }
        in_environment(|here| {
            let chunk = self.with_targets(here, context, targets)?;
            let scale = Total::new(grad_scale).split();
            T::reduce(here, context, Work::StateGradient(&Gradient { chunk, logits, states, row_weight, scale, grad }));
            Ok(())
        })
    }
}

impl Default for SoftmaxState {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftmaxState {
    /// Nothing seen.
    pub const fn new() -> Self {
        Self::EMPTY
    }

    /// Adds a chunk of classes to its rows' states. Each class is to be added once, to one of the states that are merged.
    ///
    /// Targets are indices among all classes; one that is not in this chunk will be, or was, in another. Without targets
    /// there is no loss, only the logarithm of the sum of exponentials. Logits of -inf are masked classes.
    ///
    /// # Errors
    /// [`Error::TargetOutOfRange`] for a negative target that is not `ignore_index`, [`Error::LengthMismatch`],
    /// [`Error::SizeTooLarge`], [`Error::InvalidStride`]. Nothing is written then.
    pub fn update<T: Element>(
        states: &mut [SoftmaxState],
        context: &Context,
        chunk: ClassChunk,
        logits: &[T],
        targets: Option<Indices<'_>>,
    ) -> Result<(), Error> {
        let chunk = chunk.check()?;
        check_elements(&chunk.layout, "logits", logits.len())?;
        check_length("states", states.len(), chunk.layout.samples)?;
        chunk.update(context, logits.into(), targets.map(IndexView::from), states.into())
    }

    /// Takes in what another state of the same row has seen. Which of both takes in the other makes no difference.
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

    /// Each row's loss (0 where it is ignored), and the logarithm of its sum of exponentials (-inf there).
    ///
    /// The loss is `(max - x_t) + log1p(rest)`, as that of [`CrossEntropy`](crate::CrossEntropy).
    ///
    /// # Errors
    /// [`Error::IncompleteState`] where a loss is asked for and a row's target was not seen once;
    /// [`Error::LengthMismatch`]. Nothing is written then.
    pub fn finish<T: Element>(
        states: &[SoftmaxState],
        context: &Context,
        loss: Option<&mut [T]>,
        lse: Option<&mut [T]>,
    ) -> Result<(), Error> {
        for (name, out) in [("loss", &loss), ("lse", &lse)] {
            out.as_ref().map_or(Ok(()), |out| check_length(name, out.len(), states.len()))?;
        }
        finish(context, states.into(), loss.map(Out::from), lse.map(Out::from))
    }

    /// The gradient of a chunk's logits, once its rows' states have seen all classes: `row_weight grad_scale (p_j - q_j)`
    /// with q_j = 1 for the target and 0 elsewhere; 0 for ignored rows. Without targets it is that of the logarithm of
    /// the sum of exponentials.
    ///
    /// For the mean over a batch, `grad_scale` is 1 / the number of rows that count (or their weights' sum).
    ///
    /// # Errors
    /// As [`update`](Self::update); [`Error::NanOption`] if `grad_scale` is NaN.
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
        let chunk = chunk.check()?;
        check_elements(&chunk.layout, "logits", logits.len())?;
        check_elements(&chunk.layout, "grad", grad.len())?;
        let row_weight = row_weight.map(In::from);
        check_rows(&chunk, states, row_weight)?;
        let targets = targets.map(IndexView::from);
        chunk.grad(context, logits.into(), targets, states.into(), row_weight, grad_scale, grad.into())
    }

    /// As [`grad`](Self::grad), written where the logits stood.
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
        let chunk = chunk.check()?;
        check_elements(&chunk.layout, "logits", logits.len())?;
        let row_weight = row_weight.map(In::from);
        check_rows(&chunk, states, row_weight)?;
        let (logits, grad) = in_place(logits);
        chunk.grad(context, logits, targets.map(IndexView::from), states.into(), row_weight, grad_scale, grad)
    }
}

fn check_rows<T: Copy>(
    chunk: &CheckedChunk,
    states: &[SoftmaxState],
    row_weight: Option<In<'_, T>>,
) -> Result<(), Error> {
    check_length("states", states.len(), chunk.layout.samples)?;
    check_optional("row_weight", row_weight, chunk.layout.samples)
}

pub(crate) fn finish<T: Element>(
    context: &Context,
    states: In<'_, SoftmaxState>,
    loss: Option<Out<'_, T>>,
    lse: Option<Out<'_, T>>,
) -> Result<(), Error> {
    if loss.is_some() {
        for row in 0..states.len() {
            let times = states.get(row).seen;
            if times != 1.0 && times != f64::INFINITY {
                return Err(Error::IncompleteState { row, times });
            }
        }
    }
    in_environment(|here| T::reduce(here, context, Work::StateFinish(&Finish { states, loss, lse })));
    Ok(())
}

pub(crate) fn merge(context: &Context, into: Out<'_, SoftmaxState>, from: In<'_, SoftmaxState>) {
    in_environment(|here| softmax_state::merge(here, context, into, from));
}
