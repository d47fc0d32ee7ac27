/* The handwritten digits once more, data-parallel: each process takes its share of every batch, gradients and cost are
 * added up by MPI_Allreduce.
 *
 *     mpirun -n 4 build/static/mpi_data_parallel
 *
 * One process or many end with the same weights and print the same costs, to the bit:
 * - lk_cost is exact. Adding its integers entry by entry merges it.
 * - Sums of floats depend on their order, so on the number of processes. Here each sample's gradient is rounded to a
 *   whole number of 2^-40, and whole numbers are added. That takes twice the bytes of floats; who can do without equal
 *   bits adds up floats. */
#include <inttypes.h>
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "digits.h"
#include "losskit.h"
#include "network.h"

enum { EPOCHS = 20, COST_DIGITS = sizeof(lk_cost) / sizeof(int64_t) };

static const float LEARNING_RATE = 0.1f;
static const double GRADIENT_UNIT = 1.0 / 1099511627776.0; /* 2^-40 */

/* This process's number, and how many there are. */
typedef struct {
    size_t rank, size;
} place;

/* Every size-th sample of a batch, beginning with its own. */
static void gather_share(place me, const dataset *digits, size_t rows, const size_t *order, batch *b)
{
    size_t mine[BATCH], n = 0;
    for (size_t row = me.rank; row < rows; row += me.size)
        mine[n++] = order[row];
    gather(digits, n, mine, b);
}

/* The sum's gradient, times grad_scale, whatever part of the batch is here. */
static void evaluate(const batch *b, double grad_scale, lk_cost *cost, float *outputs_grad)
{
    const lk_class_shape shape = LK_CLASS_ROWS(b->rows, CLASSES);
    lk_options options = LK_OPTIONS_INIT;
    options.reduction = LK_SUM;
    options.grad_scale = grad_scale;
    options.cost = cost;
    check("lk_cross_entropy_f32",
          lk_cross_entropy_f32(NULL, &shape, b->outputs, LK_U8, b->labels, NULL, NULL, NULL, &options, NULL,
                               outputs_grad, NULL));
}

/* Adds the gradients of the samples that are here, one by one. */
static void add_gradients(network *net, const batch *b, int64_t *sum)
{
    batch one;
    one.rows = 1;
    for (size_t row = 0; row < b->rows; row++) {
        memcpy(one.pixels, &b->pixels[row * PIXELS], PIXELS * sizeof(float));
        memcpy(one.hidden, &b->hidden[row * HIDDEN], HIDDEN * sizeof(float));
        memcpy(one.outputs_grad, &b->outputs_grad[row * CLASSES], CLASSES * sizeof(float));
        backward(net, &one);
        for (size_t i = 0; i < PARAMETERS; i++)
            sum[i] += llrint(net->grad[i] / GRADIENT_UNIT);
    }
}

static double mean_of_all(lk_cost *cost)
{
    MPI_Allreduce(MPI_IN_PLACE, cost, COST_DIGITS, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    return lk_cost_mean(cost);
}

static double train_epoch(place me, uint64_t *state, const dataset *digits, size_t *train_order, network *net)
{
    static batch b;
    static int64_t sum[PARAMETERS];
    lk_cost cost = {0};
    shuffle(state, TRAIN, train_order);
    for (size_t first = 0; first < TRAIN; first += BATCH) {
        const size_t rows = smaller(BATCH, TRAIN - first);
        gather_share(me, digits, rows, train_order + first, &b);
        forward(net, &b);
        evaluate(&b, 1.0 / (double)rows, &cost, b.outputs_grad);
        memset(sum, 0, sizeof sum);
        add_gradients(net, &b, sum);
        MPI_Allreduce(MPI_IN_PLACE, sum, PARAMETERS, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
        for (size_t i = 0; i < PARAMETERS; i++)
            net->grad[i] = (float)((double)sum[i] * GRADIENT_UNIT);
        descend(net, LEARNING_RATE);
    }
    return mean_of_all(&cost);
}

static double test_cost(place me, const dataset *digits, const size_t *test_order, const network *net, int *correct)
{
    static batch b;
    lk_cost cost = {0};
    *correct = 0;
    for (size_t first = 0; first < TEST; first += BATCH) {
        gather_share(me, digits, smaller(BATCH, TEST - first), test_order + first, &b);
        forward(net, &b);
        evaluate(&b, 1.0, &cost, NULL);
        for (size_t row = 0; row < b.rows; row++)
            *correct += largest(CLASSES, &b.outputs[row * CLASSES]) == b.labels[row];
    }
    MPI_Allreduce(MPI_IN_PLACE, correct, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    return mean_of_all(&cost);
}

/* Whether all processes hold the same number. */
static int agree(uint64_t number)
{
    uint64_t ends[2] = {number, ~number};
    MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
    return ends[0] == ~ends[1];
}

int main(int argc, char **argv)
{
    static dataset digits;
    static network net;
    uint64_t state = SEED, hash;
    size_t order[SAMPLES];
    int rank, size, correct = 0, failed = 0;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    const place me = {(size_t)rank, (size_t)size};

    /* the same seed, the same shuffles and the same first weights in every process */
    read_digits(argc > 1 ? argv[1] : DIGITS_PATH, &digits);
    for (size_t i = 0; i < SAMPLES; i++)
        order[i] = i;
    shuffle(&state, SAMPLES, order);
    initialise(&state, &net);
    for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        const double cost = train_epoch(me, &state, &digits, order, &net);
        const double tested = test_cost(me, &digits, order + TRAIN, &net, &correct);
        if (rank == 0)
            printf("epoch %2d  cost %.17g  test cost %.17g  correct %d of %d\n", epoch, cost, tested, correct, TEST);
    }
    hash = hash_of(PARAMETERS, net.value);
    if (!agree(hash)) {
        failed = 1;
        fprintf(stderr, "process %d: the weights are not those of the others\n", rank);
    }
    if (rank == 0) {
        printf("weights hash %016" PRIx64 "\n", hash);
        if (correct * 100 < REQUIRED_PERCENT * TEST) {
            failed = 1;
            fprintf(stderr, "test accuracy is below %d %%\n", REQUIRED_PERCENT);
        }
    }
    MPI_Finalize();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
