/* losskit: batch losses and their gradients, exact to the last places, the same bits everywhere.
 *
 * The smallest useful call: cross-entropy of two samples over three classes, and its gradient.
 *
 *     const float logits[6] = {2.0f, 1.0f, 0.1f, 0.5f, 2.5f, 0.0f};
 *     const int32_t targets[2] = {0, 1};
 *     const lk_class_shape shape = LK_CLASS_ROWS(2, 3);
 *     float loss, grad[6];
 *     lk_status status = lk_cross_entropy_f32(NULL, &shape, logits, LK_I32, targets, NULL, NULL, NULL, NULL,
 *                                             &loss, grad, NULL);
 *
 * What all functions keep to:
 * - 0 is success; negative, an error: no output was touched, lk_last_error() has the words; positive, a
 *   remark: all outputs are written.
 * - Counts and strides are in elements. Arrays are aligned to their elements. Outputs may be NULL: what is not
 *   asked for is not computed. Of no elements every array may be NULL.
 * - `loss` is a mean, a sum, or one a sample, as lk_options says. `grad` is the derivative of that loss with
 *   respect to the input, `hess` the diagonal of the second derivative, both times grad_scale; with LK_NONE they
 *   are each sample's own.
 * - No output may have an element of another array, but `grad` may be the input itself, unless LK_ACCUMULATE_GRAD is
 *   set. Arrays may lie in each other's gaps: a loss in the padding between rows, gradients between the rows of their
 *   logits.
 * - A call takes at most 128 KiB of its caller's stack.
 * - NaN in is NaN out, at that sample and in a reduced loss.
 * - Results have the same bits whatever the threads, the instruction set, the alignment, the outputs asked for,
 *   and the caller's floating-point environment; but for linear_cross_entropy, whose matrix products may differ between
 *   machines.
 * - Every function may be called from several threads at once, if none writes what another uses.
 *
 * Made from the sources by cbindgen; not to be edited. */


#ifndef LOSSKIT_H
#define LOSSKIT_H

#include <stddef.h>
#include <stdint.h>

/** Mean, no flags, scale 1, no floor of the Hessian. */
#define LK_OPTIONS_INIT { sizeof(lk_options), LK_MEAN, 0, 1.0, NULL, NULL, 0.0 }

/** Dense rows of classes. As in the other macros, sizes are of any type of integer. */
#define LK_CLASS_ROWS(rows, classes) { sizeof(lk_class_shape), (size_t)(rows), (size_t)(classes), 1, 0, 0, 0, 0, 0, 0 }

/** Dense rows of some of the classes, ignore_index -100. */
#define LK_CLASS_CHUNK(rows, classes, first_class) \
    { sizeof(lk_class_chunk), (size_t)(rows), (size_t)(classes), (size_t)(first_class), 0, -100 }

/** A label for each element. */
#define LK_BCE_WITH_LOGITS_PARAMS_INIT { sizeof(lk_bce_with_logits_params), 1 }

/** ignore_index -100, no label smoothing. */
#define LK_CROSS_ENTROPY_PARAMS_INIT { sizeof(lk_cross_entropy_params), -100, 0.0, 0.0, 0.0, NULL, NULL }

/** No label smoothing, no z-loss, no soft cap. */
#define LK_SOFTMAX_STATE_PARAMS_INIT { sizeof(lk_softmax_state_params), 0.0, 0.0, 0.0 }

/** Dense rows of hidden activations, and a row of weights for each class. */
#define LK_LINEAR_SHAPE(rows, width, classes) \
    { sizeof(lk_linear_shape), (size_t)(rows), (size_t)(width), (size_t)(classes) }

/** ignore_index -100, no label smoothing, no z-loss, no soft cap, 64 MiB. */
#define LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT \
    { sizeof(lk_linear_cross_entropy_params), -100, 0.0, 0.0, 0.0, 67108864, NULL, NULL }

/** ignore_index -100. */
#define LK_NLL_PARAMS_INIT { sizeof(lk_nll_params), -100 }

/** One index a row, ignore_index -100. */
#define LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT { sizeof(lk_selective_log_softmax_params), 1, -100 }

/** Forward KL at temperature 1. */
#define LK_DISTILLATION_PARAMS_INIT { sizeof(lk_distillation_params), 0.0, 1.0 }

/** Dense rows of actions. */
#define LK_TD_SHAPE(batch, actions) { sizeof(lk_td_shape), (size_t)(batch), (size_t)(actions), 0 }

/** gamma 0.99, squared; delta 1. */
#define LK_TD_PARAMS_INIT { sizeof(lk_td_params), 0.99, LK_TD_MSE, 1.0 }


/**
 * Flag: gradient and Hessian are added to what is there. `grad` may not be the input then.
 */
#define LK_ACCUMULATE_GRAD 1

/**
 * Flag: the mean of nothing is 0, not NaN: of no samples, of samples that are all ignored, or whose weights are all 0.
 * Gradients of nothing are 0 either way, and a cost gets nothing.
 */
#define LK_ZERO_IF_EMPTY 2

