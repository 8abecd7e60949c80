#include "protocol/wire/canonical.hpp"

#include <algorithm>
#include <cmath>

#include "protocol/identity/keys.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry {
namespace {

constexpr std::string_view kManifestTag = "skerry/manifest/1";
constexpr std::string_view kRosterTag = "skerry/roster/1";
constexpr std::string_view kPlanTag = "skerry/plan/1";
constexpr std::string_view kDecisionTag = "skerry/decision/1";

// ------------------------------------------------------------------------------------------- writing

class BodyWriter : public ByteWriter {
  public:
    explicit BodyWriter(std::string_view tag) {
        bytes(as_bytes(tag));
        u8(0);
    }
    template <class Enum>
    void choice(Enum v) { u8(static_cast<std::uint8_t>(v)); }
    void flag(bool v) { u8(v ? 1 : 0); }
    void count(std::size_t n) { u32(static_cast<std::uint32_t>(n)); }
    void hyper(const OuterHyper& v) {
        f32(v.eta);
        f32(v.mu);
    }
    void segments(const std::vector<Segment>& list) {
        count(list.size());
        for (const Segment& s : list) {
            id(s.lease);
            u64(s.from);
            u64(s.to);
        }
    }
};

// ------------------------------------------------------------------------------------------- reading

// A reader that remembers the first thing that was wrong, so that parsers read straight down.
class BodyReader : public ByteReader {
  public:
    BodyReader(ByteSpan body, std::string_view tag) : ByteReader(body) {
        ByteSpan seen = bytes(tag.size());
        bool same = seen.size() == tag.size() && as_text(seen) == tag && u8() == 0;
        if (same) return;
        // "skerry/plan/2" is of a later version, not garbage.
        bool later = seen.size() == tag.size() &&
                     as_text(seen).substr(0, tag.size() - 1) == tag.substr(0, tag.size() - 1);
        reject(later ? Errc::version_mismatch : Errc::malformed, "tag");
    }

    template <class Enum>
    Enum choice(Enum lowest, Enum highest) {
        std::uint8_t v = u8();
        if (v < static_cast<std::uint8_t>(lowest) || v > static_cast<std::uint8_t>(highest)) {
            reject(Errc::malformed, "a value that has no name");
            return lowest;
        }
        return static_cast<Enum>(v);
    }
    bool flag() {
        std::uint8_t v = u8();
        check(v <= 1, "a flag that is not 0 or 1");
        return v == 1;
    }
    float finite() {
        float v = f32();
        check(std::isfinite(v), "NaN or Inf");
        return v;
    }
    OuterHyper hyper() {
        OuterHyper out;
        out.eta = finite();
        out.mu = finite();
        return out;
    }
    std::vector<Segment> segments() {
        std::vector<Segment> out(count(kMaxSegments));
        for (Segment& s : out) {
            s.lease = strong<LeaseId>();
            s.from = u64();
            s.to = u64();
            check(s.from < s.to, "an empty segment");
        }
        return out;
    }

    void check(bool good, std::string_view what) {
        if (!good) reject(Errc::malformed, what);
    }
    void reject(Errc code, std::string_view what) {
        if (!failed_) why_ = what, code_ = code;
        failed_ = true;
    }

    /// The value, if nothing was wrong and nothing is left.
    template <class T>
    Result<T> finish(T value, std::string_view kind) {
        if (failed_) return fail(code_, "bad " + std::string(kind) + ": " + why_);
        if (!ok()) return fail(Errc::malformed, "bad " + std::string(kind) + ": cut short, or a count beyond its limit");
        if (!at_end()) return fail(Errc::malformed, "bad " + std::string(kind) + ": bytes left over");
        return value;
    }

