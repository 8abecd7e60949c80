#include "coordinator/shards/shard_store.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include "protocol/identity/hash.hpp"

namespace skerry::coordinator {
namespace {
namespace fs = std::filesystem;

std::string make_folder() {
    std::string pattern = fs::temp_directory_path() / "skerry-shards-XXXXXX";
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    return pattern;
}

struct ShardStoreTest : testing::Test {
    ShardStoreTest() {
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 7);
        name = sha256(bytes);
    }
    ~ShardStoreTest() override { fs::remove_all(folder); }
    ByteSpan part(std::size_t from, std::size_t to) const { return ByteSpan(bytes).subspan(from, to - from); }

    std::string folder = make_folder();
    ShardStore store{fs::path(folder) / "shards"};
    Bytes bytes = Bytes(1000);
    Digest name;
};

TEST_F(ShardStoreTest, APushGoesOnWhereItEndedAndIsReadBack) {
    EXPECT_EQ(store.presence(name)->bytes, 0U);
    ASSERT_TRUE(store.append(name, 0, part(0, 600), 1000));
    ShardStore later(fs::path(folder) / "shards");
    EXPECT_EQ(later.presence(name)->bytes, 600U);
    EXPECT_FALSE(later.presence(name)->complete);
    EXPECT_EQ(later.append(name, 0, part(0, 600), 1000).error().code, Errc::stale);
    EXPECT_EQ(later.read(name, 0, 10).error().code, Errc::not_found);
    ASSERT_TRUE(later.append(name, 600, part(600, 1000), 1000));
    EXPECT_TRUE(later.presence(name)->complete);
    EXPECT_EQ(*later.read(name, 900, 4096), Bytes(bytes.begin() + 900, bytes.end()));
    EXPECT_TRUE(later.read(name, 5000, 10)->empty());
}

TEST_F(ShardStoreTest, BytesThatDoNotHashToTheNameAreDeleted) {
    bytes[5] ^= 1;
    EXPECT_EQ(store.append(name, 0, bytes, 1000).error().code, Errc::digest_mismatch);
    EXPECT_EQ(store.presence(name)->bytes, 0U);
}

TEST_F(ShardStoreTest, HashesOfItsBlocksAreMadeOnceAndOnlyOfAWholeShard) {
    ASSERT_TRUE(store.append(name, 0, bytes, 1000));
    const Digest hash = sha256(bytes);
    const Bytes expected(hash.bytes.begin(), hash.bytes.end());  // one block
    EXPECT_EQ(*store.block_hashes(name), expected);
    fs::resize_file(store.path_of(name), 999);
    fs::resize_file(store.path_of(name), 1000);
    EXPECT_EQ(*store.block_hashes(name), expected) << "kept";
    fs::remove(fs::path(folder) / "shards" / (name.hex() + ".blocks"));
    EXPECT_EQ(store.block_hashes(name).error().code, Errc::digest_mismatch);
    EXPECT_EQ(store.block_hashes(Digest{}).error().code, Errc::not_found);
}

TEST_F(ShardStoreTest, RefusesBlocksThatDoNotFit) {
    EXPECT_EQ(store.append(name, 0, bytes, 999).error().code, Errc::too_large);
    EXPECT_EQ(store.append(name, 0, {}, 1000).error().code, Errc::too_large);
    EXPECT_EQ(store.read(name, 0, 0).error().code, Errc::too_large);
    EXPECT_EQ(store.read(name, 0, 1U << 30).error().code, Errc::too_large);
}

}  // namespace
}  // namespace skerry::coordinator
