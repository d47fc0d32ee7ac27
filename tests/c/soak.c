/* Small calls, as many as the argument says (1,000,000 without): of every loss and type, with good and with bad
 * arguments, in contexts that come and go. The memory that the process holds does not grow. */
#define _POSIX_C_SOURCE 200112L

#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

enum { ELEMENTS = 24, ROWS = 4, CLASSES = 6, CONTEXT_EVERY = 4096 };

/* Pages in memory, by what Linux says. */
static long resident(void)
{
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL);
    CHECK(fscanf(file, "%ld %ld", &size, &pages) == 2);
    fclose(file);
    return pages;
}

static lk_cost cost;

#define T float
#define LK(name) lk_##name##_f32
#define TEST(name) name##_f32
#include "soak_calls.h"

#define T double
#define LK(name) lk_##name##_f64
#define TEST(name) name##_f64
#include "soak_calls.h"

/* A context for a few thousand calls; now and then one with threads, which it starts for a call that is large enough. */
static lk_context *next_context(lk_context *context, size_t number)
{
    const size_t threads = number % 64 == 1 ? 2 : 1;
    lk_context_destroy(context);
    CHECK(lk_context_create(threads, number % 2 ? LK_ISA_BEST : LK_ISA_AVX2, &context) == LK_OK);
    if (threads > 1) {
        static float large[1 << 18];
        float loss;
        CHECK(lk_bce_with_logits_f32(context, 1 << 18, large, large, NULL, NULL, 0, NULL, NULL, &loss, NULL, NULL) == LK_OK);
    }
    return context;
}

int main(int argc, char **argv)
{
    const long calls = argc > 1 ? atol(argv[1]) : 1000000;
    long start = 0;
    lk_context *context = NULL;

    CHECK(calls >= 100);
    for (long i = 0; i < calls; i++) {
        if (i % CONTEXT_EVERY == 0)
            context = next_context(context, (size_t)(i / CONTEXT_EVERY));
        /* what is made once, threads' stacks and the allocator's arenas, is there after the first tenth */
        if (i == calls / 10)
            start = resident();
        if (i % 2)
            call_f32(i % 3 ? context : NULL, (unsigned)(i / 2));
        else
            call_f64(i % 3 ? context : NULL, (unsigned)(i / 2));
    }
    lk_context_destroy(context);
    {
        const long grown = (resident() - start) * (sysconf(_SC_PAGESIZE) / 1024);
        printf("%ld calls, resident memory %+ld KiB\n", calls, grown);
        CHECK(grown <= 512);
    }
    CHECK(lk_cost_mean(&cost) == lk_cost_mean(&cost));
    return EXIT_SUCCESS;
}
