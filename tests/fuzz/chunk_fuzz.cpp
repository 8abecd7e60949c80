// Chunks of foreign nodes: what is accepted decodes to finite numbers that can be summed.

#include <cmath>

#include "node/compress/codec.hpp"
#include "protocol/base/assert.hpp"
#include "tests/fuzz/fuzz_target.hpp"
#include "tests/support/synthetic.hpp"

namespace skerry::test {

std::vector<Bytes> fuzz_samples() {
    std::vector<Bytes> out;
    for (CodecId id : {CodecId::f32, CodecId::a8}) {
        for (std::uint32_t elements : {1U, 300U}) {
            ChunkHeader place;
            place.elements = elements;
            Bytes chunk(chunk_bytes(id, elements));
            auto done =
                (*node::find_codec(id))->encode(place, synthetic(1, elements, -6, true), chunk);
            SKERRY_ASSERT(done);
            out.push_back(chunk);
        }
    }
    return out;
}

void fuzz_one(ByteSpan input) {
    auto view = parse_chunk(input);
    if (!view) return;
    const node::Codec& codec = **node::find_codec(view->header.codec);
    if (!codec.validate(view->header, input)) return;
    std::vector<float> values(view->header.elements);
    codec.decode(input, values);
    std::vector<float> sum(values.size(), 0x1p120F);
    codec.accumulate(input, 0x1p50F, sum);
    for (std::size_t i = 0; i < values.size(); ++i) {
        SKERRY_ASSERT(std::abs(values[i]) < 0x1p66F);
        SKERRY_ASSERT(std::isfinite(sum[i]));
    }
}

}  // namespace skerry::test
