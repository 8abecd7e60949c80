#include "tests/sim/sim_node.hpp"

#include <algorithm>

#include "protocol/wire/canonical.hpp"
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
        "ComputeDigest", "WriteSnapshot", "Prune", "StartTrainer", "KillTrainer", "TrainerLoad", "TrainerFeed",
        "TrainerTrain", "TrainerFreeze", "SaveProgress", "RestoreProgress", "Evaluate", "Note", "Exit"};
    static_assert(std::size(kNames) == std::variant_size_v<T>);
    return kNames[value.index()];
}
}  // namespace

std::string SimNode::describe(const PeerBody& body) {
    static constexpr const char* kMessages[] = {"get", "later", "gone", "data", "have"};
    static constexpr const char* kObjects[] = {"", "contribution", "result", "block"};
    std::string out = kMessages[body.index()];
    std::visit(
        [&](const auto& m) {
            out += std::string(" ") + kObjects[static_cast<int>(m.object.kind)] + " " +
                   std::to_string(m.object.step.value) + "/" + m.object.id.short_hex();
            if constexpr (requires { m.pieces; })
                for (PieceIndex p : m.pieces) out += " " + std::to_string(p.value);
        },
        body);
    return out;
}

SimNode::SimNode(Simulation& sim, std::uint32_t index) : sim_(sim), world_(sim.world), index_(index) {
    for (auto& byte : key_.bytes) byte = static_cast<std::uint8_t>(world_.rng.next());
    id_ = node_id_of(key_);
    disk_.residual.e.assign(sim.pieces(), 0);
}
SimNode::~SimNode() = default;

Millis SimNode::disk_time() { return world_.rng.chance(0.05) ? world_.rng.ms(20, 400) : world_.rng.ms(0, 15); }

void SimNode::start() {
    if (up() || left_) return;
    ++life_;
    for (auto& byte : boot_.bytes) byte = static_cast<std::uint8_t>(world_.rng.next());
    for (auto& byte : curve_.bytes) byte = static_cast<std::uint8_t>(world_.rng.next());
    NodeConfig config;
    config.self = id_;
    config.window_bytes = 9000;  // two chunks: windows matter even here
    config.window_total_bytes = 40000;
    config.progress_every = Millis(700);
    config.trainer_silence = Millis(4000);
    config.trainer_backoff = Millis(200);
    config.default_edge_patience = Millis(1500);
    core_ = std::make_unique<NodeCore>(config, disk_.image(), world_.now);
    world_.say(name(), "starts");
    const auto life = life_;
    for (const Action& action : core_->start(world_.now)) {
        act(action);
        if (life != life_) return;
    }
    schedule_tick();
    sim_.network->dial(index_);
}

