#pragma once
// Where a snapshot is put together from blocks of several peers.

#include <optional>
#include <vector>

#include "node/log/snapshot.hpp"

namespace skerry::node {

/// Ask for wanted(), hand every answer to put(), until complete(). First come the two leaf lists
/// (by root), then the pieces (by leaf). Pieces that arrived survive a restart: they are verified
/// again when the fetch is reopened. One thread at a time.
class SnapshotFetch {
  public:
    /// `state_roots` is the block of the agreed state digest. errors  digest_mismatch: it does not
    /// hash to it.
    static Result<std::unique_ptr<SnapshotFetch>> open(const DiskPath& folder, Step step,
                                                       const Digest& state_digest,
                                                       ByteSpan state_roots, const PieceGrid& grid);

    /// Blocks to ask for now, at most `count`: the same ones until they arrive.
    std::vector<Digest> wanted(std::size_t count) const;
    /// True if the block was wanted and is now on disk; false if it was not (a repeat).
    /// errors  digest_mismatch: bytes are not what their hash says: ask another peer; disk_full,
    /// io_error.
    Result<bool> put(const Digest& hash, ByteSpan block);

    bool complete() const;
    std::uint64_t have_bytes() const { return have_bytes_; }
    std::uint64_t total_bytes() const { return grid_.elements * 8; }
    Step step() const { return step_; }
    const StateRoots& roots() const { return roots_; }
    const StateLeaves& leaves() const { return leaves_; }
    const DiskPath& folder() const { return folder_; }
    /// fsyncs theta and m.
    Result<void> sync();

  private:
    struct Part {
        File file;
        Digest root;
        std::vector<Digest>* leaves = nullptr;
        std::vector<bool> here;
    };
    SnapshotFetch() = default;
    Result<bool> put_leaves(Part& part, const char* name, ByteSpan block);
    Result<void> adopt_leaves(Part& part, std::vector<Digest> leaves);
    Result<bool> put_piece(Part& part, const Digest& hash, ByteSpan block);
    void recover(Part& part, const char* name);

    DiskPath folder_;
    PieceGrid grid_;
    Step step_;
    StateRoots roots_;
    StateLeaves leaves_;
    Part theta_;
    Part momentum_;
    std::uint64_t have_bytes_ = 0;
};

}  // namespace skerry::node
