#include <algorithm>

#include "node/transport/peer_links.hpp"

namespace skerry::node {

std::vector<PeerTarget> to_targets(const Roster& roster, const NodeId& self, const std::vector<NodeId>& must_dial) {
    bool reachable = false;
    for (const auto& entry : roster.nodes) reachable = reachable || (entry.node == self && entry.reachable);
    std::vector<PeerTarget> targets;
    for (const auto& entry : roster.nodes) {
        if (entry.node == self) continue;
        bool ordered = std::find(must_dial.begin(), must_dial.end(), entry.node) != must_dial.end();
        bool dial = entry.reachable && (!reachable || self < entry.node);
        targets.push_back({entry.node, entry.curve, entry.addresses, dial || ordered});
    }
    return targets;
}

}  // namespace skerry::node
