#pragma once
// A node's folder as `skerry join` makes it: node.toml, token, identity.

#include <filesystem>

#include "node/cli/commands.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::node {

/// What node.toml says, with what the command line changes.
struct NodeToml {
    std::string name;
    std::string site;
    std::string listen = "0.0.0.0:7610";
    std::vector<std::string> advertise;
    int threads = 0;
    std::string trainer;  ///< empty: skerry-trainer
    std::string save_every;    ///< of local progress; empty: the node's default
    std::string silent_after;  ///< of the trainer; empty: the node's default
    std::string disk;     ///< empty: the run's quota alone
};

std::string to_text(const NodeToml& config);
/// Errors: not_found, config_invalid.
Result<NodeToml> load_node_toml(const std::filesystem::path& file);

/// Makes the folder or brings it up to date: an existing node.toml gives the defaults, an identity is kept.
/// Errors: already_exists if the folder belongs to another run; usage for bad values; disk_full, io_error.
Result<NodeToml> make_node_folder(const std::filesystem::path& dir, const Token& token, const std::string& token_text,
                                  const JoinCommand& command);

}  // namespace skerry::node
