#pragma once
// `data prepare`: texts to a folder of token shards with a manifest.

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "node/data/data_manifest.hpp"

namespace skerry::node {

struct PrepareProgress {
    std::uint64_t bytes = 0, of_bytes = 0;  ///< of the files, as far as they are read
    std::uint64_t tokens = 0;
};

struct PrepareOptions {
    std::vector<std::filesystem::path> texts;       ///< joined in this order
    std::optional<std::filesystem::path> held_out;  ///< a text of its own, instead of blocks of `texts`
    std::filesystem::path out;                      ///< folder; made if it is not there
    std::uint64_t shard_tokens = std::uint64_t{1} << 25;  ///< of the longest shard
    /// A model's folder or its tokenizer.json; without one tokens are bytes.
    std::optional<std::filesystem::path> tokenizer;
    std::string separator;  ///< an added token's text, put behind each document; only with a tokenizer
    std::string field;      ///< the files are JSON lines, this member is a document; empty: each file is one
    std::function<void(const PrepareProgress&)> progress;  ///< called often, from the same thread
};

struct Prepared {
    DataManifest manifest;
    std::uint64_t documents = 0, empty = 0;  ///< empty ones are left out
    std::uint64_t text_bytes = 0, tokens = 0;
};

/// Writes train-00000.bin, ..., held-out-00000.bin, ..., a copy of tokenizer.json, and, last, manifest.json; each file is complete
/// or absent. Reads in windows: memory does not grow with the text. A document is what the tokenizer's template makes of it.
///
/// Errors: not_found; data_invalid (no text, not UTF-8 where there is a tokenizer, one that is not supported, ...), too_large;
/// usage (a separator that is no added token); disk_full, io_error. Nothing is left behind but shards without a manifest.
Result<Prepared> prepare_data(const PrepareOptions& options);

/// Reads and checks manifest.json of a folder (not the shards' bytes). Errors: not_found, data_invalid, io_error.
Result<DataManifest> read_data_manifest(const std::filesystem::path& folder);

}  // namespace skerry::node
