#include "protocol/identity/merkle.hpp"

#include <gtest/gtest.h>

namespace skerry {
namespace {

Bytes node_input(const Digest& left, const Digest& right) {
    Bytes in = {1};
    in.insert(in.end(), left.bytes.begin(), left.bytes.end());
    in.insert(in.end(), right.bytes.begin(), right.bytes.end());
    return in;
}

// RFC 6962 as it is written: recursive, split at the largest power of two below n.
Digest reference_root(std::span<const Digest> leaves) {
    if (leaves.size() == 1) return leaves.front();
    std::size_t k = 1;
    while (2 * k < leaves.size()) k *= 2;
    return sha256(node_input(reference_root(leaves.first(k)), reference_root(leaves.subspan(k))));
}

std::vector<Digest> some_leaves(std::size_t n) {
    std::vector<Digest> leaves;
    for (std::size_t i = 0; i < n; ++i) leaves.push_back(merkle_leaf(as_bytes(std::to_string(i))));
    return leaves;
}

TEST(Merkle, RootEqualsTheRecursiveDefinition) {
    for (std::size_t n = 1; n <= 40; ++n) {
        auto leaves = some_leaves(n);
        EXPECT_EQ(merkle_root(leaves), reference_root(leaves)) << n;
        EXPECT_EQ(MerkleTree(leaves).root(), reference_root(leaves)) << n;
    }
}

TEST(Merkle, LeafHasAZeroInFront) {
    Bytes with_prefix = {0, 'x'};
    EXPECT_EQ(merkle_leaf(as_bytes("x")), sha256(with_prefix));
}

TEST(Merkle, EveryLeafHasAProofThatHolds) {
    for (std::size_t n = 1; n <= 33; ++n) {
        auto leaves = some_leaves(n);
        auto root = merkle_root(leaves);
        for (std::size_t i = 0; i < n; ++i) {
            auto proof = make_merkle_proof(leaves, i);
            EXPECT_TRUE(verify_merkle_proof(root, leaves[i], i, n, proof)) << n << " " << i;
        }
    }
}

TEST(Merkle, AProofHoldsForNothingElse) {
    auto leaves = some_leaves(13);
    auto root = merkle_root(leaves);
    auto proof = make_merkle_proof(leaves, 5);
    EXPECT_FALSE(verify_merkle_proof(root, leaves[6], 5, 13, proof));
    EXPECT_FALSE(verify_merkle_proof(root, leaves[5], 4, 13, proof));
    EXPECT_FALSE(verify_merkle_proof(root, leaves[5], 13, 13, proof));
    auto longer = proof;
    longer.push_back(Digest{});
    EXPECT_FALSE(verify_merkle_proof(root, leaves[5], 5, 13, longer));
    auto shorter = proof;
    shorter.pop_back();
    EXPECT_FALSE(verify_merkle_proof(root, leaves[5], 5, 13, shorter));
    auto changed = proof;
    changed[0].bytes[0] ^= 1;
    EXPECT_FALSE(verify_merkle_proof(root, leaves[5], 5, 13, changed));
}

TEST(Merkle, HugeCountsAreRefusedWithoutWork) {
    EXPECT_FALSE(verify_merkle_proof(Digest{}, Digest{}, ~0ULL - 1, ~0ULL, {}));
}

TEST(Merkle, LeafListIsTheLeavesConcatenated) {
    auto leaves = some_leaves(3);
    auto block = to_leaf_list(leaves);
    ASSERT_EQ(block.size(), 96U);
    auto back = parse_leaf_list(block, 3);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, leaves);
    EXPECT_FALSE(parse_leaf_list(block, 4));
    block.pop_back();
    EXPECT_FALSE(parse_leaf_list(block));
}

}  // namespace
}  // namespace skerry
