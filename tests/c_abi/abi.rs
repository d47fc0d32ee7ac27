//! What `include/losskit.h` declares, in Rust. Sizes and constants as a C compiler sees them are in `tests/abi.txt`.
#![allow(non_camel_case_types)]

#[allow(clippy::duplicate_mod)]
#[path = "../../src/loss/table.rs"]
mod table;

use std::ffi::{CStr, c_char, c_void};

use table::for_pointwise_losses;

// the symbols are in the crate, which nothing else here might name
use losskit as _;

#[repr(C)]
pub struct lk_context {
    _opaque: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_cost {
    pub sum: [i64; 72],
    pub weight: [i64; 72],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_options {
    pub struct_size: usize,
    pub reduction: i32,
    pub flags: u32,
    pub grad_scale: f64,
    pub weight_sum: *mut f64,
    pub cost: *mut lk_cost,
    pub min_hess: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_bce_with_logits_params {
    pub struct_size: usize,
    pub inner: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_class_shape {
    pub struct_size: usize,
    pub outer: usize,
    pub classes: usize,
    pub inner: usize,
    pub outer_stride: usize,
    pub class_stride: usize,
    pub row_length: usize,
    pub row_stride: usize,
    pub grad_outer_stride: usize,
    pub grad_class_stride: usize,
}

impl lk_class_shape {
    /// Dense rows, as LK_CLASS_ROWS makes them.
    pub const fn rows(outer: usize, classes: usize) -> Self {
        lk_class_shape {
            struct_size: size_of::<lk_class_shape>(),
            outer,
            classes,
            inner: 1,
            outer_stride: 0,
            class_stride: 0,
            row_length: 0,
            row_stride: 0,
            grad_outer_stride: 0,
            grad_class_stride: 0,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_cross_entropy_params {
    pub struct_size: usize,
    pub ignore_index: i64,
    pub label_smoothing: f64,
    pub z_loss: f64,
    pub soft_cap: f64,
    pub correct: *mut u64,
    pub is_correct: *mut u8,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_nll_params {
    pub struct_size: usize,
    pub ignore_index: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_distillation_params {
    pub struct_size: usize,
    pub beta: f64,
    pub temperature: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_td_shape {
    pub struct_size: usize,
    pub batch: usize,
    pub actions: usize,
    pub row_stride: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_td_params {
    pub struct_size: usize,
    pub gamma: f64,
    pub loss: i32,
    pub delta: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_selective_log_softmax_params {
    pub struct_size: usize,
    pub per_row: usize,
    pub ignore_index: i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_class_chunk {
    pub struct_size: usize,
    pub rows: usize,
    pub classes: usize,
    pub first_class: usize,
    pub row_stride: usize,
    pub ignore_index: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct lk_softmax_state {
    pub max: f64,
    pub rest: f64,
    pub rest_error: f64,
    pub target: f64,
    pub seen: f64,
    pub target_weight: f64,
    pub classes: f64,
    pub weights: f64,
    pub weights_error: f64,
    pub gap: f64,
    pub gap_error: f64,
}

impl lk_softmax_state {
    /// As lk_softmax_state_init makes it.
    pub const EMPTY: Self = lk_softmax_state {
        max: f64::NEG_INFINITY,
        rest: 0.0,
        rest_error: 0.0,
        target: 0.0,
        seen: 0.0,
        target_weight: 0.0,
        classes: 0.0,
        weights: 0.0,
        weights_error: 0.0,
        gap: 0.0,
        gap_error: 0.0,
    };
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_softmax_state_params {
    pub struct_size: usize,
    pub label_smoothing: f64,
    pub z_loss: f64,
    pub soft_cap: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_linear_shape {
    pub struct_size: usize,
    pub rows: usize,
    pub width: usize,
    pub classes: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_linear_cross_entropy_params {
    pub struct_size: usize,
    pub ignore_index: i64,
    pub label_smoothing: f64,
    pub z_loss: f64,
    pub soft_cap: f64,
    pub memory: usize,
    pub correct: *mut u64,
    pub is_correct: *mut u8,
}

/// Every status, its name and its number, fixed for ever.
pub const STATUSES: [(&str, i32); 22] = [
    ("LK_OK", LK_OK),
    ("LK_INPUT_OUT_OF_DOMAIN", LK_INPUT_OUT_OF_DOMAIN),
    ("LK_NULL_POINTER", LK_NULL_POINTER),
    ("LK_MISALIGNED", LK_MISALIGNED),
    ("LK_LENGTH_MISMATCH", LK_LENGTH_MISMATCH),
    ("LK_SIZE_TOO_LARGE", LK_SIZE_TOO_LARGE),
    ("LK_PARTIAL_OVERLAP", LK_PARTIAL_OVERLAP),
    ("LK_INVALID_STRIDE", LK_INVALID_STRIDE),
    ("LK_UNKNOWN_CONSTANT", LK_UNKNOWN_CONSTANT),
    ("LK_TARGET_OUT_OF_RANGE", LK_TARGET_OUT_OF_RANGE),
    ("LK_INVALID_DELTA", LK_INVALID_DELTA),
    ("LK_INVALID_BETA", LK_INVALID_BETA),
    ("LK_INVALID_LABEL_SMOOTHING", LK_INVALID_LABEL_SMOOTHING),
    ("LK_NAN_OPTION", LK_NAN_OPTION),
    ("LK_INVALID_STRUCT_SIZE", LK_INVALID_STRUCT_SIZE),
    ("LK_UNSUPPORTED_OPTION", LK_UNSUPPORTED_OPTION),
    ("LK_PANIC", LK_PANIC),
    ("LK_INCOMPLETE_STATE", LK_INCOMPLETE_STATE),
    ("LK_INVALID_TEMPERATURE", LK_INVALID_TEMPERATURE),
    ("LK_INVALID_SOFT_CAP", LK_INVALID_SOFT_CAP),
    ("LK_OUT_OF_MEMORY", LK_OUT_OF_MEMORY),
    ("LK_TOO_MANY_THREADS", LK_TOO_MANY_THREADS),
];

pub const LK_OK: i32 = 0;
pub const LK_INPUT_OUT_OF_DOMAIN: i32 = 1;
pub const LK_NULL_POINTER: i32 = -1;
pub const LK_MISALIGNED: i32 = -2;
pub const LK_LENGTH_MISMATCH: i32 = -3;
pub const LK_SIZE_TOO_LARGE: i32 = -4;
pub const LK_PARTIAL_OVERLAP: i32 = -5;
pub const LK_INVALID_STRIDE: i32 = -6;
pub const LK_UNKNOWN_CONSTANT: i32 = -7;
pub const LK_TARGET_OUT_OF_RANGE: i32 = -8;
pub const LK_INVALID_DELTA: i32 = -9;
pub const LK_INVALID_BETA: i32 = -10;
pub const LK_INVALID_LABEL_SMOOTHING: i32 = -11;
pub const LK_NAN_OPTION: i32 = -12;
pub const LK_INVALID_STRUCT_SIZE: i32 = -13;
pub const LK_UNSUPPORTED_OPTION: i32 = -14;
pub const LK_PANIC: i32 = -15;
pub const LK_INCOMPLETE_STATE: i32 = -16;
pub const LK_INVALID_TEMPERATURE: i32 = -17;
pub const LK_INVALID_SOFT_CAP: i32 = -18;
pub const LK_OUT_OF_MEMORY: i32 = -19;
pub const LK_TOO_MANY_THREADS: i32 = -20;

pub const LK_MEAN: i32 = 0;
pub const LK_SUM: i32 = 1;
pub const LK_NONE: i32 = 2;

pub const LK_F32: i32 = 0;
pub const LK_F64: i32 = 1;
pub const LK_I32: i32 = 2;
pub const LK_I64: i32 = 3;
pub const LK_U8: i32 = 4;
pub const LK_I16: i32 = 5;
pub const LK_U16: i32 = 6;
pub const LK_U32: i32 = 7;
pub const LK_U64: i32 = 8;
/// The types that indices may have.
pub const INDEX_TYPES: [i32; 7] = [LK_I32, LK_I64, LK_U8, LK_I16, LK_U16, LK_U32, LK_U64];

pub const LK_MAX_THREADS: usize = 4096;

pub const LK_ISA_BEST: i32 = 0;
pub const LK_ISA_SCALAR: i32 = 1;
pub const LK_ISA_NEON: i32 = 2;
pub const LK_ISA_AVX2: i32 = 3;
pub const LK_ISA_AVX512: i32 = 4;

pub const LK_ACCUMULATE_GRAD: u32 = 1;
pub const LK_ZERO_IF_EMPTY: u32 = 2;
pub const LK_CHECK_TARGETS: u32 = 4;

pub const LK_TD_MSE: i32 = 0;
pub const LK_TD_HUBER: i32 = 1;

unsafe extern "C" {
    pub fn lk_last_error() -> *const c_char;
    pub fn lk_status_name(status: i32) -> *const c_char;
    pub fn lk_context_create(threads: usize, isa: i32, new_context: *mut *mut lk_context) -> i32;
    pub fn lk_context_destroy(ctx: *mut lk_context);
    pub fn lk_isa_name(ctx: *const lk_context) -> *const c_char;
    pub fn lk_version() -> *const c_char;
    pub fn lk_abi_version() -> i32;
    pub fn lk_options_init(options: *mut lk_options, size: usize) -> i32;
    pub fn lk_cost_add(into: *mut lk_cost, sum: f64, weight: f64) -> i32;
    pub fn lk_cost_merge(into: *mut lk_cost, from: *const lk_cost) -> i32;
    pub fn lk_cost_mean(of: *const lk_cost) -> f64;
    pub fn lk_cost_perplexity(of: *const lk_cost) -> f64;
    pub fn lk_softmax_state_init(rows: usize, states: *mut lk_softmax_state) -> i32;
    pub fn lk_softmax_state_merge(
        ctx: *const lk_context,
        rows: usize,
        into: *mut lk_softmax_state,
        from: *const lk_softmax_state,
    ) -> i32;
}

/// Of a loss of independent elements that has no options.
pub type Pointwise<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    n: usize,
    input: *const T,
    target: *const T,
    weight: *const T,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
) -> i32;

/// Of one that has a number.
pub type PointwiseWithNumber<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    n: usize,
    input: *const T,
    target: *const T,
    weight: *const T,
    number: T,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
) -> i32;

/// Of one that has an array.
pub type PointwiseWithArray<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    n: usize,
    input: *const T,
    target: *const T,
    weight: *const T,
    array: *const T,
    len: usize,
    params: *const lk_bce_with_logits_params,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
) -> i32;

/// The function of a loss of independent elements, by what it takes after `weight`: nothing, a number, or an array.
#[derive(Clone, Copy)]
pub enum PointwiseFunction<T> {
    Plain(Pointwise<T>),
    WithNumber(PointwiseWithNumber<T>),
    WithArray(PointwiseWithArray<T>, &'static str),
}

/// Everything that such a function may take after `weight`.
#[derive(Clone, Copy)]
pub struct PointwiseOption<T> {
    pub number: T,
    pub array: *const T,
    pub len: usize,
    pub params: *const lk_bce_with_logits_params,
}

impl<T> PointwiseOption<T> {
    /// A number, and no array.
    pub fn number(number: T) -> Self {
        PointwiseOption { number, array: std::ptr::null(), len: 0, params: std::ptr::null() }
    }
}

impl<T> PointwiseFunction<T> {
    /// The name of the array, if it takes one.
    pub fn array(&self) -> Option<&'static str> {
        if let PointwiseFunction::WithArray(_, name) = self { Some(name) } else { None }
    }

    /// # Safety
    /// As for the function.
    pub unsafe fn call(
        &self,
        (ctx, n): (*const lk_context, usize),
        [input, target, weight]: [*const T; 3],
        option: PointwiseOption<T>,
        opts: *const lk_options,
        [loss, grad, hess]: [*mut T; 3],
    ) -> i32 {
        let PointwiseOption { number, array, len, params } = option;
        // SAFETY: the caller's promise
        unsafe {
            match self {
                PointwiseFunction::Plain(function) => function(ctx, n, input, target, weight, opts, loss, grad, hess),
                PointwiseFunction::WithNumber(function) => {
                    function(ctx, n, input, target, weight, number, opts, loss, grad, hess)
                }
                PointwiseFunction::WithArray(function, _) => {
                    function(ctx, n, input, target, weight, array, len, params, opts, loss, grad, hess)
                }
            }
        }
    }
}

/// The functions of the losses of independent elements, by their names.
macro_rules! pointwise_functions {
    ($suffix: ident $($name: ident $Loss: ident $formula: tt [$($argument: ident: $type: ty),*] $inputs: ident;)*) => {
        &[$((stringify!($name), {
            unsafe extern "C" {
                #[link_name = concat!("lk_", stringify!($name), "_", stringify!($suffix))]
                fn function(
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
                ) -> i32;
            }
            pointwise_function!(function $($argument)*)
        }),)*]
    };
}
macro_rules! pointwise_function {
    ($function: ident) => {
        PointwiseFunction::Plain($function)
    };
    ($function: ident $number: ident) => {
        PointwiseFunction::WithNumber($function)
    };
    ($function: ident $array: ident $len: ident $params: ident) => {
        PointwiseFunction::WithArray($function, stringify!($array))
    };
}

/// cross_entropy, nll
pub type ClassLoss<T, P> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    input: *const T,
    target_type: i32,
    targets: *const c_void,
    class_weight: *const T,
    row_weight: *const T,
    params: *const P,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
) -> i32;

/// softmax, log_softmax, entropy
pub type Distribution<T> =
    unsafe extern "C" fn(ctx: *const lk_context, shape: *const lk_class_shape, logits: *const T, output: *mut T) -> i32;

pub type DistributionBackward<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    output: *const T,
    grad_output: *const T,
    grad_input: *mut T,
) -> i32;

pub type Td<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_td_shape,
    q: *const T,
    action_type: i32,
    action: *const c_void,
    reward: *const T,
    done: *const u8,
    next_q: *const T,
    next_q_online: *const T,
    weight: *const T,
    params: *const lk_td_params,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
    hess: *mut T,
    td_error: *mut T,
) -> i32;

pub type StateUpdate<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    chunk: *const lk_class_chunk,
    logits: *const T,
    target_type: i32,
    targets: *const c_void,
    class_weight: *const T,
    params: *const lk_softmax_state_params,
    states: *mut lk_softmax_state,
) -> i32;

pub type StateFinish<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    rows: usize,
    states: *const lk_softmax_state,
    params: *const lk_softmax_state_params,
    loss: *mut T,
    lse: *mut T,
) -> i32;

pub type StateGrad<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    chunk: *const lk_class_chunk,
    logits: *const T,
    target_type: i32,
    targets: *const c_void,
    states: *const lk_softmax_state,
    class_weight: *const T,
    row_weight: *const T,
    params: *const lk_softmax_state_params,
    grad_scale: f64,
    grad: *mut T,
) -> i32;

pub type SelectiveLogSoftmax<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    logits: *const T,
    index_type: i32,
    indices: *const c_void,
    params: *const lk_selective_log_softmax_params,
    log_probs: *mut T,
    entropy: *mut T,
    lse: *mut T,
) -> i32;

pub type SelectiveLogSoftmaxBackward<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    logits: *const T,
    index_type: i32,
    indices: *const c_void,
    params: *const lk_selective_log_softmax_params,
    grad_log_probs: *const T,
    grad_entropy: *const T,
    grad_lse: *const T,
    flags: u32,
    grad: *mut T,
) -> i32;

pub type EntropyBackward<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    logits: *const T,
    grad_entropy: *const T,
    flags: u32,
    grad: *mut T,
) -> i32;

pub type Distillation<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_class_shape,
    student: *const T,
    teacher: *const T,
    row_weight: *const T,
    params: *const lk_distillation_params,
    opts: *const lk_options,
    loss: *mut T,
    grad: *mut T,
) -> i32;

pub type LinearCrossEntropy<T> = unsafe extern "C" fn(
    ctx: *const lk_context,
    shape: *const lk_linear_shape,
    hidden: *const T,
    weight: *const T,
    bias: *const T,
    target_type: i32,
    targets: *const c_void,
    class_weight: *const T,
    row_weight: *const T,
    params: *const lk_linear_cross_entropy_params,
    opts: *const lk_options,
    loss: *mut T,
    grad_hidden: *mut T,
    grad_weight: *mut T,
    grad_bias: *mut T,
) -> i32;

/// The functions of one element type.
pub struct Losses<T: 'static> {
    pub pointwise: &'static [(&'static str, PointwiseFunction<T>)],
    pub cross_entropy: ClassLoss<T, lk_cross_entropy_params>,
    pub nll: ClassLoss<T, lk_nll_params>,
    pub linear_cross_entropy: LinearCrossEntropy<T>,
    pub softmax: Distribution<T>,
    pub softmax_backward: DistributionBackward<T>,
    pub log_softmax: Distribution<T>,
    pub log_softmax_backward: DistributionBackward<T>,
    pub td: Td<T>,
    pub selective_log_softmax: SelectiveLogSoftmax<T>,
    pub selective_log_softmax_backward: SelectiveLogSoftmaxBackward<T>,
    pub entropy: Distribution<T>,
    pub entropy_backward: EntropyBackward<T>,
    pub distillation: Distillation<T>,
    pub state_update: StateUpdate<T>,
    pub state_finish: StateFinish<T>,
    pub state_grad: StateGrad<T>,
}

impl<T> Losses<T> {
    /// The function of a loss of independent elements.
    pub fn pointwise(&self, name: &str) -> &'static PointwiseFunction<T> {
        let found = self.pointwise.iter().find(|function| function.0 == name);
        &found.unwrap_or_else(|| panic!("{name}: no such loss")).1
    }
}

