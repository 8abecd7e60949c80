#include "node/app/model_mirror.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "node/data/folder_files.hpp"
#include "node/model_folder/tensor_table.hpp"
#include "node/tokenizer/byte_tokenizer.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"
#include "tests/support/store_run.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
using test::StoreRun;

ModelConfig small_model(std::uint32_t vocabulary) {
    ModelConfig model;
    model.vocab_size = vocabulary;
    model.hidden_size = 16;
    model.intermediate_size = 24;
    model.num_hidden_layers = 1;
    model.num_attention_heads = model.num_key_value_heads = 2;
    model.head_dim = 8;
    return model;
}

Manifest manifest_of(const ModelConfig& model) {
    Manifest m = test::small_manifest(CodecId::a8, make_tensor_table(model).elements);
    m.model_json = to_json(model);
    return m;
}

/// A run at step 1, whose node has `files` of its owner.
struct Follower {
    explicit Follower(std::uint32_t vocabulary = 256) : run(1, manifest_of(small_model(vocabulary))) {
        run.run_step();
        fs::create_directories(shards);
        data.vocab_size = vocabulary;
    }

    void give(const std::string& name, const std::string& text, bool fetched = true) {
        FolderFile file{name, text.size(), sha256(as_bytes(text))};
        data.files.push_back(file);
        if (fetched) ASSERT_TRUE(write_small_file(kept_folder_file(shards, file), text, 0644));
    }
    Result<Step> write() { return ModelMirror::write(run.store(0), data, shards, folder); }
    std::string newest(const std::string& file) const {
        auto text = read_small_file(folder / "newest" / file, kMaxFolderFile);
        return text ? *text : std::string();
    }
    std::vector<std::string> folders() const {
        std::vector<std::string> out;
        for (const auto& one : fs::directory_iterator(folder))
            if (one.is_directory() && !one.is_symlink()) out.push_back(one.path().filename().string());
        std::sort(out.begin(), out.end());
        return out;
    }

    StoreRun run;
    test::TemporaryFolder place;
    fs::path shards = place.path() / "shards";
    fs::path folder = place.path() / "models";
    DataManifest data;
};

// What the tokens are is said by the data, not by the size of the vocabulary.
TEST(ModelMirror, BytesHaveATokenizerWhateverTheVocabularyAndOthersNeverGetThatOne) {
    for (std::uint32_t vocabulary : {256U, 320U}) {
        Follower bytes(vocabulary);
        ASSERT_TRUE(bytes.write());
        EXPECT_EQ(bytes.newest("tokenizer.json"), byte_tokenizer_json());
        EXPECT_EQ(bytes.newest("tokenizer_config.json"), byte_tokenizer_config_json(256));
    }
    Follower bpe;
    bpe.data.tokenizer = "bpe";
    bpe.data.tokenizer_sha256 = sha256(as_bytes("{}"));
    bpe.give("tokenizer.json", "{}");
    ASSERT_TRUE(bpe.write());
    EXPECT_EQ(bpe.newest("tokenizer.json"), "{}");
    EXPECT_FALSE(fs::exists(bpe.folder / "newest" / "tokenizer_config.json")) << "that of the bytes does not belong to it";
}

TEST(ModelMirror, AFileThatIsMissingOrDamagedLeavesTheNewestFolderAsItWas) {
    Follower follower;
    ASSERT_EQ(*follower.write(), Step{1});
    const std::string before = follower.newest("model.safetensors");
    follower.run.run_step();
    follower.give("chat_template.jinja", "template", false);
    EXPECT_EQ(follower.write().error().code, Errc::not_found);
    ASSERT_TRUE(write_small_file(kept_folder_file(follower.shards, follower.data.files[0]), "tampered", 0644));
    EXPECT_EQ(follower.write().error().code, Errc::digest_mismatch);
    EXPECT_EQ(fs::read_symlink(follower.folder / "newest"), "step-1");
    EXPECT_EQ(follower.newest("model.safetensors"), before);
    ASSERT_TRUE(write_small_file(kept_folder_file(follower.shards, follower.data.files[0]), "template", 0644));
    EXPECT_EQ(*follower.write(), Step{2});
    EXPECT_EQ(follower.newest("chat_template.jinja"), "template");
    EXPECT_NE(follower.newest("model.safetensors"), before);
}

TEST(ModelMirror, KeepsTheNewestAndTheOneBeforeAndClearsWhatAKillLeft) {
    Follower follower;
    for (int k = 0; k < 3; ++k) {
        ASSERT_TRUE(follower.write());
        ASSERT_TRUE(follower.write()) << "twice is once";
        follower.run.run_step();
    }
    EXPECT_EQ(follower.folders(), (std::vector<std::string>{"step-2", "step-3"}));
    fs::create_directory(follower.folder / "step-4.tmp99");
    ASSERT_EQ(*follower.write(), Step{4});
    EXPECT_EQ(follower.folders(), (std::vector<std::string>{"step-3", "step-4"}));
    EXPECT_FALSE(follower.newest("model.safetensors").empty());
}

TEST(ModelMirror, AFolderOfSomethingElseIsNotTouched) {
    Follower follower;
    fs::create_directories(follower.folder);
    ASSERT_TRUE(write_small_file(follower.folder / "thesis.txt", "mine", 0644));
    EXPECT_EQ(follower.write().error().code, Errc::already_exists);
    fs::remove(follower.folder / "thesis.txt");
    ASSERT_TRUE(follower.write());
    ASSERT_TRUE(write_small_file(follower.folder / "run", std::string(32, '0') + "\n", 0644)) << "another run's mark";
    follower.run.run_step();
    EXPECT_EQ(follower.write().error().code, Errc::already_exists);
}

}  // namespace
}  // namespace skerry::node