  private:
    bool failed_ = false;
    Errc code_ = Errc::malformed;
    std::string why_;
};

template <class T, class Key>
bool ascends(const std::vector<T>& list, Key key) {
    for (std::size_t i = 1; i < list.size(); ++i)
        if (!(key(list[i - 1]) < key(list[i]))) return false;
    return true;
}

TensorRow read_tensor(BodyReader& in) {
    TensorRow t;
    t.name = in.text(kMaxTensorName);
    t.shape.resize(in.count(kMaxDimensions));
    for (auto& d : t.shape) d = in.u64();
    t.first_element = in.u64();
    t.elements = in.u64();
    t.init_scale = in.finite();
    return t;
}

void check_tensors(BodyReader& in, const Manifest& m) {
    std::uint64_t next = 0;
    for (const TensorRow& t : m.tensors) {
        std::uint64_t product = 1;
        for (std::uint64_t d : t.shape) {
            bool fits = d >= 1 && product <= m.elements / d;  // so the product cannot overflow
            in.check(fits, "a dimension");
            product = fits ? product * d : 0;
        }
        in.check(product == t.elements, "a shape that is not its size");
        in.check(t.first_element == next, "tensors that do not tile the vector");
        next += t.elements;
        if (next > m.elements) break;
    }
    in.check(next == m.elements, "tensors that do not tile the vector");
}

// The rule of rules/piece_grid.hpp, which lies above this folder; a test holds the two together.
bool is_piece_size(std::uint64_t elements, std::uint32_t piece) {
    std::uint64_t share = elements / 256 + (elements % 256 != 0);
    std::uint64_t rounded = (share / 4096 + (share % 4096 != 0)) * 4096;
    return piece == std::min<std::uint64_t>(1U << 20, std::max<std::uint64_t>(4096, rounded));
}

void check_plan(BodyReader& in, const Plan& p) {
    in.check(ascends(p.participants, [](const Participant& x) { return x.node; }), "participants out of order");
    in.check(ascends(p.members, [](const NodeId& x) { return x; }), "members out of order");
    std::uint64_t total = 0;
    for (const Participant& x : p.participants) {
        in.check(std::binary_search(p.members.begin(), p.members.end(), x.node), "a participant that is no member");
        in.check(x.weight_tokens > 0 && x.weight_tokens < (std::uint64_t{1} << 48), "a weight");
        total += x.weight_tokens;
    }
    for (std::uint16_t owner : p.piece_owner) in.check(owner < p.members.size(), "an owner that is no member");
    bool has_chunks = p.kind == EntryKind::commit;
    in.check(has_chunks == (total > 0) && has_chunks == !p.piece_owner.empty(), "a kind that does not fit its chunks");
    in.check(is_rollback(p.kind) ? p.rollback_to <= p.step : p.rollback_to.value == 0, "a step to go back to");
    in.check(p.durable_copies >= 1 && p.durable_copies <= p.members.size(), "more copies than members");
}

std::vector<Participant> read_participants(BodyReader& in) {
    std::vector<Participant> out(in.count(kMaxNodes));
    for (Participant& x : out) {
        x.node = in.fixed<NodeId>();
        x.incarnation = in.strong<Incarnation>();
        x.contribution = in.fixed<Digest>();
        x.weight_tokens = in.u64();
        x.segments = in.segments();
        if (!in.ok()) break;
    }
    return out;
}

std::vector<Credit> read_credits(BodyReader& in) {
    std::vector<Credit> out(in.count(kMaxNodes));
    for (Credit& x : out) {
        x.node = in.fixed<NodeId>();
        x.contribution = in.fixed<Digest>();
        x.weight_tokens = in.u64();
        x.segments = in.segments();
        if (!in.ok()) break;
    }
    return out;
}

RosterEntry read_roster_entry(BodyReader& in) {
    RosterEntry e;
    e.node = in.fixed<NodeId>();
    e.key = in.fixed<PublicKey>();
    e.state = in.choice(NodeState::joining, NodeState::following);
    e.curve = in.fixed<CurveKey>();
    e.incarnation = in.strong<Incarnation>();
    e.addresses.resize(in.count(kMaxAddresses));
    for (Address& a : e.addresses) {
        a.host = in.text(kMaxHost);
        a.port = in.u16();
    }
    e.reachable = in.flag();
    e.name = in.text(kMaxName);
    e.site = in.text(kMaxName);
    in.check(e.node == node_id_of(e.key), "a node id that is not its key's");
    return e;
}

}  // namespace

// ------------------------------------------------------------------------------------------ manifest

Bytes to_bytes(const Manifest& m) {
    BodyWriter out(kManifestTag);
    out.id(m.run);
    out.text(m.name);
    out.u64(m.seed);
    out.u64(m.elements);
    out.u32(m.piece_elements);
    out.choice(m.codec);
    out.choice(m.overlap);
    out.hyper(m.outer);
    out.count(m.tensors.size());
    for (const TensorRow& t : m.tensors) {
        out.text(t.name);
        out.count(t.shape.size());
        for (std::uint64_t d : t.shape) out.u64(d);
        out.u64(t.first_element);
        out.u64(t.elements);
        out.f32(t.init_scale);
    }
    out.text(m.model_json);
    out.text(m.train_json);
    out.id(m.data_manifest);
    out.u64(m.sequences);
    out.u32(m.sequence_tokens);
    out.u64(m.target_tokens);
    out.u32(m.batch_sequences);
    out.u32(m.local_steps);
    out.u32(m.round_ms);
    out.u32(m.min_nodes);
    out.u32(m.durable_copies);
    out.u32(m.max_carry);
    out.u32(m.snapshot_every);
    out.u32(m.evaluate_every);
    out.u32(m.evaluate_sequences);
    out.u64(m.disk_quota_bytes);
    out.id(m.initial_root);
    out.id(m.parent_run);
    out.id(m.parent_step);
    out.id(m.parent_h);
    return out.take();
}

