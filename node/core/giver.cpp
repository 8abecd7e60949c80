#include "node/core/giver.hpp"

namespace skerry::node {

Giver::Queue& Giver::asker(const NodeId& id) {
    auto [at, fresh] = askers_.try_emplace(id);
    if (fresh) at->second.connection = ++connections_;
    return at->second;
}

void Giver::on_get(const NodeId& asker_id, const Get& message) {
    Queue& state = asker(asker_id);
    if (!state.objects.contains(message.object) && state.objects.size() >= kObjectsPerAsker) {
        ++dropped_;
        return;
    }
    judge(asker_id, state, message.object, message.pieces, true);
    serve_next(asker_id, state);
}

void Giver::judge(const NodeId& asker, Queue& state, const ObjectRef& object,
                  const std::vector<PieceIndex>& pieces, bool say_later) {
    Object& known = state.objects[object];
    std::vector<PieceIndex> later;
    std::map<GoneReason, std::vector<PieceIndex>> gone;
    for (PieceIndex piece : pieces) {
        if (known.queued.contains(piece)) continue;
        const Availability found = look_(asker, object, piece);
        switch (found.kind) {
            case Availability::Kind::here:
                known.waiting.erase(piece);
                known.queued.insert(piece);
                state.queue.emplace_back(object, piece);
                break;
            case Availability::Kind::later:
                known.waiting.insert(piece);
                later.push_back(piece);
                break;
            case Availability::Kind::gone:
                known.waiting.erase(piece);
                gone[found.reason].push_back(piece);
                break;
        }
    }
    if (known.waiting.empty() && known.queued.empty()) state.objects.erase(object);
    if (say_later && !later.empty()) context_.emit(SendPeer{asker, Later{object, std::move(later)}});
    for (auto& [reason, list] : gone) context_.emit(SendPeer{asker, Gone{object, std::move(list), reason}});
}

void Giver::serve_next(const NodeId& asker, Queue& state) {
    const bool guest = is_guest_(asker);
    while (state.running < kServesPerAsker && !state.queue.empty() && !(guest && guest_served_)) {
        auto [object, piece] = state.queue.front();
        state.queue.pop_front();
        const Availability found = look_(asker, object, piece);
        if (found.kind != Availability::Kind::here) {
            settle(state, object, piece);
            judge(asker, state, object, {piece}, true);
            continue;
        }
        const OpId op = context_.new_op();
        serving_[op] = {asker, object, piece, state.connection, guest};
        ++state.running;
        if (guest) {
            guest_served_ = true;
            last_guest_ = asker;
        }
        context_.emit(Serve{op, asker, object, piece});
    }
}

void Giver::serve_next_guest() {
    auto serve = [this](auto from, auto to) {
        for (auto at = from; at != to && !guest_served_; ++at)
            if (is_guest_(at->first)) serve_next(at->first, at->second);
    };
    const auto after = askers_.upper_bound(last_guest_);
    serve(after, askers_.end());
    serve(askers_.begin(), after);
}

void Giver::settle(Queue& state, const ObjectRef& object, PieceIndex piece) {
    auto at = state.objects.find(object);
    if (at == state.objects.end()) return;
    at->second.queued.erase(piece);
    if (at->second.queued.empty() && at->second.waiting.empty()) state.objects.erase(at);
}

std::optional<Giver::Lost> Giver::on_done(const Done& done) {
    auto at = serving_.find(done.op);
    if (at == serving_.end()) return std::nullopt;
    const Running running = at->second;
    serving_.erase(at);
    if (running.guest) guest_served_ = false;
    auto found = askers_.find(running.asker);
    // A connection that ended meanwhile has forgotten this serve.
    const bool connected = found != askers_.end() && found->second.connection == running.connection;
    if (connected) {
        --found->second.running;
        settle(found->second, running.object, running.piece);
    }
    std::optional<Lost> lost;
    if (done.error && done.error->code != Errc::closed && done.error->code != Errc::cancelled) {
        lost = Lost{running.object, running.piece, done.error->code};
        context_.emit(SendPeer{running.asker, Gone{running.object, {running.piece}, GoneReason::lost}});
    }
    if (running.guest) serve_next_guest();
    else if (connected) serve_next(running.asker, found->second);
    return lost;
}

void Giver::recheck() {
    for (auto& [id, state] : askers_) {
        std::vector<std::pair<ObjectRef, std::vector<PieceIndex>>> waiting;
        for (const auto& [object, known] : state.objects)
            if (!known.waiting.empty())
                waiting.emplace_back(object, std::vector<PieceIndex>(known.waiting.begin(), known.waiting.end()));
        for (const auto& [object, pieces] : waiting) judge(id, state, object, pieces, false);
        serve_next(id, state);
    }
}

}  // namespace skerry::node
