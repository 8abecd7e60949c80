#pragma once
// run.toml and a data folder become the manifest of a run.

#include <filesystem>
#include <string>

#include "node/data/data_manifest.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

struct RunDraft {
    Manifest manifest;
    std::string data_manifest;          ///< the JSON file
    DataManifest data;
    std::string settings;               ///< times of the coordinator, JSON (coordinator/server/run_host.hpp)
};

/// Reads run.toml (strictly) and the data manifest that it names. `run` is the new run's id.
/// Errors: not_found, config_invalid with file and line, no_data, data_invalid.
Result<RunDraft> load_run_draft(const std::filesystem::path& file, const RunId& run);

}  // namespace skerry::node
