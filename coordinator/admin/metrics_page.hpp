#pragma once
// The coordinator's /metrics page (docs/metrics.md). Pure.

#include "coordinator/admin/status_json.hpp"
#include "coordinator/shards/shard_desk.hpp"
#include "coordinator/store/journal_counters.hpp"

namespace skerry::coordinator {

/// One run as the page shows it.
struct RunMetrics {
    RunStatus status;
    JournalCounters journal;
    std::uint64_t store_bytes = 0;
    std::uint64_t bundles = 0;
    ShardFacts shards;
};

/// `wall_unix_s`: now.
void add_coordinator_metrics(MetricsText& page, const std::vector<RunMetrics>& runs, const CoordinatorInfo& info, std::int64_t wall_unix_s);

}  // namespace skerry::coordinator
