#pragma once
// The coordinator's journal in memory, with the checks that the real one makes inside its transactions.

#include <map>
#include <set>

#include "coordinator/core/rows.hpp"

namespace skerry::sim {

class MemoryJournal {
  public:
    explicit MemoryJournal(coordinator::RunRow run);

    /// All or nothing. False: of another term; nothing was written. A failed check is an invariant of the protocol:
    /// throws Violation.
    [[nodiscard]] bool apply(const coordinator::Tx& tx);
    coordinator::Image load() const;
    std::vector<SignedDecision> decisions(Step from, std::uint32_t max) const;

    Term term() const { return state_.term; }
    Step head() const { return Step{state_.decisions.size()}; }
    const coordinator::DecisionRow& decision(Step step) const { return state_.decisions.at(step.value); }
    const std::optional<coordinator::PlanRow>& plan() const { return state_.plan; }
    const std::map<LeaseId, coordinator::LeaseRow>& leases() const { return state_.leases; }
    const std::map<std::uint64_t, std::uint64_t>& free_ranges() const { return state_.free; }
    const std::map<NodeId, coordinator::NodeRow>& nodes() const { return state_.nodes; }
    const coordinator::MetaRow& meta() const { return state_.meta; }

  private:
    struct State {
        Term term;
        coordinator::MetaRow meta;
        std::map<TokenId, coordinator::TokenRow> tokens;
        std::map<NodeId, coordinator::NodeRow> nodes;
        std::map<LeaseId, coordinator::LeaseRow> leases;
        std::set<LeaseId> used;
        std::map<std::uint64_t, std::uint64_t> free;
        std::optional<coordinator::PlanRow> plan;
        Attempt last_attempt;
        std::vector<coordinator::DecisionRow> decisions;
        std::map<std::pair<Step, NodeId>, Digest> digests;
        std::vector<coordinator::RequestRow> requests;
    };
    void put(State& s, Term mine, const coordinator::op::ClaimTerm& o);
    void put(State& s, Term mine, const coordinator::op::PutMeta& o);
    void put(State& s, Term mine, const coordinator::op::PutToken& o);
    void put(State& s, Term mine, const coordinator::op::PutNode& o);
    void put(State& s, Term mine, const coordinator::op::PutRoster& o);
    void put(State& s, Term mine, const coordinator::op::PutLease& o);
    void put(State& s, Term mine, const coordinator::op::CreditLease& o);
    void put(State& s, Term mine, const coordinator::op::DropLease& o);
    void put(State& s, Term mine, const coordinator::op::PutFree& o);
    void put(State& s, Term mine, const coordinator::op::DropFree& o);
    void put(State& s, Term mine, const coordinator::op::PutPlan& o);
    void put(State& s, Term mine, const coordinator::op::EndPlan& o);
    void put(State& s, Term mine, const coordinator::op::PutDecision& o);
    void put(State& s, Term mine, const coordinator::op::PutDigest& o);
    void put(State& s, Term mine, const coordinator::op::PutRequest& o);
    void put(State& s, Term mine, const coordinator::op::DropRequests& o);

    coordinator::RunRow run_;
    State state_;
};

}  // namespace skerry::sim
