#pragma once
// The data shards of a run, as its row names them.

#include "coordinator/core/rows.hpp"
#include "coordinator/shards/shard_desk.hpp"

namespace skerry::coordinator {

/// With sizes, in the order of Report.shards: the files of the data manifest, then the base state if there is one.
std::vector<std::pair<Digest, std::uint64_t>> shards_of(const RunRow& run);

}  // namespace skerry::coordinator
