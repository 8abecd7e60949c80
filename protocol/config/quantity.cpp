#include "protocol/config/quantity.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>

namespace skerry {
namespace {

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};
constexpr Unit kTimes[] = {{"ms", 1},          {"s", 1000},        {"min", 60'000},
                           {"h", 3'600'000},   {"d", 86'400'000}};
constexpr Unit kSizes[] = {{"", 1},
                           {"B", 1},
                           {"KiB", kKiB},
                           {"MiB", kMiB},
                           {"GiB", kGiB},
                           {"TiB", 1024 * kGiB},
                           {"kB", 1000},
                           {"MB", 1'000'000},
                           {"GB", 1'000'000'000},
                           {"TB", 1'000'000'000'000}};

/// Bytes a second.
constexpr Unit kRates[] = {{"kbit", 125}, {"Mbit", 125'000}, {"Gbit", 125'000'000}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

template <std::size_t N>
const Unit* find_unit(const Unit (&units)[N], std::string_view name) {
    for (const Unit& unit : units) {
        if (unit.name == name) return &unit;
    }
    return nullptr;
}

/// One `number unit` off the front of `rest`; false if there is none or it overflows.
template <std::size_t N>
bool take(std::string_view& rest, const Unit (&units)[N], std::uint64_t& total) {
    std::uint64_t number = 0;
    auto [end, ec] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (ec != std::errc{}) return false;
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
    std::size_t letters = 0;
    while (letters < rest.size() && !is_digit(rest[letters]) && rest[letters] != ' ') ++letters;
    const Unit* unit = find_unit(units, rest.substr(0, letters));
    if (unit == nullptr) return false;
    rest.remove_prefix(letters);
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (number > kMost / unit->factor || total > kMost - number * unit->factor) return false;
    total += number * unit->factor;
    return true;
}

}  // namespace

Result<Millis> parse_duration(std::string_view text) {
    std::string_view rest = text;
    std::uint64_t total = 0;
    bool ok = !rest.empty();
    while (ok && !rest.empty()) {
        ok = take(rest, kTimes, total);
        while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
    }
    if (!ok) {
        return fail(Errc::usage, "'" + std::string(text) + "' is no duration",
                    "write it like 500ms, 10s, 5min, 1h or 7d");
    }
    return Millis(static_cast<Millis::rep>(total));
}

Result<std::uint64_t> parse_size(std::string_view text) {
    std::string_view rest = text;
    std::uint64_t total = 0;
    if (rest.empty() || !take(rest, kSizes, total) || !rest.empty())
        return fail(Errc::usage, "'" + std::string(text) + "' is no size",
                    "write it like 512MiB, 8GiB, or a number of bytes");
    return total;
}

Result<std::uint64_t> parse_rate(std::string_view text) {
    std::string_view rest = text;
    std::uint64_t total = 0;
    if (rest.empty() || !take(rest, kRates, total) || !rest.empty() || total == 0)
        return fail(Errc::usage, "'" + std::string(text) + "' is no rate", "write it like 500kbit, 20Mbit or 1Gbit");
    return total;
}

std::string to_duration_text(Millis value) {
    long long ms = value.count();
    if (ms < 0) ms = 0;
    if (ms < 1000) return std::to_string(ms) + " ms";
    long long s = ms / 1000;
    auto two = [](long long a, const char* ua, long long b, const char* ub) {
        std::string out = std::to_string(a) + " " + ua;
        if (b != 0) out += " " + std::to_string(b) + " " + ub;
        return out;
    };
    if (s < 60) return std::to_string(s) + " s";
    if (s < 3600) return two(s / 60, "min", s % 60, "s");
    if (s < 86400) return two(s / 3600, "h", s % 3600 / 60, "min");
    return two(s / 86400, "d", s % 86400 / 3600, "h");
}

std::string to_size_text(std::uint64_t bytes) {
    static constexpr const char* kNames[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < std::size(kNames)) {
        value /= 1024;
        ++unit;
    }
    char out[32];
    std::snprintf(out, sizeof out, unit == 0 ? "%.0f %s" : value < 10 ? "%.2f %s" : "%.1f %s", value,
                  kNames[unit]);
    return out;
}

std::string to_count_text(double value) {
    static constexpr const char* kNames[] = {"", " k", " M", " G", " T"};
    std::size_t unit = 0;
    while (std::fabs(value) >= 1000 && unit + 1 < std::size(kNames)) {
        value /= 1000;
        ++unit;
    }
    char out[32];
    std::snprintf(out, sizeof out, unit == 0 ? "%.0f%s" : value < 10 ? "%.2f%s" : "%.1f%s", value, kNames[unit]);
    return out;
}

}  // namespace skerry
