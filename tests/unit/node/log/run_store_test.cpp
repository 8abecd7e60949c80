#include "node/log/run_store.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "node/outer/mean.hpp"
#include "node/outer/outer_optimizer.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/support/store_run.hpp"

namespace skerry::node {
namespace {

using test::flip_byte;
using test::StoreRun;

/// Nothing says any more what the working copies of node 0 are.
void forget_state(const StoreRun& run) {
    for (const char* name : {"mark", "applying"}) fs::remove(run.folder(0) / "state" / name);
}

TEST(RunStore, ThreeNodesAgreeOnEveryDigest) {
    for (CodecId codec : {CodecId::f32, CodecId::a8}) {
        StoreRun run(3, test::small_manifest(codec));
        Digest before;
        for (int k = 0; k < 4; ++k) {
            Digest digest = run.run_step();
            EXPECT_NE(digest, before);
            before = digest;
        }
        EXPECT_EQ(run.store(2).log_end(Step{0}), Step{4});
    }
}

// The oracle: theta and m as plain vectors, the deltas as they were.
TEST(RunStore, WithF32TheStateIsThatOfPlainDiLoCo) {
    StoreRun run(3, test::small_manifest(CodecId::f32));
    std::vector<float> theta(run.store(0).theta().begin(), run.store(0).theta().end());
    std::vector<float> m(theta.size(), 0.0F);
    for (std::uint64_t k = 0; k < 3; ++k) {
        MeanBuilder mean(theta.size());
        for (std::size_t i = 0; i < 3; ++i) {
            auto local = run.local_weights(i, Step{k});
            std::vector<float> delta(theta.size());
            for (std::size_t e = 0; e < theta.size(); ++e) delta[e] = theta[e] - local[e];
            mean.add(delta, 1000 + 10 * i);
        }
        apply_outer_step(theta, m, mean.finish(), OuterHyper{});
        run.run_step();
        ASSERT_TRUE(std::equal(theta.begin(), theta.end(), run.store(1).theta().begin()));
        ASSERT_TRUE(std::equal(m.begin(), m.end(), run.store(1).momentum().begin()));
    }
}

TEST(RunStore, ASecondProcessIsKeptOut) {
    StoreRun run(1);
    auto second = RunStore::open(run.folder(0), run.manifest());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::bad_state);
}

TEST(RunStore, AFolderOfAnotherRunIsRefused) {
    StoreRun run(1);
    run.close(0);
    Manifest other = run.manifest();
    other.seed = 43;
    EXPECT_EQ(RunStore::open(run.folder(0), other).error().code, Errc::bad_state);
}

TEST(RunStore, AfterARestartTheMarkedStateIsTrustedWithoutReplay) {
    StoreRun run(2);
    run.run_step();
    Digest digest = run.run_step();
    ASSERT_TRUE(run.reopen(0));
    fs::remove(run.folder(0) / "entries" /
               "0");  // no entry is needed: the files give the mark's digest
    ASSERT_TRUE(run.store(0).load_state(Step{2}));
    EXPECT_EQ(*run.store(0).digest_state(), digest);
}

TEST(RunStore, AStateWithoutAMarkOrWithAnotherDigestIsReplayed) {
    StoreRun run(2);
    run.run_step();
    Digest digest = run.run_step();
    run.close(0);
    forget_state(run);
    ASSERT_TRUE(run.reopen(0));
    ASSERT_TRUE(run.store(0).load_state(Step{2}));
    EXPECT_EQ(*run.store(0).digest_state(), digest);

    run.close(1);
    flip_byte(run.folder(1) / "state" / "theta", 5000);
    ASSERT_TRUE(run.reopen(1));
    ASSERT_TRUE(run.store(1).load_state(Step{2}));
    EXPECT_EQ(*run.store(1).digest_state(), digest);
}

TEST(RunStore, ReplayStartsAtASnapshotAndSkipsADamagedOne) {
    StoreRun run(1);
    run.run_step();
    ASSERT_TRUE(run.store(0).write_snapshot());
    run.run_step();
    ASSERT_TRUE(run.store(0).write_snapshot());
    Digest digest = run.run_step();
    run.close(0);
    forget_state(run);
    fs::remove(run.folder(0) / "entries" / "0");
    flip_byte(run.folder(0) / "snapshots" / "2" / "m", 100);
    ASSERT_TRUE(run.reopen(0));
    ASSERT_TRUE(run.store(0).load_state(Step{3}));
    EXPECT_EQ(*run.store(0).digest_state(), digest);
    EXPECT_EQ(run.store(0).snapshots().size(), 1U);
}

TEST(RunStore, ADamagedEntryIsSetAsideAndNamedAndTheStateStays) {
    StoreRun run(2);
    run.run_step();
    Step k = run.head();
    Plan plan = run.make_plan(k, run.contribute(k));
    run.exchange(plan);
    auto prepared = run.store(0).prepare(*run.staged(0, plan));
    ASSERT_TRUE(run.store(1).prepare(*run.staged(1, plan)));
    ASSERT_TRUE(run.store(0).append_decision(run.decide(plan, prepared->root)));
    ASSERT_TRUE(*run.store(0).adopt_prepared(k));
    flip_byte(run.folder(0) / "entries" / "1", fs::file_size(run.folder(0) / "entries" / "1") - 10);
    Digest before = *run.store(0).digest_state();
    auto applied = run.store(0).apply(k);
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().code, Errc::digest_mismatch);
    EXPECT_EQ(run.store(0).state_step(), k);
    EXPECT_EQ(*run.store(0).digest_state(), before);
    EXPECT_EQ(run.store(0).missing_for(Step{2}).entries, std::vector<Step>{k});
    EXPECT_EQ(run.store(0).log_end(Step{0}), k);

