// Calls everything in losskit.hpp, in C++17 and C++20, with values that can be followed in one's head.
#include "losskit.hpp"
#include "pointwise_losses.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "check.h"

namespace {

template <class T>
using vec = std::vector<T>;

template <class T>
const T log_2 = static_cast<T>(0.69314718055994530942L);

template <class T>
constexpr T r(double value) // of the element type
{
    return static_cast<T>(value);
}

template <class T>
const T infinity = std::numeric_limits<T>::infinity();

// The error that a call throws, which must be one.
template <class Call>
losskit::error thrown_by(Call call)
{
    try {
        call();
    } catch (const losskit::error &error) {
        return error;
    }
    std::fputs("nothing was thrown\n", stderr);
    std::exit(EXIT_FAILURE);
}

template <class Call>
void throws(losskit::status status, const char *message, Call call)
{
    const losskit::error error = thrown_by(call);
    if (error.status() != status || std::strcmp(error.what(), message) != 0)
        std::fprintf(stderr, "thrown: %s\n", error.what());
    CHECK(error.status() == status);
    CHECK(std::strcmp(error.what(), message) == 0);
}

// Of a call that returns one number, although each sample is to have its own.
const char *const returned = "this call returns a mean or a sum: for reduction::none, which has a loss for each sample, "
                             "call the form that takes outputs and set outputs::loss";

template <class Call>
void throws_mismatch(const char *message, Call call)
{
    throws(losskit::status::length_mismatch, message, call);
}

// Value, gradient and each sample's loss of one pointwise loss, in each of the four ways to call it.
template <class T, class Loss, class Options>
void pointwise(const Loss &loss, const vec<T> &input, const vec<T> &target, Options options, const vec<T> &losses,
               const vec<T> &grads, const vec<T> &hesses)
{
    const std::size_t n = input.size();
    const T mean = (losses[0] + losses[1]) / 2;
    vec<T> grad(n), hess(n), each(n);

    CHECK(loss(input, target, options) == mean);
    CHECK(loss(input, target, losskit::grad(grad), options) == mean);
    for (std::size_t i = 0; i < n; ++i)
        CHECK(grad[i] == grads[i] / 2);

    options.reduction = losskit::reduction::sum;
    CHECK(loss(input, target, options) == losses[0] + losses[1]);
    CHECK(loss(input, target, losskit::grad(grad), options) == losses[0] + losses[1]);
    CHECK(grad == grads);

    options.reduction = losskit::reduction::none;
    losskit::outputs<T> out;
    out.loss = each;
    out.grad = grad;
    out.hess = hess;
    std::fill(grad.begin(), grad.end(), T(7));
    CHECK(loss(input, target, out, options) == losskit::status::ok);
    CHECK(each == losses && grad == grads && hess == hesses);

    std::fill(each.begin(), each.end(), T(7));
    std::fill(grad.begin(), grad.end(), T(7));
    out.hess = std::nullopt;
    const losskit::result result = loss(std::nothrow, input, target, out, options);
    CHECK(result && result.status() == losskit::status::ok && result.message() == "LK_OK");
    CHECK(each == losses && grad == grads);

    // the gradient in the input's place
    vec<T> in_place = input;
    out = losskit::outputs<T>();
    out.grad = in_place;
    loss(in_place, target, out, options);
    CHECK(in_place == grads);

    // added to what is there
    options.accumulate_grad = true;
    out.grad = grad;
    loss(input, target, out, options);
    CHECK(grad[0] == 2 * grads[0] && grad[1] == 2 * grads[1]);
    options.accumulate_grad = false;

    // scale, weight sum, cost and context
    losskit::cost cost;
    double weight_sum = 0;
    const losskit::context one_thread(1);
    options.reduction = losskit::reduction::mean;
    options.grad_scale = 4;
    options.weight_sum = &weight_sum;
    options.cost = &cost;
    options.context = &one_thread;
    CHECK(loss(input, target, losskit::grad(grad), options) == mean);
    CHECK(grad[0] == 2 * grads[0] && weight_sum == 2);
    CHECK(static_cast<T>(cost.mean()) == mean);

    // lengths
    options = Options();
    const vec<T> three(3), none;
    vec<T> grad_3(3), no_grad;
    throws_mismatch("target has 3 elements, 2 are needed", [&] { loss(input, three, options); });
    throws_mismatch("target has 0 elements, 2 are needed", [&] { loss(input, none, options); });
    throws_mismatch("grad has 3 elements, 2 are needed", [&] { loss(input, target, losskit::grad(grad_3), options); });
    throws_mismatch("grad has 0 elements, 2 are needed", [&] { loss(input, target, losskit::grad(no_grad), options); });
    options.weight = three;
    throws_mismatch("weight has 3 elements, 2 are needed", [&] { loss(input, target, options); });
    options = Options();
    out = losskit::outputs<T>();
    out.hess = grad_3;
    throws_mismatch("hess has 3 elements, 2 are needed", [&] { loss(input, target, out, options); });
    out = losskit::outputs<T>();
    out.loss = each;
    throws_mismatch("loss has 2 elements, 1 are needed", [&] { loss(input, target, out, options); });
    options.reduction = losskit::reduction::none;
    throws(losskit::status::unsupported_option, returned, [&] { loss(input, target, options); });
    throws(losskit::status::unsupported_option, returned, [&] { loss(input, target, losskit::grad(grad), options); });
    out.loss = grad_3;
    grad_3[0] = 7;
    const losskit::result misfit = loss(std::nothrow, input, target, out, options);
    CHECK(!misfit && misfit.status() == losskit::status::length_mismatch);
    CHECK(misfit.message() == "loss has 3 elements, 2 are needed");
    CHECK(grad_3[0] == 7);

    // what the library finds
    options = Options();
    options.grad_scale = std::nan("");
    throws(losskit::status::nan_option, "grad_scale is NaN", [&] { loss(input, target, options); });
    const losskit::result failed = loss(std::nothrow, input, target, losskit::outputs<T>(), options);
    CHECK(!failed && failed.status() == losskit::status::nan_option && failed.message() == "grad_scale is NaN");
    // its own words, whatever fails after it
    losskit::result copy = failed;
    CHECK(!loss(std::nothrow, input, three, losskit::outputs<T>()));
    CHECK(!losskit::context::make(std::nothrow, LK_MAX_THREADS + 1));
    CHECK(failed.message() == "grad_scale is NaN" && copy.message() == "grad_scale is NaN");
    copy = misfit;
    CHECK(copy.message() == misfit.message() && failed.message() == "grad_scale is NaN");
    options = Options();
    options.accumulate_grad = true;
    in_place = input;
    throws(losskit::status::partial_overlap,
           "input and grad overlap; a gradient may take its input's place, but not with accumulate_grad (LK_ACCUMULATE_GRAD)",
           [&] { loss(in_place, target, losskit::grad(in_place), options); });
    CHECK(in_place == input);

    // nothing at all
    CHECK(std::isnan(loss(none, none)));
    CHECK(std::isnan(loss(none, none, losskit::grad(no_grad))));
    options = Options();
    options.zero_if_empty = true;
    CHECK(loss(none, none, options) == 0);

    // no Hessian is less than this one
    options = Options();
    options.min_hess = 1000;
    options.reduction = losskit::reduction::sum;
    out = losskit::outputs<T>();
    out.hess = hess;
    loss(input, target, out, options);
    CHECK(hess == vec<T>(2, 1000));

    static_assert(noexcept(loss(std::nothrow, input, target, losskit::outputs<T>(), options)), "");
    static_assert(!noexcept(loss(input, target)), "");
    static_assert(std::is_same_v<decltype(loss(input, target, losskit::grad(grad))), T>,
                  "the loss is of the element type");
}

// The same, where what each sample has is right.
template <class T, class Loss, class Options>
void pointwise_whatever_it_gives(const Loss &loss, const vec<T> &input, const vec<T> &target, Options options)
{
    vec<T> losses(2), grads(2), hesses(2);
    losskit::outputs<T> out;
    out.loss = losses;
    out.grad = grads;
    out.hess = hesses;
    Options each = options;
    each.reduction = losskit::reduction::none;
    CHECK(loss(input, target, out, each) == losskit::status::ok);
    pointwise<T>(loss, input, target, options, losses, grads, hesses);
}

template <class T>
void pointwise_losses()
{
    const vec<T> input{r<T>(0.5), 3}, target{1, 1}, zeros{0, 0}, half{r<T>(0.5), r<T>(0.5)}, weight{1, 2};
    const vec<T> three{3};
    using losskit::options;

    pointwise<T>(losskit::mse, input, target, options<T>(), {r<T>(0.25), 4}, {-1, 4}, {2, 2});
    pointwise<T>(losskit::l1, input, target, options<T>(), {r<T>(0.5), 2}, {-1, 1}, {0, 0});
    pointwise<T>(losskit::huber, input, target, losskit::huber_options<T>(), {r<T>(0.125), r<T>(1.5)}, {r<T>(-0.5), 1},
                 {1, 0});
    pointwise<T>(losskit::smooth_l1, input, target, losskit::smooth_l1_options<T>(), {r<T>(0.125), r<T>(1.5)},
                 {r<T>(-0.5), 1}, {1, 0});
    pointwise<T>(losskit::bce, half, target, options<T>(), {log_2<T>, log_2<T>}, {-2, -2}, {4, 4});
    pointwise<T>(losskit::bce_with_logits, zeros, target, losskit::bce_with_logits_options<T>(), {log_2<T>, log_2<T>},
                 {r<T>(-0.5), r<T>(-0.5)}, {r<T>(0.25), r<T>(0.25)});
    // and all that there are
#define PLAIN(name) pointwise_whatever_it_gives<T>(losskit::name, half, target, options<T>());
#define WITH_OPTIONS(name) pointwise_whatever_it_gives<T>(losskit::name, half, target, losskit::name##_options<T>());
    POINTWISE_LOSSES(PLAIN, WITH_OPTIONS, WITH_OPTIONS)
#undef PLAIN
#undef WITH_OPTIONS

    // options that only some have
    losskit::huber_options<T> huber;
    huber.delta = 0.5;
    huber.weight = weight;
    CHECK(losskit::huber(input, target, huber) == r<T>((0.125 + 2 * 0.875) / 2));
    huber.delta = 0;
    throws(losskit::status::invalid_delta, "delta 0 is not greater than 0",
           [&] { losskit::huber(input, target, huber); });
    losskit::smooth_l1_options<T> smooth;
    smooth.beta = 2;
    CHECK(losskit::smooth_l1(input, target, smooth) == r<T>((0.0625 + 1) / 2));
    smooth.beta = 0;
    CHECK(losskit::smooth_l1(input, target, smooth) == losskit::l1(input, target));
    smooth.beta = -1;
    throws(losskit::status::invalid_beta, "beta -1 is outside its range, or not a number",
           [&] { losskit::smooth_l1(input, target, smooth); });
    vec<T> losses(2);
    losskit::outputs<T> out;
    out.loss = losses;
    losskit::bce_with_logits_options<T> binary;
    binary.reduction = losskit::reduction::none;
    binary.pos_weight = three;
    binary.weight = weight;
    losskit::bce_with_logits(zeros, target, out, binary);
    CHECK((losses == vec<T>{3 * log_2<T>, 6 * log_2<T>}));
    // labels outside of [0, 1] are a remark, if they are looked for
    const vec<T> signs{-1, 1};
    losskit::bce_with_logits_options<T> looking;
    losskit::outputs<T> nothing;
    CHECK(losskit::bce_with_logits(zeros, signs, nothing, looking) == losskit::status::ok);
    looking.check_targets = true;
    CHECK(losskit::bce_with_logits(zeros, signs, nothing, looking) == losskit::status::input_out_of_domain);
    CHECK(losskit::bce_with_logits(zeros, target, nothing, looking) == losskit::status::ok);
    options<T> of_all;
    of_all.check_targets = true;
    CHECK(losskit::bce(half, signs, nothing, of_all) == losskit::status::input_out_of_domain);
    CHECK(losskit::mse(half, signs, nothing, of_all) == losskit::status::ok);

    // two labels of two elements each
    losskit::bce_with_logits_options<T> channels;
    channels.pos_weight = weight;
    channels.inner = 2;
    channels.reduction = losskit::reduction::none;
    const vec<T> four_zeros(4), four_ones(4, 1);
    vec<T> four(4);
    nothing.loss = four;
    CHECK(losskit::bce_with_logits(four_zeros, four_ones, nothing, channels) == losskit::status::ok);
    CHECK(four == (vec<T>{log_2<T>, log_2<T>, 2 * log_2<T>, 2 * log_2<T>}));
    channels.inner = 4;
    throws_mismatch("pos_weight has 2 elements, 1 are needed",
                    [&] { losskit::bce_with_logits(four_zeros, four_ones, nothing, channels); });

    // delta as it was given, not rounded to the element type
    losskit::huber_options<T> tiny;
    for (const double sign : {1.0, -1.0}) {
        tiny.delta = sign * (std::is_same_v<T, float> ? 1e-60 : 0);
        const losskit::error error = thrown_by([&] { losskit::huber(input, target, tiny); });
        CHECK(error.status() == losskit::status::invalid_delta);
        if (std::is_same_v<T, float>)
            CHECK(std::strcmp(error.what(), sign > 0 ? "delta 1e-60 is 0 in the element type, must be greater than 0"
                                                     : "delta -1e-60 is not greater than 0") == 0);
    }

    binary.pos_weight = weight;
    binary.weight = std::nullopt;
    losskit::bce_with_logits(zeros, target, out, binary);
    CHECK((losses == vec<T>{log_2<T>, 2 * log_2<T>}));
    const vec<T> too_many{1, 1, 1};
    binary.pos_weight = too_many;
    CHECK(thrown_by([&] { losskit::bce_with_logits(zeros, target, out, binary); }).status() ==
          losskit::status::length_mismatch);

    // a remark is no error
    options<T> each;
    each.reduction = losskit::reduction::none;
    const vec<T> outside{r<T>(0.5), 3};
    CHECK(losskit::bce(outside, target, out, each) == losskit::status::input_out_of_domain);
    CHECK(losses[0] == log_2<T> && std::isnan(losses[1]));
    CHECK(std::isnan(losskit::bce(outside, target)));
    const losskit::result remark = losskit::bce(std::nothrow, outside, target, out, each);
    CHECK(remark && remark.status() == losskit::status::input_out_of_domain);
    CHECK(remark.message() == "LK_INPUT_OUT_OF_DOMAIN");
    CHECK(remark.or_throw() == losskit::status::input_out_of_domain);
}

template <class T>
void class_losses()
{
    const losskit::class_shape shape{2, 2};
    const vec<T> logits{0, 0, 5, 5}, probabilities{1, 0, 0, 1}, class_weight{1, 3}, row_weight{2, 1};
    const vec<std::int32_t> targets{0, 1}, out_of_range{0, 2};
    vec<T> loss(2), grad(4), hess(4);
    losskit::outputs<T> out;
    out.loss = loss;
    out.grad = grad;
    out.hess = hess;

    // every type of target, by whatever name
    CHECK(losskit::cross_entropy(shape, logits, targets) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, vec<std::int64_t>{0, 1}) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, vec<std::uint8_t>{0, 1}) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, vec<int>{0, 1}) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, vec<long>{0, 1}) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, vec<long long>{0, 1}) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, std::array<unsigned char, 2>{0, 1}) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, losskit::indices(targets)) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, probabilities) == log_2<T>);
    CHECK(losskit::cross_entropy(shape, logits, targets, losskit::grad(grad)) == log_2<T>);
    CHECK((grad == vec<T>{r<T>(-0.25), r<T>(0.25), r<T>(0.25), r<T>(-0.25)}));

    losskit::cross_entropy_options<T> options;
    options.class_weight = class_weight;
    options.row_weight = row_weight;
    double weight_sum = 0;
    options.weight_sum = &weight_sum;
    options.reduction = losskit::reduction::none;
    CHECK(losskit::cross_entropy(shape, logits, targets, out, options) == losskit::status::ok);
    CHECK((loss == vec<T>{2 * log_2<T>, 3 * log_2<T>}) && weight_sum == 5);
    CHECK((grad == vec<T>{-1, 1, r<T>(1.5), r<T>(-1.5)}));
    CHECK((hess == vec<T>{r<T>(0.5), r<T>(0.5), r<T>(0.75), r<T>(0.75)}));

    // of two equal logits the first is the prediction
    losskit::cross_entropy_options<T> counting;
    std::uint64_t correct = 9;
    vec<std::uint8_t> is_correct(2, 7);
    counting.correct = &correct;
    counting.is_correct = is_correct;
    CHECK(losskit::cross_entropy(shape, logits, targets, counting) == log_2<T>);
    CHECK(correct == 1 && (is_correct == vec<std::uint8_t>{1, 0}));
    vec<std::uint8_t> too_many(3);
    counting.is_correct = too_many;
    throws_mismatch("is_correct has 3 elements, 2 are needed",
                    [&] { losskit::cross_entropy(shape, logits, targets, counting); });

    losskit::cross_entropy_options<T> smooth;
    smooth.ignore_index = 1;
    smooth.label_smoothing = 0.5;
    smooth.reduction = losskit::reduction::sum;
    CHECK(losskit::cross_entropy(shape, logits, targets, losskit::grad(grad), smooth) == log_2<T>);
    CHECK((grad == vec<T>{r<T>(-0.25), r<T>(0.25), 0, 0}));
    smooth.label_smoothing = 2;
    throws(losskit::status::invalid_label_smoothing, "label_smoothing 2 is outside [0, 1]",
           [&] { losskit::cross_entropy(shape, logits, targets, smooth); });

    losskit::nll_options<T> nll;
    nll.class_weight = class_weight;
    nll.row_weight = row_weight;
    nll.reduction = losskit::reduction::none;
    CHECK(losskit::nll(shape, logits, targets, out, nll) == losskit::status::ok);
    CHECK((loss == vec<T>{0, -15}) && (grad == vec<T>{-2, 0, 0, -3}) && (hess == vec<T>(4)));
    CHECK(losskit::nll(shape, logits, targets) == r<T>(-2.5));
    CHECK(losskit::nll(shape, logits, vec<std::uint8_t>{0, 1}, losskit::grad(grad)) == r<T>(-2.5));
    CHECK((grad == vec<T>{r<T>(-0.5), 0, 0, r<T>(-0.5)}));
    nll = losskit::nll_options<T>();
    nll.ignore_index = 1;
    CHECK(losskit::nll(shape, logits, targets, nll) == 0);
    CHECK(!losskit::nll(std::nothrow, shape, logits, out_of_range, losskit::outputs<T>()));

    // what is ignored by default
    const vec<std::int64_t> ignored{0, -100};
    CHECK(losskit::cross_entropy(shape, logits, ignored) == log_2<T>);
    CHECK(losskit::nll(shape, logits, ignored) == 0);

    // errors, of either side
    throws(losskit::status::target_out_of_range, "target 2 at row 1 must be below 2",
           [&] { losskit::cross_entropy(shape, logits, out_of_range); });
    const vec<T> three(3);
    throws_mismatch("logits has 3 elements, 4 are needed", [&] { losskit::cross_entropy(shape, three, targets); });
    throws_mismatch("log_probs has 3 elements, 4 are needed", [&] { losskit::nll(shape, three, targets); });
    throws_mismatch("targets has 3 elements, 2 are needed", [&] {
        losskit::cross_entropy(shape, logits, vec<std::int32_t>{0, 1, 0});
    });
    throws_mismatch("targets has 3 elements, 4 are needed", [&] { losskit::cross_entropy(shape, logits, three); });
    vec<T> short_grad(3);
    throws_mismatch("grad has 3 elements, 4 are needed",
                    [&] { losskit::cross_entropy(shape, logits, targets, losskit::grad(short_grad)); });
    options = losskit::cross_entropy_options<T>();
    options.class_weight = three;
    throws_mismatch("class_weight has 3 elements, 2 are needed",
                    [&] { losskit::cross_entropy(shape, logits, targets, options); });
    options = losskit::cross_entropy_options<T>();
    options.row_weight = three;
    throws_mismatch("row_weight has 3 elements, 2 are needed",
                    [&] { losskit::cross_entropy(shape, logits, targets, options); });
    out = losskit::outputs<T>();
    out.hess = short_grad;
    throws_mismatch("hess has 3 elements, 4 are needed", [&] { losskit::nll(shape, logits, targets, out); });
    throws_mismatch("logits has 4 elements, 18446744073709551615 are needed", [&] {
        losskit::cross_entropy({std::numeric_limits<std::size_t>::max() / 2, 4}, logits, targets);
    });
    static_assert(noexcept(losskit::cross_entropy(std::nothrow, shape, logits, targets, out, options)), "");
    static_assert(noexcept(losskit::nll(std::nothrow, shape, logits, targets, out, nll)), "");
    static_assert(!noexcept(losskit::nll(shape, logits, targets)), "");

    // the gradient in the logits' place
    vec<T> in_place = logits;
    CHECK(losskit::cross_entropy(shape, in_place, targets, losskit::grad(in_place)) == log_2<T>);
    CHECK((in_place == vec<T>{r<T>(-0.25), r<T>(0.25), r<T>(0.25), r<T>(-0.25)}));
}

