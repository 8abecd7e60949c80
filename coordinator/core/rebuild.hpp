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
    bool member = false;    ///< in the newest roster that somebody holds, or named by the operator
    bool answered = false;
    Step known;             ///< decisions it knows
    bool prepared = false;  ///< it holds a prepared entry of the open step
    bool empty = false;     ///< it said that it holds nothing of the run: its disk is new
};

struct RebuildStatus {
    Term term;  ///< what the nodes that answered have stored; 0 before the nodes are confirmed
    std::vector<RebuildNode> nodes;
    std::size_t members = 0;
    std::size_t answered = 0;  ///< of the members
    std::size_t needed = 0;    ///< more than members - durable copies
    std::size_t unheard = 0;   ///< nodes that the operator named and that did not answer in this term
    bool asking = false;       ///< a question is out: its answer comes, or it is given up
    Step head;                 ///< of the longest chain, as far as it is here
    bool whole = false;        ///< manifest and all of that chain are here
    std::string fork;          ///< not empty: two chains that differ, both shown
    std::string unproven;      ///< not empty: the end of the chain is one node's word
    bool enough() const { return members > 0 && answered >= needed && whole && fork.empty() && unproven.empty(); }
    bool all() const { return enough() && answered == members && unheard == 0; }
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
/// Pure, like the core: events in, actions out; no session is ever welcomed. Two stages. Until the operator's nodes are
/// confirmed, whoever dials is looked at: asked, in the term that it has, who it is and knows, for the list. From
/// confirm() on only confirmed nodes exist here, so nobody else's word has a part in anything: they store a term that
/// is 1000 above the highest that any of them had seen before they answer, and a coordinator of the lost database is
/// refused from then on. Nothing is decided here: a prepared entry of the open step becomes the plan in force, marked so
/// that only its decision ends it, and the coordinator that is started next has it copied and voted like any other.
class RebuildDesk {
  public:
    /// `named`: confirmed at once; empty: confirm() is to follow.
    RebuildDesk(std::string run_name, std::set<NodeId> named, Signing signing)
        : run_name_(std::move(run_name)), confirmed_(!named.empty()), named_(std::move(named)), signing_(std::move(signing)) {}

    Actions hello(const HelloReceived& event);
    Actions message(const MessageReceived& event);
    Actions closed(SessionId session);
    /// A few times a second: who does not answer is passed over.
    Actions tick(Mono now);
    /// The operator's nodes. All that was heard of others is forgotten, their sessions end.
    Actions confirm(std::set<NodeId> nodes);
    bool confirmed() const { return confirmed_; }

    RebuildStatus status() const;

    /// `paused`: the run waits for a start. Errors: bad_state: fewer answers than needed (unless `accept_loss`), or two
    /// chains, or nothing to build on, or an end of the chain that nobody but one node can vouch for.
    Result<Rebuilt> finish(bool accept_loss, bool paused = false) const;

  private:
    struct Question {
        Term term;
        RebuildPart part = RebuildPart::facts;
        std::optional<Mono> since;
    };
    struct Holder {
        NodeId node;
        PublicKey key;
        Hello hello;
        std::optional<SessionId> session;
        std::uint64_t seq = 0;
        std::uint64_t heard = 0;
        std::optional<Question> asked;
        std::uint32_t failed = 0;  ///< questions it did not answer: others are asked first
        bool wrong = false;        ///< gave records that do not hold: not asked for any more
        std::optional<RebuildAnswer> facts;
        std::optional<Roster> roster;
        bool genuine = false;      ///< the roster is signed with the service key that is here
    };
    std::optional<Refusal> refusal(const HelloReceived& event) const;
    void forget(Holder& holder, Actions& out);
    void prune();
    void raise_term(Term seen);
    void ask(Holder& holder, RebuildPart part, Step from, Actions& out);
    void pump(Actions& out);
    void pump_bulk(Actions& out);
    bool take_facts(Holder& holder, const RebuildAnswer& answer);
    bool take_manifest(const RebuildAnswer& answer);
    bool take_records(const NodeId& from, const RebuildAnswer& answer);
    std::set<NodeId> voters_of(const SignedDecision& record, const Decision& decision) const;
    bool has_heard(const Holder& holder) const;
    bool answered(const Holder& holder) const { return has_heard(holder) && holder.roster; }
    bool named_by_others(const NodeId& node) const;
    /// It counts for nothing here, but what it holds is as good as anybody's.
    bool follows(const NodeId& node) const;
    std::map<NodeId, RosterEntry> followers() const;
    Holder* source(Step wanted);
    const Holder* newest() const;
    std::map<NodeId, RosterEntry> members() const;
    std::set<NodeId> named_unknown(const std::map<NodeId, RosterEntry>& known) const;
    std::size_t copies() const;
    std::string find_fork() const;
    std::string find_unproven() const;
    Digest h_at(Step step) const;
    Step longest() const;

    std::string run_name_;
    bool confirmed_;
    std::set<NodeId> named_;
    Signing signing_;
    Term term_;
    std::map<NodeId, Holder> holders_;
    std::map<SessionId, NodeId> sessions_;
    RunRow run_;
    Manifest manifest_;
    std::vector<SignedDecision> records_;
    std::vector<Decision> chain_;
    std::vector<NodeId> given_by_;  ///< of each record
};

}  // namespace skerry::coordinator
