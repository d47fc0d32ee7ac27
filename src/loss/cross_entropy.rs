//! Cross-entropy of logits.

use core::sync::atomic::AtomicUsize;

use super::classes::{Room, checked_layout, checked_layout_in_place, place_for, with_grad_strides};
use super::element::{Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::indices::{TargetView, Targets};
use crate::kernel::correct::Correct;
use crate::kernel::softmax::{Goal, Smoothing, Softmax};
use crate::kernel::targets;
use crate::options::{Options, Outputs, Sinks, Summary, check_elements, check_length, check_optional};
use crate::shape::{ClassShape, Layout, Reduction, WeightView, Weights};
use crate::simd::view::{In, in_place};
use crate::simd::{Total, in_environment};

/// Cross-entropy of logits (PyTorch's `cross_entropy`), with class indices or class probabilities as targets.
///
/// ```text
/// p = softmax(logits), q = target distribution, Q = sum of q_j
/// loss     = -sum of q_j log p_j
/// gradient = Q p - q
/// Hessian  = Q p (1 - p)                              (the diagonal)
/// ```
///
/// For a class index t, q is the class weight of t at t and 0 elsewhere. With label smoothing e, q is the class weight
/// times (1 - e at t, plus e / classes everywhere). Probabilities are smoothed first and then multiplied by the class
/// weights. A row weight multiplies the loss and the gradient of its sample.
///
/// A [`z_loss`](Self::z_loss) z adds `z lse^2`, where lse is the log of the sum of e^x_j; class weights do not multiply
/// this term. The gradient is then `(Q + 2 z lse) p - q`, and the Hessian is `(Q + 2 z lse) p (1 - p) + 2 z p^2`.
///
/// With class indices, the mean divides by the sum of (class weight of the target times row weight) over all samples
/// that are not ignored. (Samples with target `ignore_index` are ignored.) With probabilities, it divides by the sum of
/// the row weights, or by the number of samples. If there is nothing to average, the mean is NaN, or 0 with
/// [`Options::zero_if_empty`], and gradients are 0. If weights that are not all 0 add up to 0, the mean and the
/// gradients are NaN.
///
/// Logits of -inf mask their classes, also with a [`soft_cap`](Self::soft_cap). The loss is computed as `(max - x_t) +
/// log1p(sum of the other exponentials)`, never as a difference of large numbers, so it is accurate for confident
/// samples too.
///
/// ```
/// use losskit::{ClassShape, CrossEntropy, Targets};
/// let logits = [2.0f32, 1.0, 0.1, 0.5, 2.5, 0.0];
/// let mut grad = [0.0; 6];
/// let loss = CrossEntropy::new().mean_with_grad(ClassShape::rows(2, 3), &logits, Targets::I64(&[0, 1]), &mut grad)?;
/// assert!((loss - 0.3069).abs() < 5e-5);
/// assert!(grad[0] < 0.0 && grad[1] > 0.0);
///
/// // 100 ahead: the loss is e^-100, not 0
/// let loss = CrossEntropy::new().mean(ClassShape::rows(1, 2), &[100.0f64, 0.0], Targets::U8(&[0]))?;
/// assert_eq!(loss, (-100f64).exp());
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    ignore_index: i64,
    label_smoothing: f64,
    z_loss: f64,
    soft_cap: f64,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self::new()
    }
}

/// The inputs of a call, after the length of the logits has been checked.
#[derive(Clone, Copy)]
pub(crate) struct CrossEntropyInputs<'a, T> {
    pub layout: Layout,
    pub logits: In<'a, T>,
    pub targets: TargetView<'a, T>,
    pub weights: WeightView<'a, T>,
}

