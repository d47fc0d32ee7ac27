// Static contexts, used before fork(): a child that returns from main, and so ends them, exits with status 0, whatever it
// has made, used and ended before.
#include <functional>
#include <vector>

#include "children.h"
#include "losskit.hpp"

namespace {

losskit::context inherited(24);
losskit::context few(4);
losskit::context never_used(3);

const std::size_t n = 1 << 19;

float loss_of(const losskit::context *context)
{
    static const std::vector<float> input(n, 1.5f), target(n, 1.0f);
    std::vector<float> grad(n);
    losskit::options<float> how;
    how.context = context;
    const float loss = losskit::mse(input, target, losskit::grad(grad), how);
    CHECK(grad.front() == 1.0f / static_cast<float>(n) && grad.back() == grad.front());
    return loss;
}

void use(const losskit::context &context) { CHECK(loss_of(&context) == 0.25f); }

void make_and_use()
{
    const losskit::context own(2);
    use(own);
}

} // namespace

int main()
{
    use(inherited);
    use(few);
    CHECK(loss_of(nullptr) == 0.25f);
    const std::vector<std::function<void()>> children{
        [] {},
        make_and_use,
        [] {
            make_and_use();
            use(inherited);
            use(few);
            use(never_used);
            make_and_use();
        },
        [] {
            static losskit::context own(24); // ends before what is older
            use(own);
        },
        [] {
            inherited = losskit::context(4); // ends what it inherited
            few = losskit::context();
            use(inherited);
            use(few);
        },
        [] {
            static losskit::context own(4);
            use(own);
            const pid_t grandchild = fork_with_alarm();
            if (grandchild == 0) { // returns from main, too
                make_and_use();
                use(own);
                return;
            }
            CHECK(exit_status(grandchild) == 0);
            use(own);
        },
    };
    for (const std::function<void()> &child : children) {
        const pid_t forked = fork_with_alarm();
        if (forked == 0) {
            child();
            return 0;
        }
        CHECK(exit_status(forked) == 0);
    }
    use(inherited);
    std::puts("every child exits");
    return 0;
}
