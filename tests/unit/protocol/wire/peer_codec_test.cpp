#include "protocol/wire/peer_codec.hpp"

#include <gtest/gtest.h>

#include "protocol/wire/limits.hpp"
#include "tests/support/samples.hpp"

namespace skerry {
namespace {

using namespace skerry::test;

TEST(PeerCodec, EveryMessageRoundTrips) {
    for (const auto& [name, message] : sample_peer_messages()) {
        auto envelope = to_envelope(message);
        ASSERT_TRUE(envelope) << name;
        auto back = parse_envelope(*envelope);
        ASSERT_TRUE(back) << name << ": " << back.error().detail;
        EXPECT_EQ(*back, message) << name;
    }
}

TEST(PeerCodec, TruncatedEnvelopesNeverCrash) {
    for (const auto& [name, message] : sample_peer_messages()) {
        auto envelope = *to_envelope(message);
        for (std::size_t n = 0; n < envelope.size(); ++n) (void)parse_envelope(ByteSpan(envelope).first(n));
    }
}

Result<PeerMessage> through(const PeerBody& body) { return parse_envelope(*to_envelope({RunId{}, body})); }

TEST(PeerCodec, AFullListOfPiecesFits) {
    Get get;
    for (std::uint32_t p = 0; p < kMaxPiecesPerEnvelope; ++p) get.pieces.push_back(PieceIndex{kMaxPieces - 1 - p});
    EXPECT_TRUE(through(get));
    get.pieces.push_back(PieceIndex{0});
    EXPECT_EQ(through(get).error().code, Errc::too_large);
}

TEST(PeerCodec, PiecesAndSizesHaveLimits) {
    EXPECT_FALSE(through(Get{{}, {}}));
    EXPECT_FALSE(through(Get{{}, {PieceIndex{kMaxPieces}}}));
    Data data{{}, PieceIndex{0}, {}, {}, {}, 1};
    EXPECT_TRUE(through(data));
    data.bytes = 0;
    EXPECT_FALSE(through(data));
    data.bytes = kMaxBlockBytes + 1;
    EXPECT_FALSE(through(data));
    data.bytes = 1;
    data.proof.resize(kMaxProof + 1, counting<Digest>(1));
    EXPECT_EQ(through(data).error().code, Errc::too_large);
}

TEST(PeerCodec, TheLargestBitmapFits) {
    Have have{{}, std::vector<std::uint8_t>(kMaxPieces / 8, 0xFF)};
    EXPECT_TRUE(through(have));
    EXPECT_TRUE(has_piece(have, PieceIndex{kMaxPieces - 1}));
    EXPECT_FALSE(has_piece(have, PieceIndex{kMaxPieces}));
    EXPECT_FALSE(has_piece(Have{{}, {0b101}}, PieceIndex{1}));
}

TEST(PeerCodec, ChunksAreCutIntoFullFramesAndARest) {
    Bytes chunk(2 * kMaxDataFrame + 5);
    auto frames = to_data_frames(chunk);
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[0].size(), kMaxDataFrame);
    EXPECT_EQ(frames[2].size(), 5U);
    EXPECT_EQ(data_frame_count(chunk.size()), 3U);
    EXPECT_EQ(data_frame_count(kMaxDataFrame), 1U);
}

}  // namespace
}  // namespace skerry
