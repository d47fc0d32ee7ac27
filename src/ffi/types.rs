//! The types of the C ABI and their constants.

use super::memory::{Memory, read_sized, sinks, unknown, view_mut};
use crate::cost::Cost;
use crate::error::Error;
use crate::loss::{
    CheckedChunk, ChunkedCrossEntropy, ClassChunk, CrossEntropy, Distillation, Element, LinearCrossEntropy, Nll,
    SelectiveLogSoftmax, Td,
};
use crate::options::{Options, Sinks, Summary};
use crate::shape::{ClassShape, Layout, Reduction};

/// The result of a call. 0 means success. A negative number is an error: no output was written, and lk_last_error()
/// describes it. A positive number is a warning: all outputs were written.
pub type lk_status = i32;

/// Success.
pub const LK_OK: lk_status = 0;
/// Success, but some inputs lie outside the domain of the loss; the results at those positions are NaN. With
/// LK_CHECK_TARGETS: or some labels lie outside of [0, 1].
pub const LK_INPUT_OUT_OF_DOMAIN: lk_status = 1;
/// A required pointer is NULL.
pub const LK_NULL_POINTER: lk_status = -1;
/// A pointer is not aligned for its element type.
pub const LK_MISALIGNED: lk_status = -2;
/// The length of an array does not fit the shape or the other arrays.
pub const LK_LENGTH_MISMATCH: lk_status = -3;
/// An array of this size would not fit into the address space.
pub const LK_SIZE_TOO_LARGE: lk_status = -4;
/// Two arrays overlap in a way that is not allowed.
pub const LK_PARTIAL_OVERLAP: lk_status = -5;
/// With these strides two different elements would have the same address.
pub const LK_INVALID_STRIDE: lk_status = -6;
/// A constant is unknown to this version, or is not allowed for this argument.
pub const LK_UNKNOWN_CONSTANT: lk_status = -7;
/// A target or an action is neither a valid class index nor ignore_index.
pub const LK_TARGET_OUT_OF_RANGE: lk_status = -8;
/// Huber's delta is not greater than 0.
pub const LK_INVALID_DELTA: lk_status = -9;
/// Smooth L1's beta is negative or NaN, or distillation's beta is outside of [0, 1].
pub const LK_INVALID_BETA: lk_status = -10;
/// Label smoothing is outside of [0, 1].
pub const LK_INVALID_LABEL_SMOOTHING: lk_status = -11;
/// An option is NaN.
pub const LK_NAN_OPTION: lk_status = -12;
/// A struct_size is smaller than that struct was in its first version.
pub const LK_INVALID_STRUCT_SIZE: lk_status = -13;
/// An option from a newer header that this library version does not know, or a combination of arguments that the
/// function does not support.
pub const LK_UNSUPPORTED_OPTION: lk_status = -14;
/// An internal error of this library. Some outputs may have been written.
pub const LK_PANIC: lk_status = -15;
/// The target of a row was in none of the classes that were added to its softmax state, or was added more than once.
pub const LK_INCOMPLETE_STATE: lk_status = -16;
/// Distillation's temperature is outside of [1e-9, 1e9].
pub const LK_INVALID_TEMPERATURE: lk_status = -17;
/// A soft cap is neither 0 nor a positive, normal number of the element type.
pub const LK_INVALID_SOFT_CAP: lk_status = -18;
/// The call could not allocate the working memory that it needs.
pub const LK_OUT_OF_MEMORY: lk_status = -19;
/// More than LK_MAX_THREADS threads were requested for a context.
pub const LK_TOO_MANY_THREADS: lk_status = -20;

/// How the losses of the samples are combined.
pub type lk_reduction = i32;

/// The mean: the sum divided by the number of samples or by the sum of their weights. Each function says which.
pub const LK_MEAN: lk_reduction = 0;
/// The sum.
pub const LK_SUM: lk_reduction = 1;
/// No reduction: one loss for each sample.
pub const LK_NONE: lk_reduction = 2;

/// The element type of an array.
pub type lk_dtype = i32;