Result<Manifest> parse_manifest(ByteSpan body) {
    if (body.size() > kMaxManifestBytes) return fail(Errc::too_large, "manifest of " + std::to_string(body.size()) + " bytes");
    BodyReader in(body, kManifestTag);
    Manifest m;
    m.run = in.fixed<RunId>();
    m.name = in.text(kMaxName);
    m.seed = in.u64();
    m.elements = in.u64();
    m.piece_elements = in.u32();
    m.codec = in.choice(CodecId::f32, CodecId::a8);
    m.overlap = in.choice(Overlap::none, Overlap::none);
    m.outer = in.hyper();
    std::uint32_t tensors = in.count(kMaxTensors);
    for (std::uint32_t i = 0; i < tensors && in.ok(); ++i) m.tensors.push_back(read_tensor(in));
    m.model_json = in.text(kMaxModelJson);
    m.train_json = in.text(kMaxModelJson);
    m.data_manifest = in.fixed<Digest>();
    m.sequences = in.u64();
    m.sequence_tokens = in.u32();
    m.target_tokens = in.u64();
    m.batch_sequences = in.u32();
    m.local_steps = in.u32();
    m.round_ms = in.u32();
    m.min_nodes = in.u32();
    m.durable_copies = in.u32();
    m.max_carry = in.u32();
    m.snapshot_every = in.u32();
    m.evaluate_every = in.u32();
    m.evaluate_sequences = in.u32();
    m.disk_quota_bytes = in.u64();
    m.initial_root = in.fixed<Digest>();
    m.parent_run = in.fixed<RunId>();
    m.parent_step = in.strong<Step>();
    m.parent_h = in.fixed<Digest>();
    if (in.ok()) {
        in.check(m.elements >= 1 && is_piece_size(m.elements, m.piece_elements), "a piece size that is not the rule's");
        in.check(m.elements / std::max(1U, m.piece_elements) < kMaxPieces, "more pieces than the limit");
        in.check(m.sequences >= 1 && m.sequence_tokens >= 1, "no data");
        in.check(m.min_nodes >= 1 && m.durable_copies >= 1 && m.batch_sequences >= 1 && m.snapshot_every >= 1,
                 "a number that must not be zero");
        in.check(m.parent_run.is_zero() || !m.initial_root.is_zero(), "a fork without its base state");
        in.check(!m.parent_run.is_zero() || (m.parent_step == Step{} && m.parent_h.is_zero()), "a parent's state without a parent");
        check_tensors(in, m);
    }
    return in.finish(std::move(m), "manifest");
}

// -------------------------------------------------------------------------------------------- roster

Bytes to_bytes(const Roster& r) {
    BodyWriter out(kRosterTag);
    out.id(r.run);
    out.id(r.epoch);
    out.count(r.nodes.size());
    for (const RosterEntry& e : r.nodes) {
        out.id(e.node);
        out.id(e.key);
        out.choice(e.state);
        out.id(e.curve);
        out.id(e.incarnation);
        out.count(e.addresses.size());
        for (const Address& a : e.addresses) {
            out.text(a.host);
            out.u16(a.port);
        }
        out.flag(e.reachable);
        out.text(e.name);
        out.text(e.site);
    }
    return out.take();
}

Result<Roster> parse_roster(ByteSpan body) {
    if (body.size() > kMaxFrame) return fail(Errc::too_large, "roster of " + std::to_string(body.size()) + " bytes");
    BodyReader in(body, kRosterTag);
    Roster r;
    r.run = in.fixed<RunId>();
    r.epoch = in.strong<Epoch>();
    std::uint32_t nodes = in.count(kMaxNodes);
    for (std::uint32_t i = 0; i < nodes && in.ok(); ++i) r.nodes.push_back(read_roster_entry(in));
    in.check(ascends(r.nodes, [](const RosterEntry& e) { return e.node; }), "nodes out of order");
    return in.finish(std::move(r), "roster");
}

