#pragma once
// What a node's folder says, ready for use: node.toml and the token.

#include <string>
#include <vector>

#include "node/config/node_toml.hpp"
#include "node/config/week_hours.hpp"
#include "node/trainer/train_config.hpp"
#include "protocol/base/units.hpp"
#include "protocol/identity/token.hpp"
#include "protocol/observe/http_server.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// What may change while the agent runs. 0: no limit.
struct Limits : MachineLimits {
    std::uint32_t threads = 0;           ///< of the trainer; 0: cores divided by trainers on this machine
    WeekHours hours;
    NodeToml toml;                       ///< as it is written
};
/// Of a file that was checked.
Limits to_limits(const NodeToml& toml);

struct NodeSettings {
    std::string name;
    std::string site;
    bool listen = true;                  ///< false: closed to incoming connections
    std::string listen_host = "0.0.0.0";
    std::uint16_t listen_port = kDataPort;  ///< 0: any
    std::vector<Address> advertise;      ///< empty: the address the coordinator sees
    Limits limits;
    std::string trainer_program = "skerry-trainer";
    TrainerChoice trainer_choice;
    Millis save_every{30000};            ///< between two saves of local progress, at most
    Millis scrub_every{24 * 3600 * 1000};  ///< from one reading of the whole log to the next
    Millis trainer_silence{30000};       ///< no line for so long: the trainer hangs and is killed
    bool follow = false;                 ///< reads the log and writes model folders; no trainer
    std::filesystem::path model_folder;  ///< of a follower; empty: in its own folder
    Millis model_every{0};               ///< between two model folders, at least
    MetricsListen metrics;
    Token token;
};

/// Reads node.toml and the token. Errors: not_found, config_invalid, token_incomplete.
Result<NodeSettings> load_settings(const NodeFolder& folder);

}  // namespace skerry::node
