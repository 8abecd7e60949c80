#include "node/app/node_watch.hpp"

#include <gtest/gtest.h>

namespace skerry::node {
namespace {

Mono at(int ms) { return Mono(Millis(ms)); }

NodeView view_of(Phase phase, std::uint64_t head = 3) {
    NodeView view;
    view.phase = phase;
    view.run_state = RunState::running;
    view.head = Step{head};
    view.orders.head = Step{head};
    view.orders.edge_patience_ms = 2'500;  // an attempt has 10 s
    return view;
}

TEST(NodeWatch, WaitingForTwiceWhatWasToldIsSaidOnce) {
    NodeWatch watch;
    EXPECT_FALSE(watch.look(view_of(Phase::exchange), at(0)));
    EXPECT_FALSE(watch.look(view_of(Phase::exchange), at(19'000)));
    auto stuck = watch.look(view_of(Phase::exchange), at(20'000));
    ASSERT_TRUE(stuck);
    EXPECT_EQ(stuck->phase, "exchange");
    EXPECT_EQ(stuck->told, Millis(10'000));
    EXPECT_FALSE(watch.look(view_of(Phase::exchange), at(60'000)));
}

TEST(NodeWatch, ProgressIsNoWait) {
    NodeWatch watch;
    NodeView view = view_of(Phase::exchange);
    for (int s = 0; s < 100; s += 10) {
        view.exchange.results_have = static_cast<std::uint32_t>(s);
        EXPECT_FALSE(watch.look(view, at(1000 * s))) << s;
    }
}

TEST(NodeWatch, TheRoundOfTheOthersIsWaitedForToo) {
    NodeWatch watch;
    NodeView view = view_of(Phase::ready);
    view.orders.round_remaining_ms = 40'000;
    watch.look(view, at(0));
    view.orders.round_remaining_ms = 0;
    EXPECT_FALSE(watch.look(view, at(99'000)));
    EXPECT_TRUE(watch.look(view, at(100'000)));
}

TEST(NodeWatch, TrainingAndAPausedRunAreNotWaiting) {
    NodeWatch watch;
    watch.look(view_of(Phase::work), at(0));
    EXPECT_FALSE(watch.look(view_of(Phase::work), at(1'000'000)));
    NodeView paused = view_of(Phase::ready);
    paused.run_state = RunState::paused;
    watch.look(paused, at(1'000'000));
    EXPECT_FALSE(watch.look(paused, at(2'000'000)));
}

}  // namespace
}  // namespace skerry::node
