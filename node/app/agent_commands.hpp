#pragma once
// What `skerry status|pause|resume|leave --dir` ask of the agent (docs/status-json.md, section 5).

#include <optional>
#include <string>

#include "protocol/base/units.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

enum class UserCommand { resume, leave_after_step, leave_now, stop };

/// Called on the io thread.
class AgentCommands {
  public:
    virtual ~AgentCommands() = default;
    virtual std::string status_json() = 0;
    virtual void command(UserCommand command) = 0;
    /// Nothing: until it is resumed.
    virtual void pause(std::optional<Millis> length) = 0;
    /// Why it is paused, a JSON document; null if it is not.
    virtual std::string pause_json() = 0;
    virtual std::string limits_json() = 0;
    /// Reads node.toml anew. Errors: config_invalid; nothing has changed then.
    virtual Result<void> reload_limits() = 0;
};

/// Carries out one request of the local socket.
AdminReply answer(AgentCommands& commands, const AdminRequest& request);

}  // namespace skerry::node
