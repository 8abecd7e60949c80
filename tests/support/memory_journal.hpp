#pragma once
// A journal in memory with the checks of the real one: for the simulator and for tests of the core.

#include <map>

#include "coordinator/store/journal.hpp"

namespace skerry::test {

/// What a coordinator's disk holds. The simulator calls apply() at the moment a transaction becomes durable;
/// a crash before that simply never calls it. After an `internal` error the content is not to be used.
class MemoryJournal final : public coordinator::Journal {
  public:
    explicit MemoryJournal(coordinator::RunRow run) : run_(std::move(run)) {}

    Result<coordinator::Image> load() override;
    Result<void> apply(const coordinator::Tx& tx) override;
    Result<std::vector<SignedDecision>> decisions(Step from, std::uint32_t max) override;

    Term term() const { return term_; }
    Step head() const { return Step{decisions_.size()}; }
    const std::vector<coordinator::DecisionRow>& all_decisions() const { return decisions_; }
    const std::map<LeaseId, coordinator::LeaseRow>& leases() const { return leases_; }
    const std::map<std::uint64_t, std::uint64_t>& free_ranges() const { return free_; }
    const std::optional<coordinator::PlanRow>& plan() const { return plan_; }
    const coordinator::MetaRow& meta() const { return meta_; }
    const std::map<NodeId, coordinator::NodeRow>& nodes() const { return nodes_; }

    struct LoggedPlan {
        Term term;
        Digest digest;
        std::optional<coordinator::PlanEnd> end;
        std::string reason;
    };
    const std::map<std::pair<Step, Attempt>, LoggedPlan>& plan_log() const { return plan_log_; }

    /// The next transaction meets a full disk.
    bool full = false;

  private:
    Result<void> put(const coordinator::op::ClaimTerm& o);
    Result<void> put(const coordinator::op::PutMeta& o);
    Result<void> put(const coordinator::op::PutToken& o);
    Result<void> put(const coordinator::op::PutNode& o);
    Result<void> put(const coordinator::op::PutRoster& o);
    Result<void> put(const coordinator::op::PutLease& o);
    Result<void> put(const coordinator::op::CreditLease& o);
    Result<void> put(const coordinator::op::DropLease& o);
    Result<void> put(const coordinator::op::PutFree& o);
    Result<void> put(const coordinator::op::DropFree& o);
    Result<void> put(const coordinator::op::PutPlan& o);
    Result<void> put(const coordinator::op::EndPlan& o);
    Result<void> put(const coordinator::op::PutDecision& o);
    Result<void> put(const coordinator::op::PutDigest& o);
    Result<void> put(const coordinator::op::PutRequest& o);
    Result<void> put(const coordinator::op::DropRequests& o);

    coordinator::RunRow run_;
    Term term_;
    coordinator::MetaRow meta_;
    std::map<TokenId, coordinator::TokenRow> tokens_;
    std::map<NodeId, coordinator::NodeRow> nodes_;
    Epoch roster_epoch_;
    std::map<LeaseId, coordinator::LeaseRow> leases_;
    std::map<std::uint64_t, std::uint64_t> free_;
    std::optional<coordinator::PlanRow> plan_;
    std::map<std::pair<Step, Attempt>, LoggedPlan> plan_log_;
    std::vector<coordinator::DecisionRow> decisions_;
    std::map<std::pair<Step, NodeId>, Digest> digests_;
    std::vector<coordinator::RequestRow> requests_;
};

}  // namespace skerry::test
