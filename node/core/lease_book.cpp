#include "node/core/lease_book.hpp"

#include <algorithm>

namespace skerry::node {

namespace {
constexpr Millis kRepeat{2000};

ControlMessage control(ControlBody body) {
    ControlMessage message;
    message.body = std::move(body);
    return message;
}
}  // namespace

void LeaseBook::told(std::vector<LeaseInfo> leases) {
    std::sort(leases.begin(), leases.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    if (leases == leases_) return;
    leases_ = std::move(leases);
    std::erase_if(returning_, [&](LeaseId id) {
        return std::none_of(leases_.begin(), leases_.end(), [&](const LeaseInfo& lease) { return lease.id == id; });
    });
    if (stock() > 0) nothing_ = false;
    context_.emit(SaveLeases{leases_});
}

bool LeaseBook::granted(const LeaseGrant& grant) {
    if (!outstanding_ || grant.request_id != request_id_) return false;
    outstanding_ = false;
    nothing_ = grant.leases.empty();
    next_request_at_ = context_.now + (nothing_ ? kRepeat : Millis(0));
    for (const LeaseInfo& lease : grant.leases) {
        const bool known = std::any_of(leases_.begin(), leases_.end(), [&](const auto& l) { return l.id == lease.id; });
        if (!known) leases_.push_back(lease);
    }
    if (nothing_) return true;
    std::sort(leases_.begin(), leases_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    context_.emit(SaveLeases{leases_});
    return true;
}

void LeaseBook::credit(const std::vector<Segment>& segments) {
    for (LeaseInfo& lease : leases_) {
        lease.pinned = false;
        for (const Segment& segment : segments)
            if (segment.lease == lease.id) lease.done = std::max(lease.done, segment.to);
    }
    std::erase_if(leases_, [](const LeaseInfo& lease) { return lease.done >= lease.hi; });
}

bool LeaseBook::covers(const std::vector<Segment>& segments) const {
    return std::all_of(segments.begin(), segments.end(), [&](const Segment& segment) {
        return std::any_of(leases_.begin(), leases_.end(), [&](const LeaseInfo& lease) {
            return lease.id == segment.lease && lease.done == segment.from && segment.to <= lease.hi;
        });
    });
}

std::uint64_t LeaseBook::fed_up_to(const LeaseInfo& lease) const {
    std::uint64_t up_to = lease.done;
    for (const Segment& segment : fed_)
        if (segment.lease == lease.id) up_to = std::max(up_to, segment.to);
    return up_to;
}

bool LeaseBook::usable(const LeaseInfo& lease) const {
    if (returning_.contains(lease.id)) return false;
    // Pinned by a plan that binds another delta (of the process before): its part may be credited any moment.
    const bool in_delta =
        std::any_of(fed_.begin(), fed_.end(), [&](const Segment& segment) { return segment.lease == lease.id; });
    return in_delta || !lease.pinned;
}

std::uint64_t LeaseBook::stock() const {
    std::uint64_t sum = 0;
    for (const LeaseInfo& lease : leases_)
        if (usable(lease)) sum += lease.hi - std::min(lease.hi, fed_up_to(lease));
    return sum;
}

std::vector<Segment> LeaseBook::feed(std::uint64_t sequences) {
    std::vector<Segment> out;
    for (const LeaseInfo& lease : leases_) {
        if (sequences == 0) break;
        if (!usable(lease)) continue;
        const std::uint64_t from = fed_up_to(lease);
        const std::uint64_t take = std::min(sequences, lease.hi - std::min(lease.hi, from));
        if (take == 0) continue;
        out.push_back({lease.id, from, from + take});
        sequences -= take;
    }
    fed_.insert(fed_.end(), out.begin(), out.end());
    return out;
}

std::vector<Segment> LeaseBook::consumed(std::uint64_t sequences) const {
    std::vector<Segment> out;
    for (const Segment& segment : fed_) {
        if (sequences == 0) break;
        const std::uint64_t take = std::min(sequences, segment.to - segment.from);
        sequences -= take;
        // Feeding goes upwards within a lease, so what was fed of one in several turns is one segment.
        auto same = std::find_if(out.begin(), out.end(), [&](const Segment& s) { return s.lease == segment.lease; });
        if (same == out.end()) out.push_back({segment.lease, segment.from, segment.from + take});
        else same->to = segment.from + take;
    }
    return out;
}

std::uint64_t LeaseBook::fed_sequences() const {
    std::uint64_t sum = 0;
    for (const Segment& segment : fed_) sum += segment.to - segment.from;
    return sum;
}

void LeaseBook::give_back(const std::vector<Segment>& segments) {
    for (const Segment& segment : segments) returning_.insert(segment.lease);
    next_return_at_ = Mono::min();
}

void LeaseBook::give_back_all() {
    for (const LeaseInfo& lease : leases_) returning_.insert(lease.id);
    next_return_at_ = Mono::min();
}

void LeaseBook::give_back_others(const std::set<LeaseId>& kept) {
    for (const LeaseInfo& lease : leases_) {
        if (lease.pinned || kept.contains(lease.id) || !returning_.insert(lease.id).second) continue;
        next_return_at_ = Mono::min();
    }
}

void LeaseBook::new_epoch() {
    if (!nothing_) return;
    nothing_ = false;
    next_request_at_ = context_.now;
}

void LeaseBook::pump(bool may_request, std::uint64_t round_sequences) {
    if (!returning_.empty() && context_.now >= next_return_at_) {
        context_.emit(Send{control(LeaseReturn{{returning_.begin(), returning_.end()}})});
        next_return_at_ = context_.now + kRepeat;
    }
    if (!may_request || context_.now < next_request_at_) return;
    if (!outstanding_) {
        const std::uint64_t have = stock();
        if (have >= round_sequences) return;
        ++request_id_;
        outstanding_ = true;
        asked_ = 2 * round_sequences - have;
    }
    // Repeated with the same id until it is answered: the coordinator stores the answer.
    context_.emit(Send{control(LeaseRequest{request_id_, asked_})});
    next_request_at_ = context_.now + kRepeat;
}

Mono LeaseBook::next_wake() const {
    Mono wake = Mono::max();
    if (!returning_.empty()) wake = std::min(wake, next_return_at_);
    if ((outstanding_ || nothing_) && next_request_at_ > context_.now) wake = std::min(wake, next_request_at_);
    return wake;
}

}  // namespace skerry::node
