//! Losses over classes.

use core::ffi::c_void;

use super::element_types::{CElement, for_each_element_type};
use super::memory::{INDEX_TYPES, Memory, context, view, view_mut, view_optional};
use super::types::{
    Correct, LK_OK, lk_class_shape, lk_context, lk_cross_entropy_params, lk_dtype, lk_nll_params, lk_options, lk_status,
};
use crate::context::Context;
use crate::error::Error;
use crate::indices::{IndexView, TargetView};
use crate::loss::{CrossEntropy, CrossEntropyInputs, Element, LogSoftmax, Nll, NllInputs, Softmax};
use crate::shape::{Layout, WeightView};
use crate::simd::view::{In, Out};

/// The inputs that nll and cross-entropy share.
struct ClassInput<T> {
    name: &'static str,
    elements: *const T,
    class_weight: *const T,
    row_weight: *const T,
}

/// A call's arguments.
struct Call<T> {
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    input: ClassInput<T>,
    target_type: lk_dtype,
    targets: *const c_void,
    /// The type of probabilities, if they may be targets.
    probabilities: Option<lk_dtype>,
    /// The types of targets, in words.
    target_types: &'static str,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
    correct: Correct,
}

/// The arguments of a call, read and checked.
struct Checked<'a, T> {
    layout: Layout,
    targets: TargetView<'a, T>,
    weights: WeightView<'a, T>,
    options: super::types::Read,
}

impl<T: Element> Call<T> {
    /// # Safety
    /// As for the C function: pointers that are not NULL are valid for what it reads or writes there.
    unsafe fn check<'a>(&self) -> Result<Checked<'a, T>, Error> {
        // SAFETY: the caller's promise
        let options = unsafe { lk_options::read(self.opts) }?;
        // SAFETY: the caller's promise
        let layout = unsafe { lk_class_shape::read(self.shape) }?;
        let (samples, elements) = (layout.samples, layout.elements);
        let is_probabilities = self.probabilities == Some(self.target_type);
        let mut memory = Memory::new(&options);
        memory.shape(layout);
        memory.input_shaped(self.input.name, self.input.elements)?;
        if is_probabilities {
            memory.input_shaped("targets", self.targets.cast::<T>())?;
        } else {
            memory.indices("targets", self.target_type, self.target_types, self.targets, samples)?;
        }
        memory.input_optional("class_weight", self.input.class_weight, layout.classes)?;
        memory.input_optional("row_weight", self.input.row_weight, samples)?;
        memory.outputs(self.loss, self.grad, self.hess, samples)?;
        self.correct.check(&mut memory, samples)?;
        memory.check((self.input.name, "grad"))?;
        // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and nothing
        // overlaps but what may; that it is valid is the caller's promise
        unsafe {
            let targets = if is_probabilities {
                TargetView::Probabilities(view(self.targets.cast(), elements))
            } else {
                TargetView::Indices(super::memory::index_view(self.target_type, self.targets, samples)?)
            };
            let weights = WeightView {
                class: view_optional(self.input.class_weight, layout.classes),
                row: view_optional(self.input.row_weight, samples),
            };
            Ok(Checked { layout, targets, weights, options })
        }
    }

    /// # Safety
    /// As [`check`](Call::check).
    unsafe fn cross_entropy(self, loss: CrossEntropy) -> Result<lk_status, Error> {
        // SAFETY: the caller's promise, as described at `check`
        unsafe {
            let Checked { layout, targets, weights, options } = self.check()?;
            let logits = view(self.input.elements, layout.elements);
            let sinks = options.sinks(self.loss, self.grad, self.hess, layout.samples, layout.of_grad().elements);
            let sinks = self.correct.sinks(sinks, layout.samples);
            let inputs = CrossEntropyInputs { layout, logits, targets, weights };
            let summary = loss.run(context(self.ctx), inputs, &options.options, sinks)?;
            Ok(options.finish(summary))
        }
    }

    /// # Safety
    /// As [`check`](Call::check).
    unsafe fn nll(self, loss: Nll) -> Result<lk_status, Error> {
        // SAFETY: the caller's promise, as described at `check`
        unsafe {
            let Checked { layout, targets, weights, options } = self.check()?;
            let targets = match targets {
                TargetView::Indices(targets) => targets,
                TargetView::Probabilities(_) => IndexView::U8(view(core::ptr::null(), 0)),
            };
            let log_probs = view(self.input.elements, layout.elements);
            let sinks = options.sinks(self.loss, self.grad, self.hess, layout.samples, layout.of_grad().elements);
            let inputs = NllInputs { layout, log_probs, targets, weights };
            let summary = loss.run(context(self.ctx), inputs, &options.options, sinks)?;
            Ok(options.finish(summary))
        }
    }
}

