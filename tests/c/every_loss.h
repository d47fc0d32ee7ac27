/* The losses of one element type: every_function.c includes this once for each, T, LK, TEST and PROBABILITIES
 * being its names. */

/* Loss, gradient and Hessian of one call; LK_NONE, so that each element is on its own. */
static void TEST(expect)(size_t n, const T *got, T first, T second)
{
    CHECK(n == 2);
    CHECK(got[0] == first && got[1] == second);
}

/* Outputs that were written. */
static void TEST(expect_numbers)(const T *loss, const T *grad, const T *hess)
{
    int i;
    for (i = 0; i < 2; i++)
        CHECK(loss[i] > -9 && loss[i] < 9 && grad[i] > -9 && grad[i] < 9 && hess[i] >= 0 && hess[i] < 9);
}

static void TEST(pointwise_losses)(void)
{
    const T input[2] = {(T)0.5, 3}, target[2] = {1, 1}, weight[2] = {1, 2}, half[2] = {(T)0.5, (T)0.5};
    const T zeros[2] = {0, 0}, pos_weight[1] = {3};
    const T log_2 = (T)0.69314718055994530942;
    lk_options options = LK_OPTIONS_INIT;
    lk_cost cost;
    double weight_sum = 0;
    T loss[2], grad[2], hess[2], mean;

    memset(&cost, 0, sizeof cost);
    options.weight_sum = &weight_sum;
    options.cost = &cost;
    CHECK(LK(mse)(NULL, 2, input, target, weight, &options, &mean, grad, hess) == LK_OK);
    CHECK(mean == (T)4.125 && weight_sum == 2 && lk_cost_mean(&cost) == 4.125);
    TEST(expect)(2, grad, (T)-0.5, 4);
    TEST(expect)(2, hess, 1, 2);

    options.weight_sum = NULL;
    options.cost = NULL;
    options.reduction = LK_NONE;
    CHECK(LK(mse)(NULL, 2, input, target, NULL, &options, loss, grad, hess) == LK_OK);
    TEST(expect)(2, loss, (T)0.25, 4);
    TEST(expect)(2, grad, -1, 4);
    TEST(expect)(2, hess, 2, 2);
    CHECK(LK(l1)(NULL, 2, input, target, NULL, &options, loss, grad, hess) == LK_OK);
    TEST(expect)(2, loss, (T)0.5, 2);
    TEST(expect)(2, grad, -1, 1);
    TEST(expect)(2, hess, 0, 0);
    CHECK(LK(huber)(NULL, 2, input, target, NULL, 1, &options, loss, grad, hess) == LK_OK);
    TEST(expect)(2, loss, (T)0.125, (T)1.5);
    TEST(expect)(2, grad, (T)-0.5, 1);
    TEST(expect)(2, hess, 1, 0);
    CHECK(LK(smooth_l1)(NULL, 2, input, target, NULL, 2, &options, loss, grad, hess) == LK_OK);
    TEST(expect)(2, loss, (T)0.0625, 1);
    TEST(expect)(2, grad, (T)-0.25, 1);
    TEST(expect)(2, hess, (T)0.5, 0);
    CHECK(LK(bce)(NULL, 2, half, target, weight, &options, loss, grad, hess) == LK_OK);
    TEST(expect)(2, loss, log_2, 2 * log_2);
    TEST(expect)(2, grad, -2, -4);
    TEST(expect)(2, hess, 4, 8);
    CHECK(LK(bce_with_logits)(NULL, 2, zeros, target, weight, pos_weight, 1, NULL, &options, loss, grad, hess) == LK_OK);
    TEST(expect)(2, loss, 3 * log_2, 6 * log_2);
    TEST(expect)(2, grad, (T)-1.5, -3);
    TEST(expect)(2, hess, (T)0.75, (T)1.5);

    /* and all that there are */
#define CALL(name, option)                                                                                             \
    loss[1] = grad[1] = hess[1] = 777;                                                                                 \
    CHECK(LK(name)(NULL, 2, half, target, weight, option &options, loss, grad, hess) == LK_OK);                        \
    TEST(expect_numbers)(loss, grad, hess);
#define COMMA ,
#define PLAIN(name) CALL(name, )
#define WITH_NUMBER(name) CALL(name, 1 COMMA)
#define WITH_ARRAY(name) CALL(name, pos_weight COMMA 1 COMMA NULL COMMA)
    POINTWISE_LOSSES(PLAIN, WITH_NUMBER, WITH_ARRAY)
#undef CALL
#undef COMMA
#undef PLAIN
#undef WITH_NUMBER
#undef WITH_ARRAY

    /* what was in grad stays in it, and the new gradient is added */
    grad[0] = -1;
    grad[1] = -2;
    options.flags = LK_ACCUMULATE_GRAD;
    CHECK(LK(l1)(NULL, 2, input, target, NULL, &options, loss, grad, NULL) == LK_OK);
    TEST(expect)(2, grad, -2, -1);

    CHECK(LK(bce)(NULL, 2, input, target, NULL, NULL, &mean, NULL, NULL) == LK_INPUT_OUT_OF_DOMAIN);
    CHECK(mean != mean);
    CHECK(LK(mse)(NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL) == LK_OK);
    CHECK(LK(mse_mean)(0, NULL, NULL, NULL, NULL) == LK_OK);
    CHECK(LK(mse_mean)(2, NULL, target, &mean, NULL) == LK_NULL_POINTER);
    {
        const T values[2] = {1, 2}, labels[2] = {0, 1};
        CHECK(LK(mse_mean)(2, values, labels, &mean, grad) == LK_OK && mean == 1);
        TEST(expect)(2, grad, (T)1, (T)1);
        CHECK(LK(bce_with_logits_mean)(2, zeros, labels, &mean, grad) == LK_OK);
        CHECK(mean == log_2);
        TEST(expect)(2, grad, (T)0.25, (T)-0.25);
    }
    CHECK(LK(mse)(NULL, 2, NULL, target, NULL, NULL, &mean, NULL, NULL) == LK_NULL_POINTER);
    CHECK(strcmp(lk_last_error(), "input is null") == 0);
    CHECK(LK(huber)(NULL, 2, input, target, NULL, 0, NULL, &mean, NULL, NULL) == LK_INVALID_DELTA);
}