/// float
pub const LK_F32: lk_dtype = 0;
/// double
pub const LK_F64: lk_dtype = 1;
/// int32_t
pub const LK_I32: lk_dtype = 2;
/// int64_t
pub const LK_I64: lk_dtype = 3;
/// uint8_t
pub const LK_U8: lk_dtype = 4;
/// int16_t
pub const LK_I16: lk_dtype = 5;
/// uint16_t
pub const LK_U16: lk_dtype = 6;
/// uint32_t
pub const LK_U32: lk_dtype = 7;
/// uint64_t. A value greater than INT64_MAX is treated as INT64_MAX, which is not a class either.
pub const LK_U64: lk_dtype = 8;

/// An instruction set.
pub type lk_isa = i32;

/// The best instruction set that the CPU supports.
pub const LK_ISA_BEST: lk_isa = 0;
/// Portable code that processes one element at a time.
pub const LK_ISA_SCALAR: lk_isa = 1;
/// AArch64 Advanced SIMD.
pub const LK_ISA_NEON: lk_isa = 2;
/// x86-64-v3: AVX2, FMA, BMI1, BMI2, LZCNT.
pub const LK_ISA_AVX2: lk_isa = 3;
/// x86-64-v4: AVX-512 F, BW, CD, DQ, VL.
pub const LK_ISA_AVX512: lk_isa = 4;

/// Flag: add the gradient and the Hessian to the contents of `grad` and `hess` instead of overwriting them. `grad` must
/// not be the input array then.
pub const LK_ACCUMULATE_GRAD: u32 = 1;
/// Flag: the mean is 0 instead of NaN if there is nothing to average: no samples, only ignored samples, or only weights
/// of 0. In that case gradients are 0 with or without this flag, and nothing is added to a cost.
pub const LK_ZERO_IF_EMPTY: u32 = 2;
/// Flag: bce, bce_with_logits and likelihood check whether all labels lie in [0, 1]. If not, they return
/// LK_INPUT_OUT_OF_DOMAIN; the results are the same as without the flag. NaN labels are not reported. Other losses
/// ignore the flag.
pub const LK_CHECK_TARGETS: u32 = 4;

/// All flags of lk_options, and their names.
const FLAGS: u32 = LK_ACCUMULATE_GRAD | LK_ZERO_IF_EMPTY | LK_CHECK_TARGETS;
const FLAG_NAMES: &str = "a sum of LK_ACCUMULATE_GRAD (1), LK_ZERO_IF_EMPTY (2) and LK_CHECK_TARGETS (4)";

/// The loss that td applies to the temporal difference.
pub type lk_td_loss = i32;

/// The squared error.
pub const LK_TD_MSE: lk_td_loss = 0;
/// Huber's loss.
pub const LK_TD_HUBER: lk_td_loss = 1;

/// The threads and the instruction set that calls use. Functions take NULL for the process default, which has its own
/// thread pool with one thread for each core; the pool starts when it is first needed. Several threads may use one
/// context at the same time.
pub struct lk_context {
    pub(super) context: crate::context::Context,
}

/// The mean loss over a data set, accumulated batch by batch. Sums are exact fixed-point numbers, so the mean has the
/// same bits in whichever order batches are added and costs are merged. A cost with all entries 0 is empty. To merge
/// two costs, add all their entries or call lk_cost_merge; MPI_SUM over 144 MPI_INT64_T merges the costs of up to 2^30
/// ranks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_cost {
    pub sum: [i64; 72],
    pub weight: [i64; 72],
}

/// The options that all losses share. Initialise with LK_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_options {
    /// sizeof(lk_options)
    pub struct_size: usize,
    /// LK_MEAN, LK_SUM or LK_NONE
    pub reduction: lk_reduction,
    /// A combination of LK_ACCUMULATE_GRAD, LK_ZERO_IF_EMPTY and LK_CHECK_TARGETS, or 0
    pub flags: u32,
    /// Gradient and Hessian are multiplied by this factor (loss scaling); the loss is not.
    pub grad_scale: f64,
    /// Output, may be NULL: the number that LK_MEAN divides by. It is written whatever the reduction is.
    pub weight_sum: *mut f64,
    /// Input and output, may be NULL: the loss of this batch is added to this cost, without rounding.
    pub cost: *mut lk_cost,
    /// The smallest second derivative of a sample: smaller ones are raised to it, before they are multiplied by weights
    /// and grad_scale and divided for LK_MEAN. 0 means no minimum. Gradient boosting divides by sums of Hessians;
    /// XGBoost's logistic objective uses 1e-16. nll and td raise only the Hessian of the target or of the action; the
    /// Hessian of ignored samples stays 0.
    pub min_hess: f64,
}

