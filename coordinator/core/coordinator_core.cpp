#include "coordinator/core/coordinator_core.hpp"

#include <algorithm>

#include "coordinator/core/admission.hpp"
#include "coordinator/core/orders.hpp"
#include "protocol/base/assert.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {

constexpr Millis kTick{250};
constexpr std::size_t kRangesPerGrant = 64;
constexpr std::size_t kLeasesPerNode = 128;
constexpr std::uint64_t kTimedRoundSequences = 1 << 20;  ///< rounds by time: the node knows its pace

template <class... Fs>
struct Overloaded : Fs... {
    using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

}  // namespace

struct CoordinatorCore::Parts {
    Parts(Image image, CoreConfig config, Signing signing)
        : c(std::move(image), config, std::move(signing)), saved_meta(c.meta) {}

    Context c;
    MetaRow saved_meta;
    Admission admission{c};
    Membership membership{c};
    StepMachine steps{c};
    OrdersDesk desk{c, membership, steps};
    std::map<NodeId, Incarnation> seen;  ///< to notice a new process
    bool started = false;

    Actions finish();
    void start();
    void message(const MessageReceived& event);
    void node_message(SessionId session, Node& node, const ControlBody& body);
    void lease_request(SessionId session, Node& node, const LeaseRequest& request);
    void lease_return(Node& node, const LeaseReturn& message);
    std::uint64_t sequences_due(const Node& node, std::uint64_t asked) const;
    void admin(const AdminCommand& command);
    void flush_meta();
};

CoordinatorCore::CoordinatorCore(Image image, CoreConfig config, Signing signing)
    : parts_(std::make_unique<Parts>(std::move(image), config, std::move(signing))) {}
CoordinatorCore::~CoordinatorCore() = default;
CoordinatorCore::CoordinatorCore(CoordinatorCore&&) noexcept = default;
CoordinatorCore& CoordinatorCore::operator=(CoordinatorCore&&) noexcept = default;

Actions CoordinatorCore::step(Mono now, const Event& event) {
    Parts& p = *parts_;
    SKERRY_ASSERT(p.started ? now >= p.c.now : std::holds_alternative<Started>(event));
    p.c.now = now;
    std::visit(Overloaded{
                   [&](const Started&) { p.start(); },
                   [&](const Tick&) {},
                   [&](const HelloReceived& e) { p.admission.hello(e); },
                   [&](const MessageReceived& e) { p.message(e); },
                   [&](const SessionClosed& e) { p.membership.session_closed(e.session); },
                   [&](const DialBackDone& e) { p.membership.dial_back_done(e); },
                   [&](const DecisionsLoaded& e) { p.c.send(e.session, Decisions{e.records}); },
                   [&](const AdminCommand& e) { p.admin(e); },
               },
               event);
    return p.finish();
}

Mono CoordinatorCore::next_wake() const { return parts_->c.now + kTick; }
RunStatus CoordinatorCore::status(Mono now) const { return parts_->desk.status(now); }
CoordinatorCore::Standing CoordinatorCore::standing() const {
    const Context& c = parts_->c;
    return {c.open.has_value(), !c.hold_reason.empty(), c.meta.run_state};
}
const Manifest& CoordinatorCore::manifest() const { return parts_->c.manifest; }
Term CoordinatorCore::term() const { return parts_->c.term; }
Step CoordinatorCore::head() const { return parts_->c.head; }
Attempt CoordinatorCore::attempt() const { return parts_->c.open ? parts_->c.open->row.attempt : Attempt{}; }
std::size_t CoordinatorCore::sessions() const { return parts_->c.sessions.size(); }
std::optional<NodeState> CoordinatorCore::state_of(const NodeId& node) const {
    const Node* known = parts_->c.find(node);
    return known ? std::optional(known->row.state) : std::nullopt;
}

