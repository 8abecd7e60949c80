#pragma once
// The run folder of one node: the replicated log, the state it adds up to, and what an open step
// needs.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "node/compress/codec.hpp"
#include "node/log/apply_record.hpp"
#include "node/log/base_state.hpp"
#include "node/log/contribution_file.hpp"
#include "node/log/decision_log.hpp"
#include "node/log/entry_file.hpp"
#include "node/log/node_files.hpp"
#include "node/log/retention.hpp"
#include "node/log/snapshot.hpp"
#include "node/log/snapshot_fetch.hpp"
#include "node/log/state_files.hpp"
#include "protocol/rules/piece_grid.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// A prepared entry found or made: what a vote is about.
struct PreparedEntry {
    Step step;
    Term term;
    Attempt attempt;
    Digest plan_digest;
    Digest root;
    bool ballot = false;  ///< of a plan without chunks: the file is its body
};

/// What stands between this disk and a state.
struct MissingParts {
    std::optional<Step> decisions_from;  ///< the log of decisions ends here, below the target
    std::vector<Step> entries;           ///< ascending: decided, needed, not here
    bool base = false;                   ///< no snapshot to start from: fetch one
    bool nothing() const { return !decisions_from && entries.empty() && !base; }
};

/// Owns the folder (locked against a second process) and everything in it but the identity.
///
///   state/{theta,m,mark,applying}   working copies, mapped; trusted only under a mark whose digest
///   matches, or by the record of this run of the machine
///   decisions                       every signed decision, appended entries/<k> log
///   entries;  prepared/<k>.<term>.<attempt>  the same, undecided snapshots/<k>/{theta,m,manifest}
///   contribution/{own,<id>}  of the open step manifest, seen, leases, progress/             see
///   node_files.hpp
///
/// Threads: the store has no thread. Reading functions (`read_*`, `theta`, accessors) and the
/// objects it hands out may be used from several worker threads at once; they guard their own
/// bookkeeping. Functions that change the state or the log (`load_state`, `apply`,
/// `append_decision`, `adopt_prepared`, `write_snapshot`, `prune`, `drop_*`) come from one thread
/// at a time, and `apply`/`load_state` never while theta or momentum is being read. Nothing here is
/// fit for the io thread: every call may wait for the disk.
///
/// Errors of all functions: disk_full, io_error; digest_mismatch where bytes on disk are not what
/// their name says (the damaged thing is then forgotten, so that it can be fetched again).
class RunStore {
  public:
    /// Opens the folder, or makes it. Cuts a torn tail off `decisions`, finishes a rename that a
    /// crash interrupted, and an apply that a kill did, removes temporary files. Else it does not touch
    /// the state yet: see load_state.
    /// A new folder gets the manifest, behind the data manifest if that is given; damaged ones are
    /// written anew. errors  bad_state: another process has the folder, or it belongs to another
    /// run.
    static Result<std::unique_ptr<RunStore>> open(DiskPath folder, const Manifest& manifest,
                                                  const Bytes* data_manifest = nullptr);
    ~RunStore();

    const DiskPath& folder() const { return folder_; }
    const Manifest& manifest() const { return manifest_; }
    const PieceGrid& grid() const { return grid_; }
    const Codec& codec() const { return *codec_; }
    NodeFiles& files() { return files_; }

    // ---- state ---------------------------------------------------------------------------------

    /// k of the S_k in the mapped files; none before load_state, and after an apply that failed
    /// half-way.
    std::optional<Step> state_step() const;
    std::uint64_t tokens() const;  ///< committed tokens of that state
    std::span<const float> theta() const { return state_.theta(); }
    std::span<const float> momentum() const { return state_.momentum(); }
    /// Read-only descriptor of theta, for the trainer. Stays the store's; good for its life.
    int theta_descriptor() const { return state_.theta_descriptor(); }

    /// Makes the mapped files S_target: from the mark if its digest matches, else from the nearest
    /// snapshot (or the seed, or the base of a fork) and the entries after it. Rollbacks are followed. errors  not_found:
    /// `missing_for(target)` says which decisions or entries are missing; digest_mismatch: a
    ///         damaged entry, which is set aside, so missing_for names it next time.
    Result<void> load_state(Step target);
    /// What the mapped files of an earlier process say that they are; load_state of that step checks it.
    std::optional<Step> marked_state() const;
    /// What load_state(target) would need: entries are judged by presence, not read.
    MissingParts missing_for(Step target) const;

    /// S_k -> S_{k+1} with decision k and, for a commit, entry k; both must be here. The entry is
    /// verified whole, then decoded and applied piece by piece. errors  bad_state: the state is not
    /// S_k; not_found; digest_mismatch, malformed: the entry is damaged and set
    ///         aside, theta and m are unchanged; internal: the state is lost (state_step() is
    ///         none): load_state.
    /// A rollback is applied from any state: S_{k+1} is made of what is kept of S_j.
    Result<void> apply(Step k);

    /// Digest of the state in the mapped files; reads all of it once. Also writes the mark, after
    /// which a restart finds the state without a replay; a disk that refuses it costs that replay. Must not overlap apply.
    Result<Digest> digest_state();

