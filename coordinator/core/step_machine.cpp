#include "coordinator/core/step_machine.hpp"

#include <algorithm>

#include "protocol/base/assert.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {
/// Two roots for one plan: so long a Blame may come that says who lied.
constexpr Millis kBlameWait{2000};
/// A silent member blocks for certain when nothing moved for so long.
constexpr Millis kStillWait{600};
/// Nodes named in a reason.
constexpr std::size_t kNamed = 3;
}  // namespace

void StepMachine::started() {
    if (!c_.open) return;
    c_.open->opened = c_.now;
    c_.open->grew = c_.now;
    c_.open->patience = patience_of(c_.open->plan);
}

void StepMachine::evaluate() {
    c_.hold_reason.clear();
    if (c_.config.restored) {
        const std::string step = std::to_string(c_.head.value);
        c_.hold_reason = c_.ahead > c_.head ? "the backup ends at step " + step + ", nodes know step " + std::to_string(c_.ahead.value)
                                            : "restored from a backup of step " + step + ", which may be older than what nodes hold";
        c_.hold_reason += ": stop it, catch up with skerry-coordinator rebuild, start it again";
        return;
    }
    if (!c_.behind.empty()) {
        c_.hold_reason = "the database is older than what " + c_.label(*c_.behind.begin()) +
                         " knows: rebuild it, or revoke that node";
        return;
    }
    time_ready();
    if (c_.open) exchange();
    if (!c_.open && c_.meta.loss_to_record) return record_loss();
    // Whatever plan is in force: nobody here can vote for one, but for a rollback.
    const std::string missing = missing_bytes();
    if (!missing.empty() && (!c_.open || c_.open->plan.kind == EntryKind::commit)) {
        c_.hold_reason = missing;
        return;
    }
    if (!c_.open && c_.meta.run_state == RunState::running) collect();
}

// --------------------------------------------------------------------------------------------- collect

bool StepMachine::lost_contribution(const Participant& p) const { return gone_.contains(p.contribution); }

bool StepMachine::is_ready(const Node& node) const {
    if (!c_.here(node) || !node.report || !node.report->ready) return false;
    const Report& report = *node.report;
    const ReadyState& ready = *report.ready;
    if (report.head != c_.head || report.h_head != c_.h_head || ready.step != c_.head || !ready.finite) return false;
    if (gone_.contains(ready.contribution) && !ready.segments.empty()) return false;
    auto excluded = excluded_.find(node.row.node);
    if (excluded != excluded_.end() && excluded->second == c_.head) return false;
    if (ready.segments.size() > kMaxSegments) return false;
    std::uint64_t positions = 0;
    std::set<LeaseId> seen;
    for (const Segment& s : ready.segments) {
        if (!c_.ledger.fits(node.row.node, s) || !seen.insert(s.lease).second) return false;
        positions += s.to - s.from;
    }
    return ready.weight_tokens == positions * c_.manifest.sequence_tokens;
}

std::vector<NodeId> StepMachine::ready_nodes() const {
    std::vector<NodeId> ready;
    for (const auto& [id, node] : c_.nodes)
        if (is_ready(node)) ready.push_back(id);
    return ready;
}

void StepMachine::collect() {
    std::size_t here = 0;
    for (const auto& [id, node] : c_.nodes)
        if (c_.here(node)) ++here;
    if (here < c_.manifest.min_nodes) {
        c_.round_running = false;
        c_.hold_reason = std::to_string(here) + " of at least " + std::to_string(c_.manifest.min_nodes) +
                         " nodes are here";
        return;
    }
    if (!c_.round_running) {
        c_.round_running = true;
        timed_.clear();
        c_.begin_round();
    }
    if (!c_.tied.empty()) {
        c_.hold_reason = "the states of " + c_.label(c_.tied.front()) + " and " + c_.label(c_.tied.back()) +
                         " differ, and both were loaded again: revoke one of them";
        return;
    }
    const auto ready = ready_nodes();
    if (may_close(ready)) {
        if (auto plan = make_plan()) return open_plan(std::move(*plan));
    }
    if (c_.now < deadline()) return;
    c_.hold_reason = "the round is over, " + std::to_string(ready.size()) + " of " +
                     std::to_string(c_.current_count()) + " nodes are ready";
}

bool StepMachine::may_close(const std::vector<NodeId>& ready) const {
    if (ready.size() < c_.manifest.min_nodes) return false;
    std::size_t wanted = 0;
    bool all = true;
    for (const auto& [id, node] : c_.nodes) {
        if (!node.current() || (node.report && node.report->paused && !is_ready(node))) continue;
        ++wanted;
        if (!c_.silent(node) && !is_ready(node)) all = false;
    }
    return all || (c_.now >= deadline() && 3 * ready.size() >= 2 * wanted);
}

