//! Log-probabilities of some classes, entropies, and the gradient of both.

use super::classes::{Room, checked_layout, checked_layout_in_place, place_for, with_grad_strides};
use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::indices::{IndexView, Indices};
use crate::kernel::targets;
use crate::kernel::tokens::{TokenGradient, TokenRows, TokenStats};
use crate::options::{check_elements, check_length, check_optional};
use crate::shape::{ClassShape, Layout, WeightView};
use crate::simd::view::{In, Out, in_place};
use crate::simd::{Environment, in_environment};

/// The log-probabilities of chosen classes in each row (TRL's `selective_log_softmax`) and the entropy of each row.
///
/// ```text
/// log_probs[row][i] = log softmax(x)[index]      = -((max - x_index) + log1p(rest))
/// entropy[row]      = -(sum of p_j log p_j)      = log1p(rest) + (sum of p_j (max - x_j))
/// lse[row]          = log(sum of e^x_j)          = max + log1p(rest)
/// ```
/// where p = softmax(x), and `rest` is the sum of e^(x_j - max) over all classes but one that attains the maximum.
///
/// Trainers of language models need the log-probabilities of the sampled tokens from logits `[tokens][vocabulary]`, for
/// the probability ratios of PPO and GRPO, and sometimes the entropy. This computes both in a single pass over the
/// logits, like cross-entropy, and writes no array of their size. [`backward`](Self::backward) computes the gradient
/// with respect to the logits from the gradients with respect to these outputs.
///
/// - Shapes: `logits` has rows of contiguous classes ([`ClassShape`] with `inner` 1; rows may be padded), or else the
///   gradient has, with strides of its own ([`ClassShape::dense_grad`]). `indices` and `log_probs` are
///   `[rows][per_row]`, and `entropy` and `lse` are `[rows]`. A row may contain the same index several times.
/// - `ignore_index`: the log-probability of an ignored index is 0, and its gradient is not read. If all indices of a
///   row are ignored, the row is ignored: its logits are not read, and all its outputs and its gradient are 0. Use
///   `ignore_index` for the tokens of the prompt and for padding. Without indices no row is ignored.
/// - Logits of -inf mask their classes: p_j = 0, which adds 0 to the entropy, and the log-probability is -inf. A row is
///   NaN if a logit is NaN, if all are -inf (`lse` is -inf then), or if several are +inf.
///
/// The following example is a step of GRPO, for two sampled tokens of a vocabulary of three with advantages 1 and -1,
/// and an entropy bonus:
///
/// ```
/// use losskit::{ClassShape, Context, Indices, SelectiveLogSoftmax, TokenGrads, TokenOutputs};
/// let (context, shape) = (Context::default(), ClassShape::rows(2, 3));
/// let logits = [1.0f32, 2.0, 0.5, 0.0, 0.0, 0.0];
/// let (tokens, advantages) = (Indices::I64(&[1, 2]), [1.0, -1.0]);
/// let (old_log_probs, bonus) = ([-0.5f32, -1.0], 0.01);
///
/// let token = SelectiveLogSoftmax::new();
/// let (mut log_probs, mut entropy) = ([0.0f32; 2], [0.0f32; 2]);
/// let outputs = TokenOutputs::new().log_probs(&mut log_probs).entropy(&mut entropy);
/// token.eval(&context, shape, &logits, Some(tokens), outputs)?;
/// assert_eq!((log_probs[1], entropy[1]), (-3f32.ln(), 3f32.ln()));
///
/// // loss = mean of -min(ratio A, clip(ratio) A) - bonus entropy
/// let (mut grad_log_probs, grad_entropy) = ([0.0; 2], [-bonus / 2.0; 2]);
/// for i in 0..2 {
///     let ratio = (log_probs[i] - old_log_probs[i]).exp();
///     let clipped = ratio.clamp(0.8, 1.2) * advantages[i];
///     let flows = ratio * advantages[i] <= clipped;
///     grad_log_probs[i] = if flows { -ratio * advantages[i] / 2.0 } else { 0.0 };
/// }
/// let grads = TokenGrads::new().log_probs(&grad_log_probs).entropy(&grad_entropy);
/// let mut grad = [0.0f32; 6];
/// token.backward(&context, shape, &logits, Some(tokens), grads, &mut grad)?;
/// assert!(grad[1] < 0.0 && grad[0] > 0.0);                // token 1 of the first row becomes more likely
/// assert!(grad[5] > 0.0 && grad[3] < 0.0);                // token 2 of the second row less
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SelectiveLogSoftmax {
    per_row: usize,
    ignore_index: i64,
    accumulate_grad: bool,
}

