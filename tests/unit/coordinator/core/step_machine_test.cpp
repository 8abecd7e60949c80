#include <gtest/gtest.h>

#include <algorithm>

#include "protocol/wire/canonical.hpp"
#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

/// A node that nobody has measured is waited for no longer than one that is always in time.
co::CoreConfig impatient() {
    co::CoreConfig config;
    config.collect_most = Millis(1);
    return config;
}

struct StepMachineTest : testing::Test {
    Rig rig{small_manifest(), impatient()};
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    FakeNode& c = rig.join("c");

    void SetUp() override { EXPECT_FALSE(rig.admin(co::admin::StartRun{})); }
    const MemoryJournal& journal() { return static_cast<const MemoryJournal&>(*rig.journal); }
    void all_ready() {
        rig.ready(a, 1);
        rig.ready(b, 2);
        rig.ready(c, 3);
    }
    void all_vote(std::uint64_t root) {
        rig.vote(a, root);
        rig.vote(b, root);
        rig.vote(c, root);
    }
    void all_apply() {
        rig.apply(a);
        rig.apply(b);
        rig.apply(c);
    }
    /// Exchange progress of the plan in force.
    void progress(FakeNode& n, std::uint32_t have) {
        n.report.exchange = ExchangeState{};
        n.report.exchange->plan = rig.image().plan->digest;
        n.report.exchange->results_have = have;
        n.report.exchange->results_need = 100;
        rig.report(n);
    }
    std::vector<NodeId> plan_members() { return rig.plan().members; }
};

TEST_F(StepMachineTest, AWholeStep) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    EXPECT_FALSE(rig.has_plan());
    rig.ready(c, 3);
    ASSERT_TRUE(rig.has_plan());
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.participants.size(), 3U);
    EXPECT_EQ(plan.members.size(), 3U);
    EXPECT_EQ(plan.durable_copies, 2U);
    EXPECT_EQ(plan.attempt, Attempt{1});
    EXPECT_EQ(plan.piece_owner, (std::vector<std::uint16_t>{0, 1, 1, 2, 2}));
    ASSERT_TRUE(a.orders->plan);
    EXPECT_FALSE(a.orders->plan->body.empty());
    EXPECT_TRUE(a.orders->leases.at(0).pinned);

    rig.vote(a, 9);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{0}) << "the third is waited for";
    rig.vote(c, 9);
    EXPECT_EQ(rig.status().head, Step{1});
    ASSERT_EQ(journal().all_decisions().size(), 1U);
    const auto& row = journal().all_decisions()[0];
    const auto decision = parse_decision(row.record.decision.body);
    ASSERT_TRUE(decision);
    EXPECT_EQ(decision->credits.size(), 3U);
    EXPECT_EQ(decision->tokens_after, 300U);
    EXPECT_EQ(row.record.voters.size(), 3U);
    EXPECT_FALSE(rig.has_plan());
    EXPECT_TRUE(a.orders->leases.empty());
    EXPECT_EQ(a.orders->decisions.size(), 1U);
    EXPECT_EQ(a.orders->head, Step{1});
    EXPECT_EQ(rig.node_status(a).credited_tokens, 100U);

    all_apply();
    all_ready();
    EXPECT_EQ(rig.plan().step, Step{1});
    all_vote(10);
    EXPECT_EQ(rig.status().head, Step{2});
}

