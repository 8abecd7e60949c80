#include "tests/sim/sim_node.hpp"

#include <algorithm>

#include "node/log/node_image.hpp"
#include "protocol/wire/chunk_codec.hpp"
#include "tests/sim/faults.hpp"
#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace node;

namespace {
/// What a trace prints of an action: its type.
template <class T>
std::string type_name(const T& value) {
    static constexpr const char* kNames[] = {
        "Send", "Redial", "SetPeers", "SendPeer", "Serve", "VerifyChunk", "DropChunk", "PersistSeen", "AdoptManifest",
        "SaveLeases", "DropPrivateState", "FollowPlan", "OpenStaging", "DropStaging", "DropContributions", "Encode",
        "ReducePiece", "WritePrepared", "AppendEntry", "Apply", "LoadState", "AdoptSnapshot", "DropSnapshot",
        "ComputeDigest", "WriteSnapshot", "VerifyKept", "Prune", "StartTrainer", "KillTrainer", "TrainerLoad", "TrainerFeed",
        "TrainerTrain", "TrainerFreeze", "SaveProgress", "RestoreProgress", "Evaluate", "Note", "Exit"};
    static_assert(std::size(kNames) == std::variant_size_v<T>);
    return kNames[value.index()];
}
}  // namespace

SimNode::SimNode(Simulation& sim, std::uint32_t index)
    : sim_(sim), world_(sim.world, node_stream + index), index_(index), folder_(disk_, "/run") {
    for (auto& byte : key_.bytes) byte = static_cast<std::uint8_t>(world_.rng.next());
    id_ = node_id_of(key_);
}
SimNode::~SimNode() = default;

const Manifest& SimNode::sim_manifest() const { return sim_.manifest(); }

Millis SimNode::disk_time() { return world_.rng.chance(0.05) ? world_.rng.ms(20, 400) : world_.rng.ms(0, 15); }

// ------------------------------------------------------------------------------------------- life and death

void SimNode::start() {
    if (up() || gone()) return;
    ++life_;
    for (auto& byte : boot_.bytes) byte = static_cast<std::uint8_t>(world_.rng.next());
    for (auto& byte : curve_.bytes) byte = static_cast<std::uint8_t>(world_.rng.next());
    if (const auto operations = std::exchange(trips_at_, 0); operations > 0 && sim_.faults_on()) return trip(operations);
    auto opened = open_run(folder_);
    if (!opened) {  // as its service would: again, and again
        world_.say(name(), "cannot start: " + opened.error().detail);
        require(disk_full_ || ++failed_starts_ < 5, "L1", name() + " cannot start: " + opened.error().detail);
        world_.after(Millis(1000), [this] { start(); });
        return;
    }
    failed_starts_ = 0;
    seen_ = NodeFiles(folder_).read_seen().value_or(Seen{});
    NodeConfig config;
    config.self = id_;
    config.follow = follows_;
    config.train = !follows_;
    config.data_manifest = opened->data_manifest;
    const std::size_t chunk = chunk_bytes(sim_.manifest().codec, sim_.manifest().piece_elements);
    config.window_bytes = 2 * chunk + 500;  // two chunks: windows matter even here
    config.window_total_bytes = 9 * chunk;
    config.progress_every = Millis(700);
    config.trainer_silence = Millis(4000);
    config.trainer_backoff = Millis(200);
    config.default_edge_patience = Millis(1500);
    config.scrub_every = world_.rng.ms(1000, 8000);
    read_residual();
    opened->image.residual_tag = residual_;
    set_store(std::move(opened->store));
    core_ = std::make_unique<NodeCore>(config, std::move(opened->image), world_.now);
    world_.say(name(), "starts");
    const auto life = life_;
    for (const Action& action : core_->start(world_.now)) {
        act(action);
        if (life != life_) return;
    }
    schedule_tick();
    sim_.network->dial(index_);
}

/// The power fails while it looks at what is on its disk.
void SimNode::trip(std::uint64_t operations) {
    world_.say(name(), "loses power while it starts");
    disk_.medium().stop_at(operations);
    (void)open_run(folder_);
    disk_.medium().crash(world_.rng);
    facts_ = read_facts(folder_, sim_.manifest());
    sim_.check_copies();
    world_.after(world_.rng.ms(100, 2000), [this] { start(); });
}

