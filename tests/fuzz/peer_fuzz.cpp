// Data-plane envelopes and chunk headers.

#include "protocol/base/assert.hpp"
#include "protocol/identity/merkle.hpp"
#include "protocol/wire/chunk_codec.hpp"
#include "protocol/wire/peer_codec.hpp"
#include "tests/fuzz/fuzz_target.hpp"
#include "tests/support/samples.hpp"

namespace skerry::test {

std::vector<Bytes> fuzz_samples() {
    std::vector<Bytes> out;
    for (const auto& [name, message] : sample_peer_messages()) out.push_back(*to_envelope(message));
    for (CodecId codec : {CodecId::f32, CodecId::a8}) {
        ChunkHeader header{codec, 1, 0, Step{3}, 0, PieceIndex{2}, 600, 300, 0};
        auto bytes = to_bytes(header);
        Bytes chunk(bytes.begin(), bytes.end());
        chunk.resize(chunk_bytes(codec, 300));
        out.push_back(chunk);
    }
    return out;
}

void fuzz_one(ByteSpan input) {
    auto message = parse_envelope(input);
    if (message) {
        auto again = to_envelope(*message);
        if (again) {
            auto back = parse_envelope(*again);
            SKERRY_ASSERT(back && *back == *message);
        }
    }
    auto chunk = parse_chunk(input);
    if (chunk) {
        (void)check_finite(*chunk).has_value();
        auto header = to_bytes(chunk->header);
        SKERRY_ASSERT(std::equal(header.begin(), header.end(), input.begin()));
    }
    (void)parse_leaf_list(input).has_value();
}
}  // namespace skerry::test
