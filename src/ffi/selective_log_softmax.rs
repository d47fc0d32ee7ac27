//! Log-probabilities of chosen classes, entropies, and the gradient of both.

use core::ffi::c_void;

use super::element_types::for_each_element_type;
use super::memory::{INDEX_TYPES, Memory, context, index_view, unknown, view, view_mut, view_optional};
use super::types::{
    LK_ACCUMULATE_GRAD, LK_I64, LK_OK, lk_class_shape, lk_context, lk_dtype, lk_selective_log_softmax_params, lk_status,
};
use crate::error::Error;
use crate::indices::IndexView;
use crate::loss::{Element, SelectiveLogSoftmax, TokenGradViews, TokenOutputViews};
use crate::shape::Layout;

/// The inputs that the forward and the backward call share.
struct Input<T> {
    shape: *const lk_class_shape,
    logits: *const T,
    index_type: lk_dtype,
    indices: *const c_void,
    params: *const lk_selective_log_softmax_params,
}

/// The same inputs after all checks. `entries` is the number of indices.
struct Checked {
    token: SelectiveLogSoftmax,
    layout: Layout,
    entries: usize,
}

impl<T> Input<T> {
    /// # Safety
    /// As for the C function.
    unsafe fn check(&self, memory: &mut Memory, needs_indices: bool) -> Result<Checked, Error> {
        // SAFETY: the caller's promise
        let (token, layout) =
            unsafe { (lk_selective_log_softmax_params::read(self.params)?, lk_class_shape::read(self.shape)?) };
        let entries = token.entries(layout.samples)?;
        memory.shape(layout);
        memory.input_shaped("logits", self.logits)?;
        if needs_indices || !self.indices.is_null() {
            memory.indices("indices", self.index_type, INDEX_TYPES, self.indices, entries)?;
        }
        Ok(Checked { token, layout, entries })
    }

    /// # Safety
    /// The memory was checked, and what is not NULL is valid.
    unsafe fn indices<'a>(&self, entries: usize, needs_indices: bool) -> Result<Option<IndexView<'a>>, Error> {
        if self.indices.is_null() && !needs_indices {
            return Ok(None);
        }
        // SAFETY: the caller's promise
        unsafe { index_view(self.index_type, self.indices, entries) }.map(Some)
    }
}

/// # Safety
/// As for the C function.
unsafe fn forward<T: Element>(
    ctx: *const lk_context,
    input: Input<T>,
    log_probs: *mut T,
    entropy: *mut T,
    lse: *mut T,
) -> Result<lk_status, Error> {
    let mut memory = Memory::default();
    let needs_indices = !log_probs.is_null();
    // SAFETY: the caller's promise
    let Checked { token, layout, entries } = unsafe { input.check(&mut memory, needs_indices) }?;
    memory.output_optional("log_probs", log_probs, entries)?;
    memory.output_optional("entropy", entropy, layout.samples)?;
    memory.output_optional("lse", lse, layout.samples)?;
    memory.check(("", ""))?;
    // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and nothing overlaps; that
    // it is valid is the caller's promise
    unsafe {
        let out = |pointer: *mut T, len| if pointer.is_null() { None } else { Some(view_mut(pointer, len)) };
        let outputs = TokenOutputViews {
            log_probs: out(log_probs, entries),
            entropy: out(entropy, layout.samples),
            lse: out(lse, layout.samples),
        };
        let indices = input.indices(entries, needs_indices)?;
        token.run(context(ctx), layout, view(input.logits, layout.elements), indices, outputs)?;
    }
    Ok(LK_OK)
}

/// # Safety
/// As for the C function.
unsafe fn backward<T: Element>(
    ctx: *const lk_context,
    input: Input<T>,
    [grad_log_probs, grad_entropy, grad_lse]: [*const T; 3],
    flags: u32,
    grad: *mut T,
) -> Result<lk_status, Error> {
    if flags & !LK_ACCUMULATE_GRAD != 0 {
        return Err(unknown("flags", flags, "0 or LK_ACCUMULATE_GRAD (1)"));
    }
    let accumulate = flags & LK_ACCUMULATE_GRAD != 0;
    let mut memory = Memory::accumulating(accumulate);
    let needs_indices = !grad_log_probs.is_null();
    // SAFETY: the caller's promise
    let Checked { token, layout, entries } = unsafe { input.check(&mut memory, needs_indices) }?;
    memory.input_optional("grad_log_probs", grad_log_probs, entries)?;
    memory.input_optional("grad_entropy", grad_entropy, layout.samples)?;
    memory.input_optional("grad_lse", grad_lse, layout.samples)?;
    memory.output_shaped("grad", grad)?;
    memory.check(("logits", "grad"))?;
    // SAFETY: as in `forward`, except that the gradient may be the logits
    unsafe {
        let grads = TokenGradViews {
            log_probs: view_optional(grad_log_probs, entries),
            entropy: view_optional(grad_entropy, layout.samples),
            lse: view_optional(grad_lse, layout.samples),
        };
        let (logits, indices) = (view(input.logits, layout.elements), input.indices(entries, needs_indices)?);
        let grad = view_mut(grad, layout.of_grad().elements);
        token.accumulate_grad(accumulate).run_backward(context(ctx), layout, logits, indices, grads, grad)?;
    }
    Ok(LK_OK)
}