// ------------------------------------------------------------------------------------------------ plan

std::optional<Plan> StepMachine::make_plan() const {
    auto compose = [&](const std::vector<NodeId>& ready) -> std::optional<Plan> {
        if (ready.size() < c_.manifest.min_nodes) return {};
        Plan plan;
        plan.run = c_.manifest.run;
        plan.step = c_.head;
        plan.term = c_.term;
        plan.attempt = c_.last_attempt.next();
        plan.epoch = c_.meta.epoch;
        plan.elements = c_.manifest.elements;
        plan.outer = c_.outer;
        plan.members = ready;
        plan.durable_copies = std::min(c_.manifest.durable_copies, static_cast<std::uint32_t>(ready.size()));
        for (const NodeId& id : ready) {
            const Node& node = c_.nodes.at(id);
            const ReadyState& r = *node.report->ready;
            if (r.segments.empty()) continue;
            plan.participants.push_back({id, node.row.incarnation, r.contribution, r.weight_tokens, r.segments});
        }
        if (plan.participants.empty()) return {};
        const PieceGrid grid{c_.manifest.elements, c_.manifest.piece_elements};
        plan.piece_owner = equal_owners(grid.count(), choose_owners(plan));
        return plan;
    };
    const auto ready = ready_nodes();
    const auto reached = drop_cut_off(ready);
    if (hang_together(reached))
        if (auto plan = compose(reached)) return plan;
    return compose(ready);
}

void StepMachine::open_plan(Plan plan) {
    SKERRY_ASSERT(!c_.open && plan.step == c_.head && plan.attempt > c_.last_attempt);  // I1
    for (const Participant& p : plan.participants)
        for (const Segment& s : p.segments) SKERRY_ASSERT(c_.ledger.fits(p.node, s));  // I6
    OpenPlan open;
    open.row.step = plan.step;
    open.row.term = plan.term;
    open.row.attempt = plan.attempt;
    open.row.epoch = plan.epoch;
    open.row.body = to_bytes(plan);
    open.row.digest = body_digest(open.row.body);
    open.opened = open.grew = c_.now;
    open.patience = patience_of(plan);
    c_.last_attempt = plan.attempt;
    c_.note(false, "plan", {{"step", std::to_string(plan.step.value)},
                            {"attempt", std::to_string(plan.attempt.value)},
                            {"participants", std::to_string(plan.participants.size())},
                            {"members", std::to_string(plan.members.size())},
                            {"digest", open.row.digest.short_hex()}});
    open.plan = std::move(plan);
    c_.step_members.insert(open.plan.members.begin(), open.plan.members.end());
    c_.ops.push_back(op::PutPlan{open.row});
    c_.open = std::move(open);
    c_.all_dirty = true;
}

// ------------------------------------------------------------------------------------- Reports, evidence

void StepMachine::report(const Node& node, const Report& report) {
    const NodeId& id = node.row.node;
    made_again(id, report);
    if (!c_.open || !(c_.open->is_member(id) || c_.open->row.must_end_decided)) return;
    OpenPlan& open = *c_.open;
    if (report.ready && report.ready->step == c_.head) {
        // It froze another one since: it cannot give what the plan binds. Having nothing to add says nothing of that: a
        // process that just started has no delta, but the contribution of the one before it.
        const Participant* p = open.participant(id);
        const Digest& frozen = report.ready->contribution;
        if (p && !frozen.is_zero() && p->contribution != frozen) lose(*p);
    }
    if (report.exchange && report.exchange->plan == open.row.digest) {
        const ExchangeState& x = *report.exchange;
        const std::uint64_t have = std::uint64_t{x.contributions_have} + x.results_have;
        if (have > open.have[id]) {
            open.have[id] = have;
            open.grew = c_.now;
        }
        time_exchange(id, report);
        for (const NodeId& maker : x.gone)
            if (const Participant* p = open.participant(maker)) lose(*p);
        for (const StalledEdge& edge : x.stalled) {
            const Node* other = c_.find(edge.from);
            if (other && !c_.silent(*other) && edge.from != id) note_edge(id, edge.from);
        }
    }
    Node* mine = c_.find(id);
    if (!report.prepared || report.prepared->plan != open.row.digest) return;
    if (mine->checked_vote && mine->checked_vote->first == *report.prepared) return;
    const bool fits = open.plan.kind == EntryKind::commit || report.prepared->root.is_zero();
    const bool valid = fits && c_.signing.verify_vote(node.row.key, h_for(report.prepared->root), report.prepared->signature);
    mine->checked_vote.emplace(*report.prepared, valid);
    if (valid) open.voted.try_emplace(id, c_.now);
    else c_.note(true, "bad_vote", {{"peer", id.short_hex()}});
}

