#pragma once
// A8: blocks of 256 values share a binary16 scale, values are int8. 8.063 bits per parameter at
// full pieces.
//
// Let M be the largest magnitude of the piece. The chunk's exponent e is the one for which M * 2^-e
// / 127 lies in [2^14, 2^15), at least -100 (0 if M is 0; magnitudes below 2^-79 lose precision
// instead); if rounding up brings the largest scale to 2^15, e is one higher. Block: stored =
// smallest binary16 >= (largest magnitude * 2^-e) / 127; scale = stored * 2^e, exact in float32; q
// = rint(x / scale), to even, in [-127, 127]; 0 in a block of scale 0. Decoded q * scale is exact
// in float32 too. Products and quotients are rounded to float32 once each, in the order written.

#include "node/compress/codec.hpp"

namespace skerry::node {

class Int8BlockCodec final : public Codec {
  public:
    CodecId id() const override { return CodecId::a8; }
    Result<void> encode(const ChunkHeader& place, std::span<const float> values,
                        std::span<std::uint8_t> out) const override;
    void decode(ByteSpan chunk, std::span<float> values) const override;
    void accumulate(ByteSpan chunk, float weight, std::span<float> acc) const override;
};

}  // namespace skerry::node
