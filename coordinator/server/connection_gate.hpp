#pragma once
// Who may open a connection, before a byte of theirs is read.

#include <cstddef>
#include <map>
#include <string>

#include "protocol/base/units.hpp"

namespace skerry::coordinator {

struct GateLimits {
    std::size_t connections = 256;
    std::size_t per_address = 128;
    double new_per_address_per_s = 50;  ///< bursts of twice that
};

/// Pure. Remembers at most kMaxAddresses addresses without a connection; beyond that the oldest are forgotten.
class ConnectionGate {
  public:
    explicit ConnectionGate(GateLimits limits) : limits_(limits) {}

    /// True: counts as open until `leave`.
    bool enter(const std::string& address, Mono now);
    void leave(const std::string& address);

    std::size_t open() const { return open_; }
    std::uint64_t refused() const { return refused_; }

  private:
    struct Source {
        std::size_t open = 0;
        double tokens = 0;
        Mono filled{};
    };
    void forget_quiet(Mono now);

    static constexpr std::size_t kMaxAddresses = 4096;
    GateLimits limits_;
    std::map<std::string, Source> sources_;
    std::size_t open_ = 0;
    std::uint64_t refused_ = 0;
};

/// A bucket that is refilled with time: how long a sender must wait before its next message is read.
class RateLimit {
  public:
    RateLimit(double per_s, double burst) : per_s_(per_s), burst_(burst), tokens_(burst) {}
    /// Takes `cost` and answers how long to wait before going on (zero within the burst).
    Millis take(double cost, Mono now);
    /// For senders that are refused rather than delayed: takes `cost`, or nothing and false.
    bool try_take(double cost, Mono now);

  private:
    void fill(Mono now);
    double per_s_;
    double burst_;
    double tokens_;
    Mono filled_{};
};

}  // namespace skerry::coordinator
