#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/cli/commands.hpp"

namespace skerry::node {
namespace {

struct Help {
    Errc code;
    const char* what;
    const char* cure;
};

// The same words as docs/errors.md; a test compares the codes.
constexpr Help kHelp[] = {
    {Errc::internal, "a bug of ours", "report it with the lines before it"},
    {Errc::cancelled, "it was asked to stop", ""},
    {Errc::usage, "the command line is wrong", "--help of the command"},
    {Errc::config_invalid, "a configuration file has an unknown key or a bad value", "correct the line that is named"},
    {Errc::token_incomplete, "the token was not copied whole; no network was used", "paste it in single quotes"},
    {Errc::token_expired, "the coordinator says the token is too old", "ask the operator for a new one; a node that joined before needs none"},
    {Errc::token_used_up, "the token has admitted as many nodes as it may", "ask the operator for a new one"},
    {Errc::token_unknown, "the coordinator does not know the token, or it was revoked", "ask the operator for a new one"},
    {Errc::unreachable, "no answer", "check address, port and network; nodes try again by themselves"},
    {Errc::timed_out, "an answer did not come in time", "try again"},
    {Errc::closed, "the other side closed the connection", "try again"},
    {Errc::refused, "the other side said no", "as the reason says"},
    {Errc::revoked, "the operator revoked this node", "ask the operator"},
    {Errc::replaced, "another process with this identity is connected", "a copied folder? join anew with a fresh one"},
    {Errc::wrong_coordinator, "the key of whoever answered is not the one the token names; nothing was sent",
     "compare fingerprints with the operator by another channel"},
    {Errc::version_mismatch, "no common protocol version", "install the version that the other side names"},
    {Errc::malformed, "bytes that are not what they claim to be", "if it lasts, one of the two programs is broken or hostile"},
    {Errc::too_large, "a message above its limit", "if it lasts, one of the two programs is broken or hostile"},
    {Errc::rate_limited, "too many tries", "wait"},
    {Errc::not_found, "what was named does not exist", "check the name"},
    {Errc::already_exists, "it is there already", "choose another name"},
    {Errc::bad_state, "not now: the run or the node is in another state", "skerry status"},
    {Errc::stale, "of an older term, epoch or plan", "nothing"},
    {Errc::bad_signature, "a signature does not fit", "do not go on before you know why"},
    {Errc::digest_mismatch, "bytes on disk or from a peer do not fit their hash", "start the node, it fetches them again"},
    {Errc::bad_shape, "sizes that do not belong together", "is the model the run's?"},
    {Errc::not_finite, "NaN or infinity in loss or weights", "a lower learning rate"},
    {Errc::disk_full, "no space; nothing committed is lost", "make space; the node goes on by itself"},
    {Errc::io_error, "the disk failed", "look at the system log"},
    {Errc::out_of_memory, "too little memory", "a smaller batch, or another machine"},
    {Errc::port_in_use, "another program listens there", "--listen with another port, or stop the other program"},
    {Errc::no_libtorch, "the trainer finds no libtorch, or one that is too old", "deploy/setup.sh, or --torch DIR"},
    {Errc::trainer_failed, "the trainer ended or does not answer", "it is started again; its last lines are in the log"},
    {Errc::data_invalid, "a text that is empty, missing or binary, or a damaged shard", "name a plain text file"},
    {Errc::no_data, "the run has no data that can be read", "skerry data push"},
    {Errc::no_such_run, "the coordinator has no run of that name", "skerry run ls"},
    {Errc::run_ended, "the run is over", "skerry export still works"},
    {Errc::database_behind, "nodes know more decisions than the coordinator's database: it is an old copy",
     "restore the newest copy, or rebuild it from the nodes"},
};
static_assert(std::size(kHelp) == static_cast<std::size_t>(Errc::database_behind) + 1);

nlohmann::json to_json(const Help& help) {
    return {{"code", to_name(help.code)}, {"exit", exit_code(help.code)}, {"retryable", retryable(help.code)},
            {"what", help.what}, {"fix", help.cure}};
}

}  // namespace

Result<void> help_errors_command(const Context& context, const std::string& code) {
    nlohmann::json list = nlohmann::json::array();
    std::vector<std::vector<std::string>> rows{{"CODE", "EXIT", "WHAT HAPPENED", "WHAT TO DO"}};
    for (const Help& help : kHelp) {
        std::string name(to_name(help.code));
        if (!code.empty() && code != name) continue;
        list.push_back(to_json(help));
        rows.push_back({name, std::to_string(exit_code(help.code)), help.what, help.cure});
    }
    if (list.empty()) return fail(Errc::not_found, "there is no error code " + code, "skerry help errors");
    if (context.json) {
        print_json({{"schema", "skerry.errors/1"}, {"errors", list}});
    } else if (!code.empty()) {
        std::printf("%s (exit %s): %s\n", rows[1][0].c_str(), rows[1][1].c_str(), rows[1][2].c_str());
        if (!rows[1][3].empty()) std::printf("fix: %s\n", rows[1][3].c_str());
    } else {
        std::printf("%s", to_table(rows).c_str());
    }
    return {};
}

}  // namespace skerry::node
