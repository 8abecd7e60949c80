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
    void want(std::uint32_t piece, std::uint32_t bytes = 60) {
        Want w;
        w.object = object;
        w.piece = w.place = PieceIndex{piece};
        w.purpose = ChunkPurpose::result;
        w.maker = peer_id(1);
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

TEST_F(AskerTest, LaterIsNoStallAndEverySourceGetsItsTurn) {
    want(0);
    asker.pump();
    gets();
    asker.on_later(peer_id(1), {object, {PieceIndex{0}}});
    bench.pass(Millis(1900));
    asker.pump();
    EXPECT_TRUE(gets().empty());
    bench.pass(Millis(200));
    asker.pump();
    EXPECT_EQ(gets(), (Asked{{peer_id(2), 0}}));
    EXPECT_TRUE(asker.stalled_edges().empty());
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

}  // namespace
}  // namespace skerry::node
