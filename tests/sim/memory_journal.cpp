#include "tests/sim/memory_journal.hpp"

#include <algorithm>

#include "protocol/wire/canonical.hpp"
#include "tests/sim/world.hpp"

namespace skerry::sim {

namespace op = coordinator::op;

MemoryJournal::MemoryJournal(coordinator::RunRow run) : run_(std::move(run)) {}

bool MemoryJournal::apply(const coordinator::Tx& tx) {
    const bool claims = !tx.ops.empty() && std::holds_alternative<op::ClaimTerm>(tx.ops.front());
    if (claims ? tx.term <= state_.term : tx.term != state_.term) return false;
    for (const coordinator::Op& o : tx.ops) std::visit([&](const auto& v) { put(state_, tx.term, v); }, o);
    return true;
}

void MemoryJournal::put(State& s, Term, const op::ClaimTerm& o) {
    require(o.term > s.term, "I13", "term does not rise");
    s.term = o.term;
}
void MemoryJournal::put(State& s, Term, const op::PutMeta& o) {
    const bool rises = o.meta.epoch >= s.meta.epoch && o.meta.next_lease >= s.meta.next_lease && o.meta.tail >= s.meta.tail;
    require(rises, "I13", "epoch, lease id or tail falls");
    s.meta = o.meta;
}
void MemoryJournal::put(State& s, Term, const op::PutToken& o) { s.tokens[o.token.id] = o.token; }
void MemoryJournal::put(State& s, Term, const op::PutNode& o) {
    auto at = s.nodes.find(o.node.node);
    require(at == s.nodes.end() || at->second.incarnation <= o.node.incarnation, "I13", "incarnation falls");
    const bool same_process = at == s.nodes.end() || at->second.boot.is_zero() || at->second.boot == o.node.boot;
    require(same_process || at->second.incarnation < o.node.incarnation, "I13", "two processes have one incarnation");
    s.nodes[o.node.node] = o.node;
}
void MemoryJournal::put(State& s, Term, const op::PutRoster& o) {
    require(o.epoch >= s.meta.epoch, "I13", "epoch falls");
}
void MemoryJournal::put(State& s, Term, const op::PutLease& o) {
    require(s.used.insert(o.lease.id).second, "I13", "a lease id is used again");
    s.leases[o.lease.id] = o.lease;
}
void MemoryJournal::put(State& s, Term, const op::CreditLease& o) {
    auto at = s.leases.find(o.id);
    const bool fits = at != s.leases.end() && at->second.holder == o.holder && at->second.done == o.from &&
                      o.from < o.to && o.to <= at->second.hi;
    require(fits, "I6", "a credit that does not begin where the last one ended, or is not the holder's");
    at->second.done = o.to;
}
void MemoryJournal::put(State& s, Term, const op::DropLease& o) {
    require(s.leases.erase(o.id) == 1, "I8", "a lease that does not exist is dropped");
}
void MemoryJournal::put(State& s, Term, const op::PutFree& o) { s.free[o.lo] = o.hi; }
void MemoryJournal::put(State& s, Term, const op::DropFree& o) {
    require(s.free.erase(o.lo) == 1, "I8", "a free range that does not exist is taken");
}
void MemoryJournal::put(State& s, Term, const op::PutPlan& o) {
    require(!s.plan, "I1", "two plans in force");
    require(o.plan.step.value == s.decisions.size(), "I1", "a plan of a step that is not open");
    require(o.plan.attempt > s.last_attempt, "I13", "attempt does not rise");
    s.last_attempt = o.plan.attempt;
    s.plan = o.plan;
}
void MemoryJournal::put(State& s, Term, const op::EndPlan& o) {
    require(s.plan && s.plan->digest == o.digest, "I1", "the plan that ends is not in force");
    s.plan.reset();
}
void MemoryJournal::put(State& s, Term, const op::PutDecision& o) {
    const auto& d = o.decision;
    require(d.step.value == s.decisions.size(), "I1", "a decision of a step that is not open");
    const bool of_plan = s.plan && s.plan->digest == d.plan_digest && s.plan->attempt == d.attempt && s.plan->term == d.term;
    require(of_plan, "I1", "a decision that is not of the plan in force");
    s.decisions.push_back(d);
    s.last_attempt = {};
}
void MemoryJournal::put(State& s, Term, const op::PutDigest& o) {
    s.digests[{o.digest.step, o.digest.node}] = o.digest.value;
}
void MemoryJournal::put(State& s, Term, const op::PutRequest& o) {
    s.requests.push_back(o.request);
    auto mine = [&](const coordinator::RequestRow& row) { return row.node == o.request.node; };
    if (std::count_if(s.requests.begin(), s.requests.end(), mine) > static_cast<std::ptrdiff_t>(coordinator::kRequestsPerNode))
        s.requests.erase(std::find_if(s.requests.begin(), s.requests.end(), mine));
}
void MemoryJournal::put(State& s, Term, const op::DropRequests& o) {
    std::erase_if(s.requests, [&](const auto& row) { return row.node == o.node; });
}

coordinator::Image MemoryJournal::load() const {
    coordinator::Image image;
    image.run = run_;
    image.term = state_.term;
    image.meta = state_.meta;
    for (const auto& [id, row] : state_.tokens) image.tokens.push_back(row);
    for (const auto& [id, row] : state_.nodes) image.nodes.push_back(row);
    for (const auto& [id, row] : state_.leases) image.leases.push_back(row);
    image.free_ranges.assign(state_.free.begin(), state_.free.end());
    image.plan = state_.plan;
    image.last_attempt = state_.last_attempt;
    image.head = head();
    const auto& all = state_.decisions;
    const auto first = coordinator::first_decision_needed(image.head, image.plan).value;
    image.decisions.assign(all.begin() + static_cast<std::ptrdiff_t>(first), all.end());
    for (const coordinator::DecisionRow& row : all) {
        if (row.kind == EntryKind::commit) continue;
        if (!image.first_change) image.first_change = row.step;
        if (is_rollback(row.kind)) image.rollbacks.emplace_back(parse_decision(row.record.decision.body)->rollback_to, row.step);
    }
    for (const auto& [key, value] : state_.digests)
        if (key.first.value + coordinator::kImageDigestSteps >= image.head.value)
            image.digests.push_back({key.first, key.second, value});
    image.requests = state_.requests;
    return image;
}

std::vector<SignedDecision> MemoryJournal::decisions(Step from, std::uint32_t max) const {
    std::vector<SignedDecision> out;
    for (std::uint64_t k = from.value; k < state_.decisions.size() && out.size() < max; ++k)
        out.push_back(state_.decisions[k].record);
    return out;
}

}  // namespace skerry::sim
