#include "node/cli/run_plan.hpp"

#include <gtest/gtest.h>

#include <map>

#include "node/model_folder/tensor_table.hpp"
#include "node/trainer/train_config.hpp"
#include "protocol/rules/piece_grid.hpp"

namespace skerry::node {
namespace {

Manifest manifest_of(std::uint64_t tokens) {
    Manifest m;
    ModelConfig model;
    TrainConfig train;
    train.seq = 32;
    train.total_tokens = 1'000'000;
    m.model_json = to_json(model);
    m.train_json = to_json(train);
    m.elements = make_tensor_table(model).elements;
    m.piece_elements = piece_elements_for(m.elements);
    m.sequences = 1000;
    m.sequence_tokens = 32;
    m.batch_sequences = 2;
    m.local_steps = 4;
    m.round_ms = 60'000;
    m.target_tokens = tokens;
    m.snapshot_every = 50;
    m.disk_quota_bytes = kGiB;
    return m;
}

RunPlan plan_of(const Manifest& m, const std::vector<Means>& nodes) { return make_plan(m, DataManifest{}, nodes, Millis(30'000)); }

TEST(RunPlan, WhatOneSendsAnotherReceives) {
    const Manifest m = manifest_of(1000);
    for (std::size_t nodes : {2U, 3U, 5U, 16U}) {
        const StepBytes bytes = step_bytes(m, nodes);
        std::uint64_t down = 0;
        for (std::uint64_t one : bytes.down) down += one;
        EXPECT_NEAR(static_cast<double>(down) / static_cast<double>(bytes.all), 1, 0.005) << nodes;
        const auto bound = static_cast<double>(2 * (nodes - 1) * bytes.encoded);
        EXPECT_GT(static_cast<double>(bytes.all), bound);
        EXPECT_LT(static_cast<double>(bytes.all), 1.07 * bound) << "envelopes are a few percent of chunks of 4096 elements";
    }
    EXPECT_EQ(step_bytes(m, 1).all, 0U) << "one node alone exchanges nothing";
}

TEST(RunPlan, StepsFollowFromTheTarget) {
    const std::uint64_t step = 3 * 4 * 2 * 32;
    const std::vector<Means> nodes(3);
    EXPECT_EQ(plan_of(manifest_of(10 * step), nodes).steps, 10U);
    EXPECT_EQ(plan_of(manifest_of(10 * step + 1), nodes).steps, 11U);
    EXPECT_FALSE(plan_of(manifest_of(step), nodes).duration) << "no speed, no duration";
}

TEST(RunPlan, ASlowNodeMakesTheStepLongAndShortensItsOwnRound) {
    Means fast, slow;
    fast.name = "fast";
    fast.tokens_per_s = 1000;
    slow.name = "slow";
    slow.tokens_per_s = 2.0 * 32 / 20;  // one inner step in 20 s: three until the deadline
    const RunPlan plan = plan_of(manifest_of(100'000), {fast, slow});
    EXPECT_EQ(plan.paces[0].sequences, 8U);
    EXPECT_EQ(plan.paces[1].sequences, 6U);
    EXPECT_NEAR(plan.train_s, 60, 1e-9);
    ASSERT_EQ(plan.concerns.size(), 1U);
    EXPECT_EQ(plan.concerns[0].node, "slow");
}

TEST(RunPlan, WhoIsTooSmallIsNamedWithNumbers) {
    const Manifest m = manifest_of(1'000'000);
    Means good, small, full, thin;
    for (Means* node : {&good, &small, &full, &thin}) {
        node->tokens_per_s = 1000;
        node->memory_bytes = node->memory_free_bytes = 8 * kGiB;
        node->disk_free_bytes = 100 * kGiB;
        node->up_bytes_per_s = 1e9;
    }
    small.name = "small";
    small.memory_bytes = 64 * kMiB;
    full.name = "full";
    full.disk_free_bytes = kMiB;
    thin.name = "thin";
    thin.up_bytes_per_s = 10'000;
    const RunPlan plan = plan_of(m, {good, small, full, thin});
    EXPECT_FALSE(plan.too_small(""));
    EXPECT_TRUE(plan.too_small("small") && plan.too_small("full") && plan.too_small("thin"));
    for (const Concern& one : plan.concerns) EXPECT_FALSE(one.fix.empty()) << one.what;
    small.memory_bytes = 8 * kGiB;
    small.memory_free_bytes = 64 * kMiB;
    const auto concerns = concerns_of(small, plan.needs, {});
    ASSERT_EQ(concerns.size(), 1U);
    EXPECT_EQ(concerns[0].kind, Concern::Kind::warn) << "memory that others use may be freed";
    EXPECT_TRUE(concerns_of(full, plan.needs, {}, plan.needs.disk).empty()) << "what it needs is there already";
}

TEST(RunPlan, TheTrainerCutsItsStepsToTheMemoryThereIs) {
    Manifest m = manifest_of(1'000'000);
    TrainConfig train;
    train.seq = 32;
    train.batch = 64;
    train.precision = Precision::fp32;
    train.total_tokens = 1'000'000;
    m.train_json = to_json(train);
    const std::uint64_t theta = sizeof(float) * m.elements;
    const TrainerNeeds all = trainer_needs(m, 0);
    ASSERT_LT(all.least, all.usual);
    const std::uint64_t most = (all.least + all.usual) / 2 + theta;
    const TrainerNeeds some = trainer_needs(m, most);
    EXPECT_LE(some.usual + theta, most);
    EXPECT_GT(some.usual, all.least);
    EXPECT_EQ(some.least, all.least);
    EXPECT_EQ(trainer_needs(m, 1).usual, all.least) << "where nothing fits: the least";

    TrainerChoice own;
    own.micro_batch = 1;
    EXPECT_LT(trainer_needs(m, 0, own).usual, all.usual) << "its owner made the cut";
    EXPECT_EQ(trainer_needs(m, 0, own).least, all.least);
    own.precision = Precision::bf16;
    EXPECT_GT(trainer_needs(m, 0, own).usual, 0U) << "the run says fp32: the agent refuses it, the plan goes by the run";

    const Needs needs = node_needs(m, DataManifest{}, 10, 2);
    Means node;
    node.memory_bytes = 8 * kGiB;
    node.memory_free_bytes = needs.memory_least() + 1;
    const auto concerns = concerns_of(node, needs, {});
    ASSERT_EQ(concerns.size(), 1U);
    EXPECT_EQ(concerns[0].kind, Concern::Kind::warn) << "slower, not impossible";
    node.memory_bytes = node.memory_free_bytes = needs.memory_least() - 1;
    EXPECT_EQ(concerns_of(node, needs, {}).at(0).kind, Concern::Kind::too_small);
}

TEST(RunPlan, AFollowerNeedsNoTrainerAndNoData) {
    const Manifest m = manifest_of(1'000'000);
    DataManifest data;
    data.shards.emplace_back();
    data.shards.back().bytes = kGiB;
    const Needs trains = node_needs(m, data, 100, 3), follows = follower_needs(m, 100, 3);
    EXPECT_EQ(follows.trainer + follows.trainer_least + follows.data, 0U);
    EXPECT_EQ(follows.memory(), trains.memory() - trains.trainer);
    EXPECT_LT(follows.disk + kGiB / 2, trains.disk);
    EXPECT_GE(follows.disk_least, follows.work + follows.shared);
    EXPECT_GT(follower_bytes(m), step_bytes(m, 3).encoded);
    EXPECT_LT(follower_bytes(m), step_bytes(m, 3).most_down());
    Means node;
    node.memory_bytes = node.memory_free_bytes = trains.memory_least() - 1;
    EXPECT_FALSE(concerns_of(node, trains, {}).empty());
    EXPECT_TRUE(concerns_of(node, follows, {}).empty()) << "too small to train, large enough to follow";
}

TEST(RunPlan, AQuotaBelowWhatIsKeptIsToldOf) {
    Manifest m = manifest_of(1'000'000);
    m.disk_quota_bytes = kMiB;
    const RunPlan plan = plan_of(m, std::vector<Means>(2));
    ASSERT_EQ(plan.concerns.size(), 2U) << "and the data is passed over many times";
    EXPECT_NE(plan.concerns[1].what.find("quota"), std::string::npos);
    EXPECT_EQ(plan.needs.disk, plan.needs.disk_least);
}

std::map<std::string, bool> binding(const std::vector<LimitUse>& uses) {
    std::map<std::string, bool> out;
    for (const LimitUse& one : uses) out[one.key] = one.binds;
    return out;
}

TEST(RunPlan, ALinkIsAsFastAsItsOwnerAllows) {
    Means free, held, wide, unmeasured;
    for (Means* node : {&free, &held, &wide}) node->up_bytes_per_s = node->down_bytes_per_s = 1e6;
    held.limits.up_bytes_per_s = 100'000;
    wide.limits.up_bytes_per_s = 50'000'000;
    unmeasured.limits.down_bytes_per_s = 100'000;
    const RunPlan plan = plan_of(manifest_of(1'000'000), {free, held, wide, unmeasured});
    EXPECT_TRUE(plan.limits[0].empty());
    EXPECT_EQ(binding(plan.limits[1]), (std::map<std::string, bool>{{"up", true}}));
    EXPECT_EQ(binding(plan.limits[2]), (std::map<std::string, bool>{{"up", false}}));
    EXPECT_EQ(binding(plan.limits[3]), (std::map<std::string, bool>{{"down", true}}));
    EXPECT_DOUBLE_EQ(plan.paces[1].exchange_s.value(), static_cast<double>(plan.bytes.up[1]) / 1e5);
    EXPECT_DOUBLE_EQ(plan.paces[2].exchange_s.value(), static_cast<double>(std::max(plan.bytes.up[2], plan.bytes.down[2])) / 1e6);
    EXPECT_DOUBLE_EQ(plan.paces[3].exchange_s.value(), static_cast<double>(plan.bytes.down[3]) / 1e5);
    // Of two, the one that takes longer.
    held.limits.down_bytes_per_s = 10'000;
    EXPECT_EQ(binding(limit_uses(held, {}, {1000, 1000, {}})), (std::map<std::string, bool>{{"up", false}, {"down", true}}));
    // A link that its limit holds measures a little less than that.
    held.limits.down_bytes_per_s = 0;
    held.up_bytes_per_s = 97'000;
    EXPECT_TRUE(held.up().by_limit);
    EXPECT_DOUBLE_EQ(held.up().bytes_per_s, 97'000);
}

TEST(RunPlan, ADaysBytesAreSetAgainstTheTraffic) {
    Means node;
    node.name = "reef";
    const Load load{1'000'000, 3'000'000, 10};  // 34.56e9 bytes a day
    node.limits.daily_bytes = 35'000'000'000;
    EXPECT_EQ(binding(limit_uses(node, {}, load)), (std::map<std::string, bool>{{"daily_transfer", false}}));
    EXPECT_TRUE(concerns_of(node, {}, load).empty());
    node.limits.daily_bytes = 34'560'000'000 / 2;
    const auto uses = limit_uses(node, {}, load);
    EXPECT_TRUE(uses.at(0).binds);
    EXPECT_NE(uses.at(0).what.find("used up after 12 h"), std::string::npos) << uses.at(0).what;
    const auto concerns = concerns_of(node, {}, load);
    ASSERT_EQ(concerns.size(), 1U);
    EXPECT_EQ(concerns[0].kind, Concern::Kind::warn) << "it takes part for half of the day";
    // Twice as slow by its link: half the bytes.
    node.limits.up_bytes_per_s = 50'000;
    EXPECT_FALSE(binding(limit_uses(node, {}, load)).at("daily_transfer"));
    node.limits.up_bytes_per_s = 0;
    const auto steps = limit_uses(node, {}, {1'000'000, 3'000'000, {}});
    EXPECT_FALSE(steps.at(0).binds) << "how long a step takes is not known";
    EXPECT_NE(steps.at(0).what.find("4320 steps"), std::string::npos) << steps.at(0).what;
}

TEST(RunPlan, LimitsOfMemoryAndDiskBindBeforeTheyRefuse) {
    const Manifest m = manifest_of(1'000'000);
    const Needs needs = node_needs(m, DataManifest{}, 1000, 2);
    const std::uint64_t theta = sizeof(float) * m.elements;
    ASSERT_LT(needs.trainer_least, needs.trainer);
    Means node;
    const auto limited = [&](std::uint64_t memory, std::uint64_t disk) {
        node.limits = {};
        node.limits.memory_bytes = memory;
        node.limits.disk_bytes = disk;
        return binding(limit_uses(node, needs, {}));
    };
    EXPECT_EQ(limited(needs.trainer + theta, needs.disk), (std::map<std::string, bool>{{"memory", false}, {"disk", false}}));
    EXPECT_EQ(limited(needs.trainer + theta - 1, needs.disk - needs.work - 1), (std::map<std::string, bool>{{"memory", true}, {"disk", true}}));
    EXPECT_TRUE(concerns_of(node, needs, {}).empty());
    limited(needs.trainer_least + theta, needs.disk_least - needs.work);
    EXPECT_TRUE(concerns_of(node, needs, {}).empty());
    EXPECT_EQ(disk_within(needs, node.limits.disk_bytes), needs.disk_least);
    limited(needs.trainer_least + theta - 1, needs.disk_least - needs.work - 1);
    const auto concerns = concerns_of(node, needs, {});
    ASSERT_EQ(concerns.size(), 2U);
    EXPECT_EQ(concerns[0].kind, Concern::Kind::too_small) << "no trainer begins with less";
    EXPECT_EQ(concerns[1].kind, Concern::Kind::warn) << "what is needed is kept all the same";
    EXPECT_EQ(disk_within(needs, 1), needs.disk_least);
    EXPECT_EQ(disk_within(needs, 0), needs.disk);
}

}  // namespace
}  // namespace skerry::node
