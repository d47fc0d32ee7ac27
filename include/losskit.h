/* losskit: loss functions for batches and their gradients on CPUs, accurate to a few units in the last place, with
 * bit-identical results on all machines.
 *
 * A minimal call computes the cross-entropy of two samples over three classes, and its gradient:
 *
 *     const float logits[6] = {2.0f, 1.0f, 0.1f, 0.5f, 2.5f, 0.0f};
 *     const int32_t targets[2] = {0, 1};
 *     const lk_class_shape shape = LK_CLASS_ROWS(2, 3);
 *     float loss, grad[6];
 *     lk_status status = lk_cross_entropy_f32(NULL, &shape, logits, LK_I32, targets, NULL, NULL, NULL, NULL,
 *                                             &loss, grad, NULL);
 *
 * Rules for all functions:
 * - They return 0 for success; a negative number for an error, after which no output was written and
 *   lk_last_error() describes the error; and a positive number for a warning, with all outputs written.
 * - Counts and strides are numbers of elements, not bytes. Arrays must be aligned for their element type.
 * - An output that is NULL is not computed. If an array has no elements, its pointer may be NULL.
 * - `loss` is a mean, a sum, or one loss for each sample, as lk_options says. `grad` is the derivative of this loss
 *   with respect to the input, and `hess` is the diagonal of its second derivative; both are multiplied by grad_scale.
 *   With LK_NONE they are the derivatives of each sample's own loss.
 * - An output must not share elements with another array, with one exception: `grad` may be the input itself, unless
 *   LK_ACCUMULATE_GRAD is set. Arrays may lie in each other's padding: for example, losses or gradients may be stored
 *   between the rows of the logits.
 * - A call uses at most 128 KiB of its caller's stack.
 * - A NaN in the input gives NaN for its sample, and for a mean or sum that includes the sample.
 * - Results are bit-identical whatever the number of threads, the instruction set, the alignment, the set of outputs,
 *   and the caller's floating-point environment. The exception is linear_cross_entropy: its matrix products may differ
 *   between machines.
 * - Several threads may call functions at the same time, as long as none writes data that another one uses.
 *
 * cbindgen generates this file from the sources of the library; do not edit it. */


#ifndef LOSSKIT_H
#define LOSSKIT_H

#include <stddef.h>
#include <stdint.h>

/** Default options: LK_MEAN, no flags, grad_scale 1, no weight_sum, no cost, no minimum of the Hessian. */
#define LK_OPTIONS_INIT { sizeof(lk_options), LK_MEAN, 0, 1.0, NULL, NULL, 0.0 }

/** Dense rows, each with the classes of one sample. Here and in the other macros, sizes may have any integer type. */
#define LK_CLASS_ROWS(rows, classes) { sizeof(lk_class_shape), (size_t)(rows), (size_t)(classes), 1, 0, 0, 0, 0, 0, 0 }

/** Dense rows with a chunk of the classes, ignore_index -100. */
#define LK_CLASS_CHUNK(rows, classes, first_class) \
    { sizeof(lk_class_chunk), (size_t)(rows), (size_t)(classes), (size_t)(first_class), 0, -100 }

/** Default options of bce_with_logits: each element has its own label. */
#define LK_BCE_WITH_LOGITS_PARAMS_INIT { sizeof(lk_bce_with_logits_params), 1 }

/** Default options of cross_entropy: ignore_index -100, no label smoothing, no z-loss, no soft cap. */
#define LK_CROSS_ENTROPY_PARAMS_INIT { sizeof(lk_cross_entropy_params), -100, 0.0, 0.0, 0.0, NULL, NULL }

/** Default options of softmax states: no label smoothing, no z-loss, no soft cap. */
#define LK_SOFTMAX_STATE_PARAMS_INIT { sizeof(lk_softmax_state_params), 0.0, 0.0, 0.0 }

/** Dense rows of hidden activations, and one dense row of weights for each class. */
#define LK_LINEAR_SHAPE(rows, width, classes) \
    { sizeof(lk_linear_shape), (size_t)(rows), (size_t)(width), (size_t)(classes) }

/** Default options of linear_cross_entropy: as for cross_entropy, and at most 64 MiB of logits in memory. */
#define LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT \
    { sizeof(lk_linear_cross_entropy_params), -100, 0.0, 0.0, 0.0, 67108864, NULL, NULL }

/** Default options of nll: ignore_index -100. */
#define LK_NLL_PARAMS_INIT { sizeof(lk_nll_params), -100 }

/** Default options of selective_log_softmax: one index for each row, ignore_index -100. */
#define LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT { sizeof(lk_selective_log_softmax_params), 1, -100 }

/** Default options of distillation: forward KL at temperature 1. */
#define LK_DISTILLATION_PARAMS_INIT { sizeof(lk_distillation_params), 0.0, 1.0 }

/** Dense rows, each with the actions of one state. */
#define LK_TD_SHAPE(batch, actions) { sizeof(lk_td_shape), (size_t)(batch), (size_t)(actions), 0 }

/** Default options of td: gamma 0.99, squared error; delta 1 for LK_TD_HUBER. */
#define LK_TD_PARAMS_INIT { sizeof(lk_td_params), 0.99, LK_TD_MSE, 1.0 }


/**
 * Flag: add the gradient and the Hessian to the contents of `grad` and `hess` instead of overwriting them. `grad` must
 * not be the input array then.
 */
#define LK_ACCUMULATE_GRAD 1

/**
 * Flag: the mean is 0 instead of NaN if there is nothing to average: no samples, only ignored samples, or only weights
 * of 0. In that case gradients are 0 with or without this flag, and nothing is added to a cost.
 */
#define LK_ZERO_IF_EMPTY 2

/**
 * Flag: bce, bce_with_logits and likelihood check whether all labels lie in [0, 1]. If not, they return
 * LK_INPUT_OUT_OF_DOMAIN; the results are the same as without the flag. NaN labels are not reported. Other losses
 * ignore the flag.
 */
#define LK_CHECK_TARGETS 4

/**
 * The largest number of threads of a context.
 */
#define LK_MAX_THREADS 4096

/**
 * The version of the binary interface (ABI) that this header describes.
 */
#define LK_ABI_VERSION 1

/**
 * The major version of this header. The version of the library is lk_version().
 */
#define LK_VERSION_MAJOR 0

/**
 * The minor version of this header.
 */
#define LK_VERSION_MINOR 1

/**
 * The patch version of this header.
 */
#define LK_VERSION_PATCH 0

/**
 * The version of this header as one number, for comparisons: `#if LK_VERSION >= 1002000` is true from version 1.2.0
 * on.
 */
#define LK_VERSION (((LK_VERSION_MAJOR * 1000000) + (LK_VERSION_MINOR * 1000)) + LK_VERSION_PATCH)

/**
 * The threads and the instruction set that calls use. Functions take NULL for the process default, which has its own
 * thread pool with one thread for each core; the pool starts when it is first needed. Several threads may use one
 * context at the same time.
 */
typedef struct lk_context lk_context;

/**
 * The result of a call. 0 means success. A negative number is an error: no output was written, and lk_last_error()
 * describes it. A positive number is a warning: all outputs were written.
 */
typedef int32_t lk_status;

/**
 * An instruction set.
 */
typedef int32_t lk_isa;

/**
 * How the losses of the samples are combined.
 */
typedef int32_t lk_reduction;

/**
 * The mean loss over a data set, accumulated batch by batch. Sums are exact fixed-point numbers, so the mean has the
 * same bits in whichever order batches are added and costs are merged. A cost with all entries 0 is empty. To merge
 * two costs, add all their entries or call lk_cost_merge; MPI_SUM over 144 MPI_INT64_T merges the costs of up to 2^30
 * ranks.
 */
typedef struct lk_cost {
    int64_t sum[72];
    int64_t weight[72];
} lk_cost;

/**
 * The options that all losses share. Initialise with LK_OPTIONS_INIT.
 */
