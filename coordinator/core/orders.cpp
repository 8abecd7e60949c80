#include "coordinator/core/orders.hpp"

#include <algorithm>

#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {

constexpr std::size_t kMaxHolders = 64;
constexpr std::size_t kMaxWaiting = 16;
constexpr Millis kRosterAgain{3000};

std::uint64_t ms_between(Mono from, Mono to) {
    return to > from ? static_cast<std::uint64_t>((to - from).count()) : 0;
}

std::string seconds(std::uint64_t ms) { return std::to_string((ms + 999) / 1000) + " s"; }

}  // namespace

void OrdersDesk::refresh_phases() {
    for (auto& [id, node] : c_.nodes) {
        std::string phase = phase_of(node);
        if (phase == node.phase) continue;
        node.phase = std::move(phase);
        node.phase_since = c_.now;
    }
    const char* now = phase();
    if (run_phase_ == now) return;
    run_phase_ = now;
    run_phase_since_ = c_.now;
}

void OrdersDesk::flush() {
    for (auto& [id, session] : c_.sessions) {
        Node* node = c_.find(session.node);
        if (!node) continue;
        if (!c_.all_dirty && !session.dirty && c_.now - session.orders_at < c_.config.heartbeat) continue;
        session.dirty = false;
        session.orders_at = c_.now;
        c_.send(id, make(*node, session));
    }
    c_.all_dirty = false;
}

Orders OrdersDesk::make(Node& node, Session& session) const {
    Orders o;
    o.run_state = c_.meta.run_state;
    o.head = c_.head;
    o.h_head = c_.h_head;
    o.tokens_committed = c_.tokens_committed;
    o.epoch = c_.meta.epoch;
    const bool stale = node.report && node.report->epoch < c_.meta.epoch;
    const bool again = stale && c_.now - session.roster_sent_at >= kRosterAgain;
    if (session.roster_sent < c_.meta.epoch || again) {
        o.roster = c_.roster;
        session.roster_sent = c_.meta.epoch;
        session.roster_sent_at = c_.now;
    }
    if (c_.open && !node.following()) {
        o.plan = PlanRef{c_.open->row.digest, {}};
        if (session.plan_sent != c_.open->row.digest) o.plan->body = c_.open->row.body;
        session.plan_sent = c_.open->row.digest;
    }
    o.leases = leases_of(node.row.node);
    o.planned_participants = c_.planned_participants;
    o.round_remaining_ms = round_remaining_ms();
    o.edge_patience_ms = static_cast<std::uint64_t>(steps_.attempt_patience().count()) / 4;
    o.floor = c_.floor;
    o.data_ended = c_.ledger.available() == 0 && c_.ledger.leased() == 0;
    o.requests = requests_for(node);
    const bool fetches = node.known_head < c_.head || node.row.state == NodeState::joining || !o.requests.empty();
    if (fetches) {
        o.holders = holders(node);
        o.digests = snapshot_digests(o.holders);
    }
    o.dial = dial_list(node);
    o.waiting_for = waiting_for();
    o.hold_reason = c_.hold_reason;
    o.next = next_text();
    if (!c_.recent.empty() && node.known_head.next() == c_.head) o.decisions.push_back(c_.recent.back().record);
    o.contribution = contribution_of(node);
    return o;
}

std::vector<LeaseInfo> OrdersDesk::leases_of(const NodeId& node) const {
    std::vector<LeaseInfo> out;
    for (LeaseId id : c_.ledger.held_by(node)) {
        const LeaseRow& lease = *c_.ledger.find(id);
        out.push_back({id, lease.lo, lease.hi, lease.done, c_.pinned(id)});
    }
    return out;
}

std::vector<OrderRequest> OrdersDesk::requests_for(const Node& node) const {
    std::vector<OrderRequest> out;
    if (node.reload && !node.reload->cleared) out.push_back({Ask::reload_state, node.reload->from});
    if (!node.report) return out;
    if (owes_snapshot(node) && node.report->head == c_.head) out.push_back({Ask::write_snapshot, c_.head});
    return out;
}

