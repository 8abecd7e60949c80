#pragma once
// Who the others are: the current roster, who of them is connected, who dials whom.

#include <map>
#include <set>

#include "node/core/context.hpp"

namespace skerry::node {

class RosterBook {
  public:
    explicit RosterBook(Context& context) : context_(context) {}

    /// Takes a roster body (its signature was checked) if it is newer than the one held. Whether it was.
    bool adopt(const SignedBody& body);
    /// Peers that Orders name as ours to dial because they cannot reach us. Publishes on change.
    void set_dial(std::vector<NodeId> dial);

    void peer_up(const NodeId& peer) { connected_.insert(peer); }
    void peer_down(const NodeId& peer) { connected_.erase(peer); }

    const RosterEntry* find(const NodeId& node) const;
    /// May ask us and send to us.
    bool knows(const NodeId& node) const { return find(node) != nullptr; }
    bool follows(const NodeId& node) const;
    bool connected(const NodeId& node) const { return connected_.contains(node); }
    const std::set<NodeId>& connected() const { return connected_; }
    Epoch epoch() const { return roster_.epoch; }
    const std::optional<SignedBody>& body() const { return body_; }
    bool anyone_joining() const;
    /// Lowest id among the current nodes; zero if there is none.
    NodeId first_current() const;
    /// A node's key, also of one that has left the roster since this process began.
    PublicKey key_of(const NodeId& node) const;

  private:
    void publish();

    Context& context_;
    Roster roster_;
    std::optional<SignedBody> body_;
    std::vector<NodeId> dial_;
    std::set<NodeId> connected_;
    std::map<NodeId, PublicKey> keys_;
};

}  // namespace skerry::node
