#pragma once
// `skerry verify DIR`: recompute everything that a run folder claims, without changing it.

#include <optional>
#include <string>
#include <vector>

#include "node/log/state_files.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

struct VerifyOptions {
    std::optional<PublicKey> service_key;  ///< checks the coordinator's signatures too
    DiskPath scratch;  ///< where the replayed state is built: 8 bytes per parameter; empty: beside
                       ///< the folder
    bool replay = true;
};

struct VerifiedState {
    Step step;
    Digest digest;  ///< recomputed
    StateRoots roots;  ///< what the digest is made of
};

struct VerifyReport {
    Step first;
    Step head;  ///< decisions below this step
    Digest h_head;
    Step replayed_from;                 ///< snapshot (or seed, or base) the replay began with
    std::vector<VerifiedState> states;  ///< one for each step from replayed_from to head
    std::size_t entries = 0;
    std::size_t snapshots = 0;
    std::uint64_t credited_sequences = 0;
    std::vector<std::string> problems;  ///< empty: all is well
};

/// errors  not_found: no run folder there; other errors where it cannot even begin. What is wrong
/// inside is a problem in the report. Safe beside a running agent, though pruning may then show up
/// as a gap.
Result<VerifyReport> verify_run(const DiskPath& folder, const VerifyOptions& options);

}  // namespace skerry::node
