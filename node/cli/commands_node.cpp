#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"
#include "node/cli/look.hpp"
#include "node/cli/node_folder.hpp"
#include "node/cli/plan_view.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/program.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;
constexpr auto kDetachPatience = std::chrono::seconds(60);
constexpr auto kLook = std::chrono::milliseconds(100);
constexpr Millis kLookPatience{10'000};
constexpr Millis kLookPatienceUnasked{3'000};

std::string text(const Json& json, const char* key) {
    auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The key that the folder has, or one for this question alone.
KeyPair key_to_show(const fs::path& dir) {
    auto kept = KeyPair::load(dir / "identity" / "key");
    return kept ? std::move(*kept) : KeyPair::generate();
}

/// What is known of the run and of what it takes; nothing: nobody is at a terminal, and the agent says why, or goes on
/// trying. Errors: those of look_at_run with a terminal; a machine that is too small.
Result<std::vector<std::string>> seen_before(const Token& token, const fs::path& dir, const NodeToml& config, const JoinCommand& command, bool ask) {
    auto seen = look_at_run(token, key_to_show(dir), ask ? kLookPatience : kLookPatienceUnasked);
    if (seen && !*seen) return to_lines(token, dir, config);
    auto prospect = seen ? make_prospect(std::move(**seen), dir, config) : Result<Prospect>(fail(seen.error()));
    if (!prospect) return ask ? Result<std::vector<std::string>>(fail(prospect.error())) : std::vector<std::string>{};
    auto small = command.force ? std::nullopt : refusal_of(*prospect);
    if (small) return fail(*small);
    if (ask) return to_lines(*prospect, token, dir, config);
    for (const Concern& one : prospect->concerns)
        for (const std::string& line : to_lines(one)) std::fprintf(stderr, "%s\n", line.c_str());
    return std::vector<std::string>{};
}

/// Whether the person at the terminal, if there is one, wants what will happen. Before anything is written or used up.
Result<bool> agreed(const Token& token, const fs::path& dir, const NodeToml& config, const JoinCommand& command, bool ask) {
    auto lines = seen_before(token, dir, config, command, ask);
    if (!lines) return fail(lines.error());
    if (!ask) return true;
    for (const std::string& line : *lines) std::printf("%s\n", line.c_str());
    std::printf("Join? [Y/n] ");
    std::fflush(stdout);
    std::string answer;
    if (!std::getline(std::cin, answer)) return false;
    return answer.empty() || answer[0] == 'y' || answer[0] == 'Y';
}

std::vector<std::string> node_command(const fs::path& dir, const JoinCommand& command) {
    std::vector<std::string> out{find_program("skerry-node"), "run", "--dir", dir.string()};
    if (!command.ready_file.empty()) {
        out.emplace_back("--ready-file");
        out.push_back(fs::absolute(command.ready_file).string());
    }
    if (!command.log_level.empty()) {
        out.emplace_back("--log");
        out.push_back(command.log_level);
    }
    if (!command.log_format.empty()) {
        out.emplace_back("--log-format");
        out.push_back(command.log_format);
    }
    return out;
}

/// Replaces this process. Returns only if that fails.
Error become(const std::vector<std::string>& command) {
    std::vector<char*> words;
    for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execvp(words[0], words.data());
    return {Errc::not_found, "cannot start " + command[0] + ": " + std::strerror(errno), "install skerry-node, or put it beside skerry"};
}

/// In the child: a session of its own, output to the log.
[[noreturn]] void become_daemon(const std::vector<std::string>& command, const fs::path& log) {
    ::setsid();
    int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (out >= 0) {
        ::dup2(out, STDOUT_FILENO);
        ::dup2(out, STDERR_FILENO);
    }
    if (in >= 0) ::dup2(in, STDIN_FILENO);
    Error why = become(command);
    std::fprintf(stderr, "%s\n", skerry::to_text(why).c_str());
    ::_exit(exit_code(why.code));
}

/// The error that a program printed last, from the part of its log after `from`.
std::string last_error(const fs::path& log, std::uintmax_t from) {
    std::ifstream in(log);
    in.seekg(static_cast<std::streamoff>(from));
    std::string all((std::istreambuf_iterator<char>(in)), {});
    auto at = all.rfind("error[");
    return at == std::string::npos ? "see " + log.string() : all.substr(at);
}

Errc code_of_exit(const std::string& printed) {
    auto open = printed.find('[');
    auto close = printed.find(']');
    if (open == std::string::npos || close == std::string::npos || close < open) return Errc::internal;
    std::string name = printed.substr(open + 1, close - open - 1);
    for (int i = 0; i <= static_cast<int>(Errc::database_behind); ++i) {
        if (to_name(static_cast<Errc>(i)) == name) return static_cast<Errc>(i);
    }
    return Errc::internal;
}

/// The daemon's own words as an error of ours.
Error error_of_daemon(const std::string& printed) {
    Errc code = code_of_exit(printed);
    auto begin = printed.find("]: ");
    std::string rest = begin == std::string::npos ? printed : printed.substr(begin + 3);
    std::string detail = rest.substr(0, rest.find('\n'));
    auto fix = rest.find("\nfix:");
    std::string cure;
    if (fix != std::string::npos) {
        cure = rest.substr(fix + 5, rest.find('\n', fix + 1) - fix - 5);
        cure.erase(0, cure.find_first_not_of(' '));
    }
    return {code, detail, cure};
}

/// Waits until the agent is in a session with the coordinator.
Result<Json> wait_until_joined(pid_t child, const fs::path& dir, const fs::path& log, std::uintmax_t log_begin) {
    auto deadline = std::chrono::steady_clock::now() + kDetachPatience;
    while (std::chrono::steady_clock::now() < deadline) {
        int status = 0;
        if (::waitpid(child, &status, WNOHANG) == child) return fail(error_of_daemon(last_error(log, log_begin)));
        auto channel = Channel::to_agent(dir.string());
        if (channel) {
            auto answer = channel->call("status", Json::object());
            if (answer && answer->value("connected", false)) return answer;
        }
        std::this_thread::sleep_for(kLook);
    }
    return fail(Errc::timed_out, "the node runs (pid " + std::to_string(child) + ") but has not joined yet",
                "skerry status --dir " + dir.string());
}

Result<void> detach(const Context& context, const fs::path& dir, const std::vector<std::string>& command) {
    fs::path log = dir / "node.log";
    std::error_code ec;
    auto log_begin = fs::exists(log, ec) ? fs::file_size(log, ec) : 0;
    pid_t child = ::fork();
    if (child < 0) return fail(Errc::io_error, std::string("cannot start a process: ") + std::strerror(errno));
    if (child == 0) become_daemon(command, log);
    auto joined = wait_until_joined(child, dir, log, log_begin);
    if (!joined) return fail(joined.error());
    if (context.json) {
        print_json({{"schema", "skerry.joined/1"}, {"pid", child}, {"run", text(*joined, "run")}, {"name", text(*joined, "name")},
                    {"node_id", text(*joined, "node_id")}, {"log", log.string()}});
        return {};
    }
    std::printf("joined %s as %s (pid %d) · log %s\n  skerry status --dir %s\n", text(*joined, "run").c_str(), text(*joined, "name").c_str(),
                child, log.c_str(), dir.c_str());
    return {};
}

Result<Channel> agent_of(const Context& context) {
    if (context.dir.empty()) return fail(Errc::usage, "which node?", "--dir NODEDIR");
    return Channel::to_agent(context.dir);
}

}  // namespace

Result<void> join_command(const Context& context, const JoinCommand& command) {
    if (context.dir.empty()) return fail(Errc::usage, "where shall the node's files be?", "--dir NODEDIR");
    auto token_text = read_token_text(command.token, command.token_file);
    if (!token_text) return fail(token_text.error());
    auto token = parse_token(*token_text);
    if (!token) {
        Error why = token.error();
        if (why.fix.empty()) why.fix = "paste the token in single quotes, as it was given";
        return fail(std::move(why));
    }
    if (token->kind != TokenKind::join)
        return fail(Errc::usage, "this is an administrator's token; it does not join nodes", "skerry token create --run NAME");
    if (command.threads && (*command.threads < 0 || *command.threads > 1024)) return fail(Errc::usage, "--threads: from 0 to 1024");
    fs::path dir = fs::absolute(context.dir).lexically_normal();
    if (Channel::to_agent(dir.string()))
        return fail(Errc::bad_state, "the node in " + dir.string() + " is running already", "skerry status --dir " + dir.string());
    auto config = node_config(dir, *token, command);
    if (!config) return fail(config.error());
    const bool ask = !command.no_input && !context.json && ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
    auto yes = agreed(*token, dir, *config, command, ask);
    if (!yes) return fail(yes.error());
    if (!*yes) {
        std::printf("Not joined. The token was not used, nothing was written.\n");
        return {};
    }
    auto made = make_node_folder(dir, *config, *token_text);
    if (!made) return made;
    auto program = node_command(dir, command);
    if (command.detach) return detach(context, dir, program);
    std::fflush(stdout);
    return fail(become(program));
}

namespace {

/// The agent's answer as JSON, or as what `say` makes of its pause ("paused(user) until 16:31", or nothing).
Result<void> ask_agent(const Context& context, const std::string& verb, const Json& arguments, std::string (*say)(const std::string& pause)) {
    auto channel = agent_of(context);
    if (!channel) return fail(channel.error());
    auto answer = channel->call(verb, arguments);
    if (!answer) return fail(answer.error());
    if (context.json) {
        Json out = *answer;
        out["schema"] = "skerry.agent/1";
        print_json(out);
        return {};
    }
    auto pause = answer->find("pause");
    const bool paused = pause != answer->end() && pause->is_object();
    std::printf("%s\n", say(paused ? text(*pause, "text") : "").c_str());
    return {};
}

}  // namespace

Result<void> pause_command(const Context& context, const std::string& length) {
    Json arguments = Json::object();
    if (!length.empty()) {
        auto parsed = parse_duration(length);
        if (!parsed) return fail(parsed.error());
        if (*parsed <= Millis(0)) return fail(Errc::usage, "a pause of no length", "skerry pause --for 2h");
        arguments["for_ms"] = static_cast<std::uint64_t>(parsed->count());
    }
    return ask_agent(context, "pause", arguments, [](const std::string& pause) {
        return pause + ": what was trained goes into the step, the trainer's memory is free within 5 s, the node stays connected";
    });
}

Result<void> resume_command(const Context& context) {
    return ask_agent(context, "resume", Json::object(), [](const std::string& pause) {
        return pause.empty() ? std::string("training again") : "resumed, but " + pause + ": skerry limits show";
    });
}

Result<void> leave_command(const Context& context, bool now, Millis patience) {
    auto channel = agent_of(context);
    if (!channel) return fail(channel.error());
    auto begun = channel->call("leave", {{"now", now}});
    if (!begun) return fail(begun.error());
    if (!context.json) std::printf("leaving%s ...\n", now ? "" : " after the step under way");
    std::fflush(stdout);
    auto deadline = std::chrono::steady_clock::now() + patience;
    while (std::chrono::steady_clock::now() < deadline) {
        auto answer = channel->call("status", Json::object());
        bool gone = !answer || text(*answer, "phase") == "left";
        if (gone) {
            if (context.json) {
                print_json({{"schema", "skerry.agent/1"}, {"phase", "left"}});
            } else {
                std::printf("left. The identity and the log are kept.\n");
            }
            return {};
        }
        std::this_thread::sleep_for(kLook);
    }
    return fail(Errc::timed_out, "the node has not left after " + to_duration_text(patience) + "; it goes on trying",
                "skerry status --dir " + context.dir + ", or  skerry leave --now --dir " + context.dir);
}

}  // namespace skerry::node
