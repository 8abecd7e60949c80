#include "node/compress/float32.hpp"

#include <bit>
#include <cstring>
#include <vector>

#include "node/compress/kernels.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {

Result<void> Float32Codec::encode(const ChunkHeader& place, std::span<const float> values,
                                  std::span<std::uint8_t> out) const {
    if (values.size() != place.elements || values.empty() ||
        out.size() != chunk_bytes(id(), place.elements))
        return fail(Errc::bad_shape, "F32: " + std::to_string(values.size()) +
                                         " values for a piece of " +
                                         std::to_string(place.elements));
    std::vector<std::int32_t> maxima((values.size() + kBlock - 1) / kBlock);
    kernels().block_maxima(values.data(), values.size(), maxima.data());
    for (std::int32_t bits : maxima) {
        if (bits >= std::bit_cast<std::int32_t>(kMagnitudeLimit))
            return fail(Errc::not_finite, "NaN, Inf or a magnitude above 2^64 in piece " +
                                              std::to_string(place.piece.value));
    }
    ChunkHeader header = place;
    header.codec = id();
    header.exponent = 0;
    auto head = to_bytes(header);
    std::memcpy(out.data(), head.data(), head.size());
    std::memcpy(out.data() + head.size(), values.data(), values.size_bytes());
    return {};
}

void Float32Codec::decode(ByteSpan chunk, std::span<float> values) const {
    SKERRY_ASSERT(chunk.size() == kChunkHeaderBytes + values.size_bytes());
    std::memcpy(values.data(), chunk.data() + kChunkHeaderBytes, values.size_bytes());
}

void Float32Codec::accumulate(ByteSpan chunk, float weight, std::span<float> acc) const {
    SKERRY_ASSERT(chunk.size() == kChunkHeaderBytes + acc.size_bytes());
    kernels().accumulate_f32(chunk.data() + kChunkHeaderBytes, acc.size(), weight, acc.data());
}

}  // namespace skerry::node
