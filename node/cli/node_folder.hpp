#pragma once
// A node's folder as `skerry join` makes it: node.toml, token, identity.

#include <filesystem>

#include "node/cli/commands.hpp"
#include "node/config/node_toml.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::node {

/// Makes the folder or brings it up to date: an existing node.toml gives the defaults, an identity is kept.
/// Errors: already_exists if the folder belongs to another run; usage for bad values; disk_full, io_error.
Result<NodeToml> make_node_folder(const std::filesystem::path& dir, const Token& token, const std::string& token_text,
                                  const JoinCommand& command);

}  // namespace skerry::node
