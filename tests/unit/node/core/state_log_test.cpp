// From which state a node starts, and what it may let go of.

#include "node/core/state_log.hpp"

#include <gtest/gtest.h>

#include "protocol/rules/chain.hpp"
#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;
using testing::numbered;

struct StateLogTest : ::testing::Test {
    Bench bench;
    Chain chain{bench.context};
    StateLog log{bench.context, chain};
    NodeImage image;

    /// A disk with the entries 0, 1, 2 and their decisions; the working copy says that it is S_3.
    StateLogTest() {
        bench.context.manifest_digest = numbered<Digest>(5);
        chain.begin(bench.context.manifest_digest);
        for (std::uint8_t k = 0; k < 3; ++k) {
            EXPECT_EQ(chain.learn({{to_bytes(testing::committed(bench.context, chain, k)), {}}, {}}), Chain::Learned::appended);
            image.entries.push_back(Step{k});
        }
        image.state = Step{3};
    }
    LoadState load() {
        log.load();
        auto asked = bench.take<LoadState>();
        EXPECT_EQ(asked.size(), 1U);
        return asked.at(0);
    }
};

TEST_F(StateLogTest, TheWorkingCopyIsTheStartIfItCanBe) {
    log.begin(image);
    EXPECT_EQ(log.log_head(), Step{3});
    const LoadState asked = load();
    EXPECT_EQ(asked.step, Step{3});
    EXPECT_FALSE(asked.initial);
    log.on_done({asked.op, {}, StateAnswer{numbered<Digest>(9), true}});
    EXPECT_TRUE(log.loaded());
    EXPECT_EQ(log.applied(), Step{3});
    EXPECT_EQ(log.oldest_entry(), Step{0});
}

TEST_F(StateLogTest, AWorkingCopyThatIsNotWhatItSaysIsReplayedFromBelow) {
    image.snapshots = {{Step{1}, numbered<Digest>(8)}};
    log.begin(image);
    const LoadState first = load();
    EXPECT_EQ(first.step, Step{3});
    log.on_done({first.op, Error{Errc::not_found, "", ""}, {}});
    EXPECT_FALSE(log.loaded());
    EXPECT_TRUE(log.has_snapshot(Step{1}));
    const LoadState second = load();
    EXPECT_EQ(second.step, Step{1});
    EXPECT_FALSE(second.initial);
    EXPECT_EQ(log.log_head(), Step{3});
}

TEST_F(StateLogTest, AGapBelowItIsNoReasonToReplay) {
    image.entries = {Step{0}, Step{2}};
    log.begin(image);
    EXPECT_EQ(load().step, Step{3});
    EXPECT_EQ(log.oldest_entry(), Step{2}) << "what is below a gap is not offered";
    EXPECT_EQ(log.newest_missing(Step{3}), Step{1});
    EXPECT_EQ(log.newest_missing(Step{1}), std::nullopt);
    log.restored(Step{1});
    EXPECT_EQ(log.missing(), 0U);
    EXPECT_EQ(log.oldest_entry(), Step{0});
}

TEST_F(StateLogTest, WhatASnapshotJumpedOverIsNotMissing) {
    image.entries = {Step{0}, Step{2}};
    image.snapshots = {{Step{2}, numbered<Digest>(8)}};
    log.begin(image);
    EXPECT_EQ(log.missing(), 0U);
    StateLog other{bench.context, chain};
    image.damaged = {Step{1}};  // it was here
    other.begin(image);
    EXPECT_EQ(other.missing(), 1U);
}

TEST_F(StateLogTest, WhatIsDamagedIsMissingUntilItMayGo) {
    image.snapshots = {{Step{2}, numbered<Digest>(8)}};
    log.begin(image);
    EXPECT_TRUE(log.lose({Step{1}, false}));
    EXPECT_FALSE(log.lose({Step{1}, false})) << "it is not here any longer";
    EXPECT_TRUE(log.misses(Step{1}));
    log.prune(Step{2});
    const OpId pruning = bench.take<Prune>().at(0).op;
    log.on_done({pruning, {}, PrunedAnswer{{}, {}}});
    EXPECT_TRUE(log.misses(Step{1})) << "the quota asked for nothing";
    image.entries = {Step{0}, Step{2}};
    image.damaged = {Step{1}};
    StateLog full{bench.context, chain};
    full.begin(image);
    full.prune(Step{2});
    full.on_done({bench.take<Prune>().at(0).op, {}, PrunedAnswer{{}, {Step{0}}}});
    const Prune chosen = bench.take<Prune>().at(0);
    full.on_done({chosen.op, {}, *chosen.chosen});
    EXPECT_TRUE(full.misses(Step{1})) << "only what is older went";
}

