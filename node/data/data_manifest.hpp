#pragma once
// What a data folder contains: manifest.json beside its token shards. Parsing is pure and safe on foreign bytes.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/base/bytes.hpp"
#include "protocol/base/ids.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

inline constexpr std::size_t kMaxDataManifestBytes = 16U << 20;
inline constexpr std::size_t kMaxShards = 65536;
inline constexpr std::uint32_t kMaxPackedLength = 1U << 20;

struct DataShard {
    std::string file;  ///< name inside the folder
    bool held_out = false;
    std::uint64_t tokens = 0;
    std::uint64_t bytes = 0;  ///< of the file: 1024 + token_bytes * tokens
    Digest sha256;            ///< of the file
    friend bool operator==(const DataShard&, const DataShard&) = default;
};

/// Of data made of examples: the shards have loss masks, and a row of examples in each `length` tokens.
struct PackedData {
    std::uint32_t length = 0;   ///< the run's sequences have this length
    std::string chat_template;  ///< plain, chatml, llama3; none: prompts and completions as they are
    std::uint32_t end_token = 0;  ///< behind each completion
    friend bool operator==(const PackedData&, const PackedData&) = default;
};

/// A small file that a run's exports contain as it is. Nodes fetch it by its hash.
struct FolderFile {
    std::string file;  ///< one of kFolderFiles
    std::uint64_t bytes = 0;
    Digest sha256;
    friend bool operator==(const FolderFile&, const FolderFile&) = default;
};
inline constexpr const char* kFolderFiles[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                                               "generation_config.json"};
inline constexpr std::uint64_t kMaxFolderFile = 64U << 20;

/// Training shards first, then held-out ones; a shard's index is its id.
struct DataManifest {
    std::string tokenizer = "byte";          ///< or "bpe": that of a tokenizer.json
    std::optional<Digest> tokenizer_sha256;  ///< of tokenizer.json; there if and only if it is "bpe"
    std::uint32_t vocab_size = 256;          ///< all tokens are below
    std::optional<PackedData> packed;
    std::vector<DataShard> shards;
    std::vector<FolderFile> files;  ///< of a run's data manifest; `run create` adds them

    /// Of one token in the shards.
    std::uint32_t token_bytes() const { return vocab_size <= 65536 && !packed ? 2 : 4; }
    std::uint64_t tokens(bool held_out) const;
    /// Sequences of `seq` tokens in the training (or held-out) shards.
    std::uint64_t sequences(bool held_out, std::uint32_t seq) const;
    friend bool operator==(const DataManifest&, const DataManifest&) = default;
};

/// The bytes of manifest.json; equal manifests give equal bytes, whose SHA-256 names the data in a run.
std::string to_json(const DataManifest& manifest);

/// Errors: data_invalid (with the place), too_large.
Result<DataManifest> parse_data_manifest(ByteSpan json);

}  // namespace skerry::node
