#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>

#include "node/model_folder/hf_folder.hpp"
#include "node/model_folder/hf_config.hpp"
#include "node/model_folder/safetensors.hpp"
#include "node/model_folder/weight_files.hpp"

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
    auto done = export_model_folder(folder_ / "m", small_model(), theta_, {});
    ASSERT_TRUE(done) << done.error().detail;
    auto config = read_model_folder_config(folder_ / "m");
    ASSERT_TRUE(config) << config.error().detail;
    EXPECT_EQ(*config, small_model());
    std::vector<float> back;
    auto imported = import(back);
    ASSERT_TRUE(imported) << imported.error().detail;
    EXPECT_EQ(back, theta_);
    theta_[3] = 4.F;
    done = export_model_folder(folder_ / "m", small_model(), theta_, {});
    ASSERT_TRUE(done) << done.error().detail;
    ASSERT_TRUE(import(back));
    EXPECT_EQ(back, theta_);
}

TEST_F(ModelFolderTest, AForeignFolderIsNotReplaced) {
    fs::create_directories(folder_ / "m");
    write(folder_ / "m" / "precious.txt", "mine");
    auto done = export_model_folder(folder_ / "m", small_model(), theta_, {});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::already_exists);
    EXPECT_EQ(read(folder_ / "m" / "precious.txt"), "mine");
}

TEST_F(ModelFolderTest, NotFiniteWeightsAreNotExportedAndLeaveNothing) {
    theta_[7] = std::numeric_limits<float>::quiet_NaN();
    auto done = export_model_folder(folder_ / "m", small_model(), theta_, {});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::not_finite);
    EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(ModelFolderTest, DamagedWeightFilesAreRefused) {
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, {}));
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
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, {}));
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

/// Detail of the refusal; empty when it is taken.
std::string refusal(const std::string& more) {
    auto config = parse_hf_config(
        R"({"model_type":"llama","vocab_size":64,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4)" + more + "}");
    if (config) return "";
    EXPECT_EQ(config.error().code, Errc::config_invalid);
    return config.error().detail;
}

TEST(HfConfigTest, WhatChangesResultsIsRefusedByName) {
    for (const auto& [more, name] : std::vector<std::pair<std::string, std::string>>{
             {R"(,"architectures":["LlamaForSequenceClassification"])", "architectures"},
             {R"(,"hidden_act":"gelu")", "hidden_act"},
             {R"(,"mlp_bias":true)", "mlp_bias"},
             {R"(,"attention_dropout":0.1)", "attention_dropout"},
             {R"(,"quantization_config":{"quant_method":"gptq"})", "quantization_config"},
             {R"(,"partial_rotary_factor":0.5)", "partial_rotary_factor"},
             {R"(,"layer_types":["full_attention","sliding_attention"])", "layer_types"},
             {R"(,"is_causal":false)", "is_causal"},
             {R"(,"rope_scaling":{"rope_type":"yarn","factor":4.0})", "yarn"},
             {R"(,"rope_scaling":{"type":"dynamic","factor":4.0})", "dynamic"},
             {R"(,"rope_parameters":{"rope_type":"longrope","rope_theta":10000.0})", "longrope"},
             {R"(,"rope_theta":10000.0,"rope_parameters":{"rope_type":"default","rope_theta":500000.0})", "rope_theta"},
             {R"(,"head_dim":7)", "head_dim"},
             {R"(,"num_key_value_heads":3)", "num_key_value_heads"}})
        EXPECT_NE(refusal(more).find(name), std::string::npos) << more << ": " << refusal(more);
    const std::string qwen = R"({"model_type":"qwen2","vocab_size":64,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,)"
                             R"("num_attention_heads":4,"num_key_value_heads":2,"use_sliding_window":true,"sliding_window":8,"max_window_layers":)";
    auto windowed = parse_hf_config(qwen + "1}");
    ASSERT_FALSE(windowed);
    EXPECT_NE(windowed.error().detail.find("use_sliding_window"), std::string::npos);
    EXPECT_TRUE(parse_hf_config(qwen + "2}"));  // from behind the last layer on
    EXPECT_FALSE(parse_hf_config("[]"));
    EXPECT_FALSE(parse_hf_config(R"({"model_type":"mistral"})"));
    EXPECT_FALSE(parse_hf_config(R"({"model_type":"llama","vocab_size":64})"));
}

TEST(HfConfigTest, WhatHasNoInfluenceIsPassedOver) {
    EXPECT_EQ(refusal(R"(,"transformers_version":"5.0","use_cache":true,"pretraining_tp":2,"eos_token_id":[1,2],"sliding_window":4096,"rope_scaling":null)"), "");
    auto config = parse_hf_config(R"({"model_type":"llama","vocab_size":64,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4,)"
                                  R"("num_key_value_heads":null,"attention_dropout":0,"rope_parameters":{"rope_type":"linear","factor":2.0,"rope_theta":777.0}})");
    ASSERT_TRUE(config) << config.error().detail;
    EXPECT_EQ(config->num_key_value_heads, 4U);
    EXPECT_EQ(config->max_position_embeddings, 2048U);
    EXPECT_EQ(config->rms_norm_eps, 1e-6);
    EXPECT_EQ(config->rope_theta, 777.0);
    EXPECT_EQ(config->rope_scaling.type, RopeType::linear);
    EXPECT_FALSE(config->tie_word_embeddings);
}