TEST_F(StepMachineTest, TheBooksHaveWhatANodeGaveWhateverProcessesItHad) {
    a.report.sent_bytes = 1000;
    a.report.received_bytes = 700;
    all_ready();
    rig.pass(Millis(250), {&a, &b, &c});
    all_vote(9);
    Contribution of_a = *rig.node_status(a).contribution;
    EXPECT_EQ(of_a, (Contribution{100, 300, 1, 1, 1, 3, 1000, 700, of_a.active_ms, 1000}));
    EXPECT_GE(of_a.active_ms, 250U);
    ASSERT_TRUE(a.orders->contribution);
    EXPECT_EQ(*a.orders->contribution, of_a) << "the node is told";

    all_apply();
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.pass(Millis(12'000), {&a, &b, &c});
    rig.vote(a, 10);
    rig.vote(b, 10);
    ASSERT_EQ(rig.status().head, Step{2});
    const Contribution of_c = *rig.node_status(c).contribution;
    EXPECT_EQ(of_c.steps, 1U) << "its data was not in";
    EXPECT_EQ(of_c.steps_here, 2U) << "though it was here";
    EXPECT_EQ(of_c.rank, 3U);

    rig.drop(a);
    a.boot.bytes[1] = 9;  // another process, whose counters begin anew
    a.in_memory = {};
    rig.hello(a);
    a.report.sent_bytes = 50;
    a.report.received_bytes = 30;
    rig.report(a);
    of_a = *rig.node_status(a).contribution;
    EXPECT_EQ(of_a.sent_bytes, 1050U);
    EXPECT_EQ(of_a.received_bytes, 730U);
    EXPECT_EQ(of_a.steps, 2U);
    EXPECT_EQ(of_a.since_unix_s, 1000);
    rig.restart();
    EXPECT_EQ(rig.node_status(a).contribution->sent_bytes, 1000U) << "what no decision was made with is told again";
    EXPECT_EQ(rig.node_status(a).contribution->tokens, of_a.tokens);
}

TEST_F(StepMachineTest, TheBodyOfAPlanIsSentOnceAndWhenAskedFor) {
    all_ready();
    rig.pass(Millis(1500), {&a, &b, &c});
    ASSERT_TRUE(a.orders->plan);
    EXPECT_TRUE(a.orders->plan->body.empty());
    rig.send(a, PlanRequest{a.orders->plan->digest});
    EXPECT_FALSE(a.orders->plan->body.empty());
}

TEST_F(StepMachineTest, TwoThirdsCloseTheRoundAfterItsDeadlineAndGrace) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.pass(Millis(10'500), {&a, &b, &c});
    EXPECT_FALSE(rig.has_plan());
    rig.pass(Millis(1000), {&a, &b, &c});
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(plan_members(), (std::vector<NodeId>{a.id, b.id}));
}

TEST_F(StepMachineTest, ASilentNodeHoldsNobody) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.pass(Millis(4500), {&a, &b});
    EXPECT_FALSE(rig.has_plan());
    rig.pass(Millis(1000), {&a, &b});
    EXPECT_TRUE(rig.has_plan());
}

TEST_F(StepMachineTest, OneOfThreeIsNotEnough) {
    rig.ready(a, 1);
    rig.drop(b);
    rig.drop(c);
    rig.pass(Millis(20'000), {&a});
    EXPECT_FALSE(rig.has_plan());
    EXPECT_EQ(rig.status().phase, "hold");
    EXPECT_FALSE(rig.status().hold_reason.empty());
    EXPECT_FALSE(rig.status().waiting_for.empty());
}

TEST_F(StepMachineTest, ANodeWithoutDataOwnsAndVotesButIsNoParticipant) {
    rig.ready(a, 1);
    rig.ready_idle(b);
    rig.ready_idle(c);
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().participants.size(), 1U);
    EXPECT_EQ(rig.plan().members.size(), 3U);
    all_vote(5);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(StepMachineTest, ReadyNeedsTheLeaseAndTheRightWeight) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.ready(c, 3);
    ASSERT_TRUE(rig.has_plan());
    all_vote(9);
    all_apply();
    rig.ready(a, 4);
    rig.ready(b, 5);
    const auto stolen = a.report.ready->segments;
    rig.lease(c, 10);
    c.report.ready = ReadyState{Step{1}, digest_of(6), 100, stolen, 0, 0, true};
    rig.report(c);
    EXPECT_FALSE(rig.node_status(c).ready) << "a lease of another node";
    rig.ready(c, 6);
    EXPECT_TRUE(rig.has_plan());
}

TEST_F(StepMachineTest, AWrongWeightOrNaNIsNotReady) {
    rig.lease(a, 10);
    rig.ready(a, 1);
    a.report.ready->weight_tokens += 1;
    rig.report(a);
    EXPECT_FALSE(rig.node_status(a).ready);
    a.report.ready->weight_tokens -= 1;
    a.report.ready->finite = false;
    rig.report(a);
    EXPECT_FALSE(rig.node_status(a).ready);
    a.report.ready->finite = true;
    rig.report(a);
    EXPECT_TRUE(rig.node_status(a).ready);
}

TEST_F(StepMachineTest, VotesForAnotherPlanOrWithABadSignatureDoNotCount) {
    all_ready();
    rig.vote(a, 9);
    auto forged = *a.report.prepared;
    b.report.prepared = forged;  // signed by another key
    rig.report(b);
    auto old = forged;
    old.plan = digest_of(77);
    c.report.prepared = old;
    rig.report(c);
    rig.pass(Millis(6000), {&a, &b, &c});
    EXPECT_EQ(rig.status().head, Step{0});
    EXPECT_FALSE(rig.node_status(b).voted);
}

TEST_F(StepMachineTest, TheVoteDeadlineDecidesWithEnoughDurableCopies) {
    all_ready();
    rig.vote(a, 9);
    rig.vote(b, 9);
    rig.pass(Millis(4500), {&a, &b, &c});
    EXPECT_EQ(rig.status().head, Step{0});
    rig.pass(Millis(1000), {&a, &b, &c});
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(StepMachineTest, VotesThatAreNotDurableDoNotDecide) {
    all_ready();
    rig.vote(a, 9, true);
    rig.vote(b, 9, false);
    rig.vote(c, 9, false);
    rig.pass(Millis(8000), {&a, &b, &c});
    EXPECT_EQ(rig.status().head, Step{0});
    EXPECT_FALSE(rig.status().hold_reason.empty());
    rig.vote(b, 9, true);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(StepMachineTest, ADeadMemberThatVotedCounts) {
    all_ready();
    rig.vote(a, 9);
    rig.drop(a);
    rig.drop(c);
    rig.pass(Millis(500), {&b});
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
    EXPECT_EQ(journal().all_decisions()[0].record.voters.size(), 2U);
}

TEST_F(StepMachineTest, ADeadOwnerIsSupersededWithinASecondOfItsSilence) {
    all_ready();
    const auto first = rig.image().plan->digest;
    rig.pass(Millis(4750), {&a, &b});
    EXPECT_EQ(rig.image().plan->digest, first);
    rig.pass(Millis(1250), {&a, &b});
    ASSERT_TRUE(rig.has_plan());
    EXPECT_NE(rig.image().plan->digest, first);
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.attempt, Attempt{2});
    EXPECT_EQ(plan.members, (std::vector<NodeId>{a.id, b.id}));
    EXPECT_EQ(journal().plan_log().at({Step{0}, Attempt{1}}).end, co::PlanEnd::superseded);
    EXPECT_FALSE(c.orders->leases.empty()) << "a superseded plan changes no lease";
    rig.vote(a, 9);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
    EXPECT_EQ(rig.status().tokens_committed, 200U);
}

TEST_F(StepMachineTest, ADeadOwnerDoesNotMatterOnceSomebodyHasTheWholeResult) {
    all_ready();
    rig.vote(a, 9);
    rig.drop(c);
    rig.pass(Millis(5000), {&a, &b});
    EXPECT_EQ(rig.status().superseded, 0U);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(StepMachineTest, WithoutAReplacementThePlanIsKeptAndTheLabelIsHold) {
    rig.drop(c);
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.drop(b);
    rig.pass(Millis(10'000), {&a});
    EXPECT_EQ(rig.plan().attempt, Attempt{1});
    EXPECT_EQ(rig.status().phase, "hold");
    rig.hello(b);
    EXPECT_EQ(rig.plan().attempt, Attempt{1});
    rig.vote(a, 9);
    rig.vote(b, 9);
    EXPECT_EQ(rig.status().head, Step{1}) << "the member came back and finished it";
}

TEST_F(StepMachineTest, APlanWithoutHopeIsWithdrawnWhenItsMembersAreAway) {
    all_ready();
    rig.drop(b);
    rig.drop(c);
    rig.pass(Millis(121'000), {&a});
    EXPECT_FALSE(rig.has_plan());
    EXPECT_EQ(journal().plan_log().at({Step{0}, Attempt{1}}).end, co::PlanEnd::withdrawn);
    EXPECT_EQ(journal().free_ranges().size(), 1U) << "the leases of the away nodes are free, and merged";
    EXPECT_FALSE(a.orders->leases.empty()) << "the living node keeps its work";
    EXPECT_EQ(rig.status().phase, "hold");
}

TEST_F(StepMachineTest, ASlowExchangeIsGivenTimeWhileItMoves) {
    all_ready();
    for (std::uint32_t i = 0; i < 9; ++i) {
        rig.pass(Millis(14'000), {&a, &b, &c});
        progress(a, i + 1);
    }
    EXPECT_EQ(rig.plan().attempt, Attempt{1});
    rig.pass(Millis(16'000), {&a, &b, &c});
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
}

TEST_F(StepMachineTest, EvenAnExchangeThatMovesEndsAfterFourDeadlines) {
    all_ready();
    for (std::uint32_t i = 0; i < 23; ++i) {
        rig.pass(Millis(10'000), {&a, &b, &c});
        ASSERT_EQ(rig.plan().attempt, Attempt{1}) << i;
        progress(a, i + 1);
    }
    rig.pass(Millis(10'500), {&a, &b, &c});
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
}

TEST_F(StepMachineTest, TheDeadlineIsDoubledSixTimesAndNoMore) {
    all_ready();
    Millis waited{0};
    for (std::uint32_t attempt = 1; attempt <= 8; ++attempt) {
        ASSERT_EQ(rig.plan().attempt, Attempt{attempt});
        EXPECT_EQ(rig.status().attempt_deadline, Millis(60'000) * (1 << std::min(attempt - 1, 6U)));
        while (rig.plan().attempt == Attempt{attempt}) {
            rig.pass(Millis(15'000), {&a, &b, &c});
            waited += Millis(15'000);
            ASSERT_LT(waited, Millis(20'000'000));
        }
    }
}

TEST_F(StepMachineTest, SeveralLostAtOnceAreReplacedInOneStep) {
    FakeNode& d = rig.join("d");
    FakeNode& e = rig.join("e");
    rig.ready(d, 4);
    rig.ready(e, 5);
    all_ready();
    ASSERT_EQ(plan_members().size(), 5U);
    rig.drop(b);
    rig.drop(d);
    rig.drop(e);
    rig.pass(Millis(1250), {&a, &c});
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    EXPECT_EQ(plan_members(), (std::vector<NodeId>{a.id, c.id}));
    rig.vote(a, 9);
    rig.vote(c, 9);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(StepMachineTest, ALateNodeIsLeftOutBeforeTheReductionAndNeverInItsMiddle) {
    all_ready();
    const auto plan = rig.image().plan->digest;
    progress(a, 3);
    // It is slow, and its word still comes: the plan stays with all three until the deadline of the exchange.
    rig.pass(Millis(55'000), {&a, &b, &c});
    EXPECT_EQ(rig.image().plan->digest, plan);
    EXPECT_EQ(rig.plan().participants.size(), 3U);
}

TEST_F(StepMachineTest, NobodyWithoutABadEdgeMeansThatAllOwnAndRelay) {
    a.report.unreachable = {b.id};
    b.report.unreachable = {c.id};
    rig.report(a);
    rig.report(b);
    all_ready();
    const Plan plan = rig.plan();
    ASSERT_EQ(plan.members.size(), 2U) << "b has bad edges to both others";
    EXPECT_EQ(plan.members, (std::vector<NodeId>{a.id, c.id}));
}

TEST_F(StepMachineTest, ANodeThatWasAwayIsCaughtUpBeforeItCounts) {
    rig.drop(c);
    rig.pass(Millis(121'000), {&a, &b});
    EXPECT_EQ(rig.node_status(c).state, NodeState::away);
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.vote(a, 9);
    rig.vote(b, 9);
    rig.apply(a);
    rig.apply(b);
    rig.ready(a, 3);
    rig.ready(b, 4);
    rig.vote(a, 10);
    rig.vote(b, 10);
    rig.hello(c);
    EXPECT_EQ(rig.node_status(c).state, NodeState::joining);
    ASSERT_TRUE(c.orders);
    EXPECT_EQ(c.orders->holders.size(), 2U) << "it is told who has the entries";
    rig.apply(a);
    rig.apply(b);
    rig.apply(c);
    EXPECT_EQ(rig.node_status(c).state, NodeState::current);
    all_ready();
    EXPECT_EQ(plan_members().size(), 3U);
}

TEST_F(StepMachineTest, AttemptsWaitLongerAndLonger) {
    all_ready();
    rig.pass(Millis(60'250), {&a, &b, &c});
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    rig.pass(Millis(119'000), {&a, &b, &c});
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    rig.pass(Millis(2000), {&a, &b, &c});
    EXPECT_EQ(rig.plan().attempt, Attempt{3});
}

TEST_F(StepMachineTest, ALostContributionIsLeftOutAtOnceAndNeverBoundAgain) {
    all_ready();
    b.report.exchange = ExchangeState{};
    b.report.exchange->plan = rig.image().plan->digest;
    b.report.exchange->gone = {c.id};
    rig.report(b);
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.attempt, Attempt{2});
    EXPECT_EQ(plan.members, (std::vector<NodeId>{a.id, b.id}));
    rig.pass(Millis(2000), {&a, &b, &c});
    EXPECT_FALSE(rig.node_status(c).ready);
}

TEST_F(StepMachineTest, ALostContributionDoesNotUndoEnoughVotes) {
    all_ready();
    rig.vote(a, 9);
    rig.vote(b, 9);
    c.report.exchange = ExchangeState{};
    c.report.exchange->plan = rig.image().plan->digest;
    c.report.exchange->gone = {c.id};
    rig.report(c);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(StepMachineTest, ALostContributionWithoutReplacementWithdrawsThePlan) {
    rig.drop(c);
    rig.ready(a, 1);
    rig.ready(b, 2);
    ASSERT_TRUE(rig.has_plan());
    a.report.exchange = ExchangeState{};
    a.report.exchange->plan = rig.image().plan->digest;
    a.report.exchange->gone = {b.id};
    rig.report(a);
    EXPECT_FALSE(rig.has_plan());
    rig.ready(b, 8);  // it trained again
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
}

TEST_F(StepMachineTest, AContributionThatWasMadeAgainMayBeBoundAgain) {
    rig.drop(c);
    rig.ready(a, 1);
    rig.ready(b, 2);
    b.report.ready.reset();
    b.report.exchange = ExchangeState{};
    b.report.exchange->plan = rig.image().plan->digest;
    b.report.exchange->gone = {b.id};
    rig.report(b);
    EXPECT_FALSE(rig.has_plan());
    b.report.exchange.reset();
    rig.ready(b, 2);  // the same data from the same state: the same bytes
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
}

TEST_F(StepMachineTest, ANodeOnAFullDiskOwnsNothing) {
    b.report.disk_full = true;
    all_ready();
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.members.size(), 3U);
    for (auto owner : plan.piece_owner) EXPECT_NE(plan.members[owner], b.id);
}

TEST_F(StepMachineTest, BothEndsOfABadEdgeOwnNothing) {
    all_ready();
    a.report.exchange = ExchangeState{};
    a.report.exchange->plan = rig.image().plan->digest;
    a.report.exchange->stalled = {{b.id, true, 20'000}};
    rig.report(a);
    rig.pass(Millis(60'250), {&a, &b, &c});
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.attempt, Attempt{2});
    EXPECT_EQ(plan.members.size(), 3U);
    for (auto owner : plan.piece_owner) EXPECT_EQ(plan.members[owner], c.id);
}

TEST_F(StepMachineTest, UnreachablePeersOwnNothingFromTheStart) {
    a.report.unreachable = {b.id};
    all_ready();
    for (auto owner : rig.plan().piece_owner) EXPECT_EQ(rig.plan().members[owner], c.id);
}

TEST_F(StepMachineTest, ANodeCutOffFromMostOthersIsLeftOut) {
    a.report.unreachable = {b.id, c.id};
    all_ready();
    EXPECT_EQ(plan_members(), (std::vector<NodeId>{b.id, c.id}));
}

TEST_F(StepMachineTest, TheOnlyOneThatLinksTheOthersIsNotLeftOut) {
    b.report.unreachable = {c.id};
    c.report.unreachable = {b.id};
    all_ready();
    // A short partition: its edges look bad, too. Without it the others could never reach each other.
    a.report.exchange = ExchangeState{};
    a.report.exchange->plan = rig.image().plan->digest;
    a.report.exchange->stalled = {{b.id, true, 20'000}, {c.id, true, 20'000}};
    rig.report(a);
    a.report.exchange.reset();
    rig.pass(Millis(60'250), {&a, &b, &c});
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    EXPECT_EQ(plan_members(), (std::vector<NodeId>{a.id, b.id, c.id}));
    rig.pass(Millis(120'500), {&a, &b, &c});
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.attempt, Attempt{3});
    for (auto owner : plan.piece_owner) EXPECT_EQ(plan.members[owner], a.id) << "long ago, and not seen again";
}

TEST_F(StepMachineTest, TwoRootsAreNotDecidedAndTheNextPlanHasOneOwner) {
    all_ready();
    rig.vote(a, 9);
    rig.vote(b, 10);
    rig.vote(c, 9);
    EXPECT_EQ(rig.status().head, Step{0});
    rig.pass(Millis(2500), {&a, &b, &c});
    const Plan plan = rig.plan();
    EXPECT_EQ(plan.attempt, Attempt{2});
    for (auto owner : plan.piece_owner) EXPECT_EQ(owner, plan.piece_owner[0]);
}

TEST_F(StepMachineTest, AnOwnerThatSignedTwoResultsIsLeftOut) {
    all_ready();
    const Digest plan = rig.image().plan->digest;
    const PieceIndex piece{4};  // of c
    ByteWriter w;
    for (std::uint64_t leaf : {1, 2}) {
        w.id(digest_of(leaf));
        w.id(result_signature(c.key, plan, piece, digest_of(leaf)));
    }
    Blame blame{plan, piece, BlameKind::two_results, c.id, w.take()};
    auto forged = blame;
    forged.evidence[40] ^= 1;
    rig.send(a, forged);
    EXPECT_EQ(rig.plan().attempt, Attempt{1});
    rig.send(a, blame);
    EXPECT_EQ(plan_members(), (std::vector<NodeId>{a.id, b.id}));
}

TEST_F(StepMachineTest, AReadyNodeIsTakenIntoTheSupersedingPlan) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.pass(Millis(11'500), {&a, &b, &c});
    ASSERT_EQ(plan_members().size(), 2U);
    rig.ready(c, 3);
    EXPECT_EQ(plan_members().size(), 2U);
    rig.drop(b);
    rig.pass(Millis(2000), {&a, &c});
    EXPECT_EQ(plan_members(), (std::vector<NodeId>{a.id, c.id}));
}

TEST_F(StepMachineTest, AReturnOfAPinnedLeaseFreesNothing) {
    all_ready();
    const auto lease = a.orders->leases.at(0).id;
    rig.send(a, LeaseReturn{{lease}});
    EXPECT_TRUE(journal().leases().contains(lease));
    all_vote(9);
    EXPECT_EQ(rig.status().head, Step{1});
}

TEST_F(StepMachineTest, TheNodeThatMissedTheStepKeepsItsLeaseAndIsCreditedLater) {
    rig.ready(a, 1);
    rig.ready(b, 2);
    rig.lease(c, 10);
    rig.pass(Millis(11'500), {&a, &b, &c});
    rig.vote(a, 9);
    rig.vote(b, 9);
    ASSERT_EQ(rig.status().head, Step{1});
    ASSERT_FALSE(c.orders->leases.empty());
    const auto carried = c.orders->leases.at(0).id;
    all_apply();
    all_ready();
    all_vote(10);
    EXPECT_EQ(rig.status().head, Step{2});
    EXPECT_FALSE(journal().leases().contains(carried));
    EXPECT_EQ(rig.status().tokens_committed, 500U);
}

TEST_F(StepMachineTest, RevokingAMemberReplacesThePlanInTheSameTransaction) {
    all_ready();
    EXPECT_FALSE(rig.admin(co::admin::RevokeNode{c.id, "lost laptop"}));
    EXPECT_EQ(plan_members(), (std::vector<NodeId>{a.id, b.id}));
    EXPECT_TRUE(c.closed);
    EXPECT_EQ(c.refusal->code, Errc::revoked);
    EXPECT_EQ(journal().free_ranges().size(), 1U);
    EXPECT_EQ(rig.plan().epoch, rig.status().epoch);
}

TEST_F(StepMachineTest, AFullDiskOfTheCoordinatorIsTheShellsMatter) {
    all_ready();
    // The core goes on; nothing behind the transaction may leave. Here: the actions begin with it.
    rig.vote(a, 9);
    rig.vote(b, 9);
    static_cast<MemoryJournal&>(*rig.journal).full = true;
    const auto actions = rig.core->step(rig.now, co::Tick{});
    static_cast<MemoryJournal&>(*rig.journal).full = false;
    for (std::size_t i = 1; i < actions.size(); ++i) EXPECT_FALSE(std::holds_alternative<co::Persist>(actions[i]));
}

}  // namespace
}  // namespace skerry::test
