#include "node/compress/codec.hpp"

#include "node/compress/float32.hpp"
#include "node/compress/int8_block.hpp"

namespace skerry::node {

Result<void> Codec::validate(const ChunkHeader& place, ByteSpan chunk) const {
    ChunkHeader expected = place;
    expected.codec = id();
    auto view = parse_chunk(chunk, expected);
    if (!view) return fail(view.error());
    return check_finite(*view);
}

Result<const Codec*> find_codec(CodecId id) {
    static const Float32Codec float32;
    static const Int8BlockCodec int8_block;
    switch (id) {
        case CodecId::f32:
            return &float32;
        case CodecId::a8:
            return &int8_block;
    }
    return fail(Errc::not_found, "no codec " + std::to_string(static_cast<int>(id)));
}

}  // namespace skerry::node
