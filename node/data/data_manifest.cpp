#include "node/data/data_manifest.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "node/data/token_shard.hpp"
#include "node/tokenizer/limits.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kSchema = "skerry.data/1";

Fail invalid(const std::string& what) { return fail(Errc::data_invalid, "data manifest: " + what); }

bool plain_name(const std::string& name) {
    return !name.empty() && name.size() <= 200 && name[0] != '.' &&
           name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == std::string::npos;
}

Result<DataShard> parse_shard(const Json& json, std::size_t index, std::uint32_t token_bytes) {
    const std::string where = "shard " + std::to_string(index) + ": ";
    if (!json.is_object()) return invalid(where + "not an object");
    const auto text = [&](const char* key) {
        const auto found = json.find(key);
        return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const auto count = [&](const char* key) {
        const auto found = json.find(key);
        return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : ~std::uint64_t{0};
    };
    DataShard out;
    out.file = text("file");
    if (!plain_name(out.file)) return invalid(where + "bad file name");
    const std::string split = text("split");
    if (split != "train" && split != "held_out") return invalid(where + "split is neither train nor held_out");
    out.held_out = split == "held_out";
    out.tokens = count("tokens");
    out.bytes = count("bytes");
    if (out.tokens == 0 || out.tokens > kMaxShardTokens) return invalid(where + "bad token count");
    if (out.bytes != kShardHeaderBytes + token_bytes * out.tokens) return invalid(where + "bytes do not fit the tokens");
    auto digest = parse_fixed_hex<Digest>(text("sha256"));
    if (!digest) return invalid(where + "bad sha256");
    out.sha256 = *digest;
    return out;
}

/// What packed shards say of themselves, where they are that.
Result<void> parse_packed(const Json& json, DataManifest& out) {
    const auto packed = json.find("packed");
    if (packed == json.end()) return {};
    if (!packed->is_object()) return invalid("packed is not an object");
    const auto count = [&](const char* key, std::uint64_t most) -> std::optional<std::uint32_t> {
        const auto found = packed->find(key);
        if (found == packed->end() || !found->is_number_unsigned() || *found > most) return std::nullopt;
        return found->get<std::uint32_t>();
    };
    const auto length = count("length", kMaxPackedLength);
    const auto end = count("end_token", out.vocab_size - 1);
    const auto name = packed->find("template");
    if (!length || *length == 0) return invalid("packed: bad length");
    if (!end) return invalid("packed: bad end_token");
    const bool known = name != packed->end() && (*name == "none" || *name == "plain" || *name == "chatml" || *name == "llama3");
    if (!known) return invalid("packed: template is not none, plain, chatml or llama3");
    out.packed = PackedData{*length, name->get<std::string>(), *end};
    return {};
}

/// The files that exports contain, where there are any.
Result<void> parse_files(const Json& json, DataManifest& out) {
    const auto files = json.find("files");
    if (files == json.end()) return {};
    if (!files->is_array() || files->size() > std::size(kFolderFiles)) return invalid("files is no list, or too long");
    for (const Json& one : *files) {
        const auto text = [&](const char* key) { return one.is_object() && one.contains(key) && one[key].is_string() ? one[key].get<std::string>() : std::string(); };
        FolderFile file{text("file"), 0, {}};
        const bool known = std::find(std::begin(kFolderFiles), std::end(kFolderFiles), file.file) != std::end(kFolderFiles);
        const bool again = std::any_of(out.files.begin(), out.files.end(), [&](const FolderFile& f) { return f.file == file.file; });
        if (!known || again) return invalid("files: '" + file.file + "' is none that exports contain, or there twice");
        const auto digest = parse_fixed_hex<Digest>(text("sha256"));
        const bool sized = one.contains("bytes") && one["bytes"].is_number_unsigned() && one["bytes"] >= 1 && one["bytes"] <= kMaxFolderFile;
        if (!digest || !sized) return invalid("files: bad size or sha256 of " + file.file);
        file.bytes = one["bytes"].get<std::uint64_t>();
        file.sha256 = *digest;
        if (file.file == "tokenizer.json" && out.tokenizer_sha256 && file.sha256 != *out.tokenizer_sha256)
            return invalid("files: tokenizer.json is not the one that tokenizer_sha256 names");
        out.files.push_back(std::move(file));
    }
    return {};
}

/// Which tokenizer, and how many tokens it has.
Result<void> parse_tokenizer(const Json& json, DataManifest& out) {
    const auto tokenizer = json.find("tokenizer");
    if (tokenizer == json.end() || (*tokenizer != "byte" && *tokenizer != "bpe")) return invalid("tokenizer is neither byte nor bpe");
    out.tokenizer = tokenizer->get<std::string>();
    const auto vocab = json.find("vocab_size");
    const bool number = vocab != json.end() && vocab->is_number_unsigned();
    const auto sha256 = json.find("tokenizer_sha256");
    if (out.tokenizer == "byte") {
        if (!number || *vocab != 256) return invalid("vocab_size of the byte tokenizer is 256");
        if (sha256 != json.end()) return invalid("the byte tokenizer has no tokenizer_sha256");
        return {};
    }
    if (!number || *vocab < 256 || *vocab > kMaxVocab) return invalid("vocab_size is not from 256 to " + std::to_string(kMaxVocab));
    out.vocab_size = vocab->get<std::uint32_t>();
    auto digest = parse_fixed_hex<Digest>(sha256 != json.end() && sha256->is_string() ? sha256->get<std::string>() : std::string());
    if (!digest) return invalid("bad tokenizer_sha256");
    out.tokenizer_sha256 = *digest;
    return {};
}

}  // namespace

