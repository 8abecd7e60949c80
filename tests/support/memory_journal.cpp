#include "tests/support/memory_journal.hpp"

#include "protocol/wire/canonical.hpp"

#include <algorithm>

namespace skerry::test {

using namespace coordinator;

namespace {
Fail broken(const char* what) { return fail(Errc::internal, std::string("journal check failed: ") + what); }
}  // namespace

Result<Image> MemoryJournal::load() {
    Image image;
    image.run = run_;
    image.term = term_;
    image.meta = meta_;
    for (const auto& [id, row] : tokens_) image.tokens.push_back(row);
    for (const auto& [id, row] : nodes_) image.nodes.push_back(row);
    for (const auto& [id, row] : leases_) image.leases.push_back(row);
    image.free_ranges.assign(free_.begin(), free_.end());
    image.plan = plan_;
    image.head = head();
    for (const auto& [key, logged] : plan_log_)
        if (key.first == image.head) image.last_attempt = std::max(image.last_attempt, key.second);
    const auto first = first_decision_needed(image.head, image.plan).value;
    image.decisions.assign(decisions_.begin() + static_cast<std::ptrdiff_t>(first), decisions_.end());
    for (const DecisionRow& row : decisions_)
        if (row.kind != EntryKind::commit && !image.first_change) image.first_change = row.step;
    for (const DecisionRow& row : decisions_)
        if (is_rollback(row.kind))
            image.rollbacks.emplace_back(parse_decision(row.record.decision.body)->rollback_to, row.step);
    for (const auto& [key, value] : digests_)
        if (key.first.value + kImageDigestSteps >= image.head.value)
            image.digests.push_back({key.first, key.second, value});
    image.requests = requests_;
    return image;
}

Result<void> MemoryJournal::apply(const Tx& tx) {
    if (full) return fail(Errc::disk_full, "the disk is full");
    const bool claims = !tx.ops.empty() && std::holds_alternative<op::ClaimTerm>(tx.ops.front());
    if (!claims && tx.term != term_) return fail(Errc::stale, "the stored term is another one");
    for (const Op& op : tx.ops) {
        auto done = std::visit([this](const auto& o) { return put(o); }, op);
        if (!done) return done;
    }
    return {};
}

Result<std::vector<SignedDecision>> MemoryJournal::decisions(Step from, std::uint32_t max) {
    std::vector<SignedDecision> out;
    for (std::size_t k = from.value; k < decisions_.size() && out.size() < max; ++k)
        out.push_back(decisions_[k].record);
    return out;
}

Result<void> MemoryJournal::put(const op::ClaimTerm& o) {
    if (o.term <= term_) return broken("the term rises");
    term_ = o.term;
    return {};
}

Result<void> MemoryJournal::put(const op::PutMeta& o) {
    if (o.meta.epoch < meta_.epoch || o.meta.next_lease < meta_.next_lease || o.meta.tail < meta_.tail)
        return broken("epoch, next lease and tail never fall");
    meta_ = o.meta;
    return {};
}

Result<void> MemoryJournal::put(const op::PutToken& o) {
    tokens_[o.token.id] = o.token;
    return {};
}

Result<void> MemoryJournal::put(const op::PutNode& o) {
    auto at = nodes_.find(o.node.node);
    if (at != nodes_.end() && at->second.incarnation > o.node.incarnation)
        return broken("an incarnation never falls");
    nodes_[o.node.node] = o.node;
    return {};
}

Result<void> MemoryJournal::put(const op::PutRoster& o) {
    if (o.epoch <= roster_epoch_) return broken("the epoch rises");
    roster_epoch_ = o.epoch;
    return {};
}

Result<void> MemoryJournal::put(const op::PutLease& o) {
    if (o.lease.id < meta_.next_lease || !leases_.emplace(o.lease.id, o.lease).second)
        return broken("a lease id is used once");
    return {};
}

Result<void> MemoryJournal::put(const op::CreditLease& o) {
    auto at = leases_.find(o.id);
    const bool fits = at != leases_.end() && at->second.holder == o.holder && at->second.done == o.from &&
                      o.to > o.from && o.to <= at->second.hi;
    if (!fits) return broken("a credit begins where the last one ended, and the lease is its holder's");
    at->second.done = o.to;
    return {};
}

Result<void> MemoryJournal::put(const op::DropLease& o) {
    if (leases_.erase(o.id) != 1) return broken("the lease exists");
    return {};
}

Result<void> MemoryJournal::put(const op::PutFree& o) {
    if (o.lo >= o.hi || !free_.emplace(o.lo, o.hi).second) return broken("a free range");
    return {};
}

Result<void> MemoryJournal::put(const op::DropFree& o) {
    if (free_.erase(o.lo) != 1) return broken("the free range exists");
    return {};
}

Result<void> MemoryJournal::put(const op::PutPlan& o) {
    if (o.plan.step != head()) return broken("a plan is for the open step");
    for (const auto& [key, logged] : plan_log_)
        if (key.first == o.plan.step && (key.second >= o.plan.attempt || logged.term > o.plan.term))
            return broken("a plan is above all before it");
    if (plan_) return broken("one plan is in force");
    plan_ = o.plan;
    plan_log_[{o.plan.step, o.plan.attempt}] = {o.plan.term, o.plan.digest, {}, {}};
    return {};
}

Result<void> MemoryJournal::put(const op::EndPlan& o) {
    if (!plan_ || plan_->digest != o.digest) return broken("the plan that ends is in force");
    auto& logged = plan_log_.at({plan_->step, plan_->attempt});
    logged.end = o.end;
    logged.reason = o.reason;
    plan_.reset();
    return {};
}

Result<void> MemoryJournal::put(const op::PutDecision& o) {
    const DecisionRow& d = o.decision;
    const bool fits = d.step == head() && plan_ && plan_->step == d.step && plan_->term == d.term &&
                      plan_->attempt == d.attempt && plan_->digest == d.plan_digest;
    if (!fits) return broken("a decision is for the open step and the plan in force");
    decisions_.push_back(d);
    return {};
}

Result<void> MemoryJournal::put(const op::PutDigest& o) {
    digests_[{o.digest.step, o.digest.node}] = o.digest.value;
    return {};
}

Result<void> MemoryJournal::put(const op::PutRequest& o) {
    requests_.push_back(o.request);
    auto mine = [&](const RequestRow& r) { return r.node == o.request.node; };
    if (std::count_if(requests_.begin(), requests_.end(), mine) > static_cast<std::ptrdiff_t>(kRequestsPerNode))
        requests_.erase(std::find_if(requests_.begin(), requests_.end(), mine));
    return {};
}

Result<void> MemoryJournal::put(const op::DropRequests& o) {
    std::erase_if(requests_, [&](const RequestRow& r) { return r.node == o.node; });
    return {};
}

}  // namespace skerry::test
