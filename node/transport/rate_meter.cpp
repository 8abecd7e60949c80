#include "node/transport/rate_meter.hpp"

#include <algorithm>

namespace skerry::node {

void RateMeter::add(const std::vector<WireCounters>& connections) {
    std::uint64_t acked = 0, busy_us = 0, received = 0;
    std::map<int, WireCounters> now;
    for (const WireCounters& one : connections) {
        now[one.fd] = one;
        const auto at = last_.find(one.fd);
        const bool same = at != last_.end() && one.acked_bytes >= at->second.acked_bytes && one.received_bytes >= at->second.received_bytes &&
                          one.busy_us >= at->second.busy_us;
        const WireCounters before = same ? at->second : WireCounters{};
        acked += one.acked_bytes - before.acked_bytes;
        received += one.received_bytes - before.received_bytes;
        // Connections share the link: what counts is how long it was in use, not the sum.
        busy_us = std::max(busy_us, one.busy_us - before.busy_us);
    }
    last_ = std::move(now);
    rates_.down_bytes_per_s *= kFade;
    if (received >= kLeastBytes) rates_.down_bytes_per_s = std::max(rates_.down_bytes_per_s, static_cast<double>(received));
    if (acked < kLeastBytes) return;
    const double up = static_cast<double>(acked) / (static_cast<double>(std::max<std::uint64_t>(busy_us, 1000)) / 1e6);
    double& mean = rates_.up_bytes_per_s;
    mean = mean == 0 ? up : mean + kWeight * (up - mean);
}

}  // namespace skerry::node