/// An element type of the ABI.
pub trait Real: losskit::Element + PartialEq + std::fmt::Debug + 'static {
    const DTYPE: i32;
    /// What function names end with.
    const SUFFIX: &'static str;
    const C: Losses<Self>;
    fn of(x: f64) -> Self;
    fn bits(self) -> u64;
    fn is_number(self) -> bool;
}

macro_rules! declare {
    ($t: ident, $dtype: expr) => {
        impl Real for $t {
            const DTYPE: i32 = $dtype;
            const SUFFIX: &'static str = stringify!($t);
            const C: Losses<$t> = {
                type T = $t;
                unsafe extern "C" {
                    #[link_name = concat!("lk_cross_entropy_", stringify!($t))]
                    fn cross_entropy(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        logits: *const T,
                        target_type: i32,
                        targets: *const c_void,
                        class_weight: *const T,
                        row_weight: *const T,
                        params: *const lk_cross_entropy_params,
                        opts: *const lk_options,
                        loss: *mut T,
                        grad: *mut T,
                        hess: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_nll_", stringify!($t))]
                    fn nll(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        log_probs: *const T,
                        target_type: i32,
                        targets: *const c_void,
                        class_weight: *const T,
                        row_weight: *const T,
                        params: *const lk_nll_params,
                        opts: *const lk_options,
                        loss: *mut T,
                        grad: *mut T,
                        hess: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_distillation_", stringify!($t))]
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
                    ) -> i32;
                    #[link_name = concat!("lk_softmax_", stringify!($t))]
                    fn softmax(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        logits: *const T,
                        output: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_softmax_backward_", stringify!($t))]
                    fn softmax_backward(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        output: *const T,
                        grad_output: *const T,
                        grad_input: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_log_softmax_", stringify!($t))]
                    fn log_softmax(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        logits: *const T,
                        output: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_log_softmax_backward_", stringify!($t))]
                    fn log_softmax_backward(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        output: *const T,
                        grad_output: *const T,
                        grad_input: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_td_", stringify!($t))]
                    fn td(
                        ctx: *const lk_context,
                        shape: *const lk_td_shape,
                        q: *const T,
                        action_type: i32,
                        action: *const c_void,
                        reward: *const T,
                        done: *const u8,
                        next_q: *const T,
                        next_q_online: *const T,
                        weight: *const T,
                        params: *const lk_td_params,
                        opts: *const lk_options,
                        loss: *mut T,
                        grad: *mut T,
                        hess: *mut T,
                        td_error: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_selective_log_softmax_", stringify!($t))]
                    fn selective_log_softmax(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        logits: *const T,
                        index_type: i32,
                        indices: *const c_void,
                        params: *const lk_selective_log_softmax_params,
                        log_probs: *mut T,
                        entropy: *mut T,
                        lse: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_selective_log_softmax_backward_", stringify!($t))]
                    fn selective_log_softmax_backward(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        logits: *const T,
                        index_type: i32,
                        indices: *const c_void,
                        params: *const lk_selective_log_softmax_params,
                        grad_log_probs: *const T,
                        grad_entropy: *const T,
                        grad_lse: *const T,
                        flags: u32,
                        grad: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_linear_cross_entropy_", stringify!($t))]
                    fn linear_cross_entropy(
                        ctx: *const lk_context,
                        shape: *const lk_linear_shape,
                        hidden: *const T,
                        weight: *const T,
                        bias: *const T,
                        target_type: i32,
                        targets: *const c_void,
                        class_weight: *const T,
                        row_weight: *const T,
                        params: *const lk_linear_cross_entropy_params,
                        opts: *const lk_options,
                        loss: *mut T,
                        grad_hidden: *mut T,
                        grad_weight: *mut T,
                        grad_bias: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_entropy_backward_", stringify!($t))]
                    fn entropy_backward(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        logits: *const T,
                        grad_entropy: *const T,
                        flags: u32,
                        grad: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_entropy_", stringify!($t))]
                    fn entropy(
                        ctx: *const lk_context,
                        shape: *const lk_class_shape,
                        logits: *const T,
                        entropy: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_softmax_state_update_", stringify!($t))]
                    fn state_update(
                        ctx: *const lk_context,
                        chunk: *const lk_class_chunk,
                        logits: *const T,
                        target_type: i32,
                        targets: *const c_void,
                        class_weight: *const T,
                        params: *const lk_softmax_state_params,
                        states: *mut lk_softmax_state,
                    ) -> i32;
                    #[link_name = concat!("lk_softmax_state_finish_", stringify!($t))]
                    fn state_finish(
                        ctx: *const lk_context,
                        rows: usize,
                        states: *const lk_softmax_state,
                        params: *const lk_softmax_state_params,
                        loss: *mut T,
                        lse: *mut T,
                    ) -> i32;
                    #[link_name = concat!("lk_softmax_state_grad_", stringify!($t))]
                    fn state_grad(
                        ctx: *const lk_context,
                        chunk: *const lk_class_chunk,
                        logits: *const T,
                        target_type: i32,
                        targets: *const c_void,
                        states: *const lk_softmax_state,
                        class_weight: *const T,
                        row_weight: *const T,
                        params: *const lk_softmax_state_params,
                        grad_scale: f64,
                        grad: *mut T,
                    ) -> i32;
                }
                Losses {
                    pointwise: for_pointwise_losses! { pointwise_functions $t },
                    cross_entropy,
                    nll,
                    softmax,
                    softmax_backward,
                    log_softmax,
                    log_softmax_backward,
                    td,
                    selective_log_softmax,
                    selective_log_softmax_backward,
                    linear_cross_entropy,
                    entropy,
                    entropy_backward,
                    distillation,
                    state_update,
                    state_finish,
                    state_grad,
                }
            };
            fn of(x: f64) -> $t {
                x as $t
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
            fn is_number(self) -> bool {
                !self.is_nan()
            }
        }
    };
}
declare! { f32, LK_F32 }
declare! { f64, LK_F64 }

/// Of a gradient in the place of its logits that is to be accumulated.
pub const OVERLAP_BECAUSE_ACCUMULATED: &str =
    "logits and grad overlap; a gradient may take its input's place, but not with accumulate_grad (LK_ACCUMULATE_GRAD)";

/// This thread's last message.
pub fn last_error() -> String {
    // SAFETY: a string, valid until this thread's next error
    unsafe { text(lk_last_error()) }
}

pub fn status_name(status: i32) -> String {
    // SAFETY: a constant string for any number
    unsafe { text(lk_status_name(status)) }
}

/// # Safety
/// A C string.
pub unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: the caller's promise
    unsafe { CStr::from_ptr(pointer) }.to_str().expect("messages are UTF-8").to_owned()
}
