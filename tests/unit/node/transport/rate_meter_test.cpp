#include "node/transport/rate_meter.hpp"

#include <gtest/gtest.h>

namespace skerry::node {
namespace {

constexpr std::uint64_t kMega = 1'000'000;

TEST(RateMeter, CountsTheTimeInWhichSomethingWasUnderWay) {
    RateMeter meter;
    meter.add({{5, 0, 0, 0}});
    meter.add({{5, kMega, 250'000, 0}});  // 1 MB in a quarter of this second
    EXPECT_DOUBLE_EQ(meter.rates().up_bytes_per_s, 4e6);
    for (int i = 0; i < 10; ++i) meter.add({{5, kMega, 250'000, 0}});
    EXPECT_DOUBLE_EQ(meter.rates().up_bytes_per_s, 4e6) << "pauses say nothing about the link";
}

TEST(RateMeter, ConnectionsShareTheLink) {
    RateMeter meter;
    meter.add({{5, kMega, 500'000, 0}, {6, kMega, 400'000, 0}});
    EXPECT_DOUBLE_EQ(meter.rates().up_bytes_per_s, 2e6 / 0.5);
}

TEST(RateMeter, ASmallSampleIsNoMeasurement) {
    RateMeter meter;
    meter.add({{5, 1000, 100, 1000}});
    EXPECT_EQ(meter.rates().up_bytes_per_s, 0);
    EXPECT_EQ(meter.rates().down_bytes_per_s, 0);
}

TEST(RateMeter, DownloadIsTheBusiestSecond) {
    RateMeter meter;
    meter.add({{5, 0, 0, 3 * kMega}});
    meter.add({{5, 0, 0, 4 * kMega}});
    EXPECT_NEAR(meter.rates().down_bytes_per_s, 3e6, 1e4);
}

TEST(RateMeter, AnotherConnectionOfTheSameDescriptorStartsFromZero) {
    RateMeter meter;
    meter.add({{5, 9 * kMega, kMega, 0}});
    meter.add({{5, kMega, 1'000'000, 0}});
    EXPECT_GT(meter.rates().up_bytes_per_s, 0);
    EXPECT_LT(meter.rates().up_bytes_per_s, 9e6 + 1);
}

}  // namespace
}  // namespace skerry::node