/// Followers give to followers, too: nobody who trains waits for one.
std::vector<Holder> OrdersDesk::holders(const Node& asker) const {
    std::vector<Holder> out;
    auto add = [&](NodeState state) {
        for (const auto& [id, node] : c_.nodes) {
            if (id == asker.row.node || node.row.state != state || !node.report || c_.silent(node)) continue;
            if (out.size() == kMaxHolders) return;
            out.push_back({id, node.report->oldest_entry, node.report->head, node.report->snapshots});
        }
    };
    add(NodeState::current);
    if (asker.following()) add(NodeState::following);
    return out;
}

std::vector<StateDigest> OrdersDesk::snapshot_digests(const std::vector<Holder>& holders) const {
    std::set<Step> steps;
    for (const Holder& holder : holders) steps.insert(holder.snapshots.begin(), holder.snapshots.end());
    std::vector<StateDigest> out;
    for (auto step = steps.rbegin(); step != steps.rend() && out.size() < kMaxSnapshotsPerReport; ++step)
        if (auto value = membership_.agreed(*step); value && !c_.undone(*step)) out.push_back({*step, value->first});
    return out;
}

std::vector<NodeId> OrdersDesk::dial_list(const Node& node) const {
    std::vector<NodeId> out;
    if (node.row.reachable) return out;
    for (const auto& [id, other] : c_.nodes) {
        const bool listed = other.current() || other.following() || other.row.state == NodeState::joining;
        if (id != node.row.node && listed && other.row.reachable) out.push_back(id);
    }
    return out;
}

std::uint64_t OrdersDesk::round_remaining_ms() const {
    if (c_.meta.run_state != RunState::running) return static_cast<std::uint64_t>(c_.manifest.round_ms);
    return ms_between(c_.now, c_.round_started + c_.round_length());
}

std::string OrdersDesk::phase_of(const Node& node) const {
    switch (node.row.state) {
        case NodeState::away: return "away";
        case NodeState::left: return "left";
        case NodeState::revoked: return "revoked";
        default: break;
    }
    if (c_.silent(node)) return "silent";
    if (!node.report) return "connecting";
    const Report& r = *node.report;
    if (node.reload && !node.reload->cleared) return "reload state";
    if (node.row.state == NodeState::joining) return "catch up";
    if (node.following()) return r.head < c_.head ? "catch up" : "follow";
    if (r.head < c_.head) return "apply";
    if (c_.open && c_.open->is_member(node.row.node)) {
        if (steps_.vote_of(node.row.node)) return "voted";
        return r.exchange && r.exchange->results_need > 0 && r.exchange->results_have == r.exchange->results_need
                   ? "write"
                   : "exchange";
    }
    if (steps_.is_ready(node)) return "ready";
    if (c_.meta.run_state == RunState::stopped) return owes_snapshot(node) ? "write snapshot" : "done";
    if (r.trainer == TrainerPhase::training) return "train";
    if (r.paused) return "paused";
    if (c_.meta.run_state != RunState::running) return "idle";
    switch (r.trainer) {
        case TrainerPhase::starting: return "trainer starts";
        case TrainerPhase::failed: return "trainer failed";
        case TrainerPhase::waiting: return "encode";
        case TrainerPhase::stopped: return "wait for data";
        default: return "train";
    }
}

const char* OrdersDesk::phase() const {
    if (c_.config.restored || !c_.behind.empty()) return "behind";
    static constexpr const char* kStates[] = {"", "created", "running", "paused", "stopped"};
    if (c_.meta.run_state != RunState::running && !c_.open) return kStates[static_cast<int>(c_.meta.run_state)];
    if (!c_.hold_reason.empty()) return "hold";
    return c_.open ? "open" : "collect";
}

/// After the end of the run every node keeps its last state.
bool OrdersDesk::owes_snapshot(const Node& node) const {
    if (!node.report || c_.meta.run_state != RunState::stopped || c_.open || c_.head.value == 0) return false;
    const auto& snapshots = node.report->snapshots;
    return std::find(snapshots.begin(), snapshots.end(), c_.head) == snapshots.end();
}

bool OrdersDesk::blocks(const Node& node) const {
    const NodeId& id = node.row.node;
    if (c_.open) return c_.open->is_member(id) && !steps_.vote_of(id);
    if (c_.meta.run_state == RunState::stopped) return c_.here(node) && owes_snapshot(node);
    if (c_.meta.run_state != RunState::running) return false;
    // Too few nodes: whoever may still come is waited for.
    const bool may_come = node.row.state == NodeState::joining || node.row.state == NodeState::away;
    if (!c_.round_running && may_come) return true;
    return node.current() && !steps_.is_ready(node);
}

