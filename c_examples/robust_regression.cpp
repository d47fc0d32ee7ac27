// Regression where some of the measurements are wrong, with the C++ header: how far a disease will progress in a year, as
// a linear function of ten measurements (data/README.md), fitted by gradient descent.
//
// Every tenth training target has its decimal point lost: it is ten times too large. The squared error follows such
// outliers; the absolute error and Huber's loss hardly notice them. All three are fitted to the spoilt targets, the
// squared error also to the true ones, and their errors on patients of whom no fit knew are compared, in a table and in a
// picture: build/robust_regression.svg, or the file that is given.
//
// Fails unless the robust fits are about as good as if nothing had been wrong, and the squared error's is not.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iomanip>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "losskit.hpp"

namespace {

constexpr std::size_t features = 10;
constexpr std::size_t samples = 442;
constexpr std::size_t test_every = 4; // each fourth patient is for testing
constexpr std::size_t outlier_every = 10;
constexpr int steps = 20000;
constexpr double huber_delta = 50;     // about what a good fit is off by
constexpr double robust_within = 1.05; // of the error without outliers
constexpr double squared_beyond = 1.5;

using row = std::array<double, features>;

struct dataset {
    std::vector<row> rows;
    std::vector<double> target;
};

dataset read(const std::string &path)
{
    std::ifstream file(path);
    std::string line;
    if (!std::getline(file, line))
        throw std::runtime_error(path + " cannot be read; run in c_examples/");
    dataset data;
    while (std::getline(file, line)) {
        std::replace(line.begin(), line.end(), ',', ' ');
        std::istringstream fields(line);
        row x{};
        double y{};
        for (double &value : x)
            fields >> value;
        if (!(fields >> y))
            throw std::runtime_error(path + " has a line that is not " + std::to_string(features + 1) + " numbers");
        data.rows.push_back(x);
        data.target.push_back(y);
    }
    if (data.rows.size() != samples)
        throw std::runtime_error(path + " has not " + std::to_string(samples) + " samples");
    return data;
}

// Each feature less its mean, divided by its standard deviation.
void standardise(std::vector<row> &rows)
{
    const double n = static_cast<double>(rows.size());
    for (std::size_t j = 0; j < features; j++) {
        double mean = 0, variance = 0;
        for (const row &x : rows)
            mean += x[j] / n;
        for (const row &x : rows)
            variance += (x[j] - mean) * (x[j] - mean) / n;
        for (row &x : rows)
            x[j] = (x[j] - mean) / std::sqrt(variance);
    }
}

struct linear {
    row weight{};
    double bias = 0;

    std::vector<double> operator()(const std::vector<row> &rows) const
    {
        std::vector<double> output;
        for (const row &x : rows) {
            double sum = bias;
            for (std::size_t j = 0; j < features; j++)
                sum += weight[j] * x[j];
            output.push_back(sum);
        }
        return output;
    }
};

// Gradient descent on all samples. `loss(output, target, grad)` writes the gradient of the mean loss. Steps shrink towards
// the end, for a gradient that does not: the absolute error's.
template <class Loss>
linear fit(const dataset &data, double step, Loss loss)
{
    linear model;
    std::vector<double> grad(data.target.size());
    for (int i = 0; i < steps; i++) {
        loss(model(data.rows), data.target, grad);
        const double now = step * (1 - static_cast<double>(i) / steps);
        for (std::size_t k = 0; k < grad.size(); k++) {
            for (std::size_t j = 0; j < features; j++)
                model.weight[j] -= now * grad[k] * data.rows[k][j];
            model.bias -= now * grad[k];
        }
    }
    return model;
}

struct result {
    std::string name, colour;
    std::vector<double> errors; // absolute, of the test samples, sorted
    double mean = 0;            // of them
    double rmse = 0;

