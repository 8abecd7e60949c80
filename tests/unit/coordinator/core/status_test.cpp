// Whatever state the run is in, status says who is waited for, in which phase, since when, and what happens next.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

struct StatusTest : testing::Test {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    FakeNode& c = rig.join("c");

    void start() { EXPECT_FALSE(rig.admin(co::admin::StartRun{})); }
    void wait(int ms) { rig.pass(Millis(ms), {&a, &b, &c}); }
    void all_ready() {
        rig.ready(a, 1);
        rig.ready(b, 2);
        rig.ready(c, 3);
    }
    void trainer(FakeNode& node, TrainerPhase phase) {
        node.report.trainer = phase;
        rig.report(node);
    }
    void exchange(FakeNode& node, std::uint32_t have, std::uint32_t need) {
        node.report.exchange = ExchangeState{};
        node.report.exchange->plan = rig.image().plan->digest;
        node.report.exchange->results_have = have;
        node.report.exchange->results_need = need;
        rig.report(node);
    }
    std::string phase_of(const FakeNode& node) { return rig.node_status(node).phase; }
    /// "a train, b encode": by id, which is the order of joining.
    std::string waited() {
        std::string out;
        for (const WaitingFor& one : rig.status().waiting_for) {
            auto at = std::find_if(rig.nodes.begin(), rig.nodes.end(), [&](const FakeNode& n) { return n.id == one.node; });
            out += (out.empty() ? "" : ", ") + at->name + " " + one.phase;
        }
        return out;
    }
    void expect(const std::string& phase, const std::string& waiting, const std::string& next) {
        const auto s = rig.status();
        EXPECT_EQ(s.phase, phase);
        EXPECT_EQ(waited(), waiting);
        EXPECT_NE(s.next.find(next), std::string::npos) << s.next;
        EXPECT_EQ(s.phase == "hold" || s.phase == "behind", !s.hold_reason.empty()) << s.hold_reason;
        // The nodes are told the same.
        if (a.session == co::SessionId{}) return;
        rig.report(a);
        rig.pass(Millis(1250), {&a});
        ASSERT_TRUE(a.orders);
        EXPECT_EQ(a.orders->hold_reason, s.hold_reason);
        EXPECT_FALSE(a.orders->next.empty());
    }
};

TEST_F(StatusTest, Created) { expect("created", "", "skerry run start reef"); }

TEST_F(StatusTest, CollectNamesWhoIsNotReadyAndWhatItDoes) {
    start();
    trainer(a, TrainerPhase::training);
    trainer(b, TrainerPhase::waiting);
    trainer(c, TrainerPhase::failed);
    wait(2000);
    EXPECT_GE(rig.status().waiting_for.at(0).since_ms, 2000U);
    EXPECT_GE(rig.status().phase_ms, 2000U);
    expect("collect", "a train, b encode, c trainer failed", "step 0 closes when all are ready, or with two thirds of them in ");
    trainer(b, TrainerPhase::starting);
    trainer(c, TrainerPhase::stopped);
    EXPECT_EQ(waited(), "a train, b trainer starts, c wait for data");
    c.report.paused = true;
    rig.report(c);
    rig.ready(a, 1);
    EXPECT_EQ(waited(), "b trainer starts, c paused");
    EXPECT_EQ(phase_of(a), "ready");
}

