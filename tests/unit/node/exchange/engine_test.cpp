#include "node/exchange/engine.hpp"

#include <gtest/gtest.h>

#include "protocol/identity/merkle.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/signatures.hpp"
#include "tests/support/exchange_run.hpp"

namespace skerry::node {
namespace {

using namespace std::chrono_literals;
using test::ExchangeRun;
using test::small_manifest;

/// Two nodes, connected, with a plan that node 0 follows; the test itself plays the other side's policy.
class TwoNodes : public ::testing::Test {
  protected:
    TwoNodes() : run(2, small_manifest(CodecId::a8)) {
        EXPECT_TRUE(run.connect());
        step = run.stores().head();
        plan = run.stores().make_plan(step, run.stores().contribute(step));
        digest = body_digest(to_bytes(plan));
        for (std::size_t i = 0; i < 2; ++i) run.node(i).keep_asking = false;
    }
    NodeId id(std::size_t i) { return run.stores().key(i).id(); }
    ObjectRef contribution(std::size_t i) {
        return {ObjectKind::contribution, step, plan.participants[i].contribution};
    }
    /// Runs until the action's Done.
    template <class Action>
    Done done(std::size_t i, Action action) {
        std::optional<Done> out;
        run.node(i).perform(action, [&](const Done& d) { out = d; });
        EXPECT_TRUE(run.until([&] { return out.has_value(); }, 10s));
        return out.value_or(Done{});
    }
    template <class T>
    const T* heard(std::size_t i) {
        const T* found = nullptr;
        run.until(
            [&] {
                for (const auto& event : run.node(i).seen)
                    if (auto* one = std::get_if<T>(&event)) found = one;
                return found != nullptr;
            },
            10s);
        return found;
    }

