// What is asked of whom while a step is open, in the cases that a restart or a rebuild brings.

#include "node/core/exchange.hpp"

#include <gtest/gtest.h>

#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;
using testing::numbered;
using testing::peer_id;

struct ExchangeTest : ::testing::Test {
    Bench bench;
    Asker asker{bench.context, bench.roster};
    Exchange exchange{bench.context, bench.roster, asker};

    ExchangeTest() {
        asker.set_sources([this](const Want& want) { return exchange.sources(want, {}); });
    }
    /// Both pieces are mine to reduce, of a contribution of mine and one of peer 1's.
    std::shared_ptr<const Plan> plan(std::uint32_t attempt) const {
        Plan out;
        out.step = Step{4};
        out.term = Term{1};
        out.attempt = Attempt{attempt};
        out.members = {peer_id(0), peer_id(1)};
        std::sort(out.members.begin(), out.members.end());
        const std::uint16_t me = out.members.front() == peer_id(0) ? 0 : 1;
        out.piece_owner = {me, me};
        for (const NodeId& id : out.members) {
            Participant p;
            p.node = id;
            p.contribution = numbered<Digest>(id == peer_id(0) ? 30 : 31);
            out.participants.push_back(p);
        }
        return std::make_shared<const Plan>(std::move(out));
    }
    std::vector<Get> gets() {
        asker.pump();
        std::vector<Get> out;
        for (const SendPeer& send : bench.take<SendPeer>())
            if (const auto* get = std::get_if<Get>(&send.body)) out.push_back(*get);
        return out;
    }
};

TEST_F(ExchangeTest, AnOwnerThatLostWhatItReducedTakesItsOwnResultBack) {
    const Digest digest = numbered<Digest>(7);
    exchange.follow(plan(1), digest, {});
    (void)gets();
    EXPECT_EQ(exchange.state().gone, std::vector<NodeId>{peer_id(0)}) << "its contribution is not here";
    Have have;
    have.object = {ObjectKind::result, Step{4}, digest};
    have.bitmap = {0b10};
    exchange.on_have(peer_id(1), have);
    const auto asked = gets();
    ASSERT_EQ(asked.size(), 1U);
    EXPECT_EQ(asked[0].object, have.object);
    EXPECT_EQ(asked[0].pieces, std::vector<PieceIndex>{PieceIndex{1}});
}

TEST_F(ExchangeTest, AFullDiskIsTriedAgainLaterWithWhatWasGathered) {
    const Digest digest = numbered<Digest>(7);
    exchange.add_own(Step{4}, numbered<Digest>(30));
    exchange.add_gathered(Step{4}, numbered<Digest>(31), {PieceIndex{0}, PieceIndex{1}});
    exchange.follow(plan(1), digest, {});
    const auto first = bench.take<ReducePiece>();
    ASSERT_EQ(first.size(), 2U);
    for (const ReducePiece& one : first) exchange.on_done({one.op, Error{Errc::disk_full, "full", {}}, {}});
    exchange.pump();
    EXPECT_TRUE(bench.take<ReducePiece>().empty()) << "the disk is left alone";
    EXPECT_TRUE(gets().empty()) << "what was gathered is there";
    ASSERT_LE(exchange.next_wake(), bench.context.now + Millis(2000));
    bench.context.now = exchange.next_wake();
    exchange.pump();
    EXPECT_EQ(bench.take<ReducePiece>().size(), 2U);
}

TEST_F(ExchangeTest, WhatCannotBeReadIsGatheredAgainAfterAWhile) {
    exchange.add_own(Step{4}, numbered<Digest>(30));
    exchange.add_gathered(Step{4}, numbered<Digest>(31), {PieceIndex{0}, PieceIndex{1}});
    exchange.follow(plan(1), numbered<Digest>(7), {});
    for (const ReducePiece& one : bench.take<ReducePiece>()) exchange.on_done({one.op, Error{Errc::io_error, "sector", {}}, {}});
    EXPECT_TRUE(gets().empty());
    bench.context.now = exchange.next_wake();
    exchange.pump();
    const auto asked = gets();
    ASSERT_EQ(asked.size(), 1U);
    EXPECT_EQ(asked[0].object.id, numbered<Digest>(31));
    EXPECT_EQ(asked[0].pieces.front(), PieceIndex{0}) << "as many as the window takes";
}

TEST_F(ExchangeTest, WhatAPeerSaidBeforeThePlanCameIsUsedToo) {
    const Digest digest = numbered<Digest>(7);
    exchange.on_have(peer_id(1), {{ObjectKind::result, Step{4}, digest}, {0b01}});
    exchange.follow(plan(1), digest, {});
    for (const Get& get : gets())
        if (get.object.kind == ObjectKind::result) {
            EXPECT_EQ(get.pieces, std::vector<PieceIndex>{PieceIndex{0}});
            return;
        }
    FAIL() << "the result was not asked for";
}

TEST_F(ExchangeTest, APlanThatIsGoneBackToIsServedAgain) {
    const Digest first = numbered<Digest>(7);
    const Digest second = numbered<Digest>(8);
    exchange.follow(plan(1), first, {});
    exchange.follow(plan(2), second, {});
    const ObjectRef result{ObjectKind::result, Step{4}, first};
    EXPECT_EQ(exchange.look_result(result, PieceIndex{0}).kind, Availability::Kind::gone);
    exchange.follow(plan(1), first, {});
    EXPECT_EQ(exchange.look_result(result, PieceIndex{0}).kind, Availability::Kind::later);
    EXPECT_EQ(exchange.look_result({ObjectKind::result, Step{4}, second}, PieceIndex{0}).kind, Availability::Kind::gone);
}

}  // namespace
}  // namespace skerry::node
