#pragma once
// Config files in TOML where a key that nobody reads is an error, with its line and the key that was probably meant.
//
//     auto toml = StrictToml::load("node.toml");
//     toml->expect_schema("skerry.node/1");
//     auto limits = toml->section("limits");
//     config.disk_bytes = limits.size("disk", 8 * kGiB);
//     auto ok = toml->finish();          // the first error by line, of any kind; config is usable only if it is ok
//
// Getters return the default on a bad value and remember the error. What a getter asked for is what is known.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/base/result.hpp"
#include "protocol/base/units.hpp"

namespace skerry {

namespace detail {
struct TomlState;
}

/// One table of the file; "" is the top, "train.optimizer" a nested or inline one. May be absent: defaults then.
class TomlSection {
  public:
    bool present() const;
    /// Whether the key is written in the file (and marks it as known).
    bool has(std::string_view key);

    std::string text(std::string_view key, std::string_view fallback);
    std::string required_text(std::string_view key);
    bool boolean(std::string_view key, bool fallback);
    std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t least, std::int64_t most);
    std::int64_t required_integer(std::string_view key, std::int64_t least, std::int64_t most);
    /// Integer or float.
    double number(std::string_view key, double fallback, double least, double most);
    /// "10s"; see parse_duration.
    Millis duration(std::string_view key, Millis fallback);
    /// "8GiB" or an integer of bytes.
    std::uint64_t size(std::string_view key, std::uint64_t fallback);
    std::vector<std::string> texts(std::string_view key, std::vector<std::string> fallback = {});
    std::vector<double> numbers(std::string_view key, std::vector<double> fallback);
    /// One of `words`, by index.
    std::size_t choice(std::string_view key, const std::vector<std::string_view>& words, std::size_t fallback);
    /// The keys of `known` that are there, as one JSON object.
    std::string to_json(const std::vector<std::string_view>& known);

    /// An error of the caller's own about this key, with file and line.
    void complain(std::string_view key, std::string what);

  private:
    friend class StrictToml;
    TomlSection(detail::TomlState& state, std::string path);
    detail::TomlState* state_;
    std::string path_;
};

class StrictToml {
  public:
    /// Errors: not_found, io_error, config_invalid (syntax, with line).
    static Result<StrictToml> load(const std::filesystem::path& file);
    /// `name` stands in error messages.
    static Result<StrictToml> parse(std::string_view text, std::string name);
    ~StrictToml();
    StrictToml(StrictToml&&) noexcept;
    StrictToml& operator=(StrictToml&&) noexcept;

    /// The top-level `schema` must be exactly this.
    void expect_schema(std::string_view schema);
    TomlSection root() { return section(""); }
    /// Marks the section as known. Sections live as long as the StrictToml.
    TomlSection section(std::string_view path);

    /// The first error by line: bad value, missing key, unknown key or section. Errors: config_invalid.
    Result<void> finish();

  private:
    explicit StrictToml(std::unique_ptr<detail::TomlState> state);
    std::unique_ptr<detail::TomlState> state_;
};

/// The word of `known` that is closest to `word`, if it is close (a third of its letters may differ).
std::optional<std::string> closest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace skerry
