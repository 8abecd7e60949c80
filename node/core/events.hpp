#pragma once
// What the shell tells the node's core. Plain values; no event carries tensor bytes.
//
// The shell is node/app (sockets, disk, codec threads, trainer) or the simulator (tests/sim). It feeds events one at
// a time, in the order in which things happened, and carries out the actions of each in order (actions.hpp).

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "protocol/base/units.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// Names one piece of work that the shell was given. Rises; never reused within a process. A completion whose id
/// the core no longer waits for is ignored, so abandoned work may finish whenever it likes.
using OpId = Strong<struct OpTag>;
/// Names a received chunk that the shell holds in memory until the core has said what to do with it.
using ChunkHandle = Strong<struct ChunkTag>;

/// Something that a node keeps for good: the entry of a step, or the snapshot of the state before that step.
struct Kept {
    Step step;
    bool snapshot = false;
    friend auto operator<=>(const Kept&, const Kept&) = default;
};

/// What `local - theta` contains; `sequences` counts in the order of feeding since the delta began.
struct TrainedSoFar {
    std::uint64_t steps = 0;
    std::uint64_t sequences = 0;
    std::uint64_t tokens = 0;
    double loss = 0;
    friend bool operator==(const TrainedSoFar&, const TrainedSoFar&) = default;
};

/// Kept as the note of a saved progress file: enough to judge after a restart whether the delta is still worth
/// something.
struct ProgressNote {
    Step base;                   ///< of the oldest part of the delta
    Step head;                   ///< the theta that the delta is relative to is S_head's
    std::vector<Segment> fed;    ///< what was fed since the delta began, in order; the first `sequences` are in it
    std::uint32_t round_steps = 0;  ///< inner steps of the round under way
    friend bool operator==(const ProgressNote&, const ProgressNote&) = default;
};

// ------------------------------------------------------------------------------------------ completions

/// How a received chunk was judged.
enum class ChunkVerdict : std::uint8_t {
    stored,         ///< everything holds; the bytes are where the action said
    bad_proof,      ///< contribution: proof; result: signature or leaf; block: hash. Proves nothing against the maker
    bad_content,    ///< contribution: the proof holds, but size, header or a number is wrong: the maker's word
    disk_error,     ///< could not be written
};

struct ChunkAnswer {
    ChunkVerdict verdict = ChunkVerdict::stored;
    Digest leaf;                 ///< result and entry: of the stored bytes
    std::vector<Digest> leaves;  ///< purpose leaf_list: parsed
    Bytes body;                  ///< purposes plan_body and state_preimage: the bytes
    Bytes evidence;              ///< bad_content: for Blame, at most kMaxEvidence
};
/// A frozen delta became a contribution file.
struct EncodedAnswer {
    Digest contribution;  ///< Merkle root of the chunks
    double norm = 0;
    bool finite = true;   ///< false: nothing was written
};
/// An owner's piece is summed, encoded and staged as my own result.
struct ReducedAnswer {
    Digest leaf;
    Signature signature;  ///< over (plan digest, piece, leaf)
    Digest damaged;       ///< nothing was reduced: the bytes of this contribution's piece are not there. Zero: all were
};
struct PreparedAnswer {
    bool durable = false;  ///< false: the disk refused; the bytes are in memory or page cache only
    Signature signature;   ///< over h_{k+1}
};
/// `theta` and `m` are S_step now (load, adopt, apply, digest, snapshot).
struct StateAnswer {
    std::optional<Digest> digest;  ///< where it was computed
    bool local_kept = true;        ///< apply: the trainer did what `LocalDelta` asked
};
/// A round of inner steps ended.
struct RoundAnswer {
    enum class Why : std::uint8_t { steps, deadline, data, freeze };
    Why why = Why::steps;
    TrainedSoFar delta;
};
/// `progress` was written, or read back.
struct ProgressAnswer {
    ProgressNote note;
    TrainedSoFar delta;
    std::optional<Millis> stall{};  ///< a save: so long training stood still for it, if known
};
struct EvaluatedAnswer {
    double loss = 0;  ///< nats per token on held-out data
};

