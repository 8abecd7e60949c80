#pragma once
// One connection for commands: to an agent or a coordinator on this machine, or to a coordinator over TLS.

#include <chrono>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "node/cli/context.hpp"
#include "protocol/base/bytes.hpp"

namespace skerry::node {

/// Blocking; one thread. A call that fails ends the connection unless the other side merely said no.
class Channel {
  public:
    /// To the coordinator that the options name. Errors: usage if they name none; unreachable, with a fix;
    /// wrong_coordinator, token_unknown, token_expired.
    static Result<Channel> to_coordinator(const Context& context);
    /// To the agent of a node's folder.
    static Result<Channel> to_agent(const std::string& dir);
    ~Channel();
    Channel(Channel&&) noexcept;
    Channel& operator=(Channel&&) noexcept;

    Result<nlohmann::json> call(const std::string& verb, const nlohmann::json& args, Bytes data = {},
                                std::chrono::milliseconds patience = std::chrono::seconds(30));

  private:
    struct Impl;
    explicit Channel(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

/// A token from a file, `-` (stdin), or as it is. Without blanks around it.
Result<std::string> read_token_text(const std::string& argument, const std::string& file);

}  // namespace skerry::node
