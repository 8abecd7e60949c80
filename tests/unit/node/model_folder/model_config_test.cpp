// Which models there are, and what is refused by its name.

#include "node/model_folder/model_config.hpp"

#include <gtest/gtest.h>

#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {
namespace {

const std::string kSizes = R"("vocab_size":64,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4)";

Result<ModelConfig> parse(const std::string& more) { return parse_model_config("{" + kSizes + (more.empty() ? "" : "," + more) + "}"); }

std::string refusal(const std::string& more) {
    auto config = parse(more);
    if (config) return "";
    EXPECT_EQ(config.error().code, Errc::config_invalid);
    return config.error().detail;
}

TEST(ModelConfig, ARunsModelOfBeforeIsWrittenAsBefore) {
    EXPECT_EQ(to_json(ModelConfig{}),
              R"({"model_type":"llama","vocab_size":256,"hidden_size":128,"intermediate_size":352,"num_hidden_layers":4,)"
              R"("num_attention_heads":2,"num_key_value_heads":2,"head_dim":64,"max_position_embeddings":256,)"
              R"("rms_norm_eps":1e-05,"rope_theta":10000.0,"initializer_range":0.02,"tie_word_embeddings":true})");
}

TEST(ModelConfig, EveryKindComesBackFromItsJson) {
    for (const char* more :
         {"", R"("model_type":"qwen2")", R"("attention_bias":true)", R"("rope_scaling":{"rope_type":"linear","factor":2})",
          R"("rope_scaling":{"type":"linear","rope_type":"linear","factor":2.5})",
          R"("rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":16})"}) {
        auto config = parse(more);
        ASSERT_TRUE(config) << more << ": " << config.error().detail;
        auto again = parse_model_config(to_json(*config));
        ASSERT_TRUE(again) << again.error().detail;
        EXPECT_EQ(*again, *config) << more;
    }
    auto llama3 = parse(
        R"("rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":16})");
    ASSERT_TRUE(llama3);
    EXPECT_EQ(llama3->rope_theta, 500000.0);
    EXPECT_EQ(llama3->rope_scaling.original_max_position_embeddings, 16U);
}

TEST(ModelConfig, WhatIsNotSupportedIsRefusedByName) {
    const std::vector<std::pair<const char*, const char*>> refused = {
        {R"("model_type":"mistral")", "mistral"},
        {R"("model_type":"qwen2","attention_bias":true)", "attention_bias"},
        {R"("hidden_act":"gelu")", "hidden_act"},
        {R"("mlp_bias":true)", "mlp_bias"},
        {R"("attention_bias":1)", "attention_bias"},
        {R"("rope_scaling":{"rope_type":"yarn","factor":2.0})", "yarn"},
        {R"("rope_scaling":{"rope_type":"linear"})", "rope_scaling.factor"},
        {R"("rope_scaling":{"rope_type":"linear","factor":0.5})", "factor"},
        {R"("rope_scaling":{"rope_type":"linear","factor":2.0,"beta_fast":32})", "beta_fast"},
        {R"("rope_scaling":{"rope_type":"linear","type":"dynamic","factor":2.0})", "type"},
        {R"("rope_scaling":{"rope_type":"default","partial_rotary_factor":0.5})", "partial_rotary_factor"},
        {R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0})", "original_max_position_embeddings"},
        {R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":4.0,"high_freq_factor":4.0,"original_max_position_embeddings":16})", "high_freq_factor"},
        {R"("rope_theta":10000.0,"rope_parameters":{"rope_type":"default","rope_theta":500000.0})", "rope_theta"},
        {R"("rope_scaling":{"rope_type":"linear","factor":2.0},"rope_parameters":{"rope_type":"linear","factor":2.0})", "rope_parameters"},
        {R"("rope_scaling":"linear")", "rope_scaling"},
        {R"("sliding_window":4096)", "sliding_window"},
    };
    for (const auto& [more, name] : refused) EXPECT_NE(refusal(more).find(name), std::string::npos) << more << ": " << refusal(more);
}

TEST(ModelConfig, BiasesStandBehindTheMatricesTheyBelongTo) {
    const auto names = [](const std::string& more) {
        std::string out;
        auto config = parse(more);
        for (const auto& t : make_tensor_table(config.value()).tensors) {
            if (t.name.find("layers.1.self_attn") == std::string::npos) continue;
            out += t.name.substr(t.name.find("attn.") + 5) + " ";
            const bool bias = t.name.ends_with(".bias");
            EXPECT_EQ(t.kind, bias ? TensorKind::zeros : TensorKind::normal);
            EXPECT_EQ(t.init_scale == 0, bias);
        }
        return out;
    };
    EXPECT_EQ(names(""), "q_proj.weight k_proj.weight v_proj.weight o_proj.weight ");
    EXPECT_EQ(names(R"("model_type":"qwen2")"), "q_proj.weight k_proj.weight v_proj.weight q_proj.bias k_proj.bias v_proj.bias o_proj.weight ");
    EXPECT_EQ(names(R"("attention_bias":true)"),
              "q_proj.weight k_proj.weight v_proj.weight q_proj.bias k_proj.bias v_proj.bias o_proj.weight o_proj.bias ");
}

TEST(RopeScaling, Llama3KeepsFastTurnsAndStretchesSlowOnes) {
    const RopeScaling plain, scaled{RopeType::llama3, 8.0, 1.0, 4.0, 64};
    const auto before = rope_frequencies(plain, 10000.0, 64), after = rope_frequencies(scaled, 10000.0, 64);
    ASSERT_EQ(after.size(), 32U);
    EXPECT_EQ(after.front(), before.front());
    EXPECT_EQ(after.back(), before.back() / 8);
    std::size_t between = 0;
    for (std::size_t i = 0; i < after.size(); ++i) between += after[i] != before[i] && after[i] != before[i] / 8;
    EXPECT_GE(between, 2U);
    const auto linear = rope_frequencies({RopeType::linear, 4.0}, 10000.0, 64);
    for (std::size_t i = 0; i < linear.size(); ++i) EXPECT_EQ(linear[i], before[i] / 4);
}

}  // namespace
}  // namespace skerry::node
