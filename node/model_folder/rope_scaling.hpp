#pragma once
// How a model's rotary embedding is stretched beyond the length it was first trained on. Pure.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry::node {

enum class RopeType { plain, linear, llama3 };

/// Hugging Face's `rope_scaling`. A type's unused numbers stay at these defaults.
struct RopeScaling {
    RopeType type = RopeType::plain;
    double factor = 1.0;            ///< linear, llama3
    double low_freq_factor = 1.0;   ///< llama3
    double high_freq_factor = 4.0;  ///< llama3
    std::uint32_t original_max_position_embeddings = 1;  ///< llama3

    friend bool operator==(const RopeScaling&, const RopeScaling&) = default;
};

/// `value`: an object, or null for the plain one. `where` names it in errors. `rope_theta` in it is not looked at.
/// Errors: config_invalid: another type, a key that the type does not have, a number missing or out of range.
Result<RopeScaling> parse_rope_scaling(const nlohmann::json& value, const std::string& where);

/// Errors: config_invalid (also of one built by hand).
Result<void> check(const RopeScaling& scaling);

/// Null for the plain one; `parse_rope_scaling` reads it back to an equal value.
nlohmann::ordered_json to_json(const RopeScaling& scaling);

/// Radians per position of each pair, [head_dim / 2]: theta^(-2i / head_dim), then scaled. Rounded to float once or twice.
std::vector<float> rope_frequencies(const RopeScaling& scaling, double theta, std::uint32_t head_dim);

}  // namespace skerry::node
