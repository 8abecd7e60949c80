#pragma once
// What a node that is behind fetches: the entry of a decided step, or a snapshot. Everything is named by a hash that
// the chain or the agreed state digest vouches for, so it may come from anybody.
//
//   entry:     see entry_fetch.hpp
//   snapshot:  preimage of the agreed digest  ->  leaf lists of theta and m  ->  pieces, each against its leaf

#include <optional>
#include <set>

#include "node/core/entry_fetch.hpp"

namespace skerry::node {

class CatchUp {
  public:
    CatchUp(Context& context, const RosterBook& roster, Asker& asker)
        : context_(context), roster_(roster), asker_(asker), entry_(context, asker, EntryFetch::Pace::all_at_once) {}

    void fetch_entry(Step step, const Digest& plan_digest, const Digest& root) { entry_.begin(step, plan_digest, root); }
    std::optional<Step> entry() const { return entry_.step(); }
    bool entry_complete() const { return entry_.complete(); }
    void end_entry() { entry_.end(); }

    /// The agreed snapshot that is the cheapest way from `next` (first entry not here) to `head`; none if the
    /// entries are cheaper.
    std::optional<StateDigest> choose_snapshot(Step next, Step head, bool only_way) const;
    void fetch_snapshot(const StateDigest& what, std::uint64_t tokens);
    std::optional<Step> snapshot() const { return snapshot_ ? std::optional(snapshot_->what.step) : std::nullopt; }
    const StateDigest& snapshot_digest() const { return snapshot_->what; }
    const Bytes& preimage() const { return snapshot_->preimage; }
    bool snapshot_complete() const {
        return snapshot_ && snapshot_->theta && snapshot_->m && snapshot_->missing.empty();
    }
    /// Nobody offers it any more.
    bool snapshot_withdrawn() const;
    void end_snapshot(bool adopted);

    void on_fetched(const Fetched& fetched);
    /// Of whom an entry's or a snapshot's parts may be asked.
    std::vector<NodeId> sources(const Want& want) const;
    std::vector<NodeId> entry_holders(Step step, PieceIndex place = {}) const;

  private:
    struct Snapshot {
        StateDigest what;
        std::uint64_t tokens = 0;
        Bytes preimage;
        Digest theta_root;
        Digest m_root;
        std::optional<std::vector<Digest>> theta;
        std::optional<std::vector<Digest>> m;
        std::set<PieceIndex> missing;  ///< wire pieces: theta's, then m's
    };
    void want_block(Step step, const Digest& hash, ChunkPurpose purpose, PieceIndex wire, PieceIndex place,
                    std::uint32_t bytes);
    void on_snapshot(const Fetched& fetched);
    void take_preimage(const Bytes& body);
    /// The list of one leaf is the root itself; asked for as a block that hash would mean the piece.
    bool one_piece() const { return context_.grid.count() == 1; }
    void want_floats(const std::vector<Digest>& leaves, ChunkPurpose purpose);
    std::vector<NodeId> snapshot_holders(Step step, PieceIndex place = {}) const;
    std::uint64_t entry_bytes() const;

    Context& context_;
    const RosterBook& roster_;
    Asker& asker_;
    EntryFetch entry_;
    std::optional<Snapshot> snapshot_;
};

}  // namespace skerry::node
