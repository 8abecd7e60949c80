#include "coordinator/core/membership.hpp"

#include <algorithm>

#include "protocol/base/assert.hpp"

namespace skerry::coordinator {

void Membership::started() {
    for (auto& [id, node] : c_.nodes)
        if (node.row.state == NodeState::joining && node.row.reason == kDiverged)
            node.reload = Node::Reload{c_.head, false};
}

void Membership::report(Node& node, const Report& report) {
    if (report.head > c_.head) {  // Hello was not ahead, so it did not hear this from us
        c_.behind.insert(node.row.node);
        c_.note(true, "database_behind", {{"peer", node.row.node.short_hex()},
                                          {"its_head", std::to_string(report.head.value)},
                                          {"our_head", std::to_string(c_.head.value)}});
        return;
    }
    const bool first = !node.report.has_value();
    const bool moved = first || node.report->head != report.head || node.report->epoch != report.epoch;
    node.report = report;
    node.heard = c_.now;
    node.known_head = report.head;
    if (moved) c_.touch(node);
    if (node.following()) check_follower(node, report);
    else note_digests(node, report);
    if (node.row.state == NodeState::joining && caught_up(node)) {
        if (node.row.reason == kDiverged) c_.note(false, "agrees_again", {{"peer", node.row.node.short_hex()}});
        node.reload.reset();
        c_.set_state(node, NodeState::current, "");
    }
    update_floor();
}

bool Membership::caught_up(const Node& node) const {
    const Report& report = *node.report;
    if (c_.head.value - report.head.value > 1) return false;
    if (c_.h_at(report.head) != report.h_head) return false;
    if (node.row.reason != kDiverged) return true;
    // After a divergence its state must be seen to agree.
    if (node.reload && !node.reload->cleared) return false;
    return std::any_of(report.digests.begin(), report.digests.end(), [&](const StateDigest& d) {
        auto value = agreed(d.step);
        return value && value->first == d.value && (!node.reload || d.step >= node.reload->from);
    });
}

void Membership::note_digests(Node& node, const Report& report) {
    if (node.reload && report.digests.empty()) node.reload->cleared = true;
    for (const StateDigest& d : report.digests) {
        if (d.step > report.head || !c_.keeps_digest(d.step)) continue;
        if (node.reload && !node.reload->cleared) continue;
        auto& values = c_.digests[d.step];
        auto at = values.find(node.row.node);
        if (at != values.end() && at->second == d.value) continue;
        values[node.row.node] = d.value;
        c_.ops.push_back(op::PutDigest{{d.step, node.row.node, d.value}});
        compare_digests(d.step);
    }
}

/// Its word about states counts for nothing: it can only be found wrong, and then it loads its own again. One that is
/// wrong after that, too, is out.
void Membership::check_follower(Node& node, const Report& report) {
    if (node.reload && report.digests.empty()) node.reload->cleared = true;
    if (node.reload && !node.reload->cleared) return;
    for (const StateDigest& d : report.digests) {
        const auto value = agreed(d.step);
        if (!value || d.step > report.head) continue;
        if (value->first == d.value) {
            if (!node.reload || d.step < node.reload->from) continue;
            node.reload.reset();
            c_.touch(node);
            continue;
        }
        c_.note(true, "follower_differs", {{"peer", node.row.node.short_hex()}, {"step", std::to_string(d.step.value)}});
        if (node.reload) {
            (void)revoke(node.row.node, "its state differed from the others' at step " + std::to_string(d.step.value) + ", twice");
            return;
        }
        node.reload = Node::Reload{d.step, false};
        c_.touch(node);
        return;
    }
}

std::optional<std::pair<Digest, std::uint32_t>> Membership::agreed(Step step) const {
    auto at = c_.digests.find(step);
    if (at == c_.digests.end() || at->second.empty()) return {};
    std::map<Digest, std::uint32_t> counts;
    for (const auto& [id, value] : at->second) ++counts[value];
    auto best = std::max_element(counts.begin(), counts.end(),
                                 [](const auto& a, const auto& b) { return a.second < b.second; });
    const auto others = std::count_if(counts.begin(), counts.end(),
                                      [&](const auto& c) { return c.second == best->second; });
    if (others > 1) return {};
    const std::uint32_t enough = counts.size() == 1 ? c_.safe_copies() : std::max(2U, c_.safe_copies());
    if (best->second < enough) return {};
    return *best;
}

bool Membership::all_reported(Step step) const {
    const auto& values = c_.digests.at(step);
    return std::all_of(c_.nodes.begin(), c_.nodes.end(), [&](const auto& n) {
        return !n.second.current() || c_.silent(n.second) || values.contains(n.first);
    });
}

void Membership::compare_digests(Step step) {
    auto value = agreed(step);
    const auto reported = c_.digests[step];
    if (!value) {
        if (!all_reported(step)) return;  // a third may say who is right
        std::set<Digest> distinct;
        for (const auto& [id, digest] : reported) distinct.insert(digest);
        if (distinct.size() < 2) return;
        for (const auto& [id, digest] : reported) {
            Node* node = c_.find(id);
            if (!node || !node->current() || node->reload) continue;
            node->reload = Node::Reload{step, false};
            c_.note(true, "states_differ", {{"peer", id.short_hex()}, {"step", std::to_string(step.value)}});
            c_.touch(*node);
        }
        return;
    }
    for (const auto& [id, digest] : reported) {
        Node* node = c_.find(id);
        if (!node) continue;
        if (digest == value->first) {
            if (node->current()) node->reload.reset();
        } else {
            diverged(*node, step);
        }
    }
}

void Membership::diverged(Node& node, Step step) {
    const bool again = node.row.diverged > 0 && (node.current() || (node.reload && node.reload->cleared));
    if (!again && !node.current()) return;
    ++node.row.diverged;
    // What it said of this and later states is void; it will say it again.
    for (auto& [at, values] : c_.digests)
        if (at >= step) values.erase(node.row.node);
    node.reload = Node::Reload{step, false};
    if (again) {
        (void)revoke(node.row.node, "its state differed from the others' at step " +
                                        std::to_string(step.value) + ", twice");
        return;
    }
    c_.set_state(node, NodeState::joining, kDiverged);
    c_.release_leases(node.row.node);
}

std::vector<NodeId> Membership::tied() const {
    std::vector<NodeId> tied;
    for (const auto& [id, node] : c_.nodes) {
        if (!node.current() || !node.reload || !node.reload->cleared || !node.report) continue;
        const auto at = c_.digests.find(node.reload->from);
        if (at == c_.digests.end() || agreed(node.reload->from)) continue;
        std::set<Digest> distinct;
        for (const auto& [other, digest] : at->second) distinct.insert(digest);
        if (distinct.size() > 1) tied.push_back(id);
    }
    return tied;
}

void Membership::update_floor() {
    std::map<Step, std::uint32_t> holders;
    for (const auto& [id, node] : c_.nodes) {
        const bool counts = node.row.state == NodeState::current || node.row.state == NodeState::joining ||
                            node.row.state == NodeState::away;
        if (!counts) continue;
        if (node.report)
            for (Step s : node.report->snapshots)
                if (!c_.undone(s)) ++holders[s];
        // A node that joins reads from the floor on: it stays for a while.
        const Millis patience = std::max<Millis>(Millis(600'000), 20 * c_.round_length());
        if (node.row.state == NodeState::joining && !c_.silent(node) && c_.now - node.joining_since < patience)
            return;
    }
    for (const auto& [step, count] : holders)
        if (count >= c_.safe_copies() && step > c_.floor && step <= c_.head) c_.floor = step;
}

void Membership::session_closed(SessionId session) {
    auto at = c_.sessions.find(session);
    if (at == c_.sessions.end()) return;
    Node* node = c_.find(at->second.node);
    c_.sessions.erase(at);
    if (!node || node->session != session) return;
    node->session.reset();
    node->lost = c_.now;
}

void Membership::dial_back_done(const DialBackDone& event) {
    Node* node = c_.find(event.node);
    if (!node || node->row.incarnation != event.incarnation || node->row.reachable == event.reachable) return;
    node->row.reachable = event.reachable;
    c_.roster_changed = true;
    c_.save(*node);
}

void Membership::leaving(Node& node, const Leaving& message) {
    if (!node.current() && !node.following() && node.row.state != NodeState::joining) return;
    if (!node.leaving) {
        node.leaving = true;
        node.leave_from = c_.head;
        c_.all_dirty = true;
    }
    node.leave_when = message.when;
}

std::optional<Error> Membership::revoke(const NodeId& id, const std::string& reason) {
    Node* node = c_.find(id);
    if (!node && c_.behind.contains(id)) {  // it holds the run, and is in no book: a row keeps it out
        node = &c_.nodes[id];
        node->row.node = id;
    }
    if (!node) return Error{Errc::not_found, "no node " + id.short_hex(), "skerry nodes"};
    c_.behind.erase(id);
    node->leaving = false;
    if (node->row.state == NodeState::revoked) return {};
    c_.set_state(*node, NodeState::revoked, reason);
    c_.release_leases(id);
    if (!node->session) return {};
    c_.send(*node->session, Refusal{Errc::revoked, "this node was revoked: " + reason, "ask the operator", 0});
    c_.out.push_back(Close{*node->session});
    c_.sessions.erase(*node->session);
    node->session.reset();
    return {};
}

std::optional<Error> Membership::clear(const NodeId& id) {
    Node* node = c_.find(id);
    if (!node) return Error{Errc::not_found, "no node " + id.short_hex(), "skerry nodes"};
    if (node->row.state != NodeState::revoked)
        return Error{Errc::bad_state, "the node is not revoked", ""};
    node->row.diverged = 0;
    node->reload.reset();
    c_.set_state(*node, NodeState::away, "");
    return {};
}

Millis Membership::away_after() const { return std::max(c_.config.away_after, 2 * c_.round_length()); }

void Membership::settle() {
    for (auto& [id, node] : c_.nodes) {
        const bool here = node.row.state == NodeState::current || node.row.state == NodeState::joining;
        if (!here && !node.following()) continue;
        if (node.leaving && (node.following() || may_leave(node))) {
            leave(node);
        } else if (c_.silent(node) && c_.now - node.heard >= away_after()) {
            if (here) {  // whom nobody counts on stays what it is
                c_.set_state(node, NodeState::away, "silent");
                c_.release_leases(id);
            }
            // A process that was only stopped finds out by this, and comes back with a Hello.
            if (node.session) {
                c_.out.push_back(Close{*node.session});
                c_.sessions.erase(*node.session);
                node.session.reset();
            }
        }
    }
}

bool Membership::may_leave(const Node& node) const {
    if (node.leave_when == LeaveWhen::now || node.row.state == NodeState::joining) return handed_over(node);
    if (c_.open && c_.open->is_member(node.row.node)) return false;
    const bool stepped = c_.head > node.leave_from;
    std::size_t here = 0;
    bool all_leave = true;  // and none of them has data, nor gets any
    for (const auto& [id, other] : c_.nodes) {
        if (!other.current() || c_.silent(other)) continue;
        ++here;
        const bool gives = !other.report || !other.report->ready || !other.report->ready->segments.empty();
        all_leave = all_leave && other.leaving && !gives;
    }
    const bool no_step_comes = c_.meta.run_state != RunState::running || here < c_.manifest.min_nodes || all_leave;
    return (stepped || no_step_comes) && handed_over(node);
}

bool Membership::handed_over(const Node& leaver) const {
    std::uint32_t others = 0;
    std::uint32_t have = 0;
    for (const auto& [id, node] : c_.nodes) {
        const bool stays = node.current() || node.row.state == NodeState::joining || node.row.state == NodeState::away;
        if (!stays || id == leaver.row.node) continue;
        ++others;  // also who is silent now: it will need what the leaver has
        if (!node.current() || c_.silent(node) || !node.report) continue;
        const Report& r = *node.report;
        const bool from_start = r.oldest_entry.value == 0;
        const bool from_snapshot = std::any_of(r.snapshots.begin(), r.snapshots.end(),
                                               [&](Step s) { return r.oldest_entry <= s; });
        // Applied, too: behind a rollback the log may be whole and the state that it goes back to not be here.
        if (r.head >= c_.head && r.log_synced_to >= c_.head && (from_start || from_snapshot)) ++have;
    }
    return have >= std::min(others, c_.safe_copies());
}

void Membership::leave(Node& node) {
    node.leaving = false;
    c_.set_state(node, NodeState::left, "");
    c_.release_leases(node.row.node);
    if (!node.session) return;
    c_.send(*node.session, Left{});
    c_.out.push_back(Close{*node.session});
    c_.sessions.erase(*node.session);
    node.session.reset();
}

}  // namespace skerry::coordinator
