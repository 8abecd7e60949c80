// Steps without chunks: going back to an older state, new hyper-parameters. Planned, voted and decided like any other.

#include <algorithm>

#include "coordinator/core/step_machine.hpp"
#include "protocol/base/assert.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {

/// The first state from which on a node holds all; what is missing below is its business.
Step base_of(const Report& report) {
    if (report.oldest_entry.value == 0) return {};
    for (Step snapshot : report.snapshots)
        if (snapshot >= report.oldest_entry) return snapshot;
    return report.log_synced_to.next();
}

bool holds(const Report& report, Step state) {
    const bool snapshot = std::find(report.snapshots.begin(), report.snapshots.end(), state) != report.snapshots.end();
    return snapshot || (base_of(report) <= state && state <= report.log_synced_to);
}

}  // namespace

std::optional<DecisionRow> to_row(SignedDecision record) {
    auto decision = parse_decision(record.decision.body);
    if (!decision) return {};
    return DecisionRow{decision->step,        decision->kind,         decision->term,    decision->attempt,
                       decision->plan_digest, decision->tokens_after, decision->h_after, std::move(record)};
}

/// Nodes that hold what the plan is about: of a rollback the state, durably; of a CONFIG the chain's head, or all but
/// the last entry: right after a decision everybody is applying it.
std::vector<NodeId> StepMachine::voters_for(EntryKind kind, Step to) const {
    std::vector<NodeId> out;
    for (const auto& [id, node] : c_.nodes) {
        const bool member = node.current() || node.row.state == NodeState::joining;
        if (!member || c_.silent(node) || !node.report || node.row.diverged > 0 || node.reload) continue;
        if (is_rollback(kind) ? holds(*node.report, to) : node.report->head.next() >= c_.head) out.push_back(id);
    }
    return out;
}

/// What enough nodes hold, for people: "step 120 and later, 80, 100".
std::string StepMachine::kept_text() const {
    std::vector<Step> bases;
    std::map<Step, std::uint32_t> snapshots;
    for (const auto& [id, node] : c_.nodes) {
        if (!node.report || c_.silent(node) || node.following()) continue;
        bases.push_back(base_of(*node.report));
        for (Step s : node.report->snapshots) ++snapshots[s];
    }
    std::sort(bases.begin(), bases.end());
    const std::uint32_t enough = c_.safe_copies();
    if (bases.size() < enough) return "nothing, while so few nodes are here";
    const Step all_from = bases[enough - 1];
    std::string text = all_from <= c_.head ? "step " + std::to_string(all_from.value) + " and later" : "";
    for (const auto& [step, count] : snapshots)
        if (count >= enough && step < all_from && !c_.undone(step))
            text += (text.empty() ? "step " : ", ") + std::to_string(step.value);
    for (const auto& [to, at] : c_.rollbacks)
        if (to < at) text += ", without " + std::to_string(to.value + 1) + " to " + std::to_string(at.value) + ", which were undone";
    return text.empty() ? "nothing" : text;
}

std::optional<Plan> StepMachine::change_plan(EntryKind kind, Step to, const OuterHyper& outer) const {
    Plan plan;
    plan.members = voters_for(kind, to);
    if (plan.members.size() < c_.safe_copies()) return {};
    plan.run = c_.manifest.run;
    plan.step = c_.head;
    plan.term = c_.term;
    plan.attempt = c_.last_attempt.next();
    plan.epoch = c_.meta.epoch;
    plan.kind = kind;
    plan.elements = c_.manifest.elements;
    plan.outer = outer;
    plan.durable_copies = std::min(c_.manifest.durable_copies, static_cast<std::uint32_t>(plan.members.size()));
    plan.rollback_to = to;
    return plan;
}

/// Why no change can be planned now.
std::optional<Error> StepMachine::change_refused() const {
    if (!c_.behind.empty()) return Error{Errc::bad_state, "the database is older than what a node knows", "rebuild it"};
    if (c_.open && c_.open->row.must_end_decided)
        return Error{Errc::bad_state, "the step found at the rebuild must be decided first", "try again"};
    if (c_.open && c_.open->plan.kind != EntryKind::commit)
        return Error{Errc::bad_state, "another change is being voted on", "try again in a moment"};
    for (const auto& [id, node] : c_.nodes) {
        const bool member = node.current() || node.row.state == NodeState::joining || node.row.state == NodeState::leaving;
        if (member && node.version > 0 && node.version < kVersionOfChanges)
            return Error{Errc::version_mismatch, c_.label(id) + " speaks protocol 1.0, which knows no step of this kind",
                         "install a newer skerry-node there, or revoke it"};
    }
    return {};
}

void StepMachine::open_change(Plan plan, const std::string& reason) {
    std::optional<Plan> old;
    if (c_.open) {
        old = c_.open->plan;
        end_plan(PlanEnd::superseded, reason);
        plan.attempt = c_.last_attempt.next();
    }
    open_plan(std::move(plan));
    if (old) free_ended(*old);
}