TEST(HfConfigTest, EveryKindOfModelComesBackFromItsConfig) {
    ModelConfig c = small_model();
    c.rope_scaling = {RopeType::llama3, 8.0, 1.0, 4.0, 16};
    c.attention_bias = true;
    auto back = parse_hf_config(hf_config_json(c, "{\"eos_token_id\":[3,4]}", "float32"));
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_EQ(*back, c);
    c.attention_bias = false;
    c.model_type = ModelType::qwen2;
    c.rope_scaling = {RopeType::linear, 2.0};
    back = parse_hf_config(hf_config_json(c, "", "bfloat16"));
    ASSERT_TRUE(back) << back.error().detail;
    EXPECT_EQ(*back, c);
    EXPECT_NE(hf_config_json(c, "{\"eos_token_id\":[3,4]}", "float32").find("\"eos_token_id\": [\n    3"), std::string::npos);
    EXPECT_NE(generation_json(c, "{\"eos_token_id\":7}").find("\"eos_token_id\": 7"), std::string::npos);
}

TEST_F(ModelFolderTest, SeveralFilesWithAnIndexComeBack) {
    FolderOptions options;
    options.file_bytes = 3000;
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, options));
    EXPECT_FALSE(fs::exists(folder_ / "m" / "model.safetensors"));
    std::vector<float> back;
    auto imported = import(back);
    ASSERT_TRUE(imported) << imported.error().detail;
    EXPECT_EQ(back, theta_);
    const fs::path index = folder_ / "m" / "model.safetensors.index.json";
    const std::string good = read(index);
    const auto refused = [&](const std::string& from, const std::string& to, const std::string& named) {
        std::string text = good;
        text.replace(text.find(from), from.size(), to);
        write(index, text);
        auto result = import(back);
        return !result && result.error().detail.find(named) != std::string::npos;
    };
    EXPECT_TRUE(refused("model.norm.weight", "model.morn.weight", "model.norm.weight"));
    EXPECT_TRUE(refused("\"model-00001", "\"../model-00001", "bad file name"));
    EXPECT_TRUE(refused("\"weight_map\"", "\"weights\"", "weight_map"));
    write(index, good);
    for (const auto& entry : fs::directory_iterator(folder_ / "m"))
        if (entry.path().filename().string().starts_with("model-00001")) fs::remove(entry.path());
    auto gone = import(back);
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, Errc::not_found);
}

TEST_F(ModelFolderTest, Bf16IsTheNearestAndComesBackAsThat) {
    theta_[0] = 1.00390625F;   // halfway: to even, down
    theta_[1] = 1.01171875F;   // halfway: to even, up
    theta_[2] = -0.0F;
    FolderOptions options;
    options.bf16 = true;
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, options));
    std::vector<float> back;
    ASSERT_TRUE(import(back));
    EXPECT_EQ(back[0], 1.0F);
    EXPECT_EQ(back[1], 1.015625F);
    EXPECT_TRUE(std::signbit(back[2]));
    for (std::size_t i = 3; i < back.size(); ++i) ASSERT_NEAR(back[i], theta_[i], 0.004F * std::abs(theta_[i]));
    theta_[5] = std::numeric_limits<float>::max();
    auto done = export_model_folder(folder_ / "m", small_model(), theta_, options);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::not_finite);
}

TEST_F(ModelFolderTest, MissingAndSurplusTensorsAreNamed) {
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, {}));
    std::vector<float> out(make_tensor_table(small_model()).elements);
    const auto why = [&](ModelConfig c) {
        out.resize(make_tensor_table(c).elements);
        auto done = import_model_folder(folder_ / "m", c, out);
        return done ? std::string() : done.error().detail;
    };
    ModelConfig more = small_model(), fewer = small_model(), tied = small_model();
    more.num_hidden_layers = 3;
    EXPECT_NE(why(more).find("model.layers.2.input_layernorm.weight"), std::string::npos) << why(more);
    fewer.num_hidden_layers = 1;
    EXPECT_NE(why(fewer).find("model.layers.1."), std::string::npos) << why(fewer);
    EXPECT_NE(why(fewer).find(" more"), std::string::npos) << why(fewer);
    tied.tie_word_embeddings = true;  // a stored head is fine only if it is the embedding
    EXPECT_NE(why(tied).find("lm_head.weight"), std::string::npos);
    const auto& head = make_tensor_table(small_model()).tensors.back();
    std::copy_n(theta_.begin(), head.elements, theta_.begin() + static_cast<std::ptrdiff_t>(head.offset));
    ASSERT_TRUE(export_model_folder(folder_ / "m", small_model(), theta_, {}));
    EXPECT_EQ(why(tied), "");
}

TEST(WeightIndexTest, HostileOnesAreRefused) {
    const auto parses = [](const std::string& json) { return parse_weight_index(as_bytes(json)).has_value(); };
    EXPECT_TRUE(parses(R"({"metadata":{"total_size":8},"weight_map":{"a":"x.safetensors"}})"));
    for (const char* file : {"", "..", "../x", "/etc/passwd", ".x", "a/b", "\\u0000"})
        EXPECT_FALSE(parses(std::string(R"({"weight_map":{"a":")") + file + "\"}}")) << file;
    EXPECT_FALSE(parses(R"({"weight_map":{"a":"x","a":"y"}})"));
    EXPECT_FALSE(parses(R"({"weight_map":{"a":1}})"));
    EXPECT_FALSE(parses(R"({"weight_map":{}})"));
    EXPECT_FALSE(parses(R"({"weight_map":["a"]})"));
    EXPECT_FALSE(parses(std::string(100000, '{')));
    EXPECT_FALSE(parses(""));
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
