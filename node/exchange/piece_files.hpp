#pragma once
// Where pieces are kept while a step is open and while a node catches up: the store's staged entries, gathered
// contributions and fetched snapshots, found by name.

#include <map>
#include <memory>
#include <mutex>

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

/// Every function may wait for the disk. Those marked *any* run on several codec threads at once, the others on the
/// disk thread only.
class PieceFiles {
  public:
    PieceFiles(std::shared_ptr<RunStore> store, KeyPair key);
    ~PieceFiles();

    // ---- any thread
    /// errors  not_found, digest_mismatch.
    Result<PieceBytes> read(const ObjectRef& object, PieceIndex piece);
    /// Checks a received chunk and keeps it.
    Result<ChunkAnswer> take(const VerifyChunk& what, const Data& envelope, ByteSpan chunk);
    Result<ReducedAnswer> reduce(const Digest& plan_digest, PieceIndex piece);

    // ---- disk thread
    Result<void> follow(ByteSpan plan_body);
    void drop_staging(Step step, const Digest& plan_digest);
    void drop_contributions(Step step);
    Result<PreparedAnswer> prepare(const WritePrepared& action);
    Result<void> append(const AppendEntry& action);
    Result<StateAnswer> adopt_snapshot(const AdoptSnapshot& action);
    void drop_snapshot(Step step);

  private:
    Result<std::shared_ptr<StagedEntry>> staged(const Digest& plan_digest);
    Result<ChunkAnswer> take_contribution(const VerifyChunk& what, const Data& envelope, ByteSpan chunk);
    Result<ChunkAnswer> take_result(const VerifyChunk& what, const Data& envelope, ByteSpan chunk);
    Result<ChunkAnswer> take_block(const VerifyChunk& what, ByteSpan chunk);
    Result<void> put_snapshot_block(Step step, const Digest& hash, ByteSpan block);

    std::shared_ptr<RunStore> store_;
    KeyPair key_;
    // Guards the map, not the entries: codec threads look plans up that the disk thread opens.
    std::mutex mutex_;
    std::map<Digest, std::shared_ptr<StagedEntry>> staged_;
    // One thread at a time may feed a snapshot fetch; its pieces come from several codec threads.
    std::mutex fetch_mutex_;
    std::map<Step, std::unique_ptr<SnapshotFetch>> fetches_;
};

}  // namespace skerry::node
