#include "node/data/prepare.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "node/data/shard_writer.hpp"
#include "node/data/token_shard.hpp"
#include "node/tokenizer/encoder.hpp"
#include "protocol/identity/hash.hpp"
#include "tests/support/sample_tokenizer.hpp"

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
            std::vector<std::uint32_t> tokens(shard->tokens());
            EXPECT_TRUE(shard->read(0, tokens));
            for (std::uint32_t token : tokens) out.push_back(static_cast<char>(token));
            EXPECT_EQ(sha256(as_bytes(read(folder_ / "out" / s.file))), s.sha256);
        }
        return out;
    }
    Result<DataManifest> prepare(std::vector<fs::path> texts) {
        PrepareOptions options;
        options.texts = std::move(texts);
        options.out = folder_ / "out";
        return manifest_of(options);
    }
    static Result<DataManifest> manifest_of(const PrepareOptions& options) {
        auto made = prepare_data(options);
        if (!made) return fail(made.error());
        return made->manifest;
    }
    /// The tokens that the shards of a split hold.
    TokenIds tokens_of(const DataManifest& m, bool held_out) {
        TokenIds out;
        for (const auto& s : m.shards) {
            if (s.held_out != held_out) continue;
            auto shard = TokenShard::open((folder_ / "out" / s.file).string());
            EXPECT_TRUE(shard);
            TokenIds tokens(shard->tokens());
            EXPECT_TRUE(shard->read(0, tokens));
            out.insert(out.end(), tokens.begin(), tokens.end());
        }
        return out;
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
    const auto m = manifest_of(options);
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

/// The sample's file with a vocabulary so large that its tokens need four bytes.
std::string large_tokenizer() {
    auto json = test::sample_tokenizer();
    for (int i = 0; i < 70000; ++i) json["model"]["vocab"]["filler" + std::to_string(i)] = 262 + i;
    for (std::size_t i = 0; i < 4; ++i) json["added_tokens"][i]["id"] = json["model"]["vocab"].size() + i;
    json["post_processor"]["special_tokens"]["<bos>"]["ids"] = {json["model"]["vocab"].size()};
    return json.dump();
}

TEST_F(PrepareTest, ATokenizerMakesDocumentsOfFilesWithItsTemplate) {
    const std::string json = test::sample_tokenizer().dump();
    PrepareOptions options;
    options.texts = {write("a.txt", prose(700'000)), write("b.txt", "the end<r>")};
    options.held_out = write("c.txt", "\u212b the");
    options.out = folder_ / "out";
    options.tokenizer = write("tokenizer.json", json);
    options.separator = "<pad>";
    std::uint64_t told = 0;
    options.progress = [&](const PrepareProgress& progress) { told = progress.bytes; };
    const auto made = prepare_data(options);
    ASSERT_TRUE(made) << made.error().detail;
    const DataManifest& m = made->manifest;
    EXPECT_EQ(m.tokenizer, "bpe");
    EXPECT_EQ(m.vocab_size, 266U);
    EXPECT_EQ(m.tokenizer_sha256, sha256(as_bytes(json)));
    EXPECT_EQ(read(folder_ / "out" / "tokenizer.json"), json);
    const auto tokenizer = Tokenizer::parse(as_bytes(json));
    TokenIds expected;
    for (const std::string& text : {prose(700'000), std::string("the end<r>")}) {
        Encoder encoder(*tokenizer);
        const auto ids = encoder.encode(text);
        expected.push_back(262);
        expected.insert(expected.end(), ids->begin(), ids->end());
        expected.push_back(263);
    }
    EXPECT_EQ(tokens_of(m, false), expected);
    EXPECT_EQ(tokens_of(m, true), (TokenIds{262, 265, 258, 263}));
    EXPECT_EQ(made->documents, 3U);
    EXPECT_EQ(made->tokens, expected.size() + 4);
    EXPECT_EQ(told, made->text_bytes);
    EXPECT_EQ(*read_data_manifest(folder_ / "out"), m);
}

TEST_F(PrepareTest, ALargeVocabularyHasTokensOfFourBytes) {
    PrepareOptions options;
    options.texts = {write("a.txt", "x" + prose(100'000))};
    options.out = folder_ / "out";
    options.tokenizer = write("tokenizer.json", large_tokenizer());
    const auto m = manifest_of(options);
    ASSERT_TRUE(m) << m.error().detail;
    EXPECT_EQ(m->token_bytes(), 4U);
    EXPECT_EQ(m->shards[0].bytes, kShardHeaderBytes + 4 * m->shards[0].tokens);
    const TokenIds tokens = tokens_of(*m, false);
    EXPECT_EQ(tokens[0], m->vocab_size - 4);
    EXPECT_EQ(tokens[1], std::uint32_t{'x'});
    EXPECT_EQ(*read_data_manifest(folder_ / "out"), *m);
}

TEST_F(PrepareTest, JsonLinesAreADocumentEach) {
    PrepareOptions options;
    options.texts = {write("a.jsonl", "{\"text\": \"the\"}\n\n{\"text\": \"\"}\r\n{\"id\": 1}\n{\"text\": \"a\\n\", \"id\": 2}")};
    options.held_out = write("b.jsonl", "{\"text\": \"b\"}\n");
    options.out = folder_ / "out";
    options.tokenizer = write("tokenizer.json", test::sample_tokenizer().dump());
    options.field = "text";
    const auto made = prepare_data(options);
    ASSERT_TRUE(made) << made.error().detail;
    EXPECT_EQ(tokens_of(made->manifest, false), (TokenIds{262, 257, 262, 'a', '\n'}));
    EXPECT_EQ(made->documents, 3U);
    EXPECT_EQ(made->empty, 3U);
    for (const char* bad : {"{\"text\": \"a\"}\nplain\n", "{\"text\": \"a\"}\n{\"text\": 7}\n"}) {
        options.texts = {write("bad.jsonl", bad)};
        const auto refused = prepare_data(options);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code, Errc::data_invalid);
        EXPECT_NE(refused.error().detail.find("bad.jsonl:2"), std::string::npos) << refused.error().detail;
    }
    options.texts = {write("none.jsonl", "{\"body\": \"a\"}\n")};
    EXPECT_FALSE(prepare_data(options));
    EXPECT_FALSE(fs::exists(folder_ / "out" / "manifest.json"));
}

TEST_F(PrepareTest, ExamplesArePackedWholeAndTheFirstTokenOfEachIsNoTarget) {
    std::string lines;
    for (int i = 0; i < 300; ++i)
        lines += R"({"prompt": ")" + std::string(static_cast<std::size_t>(i % 7), 'p') + R"(", "completion": ")" + std::string(static_cast<std::size_t>(1 + i % 11), 'c') + "\"}\n";
    PrepareOptions options;
    options.texts = {write("d.jsonl", lines)};
    options.out = folder_ / "out";
    options.examples.length = 24;
    options.shard_tokens = 200;  // eight rows a shard
    auto made = prepare_data(options);
    ASSERT_TRUE(made) << made.error().detail;
    EXPECT_EQ(made->documents, 300U);
    ASSERT_TRUE(made->manifest.packed && made->examples);
    EXPECT_EQ(*made->manifest.packed, (PackedData{24, "none", kByteEnd}));
    std::uint64_t rows = 0, targets = 0, padding = 0, ends = 0;
    for (const DataShard& shard : made->manifest.shards) {
        EXPECT_EQ(shard.tokens % 24, 1U);
        EXPECT_LE(shard.tokens, 8 * 24 + 1U);
        auto file = TokenShard::open((folder_ / "out" / shard.file).string());
        ASSERT_TRUE(file && file->masked());
        std::vector<std::uint32_t> tokens(shard.tokens);
        ASSERT_TRUE(file->read(0, tokens));
        EXPECT_TRUE(tokens.back() & kNoTarget);
        rows += sequences_in(shard.tokens, 24);
        for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
            targets += (tokens[i] & kNoTarget) == 0;
            ends += tokens[i] == kByteEnd;
            padding += tokens[i] == (kByteEnd | kNoTarget);
            if (tokens[i] == 'p') ADD_FAILURE() << "a prompt is learnt";
        }
    }
    EXPECT_EQ(ends, 300U);
    EXPECT_EQ(rows, made->examples->rows);
    EXPECT_EQ(targets, made->examples->targets);
    EXPECT_EQ(padding, made->examples->padding);
    EXPECT_LT(padding * 10, rows * 24);
    auto again = read_data_manifest(folder_ / "out");
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, made->manifest);
}

TEST_F(PrepareTest, FilesOfDifferentKindsAndExamplesWithoutALengthAreRefused) {
    PrepareOptions options;
    options.texts = {write("a.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n"), write("b.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n")};
    options.out = folder_ / "out";
    options.examples.length = 24;
    auto mixed = prepare_data(options);
    ASSERT_FALSE(mixed);
    EXPECT_EQ(mixed.error().code, Errc::data_invalid);
    options.texts.pop_back();
    EXPECT_TRUE(prepare_data(options));
    options.examples.length = 0;
    auto without = prepare_data(options);
    ASSERT_FALSE(without);
    EXPECT_EQ(without.error().code, Errc::usage);
    options.texts = {write("c.jsonl", "{\"text\": \"a\"}\n")};
    auto unnamed = prepare_data(options);
    ASSERT_FALSE(unnamed);
    EXPECT_NE(unnamed.error().fix.find("--field"), std::string::npos);
    options.texts = {write("a.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n")};
    options.examples.length = 24;
    options.examples.tokens.name = "chatml";
    EXPECT_FALSE(prepare_data(options));
}

TEST_F(PrepareTest, WhatATokenizerCannotUseIsRefusedWithItsPlace) {
    PrepareOptions options;
    options.texts = {write("latin.txt", prose(100'000) + "caf\xE9 au lait")};
    options.out = folder_ / "out";
    options.tokenizer = write("tokenizer.json", test::sample_tokenizer().dump());
    const auto latin = prepare_data(options);
    ASSERT_FALSE(latin);
    EXPECT_EQ(latin.error().code, Errc::data_invalid);
    EXPECT_NE(latin.error().detail.find("latin.txt: the text is not UTF-8 at byte 100003"), std::string::npos) << latin.error().detail;
    options.separator = "<nothing>";
    EXPECT_EQ(prepare_data(options).error().code, Errc::usage);
    options.tokenizer = write("tokenizer.json", "{}");
    EXPECT_EQ(prepare_data(options).error().code, Errc::data_invalid);
    options.tokenizer = folder_ / "nothing";
    EXPECT_EQ(prepare_data(options).error().code, Errc::not_found);
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
    std::vector<std::uint32_t> tokens(5);
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

TEST(DataManifestFiles, OnlyThoseThatExportsContain) {
    DataManifest m;
    m.shards.push_back({"train-00000.bin", false, 100, 1224, {}});
    m.files = {{"tokenizer.json", 10, Digest{}}, {"generation_config.json", 20, Digest{}}};
    const std::string good = to_json(m);
    auto back = parse_data_manifest(as_bytes(good));
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_EQ(*back, m);
    const auto refused = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        text.replace(text.find(from), from.size(), to);
        return !parse_data_manifest(as_bytes(text));
    };
    EXPECT_TRUE(refused("tokenizer.json", "../tokenizer.json"));
    EXPECT_TRUE(refused("tokenizer.json", "config.json"));
    EXPECT_TRUE(refused("tokenizer.json", "generation_config.json"));  // twice
    EXPECT_TRUE(refused("\"bytes\": 10", "\"bytes\": 0"));
    EXPECT_TRUE(refused("\"bytes\": 10", "\"bytes\": 99999999999"));
    EXPECT_TRUE(refused("\"bytes\": 10", "\"bytes\": -1"));
    m.files.clear();
    EXPECT_EQ(to_json(m).find("files"), std::string::npos);
}

}  // namespace
}  // namespace skerry::node
