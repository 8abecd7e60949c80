#include "coordinator/core/admission.hpp"

#include <algorithm>

#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {

namespace {

constexpr VersionRange kVersions{};
constexpr std::size_t kMaxTokens = 4096;
/// What a node's disk may claim: numbers never fall, and never wrap around either.
constexpr Incarnation kMaxClaimed{std::uint64_t{1} << 40};

Refusal refusal_of(Errc code, std::string reason, std::string fix) {
    return {code, std::move(reason), std::move(fix), 0};
}

NodeState state_of(const Hello& hello) { return hello.follow ? NodeState::following : NodeState::joining; }

std::string to_text(const VersionRange& v) {
    return std::to_string(v.min >> 16) + "." + std::to_string(v.min & 0xFFFF) + " to " +
           std::to_string(v.max >> 16) + "." + std::to_string(v.max & 0xFFFF);
}

template <class Fixed>
std::optional<Fixed> fixed_of(const Bytes& bytes) {
    Fixed out;
    if (bytes.size() != out.bytes.size()) return {};
    std::copy(bytes.begin(), bytes.end(), out.bytes.begin());
    return out;
}

}  // namespace

void Admission::hello(const HelloReceived& event) {
    if (c_.sessions.contains(event.session)) return;  // a second Hello of one session says nothing new
    if (auto refusal = check_versions(event.hello)) return refuse(event, *refusal);

    if (Node* node = c_.find(event.node)) {
        if (auto refusal = check_known(*node, event)) return refuse(event, *refusal);
        if (auto refusal = check_role(node, event.hello)) return refuse(event, *refusal);
        if (auto refusal = check_history(event)) return refuse(event, *refusal);
        const Hello& hello = event.hello;
        const bool same_boot = !hello.boot.is_zero() && hello.boot == node->row.boot;
        const bool adopted = node->row.boot.is_zero() && hello.incarnation_in_memory.value > 0;
        if (same_boot || adopted) return resume(*node, event);
        if (hello.incarnation_in_memory.value == 0) return fresh_process(*node, event);
        return replaced(event);
    }
    auto token = check_token(event.hello, event.wall_unix_s);
    if (auto* refusal = std::get_if<Refusal>(&token)) return refuse(event, *refusal);
    if (auto refusal = check_role(nullptr, event.hello)) return refuse(event, *refusal);
    if (auto refusal = check_history(event)) return refuse(event, *refusal);
    admit(event, *std::get<TokenRow*>(token));
}

std::optional<Refusal> Admission::check_versions(const Hello& hello) const {
    if (hello.versions.min > kVersions.max || hello.versions.max < kVersions.min)
        return refusal_of(Errc::version_mismatch,
                          "this coordinator speaks protocol " + to_text(kVersions) + ", the node speaks " +
                              to_text(hello.versions),
                          hello.versions.max < kVersions.min ? "install a newer skerry-node"
                                                             : "install a newer skerry-coordinator");
    if (!hello.run_name.empty() && hello.run_name != c_.manifest.name)
        return refusal_of(Errc::no_such_run, "no run is called " + hello.run_name,
                          "check the run's name in the token");
    const bool changed = c_.first_change || c_.meta.loss_to_record || (c_.open && c_.open->plan.kind != EntryKind::commit);
    if (changed && hello.versions.max < kVersionOfChanges)
        return refusal_of(Errc::version_mismatch,
                          "step " + std::to_string(c_.first_change.value_or(c_.head).value) +
                              " of this run is a rollback or another change, which needs protocol 1.1; the node speaks " +
                              to_text(hello.versions),
                          "install a newer skerry-node");
    if (!c_.manifest.initial_root.is_zero() && hello.versions.max < kVersionOfChanges)
        return refusal_of(Errc::version_mismatch,
                          "this run is a fork, which needs protocol 1.1; the node speaks " + to_text(hello.versions),
                          "install a newer skerry-node");
    return {};
}

std::variant<TokenRow*, Refusal> Admission::check_token(const Hello& hello, std::int64_t wall_unix_s) {
    const std::string ask = "ask the operator for a new token: skerry token create";
    auto id = fixed_of<TokenId>(hello.token_id);
    if (!id) return refusal_of(Errc::token_unknown, "the node is not known here and showed no token", ask);
    auto at = c_.tokens.find(*id);
    const bool known = at != c_.tokens.end() && at->second.kind == TokenKind::join &&
                       at->second.hash == token_hash(hello.token_id, hello.token_secret);
    if (!known) return refusal_of(Errc::token_unknown, "the token is not one of this run", ask);
    TokenRow& token = at->second;
    if (token.revoked) return refusal_of(Errc::token_unknown, "the token was revoked", ask);
    if (token.not_after != 0 && wall_unix_s >= token.not_after)
        return refusal_of(Errc::token_expired, "the token has expired", ask);
    if (token.uses_left == 0) return refusal_of(Errc::token_used_up, "the token was used as often as it allows", ask);
    if (c_.nodes.size() >= kMaxNodes)
        return refusal_of(Errc::refused, "the run has " + std::to_string(kMaxNodes) + " nodes", "");
    return &token;
}

