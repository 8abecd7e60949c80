#include "protocol/wire/control_convert.hpp"

namespace skerry {
namespace {

void put(const Address& v, v1::Address& out) {
    out.set_host(v.host);
    out.set_port(v.port);
}
void put(const Segment& v, v1::Segment& out) {
    out.set_lease(v.lease.value);
    out.set_from(v.from);
    out.set_to(v.to);
}
void put(const SignedBody& v, v1::SignedBody& out) {
    out.set_body(bytes_field(v.body));
    out.set_signature(to_field(v.signature));
}
void put(const SignedDecision& v, v1::SignedDecision& out) {
    put(v.decision, *out.mutable_decision());
    for (const VoterSignature& s : v.voters) {
        auto& m = *out.add_voters();
        m.set_node(to_field(s.node));
        m.set_key(to_field(s.key));
        m.set_signature(to_field(s.signature));
    }
}
void put(const LeaseInfo& v, v1::LeaseInfo& out) {
    out.set_id(v.id.value);
    out.set_lo(v.lo);
    out.set_hi(v.hi);
    out.set_done(v.done);
    out.set_pinned(v.pinned);
}

void put(const Hello& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_hello();
    out.set_version_min(v.versions.min);
    out.set_version_max(v.versions.max);
    out.set_run_name(v.run_name);
    out.set_node_name(v.node_name);
    out.set_site(v.site);
    out.set_software(v.software);
    out.set_curve(to_field(v.curve));
    for (const Address& a : v.addresses) put(a, *out.add_addresses());
    out.set_token_id(bytes_field(v.token_id));
    out.set_token_secret(bytes_field(v.token_secret));
    out.set_ticket(bytes_field(v.ticket));
    out.set_boot(to_field(v.boot));
    out.set_incarnation_in_memory(v.incarnation_in_memory.value);
    out.set_incarnation_on_disk(v.incarnation_on_disk.value);
    out.set_seen_term(v.seen_term.value);
    out.set_seen_epoch(v.seen_epoch.value);
    out.set_head(v.head.value);
    out.set_h_head(to_field(v.h_head));
    out.set_follow(v.follow);
}

void put(const Welcome& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_welcome();
    out.set_version(v.version);
    out.set_run(to_field(v.run));
    out.set_term(v.term.value);
    out.set_incarnation(v.incarnation.value);
    out.set_disk_is_behind(v.disk_is_behind);
    out.set_ticket(bytes_field(v.ticket));
    out.set_manifest(bytes_field(v.manifest));
    out.set_data_manifest(bytes_field(v.data_manifest));
    put(v.roster, *out.mutable_roster());
    out.set_head(v.head.value);
    out.set_h_head(to_field(v.h_head));
}

void put(const Refusal& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_refusal();
    out.set_code(std::string(to_name(v.code)));
    out.set_reason(v.reason);
    out.set_fix(v.fix);
    out.set_retry_after_ms(v.retry_after_ms);
}

void put(const ReadyState& v, v1::ReadyState& out) {
    out.set_step(v.step.value);
    out.set_contribution(to_field(v.contribution));
    out.set_weight_tokens(v.weight_tokens);
    for (const Segment& s : v.segments) put(s, *out.add_segments());
    out.set_norm(v.norm);
    out.set_loss(v.loss);
    out.set_finite(v.finite);
}

void put(const ExchangeState& v, v1::ExchangeState& out) {
    out.set_plan(to_field(v.plan));
    out.set_contributions_have(v.contributions_have);
    out.set_contributions_need(v.contributions_need);
    out.set_results_have(v.results_have);
    out.set_results_need(v.results_need);
    for (const NodeId& n : v.gone) out.add_gone(to_field(n));
    for (const StalledEdge& e : v.stalled) {
        auto& m = *out.add_stalled();
        m.set_from(to_field(e.from));
        m.set_contribution(e.contribution);
        m.set_waited_ms(e.waited_ms);
    }
}

void put(const PreparedState& v, v1::PreparedState& out) {
    out.set_plan(to_field(v.plan));
    out.set_root(to_field(v.root));
    out.set_durable(v.durable);
    out.set_signature(to_field(v.signature));
}

void put(const Report& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_report();
    out.set_head(v.head.value);
    out.set_h_head(to_field(v.h_head));
    out.set_log_synced_to(v.log_synced_to.value);
    out.set_epoch(v.epoch.value);
    if (v.ready) put(*v.ready, *out.mutable_ready());
    if (v.exchange) put(*v.exchange, *out.mutable_exchange());
    if (v.prepared) put(*v.prepared, *out.mutable_prepared());
    for (const StateDigest& d : v.digests) {
        auto& m = *out.add_digests();
        m.set_step(d.step.value);
        m.set_value(to_field(d.value));
    }
    for (Step s : v.snapshots) out.add_snapshots(s.value);
    out.set_oldest_entry(v.oldest_entry.value);
    out.set_trainer(static_cast<std::uint32_t>(v.trainer));
    out.set_inner_step(v.inner_step);
    out.set_tokens_per_s(v.tokens_per_s);
    out.set_loss(v.loss);
    if (v.heldout_loss) out.set_heldout_loss(*v.heldout_loss);
    out.set_heldout_step(v.heldout_step.value);
    out.set_paused(v.paused);
    out.set_disk_full(v.disk_full);
    for (const NodeId& n : v.unreachable) out.add_unreachable(to_field(n));
    out.set_sent_bytes(v.sent_bytes);
    out.set_received_bytes(v.received_bytes);
    out.set_shards(bytes_field(v.shards));
    if (!v.machine) return;
    auto& m = *out.mutable_machine();
    m.set_cores(v.machine->cores);
    m.set_memory_bytes(v.machine->memory_bytes);
    m.set_memory_free_bytes(v.machine->memory_free_bytes);
    m.set_disk_free_bytes(v.machine->disk_free_bytes);
    m.set_tokens_per_s(v.machine->tokens_per_s);
    m.set_up_bytes_per_s(v.machine->up_bytes_per_s);
    m.set_down_bytes_per_s(v.machine->down_bytes_per_s);
    const MachineLimits& limits = v.machine->limits;
    if (limits == MachineLimits{}) return;
    auto& l = *m.mutable_limits();
    l.set_up_bytes_per_s(limits.up_bytes_per_s);
    l.set_down_bytes_per_s(limits.down_bytes_per_s);
    l.set_daily_bytes(limits.daily_bytes);
    l.set_memory_bytes(limits.memory_bytes);
    l.set_disk_bytes(limits.disk_bytes);
}

void put(const Holder& v, v1::Holder& out) {
    out.set_node(to_field(v.node));
    out.set_oldest_entry(v.oldest_entry.value);
    out.set_head(v.head.value);
    for (Step s : v.snapshots) out.add_snapshots(s.value);
}

void put(const Contribution& v, v1::Contribution& out) {
    out.set_tokens(v.tokens);
    out.set_tokens_of_all(v.tokens_of_all);
    out.set_steps(v.steps);
    out.set_steps_here(v.steps_here);
    out.set_rank(v.rank);
    out.set_ranked(v.ranked);
    out.set_sent_bytes(v.sent_bytes);
    out.set_received_bytes(v.received_bytes);
    out.set_active_ms(v.active_ms);
    out.set_since_unix_s(v.since_unix_s);
}

void put(const Orders& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_orders();
    out.set_run_state(static_cast<std::uint32_t>(v.run_state));
    out.set_head(v.head.value);
    out.set_h_head(to_field(v.h_head));
    out.set_tokens_committed(v.tokens_committed);
    out.set_epoch(v.epoch.value);
    if (v.roster) put(*v.roster, *out.mutable_roster());
    if (v.plan) {
        out.mutable_plan()->set_digest(to_field(v.plan->digest));
        out.mutable_plan()->set_body(bytes_field(v.plan->body));
    }
    for (const LeaseInfo& l : v.leases) put(l, *out.add_leases());
    out.set_planned_participants(v.planned_participants);
    out.set_round_remaining_ms(v.round_remaining_ms);
    out.set_edge_patience_ms(v.edge_patience_ms);
    out.set_floor(v.floor.value);
    out.set_data_ended(v.data_ended);
    for (const OrderRequest& r : v.requests) {
        auto& m = *out.add_requests();
        m.set_ask(static_cast<std::uint32_t>(r.ask));
        m.set_step(r.step.value);
    }
    for (const Holder& h : v.holders) put(h, *out.add_holders());
    for (const NodeId& n : v.dial) out.add_dial(to_field(n));
    for (const WaitingFor& w : v.waiting_for) {
        auto& m = *out.add_waiting_for();
        m.set_node(to_field(w.node));
        m.set_phase(w.phase);
        m.set_since_ms(w.since_ms);
    }
    out.set_hold_reason(v.hold_reason);
    out.set_next(v.next);
    for (const SignedDecision& d : v.decisions) put(d, *out.add_decisions());
    if (v.contribution) put(*v.contribution, *out.mutable_contribution());
    for (const StateDigest& d : v.digests) {
        auto& m = *out.add_digests();
        m.set_step(d.step.value);
        m.set_value(to_field(d.value));
    }
}

void put(const LeaseRequest& v, v1::ControlFrame& frame) {
    frame.mutable_lease_request()->set_request_id(v.request_id);
    frame.mutable_lease_request()->set_sequences(v.sequences);
}
void put(const LeaseGrant& v, v1::ControlFrame& frame) {
    frame.mutable_lease_grant()->set_request_id(v.request_id);
    for (const LeaseInfo& l : v.leases) put(l, *frame.mutable_lease_grant()->add_leases());
}
void put(const LeaseReturn& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_lease_return();
    for (LeaseId l : v.leases) out.add_leases(l.value);
}
void put(const DecisionsRequest& v, v1::ControlFrame& frame) {
    frame.mutable_decisions_request()->set_from(v.from.value);
}
void put(const Decisions& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_decisions();
    for (const SignedDecision& d : v.records) put(d, *out.add_records());
}
void put(const PlanRequest& v, v1::ControlFrame& frame) {
    frame.mutable_plan_request()->set_digest(to_field(v.digest));
}
void put(const Blame& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_blame();
    out.set_plan(to_field(v.plan));
    out.set_piece(v.piece.value);
    out.set_kind(static_cast<std::uint32_t>(v.kind));
    out.set_accused(to_field(v.accused));
    out.set_evidence(bytes_field(v.evidence));
}
void put(const Leaving& v, v1::ControlFrame& frame) {
    frame.mutable_leaving()->set_when(static_cast<std::uint32_t>(v.when));
}
void put(const Left&, v1::ControlFrame& frame) { frame.mutable_left(); }
void put(const Replaced&, v1::ControlFrame& frame) { frame.mutable_replaced(); }
void put(const ShardGet& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_shard_get();
    out.set_shard(to_field(v.shard));
    out.set_offset(v.offset);
    out.set_bytes(v.bytes);
    out.set_ask(v.ask);
    for (const NodeId& n : v.failed) out.add_failed(to_field(n));
}
void put(const ShardBlock& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_shard_block();
    out.set_shard(to_field(v.shard));
    out.set_offset(v.offset);
    out.set_data(bytes_field(v.data));
}
void put(const ShardSources& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_shard_sources();
    out.set_shard(to_field(v.shard));
    for (const NodeId& n : v.nodes) out.add_nodes(to_field(n));
    out.set_blocks(bytes_field(v.blocks));
    out.set_again_ms(v.again_ms);
}
void put(const AdminRequest& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_admin_request();
    out.set_id(v.id);
    out.set_verb(v.verb);
    out.set_json(v.json);
    out.set_data(bytes_field(v.data));
    out.set_token_id(bytes_field(v.token_id));
    out.set_token_secret(bytes_field(v.token_secret));
}
void put(const AdminReply& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_admin_reply();
    out.set_id(v.id);
    out.set_code(std::string(to_name(v.code)));
    out.set_ok(v.ok);
    out.set_json(v.json);
}

void put(const RebuildAsk& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_rebuild_ask();
    out.set_term(v.term.value);
    out.set_part(static_cast<std::uint32_t>(v.part));
    out.set_from(v.from.value);
}
void put(const RebuildAnswer& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_rebuild_answer();
    out.set_term(v.term.value);
    out.set_part(static_cast<std::uint32_t>(v.part));
    out.set_known(v.known.value);
    out.set_h_known(to_field(v.h_known));
    out.set_incarnation(v.incarnation.value);
    put(v.roster, *out.mutable_roster());
    for (const HeldPlan& p : v.prepared) {
        auto& m = *out.add_prepared();
        m.set_body(bytes_field(p.body));
        m.set_root(to_field(p.root));
    }
    for (const StateDigest& d : v.snapshots) {
        auto& m = *out.add_snapshots();
        m.set_step(d.step.value);
        m.set_value(to_field(d.value));
    }
    out.set_highest_lease(v.highest_lease.value);
    out.set_manifest(bytes_field(v.manifest));
    out.set_data_manifest(bytes_field(v.data_manifest));
    for (const SignedDecision& d : v.records) put(d, *out.add_records());
}

void put(const Look& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_look();
    out.set_version_min(v.versions.min);
    out.set_version_max(v.versions.max);
    out.set_run_name(v.run_name);
    out.set_token_id(bytes_field(v.token_id));
    out.set_token_secret(bytes_field(v.token_secret));
}
void put(const LookAnswer& v, v1::ControlFrame& frame) {
    auto& out = *frame.mutable_look_answer();
    out.set_version(v.version);
    out.set_manifest(bytes_field(v.manifest));
    out.set_data_manifest(bytes_field(v.data_manifest));
    out.set_run_state(static_cast<std::uint32_t>(v.run_state));
    out.set_head(v.head.value);
    out.set_tokens_committed(v.tokens_committed);
    out.set_nodes(v.nodes);
    out.set_step_ms(v.step_ms);
    out.set_counted(v.counted);
}

}  // namespace

void put_body(const ControlBody& body, v1::ControlFrame& out) {
    std::visit([&](const auto& v) { put(v, out); }, body);
}

}  // namespace skerry
