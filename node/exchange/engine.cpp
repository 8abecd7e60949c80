#include "node/exchange/engine.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "node/log/run_store.hpp"
#include "node/log/store_work.hpp"
#include "protocol/base/failpoint.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/task_group.hpp"
#include "protocol/wire/peer_codec.hpp"

namespace skerry::node {
namespace {

constexpr std::chrono::seconds kStagingRetry{1};

constexpr std::chrono::seconds kTick{1};
/// Wire bytes beyond the whole messages of the last second that count as a chunk under way.
constexpr std::uint64_t kProgressBytes = 1024;
constexpr std::uint64_t kUnreachableTicks = 15;

Mono mono_now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

bool is_of_shard(const PeerBody& body) {
    return std::visit([](const auto& one) { return one.object.kind == ObjectKind::shard; }, body);
}

Error no_run_yet() { return {Errc::bad_state, "there is no run folder yet", {}}; }

}  // namespace

Engine::Engine(Parts parts)
    : parts_(std::move(parts)),
      links_(std::make_unique<PeerLinks>(parts_.io, *parts_.zmq, *parts_.zap, parts_.curve, parts_.links, *this)),
      tick_(parts_.io),
      upload_timer_(parts_.io) {}

Engine::~Engine() = default;

Result<std::uint16_t> Engine::bind() { return links_->bind(); }

void Engine::set_store(std::shared_ptr<RunStore> store) {
    run_ = store->manifest().run;
    files_ = std::make_shared<PieceFiles>(std::move(store), signing_with(parts_.key));
}

Task<> Engine::run() {
    co_await asio::this_coro::throw_if_cancelled(false);
    TaskGroup moving(parts_.io);
    moving.spawn(links_->run());
    for (;;) {
        tick_.expires_after(kTick);
        co_await tick_.async_wait(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) break;
        note_progress();
    }
    moving.cancel();
    co_await moving.join();
}

// ------------------------------------------------------------------------------------- work elsewhere

void Engine::finish(OpId op, Result<Answer> result) {
    Done done{op, {}, {}};
    if (result) {
        done.answer = std::move(*result);
    } else {
        done.error = result.error();
    }
    parts_.report(std::move(done));
}

void Engine::run_on(asio::any_io_executor where, OpId op, Work work) {
    // Posted even then: an action is never answered from inside perform().
    if (!files_) return asio::post(parts_.io, [this, op] { finish(op, fail(no_run_yet())); });
    asio::post(where, [this, op, files = files_, work = std::move(work)] {
        auto result = work(*files);
        asio::post(parts_.io, [this, op, result = std::move(result)]() mutable { finish(op, std::move(result)); });
    });
}

void Engine::run_staged(const Digest& plan_digest, OpId op, Work work) {
    retry_staging(plan_digest);
    auto start = [this, op, work = std::move(work)] { run_on(parts_.codec, op, work); };
    auto opening = opening_.find(plan_digest);
    if (opening == opening_.end()) return start();
    opening->second.push_back(std::move(start));
}

void Engine::open_staging(const Digest& plan_digest, Bytes plan_body) {
    if (!files_) return;
    opening_.try_emplace(plan_digest);
    asio::post(parts_.disk, [this, plan_digest, files = files_, body = std::move(plan_body)] {
        auto followed = files->follow(body);
        asio::post(parts_.io, [this, plan_digest, body, followed = std::move(followed)] {
            if (!followed) {
                log_warn("exchange.staging_failed", {{"plan", plan_digest.short_hex()}, {"why", followed.error().detail}});
                refused_ = Refused{plan_digest, body, std::chrono::steady_clock::now()};
            }
            staging_opened(plan_digest);
        });
    });
}

/// A disk that was full may have room again.
void Engine::retry_staging(const Digest& plan_digest) {
    if (!refused_ || refused_->plan != plan_digest || opening_.contains(plan_digest)) return;
    if (std::chrono::steady_clock::now() - refused_->at < kStagingRetry) return;
    Bytes body = std::move(refused_->body);
    refused_.reset();
    open_staging(plan_digest, std::move(body));
}

/// Or given up: then what waited for it fails by itself.
void Engine::staging_opened(const Digest& plan_digest) {
    auto opening = opening_.extract(plan_digest);
    if (opening.empty()) return;
    for (auto& start : opening.mapped()) start();
}

// ---------------------------------------------------------------------------------------- peers and pieces

void Engine::perform(const SetPeers& action) {
    std::vector<PeerTarget> targets;
    std::map<NodeId, PeerState> kept;
    for (const auto& peer : action.peers) {
        targets.push_back({peer.entry.node, peer.entry.curve, peer.entry.addresses, peer.dial});
        kept.emplace(peer.entry.node, PeerState{});
    }
    // Those who leave lose their serves by way of on_link, so their state goes only after that.
    for (auto& [node, state] : kept) peers_.try_emplace(node);
    links_->set_targets(targets);
    std::erase_if(peers_, [&](const auto& peer) { return !kept.contains(peer.first); });
}

void Engine::perform(const SendPeer& action) {
    auto envelope = to_envelope(PeerMessage{run_, action.body});
    if (!envelope) {
        log_warn("exchange.message_too_large", {{"to", action.to.short_hex()}, {"why", envelope.error().detail}});
        return;
    }
    upload_.take(envelope->size(), mono_now());  // never waits, but counts
    links_->send(action.to, std::move(*envelope));
}

void Engine::perform(const Serve& action) {
    if (!files_) return asio::post(parts_.io, [this, op = action.op] { finish(op, fail(no_run_yet())); });
    asio::post(parts_.codec, [this, action, files = files_, run = run_] {
        auto piece = files->read(action.object, action.piece);
        auto envelope = piece ? to_envelope(PeerMessage{run, piece->envelope}) : Result<Bytes>(fail(piece.error()));
        asio::post(parts_.io, [this, action, piece = std::move(piece), envelope = std::move(envelope)]() mutable {
            if (!envelope) return finish(action.op, fail(envelope.error()));
            serve_loaded(action.to, {action.op, action.object, std::move(*envelope), std::move(piece->chunk), {}});
        });
    });
}

void Engine::serve_loaded(const NodeId& peer, Loaded loaded) {
    auto found = peers_.find(peer);
    if (found == peers_.end() || !links_->is_up(peer))
        return end_serve(std::move(loaded), fail(Errc::closed, "no link to " + peer.short_hex()));
    found->second.loaded.push_back(std::move(loaded));
    push_loaded(peer);
}

void Engine::push_loaded(const NodeId& peer) {
    auto found = peers_.find(peer);
    if (found == peers_.end()) return;
    PeerState& state = found->second;
    if (state.sending || state.loaded.empty()) return;
    if (!may_upload()) return wait_for_upload();
    Loaded& next = state.loaded.front();
    upload_.take(next.envelope.size() + (next.chunk ? next.chunk->size() : 0), mono_now());
    pushed_last_ = peer;
    if (!links_->send_chunk(peer, std::move(next.envelope), std::move(next.chunk))) return fail_serves(peer);
    state.sending = std::move(next);
    state.loaded.pop_front();
}

void Engine::limit_upload(std::uint64_t bytes_per_s, bool closed) {
    upload_.set_rate(bytes_per_s, mono_now());
    upload_closed_ = closed;
    push_waiting();
}

bool Engine::may_upload() { return !upload_closed_ && upload_.ready(mono_now()); }

void Engine::wait_for_upload() {
    if (upload_waits_ || upload_closed_) return;
    upload_waits_ = true;
    upload_timer_.expires_after(std::max(Millis(1), upload_.wait(mono_now())));
    upload_timer_.async_wait([this](boost::system::error_code ended) {
        if (ended) return;
        upload_waits_ = false;
        push_waiting();
    });
}

/// Each peer in turn, one chunk at a time.
void Engine::push_waiting() {
    std::vector<NodeId> turn;
    for (const auto& [node, state] : peers_)
        if (!state.loaded.empty() && !state.sending) turn.push_back(node);
    std::rotate(turn.begin(), std::upper_bound(turn.begin(), turn.end(), pushed_last_), turn.end());
    for (const NodeId& node : turn) push_loaded(node);
}

/// Who waits for a piece because of the limit hears that it will come: silence would be a stall.
void Engine::tell_waiting() {
    if (upload_closed_ || upload_.rate() == 0) return;
    for (const auto& [node, state] : peers_) {
        auto piece = std::find_if(state.loaded.begin(), state.loaded.end(), [](const Loaded& one) { return !one.taken; });
        if (piece == state.loaded.end()) continue;
        auto envelope = to_envelope(PeerMessage{run_, Have{piece->object, {}}});
        if (envelope) links_->send(node, std::move(*envelope));
    }
}

void Engine::on_room(const NodeId& peer) {
    auto found = peers_.find(peer);
    if (found == peers_.end() || !found->second.sending) return;
    Loaded served = std::move(*std::exchange(found->second.sending, std::nullopt));
    ++counters_.chunks_served;
    if (served.object.kind == ObjectKind::result) failpoint("owner.after_first_result");
    push_loaded(peer);
    end_serve(std::move(served), Answer{});
}

void Engine::fail_serves(const NodeId& peer) {
    auto found = peers_.find(peer);
    if (found == peers_.end()) return;
    std::deque<Loaded> ended = std::exchange(found->second.loaded, {});
    if (found->second.sending) ended.push_front(std::move(*std::exchange(found->second.sending, std::nullopt)));
    for (Loaded& served : ended) end_serve(std::move(served), fail(Errc::closed, "the link to " + peer.short_hex() + " is gone"));
}

void Engine::end_serve(Loaded served, Result<Answer> result) {
    if (served.taken) served.taken(result.has_value());
    else finish(served.op, std::move(result));
}

bool Engine::send(const NodeId& to, PeerBody body) {
    auto envelope = to_envelope(PeerMessage{run_, std::move(body)});
    if (!envelope) return false;
    upload_.take(envelope->size(), mono_now());
    return links_->send(to, std::move(*envelope));
}

void Engine::send_block(const NodeId& to, Data envelope, std::shared_ptr<const Bytes> chunk, std::function<void(bool)> taken) {
    const ObjectRef object = envelope.object;
    auto bytes = to_envelope(PeerMessage{run_, std::move(envelope)});
    if (!bytes) return taken(false);
    serve_loaded(to, {OpId{}, object, std::move(*bytes), std::move(chunk), std::move(taken)});
}

void Engine::on_link(const NodeId& peer, bool up) {
    fail_serves(peer);
    if (shards_ != nullptr) shards_->on_shard_link(peer);
    if (up) {
        parts_.report(PeerUp{peer});
    } else {
        parts_.report(PeerDown{peer});
    }
}

// ------------------------------------------------------------------------------------------- what comes in

void Engine::on_message(const NodeId& from, Bytes envelope, Bytes chunk) {
    if (auto found = peers_.find(from); found != peers_.end())
        found->second.delivered += envelope.size() + chunk.size();
    auto message = parse_envelope(envelope);
    if (!message) {
        ++counters_.dropped_malformed;
        return;
    }
    if (message->run != run_) {
        ++counters_.dropped_other_run;
        return;
    }
    if (is_of_shard(message->body)) {
        if (shards_ != nullptr) shards_->on_shard(from, std::move(message->body), std::move(chunk));
        return;
    }
    if (auto* data = std::get_if<Data>(&message->body)) return on_data(from, std::move(*data), std::move(chunk));
    if (!chunk.empty()) {
        ++counters_.dropped_malformed;
        return;
    }
    if (auto* get = std::get_if<Get>(&message->body); get && get->object.kind == ObjectKind::contribution)
        failpoint("node.pieces_asked");
    parts_.report(PeerIn{from, std::move(message->body)});
}

void Engine::on_data(const NodeId& from, Data envelope, Bytes chunk) {
    if (chunk.size() != envelope.bytes) {
        ++counters_.dropped_malformed;
        return;
    }
    if (held_bytes_ + chunk.size() > parts_.unjudged_bytes) {
        ++counters_.dropped_memory;  // asked for again after a stall
        return;
    }
    next_handle_ = next_handle_.next();
    held_bytes_ += chunk.size();
    held_[next_handle_] = {envelope, std::make_shared<const Bytes>(std::move(chunk))};
    parts_.report(DataIn{from, std::move(envelope), next_handle_});
}

void Engine::perform(const DropChunk& action) {
    auto found = held_.find(action.chunk);
    if (found == held_.end()) return;
    held_bytes_ -= found->second.bytes->size();
    held_.erase(found);
}

void Engine::perform(const VerifyChunk& action) {
    auto found = held_.find(action.chunk);
    if (found == held_.end())
        return asio::post(parts_.io, [this, op = action.op] {
            finish(op, fail(Errc::not_found, "no such chunk is held"));
        });
    Held held = found->second;
    auto count = [this, handle = action.chunk](bool stored) {
        ++(stored ? counters_.chunks_stored : counters_.chunks_bad);
        perform(DropChunk{handle});
    };
    auto work = [this, action, held = std::move(held), count](PieceFiles& files) -> Result<Answer> {
        bool piece = action.purpose == ChunkPurpose::contribution || action.purpose == ChunkPurpose::result ||
                     action.purpose == ChunkPurpose::entry;
        auto answer = piece ? files.take_piece(action, held.envelope, *held.bytes)
                            : files.take_block(action, *held.bytes);
        bool stored = answer && answer->verdict == ChunkVerdict::stored;
        asio::post(parts_.io, [this, action, count, stored] {
            count(stored);
            if (action.purpose == ChunkPurpose::plan_body) staging_opened(action.object.id);
        });
        return to_answer(std::move(answer));
    };
    switch (action.purpose) {
        case ChunkPurpose::contribution: return run_on(parts_.codec, action.op, work);
        case ChunkPurpose::result:
        case ChunkPurpose::entry: return run_staged(action.object.id, action.op, work);
        default: return run_on(parts_.disk, action.op, work);
    }
}

// ----------------------------------------------------------------------------------------- the open step

void Engine::perform(const FollowPlan& action) { open_staging(action.digest, action.body); }

// The plan's body comes as a chunk of its own (purpose plan_body), which opens the staging; pieces that are here
// before it wait.
void Engine::perform(const OpenStaging& action) {
    if (files_ && !files_->is_open(action.plan_digest)) opening_.try_emplace(action.plan_digest);
}

void Engine::perform(const DropStaging& action) {
    if (!files_) return;
    staging_opened(action.plan_digest);
    asio::post(parts_.disk, [action, files = files_] { files->drop_staging(action.step, action.plan_digest); });
}

void Engine::perform(const DropContributions& action) {
    if (!files_) return;
    asio::post(parts_.disk, [action, files = files_] { files->drop_contributions(action.step); });
}

void Engine::perform(const ReducePiece& action) {
    run_staged(action.plan_digest, action.op, [this, action](PieceFiles& files) -> Result<Answer> {
        auto reduced = files.reduce(action.plan_digest, action.piece);
        if (reduced) asio::post(parts_.io, [this] { ++counters_.pieces_reduced; });
        return to_answer(std::move(reduced));
    });
}

void Engine::perform(const WritePrepared& action) {
    run_on(parts_.disk, action.op, [action](PieceFiles& files) { return to_answer(files.prepare(action)); });
}

void Engine::perform(const AppendEntry& action) {
    staging_opened(action.plan_digest);  // a body that never came is not waited for any longer
    run_on(parts_.disk, action.op, [action](PieceFiles& files) { return to_answer(files.append(action)); });
}

void Engine::perform(const AdoptSnapshot& action) {
    run_on(parts_.disk, action.op, [action](PieceFiles& files) { return to_answer(files.adopt_snapshot(action)); });
}

void Engine::perform(const DropSnapshot& action) {
    if (!files_) return;
    asio::post(parts_.disk, [action, files = files_] { files->drop_snapshot(action.step); });
}

// ------------------------------------------------------------------------------------------- once a second

void Engine::note_progress() {
    rates_.add(links_->wire());
    Traffic traffic;
    traffic.sent_bytes = links_->total_traffic().sent_bytes;
    traffic.received_bytes = links_->total_traffic().received_bytes;
    std::vector<NodeId> moving;
    for (auto& [node, state] : peers_) {
        state.down_ticks = links_->is_up(node) ? 0 : state.down_ticks + 1;
        if (state.down_ticks == kUnreachableTicks)
            log_warn("peer.unreachable", {{"peer", node.hex().substr(0, 8)},
                                          {"fix", "one of the two must accept connections: listen and advertise in node.toml"}});
        if (state.down_ticks >= kUnreachableTicks) traffic.unreachable.push_back(node);
        std::uint64_t wire = links_->wire_received(node);
        std::uint64_t whole = std::exchange(state.delivered, 0);
        if (wire > state.wire && wire - state.wire > whole + kProgressBytes) moving.push_back(node);
        state.wire = wire;
    }
    for (const NodeId& node : moving) parts_.report(PeerProgress{node});
    tell_waiting();
    parts_.report(std::move(traffic));
}

}  // namespace skerry::node
