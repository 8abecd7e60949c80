// The coordinator dies in every phase of a step; a new process starts from its journal.

#include <gtest/gtest.h>

#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

struct RestartTest : testing::Test {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");

    void SetUp() override { EXPECT_FALSE(rig.admin(co::admin::StartRun{})); }
    MemoryJournal& journal() { return static_cast<MemoryJournal&>(*rig.journal); }
    void come_back() {
        for (FakeNode* node : {&a, &b}) {
            rig.hello(*node);
            rig.report(*node);
        }
    }
};

TEST_F(RestartTest, TheTermRisesAndIncarnationsStay) {
    const Term before = rig.core->term();
    rig.restart();
    EXPECT_EQ(rig.core->term(), before.next());
    come_back();
    EXPECT_EQ(a.welcome->incarnation, Incarnation{1});
    EXPECT_EQ(a.welcome->term, before.next());
    EXPECT_EQ(rig.node_status(a).state, NodeState::current);
}

TEST_F(RestartTest, InCollect) {
    rig.ready(a, 1);
    rig.restart();
    come_back();
    EXPECT_FALSE(rig.has_plan());
    rig.ready(b, 2);
    EXPECT_TRUE(rig.has_plan());
}

TEST_F(RestartTest, TheOpenPlanIsDecidedInTheNewTermWithoutANewAttempt) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    const auto plan = rig.image().plan->digest;
    a.plan_body.clear();
    rig.restart();
    EXPECT_EQ(rig.image().plan->digest, plan);
    come_back();
    ASSERT_TRUE(a.orders->plan);
    EXPECT_EQ(a.orders->plan->digest, plan);
    EXPECT_EQ(a.plan_body, rig.image().plan->body);
    rig.vote(a, 9);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
    EXPECT_EQ(journal().all_decisions()[0].term, Term{1});
}

TEST_F(RestartTest, ANodeThatStartedAnewAndHasNothingToAddYetKeepsItsContribution) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    const auto plan = rig.image().plan->digest;
    rig.restart();
    for (FakeNode* node : {&a, &b}) {
        node->in_memory = {};  // another process of it
        node->report.ready.reset();
        rig.hello(*node);
    }
    a.report.ready.emplace().step = Step{0};
    rig.report(a);
    rig.report(b);
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.image().plan->digest, plan) << "its file is on its disk";
    rig.vote(a, 9);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().tokens_committed, 200U);
}

TEST_F(RestartTest, APlanFoundByARebuildIsDecidedWhateverBecameOfItsMembers) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    co::Image found = rig.image();
    found.plan->must_end_decided = true;
    rig.core = std::make_unique<co::CoordinatorCore>(std::move(found), rig.config, cheap_signing());
    rig.sessions.clear();
    rig.feed(co::Started{});
    FakeNode& c = rig.join("c");
    rig.hello(a);
    rig.report(a);
    EXPECT_FALSE(rig.admin(co::admin::RevokeNode{b.id, "its machine is gone"}));
    rig.vote(a, 9);
    EXPECT_EQ(rig.status().head, Step{0}) << "one copy";
    c.report = a.report;
    rig.vote(c, 9);  // it has copied the entry
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(RestartTest, VotesAreRepeatedToTheNewProcess) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.vote(a, 9);
    rig.restart();
    come_back();
    EXPECT_EQ(rig.status().head, Step{0});
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(RestartTest, ADecisionThatWasNotDurableNeverHappened) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.vote(a, 9);
    // The last vote reaches the core, but the process dies before the transaction is durable.
    co::CoordinatorCore lost(rig.image(), rig.config, cheap_signing());
    lost = std::move(*rig.core);
    const auto before = journal().all_decisions().size();
    rig.core = std::make_unique<co::CoordinatorCore>(rig.image(), rig.config, cheap_signing());
    rig.feed(co::Started{});
    EXPECT_EQ(journal().all_decisions().size(), before);
    come_back();
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
    EXPECT_EQ(rig.status().tokens_committed, 200U);
}

