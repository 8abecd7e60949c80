#pragma once
// The open step: collect, plan, exchange, vote, decide.

#include "coordinator/core/context.hpp"
#include "coordinator/core/deadlines.hpp"

namespace skerry::coordinator {

/// Section 5.1 of the step protocol. It has no states of its own beside the plan in force: COLLECT is "no plan",
/// HOLD is a label. What members say is read from their last Reports, so a restart loses nothing that the next
/// Reports do not bring again.
class StepMachine {
  public:
    explicit StepMachine(Context& context)
        : c_(context), deadlines_(context.config, context.round_length()) {}

    /// After the start of the process: the plan in force gets its full time again.
    void started();
    /// A member's Report is noted already: reads progress, losses and bad edges from it.
    void report(const Node& node, const Report& report);
    void blame(const Node& from, const Blame& blame);
    void node_restarted(const NodeId& node);

    /// Closes, decides, supersedes or withdraws, whatever is due. To be called after every event, with the
    /// roster flushed.
    void evaluate();

    std::optional<Error> start_run();
    std::optional<Error> pause_run();
    std::optional<Error> stop_run(bool now);
    /// Errors: not_found with what is kept; bad_state while another change is voted on; stale: ask again.
    std::optional<Error> roll_back(const admin::Rollback& verb);
    std::optional<Error> configure(const admin::Configure& verb);

    /// Whether this node's last READY counts for the open step.
    bool is_ready(const Node& node) const;
    /// The member's vote for the plan in force.
    const PreparedState* vote_of(const NodeId& node) const;
    Millis attempt_patience() const;  ///< D of the attempt in force
    Mono deadline() const;            ///< of the plan in force, or of the collection with its grace
    bool bad_edge(const NodeId& a, const NodeId& b) const;
    void note_edge(const NodeId& a, const NodeId& b);
    PhaseEstimate estimate(StepPhase phase, const NodeId& node) const;
    Millis exchange_prediction() const { return deadlines_.prediction(load()); }

  private:
    struct Votes {
        std::map<Digest, std::uint32_t> durable;  ///< root -> votes
        std::vector<NodeId> voters;
        std::vector<NodeId> missing;
    };

    std::vector<NodeId> voters_for(EntryKind kind, Step to) const;
    std::string kept_text() const;
    std::optional<Plan> change_plan(EntryKind kind, Step to, const OuterHyper& outer) const;
    std::optional<Error> change_refused() const;
    void open_change(Plan plan, const std::string& reason);
    void remember(const std::vector<SignedDecision>& history);
    void undo_credits(const Plan& plan);
    void record_loss();
    std::string missing_bytes();
    std::optional<Plan> next_plan() const;

    void collect();
    void time_ready();
    /// When the node is late: its own measured time and the grace.
    Mono late_at(const Node& node) const;
    bool may_close(const std::vector<NodeId>& ready) const;
    std::vector<NodeId> ready_nodes() const;
    std::optional<Plan> make_plan() const;
    std::vector<NodeId> drop_cut_off(std::vector<NodeId> ready) const;
    bool hang_together(std::vector<NodeId> nodes) const;
    std::vector<std::uint16_t> choose_owners(const Plan& plan) const;
    void open_plan(Plan plan);

    /// Of the plan in force, or of one with all current nodes.
    std::uint64_t load() const;
    Millis patience_of(const Plan& plan) const;
    void time_exchange(const NodeId& node, const Report& report);
    void time_decision();

    void exchange();
    Votes count_votes();
    bool may_commit(const Votes& votes);
    void decide(const Digest& root, const Votes& votes);
    Decision make_decision(const Digest& root) const;
    void count_presence(const Plan& plan);
    void credit(const Plan& plan);
    void after_decision();
    void finish_run(std::string reason);

    /// A member that can be in no result: revoked, or its contribution lost, bad or of a diverged node.
    std::string lost_cause() const;
    bool blocked_by_silence(const Votes& votes) const;
    /// Who of them is not here, for people.
    std::string silent_of(const std::vector<NodeId>& missing) const;
    bool member_gone() const;
    void lose(const Participant& p) { gone_.try_emplace(p.contribution, Gone{p.node}); }
    void made_again(const NodeId& maker, const Report& report);
    void replace(const std::string& reason, bool withdraw_if_impossible);
    void end_plan(PlanEnd end, const std::string& reason);
    void free_ended(const Plan& plan);
    Digest h_for(const Digest& root) const;
    std::uint64_t tokens_after(const Plan& plan) const;
    bool lost_contribution(const Participant& p) const;

    Context& c_;
    struct Gone {
        NodeId maker;
        bool unsaid = false;  ///< it was heard since, and did not say READY with it
    };
    std::map<Digest, Gone> gone_;           ///< contributions of the open step that nobody can give any more
    std::map<NodeId, Step> excluded_;       ///< proven liars, and the step in which
    struct Seen {
        Step step;
        Mono at;
    };
    std::map<std::pair<NodeId, NodeId>, Seen> edges_;  ///< bad ones (lower id first), and when last seen
    std::optional<Mono> missing_since_;     ///< nobody here holds the log up to its head
    bool single_owner_ = false;             ///< after two roots for one plan
    Deadlines deadlines_;
    std::set<NodeId> timed_;     ///< READY of this round is noted
    bool first_round_ = true;    ///< of this process: when it really began is not known
};

}  // namespace skerry::coordinator
