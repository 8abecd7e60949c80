// The frozen bytes of tests/golden/messages.txt: one line for each body and message, `name size sha256 hex`.
//
// A changed line is a changed protocol: take a new field or a new version. Only a format that nobody has used yet may
// be written anew:  SKERRY_WRITE_GOLDEN=1 build/release/bin/protocol_wire_test --gtest_filter='Golden.*'

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "protocol/identity/hash.hpp"
#include "protocol/wire/canonical.hpp"
#include "protocol/wire/chunk_codec.hpp"
#include "protocol/wire/control_codec.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/peer_codec.hpp"
#include "tests/support/samples.hpp"

namespace skerry {
namespace {

using namespace skerry::test;

const std::string kFile = std::string(SKERRY_GOLDEN) + "/messages.txt";

std::map<std::string, Bytes> read_frozen() {
    std::map<std::string, Bytes> out;
    std::ifstream in(kFile);
    for (std::string line; std::getline(in, line);) {
        if (line.empty() || line[0] == '#') continue;
        std::istringstream words(line);
        std::string name, size, digest, hex;
        words >> name >> size >> digest >> hex;
        out[name] = *parse_hex(hex);
        EXPECT_EQ(std::to_string(out[name].size()), size) << name;
        EXPECT_EQ(sha256(out[name]).hex(), digest) << name;
    }
    return out;
}

ChunkHeader sample_header() {
    return {CodecId::a8, 0xA1B2C3D4, 1, Step{11}, 2, PieceIndex{3}, 12288, 4096, -20};
}

std::vector<std::pair<std::string, Bytes>> samples() {
    auto header = to_bytes(sample_header());
    std::vector<std::pair<std::string, Bytes>> out = {{"body/manifest", to_bytes(sample_manifest())},
                                                      {"body/roster", to_bytes(sample_roster())},
                                                      {"body/plan", to_bytes(sample_plan())},
                                                      {"body/decision", to_bytes(sample_decision())},
                                                      {"chunk/header", Bytes(header.begin(), header.end())}};
    for (const auto& [name, message] : sample_control_messages())
        out.push_back({"control/" + name, *to_frame(message, kMaxFrame)});
    for (const auto& [name, message] : sample_peer_messages())
        out.push_back({"peer/" + name, *to_envelope(message)});
    return out;
}

TEST(Golden, BytesOfEveryMessageAreFrozen) {
    if (std::getenv("SKERRY_WRITE_GOLDEN") != nullptr) {
        std::ofstream out(kFile);
        out << "# name size sha256 hex (tests/unit/protocol/wire/golden_test.cpp)\n";
        for (const auto& [name, bytes] : samples())
            out << name << ' ' << bytes.size() << ' ' << sha256(bytes).hex() << ' ' << to_hex(bytes) << '\n';
    }
    auto frozen = read_frozen();
    EXPECT_EQ(frozen.size(), samples().size());
    for (const auto& [name, bytes] : samples())
        EXPECT_EQ(to_hex(bytes), to_hex(frozen[name])) << name << " changed: see the top of golden_test.cpp";
}

TEST(Golden, FrozenBytesReadAsTheyWereMeant) {
    auto frozen = read_frozen();
    EXPECT_EQ(*parse_manifest(frozen["body/manifest"]), sample_manifest());
    EXPECT_EQ(*parse_roster(frozen["body/roster"]), sample_roster());
    EXPECT_EQ(*parse_plan(frozen["body/plan"]), sample_plan());
    EXPECT_EQ(*parse_decision(frozen["body/decision"]), sample_decision());
    for (const auto& [name, message] : sample_control_messages())
        EXPECT_EQ(*parse_frame(frozen["control/" + name], kMaxFrame), message) << name;
    for (const auto& [name, message] : sample_peer_messages())
        EXPECT_EQ(*parse_envelope(frozen["peer/" + name]), message) << name;
}

}  // namespace
}  // namespace skerry