/**
 * Flag: bce, bce_with_logits and likelihood look for labels outside of [0, 1] first, and are LK_INPUT_OUT_OF_DOMAIN if
 * there are some; what they compute stays as it is. A NaN is only NaN. Other losses do not look.
 */
#define LK_CHECK_TARGETS 4

/**
 * The most threads of a context.
 */
#define LK_MAX_THREADS 4096

/**
 * The binary interface that this header describes.
 */
#define LK_ABI_VERSION 1

/**
 * The version of this header. lk_version() is the library's.
 */
#define LK_VERSION_MAJOR 0

/**
 * Its second number.
 */
#define LK_VERSION_MINOR 1

/**
 * Its third number.
 */
#define LK_VERSION_PATCH 0

/**
 * The same as one number, for comparisons: `#if LK_VERSION >= 1002000` is true from version 1.2.0 on.
 */
#define LK_VERSION (((LK_VERSION_MAJOR * 1000000) + (LK_VERSION_MINOR * 1000)) + LK_VERSION_PATCH)

/**
 * Threads and instruction set. NULL is the process default: a pool of its own with a thread for each core,
 * started when it is first needed. May be used by several threads at once.
 */
typedef struct lk_context lk_context;

/**
 * What a function says: 0 is success, negative an error (no output was touched), positive a remark (all
 * outputs are written). lk_last_error() has an error's words.
 */
typedef int32_t lk_status;

/**
 * An instruction set.
 */
typedef int32_t lk_isa;

/**
 * How the samples' losses become one.
 */
typedef int32_t lk_reduction;

/**
 * The cost over a data set, gathered batch by batch: exact fixed-point numbers, so the order of batches and
 * merges changes no bit of the mean. All zeros is empty. Costs are merged by adding all entries, or by
 * lk_cost_merge; MPI_SUM over 144 MPI_INT64_T merges those of up to 2^30 ranks.
 */
typedef struct lk_cost {
    int64_t sum[72];
    int64_t weight[72];
} lk_cost;

/**
 * What all losses share. Begin with LK_OPTIONS_INIT.
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
     * Any of LK_ACCUMULATE_GRAD, LK_ZERO_IF_EMPTY, LK_CHECK_TARGETS, or 0
     */
    uint32_t flags;
    /**
     * A factor of gradient and Hessian (loss scaling), not of the loss.
     */
    double grad_scale;
    /**
     * Out, may be NULL: what LK_MEAN divides by, whichever the reduction.
     */
    double *weight_sum;
    /**
     * In and out, may be NULL: this batch is added to it, unrounded.
     */
    struct lk_cost *cost;
    /**
     * The least second derivative of a sample, before weights, grad_scale and LK_MEAN's division multiply it: what is
     * less is raised to it. 0: none. Boosters divide by sums of Hessians, and XGBoost's logistic objective has 1e-16.
     * nll and td: of the target or the action alone; ignored samples keep 0.
     */
    double min_hess;
} lk_options;

/**
 * Options of bce_with_logits. Begin with LK_BCE_WITH_LOGITS_PARAMS_INIT.
 */
typedef struct lk_bce_with_logits_params {
    /**
     * sizeof(lk_bce_with_logits_params)
     */
    size_t struct_size;
    /**
     * How many neighbouring elements have the same label, and share a positive weight: H * W in [N, C, H, W].
     */
    size_t inner;
} lk_bce_with_logits_params;

/**
 * Where classes lie: logits[outer][classes][inner]. Begin with LK_CLASS_ROWS for rows of classes.
 *
 * A sample is one (outer, inner) position. Images [N, C, H, W] have outer N, classes C, inner H * W.
 */
typedef struct lk_class_shape {
    /**
     * sizeof(lk_class_shape)
     */
    size_t struct_size;
    size_t outer;
    size_t classes;
    /**
     * 1 for rows of classes
     */
    size_t inner;
    /**
     * Elements from one outer index to the next; 0 if dense. What lies between is never touched.
     */
    size_t outer_stride;
    /**
     * Elements from one class to the next; 0 if dense. (A tensor that is broadcast has a stride of 0, too, but reads the
     * same element again: copy it first.)
     */
    size_t class_stride;
    /**
     * For crops of images, in cross_entropy and nll: how many elements of `inner` are contiguous; 0 if all are.
     */
    size_t row_length;
    /**
     * Elements from one such row to the next; 0 if `row_length` is.
     */
    size_t row_stride;
    /**
     * The gradient's and the Hessian's own outer and class stride, in cross_entropy with indices and in nll; both 0: they
     * lie as the logits do; one 0: it is dense. The logits are copied to the gradient's place first: a Hessian needs a
     * gradient beside it, and LK_ACCUMULATE_GRAD is LK_UNSUPPORTED_OPTION.
     */
    size_t grad_outer_stride;
    /**
     * See `grad_outer_stride`.
     */
    size_t grad_class_stride;
} lk_class_shape;

/**
 * The element type of an array.
 */
typedef int32_t lk_dtype;

