#include "node/data/folder_files.hpp"

#include "node/tokenizer/byte_tokenizer.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"

namespace skerry::node {

namespace fs = std::filesystem;

fs::path kept_folder_file(const fs::path& shards, const FolderFile& file) {
    return shards / (file.sha256.hex() + ".bin");
}

Result<std::string> read_folder_file(const fs::path& shards, const FolderFile& file) {
    auto text = read_small_file(kept_folder_file(shards, file), kMaxFolderFile);
    if (!text && text.error().code == Errc::not_found)
        return fail(Errc::not_found, "this node does not have the run's " + file.file + " yet", "let the node run until it has fetched it");
    if (!text) return fail(text.error());
    if (sha256(as_bytes(*text)) != file.sha256)
        return fail(Errc::digest_mismatch, "the node's copy of " + file.file + " is damaged", "start the node: it fetches it again");
    return text;
}

Result<std::map<std::string, std::string>> export_files(const fs::path& shards, const DataManifest& data, unsigned max_positions) {
    std::map<std::string, std::string> out;
    for (const FolderFile& file : data.files) {
        auto text = read_folder_file(shards, file);
        if (!text) return fail(text.error());
        out[file.file] = std::move(*text);
    }
    if (data.tokenizer_sha256) return out;
    out.try_emplace("tokenizer.json", byte_tokenizer_json());
    out.try_emplace("tokenizer_config.json", byte_tokenizer_config_json(max_positions));
    return out;
}

}  // namespace skerry::node
