//! The types of the C ABI and their constants.

use super::memory::{Memory, read_sized, sinks, unknown, view_mut};
use crate::cost::Cost;
use crate::error::Error;
use crate::loss::evenly_apart;
use crate::loss::{
    CheckedChunk, ChunkedCrossEntropy, ClassChunk, CrossEntropy, Distillation, Element, LinearCrossEntropy, Nll,
    SelectiveLogSoftmax, Td,
};
use crate::options::{Options, Sinks, Summary};
use crate::shape::{ClassShape, Layout, Reduction};

/// What a function says: 0 is success, negative an error (no output was touched), positive a remark (all
/// outputs are written). lk_last_error() has an error's words.
pub type lk_status = i32;

/// Done.
pub const LK_OK: lk_status = 0;
/// Done; some inputs lie outside of the loss's domain, and NaN stands in their places.
pub const LK_INPUT_OUT_OF_DOMAIN: lk_status = 1;
/// A pointer that must not be NULL is.
pub const LK_NULL_POINTER: lk_status = -1;
/// A pointer is not aligned to its element's size.
pub const LK_MISALIGNED: lk_status = -2;
/// An array's length does not fit the others.
pub const LK_LENGTH_MISMATCH: lk_status = -3;
/// A size is larger than memory can be.
pub const LK_SIZE_TOO_LARGE: lk_status = -4;
/// Two arrays share memory in a way that is not permitted.
pub const LK_PARTIAL_OVERLAP: lk_status = -5;
/// Strides under which two elements would be the same.
pub const LK_INVALID_STRIDE: lk_status = -6;
/// A constant that this version does not know, or that is not possible where it stands.
pub const LK_UNKNOWN_CONSTANT: lk_status = -7;
/// A target, or an action, that is no index of a class, and not ignore_index.
pub const LK_TARGET_OUT_OF_RANGE: lk_status = -8;
/// Huber's delta is not greater than 0.
pub const LK_INVALID_DELTA: lk_status = -9;
/// Smooth L1's beta is negative or not a number, or distillation's is outside of [0, 1].
pub const LK_INVALID_BETA: lk_status = -10;
/// Label smoothing is outside of [0, 1].
pub const LK_INVALID_LABEL_SMOOTHING: lk_status = -11;
/// An option is not a number.
pub const LK_NAN_OPTION: lk_status = -12;
/// A struct_size is smaller than the first version of that struct.
pub const LK_INVALID_STRUCT_SIZE: lk_status = -13;
/// A newer caller's option that this version does not know.
pub const LK_UNSUPPORTED_OPTION: lk_status = -14;
/// A fault of this library: outputs may have been written in part.
pub const LK_PANIC: lk_status = -15;
/// A row whose target was in none of the classes that its state has seen, or in several.
pub const LK_INCOMPLETE_STATE: lk_status = -16;
/// Distillation's temperature is not from 1e-9 to 1e9.
pub const LK_INVALID_TEMPERATURE: lk_status = -17;
/// A soft cap is neither 0 nor a positive, normal number of the element type.
pub const LK_INVALID_SOFT_CAP: lk_status = -18;
/// Memory that a call needs for itself could not be had.
pub const LK_OUT_OF_MEMORY: lk_status = -19;
/// A context was to have more threads than LK_MAX_THREADS.
pub const LK_TOO_MANY_THREADS: lk_status = -20;

/// How the samples' losses become one.
pub type lk_reduction = i32;

/// Their sum, divided by their number or by the sum of their weights: each loss says which.
pub const LK_MEAN: lk_reduction = 0;
/// Their sum.
pub const LK_SUM: lk_reduction = 1;
/// Each stands for itself.
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
/// uint64_t; more than INT64_MAX counts as INT64_MAX, which is no class either.
pub const LK_U64: lk_dtype = 8;

/// An instruction set.
pub type lk_isa = i32;

