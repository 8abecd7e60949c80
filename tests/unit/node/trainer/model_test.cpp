// The decoder against itself: what must not depend on how the work is cut.

#include "node/trainer/torch/model.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace skerry::node {
namespace {

ModelConfig small_model() {
    ModelConfig c;
    c.vocab_size = 50;
    c.hidden_size = 24;
    c.intermediate_size = 40;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 6;
    c.num_key_value_heads = 3;
    c.head_dim = 8;
    return c;
}

class ModelTest : public testing::Test {
  protected:
    ModelTest() : table(make_tensor_table(small_model())), theta(table.elements), ids(4 * 16), targets(4 * 16) {
        for (std::size_t i = 0; i < theta.size(); ++i) theta[i] = 0.3F * std::sin(static_cast<float>(i * i % 1009));
        for (std::size_t i = 0; i < ids.size(); ++i) {
            ids[i] = static_cast<std::int32_t>(i * i % 50);
            targets[i] = static_cast<std::int32_t>((i * 7 + 3) % 50);
        }
    }
    ModelOptions options() const {
        ModelOptions o;
        o.batch = 4;
        o.seq = 16;
        return o;
    }
    TokenBatch rows(std::uint32_t n) const { return {{ids.data(), n * 16U}, {targets.data(), n * 16U}, n}; }
    std::vector<float> gradient(const ModelOptions& o, double& loss, std::uint32_t batch = 4) {
        auto model = make_model(small_model(), o);
        loss = model->loss_and_gradient({theta.data(), nullptr}, rows(batch));
        std::vector<float> out(theta.size());
        model->copy_gradient(out);
        return out;
    }
    TensorTable table;
    std::vector<float> theta;
    std::vector<std::int32_t> ids, targets;
};

TEST_F(ModelTest, AttentionComputedAgainInBlocksGivesTheSameGradient) {
    double kept = 0, again = 0;
    auto o = options();
    const auto expected = gradient(o, kept);
    o.keep_attention_bytes = 0;
    o.attention_block_bytes = 5 * 2 * 16 * 16 * sizeof(float);  // five (sequence, key head) groups of twelve
    const auto actual = gradient(o, again);
    EXPECT_DOUBLE_EQ(kept, again);
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], actual[i], 1e-6F) << i;
}

TEST_F(ModelTest, ASmallerBatchThanTheWorkspaceGivesTheSameGradient) {
    double large = 0, exact = 0;
    auto o = options();
    const auto expected = gradient(o, large, 3);
    o.batch = 3;
    const auto actual = gradient(o, exact, 3);
    EXPECT_DOUBLE_EQ(large, exact);
    EXPECT_EQ(expected, actual);
}

TEST_F(ModelTest, AModelWithoutGradientHasTheSameLossAndLogitsSeeNoFuture) {
    double expected = 0;
    auto o = options();
    gradient(o, expected);
    o.training = false;
    auto model = make_model(small_model(), o);
    EXPECT_NEAR(model->loss({theta.data(), nullptr}, rows(4)), expected, 1e-9 * expected);

    std::vector<float> before(50), after(50);
    model->logits({theta.data(), nullptr}, rows(1), 9, before);
    for (std::size_t i = 10; i < 16; ++i) ids[i] = 49 - ids[i];
    model->logits({theta.data(), nullptr}, rows(1), 9, after);
    EXPECT_EQ(before, after);
}

}  // namespace
}  // namespace skerry::node
