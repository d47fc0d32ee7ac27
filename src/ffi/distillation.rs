//! The divergence between a teacher's and a student's distribution.

use super::element_types::for_each_element_type;
use super::memory::{Memory, context, view, view_optional};
use super::types::{lk_class_shape, lk_context, lk_distillation_params, lk_options, lk_status};
use crate::error::Error;
use crate::loss::{DistillationInputs, Element};

/// The arguments of a call.
struct Call<T> {
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    student: *const T,
    teacher: *const T,
    row_weight: *const T,
    params: *const lk_distillation_params,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
}

impl<T: Element> Call<T> {
    /// # Safety
    /// As for the C function: pointers that are not NULL are valid for what it reads or writes there.
    unsafe fn evaluate(self) -> Result<lk_status, Error> {
        // SAFETY: the caller's promise
        let (how, options) = unsafe { (lk_distillation_params::read(self.params)?, lk_options::read(self.opts)?) };
        // SAFETY: the caller's promise
        let layout = unsafe { lk_class_shape::read(self.shape) }?;
        let (rows, elements) = (layout.samples, layout.elements);
        let no_hess = core::ptr::null_mut();
        let mut memory = Memory::new(&options);
        memory.shape(layout);
        memory.input_shaped("student", self.student)?;
        memory.input_shaped("teacher", self.teacher)?;
        memory.input_optional("row_weight", self.row_weight, rows)?;
        memory.outputs(self.loss, self.grad, no_hess, rows)?;
        memory.check(("student", "grad"))?;
        // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and nothing
        // overlaps but what may; that it is valid is the caller's promise
        unsafe {
            let inputs = DistillationInputs {
                layout,
                student: view(self.student, elements),
                teacher: view(self.teacher, elements),
                row_weight: view_optional(self.row_weight, rows),
            };
            let sinks = options.sinks(self.loss, self.grad, no_hess, rows, layout.of_grad().elements);
            let summary = how.run(context(self.ctx), inputs, &options.options, sinks)?;
            Ok(options.finish(summary))
        }
    }
}

for_each_element_type! {
    /// Knowledge distillation: the divergence between the distributions of a student and a teacher, computed from the
    /// logits of both at a temperature T (Hinton et al., 2015; generalised Jensen-Shannon divergence: Agarwal et al.,
    /// 2024, and TRL's GKD trainer).
    ///
    /// With p = softmax(teacher / T), q = softmax(student / T) and m = beta p + (1 - beta) q:
    ///
    /// - beta = 0 (the default): loss = KL(p || q), gradient = (q - p) / T; this is PyTorch's kl_div of log_softmax
    ///   with log_target
    /// - beta = 1: loss = KL(q || p), gradient = q (log(q / p) - loss) / T
    /// - otherwise: loss = beta KL(p || m) + (1 - beta) KL(q || m) and
    ///   gradient = (1 - beta) q (log(q / m) - KL(q || m)) / T
    ///
    /// The gradient is with respect to the student's logits. For the gradient with respect to the teacher's logits,
    /// exchange student and teacher and pass 1 - beta; the loss is the same. Hinton's factor T^2 is not included: pass
    /// it as grad_scale for the gradient.
    ///
    /// `shape` must have `inner` 1 and contiguous classes (of the gradient, if `shape` gives it other strides than the
    /// logits), otherwise the call returns LK_UNSUPPORTED_OPTION. `student`, `teacher` and `grad` have this shape;
    /// `grad` may be `student` itself. A row weight multiplies the loss and the gradient of its row. LK_MEAN divides by
    /// the sum of the row weights, which is the number of rows without weights (batchmean). Rows of weight 0 are not
    /// read, so weights of 0 and 1 are a mask. If no row is left, or if the weights add up to 0, LK_MEAN is as in
    /// lk_cross_entropy_f32. `row_weight` may be NULL (all weights are 1).
    ///
    /// Accuracy: the loss is within 8 units in the last place of the exact value, however close student and teacher
    /// are. It is never negative. For equal logits the loss and the gradients are 0. Gradients are within 8 units of
    /// the exact difference, which is (q - p) / T or q (log(q / p) - loss) / T; for other beta, within 8 units of q
    /// times the larger of the two numbers that are subtracted.
    ///
    /// Logits of -inf mask their classes. If only the student's logit of a class is -inf, forward KL is infinite; if
    /// only the teacher's is, reverse KL is. A row with a NaN, with a logit of +inf or with all classes masked is NaN.
    /// `loss` is one element for LK_MEAN and LK_SUM, and one for each row for LK_NONE. Each output may be NULL, and so
    /// may `params` and `opts`.
    fn distillation(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        student: *const T,
        teacher: *const T,
        row_weight: *const T,
        params: *const lk_distillation_params,
        opts: *const lk_options,
        loss: *mut T,
        grad: *mut T,
    ) {
        Call { ctx, shape, student, teacher, row_weight, params, opts, loss, grad }.evaluate()
    }
}
