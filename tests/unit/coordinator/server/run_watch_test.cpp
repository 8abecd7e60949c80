#include "coordinator/server/run_watch.hpp"

#include <gtest/gtest.h>

namespace skerry::coordinator {
namespace {

Mono at(int ms) { return Mono(Millis(ms)); }

RunStatus running(std::uint64_t step) {
    RunStatus status;
    status.run_state = RunState::running;
    status.phase = "open";
    status.head = Step{step};
    status.patience_ms = 10'000;
    return status;
}

TEST(RunWatch, AStepThatTakesTwiceItsTimeIsSaidOnce) {
    RunWatch watch;
    EXPECT_FALSE(watch.look(running(3), at(0)));
    EXPECT_FALSE(watch.look(running(3), at(19'999)));
    auto stuck = watch.look(running(3), at(20'000));
    ASSERT_TRUE(stuck);
    EXPECT_EQ(stuck->step, Step{3});
    EXPECT_EQ(stuck->open_for, Millis(20'000));
    EXPECT_NE(to_text(*stuck).find("step 3: not decided for 20 s, should take 10 s"), std::string::npos) << to_text(*stuck);
    EXPECT_FALSE(watch.look(running(3), at(100'000)));
}

TEST(RunWatch, ADecisionBeginsAnew) {
    RunWatch watch;
    watch.look(running(3), at(0));
    EXPECT_FALSE(watch.look(running(4), at(19'000)));
    EXPECT_FALSE(watch.look(running(4), at(38'000)));
    EXPECT_TRUE(watch.look(running(4), at(39'000)));
}

TEST(RunWatch, APausedRunIsNotStuck) {
    RunWatch watch;
    RunStatus paused = running(3);
    paused.run_state = RunState::paused;
    watch.look(paused, at(0));
    EXPECT_FALSE(watch.look(paused, at(100'000)));
    EXPECT_FALSE(watch.look(running(3), at(101'000)));
    EXPECT_FALSE(watch.look(running(3), at(120'000))) << "time counts from the resume";
    EXPECT_TRUE(watch.look(running(3), at(121'000)));
}

TEST(RunWatch, ItsPartsHoldTheLastWordsOfEveryPeer) {
    RunWatch watch;
    watch.look(running(3), at(0));
    auto stuck = watch.look(running(3), at(20'000));
    ASSERT_TRUE(stuck);
    std::map<NodeId, LastMessages> messages;
    NodeId node;
    node.bytes[0] = 0xab;
    Orders orders;
    orders.hold_reason = "one node is here";
    Report report;
    report.head = Step{3};
    messages[node] = {orders, report};
    auto parts = run_parts(*stuck, "reef", messages, "{}", "name = \"x\"\n");
    ASSERT_EQ(parts.size(), 4U);
    EXPECT_NE(parts[0].text.find("\"schema\": \"skerry.bundle/1\""), std::string::npos);
    EXPECT_NE(parts[2].text.find("ab000000"), std::string::npos) << parts[2].text;
    EXPECT_NE(parts[2].text.find("one node is here"), std::string::npos);
    EXPECT_EQ(parts[3].text, "name = \"x\"\n");
}

}  // namespace
}  // namespace skerry::coordinator
