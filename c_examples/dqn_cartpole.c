/* Q-learning by a small network: a cart learns to keep a pole upright. The temporal-difference loss and its
 * gradient are one call to losskit.
 *
 *     4 numbers of a state -> 64 hidden units, ReLU -> a value for each of 2 actions, push left or right
 *
 * Deep Q-learning (Mnih et al., 2015) in its double form (van Hasselt et al., 2016): a replay buffer, a target
 * network, plain stochastic gradient descent. The same training runs twice, with Huber's loss and with the
 * squared error, all else equal. When the pole falls, what was thought to be worth dozens of rewards is worth
 * one. The squared error's step grows with that surprise: it learns sooner, then overshoots, and the network
 * comes to believe in values that no policy can earn. Huber's step stays bounded, and so do its values.
 *
 * Everything random comes from one seed and nothing depends on threads, instruction set or the C library's
 * mathematics, so every run prints the same. Fails unless the network of Huber's loss that tested best balances
 * for 195 of 200 steps on average over 100 new episodes, and unless the squared error alone overshoots. */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "losskit.h"
#include "network.h"

enum {
    STATE = 4, /* position, velocity, angle, angular velocity */
    ACTIONS = 2,
    HIDDEN = 64,
    BATCH = 64,
    REPLAY = 20000,
    LONGEST = 200, /* steps of an episode */
    EPISODES = 100, /* of a test */
    STEPS = 40000,
    WARM_UP = 1000,    /* steps before the first batch */
    EXPLORING = 10000, /* steps until hardly any action is random */
    TEST_EVERY = 1000,
    COPY_EVERY = 250, /* steps from one target network to the next */
    REQUIRED = 195
};

static const float GAMMA = 0.99f;
static const float MOST_WORTH = 100.0f; /* 1 / (1 - GAMMA): a reward of 1 for ever; no policy earns more */
static const float LEARNING_RATE = 0.1f;
static const uint64_t SEED = 1;

/* ---- the cart and its pole (Barto, Sutton and Anderson, 1983) ---- */

typedef struct {
    float at[STATE];
} state;

/* Sine and cosine by their series, exact to a float's last digit as long as the pole has not fallen. The C
 * library's may differ between machines. */
static double sine(double x)
{
    const double s = x * x;
    return x * (1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72))));
}

static double cosine(double x)
{
    const double s = x * x;
    return 1 - s / 2 * (1 - s / 12 * (1 - s / 30 * (1 - s / 56)));
}

static state begin(uint64_t *random)
{
    state s;
    for (int i = 0; i < STATE; i++)
        s.at[i] = random_uniform(random, 0.05f);
    return s;
}

/* A fiftieth of a second under a push of 10 N to the right (action 1) or the left. */
static state after(state s, int action)
{
    const double gravity = 9.8, cart = 1.0, pole = 0.1, half_length = 0.5, seconds = 0.02;
    const double force = action == 1 ? 10.0 : -10.0, angle = s.at[2], turning = s.at[3];
    const double drive = (force + pole * half_length * turning * turning * sine(angle)) / (cart + pole);
    const double c = cosine(angle);
    const double turn =
        (gravity * sine(angle) - c * drive) / (half_length * (4.0 / 3.0 - pole * c * c / (cart + pole)));
    const double push = drive - pole * half_length * turn * c / (cart + pole);
    const state next = {{(float)(s.at[0] + seconds * s.at[1]), (float)(s.at[1] + seconds * push),
                         (float)(angle + seconds * turning), (float)(turning + seconds * turn)}};
    return next;
}

/* Beyond 2.4 m, or 12 degrees. */
static int has_fallen(state s)
{
    return fabsf(s.at[0]) > 2.4f || fabsf(s.at[2]) > 0.20943951f;
}

/* ---- the network: parameters in one array, weights [outputs][inputs] ---- */