typedef struct lk_options {
    /**
     * sizeof(lk_options)
     */
    size_t struct_size;
    /**
     * LK_MEAN, LK_SUM or LK_NONE
     */
    lk_reduction reduction;
    /**
     * A combination of LK_ACCUMULATE_GRAD, LK_ZERO_IF_EMPTY and LK_CHECK_TARGETS, or 0
     */
    uint32_t flags;
    /**
     * Gradient and Hessian are multiplied by this factor (loss scaling); the loss is not.
     */
    double grad_scale;
    /**
     * Output, may be NULL: the number that LK_MEAN divides by. It is written whatever the reduction is.
     */
    double *weight_sum;
    /**
     * Input and output, may be NULL: the loss of this batch is added to this cost, without rounding.
     */
    struct lk_cost *cost;
    /**
     * The smallest second derivative of a sample: smaller ones are raised to it, before they are multiplied by weights
     * and grad_scale and divided for LK_MEAN. 0 means no minimum. Gradient boosting divides by sums of Hessians;
     * XGBoost's logistic objective uses 1e-16. nll and td raise only the Hessian of the target or of the action; the
     * Hessian of ignored samples stays 0.
     */
    double min_hess;
} lk_options;

/**
 * Options of bce_with_logits. Initialise with LK_BCE_WITH_LOGITS_PARAMS_INIT.
 */
typedef struct lk_bce_with_logits_params {
    /**
     * sizeof(lk_bce_with_logits_params)
     */
    size_t struct_size;
    /**
     * The number of consecutive elements that belong to the same label and share a positive weight. For [N, C, H, W]
     * with one weight for each channel it is H * W.
     */
    size_t inner;
} lk_bce_with_logits_params;

/**
 * The memory layout of arrays with classes: logits[outer][classes][inner]. Initialise with LK_CLASS_ROWS if each row
 * holds the classes of one sample.
 *
 * Each (outer, inner) position is one sample. Images [N, C, H, W] have outer = N, classes = C and inner = H * W.
 */
typedef struct lk_class_shape {
    /**
     * sizeof(lk_class_shape)
     */
    size_t struct_size;
    size_t outer;
    size_t classes;
    /**
     * 1 if each row holds the classes of one sample.
     */
    size_t inner;
    /**
     * The number of elements from one outer index to the next; 0 if dense. Padding between them is never accessed.
     */
    size_t outer_stride;
    /**
     * The number of elements from one class to the next; 0 if dense. (A broadcast tensor also has a stride of 0, but
     * its elements share memory: copy it first.)
     */
    size_t class_stride;
    /**
     * For a crop of images: how many elements of `inner` are contiguous. 0: all of them.
     */
    size_t row_length;
    /**
     * The number of elements from one such row to the next; 0 if `row_length` is 0.
     */
    size_t row_stride;
    /**
     * The outer stride of the gradient and of the Hessian, of `output` in softmax and log_softmax, and of `grad_input`
     * in their backward passes. If this and `grad_class_stride` are 0, these arrays have the strides of the logits; if
     * one of the two is 0, that one is dense.
     *
     * If these strides are not those of the logits, all inputs of the logits' shape are copied to these strides first,
     * and the results are those of the copies, bit for bit. No output may be an input then.
     *
     * - One copy is written to the array of the gradient, or else of the Hessian or output, which then replaces it.
     * - Memory for the other copies is allocated by the call. These are class probabilities; the teacher's logits;
     *   `output`, in a backward pass; and the logits, if the call adds to its gradient (LK_ACCUMULATE_GRAD) or writes
     *   no array of their shape. If there is not enough memory, the call returns LK_OUT_OF_MEMORY.
     * - nll copies nothing. It reads only the log-probabilities of the targets.
     *
     * So a call that computes the loss alone is faster if these strides are 0. distillation, entropy and
     * selective_log_softmax need contiguous classes. If `grad_class_stride` is 1, they take transposed logits, because
     * the classes of the copy are contiguous.
     */
    size_t grad_outer_stride;
    /**
     * The class stride of the same arrays: see `grad_outer_stride`.
     */
    size_t grad_class_stride;
} lk_class_shape;

/**
 * The element type of an array.
 */
typedef int32_t lk_dtype;

/**
 * Options of cross_entropy. Initialise with LK_CROSS_ENTROPY_PARAMS_INIT.
 */
typedef struct lk_cross_entropy_params {
    /**
     * sizeof(lk_cross_entropy_params)
     */
    size_t struct_size;
    /**
     * Samples with this target are ignored, and their logits are not read.
     */
    int64_t ignore_index;
    /**
     * The share of the target distribution that is spread evenly over all classes, from 0 to 1.
     */
    double label_smoothing;
    /**
     * z-loss (PaLM): z_loss (log of the sum of e^x_j)^2 is added to the loss of each sample. Class weights do not
     * multiply it.
     */
    double z_loss;
    /**
     * Soft-capping (Gemma 2): every logit x except -inf is replaced by c tanh(x / c), where c is this number. 0 means
     * no cap. With a cap, `hess` must be NULL. Capped logits are rounded and within 3 units in the last place.
     * Therefore the relative error of each probability, and of the loss and the gradient of a confident sample, may be
     * up to 6 units in the last place of c.
     */
    double soft_cap;
    /**
     * Output, may be NULL: the number of correct predictions. A prediction is correct if the largest logit of the
     * sample, or the first of several equal ones, is that of the target. Ignored samples and samples with a NaN are
     * not counted. Weights do not matter. With class probabilities as targets it gives LK_UNSUPPORTED_OPTION.
     */
    uint64_t *correct;
    /**
     * Output, may be NULL: [outer][inner], 1 for each sample with a correct prediction and 0 for all others.
     */
    uint8_t *is_correct;
} lk_cross_entropy_params;

/**
 * Options of nll. Initialise with LK_NLL_PARAMS_INIT.
 */
typedef struct lk_nll_params {
    /**
     * sizeof(lk_nll_params)
     */
    size_t struct_size;
    /**
     * Samples with this target are ignored.
     */
    int64_t ignore_index;
} lk_nll_params;

/**
 * The shape of linear_cross_entropy: hidden[rows][width] and weight[classes][width]. Initialise with LK_LINEAR_SHAPE.
 */
typedef struct lk_linear_shape {
    /**
     * sizeof(lk_linear_shape)
     */
    size_t struct_size;
    size_t rows;
    size_t width;
    size_t classes;
} lk_linear_shape;

/**
 * Options of linear_cross_entropy. Initialise with LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT.
 */
typedef struct lk_linear_cross_entropy_params {
    /**
     * sizeof(lk_linear_cross_entropy_params)
     */
    size_t struct_size;
    /**
     * Rows with this target are ignored.
     */
    int64_t ignore_index;
    /**
     * As in lk_cross_entropy_params.
     */
    double label_smoothing;
    /**
     * As in lk_cross_entropy_params.
     */
    double z_loss;
    /**
     * As in lk_cross_entropy_params.
     */
    double soft_cap;
    /**
     * The number of bytes of logits that are in memory at the same time, but at least one row; 0 means 64 MiB.
     */
    size_t memory;
    /**
     * As in lk_cross_entropy_params.
     */
    uint64_t *correct;
    /**
     * As in lk_cross_entropy_params; one element for each row.
     */
    uint8_t *is_correct;
} lk_linear_cross_entropy_params;

/**
 * Options of selective_log_softmax. Initialise with LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT.
 */
typedef struct lk_selective_log_softmax_params {
    /**
     * sizeof(lk_selective_log_softmax_params)
     */
    size_t struct_size;
    /**
     * The number of indices for each row.
     */
    size_t per_row;
    /**
     * Entries with this index are ignored (padding).
     */
    int64_t ignore_index;
} lk_selective_log_softmax_params;

/**
 * Options of distillation. Initialise with LK_DISTILLATION_PARAMS_INIT.
 */
typedef struct lk_distillation_params {
    /**
     * sizeof(lk_distillation_params)
     */
    size_t struct_size;
    /**
     * The weight of the teacher in the mixture m, from 0 (forward KL) to 1 (reverse KL).
     */
    double beta;
    /**
     * The temperature that all logits are divided by, from 1e-9 to 1e9.
     */
    double temperature;
} lk_distillation_params;

/**
 * The softmax of one row of logits whose classes come in chunks: the part that has been added so far. Initialise
 * states with lk_softmax_state_init. They may be copied, sent to other processes and merged. A state is eleven
 * doubles; for MPI use MPI_Type_contiguous(11, MPI_DOUBLE, ...) and a commutative operator that calls
 * lk_softmax_state_merge.
 */
