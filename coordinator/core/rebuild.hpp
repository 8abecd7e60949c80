#pragma once
// A coordinator whose disk is lost: its state made anew of what the nodes hold (step protocol, section 9).

#include <map>
#include <set>
#include <string>

#include "coordinator/core/events.hpp"

namespace skerry::coordinator {

/// One node, as the drill shows it to the operator.
struct RebuildNode {
    NodeId node;
    std::string name;
    bool member = false;    ///< in a roster that somebody holds
    bool answered = false;
    Step known;             ///< decisions it knows
    bool prepared = false;  ///< it holds a prepared entry of the open step
};

struct RebuildStatus {
    Term term;  ///< what the nodes that answered have stored
    std::vector<RebuildNode> nodes;
    std::size_t members = 0;
    std::size_t answered = 0;  ///< of the members
    std::size_t needed = 0;    ///< more than members - durable copies
    Step head;                 ///< of the longest chain, as far as it is here
    bool whole = false;        ///< manifest and all of that chain are here
    std::string fork;          ///< not empty: two chains that differ, both shown
    bool enough() const { return members > 0 && answered >= needed && whole && fork.empty(); }
    bool all() const { return enough() && answered == members; }
};

/// What a new database is made of.
struct Rebuilt {
    RunRow run;
    Tx tx;  ///< the first of the new database
    Step head;
    std::optional<Digest> adopted;  ///< plan of the prepared entry that is decided next
};

/// Collects what the nodes hold, then writes the first transaction of a new database.
///
/// Pure, like the core: events in, actions out; no session is ever welcomed. The nodes store a term that is 1000 above
/// the highest that any of them had seen before they answer, so that a coordinator of the lost database is refused
/// from then on. Nothing is decided here: a prepared entry of the open step becomes the plan in force, marked so that
/// only its decision ends it, and the coordinator that is started next has it copied and voted like any other.
class RebuildDesk {
  public:
    /// `only`: nodes that are listened to; empty: all.
    RebuildDesk(std::string run_name, std::set<NodeId> only, Signing signing)
        : run_name_(std::move(run_name)), only_(std::move(only)), signing_(std::move(signing)) {}

    Actions hello(const HelloReceived& event);
    Actions message(const MessageReceived& event);
    Actions closed(SessionId session);

    RebuildStatus status() const;

    /// `confirmed`: nodes that the operator knows; others count for nothing.
    /// Errors: bad_state: fewer answers than needed (unless `accept_loss`), or two chains, or nothing to build on.
    Result<Rebuilt> finish(const std::set<NodeId>& confirmed, bool accept_loss) const;

  private:
    struct Holder {
        NodeId node;
        PublicKey key;
        Hello hello;
        std::optional<SessionId> session;
        std::uint64_t seq = 0;
        std::uint64_t heard = 0;
        std::optional<RebuildAnswer> facts;
        std::optional<Roster> roster;
    };
    void ask(Holder& holder, RebuildPart part, Step from, Actions& out);
    void pump(Actions& out);
    void take_manifest(const RebuildAnswer& answer);
    void take_records(const RebuildAnswer& answer);
    bool co_signed(const SignedDecision& record, const Decision& decision) const;
    Holder* source(Step wanted);
    std::map<NodeId, RosterEntry> members(const std::set<NodeId>* confirmed) const;
    std::string find_fork() const;
    Digest h_at(Step step) const;
    Step longest() const;

    std::string run_name_;
    std::set<NodeId> only_;
    Signing signing_;
    Term term_;
    std::map<NodeId, Holder> holders_;
    std::map<SessionId, NodeId> sessions_;
    RunRow run_;
    Manifest manifest_;
    std::vector<SignedDecision> records_;
    std::vector<Decision> chain_;
    std::set<NodeId> bad_;  ///< gave records that do not hold
    std::optional<std::pair<SessionId, RebuildPart>> asked_;  ///< one question for bulk at a time
};

}  // namespace skerry::coordinator
