#include "node/data/prepare.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "node/data/token_shard.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

class PrepareTest : public testing::Test {
  protected:
    PrepareTest() {
        std::string name = (fs::temp_directory_path() / "skerry-data-XXXXXX").string();
        folder_ = ::mkdtemp(name.data());
    }
    ~PrepareTest() override { fs::remove_all(folder_); }

    fs::path write(const std::string& name, const std::string& content) {
        std::ofstream(folder_ / name, std::ios::binary) << content;
        return folder_ / name;
    }
    std::string read(const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(in), {});
    }
    /// The text that the shards of a split hold.
    std::string text_of(const DataManifest& m, bool held_out) {
        std::string out;
        for (const auto& s : m.shards) {
            if (s.held_out != held_out) continue;
            auto shard = TokenShard::open((folder_ / "out" / s.file).string());
            EXPECT_TRUE(shard);
            std::vector<std::uint16_t> tokens(shard->tokens());
            EXPECT_TRUE(shard->read(0, tokens));
            out.append(tokens.begin(), tokens.end());
            EXPECT_EQ(sha256(as_bytes(read(folder_ / "out" / s.file))), s.sha256);
        }
        return out;
    }
    Result<DataManifest> prepare(std::vector<fs::path> texts) {
        PrepareOptions options;
        options.texts = std::move(texts);
        options.out = folder_ / "out";
        return prepare_data(options);
    }
    fs::path folder_;
};

std::string prose(std::size_t size) {
    std::string out;
    for (std::size_t i = 0; out.size() < size; ++i) out += "line " + std::to_string(i * 7919) + "\n";
    out.resize(size);
    return out;
}

TEST_F(PrepareTest, TheTenthOfTwentyBlocksIsHeldOut) {
    const std::string text = prose(31 * kHeldOutBlock + 100);
    const auto whole = prepare({write("a.txt", text.substr(0, 1000)), write("b.txt", text.substr(1000))});
    ASSERT_TRUE(whole) << whole.error().detail;
    const std::string held = text.substr(9 * kHeldOutBlock, kHeldOutBlock) + text.substr(29 * kHeldOutBlock, kHeldOutBlock);
    std::string train = text;
    train.erase(29 * kHeldOutBlock, kHeldOutBlock).erase(9 * kHeldOutBlock, kHeldOutBlock);
    EXPECT_EQ(text_of(*whole, true), held);
    EXPECT_EQ(text_of(*whole, false), train);
    auto read_back = read_data_manifest(folder_ / "out");
    ASSERT_TRUE(read_back) << read_back.error().detail;
    EXPECT_EQ(*read_back, *whole);
}

TEST_F(PrepareTest, ALongSplitBecomesSeveralShards) {
    PrepareOptions options;
    options.texts = {write("a.txt", prose(250'000))};
    options.held_out = write("b.txt", "held out text\n");
    options.out = folder_ / "out";
    options.shard_tokens = 100'000;
    const auto m = prepare_data(options);
    ASSERT_TRUE(m) << m.error().detail;
    ASSERT_EQ(m->shards.size(), 4U);
    EXPECT_EQ(m->shards[2].tokens, 50'000U);
    EXPECT_EQ(text_of(*m, false), prose(250'000));
    EXPECT_EQ(text_of(*m, true), "held out text\n");
    EXPECT_EQ(m->sequences(false, 256), 390U + 390U + 195U);
}

TEST_F(PrepareTest, EmptyMissingAndBinaryTextsAreRefused) {
    auto empty = prepare({write("empty", "")});
    ASSERT_FALSE(empty);
    EXPECT_EQ(empty.error().code, Errc::data_invalid);
    auto missing = prepare({folder_ / "nothing"});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Errc::not_found);
    auto binary = prepare({write("binary", std::string("text\0more", 9))});
    ASSERT_FALSE(binary);
    EXPECT_EQ(binary.error().code, Errc::data_invalid);
    auto folder = prepare({folder_});
    ASSERT_FALSE(folder);
    EXPECT_EQ(folder.error().code, Errc::data_invalid);
    EXPECT_FALSE(fs::exists(folder_ / "out" / "manifest.json"));
}

TEST_F(PrepareTest, ShardsWithAWrongHeaderOrSizeAreRefused) {
    const Bytes header = make_shard_header(10);
    const std::string good(as_text(header));
    EXPECT_TRUE(TokenShard::open(write("good", good + std::string(20, 'x')).string()));
    for (const auto& bad : {good, good + std::string(19, 'x'), good + std::string(21, 'x'), good.substr(0, 900),
                            std::string(2000, '\0')}) {
        auto shard = TokenShard::open(write("bad", bad).string());
        ASSERT_FALSE(shard);
        EXPECT_EQ(shard.error().code, Errc::data_invalid);
    }
    auto shard = TokenShard::open((folder_ / "good").string());
    std::vector<std::uint16_t> tokens(5);
    EXPECT_TRUE(shard->read(5, tokens));
    EXPECT_FALSE(shard->read(6, tokens));
    EXPECT_FALSE(shard->read(~std::uint64_t{0}, tokens));
}

TEST_F(PrepareTest, ForeignManifestsAreRefusedWithoutHarm) {
    const auto m = prepare({write("a.txt", prose(100'000))});
    ASSERT_TRUE(m);
    const std::string good = to_json(*m);
    for (std::size_t cut = 0; cut < good.size() - 2; cut += 7)
        EXPECT_FALSE(parse_data_manifest(as_bytes(std::string_view(good).substr(0, cut))));
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        text.replace(text.find(from), from.size(), to);
        return parse_data_manifest(as_bytes(text));
    };
    EXPECT_FALSE(with("train-00000.bin", "../../etc/passwd"));
    EXPECT_FALSE(with("\"tokens\": ", "\"tokens\": 9"));
    EXPECT_FALSE(with("skerry.data/1", "skerry.data/2"));
    EXPECT_FALSE(with("\"split\": \"train\"", "\"split\": \"held_out\""));
    EXPECT_TRUE(parse_data_manifest(as_bytes(good)));
}

}  // namespace
}  // namespace skerry::node
