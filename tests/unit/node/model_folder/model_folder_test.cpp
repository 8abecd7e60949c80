#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include "node/model_folder/hf_folder.hpp"
#include "node/model_folder/safetensors.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

ModelConfig small_model() {
    ModelConfig c;
    c.hidden_size = 16;
    c.intermediate_size = 24;
    c.num_hidden_layers = 2;
    c.num_attention_heads = 4;
    c.num_key_value_heads = 2;
    c.head_dim = 4;
    c.rope_theta = 12345.0;
    c.tie_word_embeddings = false;
    return c;
}

class ModelFolderTest : public testing::Test {
  protected:
    ModelFolderTest() {
        std::string name = (fs::temp_directory_path() / "skerry-model-XXXXXX").string();
        folder_ = ::mkdtemp(name.data());
        theta_.resize(make_tensor_table(small_model()).elements);
        for (std::size_t i = 0; i < theta_.size(); ++i) theta_[i] = std::sin(static_cast<float>(i));
    }
    ~ModelFolderTest() override { fs::remove_all(folder_); }
    std::string read(const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(in), {});
    }
    void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
    Result<void> import(std::vector<float>& out) {
        out.assign(theta_.size(), 0);
        return import_model_folder(folder_ / "m", small_model(), out);
    }
    fs::path folder_;
    std::vector<float> theta_;
};

TEST_F(ModelFolderTest, WhatWasExportedComesBackBitForBit) {
    auto done = export_model_folder(folder_ / "m", small_model(), theta_, "a test");
    ASSERT_TRUE(done) << done.error().detail;
    auto config = read_model_folder_config(folder_ / "m");
    ASSERT_TRUE(config) << config.error().detail;
    EXPECT_EQ(*config, small_model());
    std::vector<float> back;
    auto imported = import(back);
    ASSERT_TRUE(imported) << imported.error().detail;
    EXPECT_EQ(back, theta_);
    theta_[3] = 4.F;
    done = export_model_folder(folder_ / "m", small_model(), theta_, "a second export replaces the first");
    ASSERT_TRUE(done) << done.error().detail;
    ASSERT_TRUE(import(back));
    EXPECT_EQ(back, theta_);
}

TEST_F(ModelFolderTest, AForeignFolderIsNotReplaced) {
    fs::create_directories(folder_ / "m");
    write(folder_ / "m" / "precious.txt", "mine");
    auto done = export_model_folder(folder_ / "m", small_model(), theta_, "");
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::already_exists);
    EXPECT_EQ(read(folder_ / "m" / "precious.txt"), "mine");
}

TEST_F(ModelFolderTest, NotFiniteWeightsAreNotExportedAndLeaveNothing) {
    theta_[7] = std::numeric_limits<float>::quiet_NaN();
    auto done = export_model_folder(folder_ / "m", small_model(), theta_, "");
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::not_finite);
    EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(ModelFolderTest, DamagedWeightFilesAreRefused) {
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, ""));
    const fs::path path = folder_ / "m" / "model.safetensors";
    const std::string good = read(path);
    std::vector<float> out;
    const auto refused = [&](const std::string& bytes) {
        write(path, bytes);
        auto imported = import(out);
        return !imported && imported.error().code == Errc::data_invalid;
    };
    EXPECT_TRUE(refused(good.substr(0, 5)));
    EXPECT_TRUE(refused(good.substr(0, good.size() - 4)));
    EXPECT_TRUE(refused(good + "more"));
    EXPECT_TRUE(refused(std::string(8, '\xff') + good.substr(8)));
    const auto replaced = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        text.replace(text.find(from), from.size(), to);
        return text;
    };
    EXPECT_TRUE(refused(replaced("model.norm.weight", "model.morn.weight")));
    EXPECT_TRUE(refused(replaced("\"F32\"", "\"F64\"")));
    EXPECT_TRUE(refused(replaced("layers.1.mlp.up", "layers.0.mlp.up")));  // a key twice
    EXPECT_TRUE(refused(replaced("[24,16]", "[16,24]")));
    EXPECT_FALSE(refused(good));
}

TEST_F(ModelFolderTest, OtherArchitecturesAreRefused) {
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, ""));
    const fs::path path = folder_ / "m" / "config.json";
    const std::string good = read(path);
    for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
             {"\"llama\"", "\"mistral\""}, {"\"silu\"", "\"gelu\""}, {"\"rope_scaling\": null", "\"rope_scaling\": {\"factor\": 2}"},
             {"\"mlp_bias\": false", "\"mlp_bias\": true"}, {"\"hidden_size\": 16", "\"hidden_size\": -16"}}) {
        std::string text = good;
        ASSERT_NE(text.find(from), std::string::npos) << from;
        text.replace(text.find(from), from.size(), to);
        write(path, text);
        auto config = read_model_folder_config(folder_ / "m");
        ASSERT_FALSE(config) << to;
        EXPECT_EQ(config.error().code, Errc::config_invalid);
    }
}

TEST(SafetensorsTest, HostileHeadersAreRefused) {
    const auto parse = [](const std::string& json, std::uint64_t data) {
        return parse_safetensors_header(as_bytes(json), 8 + json.size() + data).has_value();
    };
    EXPECT_TRUE(parse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8));
    EXPECT_TRUE(parse(R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 12));
    EXPECT_FALSE(parse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9));
    EXPECT_FALSE(parse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12));  // a hole
    EXPECT_FALSE(parse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12));
    EXPECT_FALSE(parse(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8));
    EXPECT_FALSE(parse(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8));
    EXPECT_FALSE(parse(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})", 0));
    EXPECT_FALSE(parse(R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8));
    EXPECT_FALSE(parse("[]", 0));
    EXPECT_FALSE(parse(std::string(100000, '['), 0));
    EXPECT_FALSE(parse(std::string(100000, '{'), 0));
    EXPECT_FALSE(parse("", 0));
}

TEST(SafetensorsTest, EveryFlippedBitOfAHeaderIsSurvived) {
    std::vector<StoredTensor> tensors(2);
    tensors[0] = {"a.weight", TensorType::f32, {2, 3}, 0, 6};
    tensors[1] = {"b.weight", TensorType::f32, {4}, 0, 4};
    const Bytes good = make_safetensors_header(tensors);
    const std::uint64_t size = good.size() + 40;
    ASSERT_TRUE(parse_safetensors_header(ByteSpan(good).subspan(8), size));
    for (std::size_t bit = 0; bit < 8 * (good.size() - 8); ++bit) {
        Bytes bad(good.begin() + 8, good.end());
        bad[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
        auto parsed = parse_safetensors_header(bad, size);
        if (!parsed) continue;
        for (const auto& t : *parsed) EXPECT_LE(t.begin + t.elements * bytes_of(t.type), size);
    }
}

}  // namespace
}  // namespace skerry::node
