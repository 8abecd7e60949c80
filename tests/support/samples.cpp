#include "tests/support/samples.hpp"

#include <algorithm>

#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/signatures.hpp"

namespace skerry::test {
namespace {

RunId run() { return counting<RunId>(1); }
NodeId node(std::size_t i) { return sample_keys()[i].id(); }

Participant participant(std::size_t i, std::uint64_t weight) {
    Participant p;
    p.node = node(i);
    p.incarnation = Incarnation{3 + i};
    p.contribution = counting<Digest>(static_cast<std::uint8_t>(40 + i));
    p.weight_tokens = weight;
    p.segments = {{LeaseId{7 + i}, 100 * i, 100 * i + 50}, {LeaseId{9 + i}, 500 + i, 501 + i}};
    return p;
}

SignedBody sample_signed_roster() { return sign_body(sample_keys()[0], to_bytes(sample_roster())); }

SignedDecision sample_signed_decision() {
    SignedDecision out;
    Decision d = sample_decision();
    out.decision = sign_body(sample_keys()[0], to_bytes(d));
    const auto keys = sample_keys();
    for (std::size_t i = 1; i < 3; ++i)
        out.voters.push_back({keys[i].id(), keys[i].public_key(), sign_vote(keys[i], d.h_after)});
    return out;
}

Hello sample_hello() {
    Hello h;
    h.versions = {0x00010000, 0x00010002};
    h.run_name = "reef";
    h.node_name = "kestrel";
    h.site = "home";
    h.software = "skerry 0.1.0";
    h.curve = counting<CurveKey>(9);
    h.addresses = {{"192.0.2.7", 7610}, {"2001:db8::7", 7610}};
    h.token_id = {1, 2, 3, 4, 5, 6, 7, 8};
    h.token_secret = Bytes(16, 0xAB);
    h.ticket = {5, 5, 5};
    h.boot = counting<BootId>(17);
    h.incarnation_in_memory = Incarnation{2};
    h.incarnation_on_disk = Incarnation{1};
    h.seen_term = Term{4};
    h.seen_epoch = Epoch{12};
    h.head = Step{11};
    h.h_head = counting<Digest>(77);
    return h;
}

Welcome sample_welcome() {
    Welcome w;
    w.version = 0x00010001;
    w.run = run();
    w.term = Term{4};
    w.incarnation = Incarnation{3};
    w.disk_is_behind = true;
    w.ticket = {6, 6, 6};
    w.manifest = to_bytes(sample_manifest());
    w.data_manifest = {'{', '}'};
    w.roster = sample_signed_roster();
    w.head = Step{11};
    w.h_head = counting<Digest>(77);
    return w;
}

Report sample_report() {
    Report r;
    r.head = Step{11};
    r.h_head = counting<Digest>(77);
    r.log_synced_to = Step{11};
    r.epoch = Epoch{12};
    r.ready = ReadyState{Step{11}, counting<Digest>(40), 51000, participant(0, 1).segments, 3.25, 2.5, true};
    r.exchange = ExchangeState{counting<Digest>(90), 1, 4, 2, 4, {node(1)}, {{node(2), true, 1500}}};
    r.prepared = PreparedState{counting<Digest>(90), counting<Digest>(91), true, counting<Signature>(92)};
    r.digests = {{Step{9}, counting<Digest>(50)}, {Step{10}, counting<Digest>(51)}};
    r.snapshots = {Step{0}, Step{10}};
    r.oldest_entry = Step{1};
    r.trainer = TrainerPhase::waiting;
    r.inner_step = 20;
    r.tokens_per_s = 1234.5;
    r.loss = 2.75;
    r.heldout_loss = 2.875;
    r.heldout_step = Step{10};
    r.paused = true;
    r.disk_full = true;
    r.unreachable = {node(2)};
    r.sent_bytes = 1U << 20;
    r.received_bytes = 2U << 20;
    return r;
}

Orders sample_orders() {
    Orders o;
    o.run_state = RunState::running;
    o.head = Step{11};
    o.h_head = counting<Digest>(77);
    o.tokens_committed = 123456;
    o.epoch = Epoch{13};
    o.roster = sample_signed_roster();
    Bytes body = to_bytes(sample_plan());
    o.plan = PlanRef{body_digest(body), body};
    o.leases = {{LeaseId{7}, 0, 100, 50, true}, {LeaseId{8}, 100, 200, 100, false}};
    o.planned_participants = 2;
    o.round_remaining_ms = 3000;
    o.edge_patience_ms = 2500;
    o.floor = Step{10};
    o.data_ended = true;
    o.requests = {{Ask::state_digest, Step{11}}, {Ask::write_snapshot, Step{}}};
    o.holders = {{node(1), Step{1}, Step{11}, {Step{0}, Step{10}}}};
    o.digests = {{Step{10}, counting<Digest>(51)}};
    o.dial = {node(2)};
    o.waiting_for = {{node(2), "exchange", 4000}};
    o.hold_reason = "below min_nodes";
    o.next = "a plan when two nodes are ready";
    o.decisions = {sample_signed_decision()};
    return o;
}

RebuildAnswer sample_rebuild_answer() {
    RebuildAnswer v;
    v.term = Term{1004};
    v.part = RebuildPart::facts;
    v.known = Step{11};
    v.h_known = counting<Digest>(77);
    v.incarnation = Incarnation{3};
    v.roster = {{1, 2, 3}, counting<Signature>(5)};
    v.prepared = {{to_bytes(sample_plan()), counting<Digest>(91)}};
    v.snapshots = {{Step{10}, counting<Digest>(12)}};
    v.highest_lease = LeaseId{9};
    v.manifest = {4, 5};
    v.data_manifest = {6};
    v.records = {sample_signed_decision()};
    return v;
}

std::vector<ControlBody> control_bodies() {
    Blame blame{counting<Digest>(90), PieceIndex{3}, BlameKind::two_results, node(1), {1, 2, 3}};
    AdminRequest admin{5, "status", "{}", {1, 2}, {1, 2, 3, 4, 5, 6, 7, 8}, Bytes(16, 0xAB)};
    return {sample_hello(),
            sample_welcome(),
            Refusal{Errc::token_expired, "expired 3 h ago", "ask for a new one", 250},
            sample_report(),
            sample_orders(),
            LeaseRequest{21, 64},
            LeaseGrant{21, {{LeaseId{9}, 200, 264, 200, false}}},
            LeaseReturn{{LeaseId{8}, LeaseId{9}}},
            DecisionsRequest{Step{4}},
            Decisions{{sample_signed_decision()}},
            PlanRequest{counting<Digest>(90)},
            blame,
            Leaving{LeaveWhen::now},
            Left{},
            Replaced{},
            ShardGet{counting<Digest>(33), 524288, 1000, false, {}},
            ShardBlock{counting<Digest>(33), 524288, {9, 8, 7}},
            admin,
            AdminReply{5, Errc::bad_state, false, "{\"why\":\"paused\"}"},
            RebuildAsk{Term{1004}, RebuildPart::decisions, Step{4}},
            sample_rebuild_answer(),
            ShardSources{counting<Digest>(33), {node(0), node(2)}, Bytes(64, 0x5A), 2000}};
}

}  // namespace

std::vector<KeyPair> sample_keys() {
    std::vector<KeyPair> keys;
    for (std::uint8_t i = 1; i <= 3; ++i) keys.push_back(KeyPair::from_seed(counting<Digest>(i)));
    std::sort(keys.begin(), keys.end(), [](const KeyPair& a, const KeyPair& b) { return a.id() < b.id(); });
    return keys;
}

Manifest sample_manifest() {
    Manifest m;
    m.evaluate_every = 20;
    m.evaluate_sequences = 160;
    m.run = run();
    m.name = "reef";
    m.seed = 42;
    m.elements = 10000;
    m.piece_elements = 4096;
    m.codec = CodecId::a8;
    m.outer = {0.7F, 0.9F};
    m.tensors = {{"model.embed_tokens.weight", {90, 100}, 0, 9000, 1.5e-9F}, {"model.norm.weight", {1000}, 9000, 1000, 0}};
    m.model_json = "{\"hidden_size\":100}";
    m.train_json = "{\"lr\":0.001}";
    m.data_manifest = counting<Digest>(60);
    m.sequences = 4096;
    m.sequence_tokens = 256;
    m.target_tokens = 1500000;
    m.batch_sequences = 8;
    m.local_steps = 16;
    m.round_ms = 3000;
    m.disk_quota_bytes = 1U << 30;
    m.initial_root = counting<Digest>(61);
    m.parent_run = counting<RunId>(62);
    m.parent_step = Step{5};
    m.parent_h = counting<Digest>(63);
    return m;
}

Roster sample_roster() {
    Roster r;
    r.run = run();
    r.epoch = Epoch{13};
    for (const KeyPair& key : sample_keys()) {
        RosterEntry e;
        e.node = key.id();
        e.key = key.public_key();
        e.state = NodeState::current;
        e.curve = counting<CurveKey>(9);
        e.incarnation = Incarnation{3};
        e.addresses = {{"192.0.2.7", 7610}};
        e.reachable = true;
        e.name = "kestrel";
        e.site = "home";
        r.nodes.push_back(e);
    }
    return r;
}

Plan sample_plan() {
    Plan p;
    p.run = run();
    p.step = Step{11};
    p.term = Term{4};
    p.attempt = Attempt{2};
    p.epoch = Epoch{13};
    p.elements = 10000;
    p.outer = {0.7F, 0.9F};
    p.participants = {participant(0, 51000), participant(1, 49000)};
    p.members = {node(0), node(1), node(2)};
    p.piece_owner = {0, 1, 2};
    return p;
}

Decision sample_decision() {
    Plan plan = sample_plan();
    Decision d;
    d.run = plan.run;
    d.step = plan.step;
    d.term = plan.term;
    d.attempt = plan.attempt;
    d.plan_digest = body_digest(to_bytes(plan));
    d.roots = {counting<Digest>(91)};
    d.outer = plan.outer;
    for (const Participant& p : plan.participants) d.credits.push_back({p.node, p.contribution, p.weight_tokens, p.segments});
    d.tokens_after = 223456;
    d.h_after = chain_next(counting<Digest>(77), d);
    return d;
}

std::vector<std::pair<std::string, ControlMessage>> sample_control_messages() {
    static const char* const kNames[] = {
        "hello", "welcome", "refusal", "report", "orders", "lease_request", "lease_grant",
        "lease_return", "decisions_request", "decisions", "plan_request", "blame", "leaving", "left",
        "replaced", "shard_get", "shard_block", "admin_request", "admin_reply",
        "rebuild_ask", "rebuild_answer", "shard_sources"};
    std::vector<std::pair<std::string, ControlMessage>> out;
    for (ControlBody& body : control_bodies()) {
        const char* name = kNames[body.index()];
        out.push_back({name, {run(), Term{4}, Incarnation{3}, 1000 + out.size(), std::move(body)}});
    }
    // Fields of 1.2 in older messages.
    auto later = [&](const char* name, ControlBody body) {
        out.push_back({name, {run(), Term{4}, Incarnation{3}, 1000 + out.size(), std::move(body)}});
    };
    Hello hello = sample_hello();
    hello.follow = true;
    later("hello_follow", std::move(hello));
    Report report = sample_report();
    report.shards = {0b101, 0x80};
    later("report_shards", std::move(report));
    later("shard_get_ask", ShardGet{counting<Digest>(33), 524288, 1000, true, {node(1)}});
    // 1.3.
    report = sample_report();
    report.machine = MachineState{16, 64ULL << 30, 40ULL << 30, 400ULL << 30, 61200.5, 2.5e6, 1e7,
                                  {250'000, 2'500'000, 30ULL << 30, 12ULL << 30, 20ULL << 30}};
    later("report_machine", std::move(report));
    Orders orders = sample_orders();
    orders.contribution = Contribution{11'000'000, 44'000'000, 30, 31, 2, 5, 1U << 30, 1U << 31, 7'200'000, 1'790'000'000};
    later("orders_contribution", std::move(orders));
    later("look", Look{{0x00010000, 0x00010003}, "reef", {1, 2, 3, 4, 5, 6, 7, 8}, Bytes(16, 0xAB)});
    later("look_answer",
          LookAnswer{0x00010003, to_bytes(sample_manifest()), {'{', '}'}, RunState::running, Step{11}, 123456, 3, 2500, true});
    return out;
}

std::vector<std::pair<std::string, PeerMessage>> sample_peer_messages() {
    ObjectRef contribution{ObjectKind::contribution, Step{11}, counting<Digest>(40)};
    ObjectRef result{ObjectKind::result, Step{11}, counting<Digest>(90)};
    ObjectRef block{ObjectKind::block, Step{}, counting<Digest>(33)};
    Data piece{contribution, PieceIndex{2}, {counting<Digest>(1), counting<Digest>(2)}, {}, {}, 4224};
    Data mean{result, PieceIndex{1}, {}, counting<Digest>(3), counting<Signature>(4), 4224};
    return {{"get", {run(), Get{contribution, {PieceIndex{0}, PieceIndex{2}, PieceIndex{300}}}}},
            {"later", {run(), Later{result, {PieceIndex{1}}}}},
            {"gone", {run(), Gone{block, {PieceIndex{0}}, GoneReason::pruned}}},
            {"data_contribution", {run(), piece}},
            {"data_result", {run(), mean}},
            {"have", {run(), Have{result, {0b101, 0x80}}}},
            {"get_shard", {run(), Get{{ObjectKind::shard, Step{}, counting<Digest>(33)}, {PieceIndex{3}}}}}};
}

}  // namespace skerry::test