std::optional<Error> StepMachine::roll_back(const admin::Rollback& verb) {
    if (auto refused = change_refused()) return refused;
    const Step to = verb.to;
    const std::string name = "step " + std::to_string(to.value);
    if (to > c_.head)
        return Error{Errc::not_found, name + " is not decided yet: the run is at step " + std::to_string(c_.head.value), ""};
    if (c_.undone(to))
        return Error{Errc::not_found, name + " was undone by a rollback itself; kept are " + kept_text(), ""};
    remember(verb.history);
    const bool reaches = to == c_.head || (!c_.recent.empty() && c_.recent.front().step <= to);
    if (!reaches || !c_.tokens_at(to)) return Error{Errc::stale, "the run has moved on meanwhile", "try again"};
    const EntryKind kind = verb.refeed ? EntryKind::rollback_refeed : EntryKind::rollback;
    auto plan = change_plan(kind, to, c_.outer);
    if (!plan)
        return Error{Errc::not_found,
                     name + " is held by " + std::to_string(voters_for(kind, to).size()) + " nodes that are here, of at least " +
                         std::to_string(c_.safe_copies()) + "; kept are " + kept_text(),
                     "choose one of these, or wait for more nodes"};
    open_change(std::move(*plan), "the operator goes back to " + name);
    return {};
}

std::optional<Error> StepMachine::configure(const admin::Configure& verb) {
    if (auto refused = change_refused()) return refused;
    auto plan = change_plan(EntryKind::config, {}, verb.outer);
    if (!plan)
        return Error{Errc::bad_state,
                     std::to_string(voters_for(EntryKind::config, {}).size()) + " nodes are here and at step " +
                         std::to_string(c_.head.value) + ", at least " + std::to_string(c_.safe_copies()) + " must vote",
                     "try again when they are"};
    open_change(std::move(*plan), "the operator changes hyper-parameters");
    return {};
}

/// More disks were lost than copies allow: nobody here has the log up to its head. Names the first entry that is
/// missing and who wrote it.
std::string StepMachine::missing_bytes() {
    Step best;
    bool anybody = false;
    for (const auto& [id, node] : c_.nodes) {
        const bool counts = node.current() || node.row.state == NodeState::joining;
        if (!counts || !node.report || c_.silent(node)) continue;
        anybody = true;
        best = std::max(best, node.report->log_synced_to);
    }
    if (!anybody || best >= c_.head) {
        missing_since_.reset();
        return {};
    }
    if (!missing_since_) missing_since_ = c_.now;
    // A decision is often heard a moment before its entry is in the log.
    if (c_.now - *missing_since_ < c_.config.silent_after) return {};
    std::string wrote;
    for (const DecisionRow& row : c_.recent) {
        if (row.step != best) continue;
        for (const VoterSignature& voter : row.record.voters) {
            if (wrote.size() > kMaxReason / 2) break;
            const Node* node = c_.find(voter.node);
            const auto ago = std::to_string(node ? (c_.now - node->heard).count() / 1000 : 0) + " s ago";
            wrote += (wrote.empty() ? "" : ", ") + c_.label(voter.node);
            if (!node || !node->report || c_.silent(*node)) wrote += node && !node->expected ? " (last seen " + ago + ")" : " (not seen since this start)";
            else wrote += " (here, its disk reaches step " + std::to_string(node->report->log_synced_to.value) + ")";
        }
    }
    const std::string step = std::to_string(best.value);
    return "the entry of step " + step + " is on no disk that is here; written by " + (wrote.empty() ? "nodes not remembered" : wrote) +
           ": start them, or skerry run rollback --to-step " + step;
}

/// A rebuild from too few nodes is in the chain before anything that it may have changed.
void StepMachine::record_loss() {
    auto plan = change_plan(EntryKind::loss_accepted, {}, c_.outer);
    if (plan) return open_plan(std::move(*plan));
    c_.hold_reason = "the rebuild accepted a loss; " + std::to_string(c_.safe_copies()) + " nodes must vote to record it";
}

/// Older decisions in front of those in memory; what does not join them is ignored.
void StepMachine::remember(const std::vector<SignedDecision>& history) {
    std::vector<DecisionRow> older;
    for (const SignedDecision& record : history)
        if (auto row = to_row(record)) older.push_back(std::move(*row));
    for (auto row = older.rbegin(); row != older.rend(); ++row) {
        const Step wanted = c_.recent.empty() ? c_.head : c_.recent.front().step;
        if (row->step.next() == wanted) c_.recent.push_front(std::move(*row));
    }
}

/// The ledger's part of a rollback: what the undone steps credited is void, or free again.
void StepMachine::undo_credits(const Plan& plan) {
    std::uint64_t undone = 0;
    for (const DecisionRow& row : c_.recent) {
        if (row.step < plan.rollback_to || row.step >= plan.step || c_.undone(row.step.next())) continue;
        auto decision = parse_decision(row.record.decision.body);
        SKERRY_ASSERT(decision.has_value());
        for (const Credit& credit : decision->credits) {
            for (const Segment& s : credit.segments) {
                undone += s.to - s.from;
                if (plan.kind == EntryKind::rollback_refeed) c_.ledger.feed_again(s.from, s.to, c_.ops);
            }
        }
    }
    c_.rollbacks.emplace_back(plan.rollback_to, plan.step);
    c_.floor = std::min(c_.floor, plan.rollback_to);
    if (plan.kind == EntryKind::rollback_refeed) return;
    c_.meta.void_sequences += undone;
    c_.ledger.extend(undone);
}

}  // namespace skerry::coordinator
