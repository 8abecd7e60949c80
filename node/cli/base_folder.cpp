#include "node/cli/base_folder.hpp"

#include "node/cli/send_base.hpp"
#include "node/log/file.hpp"
#include "node/model_folder/hf_config.hpp"
#include "node/model_folder/hf_folder.hpp"
#include "node/model_folder/weight_files.hpp"
#include "node/tokenizer/byte_tokenizer.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostConfig = 1U << 20;

std::optional<std::string> read_if_there(const fs::path& file, Result<void>& outcome) {
    auto text = read_small_file(file, kMaxFolderFile);
    if (text) return std::move(*text);
    if (text.error().code != Errc::not_found) outcome = fail(text.error());
    return std::nullopt;
}

}  // namespace

Result<ModelConfig> open_base_folder(const fs::path& folder) {
    auto config = read_model_folder_config(folder);
    if (!config && config.error().code == Errc::not_found)
        return fail(Errc::not_found, "no model in " + folder.string() + ": " + config.error().detail, "a Hugging Face folder with config.json");
    if (!config) return config;
    const TensorTable table = make_tensor_table(*config);
    auto weights = FolderWeights::open(folder, table);
    if (!weights) return fail(weights.error());
    return config;
}

Result<void> same_tokenizer(const fs::path& folder, const DataManifest& data) {
    Result<void> outcome;
    const auto json = read_if_there(folder / "tokenizer.json", outcome);
    if (!outcome) return outcome;
    const std::string fix = "skerry data prepare TEXT... --tokenizer " + folder.string() + " -o DIR";
    if (!data.tokenizer_sha256) {
        if (!json || *json == byte_tokenizer_json()) return {};
        return fail(Errc::data_invalid, "the data's tokens are bytes, " + folder.string() + " has a tokenizer.json", fix);
    }
    const std::string name = "the tokenizer.json that the data was made with (SHA-256 " + data.tokenizer_sha256->hex() + ")";
    if (!json) return fail(Errc::data_invalid, folder.string() + " has no tokenizer.json to compare with " + name, fix);
    const Digest own = sha256(as_bytes(*json));
    if (own == *data.tokenizer_sha256) return {};
    return fail(Errc::data_invalid, name + " is not the one in " + folder.string() + " (" + own.hex() + ")", fix);
}

Result<void> attach_files(RunDraft& draft, const fs::path& data_folder) {
    const bool has_model = !draft.base_folder.empty();
    if (!has_model && !draft.data.tokenizer_sha256) return {};
    const fs::path& folder = has_model ? draft.base_folder : data_folder;
    Result<void> outcome;
    for (const char* name : kFolderFiles) {
        auto text = read_if_there(folder / name, outcome);
        const bool made = !text && has_model && std::string_view(name) == "generation_config.json";
        if (made) text = generation_json(draft.model, read_small_file(folder / "config.json", kMostConfig).value_or("{}"));
        if (!outcome) return outcome;
        if (!text || text->empty()) continue;
        const FolderFile info{name, text->size(), sha256(as_bytes(*text))};
        // A tokenizer.json that is not the data's (somebody changed the data folder) is not one to export.
        if (info.file == "tokenizer.json" && draft.data.tokenizer_sha256 && info.sha256 != *draft.data.tokenizer_sha256) continue;
        draft.data.files.push_back(info);
        draft.file_texts.push_back(std::move(*text));
    }
    draft.data_manifest = to_json(draft.data);
    return {};
}

Result<std::vector<std::string>> folder_texts(const fs::path& folder) {
    std::vector<std::string> out;
    Result<void> outcome;
    for (const char* name : kFolderFiles) {
        auto text = read_if_there(folder / name, outcome);
        if (!outcome) return fail(outcome.error());
        if (text && !text->empty()) out.push_back(std::move(*text));
    }
    return out;
}

Result<Digest> send_folder(Channel& channel, const fs::path& folder, const ModelConfig& model) {
    const TensorTable table = make_tensor_table(model);
    auto weights = FolderWeights::open(folder, table);
    if (!weights) return fail(weights.error());
    auto scratch = Scratch::make();
    if (!scratch) return fail(scratch.error());
    // Mapped: page cache, not memory, however large the model is.
    auto mapped = MappedFile::open(scratch->folder() / "theta", table.elements * sizeof(float));
    if (!mapped) return fail(mapped.error());
    const std::span<float> theta(reinterpret_cast<float*>(mapped->bytes().data()), table.elements);
    auto read = weights->read(theta);
    if (!read) return fail(read.error());
    return send_base(channel, theta, {});
}

}  // namespace skerry::node