/// The best one that the CPU has.
pub const LK_ISA_BEST: lk_isa = 0;
/// One element at a time.
pub const LK_ISA_SCALAR: lk_isa = 1;
/// AArch64 Advanced SIMD.
pub const LK_ISA_NEON: lk_isa = 2;
/// x86-64-v3: AVX2, FMA, BMI1, BMI2, LZCNT.
pub const LK_ISA_AVX2: lk_isa = 3;
/// x86-64-v4: AVX-512 F, BW, CD, DQ, VL.
pub const LK_ISA_AVX512: lk_isa = 4;

/// Flag: gradient and Hessian are added to what is there. `grad` may not be the input then.
pub const LK_ACCUMULATE_GRAD: u32 = 1;
/// Flag: the mean of nothing is 0, not NaN: of no samples, of samples that are all ignored, or whose weights are all 0.
/// Gradients of nothing are 0 either way, and a cost gets nothing.
pub const LK_ZERO_IF_EMPTY: u32 = 2;
/// Flag: bce, bce_with_logits and likelihood look for labels outside of [0, 1] first, and are LK_INPUT_OUT_OF_DOMAIN if
/// there are some; what they compute stays as it is. A NaN is only NaN. Other losses do not look.
pub const LK_CHECK_TARGETS: u32 = 4;

/// All flags of lk_options, and their names.
const FLAGS: u32 = LK_ACCUMULATE_GRAD | LK_ZERO_IF_EMPTY | LK_CHECK_TARGETS;
const FLAG_NAMES: &str = "a sum of LK_ACCUMULATE_GRAD (1), LK_ZERO_IF_EMPTY (2) and LK_CHECK_TARGETS (4)";

/// The loss that td takes of its difference.
pub type lk_td_loss = i32;

/// Squared.
pub const LK_TD_MSE: lk_td_loss = 0;
/// Huber's.
pub const LK_TD_HUBER: lk_td_loss = 1;

/// Threads and instruction set. NULL is the process default: a pool of its own with a thread for each core,
/// started when it is first needed. May be used by several threads at once.
pub struct lk_context {
    pub(super) context: crate::context::Context,
}

/// The cost over a data set, gathered batch by batch: exact fixed-point numbers, so the order of batches and
/// merges changes no bit of the mean. All zeros is empty. Costs are merged by adding all entries, or by
/// lk_cost_merge; MPI_SUM over 144 MPI_INT64_T merges those of up to 2^30 ranks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_cost {
    pub sum: [i64; 72],
    pub weight: [i64; 72],
}

/// What all losses share. Begin with LK_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_options {
    /// sizeof(lk_options)
    pub struct_size: usize,
    /// LK_MEAN, LK_SUM or LK_NONE
    pub reduction: lk_reduction,
    /// Any of LK_ACCUMULATE_GRAD, LK_ZERO_IF_EMPTY, LK_CHECK_TARGETS, or 0
    pub flags: u32,
    /// A factor of gradient and Hessian (loss scaling), not of the loss.
    pub grad_scale: f64,
    /// Out, may be NULL: what LK_MEAN divides by, whichever the reduction.
    pub weight_sum: *mut f64,
    /// In and out, may be NULL: this batch is added to it, unrounded.
    pub cost: *mut lk_cost,
    /// The least second derivative of a sample, before weights, grad_scale and LK_MEAN's division multiply it: what is
    /// less is raised to it. 0: none. Boosters divide by sums of Hessians, and XGBoost's logistic objective has 1e-16.
    /// nll and td: of the target or the action alone; ignored samples keep 0.
    pub min_hess: f64,
}

