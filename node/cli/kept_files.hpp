#pragma once
// Files that a coordinator keeps by their SHA-256: data shards, and the state that a fork begins with.

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "node/cli/channel.hpp"
#include "node/cli/run_config.hpp"

namespace skerry::node {

struct KeptFile {
    Digest sha256;
    std::uint64_t bytes = 0;
};

/// What it has of each: a list of {"sha256", "complete", "bytes"}.
Result<nlohmann::json> ask_files(Channel& channel, const std::vector<Digest>& files);
/// Sends what it lacks of a file; `here` is its answer. Returns the bytes sent. Errors: not_found; data_invalid: shorter
/// than it should be; digest_mismatch: other bytes than its name says.
Result<std::uint64_t> send_file(Channel& channel, const std::filesystem::path& path, const KeptFile& file, const nlohmann::json& here);

/// Errors: no_data: some of it is not there.
Result<void> has_data(Channel& channel, const DataManifest& data);
/// Errors: already_exists: the coordinator has a run of that name. To be asked before anything is copied.
Result<void> name_is_free(Channel& channel, const std::string& name);
/// Small files, those that the coordinator does not have.
Result<void> send_texts(Channel& channel, const std::vector<std::string>& texts);
/// Makes the run of a draft, whose small files it sends. Prints a line about it, unless JSON is wanted.
Result<nlohmann::json> create_run(const Context& context, Channel& channel, const RunDraft& draft, bool start);
void print_next(const Manifest& made);

}  // namespace skerry::node
