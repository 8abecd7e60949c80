#pragma once
// The files beside the weights in what a run exports: its owner's, as they came, or a tokenizer of bytes.

#include <filesystem>
#include <map>
#include <string>

#include "node/data/data_manifest.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

/// Where a node keeps one of its run's files: by hash, in the folder that its data shards lie in.
std::filesystem::path kept_folder_file(const std::filesystem::path& shards, const FolderFile& file);

/// Its text, which has the size and the hash that the manifest names.
/// Errors: not_found: not fetched yet; digest_mismatch: damaged; io_error.
Result<std::string> read_folder_file(const std::filesystem::path& shards, const FolderFile& file);

/// By name, everything that belongs beside config.json and the weights. Where the data's tokens are bytes, a tokenizer that
/// says so comes along (`max_positions`: of the model), unless the owner gave one.
/// Errors: those of read_folder_file.
Result<std::map<std::string, std::string>> export_files(const std::filesystem::path& shards, const DataManifest& data, unsigned max_positions);

}  // namespace skerry::node