// ---------------------------------------------------------------------------------------------- plan

Bytes to_bytes(const Plan& p) {
    BodyWriter out(kPlanTag);
    out.id(p.run);
    out.id(p.step);
    out.id(p.term);
    out.id(p.attempt);
    out.id(p.epoch);
    out.choice(p.kind);
    out.u16(p.stage);
    out.u64(p.first_element);
    out.u64(p.elements);
    out.u32(p.fragment);
    out.hyper(p.outer);
    out.u32(p.durable_copies);
    out.count(p.participants.size());
    for (const Participant& x : p.participants) {
        out.id(x.node);
        out.id(x.incarnation);
        out.id(x.contribution);
        out.u64(x.weight_tokens);
        out.segments(x.segments);
    }
    out.count(p.members.size());
    for (const NodeId& m : p.members) out.id(m);
    out.count(p.piece_owner.size());
    for (std::uint16_t o : p.piece_owner) out.u16(o);
    out.id(p.rollback_to);
    return out.take();
}

Result<Plan> parse_plan(ByteSpan body) {
    if (body.size() > kMaxFrame) return fail(Errc::too_large, "plan of " + std::to_string(body.size()) + " bytes");
    BodyReader in(body, kPlanTag);
    Plan p;
    p.run = in.fixed<RunId>();
    p.step = in.strong<Step>();
    p.term = in.strong<Term>();
    p.attempt = in.strong<Attempt>();
    p.epoch = in.strong<Epoch>();
    p.kind = in.choice(EntryKind::commit, EntryKind::loss_accepted);
    p.stage = in.u16();
    p.first_element = in.u64();
    p.elements = in.u64();
    p.fragment = in.u32();
    p.outer = in.hyper();
    p.durable_copies = in.u32();
    p.participants = read_participants(in);
    p.members.resize(in.count(kMaxNodes));
    for (NodeId& m : p.members) m = in.fixed<NodeId>();
    p.piece_owner.resize(in.count(kMaxPieces));
    for (std::uint16_t& o : p.piece_owner) o = in.u16();
    p.rollback_to = in.strong<Step>();
    if (in.ok()) check_plan(in, p);
    return in.finish(std::move(p), "plan");
}

// ------------------------------------------------------------------------------------------ decision

Bytes to_bytes(const Decision& d) {
    BodyWriter out(kDecisionTag);
    out.id(d.run);
    out.id(d.step);
    out.choice(d.kind);
    out.id(d.term);
    out.id(d.attempt);
    out.id(d.plan_digest);
    out.count(d.roots.size());
    for (const Digest& r : d.roots) out.id(r);
    out.u32(d.fragment);
    out.hyper(d.outer);
    out.id(d.rollback_to);
    out.count(d.credits.size());
    for (const Credit& c : d.credits) {
        out.id(c.node);
        out.id(c.contribution);
        out.u64(c.weight_tokens);
        out.segments(c.segments);
    }
    out.u64(d.tokens_after);
    out.id(d.h_after);
    return out.take();
}

Result<Decision> parse_decision(ByteSpan body) {
    if (body.size() > kMaxFrame) return fail(Errc::too_large, "decision of " + std::to_string(body.size()) + " bytes");
    BodyReader in(body, kDecisionTag);
    Decision d;
    d.run = in.fixed<RunId>();
    d.step = in.strong<Step>();
    d.kind = in.choice(EntryKind::commit, EntryKind::loss_accepted);
    d.term = in.strong<Term>();
    d.attempt = in.strong<Attempt>();
    d.plan_digest = in.fixed<Digest>();
    d.roots.resize(in.count(kMaxStages));
    for (Digest& r : d.roots) r = in.fixed<Digest>();
    d.fragment = in.u32();
    d.outer = in.hyper();
    d.rollback_to = in.strong<Step>();
    d.credits = read_credits(in);
    d.tokens_after = in.u64();
    d.h_after = in.fixed<Digest>();
    in.check(!d.roots.empty(), "no root");
    in.check(is_rollback(d.kind) ? d.rollback_to <= d.step : d.rollback_to.value == 0, "a step to go back to");
    in.check(ascends(d.credits, [](const Credit& c) { return c.node; }), "credits out of order");
    return in.finish(std::move(d), "decision");
}

Digest body_digest(ByteSpan body) { return sha256(body); }

}  // namespace skerry