/// A process that lost its contribution may train it again, bit for bit. With no plan open, what its maker says now
/// holds. While one is open its word counts once it was unsaid: until then it may not know yet what it lost.
void StepMachine::made_again(const NodeId& maker, const Report& report) {
    const bool ready = report.ready && report.ready->step == c_.head;
    const bool says_lost = report.exchange && std::count(report.exchange->gone.begin(), report.exchange->gone.end(), maker) > 0;
    for (auto at = gone_.begin(); at != gone_.end();) {
        auto& [id, gone] = *at;
        const bool said = ready && report.ready->contribution == id;
        const bool again = gone.maker == maker && said && !says_lost && (gone.unsaid || !c_.open);
        if (gone.maker == maker && !said) gone.unsaid = true;
        at = again ? gone_.erase(at) : std::next(at);
    }
}

const PreparedState* StepMachine::vote_of(const NodeId& id) const {
    const Node* node = c_.find(id);
    if (!c_.open || !node || !node->report || !node->report->prepared || !node->checked_vote) return nullptr;
    const PreparedState& vote = *node->report->prepared;
    const bool counts = vote.plan == c_.open->row.digest && node->checked_vote->first == vote &&
                        node->checked_vote->second && node->row.state != NodeState::revoked;
    return counts ? &vote : nullptr;
}

// --------------------------------------------------------------------------------------------- exchange

StepMachine::Votes StepMachine::count_votes() {
    Votes votes;
    if (c_.open->row.must_end_decided) {
        // Members may be gone for good: whoever has copied the entry counts.
        for (const auto& [id, node] : c_.nodes) {
            const PreparedState* vote = c_.open->is_member(id) ? nullptr : vote_of(id);
            if (!vote) continue;
            votes.voters.push_back(id);
            votes.durable[vote->root] += vote->durable ? 1 : 0;
        }
    }
    for (const NodeId& id : c_.open->plan.members) {
        const PreparedState* vote = vote_of(id);
        if (!vote) {
            votes.missing.push_back(id);
            continue;
        }
        votes.voters.push_back(id);
        votes.durable[vote->root] += vote->durable ? 1 : 0;
    }
    return votes;
}

void StepMachine::exchange() {
    OpenPlan& open = *c_.open;
    for (const NodeId& id : open.plan.members)
        if (const Node* node = c_.find(id); node && c_.silent(*node)) node_restarted(id);
    const Votes votes = count_votes();
    const std::string lost = lost_cause();
    const bool fit = open.row.must_end_decided || lost.empty() || lost == "lost";
    if (fit && may_commit(votes)) return decide(votes.durable.begin()->first, votes);
    if (!lost.empty()) return replace(lost == "lost" ? "a contribution is lost" : lost, true);

    if (votes.durable.size() > 1) {
        if (!open.disagree_since) open.disagree_since = c_.now;
        if (c_.now - *open.disagree_since < kBlameWait) return;
        single_owner_ = true;
        return replace("two results were voted", false);
    }
    if (votes.missing.empty()) {
        c_.hold_reason = "all members voted, but fewer than " + std::to_string(open.plan.durable_copies) +
                         " could write the entry to disk";
        return;
    }
    if (blocked_by_silence(votes)) return replace(silent_of(votes.missing), member_gone());
    if (c_.now < deadline()) return;
    // What an operator asked for does not hold the run up for ever.
    if (open.plan.kind != EntryKind::commit && !open.row.must_end_decided)
        return end_plan(PlanEnd::withdrawn, "too few nodes voted for it in time");
    replace("the exchange took too long", member_gone());
}

std::string StepMachine::lost_cause() const {
    const Plan& plan = c_.open->plan;
    for (const NodeId& id : plan.members) {
        const Node* node = c_.find(id);
        SKERRY_ASSERT(node);
        if (node->row.state == NodeState::revoked) return c_.label(id) + " was revoked";
        const bool doubtful = node->row.state == NodeState::joining && node->row.diverged > 0;
        if (doubtful && c_.open->participant(id)) return "the state of " + c_.label(id) + " diverged";
        auto excluded = excluded_.find(id);
        if (excluded != excluded_.end() && excluded->second == c_.head) return c_.label(id) + " gave two results";
    }
    for (const Participant& p : plan.participants)
        if (lost_contribution(p)) return "lost";
    return {};
}