    ExchangeRun run;
    Step step;
    Plan plan;
    Digest digest;
};

TEST(Engine, ThreeNodesExchangeAStepAndAgreeOnTheRoot) {
    for (CodecId codec : {CodecId::a8, CodecId::f32}) {
        ExchangeRun run(3, small_manifest(codec, 40'000));
        ASSERT_TRUE(run.connect());
        Plan plan = run.begin_step();
        ASSERT_TRUE(run.until(
            [&] { return run.node(0).complete() && run.node(1).complete() && run.node(2).complete(); }, 30s));
        Digest digest = body_digest(to_bytes(plan));
        std::optional<Digest> root;
        for (std::size_t i = 0; i < 3; ++i) {
            auto made = run.stores().store(i).prepare(*run.stores().staged(i, plan));
            ASSERT_TRUE(made) << made.error().detail;
            EXPECT_EQ(made->plan_digest, digest);
            EXPECT_EQ(made->root, root.value_or(made->root));
            root = made->root;
        }
        std::size_t reduced = run.node(0).reduced() + run.node(1).reduced() + run.node(2).reduced();
        EXPECT_EQ(reduced, plan.piece_owner.size());
    }
}

TEST_F(TwoNodes, AMessageGoesThroughWithItsSender) {
    Get get{contribution(1), {PieceIndex{0}, PieceIndex{2}}};
    run.node(0).engine().perform(SendPeer{id(1), get});
    auto* in = heard<PeerIn>(1);
    ASSERT_NE(in, nullptr);
    EXPECT_EQ(in->from, id(0));
    EXPECT_EQ(std::get<Get>(in->body), get);
}

TEST_F(TwoNodes, AServedContributionIsStoredAtTheAsker) {
    auto served = done(1, Serve{{}, id(0), contribution(1), PieceIndex{1}});
    EXPECT_FALSE(served.error);
    ASSERT_NE(heard<DataIn>(0), nullptr);
    EXPECT_TRUE(run.until([&] { return run.stores().store(0).has_contribution(step, contribution(1).id, PieceIndex{1}); }, 10s));
    EXPECT_TRUE(run.until([&] { return run.node(0).engine().counters().chunks_stored == 1; }, 10s));
}

TEST_F(TwoNodes, WhatIsNotHereIsNotServed) {
    auto served = done(1, Serve{{}, id(0), {ObjectKind::contribution, step, digest}, PieceIndex{0}});
    ASSERT_TRUE(served.error);
    EXPECT_EQ(served.error->code, Errc::not_found);
}

TEST_F(TwoNodes, AServeEndsWhenTheLinkIsGone) {
    run.node(1).meet({});
    auto served = done(1, Serve{{}, id(0), contribution(1), PieceIndex{0}});
    ASSERT_TRUE(served.error);
    EXPECT_EQ(served.error->code, Errc::closed);
}

TEST_F(TwoNodes, AChunkIsReleasedWithItsVerdict) {
    done(1, Serve{{}, id(0), contribution(1), PieceIndex{1}});
    auto* in = heard<DataIn>(0);
    ASSERT_NE(in, nullptr);
    VerifyChunk verify;
    verify.chunk = in->chunk;
    verify.object = contribution(1);
    verify.piece = PieceIndex{1};
    ASSERT_TRUE(run.until([&] { return run.node(0).engine().counters().chunks_stored == 1; }, 10s));
    auto again = done(0, verify);
    ASSERT_TRUE(again.error);
    EXPECT_EQ(again.error->code, Errc::not_found);
}

TEST_F(TwoNodes, APreparedEntryIsVotedAndAppended) {
    run.node(0).keep_asking = run.node(1).keep_asking = true;
    run.node(0).follow(plan);
    run.node(1).follow(plan);
    ASSERT_TRUE(run.until([&] { return run.node(0).complete() && run.node(1).complete(); }, 20s));

    auto root_at = [&](std::size_t i) {
        auto staged = run.stores().staged(i, plan);
        std::vector<Digest> leaves;
        for (std::uint32_t p = 0; p < plan.piece_owner.size(); ++p) leaves.push_back(*staged->leaf(PieceIndex{p}));
        return merkle_root(leaves);
    };
    Digest root = root_at(0);
    ASSERT_EQ(root, root_at(1));
    auto record = run.stores().decide(plan, root);
    auto decision = parse_decision(record.decision.body);
    ASSERT_TRUE(decision);
    auto prepared = done(0, WritePrepared{{}, step, digest, root, decision->h_after});
    ASSERT_FALSE(prepared.error) << prepared.error->detail;
    auto& vote = std::get<PreparedAnswer>(prepared.answer);
    EXPECT_TRUE(vote.durable);
    EXPECT_TRUE(verify_vote(run.stores().key(0).public_key(), decision->h_after, vote.signature));

    // Node 1 has not prepared: its entry comes from the complete staging.
    EXPECT_FALSE(done(0, AppendEntry{{}, step, record, digest, root, true}).error);
    EXPECT_FALSE(done(1, AppendEntry{{}, step, record, digest, root, false}).error);
    for (std::size_t i = 0; i < 2; ++i) {
        EXPECT_EQ(run.stores().store(i).decisions().next(), step.next());
        EXPECT_TRUE(run.stores().store(i).verify_entry(step));
        EXPECT_TRUE(run.stores().store(i).apply(step));
    }
    EXPECT_EQ(*run.stores().store(0).digest_state(), *run.stores().store(1).digest_state());
}

TEST_F(TwoNodes, APreparedEntryOfAnotherRootIsNoVote) {
    run.node(0).keep_asking = run.node(1).keep_asking = true;
    run.node(0).follow(plan);
    run.node(1).follow(plan);
    ASSERT_TRUE(run.until([&] { return run.node(0).complete(); }, 20s));
    auto prepared = done(0, WritePrepared{{}, step, digest, Digest{}, Digest{}});
    ASSERT_TRUE(prepared.error);
    EXPECT_EQ(prepared.error->code, Errc::digest_mismatch);
}

TEST_F(TwoNodes, AVoteForARollbackComesAfterTheDecisionsBelowIt) {
    const SignedDecision below = run.stores().decide(plan, digest);
    Plan back;
    back.run = plan.run;
    back.step = step.next();
    back.kind = EntryKind::rollback;
    back.rollback_to = step;
    back.members = plan.members;
    const Digest ballot = body_digest(to_bytes(back));
    run.node(0).engine().perform(FollowPlan{ballot, to_bytes(back), std::make_shared<const Plan>(back)});
    // The entry of the step below is not here, and need not be.
    auto prepared = done(0, WritePrepared{{}, back.step, ballot, Digest{}, Digest{}, {below}});
    ASSERT_FALSE(prepared.error) << prepared.error->detail;
    EXPECT_TRUE(std::get<PreparedAnswer>(prepared.answer).durable);
    const RunStore& store = run.stores().store(0);
    EXPECT_EQ(store.decisions().next(), back.step);
    ASSERT_EQ(store.prepared().size(), 1U);
    EXPECT_EQ(store.prepared()[0].plan_digest, ballot);
}

}  // namespace
}  // namespace skerry::node
