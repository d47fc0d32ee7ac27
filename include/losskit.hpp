/// @file
/// losskit for C++17 and later. The functions call those of losskit.h, so you link nothing but the C library.
///
///     #include "losskit.hpp"
///
///     std::vector<float> logits = ..., grad(logits.size());
///     std::vector<std::int64_t> targets = ...;
///     float loss = losskit::cross_entropy({rows, 10}, logits, targets);                      // the mean loss
///     loss = losskit::cross_entropy({rows, 10}, logits, targets, losskit::grad(grad));       // and its gradient
///     loss = losskit::cross_entropy({rows, 10}, logits, targets, losskit::grad(grad), {.label_smoothing = 0.1});
///
/// Functions have the names of losskit.h: `losskit::mse` is lk_mse_f32 and lk_mse_f64, told apart by the elements of
/// the first array. What they compute is said there. Each loss can be called in four ways:
///
///     T      mse(input, target, options)                              gives the mean or the sum
///     T      mse(input, target, losskit::grad(g), options)            and writes the gradient into g
///     status mse(input, target, outputs, options)                     writes what `outputs` names, no more
///     result mse(std::nothrow, input, target, outputs, options)       the same, noexcept
///
/// - An array is anything contiguous that std::data and std::size accept: std::vector, std::array, C arrays, std::span.
///   For a pointer and a size write `losskit::span(pointer, size)`. Arrays are not copied. Lengths are checked first.
/// - An array that receives a gradient is marked as such, `losskit::grad(g)`, because in C its place is that of the
///   weights. A bare array there does not compile.
/// - A shape is written as sizes in braces, of any integer types: `{x.size(0), x.size(1)}`. With a negative size the
///   call fails. If the array is not dense, add its strides by name:
///   `losskit::class_shape(rows, classes).with_outer_stride(n)`. A stride of 0, which broadcast tensors have, is an
///   error.
/// - Indices are arrays of integers of 16, 32 or 64 bits, signed or unsigned, or of std::uint8_t.
/// - Options have defaults and may be left out. In C++20 they are designated initialisers, as above; in C++17,
///   `losskit::cross_entropy_options<float> options; options.label_smoothing = 0.1;`.
/// - The losses of the samples (reduction::none) are an output like the others: set `loss` in `outputs`.
/// - The gradient may overwrite the input, `losskit::grad(input)`, unless it is accumulated.
/// - Errors are thrown as losskit::error. Without exceptions (-fno-exceptions) they end the program with a message;
///   calls with std::nothrow work as usual.
#ifndef LOSSKIT_HPP
#define LOSSKIT_HPP

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif
#if !defined(__cpp_exceptions) && !defined(_CPPUNWIND)
#include <cstdlib>
#define LOSSKIT_NO_EXCEPTIONS
#endif

// For code that runs only if a call fails, and that should not be inlined.
#ifdef __GNUC__
#define LOSSKIT_COLD [[gnu::cold, gnu::noinline]]
#else
#define LOSSKIT_COLD
#endif

#include "losskit.h"

namespace losskit {

/// The status of a call: `ok` is success, negative values are errors (no output was written), and `input_out_of_domain`
/// is a warning (all outputs are written).
enum class status : lk_status {
    ok = LK_OK,
    input_out_of_domain = LK_INPUT_OUT_OF_DOMAIN,
    null_pointer = LK_NULL_POINTER,
    misaligned = LK_MISALIGNED,
    length_mismatch = LK_LENGTH_MISMATCH,
    size_too_large = LK_SIZE_TOO_LARGE,
    partial_overlap = LK_PARTIAL_OVERLAP,
    invalid_stride = LK_INVALID_STRIDE,
    unknown_constant = LK_UNKNOWN_CONSTANT,
    target_out_of_range = LK_TARGET_OUT_OF_RANGE,
    invalid_delta = LK_INVALID_DELTA,
    invalid_beta = LK_INVALID_BETA,
    invalid_label_smoothing = LK_INVALID_LABEL_SMOOTHING,
    nan_option = LK_NAN_OPTION,
    invalid_struct_size = LK_INVALID_STRUCT_SIZE,
    unsupported_option = LK_UNSUPPORTED_OPTION,
    panic = LK_PANIC,
    incomplete_state = LK_INCOMPLETE_STATE,
    invalid_temperature = LK_INVALID_TEMPERATURE,
    invalid_soft_cap = LK_INVALID_SOFT_CAP,
    out_of_memory = LK_OUT_OF_MEMORY,
    too_many_threads = LK_TOO_MANY_THREADS
};

/// How the samples' losses become one.
enum class reduction : lk_reduction { mean = LK_MEAN, sum = LK_SUM, none = LK_NONE };

/// An instruction set: the best one that a context may use.
enum class isa : lk_isa {
    best = LK_ISA_BEST,
    scalar = LK_ISA_SCALAR,
    neon = LK_ISA_NEON,
    avx2 = LK_ISA_AVX2,
    avx512 = LK_ISA_AVX512
};

/// The loss that td applies to the temporal difference.
enum class td_loss : lk_td_loss { mse = LK_TD_MSE, huber = LK_TD_HUBER };

/// The library's version, "MAJOR.MINOR.PATCH".
inline std::string_view version() noexcept { return lk_version(); }

/// Whether the linked library has the binary interface that this header describes.
inline bool abi_matches() noexcept { return lk_abi_version() == LK_ABI_VERSION; }

/// The name of a status in C: "LK_OK" for status::ok.
inline std::string_view name(status of) noexcept { return lk_status_name(static_cast<lk_status>(of)); }

/// The exception that failed calls throw: a status and a message.
class error : public std::runtime_error {
public:
    error(losskit::status status, const std::string &message) : std::runtime_error(message), status_(status) {}

    /// Which error it is.
    losskit::status status() const noexcept { return status_; }

private:
    losskit::status status_;
};

namespace detail {

/// A short text, stored without allocation.
class words {
public:
    words() noexcept { text_[0] = '\0'; }
    explicit words(const char *text) noexcept { take(text); }
    words(const words &other) noexcept { take(other.text_); }
    words &operator=(const words &other) noexcept
    {
        if (this != &other)
            take(other.text_);
        return *this;
    }
    const char *get() const noexcept { return text_; }

private:
    void take(const char *text) noexcept
    {
        std::size_t length = 0;
        for (; length + 1 < sizeof text_ && text[length] != '\0'; ++length)
            text_[length] = text[length];
        text_[length] = '\0';
    }

    char text_[256];
};

} // namespace detail

/// The result of a call with std::nothrow.
class [[nodiscard]] result {
public:
    /// The result of the function of losskit.h that was just called. Copies the message of an error, so that later
    /// errors do not change it.
    explicit result(lk_status status) noexcept : status_(static_cast<losskit::status>(status))
    {
        if (!*this)
            words_ = detail::words(lk_last_error());
    }

    /// An error: an array has the wrong length.
    result(const char *array, std::size_t length, std::size_t needed) noexcept
        : status_(losskit::status::length_mismatch), array_(array), length_(length), needed_(needed)
    {
    }

    /// An error that this header finds itself.
    result(losskit::status error, const char *words) noexcept : status_(error), words_(words) {}

    /// The error or the warning.
    losskit::status status() const noexcept { return status_; }

    /// Whether the call succeeded and all outputs are written. If not, none was written.
    explicit operator bool() const noexcept { return static_cast<lk_status>(status_) >= 0; }

    /// The message of an error.
    std::string message() const
    {
        if (array_ != nullptr)
            return std::string(array_) + " has " + std::to_string(length_) + " elements, " + std::to_string(needed_) +
                   " are needed";
        return std::string(*this ? name(status_) : std::string_view(words_.get()));
    }

    /// Throws losskit::error if the call failed; otherwise returns the status, which may be a warning.
    losskit::status or_throw() const
    {
        if (!*this)
            raise();
        return status_;
    }

private:
    [[noreturn]] void raise() const
    {
#ifdef LOSSKIT_NO_EXCEPTIONS
        std::fprintf(stderr, "losskit: %s\n", message().c_str());
        std::abort();
#else
        throw error(status_, message());
#endif
    }

    losskit::status status_;
    detail::words words_;
    const char *array_ = nullptr;
    std::size_t length_ = 0;
    std::size_t needed_ = 0;
};

/// Threads and an instruction set. The destructor ends the threads. Several threads may use one context at the same
/// time. A forked child may use and destroy contexts that it inherited, static ones at exit too: see lk_context_create.
class context {
public:
    /// The default of the process: a pool with one thread for each core. A context that was moved from is this one,
    /// too.
    context() noexcept = default;

    /// With so many threads, at most LK_MAX_THREADS, and no better instruction set than `cap`. 1 never starts a thread,
    /// for callers with their own threads; 0 is one for each core. Threads start when they are first needed. Results do
    /// not depend on any of this.
    explicit context(std::size_t threads, isa cap = isa::best) { create(threads, cap).or_throw(); }

    /// The same without exceptions: empty if it fails; lk_last_error() then has the message.
    static std::optional<context> make(std::nothrow_t, std::size_t threads, isa cap = isa::best) noexcept
    {
        context made;
        if (!made.create(threads, cap))
            return std::nullopt;
        return made;
    }

    /// The instruction set that calls run on: "scalar", "avx2", "avx512" or "neon".
    std::string_view isa_name() const noexcept { return lk_isa_name(get()); }

    /// For losskit.h; nullptr for the process default.
    const lk_context *get() const noexcept { return handle_.get(); }

private:
    result create(std::size_t threads, isa cap) noexcept
    {
        lk_context *made = nullptr;
        const result done(lk_context_create(threads, static_cast<lk_isa>(cap), &made));
        handle_.reset(made);
        return done;
    }

    struct destroy {
        void operator()(lk_context *handle) const noexcept { lk_context_destroy(handle); }
    };
    std::unique_ptr<lk_context, destroy> handle_;
};

/// The mean loss over a data set, added up batch by batch. The sums are exact, so the result does not depend on the
/// order of batches and merges. A plain value of 144 integers, initially empty.
class cost {
public:
    /// Adds a batch: the sum of its losses, and what its mean divides by.
    void add(double sum, double weight) noexcept { lk_cost_add(&digits_, sum, weight); }

