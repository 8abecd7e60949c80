// What the step machine waits for; for status only.

#include "node/core/waiting.hpp"

#include "node/core/step_machine.hpp"

namespace skerry::node {

Waiting StepMachine::waiting(bool session) const {
    using State = TrainerSupervision::State;
    if (!context_.manifest || !context_.heard_orders) return Waiting::welcome;
    if (halted_) return Waiting::operator_;
    if (!log_.loaded()) return catch_up_.snapshot() ? Waiting::snapshot : Waiting::state;
    if (!session) return Waiting::coordinator;
    if (catch_up_.snapshot()) return Waiting::snapshot;
    if (behind()) return Waiting::entries;
    if (context_.config.follow) return leaving_ ? Waiting::leaving : Waiting::next_step;
    const RosterEntry* me = roster_.find(context_.self());
    if (me == nullptr || me->state != NodeState::current) return Waiting::roster;
    if (prepared()) return Waiting::decision;
    if (exchange_.following() && exchange_.plan().step == log_.applied()) return Waiting::pieces;
    if (frozen_) return Waiting::plan;
    if (encode_op_) return Waiting::encoding;
    if (trainer_.state() == State::evaluating) return Waiting::evaluation;
    if (trainer_.reported_training()) return Waiting::training;
    if (leaving_) return Waiting::leaving;
    switch (context_.orders.run_state) {
        case RunState::created: return Waiting::run_created;
        case RunState::paused: return Waiting::run_paused;
        case RunState::stopped: return Waiting::run_ended;
        case RunState::running: break;
    }
    if (paused_) return Waiting::user;
    switch (trainer_.state()) {
        case State::starting:
        case State::unloaded:
        case State::loading: return Waiting::trainer_start;
        case State::backoff: return Waiting::trainer_again;
        default: break;
    }
    if (ready()) return Waiting::others;
    return leases_.stock() == 0 ? Waiting::data : Waiting::training;
}

std::string StepMachine::to_text(Waiting what) const {
    const std::string step = std::to_string(log_.applied().value);
    switch (what) {
        case Waiting::welcome: return "the first answer of the coordinator";
        case Waiting::coordinator: return "the coordinator, which cannot be reached";
        case Waiting::operator_: return "the operator: the coordinator's log is not the one this node has";
        case Waiting::state:
            if (context_.manifest->initial_root.is_zero() || log_.applied() > Step{}) return "the state from disk";
            return "the state that this fork begins with, from disk or the coordinator" +
                   (log_.first_missing() ? ": " + *log_.first_missing() : "");
        case Waiting::snapshot: return "a snapshot of step " + std::to_string(catch_up_.snapshot()->value);
        case Waiting::entries: return "entries up to step " + std::to_string(context_.orders.head.value);
        case Waiting::roster: return "the coordinator to count this node in";
        case Waiting::decision: return "the decision on step " + step;
        case Waiting::pieces: {
            const ExchangeState x = exchange_.state();
            return "pieces of step " + step + ": " + std::to_string(x.contributions_have) + " of " +
                   std::to_string(x.contributions_need) + " to sum, " + std::to_string(x.results_have) + " of " +
                   std::to_string(x.results_need) + " results";
        }
        case Waiting::plan: return "the plan of step " + step;
        case Waiting::encoding: return "the encoding of what was trained";
        case Waiting::trainer_start: return "the trainer to start";
        case Waiting::trainer_again: {
            const Mono at = trainer_.next_wake();
            const auto ms = at > context_.now ? (at - context_.now).count() : 0;
            return "the trainer, which ended: started again in " + std::to_string((ms + 999) / 1000) + " s";
        }
        case Waiting::training: return "the trainer: inner step " + std::to_string(trainer_.alive().round_steps);
        case Waiting::evaluation: return "the evaluation of step " + step;
        case Waiting::user: return "the owner of this machine, who has paused it";
        case Waiting::leaving: return "leave to go: copies of the log are handed over";
        case Waiting::run_created: return "the run to be started";
        case Waiting::run_paused: return "the run to be resumed";
        case Waiting::run_ended: return "nothing: the run has ended";
        case Waiting::data: return "data to train on";
        case Waiting::next_step: return "step " + step + " to be decided";
        case Waiting::others: return "the other nodes: there is no data for this one";
    }
    return {};
}

}  // namespace skerry::node