/// The arguments of softmax and similar functions, checked.
struct Distribution<'a, T, const N: usize> {
    context: &'a Context,
    layout: Layout,
    inputs: [In<'a, T>; N],
    output: Out<'a, T>,
}

/// Reads the shape and the arrays of softmax and similar functions. They have one output, which may be the first input.
///
/// # Safety
/// Shape and context are NULL or valid, and arrays that are not NULL have as many elements as the shape says.
unsafe fn distribution<'a, T: Element, const N: usize>(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    inputs: [(&'static str, *const T); N],
    output: (&'static str, *mut T),
) -> Result<Distribution<'a, T, N>, Error> {
    // SAFETY: the caller's promise
    let layout = unsafe { lk_class_shape::read(shape) }?;
    let mut memory = Memory::default();
    memory.shape(layout);
    for (name, pointer) in inputs {
        memory.input_shaped(name, pointer)?;
    }
    memory.output_shaped(output.0, output.1)?;
    memory.check((inputs[0].0, output.0))?;
    // SAFETY: the caller's promise; arrays that are NULL although they have elements were refused above
    unsafe {
        let inputs = inputs.map(|(_, pointer)| view(pointer, layout.elements));
        let output = view_mut(output.1, layout.of_grad().elements);
        Ok(Distribution { context: context(ctx), layout, inputs, output })
    }
}