    /// Adds the batches of another cost.
    cost &operator+=(const cost &other) noexcept
    {
        lk_cost_merge(&digits_, &other.digits_);
        return *this;
    }

    /// The sum of all losses divided by the sum of all weights; NaN if there is nothing.
    double mean() const noexcept { return lk_cost_mean(&digits_); }

    /// e to the mean, of negative log-likelihoods in nats; NaN if there is nothing.
    double perplexity() const noexcept { return lk_cost_perplexity(&digits_); }

    /// The integers, for losskit.h or an all-reduce: adding them entry by entry merges costs.
    lk_cost *get() noexcept { return &digits_; }
    /// The same, to be read.
    const lk_cost *get() const noexcept { return &digits_; }

private:
    lk_cost digits_{};
};

namespace detail {

constexpr std::size_t times(std::size_t a, std::size_t b) noexcept
{
    return b != 0 && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}
constexpr std::size_t plus(std::size_t a, std::size_t b) noexcept { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

/// How long the arrays of a shape are. Where there are gaps, more than the last element may follow.
struct extent {
    std::size_t samples;
    std::size_t elements;
    bool has_gaps;
    std::size_t grad_elements;
    bool grad_has_gaps;
};

} // namespace detail

namespace detail {

/// A size, a stride or another number that is not negative, from any type of integer. Of a negative one the number is
/// kept, for the error of the call that it is given to.
class natural {
public:
    constexpr natural() noexcept = default;

    template <class Number, std::enable_if_t<std::is_convertible_v<Number, std::intmax_t> &&
                                                 !std::is_floating_point_v<Number> && !std::is_same_v<Number, natural>,
                                             int> = 0>
    constexpr natural(Number number) noexcept
    {
        if constexpr (!std::is_integral_v<Number>)
            *this = natural(static_cast<std::intmax_t>(number));
        else if constexpr (std::is_unsigned_v<Number>)
            take(number);
        else if (number < 0)
            negative_ = number;
        else
            take(static_cast<std::uintmax_t>(number));
    }

    /// The number; 0 in the place of a negative one.
    constexpr operator std::size_t() const noexcept { return value_; }

    /// The number if it is negative, else 0.
    constexpr std::intmax_t negative() const noexcept { return negative_; }

private:
    constexpr void take(std::uintmax_t number) noexcept
    {
        value_ = static_cast<std::size_t>(number);
        if (value_ != number)
            value_ = SIZE_MAX;
    }

    std::size_t value_ = 0;
    std::intmax_t negative_ = 0;
};

/// Checks the numbers of a shape, and remembers the first invalid one and its name.
class checked_numbers {
public:
    constexpr std::size_t size(const char *name, natural number) noexcept
    {
        if (number.negative() < 0)
            remember(name, number.negative(), false);
        return number;
    }

    constexpr std::size_t stride(const char *name, natural number) noexcept
    {
        if (number == 0)
            remember(name, number.negative(), true);
        return number;
    }

    constexpr bool are_right() const noexcept { return name_ == nullptr; }

    /// What is wrong with that number.
    LOSSKIT_COLD result error() const noexcept
    {
        char words[160];
        const char *form = !is_stride_    ? "%s is %jd, must not be negative"
                           : number_ != 0 ? "%s is %jd, must be greater than 0"
                                          : "%s is %jd: a broadcast tensor has to be made contiguous; leave the stride "
                                            "out for a dense one";
        std::snprintf(words, sizeof words, form, name_, number_);
        return result(is_stride_ ? status::invalid_stride : status::size_too_large, words);
    }

private:
    constexpr void remember(const char *name, std::intmax_t number, bool is_stride) noexcept
    {
        if (name_ != nullptr)
            return;
        name_ = name;
        number_ = number;
        is_stride_ = is_stride;
    }

    const char *name_ = nullptr; // none: all are right
    std::intmax_t number_ = 0;
    bool is_stride_ = false;
};

/// Elements from the first to the last of [outer][classes][inner], gaps between them included; strides of 0 are dense.
constexpr std::size_t elements_of(std::size_t outer, std::size_t classes, std::size_t inner, std::size_t outer_stride,
                                  std::size_t class_stride) noexcept
{
    if (outer == 0 || classes == 0 || inner == 0)
        return 0;
    const std::size_t one = plus(times(classes - 1, class_stride == 0 ? inner : class_stride), inner);
    return plus(times(outer - 1, outer_stride == 0 ? one : outer_stride), one);
}

} // namespace detail

/// Where classes lie: logits[outer][classes][inner]. `{rows, classes}` is dense rows of classes; images [N, C, H, W]
/// are `{N, C, H * W}`. Strides are in elements, and given only where the array is not dense.
class class_shape {
public:
    /// An empty shape.
    constexpr class_shape() noexcept = default;

    /// A dense array.
    constexpr class_shape(detail::natural outer, detail::natural classes, detail::natural inner = 1) noexcept
        : outer_(numbers_.size("outer", outer)), classes_(numbers_.size("classes", classes)),
          inner_(numbers_.size("inner", inner))
    {
    }

    /// The same with so many elements from one outer index to the next, at least 1.
    constexpr class_shape with_outer_stride(detail::natural stride) const noexcept
    {
        class_shape made = *this;
        made.outer_stride_ = made.numbers_.stride("outer_stride", stride);
        return made;
    }

    /// The same with so many elements from one class to the next, at least 1.
    constexpr class_shape with_class_stride(detail::natural stride) const noexcept
    {
        class_shape made = *this;
        made.class_stride_ = made.numbers_.stride("class_stride", stride);
        return made;
    }

    constexpr std::size_t outer() const noexcept { return outer_; }
    constexpr std::size_t classes() const noexcept { return classes_; }
    constexpr std::size_t inner() const noexcept { return inner_; }
    /// 0 if dense.
    constexpr std::size_t outer_stride() const noexcept { return outer_stride_; }
    /// 0 if dense.
    constexpr std::size_t class_stride() const noexcept { return class_stride_; }

    /// The number of samples.
    constexpr std::size_t samples() const noexcept { return detail::times(outer_, inner_); }

    /// A crop of images: `inner` consists of rows of `length` elements that begin `stride` elements apart.
    constexpr class_shape with_row_stride(detail::natural length, detail::natural stride) const noexcept
    {
        class_shape made = *this;
        made.row_length_ = made.numbers_.stride("row_length", length);
        made.row_stride_ = made.numbers_.stride("row_stride", stride);
        return made;
    }

    /// The same with a gradient and a Hessian, or an output, that have strides of their own: see
    /// lk_class_shape::grad_outer_stride.
    constexpr class_shape with_grad_strides(detail::natural outer, detail::natural of_class) const noexcept
    {
        class_shape made = *this;
        made.grad_outer_stride_ = made.numbers_.stride("grad_outer_stride", outer);
        made.grad_class_stride_ = made.numbers_.stride("grad_class_stride", of_class);
        return made;
    }

    /// The same with a dense gradient and a dense Hessian, or a dense output, wherever the logits lie.
    constexpr class_shape with_dense_grad() const noexcept
    {
        return with_grad_strides(detail::times(classes_ == 0 ? 1 : classes_, inner_ == 0 ? 1 : inner_),
                                 inner_ == 0 ? std::size_t{1} : inner_);
    }

    constexpr std::size_t row_length() const noexcept { return row_length_; }
    constexpr std::size_t row_stride() const noexcept { return row_stride_; }
    /// 0 if the gradient lies as the logits do.
    constexpr std::size_t grad_outer_stride() const noexcept { return grad_outer_stride_; }
    /// The same.
    constexpr std::size_t grad_class_stride() const noexcept { return grad_class_stride_; }

    /// Elements from the first to the last, gaps between them included.
    constexpr std::size_t elements() const noexcept
    {
        const std::size_t rows = row_length_ == 0 ? 1 : inner_ / row_length_;
        const std::size_t plane =
            rows == 0 ? inner_ : detail::plus(detail::times(rows - 1, row_stride_), rows == 1 ? inner_ : row_length_);
        return detail::elements_of(samples() == 0 ? 0 : outer_, classes_, plane, outer_stride_, class_stride_);
    }

    /// Those of the gradient and the Hessian, or of the output.
    constexpr std::size_t grad_elements() const noexcept
    {
        if (grad_outer_stride_ == 0 && grad_class_stride_ == 0)
            return elements();
        return detail::elements_of(outer_, classes_, inner_, grad_outer_stride_, grad_class_stride_);
    }

    /// Whether the numbers are valid; calls check this.
    constexpr const detail::checked_numbers &numbers() const noexcept { return numbers_; }

private:
    detail::checked_numbers numbers_{};
    std::size_t outer_ = 0;
    std::size_t classes_ = 0;
    std::size_t inner_ = 1;
    std::size_t outer_stride_ = 0;
    std::size_t class_stride_ = 0;
    std::size_t row_length_ = 0;
    std::size_t row_stride_ = 0;
    std::size_t grad_outer_stride_ = 0;
    std::size_t grad_class_stride_ = 0;
};

/// Shape of td: q[batch][actions].
class td_shape {
public:
    /// An empty shape.
    constexpr td_shape() noexcept = default;

    /// Dense rows.
    constexpr td_shape(detail::natural batch, detail::natural actions) noexcept
        : batch_(numbers_.size("batch", batch)), actions_(numbers_.size("actions", actions))
    {
    }

    /// The same with so many elements from one row to the next, at least 1.
    constexpr td_shape with_row_stride(detail::natural stride) const noexcept
    {
        td_shape made = *this;
        made.row_stride_ = made.numbers_.stride("row_stride", stride);
        return made;
    }

