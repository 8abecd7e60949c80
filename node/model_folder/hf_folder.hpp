#pragma once
// Hugging Face model folders out and in: config.json, generation_config.json, weights, tokenizer files.

#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {

struct FolderOptions {
    std::string provenance;                   ///< goes into README.md of the folder: run, step, digest
    std::map<std::string, std::string> files; ///< by name, written as they are: tokenizer.json, generation_config.json, ...
    bool bf16 = false;                        ///< weights rounded to nearest even; float32 otherwise
    std::uint64_t file_bytes = 5'000'000'000; ///< a weight file is not larger, unless one tensor is
};

/// Writes a folder that `transformers` loads with `from_pretrained`. `theta` [P] float32 in canonical order, only read
/// (it may be a mapped file).
///
/// Files are written beside the folder and renamed in one piece; an old folder of that name is replaced only if it was
/// written by this function. Errors: bad_shape, not_finite, already_exists, disk_full, io_error.
Result<void> export_model_folder(const std::filesystem::path& folder, const ModelConfig& config,
                                 std::span<const float> theta, const FolderOptions& options);

/// The config of a folder: see parse_hf_config. Errors: not_found, config_invalid, too_large.
Result<ModelConfig> read_model_folder_config(const std::filesystem::path& folder);

/// Fills `theta` [P] from model.safetensors, or from the files of model.safetensors.index.json; F32, F16 or BF16.
/// Errors: those of FolderWeights. `theta` is partly written then.
Result<void> import_model_folder(const std::filesystem::path& folder, const ModelConfig& config, std::span<float> theta);

}  // namespace skerry::node
