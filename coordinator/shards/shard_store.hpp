#pragma once
// Data shards by hash: <folder>/<sha256>.bin, and <sha256>.part while one is pushed.

#include <filesystem>

#include "protocol/base/bytes.hpp"

namespace skerry::coordinator {

struct ShardPresence {
    bool complete = false;
    std::uint64_t bytes = 0;  ///< of the file, or of what was pushed so far
};

/// Every call may wait for the disk; no state but the files, so any one thread at a time for each shard.
class ShardStore {
  public:
    explicit ShardStore(std::filesystem::path folder) : folder_(std::move(folder)) {}

    Result<ShardPresence> presence(const Digest& shard) const;

    /// Appends a block: `offset` must be what `presence` says. The block that completes `total_bytes` is followed by
    /// fsync, a check of the hash and the rename. Errors: stale (another offset is wanted), digest_mismatch (what was
    /// pushed is deleted), too_large, disk_full, io_error.
    Result<ShardPresence> append(const Digest& shard, std::uint64_t offset, ByteSpan block, std::uint64_t total_bytes);

    /// At most `bytes` from `offset`; fewer at the end. Errors: not_found, too_large, io_error.
    Result<Bytes> read(const Digest& shard, std::uint64_t offset, std::uint32_t bytes) const;

    /// SHA-256 of each block of kMaxShardBlockBytes, one after the other; empty for a shard beyond kMaxShardBlockHashes.
    /// Made once, by reading all of it, and kept beside it. Errors: not_found, digest_mismatch (the file has rotted), io_error.
    Result<Bytes> block_hashes(const Digest& shard) const;

    std::filesystem::path path_of(const Digest& shard) const { return folder_ / (shard.hex() + ".bin"); }

  private:
    std::filesystem::path blocks_of(const Digest& shard) const { return folder_ / (shard.hex() + ".blocks"); }
    std::filesystem::path part_of(const Digest& shard) const { return folder_ / (shard.hex() + ".part"); }
    Result<void> finish(const Digest& shard) const;

    std::filesystem::path folder_;
};

}  // namespace skerry::coordinator
