#include <gtest/gtest.h>

#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

struct MembershipTest : testing::Test {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    FakeNode& c = rig.join("c");

    void SetUp() override { EXPECT_FALSE(rig.admin(co::admin::StartRun{})); }
    const MemoryJournal& journal() { return static_cast<const MemoryJournal&>(*rig.journal); }
    void step(std::uint64_t n) {
        for (FakeNode* node : {&a, &b, &c}) rig.ready(*node, 100 * n + node->key.bytes[0]);
        for (FakeNode* node : {&a, &b, &c}) rig.vote(*node, n);
        for (FakeNode* node : {&a, &b, &c}) rig.apply(*node);
        ASSERT_EQ(rig.status().head, Step{n});
    }
    void say_digest(FakeNode& node, std::uint64_t step, std::uint64_t value) {
        node.report.digests = {{Step{step}, digest_of(value)}};
        rig.report(node);
    }
};

TEST_F(MembershipTest, ANewcomerIsCurrentWhenItHasCaughtUp) {
    step(1);
    step(2);
    step(3);
    FakeNode& d = rig.make_node("d");
    rig.hello(d);
    rig.report(d);  // at step 0
    EXPECT_EQ(rig.node_status(d).state, NodeState::joining);
    EXPECT_FALSE(d.orders->holders.empty());
    EXPECT_TRUE(rig.lease(d, 10).empty()) << "no lease for a node that is not current";
    const auto epoch = rig.status().epoch;
    rig.apply(d);
    EXPECT_EQ(rig.node_status(d).state, NodeState::current);
    EXPECT_GT(rig.status().epoch, epoch);
    EXPECT_FALSE(rig.lease(d, 10).empty());
}

TEST_F(MembershipTest, ANewcomerIsToldWhichSnapshotsAreAgreedUpon) {
    step(1);
    for (FakeNode* node : {&a, &b}) {
        node->report.snapshots = {Step{1}};
        say_digest(*node, 1, 50);
    }
    FakeNode& d = rig.make_node("d");
    rig.hello(d);
    rig.report(d);
    EXPECT_EQ(d.orders->digests, (std::vector<StateDigest>{{Step{1}, digest_of(50)}}));
}

TEST_F(MembershipTest, ANodeWithAnotherChainDoesNotBecomeCurrent) {
    step(1);
    FakeNode& d = rig.make_node("d");
    rig.hello(d);
    d.report.head = Step{1};
    d.report.h_head = digest_of(5);
    rig.report(d);
    EXPECT_EQ(rig.node_status(d).state, NodeState::joining);
}

TEST_F(MembershipTest, SilenceEndsInAwayAndFreesTheLeases) {
    rig.lease(c, 10);
    rig.pass(Millis(119'000), {&a, &b});
    EXPECT_EQ(rig.node_status(c).state, NodeState::current);
    EXPECT_TRUE(rig.node_status(c).silent);
    EXPECT_EQ(journal().leases().size(), 1U);
    rig.pass(Millis(2000), {&a, &b});
    EXPECT_EQ(rig.node_status(c).state, NodeState::away);
    EXPECT_TRUE(journal().leases().empty());
    EXPECT_EQ(journal().free_ranges().size(), 1U);
    rig.hello(c);
    EXPECT_EQ(rig.node_status(c).state, NodeState::joining);
    rig.report(c);
    EXPECT_EQ(rig.node_status(c).state, NodeState::current);
}

TEST_F(MembershipTest, LeasesPinnedByThePlanOutliveTheirHoldersAbsence) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.ready(c, 3);
    rig.vote(a, 9);  // the result exists: the plan can end without c
    rig.send(c, Leaving{LeaveWhen::now});
    EXPECT_TRUE(c.left);
    EXPECT_EQ(journal().leases().size(), 3U);
    rig.pass(Millis(3000), {&a, &b});
    ASSERT_EQ(rig.plan().participants.size(), 3U);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().tokens_committed, 300U) << "its bytes are in the entry: it is credited";
}

