/* A descendant with the process number of the ancestor that started the threads: it has none of them, and does not wait
 * for them. The number comes round again with the help of ns_last_pid, and is 1 in each of two nested PID namespaces.
 * Linux gives neither to everybody: what it refuses is not tested, which a line says. */
#define _GNU_SOURCE

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

#include "children.h"

enum { N = 1 << 21, SKIPPED = 77, ANOTHER_NUMBER = 78 };

static float input[N], target[N], grad[N];

static void use(const lk_context *context)
{
    float loss = 0.0f;
    grad[0] = grad[N - 1] = 0.0f;
    CHECK(lk_mse_f32(context, N, input, target, NULL, NULL, &loss, grad, NULL) == LK_OK);
    CHECK(loss == 0.25f && grad[0] == 1.0f / N && grad[N - 1] == 1.0f / N);
}

static lk_context *used_context(void)
{
    lk_context *context = NULL;
    CHECK(lk_context_create(4, LK_ISA_BEST, &context) == LK_OK);
    use(context);
    use(NULL);
    return context;
}

/* In the descendant. */
static void use_and_destroy(lk_context *inherited)
{
    lk_context *own = NULL;
    use(inherited);
    use(NULL);
    CHECK(lk_context_create(2, LK_ISA_BEST, &own) == LK_OK);
    use(own);
    lk_context_destroy(inherited);
    use(own);
    lk_context_destroy(own);
    use(NULL);
}

/* Runs use_and_destroy in a child of that number, for which others may be asking as well. */
static int in_child_of_number(pid_t number, lk_context *inherited)
{
    for (int tries = 0; tries < 1000; tries++) {
        const int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
        pid_t child;
        int status;
        char text[32];
        const int length = sprintf(text, "%ld", (long)number - 1);
        if (last < 0)
            return SKIPPED;
        if (write(last, text, (size_t)length) != length) {
            close(last);
            return SKIPPED;
        }
        child = fork_with_alarm();
        if (child == 0) {
            if (getpid() != number)
                _exit(ANOTHER_NUMBER);
            use_and_destroy(inherited);
            exit(EXIT_SUCCESS);
        }
        close(last);
        status = exit_status(child);
        if (status != ANOTHER_NUMBER)
            return status;
    }
    return SKIPPED;
}

/* The maker of the threads ends, and its grandchild gets its number. */
static int when_numbers_come_round(void)
{
    int maker_is_gone[2], answer[2];
    unsigned char status = 1, signal = 0;
    pid_t maker;
    CHECK(pipe(maker_is_gone) == 0 && pipe(answer) == 0);
    maker = fork_with_alarm();
    if (maker == 0) {
        lk_context *context = used_context();
        const pid_t number = getpid();
        if (fork_with_alarm() == 0) {
            CHECK(read(maker_is_gone[0], &signal, 1) == 1);
            status = (unsigned char)in_child_of_number(number, context);
            CHECK(write(answer[1], &status, 1) == 1);
        }
        _exit(EXIT_SUCCESS);
    }
    CHECK(exit_status(maker) == EXIT_SUCCESS);
    CHECK(write(maker_is_gone[1], &signal, 1) == 1);
    close(answer[1]);
    CHECK(read(answer[0], &status, 1) == 1); /* 0 if its writer has ended otherwise */
    return status;
}

/* As exit_status, for a process 1, which its own alarm does not end. */
static int exit_status_of_first(pid_t child)
{
    int status = -1;
    for (int i = 0; i < SECONDS * 100; i++) {
        if (waitpid(child, &status, WNOHANG) == child) {
            CHECK(WIFEXITED(status));
            return WEXITSTATUS(status);
        }
        usleep(10000);
    }
    kill(child, SIGKILL);
    CHECK(!"the process ends by itself");
    return EXIT_FAILURE;
}

static int when_namespaces_are_nested(void)
{
    const pid_t outside = fork_with_alarm();
    if (outside == 0) {
        pid_t first;
        if (unshare(CLONE_NEWPID) != 0)
            _exit(SKIPPED);
        first = fork_with_alarm();
        if (first == 0) {
            lk_context *context = used_context();
            pid_t second;
            CHECK(getpid() == 1);
            if (unshare(CLONE_NEWPID) != 0)
                _exit(SKIPPED);
            second = fork_with_alarm();
            if (second == 0) {
                CHECK(getpid() == 1);
                use_and_destroy(context);
                exit(EXIT_SUCCESS);
            }
            _exit(exit_status_of_first(second));
        }
        alarm(2 * SECONDS);
        _exit(exit_status_of_first(first));
    }
    return exit_status(outside);
}

/* A child that the system call itself has made, for which no handler runs. It has another number. */
static int when_no_handler_runs(void)
{
    lk_context *context = used_context();
    long child;
    fflush(stdout);
#ifdef __s390x__
    child = syscall(SYS_clone, NULL, SIGCHLD, NULL, NULL, NULL);
#else
    child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
#endif
    CHECK(child >= 0);
    if (child == 0) {
        alarm(SECONDS);
        use(context);
        use(NULL);
        lk_context_destroy(context);
        _exit(EXIT_SUCCESS);
    }
    lk_context_destroy(context);
    return exit_status((pid_t)child);
}

static void report(const char *name, int status)
{
    if (status == SKIPPED)
        printf("skipped: %s: not permitted here\n", name);
    else
        printf("%s: %s\n", name, status == EXIT_SUCCESS ? "ended" : "failed");
    CHECK(status == EXIT_SUCCESS || status == SKIPPED);
}

int main(void)
{
    for (size_t i = 0; i < N; i++) {
        input[i] = 1.5f;
        target[i] = 1.0f;
    }
    report("numbers come round", when_numbers_come_round());
    report("namespaces are nested", when_namespaces_are_nested());
    report("no handler runs", when_no_handler_runs());
    return EXIT_SUCCESS;
}
