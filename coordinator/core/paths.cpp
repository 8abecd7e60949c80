// Which nodes reach which, and what a plan makes of it: whom it leaves out, and who owns pieces.

#include <algorithm>

#include "coordinator/core/step_machine.hpp"

namespace skerry::coordinator {
namespace {

/// An edge that no attempt uses is not heard of again. While the run stands still it would count as bad for ever.
constexpr Millis kEdgeMemory{60'000};

}  // namespace

void StepMachine::note_edge(const NodeId& a, const NodeId& b) { edges_[std::minmax(a, b)] = {c_.head, c_.now}; }

bool StepMachine::bad_edge(const NodeId& a, const NodeId& b) const {
    auto at = edges_.find(std::minmax(a, b));
    if (at != edges_.end() && at->second.step.next() >= c_.head && c_.now - at->second.at < kEdgeMemory) return true;
    auto reports = [&](const NodeId& from, const NodeId& to) {
        const Node* node = c_.find(from);
        return node && node->report &&
               std::find(node->report->unreachable.begin(), node->report->unreachable.end(), to) !=
                   node->report->unreachable.end();
    };
    return reports(a, b) || reports(b, a);
}

std::vector<NodeId> StepMachine::drop_cut_off(std::vector<NodeId> ready) const {
    while (ready.size() > c_.manifest.min_nodes) {
        std::size_t worst = 0;
        auto victim = ready.end();
        for (auto a = ready.begin(); a != ready.end(); ++a) {
            const auto bad = static_cast<std::size_t>(
                std::count_if(ready.begin(), ready.end(), [&](const NodeId& b) { return *a != b && bad_edge(*a, b); }));
            if (2 * bad > ready.size() - 1 && bad > worst) {
                worst = bad;
                victim = a;
            }
        }
        if (victim == ready.end()) break;
        ready.erase(victim);
    }
    return ready;
}

/// Whether what one of them has can reach all others, over members that relay it.
bool StepMachine::hang_together(std::vector<NodeId> nodes) const {
    if (nodes.empty()) return true;
    std::vector<NodeId> reached{nodes.back()};
    nodes.pop_back();
    for (std::size_t i = 0; i < reached.size(); ++i) {
        const NodeId from = reached[i];
        auto far = std::stable_partition(nodes.begin(), nodes.end(), [&](const NodeId& to) { return bad_edge(from, to); });
        reached.insert(reached.end(), far, nodes.end());
        nodes.erase(far, nodes.end());
    }
    return nodes.empty();
}

std::vector<std::uint16_t> StepMachine::choose_owners(const Plan& plan) const {
    const auto n = static_cast<std::uint16_t>(plan.members.size());
    if (single_owner_) return {static_cast<std::uint16_t>((plan.attempt.value - 1) % n)};
    std::vector<std::uint16_t> owners;
    std::vector<std::uint16_t> all;
    for (std::uint16_t i = 0; i < n; ++i) {
        all.push_back(i);
        const bool bad = std::any_of(plan.members.begin(), plan.members.end(), [&](const NodeId& other) {
            return other != plan.members[i] && bad_edge(plan.members[i], other);
        });
        // An owner on a full disk could not stage what it sums; its word is as old as its last Report.
        const Node& node = c_.nodes.at(plan.members[i]);
        const bool full = node.report && node.report->disk_full;
        if (!bad && !full) owners.push_back(i);
    }
    return owners.empty() ? all : owners;  // nobody is free of bad edges: members relay
}

void StepMachine::node_restarted(const NodeId& node) {
    std::erase_if(edges_, [&](const auto& e) { return e.first.first == node || e.first.second == node; });
}

}  // namespace skerry::coordinator