TEST_F(RestartTest, ADurableDecisionIsAnnouncedByTheNewProcess) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.vote(a, 9);
    rig.vote(b, 9);
    rig.restart();
    come_back();
    EXPECT_EQ(a.orders->head, Step{1});
    EXPECT_EQ(a.orders->decisions.size(), 1U);
    EXPECT_TRUE(a.orders->leases.empty());
    rig.apply(a);
    rig.apply(b);
    rig.ready(a, 3);
    rig.ready(b, 4);
    rig.vote(a, 10);
    rig.vote(b, 10);
    EXPECT_EQ(rig.status().head, Step{2});
}

TEST_F(RestartTest, AttemptsOfAStepGoOnCounting) {
    FakeNode& c = rig.join("c");
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.ready(c, 3);
    EXPECT_FALSE(rig.admin(co::admin::RevokeNode{c.id, "x"}));
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    rig.restart();
    come_back();
    a.report.exchange = ExchangeState{};
    a.report.exchange->plan = rig.image().plan->digest;
    a.report.exchange->gone = {b.id};
    rig.report(a);
    EXPECT_FALSE(rig.has_plan());
    b.report.ready.reset();  // it knows what it lost
    rig.restart();
    come_back();
    rig.ready(b, 7);
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().attempt, Attempt{3});
}

TEST_F(RestartTest, AFrozenPredecessorCannotWrite) {
    co::CoordinatorCore frozen = std::move(*rig.core);
    rig.core = std::make_unique<co::CoordinatorCore>(rig.image(), rig.config, cheap_signing());
    rig.feed(co::Started{});
    co::TokenRow token;
    token.id.bytes[0] = 99;
    auto actions = frozen.step(rig.now, co::AdminCommand{1, co::admin::CreateToken{token}});
    auto* persist = std::get_if<co::Persist>(&actions.at(0));
    ASSERT_TRUE(persist);
    auto done = journal().apply(persist->tx);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::stale);
}

TEST_F(RestartTest, LeasesAndAnswersSurvive) {
    rig.lease(a, 10);
    const auto granted = *a.grant;
    rig.restart();
    come_back();
    ASSERT_EQ(a.orders->leases.size(), 1U);
    EXPECT_EQ(a.orders->leases[0].id, granted.leases[0].id);
    a.grant.reset();
    rig.send(a, LeaseRequest{granted.request_id, 10});
    EXPECT_EQ(a.grant->leases, granted.leases);
    EXPECT_EQ(journal().leases().size(), 1U) << "a repeated request is answered, not granted twice";
}

TEST_F(RestartTest, ANodeThatStaysAwayAfterTheRestartIsGivenItsTimeFirst) {
    rig.restart();
    rig.hello(a);
    rig.pass(Millis(4000), {&a});
    EXPECT_FALSE(rig.node_status(b).silent);
    rig.pass(Millis(2000), {&a});
    EXPECT_TRUE(rig.node_status(b).silent);
    rig.pass(Millis(120'000), {&a});
    EXPECT_EQ(rig.node_status(b).state, NodeState::away);
}

TEST_F(RestartTest, ARestoredDatabaseDecidesNothingBeforeItHasCaughtUp) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    ASSERT_TRUE(rig.has_plan());
    rig.config.restored = true;
    rig.restart();
    EXPECT_EQ(rig.status().phase, "behind");
    EXPECT_NE(rig.status().hold_reason.find("may be older"), std::string::npos) << rig.status().hold_reason;
    for (FakeNode* node : {&a, &b}) {
        node->welcome.reset();
        node->report.head = Step{7};
        rig.hello(*node);
        EXPECT_FALSE(node->welcome);
        ASSERT_TRUE(node->refusal);
        EXPECT_TRUE(retryable(node->refusal->code)) << "it keeps what it has, and comes again";
    }
    EXPECT_NE(rig.status().hold_reason.find("nodes know step 7"), std::string::npos) << rig.status().hold_reason;
    rig.pass(Millis(600'000));
    EXPECT_EQ(rig.status().head, Step{0});
    EXPECT_TRUE(rig.has_plan()) << "neither decided nor replaced";
    rig.config.restored = false;
    rig.restart();
    EXPECT_NE(rig.status().phase, "behind");
}

}  // namespace
}  // namespace skerry::test
