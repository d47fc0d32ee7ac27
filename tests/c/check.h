/* A check that fails says where, and ends the program. */
#ifndef LOSSKIT_TESTS_CHECK_H
#define LOSSKIT_TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#include "losskit.h"

#define CHECK(condition)                                                                                   \
    do {                                                                                                   \
        if (!(condition)) {                                                                                \
            fprintf(stderr, "%s:%d: %s is false; last error: %s\n", __FILE__, __LINE__, #condition,        \
                    lk_last_error());                                                                      \
            exit(EXIT_FAILURE);                                                                            \
        }                                                                                                  \
    } while (0)

#endif
