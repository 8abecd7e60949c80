#pragma once
// float32 spans <-> chunks. A chunk is one encoded piece: the 64-byte header of
// protocol/wire/chunk_codec, then the scales (A8), then the payload; nothing is padded. Equal input
// gives equal bytes on every machine.
//
// There is no residual: F32 loses nothing, and A8 runs without error feedback (the rounding error
// is 5e-5 of the energy of a delta), so no `residual` file exists for these codecs.

#include <cstdint>
#include <span>

#include "protocol/base/bytes.hpp"
#include "protocol/base/result.hpp"
#include "protocol/wire/chunk_codec.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// One way to encode a piece. Stateless: any thread, and calls may overlap.
///
/// `place` is what the header says about where the piece lies; its `codec` and `exponent` are the
/// codec's business and ignored on the way in. The exact size is chunk_bytes(id(), elements) of
/// chunk_codec.hpp.
class Codec {
  public:
    virtual ~Codec() = default;
    virtual CodecId id() const = 0;

    /// Encodes `values` ([n] float32, n = place.elements >= 1) into `out` ([chunk_bytes(id(), n)],
    /// all of it written). errors  bad_shape: sizes differ; not_finite: NaN, Inf or a magnitude of
    /// kMagnitudeLimit. `out` is
    ///         unspecified after an error.
    virtual Result<void> encode(const ChunkHeader& place, std::span<const float> values,
                                std::span<std::uint8_t> out) const = 0;

    /// Whether a foreign chunk is one for this place: header, exact size, scales and values finite,
    /// nothing reserved. After an ok the two functions below accept the same bytes. errors
    /// malformed, bad_shape, stale, not_finite: those of chunk_codec.hpp.
    Result<void> validate(const ChunkHeader& place, ByteSpan chunk) const;

    /// values[i] = decoded element i. The chunk must have been validated or encoded here.
    virtual void decode(ByteSpan chunk, std::span<float> values) const = 0;

    /// acc[i] = acc[i] + weight * decoded element i, each of the two operations rounded to float32.
    /// The chunk must have been validated or encoded here.
    virtual void accumulate(ByteSpan chunk, float weight, std::span<float> acc) const = 0;
};

/// The codec of a run; lives for ever. Errors: not_found for a number no codec has.
Result<const Codec*> find_codec(CodecId id);

}  // namespace skerry::node
