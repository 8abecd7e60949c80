#pragma once
// What a machine's link carries, measured on the transfers that happen anyway. Pure.

#include <cstdint>
#include <map>
#include <vector>

namespace skerry::node {

/// What the kernel counts of one TCP connection.
struct WireCounters {
    int fd = -1;
    std::uint64_t acked_bytes = 0;    ///< of ours, that the other side has
    std::uint64_t busy_us = 0;        ///< time in which some of ours were under way
    std::uint64_t received_bytes = 0;
};

struct LinkRates {
    double up_bytes_per_s = 0;    ///< zero: nothing of size was sent yet
    double down_bytes_per_s = 0;
};

/// Upload: bytes acknowledged over the time in which there were any to acknowledge, so that pauses do not count.
/// The kernel knows no such time for what comes in: download is the busiest second, a lower bound.
class RateMeter {
  public:
    /// Once a second, with all connections that are open. A descriptor whose counters fell is another connection.
    void add(const std::vector<WireCounters>& connections);
    const LinkRates& rates() const { return rates_; }

  private:
    static constexpr std::uint64_t kLeastBytes = 128 * 1024;  ///< of a sample; less says more about latency
    static constexpr double kWeight = 0.25;                   ///< of a new sample
    static constexpr double kFade = 0.999;                    ///< of the busiest second, with each one
    std::map<int, WireCounters> last_;
    LinkRates rates_;
};

}  // namespace skerry::node
