/* Says what the process default is and what a workload gives: instruction set, threads, hash. The test sets environment
 * variables and limits, and compares.
 *
 *     report             the above
 *     report no-threads  with an address space too small for another thread's stack */
#define _DEFAULT_SOURCE

#include <dirent.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <unistd.h>

#include "workload.h"

static int threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL)
        return 0;
    for (const struct dirent *task = readdir(tasks); task != NULL; task = readdir(tasks))
        count += task->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static void leave_no_room_for_stacks(void)
{
    unsigned long pages = 0;
    struct rlimit limit;
    FILE *sizes = fopen("/proc/self/statm", "r");
    CHECK(sizes != NULL && fscanf(sizes, "%lu", &pages) == 1);
    fclose(sizes);
    limit.rlim_cur = limit.rlim_max = pages * (rlim_t)sysconf(_SC_PAGESIZE) + (1 << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

int main(int argc, char **argv)
{
    workload *work = workload_new();
    lk_context *context = NULL;
    if (argc > 1 && strcmp(argv[1], "no-threads") == 0) {
        leave_no_room_for_stacks();
        CHECK(lk_context_create(16, LK_ISA_BEST, &context) == LK_OK);
    }
    const uint64_t hash = workload_run(context, work);
    printf("%s %d %016" PRIx64 "\n", lk_isa_name(context), threads(), hash);
    lk_context_destroy(context);
    free(work);
    return EXIT_SUCCESS;
}