typedef struct lk_softmax_state {
    /**
     * The largest logit: -inf if there is none yet, NaN if the row's result is NaN.
     */
    double max;
    /**
     * The sum of the exponentials of all other classes, divided by a power of two near the largest exponential and
     * multiplied by 2^256: its value and its rounding error.
     */
    double rest;
    double rest_error;
    /**
     * The logit of the target; 0 until it has been added.
     */
    double target;
    /**
     * How many times the target has been added; infinity for an ignored row.
     */
    double seen;
    /**
     * The class weight of the target, or 1 without class weights; 0 for an ignored row and until the target has been
     * added.
     */
    double target_weight;
    /**
     * Only with label smoothing, otherwise 0: the number of classes added, and the sum of their weights with its
     * rounding error.
     */
    double classes;
    double weights;
    double weights_error;
    /**
     * Only with label smoothing, otherwise 0: the sum of class weight times (max - x_j), multiplied by 2^-32, and its
     * rounding error.
     */
    double gap;
    double gap_error;
} lk_softmax_state;

/**
 * A chunk of consecutive classes: logits[rows][classes], whose first class has the index `first_class` among all
 * classes. Initialise with LK_CLASS_CHUNK.
 */
typedef struct lk_class_chunk {
    /**
     * sizeof(lk_class_chunk)
     */
    size_t struct_size;
    size_t rows;
    /**
     * The number of classes in this chunk; may be 0.
     */
    size_t classes;
    size_t first_class;
    /**
     * The number of elements from one row to the next; 0 if dense. Padding between rows is never accessed.
     */
    size_t row_stride;
    /**
     * Rows with this target are ignored, and their logits are not read.
     */
    int64_t ignore_index;
} lk_class_chunk;

/**
 * Options of softmax states. Initialise with LK_SOFTMAX_STATE_PARAMS_INIT. Pass the same options to all calls for one
 * row: updates, finish and gradients.
 */
typedef struct lk_softmax_state_params {
    /**
     * sizeof(lk_softmax_state_params)
     */
    size_t struct_size;
    /**
     * As in lk_cross_entropy_params, over the classes of all chunks.
     */
    double label_smoothing;
    /**
     * As in lk_cross_entropy_params.
     */
    double z_loss;
    /**
     * As in lk_cross_entropy_params.
     */
    double soft_cap;
} lk_softmax_state_params;

/**
 * The shape of td: q[batch][actions]. Initialise with LK_TD_SHAPE.
 */
typedef struct lk_td_shape {
    /**
     * sizeof(lk_td_shape)
     */
    size_t struct_size;
    size_t batch;
    size_t actions;
    /**
     * The number of elements from one row to the next; 0 means `actions`.
     */
    size_t row_stride;
} lk_td_shape;

/**
 * The loss that td applies to the temporal difference.
 */
typedef int32_t lk_td_loss;

/**
 * Options of td. Initialise with LK_TD_PARAMS_INIT.
 */
typedef struct lk_td_params {
    /**
     * sizeof(lk_td_params)
     */
    size_t struct_size;
    /**
     * The discount factor.
     */
    double gamma;
    /**
     * LK_TD_MSE or LK_TD_HUBER
     */
    lk_td_loss loss;
    /**
     * The delta of LK_TD_HUBER: the loss is quadratic up to this difference and linear beyond it.
     */
    double delta;
} lk_td_params;

/**
 * Success.
 */
#define LK_OK 0

/**
 * Success, but some inputs lie outside the domain of the loss; the results at those positions are NaN. With
 * LK_CHECK_TARGETS: or some labels lie outside of [0, 1].
 */
#define LK_INPUT_OUT_OF_DOMAIN 1

/**
 * A required pointer is NULL.
 */
#define LK_NULL_POINTER -1

/**
 * A pointer is not aligned for its element type.
 */
#define LK_MISALIGNED -2

/**
 * The length of an array does not fit the shape or the other arrays.
 */
#define LK_LENGTH_MISMATCH -3

/**
 * An array of this size would not fit into the address space.
 */
#define LK_SIZE_TOO_LARGE -4

/**
 * Two arrays overlap in a way that is not allowed.
 */
#define LK_PARTIAL_OVERLAP -5

/**
 * With these strides two different elements would have the same address.
 */
#define LK_INVALID_STRIDE -6

/**
 * A constant is unknown to this version, or is not allowed for this argument.
 */
#define LK_UNKNOWN_CONSTANT -7

/**
 * A target or an action is neither a valid class index nor ignore_index.
 */
#define LK_TARGET_OUT_OF_RANGE -8

/**
 * Huber's delta is not greater than 0.
 */
#define LK_INVALID_DELTA -9

/**
 * Smooth L1's beta is negative or NaN, or distillation's beta is outside of [0, 1].
 */
#define LK_INVALID_BETA -10

/**
 * Label smoothing is outside of [0, 1].
 */
#define LK_INVALID_LABEL_SMOOTHING -11

/**
 * An option is NaN.
 */
#define LK_NAN_OPTION -12

/**
 * A struct_size is smaller than that struct was in its first version.
 */
#define LK_INVALID_STRUCT_SIZE -13

/**
 * An option from a newer header that this library version does not know, or a combination of arguments that the
 * function does not support.
 */
#define LK_UNSUPPORTED_OPTION -14

/**
 * An internal error of this library. Some outputs may have been written.
 */
#define LK_PANIC -15

/**
 * The target of a row was in none of the classes that were added to its softmax state, or was added more than once.
 */
#define LK_INCOMPLETE_STATE -16

/**
 * Distillation's temperature is outside of [1e-9, 1e9].
 */
#define LK_INVALID_TEMPERATURE -17

/**
 * A soft cap is neither 0 nor a positive, normal number of the element type.
 */
#define LK_INVALID_SOFT_CAP -18

/**
 * The call could not allocate the working memory that it needs.
 */
#define LK_OUT_OF_MEMORY -19

/**
 * More than LK_MAX_THREADS threads were requested for a context.
 */
#define LK_TOO_MANY_THREADS -20

/**
 * The mean: the sum divided by the number of samples or by the sum of their weights. Each function says which.
 */
#define LK_MEAN 0

/**
 * The sum.
 */
#define LK_SUM 1

/**
 * No reduction: one loss for each sample.
 */
#define LK_NONE 2

/**
 * float
 */
#define LK_F32 0

/**
 * double
 */
#define LK_F64 1

/**
 * int32_t
 */
#define LK_I32 2

/**
 * int64_t
 */
#define LK_I64 3

/**
 * uint8_t
 */
#define LK_U8 4

/**
 * int16_t
 */
#define LK_I16 5

/**
 * uint16_t
 */
#define LK_U16 6

/**
 * uint32_t
 */
#define LK_U32 7

/**
 * uint64_t. A value greater than INT64_MAX is treated as INT64_MAX, which is not a class either.
 */
#define LK_U64 8

/**
 * The best instruction set that the CPU supports.
 */
#define LK_ISA_BEST 0

/**
 * Portable code that processes one element at a time.
 */
#define LK_ISA_SCALAR 1

/**
 * AArch64 Advanced SIMD.
 */
#define LK_ISA_NEON 2

/**
 * x86-64-v3: AVX2, FMA, BMI1, BMI2, LZCNT.
 */
#define LK_ISA_AVX2 3

/**
 * x86-64-v4: AVX-512 F, BW, CD, DQ, VL.
 */
#define LK_ISA_AVX512 4

/**
 * The squared error.
 */
#define LK_TD_MSE 0

/**
 * Huber's loss.
 */
#define LK_TD_HUBER 1

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The message of this thread's last error, with the numbers that explain it; empty if there has been no error.
 *
 * A successful call does not change the message. The returned string is valid until the next error of this thread.
 */
const char *lk_last_error(void);

/**
 * The name of a status: "LK_OK" for LK_OK, and "LK_?" for an unknown number.
 */
const char *lk_status_name(lk_status status);

/**
 * Creates a context.
 *
 * - `threads`: the number of threads. 1 never starts a thread, for callers that have threads of their own; 0 means one
 *   thread for each core. A number above LK_MAX_THREADS gives LK_TOO_MANY_THREADS.
 * - `isa`: the highest instruction set that calls may use; LK_ISA_BEST sets no limit.
 *
 * The threads start when they are first needed. If the system cannot start that many, calls run on the caller's thread
 * alone. Results do not depend on the threads or the instruction set. Destroy the context with lk_context_destroy.
 *
 * After fork() the child process may create, use and destroy contexts in any order, including those that it inherited,
 * and also at exit. If an inherited context (or the process default) had started its threads before the fork, it runs
 * on the caller's thread alone in the child. A context that the child creates has threads again.
 */
