#pragma once
// Which data positions are free, out with a node, or credited.

#include <map>
#include <vector>

#include "coordinator/core/rows.hpp"

namespace skerry::coordinator {

using Ops = std::vector<Op>;

/// The ledger of positions [0, tail): each is free, leased or credited. What lies from the tail to the limit was
/// never leased. Every change appends the row operations that make it durable. Knows nothing of plans: whoever
/// releases or credits a lease has checked what pins it.
class LeaseLedger {
  public:
    /// `limit`: positions that the run trains on in all.
    LeaseLedger(const Image& image, std::uint64_t limit);

    /// Up to `positions` of them, returned ranges first, then the tail; at most `max_ranges` new leases.
    std::vector<LeaseRow> grant(const NodeId& holder, std::uint64_t positions, std::size_t max_ranges, Step step,
                                Ops& ops);

    /// Whether the segment may be summed: an open lease of this holder, `from` = done, inside it.
    bool fits(const NodeId& holder, const Segment& segment) const;

    /// Credits a segment that fits (asserted); a lease that is used up is closed.
    void credit(const NodeId& holder, const Segment& segment, Ops& ops);

    /// What is not credited of the lease becomes free.
    void release(LeaseId id, Ops& ops);

    /// Credited positions that a rollback undid are fed again.
    void feed_again(std::uint64_t lo, std::uint64_t hi, Ops& ops) { add_free(lo, hi, ops); }
    /// The run trains on so many positions more: others were credited in vain.
    void extend(std::uint64_t positions) { limit_ += positions; }

    const std::map<LeaseId, LeaseRow>& leases() const { return leases_; }
    const LeaseRow* find(LeaseId id) const;
    std::vector<LeaseId> held_by(const NodeId& node) const;

    std::uint64_t available() const { return free_total_ + (limit_ - tail_); }
    std::uint64_t leased() const { return leased_total_; }
    std::uint64_t credited() const { return tail_ - free_total_ - leased_total_; }
    LeaseId next_lease() const { return next_lease_; }
    std::uint64_t tail() const { return tail_; }

    /// I8: no position is in two places. Linear; asserts.
    void check() const;

  private:
    LeaseRow make_lease(const NodeId& holder, std::uint64_t lo, std::uint64_t hi, Step step, Ops& ops);
    void add_free(std::uint64_t lo, std::uint64_t hi, Ops& ops);

    std::uint64_t limit_;
    std::uint64_t tail_;
    LeaseId next_lease_;
    std::map<LeaseId, LeaseRow> leases_;
    std::map<std::uint64_t, std::uint64_t> free_;  ///< lo -> hi, disjoint, not touching
    std::uint64_t free_total_ = 0;
    std::uint64_t leased_total_ = 0;
};

}  // namespace skerry::coordinator
