//! Losses of independent elements.

use super::memory::{Memory, context, view, view_optional};
use super::status::guard;
use super::types::{lk_context, lk_options, lk_status};
use crate::error::Error;
use crate::loss::{
    Bce, BceWithLogits, Element, Huber, L1, Likelihood, Mse, Operands, PointwiseLoss, SmoothL1, check_parameter,
    evaluate_pointwise,
};
use crate::simd::in_environment;

/// An option in double precision, also where the caller takes subnormals for 0.
fn widened(option: impl Into<f64>) -> f64 {
    in_environment(|_| option.into())
}

/// A call's arguments.
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
        let mut memory = Memory::new(&options);
        memory.input("input", self.input, n)?;
        memory.input("target", self.target, n)?;
        memory.input_optional("weight", self.weight, n)?;
        let parameter = loss.parameter();
        memory.input_optional("pos_weight", parameter.as_ptr(), parameter.len())?;
        memory.outputs(self.loss, self.grad, self.hess, n, n)?;
        memory.check(("input", "grad"))?;
        // SAFETY: not NULL where elements are needed, aligned, of a size that memory can have, and nothing
        // overlaps but what may; that it is valid is the caller's promise
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

    /// # Safety
    /// As [`evaluate`](Call::evaluate).
    unsafe fn evaluate_with_pos_weight(self, pos_weight: *const T, len: usize) -> Result<lk_status, Error> {
        // of no elements every array may be NULL
        let len = if self.n == 0 { 0 } else { len };
        check_parameter(len, self.n)?;
        super::memory::check_pointer("pos_weight", pos_weight, len)?;
        // SAFETY: checked, and the caller's promise
        let pos_weight = unsafe { super::memory::slice(pos_weight, len) };
        // SAFETY: the caller's promise
        unsafe { self.evaluate(&BceWithLogits::new().pos_weight(pos_weight)) }
    }
}

/// Mean squared error (PyTorch's mse_loss).
///
/// With d = input - target: loss = d^2, gradient = 2 d, Hessian = 2.
///
/// `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
/// LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
/// elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_mse_f32(
    ctx: *const lk_context,
    n: usize,
    input: *const f32,
    target: *const f32,
    weight: *const f32,
    opts: *const lk_options,
    loss: *mut f32,
    grad: *mut f32,
    hess: *mut f32,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Mse::new()) })
}

/// As lk_mse_f32, in double precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_mse_f64(
    ctx: *const lk_context,
    n: usize,
    input: *const f64,
    target: *const f64,
    weight: *const f64,
    opts: *const lk_options,
    loss: *mut f64,
    grad: *mut f64,
    hess: *mut f64,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Mse::new()) })
}

/// Absolute error (PyTorch's l1_loss).
///
/// With d = input - target: loss = |d|, gradient = sign(d) (0 at 0), Hessian = 0.
///
/// `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
/// LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
/// elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_l1_f32(
    ctx: *const lk_context,
    n: usize,
    input: *const f32,
    target: *const f32,
    weight: *const f32,
    opts: *const lk_options,
    loss: *mut f32,
    grad: *mut f32,
    hess: *mut f32,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&L1::new()) })
}

/// As lk_l1_f32, in double precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_l1_f64(
    ctx: *const lk_context,
    n: usize,
    input: *const f64,
    target: *const f64,
    weight: *const f64,
    opts: *const lk_options,
    loss: *mut f64,
    grad: *mut f64,
    hess: *mut f64,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&L1::new()) })
}

/// Huber's loss (Huber, 1964; PyTorch's huber_loss).
///
/// With d = input - target: where |d| <= delta, loss = d^2 / 2, gradient = d, Hessian = 1; elsewhere
/// loss = delta (|d| - delta / 2), gradient = delta sign(d), Hessian = 0.
///
/// `delta` is greater than 0, else LK_INVALID_DELTA; it may be infinite.
///
/// `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
/// LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
/// elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_huber_f32(
    ctx: *const lk_context,
    n: usize,
    input: *const f32,
    target: *const f32,
    weight: *const f32,
    delta: f32,
    opts: *const lk_options,
    loss: *mut f32,
    grad: *mut f32,
    hess: *mut f32,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe {
        Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Huber::new(widened(delta)))
    })
}

/// As lk_huber_f32, in double precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_huber_f64(
    ctx: *const lk_context,
    n: usize,
    input: *const f64,
    target: *const f64,
    weight: *const f64,
    delta: f64,
    opts: *const lk_options,
    loss: *mut f64,
    grad: *mut f64,
    hess: *mut f64,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe {
        Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Huber::new(widened(delta)))
    })
}

