//! The entropy of each row of a softmax.

use super::element::Element;
use super::selective_log_softmax::{SelectiveLogSoftmax, TokenGrads, TokenOutputs};
use crate::context::Context;
use crate::error::Error;
use crate::shape::ClassShape;

/// The entropy of each row's distribution, in nats (PyTorch's `Categorical(logits=x).entropy()`).
///
/// ```text
/// entropy = -(sum of p_j log p_j) = log1p(rest) + (sum of p_j (max - x_j)),     p = softmax(x)
/// grad_j  = -h p_j (log p_j + entropy),     h the gradient with respect to the row's entropy
/// ```
/// with `rest` the sum of e^(x_j - max) but for one maximum's: both terms of the entropy are positive, nothing cancels.
///
/// Rows of contiguous classes only ([`ClassShape`] with `inner` 1). Logits of -inf are masked classes and add 0. All
/// -inf, or +inf twice: NaN. With log-probabilities in the same pass: [`SelectiveLogSoftmax`], of which this is a part.
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
    /// Gradients written (not added).
    pub const fn new() -> Self {
        Entropy { accumulate_grad: false }
    }
    /// Add the gradient to what is there (one addition of what would have been written).
    pub const fn accumulate_grad(mut self, accumulate: bool) -> Self {
        self.accumulate_grad = accumulate;
        self
    }

    /// Each row's entropy.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::UnsupportedOption`] for a shape whose classes are not contiguous,
    /// [`Error::SizeTooLarge`], [`Error::InvalidStride`]. Nothing is written then.
    pub fn eval<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &[T],
        entropy: &mut [T],
    ) -> Result<(), Error> {
        self.token().eval(context, shape, logits, None, TokenOutputs::new().entropy(entropy))
    }

    /// The gradient with respect to the logits, from that with respect to the entropies.
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

    /// As [`backward`](Self::backward), written where the logits stood: the same bits.
    ///
    /// # Errors
    /// As [`eval`](Self::eval); [`Error::PartialOverlap`] if the gradient is to be accumulated.
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