/// The memory layout of arrays with classes: logits[outer][classes][inner]. Initialise with LK_CLASS_ROWS if each row
/// holds the classes of one sample.
///
/// Each (outer, inner) position is one sample. Images [N, C, H, W] have outer = N, classes = C and inner = H * W.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_class_shape {
    /// sizeof(lk_class_shape)
    pub struct_size: usize,
    pub outer: usize,
    pub classes: usize,
    /// 1 if each row holds the classes of one sample.
    pub inner: usize,
    /// The number of elements from one outer index to the next; 0 if dense. Padding between them is never accessed.
    pub outer_stride: usize,
    /// The number of elements from one class to the next; 0 if dense. (A broadcast tensor also has a stride of 0, but
    /// its elements share memory: copy it first.)
    pub class_stride: usize,
    /// For a crop of images: how many elements of `inner` are contiguous. 0: all of them.
    pub row_length: usize,
    /// The number of elements from one such row to the next; 0 if `row_length` is 0.
    pub row_stride: usize,
    /// The outer stride of the gradient and of the Hessian, of `output` in softmax and log_softmax, and of `grad_input`
    /// in their backward passes. If this and `grad_class_stride` are 0, these arrays have the strides of the logits; if
    /// one of the two is 0, that one is dense.
    ///
    /// If these strides are not those of the logits, all inputs of the logits' shape are copied to these strides first,
    /// and the results are those of the copies, bit for bit. No output may be an input then.
    ///
    /// - One copy is written to the array of the gradient, or else of the Hessian or output, which then replaces it.
    /// - Memory for the other copies is allocated by the call. These are class probabilities; the teacher's logits;
    ///   `output`, in a backward pass; and the logits, if the call adds to its gradient (LK_ACCUMULATE_GRAD) or writes
    ///   no array of their shape. If there is not enough memory, the call returns LK_OUT_OF_MEMORY.
    /// - nll copies nothing. It reads only the log-probabilities of the targets.
    ///
    /// So a call that computes the loss alone is faster if these strides are 0. distillation, entropy and
    /// selective_log_softmax need contiguous classes. If `grad_class_stride` is 1, they take transposed logits, because
    /// the classes of the copy are contiguous.
    pub grad_outer_stride: usize,
    /// The class stride of the same arrays: see `grad_outer_stride`.
    pub grad_class_stride: usize,
}

/// A chunk of consecutive classes: logits[rows][classes], whose first class has the index `first_class` among all
/// classes. Initialise with LK_CLASS_CHUNK.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_class_chunk {
    /// sizeof(lk_class_chunk)
    pub struct_size: usize,
    pub rows: usize,
    /// The number of classes in this chunk; may be 0.
    pub classes: usize,
    pub first_class: usize,
    /// The number of elements from one row to the next; 0 if dense. Padding between rows is never accessed.
    pub row_stride: usize,
    /// Rows with this target are ignored, and their logits are not read.
    pub ignore_index: i64,
}