std::vector<WaitingFor> OrdersDesk::waiting_for() const {
    std::vector<WaitingFor> out;
    if (!c_.behind.empty()) return out;
    for (const auto& [id, node] : c_.nodes) {
        if (!blocks(node) || out.size() == kMaxWaiting) continue;
        out.push_back({id, node.phase, ms_between(node.phase_since, c_.now)});
    }
    return out;
}

std::string OrdersDesk::next_text() const {
    const std::string step = std::to_string(c_.head.value);
    if (c_.config.restored) return "nothing, until the database is rebuilt";
    if (!c_.behind.empty()) return "nothing, until the database is rebuilt or that node is revoked";
    if (c_.open) {
        const std::string tail = c_.meta.run_state == RunState::running ? "" : ", then the run stands still";
        return next_of_plan(step) + tail;
    }
    switch (c_.meta.run_state) {
        case RunState::created: return "nothing, until the run is started: skerry run start " + c_.manifest.name;
        case RunState::paused: return "nothing, until the run goes on: skerry run start " + c_.manifest.name;
        case RunState::stopped: return "nothing: the run has ended: " + c_.meta.end_reason;
        default: break;
    }
    if (!c_.round_running) return "the round begins when enough nodes are here";
    if (!c_.tied.empty()) return "step " + step + " goes on when one of the two is revoked or agrees";
    const auto left = ms_between(c_.now, steps_.deadline());
    if (left > 0) return "step " + step + " closes when all are ready, or with two thirds of them in " + seconds(left);
    return "step " + step + " closes as soon as two thirds are ready";
}

std::string OrdersDesk::next_of_plan(const std::string& step) const {
    const auto left = ms_between(c_.now, steps_.deadline());
    const std::string attempt = std::to_string(c_.open->row.attempt.value);
    if (c_.hold_reason.empty())
        return "step " + step + " is decided when its members have voted; attempt " + attempt +
               " is replaced if it is not done in " + seconds(left);
    return "step " + step + " goes on when a missing member returns or another plan is possible";
}

std::optional<Contribution> OrdersDesk::contribution_of(const Node& node) const {
    const NodeRow& row = node.row;
    if (node.following() && row.credited_tokens == 0) return std::nullopt;
    Contribution out;
    out.tokens = row.credited_tokens;
    out.steps = row.given.steps;
    out.steps_here = row.given.steps_here;
    out.active_ms = row.given.active_ms;
    out.since_unix_s = row.given.since_unix_s;
    out.sent_bytes = row.given.sent_before + (node.report ? node.report->sent_bytes : row.given.sent);
    out.received_bytes = row.given.received_before + (node.report ? node.report->received_bytes : row.given.received);
    std::uint32_t above = 0;
    for (const auto& [id, other] : c_.nodes) {
        out.tokens_of_all += other.row.credited_tokens;
        out.ranked += other.row.credited_tokens > 0;
        above += other.row.credited_tokens > row.credited_tokens;
    }
    if (out.tokens > 0) out.rank = above + 1;
    return out;
}

// ---------------------------------------------------------------------------------------------- status

NodeStatus OrdersDesk::status_of(const Node& node) const {
    NodeStatus s;
    s.node = node.row.node;
    s.name = node.row.name;
    s.site = node.row.site;
    s.state = node.leaving ? NodeState::leaving : node.row.state;
    s.reason = node.row.reason;
    s.connected = node.session.has_value();
    s.silent = c_.silent(node);
    s.leaving = node.leaving;
    s.ready = steps_.is_ready(node);
    s.voted = steps_.vote_of(node.row.node) != nullptr;
    s.reachable = node.row.reachable;
    s.incarnation = node.row.incarnation;
    s.phase = node.phase;
    s.phase_ms = ms_between(node.phase_since, c_.now);
    s.heard_ms = ms_between(node.heard, c_.now);
    s.head = node.known_head;
    s.credited_tokens = node.row.credited_tokens;
    s.contribution = contribution_of(node);
    for (LeaseId id : c_.ledger.held_by(node.row.node)) {
        const LeaseRow& lease = *c_.ledger.find(id);
        s.leased_sequences += lease.hi - lease.done;
    }
    s.collect = steps_.estimate(StepPhase::collect, node.row.node);
    s.exchange = steps_.estimate(StepPhase::exchange, node.row.node);
    s.votes = steps_.estimate(StepPhase::votes, node.row.node);
    if (!node.report) return s;
    const Report& r = *node.report;
    s.paused = r.paused;
    s.disk_full = r.disk_full;
    s.trainer = r.trainer;
    s.inner_step = r.inner_step;
    s.tokens_per_s = r.tokens_per_s;
    s.loss = r.loss;
    s.sent_bytes = r.sent_bytes;
    s.received_bytes = r.received_bytes;
    s.snapshots = r.snapshots;
    s.unreachable = r.unreachable;
    s.machine = r.machine;
    return s;
}

