#pragma once
// The rows of a database that is made anew: chain, ledger, nodes, and the prepared entry that may have been decided.

#include <map>
#include <set>

#include "coordinator/core/rebuild.hpp"

namespace skerry::coordinator {

class RebuildRows {
  public:
    RebuildRows(const RunRow& run, const Manifest& manifest, Term term, const Signing& signing)
        : run_(run), manifest_(manifest), term_(term), signing_(signing) {}

    /// A member of a roster; `hello` and `facts` if it answered.
    void add_node(const RosterEntry& entry, const Hello* hello, const RebuildAnswer* facts);
    /// Consecutive. Signed anew: the service key is another one.
    void add_decision(const Decision& decision, const SignedDecision& record);
    /// `paused`: a run that may be running waits for a start.
    Rebuilt finish(bool loss_accepted, bool paused);

  private:
    using Ranges = std::map<std::uint64_t, std::uint64_t>;  ///< lo -> hi, disjoint
    void take_prepared(const HeldPlan& held);
    void put_ledger(std::vector<Op>& ops);
    void put_plan(std::vector<Op>& ops) const;

    const RunRow& run_;
    const Manifest& manifest_;
    Term term_;
    const Signing& signing_;
    std::map<NodeId, NodeRow> nodes_;
    std::vector<std::pair<Plan, HeldPlan>> prepared_;
    std::vector<DigestRow> digests_;
    std::vector<Decision> chain_;
    std::vector<DecisionRow> rows_;
    MetaRow meta_;
    std::uint64_t highest_lease_ = 0;
    std::optional<std::pair<Plan, HeldPlan>> adopted_;
};

}  // namespace skerry::coordinator
