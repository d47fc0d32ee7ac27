/**
 * The short form of lk_cross_entropy_f32, which has all options: the mean cross-entropy of dense rows of logits,
 * and its gradient, on the default threads. `targets` has one class index for each row; rows with target -100 are
 * ignored. `loss` and `grad` may be NULL, and `grad` may be `logits`.
 */
static inline lk_status lk_cross_entropy_i32_mean_f32(size_t rows,
                                                      size_t classes,
                                                      const float *logits,
                                                      const int32_t *targets,
                                                      float *loss,
                                                      float *grad)
{
    const struct lk_class_shape shape = LK_CLASS_ROWS(rows, classes);
    return lk_cross_entropy_f32(NULL, &shape, logits, LK_I32, targets, NULL, NULL, NULL, NULL, loss, grad, NULL);
}

/**
 * As lk_cross_entropy_i32_mean_f32, with int64_t targets.
 */
static inline lk_status lk_cross_entropy_i64_mean_f32(size_t rows,
                                                      size_t classes,
                                                      const float *logits,
                                                      const int64_t *targets,
                                                      float *loss,
                                                      float *grad)
{
    const struct lk_class_shape shape = LK_CLASS_ROWS(rows, classes);
    return lk_cross_entropy_f32(NULL, &shape, logits, LK_I64, targets, NULL, NULL, NULL, NULL, loss, grad, NULL);
}

/**
 * The short form of lk_mse_f32: the mean squared error of `n` elements, and its gradient. `loss` and `grad` may be
 * NULL, and `grad` may be `input`.
 */
static inline lk_status lk_mse_mean_f32(size_t n, const float *input, const float *target, float *loss, float *grad)
{
    return lk_mse_f32(NULL, n, input, target, NULL, NULL, loss, grad, NULL);
}

/**
 * The short form of lk_bce_with_logits_f32: the mean binary cross-entropy of `n` logits and labels, and its
 * gradient. `loss` and `grad` may be NULL, and `grad` may be `input`.
 */
static inline lk_status lk_bce_with_logits_mean_f32(size_t n,
                                                    const float *input,
                                                    const float *target,
                                                    float *loss,
                                                    float *grad)
{
    return lk_bce_with_logits_f32(NULL, n, input, target, NULL, NULL, 0, NULL, NULL, loss, grad, NULL);
}

