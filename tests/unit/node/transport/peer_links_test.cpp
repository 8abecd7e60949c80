#include "node/transport/peer_links.hpp"

#include <gmock/gmock.h>

#include "protocol/wire/limits.hpp"
#include "tests/unit/node/transport/links_fixture.hpp"

namespace skerry::node::testing {
namespace {

using ::testing::ElementsAre;

Bytes pattern(std::size_t bytes) {
    Bytes out(bytes);
    for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::uint8_t>(i * 31 + (i >> 11));
    return out;
}

TEST_F(LinksTest, OneConnectionCarriesBothDirections) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id) && b.links->is_up(a.id); }));

    EXPECT_TRUE(a.links->send(b.id, text("from a")));
    EXPECT_TRUE(b.links->send(a.id, text("from b")));
    ASSERT_TRUE(until([&] { return !a.received.empty() && !b.received.empty(); }));
    EXPECT_EQ(a.received[0].from, b.id);
    EXPECT_EQ(a.received[0].envelope, text("from b"));
    EXPECT_EQ(b.received[0].from, a.id);
    EXPECT_EQ(b.received[0].envelope, text("from a"));
    EXPECT_EQ(b.links->traffic(a.id).received_bytes, 6U);
    EXPECT_EQ(b.links->traffic(a.id).sent_bytes, 6U);
}

TEST_F(LinksTest, TheLargestChunkArrivesWhole) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return b.links->is_up(a.id) && a.links->is_up(b.id); }));

    auto chunk = std::make_shared<const Bytes>(pattern(kMaxChunkBytes));
    for (auto [from, to] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
        ASSERT_TRUE(from->links->send_chunk(to->id, text("envelope"), chunk));
        ASSERT_TRUE(until([&] { return !to->received.empty(); }));
        EXPECT_EQ(to->received[0].chunk, *chunk);
    }
    EXPECT_TRUE(until([&] { return chunk.use_count() == 1; })) << "the transport keeps the bytes";
}

TEST_F(LinksTest, OneChunkWaitsForEachPeerAndSmallFramesPassIt) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id); }));

    auto chunk = std::make_shared<const Bytes>(pattern(4 * kMaxDataFrame));
    ASSERT_TRUE(a.links->send_chunk(b.id, text("chunk"), chunk));
    EXPECT_FALSE(a.links->has_room(b.id));
    EXPECT_FALSE(a.links->send_chunk(b.id, text("second"), chunk));
    ASSERT_TRUE(a.links->send(b.id, text("small")));
    ASSERT_TRUE(until([&] { return b.received.size() == 2; }));
    EXPECT_EQ(b.received[0].envelope, text("small"));
    EXPECT_EQ(b.received[1].envelope, text("chunk"));
    EXPECT_EQ(a.rooms, 1);
}

TEST_F(LinksTest, ManyChunksBothWaysArriveInOrder) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id) && b.links->is_up(a.id); }));
    constexpr std::uint8_t kCount = 100;
    std::uint8_t sent_a = 0;
    std::uint8_t sent_b = 0;
    auto chunk = std::make_shared<const Bytes>(pattern(200'000));
    ASSERT_TRUE(until(
        [&] {
            if (sent_a < kCount && a.links->send_chunk(b.id, Bytes{sent_a}, chunk)) ++sent_a;
            if (sent_b < kCount && b.links->send_chunk(a.id, Bytes{sent_b}, chunk)) ++sent_b;
            return a.received.size() == kCount && b.received.size() == kCount;
        },
        30s));
    for (std::uint8_t i = 0; i < kCount; ++i) {
        ASSERT_EQ(a.received[i].envelope, Bytes{i});
        ASSERT_EQ(b.received[i].envelope, Bytes{i});
    }
}

TEST_F(LinksTest, AFullOutboxRefuses) {
    auto config = TestNode::loopback();
    config.outbox_bytes = 1000;
    auto& a = add(1, config);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id); }));
    EXPECT_TRUE(a.links->send(b.id, Bytes(900)));
    EXPECT_FALSE(a.links->send(b.id, Bytes(900)));
    EXPECT_EQ(a.links->counters().dropped_outbox, 1U);
}

