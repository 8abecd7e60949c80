#include "node/config/week_hours.hpp"

#include <array>
#include <charconv>
#include <sstream>
#include <string_view>

namespace skerry::node {
namespace {

constexpr std::array<std::string_view, 7> kDays{"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
constexpr int kDay = 24 * 60;
using Days = std::bitset<7>;

std::optional<std::size_t> day_of(std::string_view text) {
    for (std::size_t i = 0; i < kDays.size(); ++i)
        if (kDays[i] == text) return i;
    return std::nullopt;
}

/// "HH:MM", up to 24:00.
std::optional<int> minute_of(std::string_view text) {
    int hour = -1, minute = -1;
    if (text.size() != 5 || text[2] != ':') return std::nullopt;
    auto number = [&](std::size_t at, int& out) {
        auto [end, ec] = std::from_chars(text.data() + at, text.data() + at + 2, out);
        return ec == std::errc{} && end == text.data() + at + 2;
    };
    if (!number(0, hour) || !number(3, minute) || hour < 0 || minute < 0 || minute > 59 || hour * 60 + minute > kDay) return std::nullopt;
    return hour * 60 + minute;
}

std::optional<std::pair<int, int>> hours_of(std::string_view text) {
    const auto dash = text.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    auto from = minute_of(text.substr(0, dash)), to = minute_of(text.substr(dash + 1));
    if (!from || !to || *from == *to || *from == kDay) return std::nullopt;
    return std::pair{*from, *to};
}

/// "sat,sun", "mon-fri", "fri-mon".
std::optional<Days> days_of(std::string_view text) {
    Days out;
    while (!text.empty()) {
        const auto comma = text.find(',');
        const std::string_view one = text.substr(0, comma);
        text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
        const auto dash = one.find('-');
        auto from = day_of(one.substr(0, dash));
        auto to = dash == std::string_view::npos ? from : day_of(one.substr(dash + 1));
        if (!from || !to) return std::nullopt;
        for (std::size_t day = *from;; day = (day + 1) % kDays.size()) {
            out.set(day);
            if (day == *to) break;
        }
    }
    return out.any() ? std::optional(out) : std::nullopt;
}

}  // namespace

Result<WeekHours> WeekHours::parse(const std::vector<std::string>& texts) {
    WeekHours out;
    if (texts.empty()) return out;
    out.open_.reset();
    for (const std::string& text : texts) {
        std::istringstream words(text);
        std::string first, second, more;
        words >> first >> second >> more;
        auto days = days_of(first);
        auto hours = hours_of(days ? second : first);
        const bool complete = more.empty() && (days ? second.empty() || hours : hours && second.empty());
        if (!complete)
            return fail(Errc::usage, "'" + text + "' is no time of the week",
                        "write it like \"22:00-07:00\", \"sat,sun\" or \"mon-fri 18:00-08:00\"");
        if (!days) days = Days{}.set();
        if (!hours) hours = {0, kDay};
        const int length = hours->second - hours->first + (hours->second > hours->first ? 0 : kDay);
        for (std::size_t day = 0; day < kDays.size(); ++day) {
            if (!days->test(day)) continue;
            const int begin = static_cast<int>(day) * kDay + hours->first;
            for (int minute = begin; minute < begin + length; ++minute) out.open_.set(static_cast<std::size_t>(minute % kWeekMinutes));
        }
    }
    return out;
}

std::optional<int> WeekHours::until_change(int minute) const {
    for (int after = 1; after < kWeekMinutes; ++after)
        if (open(minute + after) != open(minute)) return after;
    return std::nullopt;
}

}  // namespace skerry::node