    constexpr std::size_t batch() const noexcept { return batch_; }
    constexpr std::size_t actions() const noexcept { return actions_; }
    /// 0 if dense.
    constexpr std::size_t row_stride() const noexcept { return row_stride_; }

    /// Whether the numbers are valid; calls check this.
    constexpr const detail::checked_numbers &numbers() const noexcept { return numbers_; }

private:
    detail::checked_numbers numbers_{};
    std::size_t batch_ = 0;
    std::size_t actions_ = 0;
    std::size_t row_stride_ = 0;
};

/// Shape of linear_cross_entropy: hidden[rows][width], weight[classes][width].
class linear_shape {
public:
    /// An empty shape.
    constexpr linear_shape() noexcept = default;

    /// Dense arrays.
    constexpr linear_shape(detail::natural rows, detail::natural width, detail::natural classes) noexcept
        : rows_(numbers_.size("rows", rows)), width_(numbers_.size("width", width)),
          classes_(numbers_.size("classes", classes))
    {
    }

    constexpr std::size_t rows() const noexcept { return rows_; }
    constexpr std::size_t width() const noexcept { return width_; }
    constexpr std::size_t classes() const noexcept { return classes_; }

    /// Whether the numbers are valid; calls check this.
    constexpr const detail::checked_numbers &numbers() const noexcept { return numbers_; }

private:
    detail::checked_numbers numbers_{};
    std::size_t rows_ = 0;
    std::size_t width_ = 0;
    std::size_t classes_ = 0;
};

/// The classes of a chunk of logits: logits[rows][classes], the first of which is class `first_class` of all classes.
class class_chunk {
public:
    /// An empty shape.
    constexpr class_chunk() noexcept = default;

    /// Dense rows; rows with target -100 are ignored.
    constexpr class_chunk(detail::natural rows, detail::natural classes, detail::natural first_class) noexcept
        : rows_(numbers_.size("rows", rows)), classes_(numbers_.size("classes", classes)),
          first_class_(numbers_.size("first_class", first_class))
    {
    }

    /// The same with so many elements from one row to the next, at least 1.
    constexpr class_chunk with_row_stride(detail::natural stride) const noexcept
    {
        class_chunk made = *this;
        made.row_stride_ = made.numbers_.stride("row_stride", stride);
        return made;
    }

    /// The same, ignoring the rows with this target.
    constexpr class_chunk with_ignore_index(std::int64_t index) const noexcept
    {
        class_chunk made = *this;
        made.ignore_index_ = index;
        return made;
    }

    constexpr std::size_t rows() const noexcept { return rows_; }
    constexpr std::size_t classes() const noexcept { return classes_; }
    constexpr std::size_t first_class() const noexcept { return first_class_; }
    /// 0 if dense.
    constexpr std::size_t row_stride() const noexcept { return row_stride_; }
    constexpr std::int64_t ignore_index() const noexcept { return ignore_index_; }

