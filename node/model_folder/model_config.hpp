#pragma once
// The shape of a model, in the words of Hugging Face's LlamaConfig. Pure.

#include <cstdint>
#include <string>
#include <string_view>

#include "node/model_folder/rope_scaling.hpp"

namespace skerry::node {

enum class ModelType { llama, qwen2 };

/// A Llama-style decoder. Field names are the JSON keys; `parse_model_config` refuses any other key.
struct ModelConfig {
    ModelType model_type = ModelType::llama;
    std::uint32_t vocab_size = 256;
    std::uint32_t hidden_size = 128;
    std::uint32_t intermediate_size = 352;
    std::uint32_t num_hidden_layers = 4;
    std::uint32_t num_attention_heads = 2;
    std::uint32_t num_key_value_heads = 2;
    std::uint32_t head_dim = 64;
    std::uint32_t max_position_embeddings = 256;
    double rms_norm_eps = 1e-5;
    double rope_theta = 10000.0;
    double initializer_range = 0.02;
    bool tie_word_embeddings = true;
    bool attention_bias = false;  ///< llama only: biases on q, k, v and o
    RopeScaling rope_scaling;

    /// Qwen2 has them always.
    bool qkv_bias() const { return attention_bias || model_type == ModelType::qwen2; }
    bool o_bias() const { return attention_bias; }

    friend bool operator==(const ModelConfig&, const ModelConfig&) = default;
};

/// Errors: config_invalid with the key and what was expected. `head_dim` defaults to
/// hidden_size / num_attention_heads, `num_key_value_heads` to num_attention_heads.
Result<ModelConfig> parse_model_config(std::string_view json);

/// Checks ranges and divisibility (also of a config built by hand). Errors: config_invalid.
Result<void> check(const ModelConfig& config);

/// One line of JSON with every key (attention_bias and rope_scaling only where they are set), in a fixed order; `parse_model_config` reads it back to an equal value.
std::string to_json(const ModelConfig& config);

}  // namespace skerry::node