/// The softmax of one row of logits whose classes come in chunks: the part that has been added so far. Initialise
/// states with lk_softmax_state_init. They may be copied, sent to other processes and merged. A state is eleven
/// doubles; for MPI use MPI_Type_contiguous(11, MPI_DOUBLE, ...) and a commutative operator that calls
/// lk_softmax_state_merge.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_softmax_state {
    /// The largest logit: -inf if there is none yet, NaN if the row's result is NaN.
    pub max: f64,
    /// The sum of the exponentials of all other classes, divided by a power of two near the largest exponential and
    /// multiplied by 2^256: its value and its rounding error.
    pub rest: f64,
    pub rest_error: f64,
    /// The logit of the target; 0 until it has been added.
    pub target: f64,
    /// How many times the target has been added; infinity for an ignored row.
    pub seen: f64,
    /// The class weight of the target, or 1 without class weights; 0 for an ignored row and until the target has been
    /// added.
    pub target_weight: f64,
    /// Only with label smoothing, otherwise 0: the number of classes added, and the sum of their weights with its
    /// rounding error.
    pub classes: f64,
    pub weights: f64,
    pub weights_error: f64,
    /// Only with label smoothing, otherwise 0: the sum of class weight times (max - x_j), multiplied by 2^-32, and its
    /// rounding error.
    pub gap: f64,
    pub gap_error: f64,
}

/// Options of softmax states. Initialise with LK_SOFTMAX_STATE_PARAMS_INIT. Pass the same options to all calls for one
/// row: updates, finish and gradients.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_softmax_state_params {
    /// sizeof(lk_softmax_state_params)
    pub struct_size: usize,
    /// As in lk_cross_entropy_params, over the classes of all chunks.
    pub label_smoothing: f64,
    /// As in lk_cross_entropy_params.
    pub z_loss: f64,
    /// As in lk_cross_entropy_params.
    pub soft_cap: f64,
}

/// Options of bce_with_logits. Initialise with LK_BCE_WITH_LOGITS_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_bce_with_logits_params {
    /// sizeof(lk_bce_with_logits_params)
    pub struct_size: usize,
    /// The number of consecutive elements that belong to the same label and share a positive weight. For [N, C, H, W]
    /// with one weight for each channel it is H * W.
    pub inner: usize,
}

/// Options of cross_entropy. Initialise with LK_CROSS_ENTROPY_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_cross_entropy_params {
    /// sizeof(lk_cross_entropy_params)
    pub struct_size: usize,
    /// Samples with this target are ignored, and their logits are not read.
    pub ignore_index: i64,
    /// The share of the target distribution that is spread evenly over all classes, from 0 to 1.
    pub label_smoothing: f64,
    /// z-loss (PaLM): z_loss (log of the sum of e^x_j)^2 is added to the loss of each sample. Class weights do not
    /// multiply it.
    pub z_loss: f64,
    /// Soft-capping (Gemma 2): every logit x except -inf is replaced by c tanh(x / c), where c is this number. 0 means
    /// no cap. With a cap, `hess` must be NULL. Capped logits are rounded and within 3 units in the last place.
    /// Therefore the relative error of each probability, and of the loss and the gradient of a confident sample, may be
    /// up to 6 units in the last place of c.
    pub soft_cap: f64,
    /// Output, may be NULL: the number of correct predictions. A prediction is correct if the largest logit of the
    /// sample, or the first of several equal ones, is that of the target. Ignored samples and samples with a NaN are
    /// not counted. Weights do not matter. With class probabilities as targets it gives LK_UNSUPPORTED_OPTION.
    pub correct: *mut u64,
    /// Output, may be NULL: [outer][inner], 1 for each sample with a correct prediction and 0 for all others.
    pub is_correct: *mut u8,
}

/// The shape of linear_cross_entropy: hidden[rows][width] and weight[classes][width]. Initialise with LK_LINEAR_SHAPE.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_linear_shape {
    /// sizeof(lk_linear_shape)
    pub struct_size: usize,
    pub rows: usize,
    pub width: usize,
    pub classes: usize,
}

/// Options of linear_cross_entropy. Initialise with LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_linear_cross_entropy_params {
    /// sizeof(lk_linear_cross_entropy_params)
    pub struct_size: usize,
    /// Rows with this target are ignored.
    pub ignore_index: i64,
    /// As in lk_cross_entropy_params.
    pub label_smoothing: f64,
    /// As in lk_cross_entropy_params.
    pub z_loss: f64,
    /// As in lk_cross_entropy_params.
    pub soft_cap: f64,
    /// The number of bytes of logits that are in memory at the same time, but at least one row; 0 means 64 MiB.
    pub memory: usize,
    /// As in lk_cross_entropy_params.
    pub correct: *mut u64,
    /// As in lk_cross_entropy_params; one element for each row.
    pub is_correct: *mut u8,
}

