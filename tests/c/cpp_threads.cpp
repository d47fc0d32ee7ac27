// std::thread and std::async call at once; contexts are made and moved to other threads; errors belong to their thread.
#include <atomic>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "losskit.hpp"
#include "workload.h"

namespace {

struct own_workload {
    workload *work = workload_new();
    own_workload() = default;
    own_workload(const own_workload &) = delete;
    own_workload &operator=(const own_workload &) = delete;
    ~own_workload() { std::free(work); }
    std::uint64_t run(const lk_context *context = nullptr) const { return workload_run(context, work); }
};

bool fails_in_its_own_words(std::size_t n)
{
    const std::vector<float> input(2), target(n);
    try {
        losskit::mse(input, target);
    } catch (const losskit::error &error) {
        return error.what() == "target has " + std::to_string(n) + " elements, 2 are needed";
    }
    return false;
}

} // namespace

int main()
{
    lk_context *shared = nullptr, *one_thread = nullptr;
    CHECK(lk_context_create(2, LK_ISA_BEST, &shared) == LK_OK);
    CHECK(lk_context_create(1, LK_ISA_BEST, &one_thread) == LK_OK);
    const std::uint64_t expected = own_workload().run(one_thread);

    std::atomic<int> right{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < 6; i++)
        threads.emplace_back([&, i] {
            const own_workload own;
            for (std::size_t round = 0; round < 4; round++) {
                right += own.run(round % 2 ? shared : nullptr) == expected;
                right += fails_in_its_own_words(3 + i);
            }
        });
    // while they run, contexts are made on other threads, used on this one and destroyed on a third
    const own_workload own;
    for (std::size_t i = 0; i < 8; i++) {
        auto made = std::async(std::launch::async, [i] {
            lk_context *context = nullptr;
            CHECK(lk_context_create(1 + i % 4, LK_ISA_BEST, &context) == LK_OK);
            return context;
        });
        lk_context *context = made.get();
        CHECK(own.run(context) == expected);
        std::thread([context] { lk_context_destroy(context); }).join();
    }
    for (std::thread &thread : threads)
        thread.join();
    CHECK(right == 6 * 4 * 2);
    lk_context_destroy(shared);
    lk_context_destroy(one_thread);
    std::puts("C++'s threads agree");
}
