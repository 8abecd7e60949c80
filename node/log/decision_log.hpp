#pragma once
// The file of signed decisions: appended, fsynced, chained.

#include <optional>
#include <vector>

#include "node/log/file.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// What the store needs of a decision without reading the file.
struct DecisionRow {
    Step step;
    EntryKind kind = EntryKind::commit;
    Digest plan_digest;
    Digest root;
    OuterHyper outer;
    Step rollback_to;
    std::uint64_t tokens_after = 0;
    Digest h_after;
    Digest body;               ///< SHA-256 of the decision body
    std::uint64_t offset = 0;  ///< of the record's payload
    std::uint32_t bytes = 0;
};

/// Gap-free from the run's first step. After a failed fsync the next append writes the whole file
/// anew. Records are u32 length, SHA-256 of the payload, payload. append() from one thread at a
/// time; reading is safe beside it only on the same thread or after it (RunStore guards).
class DecisionLog {
  public:
    /// Reads all of it. A torn or damaged record ends the log there: it and what follows is cut off
    /// (and asked of the coordinator again). errors  digest_mismatch: whole records that do not
    /// chain: another run's file.
    static Result<DecisionLog> open(const DiskPath& path, Step first, const Digest& h_first);
    /// The same without changing the file.
    static Result<DecisionLog> open_read_only(const DiskPath& path, Step first,
                                              const Digest& h_first);

    Step first() const { return first_; }
    Step next() const { return Step{first_.value + rows_.size()}; }
    /// h_k for first() <= k <= next().
    Digest chain(Step k) const;
    /// Null if step k is not in the log.
    const DecisionRow* row(Step k) const;
    /// Records from `from` on, at most `count`. errors  not_found below first() or above next().
    Result<std::vector<SignedDecision>> read(Step from, std::size_t count) const;
    /// Bytes that open() cut off.
    std::uint64_t cut_bytes() const { return cut_bytes_; }

    /// errors  stale: not step next(); digest_mismatch: h_after does not follow; malformed. After
    /// disk_full or io_error the file is as it was.
    Result<void> append(const SignedDecision& decision);

  private:
    static Result<DecisionLog> load(File file, Step first, const Digest& h_first);
    Result<DecisionRow> check(const SignedDecision& decision) const;
    Result<void> write_record(ByteSpan record);
    Result<void> write_anew(ByteSpan record);

    File file_;
    Step first_;
    Digest h_first_;
    std::uint64_t end_ = 0;
    std::uint64_t cut_bytes_ = 0;
    bool sync_failed_ = false;
    std::vector<DecisionRow> rows_;
};

/// A decision record as stored; also what `Decisions` could be rebuilt from.
Bytes to_bytes(const SignedDecision& decision);
Result<SignedDecision> parse_signed_decision(ByteSpan payload);

}  // namespace skerry::node
