// A minute of a limited upload, on a clock of the test's own.

#include "protocol/base/token_bucket.hpp"

#include <gtest/gtest.h>

namespace skerry {
namespace {

constexpr std::uint64_t kRate = 250'000;  // 2 Mbit/s

/// Bytes that leave in a minute if somebody always has a message of this size ready.
std::uint64_t minute(TokenBucket& bucket, Mono& now, std::uint64_t message) {
    const Mono end = now + std::chrono::minutes(1);
    std::uint64_t sent = 0;
    while (now < end) {
        if (bucket.ready(now)) {
            bucket.take(message, now);
            sent += message;
        } else {
            now += bucket.wait(now);
        }
    }
    return sent;
}

TEST(TokenBucket, HoldsTheRateWithinOneInTwentyOverAMinute) {
    for (std::uint64_t message : {1'000U, 65'536U, 500'000U}) {
        TokenBucket bucket;
        Mono now{Millis(123'456)};
        bucket.set_rate(kRate, now);
        EXPECT_NEAR(static_cast<double>(minute(bucket, now, message)), 60.0 * kRate, 0.05 * 60 * kRate) << message;
    }
}

TEST(TokenBucket, APauseIsNotFollowedByABurst) {
    TokenBucket bucket;
    Mono now{Millis(0)};
    bucket.set_rate(kRate, now);
    now += std::chrono::hours(24);
    EXPECT_LE(static_cast<double>(minute(bucket, now, 10'000)), 60.0 * kRate * 1.01);
}

TEST(TokenBucket, ANewRateHoldsAtOnceAndNoneIsNone) {
    TokenBucket bucket;
    Mono now{Millis(1)};
    EXPECT_TRUE(bucket.ready(now));
    bucket.take(1U << 30, now);
    EXPECT_TRUE(bucket.ready(now)) << "no limit";
    bucket.set_rate(1000, now);
    bucket.take(5000, now);
    EXPECT_EQ(bucket.wait(now), Millis(5000));
    bucket.set_rate(10'000, now);
    EXPECT_EQ(bucket.wait(now), Millis(500));
    bucket.set_rate(0, now);
    EXPECT_TRUE(bucket.ready(now));
}

}  // namespace
}  // namespace skerry
