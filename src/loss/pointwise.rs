//! The code that all losses of independent elements share.

use super::element::{AnyFormula, Element, Work};
use crate::context::Context;
use crate::error::Error;
use crate::kernel::formula::Results;
use crate::kernel::pointwise::Pointwise;
use crate::kernel::targets;
use crate::kernel::wide::MODERATE_FACTOR;
use crate::options::{Options, Outputs, Sinks, Summary, check_length, check_optional};
use crate::shape::{Divisor, Reduction};
use crate::simd::in_environment;
use crate::simd::view::{In, in_place};

/// A loss of independent elements.
pub(crate) trait PointwiseLoss<T: Element> {
    /// The formula in this type; an error if an option is invalid in this type.
    fn formula(&self) -> Result<AnyFormula<T>, Error>;

    /// The parameters of the formula, which repeat along the input; empty if all are 1.
    fn parameter(&self) -> &[T] {
        &[]
    }

    /// How many consecutive elements share one parameter.
    fn parameter_run(&self) -> usize {
        1
    }

    /// Whether targets are labels from 0 to 1.
    fn targets_are_labels(&self) -> bool {
        false
    }
}

/// The inputs of a call.
pub(crate) struct Operands<'a, T> {
    pub input: In<'a, T>,
    pub target: In<'a, T>,
    pub weight: Option<In<'a, T>>,
}

/// All calls come through here. The caller has checked the lengths, and that no arrays overlap except the gradient and
/// its input.
pub(crate) fn evaluate<T: Element>(
    loss: &dyn PointwiseLoss<T>,
    context: &Context,
    operands: Operands<'_, T>,
    options: &Options,
    mut sinks: Sinks<'_, T>,
) -> Result<Summary, Error> {
    options.check()?;
    in_environment(|here| {
        let formula = loss.formula()?;
        let parameter = In::from(loss.parameter());
        let n = operands.input.len();
        let divisor = Divisor::count(n);
        let factor = options.factor(here, formula.factor(), divisor);
        let call = Pointwise {
            input: operands.input,
            target: operands.target,
            weight: operands.weight,
            parameter,
            // 0 is possible if there is only one parameter
            parameter_run: loss.parameter_run().max(1),
            results: Results {
                loss: if options.reduction == Reduction::None { sinks.loss } else { None },
                grad: sinks.grad,
                accumulate: options.accumulate_grad,
                factor: T::from_f64(factor.value),
                least_hess: options.least_hess(here, formula.factor()),
            },
            hess: sinks.hess,
            factor,
            has_infinite_parameter: loss.parameter().contains(&T::INFINITY),
            has_moderate_parameter: loss.parameter().iter().all(|x| x.to_f64().abs() <= MODERATE_FACTOR),
            needs_total: sinks.needs_total(options.reduction),
        };
        let wrong_labels = options.check_targets
            && loss.targets_are_labels()
            && targets::has_outside_unit(here, context, operands.target);
        let mut partial = T::reduce(here, context, Work::Pointwise(formula, &call));
        partial.out_of_domain |= wrong_labels;
        Ok(sinks.finish(here, options, partial, divisor))
    })
}

/// Evaluates a loss on slices with all options.
pub(crate) fn eval<T: Element>(
    loss: &dyn PointwiseLoss<T>,
    context: &Context,
    [input, target]: [&[T]; 2],
    weight: Option<&[T]>,
    options: &Options,
    outputs: Outputs<'_, T>,
) -> Result<Summary, Error> {
    let n = input.len();
    check_operands(loss, n, target, weight)?;
    let sinks = Sinks::of_elements(outputs, options.reduction, n)?;
    let operands = Operands { input: input.into(), target: target.into(), weight: weight.map(In::from) };
    evaluate(loss, context, operands, options, sinks)
}

