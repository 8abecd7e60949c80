#pragma once
// What every program of ours says of itself in /metrics: build, process, log lines.

#include "protocol/observe/metrics_text.hpp"

namespace skerry {

/// Reads /proc/self: a few small reads, on the io thread.
void add_process_metrics(MetricsText& page, std::string_view program);

}  // namespace skerry
