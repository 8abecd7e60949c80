#pragma once
// `data prepare`: text files to a folder of byte-token shards with a manifest.

#include <filesystem>
#include <optional>
#include <vector>

#include "node/data/data_manifest.hpp"

namespace skerry::node {

/// Without a held-out text: of every 20 blocks of this size the tenth is held out (of a text of fewer than ten
/// blocks its last twentieth).
inline constexpr std::uint64_t kHeldOutBlock = 64 * 1024;

struct PrepareOptions {
    std::vector<std::filesystem::path> texts;        ///< joined in this order
    std::optional<std::filesystem::path> held_out;   ///< a text of its own, instead of blocks of `texts`
    std::filesystem::path out;                       ///< folder; made if it is not there
    std::uint64_t shard_tokens = std::uint64_t{1} << 25;  ///< longest shard: 64 MiB
};

/// Writes train-00000.bin, ..., held-out-00000.bin, ... and, last, manifest.json; each file is complete or absent.
/// Reads in windows: memory does not grow with the text.
///
/// Errors: not_found; data_invalid (empty, a folder, or binary: NUL bytes or more than 1 % control characters);
/// disk_full, io_error. Nothing is left behind but shards without a manifest.
Result<DataManifest> prepare_data(const PrepareOptions& options);

/// Reads and checks manifest.json of a folder (not the shards' bytes). Errors: not_found, data_invalid, io_error.
Result<DataManifest> read_data_manifest(const std::filesystem::path& folder);

}  // namespace skerry::node
