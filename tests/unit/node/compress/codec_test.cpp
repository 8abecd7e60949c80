#include "node/compress/codec.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "node/compress/half.hpp"
#include "node/compress/kernels.hpp"
#include "tests/support/synthetic.hpp"

namespace skerry::node {
namespace {

const Codec& a8() { return **find_codec(CodecId::a8); }
const Codec& f32() { return **find_codec(CodecId::f32); }

ChunkHeader place_of(const Codec& codec, std::size_t n) {
    return {.codec = codec.id(),
            .step = Step{5},
            .piece = PieceIndex{1},
            .elements = static_cast<std::uint32_t>(n)};
}

Bytes encoded(const Codec& codec, std::span<const float> x) {
    Bytes chunk(chunk_bytes(codec.id(), static_cast<std::uint32_t>(x.size())));
    auto done = codec.encode(place_of(codec, x.size()), x, chunk);
    EXPECT_TRUE(done);
    return chunk;
}

std::vector<float> decoded(const Codec& codec, const Bytes& chunk, std::size_t n) {
    std::vector<float> x(n);
    codec.decode(chunk, x);
    return x;
}

double relative_error(std::span<const float> x, std::span<const float> y) {
    double error = 0;
    double energy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        error += std::pow(double{x[i]} - double{y[i]}, 2);
        energy += std::pow(double{x[i]}, 2);
    }
    return error / energy;
}

TEST(Codec, AFullPieceOfA8Has8063BitsPerParameter) {
    EXPECT_EQ(chunk_bytes(CodecId::a8, 1U << 20), 1056832U);
}

TEST(Codec, A8ErrorOnGaussianIsThatOfTheTable) {  // algorithms.md 8.1: 4.9e-5, within 2 %
    std::mt19937_64 random(1);
    std::normal_distribution<double> normal;
    for (double sigma : {1.0, 1e-7}) {  // the updates of a fine-tuning run keep their bits
        std::vector<float> x(1U << 20);
        for (float& v : x) v = static_cast<float>(sigma * normal(random));
        EXPECT_NEAR(relative_error(x, decoded(a8(), encoded(a8(), x), x.size())), 4.9e-5,
                    0.02 * 4.9e-5);
    }
}

TEST(Codec, A8ErrorOnLaplaceAndMixedScalesIsThatOfTheTable) {
    std::mt19937_64 random(2);
    std::exponential_distribution<double> exponential;
    std::normal_distribution<double> normal;
    std::vector<float> laplace(1U << 20);
    for (float& v : laplace)
        v = static_cast<float>(exponential(random) * (random() % 2 == 0 ? 1.0 : -1.0));
    EXPECT_NEAR(relative_error(laplace, decoded(a8(), encoded(a8(), laplace), laplace.size())),
                1.0e-4, 0.05e-4);

    std::vector<float> mixed(1U << 20);
    double scale = 1;
    for (std::size_t i = 0; i < mixed.size(); ++i) {
        if (i % 1024 == 0) scale = std::exp(0.7 * normal(random));
        mixed[i] = static_cast<float>(scale * normal(random));
    }
    EXPECT_NEAR(relative_error(mixed, decoded(a8(), encoded(a8(), mixed), mixed.size())), 4.9e-5,
                0.02 * 4.9e-5);
}

TEST(Codec, A8ErrorOfAValueIsAtMostHalfItsBlocksScale) {
    auto x = test::synthetic(3, 10000, -5, true);
    Bytes chunk = encoded(a8(), x);
    auto view = parse_chunk(chunk);
    auto y = decoded(a8(), chunk, x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
        std::uint16_t stored;
        std::memcpy(&stored, view->scales.data() + 2 * (i / 256), 2);
        float scale = std::ldexp(from_half(stored), view->header.exponent);
        ASSERT_LE(std::abs(x[i] - y[i]), scale * 0.5001F) << i;
    }
}

TEST(Codec, A8EncodesWhatItDecodedToTheSameBytes) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        auto x = test::synthetic(seed, 4096 + seed, static_cast<int>(seed) - 30);
        Bytes once = encoded(a8(), x);
        EXPECT_EQ(encoded(a8(), decoded(a8(), once, x.size())), once);
    }
}

TEST(Codec, TheLargestStoredScaleLiesInItsBinade) {
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
        std::vector<float> x{
            std::bit_cast<float>(static_cast<std::uint32_t>(0x20000000U + seed * 0x4321FU))};
        Bytes chunk = encoded(a8(), x);
        auto view = parse_chunk(chunk);
        std::uint16_t stored;
        std::memcpy(&stored, view->scales.data(), 2);
        ASSERT_GE(from_half(stored), 0x1p14F) << seed;
        ASSERT_LT(from_half(stored), 0x1p15F) << seed;
        ASSERT_EQ(view->payload[0], 127) << seed;
    }
}

TEST(Codec, HalvesRoundUpAndComeBack) {
    for (std::uint32_t bits = 1; bits < 0x7C00; ++bits) {
        auto half = static_cast<std::uint16_t>(bits);
        float value = from_half(half);
        ASSERT_EQ(to_half_up(value), half);
        ASSERT_EQ(to_half_up(std::nextafter(value, 0.0F)), half);
        if (bits < 0x7BFF) {
            ASSERT_EQ(to_half_up(std::nextafter(value, 1e9F)), half + 1);
        }
    }
}

