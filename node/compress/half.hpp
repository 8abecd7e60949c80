#pragma once
// IEEE binary16 by integers, for scales: never negative, never rounded down.

#include <bit>
#include <cstdint>

namespace skerry::node {

/// Smallest binary16 number >= value; value is in [0, 65504].
constexpr std::uint16_t to_half_up(float value) {
    if (value < 0x1p-14F) {  // subnormal halves are multiples of 2^-24
        float units = value * 0x1p24F;
        auto whole = static_cast<std::uint32_t>(units);
        if (static_cast<float>(whole) < units) ++whole;
        return static_cast<std::uint16_t>(whole);
    }
    auto bits = std::bit_cast<std::uint32_t>(value);
    std::uint32_t half = (bits >> 13) - ((127U - 15U) << 10);
    if ((bits & 0x1FFFU) != 0) ++half;  // may carry into the exponent: that is the next number
    return static_cast<std::uint16_t>(half);
}

/// Exact. For a finite half that is not negative.
constexpr float from_half(std::uint16_t half) {
    if (half < 0x0400) return static_cast<float>(half) * 0x1p-24F;
    return std::bit_cast<float>((std::uint32_t{half} << 13) + ((127U - 15U) << 23));
}

/// 2^exponent for exponent in [-126, 127].
constexpr float power_of_two(int exponent) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

}  // namespace skerry::node
