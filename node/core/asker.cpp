#include "node/core/asker.hpp"

#include <algorithm>

#include "protocol/wire/limits.hpp"

namespace skerry::node {

/// What is fetched of the past never is in the way of the open step's results, nor makes their edges look stalled.
Asker::Lane Asker::lane_of(const Want& want) {
    if (want.purpose == ChunkPurpose::entry) return blocks;
    switch (want.object.kind) {
        case ObjectKind::contribution: return contributions;
        case ObjectKind::result: return results;
        case ObjectKind::block: break;
    }
    return blocks;
}

void Asker::want(Want want) {
    const Key key{want.object, want.piece};
    auto [at, fresh] = items_.try_emplace(key);
    if (!fresh) {
        // Wanted for ourselves after all: then relays may be asked too. Decided meanwhile: then anybody.
        if (!want.relayed) at->second.want.relayed = false;
        if (want.maker.is_zero()) at->second.want.maker = {};
        return;
    }
    at->second.want = std::move(want);
    at->second.wanted_at = context_.now;
}

void Asker::forget(const ObjectRef& object, PieceIndex piece) {
    auto at = items_.find({object, piece});
    if (at == items_.end()) return;
    release(at->second);
    items_.erase(at);
}

void Asker::forget_object(const ObjectRef& object) {
    forget_if([&](const Want& want) { return want.object == object; });
}

void Asker::release(Item& item) {
    if (!item.giver) return;
    const Lane lane = lane_of(item.want);
    Edge& e = edge(*item.giver, lane);
    e.in_flight -= std::min<std::uint64_t>(e.in_flight, item.want.bytes);
    total_[lane] -= std::min<std::uint64_t>(total_[lane], item.want.bytes);
    item.giver.reset();
    item.later = false;
}

void Asker::take_back(const NodeId& giver) {
    for (auto& [key, item] : items_)
        if (item.giver == giver && !item.verifying) release(item);
}

void Asker::on_peer_up(const NodeId& peer) {
    // GETs end with the connection: what was asked before is asked again.
    take_back(peer);
    for (Lane lane : {contributions, results, blocks}) edges_.erase({peer, lane});
    for (auto& [key, item] : items_) item.shunned.erase(peer);
}

void Asker::on_peer_down(const NodeId& peer) { take_back(peer); }

void Asker::on_later(const NodeId& from, const Later& message) {
    for (PieceIndex piece : message.pieces) {
        auto at = items_.find({message.object, piece});
        if (at == items_.end() || at->second.giver != from || at->second.verifying) continue;
        Item& item = at->second;
        if (item.want.maker.is_zero()) {
            // Of the past: this giver is behind, too, another one has it. Nobody makes it anew, so nothing is sent twice.
            release(item);
            item.shunned[from] = context_.now + context_.config.later_again;
            continue;
        }
        item.later = true;
        item.asked_at = context_.now;
    }
    on_progress(from);
}

std::vector<Want> Asker::on_gone(const NodeId& from, const Gone& message) {
    std::vector<Want> lost;
    for (PieceIndex piece : message.pieces) {
        auto at = items_.find({message.object, piece});
        if (at == items_.end() || at->second.giver != from || at->second.verifying) continue;
        release(at->second);
        at->second.shunned[from] = context_.now + context_.config.later_again;
        lost.push_back(at->second.want);
    }
    on_progress(from);
    return lost;
}

void Asker::on_progress(const NodeId& from) {
    for (Lane lane : {contributions, results, blocks}) {
        auto at = edges_.find({from, lane});
        if (at != edges_.end()) at->second.heard = context_.now;
    }
}

void Asker::on_data(const DataIn& event) {
    const Key key{event.envelope.object, event.envelope.piece};
    auto at = items_.find(key);
    const bool welcome = at != items_.end() && !at->second.verifying &&
                         at->second.asked.contains(event.from) && roster_.knows(event.from);
    if (!welcome) {
        ++dropped_;
        context_.emit(DropChunk{event.chunk});
        return;
    }
    Item& item = at->second;
    // The giver sends one thing after the other: while one kind comes, the others wait and do not stall.
    on_progress(event.from);
    Edge& e = edge(event.from, lane_of(item.want));
    e.heard = context_.now;
    e.stalled = false;
    // The window is for what is under way; what is here is the shell's until it is stored.
    release(item);
    item.verifying = true;
    const OpId op = context_.new_op();
    verifying_[op] = {key, item.want, event.from, event.envelope};
    VerifyChunk check;
    check.op = op;
    check.chunk = event.chunk;
    check.from = event.from;
    check.object = item.want.object;
    check.piece = item.want.place;
    check.purpose = item.want.purpose;
    check.expect = item.want.expect;
    check.owner = item.want.owner;
    context_.emit(std::move(check));
}

std::optional<Fetched> Asker::on_done(const Done& done) {
    auto at = verifying_.find(done.op);
    if (at == verifying_.end()) return std::nullopt;
    Check check = std::move(at->second);
    verifying_.erase(at);

    Fetched fetched{check.want, check.from, {}, std::move(check.envelope), done.error.has_value()};
    if (const auto* answer = std::get_if<ChunkAnswer>(&done.answer)) fetched.answer = *answer;
    else fetched.failed = true;

    auto item = items_.find(check.key);
    if (item != items_.end() && item->second.verifying) {
        if (!fetched.failed && fetched.answer.verdict == ChunkVerdict::stored) {
            items_.erase(item);
        } else {
            item->second.verifying = false;
            item->second.shunned[check.from] = context_.now + context_.config.later_again;
        }
    }
    return fetched;
}

bool Asker::has_room(const NodeId& giver, Lane lane, std::uint32_t bytes) {
    const Edge& e = edge(giver, lane);
    if (e.in_flight > 0 && e.in_flight + bytes > context_.config.window_bytes) return false;
    return total_[lane] == 0 || total_[lane] + bytes <= context_.config.window_total_bytes;
}

std::optional<NodeId> Asker::choose(const Item& item) {
    const Lane lane = lane_of(item.want);
    std::optional<NodeId> last_resort;
    bool better_exists = false;
    for (const NodeId& giver : sources_(item.want)) {
        if (giver == context_.self() || !roster_.connected(giver)) continue;
        auto shunned = item.shunned.find(giver);
        if (shunned != item.shunned.end() && shunned->second > context_.now) continue;
        if (edge(giver, lane).stalled) {
            if (!last_resort) last_resort = giver;
            continue;
        }
        better_exists = true;
        if (has_room(giver, lane, item.want.bytes)) return giver;
        // Of the best source, in its order: overflow to others would fetch a piece over a worse path.
        break;
    }
    if (!better_exists && last_resort && has_room(*last_resort, lane, item.want.bytes)) return last_resort;
    return std::nullopt;
}

void Asker::find_stalls() {
    const Millis patience = context_.edge_patience();
    std::set<std::pair<NodeId, Lane>> stalled;
    for (auto& [key, item] : items_) {
        if (!item.giver || item.later || item.verifying) continue;
        const Lane lane = lane_of(item.want);
        Edge& e = edge(*item.giver, lane);
        if (context_.now - std::max(item.asked_at, e.heard) >= patience) stalled.insert({*item.giver, lane});
    }
    for (const auto& id : stalled) {
        Edge& e = edges_[id];
        if (!e.stalled) e.stalled_at = context_.now;
        e.stalled = true;
        for (auto& [key, item] : items_)
            if (item.giver == id.first && lane_of(item.want) == id.second && !item.later && !item.verifying)
                release(item);
    }
}

Mono Asker::repeat_at(const Item& item) const {
    const auto& config = context_.config;
    // Blocks and entries: this giver may be behind, the next one's turn comes soon.
    if (item.want.maker.is_zero()) return item.asked_at + config.later_again;
    const Millis patience = std::max(config.later_again, context_.edge_patience());
    if (item.giver != item.want.maker) return item.asked_at + patience;
    // Its maker sends the piece by itself once it is made. Asked again, or elsewhere, it would be sent twice: so only
    // after a silence, when what was asked may have been lost.
    auto at = edges_.find({*item.giver, lane_of(item.want)});
    return (at == edges_.end() ? item.asked_at : std::max(item.asked_at, at->second.heard)) + patience;
}

void Asker::repeat_later() {
    for (auto& [key, item] : items_) {
        if (!item.giver || !item.later || item.verifying || context_.now < repeat_at(item)) continue;
        const NodeId giver = *item.giver;
        const auto sources = sources_(item.want);
        const auto others = std::count_if(sources.begin(), sources.end(), [&](const NodeId& other) {
            return other != giver && other != context_.self() && roster_.connected(other);
        });
        if (others > 0 && giver == item.want.maker && item.want.purpose == ChunkPurpose::result) {
            // Somebody has it, so its owner has: it is under way, and the edge's patience holds from now on.
            item.later = false;
            item.asked_at = context_.now;
            continue;
        }
        release(item);
        // Every other source gets its turn before this one is asked again.
        if (others > 0) item.shunned[giver] = context_.now + others * context_.config.later_again - Millis(1);
    }
}

void Asker::limit(const DownloadLimit& limit) {
    bucket_.set_rate(limit.bytes_per_s, context_.now);
    closed_ = limit.closed;
}

void Asker::pump() {
    find_stalls();
    repeat_later();
    held_up_ = false;
    std::map<std::pair<NodeId, ObjectRef>, std::vector<PieceIndex>> gets;
    for (auto& [key, item] : items_) {
        if (item.giver || item.verifying) continue;
        auto giver = choose(item);
        if (!giver) continue;
        if (held_up_ = !may_ask(); held_up_) break;
        bucket_.take(item.want.bytes, context_.now);
        const Lane lane = lane_of(item.want);
        Edge& e = edge(*giver, lane);
        if (e.in_flight == 0) e.heard = context_.now;
        e.in_flight += item.want.bytes;
        total_[lane] += item.want.bytes;
        item.giver = *giver;
        item.asked.insert(*giver);
        item.asked_at = context_.now;
        item.later = false;
        gets[{*giver, key.first}].push_back(key.second);
    }
    for (auto& [to, pieces] : gets) {
        for (std::size_t at = 0; at < pieces.size(); at += kMaxPiecesPerEnvelope) {
            const std::size_t end = std::min<std::size_t>(pieces.size(), at + kMaxPiecesPerEnvelope);
            Get get{to.second, {pieces.begin() + static_cast<std::ptrdiff_t>(at),
                                pieces.begin() + static_cast<std::ptrdiff_t>(end)}};
            context_.emit(SendPeer{to.first, std::move(get)});
        }
    }
}

bool Asker::stalled(const NodeId& giver, bool contribution) const {
    auto at = edges_.find({giver, contribution ? contributions : results});
    return at != edges_.end() && at->second.stalled;
}

std::vector<StalledEdge> Asker::stalled_edges() const {
    std::map<std::pair<NodeId, bool>, Mono> since;
    for (const auto& [key, item] : items_) {
        const Want& want = item.want;
        if (want.maker.is_zero() || want.relayed) continue;
        const bool contribution = want.object.kind == ObjectKind::contribution;
        auto at = edges_.find({want.maker, lane_of(want)});
        const bool bad_edge = at != edges_.end() && at->second.stalled;
        const bool cut = !roster_.connected(want.maker);
        if (!bad_edge && !cut) continue;
        const Mono from = bad_edge ? at->second.heard : item.wanted_at;
        if (context_.now - from < context_.edge_patience()) continue;
        auto [entry, fresh] = since.try_emplace({want.maker, contribution}, from);
        if (!fresh) entry->second = std::min(entry->second, from);
    }
    std::vector<StalledEdge> out;
    for (const auto& [edge_id, from] : since) {
        const auto waited = std::min<std::int64_t>((context_.now - from).count(), 0x7fffffff);
        out.push_back({edge_id.first, edge_id.second, static_cast<std::uint32_t>(waited)});
    }
    return out;
}

Mono Asker::next_wake() const {
    Mono wake = Mono::max();
    if (held_up_ && !closed_) wake = context_.now + TokenBucket(bucket_).wait(context_.now);
    for (const auto& [key, item] : items_) {
        if (item.verifying) continue;
        if (!item.giver) {
            for (const auto& [giver, until] : item.shunned)
                if (until > context_.now) wake = std::min(wake, until);
        } else if (item.later) {
            wake = std::min(wake, repeat_at(item));
        } else {
            auto at = edges_.find({*item.giver, lane_of(item.want)});
            const Mono heard = at == edges_.end() ? item.asked_at : std::max(item.asked_at, at->second.heard);
            wake = std::min(wake, heard + context_.edge_patience());
        }
    }
    return wake;
}

}  // namespace skerry::node
