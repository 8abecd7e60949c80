#pragma once
// A rate of bytes, held on average over a fraction of a second. Knows no clock: the caller says what time it is.

#include <algorithm>
#include <cstdint>

#include "protocol/base/units.hpp"

namespace skerry {

/// One goes ahead while nothing is owed, then owes what it took: a large message waits for its own bytes, not before
/// them. What was not used is worth a tenth of a second at most, so a pause is not followed by a burst.
class TokenBucket {
  public:
    /// 0: no limit.
    void set_rate(std::uint64_t bytes_per_s, Mono now) {
        refill(now);
        rate_ = bytes_per_s;
        level_ = std::min(level_, most());
    }
    std::uint64_t rate() const { return rate_; }
    bool ready(Mono now) {
        refill(now);
        return rate_ == 0 || level_ >= 0;
    }
    void take(std::uint64_t bytes, Mono now) {
        refill(now);
        if (rate_ > 0) level_ -= static_cast<std::int64_t>(bytes * 1000);
    }
    /// Until it is ready.
    Millis wait(Mono now) {
        if (ready(now)) return Millis(0);
        return Millis((-level_ + static_cast<std::int64_t>(rate_) - 1) / static_cast<std::int64_t>(rate_));
    }

  private:
    std::int64_t most() const { return static_cast<std::int64_t>(rate_) * 100; }
    void refill(Mono now) {
        if (now <= at_) return;
        // A day at 10 Gbit/s fits; more of a pause than that is worth nothing anyway.
        const auto ms = std::min<std::int64_t>((now - at_).count(), 24 * 3600 * 1000);
        at_ = now;
        level_ = std::min(most(), level_ + static_cast<std::int64_t>(rate_) * ms);
    }

    std::uint64_t rate_ = 0;
    std::int64_t level_ = 0;  ///< thousandths of a byte; below 0: owed
    Mono at_{};
};

}  // namespace skerry
