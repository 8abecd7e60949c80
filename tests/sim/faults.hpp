#pragma once
// Carries out a fault plan: what each kind does, and how it ends.

#include "tests/sim/fault_plan.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/probes.hpp"
#include "tests/sim/sim_coordinator.hpp"

namespace skerry::sim {

class Faults {
  public:
    Faults(Simulation& sim, FaultPlan plan, Probes& probes) : sim_(sim), plan_(std::move(plan)), probes_(probes) {}

    void begin();
    /// No more of them; what they broke is repaired.
    void heal();
    bool on() const { return on_; }

    /// Where the coordinator, or a node, is now: faults that waited for it happen at once.
    void reached(Moment moment, std::uint32_t node = kCoordinator);
    void coordinator_at(CoordinatorState state);
    void node_at(std::uint32_t node, node::Phase phase);

    /// Of the coordinator's host; jumps.
    std::int64_t wall_jump_s() const { return wall_jump_s_; }

  private:
    void due(const Fault& fault);
    void fire(const Fault& fault);
    /// Whether it took effect.
    bool happen(const Fault& fault);
    bool happen_to_coordinator(const Fault& fault);
    void roll_back(std::uint32_t strength);
    bool lose_coordinator(const Fault& fault);
    bool happen_to_node(const Fault& fault);
    bool happen_to_link(const Fault& fault);
    bool leave(const Fault& fault);
    bool clone(const Fault& fault);
    bool restore(const Fault& fault);
    bool control(const Fault& fault);
    bool edge(const Fault& fault);
    bool separate(const Fault& fault, std::uint32_t set, bool both_ways, bool control_too);
    void afterwards(Millis span, std::function<void()> what);
    void start_later(std::uint32_t node, Millis span);
    void say(const Fault& fault) const;
    std::uint32_t nodes() const;

    Simulation& sim_;
    FaultPlan plan_;
    Probes& probes_;
    bool on_ = false;
    std::vector<Fault> armed_;
    std::int64_t wall_jump_s_ = 0;
    std::uint32_t leaving_ = 0;
    std::optional<std::uint32_t> cloned_;  ///< the original
    std::uint32_t clone_ = 0;              ///< its clone
};

}  // namespace skerry::sim
