#pragma once
// The agent's /metrics page (docs/metrics.md), from the same facts as its status document. Pure but for /proc/self.

#include "node/metrics/node_status.hpp"
#include "protocol/observe/metrics_text.hpp"

namespace skerry::node {

void add_node_metrics(MetricsText& page, const NodeView& view, const StatusFacts& facts, const StatusBook& book);

}  // namespace skerry::node
