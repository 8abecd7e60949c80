#include "node/log/retention.hpp"

#include <gtest/gtest.h>

namespace skerry::node {
namespace {

/// Snapshots at 10, 20, 30 of 100 bytes, entries 0 .. 34 of 10 bytes, 5 bytes of other things: 655.
RetentionInput sample(std::uint64_t quota, std::uint64_t floor) {
    RetentionInput input;
    for (std::uint64_t k : {10U, 20U, 30U}) input.snapshots.push_back({Step{k}, 100});
    for (std::uint64_t k = 0; k < 35; ++k) input.entries.push_back({Step{k}, 10});
    input.other_bytes = 5;
    input.quota_bytes = quota;
    input.floor = Step{floor};
    return input;
}

TEST(Retention, WithoutQuotaOrBelowItNothingGoes) {
    for (std::uint64_t quota : {0U, 655U}) {
        auto choice = choose_retention(sample(quota, 30));
        EXPECT_TRUE(choice.drop_entries.empty() && choice.drop_snapshots.empty());
        EXPECT_EQ(choice.bytes_after, 655U);
        EXPECT_FALSE(choice.over_quota);
    }
}

TEST(Retention, OldestGoesFirstAndOnlyAsMuchAsNeeded) {
    auto choice = choose_retention(sample(620, 30));
    EXPECT_EQ(choice.drop_entries, (std::vector<Step>{Step{0}, Step{1}, Step{2}, Step{3}}));
    EXPECT_TRUE(choice.drop_snapshots.empty());
    EXPECT_EQ(choice.bytes_after, 615U);
}

TEST(Retention, TheFloorsSnapshotAndAllEntriesAfterItStay) {
    auto choice = choose_retention(sample(1, 25));  // base is 20
    EXPECT_EQ(choice.drop_snapshots, std::vector<Step>{Step{10}});
    ASSERT_EQ(choice.drop_entries.size(), 20U);
    EXPECT_EQ(choice.drop_entries.back(), Step{19});
    EXPECT_TRUE(choice.over_quota);
}

TEST(Retention, BetweenTheFloorsAndTheNewestSnapshotOnesMayGo) {
    auto choice = choose_retention(sample(1, 10));
    EXPECT_EQ(choice.drop_snapshots, std::vector<Step>{Step{20}});
    EXPECT_EQ(choice.drop_entries.size(), 10U);
}

TEST(Retention, TheSeedIsASnapshotOfTheFirstStep) {
    auto input = sample(1, 5);  // base is S_0: every entry is needed
    EXPECT_TRUE(choose_retention(input).drop_entries.empty());
    input.first_is_free = false;  // nothing at or below the floor: hands off
    auto choice = choose_retention(input);
    EXPECT_TRUE(choice.drop_entries.empty() && choice.drop_snapshots.empty());
}

TEST(Retention, APinKeepsWhatAJoiningNodeFetches) {
    auto input = sample(1, 30);
    input.pins = {Step{20}};
    auto choice = choose_retention(input);
    EXPECT_EQ(choice.drop_snapshots, std::vector<Step>{Step{10}});
    ASSERT_FALSE(choice.drop_entries.empty());
    EXPECT_EQ(choice.drop_entries.back(), Step{19});
}

}  // namespace
}  // namespace skerry::node
