#include "coordinator/server/connection_gate.hpp"

#include <gtest/gtest.h>

namespace skerry::coordinator {
namespace {

Mono at(int ms) { return Mono(Millis(1'000'000 + ms)); }

TEST(ConnectionGate, CountsAllAndByAddress) {
    ConnectionGate gate({.connections = 3, .per_address = 2, .new_per_address_per_s = 1000});
    EXPECT_TRUE(gate.enter("a", at(0)));
    EXPECT_TRUE(gate.enter("a", at(0)));
    EXPECT_FALSE(gate.enter("a", at(0)));
    EXPECT_TRUE(gate.enter("b", at(0)));
    EXPECT_FALSE(gate.enter("c", at(0)));
    gate.leave("a");
    EXPECT_TRUE(gate.enter("c", at(0)));
    EXPECT_EQ(gate.open(), 3U);
    EXPECT_EQ(gate.refused(), 2U);
}

TEST(ConnectionGate, AnAddressThatComesTooOftenWaits) {
    ConnectionGate gate({.connections = 1000, .per_address = 1000, .new_per_address_per_s = 10});
    int let_in = 0;
    for (int i = 0; i < 100; ++i) let_in += gate.enter("a", at(0)) ? 1 : 0;
    EXPECT_EQ(let_in, 20);
    EXPECT_TRUE(gate.enter("b", at(0)));
    EXPECT_FALSE(gate.enter("a", at(50)));
    EXPECT_TRUE(gate.enter("a", at(1000)));
}

TEST(ConnectionGate, ManyAddressesDoNotPileUp) {
    ConnectionGate gate({.connections = 10, .per_address = 1, .new_per_address_per_s = 1});
    for (int i = 0; i < 20'000; ++i) {
        std::string address = std::to_string(i);
        ASSERT_TRUE(gate.enter(address, at(i)));
        gate.leave(address);
    }
    EXPECT_EQ(gate.open(), 0U);
}

TEST(RateLimit, LetsABurstPassThenSpreadsTheRest) {
    RateLimit limit(10, 5);
    for (int i = 0; i < 5; ++i) EXPECT_EQ(limit.take(1, at(0)), Millis(0));
    EXPECT_EQ(limit.take(1, at(0)), Millis(100));
    EXPECT_EQ(limit.take(1, at(0)), Millis(200));
    EXPECT_EQ(limit.take(1, at(1000)), Millis(0));
}

}  // namespace
}  // namespace skerry::coordinator
