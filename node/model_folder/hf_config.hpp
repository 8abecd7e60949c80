#pragma once
// config.json of a Hugging Face folder: which model it is, in and out. Pure and safe on foreign bytes.

#include <string>
#include <string_view>

#include "node/model_folder/model_config.hpp"

namespace skerry::node {

/// What a config.json says. Keys without influence on the results are passed over; what changes them and is not supported
/// (docs/model-folders.md) is refused by its name. Where a key is left out, `transformers`' default holds.
/// Errors: config_invalid with the key.
Result<ModelConfig> parse_hf_config(std::string_view json);

/// A config.json for `transformers` 4.43 and newer. `generation`: the generation_config.json that goes with it; the ids of its
/// special tokens are repeated. `dtype`: "float32" or "bfloat16".
std::string hf_config_json(const ModelConfig& config, std::string_view generation, std::string_view dtype);

/// A generation_config.json for a model that came with none. `config`: the config.json it came with, whose special tokens are
/// taken over; empty for a model of ours, whose tokens are bytes or have no end.
std::string generation_json(const ModelConfig& config, std::string_view config_json);

}  // namespace skerry::node
