//! Negative log-likelihood.

use super::classes::{checked_layout, checked_layout_in_place};
use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::indices::{IndexView, Indices};
use crate::kernel::gather::{self, Gather};
use crate::kernel::targets;
use crate::options::{Options, Outputs, Sinks, Summary, check_length, check_optional};
use crate::shape::{ClassShape, Layout, Reduction, WeightView, Weights};
use crate::simd::in_environment;
use crate::simd::view::{In, in_place};

/// Negative log-likelihood of log-probabilities (PyTorch's `nll_loss`).
///
/// ```text
/// w = class weight of the target times row weight
/// loss = -w log_probs[target]        gradient = -w at the target, 0 elsewhere        Hessian = 0
/// ```
///
/// Only the log-probability of the target is read, so other log-probabilities may be -inf (log 0). The mean divides by
/// the sum of w over all samples that are not ignored. (Samples with target `ignore_index` are ignored.) If there is
/// nothing to average, the mean is NaN, or 0 with [`Options::zero_if_empty`], and gradients are 0. If weights that are
/// not all 0 add up to 0, the mean and the gradients are NaN.
///
/// ```
/// use losskit::{ClassShape, Indices, Nll};
/// let p = [0.8f32, 0.0, 0.0, 0.2, 0.0];
/// let log_probs = p.map(f32::ln);
/// let mut grad = [0.0; 5];
/// let loss = Nll::new().mean_with_grad(ClassShape::rows(1, 5), &log_probs, Indices::I32(&[0]), &mut grad)?;
/// assert!((loss - 0.2231).abs() < 5e-5);
/// assert_eq!(grad, [-1.0, 0.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nll {
    ignore_index: i64,
}

impl Default for Nll {
    fn default() -> Self {
        Self::new()
    }
}

/// The inputs of a call, after the lengths have been checked.
#[derive(Clone, Copy)]
pub(crate) struct NllInputs<'a, T> {
    pub layout: Layout,
    pub log_probs: In<'a, T>,
    pub targets: IndexView<'a>,
    pub weights: WeightView<'a, T>,
}

impl Nll {
    /// `ignore_index` -100.
    pub const fn new() -> Self {
        Nll { ignore_index: -100 }
    }
    /// Samples with this target are ignored. Targets are compared with it before they are checked against the number of
    /// classes.
    pub const fn ignore_index(mut self, target: i64) -> Self {
        self.ignore_index = target;
        self
    }

    /// The mean loss. It is NaN if there are no samples, or if all are ignored.
    ///
    /// # Errors
    /// [`Error::TargetOutOfRange`], [`Error::LengthMismatch`], [`Error::SizeTooLarge`] and [`Error::InvalidStride`], as
    /// described there.
    pub fn mean<T: Element>(&self, shape: ClassShape, log_probs: &[T], targets: Indices<'_>) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options, outputs) = (Context::default(), Options::new(), Outputs::new().loss(&mut loss));
        self.eval(&context, shape, log_probs, targets, Weights::new(), &options, outputs)?;
        Ok(loss[0])
    }

    /// The mean loss and its gradient.
    ///
    /// # Errors
    /// As [`mean`](Self::mean).
    pub fn mean_with_grad<T: Element>(
        &self,
        shape: ClassShape,
        log_probs: &[T],
        targets: Indices<'_>,
        grad: &mut [T],
    ) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options) = (Context::default(), Options::new());
        let outputs = Outputs::new().loss(&mut loss).grad(grad);
        self.eval(&context, shape, log_probs, targets, Weights::new(), &options, outputs)?;
        Ok(loss[0])
    }

    /// Evaluates with all options: threads, weights, reduction, and any combination of outputs.
    ///
    /// # Errors
    /// As [`mean`](Self::mean), and [`Error::NanOption`] if `grad_scale` is NaN. After an error nothing was written.
    #[allow(clippy::too_many_arguments)]
    pub fn eval<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        log_probs: &[T],
        targets: Indices<'_>,
        weights: Weights<'_, T>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        let layout = checked_layout(shape, "log_probs", log_probs.len())?;
        let sinks = Sinks::of_classes(outputs, options.reduction, &layout)?;
        let (log_probs, targets, weights) = (log_probs.into(), targets.into(), weights.into());
        self.run(context, NllInputs { layout, log_probs, targets, weights }, options, sinks)
    }

    /// Like [`eval`](Self::eval), but overwrites the log-probabilities with their gradient.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and [`Error::PartialOverlap`] with [`accumulate_grad`](Options::accumulate_grad) or if
    /// `outputs` has a gradient of its own.
    #[allow(clippy::too_many_arguments)]
    pub fn eval_in_place<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        log_probs: &mut [T],
        targets: Indices<'_>,
        weights: Weights<'_, T>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        let layout = checked_layout_in_place(shape, "log_probs", log_probs.len())?;
        let (log_probs, grad) = in_place(log_probs);
        let sinks = Sinks::of_classes(outputs, options.reduction, &layout)?.with_grad_in_place(options, grad)?;
        let (targets, weights) = (targets.into(), weights.into());
        self.run(context, NllInputs { layout, log_probs, targets, weights }, options, sinks)
    }

    /// All calls come through here. The caller has checked the strides, and that no arrays overlap except the gradient
    /// and its input.
    pub(crate) fn run<T: Element>(
        &self,
        context: &Context,
        inputs: NllInputs<'_, T>,
        options: &Options,
        mut sinks: Sinks<'_, T>,
    ) -> Result<Summary, Error> {
        let NllInputs { layout, log_probs, targets, weights } = inputs;
        options.check()?;
        check_length("targets", targets.len(), layout.samples)?;
        check_optional("class_weight", weights.class, layout.classes)?;
        check_optional("row_weight", weights.row, layout.samples)?;
        in_environment(|here| {
            let divisor = targets::check(here, context, targets, layout.classes, Some(self.ignore_index), weights)?;
            let factor = options.factor(here, 1.0, divisor);
            let call = Gather {
                source: gather::Nll { layout, log_probs, targets, ignore_index: self.ignore_index, weights },
                layout: layout.of_grad(),
                loss: if options.reduction == Reduction::None { sinks.loss } else { None },
                grad: sinks.grad,
                hess: sinks.hess,
                least_hess: options.least_hess(here, 1.0),
                accumulate: options.accumulate_grad,
                factor,
                needs_total: sinks.needs_total(options.reduction),
            };
            let partial = T::reduce(here, context, Work::Nll(&call));
            Ok(sinks.finish(here, options, partial, divisor))
        })
    }
}
