#include "protocol/config/strict_toml.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "protocol/config/quantity.hpp"

namespace skerry {
namespace detail {

struct TomlState {
    toml::table table;
    std::string name;
    std::map<std::string, std::set<std::string>, std::less<>> known;  ///< section -> keys
    std::multimap<unsigned, std::string> errors;                      ///< by line

    void complain(unsigned line, std::string what) { errors.emplace(line, std::move(what)); }
    const toml::table* find(std::string_view path) const {
        if (path.empty()) return &table;
        return table.at_path(path).as_table();
    }
};

}  // namespace detail

namespace {

std::string where(std::string_view section) {
    return section.empty() ? "at the top" : "in [" + std::string(section) + "]";
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    // Swapped neighbours count once: the commonest slip of the fingers.
    std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
    for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        for (std::size_t j = 1; j <= b.size(); ++j) {
            std::size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
            d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[a.size()][b.size()];
}

unsigned line_of(const toml::node& node) { return static_cast<unsigned>(node.source().begin.line); }

/// Unknown keys of one table, then of the tables in it.
void check_table(detail::TomlState& state, const toml::table& table, const std::string& path) {
    static const std::set<std::string> kNone;
    auto found = state.known.find(path);
    const auto& keys = found == state.known.end() ? kNone : found->second;
    for (const auto& [raw, node] : table) {
        std::string key(raw.str());
        std::string inner = path.empty() ? key : path + "." + key;
        if (const auto* sub = node.as_table(); sub != nullptr && state.known.contains(inner)) {
            check_table(state, *sub, inner);
            continue;
        }
        if (keys.contains(key)) continue;
        std::vector<std::string> words(keys.begin(), keys.end());
        for (const auto& [section, unused] : state.known) {
            if (path.empty() && !section.empty()) words.push_back(section);
        }
        std::string what = node.is_table() ? "unknown section [" + inner + "]"
                                           : "unknown key '" + key + "' " + where(path);
        if (auto meant = closest_word(key, words)) {
            what += "; did you mean '" + *meant + "'?";
        } else {
            for (const auto& [section, others] : state.known) {
                if (section != path && others.contains(key)) {
                    what += "; it belongs " + where(section);
                    break;
                }
            }
        }
        state.complain(static_cast<unsigned>(raw.source().begin.line), what);
    }
}

}  // namespace

std::optional<std::string> closest_word(std::string_view word, const std::vector<std::string>& known) {
    std::optional<std::string> best;
    std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (const std::string& candidate : known) {
        std::size_t distance = edit_distance(word, candidate);
        if (distance < least) {
            least = distance;
            best = candidate;
        }
    }
    return best;
}

// --------------------------------------------------------------------------------------------- sections

TomlSection::TomlSection(detail::TomlState& state, std::string path)
    : state_(&state), path_(std::move(path)) {}

bool TomlSection::present() const { return state_->find(path_) != nullptr; }

bool TomlSection::has(std::string_view key) {
    state_->known[path_].emplace(key);
    const auto* table = state_->find(path_);
    return table != nullptr && table->contains(key);
}

namespace {

const toml::node* lookup(detail::TomlState& state, const std::string& path, std::string_view key) {
    state.known[path].emplace(key);
    const auto* table = state.find(path);
    return table == nullptr ? nullptr : table->get(key);
}

}  // namespace

void TomlSection::complain(std::string_view key, std::string what) {
    const auto* node = lookup(*state_, path_, key);
    const auto* table = state_->find(path_);
    unsigned line = node != nullptr ? line_of(*node) : table != nullptr ? line_of(*table) : 1;
    state_->complain(std::max(1U, line), "'" + std::string(key) + "' " + where(path_) + ": " + what);
}

std::string TomlSection::text(std::string_view key, std::string_view fallback) {
    const auto* node = lookup(*state_, path_, key);
    if (node == nullptr) return std::string(fallback);
    if (const auto* value = node->as_string()) return value->get();
    complain(key, "expected a text in quotes");
    return std::string(fallback);
}

std::string TomlSection::required_text(std::string_view key) {
    if (lookup(*state_, path_, key) == nullptr) {
        complain(key, "is missing");
        return {};
    }
    return text(key, "");
}

bool TomlSection::boolean(std::string_view key, bool fallback) {
    const auto* node = lookup(*state_, path_, key);
    if (node == nullptr) return fallback;
    if (const auto* value = node->as_boolean()) return value->get();
    complain(key, "expected true or false");
    return fallback;
}

std::int64_t TomlSection::integer(std::string_view key, std::int64_t fallback, std::int64_t least,
                                  std::int64_t most) {
    const auto* node = lookup(*state_, path_, key);
    if (node == nullptr) return fallback;
    const auto* value = node->as_integer();
    if (value != nullptr && value->get() >= least && value->get() <= most) return value->get();
    complain(key, "expected a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return fallback;
}

std::int64_t TomlSection::required_integer(std::string_view key, std::int64_t least, std::int64_t most) {
    if (lookup(*state_, path_, key) == nullptr) {
        complain(key, "is missing");
        return least;
    }
    return integer(key, least, least, most);
}

double TomlSection::number(std::string_view key, double fallback, double least, double most) {
    const auto* node = lookup(*state_, path_, key);
    if (node == nullptr) return fallback;
    double value = std::nan("");
    if (const auto* real = node->as_floating_point()) value = real->get();
    if (const auto* whole = node->as_integer()) value = static_cast<double>(whole->get());
    if (value >= least && value <= most) return value;
    std::ostringstream what;
    what << "expected a number from " << least << " to " << most;
    complain(key, what.str());
    return fallback;
}

Millis TomlSection::duration(std::string_view key, Millis fallback) {
    if (lookup(*state_, path_, key) == nullptr) return fallback;
    auto value = parse_duration(text(key, ""));
    if (value) return *value;
    complain(key, "expected a duration such as \"10s\", \"5min\" or \"1h\"");
    return fallback;
}

std::uint64_t TomlSection::size(std::string_view key, std::uint64_t fallback) {
    const auto* node = lookup(*state_, path_, key);
    if (node == nullptr) return fallback;
    const auto* whole = node->as_integer();
    if (whole != nullptr && whole->get() >= 0) return static_cast<std::uint64_t>(whole->get());
    if (const auto* words = node->as_string()) {
        auto value = parse_size(words->get());
        if (value) return *value;
    }
    complain(key, "expected a size such as \"512MiB\" or \"8GiB\"");
    return fallback;
}

std::vector<std::string> TomlSection::texts(std::string_view key, std::vector<std::string> fallback) {
    const auto* node = lookup(*state_, path_, key);
    if (node == nullptr) return fallback;
    std::vector<std::string> out;
    const auto* list = node->as_array();
    if (list != nullptr) {
        for (const auto& item : *list) {
            if (const auto* value = item.as_string()) out.push_back(value->get());
        }
    }
    if (list != nullptr && out.size() == list->size()) return out;
    complain(key, "expected a list of texts");
    return fallback;
}

std::vector<double> TomlSection::numbers(std::string_view key, std::vector<double> fallback) {
    const auto* node = lookup(*state_, path_, key);
    if (node == nullptr) return fallback;
    std::vector<double> out;
    const auto* list = node->as_array();
    if (list != nullptr) {
        for (const auto& item : *list) {
            if (auto value = item.value<double>(); value && item.is_number()) out.push_back(*value);
        }
    }
    if (list != nullptr && out.size() == list->size()) return out;
    complain(key, "expected a list of numbers");
    return fallback;
}

std::size_t TomlSection::choice(std::string_view key, const std::vector<std::string_view>& words,
                                std::size_t fallback) {
    if (lookup(*state_, path_, key) == nullptr) return fallback;
    std::string value = text(key, words[fallback]);
    auto found = std::find(words.begin(), words.end(), value);
    if (found != words.end()) return static_cast<std::size_t>(found - words.begin());
    std::string what = "expected";
    for (std::size_t i = 0; i < words.size(); ++i) {
        what += i == 0 ? " " : i + 1 == words.size() ? " or " : ", ";
        what += "\"" + std::string(words[i]) + "\"";
    }
    complain(key, what);
    return fallback;
}

std::string TomlSection::to_json(const std::vector<std::string_view>& known) {
    toml::table picked;
    for (std::string_view key : known) {
        const auto* node = lookup(*state_, path_, key);
        if (node == nullptr) continue;
        node->visit([&](const auto& value) { picked.insert_or_assign(key, value); });
    }
    std::ostringstream out;
    out << toml::json_formatter(picked, toml::json_formatter::default_flags);
    return out.str();
}

// ------------------------------------------------------------------------------------------------- file

StrictToml::StrictToml(std::unique_ptr<detail::TomlState> state) : state_(std::move(state)) {
    state_->known[""];
}
StrictToml::~StrictToml() = default;
StrictToml::StrictToml(StrictToml&&) noexcept = default;
StrictToml& StrictToml::operator=(StrictToml&&) noexcept = default;

Result<StrictToml> StrictToml::load(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        std::error_code ec;
        bool there = std::filesystem::exists(file, ec);
        return fail(there ? Errc::io_error : Errc::not_found, "cannot read " + file.string());
    }
    std::ostringstream text;
    text << in.rdbuf();
    return parse(text.str(), file.filename().string());
}

Result<StrictToml> StrictToml::parse(std::string_view text, std::string name) {
    auto state = std::make_unique<detail::TomlState>();
    state->name = std::move(name);
    toml::parse_result parsed = toml::parse(text, state->name);
    if (!parsed) {
        const auto& error = parsed.error();
        return fail(Errc::config_invalid, state->name + ":" + std::to_string(error.source().begin.line) + ": " +
                                              std::string(error.description()));
    }
    state->table = std::move(parsed).table();
    return StrictToml(std::move(state));
}

void StrictToml::expect_schema(std::string_view schema) {
    auto top = root();
    if (!top.has("schema")) {
        top.complain("schema", "is missing; write  schema = \"" + std::string(schema) + "\"");
        return;
    }
    auto written = top.text("schema", schema);
    if (written != schema)
        top.complain("schema", "is \"" + written + "\", this program reads \"" + std::string(schema) + "\"");
}

TomlSection StrictToml::section(std::string_view path) {
    state_->known[std::string(path)];
    TomlSection made(*state_, std::string(path));
    if (!path.empty() && !made.present()) {
        auto node = state_->table.at_path(path);
        if (node) state_->complain(line_of(*node.node()), "'" + std::string(path) + "': expected a section");
    }
    return made;
}

Result<void> StrictToml::finish() {
    check_table(*state_, state_->table, "");
    if (state_->errors.empty()) return {};
    const auto& [line, what] = *state_->errors.begin();
    return fail(Errc::config_invalid, state_->name + ":" + std::to_string(line) + ": " + what);
}

}  // namespace skerry