    // Fetched again from the other node, piece by piece, it applies.
    auto staged = run.store(0).stage_entry(to_bytes(plan));
    ASSERT_TRUE(staged);
    for (std::uint32_t p = 0; p < 3; ++p) {
        auto piece = run.store(1).read_result(k, body_digest(to_bytes(plan)), PieceIndex{p});
        ASSERT_TRUE(piece);
        ASSERT_TRUE((*staged)->put(PieceIndex{p}, piece->chunk, piece->owner_signature));
    }
    ASSERT_TRUE(run.store(0).prepare(**staged));
    ASSERT_TRUE(*run.store(0).adopt_prepared(k));
    EXPECT_TRUE(run.store(0).apply(k));
}

// Piece by piece, as the scrub does: only what is looked at is found, whatever was read and cached before.
TEST(RunStore, ARottenPieceOrHeadIsFoundAndSetAside) {
    StoreRun run(2);
    for (int k = 0; k < 3; ++k) run.run_step();
    RunStore& store = run.store(0);
    ASSERT_TRUE(store.write_snapshot());
    auto file = [&](const char* name) { return run.folder(0) / "entries" / name; };
    const Digest plan = store.decisions().row(Step{1})->plan_digest;
    ASSERT_TRUE(store.read_result(Step{1}, plan, PieceIndex{0}));

    flip_byte(file("0"), fs::file_size(file("0")) - 10);
    EXPECT_TRUE(store.verify_entry(Step{0}, PieceIndex{0}, 2));
    EXPECT_EQ(store.verify_entry(Step{0}, PieceIndex{2}, 1).error().code, Errc::digest_mismatch);
    flip_byte(file("1"), 100);
    EXPECT_EQ(store.verify_entry(Step{1}, PieceIndex{2}, 1).error().code, Errc::digest_mismatch) << "its head";
    fs::remove(file("2"));
    EXPECT_EQ(store.verify_entry(Step{2}, PieceIndex{0}, 1).error().code, Errc::not_found);
    EXPECT_EQ(store.entries(), std::vector<Step>{});
    EXPECT_FALSE(fs::exists(file("0")) || fs::exists(file("1")));

    EXPECT_TRUE(store.verify_snapshot(Step{3}, PieceIndex{0}, 3));
    flip_byte(run.folder(0) / "snapshots" / "3" / "m", fs::file_size(run.folder(0) / "snapshots" / "3" / "m") - 1);
    EXPECT_TRUE(store.verify_snapshot(Step{3}, PieceIndex{0}, 2));
    EXPECT_FALSE(store.verify_snapshot(Step{3}, PieceIndex{2}, 1));
    EXPECT_TRUE(store.snapshots().empty());
}

