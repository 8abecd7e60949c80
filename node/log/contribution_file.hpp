#pragma once
// Encoded chunks of the open step: my own delta, and pieces of others that I gathered as an owner.
// A cache: not fsynced, verified by id after a restart.

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "node/compress/codec.hpp"
#include "node/log/file.hpp"
#include "protocol/identity/merkle.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

struct ContributionPiece {
    Bytes chunk;
    std::vector<Digest> proof;  ///< leaf up
};

/// What the files of one step's contributions have in common.
struct ContributionForm {
    PieceGrid grid;
    const Codec* codec = nullptr;
    std::uint32_t layout_id = 0;
    Step step;
};

/// Encodes theta - local as the weights come, window by window, in canonical order. One thread at a
/// time; holds one piece in float32 and one chunk.
class ContributionWriter {
  public:
    static Result<std::unique_ptr<ContributionWriter>> create(const DiskPath& path,
                                                              const ContributionForm& form,
                                                              std::span<const float> theta);

    /// The next window of local weights, any length; `local` is only read during the call.
    /// errors  not_finite: the delta has NaN, Inf or an absurd magnitude; bad_shape: more than P
    /// elements. After an error the writer is of no further use.
    Result<void> push(std::span<const float> local);

    std::uint64_t next_element() const { return next_; }
    bool complete() const { return next_ == form_.grid.elements; }
    double norm() const;  ///< Euclidean norm of the delta so far
    const std::vector<Digest>& leaves() const { return leaves_; }
    const ContributionForm& form() const { return form_; }
    const DiskPath& path() const { return file_.path(); }

  private:
    Result<void> flush_piece();

    ContributionForm form_;
    File file_;
    std::span<const float> theta_;
    std::vector<float> delta_;
    std::size_t filled_ = 0;
    Bytes chunk_;
    std::uint64_t next_ = 0;
    double squares_ = 0;
    std::vector<Digest> leaves_;
};

/// My own frozen contribution: all pieces. Const, thread-safe.
class OwnContribution {
  public:
    /// Takes over what a writer has made (`leaves`), or verifies the whole file against the id (no
    /// leaves). errors  digest_mismatch: not the contribution of that id.
    static Result<std::shared_ptr<const OwnContribution>> open(const DiskPath& path,
                                                               const ContributionForm& form,
                                                               const ReadyState& ready,
                                                               std::vector<Digest> leaves);
    const ReadyState& ready() const { return ready_; }
    const ContributionForm& form() const { return form_; }
    /// errors  not_found, digest_mismatch.
    Result<ContributionPiece> read(PieceIndex piece) const;

  private:
    OwnContribution(const ContributionForm& form, ReadyState ready, std::vector<Digest> leaves);

    ContributionForm form_;
    ReadyState ready_;
    MerkleTree tree_;
    File file_;
};

/// What an owner (or relay) has of somebody's contribution. Thread-safe.
class GatheredContribution {
  public:
    /// Opens or makes the file; of an old one, keeps the pieces that still verify.
    static Result<std::shared_ptr<GatheredContribution>> open(const DiskPath& path,
                                                              const ContributionForm& form,
                                                              const Digest& contribution);

    Step step() const { return form_.step; }
    const Digest& contribution() const { return id_; }
    /// errors  digest_mismatch: the proof fails (proves nothing against the maker); malformed,
    /// bad_shape, stale, not_finite: the proof holds but the chunk is bad (the maker's word:
    /// Blame); disk_full, io_error. A repeated piece is ignored.
    Result<void> put(PieceIndex piece, ByteSpan chunk, std::span<const Digest> proof);
    bool has(PieceIndex piece) const;
    std::uint32_t have() const;
    std::vector<PieceIndex> pieces() const;  ///< that are here, ascending
    /// digest_mismatch: it rotted, and is not here any longer.
    Result<ContributionPiece> read(PieceIndex piece);

  private:
    struct Row {
        bool here = false;
        Digest leaf;
    };
    GatheredContribution() = default;
    void recover();
    Result<std::vector<Digest>> read_proof(PieceIndex piece) const;

    ContributionForm form_;
    Digest id_;
    File file_;
    mutable std::mutex mutex_;  ///< guards rows_ and have_
    std::vector<Row> rows_;
    std::uint32_t have_ = 0;
};

}  // namespace skerry::node
