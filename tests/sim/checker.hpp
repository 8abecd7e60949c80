#pragma once
// The truth that no party knows: what every contribution really contains, what was decided, every state that exists.
// Called at the moments when an invariant could break (03-step-protocol, section 11).

#include <map>

#include "tests/sim/memory_journal.hpp"
#include "tests/sim/model.hpp"
#include "tests/sim/world.hpp"

namespace skerry::sim {

/// What a node's delta really is.
struct TrueContribution {
    NodeId node;
    Step base;                      ///< of the oldest part
    std::vector<Segment> segments;  ///< positions that were trained on
    Values values;
};

class Checker {
  public:
    Checker(const Manifest& manifest, std::uint32_t pieces) : manifest_(manifest), pieces_(pieces) {}

    void made(Step step, const Digest& id, TrueContribution what) { made_[{step, id}] = std::move(what); }
    const TrueContribution* find(Step step, const Digest& id) const;

    /// After a transaction is durable.
    void after_tx(const MemoryJournal& journal, const coordinator::Tx& tx);

    /// The coordinator's disk was lost; this is what was made anew of the nodes.
    void rebuilt(const MemoryJournal& journal);

    /// A node made S_step. I2.
    void state_reached(const std::string& who, Step step, const Digest& digest);
    /// A node wrote entry `step` to its log, or applied it. I3, I2.
    void entry_taken(const std::string& who, Step step, const Digest& root, const MemoryJournal& journal);

    /// Copies that the plan of a decided step promised.
    std::uint32_t copies_of(Step step) const { return copies_.at(step); }

    /// A rollback undid the step: its entry is not needed any more.
    bool dead(Step step) const;
    bool dead_state(Step step) const { return step.value > 0 && dead(Step{step.value - 1}); }
    const std::map<std::uint64_t, std::uint64_t>& credited() const { return credited_; }

  private:
    void on_plan(const coordinator::PlanRow& row);
    void on_decision(const coordinator::DecisionRow& row, const Bytes& plan_body);
    void check_ledger(const MemoryJournal& journal);
    void credit(std::uint64_t lo, std::uint64_t hi);
    void on_change(const Decision& decision);
    void uncredit(std::uint64_t lo, std::uint64_t hi);

    Manifest manifest_;
    std::uint32_t pieces_;
    std::map<std::pair<Step, Digest>, TrueContribution> made_;
    std::map<Digest, Bytes> plans_;
    std::map<Step, Digest> states_;
    std::map<Step, std::uint32_t> copies_;
    std::map<std::uint64_t, std::uint64_t> credited_;  ///< lo -> hi
    std::map<Step, std::vector<Segment>> credits_;     ///< of steps that count
    std::vector<std::pair<Step, Step>> rollbacks_;     ///< (to, its step)
    std::vector<std::pair<Digest, Digest>> decided_;   ///< plan digest and h_after of every step ever decided
    /// The ledger before the newest decision: a rebuild may find it not recorded.
    std::tuple<std::map<std::uint64_t, std::uint64_t>, std::map<Step, std::vector<Segment>>, std::vector<std::pair<Step, Step>>> before_;
};

std::string to_text(const std::vector<Segment>& segments);

}  // namespace skerry::sim
