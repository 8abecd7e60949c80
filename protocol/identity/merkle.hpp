#pragma once
// Merkle trees as in RFC 6962: leaf SHA-256(0x00, bytes), node SHA-256(0x01, left, right), a list of n > 1
// leaves split at the largest power of two below n.
//
// A root that is asked for as a block gives its leaf list: the 32-byte leaf hashes, concatenated.

#include <optional>
#include <span>
#include <vector>

#include "protocol/identity/hash.hpp"

namespace skerry {

Digest merkle_leaf(ByteSpan bytes);
/// The same for bytes that come in parts: update() them all, then finish().
Sha256 merkle_leaf_hasher();

/// Root over leaf hashes in order; of no leaves it is SHA-256 of nothing.
Digest merkle_root(std::span<const Digest> leaves);

/// Siblings from the leaf up; `index` must be below the number of leaves. O(n) hashes.
std::vector<Digest> make_merkle_proof(std::span<const Digest> leaves, std::size_t index);

/// Whether `leaf` is number `index` of `count` leaves under `root`. Any input is safe.
bool verify_merkle_proof(const Digest& root, const Digest& leaf, std::uint64_t index,
                         std::uint64_t count, std::span<const Digest> proof);

/// All inner nodes, so that proofs of many leaves of one tree cost O(log n) each.
class MerkleTree {
  public:
    explicit MerkleTree(std::vector<Digest> leaves);

    const Digest& root() const { return levels_.back().front(); }
    const std::vector<Digest>& leaves() const { return levels_.front(); }
    /// Siblings from the leaf up; `index` must be below the number of leaves.
    std::vector<Digest> proof(std::size_t index) const;

  private:
    std::vector<std::vector<Digest>> levels_;
};

/// Leaf list as a block, and back: whole 32-byte leaves, `expected` of them unless that is empty.
Bytes to_leaf_list(std::span<const Digest> leaves);
Result<std::vector<Digest>> parse_leaf_list(ByteSpan block, std::optional<std::size_t> expected = {});

}  // namespace skerry