    /// Whether the numbers are valid; calls check this.
    constexpr const detail::checked_numbers &numbers() const noexcept { return numbers_; }

private:
    detail::checked_numbers numbers_{};
    std::size_t rows_ = 0;
    std::size_t classes_ = 0;
    std::size_t first_class_ = 0;
    std::size_t row_stride_ = 0;
    std::int64_t ignore_index_ = -100;
};

namespace detail {

constexpr extent extent_of(const class_shape &shape) noexcept
{
    const std::size_t all = times(shape.samples(), shape.classes());
    const std::size_t elements = shape.elements(), grad_elements = shape.grad_elements();
    return {shape.samples(), elements, all != elements, grad_elements, all != grad_elements};
}

/// Of rows that may have gaps between them.
constexpr extent extent_of_rows(std::size_t rows, std::size_t classes, std::size_t row_stride) noexcept
{
    const std::size_t elements = elements_of(rows, classes, 1, row_stride, 0);
    const bool has_gaps = times(rows, classes) != elements;
    return {rows, elements, has_gaps, elements, has_gaps};
}

constexpr extent extent_of(const td_shape &shape) noexcept
{
    return extent_of_rows(shape.batch(), shape.actions(), shape.row_stride());
}

constexpr extent extent_of(const class_chunk &chunk) noexcept
{
    return extent_of_rows(chunk.rows(), chunk.classes(), chunk.row_stride());
}

inline lk_class_chunk to_c(const class_chunk &chunk) noexcept
{
    lk_class_chunk c{};
    c.struct_size = sizeof c;
    c.rows = chunk.rows();
    c.classes = chunk.classes();
    c.first_class = chunk.first_class();
    c.row_stride = chunk.row_stride();
    c.ignore_index = chunk.ignore_index();
    return c;
}

inline lk_class_shape to_c(const class_shape &shape) noexcept
{
    lk_class_shape c{};
    c.struct_size = sizeof c;
    c.outer = shape.outer();
    c.classes = shape.classes();
    c.inner = shape.inner();
    c.outer_stride = shape.outer_stride();
    c.class_stride = shape.class_stride();
    c.row_length = shape.row_length();
    c.row_stride = shape.row_stride();
    c.grad_outer_stride = shape.grad_outer_stride();
    c.grad_class_stride = shape.grad_class_stride();
    return c;
}

inline lk_td_shape to_c(const td_shape &shape) noexcept
{
    lk_td_shape c{};
    c.struct_size = sizeof c;
    c.batch = shape.batch();
    c.actions = shape.actions();
    c.row_stride = shape.row_stride();
    return c;
}

inline lk_linear_shape to_c(const linear_shape &shape) noexcept
{
    lk_linear_shape c{};
    c.struct_size = sizeof c;
    c.rows = shape.rows();
    c.width = shape.width();
    c.classes = shape.classes();
    return c;
}

/// A parameter's type that is not deduced from its argument, which may so be anything that converts to it.
template <class T>
struct given_as {
    using type = T;
};

template <class T>
using given = typename given_as<T>::type;

template <class Range>
using pointer_to_elements = decltype(std::data(std::declval<Range &>()));

template <class Range>
using element = std::remove_cv_t<std::remove_pointer_t<pointer_to_elements<const Range>>>;

/// Whether an array can be seen as one of T: const may be added, nothing else.
template <class T, class Range>
using viewed_as = std::enable_if_t<
    std::is_convertible_v<std::remove_pointer_t<pointer_to_elements<Range>> (*)[], T (*)[]> &&
    (std::is_lvalue_reference_v<Range> || std::is_const_v<T>)>;

template <class T>
constexpr bool is_real = std::is_same_v<T, float> || std::is_same_v<T, double>;

/// float or double, the element type of an array.
template <class Range>
using real = std::enable_if_t<is_real<element<Range>>, element<Range>>;

template <class T>
constexpr lk_dtype real_type = std::is_same_v<T, float> ? LK_F32 : LK_F64;

template <class T, class... Types>
constexpr bool is_one_of = (std::is_same_v<T, Types> || ...);

/// Whether T is an integer of the same size and sign, whatever its name. bool and the types of characters are none.
template <class T, class Integer>
constexpr bool is_integer_like =
    is_one_of<T, signed char, unsigned char, short, unsigned short, int, unsigned, long, unsigned long, long long,
              unsigned long long> &&
    sizeof(T) == sizeof(Integer) && std::is_signed_v<T> == std::is_signed_v<Integer>;

/// The constant of a type of index; -1 of other types. A type that is added here is added to LOSSKIT_INDEX_TYPES too.
template <class T>
constexpr lk_dtype index_type_of() noexcept
{
    if constexpr (is_integer_like<T, std::int32_t>)
        return LK_I32;
    else if constexpr (is_integer_like<T, std::int64_t>)
        return LK_I64;
    else if constexpr (is_integer_like<T, std::uint8_t>)
        return LK_U8;
    else if constexpr (is_integer_like<T, std::int16_t>)
        return LK_I16;
    else if constexpr (is_integer_like<T, std::uint16_t>)
        return LK_U16;
    else if constexpr (is_integer_like<T, std::uint32_t>)
        return LK_U32;
    else if constexpr (is_integer_like<T, std::uint64_t>)
        return LK_U64;
    else
        return -1;
}

// For messages of the compiler.
#define LOSSKIT_INDEX_TYPES                                                                                            \
    "std::int16_t, std::int32_t, std::int64_t, std::uint8_t, std::uint16_t, std::uint32_t or std::uint64_t"

template <class T>
constexpr lk_dtype index_type = index_type_of<T>();

/// The element type of anything that is an array. (Of indices and targets it is not known: they are none.)
template <class Range>
using element_of_array = std::enable_if_t<!std::is_void_v<element<Range>>, element<Range>>;

/// Whether it is an array, or a pointer to one.
template <class Array, class = void>
constexpr bool is_array = std::is_pointer_v<Array>;

template <class Array>
constexpr bool is_array<Array, std::void_t<element_of_array<Array>>> = true;

/// False, but not before T is known.
template <class T>
constexpr bool never = false;

template <class Range>
constexpr std::size_t size_of(const Range &range) noexcept
{
    return static_cast<std::size_t>(std::size(range));
}

} // namespace detail

// With and without std::span, what holds spans are different types: a program may link parts of either kind.
#ifdef __cpp_lib_span
#define LOSSKIT_SPANS with_std_span
#else
#define LOSSKIT_SPANS with_own_span
#endif

inline namespace LOSSKIT_SPANS {

#ifdef __cpp_lib_span
using std::span;
#else
/// A pointer and a size: std::span, where it is there.
template <class T>
class span {
public:
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}

    /// Anything contiguous; what is about to be destroyed only to be read.
    template <class Range, class = detail::viewed_as<T, Range>>
    constexpr span(Range &&range) noexcept : data_(std::data(range)), size_(detail::size_of(range))
    {
    }

    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr T &operator[](std::size_t at) const noexcept { return data_[at]; }

private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

template <class Range>
span(Range &&) -> span<std::remove_pointer_t<detail::pointer_to_elements<Range>>>;
#endif

/// An array that is read, where one may be given.
template <class T>
using optional_input = std::optional<span<const T>>;

/// An array that is written, where one is asked for.
template <class T>
using optional_output = std::optional<span<T>>;

/// An index for each sample, of one of the types that losskit.h has a constant for.
class indices {
public:
    indices() noexcept = default;

    template <class Range, class Index = detail::element_of_array<Range>>
    indices(const Range &range) noexcept
        : type_(detail::index_type<Index>), data_(std::data(range)), size_(detail::size_of(range))
    {
        static_assert(detail::index_type<Index> >= 0, "indices are arrays of " LOSSKIT_INDEX_TYPES);
    }

    lk_dtype type() const noexcept { return type_; }
    const void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    lk_dtype type_ = LK_I64;
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

/// Targets over classes: an index for each sample, or a probability for each class of each sample.
template <class T>
class targets {
public:
    targets(const indices &of) noexcept : type_(of.type()), data_(of.data()), size_(of.size()) {}

    template <class Range, class Element = detail::element_of_array<Range>>
    targets(const Range &range) noexcept
        : type_(type_of<Element>), data_(std::data(range)), size_(detail::size_of(range))
    {
        static_assert(type_of<Element> >= 0, "targets are indices, arrays of " LOSSKIT_INDEX_TYPES
                                             ", or probabilities of the logits' own type");
    }

    lk_dtype type() const noexcept { return type_; }
    const void *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    template <class Element>
    static constexpr lk_dtype type_of =
        std::is_same_v<Element, T> ? detail::real_type<T> : detail::index_type<Element>;

    lk_dtype type_;
    const void *data_;
    std::size_t size_;
};

/// The array that a gradient is written into, as losskit::grad gives it.
template <class T>
class gradient {
public:
    explicit constexpr gradient(span<T> array) noexcept : array_(array) {}

    /// An array without its name, which is refused.
    template <class Array, std::enable_if_t<detail::is_array<Array>, int> = 0>
    gradient(const Array &)
    {
        static_assert(detail::never<Array>, "the array in this place is overwritten with the gradient: write "
                                            "losskit::grad(g) for it; weights are options, as in {.weight = w}");
    }

    /// An array of the other type, which is refused.
    template <class Other>
    gradient(const gradient<Other> &)
    {
        static_assert(detail::never<Other>, "a gradient's elements are of the input's own type");
    }

    constexpr span<T> get() const noexcept { return array_; }

private:
    span<T> array_;
};

/// Marks an array as the one that receives the gradient.
template <class Range, class Element = std::remove_pointer_t<detail::pointer_to_elements<Range>>,
          class T = std::remove_const_t<Element>>
constexpr gradient<T> grad(Range &&array) noexcept
{
    constexpr bool is_const = std::is_const_v<Element>;
    constexpr bool can_be_kept = std::is_constructible_v<span<Element>, Range>;
    static_assert(!is_const, "a gradient is written: its array cannot be const");
    static_assert(is_const || can_be_kept, "a gradient would be lost with this array, which is about to be destroyed");
    if constexpr (!is_const && can_be_kept)
        return gradient<T>(span<T>(std::forward<Range>(array)));
    else
        return gradient<T>(span<T>());
}

/// Where the results go. Outputs that are left empty are not computed.
template <class T>
struct outputs {
    optional_output<T> loss{}; ///< one element, or one a sample with reduction::none
    optional_output<T> grad{}; ///< the derivative of the reduced loss with respect to the input, times grad_scale
    optional_output<T> hess{}; ///< the diagonal of the second derivative, times grad_scale
};

/// Where the results of td go.
template <class T>
struct td_outputs {
    optional_output<T> loss{};     ///< one element, or one a row with reduction::none
    optional_output<T> grad{};     ///< with respect to q
    optional_output<T> hess{};     ///< the diagonal of the second derivative
    optional_output<T> td_error{}; ///< target less q for each row, unscaled and unweighted
};

/// Options of losses that have none of their own; those of others begin with their own and end with the same.
template <class T>
struct options {
    optional_input<T> weight{};                              ///< one for each element; none: all 1
    losskit::reduction reduction = losskit::reduction::mean; ///< how the samples' losses become one
    bool accumulate_grad = false;                            ///< gradient and Hessian are added to what is there
    bool zero_if_empty = false;                              ///< the mean of nothing is 0, not NaN: LK_ZERO_IF_EMPTY
    bool check_targets = false;                              ///< look for labels outside of [0, 1]: LK_CHECK_TARGETS
    double grad_scale = 1.0;                                 ///< a factor of gradient and Hessian, not of the loss
    double min_hess = 0.0;                                   ///< the least Hessian, before weights and factors; 0: none
    double *weight_sum = nullptr;                            ///< out: what the mean divides by, for every reduction
    losskit::cost *cost = nullptr;                           ///< this batch is added to it, unrounded
    const losskit::context *context = nullptr;               ///< none: the process default
};

/// Options of huber.
template <class T>
struct huber_options {
    double delta = 1.0;         ///< where the square ends; greater than 0
    optional_input<T> weight{}; ///< as in options, and so on
    losskit::reduction reduction = losskit::reduction::mean;
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
};

/// Options of smooth_l1.
template <class T>
struct smooth_l1_options {
    double beta = 1.0;          ///< where the square ends; 0 gives l1
    optional_input<T> weight{}; ///< as in options, and so on
    losskit::reduction reduction = losskit::reduction::mean;
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
};

/// Options of bce_with_logits.
template <class T>
struct bce_with_logits_options {
    optional_input<T> pos_weight{}; ///< one for all, or one a label, repeating along the input
    detail::natural inner = 1;      ///< neighbouring elements of the same label: H * W in [N, C, H, W]
    optional_input<T> weight{};     ///< as in options, and so on
    losskit::reduction reduction = losskit::reduction::mean;
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
};

/// Options of nll.
template <class T>
struct nll_options {
    std::int64_t ignore_index = -100;                        ///< samples with this target are ignored
    optional_input<T> class_weight{};                        ///< one for each class; none: all 1
    optional_input<T> row_weight{};                          ///< one for each sample; none: all 1
    losskit::reduction reduction = losskit::reduction::mean; ///< as in options, and so on
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
};

/// Options of cross_entropy.
template <class T>
struct cross_entropy_options {
    std::int64_t ignore_index = -100;                        ///< samples with this target are ignored
    double label_smoothing = 0.0;                            ///< share of the target spread over all classes, 0 to 1
    double z_loss = 0.0;                                     ///< factor of the squared log of the sum of exponentials
    double soft_cap = 0.0;                                   ///< c tanh(x / c) in the logits' place; 0: none
    optional_input<T> class_weight{};                        ///< one for each class; none: all 1
    optional_input<T> row_weight{};                          ///< one for each sample; none: all 1
    losskit::reduction reduction = losskit::reduction::mean; ///< as in options, and so on
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
    std::uint64_t *correct = nullptr; ///< out: the number of samples whose first largest logit is the target's
    std::optional<span<std::uint8_t>> is_correct{}; ///< out: 1 for each of those samples, 0 for each other
};

/// Options of distillation.
template <class T>
struct distillation_options {
    double beta = 0.0;              ///< the teacher's share of the mixture, 0 (forward KL) to 1 (reverse KL)
    double temperature = 1.0;       ///< what all logits are divided by
    optional_input<T> row_weight{}; ///< one for each row, 0 for rows that are masked; none: all 1
    losskit::reduction reduction = losskit::reduction::mean; ///< as in options, and so on
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
};

/// What linear_cross_entropy reads besides hidden activations.
template <class T>
struct linear_inputs {
    span<const T> weight{};   ///< [classes][width]
    indices targets{};        ///< one for each row
    optional_input<T> bias{}; ///< one for each class; none: all 0
};

/// Where the loss of a linear layer and the gradients go. Outputs that are left empty are not computed.
template <class T>
struct linear_outputs {
    optional_output<T> loss{};        ///< one element, or one for each row with reduction::none
    optional_output<T> grad_hidden{}; ///< [rows][width]
    optional_output<T> grad_weight{}; ///< [classes][width]
    optional_output<T> grad_bias{};   ///< one for each class
};

/// Options of linear_cross_entropy.
template <class T>
struct linear_cross_entropy_options {
    std::int64_t ignore_index = -100;                        ///< rows with this target are ignored
    double label_smoothing = 0.0;                            ///< as in cross_entropy_options
    double z_loss = 0.0;                                     ///< the same
    double soft_cap = 0.0;                                   ///< the same
    detail::natural memory = 67108864;                       ///< bytes of logits at once, never less than one row
    optional_input<T> class_weight{};                        ///< one for each class; none: all 1
    optional_input<T> row_weight{};                          ///< one for each row; none: all 1
    losskit::reduction reduction = losskit::reduction::mean; ///< as in options, and so on
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
    std::uint64_t *correct = nullptr;               ///< as in cross_entropy_options
    std::optional<span<std::uint8_t>> is_correct{}; ///< the same
};

/// What td reads besides q.
template <class T>
struct td_inputs {
    indices action{};                               ///< one for each row
    span<const T> reward{};                         ///< one for each row
    span<const T> next_q{};                         ///< in q's shape
    std::optional<span<const std::uint8_t>> done{}; ///< not 0: the episode ended; none: none did
    optional_input<T> next_q_online{};              ///< in q's shape, to choose actions by (double DQN)
};

/// Options of td.
template <class T>
struct td_options {
    double gamma = 0.99;                                     ///< the discount
    td_loss loss = td_loss::mse;                             ///< the loss of the temporal difference
    double delta = 1.0;                                      ///< of td_loss::huber: where the square ends
    optional_input<T> weight{};                              ///< one for each row; none: all 1
    losskit::reduction reduction = losskit::reduction::mean; ///< as in options, and so on
    bool accumulate_grad = false;
    bool zero_if_empty = false;
    bool check_targets = false;
    double grad_scale = 1.0;
    double min_hess = 0.0;
    double *weight_sum = nullptr;
    losskit::cost *cost = nullptr;
    const losskit::context *context = nullptr;
};

/// Where log-probabilities, entropies and log-sum-exps go. Outputs that are left empty are not computed.
template <class T>
struct token_outputs {
    optional_output<T> log_probs{}; ///< [rows][per_row]
    optional_output<T> entropy{};   ///< one for each row
    optional_output<T> lse{};       ///< one for each row
};

/// The gradients with respect to them; none: zeros.
template <class T>
struct token_grads {
    optional_input<T> log_probs{}; ///< [rows][per_row]
    optional_input<T> entropy{};   ///< one for each row
    optional_input<T> lse{};       ///< one for each row
};

/// Options of selective_log_softmax and its gradient.
struct token_options {
    detail::natural per_row = 1;               ///< indices of each row
    std::int64_t ignore_index = -100;          ///< the index that stands for none
    bool accumulate_grad = false;              ///< the gradient is added to what is there
    const losskit::context *context = nullptr; ///< none: the process default
};

} // namespace LOSSKIT_SPANS

namespace detail {

/// The targets of losses that take no probabilities.
template <class T>
using indices_for = indices;

/// The function for an element type.
template <class T, auto F32, auto F64>
constexpr auto function() noexcept
{
    if constexpr (std::is_same_v<T, float>)
        return F32;
    else
        return F64;
}

template <class T>
constexpr T *pointer(const std::optional<span<T>> &array) noexcept
{
    return array ? array->data() : nullptr;
}

inline lk_dtype type_of(const std::optional<indices> &of) noexcept { return of ? of->type() : LK_I64; }

inline const void *pointer_of(const std::optional<indices> &of) noexcept { return of ? of->data() : nullptr; }

inline lk_selective_log_softmax_params to_c(const token_options &how) noexcept
{
    lk_selective_log_softmax_params c = LK_SELECTIVE_LOG_SOFTMAX_PARAMS_INIT;
    c.per_row = how.per_row;
    c.ignore_index = how.ignore_index;
    return c;
}

inline const lk_context *handle(const context *of) noexcept { return of == nullptr ? nullptr : of->get(); }

template <class Options>
lk_options to_c(const Options &from) noexcept
{
    lk_options c = LK_OPTIONS_INIT;
    c.reduction = static_cast<lk_reduction>(from.reduction);
    c.flags = (from.accumulate_grad ? static_cast<std::uint32_t>(LK_ACCUMULATE_GRAD) : 0u) |
              (from.zero_if_empty ? static_cast<std::uint32_t>(LK_ZERO_IF_EMPTY) : 0u) |
              (from.check_targets ? static_cast<std::uint32_t>(LK_CHECK_TARGETS) : 0u);
    c.grad_scale = from.grad_scale;
    c.min_hess = from.min_hess;
    c.weight_sum = from.weight_sum;
    c.cost = from.cost == nullptr ? nullptr : from.cost->get();
    return c;
}

/// Whether a shape's numbers can be and all arrays fit; remembers the first that does not.
class lengths {
public:
    lengths() noexcept = default;

    template <class Shape>
    explicit lengths(const Shape &shape) noexcept
    {
        if (!shape.numbers().are_right())
            misfit_ = shape.numbers().error();
    }

    /// A number among the options.
    void check(const char *option, natural number) noexcept
    {
        checked_numbers numbers;
        numbers.size(option, number);
        if (!numbers.are_right() && fit())
            misfit_ = numbers.error();
    }

    void check(const char *array, std::size_t length, std::size_t needed, bool may_be_longer = false) noexcept
    {
        if (length == needed || (may_be_longer && length > needed) || misfit_.status() != status::ok)
            return;
        misfit_ = result(array, length, needed);
    }

    template <class T>
    void check(const char *array, const std::optional<span<T>> &given, std::size_t needed,
               bool may_be_longer = false) noexcept
    {
        if (given)
            check(array, given->size(), needed, may_be_longer);
    }

    template <class Outputs>
    void check_outputs(const Outputs &out, reduction how, const extent &of) noexcept
    {
        check("loss", out.loss, how == reduction::none ? of.samples : 1);
        check("grad", out.grad, of.grad_elements, of.grad_has_gaps);
        check("hess", out.hess, of.grad_elements, of.grad_has_gaps);
    }

    bool fit() const noexcept { return misfit_.status() == status::ok; }
    result misfit() const noexcept { return misfit_; }

private:
    result misfit_{LK_OK};
};

/// Ends a call that returns one number if there is to be a loss for each sample.
inline void check_returned(reduction how)
{
    if (how == reduction::none)
        result(status::unsupported_option,
               "this call returns a mean or a sum: for reduction::none, which has a loss for each sample, "
               "call the form that takes outputs and set outputs::loss")
            .or_throw();
}

/// The result of a call with options.
template <class Options>
result result_of(lk_status status, const Options &) noexcept
{
    return result(status);
}

/// The same, with delta as it was given: losskit.h sees it rounded to the element type.
template <class T>
result result_of(lk_status status, const huber_options<T> &own) noexcept
{
    if (status != LK_INVALID_DELTA || own.delta == 0 || static_cast<T>(own.delta) != 0)
        return result(status);
    char words[128];
    std::snprintf(words, sizeof words,
                  own.delta > 0 ? "delta %g is 0 in the element type, must be greater than 0"
                                : "delta %g is not greater than 0",
                  own.delta);
    return result(losskit::status::invalid_delta, words);
}

/// Calls a function with what a loss has of its own between its arrays and the options of all losses.
template <class T, class Function>
lk_status call_with_own(const options<T> &, Function function) noexcept
{
    return function();
}

template <class T, class Function>
lk_status call_with_own(const huber_options<T> &own, Function function) noexcept
{
    return function(static_cast<T>(own.delta));
}

template <class T, class Function>
lk_status call_with_own(const smooth_l1_options<T> &own, Function function) noexcept
{
    return function(static_cast<T>(own.beta));
}

template <class T, class Function>
lk_status call_with_own(const bce_with_logits_options<T> &own, Function function) noexcept
{
    lk_bce_with_logits_params params = LK_BCE_WITH_LOGITS_PARAMS_INIT;
    params.inner = own.inner;
    return function(pointer(own.pos_weight), own.pos_weight ? own.pos_weight->size() : std::size_t{0}, &params);
}

template <class T, class Function>
lk_status call_with_own(const nll_options<T> &own, Function function) noexcept
{
    lk_nll_params params = LK_NLL_PARAMS_INIT;
    params.ignore_index = own.ignore_index;
    return function(&params);
}

template <class T, class Function>
lk_status call_with_own(const cross_entropy_options<T> &own, Function function) noexcept
{
    lk_cross_entropy_params params = LK_CROSS_ENTROPY_PARAMS_INIT;
    params.ignore_index = own.ignore_index;
    params.label_smoothing = own.label_smoothing;
    params.z_loss = own.z_loss;
    params.soft_cap = own.soft_cap;
    params.correct = own.correct;
    params.is_correct = pointer(own.is_correct);
    return function(&params);
}

/// Looks at what a loss's own options say.
template <class Options>
void check_own(lengths &, const Options &, const extent &) noexcept
{
}

template <class T>
void check_own(lengths &all, const bce_with_logits_options<T> &own, const extent &) noexcept
{
    all.check("inner", own.inner);
}

template <class T>
void check_own(lengths &all, const cross_entropy_options<T> &own, const extent &of) noexcept
{
    all.check("is_correct", own.is_correct, of.samples);
}

template <class T>
constexpr const char *input_of(const nll_options<T> &) noexcept
{
    return "log_probs";
}

template <class T>
constexpr const char *input_of(const cross_entropy_options<T> &) noexcept
{
    return "logits";
}

} // namespace detail

// Each call is a few comparisons and a call of the C function; clang inlines it only if it is told to.
#ifdef __GNUC__
#define LOSSKIT_INLINE [[gnu::always_inline]]
#else
#define LOSSKIT_INLINE
#endif

inline namespace LOSSKIT_SPANS {

/// A loss of independent elements, in float and double.
template <auto F32, auto F64, template <class> class Options>
struct pointwise_loss {
    /// Gives the mean or the sum.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE T operator()(const Input &input, detail::given<span<const T>> target,
                                const detail::given<Options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, input, target, {span<T>(&loss, 1)}, how).or_throw();
        return loss;
    }

    /// Gives the mean or the sum, and writes the gradient, which may be the input itself.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE T operator()(const Input &input, detail::given<span<const T>> target,
                                detail::given<gradient<T>> grad, const detail::given<Options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, input, target, {span<T>(&loss, 1), grad.get()}, how).or_throw();
        return loss;
    }