std::optional<Refusal> Admission::check_known(const Node& node, const HelloReceived& event) const {
    if (node.row.state == NodeState::revoked)
        return refusal_of(Errc::revoked, "this node was revoked" +
                              (node.row.reason.empty() ? std::string() : ": " + node.row.reason),
                          "ask the operator; a new identity needs a new token");
    const Hello& hello = event.hello;
    if (node.row.ticket.empty() || hello.ticket == node.row.ticket) return {};
    auto id = fixed_of<TokenId>(hello.token_id);
    auto at = id ? c_.tokens.find(*id) : c_.tokens.end();
    if (at != c_.tokens.end() && !at->second.revoked &&
        at->second.hash == token_hash(hello.token_id, hello.token_secret))
        return {};
    return refusal_of(Errc::token_unknown, "the node is known here but showed neither its ticket nor its token",
                      "join again with a token");
}

/// Who came to train owes the run what it holds, so it follows only once nobody counts on it. And a roster that names
/// followers cannot be read by nodes of before 1.2: one kind keeps the other out.
std::optional<Refusal> Admission::check_role(const Node* node, const Hello& hello) const {
    const bool knows = hello.versions.max >= kVersionOfFollowers;
    if (!knows && hello.follow)
        return refusal_of(Errc::version_mismatch, "to follow a run needs protocol 1.2", "install a newer skerry-node");
    auto listed = [](const Node& n) { return n.current() || n.row.state == NodeState::joining; };
    // A voter of the open step may hold what nobody else does.
    if (hello.follow && node && (listed(*node) || c_.step_members.contains(node->row.node)))
        return refusal_of(Errc::bad_state, "this node is one that trains, and the run counts on it",
                          "skerry leave, or follow from another folder; if it is gone, this ends by itself");
    for (const auto& [id, other] : c_.nodes) {
        if (!knows && other.following())
            return refusal_of(Errc::version_mismatch,
                              "node " + c_.label(id) + " follows the run, which needs protocol 1.2; the node speaks " + to_text(hello.versions),
                              "install a newer skerry-node, or revoke the follower");
        if (!hello.follow || !listed(other) || other.version >= kVersionOfFollowers) continue;
        if (other.version == 0)
            return refusal_of(Errc::bad_state, "node " + c_.label(id) + " has not been here since the coordinator started, and may be too old for followers",
                              "it tries again by itself");
        return refusal_of(Errc::version_mismatch, "node " + c_.label(id) + " is too old for followers: that needs protocol 1.2",
                          "install a newer skerry-node there");
    }
    return {};
}

std::optional<Refusal> Admission::check_history(const HelloReceived& event) {
    const Hello& hello = event.hello;
    if (c_.config.restored) {
        c_.ahead = std::max(c_.ahead, hello.head);
        return refusal_of(Errc::bad_state, "the coordinator was restored from a backup and has not caught up with its nodes yet",
                          "it tries again by itself; the operator runs skerry-coordinator rebuild");
    }
    const Node* node = c_.find(event.node);
    // After a rebuild without this node: it may have heard of the decision that the prepared entry waits for.
    const bool found_open = c_.open && c_.open->row.must_end_decided;
    if (found_open && hello.head == c_.head.next() && hello.seen_term <= c_.term)
        return refusal_of(Errc::bad_state,
                          "this node knows step " + std::to_string(c_.head.value) + " decided; the rebuilt coordinator finishes it first",
                          "it tries again by itself; if that never ends, rebuild again with this node there");
    const bool ahead = hello.head > c_.head || hello.seen_term > c_.term ||
                       (node && hello.incarnation_in_memory > node->row.incarnation && !node->row.boot.is_zero());
    if (ahead) {
        c_.behind.insert(event.node);
        c_.all_dirty = true;
        c_.note(true, "database_behind", {{"peer", event.node.short_hex()},
                                          {"its_head", std::to_string(hello.head.value)},
                                          {"our_head", std::to_string(c_.head.value)},
                                          {"its_term", std::to_string(hello.seen_term.value)},
                                          {"our_term", std::to_string(c_.term.value)}});
        return refusal_of(Errc::database_behind,
                          "this node knows step " + std::to_string(hello.head.value) + " and term " +
                              std::to_string(hello.seen_term.value) + ", the coordinator's database is older",
                          "the operator must rebuild the coordinator's database, or revoke this node");
    }
    c_.behind.erase(event.node);
    auto h = c_.h_at(hello.head);
    if (h && !hello.h_head.is_zero() && *h != hello.h_head)
        return refusal_of(Errc::digest_mismatch, "the node's log differs from the run's at step " +
                              std::to_string(hello.head.value),
                          "remove the node's folder of this run and join again");
    return {};
}