impl CrossEntropy {
    /// `ignore_index` -100, no label smoothing, no z-loss, no soft cap.
    pub const fn new() -> Self {
        CrossEntropy { ignore_index: -100, label_smoothing: 0.0, z_loss: 0.0, soft_cap: 0.0 }
    }
    /// Samples with this target are ignored. Targets are compared with it before they are checked against the number of
    /// classes. It applies only to index targets.
    pub const fn ignore_index(mut self, target: i64) -> Self {
        self.ignore_index = target;
        self
    }
    /// The share of the target distribution that is spread evenly over all classes, from 0 to 1; otherwise calls return
    /// [`Error::InvalidLabelSmoothing`].
    ///
    /// With class indices, the gradient is within 4 units in the last place of `p (Q - q) + q (1 - p)`. These are the
    /// two terms of the difference Q p - q without their common part p q, so the gradient of a confident row is
    /// accurate.
    ///
    /// ```
    /// use losskit::{ClassShape, CrossEntropy, Targets};
    /// let (shape, logits, mut grad) = (ClassShape::rows(1, 2), [100.0f32, 0.0], [0.0; 2]);
    /// CrossEntropy::new().label_smoothing(1e-6).mean_with_grad(shape, &logits, Targets::U8(&[0]), &mut grad)?;
    /// assert_eq!(grad, [5e-7, -5e-7]);         // the share of class 1; 1 - (1 - 5e-7) in float would be 4.8e-7
    /// # Ok::<(), losskit::Error>(())
    /// ```
    pub const fn label_smoothing(mut self, share: f64) -> Self {
        self.label_smoothing = share;
        self
    }

    /// The factor of the z-loss, which is the squared logarithm of the sum of exponentials and keeps logits from
    /// drifting (PaLM uses 1e-4; Chowdhery et al. 2022, section 5). NaN gives [`Error::NanOption`].
    ///
    /// ```
    /// use losskit::{ClassShape, CrossEntropy, Targets};
    /// let (shape, logits, targets) = (ClassShape::rows(1, 2), [3.0f64, 1.0], Targets::U8(&[0]));
    /// let plain = CrossEntropy::new().mean(shape, &logits, targets)?;
    /// let with_z = CrossEntropy::new().z_loss(0.5).mean(shape, &logits, targets)?;
    /// let lse = 3.0 + plain;                          // the target's logit and its loss
    /// assert!((with_z - (plain + 0.5 * lse * lse)).abs() < 1e-14);
    /// # Ok::<(), losskit::Error>(())
    /// ```
    pub const fn z_loss(mut self, factor: f64) -> Self {
        self.z_loss = factor;
        self
    }
    /// Soft-capping (Gemma 2; Bello et al. 2017, section 3.1): the logits x are replaced by c tanh(x / c), where c is
    /// this number. The gradient is still with respect to x. Masked classes, whose logit is -inf, stay masked. 0 means
    /// no cap; otherwise c must be a positive number of the element type, or calls return [`Error::InvalidSoftCap`].
    /// With a cap a Hessian is not supported ([`Error::UnsupportedOption`]).
    ///
    /// The capped logits are rounded to the element type and are within 3 units in the last place; the loss is that of
    /// the rounded logits. Therefore the usual error bounds do not hold: the relative error of each probability, and of
    /// the loss and the gradient of a confident sample, may be up to 6 units in the last place of c. For c = 30 this is
    /// 96 times the epsilon of the type.
    ///
    /// ```
    /// use losskit::{ClassShape, CrossEntropy, Targets};
    /// let (shape, targets) = (ClassShape::rows(1, 2), Targets::U8(&[0]));
    /// let capped = CrossEntropy::new().soft_cap(30.0).mean(shape, &[50.0f64, -20.0], targets)?;
    /// let bounded = [50.0f64, -20.0].map(|x| 30.0 * (x / 30.0).tanh());
    /// assert!((capped / CrossEntropy::new().mean(shape, &bounded, targets)? - 1.0).abs() < 1e-13);
    /// # Ok::<(), losskit::Error>(())
    /// ```
    pub const fn soft_cap(mut self, cap: f64) -> Self {
        self.soft_cap = cap;
        self
    }

