#pragma once
// The truth that no party knows: what every contribution really contains, what was decided, every state that exists.
// Called at the moments when an invariant could break (docs/step-protocol.md 10).

#include <map>
#include <memory>

#include "tests/sim/memory_journal.hpp"
#include "tests/sim/model.hpp"
#include "tests/sim/world.hpp"

namespace skerry::sim {

/// What a node's delta really is.
struct TrueContribution {
    NodeId node;
    Step base;                      ///< of the oldest part
    std::vector<Segment> segments;  ///< positions that were trained on
    std::shared_ptr<const std::vector<Bytes>> chunks;  ///< until its step is decided
};

/// What was decided, whoever knows it.
struct Decided {
    EntryKind kind;
    Digest plan;
    Digest root;
    Digest h_after;
};

class Checker {
  public:
    explicit Checker(const Manifest& manifest) : manifest_(manifest), form_(manifest) {}

    void made(Step step, const Digest& id, TrueContribution what) { made_[{step, id, what.node}] = std::move(what); }
    const TrueContribution* find(Step step, const Digest& id, const NodeId& node) const;

    /// After a transaction is durable.
    void after_tx(const MemoryJournal& journal, const coordinator::Tx& tx);

    /// The coordinator's disk was lost; this is what was made anew of the nodes. I9.
    void rebuilt(const MemoryJournal& journal);
    /// A transaction of a process that goes on beside the rebuilt coordinator. I9.
    void beside(const coordinator::Tx& tx, const MemoryJournal& rebuilt) const;

    /// Lease ids below it are of a coordinator that was lost: whatever was trained on them may be dropped.
    LeaseId first_lease() const { return first_lease_; }

    /// Steps that were ever decided.
    Step decided() const { return Step{decided_.size()}; }
    const Decided& decided(Step step) const { return decided_.at(step.value); }

    /// A node made S_step. I2.
    void state_reached(const std::string& who, Step step, const Digest& digest);
    /// A node wrote entry `step` to its log, or applied it. I3, I2.
    void entry_taken(const std::string& who, Step step, const Digest& root) const;

    /// Copies that the plan of a decided step promised.
    std::uint32_t copies_of(Step step) const { return copies_.at(step); }

    /// A rollback undid the step: its entry is not needed any more.
    bool dead(Step step) const;
    bool dead_state(Step step) const { return step.value > 0 && dead(Step{step.value - 1}); }

    const std::map<std::uint64_t, std::uint64_t>& credited() const { return credited_; }

  private:
    void on_plan(const coordinator::PlanRow& row);
    void on_decision(const coordinator::DecisionRow& row, const Bytes& plan_body);
    void check_entry(Step step, const Plan& plan, const Digest& root);
    void check_ledger(const MemoryJournal& journal);
    void on_change(const Decision& decision);
    void credit(std::uint64_t lo, std::uint64_t hi);
    void uncredit(std::uint64_t lo, std::uint64_t hi);

    Manifest manifest_;
    ChunkForm form_;
    /// The node too: beside a coordinator that was replaced, another may have trained the same sequences, bit for bit.
    std::map<std::tuple<Step, Digest, NodeId>, TrueContribution> made_;
    std::map<Digest, Bytes> plans_;
    std::map<Step, Digest> states_;
    std::map<Step, std::uint32_t> copies_;
    std::map<std::uint64_t, std::uint64_t> credited_;  ///< lo -> hi
    std::map<Step, std::vector<Segment>> credits_;     ///< of steps that count
    std::vector<std::pair<Step, Step>> rollbacks_;     ///< (to, its step)
    std::vector<Decided> decided_;
    LeaseId first_lease_;
    /// Credits before the newest decision: a rebuild may find it not recorded.
    using Credits = std::pair<std::map<std::uint64_t, std::uint64_t>, std::map<Step, std::vector<Segment>>>;
    Credits before_;
    std::optional<Credits> forgotten_;  ///< with that decision, while a rebuilt coordinator does not know it
};

std::string to_text(const std::vector<Segment>& segments);

}  // namespace skerry::sim
