#include "node/app/agent_commands.hpp"

#include <nlohmann/json.hpp>

#include "protocol/admin/admin_server.hpp"

namespace skerry::node {

using nlohmann::json;
/// A year.
constexpr std::uint64_t kLongestPauseMs = 366ULL * 24 * 3600 * 1000;

AdminReply answer(AgentCommands& commands, const AdminRequest& request) {
    json arguments = json::parse(request.json.empty() ? "{}" : request.json, nullptr, false);
    if (!arguments.is_object()) return to_admin_reply({Errc::malformed, "the argument is not a JSON object", ""});
    AdminReply reply;
    reply.ok = true;
    if (request.verb == "status") {
        reply.json = commands.status_json();
        return reply;
    }
    if (request.verb == "limits" || request.verb == "limits.reload") {
        auto read = request.verb == "limits" ? Result<void>{} : commands.reload_limits();
        if (!read) return to_admin_reply(read.error());
        reply.json = commands.limits_json();
        return reply;
    }
    if (request.verb == "pause") {
        auto length = arguments.find("for_ms");
        const bool given = length != arguments.end();
        if (given && (!length->is_number_unsigned() || *length > kLongestPauseMs))
            return to_admin_reply({Errc::usage, "the pause is too long", "skerry pause --for 2h, or without --for: until skerry resume"});
        commands.pause(given ? std::optional(Millis(length->get<Millis::rep>())) : std::nullopt);
    }
    else if (request.verb == "resume") commands.command(UserCommand::resume);
    else if (request.verb == "leave")
        commands.command(arguments.value("now", false) ? UserCommand::leave_now : UserCommand::leave_after_step);
    else if (request.verb == "stop") commands.command(UserCommand::stop);
    else return to_admin_reply({Errc::usage, "unknown verb '" + request.verb + "'", "use the skerry of this node's version"});
    json status = json::parse(commands.status_json());
    reply.json = json{{"phase", status["phase"]}, {"pause", json::parse(commands.pause_json())}}.dump();
    return reply;
}

}  // namespace skerry::node
