//! Log-probabilities of some classes, entropies, and the gradient of both.

use super::classes::checked_layout;
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

/// Log-probabilities of chosen classes of each row (TRL's `selective_log_softmax`), and each row's entropy.
///
/// ```text
/// log_probs[row][i] = log softmax(x)[index]      = -((max - x_index) + log1p(rest))
/// entropy[row]      = -(sum of p_j log p_j)      = log1p(rest) + (sum of p_j (max - x_j))
/// lse[row]          = log(sum of e^x_j)          = max + log1p(rest)
/// ```
/// with p = softmax(x) and `rest` the sum of e^(x_j - max) but for one maximum's.
///
/// What a language model's trainer wants of logits `[tokens][vocabulary]`: the log-probabilities of the tokens that were
/// sampled, for the ratios of PPO and GRPO, with or without the entropy, in the one pass over the logits that
/// cross-entropy takes. Nothing of the logits' size is written. [`backward`](Self::backward) takes the gradients with
/// respect to these outputs back to the logits.
///
/// - Shapes: `logits` has rows of classes ([`ClassShape`] with `inner` 1; rows may be padded), `indices` and `log_probs`
///   `[rows][per_row]`, `entropy` and `lse` `[rows]`. The same index may stand in a row several times.
/// - `ignore_index`: the log-probability of an index that is ignored is 0, and its gradient is neither read nor counted. A row
///   whose indices are all ignored does not count: its logits are not read, all its outputs and its gradient are 0.
///   So mask the indices of the prompt and of padding. Without indices every row counts.
/// - Logits of -inf are masked classes: p_j = 0, which adds 0 to the entropy; their log-probability is -inf. All -inf, or
///   +inf twice: NaN (`lse` of nothing but -inf is -inf). NaN in is NaN out for that row.
///
/// A step of GRPO, for two sampled tokens of a vocabulary of three with advantages 1 and -1, and an entropy bonus:
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
    /// One index a row, `ignore_index` -100, gradients written (not added).
    pub const fn new() -> Self {
        SelectiveLogSoftmax { per_row: 1, ignore_index: -100, accumulate_grad: false }
    }
    /// Indices of each row.
    pub const fn per_row(mut self, indices: usize) -> Self {
        self.per_row = indices;
        self
    }
    /// The index that stands for none.
    pub const fn ignore_index(mut self, index: i64) -> Self {
        self.ignore_index = index;
        self
    }
    /// Add the gradient to what is there (one addition of what would have been written).
    pub const fn accumulate_grad(mut self, accumulate: bool) -> Self {
        self.accumulate_grad = accumulate;
        self
    }

    /// What `outputs` asks for, in one pass. What is asked for changes no bit of it.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] (also where log-probabilities are asked for without indices),
    /// [`Error::TargetOutOfRange`] for an index that is no class and not `ignore_index`,
    /// [`Error::UnsupportedOption`] for a shape whose classes are not contiguous, [`Error::SizeTooLarge`],
    /// [`Error::InvalidStride`]. Nothing is written then.
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

    /// The gradient with respect to the logits, from the gradients with respect to the outputs: with g, h and l those of
    /// log-probabilities, entropy and lse,
    ///
    /// ```text
    /// grad_j = (sum of g_i where index i is j) - p_j (sum of g_i) - h p_j (log p_j + entropy) + l p_j
    /// ```
    ///
    /// `grad` has the shape of `logits`. Off by at most 4 units in the last place of the larger of two sums, that of the
    /// positive and that of the negative terms, a class's own g (1 - p_j) being one. It takes the logits, and
    /// nothing that [`eval`](Self::eval) gave.
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
        check_elements(&layout, "grad", grad.len())?;
        self.run_backward(context, layout, logits.into(), indices.map(IndexView::from), grads.into(), grad.into())
    }

    /// As [`backward`](Self::backward), written where the logits stood: the same bits. With a gradient of the entropy it
    /// takes longer, for the logits are needed to the end and exponentials are made twice.
    ///
    /// # Errors
    /// As [`eval`](Self::eval); [`Error::PartialOverlap`] if the gradient is to be accumulated.
    pub fn backward_in_place<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &mut [T],
        indices: Option<Indices<'_>>,
        grads: TokenGrads<'_, T>,
    ) -> Result<(), Error> {
        let layout = checked_layout(shape, "logits", logits.len())?;
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
            let rows = self.rows(here, context, layout, logits, indices, ("log_probs", log_probs_len))?;
            for (name, view) in [("entropy", entropy), ("lse", lse)] {
                check_optional(name, view.map(Out::as_in), layout.samples)?;
            }
            if log_probs.is_some() || entropy.is_some() || lse.is_some() {
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
            let rows = self.rows(here, context, layout, logits, indices, ("grad_log_probs", log_probs_len))?;
            for (name, view) in [("grad_entropy", entropy), ("grad_lse", lse)] {
                check_optional(name, view, layout.samples)?;
            }
            let accumulate = self.accumulate_grad;
            let call = TokenGradient { rows, log_probs, entropy, lse, accumulate, grad };
            T::reduce(here, context, Work::TokenGradient(&call));
            Ok(())
        })
    }

    /// Entries of `[rows][per_row]`, if there are indices.
    pub(crate) fn entries(&self, rows: usize) -> Result<usize, Error> {
        rows.checked_mul(self.per_row).ok_or(Error::SizeTooLarge { name: "indices" })
    }

    fn rows<'a, T: Element>(
        &self,
        here: Environment,
        context: &Context,
        layout: Layout,
        logits: In<'a, T>,
        indices: Option<IndexView<'a>>,
        (name, log_probs): (&'static str, Option<usize>),
    ) -> Result<TokenRows<'a, T>, Error> {
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

    /// Of an entry that is out of range, its row.
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

/// Where the outputs of [`SelectiveLogSoftmax`] go: what is not asked for is not computed.
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
    /// Each row's entropy, in nats.
    pub fn entropy(mut self, entropy: &'a mut [T]) -> Self {
        self.entropy = Some(entropy);
        self
    }
    /// Each row's logarithm of the sum of exponentials (PyTorch's `logsumexp`).
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

/// The gradients with respect to the outputs of [`SelectiveLogSoftmax`]: those that are not given are 0.
#[derive(Clone, Copy, Debug)]
pub struct TokenGrads<'a, T> {
    log_probs: Option<&'a [T]>,
    entropy: Option<&'a [T]>,
    lse: Option<&'a [T]>,
}

impl<'a, T> TokenGrads<'a, T> {
    /// None.
    pub const fn new() -> Self {
        TokenGrads { log_probs: None, entropy: None, lse: None }
    }
    /// With respect to each log-probability, `[rows][per_row]`.
    pub const fn log_probs(mut self, grads: &'a [T]) -> Self {
        self.log_probs = Some(grads);
        self
    }
    /// With respect to each row's entropy.
    pub const fn entropy(mut self, grads: &'a [T]) -> Self {
        self.entropy = Some(grads);
        self
    }
    /// With respect to each row's logarithm of the sum of exponentials.
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
