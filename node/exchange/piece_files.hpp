#pragma once
// Where pieces are kept while a step is open and while a node catches up: the store's staged entries, gathered
// contributions and fetched snapshots, found by name.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "node/core/actions.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::node {

class RunStore;
class StagedEntry;
class SnapshotFetch;

/// A piece as it is sent.
struct PieceBytes {
    Data envelope;
    std::shared_ptr<const Bytes> chunk;
};

/// How a node signs votes and results, and checks those of others. Any thread.
struct PieceSigning {
    std::function<Signature(const Digest& h_after)> vote;
    std::function<Signature(const Digest& plan, PieceIndex piece, const Digest& leaf)> result;
    std::function<bool(const PublicKey& owner, const Digest& plan, PieceIndex piece, const Digest& leaf,
                       const Signature& signature)>
        verify_result;
};
PieceSigning signing_with(KeyPair key);

/// Every function may wait for the disk.
class PieceFiles {
  public:
    PieceFiles(std::shared_ptr<RunStore> store, PieceSigning signing);
    ~PieceFiles();

    // ---- any thread, several at once
    /// errors  not_found, digest_mismatch.
    Result<PieceBytes> read(const ObjectRef& object, PieceIndex piece);
    /// Checks a received piece of a contribution or a result, and keeps it. Its staging is open (see follow).
    Result<ChunkAnswer> take_piece(const VerifyChunk& what, const Data& envelope, ByteSpan chunk);
    /// Whether results of this plan can be taken: its staging is open.
    bool is_open(const Digest& plan_digest) { return staged(plan_digest) != nullptr; }
    Result<ReducedAnswer> reduce(const Digest& plan_digest, PieceIndex piece);

    // ---- disk thread
    /// The other purposes: leaf lists, plan bodies, parts of a snapshot.
    Result<ChunkAnswer> take_block(const VerifyChunk& what, ByteSpan block);
    /// Opens the staging of a plan, unless the plan's entry is prepared already.
    Result<void> follow(ByteSpan plan_body);
    void drop_staging(Step step, const Digest& plan_digest);
    void drop_contributions(Step step);
    Result<PreparedAnswer> prepare(const WritePrepared& action);
    Result<void> append(const AppendEntry& action);
    Result<StateAnswer> adopt_snapshot(const AdoptSnapshot& action);
    void drop_snapshot(Step step);

  private:
    std::shared_ptr<StagedEntry> staged(const Digest& plan_digest);
    void forget_staged(const std::function<bool(Step)>& which);
    bool is_prepared(const Digest& plan_digest, const Digest& root) const;
    Result<void> append_records(Step step, const std::vector<SignedDecision>& records);
    ChunkAnswer take_contribution(const VerifyChunk& what, const Data& envelope, ByteSpan chunk);
    ChunkAnswer take_result(const VerifyChunk& what, const Data& envelope, ByteSpan chunk);
    ChunkAnswer take_leaf_list(const VerifyChunk& what, ByteSpan block);
    ChunkAnswer take_snapshot_piece(const VerifyChunk& what, ByteSpan block);

    std::shared_ptr<RunStore> store_;
    PieceSigning signing_;
    // Guards the map, not the entries: codec threads look plans up that the disk thread opens.
    std::mutex mutex_;
    std::map<Digest, std::shared_ptr<StagedEntry>> staged_;
    std::map<Digest, Bytes> without_entry_;  ///< plans of other kinds, their bodies: nothing to stage
    std::map<Step, std::unique_ptr<SnapshotFetch>> fetches_;
};

}  // namespace skerry::node
