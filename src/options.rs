//! Options of losses, and the arrays that their results are written to.

use crate::cost::Cost;
use crate::error::Error;
use crate::factor::Factor;
use crate::parallel::Partial;
use crate::shape::{Divisor, Layout, Reduction};
use crate::simd::view::{In, Out};
use crate::simd::{Environment, Real};

/// Options that every loss shares.
///
/// ```
/// use losskit::{Context, Mse, Options, Outputs, Reduction};
/// let options = Options::new().reduction(Reduction::Sum).grad_scale(0.5);
/// let mut grad = [0.0f32; 2];
/// Mse::new().eval(&Context::default(), &[1.0, 2.0], &[0.0, 0.0], None, &options, Outputs::new().grad(&mut grad))?;
/// assert_eq!(grad, [1.0, 2.0]);
/// # Ok::<(), losskit::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub(crate) reduction: Reduction,
    pub(crate) accumulate_grad: bool,
    pub(crate) grad_scale: f64,
    pub(crate) zero_if_empty: bool,
    pub(crate) check_targets: bool,
    pub(crate) min_hess: f64,
}

impl Options {
    /// The defaults: a mean, which is NaN if there is nothing to average; `grad_scale` 1; gradients overwrite their
    /// arrays; targets are not checked; no minimum of the Hessian.
    pub const fn new() -> Self {
        Options {
            reduction: Reduction::Mean,
            accumulate_grad: false,
            grad_scale: 1.0,
            zero_if_empty: false,
            check_targets: false,
            min_hess: 0.0,
        }
    }
    /// How the losses of the samples are combined.
    pub const fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }
    /// Whether gradient and Hessian are added to the contents of their arrays instead of overwriting them. They are
    /// computed first and then added with one rounding.
    pub const fn accumulate_grad(mut self, accumulate: bool) -> Self {
        self.accumulate_grad = accumulate;
        self
    }
    /// A factor that multiplies gradient and Hessian (loss scaling). The loss itself is not scaled.
    pub const fn grad_scale(mut self, scale: f64) -> Self {
        self.grad_scale = scale;
        self
    }
    /// Whether the mean is 0 instead of NaN if there is nothing to average: no samples, only ignored samples, or only
    /// weights of 0. In that case gradients are 0 with or without this option, and nothing is added to a [`Cost`].
    pub const fn zero_if_empty(mut self, zero: bool) -> Self {
        self.zero_if_empty = zero;
        self
    }
    /// Whether losses whose targets are labels from 0 to 1 ([`Bce`](crate::Bce),
    /// [`BceWithLogits`](crate::BceWithLogits), [`Likelihood`](crate::Likelihood)) check for labels outside of this
    /// range and report them in [`Summary::out_of_domain`]. The results are the same as without the check. NaN labels
    /// are not reported. The check takes one more pass over the targets. Other losses ignore this option.
    pub const fn check_targets(mut self, check: bool) -> Self {
        self.check_targets = check;
        self
    }
    /// The smallest second derivative of a sample: smaller ones are raised to it, before they are multiplied by weights
    /// and `grad_scale` or divided for a mean. 0 means no minimum. Gradient boosting divides by sums of Hessians;
    /// XGBoost's logistic objective uses 1e-16.
    ///
    /// Losses that read only one class of a sample ([`Nll`](crate::Nll), [`Td`](crate::Td)) raise only the Hessian of
    /// this class; that of the others stays 0. The Hessian of ignored samples stays 0, and NaN stays NaN.
    ///
    /// ```
    /// use losskit::{BceWithLogits, Context, Options, Outputs, Reduction};
    /// let options = Options::new().reduction(Reduction::None).min_hess(1e-16);
    /// let mut hess = [0.0f32; 2];
    /// let (logits, labels, weight) = ([0.0, 90.0], [1.0, 1.0], [1.0, 2.0]);
    /// let outputs = Outputs::new().hess(&mut hess);
    /// BceWithLogits::new().eval(&Context::default(), &logits, &labels, Some(&weight), &options, outputs)?;
    /// assert_eq!(hess, [0.25, 2e-16]);
    /// # Ok::<(), losskit::Error>(())
    /// ```
    pub const fn min_hess(mut self, least: f64) -> Self {
        self.min_hess = least;
        self
    }

    /// The factor of a gradient: `own * grad_scale`, divided by `divisor` for a mean. If nothing counts, it is 0, not
    /// NaN.
    pub(crate) fn factor(&self, _here: Environment, own: f64, divisor: Divisor) -> Factor {
        match self.reduction {
            Reduction::Mean if divisor.cancels => Factor::new(own, f64::NAN, None),
            Reduction::Mean if divisor.is_nothing() => Factor::new(own, 0.0, None),
            Reduction::Mean => Factor::new(own, self.grad_scale, Some(divisor.sum)),
            Reduction::Sum | Reduction::None => Factor::new(own, self.grad_scale, None),
        }
    }

    /// The mean, in the two cases in which it is not a quotient: if there is nothing to average and the mean of nothing
    /// is defined as 0, or if weights that are not all 0 add up to 0.
    pub(crate) fn undivided_mean(&self, total: f64, divisor: Divisor) -> Option<f64> {
        if divisor.cancels {
            return Some(f64::NAN);
        }
        // samples that do not count have added 0 or NaN to the total
        if self.zero_if_empty && divisor.is_nothing() { Some(total) } else { None }
    }

    /// The minimum of the Hessian for a formula with the constant factor `own`; minus infinity if there is no minimum.
    pub(crate) fn least_hess<T: Real>(&self, _here: Environment, own: f64) -> T {
        T::from_f64(if self.min_hess == 0.0 { f64::NEG_INFINITY } else { self.min_hess / own })
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.grad_scale.is_nan() {
            return Err(Error::NanOption { name: "grad_scale" });
        }
        if self.min_hess.is_nan() {
            return Err(Error::NanOption { name: "min_hess" });
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// The output arrays of a loss. An output without an array is not computed.
///
/// `loss` has one element for a mean or a sum, and one for each sample with [`Reduction::None`]. `grad` and `hess` (the
/// diagonal of the second derivative) have the shape of the input.
#[derive(Debug)]
pub struct Outputs<'a, T> {
    pub(crate) loss: Option<&'a mut [T]>,
    pub(crate) grad: Option<&'a mut [T]>,
    pub(crate) hess: Option<&'a mut [T]>,
    pub(crate) cost: Option<&'a mut Cost>,
    pub(crate) correct: Option<&'a mut u64>,
    pub(crate) is_correct: Option<&'a mut [bool]>,
}

impl<'a, T> Outputs<'a, T> {
    /// No outputs.
    pub const fn new() -> Self {
        Outputs { loss: None, grad: None, hess: None, cost: None, correct: None, is_correct: None }
    }
    /// The reduced loss, or the loss of each sample.
    pub fn loss(mut self, loss: &'a mut [T]) -> Self {
        self.loss = Some(loss);
        self
    }
    /// The gradient with respect to the input.
    pub fn grad(mut self, grad: &'a mut [T]) -> Self {
        self.grad = Some(grad);
        self
    }
    /// The diagonal of the second derivative with respect to the input.
    pub fn hess(mut self, hess: &'a mut [T]) -> Self {
        self.hess = Some(hess);
        self
    }
    /// Adds the loss of this batch to the cost of a data set, without rounding.
    pub fn cost(mut self, cost: &'a mut Cost) -> Self {
        self.cost = Some(cost);
        self
    }
    /// The number of correct predictions of [`CrossEntropy`](crate::CrossEntropy) with class indices. A prediction is
    /// correct if the largest logit of the sample, or the first of several equal ones, is that of the target (as in
    /// PyTorch's `argmax(1) == target`). Ignored samples and samples with a NaN are not counted. Weights do not matter.
    /// Other losses and class probabilities give [`Error::UnsupportedOption`].
    ///
    /// Predictions are counted block by block, just before the loss reads the same logits from the caches and before a
    /// gradient may overwrite them.
    ///
    /// ```
    /// use losskit::{ClassShape, Context, CrossEntropy, Options, Outputs, Targets, Weights};
    /// let logits = [2.0f32, 1.0, 0.1, 0.5, 2.5, 0.0];
    /// let (shape, targets) = (ClassShape::rows(2, 3), Targets::U8(&[0, 2]));
    /// let (mut loss, mut correct, mut is_correct) = ([0.0], 0, [false; 2]);
    /// let outputs = Outputs::new().loss(&mut loss).correct(&mut correct).is_correct(&mut is_correct);
    /// CrossEntropy::new().eval(&Context::default(), shape, &logits, targets, Weights::new(), &Options::new(), outputs)?;
    /// assert_eq!((correct, is_correct), (1, [true, false]));
    /// # Ok::<(), losskit::Error>(())
    /// ```
    pub fn correct(mut self, count: &'a mut u64) -> Self {
        self.correct = Some(count);
        self
    }
    /// Whether the prediction is correct, as [`correct`](Self::correct) defines it; one element for each sample.
    pub fn is_correct(mut self, each: &'a mut [bool]) -> Self {
        self.is_correct = Some(each);
        self
    }
}

impl<T> Default for Outputs<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Additional results of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// The number that a mean divides by: the number of samples or the sum of their weights. Each loss says which.
    pub weight_sum: f64,
    /// Whether some inputs lie outside the domain of the loss (`LK_INPUT_OUT_OF_DOMAIN`); the results at those
    /// positions are NaN. With [`Options::check_targets`], also whether some labels lie outside of [0, 1].
    pub out_of_domain: bool,
}