void SimNode::kill(bool power_cut) {
    if (!up()) return;
    world_.say(name(), power_cut ? "loses power" : "is killed");
    // What was under way may or may not have reached the disk.
    for (auto& [op, pending] : pending_)
        if (pending.durable && world_.rng.chance(0.5)) (void)pending.effect();
    if (power_cut) {
        std::erase_if(disk_.own, [&](const auto&) { return world_.rng.chance(0.5); });
        std::erase_if(disk_.gathered, [&](const auto&) { return world_.rng.chance(0.5); });
    }
    core_.reset();
    ++life_;
    pending_.clear();
    chunks_.clear();
    staging_.clear();
    fetched_.clear();
    peers.clear();
    followed_.reset();
    state_step_.reset();
    end_trainer();
    frozen_until_ = seen_written_ = world_.now;
    held_.clear();
    sim_.network->node_died(index_, power_cut);
    sim_.at_crash(name());
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

/// A stopped process gets what came meanwhile in the order in which it came.
void SimNode::thaw_later() {
    world_.after(frozen() ? frozen_until_ - world_.now : Millis(0), [this, life = life_] {
        if (life != life_) return;
        if (frozen()) return thaw_later();
        for (std::deque<Event> events = std::exchange(held_, {}); !events.empty() && life == life_; events.pop_front())
            take(events.front());
    });
}

void SimNode::take(const Event& event) {
    const auto life = life_;
    for (const Action& action : core_->step(world_.now, event)) {
        if (sim_.faults_on() && fragile_ > 0 && world_.rng.chance(fragile_)) {
            kill(world_.rng.chance(0.5));
            world_.after(world_.rng.ms(100, 6000), [this] { start(); });
            return;
        }
        act(action);
        if (life != life_) return;
    }
    schedule_tick();
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
    if (world_.trace) {
        const std::string type = type_name(action);
        if (type != "Note" && type != "SendPeer" && type != "Send") world_.say(name(), type);
    }
    std::visit([&](const auto& a) { on(a); }, action);
}

void SimNode::later(OpId op, Millis delay, bool durable, std::function<Outcome()> effect) {
    pending_[op] = {std::move(effect), durable};
    world_.after(delay, [this, op, life = life_] {
        if (life == life_) finish(op);
    });
}

void SimNode::finish(OpId op) {
    auto at = pending_.find(op);
    if (at == pending_.end()) return;
    auto effect = std::move(at->second.effect);
    pending_.erase(at);
    trainer_ops_.erase(op);
    Outcome outcome = effect();
    Done done;
    done.op = op;
    if (auto* error = std::get_if<Error>(&outcome)) done.error = *error;
    else done.answer = std::get<Answer>(outcome);
    feed(std::move(done));
}

void SimNode::deliver(const NodeId& from, PeerPayload payload) {
    if (!up()) return;
    if (auto* body = std::get_if<PeerBody>(&payload)) {
        feed(PeerIn{from, std::move(*body)});
        return;
    }
    auto& data = std::get<PeerData>(payload);
    const ChunkHandle handle{++next_chunk_};
    DataIn event{from, data.envelope, handle};
    chunks_[handle] = std::move(data);
    feed(std::move(event));
}

void SimNode::set_disk_full(bool full) {
    disk_full_ = full;
    feed(DiskState{full});
}

// --------------------------------------------------------------------------------------------- control, peers

void SimNode::on(const Send& a) {
    ControlMessage message = a.message;
    if (auto* hello = std::get_if<Hello>(&message.body)) {
        hello->run_name = sim_.manifest().name;
        hello->node_name = name();
        hello->curve = curve_;
        hello->addresses = {{"10.0.0." + std::to_string(index_), 7610}};
        hello->boot = boot_;
        hello->ticket = disk_.ticket;
        hello->token_id.assign(sim_.token_id.bytes.begin(), sim_.token_id.bytes.end());
        hello->token_secret = sim_.token_secret;
    }
    if (const auto* report = std::get_if<Report>(&message.body)) check_report(*report);
    if (!std::holds_alternative<Hello>(message.body)) {
        require(disk_.term >= message.term && disk_.incarnation >= message.incarnation, "I13",
                name() + " speaks in a term it has not stored");
    }
    sim_.network->node_says(index_, std::move(message));
}

/// What a Report claims is on the disk, is there. I4.
void SimNode::check_report(const Report& report) const {
    if (report.prepared && report.prepared->durable) {
        auto holds = [&](const std::map<Step, EntryFile>& files) {
            auto at = std::find_if(files.begin(), files.end(),
                                   [&](const auto& f) { return f.second.plan_digest == report.prepared->plan; });
            return at != files.end() && at->second.plan_digest == report.prepared->plan &&
                   at->second.root() == report.prepared->root;
        };
        require(holds(disk_.prepared) || holds(disk_.entries), "I4",
                name() + " votes for an entry " + std::to_string(report.head.value) + " that its disk has not");
    }
    for (Step step = report.oldest_entry; step < report.log_synced_to; step = step.next())
        require(step.value < disk_.decisions.size() && (disk_.entries.contains(step) || !disk_.needs_entry(step)), "I5",
                name() + " says that entry " + std::to_string(step.value) + " is synced");
    for (Step step : report.snapshots)
        require(disk_.snapshots.contains(step), "I5", name() + " names a snapshot that it has not");
    require(report.head <= sim_.coordinator->journal.head(), "I3", name() + " is ahead of what is decided");
}

void SimNode::on(const Redial&) {
    sim_.network->hang_up(index_);
}

void SimNode::on(const SetPeers& a) {
    peers.clear();
    for (const SetPeers::Peer& peer : a.peers) peers[peer.entry.node] = peer;
    sim_.network->refresh();
}

void SimNode::on(const SendPeer& a) {
    if (world_.trace) world_.say(name(), describe(a.body) + " to " + sim_.find(a.to)->name());
    sim_.network->peer_says(index_, a.to, a.body);
}

std::optional<PeerData> SimNode::read_piece(const ObjectRef& object, PieceIndex piece) const {
    PeerData out;
    out.envelope.object = object;
    out.envelope.piece = piece;
    if (object.kind == ObjectKind::block) {
        auto bytes = read_block(object);
        if (!bytes) return std::nullopt;
        out.chunk = std::move(*bytes);
    } else if (object.kind == ObjectKind::contribution) {
        auto mine = disk_.own.find(object.step);
        if (mine != disk_.own.end() && mine->second.id == object.id) {
            out.chunk = mine->second.chunks[piece.value];
            out.envelope.proof = make_merkle_proof(leaves_of(mine->second.chunks), piece.value);
        } else {
            auto gathered = disk_.gathered.find({object.step, object.id});
            if (gathered == disk_.gathered.end() || !gathered->second.contains(piece)) return std::nullopt;
            out.chunk = gathered->second.at(piece).chunk;
            out.envelope.proof = gathered->second.at(piece).proof;
        }
    } else {
        const EntryFile* file = nullptr;
        auto entry = disk_.entries.find(object.step);
        if (entry != disk_.entries.end() && entry->second.plan_digest == object.id) file = &entry->second;
        auto staged = staging_.find(object.id);
        if (!file && staged != staging_.end()) file = &staged->second;
        if (!file || !file->chunks.contains(piece)) return std::nullopt;
        out.chunk = file->chunks.at(piece);
        if (file->signatures.contains(piece)) out.envelope.owner_signature = file->signatures.at(piece);
        out.envelope.leaf = merkle_leaf(out.chunk);
    }
    out.envelope.bytes = static_cast<std::uint32_t>(out.chunk.size());
    return out;
}

std::optional<Bytes> SimNode::read_block(const ObjectRef& object) const {
    auto entry = disk_.entries.find(object.step);
    if (entry != disk_.entries.end()) {
        if (entry->second.plan_digest == object.id) return entry->second.plan_body;
        const auto leaves = entry->second.leaves();
        if (merkle_root(leaves) == object.id) return to_leaf_list(leaves);
    }
    auto snapshot = disk_.snapshots.find(object.step);
    if (snapshot == disk_.snapshots.end()) return std::nullopt;
    if (digest_of(snapshot->second) == object.id) return preimage_of(snapshot->second);
    for (const Values* values : {&snapshot->second.theta, &snapshot->second.m}) {
        const auto leaves = float_leaves(*values);
        for (std::size_t p = 0; p < leaves.size(); ++p)
            if (leaves[p] == object.id) return float_piece((*values)[p]);
        if (merkle_root(leaves) == object.id) return to_leaf_list(leaves);
    }
    return std::nullopt;
}

void SimNode::on(const Serve& a) {
    later(a.op, world_.rng.ms(0, 4), false, [this, a]() -> Outcome {
        auto data = read_piece(a.object, a.piece);
        if (!data) return Error{Errc::not_found, "no such piece", ""};
        sim_.network->peer_says(index_, a.to, std::move(*data));
        return Answer{};
    });
}

// ------------------------------------------------------------------------------------------- received chunks

void SimNode::on(const VerifyChunk& a) {
    auto at = chunks_.find(a.chunk);
    PeerData data = std::move(at->second);
    chunks_.erase(at);
    later(a.op, world_.rng.ms(0, 5), false, [this, a, data]() -> Outcome { return Answer{verify(a, data)}; });
}

ChunkAnswer SimNode::verify(const VerifyChunk& a, const PeerData& data) {
    ChunkAnswer answer;
    const Digest leaf = merkle_leaf(data.chunk);
    auto bad = [&] {
        answer.verdict = ChunkVerdict::bad_proof;
        return answer;
    };
    switch (a.purpose) {
        case ChunkPurpose::contribution:
            if (!verify_merkle_proof(a.object.id, leaf, a.piece.value, sim_.pieces(), data.envelope.proof)) return bad();
            disk_.gathered[{a.object.step, a.object.id}][a.piece] = {data.chunk, data.envelope.proof};
            break;
        case ChunkPurpose::result: {
            const auto expected = sim_result(a.owner, a.object.id, a.piece, leaf);
            if (leaf != data.envelope.leaf || expected != data.envelope.owner_signature) return bad();
            answer.leaf = leaf;
            auto staged = staging_.find(a.object.id);
            if (staged == staging_.end()) break;
            staged->second.chunks[a.piece] = data.chunk;
            staged->second.signatures[a.piece] = data.envelope.owner_signature;
            break;
        }
        case ChunkPurpose::entry: {
            if (leaf != a.expect) return bad();
            answer.leaf = leaf;
            auto staged = staging_.find(a.object.id);
            if (staged == staging_.end()) break;
            staged->second.chunks[a.piece] = data.chunk;
            staged->second.signatures[a.piece] = data.envelope.owner_signature;
            break;
        }
        case ChunkPurpose::leaf_list: {
            auto leaves = parse_leaf_list(data.chunk);
            if (!leaves || merkle_root(*leaves) != a.object.id) return bad();
            answer.leaves = std::move(*leaves);
            break;
        }
        case ChunkPurpose::plan_body: {
            if (body_digest(data.chunk) != a.object.id) return bad();
            auto staged = staging_.find(a.object.id);
            if (staged != staging_.end()) staged->second.plan_body = data.chunk;
            answer.body = data.chunk;
            break;
        }
        case ChunkPurpose::state_preimage:
            if (sha256(data.chunk) != a.object.id) return bad();
            answer.body = data.chunk;
            break;
        case ChunkPurpose::theta_piece:
        case ChunkPurpose::m_piece: {
            if (leaf != a.object.id) return bad();
            auto& fetched = fetched_[a.object.step];
            (a.purpose == ChunkPurpose::theta_piece ? fetched.theta : fetched.m)[a.piece] = chunk_value(data.chunk);
            break;
        }
    }
    return answer;
}

void SimNode::on(const DropChunk& a) { chunks_.erase(a.chunk); }

// ---------------------------------------------------------------------------------------------- durable facts

void SimNode::on(const PersistSeen& a) {
    // One file, one after the other.
    seen_written_ = std::max(seen_written_ + Millis(1), world_.now + disk_time());
    later(a.op, seen_written_ - world_.now, true, [this, a]() -> Outcome {
        require(a.term >= disk_.term && a.epoch >= disk_.epoch && a.incarnation >= disk_.incarnation, "I13",
                name() + " stores a lower term, epoch or incarnation");
        disk_.term = a.term;
        disk_.epoch = a.epoch;
        disk_.incarnation = a.incarnation;
        if (a.roster) disk_.roster = a.roster;
        if (!a.ticket.empty()) disk_.ticket = a.ticket;
        return Answer{};
    });
}

void SimNode::on(const AdoptManifest& a) {
    later(a.op, disk_time(), true, [this, a]() -> Outcome {
        disk_.manifest = a.manifest;
        return Answer{};
    });
}

void SimNode::on(const SaveLeases& a) {
    disk_.leases = a.leases;
    if (!world_.trace) return;
    std::string text = "leases";
    for (const LeaseInfo& l : a.leases)
        text += " " + std::to_string(l.id.value) + ":" + std::to_string(l.done) + "-" + std::to_string(l.hi) + (l.pinned ? "p" : "");
    world_.say(name(), text);
}

void SimNode::on(const DropPrivateState&) {
    disk_.progress = {};
    disk_.residual.tag.reset();
    disk_.own.clear();
    disk_.gathered.clear();
}

// ------------------------------------------------------------------------------------------------- open step

void SimNode::on(const FollowPlan& a) {
    const std::tuple rank{a.plan->step, a.plan->term, a.plan->attempt};
    require(!followed_ || *followed_ <= rank, "I13", name() + " goes back to a lower plan");
    followed_ = rank;
    if (world_.trace) {
        std::string text = "plan " + a.digest.short_hex() + " of step " + std::to_string(a.plan->step.value) + " attempt " +
                           std::to_string(a.plan->attempt.value) + " binds";
        for (const Participant& p : a.plan->participants)
            text += " " + sim_.find(p.node)->name() + "/" + p.contribution.short_hex();
        text += ", owners";
        for (std::uint16_t owner : a.plan->piece_owner) text += " " + sim_.find(a.plan->members[owner])->name();
        world_.say(name(), text);
    }
    EntryFile& file = staging_[a.digest];
    auto prepared = disk_.prepared.find(a.plan->step);
    if (prepared != disk_.prepared.end() && prepared->second.plan_digest == a.digest) file = prepared->second;
    file.plan_digest = a.digest;
    file.plan_body = a.body;
    file.plan = a.plan;
}

void SimNode::on(const OpenStaging& a) { staging_[a.plan_digest].plan_digest = a.plan_digest; }

void SimNode::on(const DropStaging& a) {
    staging_.erase(a.plan_digest);
    auto prepared = disk_.prepared.find(a.step);
    if (prepared != disk_.prepared.end() && prepared->second.plan_digest == a.plan_digest) disk_.prepared.erase(prepared);
}

void SimNode::on(const DropContributions& a) {
    std::erase_if(disk_.own, [&](const auto& item) { return item.first <= a.step; });
    std::erase_if(disk_.gathered, [&](const auto& item) { return item.first.first <= a.step; });
}

void SimNode::on(const Encode& a) {
    if (a.use_residual) {
        std::optional<Step> last;
        for (std::uint64_t k = 0; k < disk_.decisions.size(); ++k) {
            auto decision = parse_decision(disk_.decisions[k].decision.body);
            for (const Credit& c : decision->credits)
                if (c.node == id_) last = Step{k};
        }
        require(disk_.residual.tag && disk_.residual.tag == last, "I12", name() + " uses a residual of another step");
    }
    later(a.op, world_.rng.ms(1, 60), false, [this, a]() -> Outcome {
        if (!trainer_.alive) return Error{Errc::trainer_failed, "the trainer is gone", ""};
        require(state_step_ == a.step, "I12", name() + " encodes against another state");
        OwnContribution mine;
        TrueContribution truth{id_, trainer_.true_base.value_or(a.step), trainer_.truth, {}};
        for (std::uint32_t p = 0; p < sim_.pieces(); ++p) {
            const std::int64_t whole = trainer_.delta[p] + (a.use_residual ? disk_.residual.e[p] : 0);
            const std::int64_t encoded = whole & ~std::int64_t{15};
            mine.next_residual.push_back(whole - encoded);
            truth.values.push_back(encoded);
            mine.chunks.push_back(to_chunk(ObjectKind::contribution, a.step, PieceIndex{p}, encoded));
        }
        mine.id = merkle_root(leaves_of(mine.chunks));
        sim_.checker->made(a.step, mine.id, std::move(truth));
        EncodedAnswer answer{mine.id, 1.0, true};
        disk_.own[a.step] = std::move(mine);
        return Answer{answer};
    });
}

void SimNode::on(const ReducePiece& a) {
    later(a.op, world_.rng.ms(0, 8), false, [this, a]() -> Outcome {
        auto staged = staging_.find(a.plan_digest);
        if (staged == staging_.end()) return Error{Errc::not_found, "no staging", ""};
        const Plan& plan = *staged->second.plan;
        std::int64_t sum = 0;
        std::int64_t weight = 0;
        for (const Participant& p : plan.participants) {
            auto data = read_piece({ObjectKind::contribution, plan.step, p.contribution}, a.piece);
            if (!data) continue;  // sums what it was told is there; the checker knows what should be
            sum += static_cast<std::int64_t>(p.weight_tokens) * chunk_value(data->chunk);
            weight += static_cast<std::int64_t>(p.weight_tokens);
        }
        Bytes chunk = to_chunk(ObjectKind::result, plan.step, a.piece, mean_of(sum, weight));
        ReducedAnswer answer;
        answer.leaf = merkle_leaf(chunk);
        answer.signature = sim_result(key_, a.plan_digest, a.piece, answer.leaf);
        staged->second.chunks[a.piece] = std::move(chunk);
        staged->second.signatures[a.piece] = answer.signature;
        return Answer{answer};
    });
}

void SimNode::on(const WritePrepared& a) {
    later(a.op, disk_time(), true, [this, a]() -> Outcome {
        auto staged = staging_.find(a.plan_digest);
        if (staged == staging_.end()) return Error{Errc::not_found, "no staging", ""};
        require(staged->second.root() == a.root, "I4", name() + " prepares another root than its chunks have");
        PreparedAnswer answer{!disk_full_, sim_vote(key_, a.h_after)};
        if (disk_full_) return Answer{answer};
        disk_.prepared[a.step] = staged->second;
        return Answer{answer};
    });
}

void SimNode::on(const AppendEntry& a) {
    sim_.checker->entry_taken(name(), a.step, a.root, sim_.coordinator->journal);
    later(a.op, disk_time(), true, [this, a]() -> Outcome {
        EntryFile file;
        if (a.record_only) {
            // Nothing but the record.
        } else if (a.prepared) {
            auto at = disk_.prepared.find(a.step);
            if (at == disk_.prepared.end()) return Error{Errc::not_found, "no prepared file", ""};
            file = at->second;
        } else {
            auto at = staging_.find(a.plan_digest);
            const bool whole = at != staging_.end() && at->second.chunks.size() == sim_.pieces();
            if (!whole || at->second.root() != a.root) return Error{Errc::digest_mismatch, "not the decided root", ""};
            file = at->second;
        }
        require(a.step.value <= disk_.decisions.size(), "I10", name() + " leaves a gap in its log");
        if (a.step.value == disk_.decisions.size()) disk_.decisions.push_back(a.record);
        if (!a.record_only) disk_.entries[a.step] = std::move(file);
        disk_.prepared.erase(a.step);
        return Answer{};
    });
}

// ------------------------------------------------------------------------------------------------------ state

void SimNode::set_state(ModelState state, Step step) {
    require(!trainer_.order, "I12", name() + " changes theta under its trainer");
    state_ = std::move(state);
    state_step_ = step;
    sim_.checker->state_reached(name(), step, digest_of(state_));
}

/// L2: a living trainer's delta is dropped only when it is credited, too old, or its lease is lost.
void SimNode::check_no_work_lost(const Decision* decision, Step now_at) const {
    // Over steps whose entries nobody keeps any more there is nothing to carry a delta with.
    if (!trainer_.loaded || trainer_.truth.empty() || jumped_) return;
    if (decision)
        for (const Credit& c : decision->credits)
            for (const Segment& s : c.segments)
                for (const Segment& mine : trainer_.truth)
                    if (s.lease == mine.lease) return;
    if (now_at.value - trainer_.true_base->value > sim_.manifest().max_carry) return;
    const auto& leases = sim_.coordinator->journal.leases();
    for (const Segment& mine : trainer_.truth) {
        auto at = leases.find(mine.lease);
        if (at == leases.end() || at->second.holder != id_ || at->second.done != mine.from) return;
    }
    require(false, "L2", name() + " drops a delta of" + to_text(trainer_.truth));
}

void SimNode::on(const Apply& a) {
    later(a.op, world_.rng.ms(1, 40), false, [this, a]() -> Outcome {
        if (is_rollback(a.decision->kind)) return roll_back(a);
        require(state_step_ == a.step, "I10", name() + " applies out of order");
        auto at = disk_.entries.find(a.step);
        static const EntryFile kNoEntry;
        const bool commits = a.decision->kind == EntryKind::commit;
        if (commits && at == disk_.entries.end()) return Error{Errc::digest_mismatch, "no entry", ""};
        const EntryFile& entry = commits ? at->second : kNoEntry;
        sim_.checker->entry_taken(name(), a.step, entry.root(), sim_.coordinator->journal);
        if (a.local == LocalDelta::reload) check_no_work_lost(a.decision.get(), a.step.next());
        if (a.local == LocalDelta::none)
            require(!trainer_.loaded, "L2", name() + " forgets its trainer");
        if (a.residual == ResidualRule::advance) {
            auto mine = disk_.own.find(a.step);
            const bool credited = mine != disk_.own.end() &&
                                  std::any_of(a.decision->credits.begin(), a.decision->credits.end(), [&](const Credit& c) {
                                      return c.node == id_ && c.contribution == mine->second.id;
                                  });
            require(credited, "I12", name() + " takes over the residual of an uncredited contribution");
            disk_.residual.e = mine->second.next_residual;
            disk_.residual.tag = a.step;
        }
        ModelState next = state_;
        for (const auto& [piece, chunk] : entry.chunks) outer_step(next, piece.value, chunk_value(chunk));
        next.tokens = a.decision->tokens_after;
        set_state(std::move(next), a.step.next());
        StateAnswer answer;
        answer.local_kept = trainer_.alive && trainer_.loaded;
        if (a.local == LocalDelta::reload && answer.local_kept) trainer_.clear(sim_.pieces());
        return Answer{answer};
    });
}

SimNode::Outcome SimNode::roll_back(const Apply& a) {
    require(a.residual == ResidualRule::zero, "I12", name() + " keeps its residual over a rollback");
    require(a.local != LocalDelta::carry, "I12", name() + " carries a delta over a rollback");
    auto state = disk_.state_at(a.decision->rollback_to, sim_.manifest().seed, sim_.pieces());
    if (!state) return Error{Errc::digest_mismatch, "that state is not kept here", ""};
    require(state->tokens == a.decision->tokens_after, "I7", name() + " goes back to another count of tokens");
    disk_.residual.tag.reset();
    set_state(std::move(*state), a.step.next());
    StateAnswer answer;
    answer.local_kept = trainer_.alive && trainer_.loaded;
    if (answer.local_kept) trainer_.clear(sim_.pieces());
    return Answer{answer};
}

void SimNode::on(const LoadState& a) {
    later(a.op, disk_time(), false, [this, a]() -> Outcome {
        if (a.initial) {
            set_state(initial_state(sim_.manifest().seed, sim_.pieces()), Step{0});
        } else {
            auto at = disk_.snapshots.find(a.step);
            if (at == disk_.snapshots.end()) return Error{Errc::digest_mismatch, "no snapshot", ""};
            set_state(at->second, a.step);
        }
        StateAnswer answer;
        answer.digest = digest_of(state_);
        return Answer{answer};
    });
}

void SimNode::on(const AdoptSnapshot& a) {
    later(a.op, disk_time(), true, [this, a]() -> Outcome {
        const Fetched& fetched = fetched_[a.step];
        ModelState state;
        ByteReader in(ByteSpan(a.preimage).subspan(15));
        state.tokens = in.u64();
        for (const auto& [piece, value] : fetched.theta) state.theta.push_back(value);
        for (const auto& [piece, value] : fetched.m) state.m.push_back(value);
        if (digest_of(state) != a.digest) return Error{Errc::digest_mismatch, "another state", ""};
        for (const SignedDecision& record : a.records) {
            auto decision = parse_decision(record.decision.body);
            require(decision->step.value <= disk_.decisions.size(), "I10", name() + " leaves a gap in its decisions");
            if (decision->step.value == disk_.decisions.size()) disk_.decisions.push_back(record);
        }
        require(disk_.decisions.size() >= a.step.value, "I10", name() + " has a snapshot without its decisions");
        disk_.snapshots[a.step] = state;
        jumped_ = true;
        set_state(std::move(state), a.step);
        StateAnswer answer;
        answer.digest = a.digest;
        return Answer{answer};
    });
}

void SimNode::on(const DropSnapshot& a) {
    fetched_.erase(a.step);
    disk_.snapshots.erase(a.step);
}

void SimNode::on(const ComputeDigest& a) {
    later(a.op, world_.rng.ms(1, 30), false, [this, a]() -> Outcome {
        require(state_step_ == a.step, "I2", name() + " names the digest of another state");
        StateAnswer answer;
        answer.digest = digest_of(state_);
        return Answer{answer};
    });
}

void SimNode::on(const WriteSnapshot& a) {
    later(a.op, disk_time() * 4, true, [this, a]() -> Outcome {
        require(state_step_ == a.step, "I2", name() + " writes a snapshot of another state");
        if (disk_full_) return Error{Errc::disk_full, "full", ""};
        disk_.snapshots[a.step] = state_;
        StateAnswer answer;
        answer.digest = digest_of(state_);
        return Answer{answer};
    });
}

void SimNode::on(const Prune& a) {
    later(a.op, disk_time(), true, [this, a]() -> Outcome {
        for (Step step : a.snapshots) disk_.snapshots.erase(step);
        PrunedAnswer answer{a.snapshots, {}};
        for (const auto& [step, entry] : disk_.entries)
            if (step < a.entries_below) answer.entries.push_back(step);
        for (Step step : answer.entries) disk_.entries.erase(step);
        sim_.check_copies();
        return Answer{std::move(answer)};
    });
}

// -------------------------------------------------------------------------------------------------------- end

void SimNode::on(const Note& a) { world_.say(name(), a.text); }

void SimNode::on(const Exit& a) {
    world_.say(name(), "exits: " + a.reason);
    const bool asked = a.code == Errc::cancelled;
    if (asked && a.reason.find("left") != std::string::npos) left_ = true;
    if (a.code == Errc::revoked) left_ = true;
    require(asked || a.code == Errc::revoked || a.code == Errc::replaced, "L1", name() + " exits: " + a.reason);
    kill(false);
}

}  // namespace skerry::sim