lk_status lk_context_create(size_t threads, lk_isa isa, struct lk_context **new_context);

/**
 * Destroys a context: ends its threads and waits for them. In a forked child an inherited context has no threads to
 * wait for. No call may use the context afterwards. NULL does nothing.
 */
void lk_context_destroy(struct lk_context *ctx);

/**
 * The instruction set that calls with this context use: "scalar", "avx2", "avx512" or "neon".
 */
const char *lk_isa_name(const struct lk_context *ctx);

/**
 * The version of the library, "MAJOR.MINOR.PATCH".
 */
const char *lk_version(void);

/**
 * The version of the library's binary interface (ABI). Compare it with LK_ABI_VERSION when the program starts: if they
 * differ, the program was compiled with the header of an incompatible library version and must not use this library.
 * Library versions with the same major number are compatible; before 1.0, those with the same minor number are.
 */
int32_t lk_abi_version(void);

/**
 * Sets all options to their defaults, like LK_OPTIONS_INIT, for languages that cannot use C's initialisers. `size` is
 * sizeof(lk_options).
 */
lk_status lk_options_init(struct lk_options *options, size_t size);

/**
 * Adds a batch to a cost: the sum of its losses, and the weight that its mean is divided by.
 */
lk_status lk_cost_add(struct lk_cost *into, double sum, double weight);

/**
 * Adds all batches of the cost `from` to the cost `into`.
 */
lk_status lk_cost_merge(struct lk_cost *into, const struct lk_cost *from);

/**
 * The sum of all losses divided by the sum of all weights. The error is less than one unit in the last place. The
 * result is NaN if the cost is empty or `of` is NULL.
 */
double lk_cost_mean(const struct lk_cost *of);

/**
 * The perplexity, which is e to the power of the mean. It is meaningful if the losses are negative log-likelihoods in
 * nats, as those of lk_cross_entropy_f32 and lk_nll_f32 are. The result is infinite if it exceeds the range of double,
 * and NaN if the cost is empty or `of` is NULL.
 */
double lk_cost_perplexity(const struct lk_cost *of);

/**
 * Mean squared error (PyTorch's mse_loss).
 *
 * With d = input - target: loss = d^2, gradient = 2 d, Hessian = 2.
 *
 * `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
 * one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
 * weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
 * so may `opts` (LK_OPTIONS_INIT).
 */
lk_status lk_mse_f32(const struct lk_context *ctx,
                     size_t n,
                     const float *input,
                     const float *target,
                     const float *weight,
                     const struct lk_options *opts,
                     float *loss,
                     float *grad,
                     float *hess);

/**
 * As lk_mse_f32, in double precision.
 */
lk_status lk_mse_f64(const struct lk_context *ctx,
                     size_t n,
                     const double *input,
                     const double *target,
                     const double *weight,
                     const struct lk_options *opts,
                     double *loss,
                     double *grad,
                     double *hess);

/**
 * Absolute error (PyTorch's l1_loss).
 *
 * With d = input - target: loss = |d|, gradient = sign(d) (0 at 0), Hessian = 0.
 *
 * `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
 * one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
 * weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
 * so may `opts` (LK_OPTIONS_INIT).
 */
lk_status lk_l1_f32(const struct lk_context *ctx,
                    size_t n,
                    const float *input,
                    const float *target,
                    const float *weight,
                    const struct lk_options *opts,
                    float *loss,
                    float *grad,
                    float *hess);

/**
 * As lk_l1_f32, in double precision.
 */
lk_status lk_l1_f64(const struct lk_context *ctx,
                    size_t n,
                    const double *input,
                    const double *target,
                    const double *weight,
                    const struct lk_options *opts,
                    double *loss,
                    double *grad,
                    double *hess);

/**
 * Huber's loss (Huber, 1964; PyTorch's huber_loss).
 *
 * With d = input - target:
 *
 * - where |d| <= delta: loss = d^2 / 2, gradient = d, Hessian = 1
 * - elsewhere: loss = delta (|d| - delta / 2), gradient = delta sign(d), Hessian = 0
 *
 * `delta` must be greater than 0, otherwise the call returns LK_INVALID_DELTA. It may be infinite; the loss is then
 * d^2 / 2 everywhere.
 *
 * `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
 * one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
 * weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
 * so may `opts` (LK_OPTIONS_INIT).
 */
lk_status lk_huber_f32(const struct lk_context *ctx,
                       size_t n,
                       const float *input,
                       const float *target,
                       const float *weight,
                       float delta,
                       const struct lk_options *opts,
                       float *loss,
                       float *grad,
                       float *hess);

/**
 * As lk_huber_f32, in double precision.
 */
lk_status lk_huber_f64(const struct lk_context *ctx,
                       size_t n,
                       const double *input,
                       const double *target,
                       const double *weight,
                       double delta,
                       const struct lk_options *opts,
                       double *loss,
                       double *grad,
                       double *hess);

/**
 * Smooth L1 (Girshick, 2015; PyTorch's smooth_l1_loss): huber with delta = beta, divided by beta.
 *
 * With d = input - target:
 *
 * - where |d| < beta: loss = d^2 / (2 beta), gradient = d / beta, Hessian = 1 / beta
 * - elsewhere: loss = |d| - beta / 2, gradient = sign(d), Hessian = 0
 *
 * With beta = 0 the loss is that of l1.
 *
 * `beta` must not be negative, otherwise the call returns LK_INVALID_BETA. It may be infinite; loss and gradient are
 * then 0 for every d.
 *
 * `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
 * one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
 * weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
 * so may `opts` (LK_OPTIONS_INIT).
 */
lk_status lk_smooth_l1_f32(const struct lk_context *ctx,
                           size_t n,
                           const float *input,
                           const float *target,
                           const float *weight,
                           float beta,
                           const struct lk_options *opts,
                           float *loss,
                           float *grad,
                           float *hess);

/**
 * As lk_smooth_l1_f32, in double precision.
 */
lk_status lk_smooth_l1_f64(const struct lk_context *ctx,
                           size_t n,
                           const double *input,
                           const double *target,
                           const double *weight,
                           double beta,
                           const struct lk_options *opts,
                           double *loss,
                           double *grad,
                           double *hess);

/**
 * Binary cross-entropy of probabilities (PyTorch's binary_cross_entropy).
 *
 * With p = input, y = target and logarithms clamped at -100:
 *
 * - loss = -(y log p + (1 - y) log(1 - p))
 * - gradient = (p - y) / max(p (1 - p), 1e-12)
 * - Hessian = (y (1 - p)^2 + (1 - y) p^2) / max(p (1 - p), 1e-12)^2
 *
 * If an input lies outside of [0, 1], the results are NaN for this element and in a reduced loss, and the call returns
 * LK_INPUT_OUT_OF_DOMAIN. A NaN input gives NaN but not this status. Targets may be any number from 0 to 1.
 *
 * `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
 * one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
 * weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
 * so may `opts` (LK_OPTIONS_INIT).
 */
lk_status lk_bce_f32(const struct lk_context *ctx,
                     size_t n,
                     const float *input,
                     const float *target,
                     const float *weight,
                     const struct lk_options *opts,
                     float *loss,
                     float *grad,
                     float *hess);

/**
 * As lk_bce_f32, in double precision.
 */
lk_status lk_bce_f64(const struct lk_context *ctx,
                     size_t n,
                     const double *input,
                     const double *target,
                     const double *weight,
                     const struct lk_options *opts,
                     double *loss,
                     double *grad,
                     double *hess);

/**
 * Binary cross-entropy of logits (PyTorch's binary_cross_entropy_with_logits).
 *
 * With x = input, y = target, w = pos_weight and sigma(x) = 1 / (1 + e^-x):
 *
 * - loss = w y log(1 + e^-x) + (1 - y) log(1 + e^x)
 * - gradient = (1 - y) sigma(x) - w y sigma(-x)
 * - Hessian = (w y + 1 - y) sigma(x) sigma(-x)
 *
 * `pos_weight` has `n_pos_weight` elements: 0 for none (`pos_weight` may be NULL; all weights are 1), 1 for the same
 * weight everywhere, or one for each label. The input is then [samples][labels][`params->inner`]. `inner` is 1 (also
 * if `params` is NULL) if each label is one element, and H * W for one weight for each channel of [N, C, H, W]. `n`
 * must be a multiple of `inner` times `n_pos_weight`, otherwise the call returns LK_LENGTH_MISMATCH. An infinite
 * weight has no effect where the target is 0; elsewhere loss and gradient are infinite, and the Hessian is NaN.
 *
 * `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
 * one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
 * weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
 * so may `opts` (LK_OPTIONS_INIT).
 */
