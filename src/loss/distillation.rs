//! The divergence between a teacher's and a student's distribution.

use super::classes::{Room, checked_layout, checked_layout_in_place, place_for, with_grad_strides};
use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::distillation::{self as kernel, Divergence};
use crate::kernel::targets;
use crate::options::{Options, Outputs, Sinks, Summary, check_elements, check_optional};
use crate::shape::{ClassShape, Layout, Reduction};
use crate::simd::view::{In, in_place};
use crate::simd::{Total, in_environment};

/// Knowledge distillation: the divergence between the distributions of a student and a teacher, computed from the
/// logits of both at a temperature T (Hinton, Vinyals and Dean, 2015; the generalised Jensen-Shannon divergence of
/// Agarwal et al., "On-Policy Distillation of Language Models", 2024, `generalized_jsd_loss` of TRL's GKD trainer).
///
/// ```text
/// p = softmax(teacher / T), q = softmax(student / T), m = beta p + (1 - beta) q
/// beta = 0:  loss = KL(p || q) = sum of p_j log(p_j / q_j)          gradient (q - p) / T
/// beta = 1:  loss = KL(q || p) = sum of q_j log(q_j / p_j)          gradient q (log(q / p) - loss) / T
/// else:      loss = beta KL(p || m) + (1 - beta) KL(q || m)         gradient (1 - beta) q (log(q / m) - KL(q || m)) / T
/// ```
///
/// The gradient is with respect to the student's logits.
///
/// - beta = 0, the default, is Hinton's loss: PyTorch's `kl_div(log_softmax(student / T), log_softmax(teacher / T),
///   log_target=True)`; the mean over rows is its `batchmean`. It makes the student cover everything that the teacher
///   considers likely. beta = 1 is the reverse divergence (MiniLLM), which makes the student keep to what the teacher
///   considers likely. The general loss tends to 0 as beta approaches 0 or 1. As in TRL, the losses for beta = 0 and
///   beta = 1 are the limits of the general loss divided by beta and by 1 - beta.
/// - Hinton's factor T^2, which keeps the size of gradients independent of T, is not included. The example shows how to
///   apply it.
/// - For the gradient with respect to the teacher's logits, exchange student and teacher and use 1 - beta; the loss is
///   the same.
/// - `shape` must have no inner dimension. Student, teacher and gradient have the same row stride.
/// - Row weights multiply the loss and the gradient of their row, and the mean divides by their sum. A row of weight 0
///   is not read, so weights of 0 and 1 are a mask. If there are no rows, or only rows of weight 0, the mean is NaN, or
///   0 with [`Options::zero_if_empty`], and gradients are 0. If weights that are not all 0 add up to 0, the mean and
///   the gradients are NaN.
/// - Logits of -inf mask their classes. If only the student's logit of a class is -inf, forward KL is infinite. If only
///   the teacher's is, reverse KL is infinite and its gradient is NaN at that class. A row with a NaN, with a logit of
///   +inf or with all classes masked is NaN.
///
/// The loss is within 8 units in the last place of the exact value, however close student and teacher are. It is never
/// negative. For equal logits the loss and the gradients are 0. Gradients are within 8 units of the exact difference:
/// of (q_j - p_j) / T for beta = 0, and of q_j (log(q_j / p_j) - loss) / T for beta = 1; for a mixture, within 8 units
/// of (1 - beta) q_j / T times the larger of the two numbers that are subtracted. (If the difference of a class happens
/// to be less than 1e-5 of the average over the other classes, it may lose further digits.)
///
/// ```
/// use losskit::{ClassShape, Context, Distillation, Options, Outputs};
/// let (shape, student, teacher) = (ClassShape::rows(2, 3), [2.0f32, 1.0, 0.1, 0.5, 2.5, 0.0], [3.0f32, 1.0, 0.0, 0.0, 4.0, 0.0]);
/// let loss = Distillation::new().mean(shape, &student, &teacher)?;
/// assert!((loss - 0.092_85).abs() < 1e-5);
///
/// // Hinton's loss at T = 2: T^2 KL(p || q). The gradient has its factor from the call, the loss from us.
/// let t = 2.0f32;
/// let (mut loss, mut grad) = ([0.0], [0.0; 6]);
/// let options = Options::new().grad_scale(f64::from(t * t));
/// Distillation::new().temperature(2.0).eval(
///     &Context::default(), shape, &student, &teacher, None, &options, Outputs::new().loss(&mut loss).grad(&mut grad))?;
/// let loss = t * t * loss[0];
/// assert!((loss - 0.220_32).abs() < 1e-4);
/// assert!(grad[0] < 0.0 && grad[4] < 0.0);
///
/// // On-policy distillation as in TRL: the Jensen-Shannon divergence, whichever is called the teacher
/// let jsd = Distillation::new().beta(0.5);
/// let (a, b) = (jsd.mean(shape, &student, &teacher)?, jsd.mean(shape, &teacher, &student)?);
/// assert!((a - b).abs() < 1e-7 && a > 0.0);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distillation {
    beta: f64,
    temperature: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self::new()
    }
}

/// The inputs of a call, after the length of the student's logits has been checked.
#[derive(Clone, Copy)]
pub(crate) struct DistillationInputs<'a, T> {
    pub layout: Layout,
    pub student: In<'a, T>,
    pub teacher: In<'a, T>,
    pub row_weight: Option<In<'a, T>>,
}

