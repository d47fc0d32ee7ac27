/* Many threads at once: on the process default, on one context, and while contexts come and go. */
#define _POSIX_C_SOURCE 200112L

#include <pthread.h>

#include "workload.h"

enum { THREADS = 6, ROUNDS = 8 };

static const lk_context *shared;
static uint64_t expected;

/* Bad calls among the good ones: each thread has its own last error. */
static void *call_the_losses(void *number)
{
    workload *work = workload_new();
    char own_error[128];
    const long thread = (long)(intptr_t)number;

    CHECK(strcmp(lk_last_error(), "") == 0);
    sprintf(own_error, "isa is %ld, must be LK_ISA_BEST, LK_ISA_SCALAR, LK_ISA_NEON, LK_ISA_AVX2 or LK_ISA_AVX512", 100 + thread);
    for (int round = 0; round < ROUNDS; round++) {
        lk_context *own = NULL;
        CHECK(lk_context_create(1, (lk_isa)(100 + thread), &own) == LK_UNKNOWN_CONSTANT);
        CHECK(workload_run(NULL, work) == expected);
        CHECK(workload_run(shared, work) == expected);
        CHECK(lk_context_create((size_t)(1 + (round + thread) % 4), LK_ISA_BEST, &own) == LK_OK);
        CHECK(workload_run(own, work) == expected);
        lk_context_destroy(own);
        CHECK(strcmp(lk_last_error(), own_error) == 0);
    }
    free(work);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    lk_context *context = NULL;
    workload *work = workload_new();
    const char own_error[] = "4097 threads are more than 4096";

    CHECK(lk_context_create((size_t)-1, LK_ISA_BEST, &context) == LK_TOO_MANY_THREADS && context == NULL);
    CHECK(lk_context_create(LK_MAX_THREADS + 1, LK_ISA_BEST, &context) == LK_TOO_MANY_THREADS && context == NULL);
    CHECK(strcmp(lk_last_error(), own_error) == 0);
    CHECK(lk_context_create(LK_MAX_THREADS, LK_ISA_BEST, &context) == LK_OK);
    lk_context_destroy(context);
    /* one thread, no pool */
    CHECK(lk_context_create(1, LK_ISA_BEST, &context) == LK_OK);
    expected = workload_run(context, work);
    lk_context_destroy(context);
    CHECK(lk_context_create(3, LK_ISA_BEST, &context) == LK_OK);
    shared = context;
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, call_the_losses, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(strcmp(lk_last_error(), own_error) == 0);
    CHECK(workload_run(context, work) == expected);
    lk_context_destroy(context);
    free(work);
    puts("all threads agree");
    return EXIT_SUCCESS;
}
