#include "node/cli/run_config.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <unistd.h>

#include "node/model_folder/hf_folder.hpp"
#include "node/tokenizer/byte_tokenizer.hpp"
#include "node/trainer/train_config.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::node {
namespace {
namespace fs = std::filesystem;

constexpr const char* kRun = R"(schema = "skerry.run/1"
name = "reef"
seed = 7
[model]
vocab_size = 256
hidden_size = 32
intermediate_size = 64
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 64
[data]
manifest = "data/manifest.json"
sequence_length = 32
[train]
tokens = 1_000_000
batch = 2
optimizer = { name = "adamw", lr = 1e-3, betas = [0.9, 0.99] }
schedule = { name = "wsd", warmup_fraction = 0.1, decay_fraction = 0.2 }
[sync]
local_steps = 4
outer = { name = "nesterov", lr = 0.7, momentum = 0.5 }
compression = "none"
min_nodes = 2
round_deadline = "6s"
exchange_deadline = "4s"
[checkpoint]
every_steps = 10
quota = "1GiB"
[eval]
every_steps = 0
)";

struct RunConfigTest : testing::Test {
    RunConfigTest() {
        EXPECT_NE(::mkdtemp(folder.data()), nullptr);
        DataManifest data;
        data.shards.push_back({"train-00000.bin", false, 3201, 1024 + 2 * 3201, sha256(as_bytes("x"))});
        json = to_json(data);
        EXPECT_TRUE(make_private_folder(fs::path(folder) / "data"));
        EXPECT_TRUE(write_small_file(fs::path(folder) / "data" / "manifest.json", json, 0600));
    }
    ~RunConfigTest() override { fs::remove_all(folder); }

    Result<RunDraft> load(std::string text) {
        EXPECT_TRUE(write_small_file(fs::path(folder) / "run.toml", text, 0600));
        RunId run;
        run.bytes[0] = 9;
        return load_run_draft(fs::path(folder) / "run.toml", run);
    }
    static std::string with(std::string from, const std::string& to) {
        std::string text = kRun;
        auto at = text.find(from);
        EXPECT_NE(at, std::string::npos);
        return text.replace(at, from.size(), to);
    }

    std::string folder = fs::temp_directory_path() / "skerry-run-XXXXXX";
    std::string json;
};

