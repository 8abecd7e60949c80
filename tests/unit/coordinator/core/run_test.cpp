// The run's own life: created, running, paused, stopped; leases; the end of the data.

#include <gtest/gtest.h>

#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

struct RunTest : testing::Test {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    const MemoryJournal& journal() { return static_cast<const MemoryJournal&>(*rig.journal); }
    void step(std::uint64_t n) {
        rig.ready(a, 10 * n + 1);
        rig.ready(b, 10 * n + 2);
        ASSERT_TRUE(rig.has_plan());
        rig.vote(a, n);
        rig.vote(b, n);
        rig.apply(a);
        rig.apply(b);
    }
};

TEST_F(RunTest, ARunThatWasNotStartedLeasesNothing) {
    EXPECT_TRUE(rig.lease(a, 10).empty());
    EXPECT_EQ(rig.status().phase, "created");
    EXPECT_FALSE(rig.admin(co::admin::StartRun{}));
    EXPECT_EQ(rig.lease(a, 10).size(), 1U);
    EXPECT_EQ(a.orders->run_state, RunState::running);
}

TEST_F(RunTest, AtMostTwoRoundsAreLeasedAhead) {
    rig.admin(co::admin::StartRun{});
    auto first = rig.lease(a, 1000);
    ASSERT_EQ(first.size(), 1U);
    EXPECT_EQ(first[0].hi - first[0].lo, 20U);
    EXPECT_TRUE(rig.lease(a, 10).empty());
}

TEST_F(RunTest, PauseLetsTheOpenStepFinish) {
    rig.admin(co::admin::StartRun{});
    rig.ready(a, 1);
    rig.ready(b, 2);
    EXPECT_FALSE(rig.admin(co::admin::PauseRun{}));
    EXPECT_TRUE(rig.has_plan());
    rig.vote(a, 9);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
    EXPECT_EQ(rig.status().phase, "paused");
    rig.apply(a);
    rig.apply(b);
    EXPECT_TRUE(rig.lease(a, 10).empty());
    EXPECT_FALSE(rig.admin(co::admin::StartRun{}));
    step(2);
    EXPECT_EQ(rig.status().head, Step{2});
}

TEST_F(RunTest, StopAsksForSnapshotsAndEndsLeases) {
    rig.admin(co::admin::StartRun{});
    step(1);
    rig.lease(a, 10);
    EXPECT_FALSE(rig.admin(co::admin::StopRun{}));
    EXPECT_TRUE(journal().leases().empty());
    rig.report(a);
    ASSERT_EQ(a.orders->requests.size(), 1U);
    EXPECT_EQ(a.orders->requests[0].ask, Ask::write_snapshot);
    EXPECT_EQ(a.orders->requests[0].step, Step{1});
    a.report.snapshots = {Step{1}};
    rig.report(a);
    rig.pass(Millis(1250), {&a, &b});
    EXPECT_TRUE(a.orders->requests.empty());
    EXPECT_EQ(a.orders->run_state, RunState::stopped);
}

TEST_F(RunTest, StopNowWithdrawsThePlan) {
    rig.admin(co::admin::StartRun{});
    rig.ready(a, 1);
    rig.ready(b, 2);
    EXPECT_FALSE(rig.admin(co::admin::StopRun{true}));
    EXPECT_FALSE(rig.has_plan());
    EXPECT_TRUE(journal().leases().empty());
}

TEST_F(RunTest, StopFinishesTheOpenStep) {
    rig.admin(co::admin::StartRun{});
    rig.ready(a, 1);
    rig.ready(b, 2);
    EXPECT_FALSE(rig.admin(co::admin::StopRun{}));
    rig.vote(a, 9);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
    EXPECT_TRUE(journal().leases().empty());
    EXPECT_EQ(rig.status().tokens_committed, 200U);
}

TEST(RunEnd, TheRunEndsWhenTheTargetIsReachedAndNoPositionIsLeft) {
    Manifest m = small_manifest();
    m.target_tokens = 395;  // 40 sequences
    Rig rig(m);
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    rig.admin(co::admin::StartRun{});
    for (std::uint64_t n = 1; n <= 10 && rig.status().run_state == RunState::running; ++n) {
        for (FakeNode* node : {&a, &b}) {
            rig.lease(*node, 10);
            if (node->orders->leases.empty()) rig.ready_idle(*node);
            else rig.ready(*node, 10 * n + node->key.bytes[0]);
        }
        ASSERT_TRUE(rig.has_plan());
        rig.vote(a, n);
        rig.vote(b, n);
        rig.apply(a);
        rig.apply(b);
    }
    EXPECT_EQ(rig.status().run_state, RunState::stopped);
    EXPECT_EQ(rig.status().tokens_committed, 400U);
    EXPECT_TRUE(a.orders->data_ended);
    auto again = rig.admin(co::admin::StartRun{});
    ASSERT_TRUE(again);
    EXPECT_EQ(again->code, Errc::run_ended);
}

TEST(RunOfOne, OneNodeMayTrainAlone) {
    Manifest m = small_manifest();
    m.min_nodes = 1;
    Rig rig(m);
    FakeNode& a = rig.join("a");
    rig.admin(co::admin::StartRun{});
    rig.ready(a, 1);
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().durable_copies, 1U);
    rig.vote(a, 1);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(RunTest, DecisionsAreReadFromTheJournal) {
    rig.admin(co::admin::StartRun{});
    step(1);
    const auto actions = rig.core->step(
        rig.now, co::MessageReceived{a.session, {rig.core->manifest().run, a.term, a.in_memory, ++a.seq,
                                                 DecisionsRequest{Step{0}}}});
    bool found = false;
    for (const auto& action : actions) {
        auto* load = std::get_if<co::LoadDecisions>(&action);
        if (!load) continue;
        found = true;
        EXPECT_EQ(load->from, Step{0});
    }
    EXPECT_TRUE(found);
}

TEST_F(RunTest, StatusSaysWhatIsWaitedForAndWhatComesNext) {
    rig.admin(co::admin::StartRun{});
    rig.ready(a, 1);
    rig.pass(Millis(3000), {&a, &b});
    const auto s = rig.status();
    ASSERT_EQ(s.waiting_for.size(), 1U);
    EXPECT_EQ(s.waiting_for[0].node, b.id);
    EXPECT_GE(s.waiting_for[0].since_ms, 2000U);
    EXPECT_FALSE(s.next.empty());
    EXPECT_EQ(s.phase, "collect");
}

TEST_F(RunTest, EqualEventsGiveEqualActions) {
    // Two cores from one image, fed alike, answer alike.
    auto image = rig.image();
    co::CoordinatorCore one(image, rig.config, cheap_signing());
    co::CoordinatorCore two(image, rig.config, cheap_signing());
    for (int i = 0; i < 50; ++i) {
        const co::Event event = i == 0 ? co::Event(co::Started{}) : co::Event(co::Tick{});
        const auto x = one.step(rig.now + Millis(i * 3000), event);
        const auto y = two.step(rig.now + Millis(i * 3000), event);
        ASSERT_EQ(x.size(), y.size());
        for (std::size_t k = 0; k < x.size(); ++k) EXPECT_EQ(x[k].index(), y[k].index());
    }
}

}  // namespace
}  // namespace skerry::test
