#include <algorithm>

#include "protocol/wire/control_convert.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry {
namespace {

Segment read(FieldReader& in, const v1::Segment& m) {
    in.check(m.from() < m.to(), "an empty segment");
    return {LeaseId{m.lease()}, m.from(), m.to()};
}

SignedBody read(FieldReader& in, const v1::SignedBody& m) {
    return {in.bytes(m.body(), kMaxFrame), in.fixed<Signature>(m.signature())};
}

SignedDecision read(FieldReader& in, const v1::SignedDecision& m) {
    SignedDecision v;
    v.decision = read(in, m.decision());
    for (const auto& s : m.voters())
        v.voters.push_back(
            {in.fixed<NodeId>(s.node()), in.fixed<PublicKey>(s.key()), in.fixed<Signature>(s.signature())});
    return v;
}

LeaseInfo read(FieldReader& in, const v1::LeaseInfo& m) {
    in.check(m.lo() <= m.done() && m.done() <= m.hi(), "a lease out of order");
    return {LeaseId{m.id()}, m.lo(), m.hi(), m.done(), m.pinned()};
}

template <class Id, class List>
std::vector<Id> read_ids(FieldReader& in, const List& list) {
    std::vector<Id> out;
    for (const std::string& id : list) out.push_back(in.fixed<Id>(id));
    return out;
}

template <class List>
std::vector<Step> read_steps(const List& list) {
    std::vector<Step> out;
    for (std::uint64_t step : list) out.push_back(Step{step});
    return out;
}

Hello read(FieldReader& in, const v1::Hello& m) {
    Hello v;
    v.versions = {m.version_min(), m.version_max()};
    v.run_name = in.text(m.run_name(), kMaxName);
    v.node_name = in.text(m.node_name(), kMaxName);
    v.site = in.text(m.site(), kMaxName);
    v.software = in.text(m.software(), kMaxName);
    v.curve = in.fixed<CurveKey>(m.curve());
    for (const auto& a : m.addresses()) {
        in.check(a.port() >= 1 && a.port() <= 65535, "a port out of range");
        v.addresses.push_back({in.text(a.host(), kMaxHost), static_cast<std::uint16_t>(a.port())});
    }
    v.token_id = in.bytes(m.token_id(), 64);
    v.token_secret = in.bytes(m.token_secret(), 64);
    v.ticket = in.bytes(m.ticket(), kMaxTicket);
    v.boot = in.fixed<BootId>(m.boot());
    v.incarnation_in_memory = Incarnation{m.incarnation_in_memory()};
    v.incarnation_on_disk = Incarnation{m.incarnation_on_disk()};
    v.seen_term = Term{m.seen_term()};
    v.seen_epoch = Epoch{m.seen_epoch()};
    v.head = Step{m.head()};
    v.h_head = in.fixed<Digest>(m.h_head());
    v.follow = m.follow();
    return v;
}

Welcome read(FieldReader& in, const v1::Welcome& m) {
    Welcome v;
    v.version = m.version();
    v.run = in.fixed<RunId>(m.run());
    v.term = Term{m.term()};
    v.incarnation = Incarnation{m.incarnation()};
    v.disk_is_behind = m.disk_is_behind();
    v.ticket = in.bytes(m.ticket(), kMaxTicket);
    v.manifest = in.bytes(m.manifest(), kMaxManifestBytes);
    v.data_manifest = in.bytes(m.data_manifest(), kMaxDataManifest);
    v.roster = read(in, m.roster());
    v.head = Step{m.head()};
    v.h_head = in.fixed<Digest>(m.h_head());
    return v;
}

Refusal read(FieldReader& in, const v1::Refusal& m) {
    return {parse_errc(m.code()).value_or(Errc::refused), in.text(m.reason(), kMaxReason),
            in.text(m.fix(), kMaxReason), m.retry_after_ms()};
}

ReadyState read(FieldReader& in, const v1::ReadyState& m) {
    ReadyState v;
    v.step = Step{m.step()};
    v.contribution = in.fixed<Digest>(m.contribution());
    v.weight_tokens = m.weight_tokens();
    for (const auto& s : m.segments()) v.segments.push_back(read(in, s));
    v.norm = FieldReader::measure(m.norm());
    v.loss = FieldReader::measure(m.loss());
    v.finite = m.finite();
    return v;
}

ExchangeState read(FieldReader& in, const v1::ExchangeState& m) {
    ExchangeState v;
    v.plan = in.fixed<Digest>(m.plan());
    v.contributions_have = m.contributions_have();
    v.contributions_need = m.contributions_need();
    v.results_have = m.results_have();
    v.results_need = m.results_need();
    v.gone = read_ids<NodeId>(in, m.gone());
    for (const auto& e : m.stalled())
        v.stalled.push_back({in.fixed<NodeId>(e.from()), e.contribution(), e.waited_ms()});
    return v;
}

PreparedState read(FieldReader& in, const v1::PreparedState& m) {
    return {in.fixed<Digest>(m.plan()), in.fixed<Digest>(m.root()), m.durable(),
            in.fixed<Signature>(m.signature())};
}

MachineState read(const v1::MachineState& m) {
    // Rates are not negative, whatever a node says.
    const auto rate = [](double v) { return std::max(0.0, FieldReader::measure(v)); };
    const v1::MachineLimits& l = m.limits();
    return {m.cores(), m.memory_bytes(), m.memory_free_bytes(), m.disk_free_bytes(), rate(m.tokens_per_s()),
            rate(m.up_bytes_per_s()), rate(m.down_bytes_per_s()),
            {l.up_bytes_per_s(), l.down_bytes_per_s(), l.daily_bytes(), l.memory_bytes(), l.disk_bytes()}};
}

Contribution read(const v1::Contribution& m) {
    return {m.tokens(), m.tokens_of_all(), m.steps(), m.steps_here(), m.rank(), m.ranked(),
            m.sent_bytes(), m.received_bytes(), m.active_ms(), m.since_unix_s()};
}

Report read(FieldReader& in, const v1::Report& m) {
    Report v;
    v.head = Step{m.head()};
    v.h_head = in.fixed<Digest>(m.h_head());
    v.log_synced_to = Step{m.log_synced_to()};
    v.epoch = Epoch{m.epoch()};
    if (m.has_ready()) v.ready = read(in, m.ready());
    if (m.has_exchange()) v.exchange = read(in, m.exchange());
    if (m.has_prepared()) v.prepared = read(in, m.prepared());
    for (const auto& d : m.digests()) v.digests.push_back({Step{d.step()}, in.fixed<Digest>(d.value())});
    v.snapshots = read_steps(m.snapshots());
    v.oldest_entry = Step{m.oldest_entry()};
    v.trainer = in.choice(m.trainer(), TrainerPhase::none, TrainerPhase::failed);
    v.inner_step = m.inner_step();
    v.tokens_per_s = FieldReader::measure(m.tokens_per_s());
    v.loss = FieldReader::measure(m.loss());
    if (m.has_heldout_loss()) v.heldout_loss = FieldReader::measure(m.heldout_loss());
    v.heldout_step = Step{m.heldout_step()};
    v.paused = m.paused();
    v.disk_full = m.disk_full();
    v.unreachable = read_ids<NodeId>(in, m.unreachable());
    v.sent_bytes = m.sent_bytes();
    v.received_bytes = m.received_bytes();
    v.shards = in.bytes(m.shards(), kMaxShardBitmap);
    if (m.has_machine()) v.machine = read(m.machine());
    return v;
}

void read_lists(FieldReader& in, const v1::Orders& m, Orders& v) {
    for (const auto& l : m.leases()) v.leases.push_back(read(in, l));
    for (const auto& r : m.requests())
        v.requests.push_back({in.choice(r.ask(), Ask::state_digest, Ask::reload_state), Step{r.step()}});
    for (const auto& h : m.holders())
        v.holders.push_back(
            {in.fixed<NodeId>(h.node()), Step{h.oldest_entry()}, Step{h.head()}, read_steps(h.snapshots())});
    v.dial = read_ids<NodeId>(in, m.dial());
    for (const auto& w : m.waiting_for())
        v.waiting_for.push_back({in.fixed<NodeId>(w.node()), in.text(w.phase(), kMaxReason), w.since_ms()});
    for (const auto& d : m.decisions()) v.decisions.push_back(read(in, d));
    for (const auto& d : m.digests()) v.digests.push_back({Step{d.step()}, in.fixed<Digest>(d.value())});
}

Orders read(FieldReader& in, const v1::Orders& m) {
    Orders v;
    v.run_state = in.choice(m.run_state(), RunState::created, RunState::stopped);
    v.head = Step{m.head()};
    v.h_head = in.fixed<Digest>(m.h_head());
    v.tokens_committed = m.tokens_committed();
    v.epoch = Epoch{m.epoch()};
    if (m.has_roster()) v.roster = read(in, m.roster());
    if (m.has_plan()) v.plan = PlanRef{in.fixed<Digest>(m.plan().digest()), in.bytes(m.plan().body(), kMaxFrame)};
    v.planned_participants = m.planned_participants();
    v.round_remaining_ms = m.round_remaining_ms();
    v.edge_patience_ms = m.edge_patience_ms();
    v.floor = Step{m.floor()};
    v.data_ended = m.data_ended();
    v.hold_reason = in.text(m.hold_reason(), kMaxReason);
    v.next = in.text(m.next(), kMaxReason);
    if (m.has_contribution()) v.contribution = read(m.contribution());
    read_lists(in, m, v);
    return v;
}

LeaseGrant read(FieldReader& in, const v1::LeaseGrant& m) {
    LeaseGrant v;
    v.request_id = m.request_id();
    for (const auto& l : m.leases()) v.leases.push_back(read(in, l));
    return v;
}

LeaseReturn read(const v1::LeaseReturn& m) {
    LeaseReturn v;
    for (std::uint64_t l : m.leases()) v.leases.push_back(LeaseId{l});
    return v;
}

Decisions read(FieldReader& in, const v1::Decisions& m) {
    Decisions v;
    for (const auto& d : m.records()) v.records.push_back(read(in, d));
    return v;
}

Blame read(FieldReader& in, const v1::Blame& m) {
    in.check(m.piece() < kMaxPieces, "a piece beyond the limit");
    return {in.fixed<Digest>(m.plan()), PieceIndex{m.piece()},
            in.choice(m.kind(), BlameKind::bad_contribution, BlameKind::two_results), in.fixed<NodeId>(m.accused()),
            in.bytes(m.evidence(), kMaxEvidence)};
}

AdminRequest read(FieldReader& in, const v1::AdminRequest& m) {
    return {m.id(), in.text(m.verb(), kMaxName), in.json(m.json(), kMaxAdminJson),
            in.bytes(m.data(), kMaxAdminBlockBytes), in.bytes(m.token_id(), 64), in.bytes(m.token_secret(), 64)};
}

AdminReply read(FieldReader& in, const v1::AdminReply& m) {
    return {m.id(), parse_errc(m.code()).value_or(Errc::internal), m.ok(), in.json(m.json(), kMaxAdminJson)};
}

RebuildAnswer read(FieldReader& in, const v1::RebuildAnswer& m) {
    RebuildAnswer v;
    v.term = Term{m.term()};
    v.part = in.choice(m.part(), RebuildPart::facts, RebuildPart::decisions);
    v.known = Step{m.known()};
    v.h_known = in.fixed<Digest>(m.h_known());
    v.incarnation = Incarnation{m.incarnation()};
    v.roster = read(in, m.roster());
    for (const auto& p : m.prepared())
        v.prepared.push_back({in.bytes(p.body(), kMaxFrame), in.fixed<Digest>(p.root())});
    for (const auto& d : m.snapshots()) v.snapshots.push_back({Step{d.step()}, in.fixed<Digest>(d.value())});
    v.highest_lease = LeaseId{m.highest_lease()};
    v.manifest = in.bytes(m.manifest(), kMaxManifestBytes);
    v.data_manifest = in.bytes(m.data_manifest(), kMaxDataManifest);
    for (const auto& d : m.records()) v.records.push_back(read(in, d));
    return v;
}

ShardSources read(FieldReader& in, const v1::ShardSources& m) {
    ShardSources v;
    v.shard = in.fixed<Digest>(m.shard());
    v.nodes = read_ids<NodeId>(in, m.nodes());
    v.blocks = in.bytes(m.blocks(), kMaxShardBlockHashes);
    v.again_ms = m.again_ms();
    in.check(v.blocks.size() % Digest::size() == 0, "half a hash");
    return v;
}

Look read(FieldReader& in, const v1::Look& m) {
    return {{m.version_min(), m.version_max()}, in.text(m.run_name(), kMaxName), in.bytes(m.token_id(), 64),
            in.bytes(m.token_secret(), 64)};
}

LookAnswer read(FieldReader& in, const v1::LookAnswer& m) {
    return {m.version(), in.bytes(m.manifest(), kMaxManifestBytes), in.bytes(m.data_manifest(), kMaxDataManifest),
            in.choice(m.run_state(), RunState::created, RunState::stopped), Step{m.head()}, m.tokens_committed(),
            m.nodes(), m.step_ms(), m.counted()};
}

}  // namespace

