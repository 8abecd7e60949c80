// The simulated node's side of its trainer.

#include <algorithm>

#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace node;

void SimNode::end_trainer() {
    for (OpId op : trainer_ops_) pending_.erase(op);
    trainer_ops_.clear();
    ++trainer_.life;
    trainer_.alive = trainer_.loaded = trainer_.hung = trainer_.freezing = false;
    trainer_.order.reset();
    trainer_.truth.clear();
    trainer_.queue.clear();
    trainer_.true_base.reset();
}

bool SimNode::kill_trainer(Errc why) {
    if (!up() || !trainer_.alive) return false;
    end_trainer();
    feed(TrainerGone{why, "killed"});
    return true;
}

void SimNode::on(const StartTrainer& a) {
    end_trainer();
    trainer_.alive = true;
    trainer_ops_.insert(a.op);
    later(a.op, world_.rng.ms(30, 400), false, []() -> Outcome { return Answer{}; });
    still_alive(trainer_.life);
}

/// A healthy trainer says a line every second.
void SimNode::still_alive(std::uint64_t life) {
    world_.after(Millis(1000), [this, life] {
        if (!up() || life != trainer_.life || trainer_.hung) return;
        if (!trainer_.order) feed(TrainerAlive{trainer_.counters, 0, Millis(100), 0, 1.0});
        still_alive(life);
    });
}

void SimNode::on(const KillTrainer&) { end_trainer(); }

void SimNode::on(const TrainerLoad& a) {
    trainer_ops_.insert(a.op);
    later(a.op, world_.rng.ms(1, 30), false, [this]() -> Outcome {
        check_no_work_lost(nullptr, *state_step_);
        jumped_ = false;
        trainer_.clear(sim_.pieces());
        return Answer{};
    });
}

void SimNode::on(const TrainerFeed& a) { trainer_.queue.insert(trainer_.queue.end(), a.segments.begin(), a.segments.end()); }

void SimNode::on(const TrainerTrain& a) {
    if (!trainer_.alive) return;
    require(trainer_.loaded && !trainer_.order, "L2", name() + " trains an unloaded trainer");
    trainer_.order = a;
    trainer_.steps_done = 0;
    trainer_.freezing = false;
    trainer_.deadline = a.deadline.count() > 0 ? world_.now + a.deadline : Mono::max();
    next_inner_step(trainer_.life);
}

void SimNode::next_inner_step(std::uint64_t life) {
    const Millis takes = world_.rng.ms(60, 260);
    world_.after(takes, [this, life, takes] {
        if (!up() || life != trainer_.life || !trainer_.order || trainer_.hung) return;
        trainer_.inner_step(state_, *state_step_, sim_.manifest().batch_sequences, sim_.manifest().sequence_tokens);
        using Why = RoundAnswer::Why;
        if (trainer_.freezing) return end_round(Why::freeze);
        if (trainer_.order->max_steps > 0 && trainer_.steps_done >= trainer_.order->max_steps) return end_round(Why::steps);
        if (world_.now + takes > trainer_.deadline) return end_round(Why::deadline);
        if (trainer_.queue.empty()) return end_round(Why::data);
        TrainerAlive line{trainer_.counters, trainer_.steps_done, takes, 100, 1.0};
        next_inner_step(life);
        feed(line);
    });
}

void SimNode::end_round(RoundAnswer::Why why) {
    Done done;
    done.op = trainer_.order->op;
    done.answer = RoundAnswer{why, trainer_.counters};
    trainer_.order.reset();
    feed(std::move(done));
}

void SimNode::on(const TrainerFreeze&) {
    if (trainer_.order) trainer_.freezing = true;
}

void SimNode::on(const SaveProgress& a) {
    if (!trainer_.alive || trainer_.hung) return;
    trainer_ops_.insert(a.op);
    const ProgressFile file{a.note, trainer_.counters, trainer_.delta, trainer_.truth, trainer_.true_base.value_or(a.note.base)};
    later(a.op, disk_time(), true, [this, a, file]() -> Outcome {
        disk_.progress[a.slot] = file;
        disk_.newest_slot = a.slot;
        return Answer{ProgressAnswer{file.note, file.delta}};
    });
}

void SimNode::on(const RestoreProgress& a) {
    trainer_ops_.insert(a.op);
    later(a.op, disk_time(), false, [this, a]() -> Outcome {
        trainer_.clear(sim_.pieces());
        if (!disk_.progress[a.slot]) return Error{Errc::not_found, "no progress", ""};
        const ProgressFile& file = *disk_.progress[a.slot];
        trainer_.delta = file.values;
        trainer_.counters = file.delta;
        trainer_.truth = file.truth;
        trainer_.true_base = file.true_base;
        return Answer{ProgressAnswer{file.note, file.delta}};
    });
}

void SimNode::on(const Evaluate& a) {
    trainer_ops_.insert(a.op);
    later(a.op, world_.rng.ms(10, 100), false, []() -> Outcome { return Answer{EvaluatedAnswer{1.0}}; });
}

}  // namespace skerry::sim
