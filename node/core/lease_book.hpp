#pragma once
// The leases this node holds, and which of their positions went where: not fed yet, in the trainer's queue, in the
// local delta. A delta and its leases live and die together.

#include <set>

#include "node/core/context.hpp"

namespace skerry::node {

class LeaseBook {
  public:
    explicit LeaseBook(Context& context) : context_(context) {}

    /// What the coordinator's ledger says now.
    void told(std::vector<LeaseInfo> leases);
    /// An answer to my request. Whether it is the one waited for.
    bool granted(const LeaseGrant& grant);
    /// A decision was applied: `segments` of mine are credited, and the plan that pinned has ended.
    void credit(const std::vector<Segment>& segments);

    /// Every segment lies in a lease of mine and begins where its credit ends.
    bool covers(const std::vector<Segment>& segments) const;
    const std::vector<LeaseInfo>& leases() const { return leases_; }

    /// Positions that may still be fed.
    std::uint64_t stock() const;
    /// Takes up to `sequences` positions from the stock; they count as fed.
    std::vector<Segment> feed(std::uint64_t sequences);
    /// The first `sequences` positions fed, one segment for each lease.
    std::vector<Segment> consumed(std::uint64_t sequences) const;
    std::uint64_t fed_sequences() const;
    const std::vector<Segment>& fed() const { return fed_; }
    /// The delta is gone (credited, dropped, lost with its trainer): positions that are still mine are stock again.
    void rewind() { fed_.clear(); }
    void restore(std::vector<Segment> fed) { fed_ = std::move(fed); }

    /// Hands leases back: not trained on again, and returned for as long as Orders list them.
    void give_back(const std::vector<Segment>& segments);
    void give_back_all();
    /// All but `kept` and what a plan pins.
    void give_back_others(const std::set<LeaseId>& kept);
    /// "Nothing to be had" was said to a node of another state: asks again at once.
    void new_epoch();
    /// Repeats what must be repeated: returns that the ledger still lists, an unanswered request.
    void pump(bool may_request, std::uint64_t round_sequences);
    /// A new session: say everything again at once.
    void session_opened() { next_request_at_ = next_return_at_ = Mono::min(); }
    /// The last answer was that there is nothing to be had.
    bool nothing_to_be_had() const { return nothing_; }
    Mono next_wake() const;

  private:
    std::uint64_t fed_up_to(const LeaseInfo& lease) const;
    bool usable(const LeaseInfo& lease) const;

    Context& context_;
    std::vector<LeaseInfo> leases_;  ///< ascending ids
    std::vector<Segment> fed_;
    std::set<LeaseId> returning_;
    std::uint64_t request_id_ = 0;
    bool outstanding_ = false;
    bool nothing_ = false;
    std::uint64_t asked_ = 0;
    Mono next_request_at_ = Mono::min();
    Mono next_return_at_ = Mono::min();
};

}  // namespace skerry::node
