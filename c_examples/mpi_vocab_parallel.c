/* Cross-entropy over a vocabulary that is shared out among processes: each has the logits of some of the classes, of all
 * rows. No process ever sees a whole row.
 *
 *     mpirun -n 4 build/static/mpi_vocab_parallel [--label-smoothing 0.1]
 *
 * 1. Each process takes in its own classes: a state of 88 bytes a row.
 * 2. MPI_Allreduce merges the states, by an operation made of lk_softmax_state_merge.
 * 3. Each has every row's loss now, and makes its own classes' gradients, without talking to anybody.
 *
 * At the end each process makes all logits for itself, and compares with lk_cross_entropy of whole rows. */
#include <float.h>
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "losskit.h"
#include "network.h"

enum { ROWS = 64, CLASSES = 50257, IGNORED_ROW = 7 };

/* Units in the last place: of the loss against the whole rows', and of gradients, which are both within 4 of what is
 * exact. */
static const double LOSS_BOUND = 2, GRAD_BOUND = 8;

/* The output layer's result: here numbers that depend on row and class alone. */
static float logit(size_t row, size_t class)
{
    uint64_t state = row * UINT64_C(0x100000001) + class;
    return random_uniform(&state, 12.0f);
}

static void fill(size_t first_class, size_t classes, float *logits)
{
    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < classes; i++)
            logits[row * classes + i] = logit(row, first_class + i);
}

static float *room(size_t n)
{
    float *memory = malloc((n > 0 ? n : 1) * sizeof(float));
    if (memory == NULL) {
        fputs("no memory left\n", stderr);
        MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    }
    return memory;
}

/* What MPI calls to merge; it may do so in any order. */
static void merge(void *from, void *into, int *rows, MPI_Datatype *type)
{
    (void)type;
    check("lk_softmax_state_merge", lk_softmax_state_merge(NULL, (size_t)*rows, into, from));
}

/* The distance of two numbers in units in the last place of the smaller one, or of `least` where that is larger: what they
 * are differences of. */
static double apart(float a, float b, double least)
{
    const float size = fmaxf(fminf(fabsf(a), fabsf(b)), (float)least);
    return a == b ? 0 : fabs((double)a - b) / (nextafterf(size, FLT_MAX) - size);
}

/* The share of the target distribution that is spread over all classes. */
static double label_smoothing(int argc, char **argv)
{
    char *end = NULL;
    if (argc == 1)
        return 0;
    const double share = argc == 3 && strcmp(argv[1], "--label-smoothing") == 0 ? strtod(argv[2], &end) : 0;
    if (end == NULL || end == argv[2] || *end != 0) {
        fprintf(stderr, "usage: %s [--label-smoothing SHARE]\n", argv[0]);
        MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
    }
    return share;
}

static double larger(double a, double b)
{
    return a < b ? b : a;
}

int main(int argc, char **argv)
{
    static int64_t targets[ROWS];
    static float loss[ROWS], whole_loss[ROWS];
    static lk_softmax_state states[ROWS];
    MPI_Datatype state_type;
    MPI_Op merging;
    lk_cost cost = {0};
    double off[2] = {0, 0};
    int rank, size;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Type_contiguous(11, MPI_DOUBLE, &state_type);
    MPI_Type_commit(&state_type);
    MPI_Op_create(merge, 1, &merging);

    /* the same for all that is done with a state */
    lk_softmax_state_params params = LK_SOFTMAX_STATE_PARAMS_INIT;
    params.label_smoothing = label_smoothing(argc, argv);

    uint64_t seed = 1;
    for (size_t row = 0; row < ROWS; row++)
        targets[row] = (int64_t)(random_bits(&seed) % CLASSES);
    targets[IGNORED_ROW] = -100;
    const double grad_scale = 1.0 / (ROWS - 1); /* the mean over the rows that count */

    /* this process's classes */
    const size_t first = (size_t)CLASSES * (size_t)rank / (size_t)size;
    const size_t classes = (size_t)CLASSES * ((size_t)rank + 1) / (size_t)size - first;
    const lk_class_chunk chunk = LK_CLASS_CHUNK(ROWS, classes, first);
    float *logits = room(ROWS * classes);
    fill(first, classes, logits);

    check("lk_softmax_state_init", lk_softmax_state_init(ROWS, states));
    check("lk_softmax_state_update_f32",
          lk_softmax_state_update_f32(NULL, &chunk, logits, LK_I64, targets, NULL, &params, states));
    MPI_Allreduce(MPI_IN_PLACE, states, ROWS, state_type, merging, MPI_COMM_WORLD);
    check("lk_softmax_state_finish_f32", lk_softmax_state_finish_f32(NULL, ROWS, states, &params, loss, NULL));
    /* the gradients take the logits' place */
    check("lk_softmax_state_grad_f32",
          lk_softmax_state_grad_f32(NULL, &chunk, logits, LK_I64, targets, states, NULL, NULL, &params, grad_scale,
                                    logits));

    /* whole rows, as one process would do it */
    const lk_class_shape shape = LK_CLASS_ROWS(ROWS, CLASSES);
    lk_options options = LK_OPTIONS_INIT;
    lk_cross_entropy_params whole_params = LK_CROSS_ENTROPY_PARAMS_INIT;
    float *whole = room((size_t)ROWS * CLASSES);
    fill(0, CLASSES, whole);
    options.reduction = LK_NONE;
    options.grad_scale = grad_scale;
    whole_params.label_smoothing = params.label_smoothing;
    check("lk_cross_entropy_f32",
          lk_cross_entropy_f32(NULL, &shape, whole, LK_I64, targets, NULL, NULL, &whole_params, &options, whole_loss,
                               whole, NULL));
    for (size_t row = 0; row < ROWS; row++) {
        off[0] = larger(off[0], apart(loss[row], whole_loss[row], 0));
        for (size_t i = 0; i < classes; i++)
            off[1] = larger(off[1], apart(logits[row * classes + i], whole[row * CLASSES + first + i],
                                          params.label_smoothing * grad_scale / CLASSES));
        if (row != IGNORED_ROW)
            check("lk_cost_add", lk_cost_add(&cost, loss[row], 1));
    }
    MPI_Allreduce(MPI_IN_PLACE, off, 2, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (rank == 0)
        printf("%d processes: mean loss %.7g; from whole rows, losses are up to %g units in the last place away, "
               "gradients %g\n",
               size, lk_cost_mean(&cost), off[0], off[1]);

    free(logits);
    free(whole);
    MPI_Op_free(&merging);
    MPI_Type_free(&state_type);
    MPI_Finalize();
    return off[0] <= LOSS_BOUND && off[1] <= GRAD_BOUND ? EXIT_SUCCESS : EXIT_FAILURE;
}