bool StepMachine::member_gone() const {
    const auto& members = c_.open->plan.members;
    return std::any_of(members.begin(), members.end(), [&](const NodeId& id) { return !c_.nodes.at(id).current(); });
}

std::string StepMachine::silent_of(const std::vector<NodeId>& missing) const {
    std::string names;
    std::size_t count = 0;
    for (const NodeId& id : missing) {
        if (c_.here(c_.nodes.at(id))) continue;
        if (count++ < kNamed) names += (names.empty() ? "" : ", ") + c_.label(id);
    }
    if (count > kNamed) names += " and " + std::to_string(count - kNamed) + " more";
    return names + (count > 1 ? " are silent" : " is silent");
}

bool StepMachine::blocked_by_silence(const Votes& votes) const {
    bool silent_missing = false;
    std::uint32_t possible = 0;  // durable votes that are there or may still come
    bool somebody_has_all = false;
    // A change is voted on by joining nodes, too: they hold what it is about.
    const bool change = c_.open->plan.kind != EntryKind::commit;
    for (const NodeId& id : c_.open->plan.members) {
        const Node& node = c_.nodes.at(id);
        const bool here = !c_.silent(node) && (node.current() || (change && node.row.state == NodeState::joining));
        const PreparedState* vote = vote_of(id);
        if (vote && here) somebody_has_all = true;
        if (vote ? vote->durable : (here && !(node.report && node.report->disk_full))) ++possible;
        // A broken connection is often a new one within a moment.
        if (!vote && !here && c_.now - node.lost >= kStillWait) silent_missing = true;
    }
    if (!silent_missing || votes.missing.empty()) return false;
    if (possible < c_.open->plan.durable_copies) return true;
    return !somebody_has_all && c_.now - c_.open->grew >= kStillWait;
}

bool StepMachine::may_commit(const Votes& votes) {
    OpenPlan& open = *c_.open;
    if (votes.durable.size() != 1 || votes.durable.begin()->second < open.plan.durable_copies) {
        open.quorum_since.reset();
        return false;
    }
    if (!open.quorum_since) open.quorum_since = c_.now;
    const bool nobody_to_wait_for = std::none_of(votes.missing.begin(), votes.missing.end(), [&](const NodeId& id) {
        return c_.here(c_.nodes.at(id)) && c_.now - *open.quorum_since < deadlines_.votes(id);
    });
    return nobody_to_wait_for || !lost_cause().empty();
}

std::optional<Plan> StepMachine::next_plan() const {
    const Plan& plan = c_.open->plan;
    return plan.kind == EntryKind::commit ? make_plan() : change_plan(plan.kind, plan.rollback_to, plan.outer);
}

void StepMachine::replace(const std::string& reason, bool withdraw_if_impossible) {
    if (c_.open->row.must_end_decided) {
        c_.hold_reason = reason + "; the plan was found at the rebuild and may have been decided: only its members can end it";
        return;
    }
    auto next = next_plan();
    // What an operator asked for and nobody can vote for now, can be asked for again.
    if (!next && c_.open->plan.kind != EntryKind::commit) withdraw_if_impossible = true;
    if (!next && !withdraw_if_impossible) {
        c_.hold_reason = reason + "; no other plan is possible";
        return;
    }
    const Plan old = c_.open->plan;
    end_plan(next ? PlanEnd::superseded : PlanEnd::withdrawn, reason);
    if (next) open_plan(std::move(*next));
    free_ended(old);
}

void StepMachine::end_plan(PlanEnd end, const std::string& reason) {
    c_.ops.push_back(op::EndPlan{c_.open->row.digest, end, reason});
    if (end == PlanEnd::superseded) ++c_.superseded;
    if (end == PlanEnd::withdrawn) ++c_.withdrawn;
    if (end != PlanEnd::decided)
        c_.note(true, end == PlanEnd::superseded ? "superseded" : "withdrawn",
                {{"step", std::to_string(c_.head.value)}, {"reason", reason}});
    c_.open.reset();
    c_.all_dirty = true;
}

void StepMachine::free_ended(const Plan& plan) {
    const bool stopped = c_.meta.run_state == RunState::stopped;
    for (const Participant& p : plan.participants)
        if (stopped || !c_.nodes.at(p.node).current()) c_.release_leases(p.node);
}

}  // namespace skerry::coordinator