/// Smooth L1 (Girshick, 2015; PyTorch's smooth_l1_loss): huber with delta = beta, divided by beta.
///
/// With d = input - target: where |d| < beta, loss = d^2 / (2 beta), gradient = d / beta, Hessian = 1 / beta;
/// elsewhere loss = |d| - beta / 2, gradient = sign(d), Hessian = 0. With beta = 0 it is l1.
///
/// `beta` is not negative, else LK_INVALID_BETA; it may be infinite.
///
/// `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
/// LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
/// elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_smooth_l1_f32(
    ctx: *const lk_context,
    n: usize,
    input: *const f32,
    target: *const f32,
    weight: *const f32,
    beta: f32,
    opts: *const lk_options,
    loss: *mut f32,
    grad: *mut f32,
    hess: *mut f32,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe {
        Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&SmoothL1::new(widened(beta)))
    })
}

/// As lk_smooth_l1_f32, in double precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_smooth_l1_f64(
    ctx: *const lk_context,
    n: usize,
    input: *const f64,
    target: *const f64,
    weight: *const f64,
    beta: f64,
    opts: *const lk_options,
    loss: *mut f64,
    grad: *mut f64,
    hess: *mut f64,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe {
        Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&SmoothL1::new(widened(beta)))
    })
}

/// Binary cross-entropy of probabilities (PyTorch's binary_cross_entropy).
///
/// With p = input, y = target and logarithms clamped at -100:
/// loss = -(y log p + (1 - y) log(1 - p)), gradient = (p - y) / max(p (1 - p), 1e-12),
/// Hessian = (y (1 - p)^2 + (1 - y) p^2) / max(p (1 - p), 1e-12)^2.
///
/// An input outside of [0, 1] gives NaN there (and in a reduced loss), and LK_INPUT_OUT_OF_DOMAIN; a NaN is
/// only NaN. Targets may be soft.
///
/// `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
/// LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
/// elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_bce_f32(
    ctx: *const lk_context,
    n: usize,
    input: *const f32,
    target: *const f32,
    weight: *const f32,
    opts: *const lk_options,
    loss: *mut f32,
    grad: *mut f32,
    hess: *mut f32,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Bce::new()) })
}

/// As lk_bce_f32, in double precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_bce_f64(
    ctx: *const lk_context,
    n: usize,
    input: *const f64,
    target: *const f64,
    weight: *const f64,
    opts: *const lk_options,
    loss: *mut f64,
    grad: *mut f64,
    hess: *mut f64,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Bce::new()) })
}

/// Binary cross-entropy of logits (PyTorch's binary_cross_entropy_with_logits).
///
/// With x = input, y = target, w = pos_weight and sigma(x) = 1 / (1 + e^-x):
/// loss = w y log(1 + e^-x) + (1 - y) log(1 + e^x), gradient = (1 - y) sigma(x) - w y sigma(-x),
/// Hessian = (w y + 1 - y) sigma(x) sigma(-x).
///
/// `pos_weight` has `n_pos_weight` elements: none (0, may be NULL: all 1), one for all (1), or one for each
/// label, repeating along the input, whose `n` is a multiple of it (else LK_LENGTH_MISMATCH).
///
/// `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
/// LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
/// elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_bce_with_logits_f32(
    ctx: *const lk_context,
    n: usize,
    input: *const f32,
    target: *const f32,
    weight: *const f32,
    pos_weight: *const f32,
    n_pos_weight: usize,
    opts: *const lk_options,
    loss: *mut f32,
    grad: *mut f32,
    hess: *mut f32,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe {
        let call = Call { ctx, n, input, target, weight, opts, loss, grad, hess };
        call.evaluate_with_pos_weight(pos_weight, n_pos_weight)
    })
}

/// As lk_bce_with_logits_f32, in double precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_bce_with_logits_f64(
    ctx: *const lk_context,
    n: usize,
    input: *const f64,
    target: *const f64,
    weight: *const f64,
    pos_weight: *const f64,
    n_pos_weight: usize,
    opts: *const lk_options,
    loss: *mut f64,
    grad: *mut f64,
    hess: *mut f64,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe {
        let call = Call { ctx, n, input, target, weight, opts, loss, grad, hess };
        call.evaluate_with_pos_weight(pos_weight, n_pos_weight)
    })
}

/// The linear "maximum likelihood" loss: minus the probability of being right.
///
/// With p = input, y = target: loss = -(y p + (1 - y)(1 - p)), gradient = 1 - 2 y, Hessian = 0.
///
/// `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
/// LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
/// elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_likelihood_f32(
    ctx: *const lk_context,
    n: usize,
    input: *const f32,
    target: *const f32,
    weight: *const f32,
    opts: *const lk_options,
    loss: *mut f32,
    grad: *mut f32,
    hess: *mut f32,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Likelihood::new()) })
}

/// As lk_likelihood_f32, in double precision.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lk_likelihood_f64(
    ctx: *const lk_context,
    n: usize,
    input: *const f64,
    target: *const f64,
    weight: *const f64,
    opts: *const lk_options,
    loss: *mut f64,
    grad: *mut f64,
    hess: *mut f64,
) -> lk_status {
    // SAFETY: the caller's promise about pointers is passed on
    guard(|| unsafe { Call { ctx, n, input, target, weight, opts, loss, grad, hess }.evaluate(&Likelihood::new()) })
}