    // ---- decisions and entries -----------------------------------------------------------------

    /// For the thread that appends.
    const DecisionLog& decisions() const { return decisions_; }
    /// Appends decision k = decisions().next(), fsynced. `chain` is checked: h_after must follow
    /// from h_k. Signatures are the caller's to check. errors  stale: not the next one;
    /// digest_mismatch: wrong chain.
    Result<void> append_decision(const SignedDecision& decision);
    /// Renames the prepared entry with the decided root into the log and deletes other prepared
    /// ones of that step. False if none has it (or the kind has no entry): fetch it.
    Result<bool> adopt_prepared(Step k);

    /// First step at or above `from` whose decision, or entry, is not on this disk: log_synced_to.
    Step log_end(Step from) const;
    bool has_entry(Step k) const;
    /// Reads and verifies the whole entry, or some pieces and what they are checked against: head, table and decision.
    /// A damaged one is set aside: digest_mismatch, malformed; not_found: its file is gone, or it was not here.
    Result<void> verify_entry(Step k) { return verify_entry(k, PieceIndex{0}, grid_.count()); }
    Result<void> verify_entry(Step k, PieceIndex first, std::uint32_t pieces);
    /// Its length and all but its chunks, which are verified whenever they are read. Damaged: set aside.
    Result<void> check_entry(Step k) { return verify_entry(k, PieceIndex{0}, 0); }
    std::optional<Step> oldest_entry() const;
    std::vector<Step> entries() const;  ///< ascending

    /// Opens a staged entry for a plan (canonical body). An older staged or prepared one of a
    /// *lower* plan of the same step is dropped once this one is made; a second call with the same
    /// plan gives the same object. errors  stale: a higher plan of this step was staged before;
    /// already_exists: the entry is in the log.
    Result<std::shared_ptr<StagedEntry>> stage_entry(ByteSpan plan_body);
    /// Everything there is: fsync, root, rename to prepared/. The staged object stays readable.
    /// errors  bad_state: pieces are missing.
    Result<PreparedEntry> prepare(StagedEntry& staged);
    /// The same for a plan without chunks: its body, kept durably, so that a vote for it can be
    /// found again when the coordinator's disk is lost. Lower plans of the step go.
    Result<PreparedEntry> prepare_ballot(ByteSpan plan_body);
    std::vector<PreparedEntry> prepared() const;
    /// Body of a prepared plan. errors  those of the file.
    Result<Bytes> prepared_plan(const PreparedEntry& entry) const;
    /// Gives up a prepared or staged entry (its step was decided otherwise).
    void drop_prepared(Step step);

    /// Result piece of a staged, prepared or decided entry. errors  not_found.
    Result<ResultPiece> read_result(Step step, const Digest& plan_digest, PieceIndex piece) const;

    // ---- contributions of the open step --------------------------------------------------------

    /// Starts encoding my delta against theta; see ContributionWriter. Replaces my earlier one only
    /// when finished.
    Result<std::unique_ptr<ContributionWriter>> begin_contribution(Step step);
    /// Ends it: `ready` with contribution id and norm filled in, kept beside the chunks for a
    /// restart.
    Result<ReadyState> finish_contribution(ContributionWriter& writer, ReadyState ready);
    /// My frozen contribution, also from before a restart (its chunks were verified then).
    std::optional<ReadyState> own_contribution() const;

    /// Where an owner gathers pieces of others; made on first use, found again after a restart.
    Result<std::shared_ptr<GatheredContribution>> gather(Step step, const Digest& contribution);
    /// What was gathered, also before a restart.
    std::vector<std::shared_ptr<GatheredContribution>> gathered() const;
    /// Piece with proof, of my own or a gathered contribution. errors  not_found.
    Result<ContributionPiece> read_contribution(Step step, const Digest& contribution,
                                                PieceIndex piece) const;
    /// Whether read_contribution would find it.
    bool has_contribution(Step step, const Digest& contribution, PieceIndex piece) const;
    /// Removes contributions of steps below `step` (all decided), my own included.
    void drop_contributions(Step step);
    void drop_own_contribution();

    /// An owner's work for one piece: mean over the plan's participants in order, encoded once,
    /// staged under the signature that `sign` gives for its leaf. All contributions must be here:
    /// not_found otherwise.
    Result<void> reduce(StagedEntry& staged, PieceIndex piece,
                        const std::function<Signature(const Digest& leaf)>& sign);
    /// The first participant's contribution whose chunk is not here or not whole; zero: none, or the disk does not say.
    Digest damaged_contribution(const Plan& plan, PieceIndex piece) const;

    // ---- snapshots, blocks, retention ----------------------------------------------------------

    /// Writes S_{state_step()} from the mapped files; nothing is copied in memory. Ok if it exists
    /// already.
    Result<SnapshotInfo> write_snapshot();
    /// Complete snapshots, ascending by step.
    std::vector<SnapshotInfo> snapshots() const;
    /// Reads all of it, or some pieces of theta and m and the manifest. A damaged one is removed: errors as above.
    Result<void> verify_snapshot(Step step) { return verify_snapshot(step, PieceIndex{0}, grid_.count()); }
    Result<void> verify_snapshot(Step step, PieceIndex first, std::uint32_t pieces);

