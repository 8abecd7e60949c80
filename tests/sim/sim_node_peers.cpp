// The simulated node's side of its coordinator and its peers.

#include "tests/sim/simulation.hpp"

namespace skerry::sim {

using namespace node;

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

void SimNode::on(const Send& a) {
    ControlMessage message = a.message;
    if (auto* hello = std::get_if<Hello>(&message.body)) {
        hello->run_name = sim_.manifest().name;
        hello->node_name = name();
        hello->curve = curve_;
        hello->addresses = {{"10.0.0." + std::to_string(index_), 7610}};
        hello->boot = boot_;
        hello->ticket = seen_.ticket;
        hello->token_id.assign(sim_.token_id.bytes.begin(), sim_.token_id.bytes.end());
        hello->token_secret = sim_.token_secret;
    }
    if (const auto* report = std::get_if<Report>(&message.body)) check_report(*report);
    if (!std::holds_alternative<Hello>(message.body)) {
        require(seen_.term >= message.term && seen_.incarnation >= message.incarnation, "I13",
                name() + " speaks in a term it has not stored");
    }
    sim_.network->node_says(index_, std::move(message));
}

/// Its decision has chunks, and no decision that this node knows undid it.
bool SimNode::needs_entry(Step step) const {
    if (store_->decisions().row(step)->kind != EntryKind::commit) return false;
    for (Step later = step.next(); later < store_->decisions().next(); later = later.next()) {
        const DecisionRow& row = *store_->decisions().row(later);
        if (is_rollback(row.kind) && row.rollback_to <= step) return false;
    }
    return true;
}

/// A vote for an entry is one for the log below it, too: so each of them is on the disks of all who voted. I5.
void SimNode::check_log_below(const PreparedState& vote) const {
    for (const auto& [step, entry] : facts_.entries) {
        if (entry.plan != vote.plan || entry.root != vote.root || entry.root.is_zero()) continue;  // of a step without chunks
        for (Step below{0}; below < step && below < sim_.checker->decided(); below = below.next()) {
            const Decided& what = sim_.checker->decided(below);
            const bool has = sim_.checker->dead(below) ||
                             facts_.covers(below, what.plan, what.kind == EntryKind::commit,
                                           [this](Step state) { return sim_.checker->dead_state(state); });
            require(has, "I5", name() + " votes for entry " + std::to_string(step.value) + " and has not entry " +
                                   std::to_string(below.value));
        }
    }
}

/// What a Report claims is on the disk, is there, but for what rots unnoticed. I4.
void SimNode::check_report(const Report& report) const {
    require(report.head <= sim_.checker->decided(), "I3", name() + " is ahead of what is decided");
    require(!follows_ || (!report.ready && !report.exchange && !report.prepared), "I17", name() + ", a follower, takes part");
    if (rotten_) return;
    if (report.prepared && report.prepared->durable)
        require(facts_.has({report.prepared->plan, report.prepared->root}), "I4",
                name() + " votes for an entry " + std::to_string(report.head.value) + " that its disk has not");
    if (report.prepared && report.prepared->durable) check_log_below(*report.prepared);
    for (Step step = report.oldest_entry; step < report.log_synced_to; step = step.next())
        require(step < facts_.decisions && (store_->has_entry(step) || !needs_entry(step)), "I5",
                name() + " says that entry " + std::to_string(step.value) + " is synced");
    for (Step step : report.snapshots)
        require(facts_.snapshots.contains(step), "I5", name() + " names a snapshot that it has not");
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
    if (world_.trace) world_.say(name(), describe(a.body) + " to " + sim_.name_of(a.to));
    sim_.network->peer_says(index_, a.to, a.body);
}

void SimNode::on(const Serve& a) {
    later(a.op, world_.rng.ms(0, 4), [this, a]() -> Outcome {
        if (!pieces_) return fail(Errc::bad_state, "no run yet");
        auto piece = pieces_->read(a.object, a.piece);
        if (!piece) return fail(piece.error());
        PeerData data{std::move(piece->envelope), std::move(piece->chunk), false};
        const bool entry = a.object.kind == ObjectKind::result && a.object.step < sim_.checker->decided();
        if (entry && sim_.faults_on() && world_.now < damages_until_) damage(data);
        sim_.network->peer_says(index_, a.to, std::move(data));
        return Answer{};
    });
}

/// A bit of the values: size and header are good.
void SimNode::damage(PeerData& data) {
    auto chunk = std::make_shared<Bytes>(*data.chunk);
    const auto last = static_cast<std::int64_t>(chunk->size()) - 1;
    (*chunk)[static_cast<std::size_t>(world_.rng.in(std::min<std::int64_t>(last, 80), last))] ^= 1;
    data.chunk = std::move(chunk);
    data.damaged = true;
}

// ------------------------------------------------------------------------------------------- received chunks

void SimNode::on(const DropChunk& a) { chunks_.erase(a.chunk); }

void SimNode::on(const VerifyChunk& a) {
    auto at = chunks_.find(a.chunk);
    PeerData data = std::move(at->second);
    chunks_.erase(at);
    auto work = [this, a, data] { return verify(a, data); };
    switch (a.purpose) {
        case ChunkPurpose::contribution: return later(a.op, world_.rng.ms(0, 5), work);
        case ChunkPurpose::result:
        case ChunkPurpose::entry: return run_staged(a.object.id, a.op, world_.rng.ms(0, 5), work);
        default: return on_disk(a.op, world_.rng.ms(0, 5), work);
    }
}

SimNode::Outcome SimNode::verify(const VerifyChunk& a, const PeerData& data) {
    if (!pieces_) return fail(Errc::bad_state, "no run yet");
    const bool piece = a.purpose == ChunkPurpose::contribution || a.purpose == ChunkPurpose::result ||
                       a.purpose == ChunkPurpose::entry;
    auto answer = piece ? pieces_->take_piece(a, data.envelope, *data.chunk) : pieces_->take_block(a, *data.chunk);
    if (a.purpose == ChunkPurpose::plan_body) staging_opened(a.object.id);
    if (!answer) return fail(answer.error());
    // Whatever a disk damages is found before it is sent.
    if (data.damaged) return Answer{std::move(*answer)};
    require(answer->verdict != ChunkVerdict::bad_proof, "I14", name() + " was served a chunk that is not what it says");
    require(answer->verdict != ChunkVerdict::bad_content || !piece, "I14", name() + " was served a chunk of bad content");
    return Answer{std::move(*answer)};
}

}  // namespace skerry::sim