// Padded rows, images, and how long their arrays may be.
template <class T>
void layouts()
{
    const vec<std::uint8_t> targets{0, 1};
    const losskit::class_shape padded = losskit::class_shape(2, 2).with_outer_stride(3);
    CHECK(padded.samples() == 2 && padded.elements() == 5);
    vec<T> logits{0, 0, 99, 5, 5}, grad(5, T(7));
    CHECK(losskit::cross_entropy(padded, logits, targets, losskit::grad(grad)) == log_2<T>);
    CHECK((grad == vec<T>{r<T>(-0.25), r<T>(0.25), 7, r<T>(0.25), r<T>(-0.25)}));
    logits.push_back(99);
    CHECK(losskit::cross_entropy(padded, logits, targets, losskit::grad(grad)) == log_2<T>);
    logits.resize(4);
    throws_mismatch("logits has 4 elements, 5 are needed", [&] { losskit::cross_entropy(padded, logits, targets); });
    const losskit::class_shape dense{2, 2};
    logits.resize(5);
    throws_mismatch("logits has 5 elements, 4 are needed", [&] { losskit::cross_entropy(dense, logits, targets); });

    // one image of two pixels: classes lie apart
    const losskit::class_shape image{1, 2, 2};
    CHECK(image.samples() == 2 && image.elements() == 4);
    const vec<T> pixels{0, 1, 0, 1};
    grad.resize(4);
    CHECK(losskit::cross_entropy(image, pixels, targets, losskit::grad(grad)) == log_2<T>);
    CHECK((grad == vec<T>{r<T>(-0.25), r<T>(0.25), r<T>(0.25), r<T>(-0.25)}));
    const losskit::class_shape apart = image.with_class_stride(3);
    CHECK(apart.elements() == 5);
    const vec<T> pixels_apart{0, 1, 99, 0, 1};
    CHECK(losskit::cross_entropy(apart, pixels_apart, targets) == log_2<T>);
    // a gradient with strides of its own, and a crop
    const vec<T> transposed{0, 2, 99, 0, 2};
    const losskit::class_shape columns = losskit::class_shape(2, 2).with_outer_stride(1).with_class_stride(3);
    CHECK(columns.elements() == 5 && columns.with_dense_grad().grad_elements() == 4);
    CHECK(losskit::cross_entropy(columns.with_dense_grad(), transposed, targets, losskit::grad(grad)) == log_2<T>);
    CHECK((grad == vec<T>{r<T>(-0.25), r<T>(0.25), r<T>(0.25), r<T>(-0.25)}));
    vec<T> wide(7, T(7));
    CHECK(losskit::cross_entropy(columns.with_grad_strides(5, 1), transposed, targets, losskit::grad(wide)) == log_2<T>);
    CHECK((wide == vec<T>{r<T>(-0.25), r<T>(0.25), 7, 7, 7, r<T>(0.25), r<T>(-0.25)}));
    CHECK(thrown_by([&] { losskit::cross_entropy(columns.with_dense_grad(), transposed, targets, losskit::grad(wide)); })
              .status() == losskit::status::length_mismatch);
    vec<T> in_rows(4);
    losskit::softmax(columns.with_dense_grad(), transposed, in_rows);
    CHECK((in_rows == vec<T>{r<T>(0.5), r<T>(0.5), r<T>(0.5), r<T>(0.5)}));
    const vec<T> halves(5, r<T>(0.5)), of_output{1, 0, 99, 0, 1};
    losskit::softmax_backward(columns.with_dense_grad(), halves, of_output, losskit::grad(in_rows));
    CHECK((in_rows == vec<T>{r<T>(0.25), r<T>(-0.25), r<T>(-0.25), r<T>(0.25)}));
    losskit::entropy_backward(columns.with_dense_grad(), transposed, vec<T>{1, 1}, losskit::grad(in_rows));
    CHECK((in_rows == vec<T>{0, 0, 0, 0}));
    CHECK(thrown_by([&] { losskit::softmax(columns.with_dense_grad(), transposed, wide); }).status() ==
          losskit::status::length_mismatch);
    const vec<T> crop{1, 99, 1, 99, 1, 99, 1};
    const losskit::class_shape cropped = losskit::class_shape(1, 2, 2).with_row_stride(1, 2).with_class_stride(4);
    CHECK(cropped.elements() == 7);
    CHECK(losskit::cross_entropy(cropped, crop, targets) == log_2<T>);
    // indices of every type of integer
    CHECK(losskit::cross_entropy({2, 2}, pixels, vec<short>{0, 1}) == losskit::cross_entropy({2, 2}, pixels, vec<int>{0, 1}));
    CHECK(losskit::nll({2, 2}, pixels, vec<unsigned short>{0, 1}) == losskit::nll({2, 2}, pixels, vec<unsigned long>{0, 1}));
    CHECK(losskit::nll({2, 2}, pixels, vec<unsigned>{0, 1}) == losskit::nll({2, 2}, pixels, vec<std::uint64_t>{0, 1}));
    const losskit::class_shape too_near = image.with_class_stride(1);
    CHECK(thrown_by([&] { losskit::cross_entropy(too_near, vec<T>(3), targets); }).status() ==
          losskit::status::invalid_stride);
}