void Admission::admit(const HelloReceived& event, TokenRow& token) {
    --token.uses_left;
    c_.ops.push_back(op::PutToken{token});
    Node& node = c_.nodes[event.node];
    node.row.node = event.node;
    node.row.key = event.key;
    node.row.incarnation = std::min(event.hello.incarnation_on_disk, kMaxClaimed).next();
    node.row.boot = event.hello.boot;
    node.row.ticket = event.fresh_ticket;
    node.row.given.since_unix_s = event.wall_unix_s;
    c_.set_state(node, state_of(event.hello), "");
    attach(node, event);
    welcome(node, event, false);
}

void Admission::fresh_process(Node& node, const HelloReceived& event) {
    const bool disk_is_behind = event.hello.incarnation_on_disk < node.row.incarnation;
    // Numbers never fall: a rebuilt database may know less than the node's disk.
    node.row.incarnation =
        std::max(node.row.incarnation, std::min(event.hello.incarnation_on_disk, kMaxClaimed)).next();
    node.row.boot = event.hello.boot;
    node.restarted = c_.now;
    if (node.report) {
        node.row.given.sent = node.report->sent_bytes;
        node.row.given.received = node.report->received_bytes;
    }
    node.row.given.new_process();
    node.report.reset();
    node.checked_vote.reset();
    node.leaving = false;
    if (node.session) end_session(*node.session, Replaced{});
    const bool trains = node.row.state == NodeState::joining || node.current();
    const bool as_before = event.hello.follow ? node.following() : trains;
    if (!as_before) c_.set_state(node, state_of(event.hello), "");
    c_.requests.erase(event.node);
    c_.ops.push_back(op::DropRequests{event.node});
    c_.roster_changed = true;
    attach(node, event);
    welcome(node, event, disk_is_behind);
}

void Admission::resume(Node& node, const HelloReceived& event) {
    const Hello& hello = event.hello;
    if (node.row.boot.is_zero() || node.row.incarnation < hello.incarnation_in_memory) {
        node.row.boot = hello.boot;
        node.row.incarnation = std::max(node.row.incarnation, std::min(hello.incarnation_in_memory, kMaxClaimed));
        c_.roster_changed = true;
    }
    if (node.session) {
        c_.out.push_back(Close{*node.session});
        c_.sessions.erase(*node.session);
    }
    if (node.row.state == NodeState::away || node.row.state == NodeState::left ||
        node.row.state == NodeState::leaving) {
        node.leaving = false;
        c_.set_state(node, state_of(hello), "");
    }
    // A process that has not seen its first Welcome gets the same answer again.
    const bool disk_is_behind = hello.incarnation_in_memory.value == 0 &&
                                hello.incarnation_on_disk.value + 1 < node.row.incarnation.value;
    attach(node, event);
    welcome(node, event, disk_is_behind);
}

void Admission::attach(Node& node, const HelloReceived& event) {
    const Hello& hello = event.hello;
    NodeRow& row = node.row;
    const bool moved = row.addresses != hello.addresses;
    if (moved || row.key != event.key || row.curve != hello.curve || row.name != hello.node_name || row.site != hello.site) {
        row.key = event.key;  // known already, but for a member of a plan that nodes of a lost coordinator held
        row.addresses = hello.addresses;
        row.curve = hello.curve;
        row.name = hello.node_name;
        row.site = hello.site;
        c_.roster_changed = true;
    }
    if (row.ticket.empty()) row.ticket = event.fresh_ticket;
    if (moved) row.reachable = false;
    node.session = event.session;
    node.heard = c_.now;
    node.expected = false;
    node.version = hello.versions.max;
    node.known_head = hello.head;
    c_.sessions[event.session].node = event.node;
    c_.save(node);
    if (!row.addresses.empty())
        c_.out.push_back(DialBack{event.node, row.incarnation, row.addresses});
    c_.note(false, "session", {{"peer", event.node.short_hex()}, {"name", row.name}, {"from", event.remote},
                               {"incarnation", std::to_string(row.incarnation.value)},
                               {"head", std::to_string(hello.head.value)}});
}

