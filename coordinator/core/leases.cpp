#include "coordinator/core/leases.hpp"

#include <algorithm>

#include "protocol/base/assert.hpp"

namespace skerry::coordinator {

LeaseLedger::LeaseLedger(const Image& image, std::uint64_t limit)
    : limit_(std::max(limit, image.meta.tail)), tail_(image.meta.tail), next_lease_(image.meta.next_lease) {
    for (const LeaseRow& lease : image.leases) {
        leases_.emplace(lease.id, lease);
        leased_total_ += lease.hi - lease.done;
    }
    for (auto [lo, hi] : image.free_ranges) {
        free_.emplace(lo, hi);
        free_total_ += hi - lo;
    }
    check();
}

std::vector<LeaseRow> LeaseLedger::grant(const NodeId& holder, std::uint64_t positions, std::size_t max_ranges,
                                         Step step, Ops& ops) {
    std::vector<LeaseRow> granted;
    while (positions > 0 && granted.size() < max_ranges && !free_.empty()) {
        auto [lo, hi] = *free_.begin();
        const std::uint64_t take = std::min(positions, hi - lo);
        free_.erase(free_.begin());
        ops.push_back(op::DropFree{lo});
        if (lo + take < hi) {
            free_.emplace(lo + take, hi);
            ops.push_back(op::PutFree{lo + take, hi});
        }
        free_total_ -= take;
        positions -= take;
        granted.push_back(make_lease(holder, lo, lo + take, step, ops));
    }
    const std::uint64_t take = std::min(positions, limit_ - tail_);
    if (take > 0 && granted.size() < max_ranges) {
        granted.push_back(make_lease(holder, tail_, tail_ + take, step, ops));
        tail_ += take;
    }
    return granted;
}

LeaseRow LeaseLedger::make_lease(const NodeId& holder, std::uint64_t lo, std::uint64_t hi, Step step, Ops& ops) {
    LeaseRow lease{next_lease_, lo, hi, lo, holder, step};
    next_lease_ = next_lease_.next();
    leases_.emplace(lease.id, lease);
    leased_total_ += hi - lo;
    ops.push_back(op::PutLease{lease});
    return lease;
}

bool LeaseLedger::fits(const NodeId& holder, const Segment& segment) const {
    const LeaseRow* lease = find(segment.lease);
    return lease && lease->holder == holder && segment.from == lease->done && segment.from < segment.to &&
           segment.to <= lease->hi;
}

void LeaseLedger::credit(const NodeId& holder, const Segment& segment, Ops& ops) {
    SKERRY_ASSERT(fits(holder, segment));  // I6
    LeaseRow& lease = leases_.at(segment.lease);
    lease.done = segment.to;
    leased_total_ -= segment.to - segment.from;
    ops.push_back(op::CreditLease{segment.lease, holder, segment.from, segment.to});
    if (lease.done != lease.hi) return;
    ops.push_back(op::DropLease{lease.id});
    leases_.erase(lease.id);
}

void LeaseLedger::release(LeaseId id, Ops& ops) {
    auto at = leases_.find(id);
    SKERRY_ASSERT(at != leases_.end());
    const LeaseRow lease = at->second;
    leases_.erase(at);
    ops.push_back(op::DropLease{id});
    leased_total_ -= lease.hi - lease.done;
    add_free(lease.done, lease.hi, ops);
}

void LeaseLedger::add_free(std::uint64_t lo, std::uint64_t hi, Ops& ops) {
    if (lo == hi) return;
    free_total_ += hi - lo;
    auto after = free_.lower_bound(lo);
    if (after != free_.end() && after->first == hi) {
        hi = after->second;
        ops.push_back(op::DropFree{after->first});
        after = free_.erase(after);
    }
    if (after != free_.begin()) {
        auto before = std::prev(after);
        SKERRY_ASSERT(before->second <= lo);  // I8
        if (before->second == lo) {
            lo = before->first;
            ops.push_back(op::DropFree{lo});
            free_.erase(before);
        }
    }
    free_.emplace(lo, hi);
    ops.push_back(op::PutFree{lo, hi});
}

const LeaseRow* LeaseLedger::find(LeaseId id) const {
    auto at = leases_.find(id);
    return at == leases_.end() ? nullptr : &at->second;
}

std::vector<LeaseId> LeaseLedger::held_by(const NodeId& node) const {
    std::vector<LeaseId> held;
    for (const auto& [id, lease] : leases_)
        if (lease.holder == node) held.push_back(id);
    return held;
}

void LeaseLedger::check() const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges(free_.begin(), free_.end());
    for (const auto& [id, lease] : leases_) {
        SKERRY_ASSERT(lease.lo <= lease.done && lease.done < lease.hi && id < next_lease_);  // I8
        ranges.emplace_back(lease.done, lease.hi);
    }
    std::sort(ranges.begin(), ranges.end());
    std::uint64_t end = 0;
    for (auto [lo, hi] : ranges) {
        SKERRY_ASSERT(lo >= end && lo < hi);  // I8
        end = hi;
    }
    SKERRY_ASSERT(end <= tail_ && tail_ <= limit_);  // I8
}

}  // namespace skerry::coordinator
