#pragma once
// When a step of a run has been open too long. Pure.

#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/events.hpp"
#include "protocol/observe/bundle.hpp"

namespace skerry::coordinator {

/// A running run whose step is not decided within twice the time that it should take (round, grace and attempt as
/// the core counts them) is stuck; said once for each step.
class RunWatch {
  public:
    struct Stuck {
        Step step;
        Attempt attempt;
        std::string phase;
        Millis open_for{};
        Millis patience{};  ///< the deadline that passed twice
    };
    std::optional<Stuck> look(const RunStatus& status, Mono now);

  private:
    Step step_;
    bool running_ = false;
    Mono since_{};
    bool said_ = false;
};

std::string to_text(const RunWatch::Stuck& stuck);

/// The last messages of one node's session.
struct LastMessages {
    std::optional<Orders> orders;  ///< without bodies
    std::optional<Report> report;
};

/// The coordinator's parts of a bundle: why, status document, last Orders and Reports by node, coordinator.toml.
std::vector<BundlePart> run_parts(const RunWatch::Stuck& stuck, const std::string& run, const std::map<NodeId, LastMessages>& messages,
                                  const std::string& status_json, const std::string& config);

}  // namespace skerry::coordinator
