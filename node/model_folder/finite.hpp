#pragma once
// Whether floats are numbers, by their bits: this must hold under any floating-point flags. Pure.

#include <cstdint>
#include <cstring>
#include <span>

namespace skerry::node {

inline bool all_finite(std::span<const float> values) {
    std::uint32_t bad = 0;
    for (const float& v : values) {
        std::uint32_t bits;
        std::memcpy(&bits, &v, sizeof bits);
        bad |= static_cast<std::uint32_t>((bits & 0x7f800000U) == 0x7f800000U);
    }
    return bad == 0;
}

}  // namespace skerry::node