TEST(RunStore, APreparedEntryOutlivesARestartAndItsDecisionFinishesTheRename) {
    StoreRun run(2);
    Step k = run.head();
    Plan plan = run.make_plan(k, run.contribute(k));
    Digest digest = body_digest(to_bytes(plan));
    run.exchange(plan);
    auto prepared = run.store(0).prepare(*run.staged(0, plan));
    ASSERT_TRUE(prepared);
    ASSERT_TRUE(run.reopen(0));
    ASSERT_EQ(run.store(0).prepared().size(), 1U);
    EXPECT_EQ(run.store(0).prepared()[0].root, prepared->root);
    EXPECT_EQ(run.store(0).prepared()[0].plan_digest, digest);
    EXPECT_TRUE(run.store(0).read_result(k, digest, PieceIndex{1}));

    // Killed between the decision's append and the rename.
    ASSERT_TRUE(run.store(0).append_decision(run.decide(plan, prepared->root)));
    ASSERT_TRUE(run.reopen(0));
    EXPECT_TRUE(run.store(0).has_entry(k));
    EXPECT_TRUE(run.store(0).prepared().empty());
    EXPECT_TRUE(run.store(0).load_state(Step{1}));
}

TEST(RunStore, APreparedEntryOfAnotherRootIsDroppedByTheDecision) {
    StoreRun run(2);
    Step k = run.head();
    auto ready = run.contribute(k);
    Plan lost = run.make_plan(k, ready, 1);
    run.exchange(lost);
    ASSERT_TRUE(run.store(0).prepare(*run.staged(0, lost)));
    Plan decided = run.make_plan(k, ready, 2);
    decided.participants.pop_back();
    ASSERT_TRUE(run.store(0).append_decision(run.decide(decided, Digest{})));
    auto adopted = run.store(0).adopt_prepared(k);
    ASSERT_TRUE(adopted);
    EXPECT_FALSE(*adopted);
    EXPECT_TRUE(run.store(0).prepared().empty());
    EXPECT_FALSE(run.store(0).has_entry(k));
}

TEST(RunStore, AHigherPlanDropsTheLowerOneAndKeepsContributions) {
    StoreRun run(2);
    Step k = run.head();
    auto ready = run.contribute(k);
    Plan first = run.make_plan(k, ready, 1);
    run.exchange(first);
    ASSERT_TRUE(run.store(0).prepare(*run.staged(0, first)));
    Plan second = run.make_plan(k, ready, 2);
    run.exchange(second);
    EXPECT_TRUE(run.store(0).prepared().empty());
    EXPECT_EQ(run.store(0).stage_entry(to_bytes(first)).error().code, Errc::stale);
    EXPECT_EQ(run.store(0).read_result(k, body_digest(to_bytes(first)), PieceIndex{0}).error().code,
              Errc::not_found);
    EXPECT_TRUE(run.store(0).has_contribution(k, ready[0].contribution, PieceIndex{0}));
    EXPECT_TRUE(run.store(0).prepare(*run.staged(0, second)));
}

TEST(RunStore, ContributionsAreFoundAgainAfterARestart) {
    StoreRun run(3);
    Step k = run.head();
    auto ready = run.contribute(k);
    run.exchange(run.make_plan(k, ready));
    ASSERT_TRUE(run.reopen(0));
    ASSERT_TRUE(run.store(0).own_contribution());
    EXPECT_EQ(run.store(0).own_contribution()->contribution, ready[0].contribution);
    EXPECT_EQ(run.store(0).own_contribution()->segments, ready[0].segments);
    EXPECT_TRUE(run.store(0).has_contribution(k, ready[1].contribution,
                                              PieceIndex{0}));  // node 0 owns piece 0
    EXPECT_FALSE(run.store(0).has_contribution(k, ready[1].contribution, PieceIndex{1}));
    ASSERT_EQ(run.store(0).gathered().size(), 2U);
    EXPECT_EQ(run.store(0).gathered()[0]->pieces(), std::vector<PieceIndex>{PieceIndex{0}});
    run.store(0).drop_contributions(k.next());
    EXPECT_FALSE(run.store(0).own_contribution());
    EXPECT_FALSE(run.store(0).has_contribution(k, ready[1].contribution, PieceIndex{0}));
    EXPECT_TRUE(fs::is_empty(run.folder(0) / "contribution"));
}

TEST(RunStore, ADamagedContributionIsNotServed) {
    StoreRun run(2);
    Step k = run.head();
    auto ready = run.contribute(k);
    flip_byte(run.folder(0) / "contribution" / "own", 300);
    EXPECT_EQ(run.store(0).read_contribution(k, ready[0].contribution, PieceIndex{0}).error().code,
              Errc::digest_mismatch);
    ASSERT_TRUE(run.reopen(0));
    EXPECT_FALSE(run.store(0).own_contribution());
}

