/* Small cases of the losses that can be followed with pencil and paper: each prints its formula, what
 * losskit says and what the formula gives, and the program fails if the two part. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "losskit.h"

static int mismatches = 0;

/* The expected values are computed in double from decimal constants, the inputs are floats: a relative
 * error of 1e-6 covers that rounding and nothing else. Zeros must be exact, and a NaN fails the
 * comparison, as it should. */
static int agree(size_t n, const float *got, const double *expected)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - expected[i]) <= 1e-6 * fabs(expected[i])))
            return 0;
    return 1;
}

static void expect_all(const char *what, size_t n, const float *got, const double *expected)
{
    const int right = agree(n, got, expected);
    printf("    %-26s", what);
    for (size_t i = 0; i < n; i++)
        printf(" %10.6g", got[i]);
    printf("   by hand");
    for (size_t i = 0; i < n; i++)
        printf(" %.6g", expected[i]);
    printf("   %s\n", right ? "ok" : "WRONG");
    if (!right)
        mismatches++;
}

static void expect(const char *what, float got, double expected)
{
    expect_all(what, 1, &got, &expected);
}

static void likelihood(void)
{
    const float p[5] = {0.5f, 0.9f, 0.2f, 0.6f, 0.1f};
    const float y[5] = {1, 1, 0, 0, 0};
    float loss;

    puts("likelihood: -(1/N) sum of y p + (1 - y)(1 - p)");
    puts("  y = (1, 1, 0, 0, 0), p = (0.5, 0.9, 0.2, 0.6, 0.1)");
    check("lk_likelihood_f32", lk_likelihood_f32(NULL, 5, p, y, NULL, NULL, &loss, NULL, NULL));
    expect("loss", loss, -(0.5 + 0.9 + 0.8 + 0.4 + 0.9) / 5);
}

/* One sample with five yes/no labels. The probability of being right is p where y = 1 and 1 - p where y =
 * 0. */
static void binary_cross_entropy(void)
{
    const float p[5] = {0.2f, 0.4f, 0.8f, 0.3f, 0.9f};
    const float y[5] = {0, 0, 1, 0, 1};
    float loss;

    puts("\nbce: -(1/N) sum of y log p + (1 - y) log(1 - p)");
    puts("  y = (0, 0, 1, 0, 1), p = (0.2, 0.4, 0.8, 0.3, 0.9)");
    puts("  that is, right with probability (0.8, 0.6, 0.8, 0.7, 0.9)");
    check("lk_bce_f32", lk_bce_f32(NULL, 5, p, y, NULL, NULL, &loss, NULL, NULL));
    expect("loss", loss, -(log(0.8) + log(0.6) + log(0.8) + log(0.7) + log(0.9)) / 5);
}

/* Impossible classes have log 0 = -inf. Only the target's entry counts in nll; cross_entropy treats -inf
 * as a class that is masked out. Neither lets the infinities reach the loss or the gradient. */
static void categorical_cross_entropy(void)
{
    const lk_class_shape shape = LK_CLASS_ROWS(1, 5);
    const uint8_t target = 0;
    const float log_probs[5] = {logf(0.8f), -INFINITY, -INFINITY, logf(0.2f), -INFINITY};
    const float logits[5] = {logf(4.0f), -INFINITY, -INFINITY, 0.0f, -INFINITY};
    const double nll_grad[5] = {-1, 0, 0, 0, 0};
    const double cross_entropy_grad[5] = {0.8 - 1, 0, 0, 0.2, 0};
    float loss, grad[5];

    puts("\ncategorical cross-entropy: -log p[target]");
    puts("  p = (0.8, 0, 0, 0.2, 0), target class 0");
    check("lk_nll_f32",
          lk_nll_f32(NULL, &shape, log_probs, LK_U8, &target, NULL, NULL, NULL, NULL, &loss, grad, NULL));
    expect("nll of log p", loss, -log(0.8));
    expect_all("nll gradient", 5, grad, nll_grad);

    puts("  the same p as softmax of the logits (log 4, -inf, -inf, 0, -inf); gradient: p - one-hot target");
    check("lk_cross_entropy_f32",
          lk_cross_entropy_f32(NULL, &shape, logits, LK_U8, &target, NULL, NULL, NULL, NULL, &loss, grad, NULL));
    expect("cross_entropy of the logits", loss, -log(0.8));
    expect_all("cross_entropy gradient", 5, grad, cross_entropy_grad);
}

/* A yes/no question can be put to the network as one output or as two classes. Fixing the logit of "no" at
 * 0 loses nothing, since softmax only sees differences, and then both ways agree. */
