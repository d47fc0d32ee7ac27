/* Calls that are large enough for several threads, and the hash of every byte that they write. */
#ifndef LOSSKIT_TESTS_WORKLOAD_H
#define LOSSKIT_TESTS_WORKLOAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

enum { ROWS = 3000, CLASSES = 100, ELEMENTS = ROWS * CLASSES };

/* From -range to range; some of them, and some of their exponentials, are subnormal. */
static float workload_number(uint64_t *state, float range)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const float unit = (float)(*state >> 40) / 16777216.0f;
    return (*state >> 33) % 64 == 0 ? 1e-40f * unit : (2.0f * unit - 1.0f) * range;
}

static uint64_t workload_hash(uint64_t hash, size_t bytes, const void *data)
{
    const unsigned char *byte = (const unsigned char *)data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

typedef struct {
    float logits[ELEMENTS], others[ELEMENTS], grad[ELEMENTS];
    double doubles[ELEMENTS], double_grad[ELEMENTS];
    int64_t targets[ROWS];
} workload;

static workload *workload_new(void)
{
    workload *work = (workload *)malloc(sizeof *work);
    uint64_t state = 1;
    CHECK(work != NULL);
    for (size_t i = 0; i < ELEMENTS; i++) {
        work->logits[i] = workload_number(&state, 60.0f);
        work->others[i] = workload_number(&state, 1.0f);
        work->doubles[i] = (double)workload_number(&state, 400.0f) * 1.7;
    }
    for (size_t i = 0; i < ROWS; i++)
        work->targets[i] = (int64_t)(i * 7 % CLASSES);
    return work;
}

/* The same number from every context, thread, process and floating-point environment. */
static uint64_t workload_run(const lk_context *ctx, workload *work)
{
    const lk_class_shape shape = LK_CLASS_ROWS(ROWS, CLASSES);
    lk_options options = LK_OPTIONS_INIT;
    lk_cost cost;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    float loss;
    double double_loss;

    memset(&cost, 0, sizeof cost);
    options.cost = &cost;
    CHECK(lk_cross_entropy_f32(ctx, &shape, work->logits, LK_I64, work->targets, NULL, NULL, NULL, &options, &loss,
                               work->grad, NULL) == LK_OK);
    hash = workload_hash(hash, sizeof loss, &loss);
    hash = workload_hash(hash, sizeof work->grad, work->grad);
    CHECK(lk_mse_f32(ctx, ELEMENTS, work->logits, work->others, work->others, &options, &loss, work->grad, NULL) ==
          LK_OK);
    hash = workload_hash(hash, sizeof loss, &loss);
    hash = workload_hash(hash, sizeof work->grad, work->grad);
    CHECK(lk_bce_with_logits_f64(ctx, ELEMENTS, work->doubles, work->doubles, NULL, NULL, 0, NULL, &options, &double_loss,
                                 work->double_grad, NULL) == LK_OK);
    hash = workload_hash(hash, sizeof double_loss, &double_loss);
    hash = workload_hash(hash, sizeof work->double_grad, work->double_grad);
    CHECK(lk_softmax_f64(ctx, &shape, work->doubles, work->double_grad) == LK_OK);
    hash = workload_hash(hash, sizeof work->double_grad, work->double_grad);
    return workload_hash(hash, sizeof cost, &cost);
}

#endif
