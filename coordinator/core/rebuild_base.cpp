#include "coordinator/core/rebuild_base.hpp"

#include <algorithm>
#include <map>

#include "protocol/base/assert.hpp"

namespace skerry::coordinator {
namespace {

/// The nodes' chain must be the backup's, and go on from it.
Result<void> check_chain(const Rebuilt& rebuilt, const Image& base) {
    if (base.run != rebuilt.run) return fail(Errc::bad_state, "the backup is of another run than the one the nodes hold", "choose another --run");
    if (base.head > rebuilt.head)
        return fail(Errc::bad_state,
                    "the backup knows " + std::to_string(base.head.value) + " decisions, the nodes that answered only " + std::to_string(rebuilt.head.value),
                    "wait for more nodes");
    if (base.decisions.empty()) return {};
    const DecisionRow& last = base.decisions.back();
    for (const Op& op : rebuilt.tx.ops) {
        const auto* put = std::get_if<op::PutDecision>(&op);
        if (put == nullptr || put->decision.step != last.step) continue;
        if (put->decision.h_after == last.h_after) return {};
    }
    return fail(Errc::bad_state, "at step " + std::to_string(last.step.value) + " the backup has the chain " + last.h_after.hex() + ", the nodes another one",
                "is this the newest backup of this run?");
}

/// A node that answered: what it says of itself, with what only a coordinator knows of it.
void complete(NodeRow& row, const NodeRow& before) {
    row.ticket = before.ticket;
    row.diverged = before.diverged;
    row.incarnation = std::max(row.incarnation, before.incarnation);
    if (before.state != NodeState::revoked) return;
    row.state = NodeState::revoked;
    row.reason = before.reason;
}

}  // namespace

Result<void> keep_base(Rebuilt& rebuilt, const Image& base) {
    auto fits = check_chain(rebuilt, base);
    if (!fits) return fits;
    std::map<NodeId, NodeRow> left;
    for (const NodeRow& row : base.nodes) left[row.node] = row;
    std::vector<Op> people;
    for (const TokenRow& token : base.tokens) people.push_back(op::PutToken{token});
    rebuilt.tx.term = std::max(rebuilt.tx.term, base.term.next());
    for (Op& op : rebuilt.tx.ops) {
        if (auto* claim = std::get_if<op::ClaimTerm>(&op)) claim->term = rebuilt.tx.term;
        if (auto* node = std::get_if<op::PutNode>(&op)) {
            auto before = left.find(node->node.node);
            if (before == left.end()) continue;
            complete(node->node, before->second);
            left.erase(before);
        }
        if (auto* meta = std::get_if<op::PutMeta>(&op)) {
            meta->meta.epoch = std::max(meta->meta.epoch, base.meta.epoch.next());
            meta->meta.next_lease = std::max(meta->meta.next_lease, base.meta.next_lease);
            // Steps that were decided since say that it ran.
            const bool settled = meta->meta.run_state == RunState::stopped || meta->meta.run_state == RunState::paused;
            const bool as_it_was = rebuilt.head == base.head && !settled;
            if (as_it_was) meta->meta.run_state = base.meta.run_state;
            if (as_it_was) meta->meta.end_reason = base.meta.end_reason;
        }
    }
    for (auto& [id, row] : left) {
        // Nobody's roster names it: it was away or gone when the nodes last heard, or it alone knows better.
        const bool here = row.state == NodeState::joining || row.state == NodeState::current || row.state == NodeState::leaving;
        if (here) row.state = NodeState::away;
        row.boot = {};  // its process may have a higher incarnation by now: that is no reason to hold
        people.push_back(op::PutNode{row});
    }
    // After ClaimTerm, before anything that names a node.
    SKERRY_ASSERT(!rebuilt.tx.ops.empty() && std::holds_alternative<op::ClaimTerm>(rebuilt.tx.ops.front()));
    rebuilt.tx.ops.insert(rebuilt.tx.ops.begin() + 1, people.begin(), people.end());
    return {};
}

}  // namespace skerry::coordinator
