#include <gtest/gtest.h>

#include "coordinator/server/run_host.hpp"

namespace skerry::coordinator {
namespace {

TEST(RunSettings, EveryKeyIsTakenAndKeysLeftOutHaveDefaults) {
    auto all = parse_run_settings(R"({"exchange_deadline_ms": 1, "exchange_least_ms": 2, "exchange_most_ms": 3, "collect_most_ms": 4,
        "vote_deadline_ms": 5, "silent_after_ms": 6, "away_after_ms": 7, "grace_percent": 0})");
    ASSERT_TRUE(all) << all.error().detail;
    EXPECT_EQ(all->exchange_deadline, Millis(1));
    EXPECT_EQ(all->exchange_least, Millis(2));
    EXPECT_EQ(all->exchange_most, Millis(3));
    EXPECT_EQ(all->collect_most, Millis(4));
    EXPECT_EQ(all->vote_deadline, Millis(5));
    EXPECT_EQ(all->silent_after, Millis(6));
    EXPECT_EQ(all->away_after, Millis(7));
    EXPECT_EQ(all->grace_percent, 0U);
    auto none = parse_run_settings("{}");
    ASSERT_TRUE(none);
    EXPECT_EQ(none->exchange_least, Millis(10'000));
    EXPECT_EQ(none->exchange_most, Millis(0)) << "ten times the prediction";
    EXPECT_EQ(none->grace_percent, 10U);
}

TEST(RunSettings, NonsenseIsRefused) {
    for (const char* text : {"", "[]", R"({"exchange_deadline_ms": 0})", R"({"exchange_deadline_ms": -1})", R"({"grace_percent": 101})",
                             R"({"grace_percent": "10"})", R"({"grace_percents": 10})", R"({"away_after_ms": 1e9})"})
        EXPECT_FALSE(parse_run_settings(text)) << text;
}

}  // namespace
}  // namespace skerry::coordinator