    result(std::string name_, std::string colour_, const linear &model, const dataset &test)
        : name(std::move(name_)), colour(std::move(colour_)), errors(test.target.size())
    {
        const std::vector<double> output = model(test.rows);
        losskit::options<double> each;
        each.reduction = losskit::reduction::none;
        losskit::outputs<double> out;
        out.loss = errors;
        losskit::l1(output, test.target, out, each);
        mean = losskit::l1(output, test.target);
        rmse = std::sqrt(losskit::mse(output, test.target));
        std::sort(errors.begin(), errors.end());
    }
};

// For each fit, the share of test samples whose error is at most so much: the further to the left, the better.
void draw(const std::string &path, const std::vector<result> &results)
{
    constexpr double width = 640, height = 360, left = 50, top = 30, right = 15, bottom = 45, most = 250;
    const auto x = [=](double error) { return left + (width - left - right) * std::min(error, most) / most; };
    const auto y = [=](double share) { return height - bottom - (height - top - bottom) * share; };
    std::ofstream svg(path);
    svg << std::fixed << std::setprecision(1)
        << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 360\" width=\"640\" height=\"360\" "
           "font-family=\"sans-serif\" font-size=\"12\">\n"
           "<rect width=\"640\" height=\"360\" fill=\"white\"/>\n"
           "<text x=\"50\" y=\"18\">share of test samples (%) with at most this error</text>\n"
           "<text x=\"625\" y=\"350\" text-anchor=\"end\">absolute error</text>\n";
    for (int percent = 0; percent <= 100; percent += 25)
        svg << "<path d=\"M" << x(0) << ' ' << y(percent / 100.0) << 'H' << x(most)
            << "\" stroke=\"#ddd\"/><text x=\"44\" y=\"" << y(percent / 100.0) + 4 << "\" text-anchor=\"end\">" << percent
            << "</text>\n";
    for (int error = 0; error <= 250; error += 50)
        svg << "<text x=\"" << x(error) << "\" y=\"332\" text-anchor=\"middle\">" << error << "</text>\n";
    double legend = 200;
    for (const result &each : results) {
        svg << "<path fill=\"none\" stroke-width=\"2\" stroke=\"" << each.colour << "\" d=\"M" << x(0) << ' ' << y(0);
        for (std::size_t i = 0; i < each.errors.size() && each.errors[i] <= most; i++)
            svg << 'H' << x(each.errors[i]) << 'V'
                << y(static_cast<double>(i + 1) / static_cast<double>(each.errors.size()));
        svg << "\"/>\n<path stroke-width=\"2\" stroke=\"" << each.colour << "\" d=\"M350 " << legend - 4
            << "h24\"/><text x=\"380\" y=\"" << legend << "\">" << each.name << ", mean error " << each.mean
            << "</text>\n";
        legend += 20;
    }
    svg << "</svg>\n";
    if (!svg.flush())
        throw std::runtime_error(path + " cannot be written");
}

int run(const std::string &picture)
{
    dataset all = read("data/diabetes.csv"), train, test;
    standardise(all.rows);
    for (std::size_t i = 0; i < samples; i++) {
        dataset &part = i % test_every == 0 ? test : train;
        part.rows.push_back(all.rows[i]);
        part.target.push_back(all.target[i]);
    }
    dataset spoilt = train;
    for (std::size_t i = 0; i < spoilt.target.size(); i += outlier_every)
        spoilt.target[i] *= 10;

    using losskit::grad;
    const auto mse = [](const auto &output, const auto &target, auto &to) { losskit::mse(output, target, grad(to)); };
    const auto l1 = [](const auto &output, const auto &target, auto &to) { losskit::l1(output, target, grad(to)); };
    const auto huber = [](const auto &output, const auto &target, auto &to) {
        losskit::huber_options<double> options;
        options.delta = huber_delta;
        losskit::huber(output, target, grad(to), options);
    };
    // steps as large as the curvature permits: mse's is 2, huber's at most 1, l1's gradient never shrinks
    const std::vector<result> results{
        {"mse without outliers", "#888888", fit(train, 0.1, mse), test},
        {"mse", "#d62728", fit(spoilt, 0.1, mse), test},
        {"l1", "#1f77b4", fit(spoilt, 1.0, l1), test},
        {"huber", "#2ca02c", fit(spoilt, 0.2, huber), test},
    };
    std::printf("%zu training samples, of which %zu have ten times their target; %zu test samples\n\n",
                train.target.size(), (train.target.size() + outlier_every - 1) / outlier_every, test.target.size());
    std::printf("%-22s %12s %12s %12s\n", "fitted loss", "mean error", "median", "root of mse");
    for (const result &each : results)
        std::printf("%-22s %12.2f %12.2f %12.2f\n", each.name.c_str(), each.mean, each.errors[each.errors.size() / 2],
                    each.rmse);
    draw(picture, results);
    std::printf("\n%s\n", picture.c_str());

    const double clean = results[0].mean;
    const bool robust = results[2].mean <= robust_within * clean && results[3].mean <= robust_within * clean;
    const bool squared = results[1].mean >= squared_beyond * clean;
    if (!robust || !squared) {
        std::fflush(stdout);
        std::fprintf(stderr, "l1 and huber should be within %g times the error without outliers, mse beyond %g times\n",
                     robust_within, squared_beyond);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

} // namespace

int main(int argc, char **argv)
{
    try {
        return run(argc > 1 ? argv[1] : "build/robust_regression.svg");
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return EXIT_FAILURE;
    }
}
