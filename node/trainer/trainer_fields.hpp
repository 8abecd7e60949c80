#pragma once
// Reading what a trainer says: missing or mistyped fields read as a default. Internal to child_process.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "node/trainer/round.hpp"
#include "protocol/base/error.hpp"

namespace skerry::node {

inline std::uint64_t count_or(const nlohmann::json& object, const char* key, std::uint64_t otherwise) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : otherwise;
}

inline double number_or(const nlohmann::json& object, const char* key, double otherwise) {
    const auto found = object.find(key);
    return found != object.end() && found->is_number() ? found->get<double>() : otherwise;
}

inline bool flag_or(const nlohmann::json& object, const char* key, bool otherwise = false) {
    const auto found = object.find(key);
    return found != object.end() && found->is_boolean() ? found->get<bool>() : otherwise;
}

inline std::string text_or(const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The list under "tokens"; none if it is not one of tokens.
inline std::optional<std::vector<std::uint32_t>> tokens_of(const nlohmann::json& object) {
    const auto found = object.find("tokens");
    if (found == object.end() || !found->is_array()) return std::nullopt;
    std::vector<std::uint32_t> out;
    for (const auto& token : *found) {
        if (!token.is_number_unsigned() || token > std::uint64_t{0xFFFFFFFF}) return std::nullopt;
        out.push_back(token.get<std::uint32_t>());
    }
    return out;
}

inline DeltaCounters counters_of(const nlohmann::json& object) {
    return {count_or(object, "steps", 0), count_or(object, "sequences", 0), count_or(object, "tokens", 0),
            number_or(object, "loss", 0)};
}

/// The code of that name; trainer_failed for a name we do not know.
inline Errc errc_of(const std::string& name) {
    for (int i = 0; i <= static_cast<int>(Errc::database_behind); ++i)
        if (to_name(static_cast<Errc>(i)) == name) return static_cast<Errc>(i);
    return Errc::trainer_failed;
}

}  // namespace skerry::node
