#include "node/model_folder/hf_config.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace skerry::node {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSpecialTokens[] = {"bos_token_id", "eos_token_id", "pad_token_id"};

Fail refuse(const std::string& key, const std::string& why) { return fail(Errc::config_invalid, "config.json: " + key + ": " + why); }

/// The value of a key; null where there is none.
Json at(const Json& json, const char* key) { return json.value(key, Json()); }

Result<ModelType> type_of(const Json& json) {
    const Json type = at(json, "model_type");
    if (type != "llama" && type != "qwen2") return refuse("model_type", type.dump() + " is not supported (llama and qwen2 are)");
    const char* own = type == "llama" ? "LlamaForCausalLM" : "Qwen2ForCausalLM";
    const Json names = at(json, "architectures");
    const bool ours = names.is_null() || (names.is_array() && (names.empty() || (names.size() == 1 && names[0] == own)));
    if (!ours) return refuse("architectures", names.dump() + " is not supported (" + own + " is)");
    return type == "llama" ? ModelType::llama : ModelType::qwen2;
}

/// A key that must be absent, null or one of these.
struct Only {
    const char* key;
    std::vector<Json> values;
    const char* why;
};

Result<void> refuse_other_blocks(const Json& json, ModelType type) {
    const std::vector<Only> only = {
        {"hidden_act", {"silu", "swish"}, "only silu is supported"},
        {"mlp_bias", {false}, "biases in the MLP are not supported"},
        {"attention_dropout", {0, 0.0}, "dropout is not supported"},
        {"quantization_config", {}, "quantized weights are not supported: save the model as bf16, fp16 or fp32"},
        {"compression_config", {}, "compressed weights are not supported"},
        {"partial_rotary_factor", {1, 1.0}, "a rotary embedding of a part of each head is not supported"},
        {"add_cross_attention", {false}, "cross-attention is not supported"},
        {"is_encoder_decoder", {false}, "only decoders are supported"},
        {"is_causal", {true}, "only causal attention is supported"},
        {"use_mrope", {false}, "multimodal rotary embedding is not supported"},
        {"pruned_heads", {Json::object()}, "pruned heads are not supported"},
        {"tie_encoder_decoder", {false}, "only decoders are supported"},
    };
    for (const auto& o : only) {
        const Json value = at(json, o.key);
        if (!value.is_null() && std::find(o.values.begin(), o.values.end(), value) == o.values.end()) return refuse(o.key, o.why);
    }
    const Json layers = at(json, "layer_types");
    if (layers.is_array() && std::any_of(layers.begin(), layers.end(), [](const Json& l) { return l != "full_attention"; }))
        return refuse("layer_types", "only full_attention is supported");
    // Llama has no sliding window, whatever its config says. Qwen2's is in use from layer max_window_layers (28 if left out) on.
    const bool window = type == ModelType::qwen2 && at(json, "use_sliding_window") == true;
    if (!window || layers.is_array() || (json.contains("sliding_window") && json["sliding_window"].is_null())) return {};
    const Json from = json.value("max_window_layers", Json(28)), count = at(json, "num_hidden_layers");
    if (from.is_number_integer() && count.is_number_integer() && from >= count) return {};
    return refuse("use_sliding_window", "a sliding window is not supported");
}

/// rope_theta, rope_scaling and rope_parameters, in the words of parse_model_config.
Result<void> take_rope(const Json& json, Json& out) {
    const Json scaling = at(json, "rope_scaling"), parameters = at(json, "rope_parameters");
    if (!scaling.is_null() && !parameters.is_null() && scaling != parameters)
        return refuse("rope_scaling", "contradicts rope_parameters");
    Json rope = parameters.is_null() ? scaling : parameters;
    if (!rope.is_null() && !rope.is_object()) return refuse(parameters.is_null() ? "rope_scaling" : "rope_parameters", "is no object");
    Json theta = at(json, "rope_theta");
    if (rope.is_object() && rope.contains("rope_theta")) {
        if (!theta.is_null() && theta != rope["rope_theta"]) return refuse("rope_theta", "contradicts the one in rope_parameters");
        theta = rope["rope_theta"];
        rope.erase("rope_theta");
    }
    if (!theta.is_null()) out["rope_theta"] = theta;
    if (rope.is_null() || rope.empty()) return {};
    const bool llama3 = at(rope, "rope_type") == "llama3" || at(rope, "type") == "llama3";
    const Json above = at(json, "original_max_position_embeddings");  // where it stands there, it comes first
    if (llama3 && !above.is_null()) rope["original_max_position_embeddings"] = above;
    out["rope_scaling"] = rope;
    return {};
}

}  // namespace

Result<ModelConfig> parse_hf_config(std::string_view text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return fail(Errc::config_invalid, "config.json is not a JSON object");
    auto type = type_of(json);
    if (!type) return fail(type.error());
    auto good = refuse_other_blocks(json, *type);
    if (!good) return fail(good.error());

    const bool qwen2 = *type == ModelType::qwen2;
    Json ours = {{"max_position_embeddings", qwen2 ? 32768 : 2048}, {"rms_norm_eps", 1e-6}, {"tie_word_embeddings", false}};
    if (qwen2) ours["num_key_value_heads"] = 32;
    for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
        if (at(json, key).is_null()) return refuse(key, "is missing");
        ours[key] = json[key];
    }
    for (const char* key : {"num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "initializer_range", "tie_word_embeddings"})
        if (!at(json, key).is_null()) ours[key] = json[key];
    if (at(json, "num_key_value_heads").is_null() && json.contains("num_key_value_heads")) ours.erase("num_key_value_heads");  // as many as heads
    if (!qwen2 && !at(json, "attention_bias").is_null()) ours["attention_bias"] = json["attention_bias"];
    ours["model_type"] = json["model_type"];
    good = take_rope(json, ours);
    if (!good) return fail(good.error());
    auto out = parse_model_config(ours.dump(-1, ' ', false, Json::error_handler_t::replace));
    if (!out) return fail(out.error().code, "config.json: " + out.error().detail, out.error().fix);
    return out;
}

std::string hf_config_json(const ModelConfig& c, std::string_view generation, std::string_view dtype) {
    Json json = Json::parse(to_json(c));
    const bool llama = c.model_type == ModelType::llama;
    json["architectures"] = {llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM"};
    json["hidden_act"] = "silu";
    if (llama) {
        json["attention_bias"] = c.attention_bias;
        json["mlp_bias"] = false;
    } else {
        json["use_sliding_window"] = false;
    }
    json["attention_dropout"] = 0.0;
    json["rope_scaling"] = to_json(c.rope_scaling);
    json["dtype"] = dtype;
    json["torch_dtype"] = dtype;  // the name before transformers 4.56
    json["use_cache"] = true;
    // Bytes have no special tokens; left out, these would default to the bytes 1 and 2.
    const Json from = Json::parse(generation, nullptr, false);
    for (const char* key : kSpecialTokens) json[key] = from.is_object() ? at(from, key) : Json();
    return json.dump(2) + "\n";
}

std::string generation_json(const ModelConfig& c, std::string_view config_json) {
    const Json from = Json::parse(config_json, nullptr, false);
    Json json;
    if (!from.is_object()) {
        json["do_sample"] = true;
        json["temperature"] = 0.8;
        json["max_length"] = c.max_position_embeddings;
    }
    for (const char* key : kSpecialTokens) json[key] = from.is_object() ? at(from, key) : Json();
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace skerry::node
