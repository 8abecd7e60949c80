#include "node/compress/int8_block.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "node/compress/half.hpp"
#include "node/compress/kernels.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {
namespace {

static_assert(kBlock == kA8Block);

/// The e for which largest * 2^-e / 127 lies in [2^14, 2^15). 127 is 1.984375 * 2^6.
int exponent_for(std::int32_t largest_bits) {
    if (largest_bits == 0) return 0;
    int power = (largest_bits >> 23) - 127;
    bool above = (largest_bits & 0x7FFFFF) >= 0x7E0000;
    return std::max(power - (above ? 20 : 21), kA8MinExponent);
}

std::uint16_t stored_scale(std::int32_t largest_bits, int exponent) {
    float relative = std::bit_cast<float>(largest_bits) * power_of_two(-exponent);
    return to_half_up(relative / 127.0F);
}

/// Scales of a chunk as float32, from its bytes.
std::vector<float> read_scales(const ChunkView& view) {
    std::vector<float> scales(view.scales.size() / 2);
    float unit = power_of_two(view.header.exponent);
    for (std::size_t b = 0; b < scales.size(); ++b) {
        std::uint16_t stored;
        std::memcpy(&stored, view.scales.data() + 2 * b, 2);
        scales[b] = from_half(stored) * unit;
    }
    return scales;
}

ChunkView checked_parts(ByteSpan chunk, std::size_t elements) {
    auto view = parse_chunk(chunk);
    SKERRY_ASSERT(view && view->header.codec == CodecId::a8 && view->header.elements == elements);
    return *view;
}

const std::int8_t* quants(const ChunkView& view) {
    return reinterpret_cast<const std::int8_t*>(view.payload.data());
}

}  // namespace

Result<void> Int8BlockCodec::encode(const ChunkHeader& place, std::span<const float> values,
                                    std::span<std::uint8_t> out) const {
    if (values.size() != place.elements || values.empty() ||
        out.size() != chunk_bytes(id(), place.elements))
        return fail(Errc::bad_shape, "A8: " + std::to_string(values.size()) +
                                         " values for a piece of " +
                                         std::to_string(place.elements));
    std::size_t blocks = (values.size() + kBlock - 1) / kBlock;
    std::vector<std::int32_t> maxima(blocks);
    kernels().block_maxima(values.data(), values.size(), maxima.data());
    std::int32_t largest = *std::max_element(maxima.begin(), maxima.end());
    if (largest >= std::bit_cast<std::int32_t>(kMagnitudeLimit))
        return fail(Errc::not_finite, "NaN, Inf or a magnitude above 2^64 in piece " +
                                          std::to_string(place.piece.value));

    int exponent = exponent_for(largest);
    if (stored_scale(largest, exponent) == to_half_up(0x1p15F)) ++exponent;

    ChunkHeader header = place;
    header.codec = id();
    header.exponent = exponent;
    auto head = to_bytes(header);
    std::memcpy(out.data(), head.data(), head.size());

    std::uint8_t* scales_out = out.data() + head.size();
    std::vector<float> scales(blocks);
    for (std::size_t b = 0; b < blocks; ++b) {
        std::uint16_t stored = stored_scale(maxima[b], exponent);
        std::memcpy(scales_out + 2 * b, &stored, 2);
        scales[b] = from_half(stored) * power_of_two(exponent);  // what others will decode with
    }
    auto* q = reinterpret_cast<std::int8_t*>(scales_out + 2 * blocks);
    kernels().quantise(values.data(), values.size(), scales.data(), q);
    return {};
}

void Int8BlockCodec::decode(ByteSpan chunk, std::span<float> values) const {
    ChunkView view = checked_parts(chunk, values.size());
    auto scales = read_scales(view);
    kernels().dequantise(quants(view), values.size(), scales.data(), values.data());
}

void Int8BlockCodec::accumulate(ByteSpan chunk, float weight, std::span<float> acc) const {
    ChunkView view = checked_parts(chunk, acc.size());
    auto scales = read_scales(view);
    kernels().accumulate_a8(quants(view), acc.size(), scales.data(), weight, acc.data());
}

}  // namespace skerry::node