lk_status lk_bce_with_logits_f32(const struct lk_context *ctx,
                                 size_t n,
                                 const float *input,
                                 const float *target,
                                 const float *weight,
                                 const float *pos_weight,
                                 size_t n_pos_weight,
                                 const struct lk_bce_with_logits_params *params,
                                 const struct lk_options *opts,
                                 float *loss,
                                 float *grad,
                                 float *hess);

/**
 * As lk_bce_with_logits_f32, in double precision.
 */
lk_status lk_bce_with_logits_f64(const struct lk_context *ctx,
                                 size_t n,
                                 const double *input,
                                 const double *target,
                                 const double *weight,
                                 const double *pos_weight,
                                 size_t n_pos_weight,
                                 const struct lk_bce_with_logits_params *params,
                                 const struct lk_options *opts,
                                 double *loss,
                                 double *grad,
                                 double *hess);

/**
 * The linear "maximum likelihood" loss: minus the probability of the correct label.
 *
 * With p = input, y = target: loss = -(y p + (1 - y)(1 - p)), gradient = 1 - 2 y, Hessian = 0.
 *
 * `input`, `target` and `weight` have `n` elements; `weight` may be NULL (all weights are 1). `loss` is
 * one element for LK_MEAN and LK_SUM, and `n` elements for LK_NONE. LK_MEAN divides by n, with or without
 * weights. `grad` and `hess` have `n` elements; `grad` may be `input` itself. Each output may be NULL, and
 * so may `opts` (LK_OPTIONS_INIT).
 */
lk_status lk_likelihood_f32(const struct lk_context *ctx,
                            size_t n,
                            const float *input,
                            const float *target,
                            const float *weight,
                            const struct lk_options *opts,
                            float *loss,
                            float *grad,
                            float *hess);

/**
 * As lk_likelihood_f32, in double precision.
 */
lk_status lk_likelihood_f64(const struct lk_context *ctx,
                            size_t n,
                            const double *input,
                            const double *target,
                            const double *weight,
                            const struct lk_options *opts,
                            double *loss,
                            double *grad,
                            double *hess);

/**
 * Cross-entropy of logits (PyTorch's cross_entropy), with class indices or class probabilities as targets.
 *
 * With p = softmax(logits), the target distribution q, and Q = sum of q_j:
 *
 * - loss = -sum of q_j log p_j
 * - gradient = Q p - q
 * - Hessian (its diagonal) = Q p (1 - p)
 *
 * For a class index t, q is the class weight of t at t and 0 elsewhere. With label smoothing e, q is the class
 * weight times (1 - e at t, plus e / classes everywhere). Probabilities are smoothed first and then multiplied by
 * the class weights. A row weight multiplies the loss and the gradients of its sample.
 *
 * Accuracy: the loss is within 3 units in the last place of the exact value. The gradient for a class index is
 * within 4 units; with label smoothing, within 4 units of p (Q - q) + q (1 - p); for probabilities, within 4 units
 * of the larger of Q p and q.
 *
 * `targets` are either indices of an integer type of lk_dtype, [outer][inner], dense; or probabilities with the
 * type (LK_F32 here) and shape of the logits. An index outside of 0 to classes - 1 that is not `ignore_index`
 * gives LK_TARGET_OUT_OF_RANGE. With indices, LK_MEAN divides by the sum of (class weight of the target times row
 * weight) over all samples that are not ignored; with probabilities, by the sum of the row weights. If there is
 * nothing to average, the mean is NaN (0 with LK_ZERO_IF_EMPTY) and gradients are 0. If weights that are not all 0
 * add up to 0, the mean and the gradients are NaN. Logits of -inf mask their classes.
 *
 * `class_weight` has `classes` elements and `row_weight` one for each sample; either may be NULL (all weights are
 * 1). `loss` is one element for LK_MEAN and LK_SUM, and [outer][inner] for LK_NONE. `grad` and `hess` have the
 * shape and, unless `shape` says otherwise, the strides of the logits; `grad` may be the logits themselves. Each
 * output may be NULL, and so may `params` and `opts`.
 */
lk_status lk_cross_entropy_f32(const struct lk_context *ctx,
                               const struct lk_class_shape *shape,
                               const float *logits,
                               lk_dtype target_type,
                               const void *targets,
                               const float *class_weight,
                               const float *row_weight,
                               const struct lk_cross_entropy_params *params,
                               const struct lk_options *opts,
                               float *loss,
                               float *grad,
                               float *hess);

/**
 * As lk_cross_entropy_f32, in double precision.
 */
lk_status lk_cross_entropy_f64(const struct lk_context *ctx,
                               const struct lk_class_shape *shape,
                               const double *logits,
                               lk_dtype target_type,
                               const void *targets,
                               const double *class_weight,
                               const double *row_weight,
                               const struct lk_cross_entropy_params *params,
                               const struct lk_options *opts,
                               double *loss,
                               double *grad,
                               double *hess);

/**
 * Negative log-likelihood of log-probabilities (PyTorch's nll_loss).
 *
 * With w = class weight of the target times row weight: loss = -w log_probs[target], gradient = -w at the target
 * and 0 elsewhere, Hessian = 0. Only the log-probability of the target is read, so other log-probabilities may be
 * -inf.
 *
 * `targets` are indices of an integer type of lk_dtype, [outer][inner], dense. An index outside of 0 to classes -
 * 1 that is not `ignore_index` gives LK_TARGET_OUT_OF_RANGE. LK_MEAN divides by the sum of w over all samples that
 * are not ignored. If there are none, or if the weights add up to 0, the results are as in lk_cross_entropy_f32.
 *
 * `class_weight` has `classes` elements and `row_weight` one for each sample; either may be NULL (all weights are
 * 1). `loss` is one element for LK_MEAN and LK_SUM, and [outer][inner] for LK_NONE. `grad` and `hess` have the
 * shape and, unless `shape` says otherwise, the strides of the log-probabilities; `grad` may be the
 * log-probabilities themselves. Each output may be NULL, and so may `params` and `opts`.
 */
lk_status lk_nll_f32(const struct lk_context *ctx,
                     const struct lk_class_shape *shape,
                     const float *log_probs,
                     lk_dtype target_type,
                     const void *targets,
                     const float *class_weight,
                     const float *row_weight,
                     const struct lk_nll_params *params,
                     const struct lk_options *opts,
                     float *loss,
                     float *grad,
                     float *hess);

/**
 * As lk_nll_f32, in double precision.
 */
lk_status lk_nll_f64(const struct lk_context *ctx,
                     const struct lk_class_shape *shape,
                     const double *log_probs,
                     lk_dtype target_type,
                     const void *targets,
                     const double *class_weight,
                     const double *row_weight,
                     const struct lk_nll_params *params,
                     const struct lk_options *opts,
                     double *loss,
                     double *grad,
                     double *hess);

/**
 * Softmax over classes (PyTorch's softmax): output = e^(x_j - max) / sum of e^(x_i - max).
 *
 * Logits of -inf give 0. A sample is NaN if all its logits are -inf, or if several are +inf.
 *
 * `output` has the shape and, unless `shape` says otherwise, the strides of the logits. It may be the logits
 * themselves.
 */
lk_status lk_softmax_f32(const struct lk_context *ctx,
                         const struct lk_class_shape *shape,
                         const float *logits,
                         float *output);

/**
 * As lk_softmax_f32, in double precision.
 */
lk_status lk_softmax_f64(const struct lk_context *ctx,
                         const struct lk_class_shape *shape,
                         const double *logits,
                         double *output);

/**
 * The gradient of lk_softmax_f32 with respect to the logits: grad_input = y (g - sum of g_j y_j), where y is its
 * output and g is the gradient with respect to the output.
 *
 * All arrays have the same shape and, unless `shape` gives `grad_input` other strides, the same strides.
 * `grad_input` may be `grad_output` itself.
 */
