#pragma once
// `skerry-coordinator backup` and `restore`.

#include <filesystem>

#include "protocol/base/result.hpp"

namespace skerry::coordinator {

/// Asks the coordinator that runs in `dir` for copies of its journals, checks them, and packs them with configuration,
/// keys (not the root key) and administrators' tokens into one file. Prints what it wrote. Errors: unreachable if no
/// coordinator runs there; those of write_backup and check_copy.
Result<void> backup_command(const std::filesystem::path& dir, const std::filesystem::path& file);

/// Makes the coordinator's folder from a backup; `dir` must not exist, or be empty. What the original gave out since the
/// backup is never given out again (terms, epochs, lease ids). Errors: already_exists; those of read_backup, check_copy.
Result<void> restore_command(const std::filesystem::path& file, const std::filesystem::path& dir);

}  // namespace skerry::coordinator
