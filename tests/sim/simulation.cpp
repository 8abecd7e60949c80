#include "tests/sim/simulation.hpp"

#include <algorithm>
#include <cstdio>

#include "protocol/identity/hash.hpp"
#include "protocol/rules/base_file.hpp"
#include "protocol/rules/initial_state.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::sim {

namespace {
constexpr Millis kHealTime{900'000};
constexpr Millis kLook{1000};
constexpr std::uint64_t kProgress = 3;
constexpr std::int64_t kWallStart = 1'800'000'000;
constexpr std::int64_t kTokenLives = 30 * 86'400;
}  // namespace

void World::say(const std::string& who, const std::string& what) const {
    if (!trace) return;
    std::printf("%8.3f %s: %s\n", static_cast<double>(now.time_since_epoch().count()) / 1000.0, who.c_str(), what.c_str());
}

Simulation::Simulation(std::uint64_t seed, const Overrides& overrides, bool trace, Probes& probes) : world(seed) {
    world.trace = trace;
    draw_settings(overrides);
    if (overrides.fork) make_fork();
    build();
    add_followers(overrides);
    plan_ = draw_faults(seed, settings.nodes, Millis(1500), settings.fault_time);
    if (overrides.plan) plan_ = *overrides.plan;
    faults = std::make_unique<Faults>(*this, plan_, probes);
}

void Simulation::draw_settings(const Overrides& overrides) {
    Rng rng(world.seed, settings_stream);
    static constexpr std::uint32_t kNodes[] = {3, 3, 3, 3, 3, 2, 2, 4, 4, 5, 1, 3};
    settings.nodes = kNodes[rng.in(0, 11)];
    settings.nodes = overrides.nodes.value_or(settings.nodes);
    settings.late_nodes = settings.nodes > 2 && rng.chance(0.4) ? 1 : 0;
    settings.pieces = static_cast<std::uint32_t>(rng.in(1, 6));
    settings.stops = rng.chance(0.4);
    settings.fault_time = rng.ms(8'000, 28'000);
    settings.fault_time = overrides.fault_time.value_or(settings.fault_time);

    Manifest& m = settings.manifest;
    for (auto& byte : m.run.bytes) byte = static_cast<std::uint8_t>(rng.next());
    m.name = "sim";
    m.seed = rng.next();
    m.elements = std::uint64_t{settings.pieces} * 4096 - static_cast<std::uint64_t>(rng.in(0, 100));
    m.piece_elements = piece_elements_for(m.elements);
    m.tensors = {{"w", {m.elements}, 0, m.elements, 0x1p-30F}};
    m.data_manifest = sha256(ByteSpan{});
    m.codec = rng.chance(0.3) ? CodecId::a8 : CodecId::f32;
    m.disk_quota_bytes = rng.chance(0.3) ? 0 : m.elements * 4 * static_cast<std::uint64_t>(rng.in(8, 60));
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
    settings.exact_trainer = rng.chance(0.5);

    auto& c = settings.coordinator;
    c.heartbeat = Millis(1000);
    c.silent_after = Millis(3000);
    c.away_after = Millis(8000);
    c.exchange_deadline = Millis(5000);
    c.vote_deadline = Millis(1000);
}

void Simulation::make_fork() {
    Rng rng(world.seed, settings_stream + 2000);
    Manifest& m = settings.manifest;
    Sha256 file;
    file.update(base_file_header(m.elements));
    for (std::vector<float>* part : {&settings.base_theta, &settings.base_m}) {
        part->resize(m.elements);
        fill_initial(rng.next(), 0x1p-30F, 0, *part);
        file.update({reinterpret_cast<const std::uint8_t*>(part->data()), part->size() * sizeof(float)});
    }
    m.initial_root = file.finish();
    for (auto& byte : m.parent_run.bytes) byte = static_cast<std::uint8_t>(rng.next());
    for (auto& byte : m.parent_h.bytes) byte = static_cast<std::uint8_t>(rng.next());
    m.parent_step = Step{static_cast<std::uint64_t>(rng.in(0, 1000))};
}

void Simulation::build() {
    Rng rng(world.seed, settings_stream + 1000);
    checker = std::make_unique<Checker>(settings.manifest);
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
    token.not_after = kWallStart + kTokenLives;
    coordinator->write({Term{0}, {skerry::coordinator::op::PutToken{token}}});

    for (std::uint32_t i = 0; i < settings.nodes; ++i) {
        nodes.push_back(std::make_unique<SimNode>(*this, i));
        network->reachable.push_back(true);
    }
    // Behind NAT. Two such nodes, or two that never connect, see each other only through a third.
    const std::int64_t closed = settings.nodes >= 4 ? rng.in(0, 2) : rng.in(0, 1);
    for (std::int64_t i = 0; i < closed; ++i)
        network->reachable[static_cast<std::size_t>(rng.in(0, settings.nodes - 1))] = rng.chance(0.5);
    if (settings.nodes >= 3 && rng.chance(0.15)) {
        const auto a = static_cast<std::uint32_t>(rng.in(0, settings.nodes - 1));
        const auto b = (a + 1) % settings.nodes;
        network->strangers.insert(std::minmax(a, b));
    }
}

/// A stream of their own, so that a seed without followers is what it was before there were any.
void Simulation::add_followers(const Overrides& overrides) {
    Rng rng(world.seed, settings_stream + 3000);
    settings.followers = rng.chance(0.3) ? static_cast<std::uint32_t>(rng.in(1, 2)) : 0;
    if (overrides.plan) settings.followers = 0;
    settings.followers = overrides.followers.value_or(settings.followers);
    for (std::uint32_t i = 0; i < settings.followers; ++i) {
        nodes.push_back(std::make_unique<SimNode>(*this, settings.nodes + i));
        nodes.back()->follow();
        network->reachable.push_back(settings.nodes == 1 || rng.chance(0.7));
    }
}

/// Kills, power cuts, long silences. What becomes of a follower is nothing to the run.
void Simulation::harm(std::uint32_t follower, Rng& rng) {
    const Millis down = rng.ms(200, 9000);
    const bool power_cut = rng.chance(0.3);
    if (rng.chance(0.3)) {
        nodes[follower]->freeze_until(world.now + down);
        return;
    }
    nodes[follower]->kill(power_cut);
    world.after(down, [this, follower] { nodes[follower]->start(); });
}

std::uint32_t Simulation::index_of(const NodeId& id) const {
    std::uint32_t found = 0;
    for (std::uint32_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i]->id() != id) continue;
        found = i;
        if (nodes[i]->up()) break;
    }
    return found;
}