enum {
    HIDDEN_WEIGHT = 0,
    HIDDEN_BIAS = HIDDEN_WEIGHT + HIDDEN * STATE,
    OUTPUT_WEIGHT = HIDDEN_BIAS + HIDDEN,
    OUTPUT_BIAS = OUTPUT_WEIGHT + ACTIONS * HIDDEN,
    PARAMETERS = OUTPUT_BIAS + ACTIONS
};

typedef struct {
    float value[PARAMETERS];
} network;

static void initialise(uint64_t *random, network *net)
{
    const float hidden_bound = 1.0f / sqrtf(STATE), output_bound = 1.0f / sqrtf(HIDDEN);
    memset(net, 0, sizeof *net);
    for (int i = HIDDEN_WEIGHT; i < OUTPUT_WEIGHT; i++)
        net->value[i] = random_uniform(random, hidden_bound);
    for (int i = OUTPUT_WEIGHT; i < OUTPUT_BIAS; i++)
        net->value[i] = random_uniform(random, output_bound);
}

static void forward(const network *net, size_t rows, const state *states, float *hidden, float *q)
{
    const float *value = net->value;
    dense_forward(rows, STATE, HIDDEN, (const float *)states, value + HIDDEN_WEIGHT, value + HIDDEN_BIAS, hidden);
    for (size_t i = 0; i < rows * HIDDEN; i++)
        hidden[i] = hidden[i] > 0.0f ? hidden[i] : 0.0f;
    dense_forward(rows, HIDDEN, ACTIONS, hidden, value + OUTPUT_WEIGHT, value + OUTPUT_BIAS, q);
}

static int best_action(const network *net, state s)
{
    float hidden[HIDDEN], q[ACTIONS];
    forward(net, 1, &s, hidden, q);
    return q[1] > q[0];
}

/* ---- replay buffer and learning ---- */

typedef struct {
    size_t count;
    state before[REPLAY], next[REPLAY];
    uint8_t action[REPLAY], done[REPLAY];
} replay;

static void remember(replay *memory, state before, int action, state next, int done)
{
    const size_t i = memory->count++ % REPLAY;
    memory->before[i] = before;
    memory->action[i] = (uint8_t)action;
    memory->next[i] = next;
    memory->done[i] = (uint8_t)done;
}

/* Takes a batch, and one step down the loss's gradient. Returns the largest value that the network gave. */
static float learn(uint64_t *random, const replay *memory, lk_td_loss loss, const network *target, network *net)
{
    const size_t held = memory->count < REPLAY ? memory->count : REPLAY;
    state before[BATCH], next[BATCH];
    uint8_t action[BATCH], done[BATCH];
    float reward[BATCH], hidden[BATCH * HIDDEN], hidden_grad[BATCH * HIDDEN], grad[PARAMETERS];
    float q[BATCH * ACTIONS], q_grad[BATCH * ACTIONS], next_q[BATCH * ACTIONS], next_online[BATCH * ACTIONS];
    const lk_td_shape shape = LK_TD_SHAPE(BATCH, ACTIONS);
    lk_td_params params = LK_TD_PARAMS_INIT;
    float largest = -INFINITY;
    params.gamma = GAMMA;
    params.loss = loss;

    for (int row = 0; row < BATCH; row++) {
        const size_t i = (size_t)(random_bits(random) % held);
        before[row] = memory->before[i];
        next[row] = memory->next[i];
        action[row] = memory->action[i];
        done[row] = memory->done[i];
        reward[row] = 1.0f;
    }
    forward(target, BATCH, next, hidden, next_q);
    forward(net, BATCH, next, hidden, next_online);
    forward(net, BATCH, before, hidden, q);
    check("lk_td_f32", lk_td_f32(NULL, &shape, q, LK_U8, action, reward, done, next_q, next_online, NULL, &params,
                                 NULL, NULL, q_grad, NULL, NULL));

    dense_parameter_grad(BATCH, HIDDEN, ACTIONS, hidden, q_grad, grad + OUTPUT_WEIGHT, grad + OUTPUT_BIAS);
    dense_input_grad(BATCH, HIDDEN, ACTIONS, net->value + OUTPUT_WEIGHT, q_grad, hidden_grad);
    for (int i = 0; i < BATCH * HIDDEN; i++)
        if (hidden[i] <= 0.0f)
            hidden_grad[i] = 0.0f;
    dense_parameter_grad(BATCH, STATE, HIDDEN, (const float *)before, hidden_grad, grad + HIDDEN_WEIGHT,
                         grad + HIDDEN_BIAS);
    for (int i = 0; i < PARAMETERS; i++)
        net->value[i] -= LEARNING_RATE * grad[i];

    for (int i = 0; i < BATCH * ACTIONS; i++)
        largest = q[i] > largest ? q[i] : largest;
    return largest;
}

