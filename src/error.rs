//! The errors of calls.

use core::fmt::{self, Display, Formatter, Write};

/// An error. After an error no output was written, except for [`Error::Panic`].
///
/// Each variant has the name of a C status: [`Error::TargetOutOfRange`] is `LK_TARGET_OUT_OF_RANGE`. [`Error::status`]
/// gives the number of this status, which never changes.
///
/// ```
/// use losskit::{Error, Mse};
/// let error = Mse::new().mean(&[1.0f32, 2.0], &[1.0]).unwrap_err();
/// assert_eq!(error.to_string(), "target has 1 elements, 2 are needed");
/// assert_eq!(error.status(), -3);
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // fields say what the message says
pub enum Error {
    /// A required pointer is null.
    #[error("{name} is null")]
    NullPointer { name: &'static str },
    /// A pointer is not aligned for its element type.
    #[error("{name} is not aligned to {alignment} bytes")]
    Misaligned { name: &'static str, alignment: usize },
    /// The length of an array does not fit the shape or the other arrays.
    #[error("{name} has {length} elements, {needed} are needed")]
    LengthMismatch { name: &'static str, length: usize, needed: usize },
    /// An array of this size would not fit into the address space.
    #[error("{name} would take more bytes than an address can count")]
    SizeTooLarge { name: &'static str },
    /// Two arrays overlap in a way that is not allowed. Only the gradient may overlap an input: it may replace the
    /// input exactly, element by element, and only if it is not accumulated.
    #[error("{first} and {second} overlap{}", if *accumulates { IN_PLACE_AND_ACCUMULATED } else { "" })]
    PartialOverlap {
        first: &'static str,
        second: &'static str,
        /// Whether the two arrays may be the same for a gradient that is overwritten, but this one is accumulated.
        accumulates: bool,
    },
    /// With these strides two different elements would have the same address.
    #[error("outer stride {outer_stride} and class stride {class_stride} let elements coincide")]
    InvalidStride { outer_stride: usize, class_stride: usize },
    /// A constant is unknown to this version, or is not allowed for this argument.
    #[error("{name} is {}, must be {expected}", Constant { value: *value, known_as })]
    UnknownConstant {
        name: &'static str,
        value: i64,
        /// The name of the constant in C; empty if it is unknown.
        known_as: &'static str,
        /// The constants that are allowed.
        expected: &'static str,
    },
    /// A target or an action is neither a valid class index nor `ignore_index`.
    #[error("target {target} at row {row} must {}", Range { target: *target, classes: *classes })]
    TargetOutOfRange { target: i64, row: usize, classes: usize },
    /// Huber's delta must be greater than 0.
    #[error("delta {} {}", Shortest(*value), not_positive(*value))]
    InvalidDelta { value: f64 },
    /// Smooth L1's beta must not be negative; distillation's beta must be from 0 to 1.
    #[error("beta {} is outside its range, or not a number", Shortest(*value))]
    InvalidBeta { value: f64 },
    /// Label smoothing must be from 0 to 1.
    #[error("label_smoothing {} is outside [0, 1]", Shortest(*value))]
    InvalidLabelSmoothing { value: f64 },
    /// An option is NaN.
    #[error("{name} is NaN")]
    NanOption { name: &'static str },
    /// The size field of a struct is smaller than that struct was in its first version.
    #[error("{name}.struct_size is {size}, at least {needed} is needed")]
    InvalidStructSize { name: &'static str, size: usize, needed: usize },
    /// An option from a newer caller that this version does not know, or a combination of arguments that the function
    /// does not support.
    #[error("{name} is not supported")]
    UnsupportedOption { name: &'static str },
    /// The target of a row was in none of the classes that were added to its softmax state, or was added more than
    /// once.
    #[error("the target of row {row} was seen {} times, not once", Shortest(*times))]
    IncompleteState { row: usize, times: f64 },
    /// Distillation's temperature must be from 1e-9 to 1e9.
    #[error("temperature {} is outside [1e-9, 1e9]", Shortest(*value))]
    InvalidTemperature { value: f64 },
    /// A soft cap must be 0 or a positive, normal number of the element type.
    #[error("soft_cap {} is not a positive number of the element type", Shortest(*value))]
    InvalidSoftCap { value: f64 },
    /// The call could not allocate the working memory that it needs.
    #[error("{bytes} bytes of memory could not be had")]
    OutOfMemory { bytes: usize },
    /// More than [`Context::MAX_THREADS`](crate::Context::MAX_THREADS) threads were requested for a context.
    #[error("{threads} threads are more than {most}")]
    TooManyThreads { threads: usize, most: usize },
    /// An internal error of this library. Some outputs may have been written.
    #[error("internal error: {message}")]
    Panic { message: &'static str },
}

impl Error {
    /// The number of the C status with this name.
    pub const fn status(&self) -> i32 {
        match self {
            Error::NullPointer { .. } => -1,
            Error::Misaligned { .. } => -2,
            Error::LengthMismatch { .. } => -3,
            Error::SizeTooLarge { .. } => -4,
            Error::PartialOverlap { .. } => -5,
            Error::InvalidStride { .. } => -6,
            Error::UnknownConstant { .. } => -7,
            Error::TargetOutOfRange { .. } => -8,
            Error::InvalidDelta { .. } => -9,
            Error::InvalidBeta { .. } => -10,
            Error::InvalidLabelSmoothing { .. } => -11,
            Error::NanOption { .. } => -12,
            Error::InvalidStructSize { .. } => -13,
            Error::UnsupportedOption { .. } => -14,
            Error::Panic { .. } => -15,
            Error::IncompleteState { .. } => -16,
            Error::InvalidTemperature { .. } => -17,
            Error::InvalidSoftCap { .. } => -18,
            Error::OutOfMemory { .. } => -19,
            Error::TooManyThreads { .. } => -20,
        }
    }
}

const IN_PLACE_AND_ACCUMULATED: &str =
    "; a gradient may take its input's place, but not with accumulate_grad (LK_ACCUMULATE_GRAD)";

/// A number in its shortest form, with an exponent if that is shorter: 0.5, 1e-300. A number that `f32` can represent
/// is written with as many digits as are needed to distinguish it from other numbers of `f32`: 0.1 for `0.1f32`.
struct Shortest(f64);

impl Display for Shortest {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let narrow = self.0 as f32;
        // bits are compared, because the caller may have enabled a mode that treats subnormal numbers as 0
        if f64::from(narrow).to_bits() == self.0.to_bits() { shorter(narrow, out) } else { shorter(self.0, out) }
    }
}

fn shorter<T: Display + fmt::LowerExp>(number: T, out: &mut Formatter<'_>) -> fmt::Result {
    let (mut plain, mut scientific) = (Length(0), Length(0));
    write!(plain, "{number}")?;
    write!(scientific, "{number:e}")?;
    if scientific.0 < plain.0 { write!(out, "{number:e}") } else { write!(out, "{number}") }
}

/// Counts the bytes of a text without storing it.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Describes what is wrong with a delta. A delta that is greater than 0 may still be 0 in a narrower type. Looks at the
/// bits, because the caller may have enabled a mode that treats subnormal numbers as 0.
fn not_positive(value: f64) -> &'static str {
    let is_positive = value.to_bits() != 0 && value.is_sign_positive() && !value.is_nan();
    if is_positive { "is 0 in the element type, must be greater than 0" } else { "is not greater than 0" }
}

/// A constant of the C header, by number and name.
struct Constant<'a> {
    value: i64,
    known_as: &'a str,
}

impl Display for Constant<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.known_as {
            "" => write!(out, "{}", self.value),
            name => write!(out, "{name} ({})", self.value),
        }
    }
}

/// Describes the valid values of an index that is invalid.
struct Range {
    target: i64,
    classes: usize,
}

impl Display for Range {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.target < 0 {
            true => out.write_str("not be negative"),
            false => write!(out, "be below {}", self.classes),
        }
    }
}
