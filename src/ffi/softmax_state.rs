//! The softmax of rows whose classes come in chunks.

use core::ffi::c_void;

use super::element_types::for_each_element_type;
use super::memory::{INDEX_TYPES, Memory, context, index_view, view, view_mut, view_optional};
use super::status::guard;
use super::types::{LK_OK, lk_class_chunk, lk_context, lk_dtype, lk_softmax_state, lk_softmax_state_params, lk_status};
use crate::error::Error;
use crate::loss::{CheckedChunk, ChunkInput, Element, merge_states};
use crate::simd::view::Out;
use crate::softmax_state::SoftmaxState;

/// The inputs of a chunk.
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

/// Initialises states to which no classes have been added.
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
    /// Adds a chunk of classes to the states of its rows.
    ///
    /// Chunks may come in any order and have any width. Add each class exactly once, to one of the states that will be
    /// merged. The results are within 2 units in the last place of those of lk_cross_entropy_f32 for the whole rows.
    ///
    /// `targets` are indices among all classes, of an integer type of lk_dtype, one for each row. A target that is not
    /// in this chunk must be in another chunk. A negative target that is not `ignore_index` gives
    /// LK_TARGET_OUT_OF_RANGE. If `targets` is NULL there is no loss, only the logarithm of the sum of exponentials.
    /// Logits of -inf mask their classes.
    ///
    /// `class_weight` has the weights of the classes in this chunk and may be NULL (all weights are 1). `params` may be
    /// NULL. Pass the same `params` to all calls for one row: updates, finish and gradients.
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

/// Merges two states of each row: adds to `into` the classes that have been added to `from`.
///
/// Exchanging `into` and `from` gives the same bits. If more than two states are merged, the order changes the results
/// by at most one unit in the last place.
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
    /// Computes the loss and the logarithm of the sum of exponentials of each row. For ignored rows the loss is 0 and
    /// the logarithm is -inf.
    ///
    /// `loss` and `lse` have `rows` elements; either may be NULL. If `loss` is not NULL, the target of each row that is
    /// not ignored must have been added exactly once, otherwise the call returns LK_INCOMPLETE_STATE. The loss is that
    /// of lk_cross_entropy_f32 with the same class weights and options, without reduction. For its mean, divide the sum
    /// by the sum of the `target_weight` of all states.
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

    /// The gradient with respect to the logits of a chunk, after all classes have been added to the states of its rows:
    /// row_weight grad_scale (Q p_j - q_j), where q is the target distribution as in lk_cross_entropy_f32 (without
    /// class weights and label smoothing: 1 for the target and 0 elsewhere) and Q is its sum. The gradient of ignored
    /// rows is 0.
    ///
    /// Pass the same `chunk`, `targets`, `class_weight` and `params` as in the update. Without targets the result is
    /// the gradient of the logarithm of the sum of exponentials. `row_weight` has `rows` elements and may be NULL (all
    /// weights are 1). For the gradient of the mean over a batch, set `grad_scale` to 1 / (number of rows that are not
    /// ignored, or the sum of their weights). `grad` has the shape and stride of the logits and may be the logits
    /// themselves.
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
