#include "coordinator/core/rebuild_rows.hpp"

#include <algorithm>

#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::coordinator {

namespace {

/// Lease ids of a new coordinator start so far above any that was seen that those of an older one never meet them.
constexpr std::uint64_t kLeaseBase = std::uint64_t{1} << 32;

std::pair<Term, Attempt> rank(const Plan& plan) { return {plan.term, plan.attempt}; }

}  // namespace

void RebuildRows::add_node(const RosterEntry& entry, const Hello* hello, const RebuildAnswer* facts) {
    NodeRow row;
    row.node = entry.node;
    row.key = entry.key;
    row.name = entry.name;
    row.site = entry.site;
    row.curve = entry.curve;
    row.addresses = entry.addresses;
    row.incarnation = entry.incarnation;
    row.state = facts ? NodeState::joining : NodeState::away;
    if (entry.state == NodeState::following) row.state = NodeState::following;
    if (hello && facts) {
        // A process without an incarnation is a new one: it gets the next at its next Hello.
        if (hello->incarnation_in_memory.value > 0) row.boot = hello->boot;
        row.curve = hello->curve;
        row.addresses = hello->addresses;
        row.incarnation = std::max(row.incarnation, facts->incarnation);
        meta_.epoch = std::max(meta_.epoch, hello->seen_epoch);
        highest_lease_ = std::max(highest_lease_, facts->highest_lease.value);
    }
    if (facts && entry.state != NodeState::following) {  // whose word counts
        for (const HeldPlan& held : facts->prepared) take_prepared(held);
        for (const StateDigest& d : facts->snapshots) digests_.push_back({d.step, entry.node, d.value});
    }
    nodes_[entry.node] = std::move(row);
}

void RebuildRows::take_prepared(const HeldPlan& held) {
    auto plan = parse_plan(held.body);
    if (plan && plan->run == manifest_.run) prepared_.emplace_back(std::move(*plan), held);
}

void RebuildRows::add_decision(const Decision& decision, const SignedDecision& record) {
    DecisionRow row = *to_row(record);
    row.record.decision.signature = signing_.sign(row.record.decision.body);
    rows_.push_back(std::move(row));
    chain_.push_back(decision);
    for (const Credit& credit : decision.credits) {
        for (const Segment& s : credit.segments) highest_lease_ = std::max(highest_lease_, s.lease.value);
        auto node = nodes_.find(credit.node);
        if (node == nodes_.end()) continue;
        node->second.credited_tokens += credit.weight_tokens;
        ++node->second.given.steps;
        ++node->second.given.steps_here;  // of others nobody can tell
    }
}

/// Everything credited stays so, what an undone step credited is void or free again, all else is free.
void RebuildRows::put_ledger(std::vector<Op>& ops) {
    std::map<Step, bool> undone;  // step -> fed again
    for (const Decision& d : chain_)
        if (is_rollback(d.kind))
            for (Step k = d.rollback_to; k < d.step; k = k.next()) undone.try_emplace(k, d.kind == EntryKind::rollback_refeed);
    Ranges taken;
    auto take = [&](const Segment& s) {
        taken[s.from] = s.to;
        meta_.tail = std::max(meta_.tail, s.to);
    };
    for (const Decision& d : chain_) {
        const auto gone = undone.find(d.step);
        for (const Credit& credit : d.credits) {
            for (const Segment& s : credit.segments) {
                meta_.tail = std::max(meta_.tail, s.to);
                if (gone != undone.end() && gone->second) continue;
                if (gone != undone.end()) meta_.void_sequences += s.to - s.from;
                take(s);
            }
        }
    }
    if (adopted_) {
        // Pinned until its decision credits them.
        for (const Participant& p : adopted_->first.participants) {
            for (const Segment& s : p.segments) {
                ops.push_back(op::PutLease{{s.lease, s.from, s.to, s.from, p.node, adopted_->first.step}});
                highest_lease_ = std::max(highest_lease_, s.lease.value);
                take(s);
            }
        }
    }
    std::uint64_t at = 0;
    for (const auto& [lo, hi] : taken) {
        if (at < lo) ops.push_back(op::PutFree{at, lo});
        at = std::max(at, hi);
    }
    if (at < meta_.tail) ops.push_back(op::PutFree{at, meta_.tail});
    meta_.next_lease = LeaseId{(highest_lease_ / kLeaseBase + 1) * kLeaseBase};
}

/// The highest plan of which somebody holds the prepared entry: had a lower one been decided, there would be no higher.
void RebuildRows::put_plan(std::vector<Op>& ops) const {
    if (!adopted_) return;
    const auto& [plan, held] = *adopted_;
    ops.push_back(op::PutPlan{{plan.step, plan.term, plan.attempt, plan.epoch, body_digest(held.body), held.body, true}});
}

Rebuilt RebuildRows::finish(bool loss_accepted, bool paused) {
    const Step head{chain_.size()};
    for (auto& each : prepared_) {
        if (each.first.step != head) continue;
        const bool better = !adopted_ || rank(each.first) > rank(adopted_->first);
        if (better) adopted_ = each;
    }
    if (adopted_) {
        for (const NodeId& id : adopted_->first.members) {
            auto [at, fresh] = nodes_.try_emplace(id);
            if (!fresh) continue;
            at->second.node = id;  // its key comes with its next Hello
            at->second.state = NodeState::away;
        }
        for (const Participant& p : adopted_->first.participants)
            nodes_[p.node].incarnation = std::max(nodes_[p.node].incarnation, p.incarnation);
    }
    Rebuilt out;
    out.run = run_;
    out.head = head;
    out.tx.term = term_;
    std::vector<Op>& ops = out.tx.ops;
    ops.push_back(op::ClaimTerm{term_});
    for (const auto& [id, row] : nodes_) ops.push_back(op::PutNode{row});
    for (const DecisionRow& row : rows_) {
        // The journal takes a decision for the plan in force alone.
        ops.push_back(op::PutPlan{{row.step, row.term, row.attempt, {}, row.plan_digest, {}, false}});
        ops.push_back(op::PutDecision{row});
        ops.push_back(op::EndPlan{row.plan_digest, PlanEnd::decided, "from the nodes"});
    }
    put_ledger(ops);
    put_plan(ops);
    for (const DigestRow& row : digests_) ops.push_back(op::PutDigest{row});
    // A node that was away may have seen a higher one than those that answered.
    meta_.epoch = Epoch{meta_.epoch.value + kRebuildTermStep};
    const std::uint64_t tokens = chain_.empty() ? 0 : chain_.back().tokens_after;
    const bool ended = manifest_.target_tokens > 0 && tokens >= manifest_.target_tokens;
    // Without a step nobody can tell that it was ever started.
    const bool began = !chain_.empty() || adopted_;
    meta_.run_state = ended ? RunState::stopped : !began ? RunState::created : paused ? RunState::paused : RunState::running;
    if (ended) meta_.end_reason = "the target of " + std::to_string(manifest_.target_tokens) + " tokens is reached";
    meta_.loss_to_record = loss_accepted;
    ops.push_back(op::PutMeta{meta_});
    if (adopted_) out.adopted = body_digest(adopted_->second.body);
    return out;
}

}  // namespace skerry::coordinator
