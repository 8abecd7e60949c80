#include <gtest/gtest.h>

#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

TEST(Admission, ATokenLetsANodeInAndIsUsedUp) {
    Rig rig;
    rig.make_token(2, 1);
    FakeNode& a = rig.make_node("a");
    rig.hello_with(a, Bytes(8, 2), Bytes(16, 2));
    ASSERT_TRUE(a.welcome);
    EXPECT_EQ(a.welcome->incarnation, Incarnation{1});
    EXPECT_EQ(a.welcome->term, rig.core->term());
    EXPECT_FALSE(a.welcome->roster.body.empty());
    EXPECT_EQ(rig.node_status(a).state, NodeState::joining);

    FakeNode& b = rig.make_node("b");
    rig.hello_with(b, Bytes(8, 2), Bytes(16, 2));
    ASSERT_TRUE(b.refusal);
    EXPECT_EQ(b.refusal->code, Errc::token_used_up);
    EXPECT_TRUE(b.closed);
}

TEST(Admission, WrongForeignExpiredAndRevokedTokensAreRefused) {
    Rig rig;
    rig.make_token(2, 5, 2000);
    FakeNode& a = rig.make_node("a");
    rig.hello_with(a, Bytes(8, 2), Bytes(16, 9));
    EXPECT_EQ(a.refusal->code, Errc::token_unknown);
    rig.hello_with(a, Bytes(8, 9), Bytes(16, 9));
    EXPECT_EQ(a.refusal->code, Errc::token_unknown);
    rig.hello_with(a, {}, {});
    EXPECT_EQ(a.refusal->code, Errc::token_unknown);
    rig.hello_with(a, Bytes(8, 2), Bytes(16, 2), 2001);
    EXPECT_EQ(a.refusal->code, Errc::token_expired);
    TokenId id;
    id.bytes.fill(2);
    EXPECT_FALSE(rig.admin(co::admin::RevokeToken{id}));
    rig.hello_with(a, Bytes(8, 2), Bytes(16, 2), 1999);
    EXPECT_EQ(a.refusal->code, Errc::token_unknown);
}

co::AdminAnswer look(Rig& rig, const NodeId& node, std::uint8_t token, std::uint8_t secret, std::int64_t wall = 1000) {
    co::admin::LookAt verb{node, Look{{}, "", Bytes(8, token), Bytes(16, secret)}, wall};
    for (co::Action& action : rig.feed(co::AdminCommand{99, std::move(verb)})) {
        EXPECT_FALSE(std::holds_alternative<co::Persist>(action)) << "a look changes nothing";
        if (auto* answer = std::get_if<co::AdminAnswer>(&action)) return std::move(*answer);
    }
    ADD_FAILURE() << "no answer";
    return {};
}

TEST(Admission, ALookUsesNothingUpAndIsForBearersAndMembersAlone) {
    Rig rig;
    rig.make_token(2, 1, 2000);
    FakeNode& a = rig.make_node("a");
    for (int i = 0; i < 3; ++i) {
        auto answer = look(rig, a.id, 2, 2);
        ASSERT_FALSE(answer.error);
        const auto& seen = std::get<LookAnswer>(answer.value);
        EXPECT_FALSE(seen.manifest.empty());
        EXPECT_EQ(seen.nodes, 0U);
        EXPECT_FALSE(seen.counted);
    }
    EXPECT_EQ(look(rig, a.id, 2, 9).error->code, Errc::token_unknown);
    EXPECT_EQ(look(rig, a.id, 7, 7).error->code, Errc::token_unknown);
    EXPECT_EQ(look(rig, a.id, 2, 2, 2001).error->code, Errc::token_expired);
    rig.hello_with(a, Bytes(8, 2), Bytes(16, 2));
    ASSERT_TRUE(a.welcome) << "its only use was still there";

    FakeNode& b = rig.make_node("b");
    EXPECT_EQ(look(rig, b.id, 2, 2).error->code, Errc::token_used_up);
    auto member = look(rig, a.id, 2, 2);
    ASSERT_FALSE(member.error) << "a member needs no use";
    EXPECT_FALSE(std::get<LookAnswer>(member.value).counted) << "it is joining";
    FakeNode& c = rig.join("c");
    auto trains = look(rig, c.id, 7, 7);
    ASSERT_FALSE(trains.error);
    EXPECT_EQ(std::get<LookAnswer>(trains.value).nodes, 1U);
    EXPECT_TRUE(std::get<LookAnswer>(trains.value).counted);
    EXPECT_FALSE(rig.admin(co::admin::RevokeNode{a.id, "sold"}));
    EXPECT_TRUE(look(rig, a.id, 7, 7).error) << "one that was revoked is a stranger again";
}

