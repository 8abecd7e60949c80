#include "node/trainer/trainer_memory.hpp"

#include <gtest/gtest.h>

#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {
namespace {

TrainConfig train_of(std::uint32_t batch) {
    TrainConfig out;
    out.batch = batch;
    out.seq = 64;
    return out;
}

WorkspacePlan base() { return {}; }

TEST(TrainerMemoryTest, PlansTakeEverLessAndTheFirstThatFitsIsTaken) {
    const ModelConfig model;
    const TrainConfig train = train_of(5);
    const auto plans = workspace_plans(train, base());
    ASSERT_EQ(plans.size(), 12U);  // 5, 3, 2, 1 sequences; nothing, attention, layers again
    EXPECT_EQ(plans[0].micro_batch, 5U);
    EXPECT_FALSE(plans[0].accumulate);
    EXPECT_EQ(plans[1].micro_batch, 3U);
    EXPECT_TRUE(plans[1].accumulate);
    EXPECT_EQ(plans[11].micro_batch, 1U);
    EXPECT_EQ(plans[11].recompute, Recompute::layers);
    const auto need = [&](std::size_t i) { return trainer_memory(model, train, plans[i]).total; };
    EXPECT_EQ(first_that_fits(model, train, plans, need(0)), 0U);
    EXPECT_LT(need(11), need(3));
    EXPECT_EQ(first_that_fits(model, train, plans, need(3)), 3U);
    EXPECT_EQ(first_that_fits(model, train, plans, need(11)), 11U);
    EXPECT_EQ(first_that_fits(model, train, plans, need(11) - 1), plans.size());
    EXPECT_EQ(trainer_memory(model, train, false, 1, 1).total, need(11));
}

TEST(TrainerMemoryTest, SettingsAreWhereThePlansBegin) {
    TrainConfig train = train_of(8);
    train.micro_batch = 2;
    train.recompute = Recompute::layers;
    const auto plans = workspace_plans(train, base());
    ASSERT_EQ(plans.size(), 2U);
    EXPECT_EQ(plans[0].micro_batch, 2U);
    EXPECT_EQ(plans[0].recompute, Recompute::layers);
}

TEST(TrainerMemoryTest, AutogradHasNoAttentionToComputeAgain) {
    const ModelConfig model;
    TrainConfig train = train_of(4);
    WorkspacePlan autograd = base();
    autograd.autograd = true;
    const auto plans = workspace_plans(train, autograd);
    ASSERT_EQ(plans.size(), 6U);  // 4, 2, 1 sequences; nothing, layers again
    EXPECT_EQ(plans[3].recompute, Recompute::layers);
    const auto need = [&](std::size_t i) { return trainer_memory(model, train, plans[i]).total; };
    for (std::size_t i : {1U, 2U, 4U, 5U}) EXPECT_LT(need(i), need(i - 1)) << i;
    EXPECT_LT(need(3), need(0));

    train.recompute = Recompute::attention;
    EXPECT_EQ(workspace_plans(train, autograd).front().recompute, Recompute::none);
    train.recompute = Recompute::layers;
    EXPECT_EQ(workspace_plans(train, autograd).front().recompute, Recompute::layers);
}

TEST(TrainerMemoryTest, RoomsDoNotOverlap) {
    const ModelConfig model;
    WorkspacePlan plan = base();
    plan.bf16 = plan.in_float = plan.accumulate = true;
    const WorkspaceLayout l = make_workspace_layout(model, plan);
    const Room* rooms[] = {&l.x_in, &l.x_mid, &l.inv1, &l.inv2, &l.inv_last, &l.row_loss, &l.h1, &l.h2, &l.q, &l.k, &l.v, &l.heads_out,
                           &l.gate_up, &l.p, &l.qkv, &l.y, &l.s, &l.out, &l.last, &l.logits, &l.d_h, &l.d_cast, &l.d_out, &l.d_p,
                           &l.d_q, &l.d_k, &l.d_v, &l.dx, &l.scratch, &l.rope, &l.gradient, &l.accumulator, &l.tiles};
    for (const Room* a : rooms) {
        EXPECT_GT(a->bytes, 0U);
        EXPECT_LE(a->offset + a->bytes, l.bytes);
        for (const Room* b : rooms)
            EXPECT_TRUE(a == b || a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
    }
}

TEST(TrainerMemoryTest, MuonTakesTheMatricesOfTheLayersAndNoSecondMomentForThem) {
    const ModelConfig model;
    TrainConfig train = train_of(1);
    std::uint64_t matrices = 0;
    for (const MuonGroup& g : muon_groups(model)) {
        EXPECT_GE(g.at_once, 1U);
        matrices += g.tensors.size();
    }
    EXPECT_EQ(matrices, std::uint64_t{7} * model.num_hidden_layers);
    const auto adamw = trainer_memory(model, train, base());
    train.optimizer = InnerOptimizer::muon;
    EXPECT_NE(trainer_memory(model, train, base()).optimizer, adamw.optimizer);
    EXPECT_EQ(trainer_memory(model, train, base()).workspace, adamw.workspace);
}

}  // namespace
}  // namespace skerry::node
