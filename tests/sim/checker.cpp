#include "tests/sim/checker.hpp"

#include <algorithm>

#include "protocol/wire/canonical.hpp"

namespace skerry::sim {

namespace op = coordinator::op;

std::string to_text(const std::vector<Segment>& segments) {
    std::string out;
    for (const Segment& s : segments)
        out += " " + std::to_string(s.lease.value) + ":" + std::to_string(s.from) + "-" + std::to_string(s.to);
    return out;
}

const TrueContribution* Checker::find(Step step, const Digest& id, const NodeId& node) const {
    auto at = made_.find({step, id, node});
    return at == made_.end() ? nullptr : &at->second;
}

void Checker::after_tx(const MemoryJournal& journal, const coordinator::Tx& tx) {
    for (const coordinator::Op& o : tx.ops) {
        if (const auto* plan = std::get_if<op::PutPlan>(&o)) on_plan(plan->plan);
        if (const auto* decision = std::get_if<op::PutDecision>(&o))
            on_decision(decision->decision, plans_.at(decision->decision.plan_digest));
    }
    check_ledger(journal);
}

void Checker::on_plan(const coordinator::PlanRow& row) {
    plans_[row.digest] = row.body;
    auto plan = parse_plan(row.body);
    require(plan.has_value(), "I14", "a plan that does not parse");
    for (const Participant& p : plan->participants) {
        std::uint64_t positions = 0;
        for (const Segment& s : p.segments) positions += s.to - s.from;
        require(positions > 0 && p.weight_tokens == positions * manifest_.sequence_tokens, "I11",
                "a plan weighs " + std::to_string(positions) + " sequences as " + std::to_string(p.weight_tokens) + " tokens");
        const auto* truth = find(row.step, p.contribution, p.node);
        require(truth != nullptr, "I7", "a plan binds a contribution that nobody made");
        const auto age = row.step.value - truth->base.value;
        require(age <= manifest_.max_carry, "I16", "a plan binds a contribution of age " + std::to_string(age));
        require(truth->segments == p.segments, "I7",
                "a plan credits" + to_text(p.segments) + " for a contribution of" + to_text(truth->segments));
    }
}

void Checker::on_decision(const coordinator::DecisionRow& row, const Bytes& plan_body) {
    auto plan = parse_plan(plan_body);
    auto decision = parse_decision(row.record.decision.body);
    require(plan && decision, "I1", "a decision that does not parse");
    copies_[row.step] = plan->durable_copies;
    const bool again = row.step < decided();
    require(!again || decided(row.step).h_after == row.h_after, "I9",
            "step " + std::to_string(row.step.value) + " is decided again, otherwise");
    if (!again) decided_.push_back({row.kind, row.plan_digest, decision->roots.front(), row.h_after});
    before_ = {credited_, credits_};
    forgotten_.reset();
    if (decision->kind != EntryKind::commit) return on_change(*decision);
    if (!again) check_entry(row.step, *plan, decision->roots.front());
    for (const Credit& c : decision->credits)
        for (const Segment& s : c.segments) {
            credit(s.from, s.to);
            credits_[row.step].push_back(s);
        }
}

/// I7: the entry is the mean of what the plan binds.
void Checker::check_entry(Step step, const Plan& plan, const Digest& root) {
    std::vector<Weighted> bound;
    for (const Participant& p : plan.participants)
        bound.push_back({p.weight_tokens, find(step, p.contribution, p.node)->chunks.get()});
    require(root == entry_root(form_, step, bound), "I7",
            "entry " + std::to_string(step.value) + " is not the mean of what its plan binds");
    for (auto& [key, truth] : made_)
        if (std::get<Step>(key) == step) truth.chunks.reset();
}

/// Nothing that was ever decided is missing, but for one step that must now be decided again.
void Checker::rebuilt(const MemoryJournal& journal) {
    require(journal.head() <= decided(), "I9", "the rebuilt chain has steps that nobody decided");
    for (Step k{0}; k < journal.head(); k = k.next())
        require(journal.decision(k).h_after == decided(k).h_after, "I9",
                "the rebuilt chain has another step " + std::to_string(k.value));
    if (journal.head() < decided()) {
        const bool found = journal.plan() && journal.plan()->must_end_decided &&
                           journal.plan()->digest == decided(journal.head()).plan;
        require(journal.head().next() == decided() && found, "I9",
                "the rebuild forgets step " + std::to_string(journal.head().value) + ", which was decided");
        if (!forgotten_) forgotten_ = {credited_, credits_};
        std::tie(credited_, credits_) = before_;
    } else if (forgotten_) {
        std::tie(credited_, credits_) = *std::exchange(forgotten_, std::nullopt);
    }
    first_lease_ = journal.meta().next_lease;
    check_ledger(journal);
}

/// It may still decide what it had the votes for; the rebuilt one knows that step, or decides it next.
void Checker::beside(const coordinator::Tx& tx, const MemoryJournal& rebuilt) const {
    for (const coordinator::Op& o : tx.ops) {
        const auto* put = std::get_if<op::PutDecision>(&o);
        if (put == nullptr) continue;
        const coordinator::DecisionRow& row = put->decision;
        const bool known = row.step < rebuilt.head() && rebuilt.decision(row.step).h_after == row.h_after;
        const bool next = row.step == rebuilt.head() && rebuilt.plan() && rebuilt.plan()->digest == row.plan_digest &&
                          rebuilt.plan()->must_end_decided;
        require(known || next, "I9", "an old coordinator decides step " + std::to_string(row.step.value) + " beside the rebuilt one");
    }
}

/// A step without chunks was decided: what it undoes is void, and with `refeed` free again.
void Checker::on_change(const Decision& decision) {
    require(decision.roots.front().is_zero() && decision.credits.empty(), "I7", "a step without chunks that credits");
    if (!is_rollback(decision.kind)) return;
    require(!dead_state(decision.rollback_to), "I9", "a rollback to a state that was undone");
    for (auto& [step, segments] : credits_) {
        if (step < decision.rollback_to) continue;
        if (decision.kind == EntryKind::rollback_refeed)
            for (const Segment& s : segments) uncredit(s.from, s.to);
        segments.clear();
    }
    rollbacks_.emplace_back(decision.rollback_to, decision.step);
}

bool Checker::dead(Step step) const {
    return std::any_of(rollbacks_.begin(), rollbacks_.end(),
                       [&](const auto& r) { return r.first <= step && step < r.second; });
}

void Checker::uncredit(std::uint64_t lo, std::uint64_t hi) {
    auto after = credited_.upper_bound(lo);
    require(after != credited_.begin(), "I7", "positions are taken back that were not credited");
    auto at = std::prev(after);
    const auto [from, to] = *at;
    require(from <= lo && hi <= to, "I7", "positions are taken back that were not credited");
    credited_.erase(at);
    if (from < lo) credited_[from] = lo;
    if (hi < to) credited_[hi] = to;
}

void Checker::credit(std::uint64_t lo, std::uint64_t hi) {
    auto after = credited_.lower_bound(lo);
    bool free = after == credited_.end() || after->first >= hi;
    if (after != credited_.begin()) free = free && std::prev(after)->second <= lo;
    require(free, "I6", "positions " + std::to_string(lo) + "-" + std::to_string(hi) + " are credited twice");
    if (after != credited_.end() && after->first == hi) {
        hi = after->second;
        after = credited_.erase(after);
    }
    if (after != credited_.begin() && std::prev(after)->second == lo) {
        std::prev(after)->second = hi;
        return;
    }
    credited_[lo] = hi;
}

void Checker::check_ledger(const MemoryJournal& journal) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> all(credited_.begin(), credited_.end());
    all.insert(all.end(), journal.free_ranges().begin(), journal.free_ranges().end());
    std::optional<Plan> plan;
    if (journal.plan()) {
        auto parsed = parse_plan(journal.plan()->body);
        if (parsed) plan = std::move(*parsed);
    }
    for (const auto& [id, lease] : journal.leases()) {
        all.emplace_back(lease.done, lease.hi);
        bool pinned = false;
        if (plan)
            for (const Participant& p : plan->participants)
                for (const Segment& s : p.segments) pinned = pinned || s.lease == id;
        const auto holder = journal.nodes().find(lease.holder);
        const bool current = holder != journal.nodes().end() && holder->second.state == NodeState::current;
        require(current || pinned, "I8", "lease " + std::to_string(id.value) + " of a node that is not current");
    }
    std::sort(all.begin(), all.end());
    std::uint64_t at = 0;
    for (const auto& [lo, hi] : all) {
        if (lo == hi) continue;
        require(lo == at, lo < at ? "I6" : "I8", "position " + std::to_string(std::min(lo, at)) + " is in " +
                                                     (lo < at ? "two places" : "no place"));
        at = hi;
    }
    require(at == journal.meta().tail, "I8", "the ledger ends before its tail");
}

void Checker::state_reached(const std::string& who, Step step, const Digest& digest) {
    auto [at, fresh] = states_.try_emplace(step, digest);
    require(fresh || at->second == digest, "I2", who + " has another S_" + std::to_string(step.value));
}

void Checker::entry_taken(const std::string& who, Step step, const Digest& root) const {
    require(step < decided(), "I3", who + " takes entry " + std::to_string(step.value) + " which is not decided");
    require(decided(step).root == root, "I2",
            who + " has another entry " + std::to_string(step.value));
}

}  // namespace skerry::sim