static void TEST(class_losses)(void)
{
    const lk_class_shape shape = LK_CLASS_ROWS(2, 2);
    const T logits[4] = {0, 0, 5, 5}, probabilities[4] = {1, 0, 0, 1};
    const int32_t targets_32[2] = {0, 1};
    const int64_t targets_64[2] = {0, 1};
    const uint8_t targets_8[2] = {0, 1};
    const int16_t targets_i16[2] = {0, 1};
    const uint16_t targets_u16[2] = {0, 1};
    const uint32_t targets_u32[2] = {0, 1};
    const uint64_t targets_u64[2] = {0, 1};
    const T class_weight[2] = {1, 3}, row_weight[2] = {2, 1}, log_2 = (T)0.69314718055994530942;
    lk_cross_entropy_params params = LK_CROSS_ENTROPY_PARAMS_INIT;
    lk_nll_params nll_params = LK_NLL_PARAMS_INIT;
    lk_options options = LK_OPTIONS_INIT;
    T loss[2], grad[4], hess[4], output[4], mean;
    uint64_t correct;
    uint8_t is_correct[2];

    options.reduction = LK_NONE;
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_I32, targets_32, class_weight, row_weight, &params, &options, loss,
                            grad, hess) == LK_OK);
    TEST(expect)(2, loss, 2 * log_2, 3 * log_2);
    /* of two equal logits the first is the prediction */
    params.correct = &correct;
    params.is_correct = is_correct;
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_I32, targets_32, NULL, NULL, &params, NULL, &mean, NULL, NULL) ==
          LK_OK);
    CHECK(correct == 1 && is_correct[0] == 1 && is_correct[1] == 0);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, PROBABILITIES, probabilities, NULL, NULL, &params, NULL, &mean, NULL,
                            NULL) == LK_UNSUPPORTED_OPTION);
    params.correct = NULL;
    params.is_correct = NULL;
    TEST(expect)(2, grad, -1, 1);
    TEST(expect)(2, grad + 2, (T)1.5, (T)-1.5);
    TEST(expect)(2, hess, (T)0.5, (T)0.5);
    TEST(expect)(2, hess + 2, (T)0.75, (T)0.75);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_I64, targets_64, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
          LK_OK);
    CHECK(mean == log_2);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_U8, targets_8, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
          LK_OK);
    CHECK(mean == log_2);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_I16, targets_i16, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
          LK_OK);
    CHECK(mean == log_2);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_U16, targets_u16, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
          LK_OK);
    CHECK(mean == log_2);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_U32, targets_u32, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
          LK_OK);
    CHECK(mean == log_2);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_U64, targets_u64, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
          LK_OK);
    CHECK(mean == log_2);
    CHECK(LK(cross_entropy)(NULL, &shape, logits, PROBABILITIES, probabilities, NULL, NULL, NULL, NULL, &mean, NULL,
                            NULL) == LK_OK);
    CHECK(mean == log_2);
    {
        /* transposed logits, and their gradient in rows */
        const T transposed[4] = {0, 3, 0, 3};
        lk_class_shape there = LK_CLASS_ROWS(2, 2), crop = LK_CLASS_ROWS(1, 2);
        there.outer_stride = 1;
        there.class_stride = 2;
        there.grad_outer_stride = 2;
        CHECK(LK(cross_entropy)(NULL, &there, transposed, LK_I32, targets_32, NULL, NULL, NULL, NULL, &mean, output,
                                NULL) == LK_OK && mean == log_2);
        TEST(expect)(2, output, (T)-0.25, (T)0.25);
        TEST(expect)(2, output + 2, (T)0.25, (T)-0.25);
        CHECK(LK(cross_entropy)(NULL, &there, output, LK_I32, targets_32, NULL, NULL, NULL, NULL, &mean, output, NULL) ==
              LK_PARTIAL_OVERLAP);
        {
            /* what other functions write of transposed arrays is in rows, too */
            const T apart[4] = {1, 0, 0, 1}, other[4] = {0, 1, 2, -1}, other_in_rows[4] = {0, 2, 1, -1};
            const T in_rows[4] = {0, 0, 3, 3};
            T want[4], want_mean;
            CHECK(LK(distillation)(NULL, &shape, in_rows, other_in_rows, NULL, NULL, NULL, &want_mean, want) == LK_OK);
            CHECK(LK(distillation)(NULL, &there, transposed, other, NULL, NULL, NULL, &mean, output) == LK_OK);
            CHECK(mean == want_mean && mean > 0);
            TEST(expect)(2, output, want[0], want[1]);
            TEST(expect)(2, output + 2, want[2], want[3]);
            CHECK(LK(cross_entropy)(NULL, &there, transposed, PROBABILITIES, apart, NULL, NULL, NULL, NULL, &mean,
                                    output, NULL) == LK_OK && mean == log_2);
            TEST(expect)(2, output, (T)-0.25, (T)0.25);
            TEST(expect)(2, output + 2, (T)0.25, (T)-0.25);
            options.flags = LK_ACCUMULATE_GRAD;
            CHECK(LK(cross_entropy)(NULL, &there, transposed, PROBABILITIES, apart, NULL, NULL, NULL, &options, NULL,
                                    output, NULL) == LK_OK);
            options.flags = 0;
            TEST(expect)(2, output, (T)-0.75, (T)0.75);
            TEST(expect)(2, output + 2, (T)0.75, (T)-0.75);
            CHECK(LK(cross_entropy)(NULL, &there, transposed, LK_I32, targets_32, NULL, NULL, NULL, NULL, NULL, NULL,
                                    output) == LK_OK);
            TEST(expect)(2, output, (T)0.125, (T)0.125);
            TEST(expect)(2, output + 2, (T)0.125, (T)0.125);
            CHECK(LK(softmax_backward)(NULL, &there, output, apart, want) == LK_OK);
            TEST(expect)(2, want, (T)0.109375, (T)-0.015625);
            CHECK(LK(softmax)(NULL, &there, transposed, output) == LK_OK);
            TEST(expect)(2, output, (T)0.5, (T)0.5);
            TEST(expect)(2, output + 2, (T)0.5, (T)0.5);
            CHECK(LK(log_softmax)(NULL, &there, transposed, output) == LK_OK);
            TEST(expect)(2, output, -log_2, -log_2);
            TEST(expect)(2, output + 2, -log_2, -log_2);
            CHECK(LK(entropy)(NULL, &there, transposed, loss) == LK_OK);
            TEST(expect)(2, loss, log_2, log_2);
            CHECK(LK(entropy_backward)(NULL, &there, transposed, loss, 0, output) == LK_OK);
            TEST(expect)(2, output, 0, 0);
            CHECK(LK(softmax)(NULL, &there, output, output) == LK_PARTIAL_OVERLAP);
            CHECK(LK(softmax_backward)(NULL, &there, apart, output, output) == LK_PARTIAL_OVERLAP);
        }
        /* the left column of two images of one row of two elements */
        crop.inner = 2;
        crop.class_stride = 4;
        crop.row_length = 1;
        crop.row_stride = 2;
        {
            const T image[7] = {1, 9, 2, 9, 1, 9, 2};
            T image_softmax[7] = {7, 7, 7, 7, 7, 7, 7};
            CHECK(LK(cross_entropy)(NULL, &crop, image, LK_I32, targets_32, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
                  LK_OK && mean == log_2);
            CHECK(LK(softmax)(NULL, &crop, image, image_softmax) == LK_OK);
            TEST(expect)(2, image_softmax, (T)0.5, 7);
        }
    }
    /* the short forms */
    CHECK(LK(cross_entropy_i32_mean)(2, 2, logits, targets_32, &mean, output) == LK_OK && mean == log_2);
    TEST(expect)(2, output, (T)-0.25, (T)0.25);
    TEST(expect)(2, output + 2, (T)0.25, (T)-0.25);
    CHECK(LK(cross_entropy_i64_mean)(2, 2, logits, targets_64, &mean, NULL) == LK_OK && mean == log_2);
    CHECK(LK(cross_entropy_i64_mean)(2, 1, logits, targets_64, &mean, NULL) == LK_TARGET_OUT_OF_RANGE);
    params.ignore_index = 1;
    params.label_smoothing = 0.5;
    CHECK(LK(cross_entropy)(NULL, &shape, logits, LK_I32, targets_32, NULL, NULL, &params, &options, loss, grad,
                            NULL) == LK_OK);
    TEST(expect)(2, loss, log_2, 0);
    TEST(expect)(2, grad, (T)-0.25, (T)0.25);
    TEST(expect)(2, grad + 2, 0, 0);

    CHECK(LK(nll)(NULL, &shape, logits, LK_I32, targets_32, class_weight, row_weight, &nll_params, &options, loss, grad,
                  hess) == LK_OK);
    TEST(expect)(2, loss, 0, -15);
    TEST(expect)(2, grad, -2, 0);
    TEST(expect)(2, grad + 2, 0, -3);
    TEST(expect)(2, hess, 0, 0);
    CHECK(LK(nll)(NULL, &shape, logits, PROBABILITIES, probabilities, NULL, NULL, NULL, NULL, &mean, NULL, NULL) ==
          LK_UNKNOWN_CONSTANT);

    CHECK(LK(softmax)(NULL, &shape, logits, output) == LK_OK);
    TEST(expect)(2, output, (T)0.5, (T)0.5);
    CHECK(LK(softmax_backward)(NULL, &shape, output, probabilities, grad) == LK_OK);
    TEST(expect)(2, grad, (T)0.25, (T)-0.25);
    CHECK(LK(log_softmax)(NULL, &shape, logits, output) == LK_OK);
    TEST(expect)(2, output, -log_2, -log_2);
    CHECK(LK(log_softmax_backward)(NULL, &shape, output, probabilities, grad) == LK_OK);
    TEST(expect)(2, grad, (T)0.5, (T)-0.5);
}