RunStatus OrdersDesk::status(Mono now) const {
    c_.now = std::max(c_.now, now);
    RunStatus s;
    s.run = c_.manifest.run;
    s.name = c_.manifest.name;
    s.run_state = c_.meta.run_state;
    s.end_reason = c_.meta.end_reason;
    s.term = c_.term;
    s.epoch = c_.meta.epoch;
    s.head = c_.head;
    s.h_head = c_.h_head;
    s.phase = phase();
    s.phase_ms = s.phase == run_phase_ ? ms_between(run_phase_since_, c_.now) : 0;
    if (c_.open) {
        s.attempt = c_.open->row.attempt;
        s.participants = static_cast<std::uint32_t>(c_.open->plan.participants.size());
        s.members = static_cast<std::uint32_t>(c_.open->plan.members.size());
    }
    s.tokens_committed = c_.tokens_committed;
    s.parent_run = c_.manifest.parent_run;
    s.parent_step = c_.manifest.parent_step;
    s.parent_h = c_.manifest.parent_h;
    s.target_tokens = c_.manifest.target_tokens;
    s.elements = c_.manifest.elements;
    if (c_.committed_at.size() >= 2) {
        const auto& [t0, n0] = c_.committed_at.front();
        const auto& [t1, n1] = c_.committed_at.back();
        if (t1 > t0) s.tokens_per_s = 1000.0 * static_cast<double>(n1 - n0) / static_cast<double>((t1 - t0).count());
    }
    s.loss = c_.last_loss;
    s.round_remaining_ms = round_remaining_ms();
    s.round_ms = ms_between(c_.round_started, c_.now);
    if (c_.open || c_.round_running) s.deadline_remaining_ms = ms_between(c_.now, steps_.deadline());
    s.exchange_prediction = steps_.exchange_prediction();
    if (c_.open) s.attempt_deadline = steps_.attempt_patience();
    s.patience_ms = static_cast<std::uint64_t>(
        (c_.round_length() * (100 + c_.config.grace_percent) / 100 + steps_.attempt_patience()).count());
    s.min_nodes = c_.manifest.min_nodes;
    s.durable_copies = c_.manifest.durable_copies;
    s.hold_reason = c_.hold_reason;
    s.next = next_text();
    s.waiting_for = waiting_for();
    for (const auto& [id, node] : c_.nodes) {
        s.nodes.push_back(status_of(node));
        if (!node.report || !node.report->heldout_loss) continue;
        if (s.heldout_loss && node.report->heldout_step <= s.heldout_step) continue;
        s.heldout_loss = node.report->heldout_loss;
        s.heldout_step = node.report->heldout_step;
    }
    s.floor = c_.floor;
    s.outer = c_.outer;
    if (!c_.rollbacks.empty()) s.rolled_back = c_.rollbacks.back();
    for (auto at = c_.digests.rbegin(); at != c_.digests.rend() && !s.agreed; ++at) {
        if (auto value = membership_.agreed(at->first)) {
            s.agreed = StateDigest{at->first, value->first};
            s.agreed_by = value->second;
        }
    }
    s.free_sequences = c_.ledger.available();
    s.leased_sequences = c_.ledger.leased();
    s.dropped_messages = c_.dropped;
    s.superseded = c_.superseded;
    s.withdrawn = c_.withdrawn;
    return s;
}

}  // namespace skerry::coordinator
