// Rollbacks and changes of hyper-parameters: steps without chunks.

#include <gtest/gtest.h>

#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

struct ChangeTest : testing::Test {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    std::vector<std::uint64_t> tokens{0};

    void SetUp() override { EXPECT_FALSE(rig.admin(co::admin::StartRun{})); }

    void commit(int steps) {
        for (int i = 0; i < steps; ++i) {
            rig.ready(a, 10 + tokens.size());
            rig.ready(b, 100 + tokens.size());
            rig.vote(a, tokens.size());
            rig.vote(b, tokens.size());
            rig.apply(a);
            rig.apply(b);
            tokens.push_back(rig.status().tokens_committed);
        }
        ASSERT_EQ(rig.status().head.value + 1, tokens.size());
    }
    std::optional<Error> back(std::uint64_t to, bool refeed = false) {
        return rig.admin(co::admin::Rollback{Step{to}, refeed, *rig.journal->decisions(Step{0}, 1000)});
    }
    void vote(FakeNode& node, std::uint64_t tokens_after, bool durable = true) {
        const Plan p = rig.plan();
        const Digest digest = rig.image().plan->digest;
        const Digest roots[] = {Digest{}};
        const Digest h = chain_next(rig.status().h_head, p.step, p.kind, digest, roots, tokens_after);
        node.report.prepared = PreparedState{digest, {}, durable, vote_signature(node.key, h)};
        rig.report(node);
    }
    Decision last() {
        return *parse_decision(static_cast<MemoryJournal&>(*rig.journal).all_decisions().back().record.decision.body);
    }
};

TEST_F(ChangeTest, ARollbackIsPlannedVotedAndDecidedLikeAStep) {
    commit(4);
    EXPECT_FALSE(back(1));
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.kind, EntryKind::rollback);
    EXPECT_EQ(plan.step, Step{4});
    EXPECT_EQ(plan.rollback_to, Step{1});
    EXPECT_EQ(plan.members.size(), 2U);
    vote(a, tokens[1]);
    EXPECT_EQ(rig.status().head, Step{4}) << "one vote of two";
    vote(b, tokens[1]);
    EXPECT_EQ(rig.status().head, Step{5});
    EXPECT_EQ(rig.status().tokens_committed, tokens[1]);
    EXPECT_TRUE(last().roots[0].is_zero());
    EXPECT_EQ(rig.status().rolled_back, std::pair(Step{1}, Step{4}));
}

