// Programs that must not compile, one a case. "Error:" is before the cases of which this is a part of the only error that
// the compiler finds. Without a case it compiles. tests/c_programs.rs goes through them.
#include "losskit.hpp"

#include <array>
#include <vector>

namespace {

const std::vector<float> x(4), y(4), w(4), rows(2);
const std::vector<std::int64_t> t(2);
const losskit::class_shape shape(2, 2);
std::vector<float> g(4);
std::vector<double> doubles(4);

} // namespace

int main()
{
    losskit::options<float> options;
    losskit::mse(x, y, losskit::grad(g), options);
    losskit::cross_entropy(shape, x, t, losskit::grad(g));

// Error: write losskit::grad(g) for it; weights are options, as in {.weight = w}
#ifdef CASE_WEIGHTS_AS_IN_C
    losskit::mse(x, y, w);
#endif
#ifdef CASE_BARE_GRADIENT
    losskit::mse(x, y, g, options);
#endif
#ifdef CASE_GRADIENT_OF_OPTIONS
    losskit::huber(x, y, g, losskit::huber_options<float>());
#endif
#ifdef CASE_SPAN
    losskit::mse(x, y, losskit::span<float>(g));
#endif
#ifdef CASE_POINTER
    losskit::mse(x, y, g.data());
#endif
#ifdef CASE_C_ARRAY
    float array[4];
    losskit::mse(x, y, array);
#endif
#ifdef CASE_CLASSES
    losskit::cross_entropy(shape, x, t, g);
#endif
#ifdef CASE_NLL
    losskit::nll({2, 2}, x, t, g);
#endif
#ifdef CASE_DISTILLATION
    losskit::distillation(shape, x, y, g);
#endif
#ifdef CASE_TD
    losskit::td({2, 2}, x, losskit::td_inputs<float>(), g);
#endif
#ifdef CASE_SOFTMAX_BACKWARD
    losskit::softmax_backward(shape, x, y, g);
#endif
#ifdef CASE_SOFTMAX_BACKWARD_NOTHROW
    (void)losskit::log_softmax_backward(std::nothrow, shape, x, y, g);
#endif
#ifdef CASE_ENTROPY_BACKWARD
    losskit::entropy_backward(shape, x, rows, g);
#endif
#ifdef CASE_SELECTIVE_BACKWARD
    losskit::selective_log_softmax_backward(shape, x, t, losskit::token_grads<float>(), g);
#endif
#ifdef CASE_STATES
    losskit::softmax_states(2).grad({2, 2, 0}, x, t, g);
#endif
// Error: a gradient is written: its array cannot be const
#ifdef CASE_CONST_GRADIENT
    losskit::mse(x, y, losskit::grad(w));
#endif
// Error: a gradient would be lost with this array, which is about to be destroyed
#ifdef CASE_LOST_GRADIENT
    losskit::mse(x, y, losskit::grad(std::vector<float>(4)));
#endif
// Error: a gradient's elements are of the input's own type
#ifdef CASE_GRADIENT_OF_ANOTHER_TYPE
    losskit::mse(x, y, losskit::grad(doubles));
#endif

// Error: targets are indices, arrays of std::int16_t, std::int32_t, std::int64_t, std::uint8_t, std::uint16_t, std::uint32_t or std::uint64_t, or probabilities of the logits' own type
#ifdef CASE_TARGETS_OF_BOOLS
    losskit::cross_entropy(shape, x, std::array<bool, 2>());
#endif
#ifdef CASE_TARGETS_OF_CHARACTERS
    losskit::cross_entropy(shape, x, std::vector<char>(2), losskit::grad(g));
#endif
#ifdef CASE_PROBABILITIES_OF_ANOTHER_TYPE
    losskit::cross_entropy(shape, x, doubles);
#endif
// Error: indices are arrays of std::int16_t, std::int32_t, std::int64_t, std::uint8_t, std::uint16_t, std::uint32_t or std::uint64_t
#ifdef CASE_PROBABILITIES_OF_NLL
    losskit::nll(shape, x, y);
#endif
#ifdef CASE_INDICES
    losskit::selective_log_softmax(shape, x, std::vector<signed char>(2));
#endif
#ifdef CASE_OPTIONAL_INDICES
    losskit::softmax_states(2).update({2, 2, 0}, x, std::vector<signed char>(2));
#endif
#ifdef CASE_ACTIONS
    losskit::td_inputs<float> inputs;
    inputs.action = y;
#endif
}
