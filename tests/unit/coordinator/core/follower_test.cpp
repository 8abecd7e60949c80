// Followers: let in, seen, never counted on.

#include <gtest/gtest.h>

#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

struct FollowerTest : testing::Test {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    FakeNode& f = rig.make_node("f");

    void SetUp() override {
        EXPECT_FALSE(rig.admin(co::admin::StartRun{}));
        f.follow = true;
        rig.hello(f);
        rig.report(f);
        ASSERT_TRUE(f.welcome) << (f.refusal ? f.refusal->reason : "");
    }
    void step(std::uint64_t n) {
        for (FakeNode* node : {&a, &b}) rig.ready(*node, 100 * n + node->key.bytes[0]);
        for (FakeNode* node : {&a, &b}) rig.vote(*node, n);
        for (FakeNode* node : {&a, &b}) rig.apply(*node);
        ASSERT_EQ(rig.status().head, Step{n});
    }
    void say_digest(FakeNode& node, std::uint64_t step, std::uint64_t value) {
        node.report.digests = {{Step{step}, digest_of(value)}};
        rig.report(node);
    }
};

TEST_F(FollowerTest, FollowsWithoutLeasePlanOrVote) {
    EXPECT_EQ(rig.node_status(f).state, NodeState::following);
    EXPECT_TRUE(rig.lease(f, 10).empty());
    rig.ready_idle(f);
    rig.ready(a, 1);
    rig.ready(b, 2);
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().members.size(), 2U);
    EXPECT_FALSE(f.orders->plan) << "a plan is nothing to it";
    rig.vote(a, 1);
    rig.vote(b, 1);
    EXPECT_EQ(rig.status().head, Step{1}) << "decided without a word from it";
    EXPECT_EQ(f.orders->head, Step{1});
    EXPECT_EQ(f.orders->decisions.size(), 1U) << "it hears of each decision at once";
    EXPECT_EQ(rig.node_status(f).phase, "catch up");
    rig.apply(f);
    EXPECT_EQ(rig.node_status(f).phase, "follow");
    EXPECT_EQ(rig.node_status(f).state, NodeState::following) << "it never becomes one of those that count";
}

TEST_F(FollowerTest, HasGivenNothingAndIsInNoRanking) {
    f.report.sent_bytes = 1000;  // to other followers
    rig.report(f);
    step(1);
    rig.report(f);
    EXPECT_FALSE(rig.node_status(f).contribution);
    ASSERT_TRUE(f.orders);
    EXPECT_FALSE(f.orders->contribution);
    ASSERT_TRUE(rig.node_status(a).contribution);
    EXPECT_EQ(rig.node_status(a).contribution->ranked, 2U);
}

TEST_F(FollowerTest, DoesNotCountForTheNodesThatARunNeeds) {
    rig.drop(b);
    rig.pass(Millis(60'000), {&a, &f});
    EXPECT_NE(rig.status().hold_reason.find("1 of at least 2"), std::string::npos) << rig.status().hold_reason;
}

TEST_F(FollowerTest, ItsSilenceIsNothingToTheRun) {
    rig.drop(f);
    rig.pass(Millis(120'000), {&a, &b});
    EXPECT_TRUE(rig.node_status(f).silent);
    step(1);
    step(2);
    for (const WaitingFor& one : rig.status().waiting_for) EXPECT_NE(one.node, f.id);
    rig.hello(f);
    rig.report(f);
    EXPECT_EQ(rig.node_status(f).state, NodeState::following);
    EXPECT_FALSE(f.orders->holders.empty()) << "whom it may ask for what it lacks";
}

TEST_F(FollowerTest, ADigestOfItsOwnAccusesNobodyAndIsFoundWrong) {
    step(1);
    say_digest(f, 1, 99);  // before anybody else
    say_digest(a, 1, 50);
    say_digest(b, 1, 50);
    EXPECT_EQ(rig.status().agreed, (StateDigest{Step{1}, digest_of(50)}));
    rig.apply(f);
    say_digest(f, 1, 99);
    auto asked = [&] {
        for (const OrderRequest& request : f.orders->requests)
            if (request.ask == Ask::reload_state) return true;
        return false;
    };
    EXPECT_TRUE(asked());
    for (FakeNode* node : {&a, &b}) EXPECT_TRUE(node->orders->requests.empty());
    f.report.digests.clear();
    rig.report(f);
    say_digest(f, 1, 50);
    EXPECT_FALSE(asked());
    say_digest(f, 1, 98);
    f.report.digests.clear();
    rig.report(f);
    say_digest(f, 1, 98);
    EXPECT_EQ(rig.node_status(f).state, NodeState::revoked);
    step(2);
}

TEST_F(FollowerTest, LeavesAtOnce) {
    rig.send(f, Leaving{LeaveWhen::after_step});
    EXPECT_TRUE(f.left);
    EXPECT_EQ(rig.node_status(f).state, NodeState::left);
}

TEST_F(FollowerTest, RolesChangeOnlyWhereNobodyCountsOnTheNode) {
    rig.drop(b);
    b.follow = true;
    b.in_memory = {};
    b.boot.bytes[0] ^= 0x55;
    rig.hello(b);
    ASSERT_TRUE(b.refusal);
    EXPECT_EQ(b.refusal->code, Errc::bad_state);
    EXPECT_TRUE(retryable(b.refusal->code)) << "once it is away it may";
    rig.pass(Millis(120'000), {&a, &f});
    rig.hello(b);
    EXPECT_FALSE(b.refusal);
    EXPECT_EQ(rig.node_status(b).state, NodeState::following);
    rig.drop(f);
    f.follow = false;
    f.in_memory = {};
    f.boot.bytes[0] ^= 0x55;
    rig.hello(f);
    EXPECT_FALSE(f.refusal);
    EXPECT_EQ(rig.node_status(f).state, NodeState::joining);
}

TEST_F(FollowerTest, StaysOneOverARestartOfTheCoordinator) {
    rig.restart();
    for (FakeNode* node : {&a, &b, &f}) rig.hello(*node);
    for (FakeNode* node : {&a, &b, &f}) rig.report(*node);
    EXPECT_EQ(rig.node_status(f).state, NodeState::following);
    step(1);
}

TEST_F(FollowerTest, ProgramsTooOldForFollowersAndFollowersKeepEachOtherOut) {
    FakeNode& old = rig.make_node("old");
    old.versions = {0x00010000, 0x00010001};
    rig.hello(old);
    ASSERT_TRUE(old.refusal);
    EXPECT_EQ(old.refusal->code, Errc::version_mismatch);
    EXPECT_NE(old.refusal->reason.find("follows"), std::string::npos) << old.refusal->reason;
    rig.send(f, Leaving{LeaveWhen::now});
    rig.hello(old);
    EXPECT_FALSE(old.refusal);
    FakeNode& again = rig.make_node("g");
    again.follow = true;
    rig.hello(again);
    ASSERT_TRUE(again.refusal);
    EXPECT_EQ(again.refusal->code, Errc::version_mismatch);
}

}  // namespace
}  // namespace skerry::test
