// What a rebuild takes over of a database that came from a backup, and what it refuses.

#include "coordinator/core/rebuild_base.hpp"

#include <gtest/gtest.h>

#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

NodeId node_of(std::uint8_t n) {
    NodeId id;
    id.bytes.fill(n);
    return id;
}

co::NodeRow row_of(std::uint8_t n, NodeState state) {
    co::NodeRow row;
    row.node = node_of(n);
    row.state = state;
    return row;
}

co::DecisionRow decision(std::uint64_t step, std::uint64_t h) {
    co::DecisionRow row;
    row.step = Step{step};
    row.h_after = digest_of(h);
    return row;
}

struct RebuildBaseTest : testing::Test {
    co::Rebuilt rebuilt;
    co::Image base;

    void SetUp() override {
        base.run = rebuilt.run = run_row(small_manifest());
        base.term = Term{1004};
        base.head = Step{2};
        base.decisions = {decision(0, 10), decision(1, 11)};
        base.meta.epoch = Epoch{1009};
        base.meta.next_lease = LeaseId{(std::uint64_t{1} << 32) + 40};
        base.meta.run_state = RunState::paused;
        rebuilt.head = Step{3};
        rebuilt.tx.term = Term{1002};
        co::MetaRow meta;
        meta.epoch = Epoch{12};
        meta.next_lease = LeaseId{std::uint64_t{1} << 32};
        meta.run_state = RunState::running;
        rebuilt.tx.ops = {co::op::ClaimTerm{Term{1002}}, co::op::PutNode{row_of(1, NodeState::joining)}, co::op::PutDecision{decision(0, 10)},
                          co::op::PutDecision{decision(1, 11)}, co::op::PutDecision{decision(2, 12)}, co::op::PutMeta{meta}};
    }
    template <class Wanted>
    std::vector<Wanted> all() const {
        std::vector<Wanted> out;
        for (const co::Op& op : rebuilt.tx.ops)
            if (const auto* one = std::get_if<Wanted>(&op)) out.push_back(*one);
        return out;
    }
};

TEST_F(RebuildBaseTest, NumbersRiseAboveBoth) {
    ASSERT_TRUE(co::keep_base(rebuilt, base));
    EXPECT_EQ(rebuilt.tx.term, Term{1005});
    EXPECT_EQ(all<co::op::ClaimTerm>().at(0).term, Term{1005});
    const co::MetaRow meta = all<co::op::PutMeta>().at(0).meta;
    EXPECT_EQ(meta.epoch, Epoch{1010});
    EXPECT_EQ(meta.next_lease.value, (std::uint64_t{1} << 32) + 40);
    EXPECT_EQ(meta.run_state, RunState::running) << "steps decided since say that it ran";
}

TEST_F(RebuildBaseTest, WithNothingDecidedSinceTheRunIsAsItWas) {
    rebuilt.head = Step{2};
    std::erase_if(rebuilt.tx.ops, [](const co::Op& op) {
        const auto* put = std::get_if<co::op::PutDecision>(&op);
        return put && put->decision.step == Step{2};
    });
    ASSERT_TRUE(co::keep_base(rebuilt, base));
    EXPECT_EQ(all<co::op::PutMeta>().at(0).meta.run_state, RunState::paused);
}

TEST_F(RebuildBaseTest, WhatOnlyACoordinatorKnowsStays) {
    co::TokenRow token;
    token.label = "berlin";
    token.uses_left = 3;
    base.tokens = {token};
    co::NodeRow known = row_of(1, NodeState::current);
    known.ticket = Bytes(16, 7);
    co::NodeRow alone = row_of(3, NodeState::current);
    alone.boot.bytes.fill(9);
    base.nodes = {known, row_of(2, NodeState::revoked), alone, row_of(4, NodeState::left)};
    rebuilt.tx.ops.insert(rebuilt.tx.ops.begin() + 1, co::op::PutNode{row_of(2, NodeState::joining)});
    ASSERT_TRUE(co::keep_base(rebuilt, base));
    EXPECT_EQ(all<co::op::PutToken>().at(0).token.label, "berlin");
    std::map<NodeId, co::NodeRow> rows;
    for (const auto& put : all<co::op::PutNode>()) EXPECT_TRUE(rows.emplace(put.node.node, put.node).second) << "a node twice";
    EXPECT_EQ(rows.at(node_of(1)).ticket, Bytes(16, 7));
    EXPECT_EQ(rows.at(node_of(1)).state, NodeState::joining);
    EXPECT_EQ(rows.at(node_of(2)).state, NodeState::revoked) << "a rebuild pardons nobody";
    EXPECT_EQ(rows.at(node_of(3)).state, NodeState::away);
    EXPECT_TRUE(rows.at(node_of(3)).boot.is_zero()) << "its process may have had more incarnations since";
    EXPECT_EQ(rows.at(node_of(4)).state, NodeState::left);
    EXPECT_TRUE(std::holds_alternative<co::op::ClaimTerm>(rebuilt.tx.ops.front()));
}

TEST_F(RebuildBaseTest, AnotherChainIsRefused) {
    base.decisions.back().h_after = digest_of(99);
    auto kept = co::keep_base(rebuilt, base);
    ASSERT_FALSE(kept);
    EXPECT_EQ(kept.error().code, Errc::bad_state);
}

TEST_F(RebuildBaseTest, ABackupThatKnowsMoreThanTheNodesIsRefused) {
    base.head = Step{4};
    auto kept = co::keep_base(rebuilt, base);
    ASSERT_FALSE(kept);
    EXPECT_NE(kept.error().detail.find("knows 4 decisions"), std::string::npos) << kept.error().detail;
}

TEST_F(RebuildBaseTest, ABackupOfAnotherRunIsRefused) {
    base.run.data_manifest.push_back(1);
    EXPECT_FALSE(co::keep_base(rebuilt, base));
}

}  // namespace
}  // namespace skerry::test
