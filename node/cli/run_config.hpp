#pragma once
// run.toml and a data folder become the manifest of a run.

#include <filesystem>
#include <string>

#include "node/data/data_manifest.hpp"
#include "node/model_folder/model_config.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

struct RunDraft {
    Manifest manifest;
    std::string data_manifest;          ///< the JSON file
    DataManifest data;
    std::vector<std::string> file_texts;  ///< of data.files, in their order
    std::filesystem::path base_folder;  ///< S_0 is this model folder's; empty: [model] names none
    ModelConfig model;
    std::string settings;               ///< times of the coordinator, JSON (coordinator/server/run_host.hpp)
};

/// Reads run.toml (strictly), the data manifest and the model folder that it names, of which it reads no weights. `run` is the new run's id.
/// Errors: not_found, config_invalid with file and line, no_data, data_invalid.
Result<RunDraft> load_run_draft(const std::filesystem::path& file, const RunId& run);

}  // namespace skerry::node
