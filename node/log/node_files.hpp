#pragma once
// The small files of a run folder. They do not need an opened store: a node reads `seen` before its
// first Hello, when it knows nothing else. Each is replaced whole (temporary file, fsync, rename)
// and refused unless whole.

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

/// One thread at a time. errors of every read: not_found; malformed or digest_mismatch if it is not
/// whole.
class NodeFiles {
  public:
    explicit NodeFiles(DiskPath folder) : folder_(std::move(folder)) {}

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

  private:
    DiskPath folder_;
};

}  // namespace skerry::node
