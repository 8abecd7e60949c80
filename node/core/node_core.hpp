#pragma once
// The node's decisions, pure: events in, actions out.

#include <memory>

#include "node/core/actions.hpp"

namespace skerry::node {

/// What the shell chooses; equal for the process's life.
struct NodeConfig {
    NodeId self;
    Bytes data_manifest;                        ///< of the run folder, empty at the first start
    bool train = true;                          ///< false: owns and votes, never trains
    bool follow = false;                        ///< reads the log only; then `train` is false
    std::uint64_t window_bytes = 8U << 20;      ///< asked for and unanswered, for each giver and object kind
    std::uint64_t window_total_bytes = 64U << 20;
    bool evaluate = true;                       ///< may be the node that computes the held-out loss
    Millis report_every{1000};
    Millis later_again{2000};                   ///< repeat a GET that was answered LATER
    Millis default_edge_patience{2500};         ///< until Orders say otherwise
    Millis progress_every{30000};               ///< between two saves of local progress, at most
    Millis progress_least{1000};                ///< and at least, however short the rounds
    Millis pause_patience{4000};                ///< then a pause ends the trainer, whatever it has not saved
    Millis trainer_start_patience{60000};
    Millis trainer_silence{30000};              ///< at least; also 5 x median inner step
    Millis trainer_backoff{1000};               ///< doubled up to 64 times
    Millis scrub_every{24 * 3600 * 1000};       ///< from one reading of all that is kept to the next
    /// A day is enough for 690 GB, and even an old hard disk hardly notices.
    std::uint64_t scrub_bytes_per_s = 8U << 20;
};

/// A prepared entry found on disk; its chunks were verified against the leaves, the leaves against the root.
struct PreparedImage {
    Step step;
    Bytes plan_body;
    Digest root;
    std::vector<Digest> leaves;
    std::vector<Signature> signatures;  ///< owners', [pieces]
};
/// A contribution file found on disk, verified by id.
struct ContributionImage {
    Step step;
    Digest id;
    bool own = false;                  ///< complete, made by me
    std::vector<PieceIndex> pieces;    ///< gathered ones: what is there
};
struct ProgressImage {
    std::uint32_t slot = 0;
    ProgressNote note;
    TrainedSoFar delta;
};

/// What the disk said at the start of the process. Everything in it was verified.
struct NodeImage {
    Bytes manifest;                          ///< empty before the first Welcome
    Term term;
    Epoch epoch;
    Incarnation incarnation;
    std::optional<SignedBody> roster;
    std::vector<SignedDecision> decisions;   ///< of steps 0, 1, ..., consecutive
    std::vector<Step> entries;               ///< present and complete, ascending
    std::vector<Step> damaged;               ///< others that were there until now
    std::vector<StateDigest> snapshots;      ///< complete, ascending
    std::optional<Step> state;               ///< what the working copy says that it is; loading it checks that
    std::vector<PreparedImage> prepared;
    std::vector<ContributionImage> contributions;
    std::vector<ProgressImage> progress;     ///< newest last
    std::optional<Step> residual_tag;
    std::vector<LeaseInfo> leases;
};

enum class Phase : std::uint8_t { joining, behind, work, ready, exchange, prepared };

/// What the trainer has done since the last agreed state, and what of it would survive a kill now.
struct LocalView {
    TrainedSoFar delta;              ///< in the trainer, not yet credited
    TrainedSoFar saved;              ///< in the newest save of local progress
    Millis saved_age{0};             ///< since that save, or since the delta began
    Millis save_every{0};            ///< as the schedule is now
    std::uint64_t restored_steps = 0;  ///< inner steps that the last trainer process began with
    std::uint32_t failures = 0;      ///< of the trainer, in a row
    Millis retry_in{0};              ///< until it is started again; 0: it is not waiting for that
    std::string error;               ///< why it ended last; empty: it never did
};

/// How well the log is kept.
struct CareView {
    std::uint64_t read_bytes = 0;  ///< of what is kept, to see whether it still is what it was
    std::uint64_t rounds = 0;      ///< of all of it
    std::uint64_t damaged = 0;     ///< entries and snapshots that were not
    std::uint64_t missing = 0;     ///< entries that have still to be fetched again
};

/// For `skerry status` and for checkers; never a reason to act.
struct NodeView {
    Phase phase = Phase::joining;
    bool session = false;
    bool welcomed = false;
    RunState run_state = RunState::created;
    Term term;
    Epoch epoch;
    Incarnation incarnation;
    Step head;            ///< entries applied
    Digest h_head;
    Step log_head;        ///< entries and decisions below it are durable here
    std::uint64_t tokens = 0;
    std::optional<Digest> plan;
    Attempt attempt;
    std::vector<LeaseInfo> leases;
    std::vector<Segment> delta;        ///< what the local delta contains
    std::optional<ReadyState> ready;
    std::optional<PreparedState> prepared;
    ExchangeState exchange;
    TrainerPhase trainer = TrainerPhase::none;
    LocalView local;
    CareView care;
    std::string waiting_for;           ///< one line for a person
    Millis waiting{0};                 ///< since when, for this kind of thing
    Orders orders;                     ///< as last heard (without roster and plan body)
};

/// The decisions of one node.
///
/// Pure: no socket, clock, disk, thread or randomness. The shell feeds it events with the time they happened and
/// carries out the actions it answers with, in order (events.hpp, actions.hpp). Equal events give equal actions,
/// which is what lets the simulator replay it. Nothing received from outside can make it assert. Not thread-safe:
/// io thread only.
class NodeCore {
  public:
    NodeCore(NodeConfig config, NodeImage image, Mono now);
    ~NodeCore();
    NodeCore(NodeCore&&) noexcept;
    NodeCore& operator=(NodeCore&&) noexcept;

    /// Actions of the start itself (load state, peers). Call once, before the first event.
    Actions start(Mono now);
    Actions step(Mono now, const Event& event);

    /// When a Tick is due at the latest.
    Mono next_wake() const;
    NodeView view() const;
    Phase phase() const;  ///< of the view; cheap

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

/// Serves of one asker that may run at once: one with the transport, one being read.
inline constexpr int kServesPerAsker = 2;
/// Objects for which a giver remembers what an asker waits for; more are dropped and counted.
inline constexpr std::size_t kObjectsPerAsker = 64;

}  // namespace skerry::node
