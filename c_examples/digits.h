/* The handwritten digits and the network that the examples train on them.
 *
 *     64 pixels -> 32 hidden units, ReLU -> 10 outputs, one for each digit
 */
#ifndef LOSSKIT_EXAMPLES_DIGITS_H
#define LOSSKIT_EXAMPLES_DIGITS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "network.h"

#ifndef DIGITS_PATH
#define DIGITS_PATH "data/digits.bin" /* as seen from c_examples/ */
#endif

enum {
    SAMPLES = 1797,
    TEST = 360, /* a random fifth, the same in every run and for every loss; never trained on */
    TRAIN = SAMPLES - TEST,
    PIXELS = 64,
    DARKEST = 16,
    HIDDEN = 32,
    CLASSES = 10,
    BATCH = 32,
    REQUIRED_PERCENT = 95
};

/* All parameters lie in one array, so that the optimiser and the hash are one loop each. Weights are
 * [outputs][inputs]. */
enum {
    HIDDEN_WEIGHT = 0,
    HIDDEN_BIAS = HIDDEN_WEIGHT + HIDDEN * PIXELS,
    OUTPUT_WEIGHT = HIDDEN_BIAS + HIDDEN,
    OUTPUT_BIAS = OUTPUT_WEIGHT + CLASSES * HIDDEN,
    PARAMETERS = OUTPUT_BIAS + CLASSES
};

static const float MOMENTUM = 0.9f;
static const uint64_t SEED = 1;

typedef struct {
    float value[PARAMETERS], grad[PARAMETERS], velocity[PARAMETERS];
} network;

typedef struct {
    float pixels[SAMPLES * PIXELS];
    uint8_t labels[SAMPLES];
} dataset;

/* The samples of one batch and what the network makes of them, row by row. */
typedef struct {
    size_t rows;
    float pixels[BATCH * PIXELS];
    uint8_t labels[BATCH];
    float hidden[BATCH * HIDDEN], hidden_grad[BATCH * HIDDEN];
    float outputs[BATCH * CLASSES], outputs_grad[BATCH * CLASSES];
} batch;

static inline size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- the data ---- */

/* Fisher and Yates; the remainder's bias is of the order of n / 2^64. */
static inline void shuffle(uint64_t *state, size_t n, size_t *order)
{
    for (size_t i = n; i > 1; i--) {
        const size_t j = (size_t)(random_bits(state) % i);
        const size_t kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

static inline void read_failed(const char *path, const char *why)
{
    fprintf(stderr, "%s: %s\n", path, why);
    exit(EXIT_FAILURE);
}

/* data/README.md describes the file: a sample is 64 pixel bytes and a label byte. */
static inline void read_digits(const char *path, dataset *digits)
{
    uint8_t sample[PIXELS + 1];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        read_failed(path, "cannot be opened; run in c_examples/ or give --data PATH");
    for (size_t i = 0; i < SAMPLES; i++) {
        if (fread(sample, sizeof sample, 1, file) != 1)
            read_failed(path, "ends too early");
        for (size_t j = 0; j < PIXELS; j++) {
            if (sample[j] > DARKEST)
                read_failed(path, "has a pixel above 16");
            digits->pixels[i * PIXELS + j] = (float)sample[j] / DARKEST;
        }
        /* A label out of range would be caught by cross_entropy, but not by the other losses. */
        if (sample[PIXELS] >= CLASSES)
            read_failed(path, "has a label above 9");
        digits->labels[i] = sample[PIXELS];
    }
    if (fgetc(file) != EOF)
        read_failed(path, "goes on after the last sample");
    fclose(file);
}

static inline void gather(const dataset *digits, size_t rows, const size_t *order, batch *b)
{
    b->rows = rows;
    for (size_t row = 0; row < rows; row++) {
        memcpy(&b->pixels[row * PIXELS], &digits->pixels[order[row] * PIXELS], PIXELS * sizeof(float));
        b->labels[row] = digits->labels[order[row]];
    }
}

/* ---- the network ---- */

/* Weights uniform within 1 / sqrt(inputs). The larger start usual for ReLU would put the first outputs far
 * from mse's targets, and its first steps would leave many hidden units dead. */
static inline void initialise(uint64_t *state, network *net)
{
    const float hidden_bound = 1.0f / sqrtf(PIXELS), output_bound = 1.0f / sqrtf(HIDDEN);
    memset(net, 0, sizeof *net);
    for (size_t i = HIDDEN_WEIGHT; i < HIDDEN_BIAS; i++)
        net->value[i] = random_uniform(state, hidden_bound);
    for (size_t i = OUTPUT_WEIGHT; i < OUTPUT_BIAS; i++)
        net->value[i] = random_uniform(state, output_bound);
}

static inline void forward(const network *net, batch *b)
{
    const float *value = net->value;
    dense_forward(b->rows, PIXELS, HIDDEN, b->pixels, value + HIDDEN_WEIGHT, value + HIDDEN_BIAS, b->hidden);
    for (size_t i = 0; i < b->rows * HIDDEN; i++)
        b->hidden[i] = b->hidden[i] > 0.0f ? b->hidden[i] : 0.0f;
    dense_forward(b->rows, HIDDEN, CLASSES, b->hidden, value + OUTPUT_WEIGHT, value + OUTPUT_BIAS, b->outputs);
}

/* From outputs_grad, which the loss has filled, to the gradient of every parameter. */
static inline void backward(network *net, batch *b)
{
    float *grad = net->grad;
    dense_parameter_grad(b->rows, HIDDEN, CLASSES, b->hidden, b->outputs_grad, grad + OUTPUT_WEIGHT,
                         grad + OUTPUT_BIAS);
    dense_input_grad(b->rows, HIDDEN, CLASSES, net->value + OUTPUT_WEIGHT, b->outputs_grad, b->hidden_grad);
    for (size_t i = 0; i < b->rows * HIDDEN; i++)
        if (b->hidden[i] <= 0.0f)
            b->hidden_grad[i] = 0.0f;
    dense_parameter_grad(b->rows, PIXELS, HIDDEN, b->pixels, b->hidden_grad, grad + HIDDEN_WEIGHT,
                         grad + HIDDEN_BIAS);
}

static inline void descend(network *net, float learning_rate)
{
    for (size_t i = 0; i < PARAMETERS; i++) {
        net->velocity[i] = MOMENTUM * net->velocity[i] + net->grad[i];
        net->value[i] -= learning_rate * net->velocity[i];
    }
}

/* The output that a row's answer is. */
static inline size_t largest(size_t n, const float *value)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (value[i] > value[best])
            best = i;
    return best;
}

#endif
