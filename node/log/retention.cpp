#include "node/log/retention.hpp"

#include <algorithm>
#include <optional>

namespace skerry::node {
namespace {

/// The step of the newest snapshot at or below `step`, the free one included.
std::optional<Step> base_for(const RetentionInput& input, Step step) {
    std::optional<Step> base;
    if (input.first_is_free && input.first <= step) base = input.first;
    for (const StoredItem& item : input.snapshots) {
        if (item.step <= step) base = item.step;
    }
    return base;
}

}  // namespace

RetentionChoice choose_retention(const RetentionInput& input) {
    RetentionChoice choice;
    choice.bytes_after = input.other_bytes;
    for (const StoredItem& item : input.snapshots) choice.bytes_after += item.bytes;
    for (const StoredItem& item : input.entries) choice.bytes_after += item.bytes;
    if (input.quota_bytes == 0) return choice;

    std::vector<Step> needed{input.floor};
    needed.insert(needed.end(), input.pins.begin(), input.pins.end());
    std::vector<Step> kept_snapshots;
    if (!input.snapshots.empty()) kept_snapshots.push_back(input.snapshots.back().step);
    Step oldest = input.floor;
    bool keep_all = false;
    for (Step step : needed) {
        auto base = base_for(input, step);
        if (!base) {
            keep_all = true;  // nothing at or below it: whatever is here may be what somebody needs
            continue;
        }
        kept_snapshots.push_back(*base);
        oldest = std::min(oldest, *base);
    }
    auto is_kept = [&](Step step) {
        return keep_all || std::find(kept_snapshots.begin(), kept_snapshots.end(), step) !=
                               kept_snapshots.end();
    };

    // Oldest first; at one step the entry goes before the snapshot: an entry without the snapshot
    // below it is of no use to us.
    std::size_t entry = 0;
    std::size_t snapshot = 0;
    while (choice.bytes_after > input.quota_bytes &&
           (entry < input.entries.size() || snapshot < input.snapshots.size())) {
        bool entry_next = entry < input.entries.size() &&
                          (snapshot == input.snapshots.size() ||
                           input.entries[entry].step <= input.snapshots[snapshot].step);
        if (entry_next) {
            const StoredItem& item = input.entries[entry++];
            if (keep_all || item.step >= oldest) continue;
            choice.drop_entries.push_back(item.step);
            choice.bytes_after -= item.bytes;
        } else {
            const StoredItem& item = input.snapshots[snapshot++];
            if (is_kept(item.step)) continue;
            choice.drop_snapshots.push_back(item.step);
            choice.bytes_after -= item.bytes;
        }
    }
    choice.over_quota = choice.bytes_after > input.quota_bytes;
    return choice;
}

}  // namespace skerry::node
