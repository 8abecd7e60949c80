#pragma once
// The decisions this node knows, checked one by one against the hash chain.

#include <map>
#include <memory>

#include "node/core/context.hpp"

namespace skerry::node {

/// What the node keeps of every decision; whole records only while they are needed.
struct ChainLink {
    EntryKind kind = EntryKind::commit;
    Digest plan_digest;
    Digest root;
    Digest h_after;
    std::uint64_t tokens_after = 0;
    Step rollback_to;   ///< kinds of rollback only
    bool dead = false;  ///< a later rollback undid it: its entry is of no use any more
};

class Chain {
  public:
    explicit Chain(Context& context) : context_(context) {}

    void begin(const Digest& manifest_digest);

    enum class Learned : std::uint8_t { appended, known, ahead, refused };
    /// A record whose signature was checked. `ahead`: decisions before it are missing. `refused`: it does not
    /// continue the chain, or contradicts it.
    Learned learn(const SignedDecision& record);

    /// Decisions known: the next one to learn.
    Step known() const { return Step{links_.size()}; }
    const ChainLink& link(Step step) const { return links_.at(step.value); }
    Digest h(Step step) const { return step.value == 0 ? start_ : links_.at(step.value - 1).h_after; }
    std::uint64_t tokens(Step step) const {
        return step.value == 0 ? 0 : links_.at(step.value - 1).tokens_after;
    }
    /// Whether the log needs an entry of this step.
    bool needs_entry(Step step) const { return link(step).kind == EntryKind::commit && !link(step).dead; }
    /// S_step was undone by a rollback: there is no way from it to the head.
    bool dead_state(Step step) const { return step.value > 0 && link(Step{step.value - 1}).dead; }
    /// The rollback that leads on from S_step, if a decision known here does not go on from it.
    std::optional<Step> rollback_over(Step step) const;
    /// The newest rollback known: (step that it goes back to, its own).
    std::optional<std::pair<Step, Step>> last_rollback() const {
        return rollbacks_.empty() ? std::nullopt : std::optional(rollbacks_.back());
    }
    /// The last step whose entry contains a contribution of this node; none since a rollback.
    std::optional<Step> last_credited() const { return last_credited_; }

    /// Null once forgotten.
    std::shared_ptr<const Decision> decision(Step step) const;
    const SignedDecision* record(Step step) const;
    std::vector<SignedDecision> records(Step from, Step to) const;
    /// Lets go of whole records below `step`.
    void forget_below(Step step);

  private:
    struct Whole {
        SignedDecision record;
        std::shared_ptr<const Decision> decision;
    };
    Context& context_;
    Digest start_;
    std::vector<ChainLink> links_;
    std::map<Step, Whole> whole_;
    std::optional<Step> last_credited_;
    std::vector<std::pair<Step, Step>> rollbacks_;  ///< (to, step), ascending; what a later one undid is not among them
    void note_rollback(Step step, Step to);
};

}  // namespace skerry::node
