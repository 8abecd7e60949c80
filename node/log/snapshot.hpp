#pragma once
// A snapshot folder: theta, m (raw float32) and a manifest, which is written last and makes it one.

#include <vector>

#include "node/log/state_files.hpp"

namespace skerry::node {

struct SnapshotInfo {
    Step step;
    Digest h;  ///< h_k
    StateRoots roots;
    Digest state_digest;
    std::uint64_t bytes = 0;
};

/// An opened snapshot. Const, thread-safe; every piece is hashed when read.
class Snapshot {
  public:
    /// errors  not_found; malformed, digest_mismatch: damaged manifest, or of another run.
    static Result<Snapshot> open(const DiskPath& folder, const Digest& run_digest,
                                 const PieceGrid& grid);

    const SnapshotInfo& info() const { return info_; }
    const StateLeaves& leaves() const { return leaves_; }
    /// Raw float32 of a piece. errors  digest_mismatch, not_found.
    Result<Bytes> read_theta(PieceIndex piece) const { return read(theta_, leaves_.theta, piece); }
    Result<Bytes> read_momentum(PieceIndex piece) const {
        return read(momentum_, leaves_.m, piece);
    }
    Result<void> verify() const;
    /// Copies the state into the working files, piece by piece, verified.
    Result<void> load_into(const StateFiles& files) const;

  private:
    Result<Bytes> read(const File& file, const std::vector<Digest>& leaves, PieceIndex piece) const;

    SnapshotInfo info_;
    StateLeaves leaves_;
    PieceGrid grid_;
    File theta_;
    File momentum_;
};

/// Writes theta and m of the mapped files to `folder` (made, not yet its final name) and seals it
/// with the manifest. errors  disk_full, io_error; bad_state: the state changed under the writer.
Result<SnapshotInfo> write_snapshot_folder(const DiskPath& folder, const Digest& run_digest,
                                           const PieceGrid& grid, const StateFiles& files,
                                           Step step, const Digest& h, std::uint64_t tokens);
/// The manifest alone, for a folder whose theta and m are complete and synced.
Result<void> write_snapshot_manifest(const DiskPath& folder, const Digest& run_digest, Step step,
                                     const Digest& h, std::uint64_t tokens,
                                     const StateLeaves& leaves);

}  // namespace skerry::node
