/* Calls every function of the header, in C99 or C++, with values that can be followed in one's head. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "pointwise_losses.h"

static void initialisers_are_the_defaults(void)
{
    lk_options by_macro = LK_OPTIONS_INIT, by_call;
    CHECK(lk_options_init(&by_call, sizeof by_call) == LK_OK);
    CHECK(by_macro.struct_size == by_call.struct_size && by_macro.reduction == by_call.reduction);
    CHECK(by_macro.flags == by_call.flags && by_macro.grad_scale == by_call.grad_scale);
    CHECK(by_macro.weight_sum == by_call.weight_sum && by_macro.cost == by_call.cost);
    CHECK(by_macro.min_hess == by_call.min_hess);
}

#if LK_VERSION < 1000 || LK_VERSION != LK_VERSION_MAJOR * 1000000 + LK_VERSION_MINOR * 1000 + LK_VERSION_PATCH
#error "LK_VERSION is made of its parts, and the preprocessor can compare it"
#endif

static void library_says_what_it_is(void)
{
    lk_context *context = NULL;
    char version[64];
    CHECK(lk_abi_version() == LK_ABI_VERSION);
    snprintf(version, sizeof version, "%d.%d.%d", LK_VERSION_MAJOR, LK_VERSION_MINOR, LK_VERSION_PATCH);
    CHECK(strcmp(lk_version(), version) == 0);
    CHECK(strlen(lk_isa_name(NULL)) >= 4);
    CHECK(strcmp(lk_status_name(LK_NULL_POINTER), "LK_NULL_POINTER") == 0);
    CHECK(strcmp(lk_last_error(), "") == 0);
    CHECK(lk_context_create(1, 99, &context) == LK_UNKNOWN_CONSTANT && context == NULL);
    CHECK(strcmp(lk_last_error(),
                 "isa is 99, must be LK_ISA_BEST, LK_ISA_SCALAR, LK_ISA_NEON, LK_ISA_AVX2 or LK_ISA_AVX512") == 0);
    CHECK(lk_context_create(1, LK_ISA_SCALAR, &context) == LK_OK && context != NULL);
    CHECK(strcmp(lk_isa_name(context), "scalar") == 0);
    lk_context_destroy(context);
    lk_context_destroy(NULL);
}

static void costs_add_and_merge(void)
{
    lk_cost a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    CHECK(lk_cost_mean(&a) != lk_cost_mean(&a));
    CHECK(lk_cost_perplexity(&a) != lk_cost_perplexity(&a));
    CHECK(lk_cost_add(&a, 1e300, 1.0) == LK_OK);
    CHECK(lk_cost_add(&b, 3.0, 1.0) == LK_OK && lk_cost_add(&b, -1e300, 1.0) == LK_OK);
    CHECK(lk_cost_merge(&a, &b) == LK_OK);
    CHECK(lk_cost_mean(&a) == 1.0);
    CHECK(fabs(lk_cost_perplexity(&a) - exp(1.0)) < 1e-15);
}

#define T float
#define LK(name) lk_##name##_f32
#define TEST(name) name##_f32
#define PROBABILITIES LK_F32
#include "every_loss.h"

#define T double
#define LK(name) lk_##name##_f64
#define TEST(name) name##_f64
#define PROBABILITIES LK_F64
#include "every_loss.h"

int main(void)
{
    library_says_what_it_is();
    initialisers_are_the_defaults();
    costs_add_and_merge();
    pointwise_losses_f32();
    pointwise_losses_f64();
    class_losses_f32();
    class_losses_f64();
    log_probs_and_entropy_f32();
    log_probs_and_entropy_f64();
    shapes_of_ints_f32();
    shapes_of_ints_f64();
    linear_layer_f32();
    linear_layer_f64();
    softmax_in_pieces_f32();
    softmax_in_pieces_f64();
    knowledge_distillation_f32();
    knowledge_distillation_f64();
    temporal_difference_f32();
    temporal_difference_f64();
    puts("every function does what it says");
    return EXIT_SUCCESS;
}