static void TEST(log_probs_and_entropy)(void)
{
    const lk_class_shape shape = LK_CLASS_ROWS(2, 2);
    const T logits[4] = {0, 0, 3, (T)-HUGE_VAL}, ones[4] = {1, 1, 1, 1};
    const T log_2 = (T)0.69314718055994530942;
    const int32_t indices[4] = {1, -1, 0, 0};
    lk_selective_log_softmax_params params = LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT;
    T log_probs[4], entropy[2], lse[2], grad[4] = {1, 1, 1, 1};

    params.per_row = 2;
    params.ignore_index = -1;
    CHECK(LK(selective_log_softmax)(NULL, &shape, logits, LK_I32, indices, &params, log_probs, entropy, lse) == LK_OK);
    TEST(expect)(2, log_probs, -log_2, (T)0);
    TEST(expect)(2, log_probs + 2, (T)0, (T)0);
    TEST(expect)(2, entropy, log_2, (T)0);
    TEST(expect)(2, lse, log_2, (T)3);
    CHECK(LK(selective_log_softmax_backward)(NULL, &shape, logits, LK_I32, indices, &params, ones, ones, NULL,
                                             LK_ACCUMULATE_GRAD, grad) == LK_OK);
    TEST(expect)(2, grad, (T)0.5, (T)1.5);
    TEST(expect)(2, grad + 2, (T)1, (T)1);
    CHECK(LK(selective_log_softmax)(NULL, &shape, logits, LK_I32, indices + 2, NULL, log_probs, NULL, NULL) == LK_OK);
    TEST(expect)(2, log_probs, -log_2, (T)0);
    CHECK(LK(entropy)(NULL, &shape, logits, entropy) == LK_OK);
    TEST(expect)(2, entropy, log_2, (T)0);
    CHECK(LK(entropy_backward)(NULL, &shape, logits, ones, 0, grad) == LK_OK);
    TEST(expect)(2, grad, (T)0, (T)0);
    TEST(expect)(2, grad + 2, (T)0, (T)0);
}

