#pragma once
// F32: the values as they are, little-endian. The codec of oracles and of links that do not need
// less.

#include "node/compress/codec.hpp"

namespace skerry::node {

class Float32Codec final : public Codec {
  public:
    CodecId id() const override { return CodecId::f32; }
    Result<void> encode(const ChunkHeader& place, std::span<const float> values,
                        std::span<std::uint8_t> out) const override;
    void decode(ByteSpan chunk, std::span<float> values) const override;
    void accumulate(ByteSpan chunk, float weight, std::span<float> acc) const override;
};

}  // namespace skerry::node