void CoordinatorCore::Parts::start() {
    SKERRY_ASSERT(!started);
    started = true;
    c.term = c.term.next();
    c.ops.push_back(op::ClaimTerm{c.term});
    for (auto& [id, node] : c.nodes) {
        node.heard = c.now;
        node.expected = true;
        node.joining_since = c.now;
        seen[id] = node.row.incarnation;
    }
    c.restore_roster();
    membership.started();
    steps.started();
}

/// What every event ends with: states that time brought, the step, Orders; then one transaction, first.
Actions CoordinatorCore::Parts::finish() {
    for (auto& [id, node] : c.nodes) {
        if (seen[id] == node.row.incarnation) continue;
        SKERRY_ASSERT(seen[id] < node.row.incarnation);  // I13
        seen[id] = node.row.incarnation;
        steps.node_restarted(id);
    }
    membership.settle();
    c.tied = membership.tied();
    c.flush_roster();  // a plan names the epoch
    steps.evaluate();
    membership.settle();
    c.flush_roster();
    desk.refresh_phases();
    desk.flush();
    c.flush_rows();
    flush_meta();

    Actions actions;
    if (!c.ops.empty()) actions.push_back(Persist{{c.term, std::move(c.ops)}});
    std::move(c.out.begin(), c.out.end(), std::back_inserter(actions));
    c.ops.clear();
    c.out.clear();
    return actions;
}

void CoordinatorCore::Parts::flush_meta() {
    c.meta.next_lease = c.ledger.next_lease();
    c.meta.tail = c.ledger.tail();
    if (c.meta == saved_meta) return;
    SKERRY_ASSERT(c.meta.epoch >= saved_meta.epoch && c.meta.next_lease >= saved_meta.next_lease);  // I13
    saved_meta = c.meta;
    c.ops.push_back(op::PutMeta{c.meta});
}

// ---------------------------------------------------------------------------------------- node messages

void CoordinatorCore::Parts::message(const MessageReceived& event) {
    auto at = c.sessions.find(event.session);
    if (at == c.sessions.end()) {
        ++c.dropped;
        c.out.push_back(Close{event.session});
        return;
    }
    const ControlMessage& m = event.message;
    Node& node = c.nodes.at(at->second.node);
    const bool fits = m.run == c.manifest.run && m.term == c.term && m.incarnation == node.row.incarnation &&
                      m.seq > at->second.seq_in;
    if (!fits) {  // the heartbeat tells the current tuple
        ++c.dropped;
        return;
    }
    at->second.seq_in = m.seq;
    node_message(event.session, node, m.body);
}

void CoordinatorCore::Parts::node_message(SessionId session, Node& node, const ControlBody& body) {
    std::visit(Overloaded{
                   [&](const Report& r) {
                       membership.report(node, r);
                       if (node.report) steps.report(node, *node.report);
                   },
                   [&](const LeaseRequest& r) { lease_request(session, node, r); },
                   [&](const LeaseReturn& r) { lease_return(node, r); },
                   [&](const DecisionsRequest& r) {
                       c.out.push_back(LoadDecisions{session, r.from, kMaxDecisionsPerFrame});
                   },
                   [&](const PlanRequest& r) {
                       if (c.open && c.open->row.digest == r.digest) c.sessions.at(session).plan_sent = {};
                       c.touch(node);
                   },
                   [&](const Blame& b) { steps.blame(node, b); },
                   [&](const Leaving& l) { membership.leaving(node, l); },
                   [&](const auto&) { ++c.dropped; },
               },
               body);
}

