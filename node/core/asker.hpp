#pragma once
// The asking half of get(object, piece): what is wanted, of whom it was asked, and what to do when it does not come.
//
//   wanted --pump--> asked of one giver --data--> being verified --> stored (the want is gone)
//     ^                |  LATER: stays, not a stall; asked again when nothing came for a while (repeat_later)
//     +-- GONE, bad chunk, connection lost, stalled edge: asked of another source, the old one shunned for a while
//
// Memory is bounded by a window of bytes for each giver and lane. Contributions and results have windows apart:
// owners that wait for each other's results must still gather. Blocks and decided entries have the third.

#include <array>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "node/core/roster_book.hpp"
#include "protocol/base/token_bucket.hpp"

namespace skerry::node {

struct Want {
    ObjectRef object;
    PieceIndex piece;  ///< as on the wire
    ChunkPurpose purpose = ChunkPurpose::contribution;
    PieceIndex place;    ///< in the flat vector
    Digest expect;       ///< entry: its leaf
    PublicKey owner;     ///< result: who signs
    /// Contribution: who made it; result of the open step: who owns the piece. Zero: anybody may have it.
    NodeId maker;
    std::uint32_t bytes = 0;
    bool relayed = false;  ///< on behalf of an owner: from the maker only
};

/// A want that came, or came wrong.
struct Fetched {
    Want want;
    NodeId from;
    ChunkAnswer answer;
    Data envelope;
    bool failed = false;  ///< the shell reported an error instead of a verdict
};

class Asker {
  public:
    /// Answers whom a piece may be asked of, best first. Connection is checked here.
    using Sources = std::function<std::vector<NodeId>(const Want&)>;

    Asker(Context& context, const RosterBook& roster) : context_(context), roster_(roster) {}
    void set_sources(Sources sources) { sources_ = std::move(sources); }

    /// Wants a piece; again is harmless.
    void want(Want want);
    bool wants(const ObjectRef& object, PieceIndex piece) const { return items_.contains({object, piece}); }
    void forget(const ObjectRef& object, PieceIndex piece);
    void forget_object(const ObjectRef& object);
    template <class Predicate>
    void forget_if(Predicate predicate) {
        std::vector<Key> gone;
        for (const auto& [key, item] : items_)
            if (predicate(item.want)) gone.push_back(key);
        for (const Key& key : gone) forget(key.first, key.second);
    }

    void on_peer_up(const NodeId& peer);
    void on_peer_down(const NodeId& peer);
    void on_later(const NodeId& from, const Later& message);
    /// Answers the wants that a giver says it has lost (for good, as far as it knows).
    std::vector<Want> on_gone(const NodeId& from, const Gone& message);
    void on_progress(const NodeId& from);
    /// Asked for, of this peer: to the verifier. Anything else is dropped.
    void on_data(const DataIn& event);
    /// The verdict of a chunk of mine; nothing if the operation is not mine or was abandoned.
    std::optional<Fetched> on_done(const Done& done);
    bool owns(OpId op) const { return verifying_.contains(op); }

    /// The owner's limit on what comes in: what is asked for counts.
    void limit(const DownloadLimit& limit);
    void charge(std::uint64_t bytes) { bucket_.take(bytes, context_.now); }

    /// Asks for whatever may be asked for now; finds stalls.
    void pump();

    /// Whether the edge from this giver stalls now.
    bool stalled(const NodeId& giver, bool contribution) const;
    /// Edges whose primary source has given nothing for the patience.
    std::vector<StalledEdge> stalled_edges() const;
    /// The earliest time at which pump() would do something by itself.
    Mono next_wake() const;
    std::uint64_t dropped() const { return dropped_; }

  private:
    enum Lane : std::uint8_t { contributions, results, blocks };
    using Key = std::pair<ObjectRef, PieceIndex>;
    struct Item {
        Want want;
        std::optional<NodeId> giver;  ///< asked of, now
        std::set<NodeId> asked;       ///< ever: a late answer is welcome
        std::map<NodeId, Mono> shunned;
        Mono wanted_at;
        Mono asked_at;
        bool later = false;
        bool verifying = false;
    };
    struct Edge {
        std::uint64_t in_flight = 0;
        Mono heard;  ///< last byte, or when waiting began
        bool stalled = false;
        Mono stalled_at;
    };
    struct Check {
        Key key;
        Want want;
        NodeId from;
        Data envelope;
    };

    static Lane lane_of(const Want& want);
    bool may_ask() { return !closed_ && bucket_.ready(context_.now); }
    Edge& edge(const NodeId& giver, Lane lane) { return edges_[{giver, lane}]; }
    void release(Item& item);
    void take_back(const NodeId& giver);
    void find_stalls();
    void repeat_later();
    /// When a piece that is LATER is asked for again.
    Mono repeat_at(const Item& item) const;
    std::optional<NodeId> choose(const Item& item);
    bool has_room(const NodeId& giver, Lane lane, std::uint32_t bytes);

    Context& context_;
    TokenBucket bucket_;
    bool closed_ = false;
    bool held_up_ = false;  ///< by the limit
    const RosterBook& roster_;
    Sources sources_;
    std::map<Key, Item> items_;
    std::map<std::pair<NodeId, Lane>, Edge> edges_;
    std::array<std::uint64_t, 3> total_{};
    std::map<OpId, Check> verifying_;
    std::uint64_t dropped_ = 0;
};

}  // namespace skerry::node
