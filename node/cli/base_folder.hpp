#pragma once
// A Hugging Face folder that a run begins with ([model] from in run.toml): what it must have, and what goes to the coordinator.

#include <filesystem>

#include "node/cli/channel.hpp"
#include "node/cli/run_config.hpp"
#include "node/model_folder/model_config.hpp"

namespace skerry::node {

/// What is wrong with the folder, before anything is copied: reads config.json and the headers of the weight files.
/// Errors: not_found, config_invalid, data_invalid: all with the name of what is missing or not supported.
Result<ModelConfig> open_base_folder(const std::filesystem::path& folder);

/// The run's text is written in the folder's tokens. Errors: data_invalid.
Result<void> same_tokenizer(const std::filesystem::path& folder, const DataManifest& data);

/// Adds to the draft the files that exports of the run contain: the folder's, where there is one, else those beside the data's
/// manifest. Changes the data manifest of the run. Errors: io_error, too_large.
Result<void> attach_files(RunDraft& draft, const std::filesystem::path& data_folder);

/// The files of kFolderFiles that lie in a folder. Errors: io_error, too_large.
Result<std::vector<std::string>> folder_texts(const std::filesystem::path& folder);

/// The folder's weights as float32 to the coordinator, as S_0. Returns what names it (Manifest::initial_root).
/// Errors: those of reading the weights; disk_full, io_error; the coordinator's.
Result<Digest> send_folder(Channel& channel, const std::filesystem::path& folder, const ModelConfig& model);

}  // namespace skerry::node