    /// Writes what `out` names, no more.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE status operator()(const Input &input, detail::given<span<const T>> target,
                                     const detail::given<outputs<T>> &out,
                                     const detail::given<Options<T>> &how = {}) const
    {
        return (*this)(std::nothrow, input, target, out, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const Input &input, detail::given<span<const T>> target,
                                     const detail::given<outputs<T>> &out,
                                     const detail::given<Options<T>> &how = {}) const noexcept
    {
        const std::size_t n = detail::size_of(input);
        detail::lengths lengths;
        lengths.check("target", target.size(), n);
        lengths.check("weight", how.weight, n);
        detail::check_own(lengths, how, {n, n, false, n, false});
        lengths.check_outputs(out, how.reduction, {n, n, false, n, false});
        if (!lengths.fit())
            return lengths.misfit();
        const lk_options shared = detail::to_c(how);
        const lk_status status = detail::call_with_own(how, [&](auto... own) noexcept {
            return detail::function<T, F32, F64>()(
                detail::handle(how.context), n, std::data(input), target.data(), detail::pointer(how.weight), own...,
                &shared, detail::pointer(out.loss), detail::pointer(out.grad), detail::pointer(out.hess));
        });
        return detail::result_of(status, how);
    }
};

/// A loss of samples over classes, in float and double.
template <auto F32, auto F64, template <class> class Targets, template <class> class Options>
struct class_loss {
    /// Gives the mean or the sum.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE T operator()(const class_shape &shape, const Input &input, detail::given<Targets<T>> of,
                                const detail::given<Options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, shape, input, of, {span<T>(&loss, 1)}, how).or_throw();
        return loss;
    }

    /// Gives the mean or the sum, and writes the gradient, which may be the input itself.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE T operator()(const class_shape &shape, const Input &input, detail::given<Targets<T>> of,
                                detail::given<gradient<T>> grad, const detail::given<Options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, shape, input, of, {span<T>(&loss, 1), grad.get()}, how).or_throw();
        return loss;
    }

    /// Writes what `out` names, no more.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE status operator()(const class_shape &shape, const Input &input, detail::given<Targets<T>> of,
                                     const detail::given<outputs<T>> &out,
                                     const detail::given<Options<T>> &how = {}) const
    {
        return (*this)(std::nothrow, shape, input, of, out, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Input, class T = detail::real<Input>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Input &input,
                                     detail::given<Targets<T>> of, const detail::given<outputs<T>> &out,
                                     const detail::given<Options<T>> &how = {}) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check(detail::input_of(how), detail::size_of(input), extent.elements, extent.has_gaps);
        if (of.type() == detail::real_type<T>)
            lengths.check("targets", of.size(), extent.elements, extent.has_gaps);
        else
            lengths.check("targets", of.size(), extent.samples);
        lengths.check("class_weight", how.class_weight, shape.classes());
        lengths.check("row_weight", how.row_weight, extent.samples);
        detail::check_own(lengths, how, extent);
        lengths.check_outputs(out, how.reduction, extent);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_shape c_shape = detail::to_c(shape);
        const lk_options shared = detail::to_c(how);
        return result(detail::call_with_own(how, [&](const auto *params) noexcept {
            return detail::function<T, F32, F64>()(
                detail::handle(how.context), &c_shape, std::data(input), of.type(), of.data(),
                detail::pointer(how.class_weight), detail::pointer(how.row_weight), params, &shared,
                detail::pointer(out.loss), detail::pointer(out.grad), detail::pointer(out.hess));
        }));
    }
};

