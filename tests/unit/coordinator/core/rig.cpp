#include "tests/unit/coordinator/core/rig.hpp"

#include <gtest/gtest.h>

#include "protocol/base/assert.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/support/memory_journal.hpp"

namespace skerry::test {

Manifest small_manifest() {
    Manifest m;
    m.run.bytes[0] = 7;
    m.name = "reef";
    m.elements = 5 * 4096;
    m.piece_elements = piece_elements_for(m.elements);
    m.codec = CodecId::f32;
    m.tensors = {{"w", {m.elements}, 0, m.elements, 0}};
    m.model_json = "{}";
    m.train_json = "{}";
    m.sequences = 100;
    m.sequence_tokens = 10;
    m.target_tokens = 4000;
    m.batch_sequences = 2;
    m.local_steps = 5;
    m.round_ms = 10'000;
    return m;
}

co::RunRow run_row(const Manifest& manifest) { return {to_bytes(manifest), {'{', '}'}}; }

Digest digest_of(std::uint64_t n) {
    ByteWriter w;
    w.u64(n);
    return sha256(w.view());
}

Signature vote_signature(const PublicKey& key, const Digest& h_after) {
    Signature s;
    std::copy(h_after.bytes.begin(), h_after.bytes.end(), s.bytes.begin());
    std::copy(key.bytes.begin(), key.bytes.end(), s.bytes.begin() + 32);
    return s;
}

Signature result_signature(const PublicKey& key, const Digest& plan, PieceIndex piece, const Digest& leaf) {
    ByteWriter w;
    w.id(plan);
    w.id(piece);
    w.id(leaf);
    return vote_signature(key, sha256(w.view()));
}

co::Signing cheap_signing() {
    co::Signing s;
    s.sign = [](ByteSpan body) { return vote_signature({}, sha256(body)); };
    s.verify_vote = [](const PublicKey& key, const Digest& h, const Signature& sig) {
        return sig == vote_signature(key, h);
    };
    s.verify_result = [](const PublicKey& key, const Digest& plan, PieceIndex piece, const Digest& leaf,
                         const Signature& sig) { return sig == result_signature(key, plan, piece, leaf); };
    return s;
}

Rig::Rig(std::unique_ptr<co::Journal> journal_in, co::CoreConfig config_in)
    : journal(std::move(journal_in)), config(config_in) {
    core = std::make_unique<co::CoordinatorCore>(image(), config, cheap_signing());
    feed(co::Started{});
    if (image().tokens.empty()) make_token(1);
}

Rig::Rig(const Manifest& manifest, co::CoreConfig config_in)
    : Rig(std::make_unique<MemoryJournal>(run_row(manifest)), config_in) {}

co::Image Rig::image() {
    auto loaded = journal->load();
    EXPECT_TRUE(loaded.has_value());
    return std::move(*loaded);
}

co::Actions Rig::feed(co::Event event) {
    co::Actions actions = core->step(now, event);
    for (std::size_t i = 0; i < actions.size(); ++i) {
        EXPECT_TRUE(i == 0 || !std::holds_alternative<co::Persist>(actions[i])) << "a transaction comes first";
        carry_out(actions[i]);
    }
    return actions;
}

void Rig::carry_out(const co::Action& action) {
    if (auto* persist = std::get_if<co::Persist>(&action)) {
        auto done = journal->apply(persist->tx);
        ASSERT_TRUE(done.has_value()) << done.error().detail;
    } else if (auto* dial = std::get_if<co::DialBack>(&action)) {
        dials.push_back(*dial);
    } else if (auto* answer = std::get_if<co::AdminAnswer>(&action)) {
        answers.push_back(*answer);
    } else if (auto* close = std::get_if<co::Close>(&action)) {
        auto at = sessions.find(close->session);
        if (at == sessions.end()) return;
        at->second->closed = true;
        if (at->second->session == close->session) at->second->session = {};
        sessions.erase(at);
    } else if (auto* load = std::get_if<co::LoadDecisions>(&action)) {
        auto records = journal->decisions(load->from, load->max);
        ASSERT_TRUE(records.has_value());
    } else if (auto* out = std::get_if<co::Send>(&action)) {
        auto at = sessions.find(out->session);
        if (at == sessions.end()) return;
        FakeNode& node = *at->second;
        const ControlBody& body = out->message.body;
        if (auto* w = std::get_if<Welcome>(&body)) {
            node.welcome = *w;
            node.ticket = w->ticket;
            node.in_memory = node.on_disk = w->incarnation;
            node.term = w->term;
        }
        if (auto* o = std::get_if<Orders>(&body)) {
            if (o->roster) node.report.epoch = o->epoch;
            if (o->plan && !o->plan->body.empty()) node.plan_body = o->plan->body;
            node.orders = *o;
        }
        if (auto* g = std::get_if<LeaseGrant>(&body)) node.grant = *g;
        if (auto* r = std::get_if<Refusal>(&body)) node.refusal = *r;
        if (std::holds_alternative<Replaced>(body)) node.replaced = true;
        if (std::holds_alternative<Left>(body)) node.left = true;
    }
}

void Rig::pass(Millis time, const std::vector<FakeNode*>& reporting) {
    const Mono end = now + time;
    Mono next_report = now;
    while (now < end) {
        now = std::min(end, now + Millis(250));
        feed(co::Tick{});
        if (now < next_report) continue;
        next_report = now + Millis(1000);
        for (FakeNode* node : reporting) report(*node);
    }
}

void Rig::restart() {
    core = std::make_unique<co::CoordinatorCore>(image(), config, cheap_signing());
    for (auto& [id, node] : sessions) node->session = {};
    sessions.clear();
    feed(co::Started{});
}

co::TokenRow Rig::make_token(std::uint8_t n, std::uint32_t uses, std::int64_t not_after) {
    co::TokenRow row;
    row.id.bytes.fill(n);
    row.hash = token_hash(Bytes(8, n), Bytes(16, n));
    row.uses_left = uses;
    row.not_after = not_after;
    EXPECT_FALSE(admin(co::admin::CreateToken{row}));
    return row;
}

FakeNode& Rig::make_node(const std::string& name) {
    FakeNode& node = nodes.emplace_back();
    node.name = name;
    node.id.bytes[0] = next_node_;
    node.key.bytes[0] = next_node_;
    node.boot.bytes[0] = next_node_++;
    node.report.h_head = chain_start(body_digest(run_row(core->manifest()).manifest));
    return node;
}

void Rig::hello_with(FakeNode& node, Bytes token_id, Bytes token_secret, std::int64_t wall) {
    node.session = co::SessionId{next_session_++};
    node.seq = 0;
    node.closed = false;
    node.welcome.reset();
    node.refusal.reset();
    sessions[node.session] = &node;
    Hello h;
    h.versions = node.versions;
    h.follow = node.follow;
    h.run_name = "reef";
    h.node_name = node.name;
    h.curve.bytes[0] = node.key.bytes[0];
    h.addresses = {{"192.0.2." + std::to_string(node.key.bytes[0]), 7610}};
    h.token_id = std::move(token_id);
    h.token_secret = std::move(token_secret);
    h.ticket = node.ticket;
    h.boot = node.boot;
    h.incarnation_in_memory = node.in_memory;
    h.incarnation_on_disk = node.on_disk;
    h.seen_term = node.term;
    h.head = node.report.head;
    h.h_head = node.report.h_head;
    feed(co::HelloReceived{node.session, node.key, node.id, h, "test", wall, Bytes(16, node.key.bytes[0])});
}

void Rig::hello(FakeNode& node, std::int64_t wall) {
    if (node.ticket.empty()) return hello_with(node, Bytes(8, 1), Bytes(16, 1), wall);
    hello_with(node, {}, {}, wall);
}

void Rig::send(FakeNode& node, ControlBody body) {
    if (node.session == co::SessionId{}) return;
    feed(co::MessageReceived{node.session,
                             {core->manifest().run, node.term, node.in_memory, ++node.seq, std::move(body)}});
}

void Rig::drop(FakeNode& node) {
    const auto session = node.session;
    sessions.erase(session);
    node.session = {};
    feed(co::SessionClosed{session});
}

FakeNode& Rig::join(const std::string& name) {
    FakeNode& node = make_node(name);
    hello(node);
    apply(node);
    return node;
}

std::vector<LeaseInfo> Rig::lease(FakeNode& node, std::uint64_t sequences) {
    node.grant.reset();
    send(node, LeaseRequest{next_request_++, sequences});
    return node.grant ? node.grant->leases : std::vector<LeaseInfo>{};
}

void Rig::ready(FakeNode& node, std::uint64_t contribution) {
    if (!node.orders || node.orders->leases.empty()) lease(node, 10);
    ReadyState r;
    r.step = node.report.head;
    r.contribution = digest_of(contribution);
    r.loss = 2.0;
    for (const LeaseInfo& l : node.orders->leases) {
        r.segments.push_back({l.id, l.done, l.hi});
        r.weight_tokens += (l.hi - l.done) * core->manifest().sequence_tokens;
    }
    node.report.ready = r;
    report(node);
}

void Rig::ready_idle(FakeNode& node) {
    node.report.ready = ReadyState{};
    node.report.ready->step = node.report.head;
    report(node);
}

void Rig::vote(FakeNode& node, std::uint64_t root, bool durable) {
    ASSERT_TRUE(node.orders && node.orders->plan);
    const co::PlanRow row = *image().plan;
    const Plan p = plan();
    std::uint64_t tokens = status().tokens_committed;
    for (const Participant& x : p.participants) tokens += x.weight_tokens;
    const Digest roots[] = {digest_of(root)};
    const Digest h = chain_next(node.report.h_head, p.step, p.kind, row.digest, roots, tokens);
    node.report.prepared = PreparedState{row.digest, roots[0], durable, vote_signature(node.key, h)};
    report(node);
}

void Rig::apply(FakeNode& node) {
    const auto s = status();
    node.report.head = s.head;
    node.report.h_head = s.h_head;
    node.report.log_synced_to = s.head;
    node.report.ready.reset();
    node.report.prepared.reset();
    node.report.exchange.reset();
    report(node);
}

std::optional<Error> Rig::admin(co::AdminVerb verb) {
    answers.clear();
    feed(co::AdminCommand{1, std::move(verb)});
    EXPECT_EQ(answers.size(), 1U);
    return answers.at(0).error;
}

bool Rig::has_plan() const { return journal->load()->plan.has_value(); }

Plan Rig::plan() const {
    auto row = journal->load()->plan;
    SKERRY_ASSERT(row.has_value());
    return *parse_plan(row->body);
}

const co::NodeStatus& Rig::node_status(const FakeNode& node) {
    last_status_ = status();
    for (const co::NodeStatus& s : last_status_.nodes)
        if (s.node == node.id) return s;
    SKERRY_ASSERT(false);
}

}  // namespace skerry::test
