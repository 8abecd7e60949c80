#pragma once
// `data prepare`: texts to a folder of token shards with a manifest.

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "node/data/data_manifest.hpp"
#include "node/data/example_tokens.hpp"

namespace skerry::node {

struct PrepareProgress {
    std::uint64_t bytes = 0, of_bytes = 0;  ///< of the files, as far as they are read
    std::uint64_t tokens = 0;
};

/// For JSON lines that are examples: a prompt and its completion, or messages (examples.hpp). Only completions are targets.
struct ExampleOptions {
    std::string prompt_field, completion_field;  ///< empty: by what the first line has
    TemplateChoice tokens;                       ///< its separator is PrepareOptions::separator
    std::uint32_t length = 0;                    ///< of the run's sequences
    enum class TooLong { cut, skip, refuse } too_long = TooLong::cut;  ///< what does not fit a sequence
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
    ExampleOptions examples;  ///< unless `field` is named, files are looked at for examples
    std::function<void(const PrepareProgress&)> progress;  ///< called often, from the same thread
};

struct Prepared {
    DataManifest manifest;
    std::uint64_t documents = 0, empty = 0;  ///< empty ones are left out
    std::uint64_t text_bytes = 0, tokens = 0;

    struct Examples {
        std::string chat_template;  ///< as in PackedData
        std::uint64_t rows = 0, targets = 0, padding = 0;  ///< of the tokens of `rows` sequences
        std::uint64_t cut = 0, skipped = 0;                ///< too long
        std::uint64_t without_target = 0;                  ///< left out, too
    };
    std::optional<Examples> examples;  ///< `documents` of them, if the data was made of them
};

/// Writes train-00000.bin, ..., held-out-00000.bin, ..., a copy of tokenizer.json, and, last, manifest.json; each file is complete
/// or absent. Reads in windows: memory does not grow with the text. A document is what the tokenizer's template makes of it.
///
/// Errors: not_found; data_invalid (no text, not UTF-8 where there is a tokenizer, one that is not supported, ...), too_large;
/// usage (a separator that is no added token, no length for examples); disk_full, io_error. Nothing is left behind but shards without a manifest.
Result<Prepared> prepare_data(const PrepareOptions& options);

/// Reads and checks manifest.json of a folder (not the shards' bytes). Errors: not_found, data_invalid, io_error.
Result<DataManifest> read_data_manifest(const std::filesystem::path& folder);

}  // namespace skerry::node
