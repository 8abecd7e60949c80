#include "node/cli/run_config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "node/cli/base_folder.hpp"
#include "node/model_folder/tensor_table.hpp"
#include "node/trainer/train_config.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/strict_toml.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/identity/token.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::int64_t kMost32 = 0x7FFFFFFF;
constexpr std::int64_t kMostTokens = std::int64_t{1} << 52;

const std::vector<std::string_view> kModelKeys = {
    "vocab_size",          "hidden_size",         "intermediate_size",       "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "head_dim",                "max_position_embeddings",
    "rms_norm_eps",        "rope_theta",          "tie_word_embeddings",     "initializer_range",
    "model_type",          "hidden_act",          "attention_bias",          "mlp_bias",
    "rope_scaling",        "rope_parameters"};

std::uint32_t count(TomlSection& section, std::string_view key, std::int64_t fallback, std::int64_t least = 1) {
    return static_cast<std::uint32_t>(section.integer(key, fallback, least, kMost32));
}

std::uint32_t milliseconds(TomlSection& section, std::string_view key, Millis fallback) {
    Millis value = section.duration(key, fallback);
    if (value.count() >= 100 && value.count() <= 1'000'000'000) return static_cast<std::uint32_t>(value.count());
    section.complain(key, "expected at least 100ms and at most 10 days");
    return static_cast<std::uint32_t>(fallback.count());
}

/// The message names the key; its line is the reader's to find.
void blame(TomlSection& section, const std::string& detail, std::string_view fallback) {
    std::string_view guilty = fallback;
    for (std::string_view key : kModelKeys) {
        if (detail.find(key) != std::string::npos && section.has(key)) guilty = key;
    }
    section.complain(guilty, detail);
}

/// Keys that stand beside `from` must say what the folder says.
void compare_with_folder(TomlSection& section, const ModelConfig& folder) {
    const Json given = Json::parse(section.to_json(kModelKeys));
    for (const auto& [key, value] : given.items()) {
        Json all = Json::parse(to_json(folder));
        if (key == "rope_parameters" || key == "rope_scaling") all.erase("rope_scaling");
        if (key == "rope_parameters") all.erase("rope_theta");
        all[key] = value;
        auto overlaid = parse_model_config(all.dump());
        if (!overlaid || *overlaid != folder) section.complain(key, "contradicts the folder that from names; leave it away");
    }
}

/// [model], checked by the model's own rules. `base` receives the folder that `from` names.
Result<ModelConfig> read_model(StrictToml& toml, const fs::path& folder_of_file, fs::path& base) {
    auto section = toml.section("model");
    const std::string from = section.text("from", "");
    if (section.has("from")) {
        base = folder_of_file / from;
        auto model = open_base_folder(base);
        if (!model) return model;
        compare_with_folder(section, *model);
        return model;
    }
    auto model = parse_model_config(section.to_json(kModelKeys));
    if (!model) {
        blame(section, model.error().detail, "hidden_size");
        return ModelConfig{};
    }
    auto ok = check(*model);
    if (ok) return model;
    section.complain("hidden_size", ok.error().detail);
    return ModelConfig{};
}

TrainConfig read_train(StrictToml& toml, std::uint32_t sequence_tokens, std::uint64_t seed) {
    TrainConfig out;
    out.seq = sequence_tokens;
    out.seed = seed;
    auto train = toml.section("train");
    out.total_tokens = static_cast<std::uint64_t>(train.required_integer("tokens", 1, kMostTokens));
    out.batch = static_cast<std::uint32_t>(train.integer("batch", 1, 1, 65536));
    out.precision = std::vector{Precision::automatic, Precision::fp32, Precision::bf16}[train.choice("precision", {"auto", "fp32", "bf16"}, 0)];
    out.micro_batch = static_cast<std::uint32_t>(train.integer("micro_batch", 0, 0, 65536));
    out.recompute = static_cast<Recompute>(train.choice("recompute", {"auto", "none", "attention", "layers"}, 0));
    auto optimizer = toml.section("train.optimizer");
    out.optimizer = static_cast<InnerOptimizer>(optimizer.choice("name", {"adamw", "muon"}, 0));
    if (out.optimizer == InnerOptimizer::muon) {
        out.muon_lr = optimizer.number("muon_lr", out.muon_lr, 0, 100);
        out.muon_momentum = optimizer.number("momentum", out.muon_momentum, 0, 0.999999);
    }
    out.lr = optimizer.number("lr", out.lr, 0, 100);
    out.min_lr = optimizer.number("min_lr", out.min_lr, 0, 100);
    auto betas = optimizer.numbers("betas", {out.beta1, out.beta2});
    if (betas.size() == 2) {
        out.beta1 = betas[0];
        out.beta2 = betas[1];
    } else {
        optimizer.complain("betas", "expected two numbers");
    }
    out.eps = optimizer.number("eps", out.eps, 1e-20, 1);
    out.weight_decay = optimizer.number("weight_decay", out.weight_decay, 0, 100);
    out.clip = optimizer.number("clip", out.clip, 0, 1e9);
    auto schedule = toml.section("train.schedule");
    out.schedule = std::vector{Schedule::wsd, Schedule::cosine, Schedule::constant}[schedule.choice("name", {"wsd", "cosine", "constant"}, 0)];
    auto total = static_cast<double>(out.total_tokens);
    double warmup = schedule.number("warmup_fraction", 0.03, 0, 1);
    double decay = schedule.number("decay_fraction", 0.4, 0, 1);
    if (warmup + decay > 1) schedule.complain("decay_fraction", "warm-up and decay are more than the whole");
    out.warmup_tokens = static_cast<std::uint64_t>(std::llround(warmup * total));
    out.decay_tokens = std::min(static_cast<std::uint64_t>(std::llround(decay * total)), out.total_tokens - std::min(out.total_tokens, out.warmup_tokens));
    auto ok = check(out);
    if (!ok) train.complain("tokens", ok.error().detail);
    return out;
}

void read_sync(StrictToml& toml, Manifest& out, Json& settings) {
    auto sync = toml.section("sync");
    out.local_steps = count(sync, "local_steps", 40);
    auto outer = toml.section("sync.outer");
    outer.choice("name", {"nesterov"}, 0);
    out.outer.eta = static_cast<float>(outer.number("lr", 0.7, 0, 100));
    out.outer.mu = static_cast<float>(outer.number("momentum", 0.5, 0, 0.999999));
    out.codec = std::vector{CodecId::a8, CodecId::f32}[sync.choice("compression", {"int8", "none"}, 0)];
    out.min_nodes = static_cast<std::uint32_t>(sync.integer("min_nodes", 2, 1, kMaxNodes));
    out.durable_copies = static_cast<std::uint32_t>(sync.integer("durable_copies", 2, 1, kMaxNodes));
    if (out.durable_copies > out.min_nodes && out.min_nodes > 1)
        sync.complain("durable_copies", "cannot be more than min_nodes, or a step could never be committed");
    out.max_carry = static_cast<std::uint32_t>(sync.integer("max_carry", 1, 0, 1));
    out.round_ms = milliseconds(sync, "round_deadline", Millis(60'000));
    const Millis exchange(milliseconds(sync, "exchange_deadline", Millis(30'000)));
    settings["exchange_deadline_ms"] = exchange.count();
    settings["exchange_least_ms"] = milliseconds(sync, "exchange_least", std::min(exchange, Millis(10'000)));
    if (sync.has("exchange_most")) settings["exchange_most_ms"] = milliseconds(sync, "exchange_most", Millis(300'000));
    if (sync.has("collect_most")) settings["collect_most_ms"] = milliseconds(sync, "collect_most", Millis(120'000));
    settings["grace_percent"] = sync.integer("grace_percent", 10, 0, 100);
    settings["silent_after_ms"] = milliseconds(sync, "silent_after", Millis(5'000));
    settings["away_after_ms"] = milliseconds(sync, "away_after", Millis(120'000));
    settings["vote_deadline_ms"] = milliseconds(sync, "vote_deadline", Millis(5'000));
}

void read_keeping(StrictToml& toml, Manifest& out) {
    auto checkpoint = toml.section("checkpoint");
    out.snapshot_every = count(checkpoint, "every_steps", 50);
    out.disk_quota_bytes = checkpoint.size("quota", 4 * kGiB);
    auto eval = toml.section("eval");
    out.evaluate_every = count(eval, "every_steps", 20, 0);
    out.evaluate_sequences = count(eval, "sequences", 160);
}

/// The data manifest's bytes as they are on disk: their hash is in the run's manifest.
Result<void> read_data(const fs::path& base, const std::string& name, RunDraft& draft) {
    fs::path file = base / name;
    auto text = read_small_file(file, kMaxDataManifest);
    if (!text) {
        if (text.error().code != Errc::not_found) return fail(text.error());
        return fail(Errc::no_data, "there is no data manifest " + file.string(), "skerry data prepare TEXT... -o " + file.parent_path().string());
    }
    auto parsed = parse_data_manifest(as_bytes(*text));
    if (!parsed) return fail(parsed.error());
    draft.data_manifest = std::move(*text);
    draft.data = std::move(*parsed);
    return {};
}

Result<void> check_data(const RunDraft& draft, const ModelConfig& model, const std::string& name) {
    const Manifest& m = draft.manifest;
    if (m.sequences == 0)
        return fail(Errc::no_data, "the data has no sequence of " + std::to_string(m.sequence_tokens) + " tokens", "prepare a longer text");
    if (draft.data.packed && draft.data.packed->length != m.sequence_tokens)
        return fail(Errc::config_invalid, name + ": sequence_length is " + std::to_string(m.sequence_tokens) + ", the data is packed into sequences of " +
                                              std::to_string(draft.data.packed->length) + " tokens",
                    "sequence_length = " + std::to_string(draft.data.packed->length) + ", or skerry data prepare --pack " + std::to_string(m.sequence_tokens));
    if (draft.data.vocab_size > model.vocab_size)
        return fail(Errc::config_invalid, name + ": vocab_size is " + std::to_string(model.vocab_size) + ", the data needs " +
                                              std::to_string(draft.data.vocab_size));
    bool evaluates = m.evaluate_every > 0 && draft.data.sequences(true, m.sequence_tokens) == 0;
    if (evaluates) return fail(Errc::no_data, "the data has no held-out part", "skerry data prepare, or every_steps = 0 in [eval]");
    return {};
}

void set_tensors(Manifest& out, const ModelConfig& model) {
    TensorTable table = make_tensor_table(model);
    out.elements = table.elements;
    out.piece_elements = piece_elements_for(table.elements);
    for (const TensorInfo& info : table.tensors)
        out.tensors.push_back({info.name, info.shape, info.offset, info.elements, info.init_scale});
}

}  // namespace

Result<RunDraft> load_run_draft(const fs::path& file, const RunId& run) {
    auto toml = StrictToml::load(file);
    if (!toml) return fail(toml.error());
    toml->expect_schema("skerry.run/1");
    RunDraft draft;
    Manifest& out = draft.manifest;
    out.run = run;
    auto root = toml->root();
    out.name = root.required_text("name");
    if (!out.name.empty() && (!is_name(out.name) || out.name.size() > 40)) root.complain("name", "expected 1 to 40 letters, digits, '-', '_' or '.'");
    out.seed = static_cast<std::uint64_t>(root.integer("seed", 1, 0, kMostTokens));
    const fs::path here = fs::absolute(file).parent_path();
    auto read = read_model(*toml, here, draft.base_folder);
    if (!read) return fail(read.error());
    const ModelConfig& model = draft.model = *read;
    auto data = toml->section("data");
    std::string data_file = data.required_text("manifest");
    out.sequence_tokens = count(data, "sequence_length", 256);
    if (out.sequence_tokens > model.max_position_embeddings)
        data.complain("sequence_length", "is longer than the model's max_position_embeddings (" + std::to_string(model.max_position_embeddings) + ")");
    TrainConfig train = read_train(*toml, out.sequence_tokens, out.seed);
    Json settings = Json::object();
    read_sync(*toml, out, settings);
    read_keeping(*toml, out);
    auto done = toml->finish();
    if (!done) return fail(done.error());

    auto found = read_data(here, data_file, draft);
    if (found && !draft.base_folder.empty()) found = same_tokenizer(draft.base_folder, draft.data);
    if (found) found = attach_files(draft, (here / data_file).parent_path());
    if (!found) return fail(found.error());
    out.data_manifest = sha256(as_bytes(draft.data_manifest));
    out.sequences = draft.data.sequences(false, out.sequence_tokens);
    out.target_tokens = train.total_tokens;
    out.batch_sequences = train.batch;
    out.model_json = to_json(model);
    out.train_json = to_json(train);
    set_tensors(out, model);
    draft.settings = settings.dump();
    auto fits = check_data(draft, model, file.filename().string());
    if (!fits) return fail(fits.error());
    return draft;
}

}  // namespace skerry::node