impl SelectiveLogSoftmax {
    /// One index for each row, `ignore_index` -100; gradients overwrite the output array.
    pub const fn new() -> Self {
        SelectiveLogSoftmax { per_row: 1, ignore_index: -100, accumulate_grad: false }
    }
    /// The number of indices for each row.
    pub const fn per_row(mut self, indices: usize) -> Self {
        self.per_row = indices;
        self
    }
    /// Entries with this index are ignored (padding).
    pub const fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = index;
        self
    }
    /// Whether the gradient is added to the contents of the array instead of overwriting them. It is computed first and
    /// then added with one rounding.
    pub const fn accumulate_grad(mut self, accumulate: bool) -> Self {
        self.accumulate_grad = accumulate;
        self
    }

    /// Computes the outputs that `outputs` contains, in one pass. Each output has the same bits whichever others are
    /// computed.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] (also for log-probabilities without indices); [`Error::TargetOutOfRange`] for an index
    /// that is neither a class nor `ignore_index`; [`Error::UnsupportedOption`] if the classes of the shape are not
    /// contiguous; [`Error::SizeTooLarge`]; [`Error::InvalidStride`]; [`Error::OutOfMemory`], as
    /// [`ClassShape::dense_grad`] describes. After an error nothing was written.
    pub fn eval<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &[T],
        indices: Option<Indices<'_>>,
        outputs: TokenOutputs<'_, T>,
    ) -> Result<(), Error> {
        let layout = checked_layout(shape, "logits", logits.len())?;
        let TokenOutputs { log_probs, entropy, lse } = outputs;
        let [log_probs, entropy, lse] = [log_probs, entropy, lse].map(|out| out.map(Out::from));
        let outputs = TokenOutputViews { log_probs, entropy, lse };
        self.run(context, layout, logits.into(), indices.map(IndexView::from), outputs)
    }

    /// Computes the gradient with respect to the logits from the gradients g, h and l with respect to the
    /// log-probabilities, the entropy and lse:
    ///
    /// ```text
    /// grad_j = (sum of g_i where index i is j) - p_j (sum of g_i) - h p_j (log p_j + entropy) + l p_j
    /// ```
    ///
    /// `grad` has the shape of `logits`. Its error is at most 4 units in the last place of the larger of two sums: that
    /// of the positive terms and that of the negative terms, where g (1 - p_j) of a class's own index is one term. The
    /// outputs of [`eval`](Self::eval) are not needed.
    ///
    /// # Errors
    /// As [`eval`](Self::eval).
    pub fn backward<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &[T],
        indices: Option<Indices<'_>>,
        grads: TokenGrads<'_, T>,
        grad: &mut [T],
    ) -> Result<(), Error> {
        let layout = checked_layout(shape, "logits", logits.len())?;
        check_elements(&layout.of_grad(), "grad", grad.len())?;
        self.run_backward(context, layout, logits.into(), indices.map(IndexView::from), grads.into(), grad.into())
    }

    /// Like [`backward`](Self::backward), with the same bits, but overwrites the logits with their gradient. With a
    /// gradient of the entropy it takes longer: the logits must be kept until the end, so exponentials are computed
    /// twice.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and [`Error::PartialOverlap`] if the gradient would be accumulated.
    pub fn backward_in_place<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &mut [T],
        indices: Option<Indices<'_>>,
        grads: TokenGrads<'_, T>,
    ) -> Result<(), Error> {
        let layout = checked_layout_in_place(shape, "logits", logits.len())?;
        if self.accumulate_grad {
            return Err(Error::PartialOverlap { first: "logits", second: "grad", accumulates: true });
        }
        let (logits, grad) = in_place(logits);
        self.run_backward(context, layout, logits, indices.map(IndexView::from), grads.into(), grad)
    }

    pub(crate) fn run<T: Element>(
        &self,
        context: &Context,
        layout: Layout,
        logits: In<'_, T>,
        indices: Option<IndexView<'_>>,
        outputs: TokenOutputViews<'_, T>,
    ) -> Result<(), Error> {
        let TokenOutputViews { log_probs, entropy, lse } = outputs;
        in_environment(|here| {
            let log_probs_len = log_probs.map(|view| view.as_in().len());
            let mut rows = self.rows(here, context, layout, logits, indices, ("log_probs", log_probs_len))?;
            for (name, view) in [("entropy", entropy), ("lse", lse)] {
                check_optional(name, view.map(Out::as_in), layout.samples)?;
            }
            if log_probs.is_some() || entropy.is_some() || lse.is_some() {
                let mut room = Room::default();
                let place = place_for(layout, None, &mut room)?;
                rows.logits = with_grad_strides(here, context, layout, logits, place);
                T::reduce(here, context, Work::TokenStats(&TokenStats { rows, log_probs, entropy, lse }));
            }
            Ok(())
        })
    }

    pub(crate) fn run_backward<T: Element>(
        &self,
        context: &Context,
        layout: Layout,
        logits: In<'_, T>,
        indices: Option<IndexView<'_>>,
        grads: TokenGradViews<'_, T>,
        grad: Out<'_, T>,
    ) -> Result<(), Error> {
        let TokenGradViews { log_probs, entropy, lse } = grads;
        in_environment(|here| {
            let log_probs_len = log_probs.map(In::len);
            let mut rows = self.rows(here, context, layout, logits, indices, ("grad_log_probs", log_probs_len))?;
            for (name, view) in [("grad_entropy", entropy), ("grad_lse", lse)] {
                check_optional(name, view, layout.samples)?;
            }
            let accumulate = self.accumulate_grad;
            let mut room = Room::default();
            let place = place_for(layout, if accumulate { None } else { Some(grad) }, &mut room)?;
            rows.logits = with_grad_strides(here, context, layout, logits, place);
            let call = TokenGradient { rows, log_probs, entropy, lse, accumulate, grad };
            T::reduce(here, context, Work::TokenGradient(&call));
            Ok(())
        })
    }

    /// The number of entries of `[rows][per_row]`, if there are indices.
    pub(crate) fn entries(&self, rows: usize) -> Result<usize, Error> {
        rows.checked_mul(self.per_row).ok_or(Error::SizeTooLarge { name: "indices" })
    }

    /// The inputs of a call, after all checks. Their layout is that of the gradient; the caller must replace the logits
    /// by a copy with its strides.
    fn rows<'a, T: Element>(
        &self,
        here: Environment,
        context: &Context,
        layout: Layout,
        logits: In<'a, T>,
        indices: Option<IndexView<'a>>,
        (name, log_probs): (&'static str, Option<usize>),
    ) -> Result<TokenRows<'a, T>, Error> {
        let layout = layout.of_grad();
        if !layout.is_rows() && layout.samples > 0 {
            return Err(Error::UnsupportedOption {
                name: if layout.inner == 1 { "shape.class_stride" } else { "shape.inner" },
            });
        }
        let entries = self.entries(layout.samples)?;
        if let Some(length) = log_probs {
            check_length(name, length, entries)?;
            check_length("indices", indices.map_or(0, |view| view.len()), entries)?;
        }
        if let Some(indices) = indices {
            check_length("indices", indices.len(), entries)?;
            let weights = WeightView::<T> { class: None, row: None };
            targets::check(here, context, indices, layout.classes, Some(self.ignore_index), weights)
                .map_err(|error| self.at_row(error))?;
        }
        let per_row = if indices.is_some() { self.per_row } else { 0 };
        Ok(TokenRows { layout, logits, indices, per_row, ignore_index: self.ignore_index })
    }

    /// Converts the number of an entry that is out of range to that of its row.
    fn at_row(&self, error: Error) -> Error {
        match error {
            Error::TargetOutOfRange { target, row, classes } => {
                Error::TargetOutOfRange { target, row: row / self.per_row.max(1), classes }
            }
            error => error,
        }
    }
}

