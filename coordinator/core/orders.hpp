#pragma once
// Where the run stands, said to nodes (Orders) and to people (RunStatus).

#include "coordinator/core/membership.hpp"
#include "coordinator/core/step_machine.hpp"

namespace skerry::coordinator {

/// Builds Orders and status from the state; decides nothing.
class OrdersDesk {
  public:
    OrdersDesk(Context& context, const Membership& membership, const StepMachine& steps)
        : c_(context), membership_(membership), steps_(steps) {}

    /// Notes since when each node is in its phase.
    void refresh_phases();
    /// Orders to every session that something changed for, or whose heartbeat is due.
    void flush();
    RunStatus status(Mono now) const;

  private:
    Orders make(Node& node, Session& session) const;
    std::vector<LeaseInfo> leases_of(const NodeId& node) const;
    std::vector<OrderRequest> requests_for(const Node& node) const;
    std::vector<Holder> holders(const Node& asker) const;
    std::vector<StateDigest> snapshot_digests(const std::vector<Holder>& holders) const;
    std::vector<NodeId> dial_list(const Node& node) const;
    std::vector<WaitingFor> waiting_for() const;
    std::string phase_of(const Node& node) const;
    std::string next_text() const;
    std::string next_of_plan(const std::string& step) const;
    const char* phase() const;
    bool owes_snapshot(const Node& node) const;
    /// Whether the run, or the end of the run, waits for it.
    bool blocks(const Node& node) const;
    /// None of a follower that never trained.
    std::optional<Contribution> contribution_of(const Node& node) const;
    NodeStatus status_of(const Node& node) const;
    std::uint64_t round_remaining_ms() const;

    Context& c_;
    const Membership& membership_;
    const StepMachine& steps_;
    std::string run_phase_;
    Mono run_phase_since_{};
};

}  // namespace skerry::coordinator
