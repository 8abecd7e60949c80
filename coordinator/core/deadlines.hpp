#pragma once
// How long a phase may take: measured, within configured bounds (docs/step-protocol.md 4).

#include <array>
#include <deque>
#include <map>

#include "coordinator/core/events.hpp"

namespace skerry::coordinator {

enum class StepPhase : std::uint8_t { collect, exchange, votes };

/// Bounds of a deadline; `most` below `least` counts as `least`.
struct Bounds {
    Millis least{0};
    Millis most{0};
    Millis clamp(Millis value) const { return std::max(least, std::min(value, most)); }
};

/// The last durations of one phase of one node. Whole milliseconds: equal samples give equal deadlines everywhere.
class PhaseTimes {
  public:
    static constexpr std::size_t kKept = 20;
    static constexpr std::size_t kEnough = 5;  ///< fewer say nothing about the spread

    void add(Millis sample);
    std::size_t count() const { return samples_.size(); }
    bool enough() const { return count() >= kEnough; }
    Millis median() const;     ///< of the samples; 0: none
    Millis deviation() const;  ///< median distance from the median
    /// median + 4 deviations.
    Millis estimate() const { return median() + 4 * deviation(); }

  private:
    std::deque<Millis> samples_;
};

/// The measured times of a run's nodes and the deadlines that follow. Volatile: after a start of the process nothing
/// is measured yet, and the configured times hold.
class Deadlines {
  public:
    Deadlines(const CoreConfig& config, Millis round) : config_(config), round_(round) {}

    void add(StepPhase phase, const NodeId& node, Millis sample) { times_[node][index(phase)].add(sample); }
    /// A decided plan: `slowest` is the time its slowest member took for `load` pieces.
    void add_transfer(std::uint64_t load, Millis slowest);

    /// From the beginning of the round until the node is READY; a tenth of grace comes on top.
    Millis collect(const NodeId& node) const;
    /// From the plan until the node has all results.
    Millis exchange(const NodeId& node, std::uint64_t load) const;
    /// From enough durable votes until the node's own.
    Millis votes(const NodeId& node) const;
    /// What a plan is expected to take; before anything was measured a third of the configured deadline.
    Millis prediction(std::uint64_t load) const;

    PhaseEstimate status(StepPhase phase, const NodeId& node, std::uint64_t load) const;

    /// Pieces that the busiest member of a plan has to send or to receive.
    static std::uint64_t load_of(const Plan& plan);

  private:
    static std::size_t index(StepPhase phase) { return static_cast<std::size_t>(phase); }
    const PhaseTimes* times(StepPhase phase, const NodeId& node) const;
    Bounds bounds(StepPhase phase, std::uint64_t load) const;
    /// The estimate within the bounds; with too few samples `untried`, within the bounds too.
    Millis within(StepPhase phase, const NodeId& node, std::uint64_t load, Millis untried) const;

    CoreConfig config_;
    Millis round_;
    std::map<NodeId, std::array<PhaseTimes, 3>> times_;
    PhaseTimes per_1024_pieces_;  ///< of decided plans
};

}  // namespace skerry::coordinator
