#pragma once
// The small files of a run folder. They do not need an opened store: a node reads `seen` before its first Hello,
// when it knows nothing else. Each is replaced whole (temporary file, fsync, rename) and refused unless whole.

#include <optional>
#include <string>
#include <vector>

#include "node/log/file.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// What a node must know before it speaks again.
struct Seen {
    Term term;
    Epoch epoch;
    Incarnation incarnation;
    Bytes ticket;
    SignedBody roster;
    friend bool operator==(const Seen&, const Seen&) = default;
};

/// A saved trainer: what its delta is made of. The trainer's own file lies beside it.
struct Progress {
    Step base;  ///< of the oldest part of the delta
    std::uint64_t steps = 0;
    std::uint64_t sequences = 0;
    std::uint64_t tokens = 0;
    std::vector<Segment> segments;  ///< consumed, all of them in the delta
    friend bool operator==(const Progress&, const Progress&) = default;
};

struct SavedProgress {
    Progress progress;
    fs::path trainer_file;
};

/// One thread at a time. errors of every read: not_found; malformed or digest_mismatch if it is not whole.
class NodeFiles {
  public:
    explicit NodeFiles(fs::path folder) : folder_(std::move(folder)) {}

    Result<void> write_seen(const Seen& seen);
    Result<Seen> read_seen() const;

    /// Canonical manifest body, and the data manifest as pushed.
    Result<void> write_manifest(ByteSpan body);
    Result<Bytes> read_manifest() const;
    Result<void> write_data_manifest(ByteSpan json);
    Result<Bytes> read_data_manifest() const;

    /// The last list told: a cache.
    Result<void> write_leases(const std::vector<LeaseInfo>& leases);
    Result<std::vector<LeaseInfo>> read_leases() const;

    /// Where the trainer is to save next: of the two slots the one that does not hold the valid progress.
    fs::path next_progress_file() const;
    /// The trainer has written and synced next_progress_file(): from now on that slot counts.
    Result<void> commit_progress(const Progress& progress);
    /// The newer valid slot.
    Result<SavedProgress> read_progress() const;
    Result<void> drop_progress();

  private:
    struct Slot {
        std::uint64_t serial = 0;
        Progress progress;
    };
    Result<Slot> read_slot(int slot) const;
    int next_slot(std::uint64_t& serial) const;
    fs::path slot_path(int slot, const char* ending) const;

    fs::path folder_;
};

}  // namespace skerry::node