TEST_F(MembershipTest, WhoSignedInThisStepStaysInTheRosterUntilItIsOver) {
    auto in_roster = [&](const FakeNode& node) {
        rig.hello(a);
        rig.report(a);
        const Bytes& body = a.welcome->roster.body;
        return std::search(body.begin(), body.end(), node.key.bytes.begin(), node.key.bytes.end()) != body.end();
    };
    FakeNode& d = rig.join("d");
    for (FakeNode* node : {&a, &b, &c}) rig.ready(*node, node->key.bytes[0]);
    rig.ready_idle(d);
    ASSERT_TRUE(rig.has_plan());
    rig.drop(c);
    rig.pass(Millis(125'000), {&a, &b, &d});
    ASSERT_EQ(rig.node_status(c).state, NodeState::away);
    EXPECT_TRUE(in_roster(c)) << "it may have given results of the plan that was superseded";
    ASSERT_TRUE(rig.has_plan());
    for (FakeNode* node : {&a, &b, &d}) rig.vote(*node, 9);
    ASSERT_EQ(rig.status().head, Step{1});
    EXPECT_FALSE(in_roster(c));
}

TEST_F(MembershipTest, ALeaverGoesAfterTheNextDecisionAndReturnsItsLeases) {
    step(1);
    rig.send(c, Leaving{LeaveWhen::after_step});
    EXPECT_FALSE(c.left);
    EXPECT_TRUE(rig.lease(c, 10).empty()) << "no new lease";
    rig.ready(a, 7);
    rig.ready(b, 8);
    rig.ready_idle(c);
    for (FakeNode* node : {&a, &b, &c}) rig.vote(*node, 2);
    ASSERT_EQ(rig.status().head, Step{2});
    EXPECT_FALSE(c.left) << "the others have not written the entry into their logs";
    rig.apply(a);
    EXPECT_FALSE(c.left);
    rig.apply(b);
    EXPECT_TRUE(c.left);
    EXPECT_EQ(rig.node_status(c).state, NodeState::left);
}

TEST_F(MembershipTest, NobodyLeavesWithTheOnlySafeCopy) {
    for (FakeNode* node : {&a, &b, &c}) rig.ready(*node, node->key.bytes[0]);
    for (FakeNode* node : {&a, &b, &c}) rig.vote(*node, 1);
    rig.send(c, Leaving{LeaveWhen::now});
    EXPECT_FALSE(c.left);
    rig.apply(a);
    rig.apply(b);
    EXPECT_TRUE(c.left);
}

TEST_F(MembershipTest, ALeaverOfARunThatStandsStillGoesAtOnce) {
    EXPECT_FALSE(rig.admin(co::admin::PauseRun{}));
    rig.send(c, Leaving{LeaveWhen::after_step});
    EXPECT_TRUE(c.left);
}

TEST_F(MembershipTest, ANodeThatLeftMayComeBackWithItsTicket) {
    rig.send(c, Leaving{LeaveWhen::now});
    EXPECT_TRUE(c.left);
    c.boot.bytes[1] = 1;
    c.in_memory = {};
    rig.hello(c);
    ASSERT_TRUE(c.welcome);
    EXPECT_EQ(c.welcome->incarnation, Incarnation{2});
    rig.apply(c);
    EXPECT_EQ(rig.node_status(c).state, NodeState::current);
}

TEST_F(MembershipTest, ADivergedNodeLosesItsPlaceUntilItsStateAgreesAgain) {
    step(1);
    rig.lease(c, 10);
    say_digest(a, 1, 50);
    say_digest(c, 1, 51);
    EXPECT_EQ(rig.node_status(c).state, NodeState::current) << "a third may say who is right";
    say_digest(b, 1, 50);
    EXPECT_EQ(rig.node_status(c).state, NodeState::joining);
    EXPECT_TRUE(journal().leases().empty());
    rig.report(c);
    ASSERT_FALSE(c.orders->requests.empty());
    EXPECT_EQ(c.orders->requests[0].ask, Ask::reload_state);
    EXPECT_EQ(rig.node_status(c).state, NodeState::joining);

    c.report.digests.clear();  // it loads its state again
    rig.report(c);
    EXPECT_EQ(rig.node_status(c).state, NodeState::joining);
    say_digest(c, 1, 50);
    EXPECT_EQ(rig.node_status(c).state, NodeState::current);
    EXPECT_TRUE(c.orders->requests.empty());
}

TEST_F(MembershipTest, TheSecondDivergenceRevokes) {
    step(1);
    say_digest(a, 1, 50);
    say_digest(b, 1, 50);
    say_digest(c, 1, 51);
    c.report.digests.clear();
    rig.report(c);
    say_digest(c, 1, 52);
    EXPECT_EQ(rig.node_status(c).state, NodeState::revoked);
    EXPECT_FALSE(rig.admin(co::admin::ClearNode{c.id}));
    rig.hello(c);
    EXPECT_TRUE(c.welcome);
}

TEST_F(MembershipTest, ADivergedContributionIsTakenOutOfThePlan) {
    step(1);
    for (FakeNode* node : {&a, &b, &c}) rig.ready(*node, 20 + node->key.bytes[0]);
    ASSERT_EQ(rig.plan().participants.size(), 3U);
    say_digest(a, 1, 50);
    say_digest(b, 1, 50);
    say_digest(c, 1, 51);
    EXPECT_EQ(rig.plan().participants.size(), 2U);
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    for (const auto& [id, lease] : journal().leases()) EXPECT_NE(lease.holder, c.id);
}

TEST_F(MembershipTest, ADivergedNodeStaysOutsideAfterARestartOfTheCoordinator) {
    step(1);
    say_digest(a, 1, 50);
    say_digest(b, 1, 50);
    say_digest(c, 1, 51);
    rig.restart();
    for (FakeNode* node : {&a, &b, &c}) rig.hello(*node);
    rig.report(a);
    rig.report(b);
    rig.report(c);
    EXPECT_EQ(rig.node_status(c).state, NodeState::joining);
    EXPECT_EQ(c.orders->requests.at(0).ask, Ask::reload_state);
}

TEST_F(MembershipTest, ATieHoldsTheRunAndNamesBoth) {
    rig.send(c, Leaving{LeaveWhen::now});
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.vote(a, 1);
    rig.vote(b, 1);
    rig.apply(a);
    rig.apply(b);
    say_digest(a, 1, 50);
    say_digest(b, 1, 51);
    EXPECT_EQ(a.orders->requests.at(0).ask, Ask::reload_state);
    EXPECT_EQ(b.orders->requests.at(0).ask, Ask::reload_state);
    for (FakeNode* node : {&a, &b}) {
        node->report.digests.clear();
        rig.report(*node);
    }
    say_digest(a, 1, 50);
    say_digest(b, 1, 51);
    EXPECT_NE(rig.status().hold_reason.find("differ"), std::string::npos);
    say_digest(b, 1, 50);
    EXPECT_EQ(rig.status().hold_reason.find("differ"), std::string::npos);
}

TEST_F(MembershipTest, TheFloorIsTheHighestSnapshotThatEnoughNodesHave) {
    step(1);
    step(2);
    a.report.snapshots = {Step{1}, Step{2}};
    rig.report(a);
    EXPECT_EQ(rig.status().floor, Step{0});
    b.report.snapshots = {Step{1}};
    rig.report(b);
    EXPECT_EQ(rig.status().floor, Step{1});
    FakeNode& d = rig.make_node("d");
    rig.hello(d);
    c.report.snapshots = {Step{2}};
    rig.report(c);
    EXPECT_EQ(rig.status().floor, Step{1}) << "not under a joining node";
    rig.apply(d);
    EXPECT_EQ(rig.status().floor, Step{2});
}

}  // namespace
}  // namespace skerry::test
