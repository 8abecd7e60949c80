#pragma once
// Data shards: by hash, from the coordinator, on a TLS connection of their own, into the cache folder.

#include <filesystem>
#include <set>

#include "node/control/coordinator_session.hpp"

namespace skerry::node {

/// One file of the data manifest.
struct ShardInfo {
    Digest sha256;
    std::uint64_t bytes = 0;
};

struct ShardFetchConfig {
    std::chrono::milliseconds dial_patience{5000};
    std::chrono::milliseconds block_patience{20000};
    std::chrono::milliseconds retry_after{1000};
    int tries = 0;  ///< in a row without a byte; 0: for ever
};

/// The cache: `<folder>/<sha256>.bin`, and `<sha256>.part` while it comes. A complete file is verified once for each
/// process (its hash is remembered); a corrupted one is deleted and fetched again.
///
/// Belongs to the io thread; hashing and writing run on `disk`, an executor of another thread.
class ShardFetch {
  public:
    ShardFetch(asio::any_io_executor io, asio::any_io_executor disk, CoordinatorPeer peer, std::filesystem::path folder,
               RunId run, ShardFetchConfig config = {});

    /// The path of the verified file; fetches what is missing, from where an earlier try ended. A connection that is
    /// lost is dialled again. Errors: refusals as in CoordinatorSession; disk_full, io_error; digest_mismatch if the
    /// coordinator itself has other bytes, twice.
    Task<Result<std::filesystem::path>> fetch(ShardInfo shard);

    /// Without a network: whether the file is there and whole. Runs on the calling thread; reads all of it.
    static Result<void> verify_file(const std::filesystem::path& file, const ShardInfo& shard);
    static std::filesystem::path shard_path(const std::filesystem::path& folder, const Digest& sha256);

    std::uint64_t fetched_bytes() const { return fetched_bytes_; }
    std::uint64_t corrupted() const { return corrupted_; }

  private:
    Task<Result<void>> obtain(ShardInfo shard, std::filesystem::path file);
    Task<Result<void>> fetch_rest(ShardInfo shard, std::filesystem::path part);
    Task<Result<void>> fetch_once(ShardInfo shard, std::filesystem::path part);

    asio::any_io_executor io_;
    asio::any_io_executor disk_;
    CoordinatorPeer peer_;
    TlsContext tls_;
    std::filesystem::path folder_;
    RunId run_;
    ShardFetchConfig config_;
    std::set<Digest> busy_;
    std::set<Digest> verified_;
    std::uint64_t seq_ = 0;
    std::uint64_t fetched_bytes_ = 0;
    std::uint64_t corrupted_ = 0;
};

}  // namespace skerry::node
