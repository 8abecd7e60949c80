#pragma once
// A backup: one tar file that a person can list. `backup.json` comes first and names every other file with its
// SHA-256; `backup.sha256` is the hash of that.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry::coordinator {

/// One file of a backup.
struct BackupEntry {
    std::string path;               ///< in the backup: coordinator.toml, runs/NAME/run.db, ...
    std::filesystem::path source;   ///< on disk, when it is made
    std::uint32_t mode = 0600;
};

/// A run as the backup holds it; for people, and to compare with what nodes hold.
struct BackupRun {
    std::string name;
    std::string run_id;
    std::uint64_t term = 0;
    std::uint64_t head = 0;
    std::string h_head;
    std::uint64_t tokens = 0;
};

struct BackupInfo {
    std::string coordinator;  ///< its name
    std::string fingerprint;  ///< of its root key
    std::string made;         ///< RFC 3339, UTC
    std::vector<BackupRun> runs;
};

struct BackupResult {
    BackupInfo info;
    std::uint64_t bytes = 0;
    std::string sha256;  ///< of the whole file
};

/// Writes `file` (temporary file beside it, fsync, rename) and reads it back: every hash must fit. An older file of
/// that name is replaced only then. Errors: disk_full, io_error, digest_mismatch, too_large.
Result<BackupResult> write_backup(const std::filesystem::path& file, BackupInfo info, const std::vector<BackupEntry>& entries);

/// Checks every hash and unpacks into `folder`, which must be empty; only names that a backup may have. Errors:
/// not_found, malformed (no backup, cut), digest_mismatch, disk_full, io_error.
Result<BackupResult> read_backup(const std::filesystem::path& file, const std::filesystem::path& folder);

/// Checks every hash, writing nothing.
Result<BackupResult> check_backup(const std::filesystem::path& file);

}  // namespace skerry::coordinator
