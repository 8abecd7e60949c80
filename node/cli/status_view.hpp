#pragma once
// Status documents as lines for people. Pure.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace skerry::node {

/// A run's or a node's status (docs/status-json.md), or a list of runs: a few lines.
std::vector<std::string> to_lines(const nlohmann::json& status);
/// The same in one line, for logs.
std::string to_line(const nlohmann::json& status);
/// Whether nothing more will happen: the run is finished or stopped, the node has left.
bool is_over(const nlohmann::json& status);

}  // namespace skerry::node