/// [`Outputs`] as views.
pub(crate) struct Sinks<'a, T> {
    pub loss: Option<Out<'a, T>>,
    pub grad: Option<Out<'a, T>>,
    pub hess: Option<Out<'a, T>>,
    pub cost: Option<&'a mut Cost>,
    pub correct: Option<&'a mut u64>,
    pub is_correct: Option<Out<'a, bool>>,
}

pub(crate) fn check_length(name: &'static str, length: usize, needed: usize) -> Result<(), Error> {
    if length == needed { Ok(()) } else { Err(Error::LengthMismatch { name, length, needed }) }
}

/// Whether an array of `length` elements fits the layout: exactly as many as it needs if it is dense, at least as many
/// if it has gaps.
pub(crate) fn check_elements(layout: &Layout, name: &'static str, length: usize) -> Result<(), Error> {
    if length > layout.elements && !layout.is_dense() {
        return Ok(());
    }
    check_length(name, length, layout.elements)
}

pub(crate) fn check_optional<T: Copy>(name: &'static str, view: Option<In<'_, T>>, needed: usize) -> Result<(), Error> {
    view.map_or(Ok(()), |view| check_length(name, view.len(), needed))
}

impl<'a, T: Real> Sinks<'a, T> {
    /// For a loss of `n` independent elements.
    pub fn of_elements(outputs: Outputs<'a, T>, reduction: Reduction, n: usize) -> Result<Self, Error> {
        Self::of_classes(outputs, reduction, &Layout::elements(n))
    }

