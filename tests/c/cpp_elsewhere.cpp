// The header needs no other, and may be in several translation units, also of different standards.
#include "losskit.hpp"

#include <vector>

float mse_elsewhere(const std::vector<float> &input, const std::vector<float> &target)
{
    losskit::options<float> options;
    return losskit::mse(input, target, options);
}
