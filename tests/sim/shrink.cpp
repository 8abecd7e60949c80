// ddmin over the fault plan, then fewer nodes, shorter faults and an earlier end.

#include <algorithm>

#include "tests/sim/seeds.hpp"

namespace skerry::sim {

namespace {

constexpr int kMaxTries = 400;

class Shrinker {
  public:
    Shrinker(std::uint64_t seed, Overrides failing, std::string broken)
        : seed_(seed), best_(std::move(failing)), broken_(std::move(broken)) {}

    Overrides run() {
        fewer_faults();
        fewer_nodes();
        no_followers();
        shorter();
        fewer_faults();
        return best_;
    }

  private:
    /// Takes the candidate if it breaks the same invariant.
    bool better(const Overrides& candidate) {
        if (++tries_ > kMaxTries || try_seed(seed_, candidate).broken != broken_) return false;
        best_ = candidate;
        return true;
    }

    void fewer_faults() {
        for (std::size_t parts = 1; !best_.plan->empty();) {
            const std::size_t size = best_.plan->size();
            const std::size_t chunk = (size + parts - 1) / parts;
            bool less = false;
            for (std::size_t at = 0; at < size && !less; at += chunk) {
                Overrides candidate = best_;
                const auto first = candidate.plan->begin() + static_cast<std::ptrdiff_t>(at);
                candidate.plan->erase(first, first + static_cast<std::ptrdiff_t>(std::min(chunk, size - at)));
                less = better(candidate);
            }
            if (less) parts = std::max<std::size_t>(1, parts - 1);
            else if (chunk == 1) return;
            else parts = std::min(size, 2 * parts);
        }
    }

    void fewer_nodes() {
        for (std::uint32_t nodes = 1; nodes < *best_.nodes; ++nodes) {
            Overrides candidate = best_;
            candidate.nodes = nodes;
            if (better(candidate)) return;
        }
    }

    void no_followers() {
        Overrides candidate = best_;
        candidate.followers = 0;
        (void)better(candidate);
    }

    void shorter() {
        for (std::size_t i = 0; i < best_.plan->size(); ++i) {
            Overrides candidate = best_;
            (*candidate.plan)[i].span /= 4;
            (void)better(candidate);
        }
        for (Millis end = *best_.fault_time / 2; end.count() > 1000; end /= 2) {
            Overrides candidate = best_;
            candidate.fault_time = end;
            if (!better(candidate)) return;
        }
    }

    std::uint64_t seed_;
    Overrides best_;
    std::string broken_;
    int tries_ = 0;
};

}  // namespace

Overrides shrink(std::uint64_t seed, const Overrides& failing, const std::string& broken) {
    Probes unused;
    Overrides whole = failing;
    const Simulation drawn(seed, failing, false, unused);
    if (!whole.plan) whole.plan = drawn.plan();
    if (!whole.followers) whole.followers = drawn.settings.followers;
    if (!whole.nodes) whole.nodes = drawn.settings.nodes;
    if (!whole.fault_time) whole.fault_time = drawn.settings.fault_time;
    return Shrinker(seed, whole, broken).run();
}

}  // namespace skerry::sim