void Admission::welcome(Node& node, const HelloReceived& event, bool disk_is_behind) {
    c_.flush_roster();
    Welcome welcome;
    welcome.version = std::min(kVersions.max, event.hello.versions.max);
    welcome.run = c_.manifest.run;
    welcome.term = c_.term;
    welcome.incarnation = node.row.incarnation;
    welcome.disk_is_behind = disk_is_behind;
    welcome.ticket = node.row.ticket;
    welcome.manifest = c_.run.manifest;
    welcome.data_manifest = c_.run.data_manifest;
    welcome.roster = c_.roster;
    welcome.head = c_.head;
    welcome.h_head = c_.h_head;
    Session& session = c_.sessions[event.session];
    session.roster_sent = c_.meta.epoch;
    session.roster_sent_at = c_.now;
    c_.send(event.session, std::move(welcome));
}

void Admission::end_session(SessionId session, ControlBody last) {
    c_.send(session, std::move(last));
    c_.out.push_back(Close{session});
    c_.sessions.erase(session);
}

void Admission::refuse(const HelloReceived& event, Refusal refusal) {
    c_.note(true, "refused", {{"peer", event.node.short_hex()}, {"from", event.remote},
                              {"code", std::string(to_name(refusal.code))}, {"reason", refusal.reason}});
    c_.out.push_back(Send{event.session, {c_.manifest.run, c_.term, {}, 1, std::move(refusal)}});
    c_.out.push_back(Close{event.session});
}

void Admission::replaced(const HelloReceived& event) {
    c_.note(true, "replaced", {{"peer", event.node.short_hex()}, {"from", event.remote}});
    c_.out.push_back(Send{event.session, {c_.manifest.run, c_.term, {}, 1, Replaced{}}});
    c_.out.push_back(Close{event.session});
}

std::variant<LookAnswer, Error> Admission::look(const NodeId& id, const Look& look, std::int64_t wall_unix_s) {
    Hello hello;
    hello.versions = look.versions;
    hello.run_name = look.run_name;
    hello.token_id = look.token_id;
    hello.token_secret = look.token_secret;
    const auto said = [](const Refusal& r) { return Error{r.code, r.reason, r.fix}; };
    if (auto refusal = check_versions(hello)) return said(*refusal);
    const Node* node = c_.find(id);
    const bool known = node && node->row.state != NodeState::revoked;
    if (!known) {
        auto token = check_token(hello, wall_unix_s);
        if (auto* refusal = std::get_if<Refusal>(&token)) return said(*refusal);
    }
    LookAnswer out;
    out.version = std::min(kVersions.max, look.versions.max);
    out.manifest = c_.run.manifest;
    out.data_manifest = c_.run.data_manifest;
    out.run_state = c_.meta.run_state;
    out.head = c_.head;
    out.tokens_committed = c_.tokens_committed;
    out.nodes = static_cast<std::uint32_t>(c_.current_count());
    if (c_.committed_at.size() >= 2) {
        const auto spent = c_.committed_at.back().first - c_.committed_at.front().first;
        out.step_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<Millis>(spent).count()) / (c_.committed_at.size() - 1);
    }
    out.counted = known && node->current();
    return out;
}

std::optional<Error> Admission::create_token(const TokenRow& token) {
    if (c_.tokens.contains(token.id)) return Error{Errc::already_exists, "a token with this id exists", ""};
    if (c_.tokens.size() >= kMaxTokens)
        return Error{Errc::refused, "the run has " + std::to_string(kMaxTokens) + " tokens", ""};
    c_.tokens.emplace(token.id, token);
    c_.ops.push_back(op::PutToken{token});
    return {};
}

std::optional<Error> Admission::revoke_token(const TokenId& id) {
    auto at = c_.tokens.find(id);
    if (at == c_.tokens.end()) return Error{Errc::not_found, "no token " + id.hex(), "skerry token list"};
    at->second.revoked = true;
    c_.ops.push_back(op::PutToken{at->second});
    return {};
}

std::vector<TokenRow> Admission::list_tokens() const {
    std::vector<TokenRow> list;
    for (const auto& [id, token] : c_.tokens) list.push_back(token);
    return list;
}

}  // namespace skerry::coordinator
