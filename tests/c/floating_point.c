/* The caller's floating-point environment changes no bit, and is the same afterwards: rounding mode, exception flags'
 * traps, and on x86 flush-to-zero and denormals-are-zero. */
#define _GNU_SOURCE

#include <fenv.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

#include "workload.h"

#if defined(__x86_64__)
#include <xmmintrin.h>

enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040, EXCEPTIONS = 0x003f, MASKS = 0x1f80 };

static void run_with_mxcsr(const lk_context *context, workload *work, uint64_t expected, unsigned mxcsr)
{
    unsigned after;
    uint64_t hash;
    _mm_setcsr(mxcsr);
    hash = workload_run(context, work);
    after = _mm_getcsr();
    _mm_setcsr(MASKS);
    if (hash != expected || (after & ~(unsigned)EXCEPTIONS) != mxcsr)
        fprintf(stderr, "MXCSR %#x, afterwards %#x\n", mxcsr, after);
    CHECK(hash == expected);
    CHECK((after & ~(unsigned)EXCEPTIONS) == mxcsr);
}

/* Each bit that the caller may set; without the masks any inexact result traps. */
static void every_mxcsr(const lk_context *context, workload *work, uint64_t expected)
{
    run_with_mxcsr(context, work, expected, MASKS | FLUSH_TO_ZERO);
    run_with_mxcsr(context, work, expected, MASKS | DENORMALS_ARE_ZERO);
    for (unsigned rounding = 0; rounding < 4; rounding++)
        run_with_mxcsr(context, work, expected, MASKS | rounding << 13 | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    run_with_mxcsr(context, work, expected, 0);
    run_with_mxcsr(context, work, expected, FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
}
#else
static void every_mxcsr(const lk_context *context, workload *work, uint64_t expected)
{
    (void)context, (void)work, (void)expected;
}
#endif

static void every_rounding_mode(const lk_context *context, workload *work, uint64_t expected)
{
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        uint64_t hash;
        CHECK(fesetround(modes[i]) == 0);
        hash = workload_run(context, work);
        CHECK(fegetround() == modes[i]);
        CHECK(fesetround(FE_TONEAREST) == 0);
        CHECK(hash == expected);
    }
}

/* Everything that computes outside of the kernels. */
typedef struct {
    lk_cost cost;
    double mean, weight_sum;
    float loss[6];
    lk_status status[6];
} small_results;

static small_results small_calls(void)
{
    const float input[2] = {0.25f, 3.0f}, target[2] = {0.125f, 1.0f}, tiny = 1e-40f;
    const uint8_t index = 1;
    const lk_class_shape shape = LK_CLASS_ROWS(1, 2);
    lk_cross_entropy_params smoothing = LK_CROSS_ENTROPY_PARAMS_INIT;
    lk_options options = LK_OPTIONS_INIT;
    small_results results;

    memset(&results, 0, sizeof results);
    smoothing.label_smoothing = 0.1;
    options.weight_sum = &results.weight_sum;
    lk_cost_add(&results.cost, 0.1, 3.0);
    lk_cost_add(&results.cost, 5e-324, 0.7);
    results.mean = lk_cost_mean(&results.cost);
    /* subnormal options are numbers like others */
    results.status[0] = lk_huber_f32(NULL, 2, input, target, NULL, tiny, NULL, &results.loss[0], NULL, NULL);
    results.status[1] = lk_smooth_l1_f32(NULL, 2, input, target, NULL, tiny, NULL, &results.loss[1], NULL, NULL);
    results.status[2] = lk_smooth_l1_f32(NULL, 2, input, target, NULL, 0.3f, NULL, &results.loss[2], NULL, NULL);
    results.status[3] = lk_cross_entropy_f32(NULL, &shape, input, LK_U8, &index, target, NULL, &smoothing, NULL,
                                             &results.loss[3], NULL, NULL);
    results.status[4] = lk_mse_f32(NULL, 2, input, target, NULL, NULL, &results.loss[4], NULL, NULL);
    /* of nothing, 0 and not -0 */
    results.status[5] = lk_mse_f32(NULL, 0, NULL, NULL, NULL, &options, NULL, NULL, NULL);
    return results;
}

static void small_calls_have_the_same_bits(void)
{
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    const small_results expected = small_calls();
    for (size_t i = 0; i < 6; i++)
        CHECK(expected.status[i] == LK_OK);
    CHECK(!signbit(expected.weight_sum));
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        small_results got;
        CHECK(fesetround(modes[i]) == 0);
#if defined(__x86_64__)
        _mm_setcsr(_mm_getcsr() | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
#endif
        got = small_calls();
#if defined(__x86_64__)
        _mm_setcsr(MASKS);
#endif
        CHECK(fesetround(FE_TONEAREST) == 0);
        for (size_t j = 0; j < 6; j++) {
            CHECK(got.status[j] == expected.status[j]);
            CHECK(memcmp(&got.loss[j], &expected.loss[j], sizeof(float)) == 0);
        }
        CHECK(memcmp(&got.cost, &expected.cost, sizeof got.cost) == 0);
        CHECK(memcmp(&got.mean, &expected.mean, sizeof got.mean) == 0);
        CHECK(memcmp(&got.weight_sum, &expected.weight_sum, sizeof got.weight_sum) == 0);
    }
}

static void trapped(int signal_number)
{
    static const char words[] = "a floating-point exception trapped\n";
    (void)signal_number;
    _exit(write(STDERR_FILENO, words, sizeof words - 1) < 0 ? 2 : EXIT_FAILURE);
}

int main(void)
{
    lk_context *one = NULL, *two = NULL;
    workload *work = workload_new();
    uint64_t expected;

    CHECK(lk_context_create(1, LK_ISA_BEST, &one) == LK_OK);
    CHECK(lk_context_create(2, LK_ISA_BEST, &two) == LK_OK);
    CHECK(signal(SIGFPE, trapped) != SIG_ERR);
    small_calls_have_the_same_bits();
    expected = workload_run(one, work);
    every_rounding_mode(one, work, expected);
    /* the pool's threads are started under flush-to-zero, which they inherit */
    every_mxcsr(two, work, expected);
    every_mxcsr(one, work, expected);
    every_mxcsr(NULL, work, expected);
    every_rounding_mode(two, work, expected);
    lk_context_destroy(one);
    lk_context_destroy(two);
    free(work);
    puts("no bit depends on the caller's floating-point environment");
    return EXIT_SUCCESS;
}
