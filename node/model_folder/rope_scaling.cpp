#include "node/model_folder/rope_scaling.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

namespace skerry::node {
namespace {

using Json = nlohmann::json;

struct Number {
    const char* name;
    double RopeScaling::*field;
    bool linear;  ///< whether the linear type has it, too
};
constexpr Number kNumbers[] = {{"factor", &RopeScaling::factor, true},
                               {"low_freq_factor", &RopeScaling::low_freq_factor, false},
                               {"high_freq_factor", &RopeScaling::high_freq_factor, false}};
constexpr const char* kOriginal = "original_max_position_embeddings";
constexpr double kMostFactor = 1e6;
constexpr std::uint32_t kMostPositions = 1U << 24;

Fail invalid(const std::string& key, const std::string& what) { return fail(Errc::config_invalid, key + ": " + what); }

Result<RopeType> type_of(const Json& value, const std::string& where) {
    // "type" is the older name; both may stand there.
    const Json fallback = "default";
    const Json name = value.value("rope_type", value.value("type", fallback));
    if (value.contains("rope_type") && value.contains("type") && value["type"] != value["rope_type"])
        return invalid(where + ".type", "contradicts rope_type");
    if (name == "default") return RopeType::plain;
    if (name == "linear") return RopeType::linear;
    if (name == "llama3") return RopeType::llama3;
    return invalid(where + ".rope_type", name.dump() + " is not supported (default, linear and llama3 are)");
}

/// Errors on the first key that means nothing for this type.
Result<void> check_keys(const Json& value, RopeType type, const std::string& where) {
    for (const auto& [key, v] : value.items()) {
        bool known = key == "rope_type" || key == "type" || key == "rope_theta" || v.is_null();
        known = known || (key == "partial_rotary_factor" && v.is_number() && v.get<double>() == 1.0);
        known = known || (key == kOriginal && type == RopeType::llama3);
        for (const auto& n : kNumbers) known = known || (key == n.name && (type == RopeType::llama3 || (n.linear && type == RopeType::linear)));
        if (!known) return invalid(where + "." + key, "is not supported with this rope_type");
    }
    return {};
}

}  // namespace

Result<RopeScaling> parse_rope_scaling(const Json& value, const std::string& where) {
    RopeScaling out;
    if (value.is_null()) return out;
    if (!value.is_object()) return invalid(where, "expected a table");
    auto type = type_of(value, where);
    if (!type) return fail(type.error());
    auto keys = check_keys(value, *type, where);
    if (!keys) return fail(keys.error());
    out.type = *type;
    for (const auto& n : kNumbers) {
        if (out.type == RopeType::plain || (out.type == RopeType::linear && !n.linear)) continue;
        if (!value.contains(n.name) || !value[n.name].is_number()) return invalid(where + "." + n.name, "expected a number");
        out.*n.field = value[n.name].get<double>();
    }
    if (out.type == RopeType::llama3) {
        const Json original = value.value(kOriginal, Json());
        if (!original.is_number_integer() || original < 1 || original > kMostPositions)
            return invalid(where + "." + kOriginal, "expected an integer from 1 to " + std::to_string(kMostPositions));
        out.original_max_position_embeddings = original.get<std::uint32_t>();
    }
    auto good = check(out);
    if (!good) return fail(good.error());
    return out;
}

Result<void> check(const RopeScaling& s) {
    const bool numbers = s.factor >= 1.0 && s.factor <= kMostFactor && s.low_freq_factor > 1e-6 && s.high_freq_factor <= kMostFactor;
    if (!numbers) return invalid("rope_scaling", "factor must be from 1 to 1000000, the frequencies' factors above 0");
    if (s.low_freq_factor >= s.high_freq_factor) return invalid("rope_scaling.high_freq_factor", "must be above low_freq_factor");
    const bool length = s.original_max_position_embeddings >= 1 && s.original_max_position_embeddings <= kMostPositions;
    if (!length) return invalid(std::string("rope_scaling.") + kOriginal, "out of range");
    return {};
}

nlohmann::ordered_json to_json(const RopeScaling& s) {
    nlohmann::ordered_json out;
    if (s.type == RopeType::plain) return out;
    out["rope_type"] = s.type == RopeType::linear ? "linear" : "llama3";
    out["factor"] = s.factor;
    if (s.type == RopeType::linear) return out;
    out["low_freq_factor"] = s.low_freq_factor;
    out["high_freq_factor"] = s.high_freq_factor;
    out[kOriginal] = s.original_max_position_embeddings;
    return out;
}

std::vector<float> rope_frequencies(const RopeScaling& s, double theta, std::uint32_t head_dim) {
    std::vector<float> out;
    for (std::uint32_t i = 0; i < head_dim / 2; ++i) {
        const double exponent = static_cast<double>(2 * i) / static_cast<double>(head_dim);
        const auto plain = static_cast<float>(1.0 / std::pow(theta, exponent));
        const double f = static_cast<double>(plain);
        if (s.type == RopeType::plain) {
            out.push_back(plain);
            continue;
        }
        double keep = 0;  // 1: as it was, 0: divided by the factor
        if (s.type == RopeType::llama3) {
            // Turns within the original length: many are kept, few are stretched, between them is a slope.
            const double turns = s.original_max_position_embeddings * f / (2 * std::numbers::pi);
            keep = std::clamp((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
        }
        out.push_back(static_cast<float>((1 - keep) * f / s.factor + keep * f));
    }
    return out;
}

}  // namespace skerry::node
