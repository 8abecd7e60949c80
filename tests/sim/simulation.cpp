#include "tests/sim/simulation.hpp"

#include <algorithm>
#include <cstdio>

#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::sim {

namespace {
enum Fault {
    kill_coordinator, kill_node, power_node, power_all, kill_trainer, hang_trainer, cut_control, cut_edge, reset_data,
    disk_full, freeze_node, user_pause, run_pause, isolate_node, cut_all_control, leave_node, roll_back, reconfigure, lose_coordinator_disk, kFaults
};
constexpr Millis kHealTime{900'000};
constexpr std::uint64_t kProgress = 3;
}  // namespace

void World::say(const std::string& who, const std::string& what) const {
    if (!trace) return;
    std::printf("%8.3f %s: %s\n", static_cast<double>(now.time_since_epoch().count()) / 1000.0, who.c_str(), what.c_str());
}

Simulation::Simulation(std::uint64_t seed, bool trace) : world(seed), faults_(seed, 2) {
    world.trace = trace;
    draw_settings();
    build();
}

void Simulation::draw_settings() {
    Rng& rng = world.rng;
    static constexpr std::uint32_t kNodes[] = {3, 3, 3, 3, 3, 2, 2, 4, 4, 5, 1, 3};
    settings.nodes = kNodes[rng.in(0, 11)];
    settings.late_nodes = settings.nodes > 2 && rng.chance(0.4) ? 1 : 0;
    settings.pieces = static_cast<std::uint32_t>(rng.in(1, 6));
    settings.stops = rng.chance(0.4);
    settings.fault_time = rng.ms(8'000, 28'000);

    Manifest& m = settings.manifest;
    for (auto& byte : m.run.bytes) byte = static_cast<std::uint8_t>(rng.next());
    m.name = "sim";
    m.seed = rng.next();
    m.elements = std::uint64_t{settings.pieces} * 4096 - static_cast<std::uint64_t>(rng.in(0, 100));
    m.piece_elements = piece_elements_for(m.elements);
    m.tensors = {{"w", {m.elements}, 0, m.elements, 0.5F}};
    m.data_manifest = sha256(ByteSpan{});
    m.sequences = 200;
    m.sequence_tokens = 10;
    m.target_tokens = settings.stops ? static_cast<std::uint64_t>(rng.in(300, 2500)) : 1'000'000;
    m.batch_sequences = static_cast<std::uint32_t>(rng.in(1, 3));
    m.local_steps = static_cast<std::uint32_t>(rng.in(2, 5));
    m.round_ms = static_cast<std::uint32_t>(rng.in(1200, 2500));
    m.min_nodes = settings.nodes == 1 ? 1 : rng.chance(0.8) ? 2 : 1;
    m.durable_copies = m.min_nodes;
    m.max_carry = 1;
    m.snapshot_every = static_cast<std::uint32_t>(rng.in(2, 6));
    m.evaluate_every = rng.chance(0.3) ? 2 : 0;

    auto& c = settings.coordinator;
    c.heartbeat = Millis(1000);
    c.silent_after = Millis(3000);
    c.away_after = Millis(8000);
    c.exchange_deadline = Millis(5000);
    c.vote_deadline = Millis(1000);
}

void Simulation::build() {
    Rng& rng = world.rng;
    checker = std::make_unique<Checker>(settings.manifest, settings.pieces);
    network = std::make_unique<Network>(*this);
    network->latency_lo = rng.ms(0, 10);
    network->latency_hi = network->latency_lo + rng.ms(1, rng.chance(0.2) ? 400 : 40);
    network->doubled = rng.chance(0.3) ? 0.05 : 0;
    coordinator = std::make_unique<SimCoordinator>(*this, skerry::coordinator::RunRow{to_bytes(settings.manifest), {}});

    for (auto& byte : token_id.bytes) byte = static_cast<std::uint8_t>(rng.next());
    for (int i = 0; i < 16; ++i) token_secret.push_back(static_cast<std::uint8_t>(rng.next()));
    skerry::coordinator::TokenRow token;
    token.id = token_id;
    token.hash = token_hash(token_id.bytes, token_secret);
    token.uses_left = 1000;
    coordinator->journal.apply({Term{0}, {skerry::coordinator::op::PutToken{token}}});

    for (std::uint32_t i = 0; i < settings.nodes; ++i) {
        nodes.push_back(std::make_unique<SimNode>(*this, i));
        network->reachable.push_back(true);
    }
    for (int kind = 0; kind < kFaults; ++kind)
        if (faults_.chance(0.45)) kinds_.push_back(kind);
    // Behind NAT. Two such nodes see each other only through a third, which must then not leave.
    const bool stay = std::find(kinds_.begin(), kinds_.end(), leave_node) == kinds_.end();
    const std::int64_t closed = settings.nodes >= 4 && stay ? rng.in(0, 2) : rng.in(0, 1);
    for (std::int64_t i = 0; i < closed; ++i)
        network->reachable[static_cast<std::size_t>(rng.in(0, settings.nodes - 1))] = rng.chance(0.5);
    fault_every_ = faults_.ms(400, 4000);
    if (faults_.chance(0.3))
        for (auto& peer : nodes) peer->set_fragile(0.0006);
    if (faults_.chance(0.3)) coordinator->set_fragile(0.001);
}

SimNode* Simulation::find(const NodeId& id) {
    for (auto& peer : nodes)
        if (peer->id() == id) return peer.get();
    return nullptr;
}

void Simulation::at_crash(const std::string&) { check_copies(); }

void Simulation::check_copies() const {
    const MemoryJournal& journal = coordinator->journal;
    for (Step step{0}; step < journal.head(); step = step.next()) {
        if (checker->dead(step)) continue;
        const Digest& plan = journal.decision(step).plan_digest;
        const bool commits = journal.decision(step).kind == EntryKind::commit;
        std::uint32_t copies = 0;
        for (const auto& peer : nodes) {
            const SimDisk& disk = peer->disk();
            auto prepared = disk.prepared.find(step);
            const bool waits = prepared != disk.prepared.end() && prepared->second.plan_digest == plan;
            const bool later_snapshot = std::any_of(disk.snapshots.begin(), disk.snapshots.end(), [&](const auto& s) {
                return s.first > step && !checker->dead_state(s.first);
            });
            const bool record = !commits && disk.decisions.size() > step.value;
            if (waits || later_snapshot || record || disk.entries.contains(step)) ++copies;
        }
        require(copies >= checker->copies_of(step), "I5",
                "entry " + std::to_string(step.value) + " has " + std::to_string(copies) + " copies");
    }
}

void Simulation::run_until(Mono until) {
    while (world.run_one(until)) {}
}

void Simulation::run() {
    coordinator->start();
    coordinator->feed(skerry::coordinator::AdminCommand{1, skerry::coordinator::admin::StartRun{}});
    for (std::uint32_t i = 0; i < settings.nodes; ++i) {
        const bool late = i + settings.late_nodes >= settings.nodes;
        world.after(late ? world.rng.ms(4000, 15'000) : world.rng.ms(0, 500), [this, i] { nodes[i]->start(); });
    }
    run_until(world.now + Millis(1500));
    faults_on_ = true;
    next_fault();
    run_until(world.now + settings.fault_time);
    heal();
    wait_for_progress();
    final_checks();
}

void Simulation::next_fault() {
    if (!faults_on_ || kinds_.empty()) return;
    world.after(faults_.ms(fault_every_.count() / 4, 2 * fault_every_.count()), [this] {
        if (!faults_on_) return;
        one_fault();
        next_fault();
    });
}

void Simulation::one_fault() {
    const int kind = kinds_[static_cast<std::size_t>(faults_.in(0, static_cast<std::int64_t>(kinds_.size()) - 1))];
    const auto index = static_cast<std::uint32_t>(faults_.in(0, settings.nodes - 1));
    const auto other = static_cast<std::uint32_t>(faults_.in(0, settings.nodes - 1));
    SimNode& peer = *nodes[index];
    const Millis span = faults_.chance(0.3) ? faults_.ms(4000, 16'000) : faults_.ms(100, 4000);
    auto afterwards = [&](std::function<void()> what) {
        world.after(span, [this, w = std::move(what)] {
            if (faults_on_) w();
        });
    };
    auto restart = [this](std::uint32_t i) { nodes[i]->start(); };
    switch (kind) {
        case kill_coordinator:
            coordinator->crash();
            afterwards([this] { coordinator->start(); });
            break;
        case kill_node:
        case power_node:
            peer.kill(kind == power_node);
            afterwards([restart, index] { restart(index); });
            break;
        case power_all:
            coordinator->crash();
            for (auto& each : nodes) each->kill(true);
            afterwards([this, restart] {
                coordinator->start();
                for (std::uint32_t i = 0; i < settings.nodes; ++i)
                    world.after(world.rng.ms(0, 3000), [restart, i] { restart(i); });
            });
            break;
        case kill_trainer: peer.kill_trainer(); break;
        case hang_trainer: peer.hang_trainer(); break;
        case cut_control: {
            const int way = static_cast<int>(faults_.in(0, 2));
            world.say("fault", "control of " + peer.name() + " is cut");
            network->cut_control(index, way != 1, way != 2);
            afterwards([this, index] { network->cut_control(index, false, false); });
            break;
        }
        case cut_edge: {
            if (other == index) break;
            world.say("fault", "edge " + peer.name() + " to " + nodes[other]->name() + " is cut");
            const bool both = faults_.chance(0.5);
            network->cut_edge(index, other, true);
            if (both) network->cut_edge(other, index, true);
            afterwards([this, index, other] {
                network->cut_edge(index, other, false);
                network->cut_edge(other, index, false);
            });
            break;
        }
        case reset_data: network->reset_connections(); break;
        case disk_full:
            peer.set_disk_full(true);
            afterwards([this, index] { nodes[index]->set_disk_full(false); });
            break;
        case freeze_node:
            world.say("fault", peer.name() + " is frozen");
            peer.freeze_until(world.now + span);
            break;
        case user_pause:
            peer.feed(node::UserPause{});
            afterwards([this, index] { nodes[index]->feed(node::UserResume{}); });
            break;
        case run_pause:
            coordinator->feed(skerry::coordinator::AdminCommand{2, skerry::coordinator::admin::PauseRun{}});
            afterwards([this] {
                coordinator->feed(skerry::coordinator::AdminCommand{3, skerry::coordinator::admin::StartRun{}});
            });
            break;
        case isolate_node:
            world.say("fault", peer.name() + " is cut off");
            network->cut_control(index, true, true);
            for (std::uint32_t i = 0; i < settings.nodes; ++i) {
                if (i == index) continue;
                network->cut_edge(index, i, true);
                network->cut_edge(i, index, true);
            }
            afterwards([this, index] {
                network->cut_control(index, false, false);
                for (std::uint32_t i = 0; i < settings.nodes; ++i) {
                    if (i == index) continue;
                    network->cut_edge(index, i, false);
                    network->cut_edge(i, index, false);
                }
            });
            break;
        case cut_all_control:
            world.say("fault", "the coordinator is cut off");
            for (std::uint32_t i = 0; i < settings.nodes; ++i) network->cut_control(i, true, true);
            afterwards([this] {
                for (std::uint32_t i = 0; i < settings.nodes; ++i) network->cut_control(i, false, false);
            });
            break;
        case lose_coordinator_disk:
            // Before the first decision there is nothing to rebuild: the operator makes the run again.
            if (coordinator->journal.head().value > 0 && faults_.chance(0.25)) coordinator->lose_disk();
            break;
        case roll_back: one_rollback(); break;
        case reconfigure:
            coordinator->feed(skerry::coordinator::AdminCommand{
                6, skerry::coordinator::admin::Configure{{static_cast<float>(faults_.in(1, 9)) / 10, 0.5F}}});
            break;
        case leave_node: {
            std::uint32_t staying = 0;
            for (auto& each : nodes) staying += each->left() ? 0 : 1;
            if (staying <= settings.manifest.min_nodes + 1 || !faults_.chance(0.3)) break;
            world.say("fault", peer.name() + " is asked to leave");
            peer.feed(node::UserLeave{faults_.chance(0.7) ? LeaveWhen::after_step : LeaveWhen::now});
            break;
        }
        default: break;
    }
}

void Simulation::one_rollback() {
    if (!coordinator->up() || coordinator->being_rebuilt() || !faults_.chance(0.4)) return;
    const std::uint64_t head = coordinator->journal.head().value;
    const Step to{head - std::min<std::uint64_t>(head, static_cast<std::uint64_t>(faults_.in(0, 6)))};
    const Step from{to.value - std::min<std::uint64_t>(to.value, 1)};
    world.say("fault", "the operator goes back to step " + std::to_string(to.value));
    coordinator->feed(skerry::coordinator::AdminCommand{
        5, skerry::coordinator::admin::Rollback{to, faults_.chance(0.5), coordinator->journal.decisions(from, 1000)}});
}

void Simulation::heal() {
    world.say("fault", "everything heals");
    faults_on_ = false;
    network->heal();
    coordinator->start();
    coordinator->feed(skerry::coordinator::AdminCommand{4, skerry::coordinator::admin::StartRun{}});
    for (auto& peer : nodes) {
        peer->start();
        peer->set_disk_full(false);
        peer->feed(node::UserResume{});
    }
}

/// Everybody is at the head, or has followed a fast run for long enough.
bool Simulation::done(Step far) const {
    const Step head = coordinator->journal.head();
    for (const auto& peer : nodes) {
        if (peer->left()) continue;
        if (!peer->up() || peer->view().head < std::min(head, far)) return false;
    }
    return true;
}

void Simulation::wait_for_progress() {
    const Step from = coordinator->journal.head();
    const Mono limit = world.now + kHealTime;
    auto enough = [&] {
        const bool ended = coordinator->journal.meta().run_state == RunState::stopped;
        const bool moved = coordinator->journal.head().value >= from.value + kProgress;
        return (ended || moved) && done(Step{from.value + 10 * kProgress});
    };
    while (!enough()) {
        require(world.now < limit, "L1", "no progress after healing\n" + describe());
        (void)world.run_one(limit);
    }
}

void Simulation::final_checks() const {
    check_copies();
    for (const auto& peer : nodes) {
        if (peer->left() || peer->view().head.value == 0) continue;
        require(peer->view().h_head == coordinator->journal.decision(Step{peer->view().head.value - 1}).h_after,
                "I10", peer->name() + " has another chain");
    }
}

std::string Simulation::describe() const {
    std::string out;
    if (coordinator->being_rebuilt()) out += "coordinator: being rebuilt\n";
    else if (coordinator->up()) {
        const auto s = coordinator->status();
        out += "coordinator: head " + std::to_string(s.head.value) + ", " + s.phase + ", attempt " +
               std::to_string(s.attempt.value) + ", data " + std::to_string(s.free_sequences) + " free " +
               std::to_string(s.leased_sequences) + " leased, " + std::to_string(s.tokens_committed) + " of " +
               std::to_string(s.target_tokens) + " tokens, hold: " + s.hold_reason + ", next: " + s.next + "\n";
        for (const auto& n : s.nodes)
            out += "  " + n.name + ": state " + std::to_string(static_cast<int>(n.state)) + " phase " + n.phase +
                   (n.silent ? " silent" : "") + (n.ready ? " ready" : "") + (n.voted ? " voted" : "") + "\n";
    }
    for (const auto& peer : nodes) {
        if (!peer->up()) continue;
        const auto v = peer->view();
        out += peer->name() + ": phase " + std::to_string(static_cast<int>(v.phase)) + " head " +
               std::to_string(v.head.value) + "/" + std::to_string(v.log_head.value) + " session " +
               std::to_string(v.session) + std::to_string(v.welcomed) + " trainer " +
               std::to_string(static_cast<int>(v.trainer)) + " have " + std::to_string(v.exchange.contributions_have) + "/" +
               std::to_string(v.exchange.contributions_need) + " " + std::to_string(v.exchange.results_have) + "/" +
               std::to_string(v.exchange.results_need) + " waits for " + v.waiting_for + "\n";
    }
    return out;
}

}  // namespace skerry::sim
