#pragma once
// The hours of the week in which an owner lets the machine work. Pure; local time is the caller's business.

#include <bitset>
#include <optional>
#include <string>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry::node {

inline constexpr int kWeekMinutes = 7 * 24 * 60;

/// Minutes of the week, counted from Monday 00:00. Without any rule: always.
class WeekHours {
  public:
    /// Each text is days, hours or both: "22:00-07:00", "sat,sun", "mon-fri 18:00-08:00". Hours that end before they begin
    /// run into the next day. Open whenever one of them says so. Errors: usage.
    static Result<WeekHours> parse(const std::vector<std::string>& texts);

    WeekHours() { open_.set(); }
    bool always() const { return open_.all(); }
    bool open(int minute) const { return open_.test(static_cast<std::size_t>(minute % kWeekMinutes)); }
    /// Minutes from this one to the first that differs; nothing if none does.
    std::optional<int> until_change(int minute) const;

    friend bool operator==(const WeekHours&, const WeekHours&) = default;

  private:
    std::bitset<kWeekMinutes> open_;
};

}  // namespace skerry::node
