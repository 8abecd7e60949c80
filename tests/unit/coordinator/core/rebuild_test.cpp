// The rebuild drill: whose word counts, what the nodes hold comes to, and what is made of it.

#include "coordinator/core/rebuild.hpp"

#include <gtest/gtest.h>

#include "coordinator/core/rebuild_base.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/rules/chain.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/limits.hpp"
#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

using co::RebuildDesk;

struct Teller {
    PublicKey key;
    NodeId id;
    Hello hello;
    RebuildAnswer facts;  ///< without term and part
    std::vector<SignedDecision> records;
    bool silent = false;  ///< for questions of bulk
    co::SessionId session{};
    std::uint64_t seq = 0;
    std::vector<RebuildAsk> asked;
    std::optional<Refusal> refusal;
};

struct RebuildTest : testing::Test {
    Manifest manifest = small_manifest();
    co::RunRow run;
    std::deque<Teller> tellers;
    std::map<co::SessionId, Teller*> sessions;
    std::uint64_t next_session = 1;
    std::optional<RebuildDesk> desk;
    Mono now{Millis(1'000'000)};
    std::vector<SignedDecision> history;  ///< of the run
    std::vector<Digest> h;                ///< of S_k

    void SetUp() override {
        manifest.durable_copies = 2;
        manifest.min_nodes = 2;
        run = run_row(manifest);
        manifest.data_manifest = sha256(run.data_manifest);
        run = run_row(manifest);
        h = {chain_start(body_digest(run.manifest))};
    }
    Teller& node(std::uint8_t n, Term seen = Term{5}) {
        Teller& out = tellers.emplace_back();
        out.key.bytes.fill(n);
        out.id = node_id_of(out.key);
        out.hello.run_name = manifest.name;
        out.hello.node_name = "n" + std::to_string(n);
        out.hello.seen_term = seen;
        out.hello.boot.bytes.fill(n);
        out.hello.incarnation_in_memory = Incarnation{1};
        out.facts.incarnation = Incarnation{1};
        return out;
    }
    SignedDecision make(std::uint64_t step, Digest before, std::vector<const Teller*> voters, std::uint64_t salt = 0) {
        Decision d;
        d.run = manifest.run;
        d.step = Step{step};
        d.term = Term{5};
        d.attempt = Attempt{1};
        d.plan_digest = digest_of(1000 + step + salt);
        d.roots = {digest_of(step + salt)};
        d.h_after = chain_next(before, d);
        SignedDecision out;
        out.decision.body = to_bytes(d);
        for (const Teller* v : voters) out.voters.push_back({v->id, v->key, vote_signature(v->key, d.h_after)});
        return out;
    }
    static Digest after(const SignedDecision& record) { return parse_decision(record.decision.body)->h_after; }
    void decide(int steps, std::vector<const Teller*> voters) {
        for (int i = 0; i < steps; ++i) {
            history.push_back(make(history.size(), h.back(), voters));
            h.push_back(after(history.back()));
        }
    }
    SignedBody roster(std::uint64_t epoch, std::vector<const Teller*> nodes, bool genuine = false) {
        Roster r;
        r.run = manifest.run;
        r.epoch = Epoch{epoch};
        for (const Teller* t : nodes) {
            RosterEntry e;
            e.node = t->id;
            e.key = t->key;
            e.name = t->hello.node_name;
            e.state = NodeState::current;
            r.nodes.push_back(e);
        }
        std::sort(r.nodes.begin(), r.nodes.end(), [](const auto& x, const auto& y) { return x.node < y.node; });
        SignedBody out{to_bytes(r), {}};
        if (genuine) out.signature = cheap_signing().sign(out.body);
        return out;
    }
    /// It holds the run's first `known` decisions.
    void holds(Teller& t, std::size_t known, SignedBody body) {
        t.records.assign(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(known));
        t.facts.known = Step{known};
        t.facts.h_known = h[known];
        t.facts.roster = std::move(body);
    }
    void open(std::set<NodeId> named = {}) { desk.emplace(manifest.name, std::move(named), cheap_signing()); }
    void dial(Teller& t) {
        if (t.session != co::SessionId{}) sessions.erase(t.session);
        t.session = co::SessionId{next_session++};
        t.seq = 0;
        sessions[t.session] = &t;
        co::HelloReceived event;
        event.session = t.session;
        event.key = t.key;
        event.node = t.id;
        event.hello = t.hello;
        carry_out(desk->hello(event));
    }
    void hang_up(Teller& t) {
        sessions.erase(t.session);
        carry_out(desk->closed(std::exchange(t.session, {})));
    }
    void pass(Millis time) {
        for (const Mono end = now + time; now < end;) {
            now += Millis(200);
            carry_out(desk->tick(now));
        }
    }
    /// Nodes answer at once.
    void carry_out(const co::Actions& actions) {
        for (const co::Action& action : actions) {
            if (const auto* close = std::get_if<co::Close>(&action)) {
                auto at = sessions.find(close->session);
                if (at == sessions.end()) continue;
                at->second->session = {};
                sessions.erase(at);
            }
            const auto* send = std::get_if<co::Send>(&action);
            auto at = send ? sessions.find(send->session) : sessions.end();
            if (at == sessions.end()) continue;
            Teller& t = *at->second;
            if (const auto* refused = std::get_if<Refusal>(&send->message.body)) t.refusal = *refused;
            if (const auto* ask = std::get_if<RebuildAsk>(&send->message.body)) answer(t, *ask);
        }
    }
    void answer(Teller& t, const RebuildAsk& ask) {
        t.asked.push_back(ask);
        EXPECT_GE(ask.term, t.hello.seen_term) << "a node does not answer that";
        t.hello.seen_term = ask.term;
        if (t.silent && ask.part != RebuildPart::facts) return;
        RebuildAnswer out;
        if (ask.part == RebuildPart::facts) out = t.facts;
        if (ask.part == RebuildPart::manifest) {
            out.manifest = run.manifest;
            out.data_manifest = run.data_manifest;
        }
        if (ask.part == RebuildPart::decisions)
            for (std::size_t k = ask.from.value; k < t.records.size() && out.records.size() < 3; ++k) out.records.push_back(t.records[k]);
        out.term = ask.term;
        out.part = ask.part;
        carry_out(desk->message({t.session, {manifest.run, ask.term, {}, ++t.seq, out}}));
    }
    /// As the program does for `yes`.
    std::set<NodeId> listed() const {
        std::set<NodeId> out;
        for (const auto& n : desk->status().nodes)
            if (n.member && n.answered) out.insert(n.node);
        return out;
    }
    co::Image image_of(const co::Rebuilt& rebuilt) {
        MemoryJournal journal(rebuilt.run);
        auto done = journal.apply(rebuilt.tx);
        EXPECT_TRUE(done) << done.error().detail;
        return *journal.load();
    }
    static co::NodeRow row_of(const co::Image& image, const Teller& t) {
        for (const co::NodeRow& row : image.nodes)
            if (row.node == t.id) return row;
        ADD_FAILURE() << "no row of " << t.hello.node_name;
        return {};
    }
    static bool has_row(const co::Image& image, const Teller& t) {
        return std::any_of(image.nodes.begin(), image.nodes.end(), [&](const auto& row) { return row.node == t.id; });
    }
    Teller& a = node(1);
    Teller& b = node(2);
    Teller& c = node(3);
};