impl Default for SelectiveLogSoftmax {
    fn default() -> Self {
        Self::new()
    }
}

/// The output arrays of [`SelectiveLogSoftmax`]. An output without an array is not computed.
#[derive(Debug)]
pub struct TokenOutputs<'a, T> {
    log_probs: Option<&'a mut [T]>,
    entropy: Option<&'a mut [T]>,
    lse: Option<&'a mut [T]>,
}

impl<'a, T> TokenOutputs<'a, T> {
    /// No outputs.
    pub const fn new() -> Self {
        TokenOutputs { log_probs: None, entropy: None, lse: None }
    }
    /// The log-probability of each index, `[rows][per_row]`.
    pub fn log_probs(mut self, log_probs: &'a mut [T]) -> Self {
        self.log_probs = Some(log_probs);
        self
    }
    /// The entropy of each row, in nats.
    pub fn entropy(mut self, entropy: &'a mut [T]) -> Self {
        self.entropy = Some(entropy);
        self
    }
    /// The logarithm of the sum of exponentials of each row (PyTorch's `logsumexp`).
    pub fn lse(mut self, lse: &'a mut [T]) -> Self {
        self.lse = Some(lse);
        self
    }
}

impl<T> Default for TokenOutputs<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The gradients with respect to the outputs of [`SelectiveLogSoftmax`]. Those that are not given are 0.
#[derive(Clone, Copy, Debug)]
pub struct TokenGrads<'a, T> {
    log_probs: Option<&'a [T]>,
    entropy: Option<&'a [T]>,
    lse: Option<&'a [T]>,
}