    /// A block by hash: leaf of a kept snapshot, root of a snapshot's part (gives the leaf list; of
    /// one piece root and leaf are the same, and it gives the piece), state digest (gives
    /// StateRoots); and of step `object.step` the root of the entry (leaf list) or the plan digest
    /// (plan body). With a zero id: the StateRoots of snapshot `step`. errors  not_found;
    /// digest_mismatch: damaged here (a damaged snapshot is then forgotten).
    Result<Bytes> read_block(const ObjectRef& object);

    /// Opens (or resumes) the fetch of S_step from peers.
    Result<std::unique_ptr<SnapshotFetch>> fetch_snapshot(Step step, const Digest& state_digest,
                                                          ByteSpan state_roots);
    /// Fetched whole: takes its place among the snapshots.
    Result<SnapshotInfo> adopt_snapshot(SnapshotFetch& fetch);

    /// The owner's quota beside the run's, the smaller one holds; 0: none. Any thread.
    void set_quota(std::uint64_t bytes) { own_quota_ = bytes; }
    /// What the rules of retention.hpp let go.
    RetentionChoice prunable(Step floor) const;
    /// Deletes these.
    Result<void> drop(std::span<const Step> snapshots, std::span<const Step> entries);
    std::uint64_t disk_bytes() const;

  private:
    struct Route;  // where a replay starts and what it applies
    enum class BlockPart : std::uint8_t { roots, theta, m };
    struct BlockPlace {
        Step snapshot;
        BlockPart part = BlockPart::roots;
        std::optional<PieceIndex> piece;  // none: the leaf list
    };
    using Lock = std::lock_guard<std::mutex>;

    RunStore(DiskPath folder, const Manifest& manifest);
    Result<void> open_files(const Bytes* data_manifest);
    Result<void> check_manifest(const Bytes* data_manifest);
    void remove_temporary_files() const;
    Result<void> find_entries();
    Result<void> find_prepared();
    Result<void> find_snapshots();
    Result<void> find_contributions();

    bool can_make_first() const { return has_first_state(manifest_, folder_); }
    DiskPath entry_path(Step k) const;
    DiskPath prepared_path(const PreparedEntry& entry) const;
    std::optional<PreparedEntry> open_prepared(const DiskPath& path) const;
    DiskPath snapshot_path(Step k) const;
    ContributionForm form_for(Step step) const;
    std::optional<DecisionRow> row(Step k) const;
    Result<std::shared_ptr<const EntryReader>> open_entry(Step k) const;
    Result<std::shared_ptr<const EntryReader>> cached_reader(const DiskPath& path) const;
    void forget_reader(const DiskPath& path) const;
    void set_entry_aside(Step k);
    Result<void> sound_entry(Step k, Result<void> found);
    void set_snapshot_aside(Step k);
    void remove_prepared(Step step, const Digest* keep_plan);

    Route route_to(Step target) const;
    void finish_apply();
    Result<void> trust_mark();
    Result<void> start_from(const Route& route);
    Result<void> apply_row(const DecisionRow& row);
    void add_snapshot(Snapshot snapshot);
    std::shared_ptr<const Snapshot> find_snapshot(Step step) const;
    void index_snapshots();  // with mutex_ held
    static std::optional<BlockPlace> find_block(const Snapshot& snapshot, const Digest& id);
    Result<Bytes> read_snapshot_block(const BlockPlace& place) const;

    DiskPath folder_;
    Manifest manifest_;
    Digest run_digest_;
    PieceGrid grid_;
    const Codec* codec_ = nullptr;
    std::uint32_t layout_id_ = 0;
    Step first_;
    NodeFiles files_;
    FolderLock lock_;
    StateFiles state_;
    ApplyRecord record_;  ///< of state_

    /// Guards everything below: bookkeeping that the disk and codec threads share. Held for
    /// moments, but for the fsync of a decision record. The bytes themselves are read and written
    /// outside it.
    std::atomic<std::uint64_t> own_quota_{0};
    mutable std::mutex mutex_;
    DecisionLog decisions_;
    std::optional<Step> state_step_;
    std::uint64_t tokens_ = 0;
    std::optional<std::pair<Step, Digest>> last_digest_;
    std::set<Step> entries_;
    std::vector<PreparedEntry> prepared_;
    std::map<Step, std::shared_ptr<StagedEntry>> staged_;
    mutable std::map<fs::path, std::shared_ptr<const EntryReader>> readers_;
    std::map<Step, std::shared_ptr<const Snapshot>> snapshots_;
    std::unordered_map<Digest, BlockPlace> blocks_;
    std::shared_ptr<const OwnContribution> own_;
    std::map<std::pair<Step, Digest>, std::shared_ptr<GatheredContribution>> gathered_;
};

}  // namespace skerry::node