/* Sizes are of any type of integer, in C++ too. */
static void TEST(shapes_of_ints)(void)
{
    const int two = (int)strlen("ab"), one = two - 1, none = 0;
    const int64_t minus_one = -one;
    const lk_class_shape shape = LK_CLASS_ROWS(two, one + one), negative = LK_CLASS_ROWS(two, minus_one);
    const lk_linear_shape layer = LK_LINEAR_SHAPE(two, one, two);
    const lk_class_chunk chunk = LK_CLASS_CHUNK(two, one, none);
    const lk_td_shape td_shape = LK_TD_SHAPE(two, one);
    const T logits[4] = {0, 0, 5, 5};
    T output[4];

    CHECK(LK(softmax)(NULL, &shape, logits, output) == LK_OK);
    CHECK(output[0] == (T)0.5);
    CHECK(LK(softmax)(NULL, &negative, logits, output) == LK_SIZE_TOO_LARGE);
    CHECK(layer.rows == 2 && layer.width == 1 && layer.classes == 2);
    CHECK(chunk.rows == 2 && chunk.classes == 1 && chunk.first_class == 0 && chunk.ignore_index == -100);
    CHECK(td_shape.batch == 2 && td_shape.actions == 1);
}

/* Two rows of logits (0, 0), the second by the bias; a third is ignored. */
static void TEST(linear_layer)(void)
{
    const lk_linear_shape shape = LK_LINEAR_SHAPE(3, 1, 2);
    const T hidden[3] = {0, 2, 9}, weight[2] = {1, 1}, bias[2] = {3, 3}, row_weight[3] = {1, 2, 1};
    const T log_2 = (T)0.69314718055994530942;
    const uint8_t targets[3] = {1, 0, 7};
    lk_linear_cross_entropy_params params = LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT;
    lk_options options = LK_OPTIONS_INIT;
    T loss[4] = {0, 0, 1, 0}, grad_hidden[3], grad_weight[2] = {1, 1}, grad_bias[2];

    params.ignore_index = 7;
    CHECK(LK(linear_cross_entropy)(NULL, &shape, hidden, weight, bias, LK_U8, targets, NULL, NULL, &params, NULL, loss,
                                   grad_hidden, NULL, NULL) == LK_OK);
    TEST(expect)(2, loss, log_2, 0);
    TEST(expect)(2, grad_hidden, 0, 0);
    params.memory = 1;
    options.reduction = LK_NONE;
    options.flags = LK_ACCUMULATE_GRAD;
    grad_bias[0] = grad_bias[1] = 0;
    CHECK(LK(linear_cross_entropy)(NULL, &shape, hidden, weight, NULL, LK_U8, targets, NULL, row_weight, &params,
                                   &options, loss, NULL, grad_weight, grad_bias) == LK_OK);
    TEST(expect)(2, loss, log_2, 2 * log_2);
    TEST(expect)(2, loss + 2, 0, 0);
    TEST(expect)(2, grad_weight, (T)-1, (T)3);
    TEST(expect)(2, grad_bias, (T)-0.5, (T)0.5);
    CHECK(LK(linear_cross_entropy)(NULL, &shape, hidden, NULL, bias, LK_U8, targets, NULL, NULL, &params, NULL, loss,
                                   grad_hidden, NULL, NULL) == LK_NULL_POINTER);
}

