//! The divergence between a teacher's and a student's distribution.

use super::classes::checked_layout;
use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::distillation::{self as kernel, Divergence};
use crate::kernel::targets;
use crate::options::{Options, Outputs, Sinks, Summary, check_elements, check_optional};
use crate::shape::{ClassShape, Layout, Reduction};
use crate::simd::view::{In, in_place};
use crate::simd::{Total, in_environment};

/// Knowledge distillation: how far a student's distribution is from its teacher's, from the logits of both, at a
/// temperature (Hinton, Vinyals and Dean, 2015; the generalised Jensen-Shannon divergence of Agarwal et al., "On-Policy
/// Distillation of Language Models", 2024, `generalized_jsd_loss` of TRL's GKD trainer).
///
/// ```text
/// p = softmax(teacher / T), q = softmax(student / T), m = beta p + (1 - beta) q
/// beta = 0:  loss = KL(p || q) = sum of p_j log(p_j / q_j)          gradient (q - p) / T
/// beta = 1:  loss = KL(q || p) = sum of q_j log(q_j / p_j)          gradient q (log(q / p) - loss) / T
/// else:      loss = beta KL(p || m) + (1 - beta) KL(q || m)         gradient (1 - beta) q (log(q / m) - KL(q || m)) / T
/// ```
///
/// The gradient is that of the student's logits.
///
/// - beta = 0, the default, is Hinton's loss: PyTorch's `kl_div(log_softmax(student / T), log_softmax(teacher / T),
///   log_target=True)`; the mean over rows is its `batchmean`. It covers what the teacher thinks likely. beta = 1, the
///   reverse, keeps to what it does (MiniLLM). As in TRL, these are what the loss over beta, or over 1 - beta, tends to there,
///   where the loss itself tends to 0.
/// - Hinton's factor T^2, which keeps gradients of one size whatever T, is the caller's: see the example.
/// - Student and teacher exchanged, with 1 - beta for beta, is the same loss: so that call gives the gradient of the
///   teacher's logits.
/// - Rows only: `shape` has no inner dimension, and student, teacher and gradient share its row stride.
/// - Row weights multiply a row's loss and gradient, and the mean divides by their sum. A row of weight 0 is not read:
///   weights of 0 and 1 are a mask. No rows, or none but those, give NaN, or 0 with [`Options::zero_if_empty`], and zero
///   gradients. Weights that add up to 0 by their signs have no mean: NaN, and NaN gradients.
/// - Logits of -inf are masked classes. Where only the student's is, forward KL is infinite, where only the teacher's is,
///   reverse KL, whose gradient is NaN at that class then. All masked, NaN or +inf: NaN in that row.
///
/// However near student and teacher are, a loss is within 8 units in the last place of the exact one. It is never negative; for
/// equal logits it is 0, and so are the gradients. Gradients are within 8 units of the exact difference: of q_j - p_j over T for
/// beta = 0, of q_j (log(q_j / p_j) - loss) over T for beta = 1; for a mixture, of (1 - beta) q_j / T times the larger of the two
/// numbers that are subtracted. (Where a class's difference is, by chance, less than 1e-5 of what it is for the other classes on
/// average, it may lose further digits.)
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

/// Inputs of a call, the student's length agreed.
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
    /// The teacher's share of the mixture, from 0 (forward KL) to 1 (reverse KL), else calls give [`Error::InvalidBeta`].
    pub const fn beta(mut self, beta: f64) -> Self {
        self.beta = beta;
        self
    }
    /// What all logits are divided by, from 1e-9 to 1e9, else calls give [`Error::InvalidTemperature`].
    pub const fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }

    /// The mean loss. NaN if there are no rows.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::SizeTooLarge`], [`Error::InvalidStride`], [`Error::InvalidBeta`],
    /// [`Error::InvalidTemperature`]; [`Error::UnsupportedOption`] if the shape is not one of rows.
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

    /// The full form: threads, weights, reduction, and whichever outputs are asked for.
    ///
    /// # Errors
    /// As [`mean`](Self::mean); [`Error::NanOption`] if `grad_scale` is NaN, [`Error::UnsupportedOption`] for a Hessian.
    /// Nothing is written then.
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

    /// As [`eval`](Self::eval), the gradient written where the student's logits stood.
    ///
    /// # Errors
    /// As [`eval`](Self::eval); [`Error::PartialOverlap`] with
    /// [`accumulate_grad`](Options::accumulate_grad), and if `outputs` has a gradient of its own.
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
        let layout = checked_layout(shape, "student", student.len())?;
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

    /// Every road leads here: strides make sense, nothing overlaps but the gradient and the student.
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
        if layout.samples > 0 && !layout.is_rows() {
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
            let call = kernel::Distillation {
                layout,
                student,
                teacher,
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
