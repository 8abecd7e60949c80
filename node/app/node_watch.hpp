#pragma once
// When a node has waited too long in one phase. Pure.

#include <optional>
#include <string>

#include "node/core/node_core.hpp"
#include "protocol/observe/bundle.hpp"

namespace skerry::node {

/// Watches the core's view. A node that waits for others (ready, exchange, prepared, behind, joining) and sees no
/// progress for twice the time that the coordinator told is stuck; said once for each such wait.
class NodeWatch {
  public:
    struct Stuck {
        std::string phase;
        Step step;
        Millis waited{};
        Millis told{};  ///< the deadline that passed twice
    };
    std::optional<Stuck> look(const NodeView& view, Mono now);

  private:
    /// Whatever changes when the node gets on.
    struct Key {
        Phase phase = Phase::joining;
        Step head;
        Step run_head;
        Attempt attempt;
        std::uint64_t have = 0;  ///< chunks
        RunState run_state = RunState::created;
        friend bool operator==(const Key&, const Key&) = default;
    };
    Key key_;
    Mono since_{};
    Millis told_{};
    bool said_ = false;
};

/// One line for status and log.
std::string to_text(const NodeWatch::Stuck& stuck);

/// The node's parts of a bundle: why, status document, last Orders and Report, node.toml.
std::vector<BundlePart> node_parts(const NodeWatch::Stuck& stuck, const NodeView& view, const std::optional<Report>& last_report,
                                   const std::string& status_json, const std::string& config);

}  // namespace skerry::node