TEST(Admission, AnotherProtocolOrRunIsRefused) {
    Rig rig;
    FakeNode& a = rig.make_node("a");
    a.session = co::SessionId{77};
    rig.sessions[a.session] = &a;
    Hello h;
    h.versions = {0x00020000, 0x00020001};
    rig.feed(co::HelloReceived{a.session, a.key, a.id, h, "", 0, {}});
    EXPECT_EQ(a.refusal->code, Errc::version_mismatch);
    EXPECT_FALSE(a.refusal->fix.empty());
    a.session = co::SessionId{78};
    rig.sessions[a.session] = &a;
    h.versions = {};
    h.run_name = "other";
    rig.feed(co::HelloReceived{a.session, a.key, a.id, h, "", 0, {}});
    EXPECT_EQ(a.refusal->code, Errc::no_such_run);
}

TEST(Admission, AForkNeedsNodesThatCanBeginWithIt) {
    Manifest manifest = small_manifest();
    manifest.initial_root.bytes.fill(5);
    manifest.parent_run.bytes.fill(6);
    Rig rig(manifest);
    FakeNode& old = rig.make_node("old");
    old.versions.max = 0x00010000;
    rig.hello(old);
    ASSERT_TRUE(old.refusal);
    EXPECT_EQ(old.refusal->code, Errc::version_mismatch);
    EXPECT_NE(old.refusal->reason.find("this run is a fork"), std::string::npos) << old.refusal->reason;
    FakeNode& current = rig.join("current");
    EXPECT_FALSE(current.refusal);
    EXPECT_EQ(rig.status().parent_run, manifest.parent_run);
}

TEST(Admission, ALostWelcomeCostsNoSecondUse) {
    Rig rig;
    rig.make_token(2, 1);
    FakeNode& a = rig.make_node("a");
    rig.hello_with(a, Bytes(8, 2), Bytes(16, 2));
    a.ticket.clear();  // it never arrived
    a.in_memory = a.on_disk = {};
    rig.hello_with(a, Bytes(8, 2), Bytes(16, 2));
    ASSERT_TRUE(a.welcome);
    EXPECT_EQ(a.welcome->incarnation, Incarnation{1});
    EXPECT_FALSE(a.welcome->disk_is_behind);
}

TEST(Admission, TheSameProcessKeepsItsIncarnation) {
    Rig rig;
    FakeNode& a = rig.join("a");
    const auto old = a.session;
    rig.hello(a);
    ASSERT_TRUE(a.welcome);
    EXPECT_EQ(a.welcome->incarnation, Incarnation{1});
    EXPECT_NE(a.session, old);
    EXPECT_FALSE(a.replaced);
    EXPECT_EQ(rig.core->sessions(), 1U);
}

TEST(Admission, AFreshProcessGetsTheNextIncarnationAndTheOldOneIsReplaced) {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode clone = a;
    clone.boot.bytes[0] = 99;
    clone.in_memory = {};
    rig.hello(clone);
    EXPECT_TRUE(a.replaced);
    EXPECT_TRUE(a.closed);
    EXPECT_EQ(clone.welcome->incarnation, Incarnation{2});
    EXPECT_FALSE(clone.welcome->disk_is_behind);

    rig.hello(a);  // the old one again
    EXPECT_TRUE(a.replaced);
    EXPECT_FALSE(a.welcome);
    EXPECT_EQ(rig.core->sessions(), 1U);
    rig.sessions.clear();
}

