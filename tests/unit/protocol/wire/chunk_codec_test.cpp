#include "protocol/wire/chunk_codec.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "protocol/wire/limits.hpp"

namespace skerry {
namespace {

ChunkHeader header(CodecId codec, std::uint32_t elements) {
    ChunkHeader h;
    h.codec = codec;
    h.layout = 0xA1B2C3D4;
    h.fragment = 1;
    h.step = Step{11};
    h.stage = 2;
    h.piece = PieceIndex{3};
    h.first_element = 12288;
    h.elements = elements;
    h.exponent = codec == CodecId::f32 ? 0 : -20;
    return h;
}

Bytes zero_chunk(const ChunkHeader& h) {
    auto bytes = to_bytes(h);
    Bytes chunk(bytes.begin(), bytes.end());
    chunk.resize(chunk_bytes(h.codec, h.elements));
    return chunk;
}

TEST(Chunk, SizesFollowFromCodecAndElements) {
    EXPECT_EQ(chunk_bytes(CodecId::a8, 1U << 20), 1'056'832U);
    EXPECT_EQ(chunk_bytes(CodecId::a8, 1), 64U + 2 + 1);
    EXPECT_EQ(chunk_bytes(CodecId::a8, 257), 64U + 4 + 257);
    EXPECT_EQ(chunk_bytes(CodecId::f32, 1U << 20), kMaxChunkBytes);
}

TEST(Chunk, HeaderRoundTrips) {
    for (CodecId codec : {CodecId::f32, CodecId::a8}) {
        for (std::uint32_t n : {1U, 255U, 256U, 257U, 4096U}) {
            auto h = header(codec, n);
            auto chunk = zero_chunk(h);
            auto view = parse_chunk(chunk, h);
            ASSERT_TRUE(view) << view.error().detail;
            EXPECT_EQ(view->header, h);
            EXPECT_EQ(view->scales.size(), scales_bytes(codec, n));
            EXPECT_EQ(view->payload.size(), payload_bytes(codec, n));
            EXPECT_TRUE(check_finite(*view));
        }
    }
}

TEST(Chunk, EveryOtherSizeIsRefused) {
    auto h = header(CodecId::a8, 300);
    auto chunk = zero_chunk(h);
    for (std::size_t n = 0; n < chunk.size(); ++n) EXPECT_FALSE(parse_chunk(ByteSpan(chunk).first(n)));
    chunk.push_back(0);
    EXPECT_EQ(parse_chunk(chunk).error().code, Errc::bad_shape);
}

TEST(Chunk, EveryHeaderBitCounts) {
    auto h = header(CodecId::a8, 300);
    auto chunk = zero_chunk(h);
    for (std::size_t bit = 0; bit < 8 * 60; ++bit) {  // the last four bytes are the exponent
        Bytes changed = chunk;
        changed[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        EXPECT_FALSE(parse_chunk(changed, h)) << bit;
    }
}

TEST(Chunk, AnotherChunkThanAskedForIsStale) {
    auto h = header(CodecId::a8, 300);
    auto chunk = zero_chunk(h);
    h.step = Step{12};
    EXPECT_EQ(parse_chunk(chunk, h).error().code, Errc::stale);
}

TEST(Chunk, ExponentHasARange) {
    auto chunk = zero_chunk(header(CodecId::a8, 300));
    chunk[61] = 1;
    EXPECT_EQ(parse_chunk(chunk).error().code, Errc::malformed);
    auto plain = zero_chunk(header(CodecId::f32, 300));
    plain[60] = 127;
    EXPECT_EQ(parse_chunk(plain).error().code, Errc::malformed);
}

void put_f32(Bytes& chunk, std::size_t at, float value) { std::memcpy(chunk.data() + at, &value, 4); }

TEST(Chunk, NanAndInfAreFoundAnywhere) {
    for (float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::quiet_NaN()}) {
        for (std::size_t i : {0U, 150U, 299U}) {
            auto chunk = zero_chunk(header(CodecId::f32, 300));
            put_f32(chunk, kChunkHeaderBytes + 4 * i, bad);
            EXPECT_EQ(check_finite(*parse_chunk(chunk)).error().code, Errc::not_finite);
        }
    }
}

TEST(Chunk, ReservedByteAndBadScalesAreFound) {
    auto chunk = zero_chunk(header(CodecId::a8, 300));
    chunk.back() = 0x80;
    EXPECT_EQ(check_finite(*parse_chunk(chunk)).error().code, Errc::not_finite);
    for (unsigned bits : {0x7C00U, 0x7E00U, 0xFC00U, 0x8000U, 0xBC00U}) {
        auto scale = static_cast<std::uint16_t>(bits);
        auto other = zero_chunk(header(CodecId::a8, 300));
        std::memcpy(other.data() + kChunkHeaderBytes + 2, &scale, 2);
        EXPECT_EQ(check_finite(*parse_chunk(other)).error().code, Errc::not_finite) << scale;
    }
}

}  // namespace
}  // namespace skerry
