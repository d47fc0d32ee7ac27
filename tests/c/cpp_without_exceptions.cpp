// Compiled with -fno-exceptions: calls with std::nothrow are as ever, the others end the program when they fail.
#include "losskit.hpp"

#include "check.h"

int main()
{
    const float input[2] = {0.5f, 3}, target[2] = {1, 1}, one[1] = {1};
    float grad[2];
    CHECK(losskit::mse(input, target, losskit::grad(grad)) == 2.125f);
    const losskit::result failed = losskit::mse(std::nothrow, input, one, losskit::outputs<float>());
    CHECK(!failed && failed.message() == "target has 1 elements, 2 are needed");
    std::puts("and now one that fails");
    std::fflush(stdout);
    losskit::mse(input, one, losskit::grad(grad));
}