/// Options of nll. Initialise with LK_NLL_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_nll_params {
    /// sizeof(lk_nll_params)
    pub struct_size: usize,
    /// Samples with this target are ignored.
    pub ignore_index: i64,
}

/// Options of selective_log_softmax. Initialise with LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_selective_log_softmax_params {
    /// sizeof(lk_selective_log_softmax_params)
    pub struct_size: usize,
    /// The number of indices for each row.
    pub per_row: usize,
    /// Entries with this index are ignored (padding).
    pub ignore_index: i64,
}

/// Options of distillation. Initialise with LK_DISTILLATION_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_distillation_params {
    /// sizeof(lk_distillation_params)
    pub struct_size: usize,
    /// The weight of the teacher in the mixture m, from 0 (forward KL) to 1 (reverse KL).
    pub beta: f64,
    /// The temperature that all logits are divided by, from 1e-9 to 1e9.
    pub temperature: f64,
}

/// The shape of td: q[batch][actions]. Initialise with LK_TD_SHAPE.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_td_shape {
    /// sizeof(lk_td_shape)
    pub struct_size: usize,
    pub batch: usize,
    pub actions: usize,
    /// The number of elements from one row to the next; 0 means `actions`.
    pub row_stride: usize,
}

/// Options of td. Initialise with LK_TD_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_td_params {
    /// sizeof(lk_td_params)
    pub struct_size: usize,
    /// The discount factor.
    pub gamma: f64,
    /// LK_TD_MSE or LK_TD_HUBER
    pub loss: lk_td_loss,
    /// The delta of LK_TD_HUBER: the loss is quadratic up to this difference and linear beyond it.
    pub delta: f64,
}

pub(super) const OPTIONS_INIT: lk_options = lk_options {
    struct_size: size_of::<lk_options>(),
    reduction: LK_MEAN,
    flags: 0,
    grad_scale: 1.0,
    weight_sum: core::ptr::null_mut(),
    cost: core::ptr::null_mut(),
    min_hess: 0.0,
};

/// The [`lk_options`] of a call, read and checked.
#[derive(Clone, Copy)]
pub(super) struct Read {
    pub options: Options,
    pub weight_sum: *mut f64,
    pub cost: *mut lk_cost,
}

impl lk_options {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const lk_options) -> Result<Read, Error> {
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("opts", pointer, size_of::<lk_options>(), || OPTIONS_INIT) }?;
        let reduction = match given.reduction {
            LK_MEAN => Reduction::Mean,
            LK_SUM => Reduction::Sum,
            LK_NONE => Reduction::None,
            value => return Err(unknown("opts.reduction", value, "LK_MEAN, LK_SUM or LK_NONE")),
        };
        if given.flags & !FLAGS != 0 {
            return Err(unknown("opts.flags", given.flags, FLAG_NAMES));
        }
        let options = Options::new()
            .reduction(reduction)
            .accumulate_grad(given.flags & LK_ACCUMULATE_GRAD != 0)
            .zero_if_empty(given.flags & LK_ZERO_IF_EMPTY != 0)
            .check_targets(given.flags & LK_CHECK_TARGETS != 0)
            .grad_scale(given.grad_scale)
            .min_hess(given.min_hess);
        Ok(Read { options, weight_sum: given.weight_sum, cost: given.cost })
    }
}

impl Read {
    /// Whether these options allow only one reduced loss and a gradient that is not accumulated.
    pub(super) fn is_plain(&self) -> bool {
        let Read { options, weight_sum, cost } = self;
        let is_reduced = options.reduction != Reduction::None;
        is_reduced && !options.accumulate_grad && weight_sum.is_null() && cost.is_null()
    }

