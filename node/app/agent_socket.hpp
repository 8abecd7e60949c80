#pragma once
// The agent's local socket: `skerry status|pause|resume|leave --dir` talk to it (docs/status-json.md, section 5).

#include <boost/asio/any_io_executor.hpp>
#include <filesystem>
#include <string>

#include "protocol/base/result.hpp"
#include "protocol/base/task.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

enum class UserCommand { pause, resume, leave_after_step, leave_now, stop };

/// What the socket may ask of the agent, on the io thread.
class AgentCommands {
  public:
    virtual ~AgentCommands() = default;
    virtual std::string status_json() = 0;
    virtual void command(UserCommand command) = 0;
};

/// Serves NODEDIR/agent.sock until cancelled. Mode 0600; a stale socket file is replaced.
class AgentSocket {
  public:
    AgentSocket(asio::any_io_executor io, std::filesystem::path path, AgentCommands& commands);
    ~AgentSocket();
    Result<void> open();
    Task<> run();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace skerry::node
