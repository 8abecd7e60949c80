#pragma once
// Runs of many seeds over several processes, each able to survive an assertion of a core; and the shortening of what
// failed.

#include <set>
#include <string>
#include <vector>

#include "tests/sim/simulation.hpp"

namespace skerry::sim {

struct Outcome {
    std::string broken;  ///< name of the invariant; empty: none
    std::string what;
    std::uint64_t hash = 0;
    std::uint64_t events = 0;
    std::uint64_t steps = 0;
};

/// In this process; an assertion of a core ends it.
Outcome run_seed(std::uint64_t seed, const Overrides& overrides, bool trace, Probes& probes);
/// In a process of its own, which an assertion of a core may end. Silent.
struct Tried {
    std::string broken;  ///< by an assertion: the invariant that its line names, or "assertion"
    std::string what;
    bool died = false;
};
Tried try_seed(std::uint64_t seed, const Overrides& overrides);

struct Failure {
    std::uint64_t seed = 0;
    std::string broken;
    std::string what;
};
struct Totals {
    std::uint64_t seeds = 0;
    std::uint64_t steps = 0;
    std::uint64_t events = 0;
    std::uint64_t twice = 0;  ///< seeds that were run twice, with equal hashes
    Probes probes;
    std::vector<Failure> failures;
};
/// When run_seeds stops before its last seed.
struct StopAt {
    bool keep_going = false;       ///< not at a failure
    std::set<std::string> broken;  ///< not empty: at a failure of one of these invariants only
    bool stops(const std::string& invariant) const {
        return broken.empty() ? !keep_going : broken.contains(invariant);
    }
};
/// Every hundredth seed is run twice.
Totals run_seeds(const Overrides& common, std::uint64_t from, std::uint64_t to, int processes, const StopAt& stop);

/// A smaller run that breaks the same invariant: fewer faults (ddmin), nodes, shorter spans and an earlier end.
Overrides shrink(std::uint64_t seed, const Overrides& failing, const std::string& broken);

}  // namespace skerry::sim