TEST_F(LinksTest, AStrangerIsNotHeard) {
    auto& a = add(1);
    auto& b = add(2);
    a.links->set_targets({b.target(true)});  // b's roster does not name a
    ASSERT_TRUE(until([&] { return (*b.zap)->refused() > 0; }));
    ASSERT_TRUE(until([&] { return a.links->counters().handshakes_failed + b.links->counters().handshakes_failed > 0; }));
    EXPECT_FALSE(a.links->is_up(b.id));
    EXPECT_TRUE(b.received.empty());
    EXPECT_TRUE(b.ups.empty());
}

TEST_F(LinksTest, ANodeThatLeavesTheRosterIsCutOffOnItsLiveConnection) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id) && b.links->is_up(a.id); }));
    b.links->set_targets({});
    EXPECT_THAT(b.downs, ElementsAre(a.id));
    a.links->send(b.id, text("still here"));
    EXPECT_TRUE(until([&] { return !a.links->is_up(b.id); })) << "the connection lives on";
    EXPECT_EQ(b.links->counters().connections_cut, 1U);
    EXPECT_TRUE(b.received.empty());
    EXPECT_TRUE(until([&] { return (*b.zap)->refused() > 0; })) << "it was not refused when it came back";
}

TEST_F(LinksTest, ANewKeyEndsTheConnectionOfTheOldProcess) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return b.links->is_up(a.id); }));
    auto renewed = a.target(false);
    renewed.curve = make_curve_keys().public_key;
    b.links->set_targets({renewed});
    a.links->send(b.id, text("old process"));
    EXPECT_TRUE(until([&] { return !a.links->is_up(b.id); }));
    EXPECT_FALSE(b.links->is_up(a.id));
    EXPECT_TRUE(b.received.empty());
}

TEST_F(LinksTest, ALostConnectionComesBackByItself) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id) && b.links->is_up(a.id); }));
    b.links->set_targets({});
    ASSERT_TRUE(until([&] { return !a.links->is_up(b.id); }));
    b.links->set_targets({a.target(false)});
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id) && b.links->is_up(a.id); }));
    EXPECT_THAT(a.ups, ElementsAre(b.id, b.id));
    a.links->send(b.id, text("again"));
    EXPECT_TRUE(until([&] { return b.received.size() == 1; }));
}

TEST_F(LinksTest, AListenerHearsWhenTheDiallerIsGone) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id) && b.links->is_up(a.id); }));
    a.running.cancel();
    EXPECT_TRUE(until([&] { return !b.links->is_up(a.id); }));
    EXPECT_FALSE(b.links->send(a.id, text("anybody?")));
}

TEST_F(LinksTest, TheNextAddressIsTriedWhenOneIsDead) {
    auto config = TestNode::loopback();
    config.address_patience = 200ms;
    auto& a = add(1, config);
    auto& b = add(2);
    b.links->set_targets({a.target(false)});
    a.links->set_targets({b.target(true, {{"127.0.0.1", 1}, {"localhost", b.port}})});
    EXPECT_TRUE(until([&] { return a.links->is_up(b.id); }));
}

TEST_F(LinksTest, ANodeWithoutAListenerIsReachedThroughItsOwnDial) {
    auto config = TestNode::loopback();
    config.listen = false;
    auto& a = add(9, config);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return b.links->is_up(a.id); }));
    b.links->send(a.id, text("hello"));
    EXPECT_TRUE(until([&] { return !a.received.empty(); }));
}

TEST_F(LinksTest, BytesUnderWayAreSeenOnTheWire) {
    auto& a = add(1);
    auto& b = add(2);
    join(a, b);
    ASSERT_TRUE(until([&] { return a.links->is_up(b.id) && b.links->is_up(a.id); }));
    auto before = b.links->wire_received(a.id);
    a.links->send_chunk(b.id, text("x"), std::make_shared<const Bytes>(pattern(500'000)));
    ASSERT_TRUE(until([&] { return !b.received.empty(); }));
    EXPECT_GE(b.links->wire_received(a.id) - before, 500'000U);
}

}  // namespace
}  // namespace skerry::node::testing
