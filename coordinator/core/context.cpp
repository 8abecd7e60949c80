#include "coordinator/core/context.hpp"

#include <algorithm>

#include "protocol/base/assert.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::coordinator {

namespace {

Manifest manifest_of(const Image& image) {
    auto manifest = parse_manifest(image.run.manifest);
    SKERRY_ASSERT(manifest.has_value());
    return std::move(*manifest);
}

std::uint64_t positions_of(const Manifest& manifest) {
    if (manifest.target_tokens == 0 || manifest.sequence_tokens == 0) return UINT64_MAX / 2;
    return (manifest.target_tokens + manifest.sequence_tokens - 1) / manifest.sequence_tokens;
}

}  // namespace

Step first_decision_needed(Step head, const std::optional<PlanRow>& row) {
    Step first{head.value - std::min<std::uint64_t>(head.value, kImageDecisions)};
    const auto plan = row ? parse_plan(row->body) : Result<Plan>(fail(Errc::not_found, ""));
    if (plan && is_rollback(plan->kind))
        first = std::min(first, Step{plan->rollback_to.value - std::min<std::uint64_t>(plan->rollback_to.value, 1)});
    return first;
}

bool OpenPlan::is_member(const NodeId& node) const {
    return std::binary_search(plan.members.begin(), plan.members.end(), node);
}

const Participant* OpenPlan::participant(const NodeId& node) const {
    auto at = std::find_if(plan.participants.begin(), plan.participants.end(),
                           [&](const Participant& p) { return p.node == node; });
    return at == plan.participants.end() ? nullptr : &*at;
}

Context::Context(Image image, CoreConfig config_in, Signing signing_in)
    : config(config_in),
      signing(std::move(signing_in)),
      run(image.run),
      manifest(manifest_of(image)),
      manifest_digest(body_digest(image.run.manifest)),
      term(image.term),
      meta(image.meta),
      ledger(image, positions_of(manifest) + image.meta.void_sequences),
      head(image.head),
      h_head(chain_start(manifest_digest)),
      last_attempt(image.last_attempt) {
    for (TokenRow& token : image.tokens) tokens.emplace(token.id, std::move(token));
    for (NodeRow& row : image.nodes) nodes[row.node].row = std::move(row);
    for (RequestRow& row : image.requests) requests[row.node].push_back(std::move(row));
    for (const DigestRow& row : image.digests)
        if (keeps_digest(row.step)) digests[row.step][row.node] = row.value;
    for (DecisionRow& row : image.decisions) recent.push_back(std::move(row));
    if (!recent.empty()) {
        SKERRY_ASSERT(recent.back().step.next() == head);
        h_head = recent.back().h_after;
        tokens_committed = recent.back().tokens_after;
    }
    outer = manifest.outer;
    if (!recent.empty())
        if (auto last = parse_decision(recent.back().record.decision.body)) outer = last->outer;
    rollbacks = image.rollbacks;
    first_change = image.first_change;
    if (image.plan) {
        auto plan = parse_plan(image.plan->body);
        SKERRY_ASSERT(plan.has_value() && image.plan->step == head);
        open.emplace();
        open->row = std::move(*image.plan);
        open->plan = std::move(*plan);
        open->resumed = true;
        step_members.insert(open->plan.members.begin(), open->plan.members.end());
    }
    planned_participants = static_cast<std::uint32_t>(std::max<std::size_t>(1, current_count()));
}

Node* Context::find(const NodeId& node) {
    auto at = nodes.find(node);
    return at == nodes.end() ? nullptr : &at->second;
}

const Node* Context::find(const NodeId& node) const {
    auto at = nodes.find(node);
    return at == nodes.end() ? nullptr : &at->second;
}

bool Context::silent(const Node& node) const {
    return (!node.session && !node.expected) || now - node.heard >= config.silent_after;
}

std::string Context::label(const NodeId& id) const {
    const Node* node = find(id);
    return node && !node->row.name.empty() ? node->row.name : id.short_hex();
}

std::size_t Context::current_count() const {
    return static_cast<std::size_t>(std::count_if(nodes.begin(), nodes.end(),
                                                  [](const auto& n) { return n.second.current(); }));
}

