//! The state of the softmax of a row whose classes come in chunks.

/// The softmax of one row of logits whose classes come in chunks: what has been added so far determines the loss, the
/// logarithm of the sum of exponentials, and the gradient.
///
/// Use it if the classes are streamed, mapped from a file, or distributed over machines. Chunks may come in any order,
/// and states of different chunks [merge](Self::merge) in any order. A state holds the largest logit and the sum of the
/// other exponentials relative to it, with twice the precision of `f64`. So the loss is within 2 units in the last
/// place of [`CrossEntropy`](crate::CrossEntropy)'s, whatever the chunks.
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
    /// The sum of the other exponentials, scaled: its value and its rounding error. See `kernel/softmax_state.rs`.
    pub(crate) rest: f64,
    pub(crate) rest_error: f64,
    /// The logit of the target; 0 until it has been added.
    pub(crate) target: f64,
    /// How many times the target has been added; infinity for an ignored row.
    pub(crate) seen: f64,
    /// The class weight of the target; 0 until it has been added.
    pub(crate) target_weight: f64,
    pub(crate) spread: Spread,
}

/// The part of a state that is only for label smoothing; all 0 without it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct Spread {
    /// The number of classes that have been added.
    pub classes: f64,
    /// The sum of their weights: its value and its rounding error.
    pub weights: f64,
    pub weights_error: f64,
    /// The sum of class weight times max - x_j, times 2^-32: its value and its rounding error.
    pub gap: f64,
    pub gap_error: f64,
}

impl Spread {
    pub const NONE: Self = Spread { classes: 0.0, weights: 0.0, weights_error: 0.0, gap: 0.0, gap_error: 0.0 };
}

/// The numbers of a state without those for label smoothing.
pub(crate) const NUMBERS: usize = 6;

impl SoftmaxState {
    pub(crate) const EMPTY: Self = SoftmaxState {
        max: f64::NEG_INFINITY,
        rest: 0.0,
        rest_error: 0.0,
        target: 0.0,
        seen: 0.0,
        target_weight: 0.0,
        spread: Spread::NONE,
    };

    /// The class weight of the target of this row, or 1 without class weights. It is 0 for ignored rows and until the
    /// target has been added. For a mean over rows, divide the sum of their losses by the sum of these weights.
    pub const fn target_weight(&self) -> f64 {
        self.target_weight
    }

    #[inline(always)]
    pub(crate) fn numbers(&self) -> [f64; NUMBERS] {
        [self.max, self.rest, self.rest_error, self.target, self.seen, self.target_weight]
    }

    /// Without label smoothing.
    #[inline(always)]
    pub(crate) fn from_numbers([max, rest, rest_error, target, seen, target_weight]: [f64; NUMBERS]) -> Self {
        SoftmaxState { max, rest, rest_error, target, seen, target_weight, spread: Spread::NONE }
    }
}