// A call that must fail with these words, thrown and not, and write nothing.
template <class T, class Call>
void refused(losskit::status status, const char *message, vec<T> &written, Call call)
{
    const vec<T> before = written;
    throws(status, message, [&] { call().or_throw(); });
    const losskit::result result = call();
    CHECK(!result && result.status() == status && result.message() == message);
    CHECK(written == before);
}

// A broadcast tensor's stride is 0, which in C stands for dense rows.
template <class T>
void strides_that_cannot_be()
{
    const auto status = losskit::status::invalid_stride;
    const char *const message = "outer_stride is 0: a broadcast tensor has to be made contiguous; leave the stride out "
                                "for a dense one";
    const char *const of_classes = "class_stride is 0: a broadcast tensor has to be made contiguous; leave the stride "
                                   "out for a dense one";
    const char *const of_rows = "row_stride is 0: a broadcast tensor has to be made contiguous; leave the stride out "
                                "for a dense one";
    const vec<std::uint8_t> targets{0, 1};
    const vec<T> one_row{0, 0}, dense(4), reward(2);
    vec<T> grad(4, T(7));
    losskit::outputs<T> out;
    out.grad = grad;
    const losskit::class_shape shape(2, 2);
    refused(status, message, grad, [&] {
        return losskit::cross_entropy(std::nothrow, shape.with_outer_stride(0), one_row, targets, out);
    });
    throws(status, "outer_stride is -2, must be greater than 0",
           [&] { losskit::cross_entropy(shape.with_outer_stride(-2), dense, targets); });
    refused(status, of_classes, grad, [&] {
        return losskit::nll(std::nothrow, shape.with_class_stride(std::int64_t{0}), dense, targets, out);
    });
    const losskit::class_shape repeated = shape.with_outer_stride(0u);
    const losskit::gradient<T> to = losskit::grad(grad);
    refused(status, message, grad, [&] { return losskit::softmax(std::nothrow, repeated, dense, grad); });
    refused(status, message, grad, [&] { return losskit::softmax_backward(std::nothrow, repeated, dense, dense, to); });
    refused(status, message, grad, [&] { return losskit::distillation(std::nothrow, repeated, dense, dense, out); });
    refused(status, message, grad, [&] { return losskit::entropy(std::nothrow, repeated, dense, grad); });
    refused(status, message, grad,
            [&] { return losskit::entropy_backward(std::nothrow, repeated, dense, reward, to); });
    refused(status, message, grad, [&] {
        return losskit::selective_log_softmax_backward(std::nothrow, repeated, dense, targets, {}, to);
    });
    refused(status, message, grad, [&] {
        losskit::token_outputs<T> of_tokens;
        of_tokens.entropy = losskit::span<T>(grad.data(), 2);
        return losskit::selective_log_softmax(std::nothrow, repeated, dense, targets, of_tokens);
    });
    throws(status, message, [&] { losskit::entropy(repeated, dense); });

    losskit::td_inputs<T> in;
    in.action = targets;
    in.reward = reward;
    in.next_q = dense;
    losskit::td_outputs<T> td_out;
    td_out.grad = grad;
    refused(status, of_rows, grad, [&] {
        return losskit::td(std::nothrow, losskit::td_shape(2, 2).with_row_stride(0), dense, in, td_out);
    });
    losskit::softmax_states states(2);
    const auto chunk = losskit::class_chunk(2, 2, 0).with_row_stride(0);
    refused(status, of_rows, grad, [&] { return states.update(std::nothrow, chunk, dense, targets); });
    states.update({2, 2, 0}, dense, targets);
    refused(status, of_rows, grad, [&] { return states.grad(std::nothrow, chunk, dense, targets, to); });
}