TEST_F(RebuildTest, NodesAreLookedAtInTheirOwnTermAndBoundOnceConfirmed) {
    decide(7, {&a, &b});
    b.hello.seen_term = Term{6};
    for (Teller* t : {&a, &b, &c}) holds(*t, 7, roster(4, {&a, &b, &c}));
    open();
    for (Teller* t : {&a, &b, &c}) dial(*t);
    EXPECT_EQ(a.asked.at(0).term, Term{5});
    EXPECT_EQ(b.asked.at(0).term, Term{6});
    EXPECT_EQ(desk->status().answered, 3U);
    EXPECT_FALSE(desk->status().enough()) << "nothing is taken before that";
    carry_out(desk->confirm(listed()));
    ASSERT_TRUE(desk->status().all());
    EXPECT_EQ(a.hello.seen_term, Term{1006});
    auto rebuilt = desk->finish(false);
    ASSERT_TRUE(rebuilt) << rebuilt.error().detail;
    const co::Image image = image_of(*rebuilt);
    EXPECT_EQ(image.head, Step{7});
    EXPECT_EQ(image.term, Term{1006});
    EXPECT_EQ(image.decisions.back().h_after, h.back());
    EXPECT_EQ(image.meta.run_state, RunState::running);
    EXPECT_EQ(row_of(image, a).state, NodeState::joining);
    EXPECT_EQ(row_of(image, a).key, a.key);
}

