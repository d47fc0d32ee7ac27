//! The softmax of rows whose classes come in pieces.

use core::ffi::c_void;

use super::element_types::for_each_element_type;
use super::memory::{INDEX_TYPES, Memory, context, index_view, view, view_mut, view_optional};
use super::status::guard;
use super::types::{LK_OK, lk_class_chunk, lk_context, lk_dtype, lk_softmax_state, lk_status};
use crate::error::Error;
use crate::loss::{CheckedChunk, Element, finish_states, merge_states};
use crate::shape::IndexView;
use crate::simd::view::Out;
use crate::softmax_state::SoftmaxState;

/// A chunk's inputs.
struct Input<T> {
    chunk: *const lk_class_chunk,
    logits: *const T,
    target_type: lk_dtype,
    targets: *const c_void,
}

impl<T> Input<T> {
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
        Ok(chunk)
    }

    /// # Safety
    /// The memory was checked, and what is not NULL is valid.
    unsafe fn targets<'a>(&self, rows: usize) -> Result<Option<IndexView<'a>>, Error> {
        if self.targets.is_null() {
            return Ok(None);
        }
        // SAFETY: the caller's promise
        unsafe { index_view(self.target_type, self.targets, rows) }.map(Some)
    }
}

/// # Safety
/// As for the C function.
unsafe fn update<T: Element>(
    ctx: *const lk_context,
    input: Input<T>,
    states: *mut lk_softmax_state,
) -> Result<lk_status, Error> {
    let mut memory = Memory::default();
    // SAFETY: the caller's promise
    let chunk = unsafe { input.check(&mut memory) }?;
    let rows = chunk.layout.samples;
    memory.output("states", states, rows)?;
    memory.check(("", ""))?;
    // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and nothing overlaps; an
    // lk_softmax_state is a SoftmaxState; that it is valid is the caller's promise
    unsafe {
        let targets = input.targets(rows)?;
        let states = view_mut(states.cast::<SoftmaxState>(), rows);
        chunk.update(context(ctx), view(input.logits, chunk.layout.elements), targets, states)?;
    }
    Ok(LK_OK)
}

/// # Safety
/// As for the C function.
unsafe fn finish<T: Element>(
    ctx: *const lk_context,
    rows: usize,
    states: *const lk_softmax_state,
    loss: *mut T,
    lse: *mut T,
) -> Result<lk_status, Error> {
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
        finish_states(context(ctx), view(states.cast::<SoftmaxState>(), rows), out(loss), out(lse))?;
    }
    Ok(LK_OK)
}

/// # Safety
/// As for the C function.
unsafe fn grad<T: Element>(
    ctx: *const lk_context,
    input: Input<T>,
    states: *const lk_softmax_state,
    row_weight: *const T,
    grad_scale: f64,
    grad: *mut T,
) -> Result<lk_status, Error> {
    let mut memory = Memory::default();
    // SAFETY: the caller's promise
    let chunk = unsafe { input.check(&mut memory) }?;
    let (rows, elements) = (chunk.layout.samples, chunk.layout.elements);
    memory.input("states", states, rows)?;
    memory.input_optional("row_weight", row_weight, rows)?;
    memory.output_shaped("grad", grad)?;
    memory.check(("logits", "grad"))?;
    // SAFETY: as in `update`
    unsafe {
        let (targets, states) = (input.targets(rows)?, view(states.cast::<SoftmaxState>(), rows));
        let (logits, row_weight) = (view(input.logits, elements), view_optional(row_weight, rows));
        chunk.grad(context(ctx), logits, targets, states, row_weight, grad_scale, view_mut(grad, elements))?;
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
    /// `targets`: an LK_I32, LK_I64 or LK_U8 index a row among all classes; one that is not in this chunk will be, or was,
    /// in another. A negative one that is not `ignore_index` is LK_TARGET_OUT_OF_RANGE. NULL: there is no loss, only
    /// the logarithm of the sum of exponentials. Logits of -inf are masked classes.
    fn softmax_state_update(
        ctx: *const lk_context,
        chunk: *const lk_class_chunk,
        logits: *const T,
        target_type: lk_dtype,
        targets: *const c_void,
        states: *mut lk_softmax_state,
    ) {
        update(ctx, Input { chunk, logits, target_type, targets }, states)
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
    /// seen exactly once is LK_INCOMPLETE_STATE.
    fn softmax_state_finish(
        ctx: *const lk_context,
        rows: usize,
        states: *const lk_softmax_state,
        loss: *mut T,
        lse: *mut T,
    ) {
        finish(ctx, rows, states, loss, lse)
    }

    /// The gradient of a chunk's logits, once its rows' states have seen all classes:
    /// row_weight grad_scale (p_j - q_j), q_j being 1 for the target and 0 elsewhere; 0 for ignored rows.
    ///
    /// `chunk` and `targets` as they were for the update; without targets, the gradient of the logarithm of the sum of
    /// exponentials. `row_weight` has `rows` elements and may be NULL (all 1). For a batch's mean, `grad_scale` is 1 / the
    /// number of rows that count, or the sum of their weights. `grad` has the shape and stride of the logits and may be the
    /// logits themselves.
    fn softmax_state_grad(
        ctx: *const lk_context,
        chunk: *const lk_class_chunk,
        logits: *const T,
        target_type: lk_dtype,
        targets: *const c_void,
        states: *const lk_softmax_state,
        row_weight: *const T,
        grad_scale: f64,
        grad: *mut T,
    ) {
        self::grad(ctx, Input { chunk, logits, target_type, targets }, states, row_weight, grad_scale, grad)
    }
}
