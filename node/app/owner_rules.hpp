#pragma once
// Whether the owner of this machine lets it work now, and if not, why and until when.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "node/config/week_hours.hpp"
#include "protocol/base/result.hpp"
#include "protocol/base/units.hpp"

namespace skerry::node {

using Wall = std::chrono::sys_seconds;

enum class PauseReason : std::uint8_t { none, user, schedule, transfer };
std::string_view to_word(PauseReason reason);

/// Why the node does not train; the first that holds of: the user said so, the day's bytes are used up, these are not its hours.
struct PauseState {
    PauseReason reason = PauseReason::none;
    std::optional<Wall> until;  ///< nothing: until the owner says otherwise
    friend bool operator==(const PauseState&, const PauseState&) = default;
};
/// "paused(user) until 16:31", with the date if that is not within a day.
std::string to_text(const PauseState& state, Wall now);
/// 2026-11-27T16:31:00+0100, local time.
std::string to_iso_text(Wall at);

/// Knows no clock and no disk. Days and hours are those of the machine's time zone.
class OwnerRules {
  public:
    /// What `to_json` wrote; a text that is damaged or of another format is an empty one. A file of ours is no reason not to start.
    void restore(const std::string& json);
    std::string to_json() const;

    void set(WeekHours hours, std::uint64_t daily_bytes);
    void pause(std::optional<Wall> until);
    void resume();
    /// Bytes of the data plane and of data shards, both ways, that went since the last call.
    void note_transfer(std::uint64_t bytes, Wall now);

    PauseState look(Wall now) const;
    /// Bytes of today.
    std::uint64_t transferred(Wall now) const;
    std::uint64_t daily_bytes() const { return daily_bytes_; }

  private:
    WeekHours hours_;
    std::uint64_t daily_bytes_ = 0;  ///< 0: no limit
    bool paused_ = false;
    std::optional<Wall> paused_until_;
    std::string day_;  ///< of `bytes_`, "2026-11-27"
    std::uint64_t bytes_ = 0;
};

}  // namespace skerry::node
