#pragma once
// Who gets a data shard from the coordinator, and who from other nodes. Pure: no clock, no file, no socket.

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "protocol/base/bytes.hpp"
#include "protocol/base/ids.hpp"
#include "protocol/base/units.hpp"

namespace skerry::coordinator {

struct ShardDeskConfig {
    Millis seat{10'000};    ///< a node that is served and asks for nothing so long has lost its seat
    Millis settles{60'000}; ///< one that was served to the end will say that it holds it within this time
    Millis fetches{20'000}; ///< one that asked so long ago may have a part
};

/// What was sent from here, for `status`.
struct ShardFacts {
    std::uint64_t files = 0;       ///< that the run has
    std::uint64_t sent_bytes = 0;  ///< of all of them
    double most_copies = 0;        ///< of one: bytes sent by its size
    std::uint64_t referred = 0;    ///< questions answered with other nodes
};

/// Of one run. A shard is served to one node at a time; the others are told to ask that one, and those who hold it
/// already. A node whom nobody else gives it is served all the same: last, but in any case.
class ShardDesk {
  public:
    /// The run's files with their sizes: those of the data manifest in its order, then the base state if it has one.
    explicit ShardDesk(std::vector<std::pair<Digest, std::uint64_t>> files, ShardDeskConfig config = {});

    /// What the node says that it holds (Report.shards).
    void report(const NodeId& node, ByteSpan bitmap);
    /// Its session ended: it may be dead, and asks nobody.
    void gone(const NodeId& node);

    struct Answer {
        bool serve = false;
        std::vector<NodeId> sources;  ///< if not: whom to ask, the likeliest first; at most kMaxShardSources
    };
    /// `failed`: who did not give it to the asker.
    Answer ask(const Digest& shard, const NodeId& node, const std::vector<NodeId>& failed, Mono now);
    /// A block was given to the node; `end`: offset behind it. Zero: a node that cannot give it to others.
    void sent(const Digest& shard, const NodeId& node, std::uint64_t bytes, std::uint64_t end, Mono now);

    ShardFacts facts() const;

  private:
    struct Shard {
        std::uint64_t bytes = 0;
        std::uint64_t sent = 0;
        std::set<NodeId> holders;
        std::map<NodeId, Mono> seats;    ///< served; until when that stands
        std::map<NodeId, Mono> fetchers; ///< when they asked last
    };
    void forget_old(Shard& shard, Mono now) const;

    ShardDeskConfig config_;
    std::vector<Digest> order_;
    std::map<Digest, Shard> shards_;
    std::uint64_t sent_ = 0;
    std::uint64_t referred_ = 0;
};

/// The files that a data manifest names (docs/data.md), with their sizes; none of one that cannot be read.
std::vector<std::pair<Digest, std::uint64_t>> files_of(ByteSpan data_manifest);

}  // namespace skerry::coordinator
