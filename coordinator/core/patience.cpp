// How long the step machine waits, and what it learns about that (docs/step-protocol.md 4).

#include <algorithm>

#include "coordinator/core/step_machine.hpp"
#include "protocol/rules/piece_grid.hpp"

namespace skerry::coordinator {

/// READY of a round whose beginning this process saw; also of a node that was left out.
void StepMachine::time_ready() {
    if (first_round_ || !c_.round_running) return;
    for (const auto& [id, node] : c_.nodes) {
        if (timed_.contains(id) || !is_ready(node) || node.report->ready->segments.empty()) continue;
        timed_.insert(id);
        deadlines_.add(StepPhase::collect, id, c_.now - c_.round_started);
    }
}

Mono StepMachine::late_at(const Node& node) const {
    // One that came in the middle of the round is not worth more than the rest of it: it gives what it has by then, or
    // goes on into the next round.
    const bool came = std::max(node.restarted, node.joining_since) > c_.round_started;
    const Millis time = came ? c_.round_length() : deadlines_.collect(node.row.node);
    return c_.round_started + time * (100 + c_.config.grace_percent) / 100;
}

Mono StepMachine::deadline() const {
    if (!c_.open) {
        Mono last = c_.round_started + c_.round_length() * (100 + c_.config.grace_percent) / 100;
        for (const auto& [id, node] : c_.nodes)
            if (c_.here(node) && !is_ready(node)) last = std::max(last, late_at(node));
        return last;
    }
    const Millis d = attempt_patience();
    const Mono first = c_.open->opened + d;
    return std::max(first, std::min(c_.open->grew + d / 4, c_.open->opened + 4 * d));
}

Millis StepMachine::attempt_patience() const {
    return c_.open ? c_.open->patience : deadlines_.exchange(NodeId{}, load());
}

Millis StepMachine::patience_of(const Plan& plan) const {
    const std::uint64_t load = Deadlines::load_of(plan);
    Millis slowest{0};
    for (const NodeId& id : plan.members) slowest = std::max(slowest, deadlines_.exchange(id, load));
    return slowest * (std::uint64_t{1} << std::min(plan.attempt.value - 1, 6U));
}

std::uint64_t StepMachine::load() const {
    if (c_.open) return Deadlines::load_of(c_.open->plan);
    const std::uint64_t pieces = PieceGrid{c_.manifest.elements, c_.manifest.piece_elements}.count();
    const std::uint64_t nodes = std::max<std::uint64_t>(1, c_.current_count());
    return 2 * pieces * (nodes - 1) / nodes;
}

PhaseEstimate StepMachine::estimate(StepPhase phase, const NodeId& node) const {
    return deadlines_.status(phase, node, load());
}

void StepMachine::time_exchange(const NodeId& id, const Report& report) {
    OpenPlan& open = *c_.open;
    const ExchangeState& x = *report.exchange;
    if (open.resumed || x.results_need == 0 || x.results_have < x.results_need) return;
    if (open.complete.try_emplace(id, c_.now - open.opened).second)
        deadlines_.add(StepPhase::exchange, id, c_.now - open.opened);
}

/// What the plan that is decided now teaches.
void StepMachine::time_decision() {
    const OpenPlan& open = *c_.open;
    if (open.resumed || open.plan.kind != EntryKind::commit) return;  // without chunks it says nothing of the links
    Millis slowest{0};
    for (const auto& [id, took] : open.complete) slowest = std::max(slowest, took);
    if (slowest > Millis(0)) deadlines_.add_transfer(Deadlines::load_of(open.plan), slowest);
    for (const auto& [id, at] : open.voted)
        if (open.quorum_since) deadlines_.add(StepPhase::votes, id, std::max(Millis(0), at - *open.quorum_since));
}

}  // namespace skerry::coordinator
