#pragma once
// What a node's folder says: node.toml, the token, where things lie.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "protocol/base/units.hpp"
#include "protocol/identity/token.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// The folder that `skerry join --dir` makes. All paths of a node follow from it.
struct NodeFolder {
    std::filesystem::path root;
    std::filesystem::path config() const { return root / "node.toml"; }
    std::filesystem::path token() const { return root / "token"; }
    std::filesystem::path key() const { return root / "identity" / "key"; }
    std::filesystem::path run() const { return root / "run"; }
    std::filesystem::path shards() const { return root / "shards"; }
    std::filesystem::path socket() const { return root / "agent.sock"; }
};

struct NodeSettings {
    std::string name;
    std::string site;
    bool listen = true;                  ///< false: closed to incoming connections
    std::string listen_host = "0.0.0.0";
    std::uint16_t listen_port = 7610;    ///< 0: any
    std::vector<Address> advertise;      ///< empty: the address the coordinator sees
    std::uint32_t trainer_threads = 0;   ///< 0: cores divided by trainers on this machine
    std::string trainer_program = "skerry-trainer";
    Millis save_every{30000};            ///< between two saves of local progress, at most
    Millis trainer_silence{30000};       ///< no line for so long: the trainer hangs and is killed
    std::uint64_t disk_bytes = 0;        ///< of run folder and shards; 0: the run's quota alone
    Token token;
};

/// Reads node.toml and the token. Errors: not_found, config_invalid, token_incomplete.
Result<NodeSettings> load_settings(const NodeFolder& folder);

}  // namespace skerry::node
