#pragma once
// Data shards between nodes, as the fetching side and the giving side see each other.

#include <chrono>
#include <filesystem>

#include "protocol/base/bytes.hpp"
#include "protocol/base/ids.hpp"
#include "protocol/base/result.hpp"
#include "protocol/base/task.hpp"

namespace skerry::node {

/// Other nodes, of whom blocks can be asked. Belongs to the io thread.
class ShardPeers {
  public:
    virtual ~ShardPeers() = default;
    /// Whether there is a connection.
    virtual bool is_up(const NodeId& peer) const = 0;
    /// One block of kMaxShardBlockBytes, as the peer gives it; nothing of it is checked. Errors: bad_state: it has not
    /// got that one yet; not_found: it has not got the shard; timed_out; closed.
    virtual Task<Result<Bytes>> get(NodeId peer, Digest shard, std::uint32_t block, std::chrono::milliseconds patience) = 0;
};

/// Where this node has a shard, or a part of it.
struct ShardPlace {
    std::filesystem::path file;
    std::uint64_t here = 0;   ///< bytes from its beginning
    std::uint64_t bytes = 0;  ///< of all of it
};

}  // namespace skerry::node
