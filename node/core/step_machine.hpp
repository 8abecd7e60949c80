#pragma once
// The node's step machine (docs/step-protocol.md 3): what the local delta is worth, when it is frozen, which
// plan is followed, when to vote, what is appended, applied, carried or dropped.
//
//   BEHIND --applied up to the run--> WORK --frozen--> READY --plan--> EXCHANGE --results--> PREPARED
//      ^------------------------------- decision ----------------------------------------------'
//
// Nothing here decides: decisions come from the coordinator, through the chain.

#include <map>
#include <memory>

#include "node/core/catch_up.hpp"
#include "node/core/exchange.hpp"
#include "node/core/lease_book.hpp"
#include "node/core/state_log.hpp"
#include "node/core/trainer_supervision.hpp"
#include "node/core/waiting.hpp"

namespace skerry::node {

class StepMachine {
  public:
    StepMachine(Context& context, RosterBook& roster, Chain& chain, StateLog& log, Asker& asker, Exchange& exchange,
                CatchUp& catch_up, LeaseBook& leases, TrainerSupervision& trainer);

    void begin(const NodeImage& image);
    void drop_private_state();

    /// `context.orders` has been replaced; `orders` still has plan and decisions.
    void on_orders(const Orders& orders, Term term);
    void on_decisions(const Decisions& decisions);
    /// Ledger and plan are asked for again at once.
    void session_opened();
    void on_trainer_gone();
    bool owns(OpId op) const { return op == encode_op_ || op == prepare_op_; }
    void on_done(const Done& done);
    void on_log(const StateLog::Result& result);
    void on_trainer(TrainerSupervision::Outcome outcome);
    void contribution_lost(const ObjectRef& object);

    void pause(bool paused);
    void leave(LeaveWhen when);
    void left() { left_ = true; }
    void stop() { stopping_ = true; }
    /// Of the present state, when there is time.
    void want_snapshot() { snapshot_asked_ = true; }

    /// Does whatever can be done now.
    void advance();
    Mono next_wake() const;

    Phase phase() const;
    bool behind() const;
    bool halted() const { return halted_; }
    bool paused() const { return paused_; }
    bool leaving() const { return leaving_.has_value(); }
    std::optional<ReadyState> ready() const;
    std::optional<PreparedState> prepared() const;
    /// The plan of the open step that is prepared durably, told to a coordinator that is being rebuilt.
    std::optional<HeldPlan> held_plan() const;
    std::vector<Segment> delta() const;
    bool waits() const { return frozen_ || round_over_; }
    bool may_request_leases() const;
    std::uint64_t round_sequences() const;
    std::optional<std::pair<Step, double>> heldout() const { return heldout_; }
    /// For status; `session`: the coordinator is connected.
    Waiting waiting(bool session) const;
    std::string to_text(Waiting what) const;
    LocalView local() const;

  private:
    struct Frozen {
        Step step;
        Digest id;
        std::vector<Segment> segments;
        std::uint64_t tokens = 0;
        double norm = 0;
        double loss = 0;
        std::uint64_t life = 0;  ///< the trainer's, at the freeze
    };
    /// What becomes of residual and local delta when a decision is applied.
    struct Treatment {
        LocalDelta local = LocalDelta::none;
        ResidualRule residual = ResidualRule::keep;
        std::vector<Segment> credited;
        bool drop = false;       ///< the delta ends here
        bool give_back = false;  ///< and its leases with it
    };
    struct Voted {
        Step step;
        PreparedState state;
    };

