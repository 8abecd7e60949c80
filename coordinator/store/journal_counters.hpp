#pragma once
// What the journal of a run did since the process started: for /metrics. Belongs to the io thread.

#include <chrono>
#include <optional>

#include "protocol/observe/metrics_text.hpp"

namespace skerry::coordinator {

struct JournalCounters {
    std::uint64_t transactions = 0;  ///< durable
    std::uint64_t failed = 0;        ///< disk full, mostly; tried again
    SecondsHistogram seconds;        ///< from handing a transaction over until it was durable
    std::uint64_t decisions = 0;
    SecondsHistogram rounds;         ///< between one decision and the next
    std::optional<std::chrono::steady_clock::time_point> last_decision;
};

}  // namespace skerry::coordinator