impl Distillation {
    /// beta 0, temperature 1.
    pub const fn new() -> Self {
        Distillation { beta: 0.0, temperature: 1.0 }
    }
    /// The weight of the teacher in the mixture m, from 0 (forward KL) to 1 (reverse KL); otherwise calls return
    /// [`Error::InvalidBeta`].
    pub const fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }
    /// The temperature that all logits are divided by, from 1e-9 to 1e9; otherwise calls return
    /// [`Error::InvalidTemperature`].
    pub const fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// The mean loss. It is NaN if there are no rows.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::SizeTooLarge`], [`Error::InvalidStride`], [`Error::InvalidBeta`] and
    /// [`Error::InvalidTemperature`]; [`Error::UnsupportedOption`] if the classes of the shape are not contiguous
    /// (those of the gradient, if it has strides of its own); [`Error::OutOfMemory`], as [`ClassShape::dense_grad`]
    /// describes.
    pub fn mean<T: Element>(&self, shape: ClassShape, student: &[T], teacher: &[T]) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options, outputs) = (Context::default(), Options::new(), Outputs::new().loss(&mut loss));
        self.eval(&context, shape, student, teacher, None, &options, outputs)?;
        Ok(loss[0])
    }

    /// The mean loss and its gradient with respect to the student's logits.
    ///
    /// # Errors
    /// As [`mean`](Self::mean).
    pub fn mean_with_grad<T: Element>(
        &self,
        shape: ClassShape,
        student: &[T],
        teacher: &[T],
        grad: &mut [T],
    ) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options) = (Context::default(), Options::new());
        let outputs = Outputs::new().loss(&mut loss).grad(grad);
        self.eval(&context, shape, student, teacher, None, &options, outputs)?;
        Ok(loss[0])
    }

    /// Evaluates with all options: threads, weights, reduction, and any combination of outputs.
    ///
    /// # Errors
    /// As [`mean`](Self::mean); [`Error::NanOption`] if `grad_scale` is NaN; [`Error::UnsupportedOption`] if `outputs`
    /// has a Hessian. After an error nothing was written.
    #[allow(clippy::too_many_arguments)]
    pub fn eval<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        student: &[T],
        teacher: &[T],
        row_weight: Option<&[T]>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        let layout = checked_layout(shape, "student", student.len())?;
        let sinks = Sinks::of_classes(outputs, options.reduction, &layout)?;
        let inputs = DistillationInputs {
            layout,
            student: student.into(),
            teacher: teacher.into(),
            row_weight: row_weight.map(In::from),
        };
        self.run(context, inputs, options, sinks)
    }

    /// Like [`eval`](Self::eval), but overwrites the student's logits with their gradient.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and [`Error::PartialOverlap`] with [`accumulate_grad`](Options::accumulate_grad) or if
    /// `outputs` has a gradient of its own.
    #[allow(clippy::too_many_arguments)]
    pub fn eval_in_place<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        student: &mut [T],
        teacher: &[T],
        row_weight: Option<&[T]>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        let layout = checked_layout_in_place(shape, "student", student.len())?;
        let (student, grad) = in_place(student);
        let sinks = Sinks::of_classes(outputs, options.reduction, &layout)?.with_grad_in_place(options, grad)?;
        let inputs =
            DistillationInputs { layout, student, teacher: teacher.into(), row_weight: row_weight.map(In::from) };
        self.run(context, inputs, options, sinks)
    }

    fn check(&self) -> Result<Divergence, Error> {
        if !(1e-9..=1e9).contains(&self.temperature) {
            return Err(Error::InvalidTemperature { value: self.temperature });
        }
        match self.beta {
            0.0 => Ok(Divergence::Forward),
            1.0 => Ok(Divergence::Reverse),
            beta if (0.0..1.0).contains(&beta) => Ok(Divergence::Mixture { beta }),
            value => Err(Error::InvalidBeta { value }),
        }
    }

    /// All calls come through here. The caller has checked the strides, and that no arrays overlap except the gradient
    /// and the student's logits.
    pub(crate) fn run<T: Element>(
        &self,
        context: &Context,
        inputs: DistillationInputs<'_, T>,
        options: &Options,
        mut sinks: Sinks<'_, T>,
    ) -> Result<Summary, Error> {
        let DistillationInputs { layout, student, teacher, row_weight } = inputs;
        options.check()?;
        let divergence = self.check()?;
        if layout.samples > 0 && !layout.of_grad().is_rows() {
            return Err(Error::UnsupportedOption { name: "a shape whose classes are not contiguous" });
        }
        if sinks.hess.is_some() {
            return Err(Error::UnsupportedOption { name: "hess" });
        }
        check_elements(&layout, "teacher", teacher.len())?;
        check_optional("row_weight", row_weight, layout.samples)?;
        in_environment(|here| {
            let divisor = targets::divisor(here, context, row_weight, layout.samples);
            let scale = Total::new(options.factor(here, 1.0, divisor).to_f64()).over(Total::new(self.temperature));
            let (mut room, mut teacher_room) = (Room::default(), Room::default());
            let teacher_place = place_for(layout, None, &mut teacher_room)?;
            let place = place_for(layout, sinks.place(options), &mut room)?;
            let call = kernel::Distillation {
                layout: layout.of_grad(),
                teacher: with_grad_strides(here, context, layout, teacher, teacher_place),
                student: with_grad_strides(here, context, layout, student, place),
                divergence,
                temperature: self.temperature,
                row_weight,
                loss: if options.reduction == Reduction::None { sinks.loss } else { None },
                grad: sinks.grad,
                accumulate: options.accumulate_grad,
                scale,
                needs_total: sinks.needs_total(options.reduction),
            };
            let partial = T::reduce(here, context, Work::Distillation(&call));
            Ok(sinks.finish(here, options, partial, divisor))
        })
    }
}