static void TEST(softmax_in_pieces)(void)
{
    const lk_class_chunk low = LK_CLASS_CHUNK(2, 1, 0), high = LK_CLASS_CHUNK(2, 1, 1);
    const T left[2] = {0, 3}, right[2] = {0, (T)-HUGE_VAL}, row_weight[2] = {2, 1};
    const T log_2 = (T)0.69314718055994530942;
    const uint8_t targets[2] = {1, 0};
    const T even[2] = {0, 0}, class_weight[2] = {1, 3};
    lk_softmax_state_params params = LK_SOFTMAX_STATE_PARAMS_INIT;
    lk_softmax_state states[2], others[2];
    T loss[2], lse[2], grad[2];

    CHECK(lk_softmax_state_init(2, states) == LK_OK && lk_softmax_state_init(2, others) == LK_OK);
    CHECK(LK(softmax_state_update)(NULL, &high, right, LK_U8, targets, NULL, NULL, others) == LK_OK);
    CHECK(LK(softmax_state_finish)(NULL, 2, others, NULL, loss, NULL) == LK_INCOMPLETE_STATE);
    CHECK(LK(softmax_state_update)(NULL, &low, left, LK_U8, targets, NULL, NULL, states) == LK_OK);
    CHECK(lk_softmax_state_merge(NULL, 2, states, others) == LK_OK);
    CHECK(LK(softmax_state_finish)(NULL, 2, states, NULL, loss, lse) == LK_OK);
    TEST(expect)(2, loss, log_2, 0);
    TEST(expect)(2, lse, log_2, 3);
    CHECK(LK(softmax_state_grad)(NULL, &low, left, LK_U8, targets, states, NULL, row_weight, NULL, 0.5, grad) == LK_OK);
    TEST(expect)(2, grad, (T)0.5, 0);
    CHECK(LK(softmax_state_grad)(NULL, &high, right, LK_U8, targets, states, NULL, NULL, NULL, 1, grad) == LK_OK);
    TEST(expect)(2, grad, (T)-0.5, 0);

    /* half of the distribution spread over both classes */
    params.label_smoothing = 0.5;
    CHECK(lk_softmax_state_init(2, states) == LK_OK);
    CHECK(LK(softmax_state_update)(NULL, &low, even, LK_U8, targets, class_weight, &params, states) == LK_OK);
    CHECK(LK(softmax_state_update)(NULL, &high, even, LK_U8, targets, class_weight + 1, &params, states) == LK_OK);
    CHECK(states[0].target_weight == 3 && states[1].target_weight == 1);
    CHECK(LK(softmax_state_finish)(NULL, 2, states, &params, loss, NULL) == LK_OK);
    TEST(expect)(2, loss, (T)2.5 * log_2, (T)1.5 * log_2);
    CHECK(LK(softmax_state_grad)(NULL, &low, even, LK_U8, targets, states, class_weight, NULL, &params, 1, grad) == LK_OK);
    TEST(expect)(2, grad, 1, 0);
}