    /// For a loss over classes.
    pub fn of_classes(outputs: Outputs<'a, T>, reduction: Reduction, layout: &Layout) -> Result<Self, Error> {
        if outputs.correct.is_some() || outputs.is_correct.is_some() {
            return Err(Error::UnsupportedOption { name: "correct" });
        }
        Self::of_predictions(outputs, reduction, layout)
    }

    /// For a loss over classes that can count correct predictions.
    pub fn of_predictions(outputs: Outputs<'a, T>, reduction: Reduction, layout: &Layout) -> Result<Self, Error> {
        for (name, slice) in [("grad", &outputs.grad), ("hess", &outputs.hess)] {
            slice.as_ref().map_or(Ok(()), |slice| check_elements(&layout.of_grad(), name, slice.len()))?;
        }
        let losses = if reduction == Reduction::None { layout.samples } else { 1 };
        if let Some(loss) = &outputs.loss {
            check_length("loss", loss.len(), losses)?;
        }
        if let Some(each) = &outputs.is_correct {
            check_length("is_correct", each.len(), layout.samples)?;
        }
        Ok(Sinks {
            loss: outputs.loss.map(Out::from),
            grad: outputs.grad.map(Out::from),
            hess: outputs.hess.map(Out::from),
            cost: outputs.cost,
            correct: outputs.correct,
            is_correct: outputs.is_correct.map(Out::from),
        })
    }

    /// The gradient overwrites the input.
    pub fn with_grad_in_place(self, options: &Options, grad: Out<'a, T>) -> Result<Self, Error> {
        if options.accumulate_grad || self.grad.is_some() {
            let accumulates = options.accumulate_grad;
            return Err(Error::PartialOverlap { first: "input", second: "grad", accumulates });
        }
        Ok(Sinks { grad: Some(grad), ..self })
    }

    /// Writes the reduced loss and adds the batch to the cost. `weight` is the number that a mean divides by.
    pub fn finish(&mut self, _here: Environment, options: &Options, partial: Partial, weight: Divisor) -> Summary {
        if let Some(loss) = self.loss {
            let total = partial.total.value();
            let mean = || options.undivided_mean(total, weight).unwrap_or_else(|| partial.total.divided_by(weight.sum));
            match options.reduction {
                Reduction::Mean => loss.set(0, T::from_f64(mean())),
                Reduction::Sum => loss.set(0, T::from_f64(total)),
                Reduction::None => {}
            }
        }
        if let Some(cost) = &mut self.cost {
            cost.add_totals(partial.total, weight.sum);
        }
        Summary { weight_sum: weight.sum.value(), out_of_domain: partial.out_of_domain }
    }

    /// The array to which the input may be copied before the results overwrite it.
    pub fn place(&self, options: &Options) -> Option<Out<'a, T>> {
        if options.accumulate_grad { None } else { self.grad.or(self.hess) }
    }

    /// Whether correct predictions are requested.
    pub fn wants_correct(&self) -> bool {
        self.correct.is_some() || self.is_correct.is_some()
    }

    /// Whether the sum of the samples' losses is needed.
    pub fn needs_total(&self, reduction: Reduction) -> bool {
        self.cost.is_some() || (self.loss.is_some() && reduction != Reduction::None)
    }
}
