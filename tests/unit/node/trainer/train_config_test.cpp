#include "node/trainer/train_config.hpp"

#include <gtest/gtest.h>

#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {
namespace {

TrainConfig wsd() {
    TrainConfig c;
    c.lr = 1.0;
    c.min_lr = 0.1;
    c.schedule = Schedule::wsd;
    c.warmup_tokens = 100;
    c.decay_tokens = 400;
    c.total_tokens = 1000;
    return c;
}

TEST(ScheduleTest, WsdWarmsUpStaysAndDecays) {
    const auto c = wsd();
    EXPECT_DOUBLE_EQ(learning_rate(c, 0), 0.0);
    EXPECT_DOUBLE_EQ(learning_rate(c, 50), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate(c, 100), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate(c, 600), 1.0);
    EXPECT_DOUBLE_EQ(learning_rate(c, 800), 0.55);
    EXPECT_DOUBLE_EQ(learning_rate(c, 1000), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate(c, 5000), 0.1);
}

TEST(ScheduleTest, CosineFallsFromWarmUpToTotal) {
    auto c = wsd();
    c.schedule = Schedule::cosine;
    EXPECT_DOUBLE_EQ(learning_rate(c, 100), 1.0);
    EXPECT_NEAR(learning_rate(c, 550), 0.55, 1e-12);
    EXPECT_DOUBLE_EQ(learning_rate(c, 1000), 0.1);
}

TEST(TrainerChoiceTest, HowAStepIsCutIsTheOwnersButThePrecisionIsTheRunsWhereItNamesOne) {
    TrainConfig run;
    run.micro_batch = 4;
    EXPECT_EQ(with_choice(run, {}).value(), run);

    TrainerChoice own{TrainerPath::autograd, Precision::bf16, 2, Recompute::layers};
    auto both = with_choice(run, own);
    ASSERT_TRUE(both);
    EXPECT_EQ(both->precision, Precision::bf16);
    EXPECT_EQ(both->micro_batch, 2U);
    EXPECT_EQ(both->recompute, Recompute::layers);
    own.micro_batch = 8;
    EXPECT_EQ(with_choice(run, own)->micro_batch, 4U);
    run.micro_batch = 0;
    EXPECT_EQ(with_choice(run, own)->micro_batch, 8U);

    run.precision = Precision::bf16;
    EXPECT_TRUE(with_choice(run, own));
    run.precision = Precision::fp32;
    auto other = with_choice(run, own);
    ASSERT_FALSE(other);
    EXPECT_EQ(other.error().code, Errc::config_invalid);
    EXPECT_NE(other.error().detail.find("computes in fp32"), std::string::npos);
    own.precision = Precision::automatic;
    EXPECT_EQ(with_choice(run, own)->precision, Precision::fp32);
}

TEST(TrainerChoiceTest, NamesAreReadBack) {
    for (const auto path : {TrainerPath::automatic, TrainerPath::fast, TrainerPath::autograd, TrainerPath::cuda})
        EXPECT_EQ(parse_path(to_name(path)).value(), path);
    for (const auto precision : {Precision::fp32, Precision::bf16, Precision::automatic}) EXPECT_EQ(parse_precision(to_name(precision)).value(), precision);
    for (const auto again : {Recompute::automatic, Recompute::none, Recompute::attention, Recompute::layers})
        EXPECT_EQ(parse_recompute(to_name(again)).value(), again);
    auto none = parse_path("gpu");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().detail, "expected auto, fast, autograd or cuda");
}

TEST(TrainConfigTest, JsonComesBackEqual) {
    auto c = wsd();
    c.precision = Precision::bf16;
    c.beta2 = 0.987654321;
    auto back = parse_train_config(to_json(c));
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_EQ(*back, c);
}

TEST(TrainConfigTest, WhatCameLaterIsWrittenOnlyWhereItSaysSomething) {
    auto c = wsd();
    for (const char* key : {"optimizer", "muon", "micro_batch", "recompute"}) EXPECT_EQ(to_json(c).find(key), std::string::npos) << key;
    c.optimizer = InnerOptimizer::muon;
    c.muon_lr = 0.01;
    c.muon_momentum = 0.9;
    c.micro_batch = 2;
    c.recompute = Recompute::layers;
    auto back = parse_train_config(to_json(c));
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_EQ(*back, c);
}

TEST(TrainConfigTest, UnknownAndWrongValuesAreNamed) {
    for (const char* bad : {R"({"total_tokens":9,"leaning_rate":1})", R"({"total_tokens":9,"batch":0})",
                            R"({"total_tokens":9,"lr":"x"})", R"({"total_tokens":9,"schedule":"step"})",
                            R"({"schedule":"wsd"})", "[]", "{"}) {
        auto parsed = parse_train_config(bad);
        ASSERT_FALSE(parsed) << bad;
        EXPECT_EQ(parsed.error().code, Errc::config_invalid) << bad;
    }
}

TEST(ModelConfigTest, JsonComesBackEqualAndForeignKeysAreRefused) {
    ModelConfig c;
    c.rope_theta = 500000.0;
    c.num_attention_heads = 8;
    c.num_key_value_heads = 2;
    auto back = parse_model_config(to_json(c));
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_EQ(*back, c);
    for (const char* bad : {R"({"n_layer":3})", R"({"hidden_act":"gelu"})", R"({"head_dim":7})",
                            R"({"num_attention_heads":4,"num_key_value_heads":3})", R"({"hidden_size":99999999})"}) {
        auto parsed = parse_model_config(bad);
        ASSERT_FALSE(parsed) << bad;
        EXPECT_EQ(parsed.error().code, Errc::config_invalid);
    }
}

TEST(TensorTableTest, TheDemoModelHasNoGaps) {
    const auto table = make_tensor_table(ModelConfig{});
    EXPECT_EQ(table.elements, 836736U);
    EXPECT_EQ(table.tensors.size(), 38U);
    std::uint64_t at = 0;
    for (const auto& t : table.tensors) {
        EXPECT_EQ(t.offset, at) << t.name;
        EXPECT_EQ(t.kind == TensorKind::ones, t.shape.size() == 1) << t.name;
        EXPECT_EQ(t.init_scale > 0, t.kind == TensorKind::normal) << t.name;
        at += t.elements;
    }
    EXPECT_EQ(at, table.elements);
}

}  // namespace
}  // namespace skerry::node
