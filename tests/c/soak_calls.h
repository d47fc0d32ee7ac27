/* One small call of a type's functions, the `number`-th: soak.c includes this once for each type. */

static void TEST(call)(const lk_context *ctx, unsigned number)
{
    static const T input[ELEMENTS] = {(T)0.1, (T)0.9, (T)0.5, (T)0.25}, target[ELEMENTS] = {1, 0, 1, (T)0.5};
    static const int64_t indices[ROWS] = {0, 5, 2, 3};
    static const int64_t wrong_indices[ROWS] = {0, 5, 2, 6};
    static T loss[ELEMENTS], grad[ELEMENTS], hess[ELEMENTS], td_error[ROWS];
    const lk_class_shape shape = LK_CLASS_ROWS(ROWS, CLASSES);
    const lk_class_shape columns = {sizeof(lk_class_shape), 1, CLASSES, ROWS, 0, 0, 0, 0, 0, 0};
    const lk_td_shape td_shape = LK_TD_SHAPE(ROWS, CLASSES);
    lk_options options = LK_OPTIONS_INIT;
    lk_status status = LK_OK, expected = LK_OK;

    options.reduction = (lk_reduction)(number / 20 % 3);
    if (number / 60 % 2)
        options.cost = &cost;
    switch (number % 20) {
    case 0: status = LK(mse)(ctx, ELEMENTS, input, target, NULL, &options, loss, grad, NULL); break;
    case 1: status = LK(l1)(ctx, ELEMENTS, input, target, target, &options, loss, grad, hess); break;
    case 2: status = LK(huber)(ctx, ELEMENTS, input, target, NULL, 1, &options, loss, grad, NULL); break;
    case 3: status = LK(smooth_l1)(ctx, ELEMENTS, input, target, NULL, 1, &options, loss, NULL, hess); break;
    case 4: status = LK(bce)(ctx, ELEMENTS, input, target, NULL, &options, loss, grad, NULL); break;
    case 5:
        status = LK(bce_with_logits)(ctx, ELEMENTS, input, target, NULL, target, 1, NULL, &options, loss, grad, NULL);
        break;
    case 6: status = LK(likelihood)(ctx, ELEMENTS, input, target, NULL, &options, loss, grad, NULL); break;
    case 7:
        status = LK(cross_entropy)(ctx, &shape, input, LK_I64, indices, NULL, NULL, NULL, &options, loss, grad, NULL);
        break;
    case 8:
        status = LK(cross_entropy)(ctx, &columns, input, LK_I64, indices, input, NULL, NULL, &options, loss, grad,
                                   hess);
        break;
    case 9:
        status = LK(cross_entropy)(ctx, &shape, input, sizeof(T) == 4 ? LK_F32 : LK_F64, target, NULL, NULL, NULL,
                                   &options, loss, grad, NULL);
        break;
    case 10:
        status = LK(nll)(ctx, &shape, input, LK_I64, indices, NULL, target, NULL, &options, loss, grad, NULL);
        break;
    case 11: status = LK(softmax)(ctx, &shape, input, grad); break;
    case 12: status = LK(softmax_backward)(ctx, &shape, input, target, grad); break;
    case 13: status = LK(log_softmax)(ctx, &columns, input, grad); break;
    case 14: status = LK(log_softmax_backward)(ctx, &shape, input, target, grad); break;
    case 15:
        status = LK(td)(ctx, &td_shape, input, LK_I64, indices, target, NULL, input, target, NULL, NULL, &options, loss,
                        grad, NULL, td_error);
        break;
    case 16:
        expected = LK_TARGET_OUT_OF_RANGE;
        status = LK(cross_entropy)(ctx, &shape, input, LK_I64, wrong_indices, NULL, NULL, NULL, &options, loss, grad,
                                   NULL);
        break;
    case 17:
        expected = LK_PARTIAL_OVERLAP;
        status = LK(mse)(ctx, ELEMENTS - 1, input, target, NULL, NULL, NULL, grad, grad + 1);
        break;
    case 18:
        expected = LK_NULL_POINTER;
        status = LK(l1)(ctx, ELEMENTS, NULL, target, NULL, &options, loss, grad, NULL);
        break;
    default: status = lk_cost_add(&cost, (double)loss[0], 1.0); break;
    }
    CHECK(status == expected);
}

#undef T
#undef LK
#undef TEST
