#pragma once
// Hugging Face model folders: config.json, generation_config.json, model.safetensors, and for byte vocabularies a tokenizer.

#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {

/// Writes a folder that `transformers` loads with `from_pretrained`. `theta` [P] float32 in canonical order, only read
/// (it may be a mapped file). `provenance` goes into README.md of the folder: run, step, digest.
///
/// Files are written beside the folder and renamed in one piece; an old folder of that name is replaced only if it was
/// written by this function. Errors: bad_shape, not_finite, already_exists, disk_full, io_error.
Result<void> export_model_folder(const std::filesystem::path& folder, const ModelConfig& config,
                                 std::span<const float> theta, const std::string& provenance);

/// The config of a folder. Keys that do not change the decoder are ignored; those that do (another architecture, biases,
/// scaled rotary embedding) are refused. Errors: not_found, config_invalid, too_large.
Result<ModelConfig> read_model_folder_config(const std::filesystem::path& folder);

/// Fills `theta` [P] from model.safetensors, or from the files of model.safetensors.index.json; F32, F16 or BF16.
/// Reads in windows. Errors: not_found; data_invalid (damaged, a tensor missing, twice or of another shape);
/// not_finite; io_error. `theta` is partly written then.
Result<void> import_model_folder(const std::filesystem::path& folder, const ModelConfig& config, std::span<float> theta);

}  // namespace skerry::node