/// The divergence between a teacher's and a student's distribution, in float and double. There is no Hessian.
struct knowledge_distillation {
    /// Gives the mean or the sum.
    template <class Student, class T = detail::real<Student>>
    LOSSKIT_INLINE T operator()(const class_shape &shape, const Student &student, detail::given<span<const T>> teacher,
                                const detail::given<distillation_options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, shape, student, teacher, {span<T>(&loss, 1)}, how).or_throw();
        return loss;
    }

    /// Gives the mean or the sum, and writes the gradient of the student's logits, which may take their place.
    template <class Student, class T = detail::real<Student>>
    LOSSKIT_INLINE T operator()(const class_shape &shape, const Student &student, detail::given<span<const T>> teacher,
                                detail::given<gradient<T>> grad,
                                const detail::given<distillation_options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, shape, student, teacher, {span<T>(&loss, 1), grad.get()}, how).or_throw();
        return loss;
    }

    /// Writes what `out` names, no more.
    template <class Student, class T = detail::real<Student>>
    LOSSKIT_INLINE status operator()(const class_shape &shape, const Student &student,
                                     detail::given<span<const T>> teacher, const detail::given<outputs<T>> &out,
                                     const detail::given<distillation_options<T>> &how = {}) const
    {
        return (*this)(std::nothrow, shape, student, teacher, out, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Student, class T = detail::real<Student>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Student &student,
                                     detail::given<span<const T>> teacher, const detail::given<outputs<T>> &out,
                                     const detail::given<distillation_options<T>> &how = {}) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("student", detail::size_of(student), extent.elements, extent.has_gaps);
        lengths.check("teacher", teacher.size(), extent.elements, extent.has_gaps);
        lengths.check("row_weight", how.row_weight, extent.samples);
        lengths.check("hess", out.hess, 0);
        lengths.check_outputs(out, how.reduction, extent);
        if (!lengths.fit())
            return lengths.misfit();
        lk_distillation_params params = LK_DISTILLATION_PARAMS_INIT;
        params.beta = how.beta;
        params.temperature = how.temperature;
        const lk_class_shape c_shape = detail::to_c(shape);
        const lk_options shared = detail::to_c(how);
        return result(detail::function<T, lk_distillation_f32, lk_distillation_f64>()(
            detail::handle(how.context), &c_shape, std::data(student), teacher.data(),
            detail::pointer(how.row_weight), &params, &shared, detail::pointer(out.loss), detail::pointer(out.grad)));
    }
};

/// Temporal difference, in float and double.
struct temporal_difference {
    /// Gives the mean or the sum.
    template <class Q, class T = detail::real<Q>>
    LOSSKIT_INLINE T operator()(const td_shape &shape, const Q &q, const detail::given<td_inputs<T>> &in,
                                const detail::given<td_options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, shape, q, in, {span<T>(&loss, 1)}, how).or_throw();
        return loss;
    }

    /// Gives the mean or the sum, and writes the gradient, which may be q itself.
    template <class Q, class T = detail::real<Q>>
    LOSSKIT_INLINE T operator()(const td_shape &shape, const Q &q, const detail::given<td_inputs<T>> &in,
                                detail::given<gradient<T>> grad, const detail::given<td_options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, shape, q, in, {span<T>(&loss, 1), grad.get()}, how).or_throw();
        return loss;
    }

    /// Writes what `out` names, no more.
    template <class Q, class T = detail::real<Q>>
    LOSSKIT_INLINE status operator()(const td_shape &shape, const Q &q, const detail::given<td_inputs<T>> &in,
                                     const detail::given<td_outputs<T>> &out,
                                     const detail::given<td_options<T>> &how = {}) const
    {
        return (*this)(std::nothrow, shape, q, in, out, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Q, class T = detail::real<Q>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const td_shape &shape, const Q &q,
                                     const detail::given<td_inputs<T>> &in, const detail::given<td_outputs<T>> &out,
                                     const detail::given<td_options<T>> &how = {}) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("q", detail::size_of(q), extent.elements, extent.has_gaps);
        lengths.check("action", in.action.size(), shape.batch());
        lengths.check("reward", in.reward.size(), shape.batch());
        lengths.check("next_q", in.next_q.size(), extent.elements, extent.has_gaps);
        lengths.check("done", in.done, shape.batch());
        lengths.check("next_q_online", in.next_q_online, extent.elements, extent.has_gaps);
        lengths.check("weight", how.weight, shape.batch());
        lengths.check_outputs(out, how.reduction, extent);
        lengths.check("td_error", out.td_error, shape.batch());
        if (!lengths.fit())
            return lengths.misfit();
        const lk_td_shape c_shape = detail::to_c(shape);
        const lk_options shared = detail::to_c(how);
        lk_td_params params = LK_TD_PARAMS_INIT;
        params.gamma = how.gamma;
        params.loss = static_cast<lk_td_loss>(how.loss);
        params.delta = how.delta;
        return result(detail::function<T, lk_td_f32, lk_td_f64>()(
            detail::handle(how.context), &c_shape, std::data(q), in.action.type(), in.action.data(), in.reward.data(),
            detail::pointer(in.done), in.next_q.data(), detail::pointer(in.next_q_online), detail::pointer(how.weight),
            &params, &shared, detail::pointer(out.loss), detail::pointer(out.grad), detail::pointer(out.hess),
            detail::pointer(out.td_error)));
    }
};

/// Cross-entropy of a linear layer, in float and double.
struct linear_cross_entropy_function {
    /// Gives the mean or the sum.
    template <class Hidden, class T = detail::real<Hidden>>
    LOSSKIT_INLINE T operator()(const linear_shape &shape, const Hidden &hidden,
                                const detail::given<linear_inputs<T>> &in,
                                const detail::given<linear_cross_entropy_options<T>> &how = {}) const
    {
        detail::check_returned(how.reduction);
        T loss{};
        (*this)(std::nothrow, shape, hidden, in, {span<T>(&loss, 1)}, how).or_throw();
        return loss;
    }

    /// Writes what `out` names, no more.
    template <class Hidden, class T = detail::real<Hidden>>
    LOSSKIT_INLINE status operator()(const linear_shape &shape, const Hidden &hidden,
                                     const detail::given<linear_inputs<T>> &in,
                                     const detail::given<linear_outputs<T>> &out,
                                     const detail::given<linear_cross_entropy_options<T>> &how = {}) const
    {
        return (*this)(std::nothrow, shape, hidden, in, out, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Hidden, class T = detail::real<Hidden>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const linear_shape &shape, const Hidden &hidden,
                                     const detail::given<linear_inputs<T>> &in,
                                     const detail::given<linear_outputs<T>> &out,
                                     const detail::given<linear_cross_entropy_options<T>> &how = {}) const noexcept
    {
        const std::size_t hidden_size = detail::times(shape.rows(), shape.width());
        const std::size_t weight_size = detail::times(shape.classes(), shape.width());
        detail::lengths lengths(shape);
        lengths.check("hidden", detail::size_of(hidden), hidden_size);
        lengths.check("weight", in.weight.size(), weight_size);
        lengths.check("bias", in.bias, shape.classes());
        lengths.check("targets", in.targets.size(), shape.rows());
        lengths.check("class_weight", how.class_weight, shape.classes());
        lengths.check("row_weight", how.row_weight, shape.rows());
        lengths.check("loss", out.loss, how.reduction == reduction::none ? shape.rows() : 1);
        lengths.check("grad_hidden", out.grad_hidden, hidden_size);
        lengths.check("grad_weight", out.grad_weight, weight_size);
        lengths.check("grad_bias", out.grad_bias, shape.classes());
        lengths.check("is_correct", how.is_correct, shape.rows());
        lengths.check("memory", how.memory);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_linear_shape c_shape = detail::to_c(shape);
        const lk_options shared = detail::to_c(how);
        lk_linear_cross_entropy_params params = LK_LINEAR_CROSS_ENTROPY_PARAMS_INIT;
        params.ignore_index = how.ignore_index;
        params.label_smoothing = how.label_smoothing;
        params.z_loss = how.z_loss;
        params.soft_cap = how.soft_cap;
        params.memory = how.memory;
        params.correct = how.correct;
        params.is_correct = detail::pointer(how.is_correct);
        return result(detail::function<T, lk_linear_cross_entropy_f32, lk_linear_cross_entropy_f64>()(
            detail::handle(how.context), &c_shape, std::data(hidden), in.weight.data(), detail::pointer(in.bias),
            in.targets.type(), in.targets.data(), detail::pointer(how.class_weight), detail::pointer(how.row_weight),
            &params, &shared, detail::pointer(out.loss), detail::pointer(out.grad_hidden),
            detail::pointer(out.grad_weight), detail::pointer(out.grad_bias)));
    }
};

/// A function of each sample's classes, in float and double.
template <auto F32, auto F64>
struct class_function {
    /// Writes `output`, in the logits' shape, which may be the logits themselves.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE void operator()(const class_shape &shape, const Logits &logits, detail::given<span<T>> output,
                                   const context *with = nullptr) const
    {
        (*this)(std::nothrow, shape, logits, output, with).or_throw();
    }

