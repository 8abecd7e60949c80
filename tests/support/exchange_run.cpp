#include "tests/support/exchange_run.hpp"

#include "protocol/base/assert.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::test {

using namespace node;

ExchangeNode::ExchangeNode(asio::io_context& io, RunStore& store, const KeyPair& key)
    : io_(io), store_(store), key_(key), zap_(ZapHandler::start(zmq_)), running_(io.get_executor()) {
    Engine::Parts parts{.io = io.get_executor(),
                        .disk = disk_.get_executor(),
                        .codec = codec_.get_executor(),
                        .zmq = &zmq_,
                        .zap = zap_->get(),
                        .curve = curve_,
                        .links = {},
                        .key = key,
                        .report = [this](Event event) { hear(std::move(event)); }};
    parts.links.listen_host = "127.0.0.1";
    parts.links.listen_port = 0;
    engine_ = std::make_unique<Engine>(std::move(parts));
    auto bound = engine_->bind();
    SKERRY_ASSERT(bound);
    port_ = *bound;
    engine_->set_store(std::shared_ptr<RunStore>(std::shared_ptr<void>(), &store_));
    running_.spawn(engine_->run());
}

ExchangeNode::~ExchangeNode() {
    disk_.join();
    codec_.join();
}

RosterEntry ExchangeNode::entry() const {
    RosterEntry entry;
    entry.node = key_.id();
    entry.key = key_.public_key();
    entry.state = NodeState::current;
    entry.curve = curve_.public_key;
    entry.addresses = {{"127.0.0.1", port_}};
    entry.reachable = true;
    return entry;
}

void ExchangeNode::meet(const std::vector<RosterEntry>& roster) {
    roster_ = roster;
    SetPeers peers;
    for (const auto& other : roster) {
        if (other.node != key_.id()) peers.peers.push_back({other, key_.id() < other.node});
    }
    engine_->perform(peers);
}

PublicKey ExchangeNode::key_of(const NodeId& node) const {
    for (const auto& entry : roster_) {
        if (entry.node == node) return entry.key;
    }
    return {};
}

void ExchangeNode::follow(const Plan& plan) {
    plan_ = plan;
    Bytes body = to_bytes(plan);
    plan_digest_ = body_digest(body);
    pieces_ = plan.piece_owner.size();
    engine_->perform(FollowPlan{plan_digest_, body, std::make_shared<const Plan>(plan)});
    for (std::uint32_t p = 0; p < pieces_; ++p) {
        if (owner(PieceIndex{p}) == key_.id()) gathered(PieceIndex{p});  // my own contribution is here
    }
    if (keep_asking) ask();
}

void ExchangeNode::ask() {
    for (const auto& participant : plan_->participants) {
        if (participant.node == key_.id()) continue;
        Get get{{ObjectKind::contribution, plan_->step, participant.contribution}, {}};
        Get results{{ObjectKind::result, plan_->step, plan_digest_}, {}};
        for (std::uint32_t p = 0; p < pieces_; ++p) {
            if (owner(PieceIndex{p}) == key_.id()) get.pieces.push_back(PieceIndex{p});
            if (owner(PieceIndex{p}) == participant.node) results.pieces.push_back(PieceIndex{p});
        }
        engine_->perform(SendPeer{participant.node, get});
        engine_->perform(SendPeer{participant.node, results});
    }
}

void ExchangeNode::hear(Event event) {
    if (auto* done = std::get_if<Done>(&event)) {
        auto then = waiting_.extract(done->op);
        if (!then.empty()) then.mapped()(*done);
        return;
    }
    if (std::holds_alternative<PeerUp>(event)) ++up;
    if (auto* in = std::get_if<PeerIn>(&event)) hear(*in);
    if (auto* in = std::get_if<DataIn>(&event)) hear(*in);
    seen.push_back(std::move(event));
}

void ExchangeNode::hear(const PeerIn& in) {
    auto* get = std::get_if<Get>(&in.body);
    if (get == nullptr) return;
    for (PieceIndex piece : get->pieces) {
        if (get->object.kind == ObjectKind::result && !results_.contains(piece)) {
            asked_.emplace(piece, in.from);
        } else {
            serve(in.from, get->object, piece);
        }
    }
}

void ExchangeNode::serve(const NodeId& to, const ObjectRef& object, PieceIndex piece) {
    perform(Serve{{}, to, object, piece}, [](const Done&) {});
}

void ExchangeNode::hear(const DataIn& in) {
    VerifyChunk verify;
    verify.chunk = in.chunk;
    verify.from = in.from;
    verify.object = in.envelope.object;
    verify.piece = in.envelope.piece;
    bool result = in.envelope.object.kind == ObjectKind::result;
    verify.purpose = result ? ChunkPurpose::result : ChunkPurpose::contribution;
    if (result && plan_) verify.owner = key_of(owner(in.envelope.piece));
    perform(verify, [this, piece = in.envelope.piece, result](const Done& done) {
        auto* answer = std::get_if<ChunkAnswer>(&done.answer);
        last_verdict = answer == nullptr ? ChunkVerdict::disk_error : answer->verdict;
        if (last_verdict != ChunkVerdict::stored) return;
        result ? have_result(piece) : gathered(piece);
    });
}

void ExchangeNode::gathered(PieceIndex piece) {
    if (++contributions_[piece] != plan_->participants.size()) return;
    perform(ReducePiece{{}, plan_digest_, piece}, [this, piece](const Done& done) {
        if (done.error) return;
        ++reduced_;
        have_result(piece);
    });
}

void ExchangeNode::have_result(PieceIndex piece) {
    results_.insert(piece);
    auto [first, last] = asked_.equal_range(piece);
    for (auto it = first; it != last; ++it) serve(it->second, {ObjectKind::result, plan_->step, plan_digest_}, piece);
    asked_.erase(piece);
}

// --------------------------------------------------------------------------------------------- the run

ExchangeRun::ExchangeRun(std::size_t nodes, Manifest manifest) : stores_(nodes, std::move(manifest)) {
    for (std::size_t i = 0; i < nodes; ++i)
        nodes_.push_back(std::make_unique<ExchangeNode>(io_, stores_.store(i), stores_.key(i)));
}

ExchangeRun::~ExchangeRun() {
    for (auto& node : nodes_) node->stop();
    until(
        [&] {
            for (auto& node : nodes_)
                if (!node->stopped()) return false;
            return true;
        },
        std::chrono::seconds(10));
}

bool ExchangeRun::until(const std::function<bool()>& done, std::chrono::milliseconds patience) {
    auto end = std::chrono::steady_clock::now() + patience;
    while (!done() && std::chrono::steady_clock::now() < end) io_.run_one_for(std::chrono::milliseconds(20));
    return done();
}

bool ExchangeRun::connect() {
    std::vector<RosterEntry> roster;
    for (auto& node : nodes_) roster.push_back(node->entry());
    for (auto& node : nodes_) node->meet(roster);
    return until(
        [&] {
            for (auto& node : nodes_)
                if (node->engine().links().up().size() + 1 != nodes_.size()) return false;
            return true;
        },
        std::chrono::seconds(20));
}

Plan ExchangeRun::begin_step() {
    Step step = stores_.head();
    Plan plan = stores_.make_plan(step, stores_.contribute(step));
    for (auto& node : nodes_) node->follow(plan);
    return plan;
}

}  // namespace skerry::test
