#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "protocol/rules/chain.hpp"
#include "protocol/rules/data_order.hpp"
#include "protocol/rules/initial_state.hpp"
#include "protocol/rules/piece_grid.hpp"

namespace skerry {
namespace {

std::vector<std::uint64_t> pass_of(std::uint64_t seed, std::uint64_t d, std::uint64_t pass) {
    DataOrder order(seed, d);
    std::vector<std::uint64_t> out;
    for (std::uint64_t x = 0; x < d; ++x) out.push_back(order.sequence_at(pass * d + x));
    return out;
}

TEST(DataOrder, EachPassIsAPermutation) {
    for (std::uint64_t d : {1ULL, 2ULL, 3ULL, 4ULL, 5ULL, 17ULL, 1000ULL, 4096ULL, 4097ULL}) {
        for (std::uint64_t pass : {0ULL, 1ULL, 7ULL}) {
            auto seen = pass_of(3, d, pass);
            std::sort(seen.begin(), seen.end());
            std::vector<std::uint64_t> all(d);
            std::iota(all.begin(), all.end(), 0);
            EXPECT_EQ(seen, all) << d << " " << pass;
        }
    }
}

TEST(DataOrder, SeedAndPassChangeTheOrder) {
    EXPECT_NE(pass_of(3, 1000, 0), pass_of(4, 1000, 0));
    EXPECT_NE(pass_of(3, 1000, 0), pass_of(3, 1000, 1));
}

TEST(DataOrder, IsTheSameWhateverWasAskedBefore) {
    DataOrder order(9, 100);
    auto first = order.sequence_at(250);
    (void)order.sequence_at(17);
    EXPECT_EQ(order.sequence_at(250), first);
}

TEST(DataOrder, IsFrozen) {
    // From an independent Python implementation of the rule in the header.
    EXPECT_EQ(pass_of(42, 10, 0), (std::vector<std::uint64_t>{9, 1, 8, 6, 7, 3, 2, 5, 0, 4}));
    EXPECT_EQ(pass_of(42, 10, 1), (std::vector<std::uint64_t>{8, 7, 5, 0, 6, 9, 1, 4, 2, 3}));
}

TEST(PieceGrid, FollowsTheRule) {
    EXPECT_EQ(piece_elements_for(1), 4096U);
    EXPECT_EQ(piece_elements_for(256 * 4096), 4096U);
    EXPECT_EQ(piece_elements_for(256 * 4096 + 1), 8192U);
    EXPECT_EQ(piece_elements_for(16 << 20), 65536U);
    EXPECT_EQ(piece_elements_for(1ULL << 28), 1U << 20);
    EXPECT_EQ(piece_elements_for(7'000'000'000ULL), 1U << 20);
}

TEST(PieceGrid, PiecesTileTheVector) {
    for (std::uint64_t elements : {1ULL, 4096ULL, 4097ULL, 1'000'003ULL, 1ULL << 28}) {
        PieceGrid grid{elements, piece_elements_for(elements)};
        std::uint64_t next = 0;
        for (std::uint32_t p = 0; p < grid.count(); ++p) {
            EXPECT_EQ(grid.first(PieceIndex{p}), next);
            next += grid.size(PieceIndex{p});
        }
        EXPECT_EQ(next, elements);
    }
}

TEST(PieceGrid, SharesDifferByOneAtMost) {
    const std::vector<std::uint16_t> owners = {0, 2, 5};
    for (std::uint32_t pieces : {1U, 2U, 3U, 10U, 256U}) {
        auto out = equal_owners(pieces, owners);
        ASSERT_EQ(out.size(), pieces);
        EXPECT_TRUE(std::is_sorted(out.begin(), out.end()));
        std::map<std::uint16_t, std::uint32_t> share = {{0, 0}, {2, 0}, {5, 0}};
        for (auto o : out) ++share[o];
        ASSERT_EQ(share.size(), 3U);
        auto [low, high] = std::minmax({share[0], share[2], share[5]});
        EXPECT_LE(high - low, 1U);
    }
}

TEST(InitialState, AnyRangeGivesTheSameElements) {
    auto stream = init_stream(42, "model.embed_tokens.weight");
    std::vector<float> whole(1000);
    fill_initial(stream, 1e-9F, 0, whole);
    std::vector<float> part(100);
    fill_initial(stream, 1e-9F, 450, part);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin() + 450));
}

TEST(InitialState, HasTheVarianceThatWasAskedFor) {
    std::vector<float> values(200000);
    fill_initial(init_stream(1, "w"), init_scale_for(0.02), 0, values);
    double sum = 0;
    double squares = 0;
    for (float v : values) sum += v, squares += double{v} * double{v};
    EXPECT_NEAR(sum / 200000, 0, 2e-4);
    EXPECT_NEAR(std::sqrt(squares / 200000), 0.02, 2e-4);
}

TEST(InitialState, ZeroScaleIsAllOnes) {
    std::vector<float> values(3);
    fill_initial(5, 0, 0, values);
    EXPECT_EQ(values, std::vector<float>(3, 1.0F));
}

TEST(InitialState, ZeroScaleIsAllZerosForABias) {
    EXPECT_TRUE(starts_as_zero("model.layers.0.self_attn.q_proj.bias", 0.0F));
    EXPECT_FALSE(starts_as_zero("model.layers.0.self_attn.q_proj.bias", 1e-9F));
    EXPECT_FALSE(starts_as_zero("model.norm.weight", 0.0F));
}

TEST(InitialState, IsFrozen) {
    // From an independent Python implementation of the rule in the header.
    EXPECT_EQ(init_stream(42, "w"), 1474153456061935403ULL);
    std::vector<float> values(4);
    fill_initial(init_stream(42, "w"), 1.0F, 0, values);
    EXPECT_EQ(values, (std::vector<float>{10222589.0F, -8359454.0F, 6782438.0F, 16455200.0F}));
}

TEST(Chain, IsTheTaggedHashOfItsFields) {
    Digest zero;
    ByteWriter fields;
    fields.id(zero);
    fields.u64(7);
    fields.u8(1);
    fields.id(zero);
    fields.u32(1);
    fields.id(zero);
    fields.u64(99);
    EXPECT_EQ(chain_next(zero, Step{7}, EntryKind::commit, zero, std::vector<Digest>{zero}, 99),
              tagged_hash("skerry/chain/1", fields));
    EXPECT_EQ(chain_start(zero), tagged_hash("skerry/chain/0", zero.bytes));
}

TEST(Chain, StateDigestBindsTokensAndBothRoots) {
    std::vector<float> piece = {1.0F, 2.0F};
    Digest leaf = float_leaf(piece);
    EXPECT_NE(state_digest(1, leaf, Digest{}), state_digest(2, leaf, Digest{}));
    EXPECT_NE(state_digest(1, leaf, Digest{}), state_digest(1, Digest{}, leaf));
}

}  // namespace
}  // namespace skerry
