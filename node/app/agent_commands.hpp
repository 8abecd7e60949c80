#pragma once
// What `skerry status|pause|resume|leave --dir` ask of the agent (docs/status-json.md, section 5).

#include <string>

#include "protocol/wire/messages.hpp"

namespace skerry::node {

enum class UserCommand { pause, resume, leave_after_step, leave_now, stop };

/// Called on the io thread.
class AgentCommands {
  public:
    virtual ~AgentCommands() = default;
    virtual std::string status_json() = 0;
    virtual void command(UserCommand command) = 0;
};

/// Carries out one request of the local socket.
AdminReply answer(AgentCommands& commands, const AdminRequest& request);

}  // namespace skerry::node