TEST(Codec, NothingNotFiniteIsEncodedWhereverItStands) {
    for (const Codec* codec : {&a8(), &f32()}) {
        for (float bad :
             {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
              std::numeric_limits<float>::quiet_NaN(), kMagnitudeLimit}) {
            for (std::size_t i : {0U, 255U, 256U, 700U}) {
                auto x = test::synthetic(1, 701);
                x[i] = bad;
                Bytes chunk(chunk_bytes(codec->id(), 701));
                EXPECT_EQ(codec->encode(place_of(*codec, 701), x, chunk).error().code,
                          Errc::not_finite);
            }
        }
    }
}

TEST(Codec, LargestMagnitudeIsEncodedAndValid) {
    std::vector<float> x(300, std::nextafter(kMagnitudeLimit, 0.0F));
    for (const Codec* codec : {&a8(), &f32()}) {
        Bytes chunk = encoded(*codec, x);
        EXPECT_TRUE(codec->validate(place_of(*codec, 300), chunk));
    }
}

TEST(Codec, AChunkOfAnotherPlaceOrSizeIsRefused) {
    auto x = test::synthetic(1, 1000);
    Bytes chunk = encoded(a8(), x);
    ChunkHeader place = place_of(a8(), 1000);
    EXPECT_TRUE(a8().validate(place, chunk));
    EXPECT_FALSE(f32().validate(place, chunk));
    place.step = Step{6};
    EXPECT_EQ(a8().validate(place, chunk).error().code, Errc::stale);
    chunk.pop_back();
    EXPECT_FALSE(a8().validate(place_of(a8(), 1000), chunk));
}

TEST(Codec, AReservedValueOrABadScaleIsRefused) {
    auto x = test::synthetic(1, 1000);
    Bytes chunk = encoded(a8(), x);
    Bytes reserved = chunk;
    reserved.back() = 0x80;
    EXPECT_EQ(a8().validate(place_of(a8(), 1000), reserved).error().code, Errc::not_finite);
    Bytes infinite = chunk;
    infinite[64] = 0;
    infinite[65] = 0x7C;
    EXPECT_EQ(a8().validate(place_of(a8(), 1000), infinite).error().code, Errc::not_finite);
}

TEST(Codec, AccumulateIsDecodeThenMultiplyThenAdd) {
    auto x = test::synthetic(9, 3000, -4, true);
    for (const Codec* codec : {&a8(), &f32()}) {
        Bytes chunk = encoded(*codec, x);
        auto y = decoded(*codec, chunk, x.size());
        auto acc = test::synthetic(10, x.size());
        auto expected = acc;
        codec->accumulate(chunk, 1234567.0F, acc);
        for (std::size_t i = 0; i < x.size(); ++i) {
            volatile float product = 1234567.0F * y[i];
            ASSERT_EQ(acc[i], expected[i] + product) << i;
        }
    }
}

TEST(Codec, AllInstructionSetsGiveTheSameBits) {
    constexpr std::size_t kCount = 5003;
    const Kernels& plain = **all_kernels();
    auto x = test::synthetic(4, kCount, -10, true);
    std::vector<float> scales(kCount / kBlock + 1);
    for (std::size_t b = 0; b < scales.size(); ++b)
        scales[b] = b == 3 ? 0.0F : 0x1.234p-17F * static_cast<float>(b + 1);
    for (const Kernels* const* set = all_kernels(); *set != nullptr; ++set) {
        SCOPED_TRACE((*set)->name);
        std::vector<std::int32_t> maxima(scales.size()), maxima0(scales.size());
        plain.block_maxima(x.data(), kCount, maxima0.data());
        (*set)->block_maxima(x.data(), kCount, maxima.data());
        EXPECT_EQ(maxima, maxima0);
        std::vector<std::int8_t> q(kCount), q0(kCount);
        plain.quantise(x.data(), kCount, scales.data(), q0.data());
        (*set)->quantise(x.data(), kCount, scales.data(), q.data());
        EXPECT_EQ(q, q0);
        std::vector<float> y(kCount), y0(kCount);
        plain.dequantise(q.data(), kCount, scales.data(), y0.data());
        (*set)->dequantise(q.data(), kCount, scales.data(), y.data());
        EXPECT_EQ(y, y0);
        y = y0 = x;
        plain.accumulate_a8(q.data(), kCount, scales.data(), 0.3F, y0.data());
        (*set)->accumulate_a8(q.data(), kCount, scales.data(), 0.3F, y.data());
        EXPECT_EQ(y, y0);
        auto raw = reinterpret_cast<const std::uint8_t*>(x.data());
        plain.accumulate_f32(raw, kCount, 0.3F, y0.data());
        (*set)->accumulate_f32(raw, kCount, 0.3F, y.data());
        EXPECT_EQ(y, y0);
    }
}

}  // namespace
}  // namespace skerry::node