void SimNode::set_store(std::shared_ptr<RunStore> store) {
    store_ = std::move(store);
    pieces_.reset();
    if (!store_) return;
    PieceSigning signing;
    signing.vote = [key = key_](const Digest& h) { return sim_vote(key, h); };
    signing.result = [key = key_](const Digest& plan, PieceIndex piece, const Digest& leaf) {
        return sim_result(key, plan, piece, leaf);
    };
    signing.verify_result = [](const PublicKey& owner, const Digest& plan, PieceIndex piece, const Digest& leaf,
                               const Signature& signature) { return signature == sim_result(owner, plan, piece, leaf); };
    pieces_ = std::make_unique<PieceFiles>(store_, std::move(signing));
    look_at_disk();
}

/// What was under way on other threads may have got any part of the way.
void SimNode::die_in_the_middle() {
    for (auto& [op, work] : pending_)
        if (!trainer_ops_.contains(op) && world_.rng.chance(0.3)) (void)work();
    const auto whole = disk_jobs_.empty() ? 0 : world_.rng.in(0, static_cast<std::int64_t>(disk_jobs_.size()));
    for (std::int64_t i = 0; i < whole; ++i) {
        const bool last = i + 1 == whole;
        if (last) disk_.medium().stop_at(static_cast<std::uint64_t>(world_.rng.in(1, 12)));
        auto job = std::move(disk_jobs_.front());
        disk_jobs_.pop_front();
        (void)job.work();
    }
    if (store_) facts_ = facts_of(*store_);
}

void SimNode::kill(bool power_cut) {
    if (!up()) return;
    world_.say(name(), power_cut ? "loses power" : "is killed");
    core_.reset();
    ++life_;
    die_in_the_middle();
    pending_.clear();
    held_.clear();
    disk_jobs_.clear();
    chunks_.clear();
    opening_.clear();
    refused_.reset();
    pieces_.reset();
    const bool had_run = store_ != nullptr;
    store_.reset();
    peers.clear();
    followed_.reset();
    encoded_.reset();
    doom_.reset();
    was_ = Phase::joining;
    end_trainer();
    frozen_until_ = disk_busy_until_ = world_.now;
    if (power_cut) disk_.medium().crash(world_.rng);
    else disk_.medium().end_process();
    if (had_run) check_what_is_left();
    sim_.network->node_died(index_, power_cut);
    sim_.check_copies();
}

/// What the store knew to be durable is there after the crash, whole. I4, I5.
void SimNode::check_what_is_left() {
    const DiskFacts before = std::exchange(facts_, read_facts(folder_, sim_.manifest()));
    if (rotten_) return;
    for (const auto& [step, entry] : before.entries)
        require(facts_.has(step, entry), "I5", name() + " lost entry " + std::to_string(step.value) + " in a crash");
    for (Step step : before.snapshots)
        require(facts_.snapshots.contains(step), "I5", name() + " lost snapshot " + std::to_string(step.value) + " in a crash");
    require(facts_.decisions >= before.decisions, "I5", name() + " lost decisions in a crash");
}

void SimNode::feed(Event event) {
    if (!up()) return;
    if (frozen() || !held_.empty()) {
        held_.push_back(std::move(event));
        if (held_.size() == 1) thaw_later();
        return;
    }
    take(event);
}

/// What came meanwhile is taken in its order.
void SimNode::thaw_later() {
    world_.after(frozen_until_ - world_.now, [this, life = life_] {
        if (life != life_) return;
        while (life == life_ && !held_.empty()) {
            if (frozen()) return thaw_later();
            const Event event = std::move(held_.front());
            held_.pop_front();
            take(event);
        }
    });
}

void SimNode::take(const Event& event) {
    const auto life = life_;
    for (const Action& action : core_->step(world_.now, event)) {
        if (doom_ && sim_.faults_on() && doom_->actions-- == 0) {
            const Doom doom = *std::exchange(doom_, std::nullopt);
            kill(doom.power_cut);
            world_.after(doom.down, [this] { start(); });
            return;
        }
        act(action);
        if (life != life_) return;
    }
    schedule_tick();
    if (phase() == was_) return;
    was_ = phase();
    sim_.faults->node_at(index_, was_);
}

void SimNode::schedule_tick() {
    const auto token = ++tick_;
    const auto life = life_;
    const Mono at = core_->next_wake();
    world_.after(at - world_.now, [this, token, life] {
        if (life == life_ && token == tick_) feed(node::Tick{});
    });
}

void SimNode::act(const Action& action) {
    world_.mix(index_ * 64 + action.index());
    if (world_.trace) {
        const std::string type = type_name(action);
        if (type != "Note" && type != "SendPeer" && type != "Send") world_.say(name(), type);
    }
    std::visit([&](const auto& a) { on(a); }, action);
}

// -------------------------------------------------------------------------------------------------- threads

