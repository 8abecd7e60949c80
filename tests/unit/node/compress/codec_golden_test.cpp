// The frozen chunks of tests/golden/codecs.txt, which an independent implementation made
// (tests/oracle/codec_reference.py).

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "node/compress/codec.hpp"
#include "protocol/identity/hash.hpp"
#include "tests/support/synthetic.hpp"

namespace skerry::node {
namespace {

struct GoldenCase {
    std::string codec;
    std::uint32_t elements = 0;
    std::uint64_t seed = 0;
    int exponent = 0;
    bool mixed = false;
    std::size_t bytes = 0;
    std::string chunk;
    std::string decoded;
};

std::vector<GoldenCase> read_cases() {
    std::ifstream file(SKERRY_GOLDEN "/codecs.txt");
    std::vector<GoldenCase> cases;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with('#')) continue;
        std::istringstream in(line);
        GoldenCase c;
        in >> c.codec >> c.elements >> c.seed >> c.exponent >> c.mixed >> c.bytes >> c.chunk >>
            c.decoded;
        cases.push_back(c);
    }
    return cases;
}

TEST(CodecGolden, BytesAndDecodedValuesAreThoseOfTheReference) {
    auto cases = read_cases();
    ASSERT_GE(cases.size(), 20U);
    for (const GoldenCase& c : cases) {
        SCOPED_TRACE(c.codec + " n=" + std::to_string(c.elements) +
                     " seed=" + std::to_string(c.seed));
        const Codec& codec = **find_codec(c.codec == "a8" ? CodecId::a8 : CodecId::f32);
        auto x = test::synthetic(c.seed, c.elements, c.exponent, c.mixed);
        ChunkHeader place{.codec = codec.id(),
                          .layout = 0x04030201,
                          .step = Step{7},
                          .piece = PieceIndex{3},
                          .first_element = 3ULL * c.elements,
                          .elements = c.elements};
        Bytes chunk(chunk_bytes(codec.id(), c.elements));
        ASSERT_TRUE(codec.encode(place, x, chunk));
        ASSERT_EQ(chunk.size(), c.bytes);
        ASSERT_EQ(sha256(chunk).hex(), c.chunk);
        ASSERT_TRUE(codec.validate(place, chunk));
        std::vector<float> decoded(c.elements);
        codec.decode(chunk, decoded);
        ByteSpan raw(reinterpret_cast<const std::uint8_t*>(decoded.data()),
                     decoded.size() * sizeof(float));
        ASSERT_EQ(sha256(raw).hex(), c.decoded);
    }
}

}  // namespace
}  // namespace skerry::node