TEST_F(RebuildTest, AStrangerHasNoPartInTermChainOrMembers) {
    decide(4, {&a, &b});
    for (Teller* t : {&a, &b}) holds(*t, 4, roster(4, {&a, &b}));
    Teller& far = node(9, Term{std::uint64_t{1} << 41});
    Teller& liar = node(8, Term{std::uint64_t{1} << 39});
    holds(liar, 0, {});
    liar.facts.known = Step{1000};
    open();
    dial(far);
    ASSERT_TRUE(far.refusal) << "a term that would wrap around";
    dial(liar);
    dial(a);
    dial(b);
    EXPECT_EQ(a.hello.seen_term, Term{5}) << "nobody but its confirmation binds a node";
    EXPECT_EQ(desk->status().members, 2U);
    carry_out(desk->confirm(listed()));
    EXPECT_EQ(liar.session, co::SessionId{}) << "let go";
    EXPECT_EQ(a.hello.seen_term, Term{1005});
    const auto status = desk->status();
    EXPECT_TRUE(status.all()) << status.fork << status.unproven;
    dial(liar);
    EXPECT_TRUE(liar.refusal);
    auto rebuilt = desk->finish(false);
    ASSERT_TRUE(rebuilt) << rebuilt.error().detail;
    EXPECT_FALSE(has_row(image_of(*rebuilt), liar));
    EXPECT_EQ(rebuilt->tx.term, Term{1005});
}

TEST_F(RebuildTest, StrangersThatAreGoneTakeNoPlace) {
    open();
    for (std::size_t i = 0; i < kMaxNodes + 8; ++i) {
        Teller& stranger = node(0);
        for (std::size_t k = 0; k < 4; ++k) stranger.key.bytes[k] = static_cast<std::uint8_t>(i >> (8 * k));
        stranger.id = node_id_of(stranger.key);
        dial(stranger);
        ASSERT_FALSE(stranger.refusal);
        hang_up(stranger);
    }
    holds(a, 0, roster(1, {&a}));
    dial(a);
    EXPECT_EQ(desk->status().nodes.size(), 1U);
}

TEST_F(RebuildTest, FewMaySendLargeFramesAtOnce) {
    open();
    std::size_t asked = 0;
    for (std::uint8_t n = 10; n < 60; ++n) {
        Teller& t = node(n);
        co::HelloReceived event;
        event.session = co::SessionId{next_session++};
        event.key = t.key;
        event.node = t.id;
        event.hello = t.hello;
        for (const co::Action& action : desk->hello(event))
            if (std::get_if<co::Send>(&action)) ++asked;
    }
    EXPECT_EQ(asked, 16U);
    // They say nothing: after a while it is the others' turn.
    std::size_t later = 0;
    for (int i = 0; i < 110; ++i, now += Millis(200))
        for (const co::Action& action : desk->tick(now))
            if (std::get_if<co::Send>(&action)) ++later;
    EXPECT_EQ(later, 16U);
}

TEST_F(RebuildTest, MadeUpKeysProveNoStep) {
    decide(4, {&a, &b});
    for (Teller* t : {&a, &b, &c}) holds(*t, 4, roster(4, {&a, &b, &c}));
    Teller& x = node(21);
    Teller& y = node(22);
    // c goes on alone, with nodes that it made up; its roster names them.
    c.records.push_back(make(4, h.back(), {&x, &y}));
    c.facts.known = Step{5};
    c.facts.h_known = after(c.records.back());
    c.facts.roster = roster(9, {&a, &b, &c, &x, &y});
    open({a.id, b.id, c.id});
    for (Teller* t : {&c, &a, &b}) dial(*t);
    EXPECT_NE(desk->status().unproven, "");
    EXPECT_FALSE(desk->status().enough());
    auto refused = desk->finish(true);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().detail.find("n3"), std::string::npos) << refused.error().detail;
}

TEST_F(RebuildTest, AStepThatOneNodeKnowsIsTakenIfTheOthersKnowWhoVoted) {
    decide(4, {&a, &b});
    for (Teller* t : {&a, &c}) holds(*t, 3, roster(4, {&a, &b, &c}));
    holds(c, 4, roster(4, {&a, &b, &c}));
    open({a.id, c.id});
    for (Teller* t : {&a, &c}) dial(*t);
    auto rebuilt = desk->finish(false);
    ASSERT_TRUE(rebuilt) << rebuilt.error().detail;
    EXPECT_EQ(rebuilt->head, Step{4});
    EXPECT_EQ(row_of(image_of(*rebuilt), b).state, NodeState::away);
}

