//! Losses of independent elements.

use super::element_types::for_each_element_type;
use super::memory::{Memory, check_pointer, context, slice, view, view_optional};
use super::types::{Read, lk_bce_with_logits_params, lk_context, lk_options, lk_status};
use crate::error::Error;
use crate::loss::pointwise_losses::*;
use crate::loss::{Element, Operands, PointwiseLoss, check_parameter, evaluate_pointwise, for_pointwise_losses};
use crate::shape::Layout;
use crate::simd::in_environment;

/// An option in double precision. It is exact even if the caller has enabled a mode that treats subnormal numbers as 0.
fn widened(option: impl Into<f64>) -> f64 {
    in_environment(|_| option.into())
}

/// The largest number of elements of a call that is checked with only a few comparisons. For larger calls this would
/// save nothing.
const PLAIN: usize = 1 << 16;

/// The arguments of a call.
struct Call<T> {
    ctx: *const lk_context,
    n: usize,
    input: *const T,
    target: *const T,
    weight: *const T,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
}

impl<T: Element> Call<T> {
    /// # Safety
    /// As for the C function: pointers that are not NULL are valid for what it reads or writes there.
    unsafe fn evaluate(self, loss: &dyn PointwiseLoss<T>) -> Result<lk_status, Error> {
        let n = self.n;
        // SAFETY: the caller's promise
        let options = unsafe { lk_options::read(self.opts) }?;
        if self.is_plain(&options) && loss.parameter().is_empty() {
            // SAFETY: just checked, and the caller's promise
            return unsafe { self.evaluate_checked(loss, &options) };
        }
        let mut memory = Memory::new(&options);
        memory.shape(Layout::elements(n));
        memory.input("input", self.input, n)?;
        memory.input("target", self.target, n)?;
        memory.input_optional("weight", self.weight, n)?;
        let parameter = loss.parameter();
        memory.input_optional("pos_weight", parameter.as_ptr(), parameter.len())?;
        memory.outputs(self.loss, self.grad, self.hess, n)?;
        memory.check(("input", "grad"))?;
        // SAFETY: just checked, and the caller's promise
        unsafe { self.evaluate_checked(loss, &options) }
    }

    /// # Safety
    /// Pointers are not NULL where elements are needed, aligned, of a size that memory can have, and nothing overlaps but
    /// what may; that they are valid is the caller's promise.
    unsafe fn evaluate_checked(&self, loss: &dyn PointwiseLoss<T>, options: &Read) -> Result<lk_status, Error> {
        let n = self.n;
        // SAFETY: as above
        unsafe {
            let operands = Operands {
                input: view(self.input, n),
                target: view(self.target, n),
                weight: view_optional(self.weight, n),
            };
            let sinks = options.sinks(self.loss, self.grad, self.hess, n, n);
            let summary = evaluate_pointwise(loss, context(self.ctx), operands, &options.options, sinks)?;
            Ok(options.finish(summary))
        }
    }

    /// Whether this is a typical call without errors. This takes a few comparisons, while the complete checks would
    /// take longer than a small call itself.
    fn is_plain(&self, options: &Read) -> bool {
        let Call { n, input, target, weight, loss, grad, hess, .. } = *self;
        let nothing_else = weight.is_null() && hess.is_null() && options.is_plain();
        let needed = !input.is_null() && !target.is_null() && !loss.is_null();
        let is_aligned = (input.addr() | target.addr() | loss.addr() | grad.addr()).is_multiple_of(align_of::<T>());
        if !(nothing_else && needed && is_aligned && n > 0 && n <= PLAIN) {
            return false;
        }
        // Two ranges are disjoint if neither begins within the other. The ranges are arrays of `n` elements, and the
        // loss, which is one element.
        let (one, bytes) = (size_of::<T>(), n * size_of::<T>());
        let [input, target, loss, grad] = [input.addr(), target.addr(), loss.addr(), grad.addr()];
        let are_apart = |a: usize, b: usize| b.wrapping_sub(a) >= bytes && a.wrapping_sub(b) >= bytes;
        let loss_is_apart = |a: usize| loss.wrapping_sub(a) >= bytes && a.wrapping_sub(loss) >= one;
        let highest = input.max(target).max(loss).max(grad);
        let grad_is_apart =
            grad == 0 || loss_is_apart(grad) && are_apart(grad, target) && (grad == input || are_apart(grad, input));
        highest.checked_add(bytes).is_some() && loss_is_apart(input) && loss_is_apart(target) && grad_is_apart
    }

    /// The array that the loss repeats along its input.
    ///
    /// # Safety
    /// As [`evaluate`](Call::evaluate).
    unsafe fn repeated_array<'a>(&self, array: *const T, len: usize, run: usize) -> Result<&'a [T], Error> {
        // if there are no elements, every array may be NULL
        let len = if self.n == 0 { 0 } else { len };
        check_parameter(len, run, self.n)?;
        check_pointer("pos_weight", array, len)?;
        // SAFETY: checked, and the caller's promise
        Ok(unsafe { slice(array, len) })
    }
}

/// The functions of a loss. Its docs in the header consist of the comment at the beginning of its file in `src/loss/`,
/// followed by the docs here, which apply to all losses.
macro_rules! functions {
    ($name: ident [$($argument: ident: $type: ty),*] |$call: ident| $evaluate: expr) => {
        for_each_element_type! {
            /// `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
            /// one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
            /// weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
            /// so may `opts` (LK_OPTIONS_INIT).
            fn $name(
                ctx: *const lk_context,
                n: usize,
                input: *const T,
                target: *const T,
                weight: *const T,
                $($argument: $type,)*
                opts: *const lk_options,
                loss: *mut T,
                grad: *mut T,
                hess: *mut T,
            ) {
                let $call = Call { ctx, n, input, target, weight, opts, loss, grad, hess };
                $evaluate
            }
        }
    };
}

/// The functions for a line of the table, depending on their parameters after `weight`.
macro_rules! functions_of {
    ($name: ident $Loss: ident []) => {
        functions! { $name [] |call| call.evaluate(&$Loss::new()) }
    };
    ($name: ident $Loss: ident [$number: ident: T]) => {
        functions! { $name [$number: T] |call| call.evaluate(&$Loss::new(widened($number))) }
    };
    ($name: ident $Loss: ident [$array: ident: *const T, $len: ident: usize, $params: ident: *const $Params: ident]) => {
        functions! {
            $name [$array: *const T, $len: usize, $params: *const $Params] |call| {
                let inner = $Params::read($params)?.inner;
                let array = call.repeated_array($array, $len, inner)?;
                call.evaluate(&$Loss::new().$array(array).inner(inner))
            }
        }
    };
}

macro_rules! functions_of_all {
    ($($name: ident $Loss: ident $formula: tt $arguments: tt $input: ident;)*) => {
        $(functions_of! { $name $Loss $arguments })*
    };
}
for_pointwise_losses! { functions_of_all }
