#pragma once
// What `skerry join` knows before it joins: the run behind a token, and what it would take of this machine.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "node/cli/run_plan.hpp"
#include "node/config/node_toml.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::node {

/// Asks the token's coordinator; uses nothing of the token up. `key`: shown in the handshake. None: the coordinator has the
/// token's key but ended the connection on the question, as one does that is older than protocol 1.3.
/// Errors: those of dial_tls; what a Hello would be refused with.
Result<std::optional<LookAnswer>> look_at_run(const Token& token, const KeyPair& key, Millis patience);

struct Prospect {
    LookAnswer run;
    Manifest manifest;
    bool follows = false;  ///< it would not train
    RunPlan plan;       ///< with this machine as one node more, if it would train and does not yet; needs are this machine's
    Means machine;
    Load load;
    std::uint64_t here = 0;  ///< bytes of its folder already
    std::vector<LimitUse> limits;
    std::vector<Concern> concerns;
};

/// Errors: malformed.
Result<Prospect> make_prospect(LookAnswer run, const std::filesystem::path& dir, const NodeToml& config);

/// Run, operator, what it will use, what others see.
std::vector<std::string> to_lines(const Prospect& prospect, const Token& token, const std::filesystem::path& dir, const NodeToml& config);

/// The same for a coordinator that does not say what its run takes.
std::vector<std::string> to_lines(const Token& token, const std::filesystem::path& dir, const NodeToml& config);

/// Why this machine cannot be a node of it, if it cannot: NOT_ENOUGH_MEMORY or DISK_FULL, with the numbers and a fix.
std::optional<Error> refusal_of(const Prospect& prospect);

}  // namespace skerry::node
