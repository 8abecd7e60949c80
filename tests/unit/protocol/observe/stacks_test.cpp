#include "protocol/observe/stacks.hpp"

#include <gtest/gtest.h>

#include <condition_variable>
#include <csignal>
#include <mutex>
#include <thread>

#include <pthread.h>

namespace skerry {

/// Not static and not inlined: its name must be in the stack.
__attribute__((noinline)) void wait_in_a_place_with_a_name(std::mutex& mutex, std::condition_variable& wake, bool& done, bool& here) {
    std::unique_lock lock(mutex);
    here = true;
    wake.notify_all();
    wake.wait(lock, [&] { return done; });
}

namespace {

struct Waiting {
    std::mutex mutex;
    std::condition_variable wake;
    bool done = false;
    bool here = false;
    bool deaf = false;
    std::thread thread;

    explicit Waiting(bool blocks_signals) : deaf(blocks_signals) {
        thread = std::thread([this] {
            pthread_setname_np(pthread_self(), deaf ? "deaf" : "waiting");
            if (deaf) {
                sigset_t all;
                sigfillset(&all);
                pthread_sigmask(SIG_BLOCK, &all, nullptr);
            }
            wait_in_a_place_with_a_name(mutex, wake, done, here);
        });
        std::unique_lock lock(mutex);
        wake.wait(lock, [this] { return here; });
    }
    ~Waiting() {
        {
            std::lock_guard lock(mutex);
            done = true;
        }
        wake.notify_all();
        thread.join();
    }
};

TEST(Stacks, NameTheFunctionsOfEveryThread) {
    prepare_stacks();
    Waiting other(false);
    const std::string text = stacks_of_all_threads();
    EXPECT_NE(text.find(" waiting, "), std::string::npos) << text;
    EXPECT_NE(text.find("wait_in_a_place_with_a_name"), std::string::npos) << text;
    EXPECT_NE(text.find("stacks_of_all_threads"), std::string::npos) << "the asker's own\n" << text;
}

TEST(Stacks, AThreadThatDoesNotAnswerHoldsNobodyUp) {
    prepare_stacks();
    Waiting deaf(true);
    const auto begin = std::chrono::steady_clock::now();
    const std::string text = stacks_of_all_threads(std::chrono::milliseconds(50));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
    EXPECT_NE(text.find("no answer"), std::string::npos) << text;
    // The late answer harms nobody, and the next time works.
    Waiting other(false);
    EXPECT_NE(stacks_of_all_threads(std::chrono::milliseconds(50)).find("wait_in_a_place_with_a_name"), std::string::npos);
}

}  // namespace
}  // namespace skerry