    /// # Safety
    /// The pointers were checked, and what is not NULL is valid.
    pub(super) unsafe fn sinks<'a, T: Element>(
        &self,
        loss: *mut T,
        grad: *mut T,
        hess: *mut T,
        samples: usize,
        elements: usize,
    ) -> Sinks<'a, T> {
        // SAFETY: an lk_cost is a Cost; the rest is the caller's promise
        let cost = unsafe { self.cost.cast::<Cost>().as_mut() };
        let losses = if self.options.reduction == Reduction::None { samples } else { 1 };
        // SAFETY: the caller's promise
        unsafe { sinks(loss, losses, grad, hess, elements, cost) }
    }

    /// # Safety
    /// As [`sinks`](Read::sinks).
    pub(super) unsafe fn finish(&self, summary: Summary) -> lk_status {
        if !self.weight_sum.is_null() {
            // SAFETY: the caller's promise
            unsafe { self.weight_sum.write(summary.weight_sum) };
        }
        if summary.out_of_domain { LK_INPUT_OUT_OF_DOMAIN } else { LK_OK }
    }
}

impl lk_class_shape {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const lk_class_shape) -> Result<Layout, Error> {
        let null = || Err(Error::NullPointer { name: "shape" });
        if pointer.is_null() {
            return null();
        }
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("shape", pointer, size_of::<lk_class_shape>(), || *pointer) }?;
        let mut shape = ClassShape::new(given.outer, given.classes, given.inner);
        if given.outer_stride != 0 {
            shape = shape.outer_stride(given.outer_stride);
        }
        if given.class_stride != 0 {
            shape = shape.class_stride(given.class_stride);
        }
        if given.row_length != 0 || given.row_stride != 0 {
            shape = shape.row_stride(given.row_length, given.row_stride);
        }
        shape.grad_strides_or_dense(given.grad_outer_stride, given.grad_class_stride).layout()
    }
}

impl lk_class_chunk {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const lk_class_chunk) -> Result<CheckedChunk, Error> {
        if pointer.is_null() {
            return Err(Error::NullPointer { name: "chunk" });
        }
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("chunk", pointer, size_of::<lk_class_chunk>(), || *pointer) }?;
        let chunk = ClassChunk::new(given.rows, given.classes, given.first_class).ignore_index(given.ignore_index);
        if given.row_stride == 0 { chunk.check() } else { chunk.row_stride(given.row_stride).check() }
    }
}

impl lk_td_shape {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const lk_td_shape) -> Result<Layout, Error> {
        if pointer.is_null() {
            return Err(Error::NullPointer { name: "shape" });
        }
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("shape", pointer, size_of::<lk_td_shape>(), || *pointer) }?;
        let rows = ClassShape::rows(given.batch, given.actions);
        if given.row_stride == 0 { rows.layout() } else { rows.outer_stride(given.row_stride).layout() }
    }
}

impl lk_bce_with_logits_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<Self, Error> {
        let init = || lk_bce_with_logits_params { struct_size: 0, inner: 1 };
        // SAFETY: the caller's promise
        unsafe { read_sized("params", pointer, size_of::<Self>(), init) }
    }
}

/// The outputs for correct predictions; either may be NULL.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Correct {
    pub count: *mut u64,
    pub each: *mut u8,
}

impl Correct {
    pub const NONE: Correct = Correct { count: core::ptr::null_mut(), each: core::ptr::null_mut() };

    /// Checks the memory of both arrays.
    pub fn check(self, memory: &mut Memory, samples: usize) -> Result<(), Error> {
        memory.output_optional("params.correct", self.count, 1)?;
        memory.output_optional("params.is_correct", self.each, samples)
    }

