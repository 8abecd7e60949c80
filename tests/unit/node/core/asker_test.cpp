#include "node/core/asker.hpp"

#include <gtest/gtest.h>

#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;
using testing::numbered;
using testing::peer_id;

struct AskerTest : ::testing::Test {
    Bench bench;
    Asker asker{bench.context, bench.roster};
    std::vector<NodeId> sources{peer_id(1), peer_id(2)};
    ObjectRef object{ObjectKind::result, Step{3}, numbered<Digest>(7)};

    AskerTest() {
        asker.set_sources([this](const Want&) { return sources; });
    }
    void want(std::uint32_t piece, std::uint32_t bytes = 60, NodeId maker = peer_id(1)) {
        Want w;
        w.object = object;
        w.piece = w.place = PieceIndex{piece};
        w.purpose = ChunkPurpose::result;
        w.maker = maker;
        w.bytes = bytes;
        asker.want(std::move(w));
    }
    /// (giver, piece) of the GETs since the last call.
    std::vector<std::pair<NodeId, std::uint32_t>> gets() {
        std::vector<std::pair<NodeId, std::uint32_t>> out;
        for (const SendPeer& send : bench.take<SendPeer>())
            for (PieceIndex piece : std::get<Get>(send.body).pieces) out.emplace_back(send.to, piece.value);
        return out;
    }
    OpId receive(const NodeId& from, std::uint32_t piece) {
        DataIn data;
        data.from = from;
        data.envelope.object = object;
        data.envelope.piece = PieceIndex{piece};
        data.chunk = ChunkHandle{1};
        asker.on_data(data);
        for (const Action& action : bench.context.out)
            if (const auto* check = std::get_if<VerifyChunk>(&action)) return check->op;
        return {};
    }
};

using Asked = std::vector<std::pair<NodeId, std::uint32_t>>;

TEST_F(AskerTest, TheWindowBoundsWhatIsUnderWay) {
    want(0);
    want(1);
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 0}}));
    const OpId op = receive(peer_id(1), 0);
    asker.on_done({op, {}, ChunkAnswer{}});
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 1}}));
    EXPECT_FALSE(asker.wants(object, PieceIndex{0}));
}

TEST_F(AskerTest, WhatWasNotAskedForIsDropped) {
    want(0);
    asker.pump();
    bench.take<SendPeer>();
    EXPECT_EQ(receive(peer_id(2), 0), OpId{});
    EXPECT_EQ(receive(peer_id(1), 5), OpId{});
    EXPECT_EQ(bench.take<DropChunk>().size(), 2U);
}

TEST_F(AskerTest, AResultThatIsLaterIsNotAskedForTwice) {
    // Its owner sends it once it is made. Peer 2 has it already, so the owner has it, too, and it is under way.
    want(0);
    asker.pump();
    gets();
    asker.on_later(peer_id(1), {object, {PieceIndex{0}}});
    for (int second = 0; second < 30; ++second) {
        bench.pass(Millis(1000));
        asker.on_progress(peer_id(1));
        asker.pump();
        EXPECT_TRUE(gets().empty()) << second;
    }
    EXPECT_NE(receive(peer_id(1), 0), OpId{});
}

TEST_F(AskerTest, AResultThatStaysLaterInSilenceIsAskedForAgain) {
    sources = {peer_id(1)};
    want(0);
    asker.pump();
    gets();
    asker.on_later(peer_id(1), {object, {PieceIndex{0}}});
    bench.pass(Millis(2400));
    asker.pump();
    EXPECT_TRUE(gets().empty());
    bench.pass(Millis(200));
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 0}}));
    EXPECT_TRUE(asker.stalled_edges().empty()) << "LATER is no stall";
}

TEST_F(AskerTest, AnOwnerThatIsSilentWhileAnotherHasItsResultStalls) {
    want(0);
    asker.pump();
    gets();
    asker.on_later(peer_id(1), {object, {PieceIndex{0}}});
    bench.pass(Millis(2600));
    asker.pump();
    EXPECT_TRUE(gets().empty()) << "from now on it is no longer LATER";
    bench.pass(Millis(2600));
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(2), 0}}));
    ASSERT_EQ(asker.stalled_edges().size(), 1U);
}