    /// The same, without exceptions.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Logits &logits,
                                     detail::given<span<T>> output, const context *with = nullptr) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("logits", detail::size_of(logits), extent.elements, extent.has_gaps);
        lengths.check("output", output.size(), extent.grad_elements, extent.grad_has_gaps);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_shape c_shape = detail::to_c(shape);
        return result(
            detail::function<T, F32, F64>()(detail::handle(with), &c_shape, std::data(logits), output.data()));
    }
};

/// The gradient of a function of each sample's classes, in float and double.
template <auto F32, auto F64>
struct class_function_backward {
    /// Writes `grad_input`, which may be `grad_output` itself; `output` is what the function wrote.
    template <class Output, class T = detail::real<Output>>
    LOSSKIT_INLINE void operator()(const class_shape &shape, const Output &output,
                                   detail::given<span<const T>> grad_output, detail::given<gradient<T>> grad_input,
                                   const context *with = nullptr) const
    {
        (*this)(std::nothrow, shape, output, grad_output, grad_input, with).or_throw();
    }

    /// The same, without exceptions.
    template <class Output, class T = detail::real<Output>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Output &output,
                                     detail::given<span<const T>> grad_output, detail::given<gradient<T>> grad_input,
                                     const context *with = nullptr) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("output", detail::size_of(output), extent.elements, extent.has_gaps);
        lengths.check("grad_output", grad_output.size(), extent.elements, extent.has_gaps);
        lengths.check("grad_input", grad_input.get().size(), extent.grad_elements, extent.grad_has_gaps);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_shape c_shape = detail::to_c(shape);
        return result(detail::function<T, F32, F64>()(detail::handle(with), &c_shape, std::data(output),
                                                      grad_output.data(), grad_input.get().data()));
    }
};

/// Log-probabilities of chosen classes of each row, and each row's entropy, in float and double.
struct selective_log_softmax_function {
    /// Gives the log-probability of each index.
    template <class Logits, class T = detail::real<Logits>>
    std::vector<T> operator()(const class_shape &shape, const Logits &logits, const losskit::indices &indices,
                              const token_options &how = {}) const
    {
        std::vector<T> log_probs(indices.size());
        (*this)(std::nothrow, shape, logits, indices, {span<T>(log_probs)}, how).or_throw();
        return log_probs;
    }

    /// Writes what `out` names, in one pass; indices may be left out where no log-probabilities are asked for.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE void operator()(const class_shape &shape, const Logits &logits,
                                   const std::optional<losskit::indices> &indices,
                                   const detail::given<token_outputs<T>> &out, const token_options &how = {}) const
    {
        (*this)(std::nothrow, shape, logits, indices, out, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Logits &logits,
                                     const std::optional<losskit::indices> &indices,
                                     const detail::given<token_outputs<T>> &out,
                                     const token_options &how = {}) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("logits", detail::size_of(logits), extent.elements, extent.has_gaps);
        lengths.check("per_row", how.per_row);
        if (indices)
            lengths.check("indices", indices->size(), detail::times(extent.samples, how.per_row));
        lengths.check("log_probs", out.log_probs, detail::times(extent.samples, how.per_row));
        lengths.check("entropy", out.entropy, extent.samples);
        lengths.check("lse", out.lse, extent.samples);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_shape c_shape = detail::to_c(shape);
        const lk_selective_log_softmax_params params = detail::to_c(how);
        return result(detail::function<T, lk_selective_log_softmax_f32, lk_selective_log_softmax_f64>()(
            detail::handle(how.context), &c_shape, std::data(logits), detail::type_of(indices),
            detail::pointer_of(indices), &params, detail::pointer(out.log_probs), detail::pointer(out.entropy),
            detail::pointer(out.lse)));
    }
};

/// The gradient of selective_log_softmax with respect to the logits, in float and double.
struct selective_log_softmax_backward_function {
    /// Writes `grad`, which may be the logits themselves, from the gradients with respect to the outputs.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE void operator()(const class_shape &shape, const Logits &logits,
                                   const std::optional<losskit::indices> &indices,
                                   const detail::given<token_grads<T>> &grads, detail::given<gradient<T>> grad,
                                   const token_options &how = {}) const
    {
        (*this)(std::nothrow, shape, logits, indices, grads, grad, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Logits &logits,
                                     const std::optional<losskit::indices> &indices,
                                     const detail::given<token_grads<T>> &grads, detail::given<gradient<T>> grad,
                                     const token_options &how = {}) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("logits", detail::size_of(logits), extent.elements, extent.has_gaps);
        lengths.check("per_row", how.per_row);
        if (indices)
            lengths.check("indices", indices->size(), detail::times(extent.samples, how.per_row));
        lengths.check("grad_log_probs", grads.log_probs, detail::times(extent.samples, how.per_row));
        lengths.check("grad_entropy", grads.entropy, extent.samples);
        lengths.check("grad_lse", grads.lse, extent.samples);
        lengths.check("grad", grad.get().size(), extent.grad_elements, extent.grad_has_gaps);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_shape c_shape = detail::to_c(shape);
        const lk_selective_log_softmax_params params = detail::to_c(how);
        return result(
            detail::function<T, lk_selective_log_softmax_backward_f32, lk_selective_log_softmax_backward_f64>()(
                detail::handle(how.context), &c_shape, std::data(logits), detail::type_of(indices),
                detail::pointer_of(indices), &params, detail::pointer(grads.log_probs), detail::pointer(grads.entropy),
                detail::pointer(grads.lse), how.accumulate_grad ? LK_ACCUMULATE_GRAD : 0, grad.get().data()));
    }
};

/// The entropy of each row, in float and double.
struct entropy_function {
    /// Gives each row's entropy.
    template <class Logits, class T = detail::real<Logits>>
    std::vector<T> operator()(const class_shape &shape, const Logits &logits, const context *with = nullptr) const
    {
        std::vector<T> entropy(shape.samples());
        (*this)(std::nothrow, shape, logits, entropy, with).or_throw();
        return entropy;
    }

    /// Writes each row's entropy, without exceptions.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Logits &logits,
                                     detail::given<span<T>> entropy, const context *with = nullptr) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("logits", detail::size_of(logits), extent.elements, extent.has_gaps);
        lengths.check("entropy", entropy.size(), extent.samples);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_shape c_shape = detail::to_c(shape);
        return result(detail::function<T, lk_entropy_f32, lk_entropy_f64>()(detail::handle(with), &c_shape,
                                                                            std::data(logits), entropy.data()));
    }
};

/// The gradient of the entropy with respect to the logits, in float and double.
struct entropy_backward_function {
    /// Writes `grad`, which may be the logits themselves, from the gradient with respect to each row's entropy.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE void operator()(const class_shape &shape, const Logits &logits,
                                   detail::given<span<const T>> grad_entropy, detail::given<gradient<T>> grad,
                                   const token_options &how = {}) const
    {
        (*this)(std::nothrow, shape, logits, grad_entropy, grad, how).or_throw();
    }

    /// The same, without exceptions.
    template <class Logits, class T = detail::real<Logits>>
    LOSSKIT_INLINE result operator()(std::nothrow_t, const class_shape &shape, const Logits &logits,
                                     detail::given<span<const T>> grad_entropy, detail::given<gradient<T>> grad,
                                     const token_options &how = {}) const noexcept
    {
        const detail::extent extent = detail::extent_of(shape);
        detail::lengths lengths(shape);
        lengths.check("logits", detail::size_of(logits), extent.elements, extent.has_gaps);
        lengths.check("grad_entropy", grad_entropy.size(), extent.samples);
        lengths.check("grad", grad.get().size(), extent.grad_elements, extent.grad_has_gaps);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_shape c_shape = detail::to_c(shape);
        return result(detail::function<T, lk_entropy_backward_f32, lk_entropy_backward_f64>()(
            detail::handle(how.context), &c_shape, std::data(logits), grad_entropy.data(),
            how.accumulate_grad ? LK_ACCUMULATE_GRAD : 0, grad.get().data()));
    }
};

/// Options of softmax_states.
struct softmax_state_options {
    double label_smoothing = 0.0; ///< as in cross_entropy_options, over the classes of all chunks
    double z_loss = 0.0;          ///< as in cross_entropy_options
    double soft_cap = 0.0;        ///< as in cross_entropy_options
};

/// The softmax of rows whose classes arrive in chunks, in any order: a state for each row. losskit.h documents what is
/// computed, at the functions that begin with lk_softmax_state.
class softmax_states {
public:
    /// States of so many rows, without any classes yet.
    explicit softmax_states(std::size_t rows, const softmax_state_options &how = {}) : states_(rows)
    {
        params_.label_smoothing = how.label_smoothing;
        params_.z_loss = how.z_loss;
        params_.soft_cap = how.soft_cap;
        lk_softmax_state_init(rows, states_.data());
    }