static void TEST(knowledge_distillation)(void)
{
    const lk_class_shape shape = LK_CLASS_ROWS(2, 2);
    const T student[4] = {0, 0, 7, 5}, teacher[4] = {(T)-HUGE_VAL, 3, 1, (T)-HUGE_VAL}, row_weight[2] = {2, 0};
    const T log_2 = (T)0.69314718055994530942;
    lk_distillation_params params = LK_DISTILLATION_PARAMS_INIT;
    lk_options options = LK_OPTIONS_INIT;
    T loss[2], grad[4], mean;

    options.reduction = LK_NONE;
    CHECK(LK(distillation)(NULL, &shape, student, teacher, row_weight, &params, &options, loss, grad) == LK_OK);
    TEST(expect)(2, loss, 2 * log_2, 0);
    TEST(expect)(2, grad, 1, -1);
    TEST(expect)(2, grad + 2, 0, 0);
    CHECK(LK(distillation)(NULL, &shape, student, teacher, row_weight, NULL, NULL, &mean, NULL) == LK_OK);
    CHECK(mean == log_2);
    params.beta = 0.5;
    params.temperature = 2;
    CHECK(LK(distillation)(NULL, &shape, student, student, NULL, &params, &options, loss, grad) == LK_OK);
    TEST(expect)(2, loss, 0, 0);
    TEST(expect)(2, grad, 0, 0);
    params.temperature = 0;
    CHECK(LK(distillation)(NULL, &shape, student, teacher, NULL, &params, NULL, &mean, NULL) == LK_INVALID_TEMPERATURE);
}

