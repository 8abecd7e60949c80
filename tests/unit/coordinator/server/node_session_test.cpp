#include "coordinator/server/node_session.hpp"

#include <gtest/gtest.h>

namespace skerry::coordinator {
namespace {

Orders orders_at(std::uint64_t head, std::uint64_t epoch) {
    Orders out;
    out.head = Step{head};
    out.epoch = Epoch{epoch};
    return out;
}

PlanRef plan_of(std::uint8_t mark, Bytes body) {
    PlanRef out;
    out.digest.bytes[0] = mark;
    out.body = std::move(body);
    return out;
}

TEST(InheritBodies, WhatIsToldOnceSurvivesTheOrdersThatWereNeverSent) {
    Orders older = orders_at(4, 7);
    older.roster = SignedBody{{1}, {}};
    older.plan = plan_of(1, {2});
    older.decisions = {SignedDecision{}};
    Orders newer = orders_at(4, 7);
    newer.plan = plan_of(1, {});
    inherit_bodies(older, newer);
    EXPECT_EQ(newer.roster, older.roster);
    EXPECT_EQ(newer.plan->body, older.plan->body);
    EXPECT_EQ(newer.decisions.size(), 1U);
}

TEST(InheritBodies, WhatHoldsNoMoreIsNotRepeated) {
    Orders older = orders_at(4, 7);
    older.roster = SignedBody{{1}, {}};
    older.plan = plan_of(1, {2});
    older.decisions = {SignedDecision{}};
    Orders newer = orders_at(5, 8);
    newer.plan = plan_of(9, {});
    inherit_bodies(older, newer);
    EXPECT_FALSE(newer.roster);
    EXPECT_TRUE(newer.plan->body.empty());
    EXPECT_TRUE(newer.decisions.empty());
}

}  // namespace
}  // namespace skerry::coordinator
