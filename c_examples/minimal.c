/* The smallest useful call: cross-entropy of two samples over three classes, and its gradient. */
#include <stdio.h>
#include "losskit.h"

int main(void)
{
    const float logits[6] = {2.0f, 1.0f, 0.1f, 0.5f, 2.5f, 0.0f};
    const int32_t targets[2] = {0, 1};
    const lk_class_shape shape = LK_CLASS_ROWS(2, 3);
    float loss, grad[6];

    if (lk_cross_entropy_f32(NULL, &shape, logits, LK_I32, targets, NULL, NULL, NULL, NULL,
                             &loss, grad, NULL) != LK_OK) {
        fprintf(stderr, "%s\n", lk_last_error());
        return 1;
    }
    printf("loss %.4f, gradient of the first row %+.4f %+.4f %+.4f\n", loss, grad[0], grad[1], grad[2]);
    return 0;
}