impl<'a, T> TokenGrads<'a, T> {
    /// No gradients.
    pub const fn new() -> Self {
        TokenGrads { log_probs: None, entropy: None, lse: None }
    }
    /// The gradient with respect to each log-probability, `[rows][per_row]`.
    pub const fn log_probs(mut self, grads: &'a [T]) -> Self {
        self.log_probs = Some(grads);
        self
    }
    /// The gradient with respect to the entropy of each row.
    pub const fn entropy(mut self, grads: &'a [T]) -> Self {
        self.entropy = Some(grads);
        self
    }
    /// The gradient with respect to the logarithm of the sum of exponentials of each row.
    pub const fn lse(mut self, grads: &'a [T]) -> Self {
        self.lse = Some(grads);
        self
    }
}

impl<T> Default for TokenGrads<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// [`TokenOutputs`] as views.
pub(crate) struct TokenOutputViews<'a, T> {
    pub log_probs: Option<Out<'a, T>>,
    pub entropy: Option<Out<'a, T>>,
    pub lse: Option<Out<'a, T>>,
}

/// [`TokenGrads`] as views.
pub(crate) struct TokenGradViews<'a, T> {
    pub log_probs: Option<In<'a, T>>,
    pub entropy: Option<In<'a, T>>,
    pub lse: Option<In<'a, T>>,
}

impl<'a, T> From<TokenGrads<'a, T>> for TokenGradViews<'a, T> {
    fn from(grads: TokenGrads<'a, T>) -> Self {
        TokenGradViews {
            log_probs: grads.log_probs.map(In::from),
            entropy: grads.entropy.map(In::from),
            lse: grads.lse.map(In::from),
        }
    }
}
