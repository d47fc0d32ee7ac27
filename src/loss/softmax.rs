//! Softmax and its logarithm, forwards and backwards.

use super::classes::{Room, checked_layout, checked_layout_in_place, place_for, with_grad_strides};
use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::factor::Factor;
use crate::kernel::class_backward::Backward;
use crate::kernel::softmax::{self, Goal};
use crate::options::check_elements;
use crate::shape::{ClassShape, Layout};
use crate::simd::in_environment;
use crate::simd::view::{In, Out, in_place};

/// Softmax over classes (PyTorch's `softmax`).
///
/// ```text
/// output = e^(x_j - max) / (sum of e^(x_i - max))
/// ```
///
/// Logits of -inf give 0. A sample is NaN if all its logits are -inf, or if several are +inf.
///
/// ```
/// use losskit::{ClassShape, Context, Softmax};
/// let (context, shape) = (Context::default(), ClassShape::rows(1, 2));
/// let mut p = [0.0f32; 2];
/// Softmax::new().eval(&context, shape, &[0.0, 3f32.ln()], &mut p)?;
/// assert!((p[0] - 0.25).abs() < 1e-6 && (p[1] - 0.75).abs() < 1e-6);
///
/// let mut grad = [0.0f32; 2];
/// Softmax::new().backward(&context, shape, &p, &[1.0, 0.0], &mut grad)?;
/// assert!((grad[0] - 0.1875).abs() < 1e-6);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softmax {}

/// The logarithm of the softmax over classes (PyTorch's `log_softmax`).
///
/// ```text
/// output = -((max - x_j) + log1p(rest))        rest: the sum of e^(x_i - max) but for one maximum's
/// ```
///
/// Logits of -inf give -inf. A sample is NaN if all its logits are -inf, or if several are +inf.
///
/// ```
/// use losskit::{ClassShape, Context, LogSoftmax};
/// let mut log_probs = [0.0f64; 2];
/// LogSoftmax::new().eval(&Context::default(), ClassShape::rows(1, 2), &[50.0, 0.0], &mut log_probs)?;
/// assert_eq!(log_probs, [-(-50f64).exp(), -50.0]);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSoftmax {}

macro_rules! distribution_methods {
    ($name: ident, $goal: expr, $log: expr) => {
        impl $name {
            /// No options.
            pub const fn new() -> Self {
                $name {}
            }

            /// Computes the output for each sample. `output` has the shape of `logits`, and may have strides of its own
            /// ([`ClassShape::dense_grad`]).
            ///
            /// # Errors
            /// [`Error::LengthMismatch`], [`Error::SizeTooLarge`], [`Error::InvalidStride`].
            pub fn eval<T: Element>(
                &self,
                context: &Context,
                shape: ClassShape,
                logits: &[T],
                output: &mut [T],
            ) -> Result<(), Error> {
                let layout = checked_layout(shape, "logits", logits.len())?;
                check_elements(&layout.of_grad(), "output", output.len())?;
                self.run(context, layout, logits.into(), output.into())
            }

            /// Like [`eval`](Self::eval), but overwrites the logits with the output.
            ///
            /// # Errors
            /// As [`eval`](Self::eval), and [`Error::UnsupportedOption`] if the output has strides of its own.
            pub fn eval_in_place<T: Element>(
                &self,
                context: &Context,
                shape: ClassShape,
                logits: &mut [T],
            ) -> Result<(), Error> {
                let layout = checked_layout_in_place(shape, "logits", logits.len())?;
                let (logits, output) = in_place(logits);
                self.run(context, layout, logits, output)
            }

            /// Computes the gradient with respect to the logits, from the output and the gradient with respect to it.
            /// `grad_input` may have strides of its own; `output` and `grad_output` have those of the shape.
            ///
            /// # Errors
            /// As [`eval`](Self::eval), and [`Error::OutOfMemory`] as [`ClassShape::dense_grad`] describes.
            pub fn backward<T: Element>(
                &self,
                context: &Context,
                shape: ClassShape,
                output: &[T],
                grad_output: &[T],
                grad_input: &mut [T],
            ) -> Result<(), Error> {
                let layout = checked_layout(shape, "output", output.len())?;
                check_elements(&layout, "grad_output", grad_output.len())?;
                check_elements(&layout.of_grad(), "grad_input", grad_input.len())?;
                self.run_backward(context, layout, output.into(), grad_output.into(), grad_input.into())
            }

            pub(crate) fn run<T: Element>(
                &self,
                context: &Context,
                layout: Layout,
                logits: In<'_, T>,
                output: Out<'_, T>,
            ) -> Result<(), Error> {
                let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
                in_environment(|here| {
                    let call = softmax::Softmax {
                        factor: Factor::ONE,
                        layout: layout.of_grad(),
                        logits: with_grad_strides(here, context, layout, logits, output),
                        goal: $goal,
                        class_weight: None,
                        row_weight: None,
                        loss: None,
                        grad: Some(output),
                        hess: None,
                        min_hess: None,
                        accumulate: false,
                        scale: [one, zero],
                        z_loss: None,
                        soft_cap: None,
                        needs_total: false,
                        correct: None,
                    };
                    T::reduce(here, context, Work::Softmax(&call));
                    Ok(())
                })
            }

            pub(crate) fn run_backward<T: Element>(
                &self,
                context: &Context,
                layout: Layout,
                output: In<'_, T>,
                grad_output: In<'_, T>,
                grad_input: Out<'_, T>,
            ) -> Result<(), Error> {
                in_environment(|here| {
                    let mut room = Room::default();
                    let place = place_for(layout, None, &mut room)?;
                    let call = Backward {
                        layout: layout.of_grad(),
                        output: with_grad_strides(here, context, layout, output, place),
                        grad_output: with_grad_strides(here, context, layout, grad_output, grad_input),
                        grad_input,
                        log: $log,
                    };
                    T::reduce(here, context, Work::SoftmaxBackward(&call));
                    Ok(())
                })
            }
        }
    };
}
distribution_methods! { Softmax, Goal::Softmax, false }
distribution_methods! { LogSoftmax, Goal::LogSoftmax, true }