// Sizes are of any type of integer, and none is negative.
template <class T>
void sizes_of_any_type()
{
    const auto status = losskit::status::size_too_large; // as -1 is in C, where it becomes the greatest size
    const vec<T> logits{0, 0, 5, 5}, reward(2);
    const vec<std::uint8_t> targets{0, 1};
    vec<T> grad(4, T(7)), none;
    losskit::outputs<T> out;
    out.grad = grad;
    enum { two = 2 };
    const std::int64_t rows = 2, classes = 2;
    CHECK(losskit::cross_entropy({rows, classes}, logits, targets) == log_2<T>);
    CHECK(losskit::cross_entropy({2u, short{2}, 1LL}, logits, targets) == log_2<T>);
    CHECK(losskit::cross_entropy({two, std::integral_constant<int, 2>()}, logits, targets) == log_2<T>);
    CHECK(losskit::class_shape(rows, classes).with_outer_stride(std::int64_t{3}).elements() == 5);
    constexpr losskit::class_shape of_constants{2, 3, 4};
    static_assert(of_constants.elements() == 24 && of_constants.outer() == 2 && of_constants.classes() == 3, "");
    static_assert(of_constants.inner() == 4 && of_constants.outer_stride() == 0, "");
    static_assert(of_constants.with_class_stride(5).class_stride() == 5, "");
    static_assert(!std::is_constructible_v<losskit::class_shape, double, int>, "a size that is not whole");

    const std::int64_t wrong = -1;
    refused(status, "classes is -1, must not be negative", grad,
            [&] { return losskit::cross_entropy(std::nothrow, {rows, wrong}, logits, targets, out); });
    throws(status, "outer is -1, must not be negative", [&] { losskit::cross_entropy({-1, -2}, logits, targets); });
    throws(status, "inner is -3, must not be negative", [&] { losskit::softmax({2, 2, -3}, logits, grad); });
    throws(status, "outer is -1, must not be negative", [&] { losskit::entropy({wrong, 2}, none); });
    throws(status, "outer is -9223372036854775808, must not be negative",
           [&] { losskit::entropy({std::numeric_limits<std::int64_t>::min(), 2}, logits); });

    losskit::td_inputs<T> in;
    in.action = targets;
    in.reward = reward;
    in.next_q = logits;
    CHECK(losskit::td({rows, classes}, logits, in) >= 0);
    throws(status, "batch is -1, must not be negative", [&] { losskit::td({wrong, 2}, logits, in); });
    throws(status, "actions is -1, must not be negative", [&] { losskit::td({2, wrong}, logits, in); });

    losskit::linear_inputs<T> layer;
    layer.weight = reward;
    layer.targets = targets;
    losskit::linear_outputs<T> of_layer;
    of_layer.grad_hidden = grad;
    CHECK(losskit::linear_cross_entropy({rows, 1, classes}, reward, layer) == log_2<T>);
    refused(status, "rows is -1, must not be negative", grad, [&] {
        return losskit::linear_cross_entropy(std::nothrow, {wrong, 1, 2}, reward, layer, of_layer);
    });
    throws(status, "width is -1, must not be negative",
           [&] { losskit::linear_cross_entropy({2, wrong, 2}, reward, layer); });
    throws(status, "classes is -1, must not be negative",
           [&] { losskit::linear_cross_entropy({2, 1, wrong}, reward, layer); });

    losskit::softmax_states states(2);
    throws(status, "first_class is -1, must not be negative",
           [&] { states.update({rows, 2, wrong}, logits, targets); });
    const auto chunk = losskit::class_chunk(rows, classes, std::uint8_t{0}).with_ignore_index(1);
    CHECK(chunk.rows() == 2 && chunk.classes() == 2 && chunk.first_class() == 0 && chunk.ignore_index() == 1);
    vec<T> losses(2);
    states.update(chunk, logits, targets);
    states.loss(losses);
    CHECK((losses == vec<T>{log_2<T>, 0}));

    // numbers among the options
    losskit::bce_with_logits_options<T> binary;
    binary.inner = wrong;
    throws(status, "inner is -1, must not be negative", [&] { losskit::bce_with_logits(reward, reward, binary); });
    losskit::linear_cross_entropy_options<T> how;
    how.memory = wrong;
    throws(status, "memory is -1, must not be negative",
           [&] { losskit::linear_cross_entropy({2, 1, 2}, reward, layer, how); });
    losskit::token_options per_row;
    per_row.per_row = wrong;
    throws(status, "per_row is -1, must not be negative",
           [&] { losskit::selective_log_softmax({2, 2}, logits, targets, per_row); });
    throws(status, "per_row is -1, must not be negative", [&] {
        losskit::selective_log_softmax_backward({2, 2}, logits, targets, {}, losskit::grad(grad), per_row);
    });
    CHECK(grad == vec<T>(4, T(7)));
}

