#pragma once
// What goes into the coordinator's core and what comes out of it.

#include <functional>
#include <map>

#include "coordinator/core/rows.hpp"
#include "protocol/base/units.hpp"

namespace skerry::coordinator {

/// A connection, numbered by the shell; never reused within a process.
using SessionId = Strong<struct SessionTag>;

// ----------------------------------------------------------------------------------------------- events

/// First event of a process, once.
struct Started {};
/// Time passes; due at `CoordinatorCore::next_wake()`.
struct Tick {};
/// First message of a TLS session; `key` was proved in the handshake.
struct HelloReceived {
    SessionId session;
    PublicKey key;
    NodeId node;  ///< fingerprint of `key`
    Hello hello;
    std::string remote;           ///< address of the connection, for people and for the dial-back
    std::int64_t wall_unix_s = 0;
    Bytes fresh_ticket;           ///< random, at least 16 bytes; used if this node needs a new one
};
/// Any later message. The core checks the envelope.
struct MessageReceived {
    SessionId session;
    ControlMessage message;
};
struct SessionClosed { SessionId session; };
/// Answer to a DialBack action.
struct DialBackDone {
    NodeId node;
    Incarnation incarnation;
    bool reachable = false;
};
/// Answer to a LoadDecisions action.
struct DecisionsLoaded {
    SessionId session;
    std::vector<SignedDecision> records;  ///< consecutive, oldest first
};

namespace admin {
struct CreateToken { TokenRow token; };  ///< id and hash made by the shell
struct RevokeToken { TokenId id; };
struct ListTokens {};
struct RevokeNode { NodeId node; std::string reason; };
/// Lifts a revocation: the node may come back with its key.
struct ClearNode { NodeId node; };
struct StartRun {};   ///< created, paused or stopped -> running
struct PauseRun {};   ///< after the open step
struct StopRun { bool now = false; };  ///< after the open step; `now` withdraws the plan
/// A plan whose decision makes S_{k+1} of S_to. `history`: records from step to - 1 on, as the journal has them.
struct Rollback {
    Step to;
    bool refeed = false;  ///< the data of the steps that are undone is fed again
    std::vector<SignedDecision> history;
};
/// A plan whose decision changes the hyper-parameters of the outer step.
struct Configure { OuterHyper outer; };
struct GetStatus {};
/// By whoever holds a token; `node`: of the key that it proved in the handshake.
struct LookAt {
    NodeId node;
    Look look;
    std::int64_t wall_unix_s = 0;
};
}  // namespace admin

using AdminVerb = std::variant<admin::CreateToken, admin::RevokeToken, admin::ListTokens, admin::RevokeNode,
                               admin::ClearNode, admin::StartRun, admin::PauseRun, admin::StopRun,
                               admin::Rollback, admin::Configure, admin::GetStatus, admin::LookAt>;
struct AdminCommand {
    std::uint64_t id = 0;  ///< comes back in AdminAnswer
    AdminVerb verb;
};

using Event = std::variant<Started, Tick, HelloReceived, MessageReceived, SessionClosed, DialBackDone,
                           DecisionsLoaded, AdminCommand>;

// ----------------------------------------------------------------------------------------------- status

/// What is known of one phase of one node, and how long it is waited for (deadlines.hpp).
struct PhaseEstimate {
    std::uint32_t samples = 0;
    Millis median{0};
    Millis deviation{0};
    Millis deadline{0};
};

struct NodeStatus {
    NodeId node;
    std::string name;
    std::string site;
    NodeState state = NodeState::joining;
    std::string reason;
    bool connected = false;
    bool silent = false;
    bool paused = false;
    bool leaving = false;
    bool ready = false;
    bool voted = false;
    bool reachable = false;
    bool disk_full = false;
    Incarnation incarnation;
    Step head;
    std::string phase;  ///< train, ready, exchange, vote, apply, catch up, silent, paused, away, ...
    std::uint64_t phase_ms = 0;
    std::uint64_t heard_ms = 0;  ///< since the last Report
    TrainerPhase trainer = TrainerPhase::none;
    std::uint32_t inner_step = 0;
    double tokens_per_s = 0;
    double loss = 0;
    std::uint64_t leased_sequences = 0;
    std::uint64_t credited_tokens = 0;
    std::optional<Contribution> contribution;  ///< none of a follower that never trained
    std::optional<MachineState> machine;
    std::uint64_t sent_bytes = 0;
    std::uint64_t received_bytes = 0;
    std::vector<Step> snapshots;
    std::vector<NodeId> unreachable;  ///< peers with which it has no connection, whoever dials
    PhaseEstimate collect;
    PhaseEstimate exchange;
    PhaseEstimate votes;
};

/// Everything that `skerry status` shows about a run.
struct RunStatus {
    RunId run;
    std::string name;
    RunId parent_run;   ///< zero unless forked: S_0 is that run's S_parent_step
    Step parent_step;
    Digest parent_h;
    RunState run_state = RunState::created;
    std::string end_reason;
    Term term;
    Epoch epoch;
    Step head;
    Digest h_head;
    std::string phase;  ///< collect, open, hold, paused, stopped, created, behind
    std::uint64_t phase_ms = 0;  ///< since when
    Attempt attempt;    ///< of the plan in force; 0: none
    std::uint32_t participants = 0;  ///< of the plan in force
    std::uint32_t members = 0;
    std::uint64_t tokens_committed = 0;
    std::uint64_t target_tokens = 0;
    std::uint64_t elements = 0;          ///< parameters of the model
    double tokens_per_s = 0;  ///< of committed tokens, over the last rounds of this process; 0: not known
    std::optional<double> loss;          ///< weighted mean of the last committed contributions
    std::optional<double> heldout_loss;
    Step heldout_step;
    std::uint64_t round_remaining_ms = 0;
    std::uint64_t round_ms = 0;          ///< since the round began
    std::uint64_t deadline_remaining_ms = 0;  ///< of the plan in force, or of the collection with its grace
    Millis exchange_prediction{0};       ///< what the exchange is expected to take
    Millis attempt_deadline{0};          ///< of the attempt in force, without extension; 0: no plan
    std::uint64_t patience_ms = 0;       ///< a step should be decided in: round, grace and attempt
    std::uint32_t min_nodes = 0;
    std::uint32_t durable_copies = 0;
    std::string hold_reason;  ///< empty unless it cannot move
    std::string next;
    std::vector<WaitingFor> waiting_for;
    std::vector<NodeStatus> nodes;
    Step floor;
    OuterHyper outer;                    ///< in force
    std::optional<std::pair<Step, Step>> rolled_back;  ///< the newest rollback: (step gone back to, its own)
    std::optional<StateDigest> agreed;  ///< newest state that enough nodes reported alike
    std::uint32_t agreed_by = 0;
    std::uint64_t free_sequences = 0;    ///< returned, plus the tail up to the target
    std::uint64_t leased_sequences = 0;
    std::uint64_t dropped_messages = 0;  ///< of another run, term or incarnation, or without meaning now
    std::uint64_t superseded = 0;        ///< plans, since this process started
    std::uint64_t withdrawn = 0;
};

// ---------------------------------------------------------------------------------------------- actions

/// Must be durable before any later action is carried out.
struct Persist { Tx tx; };
struct Send {
    SessionId session;
    ControlMessage message;  ///< complete: run, term, incarnation, seq
};
/// After what was sent to it before.
struct Close { SessionId session; };
/// Try to connect to the addresses; answer with DialBackDone.
struct DialBack {
    NodeId node;
    Incarnation incarnation;
    std::vector<Address> addresses;
};
/// Read records from the journal; answer with DecisionsLoaded.
struct LoadDecisions {
    SessionId session;
    Step from;
    std::uint32_t max = 0;
};
struct AdminAnswer {
    std::uint64_t id = 0;
    std::optional<Error> error;
    std::variant<std::monostate, RunStatus, std::vector<TokenRow>, LookAnswer> value;
};
/// One line for the log.
struct Note {
    bool warn = false;
    std::string event;
    std::vector<std::pair<std::string, std::string>> fields;
};

using Action = std::variant<Persist, Send, Close, DialBack, LoadDecisions, AdminAnswer, Note>;
using Actions = std::vector<Action>;

// --------------------------------------------------------------------------------------------- settings

/// Times of a run. Deadlines of the phases follow what was measured of each node, within these bounds; each fixed time
/// holds until there is a measurement.
struct CoreConfig {
    Millis heartbeat{1000};
    Millis silent_after{5000};
    Millis away_after{120'000};     ///< at least; or two rounds if that is longer
    Millis collect_most{0};         ///< a slow node is waited for so long at most; 0: two rounds. At least one round
    Millis exchange_deadline{60'000};  ///< D of the first attempt, not measured; attempt n waits D * 2^min(n-1, 6)
    Millis exchange_least{10'000};  ///< D is never below this (or exchange_deadline, if that is shorter)
    Millis exchange_most{0};        ///< 0: ten times the prediction
    Millis vote_deadline{5000};     ///< at least, for the rest, once enough durable votes agree; ten times it at most
    std::uint32_t grace_percent = 10;  ///< of a node's collect deadline, after which two thirds are enough
    bool restored = false;  ///< from a backup that may be older than what nodes hold: nothing goes on before that is known
};

/// The only secrets and keys the core needs; pure functions. The simulator gives cheap ones.
struct Signing {
    std::function<Signature(ByteSpan body)> sign;  ///< with the service key
    std::function<bool(const PublicKey&, const Digest& h_after, const Signature&)> verify_vote;
    /// An owner's word for a result leaf.
    std::function<bool(const PublicKey&, const Digest& plan, PieceIndex, const Digest& leaf, const Signature&)>
        verify_result;
};

}  // namespace skerry::coordinator