std::int64_t Simulation::wall_unix_s() const {
    return kWallStart + world.now.time_since_epoch().count() / 1000 + faults->wall_jump_s();
}

// ------------------------------------------------------------------------------------------------- disks, copies

void Simulation::add_clone(std::uint32_t original) {
    nodes.push_back(std::make_unique<SimNode>(*this, static_cast<std::uint32_t>(nodes.size())));
    network->reachable.push_back(true);
    nodes.back()->clone(*nodes[original]);
    nodes.back()->start();
}

bool Simulation::may_damage(std::uint32_t node) {
    if (settings.manifest.durable_copies < 2 || nodes[node]->gone()) return false;
    if (!damaged_) damaged_ = nodes[node]->id();
    return *damaged_ == nodes[node]->id();
}

void Simulation::note_damage(const NodeId& id, Damage what) {
    const auto at = coordinator->journal.nodes().find(id);
    const bool known = at != coordinator->journal.nodes().end();
    lost_disks_.push_back({what, known ? at->second.incarnation : Incarnation{}, {}});
}

void Simulation::lose_disk(std::uint32_t node) {
    if (nodes[node]->gone()) return;
    note_damage(nodes[node]->id(), Damage::lost);
    nodes[node]->retire();
}

/// I17: nothing that the run rests on is a follower's.
void Simulation::check_followers(const skerry::coordinator::Op& op) const {
    if (settings.followers == 0) return;
    auto follows = [this](const NodeId& id) { return nodes[index_of(id)]->follows(); };
    if (const auto* lease = std::get_if<skerry::coordinator::op::PutLease>(&op))
        require(!follows(lease->lease.holder), "I17", "a follower gets a lease");
    if (const auto* digest = std::get_if<skerry::coordinator::op::PutDigest>(&op))
        require(!follows(digest->digest.node), "I17", "a follower's digest counts");
    const auto* put = std::get_if<skerry::coordinator::op::PutPlan>(&op);
    const auto plan = put ? parse_plan(put->plan.body) : Result<Plan>(fail(Errc::not_found, ""));
    if (!plan) return;
    require(std::none_of(plan->members.begin(), plan->members.end(), follows), "I17", "a plan has a follower");
}

void Simulation::after_tx(const skerry::coordinator::Tx& tx) {
    for (const auto& o : tx.ops) {
        check_followers(o);
        const auto* put = std::get_if<skerry::coordinator::op::PutNode>(&o);
        if (!put) continue;
        for (LostDisk& lost : lost_disks_)
            if (put->node.node == damaged_ && put->node.incarnation > lost.incarnation && !lost.until)
                lost.until = coordinator->journal.head();
    }
}

std::uint32_t Simulation::copies_due(Step step) const {
    const bool one_less = std::any_of(lost_disks_.begin(), lost_disks_.end(), [&](const LostDisk& disk) {
        return disk.what == Damage::rot || !disk.until || step < *disk.until;
    });
    return std::max(1U, checker->copies_of(step) - (one_less ? 1 : 0));
}

