/* Trains a small network on handwritten digits. The layers are plain C loops; each loss and its gradient
 * are one call to losskit, and so is the cost, the mean loss over a whole epoch.
 *
 *     64 pixels -> 32 hidden units, ReLU -> 10 outputs, one for each digit
 *
 * Stochastic gradient descent with momentum on batches of 32. Everything random comes from one seed, and
 * neither losskit nor the loops below depend on threads or instruction set, so every run ends with the
 * same weights, to the bit. */
#define _POSIX_C_SOURCE 200112L /* isatty, fileno */

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "digits.h"
#include "losskit.h"
#include "network.h"

enum { DEFAULT_EPOCHS = 60, MOST_EPOCHS = 10000 };

/* ---- the losses ---- */

/* Adds the batch to the cost and, if asked for, gives the gradient of its mean loss. The batch's own loss
 * is not needed here, so every call leaves that pointer NULL and losskit does not compute it. */
typedef void (*loss_function)(const batch *b, lk_cost *cost, float *outputs_grad);

typedef struct {
    const char *name;
    loss_function evaluate;
    float learning_rate;
} loss_choice;

static lk_options adding_to(lk_cost *cost)
{
    lk_options options = LK_OPTIONS_INIT;
    options.cost = cost;
    return options;
}

/* The losses that know nothing of classes are told 1 for the right output and 0 for the others. */
static void one_hot(const batch *b, float *targets)
{
    memset(targets, 0, b->rows * CLASSES * sizeof(float));
    for (size_t row = 0; row < b->rows; row++)
        targets[row * CLASSES + b->labels[row]] = 1.0f;
}

static void cross_entropy(const batch *b, lk_cost *cost, float *outputs_grad)
{
    const lk_class_shape shape = LK_CLASS_ROWS(b->rows, CLASSES);
    const lk_options options = adding_to(cost);
    check("lk_cross_entropy_f32",
          lk_cross_entropy_f32(NULL, &shape, b->outputs, LK_U8, b->labels, NULL, NULL, NULL, &options,
                               NULL, outputs_grad, NULL));
}

static void mse(const batch *b, lk_cost *cost, float *outputs_grad)
{
    float targets[BATCH * CLASSES];
    const lk_options options = adding_to(cost);
    one_hot(b, targets);
    check("lk_mse_f32",
          lk_mse_f32(NULL, b->rows * CLASSES, b->outputs, targets, NULL, &options, NULL, outputs_grad, NULL));
}

static void bce(const batch *b, lk_cost *cost, float *outputs_grad)
{
    float targets[BATCH * CLASSES];
    const lk_options options = adding_to(cost);
    one_hot(b, targets);
    check("lk_bce_with_logits_f32",
          lk_bce_with_logits_f32(NULL, b->rows * CLASSES, b->outputs, targets, NULL, NULL, 0, NULL, &options,
                                 NULL, outputs_grad, NULL));
}

/* A loss takes the larger steps the less it curves. In one output the second derivative is at most 1/4 for
 * cross_entropy; mse and bce are means over the ten outputs too, which leaves 2/10 and 1/40. */
static const loss_choice LOSSES[] = {
    {"cross_entropy", cross_entropy, 0.1f},
    {"mse", mse, 0.1f},
    {"bce", bce, 0.6f},
};
enum { N_LOSSES = sizeof LOSSES / sizeof LOSSES[0] };

/* ---- training and testing ---- */

/* Returns the epoch's cost: the exact mean over all samples, although the last batch is smaller than the
 * others. It is gathered while the weights move, hence somewhat above what the final weights would give. */
static double train_epoch(uint64_t *state, const dataset *digits, const loss_choice *loss, size_t *train_order,
                          network *net)
{
    batch b;
    lk_cost cost = {0};
    shuffle(state, TRAIN, train_order);
    for (size_t first = 0; first < TRAIN; first += BATCH) {
        gather(digits, smaller(BATCH, TRAIN - first), train_order + first, &b);
        forward(net, &b);
        loss->evaluate(&b, &cost, b.outputs_grad);
        backward(net, &b);
        descend(net, loss->learning_rate);
    }
    return lk_cost_mean(&cost);
}

typedef struct {
    double cost;
    int correct;
    int confusion[CLASSES][CLASSES]; /* [true digit][recognised as] */
} test_result;

static double percent_correct(const test_result *result)
{
    return 100.0 * result->correct / TEST;
}

static test_result test(const dataset *digits, const loss_choice *loss, const size_t *test_order,
                        const network *net)
{
    batch b;
    lk_cost cost = {0};
    test_result result = {0};
    for (size_t first = 0; first < TEST; first += BATCH) {
        gather(digits, smaller(BATCH, TEST - first), test_order + first, &b);
        forward(net, &b);
        loss->evaluate(&b, &cost, NULL);
        for (size_t row = 0; row < b.rows; row++) {
            const size_t guess = largest(CLASSES, &b.outputs[row * CLASSES]);
            result.confusion[b.labels[row]][guess]++;
            result.correct += guess == b.labels[row];
        }
    }
    result.cost = lk_cost_mean(&cost);
    return result;
}

/* ---- what the user sees ---- */

/* On a terminal one line that is written over and over, short enough for 80 columns; in a file or a pipe a
 * line now and then. */
