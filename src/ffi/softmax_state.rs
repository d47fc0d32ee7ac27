//! The softmax of rows whose classes come in pieces.

use core::ffi::c_void;

use super::element_types::for_each_element_type;
use super::memory::{INDEX_TYPES, Memory, context, index_view, view, view_mut, view_optional};
use super::status::guard;
use super::types::{LK_OK, lk_class_chunk, lk_context, lk_dtype, lk_softmax_state, lk_softmax_state_params, lk_status};
use crate::error::Error;
use crate::loss::{CheckedChunk, ChunkInput, Element, merge_states};
use crate::simd::view::Out;
use crate::softmax_state::SoftmaxState;

/// A chunk's inputs.
struct Input<T> {
    chunk: *const lk_class_chunk,
    logits: *const T,
    target_type: lk_dtype,
    targets: *const c_void,
    class_weight: *const T,
}

impl<T: Element> Input<T> {
    /// # Safety
    /// As for the C function.
    unsafe fn check(&self, memory: &mut Memory) -> Result<CheckedChunk, Error> {
        // SAFETY: the caller's promise
        let chunk = unsafe { lk_class_chunk::read(self.chunk) }?;
        memory.shape(chunk.layout);
        memory.input_shaped("logits", self.logits)?;
        if !self.targets.is_null() {
            memory.indices("targets", self.target_type, INDEX_TYPES, self.targets, chunk.layout.samples)?;
        }
        memory.input_optional("class_weight", self.class_weight, chunk.layout.classes)?;
        Ok(chunk)
    }

    /// # Safety
    /// The memory was checked, and what is not NULL is valid.
    unsafe fn views<'a>(&self, chunk: CheckedChunk) -> Result<ChunkInput<'a, T>, Error> {
        let (rows, classes) = (chunk.layout.samples, chunk.layout.classes);
        // SAFETY: the caller's promise
        unsafe {
            let targets = match self.targets.is_null() {
                true => None,
                false => Some(index_view(self.target_type, self.targets, rows)?),
            };
            let logits = view(self.logits, chunk.layout.elements);
            Ok(ChunkInput { chunk, logits, targets, class_weight: view_optional(self.class_weight, classes) })
        }
    }
}

/// # Safety
/// As for the C function.
unsafe fn update<T: Element>(
    ctx: *const lk_context,
    input: Input<T>,
    params: *const lk_softmax_state_params,
    states: *mut lk_softmax_state,
) -> Result<lk_status, Error> {
    let mut memory = Memory::default();
    // SAFETY: the caller's promise
    let (loss, chunk) = unsafe { (lk_softmax_state_params::read(params)?, input.check(&mut memory)?) };
    let rows = chunk.layout.samples;
    memory.output("states", states, rows)?;
    memory.check(("", ""))?;
    // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and nothing overlaps; an
    // lk_softmax_state is a SoftmaxState; that it is valid is the caller's promise
    unsafe {
        loss.run_update(context(ctx), input.views(chunk)?, view_mut(states.cast::<SoftmaxState>(), rows))?;
    }
    Ok(LK_OK)
}

/// # Safety
/// As for the C function.
unsafe fn finish<T: Element>(
    ctx: *const lk_context,
    rows: usize,
    states: *const lk_softmax_state,
    params: *const lk_softmax_state_params,
    loss: *mut T,
    lse: *mut T,
) -> Result<lk_status, Error> {
    // SAFETY: the caller's promise
    let how = unsafe { lk_softmax_state_params::read(params) }?;
    let mut memory = Memory::default();
    memory.input("states", states, rows)?;
    memory.output_optional("loss", loss, rows)?;
    memory.output_optional("lse", lse, rows)?;
    memory.check(("", ""))?;
    // SAFETY: as in `update`
    unsafe {
        let out = |pointer: *mut T| -> Option<Out<'_, T>> {
            if pointer.is_null() { None } else { Some(view_mut(pointer, rows)) }
        };
        how.run_finish(context(ctx), view(states.cast::<SoftmaxState>(), rows), out(loss), out(lse))?;
    }
    Ok(LK_OK)
}

/// # Safety
/// As for the C function.
#[allow(clippy::too_many_arguments)]
unsafe fn grad<T: Element>(
    ctx: *const lk_context,
    input: Input<T>,
    states: *const lk_softmax_state,
    row_weight: *const T,
    params: *const lk_softmax_state_params,
    grad_scale: f64,
    grad: *mut T,
) -> Result<lk_status, Error> {
    let mut memory = Memory::default();
    // SAFETY: the caller's promise
    let (loss, chunk) = unsafe { (lk_softmax_state_params::read(params)?, input.check(&mut memory)?) };
    let (rows, elements) = (chunk.layout.samples, chunk.layout.elements);
    memory.input("states", states, rows)?;
    memory.input_optional("row_weight", row_weight, rows)?;
    memory.output_shaped("grad", grad)?;
    memory.check(("logits", "grad"))?;
    // SAFETY: as in `update`
    unsafe {
        let (states, row_weight) = (view(states.cast::<SoftmaxState>(), rows), view_optional(row_weight, rows));
        let grad = view_mut(grad, elements);
        loss.run_grad(context(ctx), input.views(chunk)?, states, row_weight, grad_scale, grad)?;
    }
    Ok(LK_OK)
}