static void TEST(temporal_difference)(void)
{
    const lk_td_shape shape = LK_TD_SHAPE(2, 2);
    const T q[4] = {1, 2, 3, 4}, next_q[4] = {5, 6, 7, 8}, online[4] = {1, 0, 0, 1}, reward[2] = {1, 1};
    const T weight[2] = {1, 2};
    const uint8_t action[2] = {1, 0}, done[2] = {0, 1};
    lk_td_params params = LK_TD_PARAMS_INIT;
    lk_options options = LK_OPTIONS_INIT;
    T loss[2], grad[4], hess[4], td_error[2];

    options.reduction = LK_NONE;
    params.gamma = 0.5;
    CHECK(LK(td)(NULL, &shape, q, LK_U8, action, reward, done, next_q, NULL, weight, &params, &options, loss, grad,
                 hess, td_error) == LK_OK);
    TEST(expect)(2, td_error, 2, -2);
    TEST(expect)(2, loss, 4, 8);
    TEST(expect)(2, grad, 0, -4);
    TEST(expect)(2, grad + 2, 8, 0);
    TEST(expect)(2, hess, 0, 2);
    params.loss = LK_TD_HUBER;
    CHECK(LK(td)(NULL, &shape, q, LK_U8, action, reward, NULL, next_q, online, NULL, &params, &options, loss, grad, NULL,
                 td_error) == LK_OK);
    TEST(expect)(2, td_error, (T)1.5, 2);
    TEST(expect)(2, loss, 1, (T)1.5);
    TEST(expect)(2, grad, 0, -1);
}

#undef T
#undef LK
#undef TEST
#undef PROBABILITIES