TEST_F(RunConfigTest, MakesAManifestThatTheCoordinatorAccepts) {
    auto draft = load(kRun);
    ASSERT_TRUE(draft) << draft.error().detail;
    auto parsed = parse_manifest(to_bytes(draft->manifest));
    ASSERT_TRUE(parsed) << parsed.error().detail;
    EXPECT_EQ(*parsed, draft->manifest);
    const Manifest& m = draft->manifest;
    EXPECT_EQ(m.name, "reef");
    EXPECT_EQ(m.codec, CodecId::f32);
    EXPECT_EQ(m.sequences, 100U);
    EXPECT_EQ(m.sequence_tokens, 32U);
    EXPECT_EQ(m.batch_sequences, 2U);
    EXPECT_EQ(m.round_ms, 6000U);
    EXPECT_EQ(m.disk_quota_bytes, 1ULL << 30);
    EXPECT_EQ(m.data_manifest, sha256(as_bytes(json)));
    EXPECT_EQ(m.elements, 256U * 32 + 32 + 4 * 32 * 32 + 32 + 3 * 64 * 32 + 32);
    auto train = parse_train_config(m.train_json);
    ASSERT_TRUE(train);
    EXPECT_EQ(train->total_tokens, 1'000'000U);
    EXPECT_EQ(train->warmup_tokens, 100'000U);
    EXPECT_EQ(train->decay_tokens, 200'000U);
    EXPECT_EQ(train->seq, 32U);
    auto settings = nlohmann::json::parse(draft->settings);
    EXPECT_EQ(settings["exchange_deadline_ms"], 4000);
    EXPECT_EQ(settings["exchange_least_ms"], 4000) << "never above the deadline before there is a measurement";
    EXPECT_EQ(settings["grace_percent"], 10);
    EXPECT_FALSE(settings.contains("exchange_most_ms"));
}

/// A run of the model in `folder`/base, with `more` in [model].
std::string from_base(const std::string& more = "") {
    std::string text = kRun;
    const auto begin = text.find("[model]"), end = text.find("[data]");
    return text.replace(begin, end - begin, "[model]\nfrom = \"base/\"\n" + more);
}

struct FromFolder : RunConfigTest {
    FromFolder() {
        auto done = export_model_folder(base, model(), std::vector<float>(make_tensor_table(model()).elements, 0.5F), {});
        EXPECT_TRUE(done) << done.error().detail;
    }
    static ModelConfig model() {
        ModelConfig c;
        c.model_type = ModelType::qwen2;
        c.hidden_size = 32;
        c.intermediate_size = 64;
        c.num_hidden_layers = 1;
        c.num_attention_heads = 4;
        c.head_dim = 8;
        c.rope_scaling = {RopeType::linear, 2.0};
        return c;
    }
    /// Detail of the refusal.
    std::string refused(const std::string& text, Errc code) {
        auto draft = load(text);
        if (draft) return "taken";
        EXPECT_EQ(draft.error().code, code) << draft.error().detail;
        return draft.error().detail;
    }
    fs::path base = fs::path(folder) / "base";
};

TEST_F(FromFolder, TheFolderSaysWhichModelItIs) {
    auto draft = load(from_base("hidden_size = 32\nrope_scaling = { rope_type = \"linear\", factor = 2.0 }\n"));
    ASSERT_TRUE(draft) << draft.error().detail;
    EXPECT_EQ(draft->model, model());
    EXPECT_EQ(draft->manifest.model_json, to_json(model()));
    EXPECT_EQ(draft->base_folder, fs::absolute(folder) / "base/");
    ASSERT_EQ(draft->data.files.size(), 1U);  // generation_config.json; the run's data manifest names it
    EXPECT_EQ(draft->data.files[0].sha256, sha256(as_bytes(draft->file_texts[0])));
    EXPECT_EQ(draft->manifest.data_manifest, sha256(as_bytes(draft->data_manifest)));
    EXPECT_EQ(*parse_data_manifest(as_bytes(draft->data_manifest)), draft->data);
}

TEST_F(FromFolder, ContradictionsAreErrorsAtTheirLine) {
    EXPECT_NE(refused(from_base("hidden_size = 64\n"), Errc::config_invalid).find("hidden_size"), std::string::npos);
    EXPECT_NE(refused(from_base("model_type = \"llama\"\n"), Errc::config_invalid).find("model_type"), std::string::npos);
    EXPECT_NE(refused(from_base("rope_theta = 5.0\n"), Errc::config_invalid).find("rope_theta"), std::string::npos);
    EXPECT_NE(refused(from_base("rope_scaling = { rope_type = \"linear\", factor = 3.0 }\n"), Errc::config_invalid).find("rope_scaling"), std::string::npos);
    EXPECT_NE(refused(from_base("hidden_sise = 32\n"), Errc::config_invalid).find("hidden_sise"), std::string::npos);
}

TEST_F(FromFolder, WhatIsWrongWithItIsSaidBeforeAnythingIsCopied) {
    EXPECT_TRUE(write_small_file(base / "tokenizer.json", "{}", 0600));
    EXPECT_NE(refused(from_base(), Errc::data_invalid).find("tokenizer.json"), std::string::npos);
    EXPECT_TRUE(write_small_file(base / "tokenizer.json", byte_tokenizer_json(), 0600));
    EXPECT_EQ(refused(from_base(), Errc::data_invalid), "taken");
    fs::remove(base / "model.safetensors");
    EXPECT_NE(refused(from_base(), Errc::not_found).find("model.safetensors"), std::string::npos);
    fs::remove(base / "config.json");
    EXPECT_NE(refused(from_base(), Errc::not_found).find("config.json"), std::string::npos);
}

TEST_F(RunConfigTest, TakesTheBoundsOfTheDeadlines) {
    auto draft = load(with("exchange_deadline = \"4s\"", "exchange_deadline = \"40s\"\nexchange_least = \"2s\"\nexchange_most = \"3min\"\n"
                                                       "collect_most = \"9s\"\ngrace_percent = 25\nvote_deadline = \"7s\""));
    ASSERT_TRUE(draft) << draft.error().detail;
    auto settings = nlohmann::json::parse(draft->settings);
    EXPECT_EQ(settings["exchange_least_ms"], 2000);
    EXPECT_EQ(settings["exchange_most_ms"], 180'000);
    EXPECT_EQ(settings["collect_most_ms"], 9000);
    EXPECT_EQ(settings["grace_percent"], 25);
    EXPECT_EQ(settings["vote_deadline_ms"], 7000);
    EXPECT_FALSE(load(with("exchange_deadline = \"4s\"", "grace_percent = 101")));
}

TEST_F(RunConfigTest, SaysLineAndKeyOfAMistake) {
    auto said = [this](const std::string& from, const std::string& to) {
        auto draft = load(with(from, to));
        EXPECT_FALSE(draft);
        return draft ? "" : draft.error().detail;
    };
    EXPECT_EQ(said("min_nodes =", "min_node ="), "run.toml:23: unknown key 'min_node' in [sync]; did you mean 'min_nodes'?");
    EXPECT_NE(said("sequence_length = 32", "sequence_length = 65").find("run.toml:13: 'sequence_length'"), std::string::npos);
    EXPECT_NE(said("hidden_size = 32", "hidden_size = 33").find("run.toml:"), std::string::npos);
    EXPECT_NE(said("tokens = 1_000_000\n", "").find("'tokens' in [train]: is missing"), std::string::npos);
    EXPECT_NE(said("\"none\"", "\"int3\"").find("expected \"int8\" or \"none\""), std::string::npos);
    EXPECT_NE(said("6s", "6 parsecs").find("run.toml:24"), std::string::npos);
}

TEST_F(RunConfigTest, DataThatIsMissingOrTooShortIsNamed) {
    EXPECT_EQ(load(with("data/manifest", "dat/manifest")).error().code, Errc::no_data);
    auto longer = with("max_position_embeddings = 64", "max_position_embeddings = 8192");
    longer.replace(longer.find("sequence_length = 32"), 20, "sequence_length = 8000");
    EXPECT_EQ(load(longer).error().code, Errc::no_data);
    EXPECT_EQ(load(with("[eval]\nevery_steps = 0", "[eval]\nevery_steps = 5")).error().code, Errc::no_data);
}

}  // namespace
}  // namespace skerry::node