template <class T>
void softmax_and_its_gradient()
{
    const losskit::class_shape shape{2, 2};
    const vec<T> logits{0, 0, -infinity<T>, 5}, gradient{1, 0, 0, 1};
    vec<T> output(4), grad(4);
    const losskit::context scalar(1, losskit::isa::scalar);

    losskit::softmax(shape, logits, output);
    CHECK((output == vec<T>{r<T>(0.5), r<T>(0.5), 0, 1}));
    losskit::softmax_backward(shape, output, gradient, losskit::grad(grad));
    CHECK((grad == vec<T>{r<T>(0.25), r<T>(-0.25), 0, 0}));
    vec<T> in_place = gradient;
    losskit::softmax_backward(shape, output, in_place, losskit::grad(in_place), &scalar);
    CHECK(in_place == grad);
    in_place = logits;
    losskit::softmax(shape, in_place, in_place, &scalar);
    CHECK(in_place == output);

    losskit::log_softmax(shape, logits, output);
    CHECK((output == vec<T>{-log_2<T>, -log_2<T>, -infinity<T>, 0}));
    losskit::log_softmax_backward(shape, output, gradient, losskit::grad(grad));
    CHECK((grad == vec<T>{r<T>(0.5), r<T>(-0.5), 0, 0}));
    CHECK(losskit::log_softmax(std::nothrow, shape, logits, in_place, &scalar) && in_place == output);
    CHECK(losskit::log_softmax_backward(std::nothrow, shape, output, gradient, losskit::grad(in_place)));
    CHECK(in_place == grad);
    CHECK(losskit::softmax(std::nothrow, shape, logits, output));
    CHECK(losskit::softmax_backward(std::nothrow, shape, output, gradient, losskit::grad(grad)));

    const vec<T> three(3);
    vec<T> out_3(3);
    throws_mismatch("logits has 3 elements, 4 are needed", [&] { losskit::softmax(shape, three, output); });
    throws_mismatch("output has 3 elements, 4 are needed", [&] { losskit::log_softmax(shape, logits, out_3); });
    throws_mismatch("output has 3 elements, 4 are needed",
                    [&] { losskit::softmax_backward(shape, three, gradient, losskit::grad(grad)); });
    throws_mismatch("grad_output has 3 elements, 4 are needed",
                    [&] { losskit::log_softmax_backward(shape, output, three, losskit::grad(grad)); });
    throws_mismatch("grad_input has 3 elements, 4 are needed",
                    [&] { losskit::softmax_backward(shape, output, gradient, losskit::grad(out_3)); });
    static_assert(noexcept(losskit::softmax(std::nothrow, shape, logits, output)), "");
    static_assert(noexcept(losskit::softmax_backward(std::nothrow, shape, output, gradient, losskit::grad(grad))), "");
}