/* ---- training and testing ---- */

/* The average return of episodes that the network plays by itself. */
static double test(uint64_t seed, const network *net)
{
    int steps = 0;
    for (int episode = 0; episode < EPISODES; episode++) {
        state s = begin(&seed);
        for (int i = 0; i < LONGEST && !has_fallen(s); i++, steps++)
            s = after(s, best_action(net, s));
    }
    return (double)steps / EPISODES;
}

typedef struct {
    network best;
    double best_return;
    float largest; /* value that the network ever gave to an action */
} outcome;

static outcome train(const char *name, lk_td_loss loss)
{
    static replay memory;
    network net, target;
    outcome result = {{{0}}, -1.0, -INFINITY};
    uint64_t random = SEED;
    state s = begin(&random);
    int age = 0;
    float largest = -INFINITY;

    memory.count = 0;
    initialise(&random, &net);
    target = net;
    printf("\n%s\n    step   average return   largest value so far (%g can be earned at most)\n", name, MOST_WORTH);
    for (int step = 1; step <= STEPS; step++) {
        const float exploring = step < EXPLORING ? 1.0f - 0.98f * (float)step / EXPLORING : 0.02f;
        const int is_random = random_uniform(&random, 1.0f) < 2.0f * exploring - 1.0f;
        const int action = is_random ? (int)(random_bits(&random) >> 63) : best_action(&net, s);
        const state next = after(s, action);
        const int done = has_fallen(next);
        remember(&memory, s, action, next, done);
        s = next;
        /* an episode that was only long enough is no reason to think that nothing follows */
        if (done || ++age == LONGEST) {
            s = begin(&random);
            age = 0;
        }
        if (step > WARM_UP) {
            const float value = learn(&random, &memory, loss, &target, &net);
            largest = value > largest ? value : largest;
        }
        if (step % COPY_EVERY == 0)
            target = net;
        if (step % TEST_EVERY == 0) {
            const double average = test(SEED + 1, &net);
            if (average > result.best_return) {
                result.best_return = average;
                result.best = net;
            }
            if (step % (4 * TEST_EVERY) == 0)
                printf("%8d %16.1f %15.3g\n", step, average, largest);
        }
    }
    result.largest = largest;
    return result;
}

int main(void)
{
    const outcome huber = train("Huber", LK_TD_HUBER), mse = train("squared error", LK_TD_MSE);
    const double huber_return = test(SEED + 2, &huber.best), mse_return = test(SEED + 2, &mse.best);

    printf("\n%-14s %20s %15s\n", "", "best, 100 episodes", "largest value");
    printf("%-14s %20.1f %15.3g\n", "Huber", huber_return, huber.largest);
    printf("%-14s %20.1f %15.3g\n", "squared error", mse_return, mse.largest);
    printf("weights hash %016" PRIx64 "\n", hash_of(PARAMETERS, huber.best.value));
    fflush(stdout);
    if (huber_return < REQUIRED) {
        fprintf(stderr, "an average return of %.1f is below %d\n", huber_return, REQUIRED);
        return EXIT_FAILURE;
    }
    if (huber.largest > MOST_WORTH || mse.largest <= MOST_WORTH) {
        fprintf(stderr, "the squared error alone should believe in more than %g\n", MOST_WORTH);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
