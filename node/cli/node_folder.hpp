#pragma once
// A node's folder as `skerry join` makes it: node.toml, token, identity.

#include <filesystem>

#include "node/cli/commands.hpp"
#include "node/config/node_toml.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::node {

/// The settings that `command` and an older node.toml in `dir` give. Writes nothing. Errors: usage, config_invalid,
/// already_exists: the folder is another run's.
Result<NodeToml> node_config(const std::filesystem::path& dir, const Token& token, const JoinCommand& command);
/// Makes or completes the folder; a key that is there stays.
Result<void> make_node_folder(const std::filesystem::path& dir, const NodeToml& config, const std::string& token_text);

}  // namespace skerry::node
