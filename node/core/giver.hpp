#pragma once
// The giving half of get(object, piece): who waits for what, whose turn it is.
//
// Listing a piece is the permission to send it once. Pieces that are here wait in a queue for each asker, and at most
// kServesPerAsker of an asker are with the shell at once; the shell reports each as the transport takes it. Pieces
// that are not here yet are remembered (LATER) and sent when they can be.

#include <deque>
#include <functional>
#include <map>
#include <set>

#include "node/core/roster_book.hpp"

namespace skerry::node {

struct Availability {
    enum class Kind : std::uint8_t { here, later, gone } kind = Kind::later;
    GoneReason reason = GoneReason::unknown;

    static Availability here() { return {Kind::here, GoneReason::unknown}; }
    static Availability later() { return {Kind::later, GoneReason::unknown}; }
    static Availability gone(GoneReason why) { return {Kind::gone, why}; }
};

class Giver {
  public:
    /// Whether I can give this piece to this asker.
    using Look = std::function<Availability(const NodeId& asker, const ObjectRef&, PieceIndex)>;
    /// A served piece was not there or was damaged.
    struct Lost {
        ObjectRef object;
        PieceIndex piece;
        Errc code = Errc::not_found;
    };

    explicit Giver(Context& context) : context_(context) {}
    void set_look(Look look) { look_ = std::move(look); }
    /// Who is served last: of all guests together, one piece at a time.
    void set_guests(std::function<bool(const NodeId&)> is_guest) { is_guest_ = std::move(is_guest); }

    void on_get(const NodeId& asker, const Get& message);
    void on_peer_down(const NodeId& asker) { askers_.erase(asker); }
    bool owns(OpId op) const { return serving_.contains(op); }
    std::optional<Lost> on_done(const Done& done);

    /// Something may have become available or gone: judges again all that waits.
    void recheck();
    std::uint64_t dropped() const { return dropped_; }

  private:
    struct Object {
        std::set<PieceIndex> waiting;
        std::set<PieceIndex> queued;  ///< here, in `queue` or being served
    };
    struct Queue {  ///< of one asker
        std::map<ObjectRef, Object> objects;
        std::deque<std::pair<ObjectRef, PieceIndex>> queue;
        int running = 0;
        std::uint64_t connection = 0;  ///< a successor counts only its own serves
    };
    struct Running {
        NodeId asker;
        ObjectRef object;
        PieceIndex piece;
        std::uint64_t connection = 0;
        bool guest = false;
    };

    Queue& asker(const NodeId& id);
    void judge(const NodeId& asker, Queue& state, const ObjectRef& object, const std::vector<PieceIndex>& pieces,
               bool say_later);
    void serve_next(const NodeId& asker, Queue& state);
    void serve_next_guest();
    static void settle(Queue& state, const ObjectRef& object, PieceIndex piece);

    Context& context_;
    Look look_;
    std::function<bool(const NodeId&)> is_guest_ = [](const NodeId&) { return false; };
    bool guest_served_ = false;
    NodeId last_guest_;  ///< their turns go round
    std::map<NodeId, Queue> askers_;
    std::map<OpId, Running> serving_;
    std::uint64_t connections_ = 0;
    std::uint64_t dropped_ = 0;
};

}  // namespace skerry::node