TEST_F(ChangeTest, NodesThatAreJoiningAgainCanVoteForARollback) {
    commit(4);
    const auto records = *rig.journal->decisions(Step{0}, 1000);
    for (FakeNode* node : {&a, &b}) rig.drop(*node);
    rig.pass(Millis(125'000));
    // Both come back with less than the run's head: they hold step 1 and go on joining.
    for (FakeNode* node : {&a, &b}) {
        node->report.head = node->report.log_synced_to = Step{1};
        node->report.h_head = parse_decision(records[0].decision.body)->h_after;
        rig.hello(*node);
        rig.report(*node);
        ASSERT_EQ(rig.node_status(*node).state, NodeState::joining);
    }
    ASSERT_FALSE(back(1));
    const Attempt attempt = rig.plan().attempt;
    rig.pass(Millis(3000), {&a, &b});
    EXPECT_EQ(rig.plan().attempt, attempt) << "superseded although its voters are here";
    vote(a, tokens[1]);
    vote(b, tokens[1]);
    EXPECT_EQ(rig.status().head, Step{5});
}

TEST_F(ChangeTest, ItSupersedesAnOpenPlanAndItsLeasesStay) {
    commit(2);
    rig.ready(a, 1);
    rig.ready(b, 2);
    ASSERT_EQ(rig.plan().kind, EntryKind::commit);
    EXPECT_FALSE(back(1));
    EXPECT_EQ(rig.plan().kind, EntryKind::rollback);
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    EXPECT_FALSE(a.orders->leases.empty());
    EXPECT_FALSE(a.orders->leases[0].pinned);
}

TEST_F(ChangeTest, UndoneDataIsVoidAndTheRunGetsAsMuchMore) {
    commit(3);
    const auto before = rig.status();
    EXPECT_FALSE(back(1));
    vote(a, tokens[1]);
    vote(b, tokens[1]);
    const auto after = rig.status();
    const std::uint64_t undone = (tokens[3] - tokens[1]) / 10;
    EXPECT_EQ(after.free_sequences, before.free_sequences + undone);
    EXPECT_EQ(rig.image().meta.void_sequences, undone);
    EXPECT_TRUE(rig.image().free_ranges.empty());
    rig.apply(a);
    rig.apply(b);
    tokens.assign({0, 0, 0, 0, tokens[1]});
    commit(1);  // the invariants of the ledger hold, also after a restart
    const auto free = rig.status().free_sequences;
    rig.restart();
    EXPECT_EQ(rig.status().free_sequences, free);
}

TEST_F(ChangeTest, RefeedFreesTheUndoneDataOnce) {
    commit(3);
    EXPECT_FALSE(back(1, true));
    vote(a, tokens[1]);
    vote(b, tokens[1]);
    std::uint64_t free = 0;
    for (auto [lo, hi] : rig.image().free_ranges) free += hi - lo;
    EXPECT_EQ(free, (tokens[3] - tokens[1]) / 10);
    EXPECT_EQ(rig.image().meta.void_sequences, 0U);
    rig.apply(a);
    rig.apply(b);
    // Back to before what was undone already: nothing of it counts twice.
    EXPECT_FALSE(back(0, true));
    vote(a, 0);
    vote(b, 0);
    free = 0;
    for (auto [lo, hi] : rig.image().free_ranges) free += hi - lo;
    EXPECT_EQ(free, tokens[3] / 10);
}

TEST_F(ChangeTest, ARestartInTheMiddleDecidesTheSamePlan) {
    commit(3);
    EXPECT_FALSE(back(1, true));
    const Digest digest = rig.image().plan->digest;
    rig.restart();
    rig.hello(a);
    rig.hello(b);
    EXPECT_EQ(rig.image().plan->digest, digest);
    vote(a, tokens[1]);
    vote(b, tokens[1]);
    EXPECT_EQ(rig.status().head, Step{4});
    EXPECT_EQ(rig.status().tokens_committed, tokens[1]);
}

TEST_F(ChangeTest, WhatIsNotKeptIsRefusedWithWhatIs) {
    commit(5);
    for (FakeNode* node : {&a, &b}) {
        node->report.oldest_entry = Step{3};
        node->report.snapshots = {Step{2}, Step{4}};
        rig.report(*node);
    }
    auto refused = back(3);
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->code, Errc::not_found);
    EXPECT_NE(refused->detail.find("kept are step 4 and later, 2"), std::string::npos) << refused->detail;
    EXPECT_EQ(back(6)->code, Errc::not_found);
    EXPECT_FALSE(back(2)) << "a snapshot alone will do";
    vote(a, tokens[2]);
    vote(b, tokens[2]);
    rig.apply(a);
    rig.apply(b);
    EXPECT_NE(back(4)->detail.find("undone"), std::string::npos);
}

TEST_F(ChangeTest, WithTooFewVotesInTimeItIsWithdrawn) {
    commit(2);
    EXPECT_FALSE(back(1));
    vote(a, tokens[1], false);
    rig.pass(rig.config.exchange_deadline * 4, {&a, &b});
    EXPECT_EQ(rig.status().head, Step{2});
    EXPECT_EQ(rig.status().withdrawn, 1U);
}

TEST_F(ChangeTest, NewHyperParametersHoldFromTheNextStepOnAndOverARestart) {
    commit(2);
    EXPECT_FALSE(rig.admin(co::admin::Configure{{0.25F, 0.5F}}));
    EXPECT_EQ(rig.plan().kind, EntryKind::config);
    vote(a, tokens[2]);
    vote(b, tokens[2]);
    rig.apply(a);
    rig.apply(b);
    EXPECT_EQ(last().outer.eta, 0.25F);
    rig.restart();
    rig.hello(a);
    rig.hello(b);
    rig.report(a);
    rig.report(b);
    rig.ready(a, 1);
    rig.ready(b, 2);
    EXPECT_EQ(rig.plan().outer.eta, 0.25F);
    EXPECT_EQ(rig.plan().outer.mu, 0.5F);
}

TEST_F(ChangeTest, WhileANodeOfProtocol10IsAMemberNothingIsChanged) {
    commit(2);
    rig.drop(b);
    b.versions.max = 0x00010000;
    rig.hello(b);
    EXPECT_EQ(b.welcome->version, 0x00010000U);
    for (auto refused : {back(1), rig.admin(co::admin::Configure{{0.25F, 0.5F}})}) {
        ASSERT_TRUE(refused);
        EXPECT_EQ(refused->code, Errc::version_mismatch);
        EXPECT_NE(refused->detail.find("b speaks protocol 1.0"), std::string::npos) << refused->detail;
    }
    EXPECT_FALSE(rig.has_plan());
    EXPECT_FALSE(rig.admin(co::admin::RevokeNode{b.id, "too old"}));
    FakeNode& c = rig.join("c");
    c.report.log_synced_to = c.report.head;
    rig.apply(c);
    EXPECT_FALSE(back(1));
}

TEST_F(ChangeTest, AfterAChangeANodeOfProtocol10IsToldWhyItCannotJoin) {
    commit(2);
    auto join_old = [&](const char* name) -> std::optional<Refusal> {
        FakeNode& old = rig.make_node(name);
        old.versions.max = 0x00010000;
        rig.hello(old);
        return old.refusal;
    };
    EXPECT_FALSE(rig.admin(co::admin::Configure{{0.25F, 0.5F}}));
    auto refused = join_old("while it is open");
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->code, Errc::version_mismatch);
    vote(a, tokens[2]);
    vote(b, tokens[2]);
    ASSERT_EQ(rig.status().head, Step{3});
    for (int restarts = 0; restarts < 2; ++restarts) {
        refused = join_old("later");
        ASSERT_TRUE(refused);
        EXPECT_NE(refused->reason.find("step 2 of this run is a rollback or another change, which needs protocol 1.1"),
                  std::string::npos) << refused->reason;
        rig.restart();
    }
}

}  // namespace
}  // namespace skerry::test