ControlBody read_body(FieldReader& in, const v1::ControlFrame& m) {
    using Frame = v1::ControlFrame;
    switch (m.body_case()) {
        case Frame::kHello: return read(in, m.hello());
        case Frame::kWelcome: return read(in, m.welcome());
        case Frame::kRefusal: return read(in, m.refusal());
        case Frame::kReport: return read(in, m.report());
        case Frame::kOrders: return read(in, m.orders());
        case Frame::kLeaseRequest:
            return LeaseRequest{m.lease_request().request_id(), m.lease_request().sequences()};
        case Frame::kLeaseGrant: return read(in, m.lease_grant());
        case Frame::kLeaseReturn: return read(m.lease_return());
        case Frame::kDecisionsRequest: return DecisionsRequest{Step{m.decisions_request().from()}};
        case Frame::kDecisions: return read(in, m.decisions());
        case Frame::kPlanRequest: return PlanRequest{in.fixed<Digest>(m.plan_request().digest())};
        case Frame::kBlame: return read(in, m.blame());
        case Frame::kLeaving:
            return Leaving{in.choice(m.leaving().when(), LeaveWhen::after_step, LeaveWhen::now)};
        case Frame::kLeft: return Left{};
        case Frame::kReplaced: return Replaced{};
        case Frame::kShardGet:
            in.check(m.shard_get().bytes() <= kMaxShardBlockBytes, "a block beyond the limit");
            return ShardGet{in.fixed<Digest>(m.shard_get().shard()), m.shard_get().offset(), m.shard_get().bytes(),
                            m.shard_get().ask(), read_ids<NodeId>(in, m.shard_get().failed())};
        case Frame::kShardBlock:
            return ShardBlock{in.fixed<Digest>(m.shard_block().shard()), m.shard_block().offset(),
                              in.bytes(m.shard_block().data(), kMaxShardBlockBytes)};
        case Frame::kAdminRequest: return read(in, m.admin_request());
        case Frame::kAdminReply: return read(in, m.admin_reply());
        case Frame::kRebuildAsk:
            return RebuildAsk{Term{m.rebuild_ask().term()},
                              in.choice(m.rebuild_ask().part(), RebuildPart::facts, RebuildPart::decisions),
                              Step{m.rebuild_ask().from()}};
        case Frame::kRebuildAnswer: return read(in, m.rebuild_answer());
        case Frame::kShardSources: return read(in, m.shard_sources());
        case Frame::kLook: return read(in, m.look());
        case Frame::kLookAnswer: return read(in, m.look_answer());
        case Frame::BODY_NOT_SET: break;
    }
    in.reject("no known message");
    return Left{};
}

}  // namespace skerry