/// Where classes lie: logits[outer][classes][inner]. Begin with LK_CLASS_ROWS for rows of classes.
///
/// A sample is one (outer, inner) position. Images [N, C, H, W] have outer N, classes C, inner H * W.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_class_shape {
    /// sizeof(lk_class_shape)
    pub struct_size: usize,
    pub outer: usize,
    pub classes: usize,
    /// 1 for rows of classes
    pub inner: usize,
    /// Elements from one outer index to the next; 0 if dense. What lies between is never touched.
    pub outer_stride: usize,
    /// Elements from one class to the next; 0 if dense. (A tensor that is broadcast has a stride of 0, too, but reads the
    /// same element again: copy it first.)
    pub class_stride: usize,
    /// For crops of images, in cross_entropy and nll: how many elements of `inner` are contiguous; 0 if all are.
    pub row_length: usize,
    /// Elements from one such row to the next; 0 if `row_length` is.
    pub row_stride: usize,
    /// The gradient's and the Hessian's own outer and class stride, in cross_entropy with indices and in nll; both 0: they
    /// lie as the logits do; one 0: it is dense. The logits are copied to the gradient's place first: a Hessian needs a
    /// gradient beside it, and LK_ACCUMULATE_GRAD is LK_UNSUPPORTED_OPTION.
    pub grad_outer_stride: usize,
    /// See `grad_outer_stride`.
    pub grad_class_stride: usize,
}

/// Which classes a piece of logits has: logits[rows][classes], the first of which is class `first_class` of all.
/// Begin with LK_CLASS_CHUNK.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_class_chunk {
    /// sizeof(lk_class_chunk)
    pub struct_size: usize,
    pub rows: usize,
    /// May be 0.
    pub classes: usize,
    pub first_class: usize,
    /// Elements from one row to the next; 0 if dense. What lies between is never touched.
    pub row_stride: usize,
    /// Rows with this target do not count, and their logits are not read.
    pub ignore_index: i64,
}

/// What was seen of a row of logits whose classes come in pieces. Made by lk_softmax_state_init; to be copied, sent
/// and merged as one likes. Its fields are eleven doubles: for MPI, MPI_Type_contiguous(11, MPI_DOUBLE, ...), and an
/// operator that calls lk_softmax_state_merge and commutes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_softmax_state {
    /// The largest logit; -inf if there is none, NaN if there is no number.
    pub max: f64,
    /// The sum of the other classes' exponentials, relative to about the largest, times 2^256: value and error.
    pub rest: f64,
    pub rest_error: f64,
    /// The target's logit; 0 until it is seen.
    pub target: f64,
    /// How often the target was seen; infinity for a row that is ignored.
    pub seen: f64,
    /// The target's class weight, 1 without class weights; 0 until the target is seen, and for a row that is ignored.
    pub target_weight: f64,
    /// With label smoothing, else 0: the number of classes seen, and the sum of their weights, value and error.
    pub classes: f64,
    pub weights: f64,
    pub weights_error: f64,
    /// With label smoothing, else 0: the sum of class weight times max - x_j, times 2^-32: value and error.
    pub gap: f64,
    pub gap_error: f64,
}

/// Options of softmax states. Begin with LK_SOFTMAX_STATE_PARAMS_INIT; a row's states are updated, finished and made
/// gradients of with the same.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_softmax_state_params {
    /// sizeof(lk_softmax_state_params)
    pub struct_size: usize,
    /// As in lk_cross_entropy_params, over the classes of all pieces.
    pub label_smoothing: f64,
    /// As in lk_cross_entropy_params.
    pub z_loss: f64,
    /// As in lk_cross_entropy_params.
    pub soft_cap: f64,
}

/// Options of bce_with_logits. Begin with LK_BCE_WITH_LOGITS_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_bce_with_logits_params {
    /// sizeof(lk_bce_with_logits_params)
    pub struct_size: usize,
    /// How many neighbouring elements have the same label, and share a positive weight: H * W in [N, C, H, W].
    pub inner: usize,
}

/// Options of cross_entropy. Begin with LK_CROSS_ENTROPY_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_cross_entropy_params {
    /// sizeof(lk_cross_entropy_params)
    pub struct_size: usize,
    /// Samples with this target do not count, and their logits are not read.
    pub ignore_index: i64,
    /// The share of the target distribution that is spread over all classes, 0 to 1.
    pub label_smoothing: f64,
    /// The factor of the squared logarithm of the sum of exponentials that is added to each sample's loss (PaLM's
    /// z-loss); class weights do not touch it.
    pub z_loss: f64,
    /// c tanh(x / c) takes the logits' place (Gemma 2's soft-capping), where x is not -inf; there is no Hessian then.
    /// 0: none. Bounded logits are rounded, within 3 units in the last place. So each probability, and with it the loss
    /// and the gradient of a confident sample, may be off by a share of itself that is 6 units in the last place of c.
    pub soft_cap: f64,
    /// Out, may be NULL: the number of right predictions, which are those samples whose largest logit, or the first of
    /// several, is the target's. Ignored samples do not count, nor do those with a NaN; weights do not matter. With
    /// class probabilities LK_UNSUPPORTED_OPTION.
    pub correct: *mut u64,
    /// Out, may be NULL: 1 for each sample whose prediction is right, 0 for each other, [outer][inner].
    pub is_correct: *mut u8,
}