lk_status lk_softmax_backward_f32(const struct lk_context *ctx,
                                  const struct lk_class_shape *shape,
                                  const float *output,
                                  const float *grad_output,
                                  float *grad_input);

/**
 * As lk_softmax_backward_f32, in double precision.
 */
lk_status lk_softmax_backward_f64(const struct lk_context *ctx,
                                  const struct lk_class_shape *shape,
                                  const double *output,
                                  const double *grad_output,
                                  double *grad_input);

/**
 * The logarithm of the softmax over classes (PyTorch's log_softmax).
 *
 * Logits of -inf give -inf. A sample is NaN if all its logits are -inf, or if several are +inf.
 *
 * `output` has the shape and, unless `shape` says otherwise, the strides of the logits. It may be the logits
 * themselves.
 */
lk_status lk_log_softmax_f32(const struct lk_context *ctx,
                             const struct lk_class_shape *shape,
                             const float *logits,
                             float *output);

/**
 * As lk_log_softmax_f32, in double precision.
 */
lk_status lk_log_softmax_f64(const struct lk_context *ctx,
                             const struct lk_class_shape *shape,
                             const double *logits,
                             double *output);

/**
 * The gradient of lk_log_softmax_f32 with respect to the logits: grad_input = g - e^y (sum of g_j), where y is its
 * output and g is the gradient with respect to the output.
 *
 * All arrays have the same shape and, unless `shape` gives `grad_input` other strides, the same strides.
 * `grad_input` may be `grad_output` itself.
 */
lk_status lk_log_softmax_backward_f32(const struct lk_context *ctx,
                                      const struct lk_class_shape *shape,
                                      const float *output,
                                      const float *grad_output,
                                      float *grad_input);

/**
 * As lk_log_softmax_backward_f32, in double precision.
 */
lk_status lk_log_softmax_backward_f64(const struct lk_context *ctx,
                                      const struct lk_class_shape *shape,
                                      const double *output,
                                      const double *grad_output,
                                      double *grad_input);

/**
 * Cross-entropy of the outputs of a linear layer (PyTorch's linear_cross_entropy), logits = hidden weight^T +
 * bias, with the gradients with respect to `hidden`, `weight` and `bias`. The logits are computed in blocks of
 * rows that take at most `params->memory` bytes, so they are never in memory all at once.
 *
 * `hidden` is [rows][width], `weight` is [classes][width], and `bias` is [classes] or NULL (zeros); all are dense.
 * `targets` are indices of an integer type of lk_dtype, one for each row. Targets, weights, `loss` and the
 * divisor of LK_MEAN are as in lk_cross_entropy_f32. Each gradient has the shape of the array that it belongs to
 * and may be NULL, and so may `params` and `opts`. No output may overlap an input. With LK_NONE the gradients of
 * `weight` and `bias` are those of the sum of the losses.
 *
 * The matrix products are computed by the gemm crate, which chooses the instruction set itself, so their last bits
 * may differ between machines. The logits of ignored rows are computed too, so `hidden` must be finite there. The
 * call allocates memory: `params->memory` bytes and eight bytes for each class (if this fails, the call returns
 * LK_OUT_OF_MEMORY); 5 to 15 MiB for matrix products; and for each further thread as much as its second-level
 * cache, which the thread keeps.
 */
lk_status lk_linear_cross_entropy_f32(const struct lk_context *ctx,
                                      const struct lk_linear_shape *shape,
                                      const float *hidden,
                                      const float *weight,
                                      const float *bias,
                                      lk_dtype target_type,
                                      const void *targets,
                                      const float *class_weight,
                                      const float *row_weight,
                                      const struct lk_linear_cross_entropy_params *params,
                                      const struct lk_options *opts,
                                      float *loss,
                                      float *grad_hidden,
                                      float *grad_weight,
                                      float *grad_bias);

/**
 * As lk_linear_cross_entropy_f32, in double precision.
 */
lk_status lk_linear_cross_entropy_f64(const struct lk_context *ctx,
                                      const struct lk_linear_shape *shape,
                                      const double *hidden,
                                      const double *weight,
                                      const double *bias,
                                      lk_dtype target_type,
                                      const void *targets,
                                      const double *class_weight,
                                      const double *row_weight,
                                      const struct lk_linear_cross_entropy_params *params,
                                      const struct lk_options *opts,
                                      double *loss,
                                      double *grad_hidden,
                                      double *grad_weight,
                                      double *grad_bias);

/**
 * The log-probabilities of chosen classes in each row (TRL's selective_log_softmax) and the entropy of each row,
 * in one pass.
 *
 * log_probs[row][i] = log softmax(x)[index]; entropy[row] = -sum of p_j log p_j with p = softmax(x), in nats;
 * lse[row] = log of the sum of e^x_j. No array of the logits' size is written.
 *
 * `shape` must have `inner` 1 and contiguous classes (of the gradient, if `shape` gives it other strides than the
 * logits), otherwise the call returns LK_UNSUPPORTED_OPTION. `indices` are of an integer type of lk_dtype,
 * [rows][per_row], as is `log_probs`. `indices` may be NULL if `log_probs` is NULL; then no row is ignored.
 * `entropy` and `lse` have one element for each row. Each output may be NULL. `params` may be NULL: one index for
 * each row, ignore_index -100.
 *
 * The log-probability of an ignored index is 0. If all indices of a row are ignored, the row is ignored: its
 * logits are not read and all its outputs are 0. Logits of -inf mask their classes: these have log-probability
 * -inf and add 0 to the entropy. A row is NaN if all its logits are -inf, or if several are +inf. The exception is
 * lse, which is -inf if all logits are -inf.
 */
lk_status lk_selective_log_softmax_f32(const struct lk_context *ctx,
                                       const struct lk_class_shape *shape,
                                       const float *logits,
                                       lk_dtype index_type,
                                       const void *indices,
                                       const struct lk_selective_log_softmax_params *params,
                                       float *log_probs,
                                       float *entropy,
                                       float *lse);

/**
 * As lk_selective_log_softmax_f32, in double precision.
 */
lk_status lk_selective_log_softmax_f64(const struct lk_context *ctx,
                                       const struct lk_class_shape *shape,
                                       const double *logits,
                                       lk_dtype index_type,
                                       const void *indices,
                                       const struct lk_selective_log_softmax_params *params,
                                       double *log_probs,
                                       double *entropy,
                                       double *lse);

/**
 * The gradient of lk_selective_log_softmax_f32 with respect to the logits, from the gradients g, h and l with
 * respect to its outputs `log_probs`, `entropy` and `lse`:
 *
 * - grad_j = (sum of g_i where index i is j) - p_j (sum of g_i) - h p_j (log p_j + entropy) + l p_j
 *
 * `grad_log_probs`, `grad_entropy` and `grad_lse` have the shapes of the corresponding outputs; each may be NULL
 * (zeros). Pass the same `indices` and `params` as in the forward call. The outputs of the forward call are not
 * needed. Gradients of ignored entries and rows are not read. `flags` is LK_ACCUMULATE_GRAD or 0. `grad` has the
 * shape and, unless `shape` says otherwise, the strides of the logits; without LK_ACCUMULATE_GRAD it may be the
 * logits themselves.
 */
lk_status lk_selective_log_softmax_backward_f32(const struct lk_context *ctx,
                                                const struct lk_class_shape *shape,
                                                const float *logits,
                                                lk_dtype index_type,
                                                const void *indices,
                                                const struct lk_selective_log_softmax_params *params,
                                                const float *grad_log_probs,
                                                const float *grad_entropy,
                                                const float *grad_lse,
                                                uint32_t flags,
                                                float *grad);

/**
 * As lk_selective_log_softmax_backward_f32, in double precision.
 */
lk_status lk_selective_log_softmax_backward_f64(const struct lk_context *ctx,
                                                const struct lk_class_shape *shape,
                                                const double *logits,
                                                lk_dtype index_type,
                                                const void *indices,
                                                const struct lk_selective_log_softmax_params *params,
                                                const double *grad_log_probs,
                                                const double *grad_entropy,
                                                const double *grad_lse,
                                                uint32_t flags,
                                                double *grad);

/**
 * The entropy of the softmax of each row, in nats: the `entropy` output of lk_selective_log_softmax_f32 alone.
 * `shape` is as there. `entropy` has one element for each row.
 */
