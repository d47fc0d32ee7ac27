//! The divergence between a teacher's and a student's distribution.

use super::element_types::for_each_element_type;
use super::memory::{Memory, context, view, view_optional};
use super::types::{lk_class_shape, lk_context, lk_distillation_params, lk_options, lk_status};
use crate::error::Error;
use crate::loss::{DistillationInputs, Element};

/// A call's arguments.
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
        let layout = unsafe { lk_class_shape::read_evenly_apart(self.shape) }?;
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
            let sinks = options.sinks(self.loss, self.grad, no_hess, rows, elements);
            let summary = how.run(context(self.ctx), inputs, &options.options, sinks)?;
            Ok(options.finish(summary))
        }
    }
}

for_each_element_type! {
    /// Knowledge distillation: how far a student's distribution is from its teacher's, from the logits of both, at a
    /// temperature T (Hinton et al., 2015; generalised Jensen-Shannon divergence: Agarwal et al., 2024, and TRL's GKD
    /// trainer).
    ///
    /// With p = softmax(teacher / T), q = softmax(student / T) and m = beta p + (1 - beta) q: for beta = 0, the default,
    /// loss = KL(p || q) (PyTorch's kl_div of log_softmax with log_target), gradient = (q - p) / T; for beta = 1,
    /// loss = KL(q || p), gradient = q (log(q / p) - loss) / T; else loss = beta KL(p || m) + (1 - beta) KL(q || m),
    /// gradient = (1 - beta) q (log(q / m) - KL(q || m)) / T. The gradient is that of the student's logits; student and
    /// teacher exchanged, with 1 - beta for beta, is the same loss and gives that of the teacher's. Hinton's factor T^2 is
    /// the caller's: grad_scale for the gradient.
    ///
    /// Rows only: the shape's `inner` must be 1 and its classes contiguous (else LK_UNSUPPORTED_OPTION). `student`,
    /// `teacher` and `grad` share its stride; `grad` may be `student` itself. A row weight multiplies its row's loss and
    /// gradient; LK_MEAN divides by their sum, or the number of rows (batchmean). Rows of weight 0 are not read: weights of
    /// 0 and 1 are a mask. Where none is left, and where weights add up to 0, LK_MEAN is as in lk_cross_entropy_f32.
    /// `row_weight` may be NULL (all 1).
    ///
    /// However near student and teacher are, a loss is within 8 units in the last place of the exact one; it is never
    /// negative, and 0 for equal logits, like the gradients. Gradients are within 8 units of the exact difference, q - p or
    /// q (log(q / p) - loss) over T; for other beta, of q times the larger of the two numbers that are subtracted.
    ///
    /// Logits of -inf are masked classes: where the student's alone is, forward KL is infinite, where the teacher's alone,
    /// reverse KL. All masked, NaN or +inf: NaN in that row. `loss` is one element for LK_MEAN and LK_SUM, one a row for
    /// LK_NONE. Outputs may be NULL, `params` and `opts` too.
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
