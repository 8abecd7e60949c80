#pragma once
// Data shards: by hash, into the cache folder. From other nodes where the coordinator names some, over the data plane;
// else from the coordinator, on a TLS connection of their own.

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "node/control/coordinator_session.hpp"
#include "node/data/shard_peers.hpp"
#include "protocol/base/token_bucket.hpp"

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
    std::chrono::milliseconds peer_patience{10000};   ///< for one block of another node; then the next one is asked
    std::chrono::milliseconds link_patience{8000};    ///< until there is a connection to a node that was named
    std::chrono::milliseconds later_pause{200};       ///< when all say that they have not got the next block yet
    std::chrono::milliseconds report_every{8000};     ///< to the coordinator, while blocks come from others
    std::chrono::milliseconds forgives_after{60000};  ///< a node that did not give is asked again
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

    /// Of whom blocks are asked first; none: the coordinator alone.
    void set_peers(ShardPeers* peers) { peers_ = peers; }
    /// The run's files in the order of Report.shards; of the base state the place where it ends up, too.
    void set_files(std::vector<ShardInfo> files, std::filesystem::path base);
    /// What is held whole, for Report.shards. A file counts by its size: whoever gets a block of it checks that.
    Bytes bitmap() const;
    /// Where a shard of the run is, as far as it is here.
    std::optional<ShardPlace> look(const Digest& sha256) const;

    /// Without a network: whether the file is there and whole. Runs on the calling thread; reads all of it.
    static Result<void> verify_file(const std::filesystem::path& file, const ShardInfo& shard);
    static std::filesystem::path shard_path(const std::filesystem::path& folder, const Digest& sha256);

    /// The owner's limit on what comes in, from now on; 0: none. Closed: nothing is asked for.
    void limit(std::uint64_t bytes_per_s, bool closed);
    /// What others have fetched counts, too.
    void charge(std::uint64_t bytes);

    std::uint64_t fetched_bytes() const { return fetched_bytes_; }
    std::uint64_t from_peers_bytes() const { return from_peers_bytes_; }
    std::uint64_t corrupted() const { return corrupted_; }

  private:
    using Clock = std::chrono::steady_clock;
    /// One shard on its way.
    struct Fetch {
        ShardInfo shard;
        std::filesystem::path part;
        bool ask = false;          ///< others first
        std::uint64_t offset = 0;  ///< bytes that are here
        std::size_t turn = 0;
        std::map<NodeId, Clock::time_point> failed;  ///< who did not give, until when that counts
        std::map<NodeId, Clock::time_point> named;   ///< since when there ought to be a connection
    };
    Task<Result<void>> obtain(ShardInfo shard, std::filesystem::path file);
    Task<Result<void>> fetch_rest(Fetch& fetch);
    Task<> room();
    Task<Result<void>> fetch_once(Fetch& fetch);
    Task<Result<void>> measure(Fetch& fetch);
    Task<Result<void>> take(Fetch& fetch, Bytes data);
    Task<Result<void>> from_peers(Fetch& fetch, ShardSources sources);
    Task<Result<void>> block_of(Fetch& fetch, const ShardSources& sources, NodeId peer);
    std::vector<NodeId> usable(Fetch& fetch, const std::vector<NodeId>& named) const;
    static std::vector<NodeId> still_failed(Fetch& fetch);

    asio::any_io_executor io_;
    asio::any_io_executor disk_;
    CoordinatorPeer peer_;
    TlsContext tls_;
    std::filesystem::path folder_;
    RunId run_;
    ShardFetchConfig config_;
    TokenBucket bucket_;
    bool closed_ = false;
    std::set<Digest> busy_;
    std::set<Digest> verified_;
    std::uint64_t seq_ = 0;
    ShardPeers* peers_ = nullptr;
    std::vector<ShardInfo> files_;
    std::filesystem::path base_;
    std::set<Digest> held_;  ///< of files_: here whole, as far as was seen last
    std::map<Digest, std::uint64_t> coming_;  ///< bytes of parts that are here
    std::uint64_t fetched_bytes_ = 0;
    std::uint64_t from_peers_bytes_ = 0;
    std::uint64_t corrupted_ = 0;
};

}  // namespace skerry::node
