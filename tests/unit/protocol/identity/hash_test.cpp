#include "protocol/identity/hash.hpp"

#include <gtest/gtest.h>

namespace skerry {
namespace {

TEST(Hash, Sha256MatchesTheStandardVectors) {
    EXPECT_EQ(sha256({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(sha256(as_bytes("abc")).hex(),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Hash, PartsEqualTheWhole) {
    Sha256 hasher;
    hasher.update("ab").update("").update("c");
    EXPECT_EQ(hasher.finish(), sha256(as_bytes("abc")));
}

TEST(Hash, FinishStartsANewMessage) {
    Sha256 hasher;
    hasher.update("something");
    (void)hasher.finish();
    EXPECT_EQ(hasher.update("abc").finish(), sha256(as_bytes("abc")));
}

TEST(Hash, TagIsClosedByAZeroByte) {
    ByteWriter fields;
    fields.u32(7);
    Bytes expected = {'t', 'a', 'g', 0, 7, 0, 0, 0};
    EXPECT_EQ(tagged_hash("tag", fields), sha256(expected));
}

TEST(Hash, Crc32MatchesTheCheckValue) { EXPECT_EQ(crc32(as_bytes("123456789")), 0xCBF43926U); }

}  // namespace
}  // namespace skerry