TEST_F(RebuildTest, OneConfirmedNodeIsEnoughWhereOneMayBeLost) {
    decide(4, {&a, &b});
    holds(a, 4, roster(4, {&a, &b}));
    open({a.id});
    dial(a);
    EXPECT_TRUE(desk->status().enough()) << desk->status().unproven;
    EXPECT_FALSE(desk->status().all());
    EXPECT_TRUE(desk->finish(false));
}

TEST_F(RebuildTest, AFollowerIsNotWaitedForAndWhatItKnowsIsOfUse) {
    Teller& f = c;
    decide(3, {&a, &b});
    SignedBody body = roster(4, {&a, &b, &f});
    Roster parsed = *parse_roster(body.body);
    for (RosterEntry& entry : parsed.nodes)
        if (entry.node == f.id) entry.state = NodeState::following;
    body.body = to_bytes(parsed);
    holds(a, 2, body);
    holds(b, 2, body);
    holds(f, 3, body);
    open();
    for (Teller* t : {&a, &b}) dial(*t);
    desk->confirm({a.id, b.id, f.id});
    for (Teller* t : {&a, &b}) dial(*t);
    pass(Millis(1000));
    EXPECT_EQ(desk->status().members, 2U);
    EXPECT_EQ(desk->status().answered, 2U);
    EXPECT_TRUE(desk->status().enough());
    EXPECT_EQ(desk->status().head, Step{2});
    dial(f);
    pass(Millis(1000));
    EXPECT_EQ(desk->status().members, 2U);
    EXPECT_EQ(desk->status().head, Step{3}) << "the votes in its records prove them";
    auto rebuilt = desk->finish(false);
    ASSERT_TRUE(rebuilt) << rebuilt.error().detail;
    std::map<NodeId, NodeState> states;
    for (const co::Op& o : rebuilt->tx.ops)
        if (const auto* put = std::get_if<co::op::PutNode>(&o)) states[put->node.node] = put->node.state;
    EXPECT_EQ(states, (std::map<NodeId, NodeState>{{a.id, NodeState::joining}, {b.id, NodeState::joining}, {f.id, NodeState::following}}));
}

TEST_F(RebuildTest, BadRecordsOfOneAreTakenFromAnother) {
    decide(5, {&a, &b});
    for (Teller* t : {&a, &b, &c}) holds(*t, 5, roster(4, {&a, &b, &c}));
    for (Teller* t : {&a, &b})
        if (t->id == std::min(a.id, b.id)) t->records[3].voters.clear();
    c.records[2] = make(2, digest_of(77), {&a, &b});
    open({a.id, b.id, c.id});
    for (Teller* t : {&a, &b, &c}) dial(*t);
    const auto status = desk->status();
    EXPECT_EQ(status.fork, "");
    EXPECT_TRUE(status.all()) << status.head.value;
    EXPECT_TRUE(desk->finish(false));
}

TEST_F(RebuildTest, TwoChainsAreShown) {
    decide(5, {&a, &b});
    for (Teller* t : {&a, &b, &c}) holds(*t, 5, roster(4, {&a, &b, &c}));
    c.facts.known = Step{3};
    c.facts.h_known = digest_of(5);
    open({a.id, b.id, c.id});
    for (Teller* t : {&a, &b, &c}) dial(*t);
    EXPECT_NE(desk->status().fork.find("n3"), std::string::npos) << desk->status().fork;
    EXPECT_FALSE(desk->finish(true));
}

