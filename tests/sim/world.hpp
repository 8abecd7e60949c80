#pragma once
// Time, chance and order of a simulation: one thread, one seed. Everything that happens is an event in one queue.

#include <cstdint>
#include <functional>
#include <queue>
#include <stdexcept>
#include <string>
#include <vector>

#include "protocol/base/units.hpp"
#include "protocol/rules/data_order.hpp"

namespace skerry::sim {

/// A broken invariant. `name` is that of the step protocol's section 11.
struct Violation : std::runtime_error {
    Violation(const std::string& name, const std::string& what) : std::runtime_error(name + ": " + what) {}
};

inline void require(bool holds, const char* name, const std::string& what) {
    if (!holds) throw Violation(name, what);
}

/// A stream of random numbers; streams of other ids are independent.
class Rng {
  public:
    Rng(std::uint64_t seed, std::uint64_t stream) : state_(splitmix64_finalise(seed ^ (stream << 32 | 0x5eed))) {}
    std::uint64_t next() {
        state_ += 0x9E3779B97F4A7C15ULL;
        return splitmix64_finalise(state_);
    }
    /// In [lo, hi].
    std::int64_t in(std::int64_t lo, std::int64_t hi) {
        return lo + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(hi - lo + 1));
    }
    bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < p; }
    Millis ms(std::int64_t lo, std::int64_t hi) { return Millis(in(lo, hi)); }

  private:
    std::uint64_t state_;
};

class World {
  public:
    explicit World(std::uint64_t seed) : rng(seed, 1) {}

    Mono now{Millis(1000)};
    Rng rng;
    bool trace = false;
    std::uint64_t events = 0;

    void after(Millis delay, std::function<void()> what) {
        queue_.push({now + std::max(delay, Millis(0)), ++order_, std::move(what)});
    }
    /// Runs the next event. False when there is none before `until`.
    bool run_one(Mono until) {
        if (queue_.empty() || queue_.top().at > until) {
            now = std::max(now, until);
            return false;
        }
        auto what = std::move(const_cast<Item&>(queue_.top()).what);
        now = queue_.top().at;
        queue_.pop();
        ++events;
        what();
        return true;
    }
    void say(const std::string& who, const std::string& what) const;

  private:
    struct Item {
        Mono at;
        std::uint64_t order;
        std::function<void()> what;
        bool operator<(const Item& other) const {
            return at != other.at ? at > other.at : order > other.order;
        }
    };
    std::priority_queue<Item> queue_;
    std::uint64_t order_ = 0;
};

}  // namespace skerry::sim