static void show_progress(int on_terminal, int epoch, int epochs, double cost, const test_result *result)
{
    enum { WIDTH = 20, EPOCHS_A_LINE = 10 };
    const int last = epoch == epochs;
    if (on_terminal) {
        char bar[WIDTH + 1] = {0};
        memset(bar, '.', WIDTH);
        memset(bar, '#', (size_t)(WIDTH * epoch / epochs));
        printf("\r[%s] ", bar);
    } else if (epoch != 1 && epoch % EPOCHS_A_LINE != 0 && !last) {
        return;
    }
    printf("epoch %*d/%d  cost %8.6f  test accuracy %5.1f %%", epochs > 99 ? 5 : 2, epoch, epochs, cost,
           percent_correct(result));
    if (last || !on_terminal)
        putchar('\n');
    fflush(stdout);
}

static void print_confusion(const test_result *result)
{
    puts("\nconfusion matrix of the test samples (row: true digit, column: recognised as)");
    printf("   ");
    for (int guess = 0; guess < CLASSES; guess++)
        printf("%4d", guess);
    putchar('\n');
    for (int digit = 0; digit < CLASSES; digit++) {
        printf("%3d", digit);
        for (int guess = 0; guess < CLASSES; guess++)
            printf("%4d", result->confusion[digit][guess]);
        putchar('\n');
    }
}

/* ---- the command line ---- */

typedef struct {
    const loss_choice *loss;
    int epochs;
    const char *data;
} arguments;

static void print_usage(FILE *stream)
{
    fprintf(stream,
            "usage: train_digits [--loss cross_entropy|mse|bce] [--epochs N] [--data PATH]\n"
            "  --loss    cross_entropy (default): softmax over the ten outputs\n"
            "            mse: the raw outputs against 1 for the right digit, 0 for the others\n"
            "            bce: ten yes/no questions, bce_with_logits against the same targets\n"
            "  --epochs  passes over the training samples, 1 to %d (default %d)\n"
            "  --data    the digits (default " DIGITS_PATH ")\n"
            "Fails if fewer than %d %% of the test samples are recognised.\n",
            MOST_EPOCHS, DEFAULT_EPOCHS, REQUIRED_PERCENT);
}

static void wrong_usage(const char *option, const char *value)
{
    if (value == NULL)
        fprintf(stderr, "%s: not an option, or its value is missing\n", option);
    else
        fprintf(stderr, "%s: %s is not a value it takes\n", option, value);
    print_usage(stderr);
    exit(2);
}

static const loss_choice *loss_named(const char *name)
{
    for (size_t i = 0; i < N_LOSSES; i++)
        if (strcmp(LOSSES[i].name, name) == 0)
            return &LOSSES[i];
    wrong_usage("--loss", name);
    return NULL;
}

static int epochs_from(const char *text)
{
    char *end;
    const long epochs = strtol(text, &end, 10);
    if (end == text || *end != '\0' || epochs < 1 || epochs > MOST_EPOCHS)
        wrong_usage("--epochs", text);
    return (int)epochs;
}

static arguments parse(int argc, char **argv)
{
    arguments chosen = {&LOSSES[0], DEFAULT_EPOCHS, DIGITS_PATH};
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--help") == 0) {
            print_usage(stdout);
            exit(EXIT_SUCCESS);
        }
        if (++i == argc)
            wrong_usage(option, NULL);
        if (strcmp(option, "--loss") == 0)
            chosen.loss = loss_named(argv[i]);
        else if (strcmp(option, "--epochs") == 0)
            chosen.epochs = epochs_from(argv[i]);
        else if (strcmp(option, "--data") == 0)
            chosen.data = argv[i];
        else
            wrong_usage(option, NULL);
    }
    return chosen;
}

int main(int argc, char **argv)
{
    static dataset digits; /* half a megabyte is much for a stack */
    static network net;
    const arguments chosen = parse(argc, argv);
    const int on_terminal = isatty(fileno(stdout));
    uint64_t state = SEED;
    size_t order[SAMPLES];
    test_result result = {0};

    read_digits(chosen.data, &digits);
    /* The file goes writer by writer; one shuffle before the split puts every writer on both sides. */
    for (size_t i = 0; i < SAMPLES; i++)
        order[i] = i;
    shuffle(&state, SAMPLES, order);
    initialise(&state, &net);

    printf("%d-%d-%d network, loss %s, %d training and %d test samples\n", PIXELS, HIDDEN, CLASSES,
           chosen.loss->name, TRAIN, TEST);
    for (int epoch = 1; epoch <= chosen.epochs; epoch++) {
        const double cost = train_epoch(&state, &digits, chosen.loss, order, &net);
        result = test(&digits, chosen.loss, order + TRAIN, &net);
        show_progress(on_terminal, epoch, chosen.epochs, cost, &result);
    }

    print_confusion(&result);
    printf("\n%s: test cost %.6f, test accuracy %.1f %% (%d of %d)\n", chosen.loss->name, result.cost,
           percent_correct(&result), result.correct, TEST);
    printf("weights hash %016" PRIx64 "\n", hash_of(PARAMETERS, net.value));
    if (result.correct * 100 < REQUIRED_PERCENT * TEST) {
        fflush(stdout);
        fprintf(stderr, "test accuracy is below %d %%\n", REQUIRED_PERCENT);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