template <class T>
void temporal_difference()
{
    const losskit::td_shape shape{2, 2};
    const vec<T> q{1, 2, 3, 4}, next_q{5, 6, 7, 8}, online{1, 0, 0, 1}, reward{1, 1}, weight{1, 2};
    const vec<std::uint8_t> action{1, 0}, done{0, 1};
    vec<T> loss(2), grad(4), hess(4), td_error(2);

    losskit::td_inputs<T> inputs;
    inputs.action = action;
    inputs.reward = reward;
    inputs.next_q = next_q;
    inputs.done = done;
    losskit::td_options<T> options;
    options.gamma = 0.5;
    options.weight = weight;
    options.reduction = losskit::reduction::none;
    losskit::td_outputs<T> out;
    out.loss = loss;
    out.grad = grad;
    out.hess = hess;
    out.td_error = td_error;
    CHECK(losskit::td(shape, q, inputs, out, options) == losskit::status::ok);
    CHECK((td_error == vec<T>{2, -2}) && (loss == vec<T>{4, 8}));
    CHECK((grad == vec<T>{0, -4, 8, 0}) && (hess == vec<T>{0, 2, 4, 0}));

    options.reduction = losskit::reduction::mean;
    CHECK(losskit::td(shape, q, inputs, options) == 6);
    CHECK(losskit::td(shape, q, inputs, losskit::grad(grad), options) == 6);
    CHECK((grad == vec<T>{0, -2, 4, 0}));
    vec<T> in_place = q;
    CHECK(losskit::td(shape, in_place, inputs, losskit::grad(in_place), options) == 6 && in_place == grad);

    // double DQN with Huber's loss
    inputs.done = std::nullopt;
    inputs.next_q_online = online;
    options.weight = std::nullopt;
    options.loss = losskit::td_loss::huber;
    options.reduction = losskit::reduction::none;
    CHECK(losskit::td(std::nothrow, shape, q, inputs, out, options));
    CHECK((td_error == vec<T>{r<T>(1.5), 2}) && (loss == vec<T>{1, r<T>(1.5)}));
    options.delta = 4;
    CHECK(losskit::td(std::nothrow, shape, q, inputs, out, options));
    CHECK((loss == vec<T>{r<T>(1.125), 2}));

    // gamma is 0.99 by default, the loss squared
    inputs.next_q_online = std::nullopt;
    const vec<T> no_reward(2);
    inputs.reward = no_reward;
    vec<T> errors(2);
    losskit::td_outputs<T> errors_only;
    errors_only.td_error = errors;
    losskit::td(shape, vec<T>(4), inputs, errors_only);
    CHECK(std::abs(errors[0] - r<T>(0.99 * 6)) < r<T>(1e-5) && std::abs(errors[1] - r<T>(0.99 * 8)) < r<T>(1e-5));

    const losskit::td_shape padded = shape.with_row_stride(3);
    const vec<T> wide_q{1, 2, 99, 3, 4}, wide_next{5, 6, 99, 7, 8};
    losskit::td_inputs<T> wide;
    wide.action = action;
    wide.reward = reward;
    wide.next_q = wide_next;
    wide.done = done;
    options = losskit::td_options<T>();
    options.gamma = 0.5;
    CHECK(losskit::td(padded, wide_q, wide, options) == 4);

    const vec<T> three(3);
    const vec<std::uint8_t> three_bytes(3);
    inputs.reward = reward;
    const auto wrong = [&](const char *message, const auto &change) {
        losskit::td_inputs<T> changed = inputs;
        losskit::td_options<T> changed_options;
        losskit::td_outputs<T> changed_out;
        change(changed, changed_options, changed_out);
        throws_mismatch(message, [&] { losskit::td(shape, q, changed, changed_out, changed_options); });
    };
    vec<T> out_3(3);
    throws_mismatch("q has 3 elements, 4 are needed", [&] { losskit::td(shape, three, inputs); });
    wrong("action has 3 elements, 2 are needed", [&](auto &in, auto &, auto &) { in.action = three_bytes; });
    wrong("reward has 3 elements, 2 are needed", [&](auto &in, auto &, auto &) { in.reward = three; });
    wrong("next_q has 3 elements, 4 are needed", [&](auto &in, auto &, auto &) { in.next_q = three; });
    wrong("done has 3 elements, 2 are needed", [&](auto &in, auto &, auto &) { in.done = three_bytes; });
    wrong("next_q_online has 3 elements, 4 are needed", [&](auto &in, auto &, auto &) { in.next_q_online = three; });
    wrong("weight has 3 elements, 2 are needed", [&](auto &, auto &how, auto &) { how.weight = three; });
    wrong("loss has 3 elements, 1 are needed", [&](auto &, auto &, auto &to) { to.loss = out_3; });
    wrong("grad has 3 elements, 4 are needed", [&](auto &, auto &, auto &to) { to.grad = out_3; });
    wrong("hess has 3 elements, 4 are needed", [&](auto &, auto &, auto &to) { to.hess = out_3; });
    wrong("td_error has 3 elements, 2 are needed", [&](auto &, auto &, auto &to) { to.td_error = out_3; });
    throws(losskit::status::target_out_of_range, "target 9 at row 0 must be below 2", [&] {
        const vec<std::int32_t> no_action{9, 0};
        losskit::td_inputs<T> changed = inputs;
        changed.action = no_action;
        losskit::td(shape, q, changed);
    });
    static_assert(noexcept(losskit::td(std::nothrow, shape, q, inputs, out, options)), "");
    static_assert(!noexcept(losskit::td(shape, q, inputs)), "");
}

// Of one's own, as other libraries' arrays are.
template <class T>
struct array_of_a_library {
    T values[2];
    const T *data() const { return values; }
    T *data() { return values; }
    int size() const { return 2; }
    const T *begin() const { return values; }
    T *begin() { return values; }
    const T *end() const { return values + 2; }
    T *end() { return values + 2; }
};

template <class T>
void arrays_of_any_kind()
{
    const T c_input[2] = {r<T>(0.5), 3}, c_target[2] = {1, 1};
    T c_grad[2];
    CHECK(losskit::mse(c_input, c_target, losskit::grad(c_grad)) == r<T>(2.125) && c_grad[1] == 2);

    const std::array<T, 2> input{r<T>(0.5), 3}, target{1, 1};
    std::array<T, 2> grad{};
    CHECK(losskit::mse(input, target, losskit::grad(grad)) == r<T>(2.125) && grad[1] == 2);

    const array_of_a_library<T> other_input{{r<T>(0.5), 3}}, other_target{{1, 1}};
    array_of_a_library<T> other_grad{};
    CHECK(losskit::mse(other_input, other_target, losskit::grad(other_grad)) == r<T>(2.125));
    CHECK(other_grad.values[1] == 2);

    // pointer and size
    T many[6] = {9, r<T>(0.5), 3, 9, 9, 9};
    const T *pointer = many + 1;
    CHECK(losskit::mse(losskit::span(pointer, 2), losskit::span(c_target, 2)) == r<T>(2.125));
    CHECK(losskit::mse(losskit::span<const T>(pointer, 2), losskit::span<const T>(target),
                       losskit::grad(losskit::span<T>(many + 4, 2))) == r<T>(2.125));
    CHECK(many[0] == 9 && many[3] == 9 && many[4] == r<T>(-0.5) && many[5] == 2);
    losskit::options<T> options;
    options.weight = losskit::span<const T>(many + 4, 2);
    losskit::outputs<T> out;
    T loss = 0;
    out.loss = losskit::span<T>(&loss, 1);
    losskit::mse(input, target, out, options);
    CHECK(loss == r<T>((-0.5 * 0.25 + 2 * 4) / 2));

    const losskit::span<const T> view(c_input);
    CHECK(view.size() == 2 && view.data() == c_input && !view.empty() && view[1] == 3);
    CHECK(view.begin() == view.end() - 2 && losskit::span<T>().empty());
    const losskit::span<T> written(grad);
    const losskit::span<const T> read = written;
    CHECK(read.data() == grad.data());

    // what is about to be destroyed is only read
    CHECK(losskit::mse(vec<T>{r<T>(0.5), 3}, vec<T>{1, 1}) == r<T>(2.125));
    using losskit::mse;
    using function = decltype(mse);
    static_assert(std::is_invocable_v<function, vec<T>, vec<T>, losskit::gradient<T>>, "");
    using other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    static_assert(!std::is_invocable_v<function, vec<T>, vec<other>>, "arrays of two types");
    static_assert(!std::is_invocable_v<function, vec<int>, vec<int>>, "neither float nor double");
    static_assert(!std::is_invocable_v<function, const T *, const T *>, "pointers without a size");
    using classes = decltype(losskit::cross_entropy);
    using shape = losskit::class_shape;
    static_assert(std::is_invocable_v<classes, shape, vec<T>, vec<T>>, "");
}