/// Logits without indices.
fn of_rows<T>(shape: *const lk_class_shape, logits: *const T) -> Input<T> {
    Input { shape, logits, index_type: LK_I64, indices: core::ptr::null(), params: core::ptr::null() }
}

/// # Safety
/// As for the C function.
unsafe fn entropy_forward<T: Element>(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    logits: *const T,
    entropy: *mut T,
) -> Result<lk_status, Error> {
    // SAFETY: the caller's promise
    unsafe {
        if entropy.is_null() && lk_class_shape::read(shape)?.samples > 0 {
            return Err(Error::NullPointer { name: "entropy" });
        }
        forward(ctx, of_rows(shape, logits), core::ptr::null_mut(), entropy, core::ptr::null_mut())
    }
}

/// # Safety
/// As for the C function.
unsafe fn entropy_backward<T: Element>(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    logits: *const T,
    grad_entropy: *const T,
    flags: u32,
    grad: *mut T,
) -> Result<lk_status, Error> {
    // SAFETY: the caller's promise
    unsafe {
        if grad_entropy.is_null() && lk_class_shape::read(shape)?.samples > 0 {
            return Err(Error::NullPointer { name: "grad_entropy" });
        }
        backward(ctx, of_rows(shape, logits), [core::ptr::null(), grad_entropy, core::ptr::null()], flags, grad)
    }
}

for_each_element_type! {
    /// The log-probabilities of chosen classes in each row (TRL's selective_log_softmax) and the entropy of each row,
    /// in one pass.
    ///
    /// log_probs[row][i] = log softmax(x)[index]; entropy[row] = -sum of p_j log p_j with p = softmax(x), in nats;
    /// lse[row] = log of the sum of e^x_j. No array of the logits' size is written.
    ///
    /// `shape` must have `inner` 1 and contiguous classes (of the gradient, if `shape` gives it other strides than the
    /// logits), otherwise the call returns LK_UNSUPPORTED_OPTION. `indices` are of an integer type of lk_dtype,
    /// [rows][per_row], as is `log_probs`. `indices` may be NULL if `log_probs` is NULL; then no row is ignored.
    /// `entropy` and `lse` have one element for each row. Each output may be NULL. `params` may be NULL: one index for
    /// each row, ignore_index -100.
    ///
    /// The log-probability of an ignored index is 0. If all indices of a row are ignored, the row is ignored: its
    /// logits are not read and all its outputs are 0. Logits of -inf mask their classes: these have log-probability
    /// -inf and add 0 to the entropy. A row is NaN if all its logits are -inf, or if several are +inf. The exception is
    /// lse, which is -inf if all logits are -inf.
    fn selective_log_softmax(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        logits: *const T,
        index_type: lk_dtype,
        indices: *const c_void,
        params: *const lk_selective_log_softmax_params,
        log_probs: *mut T,
        entropy: *mut T,
        lse: *mut T,
    ) {
        forward(ctx, Input { shape, logits, index_type, indices, params }, log_probs, entropy, lse)
    }

    /// The gradient of lk_selective_log_softmax_f32 with respect to the logits, from the gradients g, h and l with
    /// respect to its outputs `log_probs`, `entropy` and `lse`:
    ///
    /// - grad_j = (sum of g_i where index i is j) - p_j (sum of g_i) - h p_j (log p_j + entropy) + l p_j
    ///
    /// `grad_log_probs`, `grad_entropy` and `grad_lse` have the shapes of the corresponding outputs; each may be NULL
    /// (zeros). Pass the same `indices` and `params` as in the forward call. The outputs of the forward call are not
    /// needed. Gradients of ignored entries and rows are not read. `flags` is LK_ACCUMULATE_GRAD or 0. `grad` has the
    /// shape and, unless `shape` says otherwise, the strides of the logits; without LK_ACCUMULATE_GRAD it may be the
    /// logits themselves.
    fn selective_log_softmax_backward(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        logits: *const T,
        index_type: lk_dtype,
        indices: *const c_void,
        params: *const lk_selective_log_softmax_params,
        grad_log_probs: *const T,
        grad_entropy: *const T,
        grad_lse: *const T,
        flags: u32,
        grad: *mut T,
    ) {
        let input = Input { shape, logits, index_type, indices, params };
        backward(ctx, input, [grad_log_probs, grad_entropy, grad_lse], flags, grad)
    }

    /// The entropy of the softmax of each row, in nats: the `entropy` output of lk_selective_log_softmax_f32 alone.
    /// `shape` is as there. `entropy` has one element for each row.
    fn entropy(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        logits: *const T,
        entropy: *mut T,
    ) {
        entropy_forward(ctx, shape, logits, entropy)
    }

    /// The gradient of lk_entropy_f32 with respect to the logits, from the gradient with respect to the entropy of each
    /// row: grad_j = -grad_entropy p_j (log p_j + entropy).
    ///
    /// `flags` is LK_ACCUMULATE_GRAD or 0. `grad` has the shape and, unless `shape` says otherwise, the strides of the
    /// logits; without LK_ACCUMULATE_GRAD it may be the logits themselves.
    fn entropy_backward(
        ctx: *const lk_context,
        shape: *const lk_class_shape,
        logits: *const T,
        grad_entropy: *const T,
        flags: u32,
        grad: *mut T,
    ) {
        entropy_backward(ctx, shape, logits, grad_entropy, flags, grad)
    }
}
