/* What a forked child may do with a context that it inherits and with its own, in every order: nothing fails, nothing is
 * said on standard error, its own threads end with their context, and no other thread is touched. */
#define _DEFAULT_SOURCE

#include <dirent.h>
#include <pthread.h>
#include <time.h>

#include "children.h"

/* Large enough that a call is shared between threads. */
enum { N = 1 << 19 };

static float input[N], target[N];

static void use_with(const lk_context *context, float *grad)
{
    float loss = 0.0f;
    CHECK(lk_mse_f32(context, N, input, target, NULL, NULL, &loss, grad, NULL) == LK_OK);
    CHECK(loss == 0.25f);
    for (size_t i = 0; i < N; i++)
        CHECK(grad[i] == 1.0f / N);
}

static void use(const lk_context *context)
{
    static float grad[N];
    use_with(context, grad);
    grad[0] = grad[N - 1] = 0.0f;
}

static lk_context *new_context(size_t threads)
{
    lk_context *context = NULL;
    CHECK(lk_context_create(threads, LK_ISA_BEST, &context) == LK_OK);
    return context;
}

/* There is this thread alone. A thread that has been joined may be listed for a moment yet. */
static void no_other_threads(void)
{
#ifdef __linux__
    const struct timespec moment = {0, 1000000};
    int threads = 0;
    for (int i = 0; i < 5000 && threads != 1; i++) {
        DIR *tasks = opendir("/proc/self/task");
        CHECK(tasks != NULL);
        threads = -2; /* . and .. */
        while (readdir(tasks) != NULL)
            threads++;
        closedir(tasks);
        if (threads != 1)
            nanosleep(&moment, NULL);
    }
    CHECK(threads == 1);
#endif
}

/* One of the ten orders of creating, using and destroying a context of one's own, and using and destroying another: the
 * bits of `order` say which of them goes on. */
static void interleave(unsigned order, size_t threads, lk_context *inherited)
{
    lk_context *own = NULL;
    int own_step = 0, inherited_step = 0;
    for (int i = 0; i < 5; i++) {
        if (order >> i & 1) {
            if (inherited_step++ == 0)
                use(inherited);
            else
                lk_context_destroy(inherited);
        } else {
            switch (own_step++) {
            case 0: own = new_context(threads); break;
            case 1: use(own); break;
            default: lk_context_destroy(own); break;
            }
        }
    }
    CHECK(own_step == 3 && inherited_step == 2);
    no_other_threads();
    use(NULL);
}

static int bits_of(unsigned order)
{
    int count = 0;
    for (; order != 0; order >>= 1)
        count += order & 1;
    return count;
}

/* In a child of each order, and in its child too, where the context has been inherited twice. */
static void every_order(size_t threads)
{
    lk_context *inherited = new_context(threads);
    int orders = 0;
    use(inherited);
    for (unsigned order = 0; order < 32; order++) {
        pid_t child;
        if (bits_of(order) != 2)
            continue;
        orders++;
        child = fork_with_alarm();
        if (child == 0) {
            if (orders % 2 == 0) {
                const pid_t grandchild = fork_with_alarm();
                if (grandchild != 0)
                    CHECK(exit_status(grandchild) == EXIT_SUCCESS);
            }
            interleave(order, threads, inherited);
            exit(EXIT_SUCCESS);
        }
        CHECK(exit_status(child) == EXIT_SUCCESS);
    }
    CHECK(orders == 10);
    use(inherited);
    lk_context_destroy(inherited);
}