void Simulation::check_copies() const {
    auto dead_state = [this](Step state) { return checker->dead_state(state); };
    for (Step step{0}; step < checker->decided(); step = step.next()) {
        if (checker->dead(step)) continue;
        const Decided& what = checker->decided(step);
        std::uint32_t copies = 0;
        for (const auto& peer : nodes)
            if (!peer->follows() && peer->facts().covers(step, what.plan, what.kind == EntryKind::commit, dead_state)) ++copies;
        require(copies >= copies_due(step), "I5",
                "entry " + std::to_string(step.value) + " has " + std::to_string(copies) + " copies");
    }
}

// ------------------------------------------------------------------------------------------------------ the run

void Simulation::run_until(Mono until) {
    while (world.run_one(until)) {}
}

void Simulation::run() {
    coordinator->start();
    coordinator->feed(skerry::coordinator::AdminCommand{1, skerry::coordinator::admin::StartRun{}});
    Rng rng(world.seed, settings_stream + 2000);
    for (std::uint32_t i = 0; i < settings.nodes; ++i) {
        const bool late = i + settings.late_nodes >= settings.nodes;
        world.after(late ? rng.ms(4000, 15'000) : rng.ms(0, 500), [this, i] { nodes[i]->start(); });
    }
    Rng chance(world.seed, settings_stream + 4000);
    for (std::uint32_t i = settings.nodes; i < settings.nodes + settings.followers; ++i) {
        world.after(chance.chance(0.5) ? chance.ms(0, 500) : chance.ms(4000, 20'000), [this, i] { nodes[i]->start(); });
        for (std::int64_t blows = chance.in(0, 5); blows > 0; --blows) {
            Rng own(static_cast<std::uint64_t>(chance.next()), i);
            world.after(chance.ms(1000, settings.fault_time.count()), [this, i, own]() mutable {
                if (faults_on()) harm(i, own);
            });
        }
    }
    faults->begin();
    run_until(world.now + Millis(1500) + settings.fault_time);
    faults->heal();
    wait_for_progress();
    wait_for_repair();
    final_checks();
}

/// Everybody is at the head, or has followed a fast run for long enough.
bool Simulation::done(Step far) const {
    const Step head = coordinator->journal.head();
    for (const auto& peer : nodes) {
        if (peer->gone()) continue;
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

/// L3: what rots is found and fetched again while everybody lives.
void Simulation::wait_for_repair() {
    const Mono limit = world.now + kHealTime;
    for (std::string left = damage_left(); !left.empty(); left = damage_left()) {
        require(world.now < limit, "L3", left + "\n" + describe());
        run_until(world.now + kLook);
    }
}

std::string Simulation::damage_left() const {
    std::vector<DiskFacts> disks;
    for (const auto& peer : nodes) disks.push_back(peer->up() ? peer->read_disk() : DiskFacts{});
    for (std::uint32_t i = 0; i < nodes.size(); ++i) {
        if (nodes[i]->gone()) continue;
        if (!nodes[i]->up()) return nodes[i]->name() + " is down";
        if (!disks[i].damaged.empty()) return nodes[i]->name() + " still has damaged " + disks[i].damaged;
        if (std::string gap = gap_of(i, disks); !gap.empty()) return gap;
    }
    return {};
}

/// An entry that the node lacks, though it has older ones and a peer could give it. What a snapshot jumped over, or
/// might have, is no gap.
std::string Simulation::gap_of(std::uint32_t node, const std::vector<DiskFacts>& disks) const {
    const DiskFacts& disk = disks[node];
    bool jumped = false;  // here, or over steps without an entry
    for (Step at = nodes[node]->view().head; !disk.entries.empty() && at > disk.entries.begin()->first;) {
        const Step step{at.value - 1};
        const skerry::coordinator::DecisionRow& row = coordinator->journal.decision(step);
        const bool needed = row.kind == EntryKind::commit && !checker->dead(step);
        const DiskFacts::Entry entry{row.plan_digest, parse_decision(row.record.decision.body)->roots.front()};
        jumped = jumped || disk.snapshots.contains(at) || nodes[node]->jumped_to(at);
        if (needed && !disk.has(step, entry)) {
            if (jumped) return {};
            for (std::uint32_t other = 0; other < nodes.size(); ++other)
                if (other != node && disks[other].has(step, entry) && network->wanted(std::min(node, other), std::max(node, other)))
                    return nodes[node]->name() + " lacks entry " + std::to_string(step.value) + ", " + nodes[other]->name() + " has it";
        }
        jumped = jumped && !needed;
        at = step;
    }
    return {};
}

void Simulation::final_checks() const {
    check_copies();
    for (const auto& peer : nodes) {
        if (peer->gone() || peer->view().head.value == 0) continue;
        require(peer->view().h_head == checker->decided(Step{peer->view().head.value - 1}).h_after,
                "I10", peer->name() + " has another chain");
    }
}

std::string Simulation::describe() const {
    std::string out = coordinator->describe_drill();
    if (coordinator->up()) {
        const auto s = coordinator->status();
        out += "coordinator: head " + std::to_string(s.head.value) + ", " + s.phase + ", attempt " +
               std::to_string(s.attempt.value) + ", hold: " + s.hold_reason + ", next: " + s.next + "\n";
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
