// A program of somebody else's. EXPECTED_VERSION is what it was told it is linked with.
#include <losskit.hpp>

#include <iostream>
#include <vector>

int main()
{
    const std::vector<double> input{0.5, 3.0}, target{1.0, 1.0};
    std::vector<double> grad(2);
    const double loss = losskit::mse(input, target, losskit::grad(grad));

    if (!losskit::abi_matches() || losskit::version() != EXPECTED_VERSION) {
        std::cerr << "version " << losskit::version() << ", not " << EXPECTED_VERSION << '\n';
        return 1;
    }
    try {
        losskit::huber_options<double> options;
        options.delta = -1.0;
        losskit::huber(input, target, options);
        return 1;
    } catch (const losskit::error &error) {
        std::cout << "C++: losskit " << losskit::version() << ", loss " << loss << ", gradient " << grad[0] << ' '
                  << grad[1] << ", error \"" << error.what() << "\"\n";
    }
    return !(loss == 2.125 && grad[0] == -0.5 && grad[1] == 2.0);
}
