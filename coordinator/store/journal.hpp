#pragma once
// The journal: where the coordinator's state is durable. One for each run.

#include "coordinator/core/rows.hpp"

namespace skerry::coordinator {

/// Applies transactions and remembers them. One thread.
class Journal {
  public:
    virtual ~Journal() = default;

    /// Everything a core starts from. Errors: io_error, malformed (a row that does not parse).
    virtual Result<Image> load() = 0;

    /// All or nothing, durable on return. Errors:
    /// - `stale`: the stored term is not the transaction's: another process took over. Stop.
    /// - `internal`: a check of rows.hpp failed: a bug of ours. Stop.
    /// - `disk_full`: nothing was written; the same transaction may be tried again.
    /// - `io_error`: nothing is known about the disk any more. Exit.
    virtual Result<void> apply(const Tx& tx) = 0;

    /// Records from step `from` on, at most `max` of them and about half a frame of bytes, oldest first.
    virtual Result<std::vector<SignedDecision>> decisions(Step from, std::uint32_t max) = 0;
};

}  // namespace skerry::coordinator