/// States that have seen nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_softmax_state_init(rows: usize, states: *mut lk_softmax_state) -> lk_status {
    guard(|| {
        Memory::default().output("states", states, rows)?;
        // SAFETY: as in `update`
        unsafe { view_mut(states.cast::<SoftmaxState>(), rows) }.fill(SoftmaxState::new());
        Ok(LK_OK)
    })
}

for_each_element_type! {
    /// Adds a chunk of classes to its rows' states.
    ///
    /// Chunks come in any order and may have any width; each class is to be added once, to one of the states that will be
    /// merged. What comes of them is within 2 units in the last place of lk_cross_entropy_f32 of the whole rows.
    ///
    /// `targets`: an index of an integer type of lk_dtype a row among all classes; one that is not in this chunk will be, or was,
    /// in another. A negative one that is not `ignore_index` is LK_TARGET_OUT_OF_RANGE. NULL: there is no loss, only
    /// the logarithm of the sum of exponentials. Logits of -inf are masked classes.
    ///
    /// `class_weight` has the weights of the chunk's classes and may be NULL (all 1). `params` may be NULL; it is to be the
    /// same for all updates of a row, for what its state comes to and for its gradients.
    fn softmax_state_update(
        ctx: *const lk_context,
        chunk: *const lk_class_chunk,
        logits: *const T,
        target_type: lk_dtype,
        targets: *const c_void,
        class_weight: *const T,
        params: *const lk_softmax_state_params,
        states: *mut lk_softmax_state,
    ) {
        update(ctx, Input { chunk, logits, target_type, targets, class_weight }, params, states)
    }
}

/// Merges into each row's state what another has seen of the row's other classes.
///
/// Which of two takes in the other changes no bit, in which order many are merged no more than the last place.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_softmax_state_merge(
    ctx: *const lk_context,
    rows: usize,
    into: *mut lk_softmax_state,
    from: *const lk_softmax_state,
) -> lk_status {
    guard(|| {
        let mut memory = Memory::default();
        memory.input("from", from, rows)?;
        memory.output("into", into, rows)?;
        memory.check(("", ""))?;
        // SAFETY: as in `update`
        unsafe {
            let (into, from) = (view_mut(into.cast::<SoftmaxState>(), rows), view(from.cast::<SoftmaxState>(), rows));
            merge_states(context(ctx), into, from);
        }
        Ok(LK_OK)
    })
}

for_each_element_type! {
    /// Each row's loss (0 where it is ignored), and the logarithm of its sum of exponentials (-inf there).
    ///
    /// Both have `rows` elements and may be NULL. If there is a loss, a row that is not ignored and whose target was not
    /// seen exactly once is LK_INCOMPLETE_STATE. The loss is that of lk_cross_entropy_f32 with the same class weights and
    /// options; what its mean divides by is the sum of the states' `target_weight`.
    fn softmax_state_finish(
        ctx: *const lk_context,
        rows: usize,
        states: *const lk_softmax_state,
        params: *const lk_softmax_state_params,
        loss: *mut T,
        lse: *mut T,
    ) {
        finish(ctx, rows, states, params, loss, lse)
    }

    /// The gradient of a chunk's logits, once its rows' states have seen all classes:
    /// row_weight grad_scale (Q p_j - q_j), q being the target distribution as in lk_cross_entropy_f32 (1 for the target and 0
    /// elsewhere, without class weights and label smoothing) and Q its sum; 0 for ignored rows.
    ///
    /// `chunk`, `targets`, `class_weight` and `params` as they were for the update; without targets, the gradient of the
    /// logarithm of the sum of exponentials. `row_weight` has `rows` elements and may be NULL (all 1). For a batch's mean, `grad_scale` is 1 / the
    /// number of rows that count, or the sum of their weights. `grad` has the shape and stride of the logits and may be the
    /// logits themselves.
    fn softmax_state_grad(
        ctx: *const lk_context,
        chunk: *const lk_class_chunk,
        logits: *const T,
        target_type: lk_dtype,
        targets: *const c_void,
        states: *const lk_softmax_state,
        class_weight: *const T,
        row_weight: *const T,
        params: *const lk_softmax_state_params,
        grad_scale: f64,
        grad: *mut T,
    ) {
        let input = Input { chunk, logits, target_type, targets, class_weight };
        self::grad(ctx, input, states, row_weight, params, grad_scale, grad)
    }
}
