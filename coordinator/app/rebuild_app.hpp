#pragma once
// skerry-coordinator rebuild: a folder for a coordinator whose disk is lost, made of the root key and what nodes hold.

#include <filesystem>
#include <optional>
#include <set>
#include <string>

#include "protocol/base/ids.hpp"
#include "protocol/base/result.hpp"
#include "protocol/base/units.hpp"
#include "protocol/config/address.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::coordinator {

struct RebuildOptions {
    std::filesystem::path dir;       ///< made if it is not there
    std::filesystem::path root_key;  ///< of the lost coordinator: the nodes have pinned it
    std::string run;
    std::string name;                ///< where dir has no coordinator.toml: for the new one
    std::string public_host = "127.0.0.1";
    std::uint16_t port = kDefaultPort;
    std::optional<Address> listen;
    std::filesystem::path settings;  ///< times of the run (settings.json); empty: those of the program
    std::set<NodeId> confirm;        ///< these nodes and no other are listened to; not empty: nothing is asked
    bool yes = false;                ///< whoever answers, of the newest roster, is right
    bool accept_loss = false;
    bool paused = false;             ///< the run waits for a start: nodes cannot tell that it was paused
    Millis patience{600'000};        ///< for the answers
    std::filesystem::path ready_file;
};

/// Until the new database is written, or it is clear that it cannot be. Prints what it hears.
/// Errors: already_exists if there is a database of that run; wrong_coordinator, config_invalid; bad_state: too few
/// answers, two chains, or the operator said no.
Result<void> rebuild(const RebuildOptions& options);

}  // namespace skerry::coordinator