TEST(RunStore, AForeignPieceWithoutProofIsRefusedAndABadChunkIsItsMakersWord) {
    StoreRun run(2);
    Step k = run.head();
    auto ready = run.contribute(k);
    auto part = run.store(1).read_contribution(k, ready[1].contribution, PieceIndex{0});
    auto gathered = *run.store(0).gather(k, ready[1].contribution);
    Bytes damaged = part->chunk;
    damaged[100] ^= 1;
    EXPECT_EQ(gathered->put(PieceIndex{0}, damaged, part->proof).error().code,
              Errc::digest_mismatch);
    EXPECT_EQ(gathered->put(PieceIndex{1}, part->chunk, part->proof).error().code,
              Errc::digest_mismatch);
    EXPECT_TRUE(gathered->put(PieceIndex{0}, part->chunk, part->proof));

    Bytes nonsense = part->chunk;
    nonsense.back() = 0x80;
    std::vector<Digest> leaves{merkle_leaf(nonsense), Digest{}, Digest{}};
    auto liar = *run.store(0).gather(k, merkle_root(leaves));
    EXPECT_EQ(liar->put(PieceIndex{0}, nonsense, make_merkle_proof(leaves, 0)).error().code,
              Errc::not_finite);
}

TEST(RunStore, AForeignPieceThatRotsIsTakenAgain) {
    StoreRun run(2);
    Step k = run.head();
    auto ready = run.contribute(k);
    auto part = run.store(1).read_contribution(k, ready[1].contribution, PieceIndex{0});
    auto gathered = *run.store(0).gather(k, ready[1].contribution);
    ASSERT_TRUE(gathered->put(PieceIndex{0}, part->chunk, part->proof));
    flip_byte(run.folder(0) / "contribution" / (std::to_string(k.value) + "." + ready[1].contribution.hex()), 300);
    EXPECT_EQ(gathered->read(PieceIndex{0}).error().code, Errc::digest_mismatch);
    EXPECT_FALSE(gathered->has(PieceIndex{0}));
    ASSERT_TRUE(gathered->put(PieceIndex{0}, part->chunk, part->proof));
    EXPECT_TRUE(gathered->read(PieceIndex{0}));
}

TEST(RunStore, NoDeltaWithNanIsFrozen) {
    StoreRun run(1);
    auto local = run.local_weights(0, Step{0});
    local[7000] = std::numeric_limits<float>::quiet_NaN();
    auto writer = run.store(0).begin_contribution(Step{0});
    EXPECT_EQ((*writer)->push(local).error().code, Errc::not_finite);
    EXPECT_FALSE(run.store(0).own_contribution());
}

TEST(RunStore, ASnapshotIsFetchedInBlocksAcrossARestart) {
    for (std::uint64_t elements :
         {30000U, 3000U}) {  // eight pieces; one piece, whose root is its leaf
        StoreRun run(2, test::small_manifest(CodecId::a8, elements));
        for (int i = 0; i < 3; ++i) run.run_step();
        RunStore& giver = run.store(0);
        auto info = giver.write_snapshot();
        ASSERT_TRUE(info);

        test::TemporaryFolder place;
        auto joiner = RunStore::open(place.path() / "new", run.manifest());
        ASSERT_TRUE(joiner);
        for (const SignedDecision& decision : run.decisions())
            ASSERT_TRUE((*joiner)->append_decision(decision));
        EXPECT_EQ((*joiner)->missing_for(Step{3}).entries.size(), 3U);
        auto roots = giver.read_block({ObjectKind::block, Step{3}, info->state_digest});
        ASSERT_TRUE(roots);
        auto fetch = (*joiner)->fetch_snapshot(Step{3}, info->state_digest, *roots);
        ASSERT_TRUE(fetch);
        for (int round = 1; !(*fetch)->complete() && round < 100; ++round) {
            for (const Digest& hash : (*fetch)->wanted(3)) {
                auto block = giver.read_block({ObjectKind::block, Step{3}, hash});
                ASSERT_TRUE(block);
                Bytes damaged = *block;
                damaged[5] ^= 1;
                ASSERT_EQ((*fetch)->put(hash, damaged).error().code, Errc::digest_mismatch);
                auto put = (*fetch)->put(hash, *block);
                ASSERT_TRUE(put && *put);
            }
            if (round != 3) continue;  // killed half-way: what arrived is there again
            std::uint64_t have = (*fetch)->have_bytes();
            ASSERT_GT(have, 0U);
            fetch->reset();
            joiner->reset();
            joiner = RunStore::open(place.path() / "new", run.manifest());
            fetch = (*joiner)->fetch_snapshot(Step{3}, info->state_digest, *roots);
            ASSERT_EQ((*fetch)->have_bytes(), have);
        }
        ASSERT_TRUE((*joiner)->adopt_snapshot(**fetch));
        EXPECT_TRUE((*joiner)->missing_for(Step{3}).nothing());
        ASSERT_TRUE((*joiner)->load_state(Step{3}));
        EXPECT_EQ(*(*joiner)->digest_state(), info->state_digest);
    }
}