static void one_output_or_two_classes(void)
{
    const lk_class_shape shape = LK_CLASS_ROWS(1, 2);
    const float outputs[3] = {-3.0f, 0.5f, 20.0f};

    puts("\none yes/no output: bce_with_logits(x) and cross_entropy(0, x) are the same");
    puts("  yes: log(1 + e^-x), no: log(1 + e^x)");
    for (size_t i = 0; i < 3; i++) {
        for (uint8_t yes = 0; yes <= 1; yes++) {
            const float x = outputs[i], y = yes;
            const float logits[2] = {0.0f, x};
            const double by_hand = log1p(exp(yes ? -(double)x : (double)x));
            float binary, categorical;

            check("lk_bce_with_logits_f32",
                  lk_bce_with_logits_f32(NULL, 1, &x, &y, NULL, NULL, 0, NULL, NULL, &binary, NULL, NULL));
            check("lk_cross_entropy_f32",
                  lk_cross_entropy_f32(NULL, &shape, logits, LK_U8, &yes, NULL, NULL, NULL, NULL,
                                       &categorical, NULL, NULL));
            printf("  x = %g, the answer is %s\n", x, yes ? "yes" : "no");
            expect("bce_with_logits", binary, by_hand);
            expect("cross_entropy of 2 classes", categorical, by_hand);
        }
    }
}

/* LK_NONE gives each sample's own loss and gradient instead of those of a mean. */
static void huber_beside_mse(const float residual[3], const double half_square[3], const double huber[3],
                             const double clipped[3])
{
    const float zero[3] = {0}, delta = 1.0f;
    lk_options options = LK_OPTIONS_INIT;
    float loss[3], grad[3];

    options.reduction = LK_NONE;
    printf("  d = %g, %g, %g\n", residual[0], residual[1], residual[2]);
    check("lk_mse_f32", lk_mse_f32(NULL, 3, residual, zero, NULL, &options, loss, NULL, NULL));
    for (size_t i = 0; i < 3; i++)
        loss[i] /= 2;
    expect_all("mse / 2", 3, loss, half_square);
    check("lk_huber_f32", lk_huber_f32(NULL, 3, residual, zero, NULL, delta, &options, loss, grad, NULL));
    expect_all("huber", 3, loss, huber);
    expect_all("huber gradient", 3, grad, clipped);
}

static void huber_inside_and_outside(void)
{
    const float inside[3] = {-0.5f, 0.25f, 1.0f}, outside[3] = {2.0f, 3.0f, -4.0f};
    const double inside_half_square[3] = {0.125, 0.03125, 0.5}, outside_half_square[3] = {2, 4.5, 8};
    const double inside_grad[3] = {-0.5, 0.25, 1}, outside_grad[3] = {1, 1, -1};
    const double outside_huber[3] = {1.5, 2.5, 3.5};

    puts("\nhuber, delta = 1: d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2)");
    puts("  its gradient is d, clipped to -delta..delta");
    huber_beside_mse(inside, inside_half_square, inside_half_square, inside_grad);
    huber_beside_mse(outside, outside_half_square, outside_huber, outside_grad);
    puts("  inside delta huber is mse / 2, outside it grows in proportion to |d|");
}

/* The same transition twice: once with a next state to look at, once as the last move of the game, where
 * only the reward counts and next_q is not read. */
static void temporal_difference(void)
{
    enum { BATCH = 2, ACTIONS = 3 };
    const lk_td_shape shape = LK_TD_SHAPE(BATCH, ACTIONS);
    const float q[BATCH * ACTIONS] = {1.0f, 2.0f, 0.5f, 1.0f, 2.0f, 0.5f};
    const float next_q[BATCH * ACTIONS] = {0.5f, 3.0f, 1.0f, NAN, NAN, NAN};
    const uint8_t action[BATCH] = {1, 1}, done[BATCH] = {0, 1};
    const float reward[BATCH] = {1.0f, 1.0f};
    const double target[BATCH] = {1 + 0.9 * 3, 1};
    lk_td_params params = LK_TD_PARAMS_INIT;
    lk_options options = LK_OPTIONS_INIT;
    float loss[BATCH], grad[BATCH * ACTIONS], td_error[BATCH];

    puts("\ntd (Q-learning): (target - q[action])^2, target = reward + gamma (1 - done) max over a' of next_q[a']");
    puts("  q = (1, 2, 0.5), action 1, reward 1, gamma 0.9, next_q = (0.5, 3, 1)");
    params.gamma = 0.9;
    params.loss = LK_TD_MSE;
    options.reduction = LK_NONE;
    check("lk_td_f32", lk_td_f32(NULL, &shape, q, LK_U8, action, reward, done, next_q, NULL, NULL, &params,
                                 &options, loss, grad, NULL, td_error));
    for (size_t row = 0; row < BATCH; row++) {
        const double error = target[row] - 2;
        const double by_hand[ACTIONS] = {0, -2 * error, 0};

        printf("  %s: target %g\n", done[row] ? "game over" : "game goes on", target[row]);
        expect("td error", td_error[row], error);
        expect("loss", loss[row], error * error);
        expect_all("gradient", ACTIONS, &grad[row * ACTIONS], by_hand);
    }
}

int main(void)
{
    printf("losskit %s on %s\n\n", lk_version(), lk_isa_name(NULL));
    likelihood();
    binary_cross_entropy();
    categorical_cross_entropy();
    one_output_or_two_classes();
    huber_inside_and_outside();
    temporal_difference();

    if (mismatches > 0) {
        fprintf(stderr, "\n%d values differ from the ones worked out by hand\n", mismatches);
        return EXIT_FAILURE;
    }
    puts("\nall values agree");
    return EXIT_SUCCESS;
}
