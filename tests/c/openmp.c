/* OpenMP's threads call at once, in regions one after another, on the process default and on one context. */
#include <omp.h>

#include "workload.h"

enum { REGIONS = 3, TEAM = 4, CALLS = 12 };

int main(void)
{
    lk_context *one_thread = NULL, *shared = NULL;
    workload *work = workload_new();
    uint64_t expected;
    int team = 0;

    CHECK(lk_context_create(1, LK_ISA_BEST, &one_thread) == LK_OK);
    CHECK(lk_context_create(2, LK_ISA_BEST, &shared) == LK_OK);
    expected = workload_run(one_thread, work);
    for (int region = 0; region < REGIONS; region++) {
        int right = 0;
#pragma omp parallel num_threads(TEAM) reduction(+ : right)
        {
            workload *own = workload_new();
#pragma omp single
            team = omp_get_num_threads();
#pragma omp for schedule(dynamic)
            for (int call = 0; call < CALLS; call++) {
                const lk_context *contexts[3];
                contexts[0] = NULL;
                contexts[1] = one_thread;
                contexts[2] = shared;
                right += workload_run(contexts[call % 3], own) == expected;
            }
            free(own);
        }
        CHECK(right == CALLS);
        CHECK(team == TEAM);
    }
    lk_context_destroy(shared);
    lk_context_destroy(one_thread);
    free(work);
    puts("OpenMP's threads agree");
    return EXIT_SUCCESS;
}