#if __cplusplus >= 202002L
template <class T>
void designated_initialisers()
{
    const vec<T> input{r<T>(0.5), 3}, target{1, 1}, weight{1, 2};
    const vec<std::int64_t> targets{0};
    vec<T> grad(2);
    T loss[1];
    losskit::cost cost;
    const losskit::context context(1);
    CHECK(losskit::mse(input, target, {.weight = weight}) == r<T>(4.125));
    CHECK(losskit::mse(input, target, losskit::grad(grad), {.weight = weight, .grad_scale = 2}) == r<T>(4.125));
    CHECK(grad[1] == 8);
    CHECK(losskit::huber(input, target, losskit::grad(grad), {.delta = 0.5}) == r<T>(0.5) && grad[1] == r<T>(0.25));
    losskit::mse(input, target, {.loss = loss, .grad = grad},
                 {.reduction = losskit::reduction::sum, .cost = &cost, .context = &context});
    CHECK(loss[0] == r<T>(4.25) && grad[1] == 4 && cost.mean() == 2.125);
    CHECK(losskit::mse(std::nothrow, input, target, {.grad = grad}) && grad[1] == 2);
    CHECK(losskit::cross_entropy({1, 2}, vec<T>{0, 0}, targets, losskit::grad(grad), {.label_smoothing = 0.5}) ==
          log_2<T>);
    CHECK(grad[0] == r<T>(-0.25));
    CHECK(losskit::td({1, 2}, input, {.action = targets, .reward = vec<T>{1}, .next_q = target}, {.gamma = 0.5}) == 1);
}
#else
template <class T>
void designated_initialisers()
{
}
#endif

void contexts()
{
    const losskit::context by_default;
    CHECK(by_default.get() == nullptr && by_default.isa_name() == lk_isa_name(nullptr));
    losskit::context scalar(2, losskit::isa::scalar);
    CHECK(scalar.get() != nullptr && scalar.isa_name() == "scalar");
    const lk_context *handle = scalar.get();
    losskit::context moved = std::move(scalar);
    CHECK(moved.get() == handle && scalar.get() == nullptr);
    scalar = std::move(moved);
    CHECK(scalar.get() == handle && moved.get() == nullptr);
    throws(losskit::status::unknown_constant, "isa is 99, must be LK_ISA_BEST, LK_ISA_SCALAR, LK_ISA_NEON, LK_ISA_AVX2 or LK_ISA_AVX512",
           [] { losskit::context(1, static_cast<losskit::isa>(99)); });
    throws(losskit::status::too_many_threads, "4097 threads are more than 4096",
           [] { losskit::context(LK_MAX_THREADS + 1); });

    CHECK(!losskit::context::make(std::nothrow, 1, static_cast<losskit::isa>(99)));
    const std::optional<losskit::context> made = losskit::context::make(std::nothrow, 1, losskit::isa::scalar);
    CHECK(made && made->isa_name() == "scalar");
    static_assert(noexcept(losskit::context::make(std::nothrow, 1)), "");
    static_assert(std::is_nothrow_default_constructible_v<losskit::context>, "");
    static_assert(std::is_nothrow_move_constructible_v<losskit::context>, "");
    static_assert(!std::is_copy_constructible_v<losskit::context>, "");
    static_assert(!std::is_convertible_v<std::size_t, losskit::context>, "");
}

void costs()
{
    losskit::cost a, b;
    CHECK(std::isnan(a.mean()) && std::isnan(a.perplexity()));
    a.add(1e300, 1);
    b.add(3, 1);
    b.add(-1e300, 1);
    a += b;
    CHECK(a.mean() == 1);
    CHECK(std::abs(a.perplexity() - std::exp(1.0)) < 1e-15);
    a += a;
    CHECK(a.mean() == 1);
    const losskit::cost copy = a;
    CHECK(std::memcmp(copy.get(), a.get(), sizeof(lk_cost)) == 0 && lk_cost_mean(copy.get()) == 1);
    static_assert(std::is_trivially_copyable_v<losskit::cost> && sizeof(losskit::cost) == sizeof(lk_cost), "");
}

void names()
{
    CHECK(losskit::version() == lk_version() && losskit::version().size() >= 5);
    CHECK(losskit::abi_matches());
    CHECK(losskit::name(losskit::status::ok) == "LK_OK");
    CHECK(losskit::name(losskit::status::panic) == "LK_PANIC");
    CHECK(losskit::name(losskit::status::target_out_of_range) == "LK_TARGET_OUT_OF_RANGE");
    const losskit::error error(losskit::status::misaligned, "words");
    CHECK(error.status() == losskit::status::misaligned && std::strcmp(error.what(), "words") == 0);
    static_assert(std::is_base_of_v<std::runtime_error, losskit::error>, "");
}

template <class T>
void log_probs_and_entropy()
{
    const vec<T> logits{0, 0, 3, -infinity<T>}, ones{1, 1, 1, 1};
    const vec<std::int64_t> indices{1, -1, 0, 0};
    const vec<int> one_each{1, 0};
    const T log_2 = r<T>(0.69314718055994530942);
    const losskit::class_shape shape{2, 2};
    losskit::token_options two;
    two.per_row = 2;
    two.ignore_index = -1;

    CHECK((losskit::selective_log_softmax(shape, logits, one_each) == vec<T>{-log_2, 0}));
    CHECK((losskit::selective_log_softmax(shape, logits, indices, two) == vec<T>{-log_2, 0, 0, 0}));
    CHECK((losskit::entropy(shape, logits) == vec<T>{log_2, 0}));
    vec<T> log_probs(4), entropy(2), lse(2), grad(4);
    losskit::token_outputs<T> out;
    out.log_probs = log_probs;
    out.entropy = entropy;
    out.lse = lse;
    losskit::selective_log_softmax(shape, logits, indices, out, two);
    CHECK((log_probs == vec<T>{-log_2, 0, 0, 0} && entropy == vec<T>{log_2, 0} && lse == vec<T>{log_2, 3}));
    losskit::token_grads<T> grads;
    grads.log_probs = ones;
    losskit::selective_log_softmax_backward(shape, logits, indices, grads, losskit::grad(grad), two);
    CHECK((grad == vec<T>{r<T>(-0.5), r<T>(0.5), 0, 0}));
    two.accumulate_grad = true;
    const vec<T> zeros(2);
    grads.entropy = zeros;
    losskit::selective_log_softmax_backward(shape, logits, indices, grads, losskit::grad(grad), two);
    CHECK((grad == vec<T>{-1, 1, 0, 0}));
    vec<T> in_place = logits;
    losskit::entropy_backward(shape, in_place, zeros, losskit::grad(in_place));
    CHECK((in_place == vec<T>{0, 0, 0, 0}));

    out.log_probs.reset();
    const losskit::result done = losskit::selective_log_softmax(std::nothrow, shape, logits, std::nullopt, out);
    CHECK(done && entropy[0] == log_2);
    CHECK(losskit::entropy(std::nothrow, shape, logits, log_probs).message() ==
          "entropy has 4 elements, 2 are needed");
    CHECK(losskit::entropy_backward(std::nothrow, shape, logits, log_probs, losskit::grad(grad)).message() ==
          "grad_entropy has 4 elements, 2 are needed");
    CHECK(losskit::selective_log_softmax(std::nothrow, shape, logits, one_each, out, two).message() ==
          "indices has 2 elements, 4 are needed");
    CHECK(losskit::selective_log_softmax(std::nothrow, {2, 3}, logits, one_each, out).message() ==
          "logits has 4 elements, 6 are needed");
    out.lse = log_probs;
    CHECK(losskit::selective_log_softmax(std::nothrow, shape, logits, one_each, out).message() ==
          "lse has 4 elements, 2 are needed");
    const losskit::gradient<T> to = losskit::grad(grad);
    CHECK(losskit::selective_log_softmax_backward(std::nothrow, shape, logits, one_each, grads, to).message() ==
          "grad_log_probs has 4 elements, 2 are needed");
    CHECK(losskit::selective_log_softmax_backward(std::nothrow, {1, 2, 2}, logits, std::nullopt, {}, to).status() ==
          losskit::status::unsupported_option);
}

