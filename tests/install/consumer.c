/* A program of somebody else's. EXPECTED_VERSION is what it was told it is linked with. */
#include <losskit.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    const float input[2] = {0.5f, 3.0f}, target[2] = {1.0f, 1.0f};
    float loss = 0.0f, grad[2] = {0.0f, 0.0f};

    if (lk_mse_f32(NULL, 2, input, target, NULL, NULL, &loss, grad, NULL) != LK_OK) {
        fprintf(stderr, "%s\n", lk_last_error());
        return 1;
    }
    if (lk_abi_version() != LK_ABI_VERSION || strcmp(lk_version(), EXPECTED_VERSION) != 0) {
        fprintf(stderr, "version %s, not %s\n", lk_version(), EXPECTED_VERSION);
        return 1;
    }
    printf("C: losskit %s, loss %g, gradient %g %g\n", lk_version(), loss, grad[0], grad[1]);
    return !(loss == 2.125f && grad[0] == -0.5f && grad[1] == 2.0f);
}
