#pragma once
// What of the log a node's disk holds: as its store says, or as read from the files themselves.

#include <functional>
#include <map>
#include <set>

#include "node/log/run_store.hpp"

namespace skerry::sim {

struct DiskFacts {
    struct Entry {
        Digest plan;
        Digest root;
        friend bool operator==(const Entry&, const Entry&) = default;
    };
    std::multimap<Step, Entry> entries;  ///< of the log, and prepared
    std::set<Step> snapshots;
    Step decisions;  ///< below this step
    std::string damaged;  ///< an entry or a snapshot that is there and not whole; only files say so

    bool has(Step step, const Entry& entry) const;
    /// Of any step: a node that is behind votes for a rollback.
    bool has(const Entry& entry) const;
    /// A copy of the decided entry, or of a state above it that counts. A step without chunks is its record.
    bool covers(Step step, const Digest& plan, bool has_chunks, const std::function<bool(Step)>& is_dead_state) const;
};

DiskFacts facts_of(const node::RunStore& store);
/// Reads and verifies every file; what is damaged or missing does not count. Changes nothing.
DiskFacts read_facts(const node::DiskPath& folder, const Manifest& manifest);

}  // namespace skerry::sim