template <class T>
void knowledge_distillation()
{
    const losskit::class_shape shape{2, 2};
    const vec<T> student{0, 0, 7, 5}, teacher{-infinity<T>, 3, 1, -infinity<T>}, weights{2, 0};
    losskit::distillation_options<T> options;
    options.row_weight = weights;
    vec<T> loss(2), grad(4), in_place = student;
    CHECK(losskit::distillation(shape, student, teacher, options) == log_2<T>);
    CHECK(losskit::distillation(shape, student, teacher, losskit::grad(grad), options) == log_2<T>);
    CHECK((grad == vec<T>{r<T>(0.5), r<T>(-0.5), 0, 0}));
    CHECK(losskit::distillation(shape, in_place, teacher, losskit::grad(in_place), options) == log_2<T>);
    CHECK(in_place == grad);
    options.reduction = losskit::reduction::none;
    losskit::outputs<T> out;
    out.loss = loss;
    CHECK(losskit::distillation(shape, student, teacher, out, options) == losskit::status::ok);
    CHECK((loss == vec<T>{2 * log_2<T>, 0}));
    losskit::distillation_options<T> how;
    how.beta = 0.5;
    how.temperature = 2;
    CHECK(losskit::distillation(shape, student, student, how) == 0);
    how.temperature = 0;
    throws(losskit::status::invalid_temperature, "temperature 0 is outside [1e-9, 1e9]",
           [&] { losskit::distillation(shape, student, teacher, how); });
    throws_mismatch("student has 3 elements, 4 are needed", [&] { losskit::distillation(shape, vec<T>(3), teacher); });
    throws_mismatch("teacher has 3 elements, 4 are needed", [&] { losskit::distillation(shape, student, vec<T>(3)); });
    out.hess = grad;
    throws_mismatch("hess has 4 elements, 0 are needed",
                    [&] { losskit::distillation(shape, student, teacher, out, options); });
    static_assert(noexcept(losskit::distillation(std::nothrow, shape, student, teacher, out, options)), "");
}

template <class T>
void linear_layer()
{
    const losskit::linear_shape shape{2, 1, 2};
    const vec<T> hidden{0, 2}, weight{1, 1}, bias{3, 3}, three(3);
    const vec<int> targets{1, 0};
    losskit::linear_inputs<T> in;
    in.weight = weight;
    in.targets = targets;
    CHECK(losskit::linear_cross_entropy(shape, hidden, in) == log_2<T>);
    in.bias = bias;
    vec<T> loss(2), grad_hidden(2), grad_weight(2), grad_bias(2);
    losskit::linear_outputs<T> out;
    out.loss = loss;
    out.grad_hidden = grad_hidden;
    out.grad_weight = grad_weight;
    out.grad_bias = grad_bias;
    losskit::linear_cross_entropy_options<T> how;
    how.reduction = losskit::reduction::none;
    how.memory = 0;
    how.ignore_index = 0;
    losskit::linear_cross_entropy(shape, hidden, in, out, how);
    CHECK((loss == vec<T>{log_2<T>, 0} && grad_hidden == vec<T>{0, 0} && grad_weight == vec<T>{0, 0}));
    CHECK((grad_bias == vec<T>{r<T>(0.5), r<T>(-0.5)}));

    how.reduction = losskit::reduction::mean;
    CHECK(losskit::linear_cross_entropy(std::nothrow, shape, hidden, in, out, how).message() ==
          "loss has 2 elements, 1 are needed");
    CHECK(losskit::linear_cross_entropy(std::nothrow, {2, 2, 2}, hidden, in, out).message() ==
          "hidden has 2 elements, 4 are needed");
    CHECK(losskit::linear_cross_entropy(std::nothrow, {2, 1, 3}, hidden, in, out).message() ==
          "weight has 2 elements, 3 are needed");
    in.bias = three;
    CHECK(losskit::linear_cross_entropy(std::nothrow, shape, hidden, in, out).message() ==
          "bias has 3 elements, 2 are needed");
}

template <class T>
void softmax_in_pieces()
{
    const losskit::class_chunk low{2, 1, 0}, high{2, 1, 1};
    const vec<std::uint8_t> targets{0, 1};
    const vec<T> left{0, -infinity<T>}, right{0, 5};
    const losskit::context scalar(1, losskit::isa::scalar);
    losskit::softmax_states states(2), others(2);
    vec<T> loss(2), lse(2), grad(2);

    states.update(low, left, targets);
    CHECK(states.loss(std::nothrow, loss).status() == losskit::status::incomplete_state);
    CHECK(others.update(std::nothrow, high, right, targets, &scalar));
    states.merge(others);
    states.loss(loss);
    states.lse(lse, &scalar);
    CHECK((loss == vec<T>{log_2<T>, 0}) && (lse == vec<T>{log_2<T>, 5}));
    states.grad(high, right, targets, losskit::grad(grad), 2);
    CHECK((grad == vec<T>{1, 0}));
    const vec<T> weights{3, 1};
    vec<T> in_place = left;
    CHECK(states.grad(std::nothrow, low, in_place, targets, losskit::grad(in_place), 1, weights));
    CHECK((in_place == vec<T>{r<T>(-1.5), 0}));
    states.grad(low, left, std::nullopt, losskit::grad(grad));
    CHECK((grad == vec<T>{r<T>(0.5), 0}));

    // half of the distribution spread over both classes
    losskit::softmax_states smooth(2, {0.5});
    const vec<T> even(2), first{1}, second{3};
    smooth.update(low, even, targets, nullptr, first);
    smooth.update(high, even, targets, nullptr, second);
    smooth.loss(loss);
    CHECK((loss == vec<T>{r<T>(1.5) * log_2<T>, r<T>(2.5) * log_2<T>}));
    smooth.grad(low, even, targets, losskit::grad(grad), 1, {}, nullptr, first);
    CHECK((grad == vec<T>{0, 1}));
    CHECK(smooth.update(std::nothrow, low, even, targets, nullptr, even).message() ==
          "class_weight has 2 elements, 1 are needed");

    const losskit::softmax_states three(3);
    CHECK(states.merge(std::nothrow, three).message() == "from has 3 elements, 2 are needed");
    CHECK(states.lse(std::nothrow, vec<T>(1)).message() == "lse has 1 elements, 2 are needed");
    CHECK(states.update(std::nothrow, {3, 1, 0}, vec<T>(3), std::nullopt).message() ==
          "states has 2 elements, 3 are needed");
    CHECK(states.update(std::nothrow, low, vec<T>(3), targets).message() == "logits has 3 elements, 2 are needed");
    CHECK(states.update(std::nothrow, low, left, vec<int>(1)).message() == "targets has 1 elements, 2 are needed");
}

template <class T>
void all()
{
    pointwise_losses<T>();
    class_losses<T>();
    layouts<T>();
    strides_that_cannot_be<T>();
    sizes_of_any_type<T>();
    softmax_and_its_gradient<T>();
    log_probs_and_entropy<T>();
    knowledge_distillation<T>();
    linear_layer<T>();
    softmax_in_pieces<T>();
    temporal_difference<T>();
    arrays_of_any_kind<T>();
    designated_initialisers<T>();
}

} // namespace

// Of another translation unit, which may be of another standard.
float mse_elsewhere(const std::vector<float> &input, const std::vector<float> &target);

int main()
{
    all<float>();
    all<double>();
    contexts();
    costs();
    names();
    CHECK(mse_elsewhere({0.5f, 3}, {1, 1}) == 2.125f);
    std::puts("losskit.hpp does what it says");
}