TEST_F(StatusTest, CollectPastItsDeadlineHoldsAndNamesTheLate) {
    start();
    rig.ready(a, 1);
    wait(23'000);
    EXPECT_EQ(rig.status().hold_reason, "the round is over, 1 of 3 nodes are ready");
    expect("hold", "b train, c train", "closes as soon as two thirds are ready");
}

TEST_F(StatusTest, TooFewNodesNamesAllThatMayCome) {
    start();
    FakeNode& d = rig.make_node("d");
    rig.hello(d);  // it has said nothing of what it holds
    rig.drop(b);
    rig.drop(c);
    rig.pass(Millis(1000), {&a});
    EXPECT_EQ(rig.status().hold_reason, "1 of at least 2 nodes are here");
    EXPECT_EQ(waited(), "a train, b silent, c silent, d connecting");
    rig.pass(Millis(125'000), {&a});
    EXPECT_EQ(rig.status().phase, "hold");
    EXPECT_EQ(waited(), "a train, b away, c away, d away");
    EXPECT_GE(rig.status().phase_ms, 120'000U);
    EXPECT_NE(rig.status().next.find("when enough nodes are here"), std::string::npos);
}

TEST_F(StatusTest, OpenNamesWhoHasNotVotedAndWhatItIsAt) {
    start();
    all_ready();
    exchange(a, 2, 5);
    exchange(b, 5, 5);
    rig.vote(c, 9);
    expect("open", "a exchange, b write", "attempt 1 is replaced if it is not done in ");
    EXPECT_EQ(phase_of(c), "voted");
    EXPECT_EQ(rig.status().participants, 3U);
}

TEST_F(StatusTest, AnOpenPlanThatCannotGoOnHoldsAndNamesTheMissing) {
    rig.drop(c);
    start();
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.drop(b);
    rig.pass(Millis(3000), {&a});
    EXPECT_EQ(rig.status().hold_reason, "b is silent; no other plan is possible");
    expect("hold", "a exchange, b silent", "goes on when a missing member returns");
}

TEST_F(StatusTest, FullDisksHoldTheDecision) {
    start();
    all_ready();
    rig.vote(a, 9, true);
    rig.vote(b, 9, false);
    rig.vote(c, 9, false);
    EXPECT_EQ(rig.status().phase, "hold");
    EXPECT_EQ(rig.status().hold_reason, "all members voted, but fewer than 2 could write the entry to disk");
}

TEST_F(StatusTest, PauseFinishesTheStepAndThenSaysHowToGoOn) {
    start();
    all_ready();
    EXPECT_FALSE(rig.admin(co::admin::PauseRun{}));
    EXPECT_EQ(rig.status().phase, "open");
    EXPECT_NE(rig.status().next.find("then the run stands still"), std::string::npos);
    for (FakeNode* n : {&a, &b, &c}) rig.vote(*n, 9);
    for (FakeNode* n : {&a, &b, &c}) rig.apply(*n);
    expect("paused", "", "skerry run start reef");
    EXPECT_EQ(phase_of(b), "idle");
}

TEST_F(StatusTest, AnEndedRunWaitsForItsLastSnapshotsAndIsThenDone) {
    start();
    all_ready();
    for (FakeNode* n : {&a, &b, &c}) rig.vote(*n, 9);
    EXPECT_FALSE(rig.admin(co::admin::StopRun{}));
    EXPECT_EQ(phase_of(b), "apply");
    for (FakeNode* n : {&a, &b, &c}) rig.apply(*n);
    expect("stopped", "a write snapshot, b write snapshot, c write snapshot", "the run has ended: stopped by the operator");
    for (FakeNode* n : {&a, &b, &c}) {
        n->report.snapshots = {Step{1}};
        rig.report(*n);
    }
    wait(500);
    expect("stopped", "", "the run has ended");
    for (FakeNode* n : {&a, &b, &c}) EXPECT_EQ(phase_of(*n), "done");
}

TEST_F(StatusTest, AnOldDatabaseNamesTheNodeThatKnowsMore) {
    start();
    rig.drop(b);
    b.report.head = Step{7};
    rig.hello(b);
    ASSERT_TRUE(b.refusal);
    expect("behind", "", "until the database is rebuilt");
    EXPECT_NE(rig.status().hold_reason.find("older than what b knows"), std::string::npos);
}

TEST_F(StatusTest, NodesThatAreNotCurrentSayWhy) {
    start();
    rig.send(c, Leaving{LeaveWhen::now});
    rig.pass(Millis(500), {&a, &b});
    EXPECT_EQ(phase_of(c), "left");
    EXPECT_FALSE(rig.admin(co::admin::RevokeNode{b.id, "lost laptop"}));
    rig.pass(Millis(500), {&a});
    EXPECT_EQ(phase_of(b), "revoked");
    EXPECT_EQ(rig.node_status(b).reason, "lost laptop");
}

}  // namespace
}  // namespace skerry::test