TEST(Admission, ARestoredDiskIsToldToDropItsWork) {
    Rig rig;
    FakeNode& a = rig.join("a");
    for (int i = 0; i < 2; ++i) {
        a.boot.bytes[1]++;
        a.in_memory = {};
        rig.hello(a);
    }
    EXPECT_EQ(a.welcome->incarnation, Incarnation{3});
    a.boot.bytes[1]++;
    a.in_memory = {};
    a.on_disk = Incarnation{1};
    rig.hello(a);
    EXPECT_TRUE(a.welcome->disk_is_behind);
    EXPECT_EQ(a.welcome->incarnation, Incarnation{4});
}

/// A node that claims to know more stops planning, until it is revoked; then it stays out.
void expect_holds_until_revoked(Rig& rig, FakeNode& node) {
    node.report.head = Step{3};
    rig.hello(node);
    ASSERT_TRUE(node.refusal);
    EXPECT_EQ(node.refusal->code, Errc::database_behind);
    EXPECT_EQ(rig.status().phase, "behind");
    EXPECT_FALSE(rig.admin(co::admin::RevokeNode{node.id, "lies"}));
    EXPECT_NE(rig.status().phase, "behind");
    rig.hello(node);
    EXPECT_EQ(node.refusal->code, Errc::revoked);
    EXPECT_NE(rig.status().phase, "behind");
}

TEST(Admission, ANodeThatKnowsMoreStopsPlanningUntilItIsRevoked) {
    Rig rig;
    FakeNode& a = rig.join("a");
    rig.drop(a);
    expect_holds_until_revoked(rig, a);
}

TEST(Admission, OneThatIsInNoBookCanBeRevokedToo) {
    Rig rig;
    expect_holds_until_revoked(rig, rig.make_node("a"));
}

TEST(Admission, AHigherTermIsTakenAsSeriously) {
    Rig rig;
    FakeNode& a = rig.join("a");
    rig.drop(a);
    a.term = Term{50};
    rig.hello(a);
    EXPECT_EQ(a.refusal->code, Errc::database_behind);
}

TEST(Admission, AnotherHistoryIsRefused) {
    Rig rig;
    FakeNode& a = rig.make_node("a");
    a.report.h_head = digest_of(1);
    rig.hello(a);
    EXPECT_EQ(a.refusal->code, Errc::digest_mismatch);
}

TEST(Admission, MessagesOfAnotherTermIncarnationOrRunAreDropped) {
    Rig rig;
    FakeNode& a = rig.join("a");
    const auto before = rig.status().dropped_messages;
    FakeNode wrong = a;
    rig.sessions[a.session] = &wrong;
    wrong.term = Term{a.term.value - 1};
    rig.report(wrong);
    wrong.term = a.term;
    wrong.in_memory = Incarnation{9};
    rig.report(wrong);
    wrong.in_memory = a.in_memory;
    wrong.seq = 0;  // repeated
    rig.report(wrong);
    EXPECT_EQ(rig.status().dropped_messages, before + 3);
}

TEST(Admission, TheAddressesAreDialledAndTheRosterSaysSo) {
    Rig rig;
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    ASSERT_EQ(rig.dials.size(), 2U);
    EXPECT_EQ(rig.dials[0].node, a.id);
    const auto epoch = rig.status().epoch;
    rig.feed(co::DialBackDone{a.id, a.in_memory, true});
    EXPECT_GT(rig.status().epoch, epoch);
    EXPECT_TRUE(b.orders->roster.has_value());
    EXPECT_EQ(b.orders->dial, std::vector<NodeId>{a.id});
    EXPECT_TRUE(a.orders->dial.empty());
}

TEST(Admission, TokensAreListed) {
    Rig rig;
    rig.make_token(2, 3);
    rig.admin(co::admin::ListTokens{});
    const auto& list = std::get<std::vector<co::TokenRow>>(rig.answers.at(0).value);
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[1].uses_left, 3U);
}

}  // namespace
}  // namespace skerry::test
