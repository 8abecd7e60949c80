#pragma once
// What the node's core asks of its shell. Actions are carried out strictly in order; long work is started in order.
//
// An action with an `op` is finished by exactly one Done{op, error | answer} (the answer's type is named behind it).
// Actions without one cannot fail in a way that matters to the core. "Durable" means: content fsynced, renamed into
// place, folder fsynced, before Done is reported.

#include <memory>

#include "node/core/events.hpp"

namespace skerry::node {

// ------------------------------------------------------------------------------------- control and peers

/// Sends a control message on the session. Of a Hello the core fills what is state (incarnations, seen_*, head,
/// h_head); the shell adds versions, names, software, curve, addresses, token or ticket, boot. Run is zero before
/// the first Welcome.
struct Send {
    ControlMessage message;
};
/// Closes the session and dials again, with back-off.
struct Redial {
    std::string reason;
};
/// The whole desired set of data-plane peers: exactly these may talk to us (ZAP, inbox), `dial` are ours to dial.
struct SetPeers {
    struct Peer {
        RosterEntry entry;
        bool dial = false;
    };
    Epoch epoch;
    std::vector<Peer> peers;  ///< without ourselves
};
/// Get, Later, Gone or Have. A message to a peer that is not connected is dropped.
struct SendPeer {
    NodeId to;
    PeerBody body;
};
/// Reads one piece and sends DATA. Done when the transport took it (the queue has room for the next), or with
/// not_found / digest_mismatch if the bytes are not there or are damaged. At most `kServesPerAsker` run at once
/// for a peer.
struct Serve {
    OpId op;
    NodeId to;
    ObjectRef object;
    PieceIndex piece;
};

// --------------------------------------------------------------------------------------- received chunks

/// What a chunk is, so how it is checked and where it goes.
enum class ChunkPurpose : std::uint8_t {
    contribution,    ///< proof against object.id at `piece`; size, header, finiteness; gather file of (step, id)
    result,          ///< envelope.leaf is the leaf of the bytes, `owner` signed (plan digest, piece, leaf); staging
    entry,           ///< leaf of the bytes equals `expect`; staging of the plan digest object.id
    leaf_list,       ///< object.id is the Merkle root of the list; answer.leaves; kept to be served as a block
    plan_body,       ///< SHA-256 of the bytes is object.id; answer.body; goes into the entry's staging
    state_preimage,  ///< SHA-256 of the bytes is object.id (a state digest); answer.body
    theta_piece,     ///< float_leaf of the bytes equals object.id; snapshot under way of `object.step`
    m_piece,
};

/// Check, then store. Done: ChunkAnswer (a bad chunk is an answer, not an error).
struct VerifyChunk {
    OpId op;
    ChunkHandle chunk;
    NodeId from;
    ObjectRef object;
    PieceIndex piece;  ///< of the flat vector; for blocks: where a theta_piece or m_piece belongs
    ChunkPurpose purpose = ChunkPurpose::contribution;
    Digest expect;     ///< entry: the leaf
    PublicKey owner;   ///< result: who signs
};
struct DropChunk {
    ChunkHandle chunk;
};

// -------------------------------------------------------------------------------------------- durable facts

/// Durable before anything is sent in that term; several are written in order. Done: nothing.
struct PersistSeen {
    OpId op;
    Term term;
    Epoch epoch;
    Incarnation incarnation;
    std::optional<SignedBody> roster;  ///< unchanged if empty
    Bytes ticket;                      ///< unchanged if empty
};
/// First Welcome: make the run folder. Done: nothing; not again once done.
struct AdoptManifest {
    OpId op;
    Bytes manifest;
    Bytes data_manifest;
};
/// The cache of leases last told. Need not be durable.
struct SaveLeases {
    std::vector<LeaseInfo> leases;
};
/// This disk was restored or cloned: delete progress, residual and contributions.
struct DropPrivateState {};

// --------------------------------------------------------------------------------------------- the open step

/// A plan this node follows from now on: opens its staging (results go there). Repeated for a prepared entry
/// found at a start.
struct FollowPlan {
    Digest digest;
    Bytes body;
    std::shared_ptr<const Plan> plan;
};
/// Staging for the entry of a decided step that was not followed (or goes on with what is there).
struct OpenStaging {
    Step step;
    Digest plan_digest;
};
/// Deletes staged results and the prepared file of a plan that was superseded or lost; its GETs are answered GONE
/// by the core.
struct DropStaging {
    Step step;
    Digest plan_digest;
};
/// Deletes gathered and own contributions of this step. (Not called while a decision may need them.)
struct DropContributions {
    Step step;
};

/// theta - local (+ residual), window by window, into the contribution file of `step`; stages e'. The trainer is
/// idle. Done: EncodedAnswer; error trainer_failed if the weights could not be read.
struct Encode {
    OpId op;
    Step step;
    bool use_residual = false;  ///< false: e = 0
};
/// All participants' chunks of this piece are in the gather files: decode in plan order into a separate fp32
/// buffer, weighted sum, divide, encode once, sign, stage. Done: ReducedAnswer; it names a
/// contribution whose chunk rotted: a gathered one is gathered again, the own one is lost.
struct ReducePiece {
    OpId op;
    Digest plan_digest;
    PieceIndex piece;
};
/// All chunks of the plan are staged. Writes `prepared/<k>.<term>.<attempt>` durably, with plan body, leaves and
/// owner signatures, and signs h_after. A lower plan's prepared file of the same step is replaced by it. A rollback may
/// be voted for by who lacks entries below it: `records`, decisions that end at k-1, are on disk before the vote is.
/// Done: PreparedAnswer (durable = false if the disk refused).
struct WritePrepared {
    OpId op;
    Step step;
    Digest plan_digest;
    Digest root;
    Digest h_after;
    std::vector<SignedDecision> records;
};
/// The decided entry becomes part of the log: from the prepared file (`prepared`: the core has compared its root with
/// the decided one, so a rename is enough) or from complete staging. Entry and decision record durable. Removes prepared files of the step that have another plan. Done: nothing;
/// error digest_mismatch: the bytes are not those of the decided root (nothing appended).
struct AppendEntry {
    OpId op;
    Step step;
    SignedDecision record;
    Digest plan_digest;
    Digest root;
    bool prepared = false;
    bool record_only = false;  ///< the step has no entry, or a later rollback undid it: nothing but the record
};

// -------------------------------------------------------------------------------------------------- state

enum class LocalDelta : std::uint8_t {
    none,    ///< there is no trainer, or it will be told later
    reload,  ///< local := theta_{k+1}, empty delta, empty queue; optimizer kept
    carry,   ///< hold, apply, carry: local := theta_{k+1} + (local - theta_k); counters and queue kept
};
enum class ResidualRule : std::uint8_t { keep, advance, zero };

/// S_{k+1} = outer(S_k, entry k). theta and m change here and in LoadState, AdoptSnapshot only. The core never
/// lets it overlap an operation that reads theta. Done: StateAnswer; error digest_mismatch if the entry on disk is
/// damaged (theta and m unchanged or, if the shell cannot promise that, error internal: the core reloads).
/// A rollback makes S_{k+1} of what the disk keeps of S_j, whatever the state is now.
struct Apply {
    OpId op;
    Step step;
    std::shared_ptr<const Decision> decision;
    LocalDelta local = LocalDelta::none;
    ResidualRule residual = ResidualRule::keep;  ///< advance: e := e' with tag k
};
/// theta, m := S_step from the working copy (NodeImage::state), my own snapshot, or S_0 computed from the seed (step 0,
/// `initial`); of a fork, read from its base, which the coordinator sends once. Done: StateAnswer with the digest; error
/// digest_mismatch: the snapshot is damaged; of an initial one any error but the disk's: the base cannot be had now.
struct LoadState {
    OpId op;
    Step step;
    bool initial = false;
};
/// All blocks of a fetched snapshot are stored: make it durable (manifest last), append the decision records below
/// it durably, theta, m := S_step. Done: StateAnswer with the digest; error digest_mismatch.
struct AdoptSnapshot {
    OpId op;
    Step step;
    Digest digest;
    Bytes preimage;                       ///< "skerry/state/1", zero, tokens, theta root, m root
    std::vector<SignedDecision> records;  ///< consecutive, up to step - 1
};
/// A fetched snapshot turned out wrong or useless: delete what was stored of it.
struct DropSnapshot {
    Step step;
};
/// Digest of S_head. Done: StateAnswer.
struct ComputeDigest {
    OpId op;
    Step step;
};
/// Durable snapshot of S_head. Done: StateAnswer with the digest.
struct WriteSnapshot {
    OpId op;
    Step step;
};
/// Reads pieces of an entry of the log, or of a snapshot, from the disk, with all that they are checked against. Done:
/// nothing; error digest_mismatch, malformed, not_found: it is damaged and set aside, or was not there.
struct VerifyKept {
    OpId op;
    Kept what;
    PieceIndex first;
    std::uint32_t pieces = 1;
};
/// What lies below `floor` and the quota asks for, oldest first. Without `chosen` nothing is deleted: the answer says what
/// would go, so that it is no longer offered to anybody when `chosen`, that answer, has it deleted. Done: PrunedAnswer.
struct Prune {
    OpId op;
    Step floor;  ///< the log must stay from here on
    std::optional<PrunedAnswer> chosen;
};

// ------------------------------------------------------------------------------------------------- trainer

/// Starts the process; done when it is configured and sees theta and the data files. What local holds then does not
/// matter: TrainerLoad or RestoreProgress follows. Done: nothing.
struct StartTrainer {
    OpId op;
};
/// Kills the process, if there is one. TrainerGone need not be reported.
struct KillTrainer {
    std::string reason;
};
/// local := theta, empty delta, empty queue. Done: nothing.
struct TrainerLoad {
    OpId op;
    bool reset_optimizer = false;
};
/// Appends positions [from, to) to the queue; the shell maps them to (file, offset).
struct TrainerFeed {
    std::vector<Segment> segments;
};
/// One round. Done: RoundAnswer when it ends.
struct TrainerTrain {
    OpId op;
    std::uint64_t round = 0;            ///< the step
    std::uint64_t committed_tokens = 0;
    std::uint32_t participants = 1;     ///< planned
    std::uint64_t first_step = 0;       ///< steps already in the delta
    std::uint64_t max_steps = 0;        ///< 0: none
    Millis deadline{0};                 ///< from now; 0: none
};
/// Ends the round after the inner step under way; its TrainerTrain is done with `freeze`.
struct TrainerFreeze {};
/// Writes delta, optimizer and note into a slot, durably. Done: ProgressAnswer.
struct SaveProgress {
    OpId op;
    std::uint32_t slot = 0;
    ProgressNote note;
};
/// local := theta + the slot's delta. Done: ProgressAnswer; on an error local = theta.
struct RestoreProgress {
    OpId op;
    std::uint32_t slot = 0;
};
/// Held-out loss of S_head (the trainer is idle). Done: EvaluatedAnswer.
struct Evaluate {
    OpId op;
    Step step;
};

// ----------------------------------------------------------------------------------------------- the process

/// Something a person should read: one line in the log.
struct Note {
    std::string text;
    bool warning = false;
};
/// End the process. replaced and revoked: with the exit code that the service file does not restart on.
struct Exit {
    Errc code = Errc::cancelled;  ///< cancelled: asked to end
    std::string reason;
};

using Action =
    std::variant<Send, Redial, SetPeers, SendPeer, Serve, VerifyChunk, DropChunk, PersistSeen, AdoptManifest, SaveLeases,
                 DropPrivateState, FollowPlan, OpenStaging, DropStaging, DropContributions, Encode, ReducePiece,
                 WritePrepared, AppendEntry, Apply, LoadState, AdoptSnapshot, DropSnapshot, ComputeDigest, WriteSnapshot,
                 VerifyKept, Prune, StartTrainer, KillTrainer, TrainerLoad, TrainerFeed, TrainerTrain, TrainerFreeze, SaveProgress,
                 RestoreProgress, Evaluate, Note, Exit>;
using Actions = std::vector<Action>;

}  // namespace skerry::node
