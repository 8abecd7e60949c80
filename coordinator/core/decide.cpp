// The end of a step: the decision with everything that belongs to it; and the run's own states.

#include <algorithm>

#include "coordinator/core/step_machine.hpp"
#include "protocol/base/assert.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/chunk_codec.hpp"

namespace skerry::coordinator {

namespace {
constexpr std::size_t kRecentDecisions = kImageDecisions;
constexpr std::size_t kRateRounds = 16;
}  // namespace

std::uint64_t StepMachine::tokens_after(const Plan& plan) const {
    std::uint64_t tokens = c_.tokens_committed;
    if (is_rollback(plan.kind)) {
        const auto then = c_.tokens_at(plan.rollback_to);
        SKERRY_ASSERT(then.has_value());
        tokens = *then;
    }
    for (const Participant& p : plan.participants) tokens += p.weight_tokens;
    return tokens;
}

Digest StepMachine::h_for(const Digest& root) const {
    const Digest roots[] = {root};
    return chain_next(c_.h_head, c_.head, c_.open->plan.kind, c_.open->row.digest, roots, tokens_after(c_.open->plan));
}

Decision StepMachine::make_decision(const Digest& root) const {
    const Plan& plan = c_.open->plan;
    Decision d;
    d.run = plan.run;
    d.step = plan.step;
    d.kind = plan.kind;
    d.term = plan.term;
    d.attempt = plan.attempt;
    d.plan_digest = c_.open->row.digest;
    d.roots = {root};
    d.fragment = plan.fragment;
    d.outer = plan.outer;
    d.rollback_to = plan.rollback_to;
    for (const Participant& p : plan.participants)
        d.credits.push_back({p.node, p.contribution, p.weight_tokens, p.segments});
    d.tokens_after = tokens_after(plan);
    d.h_after = h_for(root);
    return d;
}

void StepMachine::decide(const Digest& root, const Votes& votes) {
    const Plan plan = c_.open->plan;
    SKERRY_ASSERT(plan.step == c_.head && c_.open->row.attempt == c_.last_attempt);  // I1
    const Decision decision = make_decision(root);

    DecisionRow row;
    row.step = decision.step;
    row.kind = decision.kind;
    row.term = decision.term;
    row.attempt = decision.attempt;
    row.plan_digest = decision.plan_digest;
    row.tokens_after = decision.tokens_after;
    row.h_after = decision.h_after;
    row.record.decision.body = to_bytes(decision);
    row.record.decision.signature = c_.signing.sign(row.record.decision.body);
    for (const NodeId& id : votes.voters)
        row.record.voters.push_back({id, c_.nodes.at(id).row.key, vote_of(id)->signature});
    c_.ops.push_back(op::PutDecision{row});

    double loss = 0;
    double weight = 0;
    for (const Participant& p : plan.participants) {
        const Node& node = c_.nodes.at(p.node);
        if (!node.report || !node.report->ready || node.report->ready->contribution != p.contribution) continue;
        loss += node.report->ready->loss * static_cast<double>(p.weight_tokens);
        weight += static_cast<double>(p.weight_tokens);
    }
    if (weight > 0) c_.last_loss = loss / weight;

    credit(plan);
    time_decision();
    if (is_rollback(plan.kind)) undo_credits(plan);
    if (plan.kind != EntryKind::commit && !c_.first_change) c_.first_change = plan.step;
    c_.outer = plan.outer;
    if (plan.kind == EntryKind::loss_accepted) c_.meta.loss_to_record = false;
    end_plan(PlanEnd::decided, "");
    c_.head = c_.head.next();
    c_.h_head = decision.h_after;
    c_.tokens_committed = decision.tokens_after;
    c_.last_attempt = {};
    for (const NodeId& id : std::exchange(c_.step_members, {}))
        c_.roster_changed = c_.roster_changed || c_.nodes.at(id).row.state == NodeState::away;
    c_.note(false, "decided", {{"step", std::to_string(row.step.value)}, {"root", root.short_hex()},
                               {"tokens", std::to_string(row.tokens_after)},
                               {"voters", std::to_string(votes.voters.size())}});
    c_.recent.push_back(std::move(row));
    while (c_.recent.size() > kRecentDecisions) c_.recent.pop_front();
    after_decision();
    free_ended(plan);
    c_.ledger.check();  // I8
    const std::uint64_t live = c_.ledger.credited() - c_.meta.void_sequences;
    SKERRY_ASSERT(live * c_.manifest.sequence_tokens == c_.tokens_committed);  // I7
}

/// Who was here for the step, with what it has sent so far: kept with the decision, so it costs no transaction.
void StepMachine::count_presence(const Plan& plan) {
    const auto took = static_cast<std::uint64_t>(std::max(Millis(0), std::chrono::duration_cast<Millis>(c_.now - c_.round_started)).count());
    for (auto& [id, node] : c_.nodes) {
        const bool gave = std::any_of(plan.participants.begin(), plan.participants.end(), [&](const Participant& p) { return p.node == id; });
        if (!gave && !c_.here(node)) continue;
        Given& given = node.row.given;
        given.steps += gave;
        ++given.steps_here;
        given.active_ms += took;
        if (node.report) {
            given.sent = node.report->sent_bytes;
            given.received = node.report->received_bytes;
        }
        c_.save(node);
    }
}

void StepMachine::credit(const Plan& plan) {
    if (!plan.participants.empty()) count_presence(plan);
    for (const Participant& p : plan.participants) {
        for (const Segment& s : p.segments) c_.ledger.credit(p.node, s, c_.ops);
        Node& node = c_.nodes.at(p.node);
        node.row.credited_tokens += p.weight_tokens;
        c_.save(node);
    }
}

void StepMachine::after_decision() {
    gone_.clear();
    excluded_.clear();
    single_owner_ = false;
    timed_.clear();
    first_round_ = false;
    std::erase_if(c_.digests, [&](const auto& d) { return !c_.keeps_digest(d.first); });
    std::erase_if(edges_, [&](const auto& e) { return e.second.step.next() < c_.head; });
    c_.committed_at.emplace_back(c_.now, c_.tokens_committed);
    if (c_.committed_at.size() > kRateRounds) c_.committed_at.pop_front();
    c_.begin_round();
    const bool reached = c_.manifest.target_tokens > 0 && c_.tokens_committed >= c_.manifest.target_tokens;
    if (reached) finish_run("the target of " + std::to_string(c_.manifest.target_tokens) + " tokens is reached");
}

void StepMachine::finish_run(std::string reason) {
    c_.meta.run_state = RunState::stopped;
    c_.meta.end_reason = std::move(reason);
    c_.all_dirty = true;
    for (const auto& [id, node] : c_.nodes) c_.release_leases(id);
    c_.note(false, "run_stopped", {{"reason", c_.meta.end_reason}, {"step", std::to_string(c_.head.value)}});
}

std::optional<Error> StepMachine::start_run() {
    if (c_.manifest.target_tokens > 0 && c_.tokens_committed >= c_.manifest.target_tokens)
        return Error{Errc::run_ended, "the run has reached its target of tokens", ""};
    if (c_.meta.run_state == RunState::running) return {};
    c_.meta.run_state = RunState::running;
    c_.meta.end_reason.clear();
    c_.begin_round();
    return {};
}

std::optional<Error> StepMachine::pause_run() {
    if (c_.meta.run_state == RunState::paused) return {};
    if (c_.meta.run_state != RunState::running) return Error{Errc::bad_state, "the run is not running", ""};
    c_.meta.run_state = RunState::paused;
    c_.all_dirty = true;
    return {};
}

std::optional<Error> StepMachine::stop_run(bool now) {
    if (c_.meta.run_state != RunState::stopped) finish_run("stopped by the operator");
    if (now && c_.open && !c_.open->row.must_end_decided) {
        const Plan old = c_.open->plan;
        end_plan(PlanEnd::withdrawn, "the run was stopped at once");
        free_ended(old);
    }
    return {};
}

void StepMachine::blame(const Node& from, const Blame& blame) {
    if (!c_.open || blame.plan != c_.open->row.digest || !c_.open->is_member(from.row.node)) return;
    const OpenPlan& open = *c_.open;
    const Node* accused = c_.find(blame.accused);
    if (!accused || blame.piece.value >= open.plan.piece_owner.size()) return;
    auto say = [&](const char* what) {
        c_.note(true, what, {{"peer", blame.accused.short_hex()}, {"by", from.row.node.short_hex()},
                             {"piece", std::to_string(blame.piece.value)}});
    };
    ByteReader in(blame.evidence);
    if (blame.kind == BlameKind::two_results) {
        const auto leaf_a = in.fixed<Digest>();
        const auto sign_a = in.fixed<Signature>();
        const auto leaf_b = in.fixed<Digest>();
        const auto sign_b = in.fixed<Signature>();
        const bool owns = open.plan.members[open.plan.piece_owner[blame.piece.value]] == blame.accused;
        if (in.ok() && in.at_end() && owns && leaf_a != leaf_b &&
            c_.signing.verify_result(accused->row.key, blame.plan, blame.piece, leaf_a, sign_a) &&
            c_.signing.verify_result(accused->row.key, blame.plan, blame.piece, leaf_b, sign_b)) {
            excluded_[blame.accused] = c_.head;
            say("two_results");
        }
        return;
    }
    const Participant* p = open.participant(blame.accused);
    if (!p) return;
    std::vector<Digest> proof(in.count(64));
    for (Digest& d : proof) d = in.fixed<Digest>();
    const ByteSpan chunk = in.bytes(in.remaining());
    const bool is_its = in.ok() && !chunk.empty() &&
                        verify_merkle_proof(p->contribution, merkle_leaf(chunk), blame.piece.value,
                                            open.plan.piece_owner.size(), proof);
    if (!is_its) {  // proves nothing against the maker: the way between the two is bad
        if (blame.accused != from.row.node) note_edge(from.row.node, blame.accused);
        return;
    }
    auto view = parse_chunk(chunk);
    const bool good = view && view->header.piece == blame.piece && check_finite(*view);
    if (good) return;
    lose(*p);
    say("bad_contribution");
}

}  // namespace skerry::coordinator