    // --- plans and votes
    void take_plan(const PlanRef& ref);
    void follow_wanted();
    bool outranked(const Plan& plan) const;
    void prepare();
    bool can_vote() const;
    void on_prepared(const Done& done);
    // --- the log
    void learn(const SignedDecision& record);
    void ask_decisions();
    void append_next();
    void fetch_next(Step next);
    bool snapshot_first(Step next, bool only_way = false);
    void drop_fetched_snapshot();
    void adopt_snapshot();
    void skip_entry(Step next);
    void apply_next();
    void apply_rollback(Step step);
    Step prune_floor() const;
    Treatment treat(const Decision& decision) const;
    void applied(Step step, bool local_kept);
    void after_apply();
    void disk_refused();
    void keep_house();
    // --- leases and the local delta
    void settle_leases();
    void drop_local(const char* why);
    bool evaluation_due() const;
    bool progress_valid(const ProgressImage& image) const;
    bool undone(const ProgressImage& image) const;
    void drop_invalid_progress();
    void forget_progress();
    void begin_save();
    // --- rounds
    bool at_head() const;
    bool may_train() const;
    bool wants_trainer() const;
    bool pause_overdue() const;
    bool delta_is_safe() const;
    bool holds_work() const;
    bool save_now();
    void return_unworked();
    void drive_trainer();
    void load_trainer();
    void start_round();
    void forget_loss();
    Millis training_time() const;
    void freeze_if_due();
    void on_encoded(const Done& done);
    Millis save_interval() const;
    std::optional<Mono> save_due() const;
    void save_progress();
    void judge_restored();
    void finish_stop();
    ProgressNote progress_note() const;

    Context& context_;
    RosterBook& roster_;
    Chain& chain_;
    StateLog& log_;
    Asker& asker_;
    Exchange& exchange_;
    CatchUp& catch_up_;
    LeaseBook& leases_;
    TrainerSupervision& trainer_;

    std::optional<Digest> wanted_plan_;
    Term wanted_in_;    ///< the term of the Orders that named it
    Term followed_in_;  ///< and of those that named the plan followed
    std::map<Digest, Bytes> plan_bodies_;
    std::optional<Voted> prepared_;
    std::optional<OpId> prepare_op_;
    Digest prepare_plan_;
    Digest prepare_root_;
    Mono prepare_again_ = Mono::min();
    Mono disk_again_ = Mono::min();  ///< it refused something: not before then
    std::optional<Treatment> treatment_;

    std::optional<Frozen> frozen_;
    std::optional<OpId> encode_op_;
    bool encode_dropped_ = false;
    std::optional<Step> residual_tag_;
    std::optional<Step> lost_at_;  ///< my contribution of this step is lost, and a plan may still bind it
    Step base_;                    ///< of the oldest part of the delta
    bool reload_wanted_ = false;
    bool reset_optimizer_ = false;
    std::vector<ProgressImage> progress_;   ///< at most two, newest last
    std::optional<ProgressImage> moments_;  ///< its data count no more; the inner optimizer's state in it is the newest there is
    bool restoring_moments_ = false;
    std::optional<ProgressImage> saving_;
    std::optional<std::uint32_t> restored_slot_;  ///< the trainer began with it and has got nothing done since
    std::uint32_t restored_deaths_ = 0;           ///< so many trainers in a row
    std::uint64_t restored_steps_ = 0;

    bool round_over_ = false;
    std::uint64_t round_steps_ = 0;   ///< done in this round
    std::uint64_t steps_before_ = 0;  ///< in the delta when the training under way began
    std::uint64_t last_round_sequences_ = 0;
    Mono round_ends_ = Mono::max();
    Mono saved_at_ = Mono::min();     ///< the newest save of the delta, or its beginning
    Millis save_took_{0};             ///< until it was on disk
    Millis save_stall_{0};            ///< so long training stood still for it

    bool leases_settled_ = false;
    Mono decisions_again_ = Mono::min();
    Mono reload_again_ = Mono::min();
    bool snapshot_asked_ = false;
    bool digest_done_ = false;
    std::optional<Step> evaluated_;
    std::optional<std::pair<Step, double>> heldout_;

    bool paused_ = false;
    Mono paused_at_ = Mono::max();
    std::optional<LeaveWhen> leaving_;
    bool left_ = false;
    bool stopping_ = false;
    bool exited_ = false;
    bool halted_ = false;
};

}  // namespace skerry::node
