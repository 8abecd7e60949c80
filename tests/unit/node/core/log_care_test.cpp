// What rots is found (Scrub) and fetched again (Repair) while the node lives.

#include <gtest/gtest.h>

#include "node/core/repair.hpp"
#include "node/core/scrub.hpp"
#include "protocol/rules/chain.hpp"
#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;
using testing::numbered;
using testing::peer_id;
using testing::plan_of;
using testing::root_of;

/// A node at S_4 with the entries 0 to 3, of two pieces each.
struct LogCareTest : ::testing::Test {
    Bench bench;
    Chain chain{bench.context};
    StateLog log{bench.context, chain};
    Asker asker{bench.context, bench.roster};
    Scrub scrub{bench.context, log};
    Repair repair{bench.context, chain, log, asker};

    LogCareTest() {
        bench.context.config.window_bytes = bench.context.config.window_total_bytes = 1 << 20;
        asker.set_sources([](const Want&) { return std::vector{peer_id(1), peer_id(2)}; });
        bench.context.manifest_digest = numbered<Digest>(5);
        chain.begin(bench.context.manifest_digest);
        NodeImage image;
        for (std::uint8_t k = 0; k < 4; ++k) {
            EXPECT_EQ(chain.learn({{to_bytes(testing::committed(bench.context, chain, k)), {}}, {}}), Chain::Learned::appended);
            image.entries.push_back(Step{k});
        }
        image.state = Step{4};
        log.begin(image);
        log.load();
        log.on_done({bench.take<LoadState>().at(0).op, {}, StateAnswer{numbered<Digest>(9), true}});
    }

    // ---- repair
    void pump() {
        repair.pump();
        asker.pump();
    }
    /// (object, piece) of the GETs since the last call.
    std::vector<std::pair<ObjectRef, std::uint32_t>> gets() {
        std::vector<std::pair<ObjectRef, std::uint32_t>> out;
        for (const SendPeer& send : bench.take<SendPeer>()) {
            const Get& get = std::get<Get>(send.body);
            for (PieceIndex piece : get.pieces) out.emplace_back(get.object, piece.value);
        }
        return out;
    }
    void comes(const ObjectRef& object, std::uint32_t piece, std::vector<Digest> leaves = {}) {
        DataIn data;
        data.from = peer_id(1);
        data.envelope.object = object;
        data.envelope.piece = PieceIndex{piece};
        data.chunk = ChunkHandle{1};
        asker.on_data(data);
        ChunkAnswer answer;
        answer.leaves = std::move(leaves);
        auto fetched = asker.on_done({bench.take<VerifyChunk>().at(0).op, {}, answer});
        ASSERT_TRUE(fetched);
        repair.on_fetched(*fetched);
        pump();
    }
    void comes_whole(std::uint8_t step) {
        comes({ObjectKind::block, Step{step}, plan_of(step)}, 0);
        comes({ObjectKind::block, Step{step}, root_of(step)}, 0, {numbered<Digest>(1), numbered<Digest>(2)});
        comes({ObjectKind::result, Step{step}, plan_of(step)}, 0);
        comes({ObjectKind::result, Step{step}, plan_of(step)}, 1);
    }

    // ---- scrub
    std::vector<VerifyKept> looks() {
        scrub.pump();
        return bench.take<VerifyKept>();
    }
    std::optional<Kept> found(const VerifyKept& look, Errc code) { return scrub.on_done({look.op, Error{code, "", ""}, {}}); }
};

TEST_F(LogCareTest, AnEntryBelowTheHeadIsFetchedPieceByPieceAndAppendedNotApplied) {
    log.lose({Step{1}, false});
    pump();
    EXPECT_EQ(gets().size(), 2U) << "leaf list and plan";
    comes({ObjectKind::block, Step{1}, plan_of(1)}, 0);
    EXPECT_TRUE(gets().empty());
    comes({ObjectKind::block, Step{1}, root_of(1)}, 0, {numbered<Digest>(1), numbered<Digest>(2)});
    const ObjectRef chunks{ObjectKind::result, Step{1}, plan_of(1)};
    EXPECT_EQ(gets(), (std::vector<std::pair<ObjectRef, std::uint32_t>>{{chunks, 0}}));
    comes(chunks, 0);
    EXPECT_EQ(gets(), (std::vector<std::pair<ObjectRef, std::uint32_t>>{{chunks, 1}}));
    comes(chunks, 1);
    std::vector<AppendEntry> appended;
    for (const Action& action : bench.context.out) {
        EXPECT_FALSE(std::holds_alternative<Apply>(action) || std::holds_alternative<LoadState>(action));
        if (const auto* append = std::get_if<AppendEntry>(&action)) appended.push_back(*append);
    }
    ASSERT_EQ(appended.size(), 1U);
    EXPECT_EQ(appended[0].step, Step{1});
    EXPECT_EQ(appended[0].root, root_of(1));
    EXPECT_FALSE(log.has_entry(Step{1})) << "not before it is durable";
    ASSERT_TRUE(repair.owns(appended[0].op));
    repair.on_done({appended[0].op, {}, {}});
    EXPECT_TRUE(log.has_entry(Step{1}));
    EXPECT_EQ(log.oldest_entry(), Step{0});
    EXPECT_EQ(log.applied(), Step{4});
    EXPECT_TRUE(log.loaded());
}

