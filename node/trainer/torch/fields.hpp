#pragma once
// The JSON object of a line, read strictly: a missing, an unknown and a mistyped key are all errors.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry::node {

using Json = nlohmann::json;

/// After the first bad field every getter returns a default and `finish` says what was wrong.
class Fields {
  public:
    explicit Fields(const Json& object) : object_(object) {}

    std::uint64_t count(const char* key, std::uint64_t limit = std::uint64_t{1} << 53) {
        const Json* v = get(key);
        if (v && v->is_number_integer() && *v >= 0 && *v <= limit) return v->get<std::uint64_t>();
        return bad(key, "expected a count"), 0;
    }
    double number(const char* key) {
        const Json* v = get(key);
        if (v && v->is_number()) return v->get<double>();
        return bad(key, "expected a number"), 0;
    }
    /// Of a kind that the caller looks at.
    const Json& any(const char* key) {
        static const Json kNull;
        const Json* v = get(key);
        return v ? *v : kNull;
    }
    bool flag(const char* key) {
        const Json* v = get(key);
        if (v && v->is_boolean()) return v->get<bool>();
        return bad(key, "expected true or false"), false;
    }
    std::vector<std::uint32_t> tokens(const char* key) {
        std::vector<std::uint32_t> out;
        for (const Json& t : list(key)) {
            if (t.is_number_unsigned() && t <= (1U << 22)) out.push_back(t.get<std::uint32_t>());
            else bad(key, "expected tokens");
        }
        return out;
    }
    std::string text(const char* key, std::size_t limit = 32768) {
        const Json* v = get(key);
        if (v && v->is_string() && v->get_ref<const std::string&>().size() <= limit) return v->get<std::string>();
        return bad(key, "expected a string"), std::string();
    }
    const Json& list(const char* key) {
        static const Json kEmpty = Json::array();
        const Json* v = get(key);
        if (v && v->is_array()) return *v;
        return bad(key, "expected a list"), kEmpty;
    }
    const Json& object(const char* key) {
        static const Json kEmpty = Json::object();
        const Json* v = get(key);
        if (v && v->is_object()) return *v;
        return bad(key, "expected an object"), kEmpty;
    }
    void bad(const std::string& key, const std::string& what) {
        if (problem_.empty()) problem_ = key + ": " + what;
    }
    /// config_invalid if a field was bad or a key was not asked for.
    Result<void> finish() {
        for (const auto& [key, value] : object_.items())
            if (!seen_.contains(key)) bad(key, "unknown key");
        if (!problem_.empty()) return fail(Errc::config_invalid, problem_);
        return {};
    }

  private:
    const Json* get(const char* key) {
        seen_.insert(key);
        const auto found = object_.find(key);
        if (found == object_.end()) {
            bad(key, "missing");
            return nullptr;
        }
        return &*found;
    }
    const Json& object_;
    std::set<std::string> seen_;
    std::string problem_;
};

/// A list of lists of counts, e.g. [[file, offset], ...].
template <std::size_t N>
Result<std::vector<std::array<std::uint64_t, N>>> parse_tuples(const Json& list) {
    std::vector<std::array<std::uint64_t, N>> out;
    for (const Json& item : list) {
        if (!item.is_array() || item.size() != N) return fail(Errc::config_invalid, "expected lists of counts");
        auto& row = out.emplace_back();
        for (std::size_t i = 0; i < N; ++i) {
            if (!item[i].is_number_unsigned() || item[i] > (std::uint64_t{1} << 53))
                return fail(Errc::config_invalid, "expected lists of counts");
            row[i] = item[i].get<std::uint64_t>();
        }
    }
    return out;
}

}  // namespace skerry::node
