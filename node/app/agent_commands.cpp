#include "node/app/agent_commands.hpp"

#include <nlohmann/json.hpp>

#include "protocol/admin/admin_server.hpp"

namespace skerry::node {

using nlohmann::json;

AdminReply answer(AgentCommands& commands, const AdminRequest& request) {
    json arguments = json::parse(request.json.empty() ? "{}" : request.json, nullptr, false);
    if (!arguments.is_object()) return to_admin_reply({Errc::malformed, "the argument is not a JSON object", ""});
    AdminReply reply;
    reply.ok = true;
    if (request.verb == "status") {
        reply.json = commands.status_json();
        return reply;
    }
    if (request.verb == "pause") commands.command(UserCommand::pause);
    else if (request.verb == "resume") commands.command(UserCommand::resume);
    else if (request.verb == "leave")
        commands.command(arguments.value("now", false) ? UserCommand::leave_now : UserCommand::leave_after_step);
    else if (request.verb == "stop") commands.command(UserCommand::stop);
    else return to_admin_reply({Errc::usage, "unknown verb '" + request.verb + "'", "use the skerry of this node's version"});
    json status = json::parse(commands.status_json());
    reply.json = json{{"phase", status["phase"]}}.dump();
    return reply;
}

}  // namespace skerry::node
