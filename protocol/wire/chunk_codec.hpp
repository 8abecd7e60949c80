#pragma once
// The chunk: a 64-byte header, then scales, then payload. Header and body are what is hashed and kept.
//
//   offset  0 "SKR1"   4 u16 version (1)   6 u8 codec   7 u8 flags (0)   8 u32 layout id   12 u32 fragment
//          16 u64 step   24 u32 stage   28 u32 piece   32 u64 first element   40 u32 elements
//          44 u32 payload bytes   48 u32 scales bytes   52 u64 zero   60 u32 exponent + 128
//
// A8: one fp16 scale for each block of 256 elements, one int8 for each element (-128 is refused); F32: no scales,
// four bytes for each element, exponent 0. No padding; the last block and the last piece are short.

#include <array>

#include "protocol/wire/messages.hpp"

namespace skerry {

inline constexpr std::size_t kChunkHeaderBytes = 64;
inline constexpr std::uint32_t kA8Block = 256;
inline constexpr int kExponentBias = 128;
/// A8's exponents. From the lower one on every scale is a normal float32 number; above the upper one no magnitude
/// below the limit leads.
inline constexpr int kA8MinExponent = -100;
inline constexpr int kA8MaxExponent = 43;
/// Magnitudes from here on count as not finite: whatever the weights are, no sum of valid chunks overflows float32.
inline constexpr float kMagnitudeLimit = 0x1p64F;

struct ChunkHeader {
    CodecId codec = CodecId::f32;
    std::uint32_t layout = 0;  ///< layout_id of the manifest
    std::uint32_t fragment = 0;
    Step step;
    std::uint32_t stage = 0;
    PieceIndex piece;
    std::uint64_t first_element = 0;
    std::uint32_t elements = 0;
    std::int32_t exponent = 0;  ///< e in [kA8MinExponent, kA8MaxExponent]; 0 for F32
    friend bool operator==(const ChunkHeader&, const ChunkHeader&) = default;
};

/// First 4 bytes of the manifest's digest: chunks of another run's layout do not parse.
std::uint32_t layout_id(const Digest& manifest_digest);

std::size_t scales_bytes(CodecId codec, std::uint32_t elements);
std::size_t payload_bytes(CodecId codec, std::uint32_t elements);
/// Header, scales and payload: the size follows from codec and elements.
std::size_t chunk_bytes(CodecId codec, std::uint32_t elements);

std::array<std::uint8_t, kChunkHeaderBytes> to_bytes(const ChunkHeader& header);

/// The parts of a chunk, in place.
struct ChunkView {
    ChunkHeader header;
    ByteSpan scales;
    ByteSpan payload;
};

/// Takes a chunk apart. Errors: malformed (magic, version, codec, flags, reserved bytes, exponent), bad_shape if
/// the sizes do not follow from codec and elements. Looks at no number in it.
Result<ChunkView> parse_chunk(ByteSpan chunk);

/// The same, and it must be the one that was asked for: everything but the exponent equals `expected`.
/// Errors also: stale if it is another one.
Result<ChunkView> parse_chunk(ByteSpan chunk, const ChunkHeader& expected);

/// No NaN, no Inf: F32 payload below kMagnitudeLimit; A8 scales finite and not negative, no -128. Error: not_finite.
Result<void> check_finite(const ChunkView& chunk);

}  // namespace skerry