TEST_F(AskerTest, WhileOneKindComesTheOthersDoNotStall) {
    want(0);
    Want other;
    other.object = {ObjectKind::contribution, Step{3}, numbered<Digest>(9)};
    other.piece = other.place = PieceIndex{0};
    other.maker = peer_id(1);
    other.bytes = 60;
    asker.want(other);
    asker.pump();
    EXPECT_EQ(gets().size(), 2U);
    bench.pass(Millis(2000));
    DataIn data;
    data.from = peer_id(1);
    data.envelope.object = other.object;
    data.chunk = ChunkHandle{1};
    asker.on_data(data);
    bench.pass(Millis(2000));
    asker.pump();
    EXPECT_TRUE(gets().empty()) << "the giver sends one after the other";
    bench.pass(Millis(600));
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(2), 0}}));
}

TEST_F(AskerTest, AResultOfADecidedStepIsAnybodysToGive) {
    want(0);
    want(0, 60, {});
    asker.pump();
    gets();
    asker.on_later(peer_id(1), {object, {PieceIndex{0}}});
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(2), 0}}));
}

TEST_F(AskerTest, WhatIsLongDecidedIsAskedElsewhereAtOnceWhenAGiverIsBehindToo) {
    want(0, 60, NodeId{});
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 0}}));
    asker.on_later(peer_id(1), {object, {PieceIndex{0}}});
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(2), 0}}));
    EXPECT_TRUE(asker.stalled_edges().empty());
    asker.on_later(peer_id(2), {object, {PieceIndex{0}}});
    asker.pump();
    EXPECT_TRUE(gets().empty());
    EXPECT_LE(asker.next_wake(), bench.context.now + bench.context.config.later_again);
    bench.pass(bench.context.config.later_again);
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 0}}));
}

TEST_F(AskerTest, AStalledEdgeIsReportedAndAnotherSourceAsked) {
    want(0);
    asker.pump();
    gets();
    bench.pass(Millis(2600));
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(2), 0}}));
    const auto stalled = asker.stalled_edges();
    ASSERT_EQ(stalled.size(), 1U);
    EXPECT_EQ(stalled[0].from, peer_id(1));
}

TEST_F(AskerTest, ABadChunkIsAskedForElsewhere) {
    want(0);
    asker.pump();
    gets();
    const OpId op = receive(peer_id(1), 0);
    ChunkAnswer bad;
    bad.verdict = ChunkVerdict::bad_proof;
    asker.on_done({op, {}, bad});
    bench.context.out.clear();
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(2), 0}}));
}

TEST_F(AskerTest, AReconnectedPeerIsAskedAgain) {
    want(0);
    asker.pump();
    gets();
    asker.on_peer_down(peer_id(1));
    asker.on_peer_up(peer_id(1));
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 0}}));
}

TEST_F(AskerTest, TheOwnersLimitHoldsUpTheNextQuestionNotTheOneAsked) {
    asker.limit({100, false});
    want(0);
    want(1);
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 0}}));
    asker.on_done({receive(peer_id(1), 0), {}, ChunkAnswer{}});
    asker.pump();
    EXPECT_EQ(gets(), Asked{}) << "60 bytes at 100 a second";
    const Mono again = asker.next_wake();
    EXPECT_GT(again, bench.context.now + Millis(400));
    EXPECT_LE(again, bench.context.now + Millis(600));
    bench.context.now = again;
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 1}}));
}

TEST_F(AskerTest, OtherDownloadsCountAndAClosedLimitAsksNothing) {
    asker.limit({100, false});
    asker.charge(100'000);
    want(0);
    asker.pump();
    EXPECT_EQ(gets(), Asked{});
    asker.limit({0, true});
    bench.context.now += std::chrono::hours(1);
    asker.pump();
    EXPECT_EQ(gets(), Asked{});
    EXPECT_EQ(asker.next_wake(), Mono::max());
    asker.limit({0, false});
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(1), 0}}));
}

}  // namespace
}  // namespace skerry::node
