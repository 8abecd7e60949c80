#include "protocol/rules/piece_grid.hpp"

#include <algorithm>

#include "protocol/base/assert.hpp"

namespace skerry {

std::uint32_t piece_elements_for(std::uint64_t elements) {
    std::uint64_t share = elements / 256 + (elements % 256 != 0);
    std::uint64_t steps = share / kPieceStep + (share % kPieceStep != 0);
    std::uint64_t size = std::max<std::uint64_t>(kPieceStep, steps * kPieceStep);
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxPieceElements, size));
}

std::uint32_t PieceGrid::count() const {
    return static_cast<std::uint32_t>(elements / piece_elements + (elements % piece_elements != 0));
}

std::uint32_t PieceGrid::size(PieceIndex piece) const {
    SKERRY_ASSERT(first(piece) < elements);
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(piece_elements, elements - first(piece)));
}

std::vector<std::uint16_t> equal_owners(std::uint32_t pieces, std::span<const std::uint16_t> owners) {
    SKERRY_ASSERT(!owners.empty());
    std::vector<std::uint16_t> out(pieces);
    for (std::uint64_t i = 0; i < owners.size(); ++i) {
        std::uint64_t lo = i * pieces / owners.size();
        std::uint64_t hi = (i + 1) * pieces / owners.size();
        for (std::uint64_t p = lo; p < hi; ++p) out[p] = owners[i];
    }
    return out;
}

}  // namespace skerry
