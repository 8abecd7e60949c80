#pragma once
// What the parts of the core share: the run's state and the output of the event being handled.

#include <deque>
#include <map>
#include <set>

#include "coordinator/core/events.hpp"
#include "coordinator/core/leases.hpp"

namespace skerry::coordinator {

/// A node: its row, and what its present process said last.
struct Node {
    NodeRow row;
    std::optional<SessionId> session;
    Mono lost{};                   ///< when its session ended
    Mono heard{};                  ///< last Report, or when this process of ours started
    bool expected = false;         ///< since our start it has not been here: it gets the full time to come back
    std::optional<Report> report;  ///< of the current incarnation; forgotten with the process
    Step known_head;
    bool leaving = false;
    LeaveWhen leave_when = LeaveWhen::after_step;
    Step leave_from;               ///< head when it asked
    /// The state must be loaded again (diverged, or a tie). A node that does so names no digests meanwhile:
    /// then `cleared`, and what it names afterwards is of the new state.
    struct Reload {
        Step from;  ///< the first state that differed
        bool cleared = false;
    };
    std::optional<Reload> reload;
    Mono joining_since{};
    std::uint32_t version = 0;     ///< of the protocol, highest that it speaks; 0: not heard since our start
    Mono restarted{};              ///< when this process of its was admitted; zero: before ours
    std::string phase;
    Mono phase_since{};
    std::optional<std::pair<PreparedState, bool>> checked_vote;  ///< signature checks are dear

    bool current() const { return row.state == NodeState::current; }
    bool following() const { return row.state == NodeState::following; }
};

struct Session {
    NodeId node;
    std::uint64_t seq_in = 0;
    std::uint64_t seq_out = 0;
    Epoch roster_sent;
    Mono roster_sent_at{};
    Digest plan_sent;
    Mono orders_at{};
    bool dirty = true;
};

/// A plan in force, with what is known of its progress.
struct OpenPlan {
    PlanRow row;
    Plan plan;
    Mono opened{};
    Mono grew{};       ///< a member's have-count rose
    std::map<NodeId, std::uint64_t> have;
    std::optional<Mono> quorum_since;   ///< r durable votes agree
    std::optional<Mono> disagree_since;  ///< two roots were voted
    Millis patience{0};                  ///< D of this attempt, doubled already
    bool resumed = false;                ///< of an earlier process: when it began is not known
    std::map<NodeId, Millis> complete;   ///< members with all results, and after how long
    std::map<NodeId, Mono> voted;

    bool is_member(const NodeId& node) const;
    const Participant* participant(const NodeId& node) const;
};

/// Copies that make an entry safe: durable_copies, but never more than the nodes a run must have.
std::uint32_t safe_copies(const Manifest& manifest);

struct Context {
    Context(Image image, CoreConfig config_in, Signing signing_in);

    CoreConfig config;
    Signing signing;
    RunRow run;
    Manifest manifest;
    Digest manifest_digest;

    // Durable.
    Term term;
    MetaRow meta;
    SignedBody roster;
    std::map<TokenId, TokenRow> tokens;
    std::map<NodeId, Node> nodes;
    LeaseLedger ledger;
    std::map<NodeId, std::deque<RequestRow>> requests;
    Step head;
    Digest h_head;
    std::uint64_t tokens_committed = 0;
    OuterHyper outer;                ///< in force: the manifest's until a CONFIG changed it
    std::deque<DecisionRow> recent;  ///< the newest decisions, oldest first
    std::vector<std::pair<Step, Step>> rollbacks;  ///< (step gone back to, its own)
    std::optional<Step> first_change;  ///< the first decision of another kind than commit
    std::map<Step, std::map<NodeId, Digest>> digests;
    std::optional<OpenPlan> open;
    Attempt last_attempt;
    std::set<NodeId> step_members;  ///< of this step's plans, those before the last start left out

    // Volatile.
    Mono now{};
    std::map<SessionId, Session> sessions;
    std::set<NodeId> behind;         ///< nodes that know more than our database
    Step ahead;                      ///< of a restored database: the highest head that a node named
    std::vector<NodeId> tied;        ///< nodes whose states differ and nobody can say who is right
    Mono round_started{};
    bool round_running = false;      ///< min_nodes were here
    std::uint32_t planned_participants = 1;
    Step floor;
    std::string hold_reason;
    std::uint64_t dropped = 0;
    std::uint64_t superseded = 0;
    std::uint64_t withdrawn = 0;
    std::optional<double> last_loss;
    std::deque<std::pair<Mono, std::uint64_t>> committed_at;

    // Output of the event being handled.
    Ops ops;
    Actions out;
    bool roster_changed = false;
    bool all_dirty = false;  ///< every session gets Orders
    std::set<NodeId> rows_changed;

    Node* find(const NodeId& node);
    const Node* find(const NodeId& node) const;
    bool silent(const Node& node) const;
    /// Current and heard of: who may be waited for.
    bool here(const Node& node) const { return node.current() && !silent(node); }
    /// For people: the name, or the first digits of the id.
    std::string label(const NodeId& node) const;
    std::size_t current_count() const;
    bool pinned(LeaseId lease) const;
    std::uint32_t safe_copies() const { return coordinator::safe_copies(manifest); }
    /// h of S_k; empty if too old to be remembered.
    std::optional<Digest> h_at(Step step) const;
    /// Committed tokens of S_step; empty if too old to be remembered.
    std::optional<std::uint64_t> tokens_at(Step step) const;
    /// Whether a rollback undid S_state.
    bool undone(Step state) const;
    /// Whether digests of S_step are still of use: the newest states, and those that snapshots are made of.
    bool keeps_digest(Step step) const;
    std::uint64_t local_sequences() const;  ///< of one round of one node; 0: by time
    Millis round_length() const { return Millis(manifest.round_ms); }

    void set_state(Node& node, NodeState state, std::string reason);
    void save(Node& node) { rows_changed.insert(node.row.node); }
    /// Frees the node's leases that no plan pins.
    void release_leases(const NodeId& node);
    void begin_round();
    void send(SessionId session, ControlBody body);
    void touch(Node& node);  ///< its session gets Orders
    void note(bool warn, std::string event, std::vector<std::pair<std::string, std::string>> fields = {});

    /// A new epoch with the roster as it is now, if it changed.
    void flush_roster();
    /// The roster of the epoch that the rows were saved with.
    void restore_roster();
    /// Changed rows into the transaction.
    void flush_rows();
};

}  // namespace skerry::coordinator
