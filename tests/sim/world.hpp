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

/// Streams of chance. Each party has its own, so that a fault more or less does not reshuffle the rest.
enum Stream : std::uint64_t { settings_stream = 1, fault_stream, coordinator_stream, network_stream, node_stream = 100 };

class World {
  public:
    explicit World(std::uint64_t world_seed) : seed(world_seed) {}

    std::uint64_t seed;
    Mono now{Millis(1000)};
    bool trace = false;
    std::uint64_t events = 0;
    /// Of everything that happened, in order: equal for equal runs.
    std::uint64_t hash = 0;
    void mix(std::uint64_t value) { hash = splitmix64_finalise(hash ^ value) + 0x9E3779B97F4A7C15ULL; }

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
        mix(static_cast<std::uint64_t>(now.time_since_epoch().count()));
        mix(order_);
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

/// The world as one party sees it: everybody's time and order, its own chance.
class Corner {
  public:
    Corner(World& world, std::uint64_t stream) : now(world.now), trace(world.trace), rng(world.seed, stream), world_(world) {}

    const Mono& now;
    const bool& trace;
    Rng rng;
    void after(Millis delay, std::function<void()> what) { world_.after(delay, std::move(what)); }
    void say(const std::string& who, const std::string& what) const { world_.say(who, what); }
    void mix(std::uint64_t value) { world_.mix(value); }

  private:
    World& world_;
};

}  // namespace skerry::sim