TEST_F(LogCareTest, WhatNobodyHasIsTriedAgainAndKeepsNoOtherBack) {
    log.lose({Step{3}, false});
    log.lose({Step{0}, false});
    pump();
    EXPECT_EQ(gets().at(0).first.step, Step{3}) << "the newest first";
    bench.pass(Millis(60'000));
    pump();
    gets();
    bench.pass(Millis(60'000));
    pump();
    EXPECT_EQ(gets().at(0).first.step, Step{0});
    comes_whole(0);
    repair.on_done({bench.take<AppendEntry>().at(0).op, {}, {}});
    EXPECT_EQ(log.missing(), 1U);
    pump();
    EXPECT_EQ(gets().at(0).first.step, Step{3});
}

TEST_F(LogCareTest, AnEntryThatTheHeadHasToPassAgainIsLeftToIt) {
    log.lose({Step{2}, false});
    pump();
    gets();
    log.unload();  // to be replayed from the seed
    pump();
    EXPECT_TRUE(bench.take<DropStaging>().empty());
    EXPECT_FALSE(asker.wants({ObjectKind::block, Step{2}, plan_of(2)}, PieceIndex{0}));
}

TEST_F(LogCareTest, ADiskThatRefusesIsAskedLater) {
    log.lose({Step{2}, false});
    pump();
    gets();
    comes_whole(2);
    repair.on_done({bench.take<AppendEntry>().at(0).op, Error{Errc::disk_full, "", ""}, {}});
    pump();
    EXPECT_TRUE(gets().empty());
    EXPECT_TRUE(log.misses(Step{2}));
    bench.pass(Millis(60'000));
    pump();
    EXPECT_FALSE(gets().empty());
}

TEST_F(LogCareTest, AllThatIsKeptIsReadOldestFirstAndAgainAfterAWhile) {
    bench.context.config.scrub_every = Millis(60'000);
    log.write_snapshot();
    log.on_done({bench.take<WriteSnapshot>().at(0).op, {}, StateAnswer{numbered<Digest>(9), true}});
    std::vector<Kept> read;
    for (int round = 0; round < 2; ++round) {
        const Mono began = bench.context.now;
        for (;;) {
            auto look = looks();
            if (look.empty()) break;
            EXPECT_TRUE(looks().empty()) << "one at a time";
            EXPECT_EQ(look[0].pieces, 2U);
            read.push_back(look[0].what);
            EXPECT_FALSE(scrub.on_done({look[0].op, {}, {}}));
            bench.context.now = std::max(bench.context.now, scrub.next_wake());
        }
        EXPECT_EQ(scrub.next_wake(), began + Millis(60'000));
        bench.context.now = scrub.next_wake();
    }
    EXPECT_EQ(scrub.rounds(), 2U);
    const std::vector<Kept> once{{Step{0}, false}, {Step{1}, false}, {Step{2}, false}, {Step{3}, false}, {Step{4}, true}};
    std::vector<Kept> twice = once;
    twice.insert(twice.end(), once.begin(), once.end());
    EXPECT_EQ(read, twice);
}

TEST_F(LogCareTest, ItReadsNoFasterThanItMay) {
    bench.context.config.scrub_bytes_per_s = 1000;
    const auto look = looks();
    ASSERT_EQ(look.size(), 1U);
    scrub.on_done({look[0].op, {}, {}});
    EXPECT_TRUE(looks().empty());
    EXPECT_GE(scrub.next_wake(), bench.context.now + Millis(scrub.read_bytes() - 1));
    bench.context.now = scrub.next_wake();
    EXPECT_EQ(looks().size(), 1U);
}

TEST_F(LogCareTest, WhatIsDamagedOrGoneIsSaidWhatTheDiskRefusesIsNot) {
    EXPECT_EQ(found(looks().at(0), Errc::digest_mismatch), (Kept{Step{0}, false}));
    bench.pass(Millis(1000));
    EXPECT_EQ(found(looks().at(0), Errc::not_found), (Kept{Step{1}, false}));
    bench.pass(Millis(1000));
    EXPECT_EQ(found(looks().at(0), Errc::io_error), std::nullopt);
    bench.pass(Millis(1000));
    EXPECT_EQ(looks().at(0).what, (Kept{Step{3}, false}));
}

}  // namespace
}  // namespace skerry::node
