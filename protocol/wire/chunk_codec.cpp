#include "protocol/wire/chunk_codec.hpp"

#include <bit>
#include <cstring>

namespace skerry {
namespace {

constexpr std::uint8_t kMagic[4] = {'S', 'K', 'R', '1'};
constexpr std::uint16_t kVersion = 1;

// Inf, NaN and magnitudes of kMagnitudeLimit are the largest bit patterns. Written over integers so that the loops become vector code.
bool any_nonfinite_f32(ByteSpan payload) {
    constexpr auto kLimit = std::bit_cast<std::uint32_t>(kMagnitudeLimit);
    std::uint32_t found = 0;
    for (std::size_t i = 0; i + 4 <= payload.size(); i += 4) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, payload.data() + i, sizeof bits);
        found |= static_cast<std::uint32_t>((bits & 0x7FFFFFFFU) >= kLimit);
    }
    return found != 0;
}

// A scale is finite and not negative; -0 is not canonical.
bool any_bad_scale(ByteSpan scales) {
    std::uint32_t found = 0;
    for (std::size_t i = 0; i + 2 <= scales.size(); i += 2) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, scales.data() + i, sizeof bits);
        found |= static_cast<std::uint32_t>(bits >= 0x7C00U);
    }
    return found != 0;
}

bool any_reserved_a8(ByteSpan payload) {
    std::uint8_t found = 0;
    for (std::uint8_t b : payload) found |= static_cast<std::uint8_t>(b == 0x80);
    return found != 0;
}

Result<ChunkHeader> read_header(ByteReader& in) {
    ChunkHeader h;
    ByteSpan magic = in.bytes(sizeof kMagic);
    if (!in.ok() || std::memcmp(magic.data(), kMagic, sizeof kMagic) != 0)
        return fail(Errc::malformed, "no chunk");
    if (in.u16() != kVersion) return fail(Errc::malformed, "a chunk of another version");
    std::uint8_t codec = in.u8();
    if (codec != static_cast<std::uint8_t>(CodecId::f32) && codec != static_cast<std::uint8_t>(CodecId::a8))
        return fail(Errc::malformed, "codec " + std::to_string(codec));
    h.codec = static_cast<CodecId>(codec);
    if (in.u8() != 0) return fail(Errc::malformed, "flags of a chunk");
    h.layout = in.u32();
    h.fragment = in.u32();
    h.step = in.strong<Step>();
    h.stage = in.u32();
    h.piece = in.strong<PieceIndex>();
    h.first_element = in.u64();
    h.elements = in.u32();
    return h;
}

}  // namespace

std::uint32_t layout_id(const Digest& manifest_digest) {
    std::uint32_t id = 0;
    std::memcpy(&id, manifest_digest.bytes.data(), sizeof id);
    return id;
}

std::size_t scales_bytes(CodecId codec, std::uint32_t elements) {
    if (codec == CodecId::f32) return 0;
    return 2 * (std::size_t{elements} / kA8Block + (elements % kA8Block != 0));
}

std::size_t payload_bytes(CodecId codec, std::uint32_t elements) {
    return codec == CodecId::f32 ? std::size_t{4} * elements : elements;
}

std::size_t chunk_bytes(CodecId codec, std::uint32_t elements) {
    return kChunkHeaderBytes + scales_bytes(codec, elements) + payload_bytes(codec, elements);
}

std::array<std::uint8_t, kChunkHeaderBytes> to_bytes(const ChunkHeader& h) {
    ByteWriter out;
    out.bytes(kMagic);
    out.u16(kVersion);
    out.u8(static_cast<std::uint8_t>(h.codec));
    out.u8(0);
    out.u32(h.layout);
    out.u32(h.fragment);
    out.id(h.step);
    out.u32(h.stage);
    out.id(h.piece);
    out.u64(h.first_element);
    out.u32(h.elements);
    out.u32(static_cast<std::uint32_t>(payload_bytes(h.codec, h.elements)));
    out.u32(static_cast<std::uint32_t>(scales_bytes(h.codec, h.elements)));
    out.u64(0);
    out.u32(static_cast<std::uint32_t>(h.exponent + kExponentBias));
    std::array<std::uint8_t, kChunkHeaderBytes> bytes{};
    std::memcpy(bytes.data(), out.view().data(), bytes.size());
    return bytes;
}

Result<ChunkView> parse_chunk(ByteSpan chunk) {
    ByteReader in(chunk);
    if (chunk.size() < kChunkHeaderBytes) return fail(Errc::malformed, "a chunk of " + std::to_string(chunk.size()) + " bytes");
    auto header = read_header(in);
    if (!header) return fail(header.error());
    std::uint32_t payload = in.u32();
    std::uint32_t scales = in.u32();
    std::uint64_t sender = in.u64();
    std::uint32_t exponent = in.u32();
    std::uint32_t n = header->elements;
    if (n == 0 || payload != payload_bytes(header->codec, n) || scales != scales_bytes(header->codec, n) ||
        chunk.size() != chunk_bytes(header->codec, n))
        return fail(Errc::bad_shape, "a chunk of " + std::to_string(chunk.size()) + " bytes for " +
                                         std::to_string(n) + " elements");
    if (sender != 0) return fail(Errc::malformed, "a reserved field of a chunk");
    bool fits = header->codec == CodecId::f32 ? exponent == kExponentBias
                                              : exponent >= kExponentBias + kA8MinExponent &&
                                                    exponent <= kExponentBias + kA8MaxExponent;
    if (!fits) return fail(Errc::malformed, "exponent of a chunk");
    header->exponent = static_cast<std::int32_t>(exponent) - kExponentBias;
    return ChunkView{*header, chunk.subspan(kChunkHeaderBytes, scales), chunk.subspan(kChunkHeaderBytes + scales)};
}

Result<ChunkView> parse_chunk(ByteSpan chunk, const ChunkHeader& expected) {
    auto view = parse_chunk(chunk);
    if (!view) return view;
    ChunkHeader wanted = expected;
    wanted.exponent = view->header.exponent;
    if (view->header != wanted)
        return fail(Errc::stale, "chunk of step " + std::to_string(view->header.step.value) + " piece " +
                                     std::to_string(view->header.piece.value) + ", wanted step " +
                                     std::to_string(wanted.step.value) + " piece " +
                                     std::to_string(wanted.piece.value));
    return view;
}

Result<void> check_finite(const ChunkView& chunk) {
    bool bad = chunk.header.codec == CodecId::f32
                   ? any_nonfinite_f32(chunk.payload)
                   : any_bad_scale(chunk.scales) || any_reserved_a8(chunk.payload);
    if (bad) return fail(Errc::not_finite, "piece " + std::to_string(chunk.header.piece.value));
    return {};
}

}  // namespace skerry