TEST_F(RebuildTest, ASilentNodeIsPassedOver) {
    decide(2, {&a, &b});
    for (Teller* t : {&a, &b}) holds(*t, 2, roster(4, {&a, &b}));
    Teller& first = a.id < b.id ? a : b;
    first.silent = true;
    open({a.id, b.id});
    dial(a);
    dial(b);
    pass(Millis(10'000));
    EXPECT_FALSE(desk->status().whole);
    pass(Millis(15'000));
    EXPECT_TRUE(desk->status().whole);
    EXPECT_EQ(first.session, co::SessionId{});
    dial(first);
    EXPECT_TRUE(desk->status().all()) << "it still counts";
}

TEST_F(RebuildTest, WhoIsOnlyInAnOlderRosterIsNoMemberUnlessNamed) {
    decide(4, {&a, &b});
    for (Teller* t : {&a, &b}) holds(*t, 4, roster(7, {&a, &b}));
    holds(c, 2, roster(3, {&a, &b, &c}));  // it was revoked in epoch 7
    open();
    for (Teller* t : {&a, &b, &c}) dial(*t);
    EXPECT_EQ(listed(), (std::set<NodeId>{a.id, b.id}));
    carry_out(desk->confirm(listed()));
    auto rebuilt = desk->finish(false);
    ASSERT_TRUE(rebuilt) << rebuilt.error().detail;
    EXPECT_FALSE(has_row(image_of(*rebuilt), c)) << "a rebuild pardons nobody";

    open({a.id, b.id, c.id});
    for (Teller* t : {&a, &b, &c}) dial(*t);
    auto named = desk->finish(false);
    ASSERT_TRUE(named) << named.error().detail;
    EXPECT_EQ(row_of(image_of(*named), c).state, NodeState::joining);
}

TEST_F(RebuildTest, ARosterOfThisServiceKeyGoesBeforeAnyOther) {
    decide(1, {&a, &b});
    for (Teller* t : {&a, &b}) holds(*t, 1, roster(4, {&a, &b}, true));
    Teller& liar = node(8);
    holds(liar, 0, roster(99, {&liar}));
    open();
    for (Teller* t : {&a, &b, &liar}) dial(*t);
    EXPECT_EQ(listed(), (std::set<NodeId>{a.id, b.id}));
}

TEST_F(RebuildTest, TooFewAnswersAreRefusedUnlessTheLossIsAccepted) {
    decide(4, {&a, &b});
    holds(a, 4, roster(4, {&a, &b, &c}));
    holds(b, 0, {});  // its disk is lost: it answers, and knows nothing
    open({a.id, b.id});
    dial(a);
    dial(b);
    auto refused = desk->finish(false);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().detail.find("n2"), std::string::npos) << refused.error().detail;
    auto lost = desk->finish(true);
    ASSERT_TRUE(lost) << lost.error().detail;
    EXPECT_TRUE(image_of(*lost).meta.loss_to_record);
}

TEST_F(RebuildTest, AProcessBornDuringTheDrillGetsANewIncarnation) {
    decide(1, {&a, &b});
    for (Teller* t : {&a, &b}) holds(*t, 1, roster(4, {&a, &b}));
    a.hello.incarnation_in_memory = Incarnation{};
    open({a.id, b.id});
    dial(a);
    dial(b);
    auto rebuilt = desk->finish(false);
    ASSERT_TRUE(rebuilt);
    const co::Image image = image_of(*rebuilt);
    EXPECT_TRUE(row_of(image, a).boot.is_zero());
    EXPECT_EQ(row_of(image, b).boot, b.hello.boot);
}

TEST_F(RebuildTest, TheHighestPreparedPlanIsDecidedNext) {
    decide(2, {&a, &b});
    for (Teller* t : {&a, &b}) holds(*t, 2, roster(4, {&a, &b}));
    auto prepared = [&](std::uint32_t attempt) {
        Plan p;
        p.run = manifest.run;
        p.step = Step{2};
        p.term = Term{5};
        p.attempt = Attempt{attempt};
        p.kind = EntryKind::config;
        p.elements = manifest.elements;
        p.members = {a.id, b.id};
        std::sort(p.members.begin(), p.members.end());
        p.durable_copies = 2;
        return HeldPlan{to_bytes(p), {}};
    };
    a.facts.prepared = {prepared(1)};
    b.facts.prepared = {prepared(3)};
    open();
    dial(a);
    dial(b);
    carry_out(desk->confirm(listed()));
    auto rebuilt = desk->finish(false);
    ASSERT_TRUE(rebuilt);
    const auto plan = image_of(*rebuilt).plan;
    ASSERT_TRUE(plan);
    EXPECT_EQ(plan->attempt, Attempt{3});
    EXPECT_TRUE(plan->must_end_decided);
}

TEST_F(RebuildTest, ARunThatNeverBeganIsNotStartedAndAPausedOneMayStaySo) {
    for (Teller* t : {&a, &b}) holds(*t, 0, roster(4, {&a, &b}));
    open({a.id, b.id});
    dial(a);
    dial(b);
    EXPECT_EQ(image_of(*desk->finish(false)).meta.run_state, RunState::created);
    decide(1, {&a, &b});
    for (Teller* t : {&a, &b}) holds(*t, 1, roster(4, {&a, &b}));
    open({a.id, b.id});
    dial(a);
    dial(b);
    EXPECT_EQ(image_of(*desk->finish(false, true)).meta.run_state, RunState::paused);
}

}  // namespace
}  // namespace skerry::test
