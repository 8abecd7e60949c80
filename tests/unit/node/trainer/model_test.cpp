// The decoder against itself: what must not depend on how the work is cut.

#include "node/trainer/torch/decoder.hpp"
#include "node/trainer/torch/model.hpp"

#include <gtest/gtest.h>

#include <algorithm>
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
        shadow.resize(theta.size());
        kernel_set<Bf16>().convert(theta.data(), shadow.data(), static_cast<long>(theta.size()));
        for (std::size_t i = 0; i < ids.size(); ++i) {
            ids[i] = static_cast<std::int32_t>(i * i % 50);
            targets[i] = static_cast<std::int32_t>((i * 7 + 3) % 50);
        }
    }
    WorkspacePlan plan() const {
        WorkspacePlan p;
        p.micro_batch = 4;
        p.seq = 16;
        return p;
    }
    TokenBatch rows(std::uint32_t n) const { return {{ids.data(), n * 16U}, {targets.data(), n * 16U}, n, n * 16U}; }
    std::vector<float> gradient(const WorkspacePlan& p, double& loss, std::uint32_t batch = 4) {
        auto model = make_model(small_model(), p);
        loss = model->loss_and_gradient({theta.data(), shadow.data()}, rows(batch));
        std::vector<float> out(theta.size());
        model->copy_gradient(out);
        return out;
    }
    TensorTable table;
    std::vector<float> theta;
    std::vector<Bf16> shadow;
    std::vector<std::int32_t> ids, targets;
};

TEST_F(ModelTest, AttentionComputedAgainInBlocksGivesTheSameGradient) {
    double kept = 0, again = 0;
    auto p = plan();
    const auto expected = gradient(p, kept);
    p.recompute = Recompute::attention;
    p.attention_block_bytes = 5 * 2 * 16 * 16 * sizeof(float);  // five (sequence, key head) groups of twelve
    const auto actual = gradient(p, again);
    EXPECT_DOUBLE_EQ(kept, again);
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], actual[i], 1e-6F) << i;
}

TEST_F(ModelTest, ASmallerBatchThanTheWorkspaceGivesTheSameGradient) {
    double large = 0, exact = 0;
    auto p = plan();
    const auto expected = gradient(p, large, 3);
    p.micro_batch = 3;
    const auto actual = gradient(p, exact, 3);
    EXPECT_DOUBLE_EQ(large, exact);
    EXPECT_EQ(expected, actual);
}

TEST_F(ModelTest, WholeLayersComputedAgainGiveTheSameGradientBitForBit) {
    for (const bool bf16 : {false, true}) {
        double kept = 0, again = 0;
        auto p = plan();
        p.bf16 = bf16;
        const auto expected = gradient(p, kept);
        p.recompute = Recompute::layers;
        EXPECT_EQ(gradient(p, again), expected) << bf16;
        EXPECT_EQ(kept, again);
        p.attention_block_bytes = 5 * 2 * 16 * 16 * sizeof(float);  // and its attention a second time
        const auto twice = gradient(p, again);
        for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], twice[i], bf16 ? 1e-2F : 1e-6F) << i;
    }
}

TEST_F(ModelTest, FourSequencesOneByOneGiveTheGradientOfFour) {
    double together = 0, apart = 0;
    auto p = plan();
    const auto expected = gradient(p, together);
    float largest = 0;
    for (const float g : expected) largest = std::max(largest, std::abs(g));
    for (const std::uint32_t size : {1U, 3U}) {
        p.micro_batch = size;
        p.accumulate = true;
        const auto actual = gradient(p, apart);
        EXPECT_NEAR(together, apart, 1e-6 * together);
        for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(expected[i], actual[i], 1e-6F * largest) << i;
    }
}

