#pragma once
// One log entry on disk: plan body, leaf hashes with their owners' signatures, and the result
// chunks at fixed offsets.
//
//   0 "SKRE"  4 u16 version (1)  6 u16 codec  8 u64 step  16 u64 term  24 u32 attempt  28 u32
//   pieces 32 u32 plan bytes  36 u32 zero  40 plan digest (32) 72 plan body, then for each piece
//   leaf (32) and owner's signature (64), then SHA-256 of everything above; then, from the next
//   multiple of 4096 on, the chunks: piece p at p x the size of a full chunk.

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "node/compress/codec.hpp"
#include "node/log/file.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

struct ResultPiece {
    Bytes chunk;
    Digest leaf;
    Signature owner_signature;
};

/// Where things lie in an entry file; follows from plan size, grid and codec.
struct EntryLayout {
    std::uint64_t table = 0;   ///< leaves and signatures
    std::uint64_t seal = 0;    ///< SHA-256 of all before it
    std::uint64_t chunks = 0;  ///< first chunk
    std::uint64_t slot = 0;    ///< bytes from one chunk to the next
    std::uint64_t total = 0;
};
EntryLayout entry_layout(std::size_t plan_bytes, const PieceGrid& grid, CodecId codec);

/// The header that a piece's chunk must have, codec and exponent apart; `manifest` gives the layout
/// id.
ChunkHeader chunk_place(std::uint32_t layout, const PieceGrid& grid, Step step, PieceIndex piece);

/// A finished entry, opened. Const and thread-safe; every piece is hashed against its leaf when
/// read.
class EntryReader {
  public:
    /// errors  not_found, io_error; malformed or digest_mismatch: head or table damaged, or of
    /// another grid.
    static Result<std::shared_ptr<const EntryReader>> open(const DiskPath& path,
                                                           const PieceGrid& grid, CodecId codec);

    const Plan& plan() const { return plan_; }
    const Bytes& plan_body() const { return plan_body_; }
    const Digest& plan_digest() const { return plan_digest_; }
    const std::vector<Digest>& leaves() const { return leaves_; }
    const Digest& root() const { return root_; }
    /// errors  not_found: no such piece; digest_mismatch: damaged.
    Result<ResultPiece> read(PieceIndex piece) const;
    /// digest_mismatch: the file ends early.
    Result<void> check_length() const;
    /// Reads and hashes all pieces.
    Result<void> verify() const;

  private:
    PieceGrid grid_;
    CodecId codec_ = CodecId::a8;
    File file_;
    EntryLayout layout_;
    Plan plan_;
    Bytes plan_body_;
    Digest plan_digest_;
    std::vector<Digest> leaves_;
    std::vector<Signature> signatures_;
    Digest root_;
};

/// An entry that is being received or made. Thread-safe.
class StagedEntry {
  public:
    /// Starts the file `path` (a temporary name). errors  malformed: not a plan, or not of this
    /// grid.
    static Result<std::shared_ptr<StagedEntry>> create(const DiskPath& path, ByteSpan plan_body,
                                                       const PieceGrid& grid, const Codec& codec,
                                                       std::uint32_t layout_id);

    const Plan& plan() const { return plan_; }
    const Digest& plan_digest() const { return plan_digest_; }

    /// Writes one piece. The chunk's form is checked here; the owner's signature over its leaf is
    /// the caller's to check. A repeated piece is ignored, even if it differs: compare leaf() first
    /// to blame. errors  not_found: no such piece; those of Codec::validate; disk_full, io_error
    /// (the piece stays wanted).
    Result<void> put(PieceIndex piece, ByteSpan chunk, const Signature& owner_signature);

    bool has(PieceIndex piece) const;
    std::uint32_t have() const;  ///< number of pieces that are here
    bool complete() const;
    std::vector<std::uint8_t> bitmap() const;  ///< as in the message Have
    /// Leaf hash of a piece that is here.
    std::optional<Digest> leaf(PieceIndex piece) const;
    /// errors  not_found: not here yet.
    Result<ResultPiece> read(PieceIndex piece) const;

    /// Writes head and table, fsyncs, and renames the file to `final_path`. Returns the root. One
    /// thread. errors  bad_state: pieces are missing; disk_full, io_error: not durable, the file
    /// stays temporary. Called again
    ///         after a failed fsync it writes a new file: what the first one lost, a second fsync
    ///         would not report.
    Result<Digest> finish(const DiskPath& final_path);
    /// Deletes the file if it is still temporary; for a plan that was superseded. Readers may go
    /// on.
    void discard();

  private:
    struct Row {
        bool here = false;
        bool writing = false;
        Digest leaf;
        Signature signature;
    };
    StagedEntry() = default;
    Bytes make_head() const;
    std::shared_ptr<File> file() const;
    Result<void> copy_to_new_file();

    PieceGrid grid_;
    const Codec* codec_ = nullptr;
    std::uint32_t layout_id_ = 0;
    EntryLayout layout_;
    Plan plan_;
    Bytes plan_body_;
    Digest plan_digest_;
    mutable std::mutex mutex_;    ///< guards file_, rows_ and have_: the codec and disk threads and
                                  ///< readers meet here
    std::shared_ptr<File> file_;  ///< its descriptor outlives the rename
    std::vector<Row> rows_;
    std::uint32_t have_ = 0;
    std::atomic<bool> finished_ = false;
    bool sync_failed_ = false;
};

}  // namespace skerry::node
