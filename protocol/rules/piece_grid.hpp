#pragma once
// The grid of pieces over the flat vector, and who owns which piece.

#include <cstdint>
#include <span>
#include <vector>

#include "protocol/base/ids.hpp"

namespace skerry {

inline constexpr std::uint32_t kPieceStep = 4096;
inline constexpr std::uint32_t kMaxPieceElements = 1U << 20;

/// min(2^20, max(4096, ceil(P / 256) rounded up to 4096)), whatever the number of nodes.
std::uint32_t piece_elements_for(std::uint64_t elements);

/// Pieces of equal size; the last one is short.
struct PieceGrid {
    std::uint64_t elements = 0;
    std::uint32_t piece_elements = kPieceStep;

    std::uint32_t count() const;
    /// First element of a piece.
    std::uint64_t first(PieceIndex piece) const { return std::uint64_t{piece.value} * piece_elements; }
    /// Elements in a piece; the piece must be below count().
    std::uint32_t size(PieceIndex piece) const;
};

/// Equal shares: each owner gets a contiguous range of pieces, sizes differ by one at most.
/// `owners` are indices into the plan's members, ascending and not empty. Answers [pieces] such an index.
std::vector<std::uint16_t> equal_owners(std::uint32_t pieces, std::span<const std::uint16_t> owners);

}  // namespace skerry
