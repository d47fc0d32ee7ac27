//! The entropy of each row of a softmax.

use super::element::Element;
use super::selective_log_softmax::{SelectiveLogSoftmax, TokenGrads, TokenOutputs};
use crate::context::Context;
use crate::error::Error;
use crate::shape::ClassShape;

/// The entropy of the softmax of each row, in nats (PyTorch's `Categorical(logits=x).entropy()`).
///
/// ```text
/// entropy = -(sum of p_j log p_j) = log1p(rest) + (sum of p_j (max - x_j)),     p = softmax(x)
/// grad_j  = -h p_j (log p_j + entropy),     h the gradient with respect to the row's entropy
/// ```
/// where `rest` is the sum of e^(x_j - max) over all classes but one that attains the maximum. Both terms of the
/// entropy are positive, so nothing cancels.
///
/// The classes of each row must be contiguous ([`ClassShape`] with `inner` 1); if the gradient has strides of its own
/// ([`ClassShape::dense_grad`]), its classes must be. Logits of -inf mask their classes and add 0. A row is NaN if all
/// its logits are -inf, or if several are +inf. To compute log-probabilities in the same pass, use
/// [`SelectiveLogSoftmax`].
///
/// ```
/// use losskit::{ClassShape, Context, Entropy};
/// let (context, shape) = (Context::default(), ClassShape::rows(2, 4));
/// let logits = [0.0f64, 0.0, 0.0, 0.0, 3.0, f64::NEG_INFINITY, 3.0, f64::NEG_INFINITY];
/// let mut entropy = [0.0; 2];
/// Entropy::new().eval(&context, shape, &logits, &mut entropy)?;
/// assert_eq!(entropy, [4f64.ln(), 2f64.ln()]);
///
/// let mut grad = [7.0; 8];
/// Entropy::new().backward(&context, shape, &logits, &[1.0, 1.0], &mut grad)?;
/// assert!(grad.iter().all(|x| x.abs() < 1e-16));          // neither can grow
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Entropy {
    accumulate_grad: bool,
}

impl Entropy {
    /// Gradients overwrite the output array.
    pub const fn new() -> Self {
        Entropy { accumulate_grad: false }
    }
    /// Whether the gradient is added to the contents of the array instead of overwriting them. It is computed first and
    /// then added with one rounding.
    pub const fn accumulate_grad(mut self, accumulate: bool) -> Self {
        self.accumulate_grad = accumulate;
        self
    }

    /// Computes the entropy of each row.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::SizeTooLarge`] and [`Error::InvalidStride`]; [`Error::UnsupportedOption`] if
    /// the classes of the shape are not contiguous; [`Error::OutOfMemory`], as [`ClassShape::dense_grad`] describes.
    /// After an error nothing was written.
    pub fn eval<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &[T],
        entropy: &mut [T],
    ) -> Result<(), Error> {
        self.token().eval(context, shape, logits, None, TokenOutputs::new().entropy(entropy))
    }

    /// Computes the gradient with respect to the logits from the gradient with respect to the entropies.
    ///
    /// # Errors
    /// As [`eval`](Self::eval).
    pub fn backward<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &[T],
        grad_entropy: &[T],
        grad: &mut [T],
    ) -> Result<(), Error> {
        self.token().backward(context, shape, logits, None, TokenGrads::new().entropy(grad_entropy), grad)
    }

    /// Like [`backward`](Self::backward), with the same bits, but overwrites the logits with their gradient.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and [`Error::PartialOverlap`] if the gradient would be accumulated.
    pub fn backward_in_place<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &mut [T],
        grad_entropy: &[T],
    ) -> Result<(), Error> {
        self.token().backward_in_place(context, shape, logits, None, TokenGrads::new().entropy(grad_entropy))
    }

    fn token(self) -> SelectiveLogSoftmax {
        SelectiveLogSoftmax::new().accumulate_grad(self.accumulate_grad)
    }
}
