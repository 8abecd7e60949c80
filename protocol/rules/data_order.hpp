#pragma once
// The order in which sequences are fed: position pass * D + x is sequence perm_pass(x).
//
// perm is a balanced Feistel network of 4 rounds over the smallest even number of bits (at least 2) that holds
// 0 .. D-1, walked until it falls below D. Round r of pass p maps (left, right) to
// (right, left ^ low bits of finalise(right ^ key)), key = first 8 bytes of H("skerry/order/1", run seed, p, r)
// as u64, u64, u32.

#include <array>
#include <cstdint>

namespace skerry {

/// SplitMix64's finaliser.
constexpr std::uint64_t splitmix64_finalise(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

/// Not thread-safe: it keeps the keys of the pass it was asked for last.
class DataOrder {
  public:
    /// `sequences` is D, at least 1.
    DataOrder(std::uint64_t run_seed, std::uint64_t sequences);

    /// Sequence number (below D) at a position.
    std::uint64_t sequence_at(std::uint64_t position);

  private:
    void take_pass(std::uint64_t pass);
    std::uint64_t permute_once(std::uint64_t x) const;

    std::uint64_t seed_;
    std::uint64_t sequences_;
    unsigned half_bits_;
    std::uint64_t pass_;
    std::array<std::uint64_t, 4> keys_{};
};

}  // namespace skerry