void SimNode::later(OpId op, Millis delay, Work work) {
    pending_[op] = std::move(work);
    world_.after(delay, [this, op, life = life_] {
        if (life == life_) finish(op);
    });
}

void SimNode::finish(OpId op) {
    if (frozen()) {
        world_.after(frozen_until_ - world_.now, [this, op, life = life_] {
            if (life == life_) finish(op);
        });
        return;
    }
    auto at = pending_.find(op);
    if (at == pending_.end()) return;
    auto work = std::move(at->second);
    pending_.erase(at);
    trainer_ops_.erase(op);
    Outcome outcome = work();
    if (!outcome) look_at_disk();  // what was found damaged is gone
    report(op, std::move(outcome));
}

void SimNode::on_disk(std::optional<OpId> op, Millis takes, Work work) {
    disk_jobs_.push_back({op, std::move(work)});
    disk_busy_until_ = std::max(disk_busy_until_, world_.now) + takes;
    world_.after(disk_busy_until_ - world_.now, [this, life = life_] {
        if (life == life_) run_disk_job();
    });
}

void SimNode::run_disk_job() {
    if (frozen()) {
        world_.after(frozen_until_ - world_.now, [this, life = life_] {
            if (life == life_) run_disk_job();
        });
        return;
    }
    Job job = std::move(disk_jobs_.front());
    disk_jobs_.pop_front();
    const auto life = life_;
    Outcome outcome = job.work();
    look_at_disk();
    if (job.op && life == life_) report(*job.op, std::move(outcome));
}

void SimNode::look_at_disk() {
    if (store_) facts_ = facts_of(*store_);
}

void SimNode::something_is_deleted() {
    look_at_disk();
    sim_.check_copies();
}

void SimNode::report(OpId op, Outcome outcome) {
    Done done;
    done.op = op;
    if (outcome) done.answer = std::move(*outcome);
    else done.error = outcome.error();
    if (world_.trace && done.error) world_.say(name(), "failed: " + done.error->detail);
    feed(std::move(done));
}

// ---------------------------------------------------------------------------------------------------- faults

void SimNode::set_disk_full(bool full) {
    if (!full) disk_.medium().clear_faults();
    if (full == disk_full_) return;
    disk_full_ = full;
    if (full) disk_.medium().set_full(true);
    world_.say(name(), full ? "has a full disk" : "has room on its disk");
    feed(DiskState{full});
}

bool SimNode::flip_bit(bool of_entry) {
    auto path = disk_.flip_bit(folder_.string() + (of_entry ? "/entries" : ""), world_.rng);
    if (!path) return false;
    world_.say(name(), "has a flipped bit in " + *path);
    rotten_ = true;
    return true;
}

void SimNode::replace_disk(const Disk& with) {
    kill(true);
    VirtualDisk medium = with.medium ? with.medium->clone() : VirtualDisk(LogDisk::model());
    medium.count_power_cut();
    disk_.put(std::move(medium));
    rotten_ = with.rotten;
    facts_ = read_facts(folder_, sim_.manifest());
}

SimNode::Disk SimNode::copy_disk() const { return {std::make_shared<const VirtualDisk>(disk_.medium().clone()), rotten_}; }

void SimNode::clone(const SimNode& original) {
    key_ = original.key_;
    id_ = original.id_;
    replace_disk(original.copy_disk());
}

void SimNode::retire() {
    replace_disk({});
    gone_ = true;
}

// ------------------------------------------------------------------------------------------------------- end

void SimNode::on(const Note& a) { world_.say(name(), a.text); }

void SimNode::on(const Exit& a) {
    world_.say(name(), "exits: " + a.reason);
    const bool asked = a.code == Errc::cancelled;
    if (asked && a.reason.find("left") != std::string::npos) left_ = true;
    if (a.code == Errc::revoked) left_ = true;
    require(!follows_ || a.code != Errc::revoked, "I2", name() + ", a follower, is out: " + a.reason);
    // The service starts it again, or a person does who made room.
    bool again = exit_code(a.code) == 75 || a.code == Errc::disk_full;
    // A process that was succeeded calls itself older than what the node knows, and is right.
    again = again || (a.code == Errc::database_behind && sim_.coordinator->old_runs());
    require(asked || again || a.code == Errc::revoked || a.code == Errc::replaced, "L1", name() + " exits: " + a.reason);
    kill(false);
    // Replaced by a clone that is gone meanwhile: somebody starts it again.
    again = again || (a.code == Errc::replaced && !sim_.faults_on());
    if (again) world_.after(world_.rng.ms(1000, 2000), [this] { start(); });
}

}  // namespace skerry::sim
