/* What the examples do with a status: anything but LK_OK ends the program with the library's own words. */
#ifndef LOSSKIT_EXAMPLES_CHECK_H
#define LOSSKIT_EXAMPLES_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "losskit.h"

/* A positive status is only a remark (a probability outside [0, 1], say), but no example should ever cause
 * one. lk_last_error() speaks of errors alone: after a remark it would repeat an older message. */
static void check(const char *call, lk_status status)
{
    if (status == LK_OK)
        return;
    fprintf(stderr, "%s: %s", call, lk_status_name(status));
    if (status < 0)
        fprintf(stderr, ": %s", lk_last_error());
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

#endif
