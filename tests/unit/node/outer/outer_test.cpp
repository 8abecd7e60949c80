#include "node/outer/outer_optimizer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>

#include "node/outer/mean.hpp"
#include "protocol/identity/hash.hpp"
#include "tests/support/synthetic.hpp"

namespace skerry::node {
namespace {

std::string sha(std::span<const float> x) {
    return sha256({reinterpret_cast<const std::uint8_t*>(x.data()), x.size_bytes()}).hex();
}

// tests/golden/outer.txt comes from tests/oracle/outer_reference.py (numpy), which also compares
// itself with torch::optim::SGD.
TEST(Outer, StatesAreThoseOfTheReference) {
    std::ifstream file(SKERRY_GOLDEN "/outer.txt");
    std::size_t cases = 0;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with('#')) continue;
        std::istringstream in(line);
        std::size_t n = 0, participants = 0;
        OuterHyper hyper;
        std::string theta_sha, m_sha;
        in >> n >> participants >> hyper.eta >> hyper.mu >> theta_sha >> m_sha;
        auto theta = test::synthetic(1, n);
        std::vector<float> m(n, 0.0F);
        for (std::size_t k = 0; k < 4; ++k) {
            MeanBuilder mean(n);
            for (std::size_t i = 0; i < participants; ++i)
                mean.add(test::synthetic(1000 * (k + 1) + i, n, -6), 1 + 9973 * i * i + k);
            apply_outer_step(theta, m, mean.finish(), hyper);
        }
        EXPECT_EQ(sha(theta), theta_sha) << line;
        EXPECT_EQ(sha(m), m_sha) << line;
        ++cases;
    }
    EXPECT_EQ(cases, 4U);
}

TEST(Outer, WindowsGiveTheBitsOfTheWhole) {
    constexpr std::size_t kCount = 10007;
    auto theta = test::synthetic(1, kCount);
    auto m = test::synthetic(2, kCount);
    auto mean = test::synthetic(3, kCount);
    auto theta_w = theta;
    auto m_w = m;
    apply_outer_step(theta, m, mean, OuterHyper{});
    for (std::size_t first = 0; first < kCount;) {
        std::size_t count = std::min<std::size_t>(1 + first % 613, kCount - first);
        apply_outer_step(std::span(theta_w).subspan(first, count),
                         std::span(m_w).subspan(first, count),
                         std::span(mean).subspan(first, count), OuterHyper{});
        first += count;
    }
    EXPECT_EQ(theta, theta_w);
    EXPECT_EQ(m, m_w);
}

TEST(Mean, OfEncodedChunksIsThatOfTheirDecodedValues) {
    const Codec& codec = **find_codec(CodecId::a8);
    constexpr std::uint32_t kCount = 3001;
    ChunkHeader place;
    place.elements = kCount;
    MeanBuilder encoded(kCount), plain(kCount);
    for (std::uint64_t i = 0; i < 4; ++i) {
        auto x = test::synthetic(i, kCount, -7, true);
        Bytes chunk(chunk_bytes(CodecId::a8, kCount));
        ASSERT_TRUE(codec.encode(place, x, chunk));
        std::vector<float> y(kCount);
        codec.decode(chunk, y);
        encoded.add(codec, chunk, 100 + i);
        plain.add(y, 100 + i);
    }
    EXPECT_EQ(sha(encoded.finish()), sha(plain.finish()));
}

TEST(Mean, OfOneParticipantWithPowerOfTwoWeightIsItsValues) {
    auto x = test::synthetic(5, 500);
    MeanBuilder mean(500);
    mean.add(x, 4096);
    EXPECT_EQ(sha(mean.finish()), sha(x));
}

TEST(Delta, IsThetaMinusLocalWithItsNorm) {
    std::vector<float> theta{1, 2, 3}, local{0, 4, 3}, delta(3);
    auto squares = compute_delta(theta, local, delta);
    ASSERT_TRUE(squares);
    EXPECT_EQ(*squares, 5.0);
    EXPECT_EQ(delta, (std::vector<float>{1, -2, 0}));
}

TEST(Delta, NothingNotFinitePasses) {
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30F}) {
        for (std::size_t i : {0U, 13U, 99U}) {
            std::vector<float> theta(100, 1.0F), local(100, 1.0F), delta(100);
            local[i] = bad;
            EXPECT_EQ(compute_delta(theta, local, delta).error().code, Errc::not_finite);
        }
    }
}

}  // namespace
}  // namespace skerry::node