    std::size_t size() const noexcept { return states_.size(); }
    /// The states, for losskit.h or for sending them to another process.
    lk_softmax_state *data() noexcept { return states_.data(); }
    const lk_softmax_state *data() const noexcept { return states_.data(); }

    /// Adds a chunk of classes, whose weights may be given; without targets there will be no loss.
    template <class Logits, class T = detail::real<Logits>>
    void update(const class_chunk &chunk, const Logits &logits, const std::optional<indices> &targets,
                const context *with = nullptr, const detail::given<optional_input<T>> &class_weight = {})
    {
        update(std::nothrow, chunk, logits, targets, with, class_weight).or_throw();
    }

    /// The same, without exceptions.
    template <class Logits, class T = detail::real<Logits>>
    result update(std::nothrow_t, const class_chunk &chunk, const Logits &logits,
                  const std::optional<indices> &targets, const context *with = nullptr,
                  const detail::given<optional_input<T>> &class_weight = {}) noexcept
    {
        detail::lengths lengths = lengths_of(chunk, detail::size_of(logits), targets);
        lengths.check("class_weight", class_weight, chunk.classes());
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_chunk c_chunk = detail::to_c(chunk);
        return result(detail::function<T, lk_softmax_state_update_f32, lk_softmax_state_update_f64>()(
            detail::handle(with), &c_chunk, std::data(logits), detail::type_of(targets), detail::pointer_of(targets),
            detail::pointer(class_weight), &params_, data()));
    }

    /// Merges the states of other chunks of the same rows into these.
    void merge(const softmax_states &from, const context *with = nullptr)
    {
        merge(std::nothrow, from, with).or_throw();
    }

    /// The same, without exceptions.
    result merge(std::nothrow_t, const softmax_states &from, const context *with = nullptr) noexcept
    {
        if (from.size() != size())
            return result("from", from.size(), size());
        return result(lk_softmax_state_merge(detail::handle(with), size(), data(), from.data()));
    }

    /// Writes each row's loss.
    template <class Loss, class T = detail::real<Loss>>
    void loss(Loss &&loss, const context *with = nullptr) const
    {
        this->loss(std::nothrow, loss, with).or_throw();
    }

    /// The same, without exceptions.
    template <class Loss, class T = detail::real<Loss>>
    result loss(std::nothrow_t, Loss &&loss, const context *with = nullptr) const noexcept
    {
        return finish<T>("loss", detail::size_of(loss), std::data(loss), nullptr, with);
    }

    /// Writes the logarithm of each row's sum of exponentials.
    template <class Lse, class T = detail::real<Lse>>
    void lse(Lse &&lse, const context *with = nullptr) const
    {
        this->lse(std::nothrow, lse, with).or_throw();
    }

    /// The same, without exceptions.
    template <class Lse, class T = detail::real<Lse>>
    result lse(std::nothrow_t, Lse &&lse, const context *with = nullptr) const noexcept
    {
        return finish<T>("lse", detail::size_of(lse), nullptr, std::data(lse), with);
    }

    /// Writes the gradient of the logits of a chunk, once all classes were added. It may overwrite the logits.
    template <class Logits, class T = detail::real<Logits>>
    void grad(const class_chunk &chunk, const Logits &logits, const std::optional<indices> &targets,
              detail::given<gradient<T>> grad, double grad_scale = 1,
              const detail::given<optional_input<T>> &row_weight = {}, const context *with = nullptr,
              const detail::given<optional_input<T>> &class_weight = {}) const
    {
        this->grad(std::nothrow, chunk, logits, targets, grad, grad_scale, row_weight, with, class_weight).or_throw();
    }

    /// The same, without exceptions.
    template <class Logits, class T = detail::real<Logits>>
    result grad(std::nothrow_t, const class_chunk &chunk, const Logits &logits, const std::optional<indices> &targets,
                detail::given<gradient<T>> grad, double grad_scale = 1,
                const detail::given<optional_input<T>> &row_weight = {}, const context *with = nullptr,
                const detail::given<optional_input<T>> &class_weight = {}) const noexcept
    {
        const detail::extent extent = detail::extent_of(chunk);
        detail::lengths lengths = lengths_of(chunk, detail::size_of(logits), targets);
        lengths.check("class_weight", class_weight, chunk.classes());
        lengths.check("row_weight", row_weight, extent.samples);
        lengths.check("grad", grad.get().size(), extent.grad_elements, extent.grad_has_gaps);
        if (!lengths.fit())
            return lengths.misfit();
        const lk_class_chunk c_chunk = detail::to_c(chunk);
        return result(detail::function<T, lk_softmax_state_grad_f32, lk_softmax_state_grad_f64>()(
            detail::handle(with), &c_chunk, std::data(logits), detail::type_of(targets), detail::pointer_of(targets),
            data(), detail::pointer(class_weight), detail::pointer(row_weight), &params_, grad_scale,
            grad.get().data()));
    }

private:
    detail::lengths lengths_of(const class_chunk &chunk, std::size_t logits,
                               const std::optional<indices> &targets) const noexcept
    {
        const detail::extent extent = detail::extent_of(chunk);
        detail::lengths lengths(chunk);
        lengths.check("logits", logits, extent.elements, extent.has_gaps);
        if (targets)
            lengths.check("targets", targets->size(), extent.samples);
        lengths.check("states", size(), extent.samples);
        return lengths;
    }

    template <class T>
    result finish(const char *array, std::size_t length, T *loss, T *lse, const context *with) const noexcept
    {
        if (length != size())
            return result(array, length, size());
        return result(detail::function<T, lk_softmax_state_finish_f32, lk_softmax_state_finish_f64>()(
            detail::handle(with), size(), data(), &params_, loss, lse));
    }

    std::vector<lk_softmax_state> states_;
    lk_softmax_state_params params_ = LK_SOFTMAX_STATE_PARAMS_INIT;
};

// Begin of what is made from the sources, as the C header is.
/// Mean squared error: lk_mse_f32, lk_mse_f64.
inline constexpr pointwise_loss<lk_mse_f32, lk_mse_f64, options> mse{};
/// Absolute error: lk_l1_f32, lk_l1_f64.
inline constexpr pointwise_loss<lk_l1_f32, lk_l1_f64, options> l1{};
/// Huber's loss: lk_huber_f32, lk_huber_f64.
inline constexpr pointwise_loss<lk_huber_f32, lk_huber_f64, huber_options> huber{};
/// Smooth L1: lk_smooth_l1_f32, lk_smooth_l1_f64.
inline constexpr pointwise_loss<lk_smooth_l1_f32, lk_smooth_l1_f64, smooth_l1_options> smooth_l1{};
/// Binary cross-entropy of probabilities: lk_bce_f32, lk_bce_f64.
inline constexpr pointwise_loss<lk_bce_f32, lk_bce_f64, options> bce{};
/// Binary cross-entropy of logits: lk_bce_with_logits_f32, lk_bce_with_logits_f64.
inline constexpr pointwise_loss<lk_bce_with_logits_f32, lk_bce_with_logits_f64, bce_with_logits_options>
    bce_with_logits{};
/// The linear "maximum likelihood" loss: lk_likelihood_f32, lk_likelihood_f64.
inline constexpr pointwise_loss<lk_likelihood_f32, lk_likelihood_f64, options> likelihood{};
// End of what is made from the sources.

/// Cross-entropy of logits, with indices or probabilities: lk_cross_entropy_f32, lk_cross_entropy_f64.
inline constexpr class_loss<lk_cross_entropy_f32, lk_cross_entropy_f64, targets, cross_entropy_options> cross_entropy{};
/// Negative log-likelihood of log-probabilities, with indices: lk_nll_f32, lk_nll_f64.
inline constexpr class_loss<lk_nll_f32, lk_nll_f64, detail::indices_for, nll_options> nll{};

/// The divergence between a teacher's and a student's distribution: lk_distillation_f32, lk_distillation_f64.
inline constexpr knowledge_distillation distillation{};

/// Softmax over classes: lk_softmax_f32, lk_softmax_f64.
inline constexpr class_function<lk_softmax_f32, lk_softmax_f64> softmax{};
/// The logarithm of softmax: lk_log_softmax_f32, lk_log_softmax_f64.
inline constexpr class_function<lk_log_softmax_f32, lk_log_softmax_f64> log_softmax{};
/// The gradient of softmax: lk_softmax_backward_f32, lk_softmax_backward_f64.
inline constexpr class_function_backward<lk_softmax_backward_f32, lk_softmax_backward_f64> softmax_backward{};
/// The gradient of log_softmax: lk_log_softmax_backward_f32, lk_log_softmax_backward_f64.
inline constexpr class_function_backward<lk_log_softmax_backward_f32, lk_log_softmax_backward_f64>
    log_softmax_backward{};

/// Cross-entropy of a linear layer: lk_linear_cross_entropy_f32, lk_linear_cross_entropy_f64.
inline constexpr linear_cross_entropy_function linear_cross_entropy{};
/// Log-probabilities of chosen classes, and entropies: lk_selective_log_softmax_f32, lk_selective_log_softmax_f64.
inline constexpr selective_log_softmax_function selective_log_softmax{};
/// Their gradient: lk_selective_log_softmax_backward_f32, lk_selective_log_softmax_backward_f64.
inline constexpr selective_log_softmax_backward_function selective_log_softmax_backward{};
/// The entropy of each row: lk_entropy_f32, lk_entropy_f64.
inline constexpr entropy_function entropy{};
/// Its gradient: lk_entropy_backward_f32, lk_entropy_backward_f64.
inline constexpr entropy_backward_function entropy_backward{};

/// Temporal difference, the loss of Q-learning: lk_td_f32, lk_td_f64.
inline constexpr temporal_difference td{};

} // namespace LOSSKIT_SPANS

} // namespace losskit

#undef LOSSKIT_INDEX_TYPES
#undef LOSSKIT_SPANS
#undef LOSSKIT_INLINE
#undef LOSSKIT_COLD
#undef LOSSKIT_NO_EXCEPTIONS

#endif