TEST(RunStore, EntryBlocksAreServedByRootAndPlanDigest) {
    StoreRun run(1);
    run.run_step();
    auto decision = parse_decision(run.decisions()[0].decision.body);
    auto list = run.store(0).read_block({ObjectKind::block, Step{0}, decision->roots[0]});
    ASSERT_TRUE(list);
    EXPECT_EQ(merkle_root(*parse_leaf_list(*list)), decision->roots[0]);
    auto plan = run.store(0).read_block({ObjectKind::block, Step{0}, decision->plan_digest});
    ASSERT_TRUE(plan);
    EXPECT_EQ(body_digest(*plan), decision->plan_digest);
    EXPECT_EQ(run.store(0).read_block({ObjectKind::block, Step{0}, Digest{}}).error().code,
              Errc::not_found);
}

TEST(RunStore, ARollbackIsTheOlderStateUnderANewNumber) {
    StoreRun run(1);
    Digest first = run.run_step();
    std::uint64_t tokens = run.tokens_committed();
    run.run_step();
    run.run_step();
    ASSERT_TRUE(run.store(0).append_decision(run.decide_rollback(Step{3}, Step{1}, tokens)));
    ASSERT_TRUE(run.store(0).apply(Step{3}));
    EXPECT_EQ(run.store(0).state_step(), Step{4});
    EXPECT_EQ(*run.store(0).digest_state(), first);
    Digest after = run.run_step();
    run.close(0);
    forget_state(run);
    ASSERT_TRUE(run.reopen(0));
    ASSERT_TRUE(run.store(0).load_state(Step{5}));
    EXPECT_EQ(*run.store(0).digest_state(), after);
}

TEST(RunStore, ABallotIsKeptUntilItsStepIsDecided) {
    StoreRun run(1);
    run.run_step();
    Plan plan;
    plan.run = run.store(0).manifest().run;
    plan.step = Step{1};
    plan.term = Term{1};
    plan.attempt = Attempt{2};
    plan.kind = EntryKind::rollback;
    plan.members = {NodeId{}};
    plan.durable_copies = 1;
    Bytes body = to_bytes(plan);
    auto kept = run.store(0).prepare_ballot(body);
    ASSERT_TRUE(kept);
    EXPECT_TRUE(kept->ballot);
    run.close(0);
    ASSERT_TRUE(run.reopen(0));
    auto found = run.store(0).prepared();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(*run.store(0).prepared_plan(found[0]), body);
    EXPECT_TRUE(found[0].root.is_zero());
    run.store(0).drop_prepared(Step{1});
    run.close(0);
    ASSERT_TRUE(run.reopen(0));
    EXPECT_TRUE(run.store(0).prepared().empty());
}

TEST(RunStore, PruningKeepsTheDiskWithinItsQuotaAndTheStateReachable) {
    Manifest manifest = test::small_manifest();
    manifest.disk_quota_bytes = 700 * 1024;
    StoreRun run(1, manifest);
    for (int k = 0; k < 40; ++k) {
        run.run_step();
        if (k % 5 == 4) {
            ASSERT_TRUE(run.store(0).write_snapshot());
        }
        Step floor =
            run.store(0).snapshots().empty() ? Step{0} : run.store(0).snapshots().back().step;
        const RetentionChoice choice = run.store(0).prunable(floor);
        ASSERT_FALSE(choice.over_quota);
        ASSERT_TRUE(run.store(0).drop(choice.drop_snapshots, choice.drop_entries));
        ASSERT_LE(run.store(0).disk_bytes(), manifest.disk_quota_bytes);
    }
    Digest digest = *run.store(0).digest_state();
    run.close(0);
    forget_state(run);
    ASSERT_TRUE(run.reopen(0));
    ASSERT_TRUE(run.store(0).load_state(Step{40}));
    EXPECT_EQ(*run.store(0).digest_state(), digest);
}

}  // namespace
}  // namespace skerry::node
