#pragma once
// What of the log may go. Pure.
//
// Kept always: the newest snapshot; one at or below the floor, with all entries from it on; the
// same for every pin (a step from which a joining node fetches). S_first counts as a snapshot when
// the seed, or the base of a fork, gives it. Everything else goes oldest first, and only while more than the quota is used.
// A quota of 0 is no quota.

#include <cstdint>
#include <span>
#include <vector>

#include "protocol/base/ids.hpp"

namespace skerry::node {

struct StoredItem {
    Step step;
    std::uint64_t bytes = 0;
};

struct RetentionInput {
    std::vector<StoredItem> snapshots;  ///< ascending
    std::vector<StoredItem> entries;    ///< ascending
    std::uint64_t other_bytes = 0;      ///< state, contributions, decisions, ...
    std::uint64_t quota_bytes = 0;
    Step floor;
    std::vector<Step> pins;
    Step first;                 ///< first step of the run
    bool first_is_free = true;  ///< S_first comes from the seed or the base
};

struct RetentionChoice {
    std::vector<Step> drop_snapshots;
    std::vector<Step> drop_entries;
    std::uint64_t bytes_after = 0;
    bool over_quota = false;  ///< what must be kept is more than the quota
};

RetentionChoice choose_retention(const RetentionInput& input);

}  // namespace skerry::node