/* A grandchild inherits from both, and destroys all three contexts in each of the six orders. */
static void three_generations(size_t threads)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    lk_context *contexts[3] = {new_context(threads), NULL, NULL};
    pid_t child;
    use(contexts[0]);
    child = fork_with_alarm();
    if (child == 0) {
        contexts[1] = new_context(threads);
        use(contexts[1]);
        for (int i = 0; i < 6; i++) {
            const pid_t grandchild = fork_with_alarm();
            if (grandchild == 0) {
                contexts[2] = new_context(threads);
                use(contexts[2]);
                for (int j = 0; j < 3; j++) {
                    for (int k = j; k < 3; k++)
                        use(contexts[orders[i][k]]);
                    lk_context_destroy(contexts[orders[i][j]]);
                }
                no_other_threads();
                exit(EXIT_SUCCESS);
            }
            CHECK(exit_status(grandchild) == EXIT_SUCCESS);
        }
        use(contexts[1]);
        lk_context_destroy(contexts[0]);
        lk_context_destroy(contexts[1]);
        no_other_threads();
        exit(EXIT_SUCCESS);
    }
    CHECK(exit_status(child) == EXIT_SUCCESS);
    use(contexts[0]);
    lk_context_destroy(contexts[0]);
}

/* Threads that a child has started by itself. */

enum { OWN_THREADS = 4 };
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *wait_at_the_gate(void *number)
{
    CHECK(pthread_mutex_lock(&gate) == 0);
    CHECK(pthread_mutex_unlock(&gate) == 0);
    return number;
}

/* They may stand where the parent's threads stood: stacks of the same size are used again, and with them handles. */
static void threads_of_the_child(size_t threads)
{
    lk_context *inherited = new_context(threads);
    pid_t child;
    use(inherited);
    child = fork_with_alarm();
    if (child == 0) {
        pthread_t own[OWN_THREADS];
        pthread_attr_t two_mebibytes;
        CHECK(pthread_attr_init(&two_mebibytes) == 0);
        CHECK(pthread_attr_setstacksize(&two_mebibytes, 2 << 20) == 0);
        CHECK(pthread_mutex_lock(&gate) == 0);
        for (intptr_t i = 0; i < OWN_THREADS; i++)
            CHECK(pthread_create(&own[i], &two_mebibytes, wait_at_the_gate, (void *)i) == 0);
        lk_context_destroy(inherited);
        CHECK(pthread_mutex_unlock(&gate) == 0);
        for (intptr_t i = 0; i < OWN_THREADS; i++) {
            void *number = NULL;
            CHECK(pthread_join(own[i], &number) == 0);
            CHECK(number == (void *)i);
        }
        CHECK(pthread_attr_destroy(&two_mebibytes) == 0);
        no_other_threads();
        exit(EXIT_SUCCESS);
    }
    CHECK(exit_status(child) == EXIT_SUCCESS);
    lk_context_destroy(inherited);
}

/* A child is forked while others begin: its own context has threads of its own, or none, and never waits. */

static void *begin(void *context)
{
    static float grad[N];
    use_with((const lk_context *)context, grad);
    return NULL;
}

static void while_a_pool_starts(void)
{
    for (int i = 0; i < 60; i++) {
        lk_context *starting = new_context(3);
        pthread_t thread;
        pid_t child;
        CHECK(pthread_create(&thread, NULL, begin, starting) == 0);
        for (volatile int wait = i * 10000; wait > 0; wait--)
            ;
        child = fork_with_alarm();
        if (child == 0) {
            interleave(0x12, 2, starting);
            exit(EXIT_SUCCESS);
        }
        CHECK(exit_status(child) == EXIT_SUCCESS);
        CHECK(pthread_join(thread, NULL) == 0);
        lk_context_destroy(starting);
    }
}

int main(void)
{
    static const size_t threads[] = {4, 24};
    for (size_t i = 0; i < N; i++) {
        input[i] = 1.5f;
        target[i] = 1.0f;
    }
    while_a_pool_starts();
    use(NULL);
    for (int i = 0; i < 2; i++) {
        every_order(threads[i]);
        three_generations(threads[i]);
        threads_of_the_child(threads[i]);
    }
    puts("every order is fine");
    return EXIT_SUCCESS;
}