lk_status lk_entropy_f32(const struct lk_context *ctx,
                         const struct lk_class_shape *shape,
                         const float *logits,
                         float *entropy);

/**
 * As lk_entropy_f32, in double precision.
 */
lk_status lk_entropy_f64(const struct lk_context *ctx,
                         const struct lk_class_shape *shape,
                         const double *logits,
                         double *entropy);

/**
 * The gradient of lk_entropy_f32 with respect to the logits, from the gradient with respect to the entropy of each
 * row: grad_j = -grad_entropy p_j (log p_j + entropy).
 *
 * `flags` is LK_ACCUMULATE_GRAD or 0. `grad` has the shape and, unless `shape` says otherwise, the strides of the
 * logits; without LK_ACCUMULATE_GRAD it may be the logits themselves.
 */
lk_status lk_entropy_backward_f32(const struct lk_context *ctx,
                                  const struct lk_class_shape *shape,
                                  const float *logits,
                                  const float *grad_entropy,
                                  uint32_t flags,
                                  float *grad);

/**
 * As lk_entropy_backward_f32, in double precision.
 */
lk_status lk_entropy_backward_f64(const struct lk_context *ctx,
                                  const struct lk_class_shape *shape,
                                  const double *logits,
                                  const double *grad_entropy,
                                  uint32_t flags,
                                  double *grad);

/**
 * Knowledge distillation: the divergence between the distributions of a student and a teacher, computed from the
 * logits of both at a temperature T (Hinton et al., 2015; generalised Jensen-Shannon divergence: Agarwal et al.,
 * 2024, and TRL's GKD trainer).
 *
 * With p = softmax(teacher / T), q = softmax(student / T) and m = beta p + (1 - beta) q:
 *
 * - beta = 0 (the default): loss = KL(p || q), gradient = (q - p) / T; this is PyTorch's kl_div of log_softmax
 *   with log_target
 * - beta = 1: loss = KL(q || p), gradient = q (log(q / p) - loss) / T
 * - otherwise: loss = beta KL(p || m) + (1 - beta) KL(q || m) and
 *   gradient = (1 - beta) q (log(q / m) - KL(q || m)) / T
 *
 * The gradient is with respect to the student's logits. For the gradient with respect to the teacher's logits,
 * exchange student and teacher and pass 1 - beta; the loss is the same. Hinton's factor T^2 is not included: pass
 * it as grad_scale for the gradient.
 *
 * `shape` must have `inner` 1 and contiguous classes (of the gradient, if `shape` gives it other strides than the
 * logits), otherwise the call returns LK_UNSUPPORTED_OPTION. `student`, `teacher` and `grad` have this shape;
 * `grad` may be `student` itself. A row weight multiplies the loss and the gradient of its row. LK_MEAN divides by
 * the sum of the row weights, which is the number of rows without weights (batchmean). Rows of weight 0 are not
 * read, so weights of 0 and 1 are a mask. If no row is left, or if the weights add up to 0, LK_MEAN is as in
 * lk_cross_entropy_f32. `row_weight` may be NULL (all weights are 1).
 *
 * Accuracy: the loss is within 8 units in the last place of the exact value, however close student and teacher
 * are. It is never negative. For equal logits the loss and the gradients are 0. Gradients are within 8 units of
 * the exact difference, which is (q - p) / T or q (log(q / p) - loss) / T; for other beta, within 8 units of q
 * times the larger of the two numbers that are subtracted.
 *
 * Logits of -inf mask their classes. If only the student's logit of a class is -inf, forward KL is infinite; if
 * only the teacher's is, reverse KL is. A row with a NaN, with a logit of +inf or with all classes masked is NaN.
 * `loss` is one element for LK_MEAN and LK_SUM, and one for each row for LK_NONE. Each output may be NULL, and so
 * may `params` and `opts`.
 */
lk_status lk_distillation_f32(const struct lk_context *ctx,
                              const struct lk_class_shape *shape,
                              const float *student,
                              const float *teacher,
                              const float *row_weight,
                              const struct lk_distillation_params *params,
                              const struct lk_options *opts,
                              float *loss,
                              float *grad);

/**
 * As lk_distillation_f32, in double precision.
 */
lk_status lk_distillation_f64(const struct lk_context *ctx,
                              const struct lk_class_shape *shape,
                              const double *student,
                              const double *teacher,
                              const double *row_weight,
                              const struct lk_distillation_params *params,
                              const struct lk_options *opts,
                              double *loss,
                              double *grad);

/**
 * Initialises states to which no classes have been added.
 */
lk_status lk_softmax_state_init(size_t rows, struct lk_softmax_state *states);

/**
 * Adds a chunk of classes to the states of its rows.
 *
 * Chunks may come in any order and have any width. Add each class exactly once, to one of the states that will be
 * merged. The results are within 2 units in the last place of those of lk_cross_entropy_f32 for the whole rows.
 *
 * `targets` are indices among all classes, of an integer type of lk_dtype, one for each row. A target that is not
 * in this chunk must be in another chunk. A negative target that is not `ignore_index` gives
 * LK_TARGET_OUT_OF_RANGE. If `targets` is NULL there is no loss, only the logarithm of the sum of exponentials.
 * Logits of -inf mask their classes.
 *
 * `class_weight` has the weights of the classes in this chunk and may be NULL (all weights are 1). `params` may be
 * NULL. Pass the same `params` to all calls for one row: updates, finish and gradients.
 */
lk_status lk_softmax_state_update_f32(const struct lk_context *ctx,
                                      const struct lk_class_chunk *chunk,
                                      const float *logits,
                                      lk_dtype target_type,
                                      const void *targets,
                                      const float *class_weight,
                                      const struct lk_softmax_state_params *params,
                                      struct lk_softmax_state *states);

/**
 * As lk_softmax_state_update_f32, in double precision.
 */
lk_status lk_softmax_state_update_f64(const struct lk_context *ctx,
                                      const struct lk_class_chunk *chunk,
                                      const double *logits,
                                      lk_dtype target_type,
                                      const void *targets,
                                      const double *class_weight,
                                      const struct lk_softmax_state_params *params,
                                      struct lk_softmax_state *states);

/**
 * Merges two states of each row: adds to `into` the classes that have been added to `from`.
 *
 * Exchanging `into` and `from` gives the same bits. If more than two states are merged, the order changes the results
 * by at most one unit in the last place.
 */
lk_status lk_softmax_state_merge(const struct lk_context *ctx,
                                 size_t rows,
                                 struct lk_softmax_state *into,
                                 const struct lk_softmax_state *from);

/**
 * Computes the loss and the logarithm of the sum of exponentials of each row. For ignored rows the loss is 0 and
 * the logarithm is -inf.
 *
 * `loss` and `lse` have `rows` elements; either may be NULL. If `loss` is not NULL, the target of each row that is
 * not ignored must have been added exactly once, otherwise the call returns LK_INCOMPLETE_STATE. The loss is that
 * of lk_cross_entropy_f32 with the same class weights and options, without reduction. For its mean, divide the sum
 * by the sum of the `target_weight` of all states.
 */
lk_status lk_softmax_state_finish_f32(const struct lk_context *ctx,
                                      size_t rows,
                                      const struct lk_softmax_state *states,
                                      const struct lk_softmax_state_params *params,
                                      float *loss,
                                      float *lse);

/**
 * As lk_softmax_state_finish_f32, in double precision.
 */
lk_status lk_softmax_state_finish_f64(const struct lk_context *ctx,
                                      size_t rows,
                                      const struct lk_softmax_state *states,
                                      const struct lk_softmax_state_params *params,
                                      double *loss,
                                      double *lse);

/**
 * The gradient with respect to the logits of a chunk, after all classes have been added to the states of its rows:
 * row_weight grad_scale (Q p_j - q_j), where q is the target distribution as in lk_cross_entropy_f32 (without
 * class weights and label smoothing: 1 for the target and 0 elsewhere) and Q is its sum. The gradient of ignored
 * rows is 0.
 *
 * Pass the same `chunk`, `targets`, `class_weight` and `params` as in the update. Without targets the result is
 * the gradient of the logarithm of the sum of exponentials. `row_weight` has `rows` elements and may be NULL (all
 * weights are 1). For the gradient of the mean over a batch, set `grad_scale` to 1 / (number of rows that are not
 * ignored, or the sum of their weights). `grad` has the shape and stride of the logits and may be the logits
 * themselves.
 */