for_each_element_type! {
    /// Cross-entropy of logits (PyTorch's cross_entropy), with class indices or class probabilities as targets.
    ///
    /// With p = softmax(logits), the target distribution q, and Q = sum of q_j:
    ///
    /// - loss = -sum of q_j log p_j
    /// - gradient = Q p - q
    /// - Hessian (its diagonal) = Q p (1 - p)
    ///
    /// For a class index t, q is the class weight of t at t and 0 elsewhere. With label smoothing e, q is the class
    /// weight times (1 - e at t, plus e / classes everywhere). Probabilities are smoothed first and then multiplied by
    /// the class weights. A row weight multiplies the loss and the gradients of its sample.
    ///
    /// Accuracy: the loss is within 3 units in the last place of the exact value. The gradient for a class index is
    /// within 4 units; with label smoothing, within 4 units of p (Q - q) + q (1 - p); for probabilities, within 4 units
    /// of the larger of Q p and q.
    ///
    /// `targets` are either indices of an integer type of lk_dtype, [outer][inner], dense; or probabilities with the
    /// type (LK_F32 here) and shape of the logits. An index outside of 0 to classes - 1 that is not `ignore_index`
    /// gives LK_TARGET_OUT_OF_RANGE. With indices, LK_MEAN divides by the sum of (class weight of the target times row
    /// weight) over all samples that are not ignored; with probabilities, by the sum of the row weights. If there is
    /// nothing to average, the mean is NaN (0 with LK_ZERO_IF_EMPTY) and gradients are 0. If weights that are not all 0
    /// add up to 0, the mean and the gradients are NaN. Logits of -inf mask their classes.
    ///
    /// `class_weight` has `classes` elements and `row_weight` one for each sample; either may be NULL (all weights are
    /// 1). `loss` is one element for LK_MEAN and LK_SUM, and [outer][inner] for LK_NONE. `grad` and `hess` have the
    /// shape and, unless `shape` says otherwise, the strides of the logits; `grad` may be the logits themselves. Each
    /// output may be NULL, and so may `params` and `opts`.
    fn cross_entropy(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        logits: *const T,
        target_type: lk_dtype,
        targets: *const c_void,
        class_weight: *const T,
        row_weight: *const T,
        params: *const lk_cross_entropy_params,
        opts: *const lk_options,
        loss: *mut T,
        grad: *mut T,
        hess: *mut T,
    ) {
        let (loss_of, correct) = lk_cross_entropy_params::read(params)?;
        let input = ClassInput { name: "logits", elements: logits, class_weight, row_weight };
        let (probabilities, target_types) = (Some(T::DTYPE), T::TARGET_TYPES);
        let call =
            Call { ctx, shape, input, target_type, targets, probabilities, target_types, opts, loss, grad, hess, correct };
        call.cross_entropy(loss_of)
    }

    /// Negative log-likelihood of log-probabilities (PyTorch's nll_loss).
    ///
    /// With w = class weight of the target times row weight: loss = -w log_probs[target], gradient = -w at the target
    /// and 0 elsewhere, Hessian = 0. Only the log-probability of the target is read, so other log-probabilities may be
    /// -inf.
    ///
    /// `targets` are indices of an integer type of lk_dtype, [outer][inner], dense. An index outside of 0 to classes -
    /// 1 that is not `ignore_index` gives LK_TARGET_OUT_OF_RANGE. LK_MEAN divides by the sum of w over all samples that
    /// are not ignored. If there are none, or if the weights add up to 0, the results are as in lk_cross_entropy_f32.
    ///
    /// `class_weight` has `classes` elements and `row_weight` one for each sample; either may be NULL (all weights are
    /// 1). `loss` is one element for LK_MEAN and LK_SUM, and [outer][inner] for LK_NONE. `grad` and `hess` have the
    /// shape and, unless `shape` says otherwise, the strides of the log-probabilities; `grad` may be the
    /// log-probabilities themselves. Each output may be NULL, and so may `params` and `opts`.
    fn nll(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        log_probs: *const T,
        target_type: lk_dtype,
        targets: *const c_void,
        class_weight: *const T,
        row_weight: *const T,
        params: *const lk_nll_params,
        opts: *const lk_options,
        loss: *mut T,
        grad: *mut T,
        hess: *mut T,
    ) {
        let params = lk_nll_params::read(params)?;
        let input = ClassInput { name: "log_probs", elements: log_probs, class_weight, row_weight };
        let (probabilities, target_types, correct) = (None, INDEX_TYPES, Correct::NONE);
        let call =
            Call { ctx, shape, input, target_type, targets, probabilities, target_types, opts, loss, grad, hess, correct };
        call.nll(params)
    }

    /// Softmax over classes (PyTorch's softmax): output = e^(x_j - max) / sum of e^(x_i - max).
    ///
    /// Logits of -inf give 0. A sample is NaN if all its logits are -inf, or if several are +inf.
    ///
    /// `output` has the shape and, unless `shape` says otherwise, the strides of the logits. It may be the logits
    /// themselves.
    fn softmax(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        logits: *const T,
        output: *mut T,
    ) {
        let Distribution { context, layout, inputs: [logits], output } =
            distribution(ctx, shape, [("logits", logits)], ("output", output))?;
        Softmax::new().run(context, layout, logits, output)?;
        Ok(LK_OK)
    }

    /// The gradient of lk_softmax_f32 with respect to the logits: grad_input = y (g - sum of g_j y_j), where y is its
    /// output and g is the gradient with respect to the output.
    ///
    /// All arrays have the same shape and, unless `shape` gives `grad_input` other strides, the same strides.
    /// `grad_input` may be `grad_output` itself.
    fn softmax_backward(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        output: *const T,
        grad_output: *const T,
        grad_input: *mut T,
    ) {
        let inputs = [("grad_output", grad_output), ("output", output)];
        let Distribution { context, layout, inputs: [grad_output, output], output: grad_input } =
            distribution(ctx, shape, inputs, ("grad_input", grad_input))?;
        Softmax::new().run_backward(context, layout, output, grad_output, grad_input)?;
        Ok(LK_OK)
    }

    /// The logarithm of the softmax over classes (PyTorch's log_softmax).
    ///
    /// Logits of -inf give -inf. A sample is NaN if all its logits are -inf, or if several are +inf.
    ///
    /// `output` has the shape and, unless `shape` says otherwise, the strides of the logits. It may be the logits
    /// themselves.
    fn log_softmax(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        logits: *const T,
        output: *mut T,
    ) {
        let Distribution { context, layout, inputs: [logits], output } =
            distribution(ctx, shape, [("logits", logits)], ("output", output))?;
        LogSoftmax::new().run(context, layout, logits, output)?;
        Ok(LK_OK)
    }

    /// The gradient of lk_log_softmax_f32 with respect to the logits: grad_input = g - e^y (sum of g_j), where y is its
    /// output and g is the gradient with respect to the output.
    ///
    /// All arrays have the same shape and, unless `shape` gives `grad_input` other strides, the same strides.
    /// `grad_input` may be `grad_output` itself.
    fn log_softmax_backward(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        output: *const T,
        grad_output: *const T,
        grad_input: *mut T,
    ) {
        let inputs = [("grad_output", grad_output), ("output", output)];
        let Distribution { context, layout, inputs: [grad_output, output], output: grad_input } =
            distribution(ctx, shape, inputs, ("grad_input", grad_input))?;
        LogSoftmax::new().run_backward(context, layout, output, grad_output, grad_input)?;
        Ok(LK_OK)
    }
}
