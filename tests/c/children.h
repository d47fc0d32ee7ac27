/* Work in forked children, which must end by themselves and in time. */
#ifndef LOSSKIT_TESTS_CHILDREN_H
#define LOSSKIT_TESTS_CHILDREN_H

#include <signal.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { SECONDS = 60 };

/* In a child: a signal ends it if it hangs. */
static pid_t fork_with_alarm(void)
{
    pid_t child;
    fflush(stdout);
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        alarm(SECONDS);
    return child;
}

/* The child's exit status. No signal ends it, not even SIGALRM. */
static int exit_status(pid_t child)
{
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status))
        fprintf(stderr, "signal %d ended the child\n", WTERMSIG(status));
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#endif
