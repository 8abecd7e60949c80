#pragma once
// The state S_head and the log below it, as this node has them: what is durable, what is applied, and the disk and
// codec operations under way. Decides what may run beside what; the step machine decides what to do.

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "node/core/chain.hpp"

namespace skerry::node {

class StateLog {
  public:
    StateLog(Context& context, Chain& chain) : context_(context), chain_(chain) {}

    void begin(const NodeImage& image);
    /// What of the log an object that peers ask for is a part of.
    std::optional<Kept> part_of(const ObjectRef& object) const;
    /// Its bytes turned out to be damaged: it is not here any longer. False: it was not, as far as is known.
    bool lose(const Kept& what);
    /// The first of what is kept at or behind `from`, in their order.
    std::optional<Kept> next_kept(const Kept& from) const;
    /// Entries below the applied state that were here, or have to be, and are not: for others, and for the next start.
    bool misses(Step step) const;
    std::optional<Step> newest_missing(Step below) const;
    std::uint64_t missing() const;
    /// It was fetched again and is durable.
    void restored(Step step);

    /// refused: the disk is full or failed; what it holds is not to blame, and the same may be tried again.
    /// no_first_state: neither is S_0 of a fork here, nor could it be had just now.
    enum class Outcome : std::uint8_t {
        none, refused, no_first_state, loaded, load_failed, appended, append_failed, applied, apply_failed, adopted, adopt_failed, digest
    };
    struct Result {
        Outcome outcome = Outcome::none;
        Step step;
        bool local_kept = true;
    };

    bool loaded() const { return loaded_; }
    /// Why S_0 could not be had, if the last load was of it and failed.
    const std::optional<std::string>& first_missing() const { return first_missing_; }
    /// Theta and m are being replaced.
    bool busy() const { return exclusive_.has_value(); }
    /// Somebody reads theta: nothing may replace it.
    bool being_read() const { return !readers_.empty(); }
    bool appending() const { return append_.has_value(); }
    /// What may be let go of is being deleted.
    bool pruning() const { return pruning_; }

    Step applied() const { return applied_; }
    /// Entries and decisions below it are durable (or covered by the snapshot the state came from).
    Step log_head() const;
    bool has_entry(Step step) const { return entries_.contains(step); }
    /// Its record is durable, and the entry, if the log needs one.
    bool passed(Step step) const {
        return entries_.contains(step) || (step < records_ && !chain_.needs_entry(step));
    }
    /// log_head() as it may be told: what a rollback undid counts only once its record is durable.
    Step synced() const;
    /// Whether S_step can be made of what this disk keeps.
    bool reaches(Step step) const;
    Step oldest_entry() const;
    std::vector<Step> snapshots() const;
    /// The same with their digests.
    std::vector<StateDigest> snapshot_digests() const;
    bool has_snapshot(Step step) const { return snapshots_.contains(step); }
    const std::deque<StateDigest>& digests() const { return digests_; }
    std::optional<Digest> digest_of(Step step) const;

    /// Loads the newest state this disk has that is not known to be bad.
    void load();
    /// Forgets the state in memory; load() starts over. No digest is named until then: that is how the coordinator
    /// sees that what is named afterwards is of the new state.
    void unload() {
        loaded_ = false;
        marked_.reset();  // it is that very state
        digests_.clear();
        applied_ = newest_start();
    }
    /// The decisions that are known and not on disk.
    std::vector<SignedDecision> records_missing() const;
    /// Those below `step` are on disk.
    void records_kept(Step step) { records_ = std::max(records_, step); }
    void append(Step step, bool prepared);
    void append_record(Step step);
    void apply(Step step, LocalDelta local, ResidualRule residual);
    void adopt(const StateDigest& snapshot, const Bytes& preimage);
    void compute_digest();
    void write_snapshot();
    /// Deletes what the floor allows.
    void prune(Step floor);

    /// An operation that only reads theta, run by somebody else (encoding).
    void reader_begins(OpId op) { readers_.insert(op); }
    void reader_ends(OpId op) { readers_.erase(op); }

    bool owns(OpId op) const;
    Result on_done(const Done& done);

  private:
    enum class Kind : std::uint8_t { load, apply, adopt, digest, snapshot, look, prune };
    struct Running {
        Kind kind = Kind::load;
        Step step;
        bool initial = false;
    };
    /// The working copy if it may be used, else the newest snapshot that the known chain reaches; 0: the initial state.
    Step newest_start() const;
    Step newest_snapshot() const;
    bool may_use_marked() const;
    bool durably_passed(Step step) const;
    void find_gaps(const NodeImage& image);
    void on_pruned(const Running& running, const PrunedAnswer& answer);
    Result on_exclusive(const Running& running, const Done& done);
    void remember_digest(Step step, const Digest& value);
    std::optional<Digest> agreed_digest(Step step) const;

    Context& context_;
    Chain& chain_;
    bool loaded_ = false;
    std::optional<std::string> first_missing_;
    Step applied_;
    Step records_;  ///< decision records below it are durable
    std::set<Step> entries_;
    std::set<Step> missing_;  ///< needed once, not among entries_; also some that the head has still to pass
    std::map<Step, Digest> snapshots_;
    std::optional<Step> marked_;  ///< the working copy claims to be this state
    std::deque<StateDigest> digests_;
    std::map<OpId, Running> running_;
    std::optional<OpId> exclusive_;
    std::set<OpId> readers_;
    std::optional<std::pair<OpId, Step>> append_;
    bool pruning_ = false;
    PrunedAnswer going_;  ///< what is being deleted
    std::optional<Step> pruned_to_;  ///< asked for last
    std::set<Step> broken_;          ///< states that a rollback could not be made of, whatever seemed to be here
};

}  // namespace skerry::node