bool Context::pinned(LeaseId lease) const {
    if (!open) return false;
    for (const Participant& p : open->plan.participants)
        for (const Segment& s : p.segments)
            if (s.lease == lease) return true;
    return false;
}

std::uint32_t safe_copies(const Manifest& manifest) {
    return std::max(1U, std::min(manifest.durable_copies, manifest.min_nodes));
}

std::optional<Digest> Context::h_at(Step step) const {
    if (step == head) return h_head;
    if (step.value == 0) return chain_start(manifest_digest);
    for (const DecisionRow& row : recent)
        if (row.step.next() == step) return row.h_after;
    return {};
}

std::optional<std::uint64_t> Context::tokens_at(Step step) const {
    if (step == head) return tokens_committed;
    if (step.value == 0) return 0;
    for (const DecisionRow& row : recent)
        if (row.step.next() == step) return row.tokens_after;
    return {};
}

bool Context::undone(Step state) const {
    return std::any_of(rollbacks.begin(), rollbacks.end(),
                       [&](const auto& r) { return r.first < state && state <= r.second; });
}

bool Context::keeps_digest(Step step) const {
    constexpr std::uint64_t kNewest = 64;
    if (step.value + kNewest >= head.value) return true;
    const bool snapshot = manifest.snapshot_every > 0 && step.value % manifest.snapshot_every == 0;
    return snapshot && step.value + kImageDigestSteps >= head.value;
}

std::uint64_t Context::local_sequences() const {
    return std::uint64_t{manifest.local_steps} * manifest.batch_sequences;
}

void Context::set_state(Node& node, NodeState state, std::string reason) {
    node.row.state = state;
    node.row.reason = std::move(reason);
    node.row.since_epoch = meta.epoch.next();
    if (state == NodeState::joining) node.joining_since = now;
    roster_changed = true;
    all_dirty = true;
    save(node);
    note(false, "node_state",
         {{"peer", node.row.node.short_hex()}, {"name", node.row.name},
          {"state", std::to_string(static_cast<int>(state))}, {"reason", node.row.reason}});
}

void Context::release_leases(const NodeId& node) {
    for (LeaseId id : ledger.held_by(node))
        if (!pinned(id)) ledger.release(id, ops);
}

void Context::begin_round() {
    round_started = now;
    planned_participants = static_cast<std::uint32_t>(std::max<std::size_t>(1, current_count()));
    all_dirty = true;
}

void Context::send(SessionId session, ControlBody body) {
    auto at = sessions.find(session);
    if (at == sessions.end()) return;
    const Node* node = find(at->second.node);
    const Incarnation incarnation = node ? node->row.incarnation : Incarnation{};
    out.push_back(Send{session, {manifest.run, term, incarnation, ++at->second.seq_out, std::move(body)}});
}

void Context::touch(Node& node) {
    if (!node.session) return;
    auto at = sessions.find(*node.session);
    if (at != sessions.end()) at->second.dirty = true;
}

void Context::note(bool warn, std::string event, std::vector<std::pair<std::string, std::string>> fields) {
    out.push_back(Note{warn, std::move(event), std::move(fields)});
}

void Context::flush_roster() {
    if (!roster_changed) return;
    roster_changed = false;
    meta.epoch = meta.epoch.next();
    restore_roster();
    ops.push_back(op::PutRoster{roster, meta.epoch});
    all_dirty = true;
}

void Context::restore_roster() {
    Roster body{manifest.run, meta.epoch, {}};
    for (const auto& [id, node] : nodes) {
        const NodeRow& row = node.row;
        // Somebody may hold what it signed in this step when we are lost, and others then have to check that.
        const bool signed_here = row.state == NodeState::away && step_members.contains(id) && !row.key.is_zero();
        const bool listed = row.state == NodeState::joining || row.state == NodeState::current || node.following();
        if (!listed && !signed_here) continue;
        body.nodes.push_back({id, row.key, row.state, row.curve, row.incarnation, row.addresses, row.reachable,
                              row.name, row.site});
    }
    roster.body = to_bytes(body);
    roster.signature = signing.sign(roster.body);
}

void Context::flush_rows() {
    for (const NodeId& id : rows_changed) ops.push_back(op::PutNode{nodes.at(id).row});
    rows_changed.clear();
}

}  // namespace skerry::coordinator
