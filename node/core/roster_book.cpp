#include "node/core/roster_book.hpp"

#include <algorithm>

#include "protocol/wire/canonical.hpp"

namespace skerry::node {

bool RosterBook::adopt(const SignedBody& body) {
    auto parsed = parse_roster(body.body);
    if (!parsed) return false;
    if (context_.manifest && parsed->run != context_.manifest->run) return false;
    if (body_ && parsed->epoch <= roster_.epoch) return false;
    roster_ = std::move(*parsed);
    body_ = body;
    for (const RosterEntry& entry : roster_.nodes) keys_[entry.node] = entry.key;
    // A live connection is not revoked by a list: who left the roster is not a peer from this event on.
    std::erase_if(connected_, [&](const NodeId& peer) { return !knows(peer); });
    publish();
    return true;
}

void RosterBook::set_dial(std::vector<NodeId> dial) {
    if (dial == dial_) return;
    dial_ = std::move(dial);
    publish();
}

const RosterEntry* RosterBook::find(const NodeId& node) const {
    auto at = std::lower_bound(roster_.nodes.begin(), roster_.nodes.end(), node,
                               [](const RosterEntry& entry, const NodeId& id) { return entry.node < id; });
    return at != roster_.nodes.end() && at->node == node ? &*at : nullptr;
}

bool RosterBook::follows(const NodeId& node) const {
    const RosterEntry* entry = find(node);
    return entry != nullptr && entry->state == NodeState::following;
}

bool RosterBook::anyone_joining() const {
    return std::any_of(roster_.nodes.begin(), roster_.nodes.end(),
                       [](const RosterEntry& entry) { return entry.state == NodeState::joining; });
}

NodeId RosterBook::first_current() const {
    for (const RosterEntry& entry : roster_.nodes)
        if (entry.state == NodeState::current) return entry.node;
    return {};
}

PublicKey RosterBook::key_of(const NodeId& node) const {
    auto at = keys_.find(node);
    return at == keys_.end() ? PublicKey{} : at->second;
}

void RosterBook::publish() {
    const RosterEntry* me = find(context_.self());
    const bool reachable = me != nullptr && me->reachable;
    SetPeers action;
    action.epoch = roster_.epoch;
    for (const RosterEntry& entry : roster_.nodes) {
        if (entry.node == context_.self()) continue;
        // Of two that can both be reached the lower id dials; else the one that cannot be reached.
        bool dial = entry.reachable && (!reachable || context_.self() < entry.node);
        dial = dial || std::find(dial_.begin(), dial_.end(), entry.node) != dial_.end();
        action.peers.push_back({entry, dial});
    }
    context_.emit(std::move(action));
}

}  // namespace skerry::node