/**
 * Options of cross_entropy. Begin with LK_CROSS_ENTROPY_PARAMS_INIT.
 */
typedef struct lk_cross_entropy_params {
    /**
     * sizeof(lk_cross_entropy_params)
     */
    size_t struct_size;
    /**
     * Samples with this target do not count, and their logits are not read.
     */
    int64_t ignore_index;
    /**
     * The share of the target distribution that is spread over all classes, 0 to 1.
     */
    double label_smoothing;
    /**
     * The factor of the squared logarithm of the sum of exponentials that is added to each sample's loss (PaLM's
     * z-loss); class weights do not touch it.
     */
    double z_loss;
    /**
     * c tanh(x / c) takes the logits' place (Gemma 2's soft-capping), where x is not -inf; there is no Hessian then.
     * 0: none. Bounded logits are rounded, within 3 units in the last place. So each probability, and with it the loss
     * and the gradient of a confident sample, may be off by a share of itself that is 6 units in the last place of c.
     */
    double soft_cap;
    /**
     * Out, may be NULL: the number of right predictions, which are those samples whose largest logit, or the first of
     * several, is the target's. Ignored samples do not count, nor do those with a NaN; weights do not matter. With
     * class probabilities LK_UNSUPPORTED_OPTION.
     */
    uint64_t *correct;
    /**
     * Out, may be NULL: 1 for each sample whose prediction is right, 0 for each other, [outer][inner].
     */
    uint8_t *is_correct;
} lk_cross_entropy_params;

/**
 * Options of nll. Begin with LK_NLL_PARAMS_INIT.
 */
typedef struct lk_nll_params {
    /**
     * sizeof(lk_nll_params)
     */
    size_t struct_size;
    /**
     * Samples with this target do not count.
     */
    int64_t ignore_index;
} lk_nll_params;

/**
 * Shape of linear_cross_entropy: hidden[rows][width], weight[classes][width]. Begin with LK_LINEAR_SHAPE.
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
 * Options of linear_cross_entropy. Begin with LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT.
 */
typedef struct lk_linear_cross_entropy_params {
    /**
     * sizeof(lk_linear_cross_entropy_params)
     */
    size_t struct_size;
    /**
     * Rows with this target do not count.
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
     * How many bytes of logits stand in memory at once, never less than one row; 0 for 64 MiB.
     */
    size_t memory;
    /**
     * As in lk_cross_entropy_params.
     */
    uint64_t *correct;
    /**
     * As in lk_cross_entropy_params, [rows].
     */
    uint8_t *is_correct;
} lk_linear_cross_entropy_params;

/**
 * Options of selective_log_softmax. Begin with LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT.
 */
typedef struct lk_selective_log_softmax_params {
    /**
     * sizeof(lk_selective_log_softmax_params)
     */
    size_t struct_size;
    /**
     * Indices of each row.
     */
    size_t per_row;
    /**
     * The index that stands for none.
     */
    int64_t ignore_index;
} lk_selective_log_softmax_params;

/**
 * Options of distillation. Begin with LK_DISTILLATION_PARAMS_INIT.
 */
typedef struct lk_distillation_params {
    /**
     * sizeof(lk_distillation_params)
     */
    size_t struct_size;
    /**
     * The teacher's share of the mixture, from 0 (forward KL) to 1 (reverse KL).
     */
    double beta;
    /**
     * What all logits are divided by, from 1e-9 to 1e9.
     */
    double temperature;
} lk_distillation_params;

/**
 * What was seen of a row of logits whose classes come in pieces. Made by lk_softmax_state_init; to be copied, sent
 * and merged as one likes. Its fields are eleven doubles: for MPI, MPI_Type_contiguous(11, MPI_DOUBLE, ...), and an
 * operator that calls lk_softmax_state_merge and commutes.
 */
typedef struct lk_softmax_state {
    /**
     * The largest logit; -inf if there is none, NaN if there is no number.
     */
    double max;
    /**
     * The sum of the other classes' exponentials, relative to about the largest, times 2^256: value and error.
     */
    double rest;
    double rest_error;
    /**
     * The target's logit; 0 until it is seen.
     */
    double target;
    /**
     * How often the target was seen; infinity for a row that is ignored.
     */
    double seen;
    /**
     * The target's class weight, 1 without class weights; 0 until the target is seen, and for a row that is ignored.
     */
    double target_weight;
    /**
     * With label smoothing, else 0: the number of classes seen, and the sum of their weights, value and error.
     */
    double classes;
    double weights;
    double weights_error;
    /**
     * With label smoothing, else 0: the sum of class weight times max - x_j, times 2^-32: value and error.
     */
    double gap;
    double gap_error;
} lk_softmax_state;

/**
 * Which classes a piece of logits has: logits[rows][classes], the first of which is class `first_class` of all.
 * Begin with LK_CLASS_CHUNK.
 */