    /// The mean loss. It is NaN if there are no samples, or if all are ignored.
    ///
    /// # Errors
    /// [`Error::TargetOutOfRange`], [`Error::LengthMismatch`], [`Error::SizeTooLarge`], [`Error::InvalidStride`] and
    /// [`Error::InvalidLabelSmoothing`], as described there; [`Error::OutOfMemory`], as [`ClassShape::dense_grad`]
    /// describes.
    pub fn mean<T: Element>(&self, shape: ClassShape, logits: &[T], targets: Targets<'_, T>) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options, outputs) = (Context::default(), Options::new(), Outputs::new().loss(&mut loss));
        self.eval(&context, shape, logits, targets, Weights::new(), &options, outputs)?;
        Ok(loss[0])
    }

    /// The mean loss and its gradient with respect to the logits.
    ///
    /// # Errors
    /// As [`mean`](Self::mean).
    pub fn mean_with_grad<T: Element>(
        &self,
        shape: ClassShape,
        logits: &[T],
        targets: Targets<'_, T>,
        grad: &mut [T],
    ) -> Result<T, Error> {
        let mut loss = [T::NAN];
        let (context, options) = (Context::default(), Options::new());
        let outputs = Outputs::new().loss(&mut loss).grad(grad);
        self.eval(&context, shape, logits, targets, Weights::new(), &options, outputs)?;
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
        logits: &[T],
        targets: Targets<'_, T>,
        weights: Weights<'_, T>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        let layout = checked_layout(shape, "logits", logits.len())?;
        let sinks = Sinks::of_predictions(outputs, options.reduction, &layout)?;
        let (logits, targets, weights) = (logits.into(), targets.into(), weights.into());
        self.run(context, CrossEntropyInputs { layout, logits, targets, weights }, options, sinks)
    }

    /// Like [`eval`](Self::eval), but overwrites the logits with their gradient.
    ///
    /// # Errors
    /// As [`eval`](Self::eval), and [`Error::PartialOverlap`] with [`accumulate_grad`](Options::accumulate_grad) or if
    /// `outputs` has a gradient of its own.
    #[allow(clippy::too_many_arguments)]
    pub fn eval_in_place<T: Element>(
        &self,
        context: &Context,
        shape: ClassShape,
        logits: &mut [T],
        targets: Targets<'_, T>,
        weights: Weights<'_, T>,
        options: &Options,
        outputs: Outputs<'_, T>,
    ) -> Result<Summary, Error> {
        let layout = checked_layout_in_place(shape, "logits", logits.len())?;
        let (logits, grad) = in_place(logits);
        let sinks = Sinks::of_predictions(outputs, options.reduction, &layout)?.with_grad_in_place(options, grad)?;
        let (targets, weights) = (targets.into(), weights.into());
        self.run(context, CrossEntropyInputs { layout, logits, targets, weights }, options, sinks)
    }

    /// Checks the options and returns the soft cap, if there is one.
    pub(crate) fn check<T: Element>(&self) -> Result<Option<T>, Error> {
        if self.label_smoothing.is_nan() {
            return Err(Error::NanOption { name: "label_smoothing" });
        }
        if self.z_loss.is_nan() {
            return Err(Error::NanOption { name: "z_loss" });
        }
        if self.soft_cap.is_nan() {
            return Err(Error::NanOption { name: "soft_cap" });
        }
        if !(0.0..=1.0).contains(&self.label_smoothing) {
            return Err(Error::InvalidLabelSmoothing { value: self.label_smoothing });
        }
        let cap = T::from_f64(self.soft_cap);
        match self.soft_cap == 0.0 {
            true => Ok(None),
            false if (T::MIN_POSITIVE..T::INFINITY).contains(&cap) => Ok(Some(cap)),
            false => Err(Error::InvalidSoftCap { value: self.soft_cap }),
        }
    }

    /// The options for label smoothing and the z-loss.
    pub(crate) fn shares(&self) -> (f64, f64) {
        (self.label_smoothing, self.z_loss)
    }

    #[cfg(feature = "linear")]
    pub(crate) fn ignored(&self) -> i64 {
        self.ignore_index
    }

    /// All calls come through here. The caller has checked the strides, and that no arrays overlap except the gradient
    /// and its input.
    pub(crate) fn run<T: Element>(
        &self,
        context: &Context,
        inputs: CrossEntropyInputs<'_, T>,
        options: &Options,
        sinks: Sinks<'_, T>,
    ) -> Result<Summary, Error> {
        options.check()?;
        self.run_with_any_scale(context, inputs, options, sinks)
    }

