#include "protocol/rules/data_order.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "protocol/base/assert.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry {

DataOrder::DataOrder(std::uint64_t run_seed, std::uint64_t sequences)
    : seed_(run_seed), sequences_(sequences), half_bits_(1), pass_(0) {
    SKERRY_ASSERT(sequences >= 1);
    auto bits = static_cast<unsigned>(std::bit_width(sequences - 1));
    half_bits_ = std::max(1U, (bits + 1) / 2);
    take_pass(0);
}

void DataOrder::take_pass(std::uint64_t pass) {
    pass_ = pass;
    for (std::uint32_t round = 0; round < keys_.size(); ++round) {
        ByteWriter fields;
        fields.u64(seed_);
        fields.u64(pass);
        fields.u32(round);
        Digest key = tagged_hash("skerry/order/1", fields);
        std::memcpy(&keys_[round], key.bytes.data(), sizeof keys_[round]);
    }
}

std::uint64_t DataOrder::permute_once(std::uint64_t x) const {
    const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
    std::uint64_t left = x >> half_bits_;
    std::uint64_t right = x & mask;
    for (std::uint64_t key : keys_) {
        std::uint64_t mixed = left ^ (splitmix64_finalise(right ^ key) & mask);
        left = right;
        right = mixed;
    }
    return (left << half_bits_) | right;
}

std::uint64_t DataOrder::sequence_at(std::uint64_t position) {
    std::uint64_t pass = position / sequences_;
    if (pass != pass_) take_pass(pass);
    std::uint64_t x = permute_once(position % sequences_);
    while (x >= sequences_) x = permute_once(x);  // under four times as many values as sequences (D > 1)
    return x;
}

}  // namespace skerry