/// Shape of linear_cross_entropy: hidden[rows][width], weight[classes][width]. Begin with LK_LINEAR_SHAPE.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_linear_shape {
    /// sizeof(lk_linear_shape)
    pub struct_size: usize,
    pub rows: usize,
    pub width: usize,
    pub classes: usize,
}

/// Options of linear_cross_entropy. Begin with LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_linear_cross_entropy_params {
    /// sizeof(lk_linear_cross_entropy_params)
    pub struct_size: usize,
    /// Rows with this target do not count.
    pub ignore_index: i64,
    /// As in lk_cross_entropy_params.
    pub label_smoothing: f64,
    /// As in lk_cross_entropy_params.
    pub z_loss: f64,
    /// As in lk_cross_entropy_params.
    pub soft_cap: f64,
    /// How many bytes of logits stand in memory at once, never less than one row; 0 for 64 MiB.
    pub memory: usize,
    /// As in lk_cross_entropy_params.
    pub correct: *mut u64,
    /// As in lk_cross_entropy_params, [rows].
    pub is_correct: *mut u8,
}

/// Options of nll. Begin with LK_NLL_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_nll_params {
    /// sizeof(lk_nll_params)
    pub struct_size: usize,
    /// Samples with this target do not count.
    pub ignore_index: i64,
}

/// Options of selective_log_softmax. Begin with LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_selective_log_softmax_params {
    /// sizeof(lk_selective_log_softmax_params)
    pub struct_size: usize,
    /// Indices of each row.
    pub per_row: usize,
    /// The index that stands for none.
    pub ignore_index: i64,
}

/// Options of distillation. Begin with LK_DISTILLATION_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_distillation_params {
    /// sizeof(lk_distillation_params)
    pub struct_size: usize,
    /// The teacher's share of the mixture, from 0 (forward KL) to 1 (reverse KL).
    pub beta: f64,
    /// What all logits are divided by, from 1e-9 to 1e9.
    pub temperature: f64,
}

/// Shape of td: q[batch][actions]. Begin with LK_TD_SHAPE.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_td_shape {
    /// sizeof(lk_td_shape)
    pub struct_size: usize,
    pub batch: usize,
    pub actions: usize,
    /// Elements from one row to the next; 0 for `actions`.
    pub row_stride: usize,
}

/// Options of td. Begin with LK_TD_PARAMS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lk_td_params {
    /// sizeof(lk_td_params)
    pub struct_size: usize,
    /// The discount.
    pub gamma: f64,
    /// LK_TD_MSE or LK_TD_HUBER
    pub loss: lk_td_loss,
    /// Of LK_TD_HUBER: where the square ends.
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

/// [`lk_options`], read and checked.
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
    /// Whether nothing but one reduced loss and a gradient to be written can be asked for.
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

    /// The same for functions that take neither rows of `inner` with gaps nor strides of the gradient's own.
    ///
    /// # Safety
    /// As [`read`](Self::read).
    pub(super) unsafe fn read_evenly_apart(pointer: *const lk_class_shape) -> Result<Layout, Error> {
        // SAFETY: the caller's promise
        evenly_apart(unsafe { Self::read(pointer) }?)
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

/// Where right predictions go; either may be NULL.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Correct {
    pub count: *mut u64,
    pub each: *mut u8,
}

impl Correct {
    pub const NONE: Correct = Correct { count: core::ptr::null_mut(), each: core::ptr::null_mut() };

    /// Checks both arrays' memory.
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