    /// A factor of gradients that a caller has computed, which may be NaN.
    pub(crate) fn run_with_any_scale<T: Element>(
        &self,
        context: &Context,
        inputs: CrossEntropyInputs<'_, T>,
        options: &Options,
        mut sinks: Sinks<'_, T>,
    ) -> Result<Summary, Error> {
        let CrossEntropyInputs { layout, logits, targets, weights } = inputs;
        let soft_cap = self.check::<T>()?;
        if soft_cap.is_some() && sinks.hess.is_some() {
            return Err(Error::UnsupportedOption { name: "hess" });
        }
        if sinks.wants_correct() && !matches!(targets, TargetView::Indices(_)) {
            return Err(Error::UnsupportedOption { name: "correct" });
        }
        check_optional("class_weight", weights.class, layout.classes)?;
        check_optional("row_weight", weights.row, layout.samples)?;
        in_environment(|here| {
            let (mut room, mut target_room) = (Room::default(), Room::default());
            let z_loss = if self.z_loss == 0.0 { None } else { Some(Total::new(self.z_loss).split()) };
            let hot = Total::new(1.0).merge(Total::new(-self.label_smoothing));
            let base = Total::new(self.label_smoothing).over(Total::new(layout.classes.max(1) as f64));
            let (goal, divisor) = match targets {
                TargetView::Indices(targets) => {
                    check_length("targets", targets.len(), layout.samples)?;
                    let ignore_index = self.ignore_index;
                    let divisor = targets::check(here, context, targets, layout.classes, Some(ignore_index), weights)?;
                    // with a z-loss, class weights are not included in the weight of a sample, because they do not
                    // multiply the z-loss
                    let has_own_shares = self.label_smoothing != 0.0
                        || soft_cap.is_some()
                        || z_loss.is_some() && weights.class.is_some();
                    let smoothing = if !has_own_shares {
                        None
                    } else {
                        let classes = Total::new(layout.classes as f64);
                        let all = weights.class.map_or(classes, |weights| targets::sum(here, context, weights));
                        Some(Smoothing::new(hot, base, all))
                    };
                    (Goal::Indices { targets, ignore_index, smoothing }, divisor)
                }
                TargetView::Probabilities(targets) => {
                    check_elements(&layout, "targets", targets.len())?;
                    let place = place_for(layout, None, &mut target_room)?;
                    let targets = with_grad_strides(here, context, layout, targets, place);
                    let divisor = targets::divisor(here, context, weights.row, layout.samples);
                    let (keep, base) = (hot.split()[0], base.split()[0]);
                    (Goal::Probabilities { targets, keep, base }, divisor)
                }
            };
            let count = AtomicUsize::new(0);
            let correct = if sinks.wants_correct() { Some(Correct::new(&count, sinks.is_correct)) } else { None };
            let factor = options.factor(here, 1.0, divisor);
            let scale = Total::new(factor.value).split();
            let place = place_for(layout, sinks.place(options), &mut room)?;
            let logits = with_grad_strides(here, context, layout, logits, place);
            let call = Softmax {
                layout: layout.of_grad(),
                logits,
                goal,
                class_weight: weights.class,
                row_weight: weights.row,
                loss: if options.reduction == Reduction::None { sinks.loss } else { None },
                grad: sinks.grad,
                hess: sinks.hess,
                min_hess: if options.min_hess == 0.0 { None } else { Some(T::from_f64(options.min_hess)) },
                accumulate: options.accumulate_grad,
                factor,
                scale,
                z_loss,
                soft_cap,
                needs_total: sinks.needs_total(options.reduction),
                correct,
            };
            let partial = T::reduce(here, context, Work::Softmax(&call));
            if let Some(correct) = &mut sinks.correct {
                **correct = count.into_inner() as u64;
            }
            Ok(sinks.finish(here, options, partial, divisor))
        })
    }
}