typedef struct lk_class_chunk {
    /**
     * sizeof(lk_class_chunk)
     */
    size_t struct_size;
    size_t rows;
    /**
     * May be 0.
     */
    size_t classes;
    size_t first_class;
    /**
     * Elements from one row to the next; 0 if dense. What lies between is never touched.
     */
    size_t row_stride;
    /**
     * Rows with this target do not count, and their logits are not read.
     */
    int64_t ignore_index;
} lk_class_chunk;

/**
 * Options of softmax states. Begin with LK_SOFTMAX_STATE_PARAMS_INIT; a row's states are updated, finished and made
 * gradients of with the same.
 */
typedef struct lk_softmax_state_params {
    /**
     * sizeof(lk_softmax_state_params)
     */
    size_t struct_size;
    /**
     * As in lk_cross_entropy_params, over the classes of all pieces.
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
 * Shape of td: q[batch][actions]. Begin with LK_TD_SHAPE.
 */
typedef struct lk_td_shape {
    /**
     * sizeof(lk_td_shape)
     */
    size_t struct_size;
    size_t batch;
    size_t actions;
    /**
     * Elements from one row to the next; 0 for `actions`.
     */
    size_t row_stride;
} lk_td_shape;

/**
 * The loss that td takes of its difference.
 */
typedef int32_t lk_td_loss;

/**
 * Options of td. Begin with LK_TD_PARAMS_INIT.
 */
typedef struct lk_td_params {
    /**
     * sizeof(lk_td_params)
     */
    size_t struct_size;
    /**
     * The discount.
     */
    double gamma;
    /**
     * LK_TD_MSE or LK_TD_HUBER
     */
    lk_td_loss loss;
    /**
     * Of LK_TD_HUBER: where the square ends.
     */
    double delta;
} lk_td_params;

/**
 * Done.
 */
#define LK_OK 0

/**
 * Done; some inputs lie outside of the loss's domain, and NaN stands in their places.
 */
#define LK_INPUT_OUT_OF_DOMAIN 1

/**
 * A pointer that must not be NULL is.
 */
#define LK_NULL_POINTER -1

/**
 * A pointer is not aligned to its element's size.
 */
#define LK_MISALIGNED -2

/**
 * An array's length does not fit the others.
 */
#define LK_LENGTH_MISMATCH -3

/**
 * A size is larger than memory can be.
 */
#define LK_SIZE_TOO_LARGE -4

/**
 * Two arrays share memory in a way that is not permitted.
 */
#define LK_PARTIAL_OVERLAP -5

/**
 * Strides under which two elements would be the same.
 */
#define LK_INVALID_STRIDE -6

/**
 * A constant that this version does not know, or that is not possible where it stands.
 */
#define LK_UNKNOWN_CONSTANT -7

/**
 * A target, or an action, that is no index of a class, and not ignore_index.
 */
#define LK_TARGET_OUT_OF_RANGE -8

/**
 * Huber's delta is not greater than 0.
 */
#define LK_INVALID_DELTA -9

/**
 * Smooth L1's beta is negative or not a number, or distillation's is outside of [0, 1].
 */
#define LK_INVALID_BETA -10

/**
 * Label smoothing is outside of [0, 1].
 */
#define LK_INVALID_LABEL_SMOOTHING -11

/**
 * An option is not a number.
 */
#define LK_NAN_OPTION -12

/**
 * A struct_size is smaller than the first version of that struct.
 */
#define LK_INVALID_STRUCT_SIZE -13

/**
 * A newer caller's option that this version does not know.
 */
#define LK_UNSUPPORTED_OPTION -14

/**
 * A fault of this library: outputs may have been written in part.
 */
#define LK_PANIC -15

/**
 * A row whose target was in none of the classes that its state has seen, or in several.
 */
#define LK_INCOMPLETE_STATE -16

/**
 * Distillation's temperature is not from 1e-9 to 1e9.
 */
#define LK_INVALID_TEMPERATURE -17

/**
 * A soft cap is neither 0 nor a positive, normal number of the element type.
 */
#define LK_INVALID_SOFT_CAP -18

/**
 * Memory that a call needs for itself could not be had.
 */
#define LK_OUT_OF_MEMORY -19

/**
 * A context was to have more threads than LK_MAX_THREADS.
 */
#define LK_TOO_MANY_THREADS -20

/**
 * Their sum, divided by their number or by the sum of their weights: each loss says which.
 */
#define LK_MEAN 0

/**
 * Their sum.
 */
#define LK_SUM 1

/**
 * Each stands for itself.
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
 * uint64_t; more than INT64_MAX counts as INT64_MAX, which is no class either.
 */
#define LK_U64 8

/**
 * The best one that the CPU has.
 */
#define LK_ISA_BEST 0

/**
 * One element at a time.
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
 * Squared.
 */
#define LK_TD_MSE 0

/**
 * Huber's.
 */
#define LK_TD_HUBER 1

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * This thread's last error in words, with the numbers in it; empty if there was none.
 *
 * A success leaves it as it is. The text is valid until this thread's next error.
 */
const char *lk_last_error(void);

/**
 * The name of a status, "LK_OK" for LK_OK; "LK_?" for a number that is none.
 */
const char *lk_status_name(lk_status status);

/**
 * Makes a context: `threads` (1: never starts a thread, for callers with threads of their own; 0: one for each
 * core) and an instruction set not to go beyond (LK_ISA_BEST: none). More threads than LK_MAX_THREADS are
 * LK_TOO_MANY_THREADS.
 *
 * Its threads start when they are first needed; where the system refuses to start so many, calls run on the caller's
 * thread alone. Results do not depend on either. End it with lk_context_destroy.
 *
 * After fork() the child may make, use and destroy contexts in any order, those that it inherited too, at exit as well.
 * A context that had started its threads before the fork, or the process default that had, works on the caller's thread
 * alone in the child; a context made in the child has threads again.
 */
lk_status lk_context_create(size_t threads, lk_isa isa, struct lk_context **new_context);

/**
 * Ends a context and its threads, which it waits for; in a forked child an inherited context has none. No call may use it
 * any more. NULL does nothing.
 */
void lk_context_destroy(struct lk_context *ctx);

/**
 * The instruction set that calls with this context run on: "scalar", "avx2", "avx512" or "neon".
 */
const char *lk_isa_name(const struct lk_context *ctx);

/**
 * The library's version, "MAJOR.MINOR.PATCH".
 */
const char *lk_version(void);

/**
 * The version of the binary interface: a program made with the header of another major (before 1.0, minor)
 * version must not be linked. Compare with LK_ABI_VERSION.
 */
int32_t lk_abi_version(void);

/**
 * What LK_OPTIONS_INIT does, for languages without C's initialisers: `size` is sizeof(lk_options).
 */
lk_status lk_options_init(struct lk_options *options, size_t size);

/**
 * Adds a batch: the sum of its losses, and what its mean divides by.
 */
lk_status lk_cost_add(struct lk_cost *into, double sum, double weight);

/**
 * Adds the batches of another cost.
 */
lk_status lk_cost_merge(struct lk_cost *into, const struct lk_cost *from);

/**
 * The sum of all losses divided by the sum of all weights, off by less than one unit in the last place; NaN
 * if there is nothing, or if `of` is NULL.
 */
double lk_cost_mean(const struct lk_cost *of);

/**
 * The perplexity: e to the mean, where losses are negative log-likelihoods in nats, as those of lk_cross_entropy_f32 and
 * lk_nll_f32; infinite where it is beyond double, NaN if there is nothing, or if `of` is NULL.
 */
double lk_cost_perplexity(const struct lk_cost *of);

/**
 * Mean squared error (PyTorch's mse_loss).
 *
 * With d = input - target: loss = d^2, gradient = 2 d, Hessian = 2.
 *
 * `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
 * LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
 * elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
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
 * `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
 * LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
 * elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
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
 * With d = input - target: where |d| <= delta, loss = d^2 / 2, gradient = d, Hessian = 1; elsewhere
 * loss = delta (|d| - delta / 2), gradient = delta sign(d), Hessian = 0.
 *
 * `delta` is greater than 0, else LK_INVALID_DELTA; it may be infinite: the loss is d^2 / 2 everywhere then.
 *
 * `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
 * LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
 * elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
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
 * With d = input - target: where |d| < beta, loss = d^2 / (2 beta), gradient = d / beta, Hessian = 1 / beta;
 * elsewhere loss = |d| - beta / 2, gradient = sign(d), Hessian = 0. With beta = 0 it is l1.
 *
 * `beta` is not negative, else LK_INVALID_BETA; it may be infinite: loss and gradient are 0 then, whatever d.
 *
 * `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
 * LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
 * elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
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
 * loss = -(y log p + (1 - y) log(1 - p)), gradient = (p - y) / max(p (1 - p), 1e-12),
 * Hessian = (y (1 - p)^2 + (1 - y) p^2) / max(p (1 - p), 1e-12)^2.
 *
 * An input outside of [0, 1] gives NaN there (and in a reduced loss), and LK_INPUT_OUT_OF_DOMAIN; a NaN is
 * only NaN. Targets may be soft.
 *
 * `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
 * LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
 * elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
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
 * loss = w y log(1 + e^-x) + (1 - y) log(1 + e^x), gradient = (1 - y) sigma(x) - w y sigma(-x),
 * Hessian = (w y + 1 - y) sigma(x) sigma(-x).
 *
 * `pos_weight` has `n_pos_weight` elements: none (0, may be NULL: all 1), one for all (1), or one for each label. Then the
 * input is [samples][labels][`params->inner`]: `inner` is 1 (or `params` NULL) for a label an element, H W for a weight
 * for each channel of [N, C, H, W]. `n` is a multiple of `inner` times `n_pos_weight`, else LK_LENGTH_MISMATCH.
 * An infinite weight changes nothing where the target is 0; elsewhere loss and gradient are infinite, and the Hessian is
 * no number.
 *
 * `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
 * LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
 * elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
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
 * The linear "maximum likelihood" loss: minus the probability of being right.
 *
 * With p = input, y = target: loss = -(y p + (1 - y)(1 - p)), gradient = 1 - 2 y, Hessian = 0.
 *
 * `input`, `target` and `weight` (may be NULL: all 1) have `n` elements. `loss` is one element for
 * LK_MEAN (divided by n, weighted or not) and LK_SUM, `n` elements for LK_NONE. `grad` and `hess` have `n`
 * elements; `grad` may be `input` itself. Outputs may be NULL, `opts` too (LK_OPTIONS_INIT).
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
 * Cross-entropy of logits (PyTorch's cross_entropy), with class indices or class probabilities.
 *
 * With p = softmax(logits), target distribution q and Q = sum of q_j: loss = -sum of q_j log p_j,
 * gradient = Q p - q, Hessian = Q p (1 - p), its diagonal. For a class index t, q is the class weight of t at
 * t; with label smoothing e it is class weight times (1 - e at t, and e / classes everywhere).
 * Probabilities are multiplied by class weights, after smoothing. A row weight multiplies its sample.
 *
 * A loss is within 3 units in the last place of the exact value, the gradient of an index within 4; with label smoothing
 * within 4 of p (Q - q) + q (1 - p), and of probabilities within 4 of the larger of Q p and q.
 *
 * `targets`: indices of an integer type of lk_dtype, [outer][inner], dense; or probabilities of the logits' type
 * and shape (LK_F32 here). An index outside of 0 to classes - 1 that is not `ignore_index` is
 * LK_TARGET_OUT_OF_RANGE. LK_MEAN divides by the sum of the weights of the samples that count (class weight
 * of the target times row weight, ignored samples out); with probabilities, by the sum of row weights.
 * Nothing to count gives NaN, or 0 with LK_ZERO_IF_EMPTY, and zero gradients. Weights that add up to 0 by their signs give
 * NaN, and NaN gradients. Logits of -inf are masked classes.
 *
 * `class_weight` has `classes` elements, `row_weight` one for each sample, both may be NULL (all 1). `loss`
 * is one element for LK_MEAN and LK_SUM, [outer][inner] for LK_NONE. `grad` and `hess` have the shape and
 * strides of the logits; `grad` may be the logits themselves. Outputs may be NULL, `params` and `opts` too.
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
 * With w = class weight of the target times row weight: loss = -w log_probs[target], gradient = -w at the
 * target and 0 elsewhere, Hessian = 0. Only the target's log-probability is read, so -inf elsewhere does no
 * harm.
 *
 * `targets`: indices of an integer type of lk_dtype, [outer][inner], dense. An index outside of 0 to classes - 1
 * that is not `ignore_index` is LK_TARGET_OUT_OF_RANGE. LK_MEAN divides by the sum of the weights of the
 * samples that count; where there are none, and where weights add up to 0, it is as in lk_cross_entropy_f32.
 *
 * `class_weight` has `classes` elements, `row_weight` one for each sample, both may be NULL (all 1). `loss`
 * is one element for LK_MEAN and LK_SUM, [outer][inner] for LK_NONE. `grad` and `hess` have the shape and
 * strides of the log-probabilities; `grad` may be the log-probabilities themselves. Outputs may be NULL, `params` and `opts` too.
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
 * Logits of -inf give 0; all -inf, or +inf twice, give NaN.
 *
 * `output` has the shape and strides of the logits and may be the logits themselves.
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
 * The gradient of lk_softmax_f32: grad_input = y (g - sum of g_j y_j), with y its output and g the gradient with
 * respect to it.
 *
 * All have the same shape and strides; `grad_input` may be `grad_output` itself.
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
 * The logarithm of softmax over classes (PyTorch's log_softmax).
 *
 * Logits of -inf give -inf; all -inf, or +inf twice, give NaN.
 *
 * `output` has the shape and strides of the logits and may be the logits themselves.
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
 * The gradient of lk_log_softmax_f32: grad_input = g - e^y (sum of g_j), with y its output and g the gradient with
 * respect to it.
 *
 * All have the same shape and strides; `grad_input` may be `grad_output` itself.
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
 * Cross-entropy of a linear layer's outputs, logits = hidden weight^T + bias, with the gradients of all three (PyTorch's
 * linear_cross_entropy). Logits are made block by block of rows, within `params->memory` bytes, and never stand in memory
 * all at once.
 *
 * `hidden` is [rows][width], `weight` [classes][width], `bias` [classes] or NULL (zeros), all dense. Targets are
 * indices of an integer type of lk_dtype, one a row; they, weights, `loss` and what LK_MEAN divides by are as in
 * lk_cross_entropy_f32. Each gradient has the shape of what it belongs to and may be NULL, `params` and `opts` too; no
 * output may overlap an input. With LK_NONE the gradients of weight and bias are those of the sum of losses.
 *
 * Matrix products are those of the gemm crate, which chooses the instruction set itself: their last bits may differ
 * between machines. Logits of ignored rows are made, so `hidden` must be finite there. The call allocates: besides
 * `params->memory` eight bytes a class, 5 to 15 MiB, and for each further thread as much as a second-level cache, which
 * it keeps. LK_OUT_OF_MEMORY if the first of these cannot be had.
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
 * Log-probabilities of chosen classes of each row (TRL's selective_log_softmax), and each row's entropy, in one pass.
 *
 * log_probs[row][i] = log softmax(x)[index]; entropy[row] = -sum of p_j log p_j with p = softmax(x), in nats;
 * lse[row] = log of the sum of e^x_j. Nothing of the logits' size is written.
 *
 * `shape` is one of rows: `inner` 1, classes contiguous; else LK_UNSUPPORTED_OPTION. `indices`: of an integer type of lk_dtype,
 * [rows][per_row], as `log_probs`; NULL if no log-probabilities are asked for and every row counts. `entropy` and `lse`
 * have an element a row. `params` may be NULL: one index a row, ignore_index -100.
 *
 * The log-probability of an index that is ignored is 0. A row whose indices are all ignored does not count: its logits
 * are not read, all its outputs are 0. Logits of -inf are masked classes, which add 0 to the entropy; their
 * log-probability is -inf. All -inf, or +inf twice: NaN (lse of nothing but -inf is -inf).
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
 * The gradient of lk_selective_log_softmax_f32 with respect to the logits, from those with respect to its outputs: with g, h
 * and l those of log-probabilities, entropy and lse,
 * grad_j = (sum of g_i where index i is j) - p_j (sum of g_i) - h p_j (log p_j + entropy) + l p_j.
 *
 * Each of the three has its output's shape and may be NULL (zeros). `indices` and `params` as they were; gradients of what
 * is ignored are not read. `flags`: LK_ACCUMULATE_GRAD or 0. `grad` has the shape and stride of the logits and may be
 * the logits themselves, unless it is accumulated. Nothing that the outputs held is needed.
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
 * The entropy of each row's softmax, in nats: lk_selective_log_softmax_f32 of the entropy alone. `shape` is one of rows,
 * `entropy` has an element a row.
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
 * The gradient of lk_entropy_f32 with respect to the logits, from that with respect to each row's entropy:
 * grad_j = -grad_entropy p_j (log p_j + entropy).
 *
 * `flags`: LK_ACCUMULATE_GRAD or 0. `grad` has the shape and stride of the logits and may be the logits themselves,
 * unless it is accumulated.
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
 * Knowledge distillation: how far a student's distribution is from its teacher's, from the logits of both, at a
 * temperature T (Hinton et al., 2015; generalised Jensen-Shannon divergence: Agarwal et al., 2024, and TRL's GKD
 * trainer).
 *
 * With p = softmax(teacher / T), q = softmax(student / T) and m = beta p + (1 - beta) q: for beta = 0, the default,
 * loss = KL(p || q) (PyTorch's kl_div of log_softmax with log_target), gradient = (q - p) / T; for beta = 1,
 * loss = KL(q || p), gradient = q (log(q / p) - loss) / T; else loss = beta KL(p || m) + (1 - beta) KL(q || m),
 * gradient = (1 - beta) q (log(q / m) - KL(q || m)) / T. The gradient is that of the student's logits; student and
 * teacher exchanged, with 1 - beta for beta, is the same loss and gives that of the teacher's. Hinton's factor T^2 is
 * the caller's: grad_scale for the gradient.
 *
 * Rows only: the shape's `inner` must be 1 and its classes contiguous (else LK_UNSUPPORTED_OPTION). `student`,
 * `teacher` and `grad` share its stride; `grad` may be `student` itself. A row weight multiplies its row's loss and
 * gradient; LK_MEAN divides by their sum, or the number of rows (batchmean). Rows of weight 0 are not read: weights of
 * 0 and 1 are a mask. Where none is left, and where weights add up to 0, LK_MEAN is as in lk_cross_entropy_f32.
 * `row_weight` may be NULL (all 1).
 *
 * However near student and teacher are, a loss is within 8 units in the last place of the exact one; it is never
 * negative, and 0 for equal logits, like the gradients. Gradients are within 8 units of the exact difference, q - p or
 * q (log(q / p) - loss) over T; for other beta, of q times the larger of the two numbers that are subtracted.
 *
 * Logits of -inf are masked classes: where the student's alone is, forward KL is infinite, where the teacher's alone,
 * reverse KL. All masked, NaN or +inf: NaN in that row. `loss` is one element for LK_MEAN and LK_SUM, one a row for
 * LK_NONE. Outputs may be NULL, `params` and `opts` too.
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
 * States that have seen nothing.
 */
lk_status lk_softmax_state_init(size_t rows, struct lk_softmax_state *states);

/**
 * Adds a chunk of classes to its rows' states.
 *
 * Chunks come in any order and may have any width; each class is to be added once, to one of the states that will be
 * merged. What comes of them is within 2 units in the last place of lk_cross_entropy_f32 of the whole rows.
 *
 * `targets`: an index of an integer type of lk_dtype a row among all classes; one that is not in this chunk will be, or was,
 * in another. A negative one that is not `ignore_index` is LK_TARGET_OUT_OF_RANGE. NULL: there is no loss, only
 * the logarithm of the sum of exponentials. Logits of -inf are masked classes.
 *
 * `class_weight` has the weights of the chunk's classes and may be NULL (all 1). `params` may be NULL; it is to be the
 * same for all updates of a row, for what its state comes to and for its gradients.
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
 * Merges into each row's state what another has seen of the row's other classes.
 *
 * Which of two takes in the other changes no bit, in which order many are merged no more than the last place.
 */
lk_status lk_softmax_state_merge(const struct lk_context *ctx,
                                 size_t rows,
                                 struct lk_softmax_state *into,
                                 const struct lk_softmax_state *from);

/**
 * Each row's loss (0 where it is ignored), and the logarithm of its sum of exponentials (-inf there).
 *
 * Both have `rows` elements and may be NULL. If there is a loss, a row that is not ignored and whose target was not
 * seen exactly once is LK_INCOMPLETE_STATE. The loss is that of lk_cross_entropy_f32 with the same class weights and
 * options; what its mean divides by is the sum of the states' `target_weight`.
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
 * The gradient of a chunk's logits, once its rows' states have seen all classes:
 * row_weight grad_scale (Q p_j - q_j), q being the target distribution as in lk_cross_entropy_f32 (1 for the target and 0
 * elsewhere, without class weights and label smoothing) and Q its sum; 0 for ignored rows.
 *
 * `chunk`, `targets`, `class_weight` and `params` as they were for the update; without targets, the gradient of the
 * logarithm of the sum of exponentials. `row_weight` has `rows` elements and may be NULL (all 1). For a batch's mean, `grad_scale` is 1 / the
 * number of rows that count, or the sum of their weights. `grad` has the shape and stride of the logits and may be the
 * logits themselves.
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
 * Temporal difference, the loss of (deep, double) Q-learning (Mnih et al., 2015; van Hasselt et al., 2016).
 *
 * target = reward + gamma (1 - done) max over a' of next_q[a'], or, if `next_q_online` is given (double DQN),
 * next_q at the argmax over a' of next_q_online[a']. With d = q[action] - target: loss = d^2 (LK_TD_MSE) or
 * huber(d) (LK_TD_HUBER); gradient and Hessian are the loss's at the action and 0 elsewhere;
 * td_error = -d, unscaled and unweighted. No gradient flows through the target. For n-step returns give
 * gamma^n.
 *
 * The target and q may nearly cancel: with t the largest of |reward|, gamma |next_q|, |q| and |d|, the gradient is
 * within 4 units in the last place of t times the second derivative, and a loss within 4 units of the larger of
 * itself and t times the slope.
 *
 * `q`, `next_q`, `next_q_online` (may be NULL), `grad` and `hess` are [batch][actions] with the shape's
 * stride; `action` (of an integer type of lk_dtype), `reward`, `done` (not 0: the episode ended; may be NULL: none
 * did), `weight` (may be NULL: all 1) and `td_error` have `batch` elements. Rows that are done do not read
 * what follows; with gamma 0 it does not matter what follows, which may be infinite or NaN. The argmax is the
 * first maximum, and a NaN wins. An action that is none is LK_TARGET_OUT_OF_RANGE. LK_MEAN divides by the
 * batch, weighted or not. `loss` is one element, or `batch` for LK_NONE; `grad` may be `q` itself. Outputs may
 * be NULL, `params` and `opts` too.
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
 * The mean cross-entropy of dense rows of logits and int32_t targets, and its gradient, on the default threads: the short
 * form of lk_cross_entropy_f32, which has all options. Targets of -100 are ignored. `loss` and `grad` may be NULL, `grad` may be
 * `logits`.
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
 * The mean of the squared differences of `n` elements, and its gradient: the short form of lk_mse_f32. `loss` and `grad` may be
 * NULL, `grad` may be `input`.
 */
static inline lk_status lk_mse_mean_f32(size_t n, const float *input, const float *target, float *loss, float *grad)
{
    return lk_mse_f32(NULL, n, input, target, NULL, NULL, loss, grad, NULL);
}

/**
 * The mean binary cross-entropy of `n` logits and labels, and its gradient: the short form of lk_bce_with_logits_f32. `loss` and
 * `grad` may be NULL, `grad` may be `input`.
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
 * The mean cross-entropy of dense rows of logits and int32_t targets, and its gradient, on the default threads: the short
 * form of lk_cross_entropy_f64, which has all options. Targets of -100 are ignored. `loss` and `grad` may be NULL, `grad` may be
 * `logits`.
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
 * The mean of the squared differences of `n` elements, and its gradient: the short form of lk_mse_f64. `loss` and `grad` may be
 * NULL, `grad` may be `input`.
 */
static inline lk_status lk_mse_mean_f64(size_t n, const double *input, const double *target, double *loss, double *grad)
{
    return lk_mse_f64(NULL, n, input, target, NULL, NULL, loss, grad, NULL);
}

/**
 * The mean binary cross-entropy of `n` logits and labels, and its gradient: the short form of lk_bce_with_logits_f64. `loss` and
 * `grad` may be NULL, `grad` may be `input`.
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
