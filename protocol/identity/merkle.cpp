#include "protocol/identity/merkle.hpp"

#include "protocol/base/assert.hpp"

namespace skerry {
namespace {

Digest merkle_node(const Digest& left, const Digest& right) {
    static constexpr std::uint8_t kNode = 1;
    return Sha256().update(ByteSpan{&kNode, 1}).update(left.bytes).update(right.bytes).finish();
}

// Level by level, an odd last node moving up unchanged: that is the split at the largest power of two.
std::vector<Digest> next_level(std::span<const Digest> level) {
    std::vector<Digest> up;
    up.reserve((level.size() + 1) / 2);
    for (std::size_t i = 0; i + 1 < level.size(); i += 2) up.push_back(merkle_node(level[i], level[i + 1]));
    if (level.size() % 2 == 1) up.push_back(level.back());
    return up;
}

// The sibling of `index` on a level of `size` nodes; an odd last node has none.
std::optional<std::size_t> sibling(std::size_t index, std::size_t size) {
    std::size_t other = index ^ 1;
    if (other >= size) return std::nullopt;
    return other;
}

}  // namespace

Digest merkle_leaf(ByteSpan bytes) { return merkle_leaf_hasher().update(bytes).finish(); }

Sha256 merkle_leaf_hasher() {
    static constexpr std::uint8_t kLeaf = 0;
    Sha256 hasher;
    hasher.update(ByteSpan{&kLeaf, 1});
    return hasher;
}

Digest merkle_root(std::span<const Digest> leaves) {
    if (leaves.empty()) return sha256({});
    if (leaves.size() == 1) return leaves.front();
    auto level = next_level(leaves);
    while (level.size() > 1) level = next_level(level);
    return level.front();
}

std::vector<Digest> make_merkle_proof(std::span<const Digest> leaves, std::size_t index) {
    return MerkleTree({leaves.begin(), leaves.end()}).proof(index);
}

bool verify_merkle_proof(const Digest& root, const Digest& leaf, std::uint64_t index,
                         std::uint64_t count, std::span<const Digest> proof) {
    if (index >= count) return false;
    Digest node = leaf;
    std::size_t used = 0;
    for (std::uint64_t size = count, at = index; size > 1; size = size / 2 + size % 2, at /= 2) {
        if ((at ^ 1) >= size) continue;  // odd last node: moves up as it is
        if (used == proof.size()) return false;
        node = at % 2 == 0 ? merkle_node(node, proof[used]) : merkle_node(proof[used], node);
        ++used;
    }
    return used == proof.size() && node == root;
}

MerkleTree::MerkleTree(std::vector<Digest> leaves) {
    if (leaves.empty()) {
        levels_ = {{}, {sha256({})}};
        return;
    }
    levels_.push_back(std::move(leaves));
    while (levels_.back().size() > 1) levels_.push_back(next_level(levels_.back()));
}

std::vector<Digest> MerkleTree::proof(std::size_t index) const {
    SKERRY_ASSERT(index < leaves().size());
    std::vector<Digest> out;
    for (const auto& level : levels_) {
        if (level.size() == 1) break;
        if (auto other = sibling(index, level.size())) out.push_back(level[*other]);
        index /= 2;
    }
    return out;
}

Bytes to_leaf_list(std::span<const Digest> leaves) {
    Bytes out;
    out.reserve(leaves.size() * Digest::size());
    for (const Digest& leaf : leaves) out.insert(out.end(), leaf.bytes.begin(), leaf.bytes.end());
    return out;
}

Result<std::vector<Digest>> parse_leaf_list(ByteSpan block, std::optional<std::size_t> expected) {
    std::size_t count = block.size() / Digest::size();
    if (block.size() % Digest::size() != 0 || (expected && *expected != count))
        return fail(Errc::malformed, "a leaf list of " + std::to_string(block.size()) + " bytes");
    std::vector<Digest> leaves(count);
    for (std::size_t i = 0; i < count; ++i)
        std::memcpy(leaves[i].bytes.data(), block.data() + i * Digest::size(), Digest::size());
    return leaves;
}

}  // namespace skerry
