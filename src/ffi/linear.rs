//! Cross-entropy of a linear layer.

use core::ffi::c_void;

use super::element_types::for_each_element_type;
use super::memory::{INDEX_TYPES, Memory, context, indices, slice, slice_mut, view_mut};
use super::types::{lk_context, lk_dtype, lk_linear_cross_entropy_params, lk_linear_shape, lk_options, lk_status};
use crate::cost::Cost;
use crate::error::Error;
use crate::loss::{Element, LinearInputs, LinearOutputs};
use crate::shape::{Reduction, Weights};

/// The arguments of a call.
struct Call<T> {
    ctx: *const lk_context,
    shape: *const lk_linear_shape,
    hidden: *const T,
    weight: *const T,
    bias: *const T,
    target_type: lk_dtype,
    targets: *const c_void,
    class_weight: *const T,
    row_weight: *const T,
    params: *const lk_linear_cross_entropy_params,
    opts: *const lk_options,
    loss: *mut T,
    grad_hidden: *mut T,
    grad_weight: *mut T,
    grad_bias: *mut T,
}

impl<T: Element> Call<T> {
    /// # Safety
    /// As for the C function: pointers that are not NULL are valid for what it reads or writes there.
    unsafe fn run(self) -> Result<lk_status, Error> {
        // SAFETY: the caller's promise
        let ((loss, correct), read, shape) = unsafe {
            let params = lk_linear_cross_entropy_params::read(self.params)?;
            (params, lk_options::read(self.opts)?, lk_linear_shape::read(self.shape)?)
        };
        let lk_linear_shape { rows, width, classes, .. } = shape;
        let product = |name, a: usize| a.checked_mul(width).ok_or(Error::SizeTooLarge { name });
        let (hidden, weight) = (product("hidden", rows)?, product("weight", classes)?);
        let losses = if read.options.reduction == Reduction::None { rows } else { 1 };
        let mut memory = Memory::default();
        memory.input("hidden", self.hidden, hidden)?;
        memory.input("weight", self.weight, weight)?;
        memory.input_optional("bias", self.bias, classes)?;
        memory.indices("targets", self.target_type, INDEX_TYPES, self.targets, rows)?;
        memory.input_optional("class_weight", self.class_weight, classes)?;
        memory.input_optional("row_weight", self.row_weight, rows)?;
        memory.output_optional("opts.weight_sum", read.weight_sum, 1)?;
        memory.output_optional("opts.cost", read.cost, 1)?;
        memory.output_optional("loss", self.loss, losses)?;
        memory.output_optional("grad_hidden", self.grad_hidden, hidden)?;
        memory.output_optional("grad_weight", self.grad_weight, weight)?;
        memory.output_optional("grad_bias", self.grad_bias, classes)?;
        correct.check(&mut memory, rows)?;
        memory.check(("", ""))?;
        // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and no output overlaps
        // anything; that it is valid is the caller's promise
        unsafe {
            let targets = indices(self.target_type, self.targets, rows)?;
            let mut weights = Weights::new();
            if !self.class_weight.is_null() {
                weights = weights.class(slice(self.class_weight, classes));
            }
            if !self.row_weight.is_null() {
                weights = weights.row(slice(self.row_weight, rows));
            }
            let (hidden_slice, weight_slice) = (slice(self.hidden, hidden), slice(self.weight, weight));
            let mut inputs =
                LinearInputs::new(rows, width, classes, hidden_slice, weight_slice, targets).weights(weights);
            if !self.bias.is_null() {
                inputs = inputs.bias(slice(self.bias, classes));
            }
            let mut outputs = LinearOutputs::new();
            if !self.loss.is_null() {
                outputs = outputs.loss(slice_mut(self.loss, losses));
            }
            if !self.grad_hidden.is_null() {
                outputs = outputs.grad_hidden(slice_mut(self.grad_hidden, hidden));
            }
            if !self.grad_weight.is_null() {
                outputs = outputs.grad_weight(slice_mut(self.grad_weight, weight));
            }
            if !self.grad_bias.is_null() {
                outputs = outputs.grad_bias(slice_mut(self.grad_bias, classes));
            }
            // an lk_cost is a Cost
            if let Some(cost) = read.cost.cast::<Cost>().as_mut() {
                outputs = outputs.cost(cost);
            }
            if let Some(count) = correct.count.as_mut() {
                outputs = outputs.correct(count);
            }
            if !correct.each.is_null() {
                outputs = outputs.each_correct(view_mut(correct.each.cast::<bool>(), rows));
            }
            let summary = loss.eval(context(self.ctx), &inputs, &read.options, outputs)?;
            Ok(read.finish(summary))
        }
    }
}

for_each_element_type! {
    /// Cross-entropy of the outputs of a linear layer (PyTorch's linear_cross_entropy), logits = hidden weight^T +
    /// bias, with the gradients with respect to `hidden`, `weight` and `bias`. The logits are computed in blocks of
    /// rows that take at most `params->memory` bytes, so they are never in memory all at once.
    ///
    /// `hidden` is [rows][width], `weight` is [classes][width], and `bias` is [classes] or NULL (zeros); all are dense.
    /// `targets` are indices of an integer type of lk_dtype, one for each row. Targets, weights, `loss` and the
    /// divisor of LK_MEAN are as in lk_cross_entropy_f32. Each gradient has the shape of the array that it belongs to
    /// and may be NULL, and so may `params` and `opts`. No output may overlap an input. With LK_NONE the gradients of
    /// `weight` and `bias` are those of the sum of the losses.
    ///
    /// The matrix products are computed by the gemm crate, which chooses the instruction set itself, so their last bits
    /// may differ between machines. The logits of ignored rows are computed too, so `hidden` must be finite there. The
    /// call allocates memory: `params->memory` bytes and eight bytes for each class (if this fails, the call returns
    /// LK_OUT_OF_MEMORY); 5 to 15 MiB for matrix products; and for each further thread as much as its second-level
    /// cache, which the thread keeps.
    fn linear_cross_entropy(
        ctx: *const lk_context,
        shape: *const lk_linear_shape,
        hidden: *const T,
        weight: *const T,
        bias: *const T,
        target_type: lk_dtype,
        targets: *const c_void,
        class_weight: *const T,
        row_weight: *const T,
        params: *const lk_linear_cross_entropy_params,
        opts: *const lk_options,
        loss: *mut T,
        grad_hidden: *mut T,
        grad_weight: *mut T,
        grad_bias: *mut T,
    ) {
        let call = Call {
            ctx,
            shape,
            hidden,
            weight,
            bias,
            target_type,
            targets,
            class_weight,
            row_weight,
            params,
            opts,
            loss,
            grad_hidden,
            grad_weight,
            grad_bias,
        };
        call.run()
    }
}
