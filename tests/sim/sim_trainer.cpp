// The simulated node's side of its trainer.

#include <algorithm>
#include <bit>

#include "node/log/progress_files.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace node;

namespace {
constexpr const char* kProgressTag = "skerry/sim/trainer/1";
}

Bytes SimTrainer::to_bytes(Step base) const {
    ByteWriter w;
    w.u32(static_cast<std::uint32_t>(delta.size()));
    for (std::int64_t value : delta) w.u64(static_cast<std::uint64_t>(value));
    for (std::uint64_t count : {counters.steps, counters.sequences, counters.tokens}) w.u64(count);
    w.f64(counters.loss);
    w.u32(static_cast<std::uint32_t>(truth.size()));
    for (const Segment& s : truth) {
        w.id(s.lease);
        w.u64(s.from);
        w.u64(s.to);
    }
    w.id(true_base.value_or(base));
    return w.take();
}

void SimTrainer::restore(ByteSpan bytes) {
    ByteReader r(bytes);
    delta.resize(r.u32());
    for (std::int64_t& value : delta) value = static_cast<std::int64_t>(r.u64());
    counters.steps = r.u64();
    counters.sequences = r.u64();
    counters.tokens = r.u64();
    counters.loss = r.f64();
    truth.resize(r.u32());
    for (Segment& s : truth) {
        s.lease = r.strong<LeaseId>();
        s.from = r.u64();
        s.to = r.u64();
    }
    true_base = r.strong<Step>();
}

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
    require(!follows_, "I17", name() + ", a follower, trains");
    end_trainer();
    trainer_.alive = true;
    if (!sim_.settings.exact_trainer) trainer_.salt = static_cast<std::uint32_t>(world_.rng.next());
    trainer_ops_.insert(a.op);
    later(a.op, world_.rng.ms(30, 400), []() -> Outcome { return Answer{}; });
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
    later(a.op, world_.rng.ms(1, 30), [this]() -> Outcome {
        check_no_work_lost(nullptr, store_->state_step().value_or(Step{}));
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
        trainer_.inner_step(theta_bits(), *store_->state_step(), sim_.manifest().batch_sequences, sim_.manifest().sequence_tokens);
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

/// Saved progress: the trainer's file, and the agent's note, which makes it count.
void SimNode::on(const SaveProgress& a) {
    if (!trainer_.alive || trainer_.hung) return;
    const auto life = trainer_.life;
    const Bytes state = trainer_.to_bytes(a.note.base);
    const TrainedSoFar delta = trainer_.counters;
    const OpId op = a.op;
    if (op.value % 2 == 0)  // every second one is written while the trainer goes on
        world_.after(Millis(1), [this, op, node_life = life_] {
            if (node_life == life_) feed(SaveFixed{op});
        });
    on_disk({}, disk_time(), [this, a, op, life, state, delta]() -> Outcome {
        ProgressFiles files(folder_);
        auto done = files.void_slot(a.slot);
        if (done && life == trainer_.life) done = write_sealed(files.trainer_file(a.slot), kProgressTag, state);
        if (life != trainer_.life) return Answer{};
        if (done) done = files.commit(a.slot, a.note, delta);
        report(op, done ? Outcome(Answer{ProgressAnswer{a.note, delta}}) : Outcome(fail(done.error())));
        return Answer{};
    });
}

void SimNode::on(const RestoreProgress& a) {
    const auto life = trainer_.life;
    on_disk({}, disk_time(), [this, a, life]() -> Outcome {
        if (life != trainer_.life) return Answer{};
        ProgressFiles files(folder_);
        trainer_.clear(sim_.pieces());
        auto image = files.read_slot(a.slot);
        auto state = read_sealed(files.trainer_file(a.slot), kProgressTag, 1 << 20);
        if (image && state) trainer_.restore(*state);
        Outcome answer = Answer{};
        if (!image) answer = fail(image.error());
        else if (!state) answer = fail(state.error());
        else answer = Answer{ProgressAnswer{image->note, trainer_.counters}};
        report(a.op, std::move(answer));
        return Answer{};
    });
}

/// theta - local, as the trainer hands its weights out: in windows that know nothing of pieces.
void SimNode::on(const Encode& a) {
    if (a.use_residual) {
        std::optional<Step> last;
        for (Step k{0}; k < store_->decisions().next(); k = k.next()) {
            auto record = store_->decisions().read(k, 1);
            if (!record) last = residual_;  // a flipped bit: nothing to compare with
            if (!record) break;
            auto decision = parse_decision(record->front().decision.body);
            for (const Credit& c : decision->credits)
                if (c.node == id_) last = k;
        }
        require(residual_ && residual_ == last, "I12", name() + " uses a residual of another step");
    }
    on_disk(a.op, world_.rng.ms(1, 60), [this, a] { return encode(a); });
}

SimNode::Outcome SimNode::encode(const Encode& a) {
    if (!trainer_.alive) return fail(Errc::trainer_failed, "the trainer is gone");
    require(store_->state_step() == a.step, "I12", name() + " encodes against another state");
    const auto local = local_weights(store_->theta(), trainer_.delta, store_->grid());
    auto chunks = std::make_shared<std::vector<Bytes>>(
        contribution_chunks(ChunkForm(sim_.manifest()), a.step, store_->theta(), local));
    auto writer = store_->begin_contribution(a.step);
    if (!writer) return fail(writer.error());
    const std::size_t window = static_cast<std::size_t>(world_.rng.in(1000, 9000));
    for (std::size_t at = 0; at < local.size(); at += window) {
        auto pushed = (*writer)->push(std::span(local).subspan(at, std::min(window, local.size() - at)));
        if (!pushed) return fail(pushed.error());
    }
    ReadyState ready;
    ready.step = a.step;
    auto made = store_->finish_contribution(**writer, ready);
    if (!made) return fail(made.error());
    require(made->contribution == merkle_root(leaves_of(*chunks)), "I7", name() + " encodes another delta than it was given");
    sim_.checker->made(a.step, made->contribution,
                       TrueContribution{id_, trainer_.true_base.value_or(a.step), trainer_.truth, std::move(chunks)});
    encoded_ = {a.step, made->contribution};
    return Answer{EncodedAnswer{made->contribution, made->norm, true}};
}

std::vector<std::uint32_t> SimNode::theta_bits() const {
    std::vector<std::uint32_t> out;
    for (std::uint32_t p = 0; p < store_->grid().count(); ++p)
        out.push_back(std::bit_cast<std::uint32_t>(store_->theta()[store_->grid().first(PieceIndex{p})]));
    return out;
}

void SimNode::on(const Evaluate& a) {
    trainer_ops_.insert(a.op);
    later(a.op, world_.rng.ms(10, 100), []() -> Outcome { return Answer{EvaluatedAnswer{1.0}}; });
}

}  // namespace skerry::sim
