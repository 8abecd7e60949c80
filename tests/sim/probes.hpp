#pragma once
// Which faults met which states: a fault that never happened in a state has tested nothing there.

#include <array>
#include <cstdint>
#include <string>

#include "node/core/node_core.hpp"
#include "tests/sim/fault_plan.hpp"
#include "tests/sim/sim_coordinator.hpp"

namespace skerry::sim {

/// Plain numbers, so that processes can share them.
class Probes {
  public:
    void count(CoordinatorState state, FaultKind kind) { ++coordinator_[static_cast<std::size_t>(state)][index(kind)]; }
    void count(node::Phase phase, FaultKind kind) { ++node_[static_cast<std::size_t>(phase)][index(kind)]; }
    void add(const Probes& other);

    /// Share of the pairs that can be reached that were reached at least `times` times.
    double reached(std::uint64_t times) const;
    std::string table() const;
    std::string missing(std::uint64_t times) const;

  private:
    static constexpr std::size_t kStates = 5;  // without down
    static constexpr std::size_t kPhases = 6;  // joining is not counted
    static std::size_t index(FaultKind kind) { return static_cast<std::size_t>(kind); }
    std::array<std::array<std::uint64_t, kFaultKinds>, kStates> coordinator_{};
    std::array<std::array<std::uint64_t, kFaultKinds>, kPhases> node_{};
};

}  // namespace skerry::sim