std::uint64_t CoordinatorCore::Parts::sequences_due(const Node& node, std::uint64_t asked) const {
    const bool may = node.current() && !node.leaving && c.meta.run_state == RunState::running && c.behind.empty();
    const auto held = c.ledger.held_by(node.row.node);
    if (!may || held.size() + kRangesPerGrant > kLeasesPerNode) return 0;
    std::uint64_t ahead = 0;
    for (LeaseId id : held) ahead += c.ledger.find(id)->hi - c.ledger.find(id)->done;
    if (node.report && node.report->ready)
        for (const Segment& s : node.report->ready->segments)
            if (c.ledger.fits(node.row.node, s)) ahead -= s.to - s.from;
    const std::uint64_t round = c.local_sequences();
    if (round == 0) return std::min(asked, kTimedRoundSequences);
    // Two rounds ahead; at the end of the data an equal share, so that nobody is left without.
    std::uint64_t due = std::min(asked, 2 * round - std::min(2 * round, ahead));
    const std::uint64_t nodes = std::max<std::uint64_t>(1, c.current_count());
    if (c.ledger.available() < 2 * round * nodes) {
        const std::uint64_t share = (c.ledger.available() + nodes - 1) / nodes;
        due = std::min(due, std::max<std::uint64_t>(share, c.manifest.batch_sequences));
    }
    return due;
}

void CoordinatorCore::Parts::lease_request(SessionId session, Node& node, const LeaseRequest& request) {
    const NodeId& id = node.row.node;
    auto& answered = c.requests[id];
    for (const RequestRow& row : answered)
        if (row.request_id == request.request_id && row.incarnation == node.row.incarnation)
            return c.send(session, LeaseGrant{request.request_id, row.leases});
    RequestRow row{id, node.row.incarnation, request.request_id, {}};
    const std::uint64_t due = sequences_due(node, request.sequences);
    for (const LeaseRow& lease : c.ledger.grant(id, due, kRangesPerGrant, c.head, c.ops))
        row.leases.push_back({lease.id, lease.lo, lease.hi, lease.done, false});
    if (!row.leases.empty()) {
        c.ops.push_back(op::PutRequest{row});
        answered.push_back(row);
        if (answered.size() > kRequestsPerNode) answered.pop_front();
        c.touch(node);
    }
    c.send(session, LeaseGrant{request.request_id, std::move(row.leases)});
}

void CoordinatorCore::Parts::lease_return(Node& node, const LeaseReturn& message) {
    for (LeaseId id : message.leases) {
        const LeaseRow* lease = c.ledger.find(id);
        if (!lease || lease->holder != node.row.node || c.pinned(id)) continue;
        c.ledger.release(id, c.ops);
        c.touch(node);
    }
}

// --------------------------------------------------------------------------------------- administration

void CoordinatorCore::Parts::admin(const AdminCommand& command) {
    AdminAnswer answer;
    answer.id = command.id;
    std::visit(Overloaded{
                   [&](const admin::CreateToken& v) { answer.error = admission.create_token(v.token); },
                   [&](const admin::RevokeToken& v) { answer.error = admission.revoke_token(v.id); },
                   [&](const admin::ListTokens&) { answer.value = admission.list_tokens(); },
                   [&](const admin::RevokeNode& v) { answer.error = membership.revoke(v.node, v.reason); },
                   [&](const admin::ClearNode& v) { answer.error = membership.clear(v.node); },
                   [&](const admin::StartRun&) { answer.error = steps.start_run(); },
                   [&](const admin::PauseRun&) { answer.error = steps.pause_run(); },
                   [&](const admin::StopRun& v) { answer.error = steps.stop_run(v.now); },
                   [&](const admin::Rollback& v) { answer.error = steps.roll_back(v); },
                   [&](const admin::Configure& v) { answer.error = steps.configure(v); },
                   [&](const admin::GetStatus&) { answer.value = desk.status(c.now); },
                   [&](const admin::LookAt& v) {
                       auto said = admission.look(v.node, v.look, v.wall_unix_s);
                       if (auto* error = std::get_if<Error>(&said)) answer.error = std::move(*error);
                       else answer.value = std::get<LookAnswer>(std::move(said));
                   },
               },
               command.verb);
    c.out.push_back(std::move(answer));
}

}  // namespace skerry::coordinator
