#pragma once
// Every message and every agreed body as plain values. No Protobuf, no I/O: the cores, the simulator and the
// codecs (canonical.hpp, control_codec.hpp, peer_codec.hpp) all speak these.
//
// Two kinds of structs live here:
// - *bodies* (Manifest, Roster, Plan, Decision): travel, are stored, hashed and signed as canonical bytes;
// - *messages*: travel as Protobuf frames (control) or envelopes (data plane) and are never hashed.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "protocol/base/bytes.hpp"
#include "protocol/base/error.hpp"
#include "protocol/base/ids.hpp"

namespace skerry {

// ---------------------------------------------------------------------------------------------- bodies

/// Hyper-parameters of the outer step: m = mu*m + mean; theta = theta - eta*(mean + mu*m).
struct OuterHyper {
    float eta = 0.7F;
    float mu = 0.9F;
    friend bool operator==(const OuterHyper&, const OuterHyper&) = default;
};

enum class CodecId : std::uint8_t { f32 = 1, a8 = 2 };
enum class Overlap : std::uint8_t { none = 0 };

/// One tensor of the canonical flat vector. `init_scale` is c_t of docs/architecture (sigma * sqrt(3) / 2^24);
/// zero means "all ones" (norm weights), or all zeros where the name ends in ".bias".
struct TensorRow {
    std::string name;
    std::vector<std::uint64_t> shape;
    std::uint64_t first_element = 0;
    std::uint64_t elements = 0;
    float init_scale = 0;
    friend bool operator==(const TensorRow&, const TensorRow&) = default;
};

/// What a run is. Immutable; its digest is the seed of the hash chain.
struct Manifest {
    RunId run;
    std::string name;
    std::uint64_t seed = 0;
    std::uint64_t elements = 0;  ///< P, of the flat vector
    std::uint32_t piece_elements = 0;
    CodecId codec = CodecId::a8;
    Overlap overlap = Overlap::none;
    OuterHyper outer;
    std::vector<TensorRow> tensors;
    std::string model_json;    ///< Hugging Face config keys
    std::string train_json;    ///< inner optimizer, schedule, precision: for the trainer, verbatim
    Digest data_manifest;      ///< SHA-256 of the data manifest file
    std::uint64_t sequences = 0;        ///< D, training sequences of one pass
    std::uint32_t sequence_tokens = 0;  ///< tokens that one sequence trains on
    std::uint64_t target_tokens = 0;    ///< the run ends at this many committed tokens
    std::uint32_t batch_sequences = 1;  ///< sequences of one inner step
    std::uint32_t local_steps = 0;      ///< H
    std::uint32_t round_ms = 0;         ///< round length: the collect deadline's lower bound
    std::uint32_t min_nodes = 2;
    std::uint32_t durable_copies = 2;
    std::uint32_t max_carry = 1;
    std::uint32_t snapshot_every = 10;
    std::uint32_t evaluate_every = 0;      ///< held-out loss every so many steps, by one node; 0: never
    std::uint32_t evaluate_sequences = 0;  ///< spread evenly over the held-out shards
    std::uint64_t disk_quota_bytes = 0;  ///< of a node's run folder; 0: none
    Digest initial_root;                 ///< SHA-256 of the file of S_0 (rules/base_file.hpp); zero: from the seed
    RunId parent_run;                    ///< zero unless forked (with an initial_root alone S_0 is a model folder's): S_0 is that run's S_parent_step, at this place of its chain
    Step parent_step;
    Digest parent_h;
    friend bool operator==(const Manifest&, const Manifest&) = default;
};

struct Address {
    std::string host;
    std::uint16_t port = 0;
    friend bool operator==(const Address&, const Address&) = default;
};

/// `following`: reads the log and nothing else. It is in no plan, holds no lease and is no copy that anybody counts.
enum class NodeState : std::uint8_t { joining = 1, current, away, leaving, left, revoked, following };

struct RosterEntry {
    NodeId node;
    PublicKey key;
    NodeState state = NodeState::joining;
    CurveKey curve;
    Incarnation incarnation;
    std::vector<Address> addresses;
    bool reachable = false;  ///< the coordinator's dial-back reached one of the addresses
    std::string name;
    std::string site;
    friend bool operator==(const RosterEntry&, const RosterEntry&) = default;
};

/// The joining, current and following nodes sorted by node id.
struct Roster {
    RunId run;
    Epoch epoch;
    std::vector<RosterEntry> nodes;
    friend bool operator==(const Roster&, const Roster&) = default;
};

/// Positions [from, to) of a lease; absolute positions in the permuted order (pass * D + x).
struct Segment {
    LeaseId lease;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
    friend bool operator==(const Segment&, const Segment&) = default;
};

struct Participant {
    NodeId node;
    Incarnation incarnation;
    Digest contribution;  ///< Merkle root of its encoded chunks
    std::uint64_t weight_tokens = 0;
    std::vector<Segment> segments;
    friend bool operator==(const Participant&, const Participant&) = default;
};

/// `rollback_refeed`: the data of the steps that it undoes is fed again. `loss_accepted`: changes nothing; the operator
/// had a lost coordinator rebuilt from fewer nodes than can prove that nothing decided is missing.
enum class EntryKind : std::uint8_t { commit = 1, rollback, config, rollback_refeed, loss_accepted };
constexpr bool is_rollback(EntryKind kind) { return kind == EntryKind::rollback || kind == EntryKind::rollback_refeed; }

/// Everything that the result of one attempt depends on.
struct Plan {
    RunId run;
    Step step;
    Term term;  ///< of writing
    Attempt attempt;
    Epoch epoch;
    EntryKind kind = EntryKind::commit;
    std::uint16_t stage = 0;
    std::uint64_t first_element = 0;  ///< range of the flat vector
    std::uint64_t elements = 0;
    std::uint32_t fragment = 0;
    OuterHyper outer;
    std::uint32_t durable_copies = 2;           ///< r = min(configured, members)
    std::vector<Participant> participants;      ///< in summation order (ascending node id)
    std::vector<NodeId> members;                ///< ascending: participants, and others that own or vote
    std::vector<std::uint16_t> piece_owner;     ///< [pieces] index into `members`
    Step rollback_to;                           ///< kinds of rollback only
    friend bool operator==(const Plan&, const Plan&) = default;
};

/// What one member's data was worth in a decided step.
struct Credit {
    NodeId node;
    Digest contribution;
    std::uint64_t weight_tokens = 0;
    std::vector<Segment> segments;
    friend bool operator==(const Credit&, const Credit&) = default;
};

struct VoterSignature {
    NodeId node;
    PublicKey key;
    Signature signature;  ///< over h_after, tag "skerry/vote/1"
    friend bool operator==(const VoterSignature&, const VoterSignature&) = default;
};

/// Entry k of the log, as the coordinator decided it.
struct Decision {
    RunId run;
    Step step;
    EntryKind kind = EntryKind::commit;
    Term term;  ///< of the plan's writing
    Attempt attempt;
    Digest plan_digest;
    std::vector<Digest> roots;  ///< one per stage; zero bytes for rollback and config
    std::uint32_t fragment = 0;
    OuterHyper outer;
    Step rollback_to;
    std::vector<Credit> credits;
    std::uint64_t tokens_after = 0;
    Digest h_after;
    friend bool operator==(const Decision&, const Decision&) = default;
};

/// A body with the service key's signature; `body` is canonical bytes.
struct SignedBody {
    Bytes body;
    Signature signature;
    friend bool operator==(const SignedBody&, const SignedBody&) = default;
};

struct SignedDecision {
    SignedBody decision;
    std::vector<VoterSignature> voters;
    friend bool operator==(const SignedDecision&, const SignedDecision&) = default;
};

// ------------------------------------------------------------------------------------- control messages

/// Protocol versions, major << 16 | minor. 1.1: rollbacks, changes of hyper-parameters, rebuilds. 1.2: followers, data
/// shards between nodes. 1.3: looks before joining, what a node has given, what its machine has.
struct VersionRange {
    std::uint32_t min = 0x00010000;
    std::uint32_t max = 0x00010003;
    friend bool operator==(const VersionRange&, const VersionRange&) = default;
};

/// The first that knows entries of other kinds than commit.
inline constexpr std::uint32_t kVersionOfChanges = 0x00010001;
/// The first that knows followers in a roster.
inline constexpr std::uint32_t kVersionOfFollowers = 0x00010002;

/// Session start. The node's identity is the key it proved in the TLS handshake.
struct Hello {
    VersionRange versions;
    std::string run_name;
    std::string node_name;
    std::string site;
    std::string software;
    CurveKey curve;
    std::vector<Address> addresses;
    Bytes token_id;      ///< with `token_secret`: first admission
    Bytes token_secret;
    Bytes ticket;        ///< or: admitted before
    BootId boot;
    Incarnation incarnation_in_memory;  ///< 0 after a start
    Incarnation incarnation_on_disk;
    Term seen_term;
    Epoch seen_epoch;
    Step head;
    Digest h_head;
    bool follow = false;  ///< comes to follow, not to train
    friend bool operator==(const Hello&, const Hello&) = default;
};

struct Welcome {
    std::uint32_t version = 0;
    RunId run;
    Term term;
    Incarnation incarnation;
    bool disk_is_behind = false;  ///< drop progress, residual and contribution (restored or cloned disk)
    Bytes ticket;
    Bytes manifest;  ///< canonical body
    Bytes data_manifest;  ///< the JSON file
    SignedBody roster;
    Step head;
    Digest h_head;
    friend bool operator==(const Welcome&, const Welcome&) = default;
};

struct Refusal {
    Errc code = Errc::refused;
    std::string reason;
    std::string fix;
    std::uint32_t retry_after_ms = 0;
    friend bool operator==(const Refusal&, const Refusal&) = default;
};

/// READY: my delta is frozen. An empty list of segments: nothing to give, but I can own and vote.
struct ReadyState {
    Step step;
    Digest contribution;
    std::uint64_t weight_tokens = 0;
    std::vector<Segment> segments;
    double norm = 0;
    double loss = 0;
    bool finite = true;
    friend bool operator==(const ReadyState&, const ReadyState&) = default;
};

struct StalledEdge {
    NodeId from;
    bool contribution = false;  ///< else a result
    std::uint32_t waited_ms = 0;
    friend bool operator==(const StalledEdge&, const StalledEdge&) = default;
};

struct ExchangeState {
    Digest plan;
    std::uint32_t contributions_have = 0;
    std::uint32_t contributions_need = 0;
    std::uint32_t results_have = 0;
    std::uint32_t results_need = 0;
    std::vector<NodeId> gone;  ///< makers (or myself) whose bound contribution is lost
    std::vector<StalledEdge> stalled;
    friend bool operator==(const ExchangeState&, const ExchangeState&) = default;
};

struct PreparedState {
    Digest plan;
    Digest root;
    bool durable = false;
    Signature signature;  ///< over h_{k+1}
    friend bool operator==(const PreparedState&, const PreparedState&) = default;
};

struct StateDigest {
    Step step;  ///< of S_step
    Digest value;
    friend bool operator==(const StateDigest&, const StateDigest&) = default;
};

enum class TrainerPhase : std::uint8_t { none = 0, starting, training, waiting, stopped, failed };

/// What its owner lets a node have of a machine: [limits] of node.toml. Zero: no limit.
struct MachineLimits {
    std::uint64_t up_bytes_per_s = 0;    ///< of all bulk data together
    std::uint64_t down_bytes_per_s = 0;
    std::uint64_t daily_bytes = 0;       ///< both ways
    std::uint64_t memory_bytes = 0;      ///< of the trainer
    std::uint64_t disk_bytes = 0;        ///< of log, snapshots and data shards
    friend bool operator==(const MachineLimits&, const MachineLimits&) = default;
};

/// What a node's machine has, as far as the node knows. Zero: not known.
struct MachineState {
    std::uint32_t cores = 0;  ///< that the agent may run on
    std::uint64_t memory_bytes = 0;       ///< in all, or what its control group may use
    std::uint64_t memory_free_bytes = 0;
    std::uint64_t disk_free_bytes = 0;    ///< where the node's folder is
    double tokens_per_s = 0;              ///< while it trains, measured; kept while it does not
    double up_bytes_per_s = 0;            ///< of the data plane while there is something to send, measured
    double down_bytes_per_s = 0;          ///< of the busiest second: it can do at least that
    MachineLimits limits;
    friend bool operator==(const MachineState&, const MachineState&) = default;
};

/// Where a node stands. A state, not an event: sent on change and every second.
struct Report {
    Step head;
    Digest h_head;
    Step log_synced_to;  ///< entries and decisions below this step are fsynced
    Epoch epoch;
    std::optional<ReadyState> ready;
    std::optional<ExchangeState> exchange;
    std::optional<PreparedState> prepared;
    std::vector<StateDigest> digests;  ///< at most 4, newest last
    std::vector<Step> snapshots;       ///< fsynced, ascending, at most 16
    Step oldest_entry;
    TrainerPhase trainer = TrainerPhase::none;
    std::uint32_t inner_step = 0;
    double tokens_per_s = 0;
    double loss = 0;
    std::optional<double> heldout_loss;  ///< of S_head, where this node evaluated it
    Step heldout_step;
    bool paused = false;
    bool disk_full = false;
    std::vector<NodeId> unreachable;  ///< peers that neither side could connect
    std::uint64_t sent_bytes = 0;     ///< application bytes of the data plane since the process started
    std::uint64_t received_bytes = 0;
    Bytes shards;  ///< held whole: bit i of byte i/8 is file i of the data manifest, the one behind the last the base state
    std::optional<MachineState> machine;
    friend bool operator==(const Report&, const Report&) = default;
};

enum class RunState : std::uint8_t { created = 1, running, paused, stopped };

struct LeaseInfo {
    LeaseId id;
    std::uint64_t lo = 0;
    std::uint64_t hi = 0;
    std::uint64_t done = 0;  ///< [lo, done) is credited
    bool pinned = false;     ///< named by the plan in force
    friend bool operator==(const LeaseInfo&, const LeaseInfo&) = default;
};

struct PlanRef {
    Digest digest;
    Bytes body;  ///< canonical; empty when the receiver was sent it before
    friend bool operator==(const PlanRef&, const PlanRef&) = default;
};

enum class Ask : std::uint8_t { state_digest = 1, fetch_entries, write_snapshot, reload_state };

struct OrderRequest {
    Ask ask = Ask::state_digest;
    Step step;
    friend bool operator==(const OrderRequest&, const OrderRequest&) = default;
};

struct Holder {
    NodeId node;
    Step oldest_entry;
    Step head;
    std::vector<Step> snapshots;
    friend bool operator==(const Holder&, const Holder&) = default;
};

struct WaitingFor {
    NodeId node;  ///< zero: the run as a whole
    std::string phase;
    std::uint64_t since_ms = 0;
    friend bool operator==(const WaitingFor&, const WaitingFor&) = default;
};

/// What one node has given to the run, by the coordinator's books.
struct Contribution {
    std::uint64_t tokens = 0;        ///< in decided steps
    std::uint64_t tokens_of_all = 0; ///< the same of all nodes
    std::uint64_t steps = 0;         ///< decided steps that its data is in
    std::uint64_t steps_here = 0;    ///< decided while it was here, those included
    std::uint32_t rank = 0;          ///< by tokens, 1 is the most; 0: none yet
    std::uint32_t ranked = 0;        ///< nodes with any tokens
    std::uint64_t sent_bytes = 0;    ///< of the data plane, by all its processes
    std::uint64_t received_bytes = 0;
    std::uint64_t active_ms = 0;     ///< of the steps counted in `steps_here`
    std::int64_t since_unix_s = 0;   ///< when it was first admitted; 0: not known
    friend bool operator==(const Contribution&, const Contribution&) = default;
};

/// Where the run stands. Sent on change and every second; decisions and plans in it are facts.
struct Orders {
    RunState run_state = RunState::created;
    Step head;
    Digest h_head;
    std::uint64_t tokens_committed = 0;
    Epoch epoch;
    std::optional<SignedBody> roster;  ///< when newer than what the node reported
    std::optional<PlanRef> plan;
    std::vector<LeaseInfo> leases;     ///< all that the ledger says this node holds
    std::uint32_t planned_participants = 1;
    std::uint64_t round_remaining_ms = 0;
    std::uint64_t edge_patience_ms = 0;  ///< D/4: an edge without a byte for so long is stalled
    Step floor;
    bool data_ended = false;           ///< nothing left to lease and no open lease
    std::vector<OrderRequest> requests;
    std::vector<Holder> holders;
    std::vector<StateDigest> digests;  ///< agreed digests of the snapshots that holders name; at most 16
    std::vector<NodeId> dial;          ///< peers this node must dial (the other side cannot)
    std::vector<WaitingFor> waiting_for;
    std::string hold_reason;           ///< empty unless HOLD
    std::string next;                  ///< what happens next, for people
    std::vector<SignedDecision> decisions;  ///< the newest, when the receiver's head is exactly one below
    std::optional<Contribution> contribution;  ///< of the receiver
    friend bool operator==(const Orders&, const Orders&) = default;
};

struct LeaseRequest {
    std::uint64_t request_id = 0;
    std::uint64_t sequences = 0;
    friend bool operator==(const LeaseRequest&, const LeaseRequest&) = default;
};
struct LeaseGrant {
    std::uint64_t request_id = 0;
    std::vector<LeaseInfo> leases;
    friend bool operator==(const LeaseGrant&, const LeaseGrant&) = default;
};
struct LeaseReturn {
    std::vector<LeaseId> leases;
    friend bool operator==(const LeaseReturn&, const LeaseReturn&) = default;
};
struct DecisionsRequest {
    Step from;
    friend bool operator==(const DecisionsRequest&, const DecisionsRequest&) = default;
};
/// Consecutive, oldest first; as many as a frame holds.
struct Decisions {
    std::vector<SignedDecision> records;
    friend bool operator==(const Decisions&, const Decisions&) = default;
};
/// The body of a plan that Orders named by digest only.
struct PlanRequest {
    Digest digest;
    friend bool operator==(const PlanRequest&, const PlanRequest&) = default;
};

enum class BlameKind : std::uint8_t { bad_contribution = 1, two_results };
struct Blame {
    Digest plan;
    PieceIndex piece;
    BlameKind kind = BlameKind::bad_contribution;
    NodeId accused;
    Bytes evidence;  ///< bad_contribution: proof and chunk; two_results: two (leaf, signature)
    friend bool operator==(const Blame&, const Blame&) = default;
};

enum class LeaveWhen : std::uint8_t { after_step = 1, now };
struct Leaving {
    LeaveWhen when = LeaveWhen::after_step;
    friend bool operator==(const Leaving&, const Leaving&) = default;
};
/// Coordinator to node: you have left, everything is handed over.
struct Left {
    friend bool operator==(const Left&, const Left&) = default;
};
struct Replaced {
    friend bool operator==(const Replaced&, const Replaced&) = default;
};
/// In place of a Welcome, by a coordinator that is being rebuilt: what does this node hold? The term is stored before
/// it is answered: from then on a coordinator of an older one is refused.
enum class RebuildPart : std::uint8_t { facts = 1, manifest, decisions };
struct RebuildAsk {
    Term term;
    RebuildPart part = RebuildPart::facts;
    Step from;  ///< decisions only
    friend bool operator==(const RebuildAsk&, const RebuildAsk&) = default;
};
/// A plan of the open step that this node has prepared.
struct HeldPlan {
    Bytes body;  ///< canonical
    Digest root;
    friend bool operator==(const HeldPlan&, const HeldPlan&) = default;
};
struct RebuildAnswer {
    Term term;
    RebuildPart part = RebuildPart::facts;
    // facts
    Step known;  ///< decisions known
    Digest h_known;
    Incarnation incarnation;
    SignedBody roster;  ///< the last that it was sent
    std::vector<HeldPlan> prepared;
    std::vector<StateDigest> snapshots;
    LeaseId highest_lease;
    // manifest
    Bytes manifest;
    Bytes data_manifest;
    // decisions: consecutive, as many as fit
    std::vector<SignedDecision> records;
    friend bool operator==(const RebuildAnswer&, const RebuildAnswer&) = default;
};
/// One block of a data shard, by hash of the shard. On a TLS connection of its own, where it is the first message
/// (no Hello: that would be a session); the key of the handshake must be that of a joining or current node.
/// Answered by ShardBlock, or by Refusal. run is that of the envelope.
/// With `ask` the answer may be ShardSources instead.
struct ShardGet {
    Digest shard;
    std::uint64_t offset = 0;
    std::uint32_t bytes = 0;
    bool ask = false;
    std::vector<NodeId> failed;  ///< with `ask`: nodes that did not give it
    friend bool operator==(const ShardGet&, const ShardGet&) = default;
};
struct ShardBlock {
    Digest shard;
    std::uint64_t offset = 0;
    Bytes data;
    friend bool operator==(const ShardBlock&, const ShardBlock&) = default;
};
/// Who else has it, or is about to. Blocks are of kMaxShardBlockBytes; `blocks` has the SHA-256 of each, one after the
/// other, and is empty if they do not fit a frame: then only the whole shard can be checked.
struct ShardSources {
    Digest shard;
    std::vector<NodeId> nodes;
    Bytes blocks;
    std::uint32_t again_ms = 0;  ///< ask again after that, whatever came
    friend bool operator==(const ShardSources&, const ShardSources&) = default;
};
/// Administration, by local socket or TLS with an administrator's token. Arguments and answer are JSON.
struct AdminRequest {
    std::uint64_t id = 0;
    std::string verb;
    std::string json;
    Bytes data;  ///< `data push`: one block
    Bytes token_id;
    Bytes token_secret;
    friend bool operator==(const AdminRequest&, const AdminRequest&) = default;
};
struct AdminReply {
    std::uint64_t id = 0;
    Errc code = Errc::internal;
    bool ok = false;
    std::string json;
    friend bool operator==(const AdminReply&, const AdminReply&) = default;
};

/// What a bearer of a token may know of the run before it joins. The only message of its connection; nothing of the token
/// is used up. Answered by LookAnswer, or by the Refusal that a Hello would get.
struct Look {
    VersionRange versions;
    std::string run_name;
    Bytes token_id;
    Bytes token_secret;
    friend bool operator==(const Look&, const Look&) = default;
};
struct LookAnswer {
    std::uint32_t version = 0;
    Bytes manifest;       ///< canonical body
    Bytes data_manifest;  ///< the JSON file
    RunState run_state = RunState::created;
    Step head;
    std::uint64_t tokens_committed = 0;
    std::uint32_t nodes = 0;   ///< current ones
    std::uint64_t step_ms = 0; ///< that the last steps took; 0: not known
    bool counted = false;      ///< the key is one of these nodes'
    friend bool operator==(const LookAnswer&, const LookAnswer&) = default;
};

using ControlBody =
    std::variant<Hello, Welcome, Refusal, Report, Orders, LeaseRequest, LeaseGrant, LeaseReturn,
                 DecisionsRequest, Decisions, PlanRequest, Blame, Leaving, Left, Replaced, ShardGet,
                 ShardBlock, AdminRequest, AdminReply, RebuildAsk, RebuildAnswer, ShardSources,
                 Look, LookAnswer>;

/// The control envelope. `seq` rises within a session; a lower one is dropped.
struct ControlMessage {
    RunId run;
    Term term;
    Incarnation incarnation;
    std::uint64_t seq = 0;
    ControlBody body;
    friend bool operator==(const ControlMessage&, const ControlMessage&) = default;
};

// ---------------------------------------------------------------------------------- data-plane messages

enum class ObjectKind : std::uint8_t { contribution = 1, result, block, shard };

/// What a piece belongs to: contribution (step, contribution id), result (step, plan digest), block (hash), data shard
/// (its SHA-256; a piece is a block of kMaxShardBlockBytes).
struct ObjectRef {
    ObjectKind kind = ObjectKind::block;
    Step step;
    Digest id;
    friend auto operator<=>(const ObjectRef&, const ObjectRef&) = default;
};

struct Get {
    ObjectRef object;
    std::vector<PieceIndex> pieces;
    friend bool operator==(const Get&, const Get&) = default;
};
struct Later {
    ObjectRef object;
    std::vector<PieceIndex> pieces;
    friend bool operator==(const Later&, const Later&) = default;
};
enum class GoneReason : std::uint8_t { superseded = 1, lost, pruned, unknown };
struct Gone {
    ObjectRef object;
    std::vector<PieceIndex> pieces;
    GoneReason reason = GoneReason::unknown;
    friend bool operator==(const Gone&, const Gone&) = default;
};
/// Envelope of one piece; the bytes follow in frames of at most 1 MiB.
struct Data {
    ObjectRef object;
    PieceIndex piece;
    std::vector<Digest> proof;  ///< contribution: Merkle path, leaf up
    Digest leaf;                ///< result
    Signature owner_signature;  ///< result: over (plan digest, piece, leaf), tag "skerry/result/1"
    std::uint32_t bytes = 0;    ///< of the chunk that follows
    friend bool operator==(const Data&, const Data&) = default;
};
struct Have {
    ObjectRef object;
    std::vector<std::uint8_t> bitmap;  ///< bit p of byte p/8
    friend bool operator==(const Have&, const Have&) = default;
};

using PeerBody = std::variant<Get, Later, Gone, Data, Have>;

/// The data envelope. Identity comes from the transport, never from here.
struct PeerMessage {
    RunId run;
    PeerBody body;
    friend bool operator==(const PeerMessage&, const PeerMessage&) = default;
};

}  // namespace skerry