TEST_F(StateLogTest, ServedBlocksArePartsOfAnEntryOrOfASnapshot) {
    log.begin(image);
    EXPECT_EQ(log.part_of({ObjectKind::block, Step{1}, numbered<Digest>(61)}), (Kept{Step{1}, false})) << "its leaf list";
    EXPECT_EQ(log.part_of({ObjectKind::block, Step{1}, numbered<Digest>(51)}), (Kept{Step{1}, false})) << "its plan";
    EXPECT_EQ(log.part_of({ObjectKind::block, Step{1}, numbered<Digest>(99)}), (Kept{Step{1}, true}));
    EXPECT_EQ(log.part_of({ObjectKind::result, Step{1}, numbered<Digest>(51)}), (Kept{Step{1}, false}));
    EXPECT_EQ(log.part_of({ObjectKind::result, Step{3}, numbered<Digest>(51)}), std::nullopt) << "of the open step";
    EXPECT_EQ(log.part_of({ObjectKind::contribution, Step{1}, numbered<Digest>(51)}), std::nullopt);
}

TEST_F(StateLogTest, OfAnEarlierHistoryOrOlderThanASnapshotItIsOfNoUse) {
    image.state = Step{4};
    log.begin(image);
    EXPECT_EQ(load().step, Step{0});
    StateLog other{bench.context, chain};
    image.state = Step{2};
    image.snapshots = {{Step{3}, numbered<Digest>(8)}};
    other.begin(image);
    other.load();
    EXPECT_EQ(bench.take<LoadState>().at(0).step, Step{3});
}

TEST_F(StateLogTest, AStateThatIsDoubtedIsNotLoadedAgain) {
    log.begin(image);
    log.on_done({load().op, {}, StateAnswer{numbered<Digest>(9), true}});
    log.unload();
    EXPECT_EQ(load().step, Step{0});
}

TEST_F(StateLogTest, AFirstStateThatCannotBeHadIsSaidAndAskedForAgain) {
    log.begin(NodeImage{});
    const LoadState asked = load();
    EXPECT_TRUE(asked.initial);
    const auto result = log.on_done({asked.op, Error{Errc::refused, "not a member yet", ""}, {}});
    EXPECT_EQ(result.outcome, StateLog::Outcome::no_first_state);
    EXPECT_EQ(log.first_missing(), "not a member yet");
    EXPECT_FALSE(log.loaded());
    log.on_done({load().op, {}, StateAnswer{numbered<Digest>(9), true}});
    EXPECT_TRUE(log.loaded());
    EXPECT_FALSE(log.first_missing());
}

TEST_F(StateLogTest, AFullDiskIsNoMissingState) {
    log.begin(NodeImage{});
    EXPECT_EQ(log.on_done({load().op, Error{Errc::disk_full, "", ""}, {}}).outcome, StateLog::Outcome::refused);
    EXPECT_FALSE(log.first_missing());
}

TEST_F(StateLogTest, WhatARollbackUndidIsNotTheSnapshotThatStays) {
    image.snapshots = {{Step{1}, numbered<Digest>(8)}, {Step{3}, numbered<Digest>(9)}};
    Decision back;
    back.run = bench.context.manifest->run;
    back.step = Step{3};
    back.kind = EntryKind::rollback;
    back.rollback_to = Step{1};
    back.roots = {Digest{}};
    back.h_after = chain_next(chain.h(Step{3}), back);
    ASSERT_EQ(chain.learn({{to_bytes(back), {}}, {}}), Chain::Learned::appended);
    log.begin(image);
    log.prune(Step{4});
    for (const Prune& action : bench.take<Prune>()) EXPECT_LE(action.floor, Step{1}) << "S_1 is what S_4 is made of";
}

TEST_F(StateLogTest, OnlyWhatIsBeingDeletedIsNoLongerOffered) {
    image.snapshots = {{Step{1}, numbered<Digest>(8)}, {Step{2}, numbered<Digest>(9)}};
    log.begin(image);
    const Step oldest = log.oldest_entry();
    log.prune(Step{2});
    const Prune look = bench.take<Prune>().at(0);
    EXPECT_FALSE(look.chosen) << "first it is asked what would go";
    EXPECT_EQ(log.oldest_entry(), oldest);
    EXPECT_EQ(log.snapshots().size(), 2U);
    log.on_done({look.op, {}, PrunedAnswer{{Step{1}}, {Step{0}}}});
    EXPECT_EQ(log.oldest_entry(), Step{1});
    EXPECT_EQ(log.snapshots(), std::vector{Step{2}});
    const Prune chosen = bench.take<Prune>().at(0);
    ASSERT_TRUE(chosen.chosen);
    log.on_done({chosen.op, {}, PrunedAnswer{{}, {Step{0}}}});
    EXPECT_EQ(log.snapshots().size(), 2U) << "the disk kept it";
    EXPECT_EQ(log.oldest_entry(), Step{1});
}

}  // namespace
}  // namespace skerry::node
