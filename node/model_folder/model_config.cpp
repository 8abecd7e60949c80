#include "node/model_folder/model_config.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

namespace skerry::node {
namespace {

using Json = nlohmann::json;

Fail invalid(const std::string& key, const std::string& what) {
    return fail(Errc::config_invalid, "model." + key + ": " + what);
}

struct CountKey {
    const char* name;
    std::uint32_t ModelConfig::*field;
    std::uint32_t limit;
};
// Limits keep every product of two sizes below 2^48 and P below 2^53.
constexpr CountKey kCounts[] = {
    {"vocab_size", &ModelConfig::vocab_size, 1U << 22},
    {"hidden_size", &ModelConfig::hidden_size, 1U << 18},
    {"intermediate_size", &ModelConfig::intermediate_size, 1U << 20},
    {"num_hidden_layers", &ModelConfig::num_hidden_layers, 1024},
    {"num_attention_heads", &ModelConfig::num_attention_heads, 1024},
    {"num_key_value_heads", &ModelConfig::num_key_value_heads, 1024},
    {"head_dim", &ModelConfig::head_dim, 1024},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings, 1U << 24},
};

struct NumberKey {
    const char* name;
    double ModelConfig::*field;
    double low, high;
};
constexpr NumberKey kNumbers[] = {
    {"rms_norm_eps", &ModelConfig::rms_norm_eps, 1e-12, 1e-1},
    {"rope_theta", &ModelConfig::rope_theta, 1.0, 1e12},
    {"initializer_range", &ModelConfig::initializer_range, 1e-9, 10.0},
};

Result<bool> flag(ModelConfig& out, bool ModelConfig::*field, const std::string& key, const Json& value) {
    if (!value.is_boolean()) return invalid(key, "expected true or false");
    out.*field = value.get<bool>();
    return true;
}

/// Keys that name what this decoder is; any other value is another model.
Result<bool> kind_key(ModelConfig& out, const std::string& key, const Json& value) {
    if (key == "model_type") {
        if (value != "llama" && value != "qwen2") return invalid(key, value.dump() + " is not supported (llama and qwen2 are)");
        out.model_type = value == "llama" ? ModelType::llama : ModelType::qwen2;
    } else if (key == "hidden_act") {
        if (value != "silu") return invalid(key, "only \"silu\" is supported");
    } else if (key == "mlp_bias") {
        if (value != false) return invalid(key, "only false is supported");
    } else {
        return false;
    }
    return true;
}

/// rope_scaling, and rope_parameters (which may hold rope_theta): two names of one thing.
Result<void> take_rope(ModelConfig& out, const Json& json) {
    const Json scaling = json.value("rope_scaling", Json()), parameters = json.value("rope_parameters", Json());
    if (!scaling.is_null() && !parameters.is_null()) return invalid("rope_parameters", "is rope_scaling's newer name: write one of them");
    const char* name = parameters.is_null() ? "rope_scaling" : "rope_parameters";
    const Json& value = parameters.is_null() ? scaling : parameters;
    auto rope = parse_rope_scaling(value, std::string("model.") + name);
    if (!rope) return fail(rope.error());
    out.rope_scaling = *rope;
    if (!value.is_object() || !value.contains("rope_theta")) return {};
    const Json& theta = value["rope_theta"];
    if (!theta.is_number()) return invalid("rope_theta", "expected a number");
    if (json.contains("rope_theta") && json["rope_theta"] != theta) return invalid("rope_theta", std::string("contradicts the one in ") + name);
    out.rope_theta = theta.get<double>();
    return {};
}

Result<bool> known_key(ModelConfig& out, const std::string& key, const Json& value) {
    for (const auto& k : kCounts) {
        if (key != k.name) continue;
        if (!value.is_number_integer() || value < 1 || value > k.limit)
            return invalid(key, "expected an integer from 1 to " + std::to_string(k.limit));
        out.*k.field = value.get<std::uint32_t>();
        return true;
    }
    for (const auto& k : kNumbers) {
        if (key != k.name) continue;
        if (!value.is_number()) return invalid(key, "expected a number");
        out.*k.field = value.get<double>();
        return true;
    }
    if (key == "tie_word_embeddings") return flag(out, &ModelConfig::tie_word_embeddings, key, value);
    if (key == "attention_bias") return flag(out, &ModelConfig::attention_bias, key, value);
    if (key == "rope_scaling" || key == "rope_parameters") return true;  // take_rope
    return kind_key(out, key, value);
}

}  // namespace

Result<void> check(const ModelConfig& c) {
    for (const auto& k : kCounts) {
        if (c.*k.field < 1 || c.*k.field > k.limit)
            return invalid(k.name, "expected an integer from 1 to " + std::to_string(k.limit));
    }
    for (const auto& k : kNumbers) {
        const double v = c.*k.field;
        if (!std::isfinite(v) || v < k.low || v > k.high) return invalid(k.name, "out of range");
    }
    if (c.num_attention_heads % c.num_key_value_heads != 0)
        return invalid("num_key_value_heads", "must divide num_attention_heads");
    if (c.head_dim % 2 != 0) return invalid("head_dim", "must be even");
    if (c.model_type == ModelType::qwen2 && c.attention_bias)
        return invalid("attention_bias", "qwen2 has biases on q, k and v always and none on o: leave it away");
    return check(c.rope_scaling);
}

Result<ModelConfig> parse_model_config(std::string_view text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return fail(Errc::config_invalid, "model: not a JSON object");
    ModelConfig out;
    for (const auto& [key, value] : json.items()) {
        auto known = known_key(out, key, value);
        if (!known) return fail(known.error());
        if (!*known) return invalid(key, "unknown key");
    }
    if (!json.contains("num_key_value_heads")) out.num_key_value_heads = out.num_attention_heads;
    if (!json.contains("head_dim")) {
        if (out.hidden_size % out.num_attention_heads != 0)
            return invalid("hidden_size", "must be a multiple of num_attention_heads, or name head_dim");
        out.head_dim = out.hidden_size / out.num_attention_heads;
    }
    auto good = take_rope(out, json);
    if (good) good = check(out);
    if (!good) return fail(good.error());
    return out;
}

std::string to_json(const ModelConfig& c) {
    nlohmann::ordered_json json;
    json["model_type"] = c.model_type == ModelType::llama ? "llama" : "qwen2";
    for (const auto& k : kCounts) json[k.name] = c.*k.field;
    for (const auto& k : kNumbers) json[k.name] = c.*k.field;
    json["tie_word_embeddings"] = c.tie_word_embeddings;
    // Written only where they say something: a run's model as it was written before there were these keys stays what it was.
    if (c.attention_bias) json["attention_bias"] = true;
    if (c.rope_scaling.type != RopeType::plain) json["rope_scaling"] = to_json(c.rope_scaling);
    return json.dump();
}

}  // namespace skerry::node
