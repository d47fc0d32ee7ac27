//! What is known of a row of a softmax while its classes come in pieces.

/// What was seen of a row of logits: enough for its loss, its logarithm of the sum of exponentials, and its gradient.
///
/// For classes that come in pieces: streamed, mapped from a file, or shared out among machines. Pieces come in any order;
/// states of different pieces [merge](Self::merge) in any order, too. A state holds the largest logit and the sum of the
/// others' exponentials relative to it, in twice the precision of `f64`, so the loss is within 2 units in the last
/// place of [`CrossEntropy`](crate::CrossEntropy)'s, whatever the pieces.
///
/// ```
/// use losskit::{ClassChunk, Context, Indices, SoftmaxState};
/// let context = Context::default();
/// let targets = Indices::I64(&[3]);
///
/// // classes 0 and 1 here, 2 and 3 there
/// let (mut here, mut there) = ([SoftmaxState::new()], [SoftmaxState::new()]);
/// let (low, high) = (ClassChunk::new(1, 2, 0), ClassChunk::new(1, 2, 2));
/// SoftmaxState::update(&mut here, &context, low, &[0.0f32, 0.0], Some(targets))?;
/// SoftmaxState::update(&mut there, &context, high, &[0.0f32, 0.0], Some(targets))?;
/// SoftmaxState::merge_all(&mut here, &context, &there)?;
///
/// let mut loss = [0.0f32];
/// SoftmaxState::finish(&here, &context, Some(&mut loss), None)?;
/// assert_eq!(loss, [4f32.ln()]);
/// let mut grad = [0.0f32; 2];
/// SoftmaxState::grad(&here, &context, high, &[0.0f32, 0.0], Some(targets), None, 1.0, &mut grad)?;
/// assert_eq!(grad, [0.25, -0.75]);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct SoftmaxState {
    /// The largest logit; -inf if there is none, NaN if there is no number.
    pub(crate) max: f64,
    /// Sum of the other exponentials, shifted: value and error. See `kernel/softmax_state.rs`.
    pub(crate) rest: f64,
    pub(crate) rest_error: f64,
    /// The target's logit; 0 until it is seen.
    pub(crate) target: f64,
    /// How often it was seen; infinity for a row that is ignored.
    pub(crate) seen: f64,
}

impl SoftmaxState {
    pub(crate) const EMPTY: Self =
        SoftmaxState { max: f64::NEG_INFINITY, rest: 0.0, rest_error: 0.0, target: 0.0, seen: 0.0 };

    #[inline(always)]
    pub(crate) fn numbers(self) -> [f64; 5] {
        [self.max, self.rest, self.rest_error, self.target, self.seen]
    }

    #[inline(always)]
    pub(crate) fn from_numbers([max, rest, rest_error, target, seen]: [f64; 5]) -> Self {
        SoftmaxState { max, rest, rest_error, target, seen }
    }
}
