#include "node/core/giver.hpp"

#include <gtest/gtest.h>

#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;
using testing::numbered;
using testing::peer_id;

struct GiverTest : ::testing::Test {
    Bench bench;
    Giver giver{bench.context};
    Availability answer = Availability::here();
    ObjectRef object{ObjectKind::result, Step{3}, numbered<Digest>(7)};

    GiverTest() {
        giver.set_look([this](const NodeId&, const ObjectRef&, PieceIndex) { return answer; });
    }
};

TEST_F(GiverTest, ServesAFewAtATimeAndTheNextWhenTheTransportTookOne) {
    giver.on_get(peer_id(1), {object, {PieceIndex{0}, PieceIndex{1}, PieceIndex{2}}});
    const auto first = bench.take<Serve>();
    ASSERT_EQ(first.size(), static_cast<std::size_t>(kServesPerAsker));
    giver.on_done({first[0].op, {}, {}});
    const auto next = bench.take<Serve>();
    ASSERT_EQ(next.size(), 1U);
    EXPECT_EQ(next[0].piece, PieceIndex{2});
}

TEST_F(GiverTest, GuestsShareOneServeInTurnAndMembersDoNotWait) {
    giver.set_guests([](const NodeId& id) { return id != peer_id(1); });
    for (std::uint8_t guest : {2, 3}) giver.on_get(peer_id(guest), {object, {PieceIndex{0}, PieceIndex{1}}});
    auto guests = bench.take<Serve>();
    ASSERT_EQ(guests.size(), 1U);
    giver.on_get(peer_id(1), {object, {PieceIndex{0}, PieceIndex{1}}});
    EXPECT_EQ(bench.take<Serve>().size(), static_cast<std::size_t>(kServesPerAsker));
    std::map<NodeId, int> served;
    while (!guests.empty()) {
        ASSERT_EQ(guests.size(), 1U);
        ++served[guests[0].to];
        giver.on_done({guests[0].op, {}, {}});
        guests = bench.take<Serve>();
        if (!guests.empty() && served.size() == 1) EXPECT_FALSE(served.contains(guests[0].to)) << "the other's turn";
    }
    EXPECT_EQ(served, (std::map<NodeId, int>{{peer_id(2), 2}, {peer_id(3), 2}}));
}

TEST_F(GiverTest, AGuestThatGoesInTheMiddleBlocksNobody) {
    giver.set_guests([](const NodeId&) { return true; });
    giver.on_get(peer_id(2), {object, {PieceIndex{0}, PieceIndex{1}}});
    const auto first = bench.take<Serve>();
    giver.on_get(peer_id(3), {object, {PieceIndex{0}}});
    giver.on_peer_down(peer_id(2));
    EXPECT_TRUE(bench.take<Serve>().empty());
    giver.on_done({first.at(0).op, Error{Errc::closed, "", ""}, {}});
    const auto next = bench.take<Serve>();
    ASSERT_EQ(next.size(), 1U);
    EXPECT_EQ(next[0].to, peer_id(3));
}

TEST_F(GiverTest, SaysLaterOnceAndServesWhenItCan) {
    answer = Availability::later();
    giver.on_get(peer_id(1), {object, {PieceIndex{0}}});
    const auto said = bench.take<SendPeer>();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_TRUE(std::holds_alternative<Later>(said[0].body));
    giver.recheck();
    EXPECT_TRUE(bench.context.out.empty());
    answer = Availability::here();
    giver.recheck();
    EXPECT_EQ(bench.take<Serve>().size(), 1U);
}

TEST_F(GiverTest, WhatTurnsOutToBeDamagedIsGone) {
    giver.on_get(peer_id(1), {object, {PieceIndex{0}}});
    const auto served = bench.take<Serve>();
    const auto lost = giver.on_done({served.at(0).op, Error{Errc::digest_mismatch, "", ""}, {}});
    ASSERT_TRUE(lost);
    EXPECT_EQ(lost->object, object);
    const auto said = bench.take<SendPeer>();
    ASSERT_EQ(said.size(), 1U);
    EXPECT_EQ(std::get<Gone>(said[0].body).reason, GoneReason::lost);
}

TEST_F(GiverTest, RemembersABoundedNumberOfObjects) {
    answer = Availability::later();
    for (std::uint8_t n = 0; n < 80; ++n)
        giver.on_get(peer_id(1), {{ObjectKind::result, Step{n}, numbered<Digest>(n)}, {PieceIndex{0}}});
    EXPECT_EQ(giver.dropped(), 80U - kObjectsPerAsker);
}

}  // namespace
}  // namespace skerry::node