/// What a Prune deleted, or would delete: both ascending.
struct PrunedAnswer {
    std::vector<Step> snapshots;
    std::vector<Step> entries;
};

using Answer = std::variant<std::monostate, ChunkAnswer, EncodedAnswer, ReducedAnswer, PreparedAnswer, StateAnswer,
                            RoundAnswer, ProgressAnswer, EvaluatedAnswer, PrunedAnswer>;

/// The one completion of an action that has an `op`: an answer, or an error.
struct Done {
    OpId op;
    std::optional<Error> error;
    Answer answer;
};

// ------------------------------------------------------------------------------------------------ events

/// The TLS session to the coordinator is authenticated and open. The core answers with Send{Hello}.
struct SessionUp {};
struct SessionDown {};
/// A control message. The shell has verified the service key's signature of every roster and decision in it
/// (and drops the message otherwise); the core checks chain, term, incarnation, run and order.
struct ControlIn {
    ControlMessage message;
};

/// A data-plane connection to a roster member works in both directions (fresh: what was asked before is lost).
struct PeerUp {
    NodeId peer;
};
struct PeerDown {
    NodeId peer;
};
/// Get, Later, Gone or Have of a peer; sender identity from the transport.
struct PeerIn {
    NodeId from;
    PeerBody body;
};
/// A whole DATA message; its bytes wait in the shell under `chunk`. Answered at once by VerifyChunk or DropChunk.
struct DataIn {
    NodeId from;
    Data envelope;
    ChunkHandle chunk;
};
/// Part of a large chunk arrived (at most once a second for each peer): the edge is alive.
struct PeerProgress {
    NodeId from;
};

/// The trainer process ended, however it did. Ends all its outstanding operations.
struct TrainerGone {
    Errc code = Errc::trainer_failed;  ///< not_finite: NaN or Inf in the delta
    std::string detail;
};
/// A line of the trainer (at most a few a second): it lives. Feeds supervision and the Report.
struct TrainerAlive {
    TrainedSoFar delta;
    std::uint64_t round_steps = 0;  ///< inner steps of the round under way
    Millis median_step{0};          ///< 0: unknown
    double tokens_per_s = 0;
    double last_loss = 0;
};
/// What SaveProgress saves is fixed, only its writing goes on: theta and the delta may change. Its Done follows.
struct SaveFixed {
    OpId op;
};

/// The person in front of the machine.
struct UserPause {};
struct UserResume {};
struct UserLeave {
    LeaveWhen when = LeaveWhen::after_step;
};
/// The agent is told to end (SIGTERM): saves progress, then Exit{0}.
struct UserStop {};

/// The owner's limit on the data plane, from now on.
struct DownloadLimit {
    std::uint64_t bytes_per_s = 0;  ///< of all that is asked of peers; 0: no limit
    bool closed = false;            ///< nothing is asked for
};
/// Bytes of other downloads, which the limit covers as well.
struct OtherDownload {
    std::uint64_t bytes = 0;
};
struct DiskState {
    bool full = false;
};
/// For the Report.
struct Traffic {
    std::uint64_t sent_bytes = 0;
    std::uint64_t received_bytes = 0;
    std::vector<NodeId> unreachable;
};
/// For the Report.
struct MachineIs {
    MachineState machine;
};
/// Time passed. The shell sends it at NodeCore::next_wake().
struct Tick {};

using Event = std::variant<Tick, SessionUp, SessionDown, ControlIn, PeerUp, PeerDown, PeerIn, DataIn, PeerProgress, Done,
                           TrainerGone, TrainerAlive, SaveFixed, UserPause, UserResume, UserLeave, UserStop, DownloadLimit, OtherDownload, DiskState,
                           Traffic, MachineIs>;

}  // namespace skerry::node