/// The same, but the gradient overwrites the input.
pub(crate) fn eval_in_place<T: Element>(
    loss: &dyn PointwiseLoss<T>,
    context: &Context,
    input: &mut [T],
    target: &[T],
    weight: Option<&[T]>,
    options: &Options,
    outputs: Outputs<'_, T>,
) -> Result<Summary, Error> {
    let n = input.len();
    check_operands(loss, n, target, weight)?;
    let (input, grad) = in_place(input);
    let sinks = Sinks::of_elements(outputs, options.reduction, n)?.with_grad_in_place(options, grad)?;
    let operands = Operands { input, target: target.into(), weight: weight.map(In::from) };
    evaluate(loss, context, operands, options, sinks)
}

fn check_operands<T: Element>(
    loss: &dyn PointwiseLoss<T>,
    n: usize,
    target: &[T],
    weight: Option<&[T]>,
) -> Result<(), Error> {
    check_length("target", target.len(), n)?;
    check_optional("weight", weight.map(In::from), n)?;
    check_parameter(loss.parameter().len(), loss.parameter_run(), n)
}

/// Checks that the number of positive weights fits the input: none, one, or one for each label of a row, where a label
/// has `run` elements.
pub(crate) fn check_parameter(len: usize, run: usize, n: usize) -> Result<(), Error> {
    if n == 0 || len <= 1 {
        return Ok(());
    }
    if run == 0 {
        return Err(Error::LengthMismatch { name: "inner", length: 0, needed: 1 });
    }
    if !n.is_multiple_of(run) {
        return Err(Error::LengthMismatch { name: "inner", length: run, needed: n });
    }
    let needed = n / run;
    if needed.is_multiple_of(len) {
        Ok(())
    } else {
        Err(Error::LengthMismatch { name: "pos_weight", length: len, needed })
    }
}

/// The methods that every loss of independent elements has.
macro_rules! pointwise_methods {
    ($(<$t: ident: $bound: ident>)?) => {
        /// The mean loss of `input` against `target`. It is NaN if there are no elements.
        ///
        /// # Errors
        /// [`Error::LengthMismatch`] if the lengths differ, and the errors that the options of this loss describe.
        pub fn mean$(<$t: $bound>)?(&self, input: &[T], target: &[T]) -> Result<T, Error> {
            let mut loss = [T::NAN];
            let (context, options) = (Context::default(), Options::new());
            self.eval(&context, input, target, None, &options, Outputs::new().loss(&mut loss))?;
            Ok(loss[0])
        }

        /// The mean loss and its gradient with respect to each input, in one pass.
        ///
        /// # Errors
        /// As [`mean`](Self::mean).
        pub fn mean_with_grad$(<$t: $bound>)?(&self, input: &[T], target: &[T], grad: &mut [T]) -> Result<T, Error> {
            let mut loss = [T::NAN];
            let (context, options) = (Context::default(), Options::new());
            self.eval(&context, input, target, None, &options, Outputs::new().loss(&mut loss).grad(grad))?;
            Ok(loss[0])
        }

        /// Evaluates with all options: threads, a weight for each element, reduction, and any combination of outputs. A
        /// mean divides by the number of elements, with or without weights.
        ///
        /// # Errors
        /// As [`mean`](Self::mean), and [`Error::NanOption`] if `grad_scale` is NaN. After an error nothing was
        /// written.
        pub fn eval$(<$t: $bound>)?(
            &self,
            context: &Context,
            input: &[T],
            target: &[T],
            weight: Option<&[T]>,
            options: &Options,
            outputs: Outputs<'_, T>,
        ) -> Result<Summary, Error> {
            pointwise::eval(self, context, [input, target], weight, options, outputs)
        }

        /// Like [`eval`](Self::eval), but overwrites the input with its gradient.
        ///
        /// # Errors
        /// As [`eval`](Self::eval), and [`Error::PartialOverlap`] with [`accumulate_grad`](Options::accumulate_grad) or
        /// if `outputs` has a gradient of its own.
        pub fn eval_in_place$(<$t: $bound>)?(
            &self,
            context: &Context,
            input: &mut [T],
            target: &[T],
            weight: Option<&[T]>,
            options: &Options,
            outputs: Outputs<'_, T>,
        ) -> Result<Summary, Error> {
            pointwise::eval_in_place(self, context, input, target, weight, options, outputs)
        }
    };
}
pub(crate) use pointwise_methods;