    /// # Safety
    /// The memory was checked, and what is not NULL is valid.
    pub unsafe fn sinks<T>(self, sinks: Sinks<'_, T>, samples: usize) -> Sinks<'_, T> {
        let each = if self.each.is_null() { None } else { Some(self.each.cast::<bool>()) };
        // SAFETY: the caller's promise; a bool is a byte that is 0 or 1, and is only written
        unsafe { Sinks { correct: self.count.as_mut(), is_correct: each.map(|each| view_mut(each, samples)), ..sinks } }
    }
}

impl lk_cross_entropy_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<(CrossEntropy, Correct), Error> {
        let init = || lk_cross_entropy_params {
            struct_size: 0,
            ignore_index: -100,
            label_smoothing: 0.0,
            z_loss: 0.0,
            soft_cap: 0.0,
            correct: core::ptr::null_mut(),
            is_correct: core::ptr::null_mut(),
        };
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("params", pointer, size_of::<Self>(), init) }?;
        let loss = CrossEntropy::new()
            .ignore_index(given.ignore_index)
            .label_smoothing(given.label_smoothing)
            .z_loss(given.z_loss)
            .soft_cap(given.soft_cap);
        Ok((loss, Correct { count: given.correct, each: given.is_correct }))
    }
}

impl lk_softmax_state_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<ChunkedCrossEntropy, Error> {
        let init = || lk_softmax_state_params { struct_size: 0, label_smoothing: 0.0, z_loss: 0.0, soft_cap: 0.0 };
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("params", pointer, size_of::<Self>(), init) }?;
        Ok(ChunkedCrossEntropy::new()
            .label_smoothing(given.label_smoothing)
            .z_loss(given.z_loss)
            .soft_cap(given.soft_cap))
    }
}

impl lk_linear_shape {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<Self, Error> {
        if pointer.is_null() {
            return Err(Error::NullPointer { name: "shape" });
        }
        // SAFETY: the caller's promise
        unsafe { read_sized("shape", pointer, size_of::<Self>(), || *pointer) }
    }
}

impl lk_linear_cross_entropy_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<(LinearCrossEntropy, Correct), Error> {
        let init = || lk_linear_cross_entropy_params {
            struct_size: 0,
            ignore_index: -100,
            label_smoothing: 0.0,
            z_loss: 0.0,
            soft_cap: 0.0,
            memory: 67_108_864,
            correct: core::ptr::null_mut(),
            is_correct: core::ptr::null_mut(),
        };
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("params", pointer, size_of::<Self>(), init) }?;
        let loss = LinearCrossEntropy::new()
            .ignore_index(given.ignore_index)
            .label_smoothing(given.label_smoothing)
            .z_loss(given.z_loss)
            .soft_cap(given.soft_cap);
        let loss = if given.memory == 0 { loss } else { loss.memory(given.memory) };
        Ok((loss, Correct { count: given.correct, each: given.is_correct }))
    }
}

impl lk_nll_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<Nll, Error> {
        let init = || lk_nll_params { struct_size: 0, ignore_index: -100 };
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("params", pointer, size_of::<Self>(), init) }?;
        Ok(Nll::new().ignore_index(given.ignore_index))
    }
}

impl lk_selective_log_softmax_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<SelectiveLogSoftmax, Error> {
        let init = || lk_selective_log_softmax_params { struct_size: 0, per_row: 1, ignore_index: -100 };
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("params", pointer, size_of::<Self>(), init) }?;
        Ok(SelectiveLogSoftmax::new().per_row(given.per_row).ignore_index(given.ignore_index))
    }
}

impl lk_distillation_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<Distillation, Error> {
        let init = || lk_distillation_params { struct_size: 0, beta: 0.0, temperature: 1.0 };
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("params", pointer, size_of::<Self>(), init) }?;
        Ok(Distillation::new().beta(given.beta).temperature(given.temperature))
    }
}

impl lk_td_params {
    /// # Safety
    /// NULL, or valid for reading `struct_size` bytes.
    pub(super) unsafe fn read(pointer: *const Self) -> Result<Td, Error> {
        let init = || lk_td_params { struct_size: 0, gamma: 0.99, loss: LK_TD_MSE, delta: 1.0 };
        // SAFETY: the caller's promise
        let given = unsafe { read_sized("params", pointer, size_of::<Self>(), init) }?;
        match given.loss {
            LK_TD_MSE => Ok(Td::mse(given.gamma)),
            LK_TD_HUBER => Ok(Td::huber(given.gamma, given.delta)),
            value => Err(unknown("params.loss", value, "LK_TD_MSE or LK_TD_HUBER")),
        }
    }
}
