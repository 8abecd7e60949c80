#pragma once
// The coordinator's decisions for one run: membership, leases, plans, commits.

#include <memory>
#include <optional>

#include "coordinator/core/events.hpp"

namespace skerry::coordinator {

/// One run. Pure: no clock, socket, disk, randomness or unordered iteration; equal images and equal events give
/// equal actions, bit for bit. Not thread-safe.
///
/// State changes at once; what may be said about it comes back as an ordered list. The shell carries actions out
/// strictly in order and lets nothing behind a Persist out before that transaction is durable, across events too
/// (later events may be fed meanwhile: their actions queue behind). If a transaction meets a full disk, it is
/// retried until there is space and everything behind it waits; on an I/O error the process exits (75). After a
/// crash a new core starts from what the journal holds: a transaction either is there or nobody heard of it.
///
/// An event yields at most one transaction, and it comes first.
class CoordinatorCore {
  public:
    /// The image's manifest must parse (the journal checked it when the run was created).
    CoordinatorCore(Image image, CoreConfig config, Signing signing);
    ~CoordinatorCore();
    CoordinatorCore(CoordinatorCore&&) noexcept;
    CoordinatorCore& operator=(CoordinatorCore&&) noexcept;

    /// Feeds one event. `now` never falls. The first event is Started: it claims the next term.
    Actions step(Mono now, const Event& event);

    /// When a Tick is due at the latest.
    Mono next_wake() const;

    /// A view for metrics and tests. What is told to others goes through admin::GetStatus, so that it never
    /// runs ahead of the disk.
    RunStatus status(Mono now) const;
    /// Where the open step stands; cheap enough to be asked after every event.
    struct Standing {
        bool plan = false;   ///< one is in force
        bool holds = false;  ///< and waits for something that it names
        RunState run_state = RunState::created;
    };
    Standing standing() const;

    const Manifest& manifest() const;
    Term term() const;
    /// The open step, and the attempt of the plan in force (0: none): what log lines carry.
    Step head() const;
    Attempt attempt() const;
    /// Nodes with a session, for the shell's accounting.
    std::size_t sessions() const;
    /// Of a node that is known here.
    std::optional<NodeState> state_of(const NodeId& node) const;

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace skerry::coordinator
