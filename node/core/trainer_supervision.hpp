#pragma once
// The trainer process as the core sees it: start, rounds, progress, death and hanging.
//
// A trainer's death never touches the step machine: a frozen contribution belongs to the agent.

#include <algorithm>

#include "node/core/context.hpp"

namespace skerry::node {

class TrainerSupervision {
  public:
    enum class State : std::uint8_t { off, backoff, starting, unloaded, loading, idle, training, evaluating };
    enum class Outcome : std::uint8_t { none, loaded, restored, restore_failed, round_ended, saved, evaluated };

    explicit TrainerSupervision(Context& context) : context_(context) {}

    /// Whether a process is wanted; starts it when due, ends it when not.
    void want(bool wanted);
    State state() const { return state_; }
    bool idle() const { return state_ == State::idle && !copying_; }
    /// It reads theta now, or holds an operation that must not meet a change of theta.
    bool quiet() const {
        return !copying_ && state_ != State::loading && state_ != State::training && state_ != State::evaluating;
    }
    /// Holds weights that follow theta by carry or reload.
    bool loaded() const { return state_ == State::idle || state_ == State::training || state_ == State::evaluating; }
    bool reported_training() const { return state_ == State::training; }
    /// Rises with each process: what was frozen in an earlier life is not this delta's beginning.
    std::uint64_t life() const { return life_; }
    const TrainedSoFar& delta() const { return delta_; }
    bool has_delta() const { return loaded() && delta_.sequences > 0; }
    RoundAnswer::Why round_end() const { return round_end_; }
    const std::optional<ProgressNote>& restored_note() const { return restored_; }
    double heldout() const { return heldout_; }
    const TrainedSoFar& saved_delta() const { return saved_delta_; }

    void load(bool reset_optimizer);
    void restore(std::uint32_t slot);
    void feed(std::vector<Segment> segments) { context_.emit(TrainerFeed{std::move(segments)}); }
    void train(TrainerTrain order);
    void freeze();
    void evaluate(Step step);
    void save(std::uint32_t slot, ProgressNote note);
    bool saving() const { return saving_.has_value(); }
    void on_save_fixed(OpId op) {
        if (op == saving_) copying_ = false;
    }
    /// How long training stood still for the newest save.
    std::optional<Millis> save_stall() const { return save_stall_; }
    /// The delta is gone: theta was applied with reload.
    void delta_dropped() { delta_ = {}; }
    /// Ends the process and starts another after the back-off.
    void fail(const std::string& why, Errc code = Errc::trainer_failed);
    /// It got something done: what failed before is forgotten. `proven`: its weights were found finite, too.
    void worked(bool proven);
    /// Failed again and again, and is not up now: nobody should wait for it.
    bool failing() const;
    std::uint32_t failures() const { return std::max(failures_, not_finite_in_row_); }
    const std::string& last_error() const { return last_error_; }
    /// When the next process is due; nothing while one runs or none is wanted.
    std::optional<Mono> retry_at() const;

    void on_gone(const TrainerGone& event);
    void on_alive(const TrainerAlive& event);
    bool owns(OpId op) const { return op == op_ || op == saving_; }
    Outcome on_done(const Done& done);
    /// Kills what does not answer.
    void tick();
    Mono next_wake() const;

    TrainerPhase phase(bool waiting) const;
    const TrainerAlive& alive() const { return alive_; }
    bool gone_not_finite() const { return not_finite_; }

  private:
    Mono deadline() const;
    void begin(State state);
    void end_save();
    void back_off(const std::string& why, Errc code);

    Context& context_;
    State state_ = State::off;
    std::optional<OpId> op_;
    std::optional<OpId> saving_;
    bool copying_ = false;  ///< the save under way still reads theta and the delta
    std::optional<Millis> save_stall_;
    std::uint64_t life_ = 0;
    TrainedSoFar delta_;
    TrainedSoFar saved_delta_;
    RoundAnswer::Why round_end_ = RoundAnswer::Why::steps;
    std::optional<ProgressNote> restored_;
    TrainerAlive alive_;
    double heldout_ = 0;
    Mono heard_;
    Mono retry_at_;
    std::uint32_t failures_ = 0;
    std::uint32_t not_finite_in_row_ = 0;
    std::string last_error_;
    bool freezing_ = false;
    bool not_finite_ = false;
};

}  // namespace skerry::node