std::uint64_t DataManifest::tokens(bool held_out) const {
    std::uint64_t sum = 0;
    for (const auto& s : shards)
        if (s.held_out == held_out) sum += s.tokens;
    return sum;
}

std::uint64_t DataManifest::sequences(bool held_out, std::uint32_t seq) const {
    std::uint64_t sum = 0;
    for (const auto& s : shards)
        if (s.held_out == held_out) sum += sequences_in(s.tokens, seq);
    return sum;
}

std::string to_json(const DataManifest& manifest) {
    Json json;
    json["schema"] = kSchema;
    json["tokenizer"] = manifest.tokenizer;
    if (manifest.tokenizer_sha256) json["tokenizer_sha256"] = manifest.tokenizer_sha256->hex();
    json["vocab_size"] = manifest.vocab_size;
    if (manifest.packed)
        json["packed"] = {{"length", manifest.packed->length}, {"template", manifest.packed->chat_template}, {"end_token", manifest.packed->end_token}};
    json["shards"] = Json::array();
    for (const auto& s : manifest.shards) {
        Json shard;
        shard["file"] = s.file;
        shard["split"] = s.held_out ? "held_out" : "train";
        shard["tokens"] = s.tokens;
        shard["bytes"] = s.bytes;
        shard["sha256"] = s.sha256.hex();
        json["shards"].push_back(std::move(shard));
    }
    for (const auto& f : manifest.files) json["files"].push_back({{"file", f.file}, {"bytes", f.bytes}, {"sha256", f.sha256.hex()}});
    return json.dump(1) + "\n";
}

Result<DataManifest> parse_data_manifest(ByteSpan bytes) {
    if (bytes.size() > kMaxDataManifestBytes) return fail(Errc::too_large, "data manifest over 16 MiB");
    const Json json = Json::parse(as_text(bytes), nullptr, false);
    if (!json.is_object()) return invalid("not a JSON object");
    if (json.value("schema", Json()) != kSchema) return invalid("schema is not skerry.data/1");
    DataManifest out;
    auto tokenizer = parse_tokenizer(json, out);
    if (!tokenizer) return fail(tokenizer.error());
    auto packed = parse_packed(json, out);
    if (!packed) return fail(packed.error());
    auto files = parse_files(json, out);
    if (!files) return fail(files.error());
    const auto shards = json.find("shards");
    if (shards == json.end() || !shards->is_array() || shards->empty() || shards->size() > kMaxShards)
        return invalid("expected 1 to 65536 shards");
    for (std::size_t i = 0; i < shards->size(); ++i) {
        auto shard = parse_shard((*shards)[i], i, out.token_bytes());
        if (!shard) return fail(shard.error());
        if (!out.shards.empty() && out.shards.back().held_out && !shard->held_out)
            return invalid("training shards come first");
        out.shards.push_back(std::move(*shard));
    }
    if (out.tokens(false) == 0) return invalid("no training shard");
    return out;
}

}  // namespace skerry::node
