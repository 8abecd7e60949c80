#pragma once
// Inputs that C++ and Python make alike, from integers (tests/oracle/synthetic.py).

#include <cmath>
#include <cstdint>
#include <vector>

namespace skerry::test {

inline std::uint64_t draw(std::uint64_t seed, std::uint64_t index) {
    std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

/// [n] float32 in (-2^exponent, 2^exponent); with `mixed` block b of 256 is smaller by 2^(up to
/// 23).
inline std::vector<float> synthetic(std::uint64_t seed, std::size_t n, int exponent = 0,
                                    bool mixed = false) {
    std::vector<float> out(n);
    for (std::size_t i = 0; i < n; ++i) {
        auto u = static_cast<std::int64_t>(draw(seed, i) >> 40);
        double x = std::ldexp(static_cast<double>(u - (std::int64_t{1} << 23)), exponent - 23);
        if (mixed) x = std::ldexp(x, -static_cast<int>(draw(seed ^ 0xB10C, i / 256) % 24));
        out[i] = static_cast<float>(x);
    }
    return out;
}

}  // namespace skerry::test
