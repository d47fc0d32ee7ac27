/* fork() before, during and after the first use of the library: the child gets the same bits and never hangs, whatever
 * it inherits, whatever the parent's other threads were doing. */
#define _DEFAULT_SOURCE

#include <pthread.h>

#include "children.h"
#include "workload.h"

static uint64_t expected;
static workload *work;

/* Runs `body` in a child, which must end by itself. */
static void in_child(void (*body)(lk_context *), lk_context *context)
{
    const pid_t child = fork_with_alarm();
    if (child == 0) {
        body(context);
        _exit(EXIT_SUCCESS);
    }
    CHECK(exit_status(child) == EXIT_SUCCESS);
}

static void use(lk_context *context)
{
    CHECK(workload_run(context, work) == expected);
    CHECK(workload_run(NULL, work) == expected);
}

static void use_and_destroy(lk_context *context)
{
    use(context);
    lk_context_destroy(context);
    use(NULL);
}

/* A context made in the child has threads of its own again. */
static void use_a_new_one(lk_context *inherited)
{
    lk_context *own = NULL;
    CHECK(lk_context_create(2, LK_ISA_BEST, &own) == LK_OK);
    use(own);
    use(inherited);
    lk_context_destroy(own);
}

static void have_grandchildren(lk_context *context)
{
    lk_context *own = NULL;
    in_child(use, context);
    CHECK(lk_context_create(2, LK_ISA_BEST, &own) == LK_OK);
    use(own);
    in_child(use_and_destroy, own);
    use(own);
    lk_context_destroy(own);
}

static void *keep_calling(void *stop)
{
    workload *own = workload_new();
    while (!__atomic_load_n((int *)stop, __ATOMIC_ACQUIRE))
        CHECK(workload_run(NULL, own) == expected);
    free(own);
    return NULL;
}

/* The other threads may hold any lock at the moment of the fork. */
static void while_others_call(lk_context *context)
{
    pthread_t threads[3];
    int stop = 0;
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, keep_calling, &stop) == 0);
    for (int i = 0; i < 12; i++)
        in_child(i % 2 ? use_and_destroy : use_a_new_one, context);
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static void *first_use(void *unused)
{
    (void)unused;
    lk_isa_name(NULL);
    return NULL;
}

static void small_use(lk_context *unused)
{
    const float input[2] = {1, 2}, target[2] = {0, 0};
    float loss;
    (void)unused;
    CHECK(lk_mse_f32(NULL, 2, input, target, NULL, NULL, &loss, NULL, NULL) == LK_OK && loss == 2.5f);
}

/* In a process that has not used the library: one thread begins to, and in the middle of it comes the fork. */
static void during_first_use(lk_context *delay)
{
    pthread_t thread;
    volatile int wait = (int)(intptr_t)delay;
    CHECK(pthread_create(&thread, NULL, first_use, NULL) == 0);
    while (wait > 0)
        wait--;
    in_child(small_use, NULL);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Nothing of the library runs in this process itself before the last line. */
static void before_first_use(void)
{
    int answer[2];
    CHECK(pipe(answer) == 0);
    if (fork() == 0) {
        const uint64_t hash = workload_run(NULL, work);
        _exit(write(answer[1], &hash, sizeof hash) == sizeof hash ? EXIT_SUCCESS : EXIT_FAILURE);
    }
    CHECK(read(answer[0], &expected, sizeof expected) == sizeof expected);
    CHECK(wait(NULL) > 0);
    for (int i = 0; i < 300; i++)
        in_child(during_first_use, (lk_context *)(intptr_t)(i * 400));
    in_child(use, NULL);
    CHECK(workload_run(NULL, work) == expected);
}

int main(void)
{
    lk_context *context = NULL;
    work = workload_new();
    before_first_use();
    in_child(use, NULL);
    CHECK(lk_context_create(3, LK_ISA_BEST, &context) == LK_OK);
    in_child(use, context); /* no threads yet */
    use(context);
    in_child(use, context);
    in_child(use_and_destroy, context);
    in_child(use_a_new_one, context);
    in_child(have_grandchildren, context);
    while_others_call(context);
    use_and_destroy(context);
    free(work);
    puts("every child agrees");
    return EXIT_SUCCESS;
}
