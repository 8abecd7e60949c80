#pragma once
// A run's status as JSON (docs/status-json.md). Pure.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "coordinator/core/events.hpp"
#include "protocol/wire/words.hpp"

namespace skerry::coordinator {

/// What the process knows about itself.
struct CoordinatorInfo {
    std::string name;
    NodeId root_id;          ///< fingerprint of the root key
    Address public_address;  ///< for tokens
    std::uint16_t port = 0;  ///< listened on
    std::uint64_t uptime_ms = 0;
    std::size_t connections = 0;
    std::uint16_t metrics_port = 0;  ///< 0: off
};

/// The words of docs/status-json.md: a run that reached its target is finished, whatever its row says.
std::string state_word(const RunStatus& run);

nlohmann::json to_json(const CoordinatorInfo& info);
nlohmann::json to_json(const NodeStatus& node, const RunStatus& run);
/// `first`: step and loss of the first evaluation.
nlohmann::json to_json(const RunStatus& status, const std::optional<std::pair<Step, double>>& first,
                       const CoordinatorInfo& info);

}  // namespace skerry::coordinator