lk_status lk_softmax_state_grad_f32(const struct lk_context *ctx,
                                    const struct lk_class_chunk *chunk,
                                    const float *logits,
                                    lk_dtype target_type,
                                    const void *targets,
                                    const struct lk_softmax_state *states,
                                    const float *class_weight,
                                    const float *row_weight,
                                    const struct lk_softmax_state_params *params,
                                    double grad_scale,
                                    float *grad);

/**
 * As lk_softmax_state_grad_f32, in double precision.
 */
lk_status lk_softmax_state_grad_f64(const struct lk_context *ctx,
                                    const struct lk_class_chunk *chunk,
                                    const double *logits,
                                    lk_dtype target_type,
                                    const void *targets,
                                    const struct lk_softmax_state *states,
                                    const double *class_weight,
                                    const double *row_weight,
                                    const struct lk_softmax_state_params *params,
                                    double grad_scale,
                                    double *grad);

/**
 * The temporal-difference loss of (deep, double) Q-learning (Mnih et al., 2015; van Hasselt et al., 2016).
 *
 * target = reward + gamma (1 - done) max over a' of next_q[a'], or, if `next_q_online` is given (double DQN),
 * next_q at the argmax over a' of next_q_online[a']. With d = q[action] - target: loss = d^2 (LK_TD_MSE) or
 * huber(d) (LK_TD_HUBER); gradient and Hessian are those of this loss at the action and 0 elsewhere; td_error =
 * -d, unscaled and unweighted. No gradient flows through the target. For n-step returns pass gamma^n as gamma.
 *
 * Accuracy: the difference between target and q may nearly cancel. With t the largest of |reward|, gamma |next_q|,
 * |q| and |d|, the gradient is within 4 units in the last place of t times the second derivative, and the loss is
 * within 4 units of the larger of itself and t times the slope.
 *
 * `q`, `next_q`, `next_q_online`, `grad` and `hess` are [batch][actions] with the stride of the shape. `action`
 * (of an integer type of lk_dtype), `reward`, `done`, `weight` and `td_error` have `batch` elements. `next_q_online`,
 * `done` and `weight` may be NULL. `done` is not 0 if the episode ended; NULL means that none did. Without
 * `weight` all weights are 1.
 *
 * If a row is done, its next_q is not read. If gamma is 0, next_q has no influence, even if it is infinite or NaN.
 * The argmax is the first maximum; a NaN counts as the maximum. An action outside of 0 to actions - 1 gives
 * LK_TARGET_OUT_OF_RANGE. LK_MEAN divides by `batch`, with or without weights. `loss` is one element, or `batch`
 * elements for LK_NONE; `grad` may be `q` itself. Each output may be NULL, and so may `params` and `opts`.
 */
lk_status lk_td_f32(const struct lk_context *ctx,
                    const struct lk_td_shape *shape,
                    const float *q,
                    lk_dtype action_type,
                    const void *action,
                    const float *reward,
                    const uint8_t *done,
                    const float *next_q,
                    const float *next_q_online,
                    const float *weight,
                    const struct lk_td_params *params,
                    const struct lk_options *opts,
                    float *loss,
                    float *grad,
                    float *hess,
                    float *td_error);

/**
 * As lk_td_f32, in double precision.
 */
lk_status lk_td_f64(const struct lk_context *ctx,
                    const struct lk_td_shape *shape,
                    const double *q,
                    lk_dtype action_type,
                    const void *action,
                    const double *reward,
                    const uint8_t *done,
                    const double *next_q,
                    const double *next_q_online,
                    const double *weight,
                    const struct lk_td_params *params,
                    const struct lk_options *opts,
                    double *loss,
                    double *grad,
                    double *hess,
                    double *td_error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/**
 * The short form of lk_cross_entropy_f32, which has all options: the mean cross-entropy of dense rows of logits,
 * and its gradient, on the default threads. `targets` has one class index for each row; rows with target -100 are
 * ignored. `loss` and `grad` may be NULL, and `grad` may be `logits`.
 */
static inline lk_status lk_cross_entropy_i32_mean_f32(size_t rows,
                                                      size_t classes,
                                                      const float *logits,
                                                      const int32_t *targets,
                                                      float *loss,
                                                      float *grad)
{
    const struct lk_class_shape shape = LK_CLASS_ROWS(rows, classes);
    return lk_cross_entropy_f32(NULL, &shape, logits, LK_I32, targets, NULL, NULL, NULL, NULL, loss, grad, NULL);
}

/**
 * As lk_cross_entropy_i32_mean_f32, with int64_t targets.
 */
static inline lk_status lk_cross_entropy_i64_mean_f32(size_t rows,
                                                      size_t classes,
                                                      const float *logits,
                                                      const int64_t *targets,
                                                      float *loss,
                                                      float *grad)
{
    const struct lk_class_shape shape = LK_CLASS_ROWS(rows, classes);
    return lk_cross_entropy_f32(NULL, &shape, logits, LK_I64, targets, NULL, NULL, NULL, NULL, loss, grad, NULL);
}

/**
 * The short form of lk_mse_f32: the mean squared error of `n` elements, and its gradient. `loss` and `grad` may be
 * NULL, and `grad` may be `input`.
 */
static inline lk_status lk_mse_mean_f32(size_t n, const float *input, const float *target, float *loss, float *grad)
{
    return lk_mse_f32(NULL, n, input, target, NULL, NULL, loss, grad, NULL);
}

/**
 * The short form of lk_bce_with_logits_f32: the mean binary cross-entropy of `n` logits and labels, and its
 * gradient. `loss` and `grad` may be NULL, and `grad` may be `input`.
 */
static inline lk_status lk_bce_with_logits_mean_f32(size_t n,
                                                    const float *input,
                                                    const float *target,
                                                    float *loss,
                                                    float *grad)
{
    return lk_bce_with_logits_f32(NULL, n, input, target, NULL, NULL, 0, NULL, NULL, loss, grad, NULL);
}

/**
 * The short form of lk_cross_entropy_f64, which has all options: the mean cross-entropy of dense rows of logits,
 * and its gradient, on the default threads. `targets` has one class index for each row; rows with target -100 are
 * ignored. `loss` and `grad` may be NULL, and `grad` may be `logits`.
 */
static inline lk_status lk_cross_entropy_i32_mean_f64(size_t rows,
                                                      size_t classes,
                                                      const double *logits,
                                                      const int32_t *targets,
                                                      double *loss,
                                                      double *grad)
{
    const struct lk_class_shape shape = LK_CLASS_ROWS(rows, classes);
    return lk_cross_entropy_f64(NULL, &shape, logits, LK_I32, targets, NULL, NULL, NULL, NULL, loss, grad, NULL);
}

/**
 * As lk_cross_entropy_i32_mean_f64, with int64_t targets.
 */
static inline lk_status lk_cross_entropy_i64_mean_f64(size_t rows,
                                                      size_t classes,
                                                      const double *logits,
                                                      const int64_t *targets,
                                                      double *loss,
                                                      double *grad)
{
    const struct lk_class_shape shape = LK_CLASS_ROWS(rows, classes);
    return lk_cross_entropy_f64(NULL, &shape, logits, LK_I64, targets, NULL, NULL, NULL, NULL, loss, grad, NULL);
}

/**
 * The short form of lk_mse_f64: the mean squared error of `n` elements, and its gradient. `loss` and `grad` may be
 * NULL, and `grad` may be `input`.
 */
static inline lk_status lk_mse_mean_f64(size_t n, const double *input, const double *target, double *loss, double *grad)
{
    return lk_mse_f64(NULL, n, input, target, NULL, NULL, loss, grad, NULL);
}

/**
 * The short form of lk_bce_with_logits_f64: the mean binary cross-entropy of `n` logits and labels, and its
 * gradient. `loss` and `grad` may be NULL, and `grad` may be `input`.
 */
static inline lk_status lk_bce_with_logits_mean_f64(size_t n,
                                                    const double *input,
                                                    const double *target,
                                                    double *loss,
                                                    double *grad)
{
    return lk_bce_with_logits_f64(NULL, n, input, target, NULL, NULL, 0, NULL, NULL, loss, grad, NULL);
}

#endif  /* LOSSKIT_H */