TEST_F(ModelTest, InBf16LongSequencesGiveTheGradientOfFloat) {
    // Scores of one (sequence, key head) that fit into a tile, and that do not.
    for (const std::uint32_t seq : {16U, 600U}) {
        ids.resize(seq);
        targets.resize(seq);
        for (std::size_t i = 0; i < seq; ++i) {
            ids[i] = static_cast<std::int32_t>(i * i * 31 % 50);
            targets[i] = static_cast<std::int32_t>((i * 7 + 3) % 50);
        }
        for (std::size_t i = 0; i < theta.size(); ++i) kernel_set<Bf16>().widen(&shadow[i], 1, &theta[i], 1, 1);
        auto p = plan();
        p.micro_batch = 1;
        p.seq = seq;
        const auto of = [&](bool bf16, bool in_float, double& loss) {
            p.bf16 = bf16;
            p.in_float = in_float;
            auto model = make_model(small_model(), p);
            loss = model->loss_and_gradient({theta.data(), shadow.data()}, {ids, targets, 1, seq});
            std::vector<float> out(theta.size());
            model->copy_gradient(out);
            return out;
        };
        double exact = 0;
        const auto expected = of(false, false, exact);
        double size = 0;
        for (const float g : expected) size += static_cast<double>(g) * static_cast<double>(g);
        for (const std::uint32_t threads : {0U, 1U, 2U, 3U}) {  // that share out the tiles of float products; 0: products are ATen's
            const bool in_float = threads > 0;
            p.threads = std::max(1U, threads);
            double loss = 0, off = 0;
            const auto actual = of(true, in_float, loss);
            EXPECT_NEAR(loss, exact, 5e-3 * exact) << seq << ' ' << threads;
            for (std::size_t i = 0; i < expected.size(); ++i) off += std::pow(static_cast<double>(actual[i] - expected[i]), 2);
            EXPECT_LT(std::sqrt(off / size), 0.03) << seq << ' ' << threads;
        }
    }
}

/// Biases add about 170 to every attention score, in pairs of a head that the rotary embedding hardly turns.
TEST_F(ModelTest, InBf16TheDecoderTellsLargeScoresApart) {
    ModelConfig c = small_model();
    c.model_type = ModelType::qwen2;
    c.num_attention_heads = 4;
    c.num_key_value_heads = 2;
    c.head_dim = 64;
    c.rope_theta = 1e8;
    const TensorTable names = make_tensor_table(c);
    theta.resize(names.elements);
    for (const auto& t : names.tensors) {
        const bool shifted = t.name.ends_with("q_proj.bias") || t.name.ends_with("k_proj.bias");
        for (std::uint64_t i = 0; i < t.elements; ++i) {
            const auto at = t.offset + i;
            theta[at] = 0.3F * std::sin(static_cast<float>(at * at % 1009)) + (shifted && i % 32 >= 13 ? 6.F : 0.F);
        }
    }
    shadow.resize(theta.size());
    kernel_set<Bf16>().convert(theta.data(), shadow.data(), static_cast<long>(theta.size()));
    kernel_set<Bf16>().widen(shadow.data(), 0, theta.data(), 1, static_cast<long>(theta.size()));
    const std::uint32_t length = 40;
    std::vector<float> expected(50), actual(50);
    auto p = plan();
    p.micro_batch = 1;
    p.seq = length;
    p.training = false;
    ids.resize(length);
    make_model(c, p)->logits({theta.data(), nullptr}, {ids, ids, 1, length}, length - 1, expected);
    auto decoder = make_decoder(c, {theta.data(), shadow.data()}, 64);
    std::vector<std::uint32_t> tokens(ids.begin(), ids.end());
    decoder->feed(std::span(tokens).first(30), actual);
    for (std::size_t i = 30; i < length; ++i) decoder->feed(std::span(tokens).subspan(i, 1), actual);
    double off = 0, size = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
        off += std::pow(static_cast<double>(actual[i] - expected[i]), 2);
        size += std::pow(static_cast<double>(expected[i]), 2);
    }
    EXPECT_LT(std::sqrt(off / size), 0.02);
}

TEST_F(ModelTest, AModelWithoutGradientHasTheSameLossAndLogitsSeeNoFuture) {
    double expected = 0;
    auto p = plan();
    gradient(p, expected);
    p.training = false;
    auto model = make_model(small_model(), p);
    EXPECT_NEAR(model->loss({theta.data(), nullptr}, rows(4)), expected, 1e-9 * expected);

    std::vector<float> before(50), after(50);
    model->logits({theta.data(), nullptr}, rows(1), 9, before);
    for (std::size_t i = 10; i < 16; ++i) ids[i] = 49 - ids[i];
    model->logits({theta.data(), nullptr}, rows(1), 9, after);
    EXPECT_EQ(before, after);
}

}  // namespace
}  // namespace skerry::node
