// skerry service: the node as a systemd service of the user who owns its folder.

#include <pwd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"
#include "node/cli/run_program.hpp"
#include "node/config/node_toml.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/program.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

struct Unit {
    std::string name;  ///< skerry-node-NAME.service
    fs::path file;
    fs::path dir;      ///< the node's folder
};

std::string user_name() {
    const passwd* me = ::getpwuid(::geteuid());
    return me != nullptr ? me->pw_name : std::to_string(::geteuid());
}

Result<fs::path> units_folder() {
    if (const char* config = std::getenv("XDG_CONFIG_HOME"); config != nullptr && *config == '/') return fs::path(config) / "systemd" / "user";
    const char* home = std::getenv("HOME");
    if (home == nullptr || *home != '/') return fail(Errc::usage, "neither XDG_CONFIG_HOME nor HOME is set", "export HOME=/home/" + user_name());
    return fs::path(home) / ".config" / "systemd" / "user";
}

Result<Unit> unit_of(const Context& context) {
    if (context.dir.empty()) return fail(Errc::usage, "which node?", "--dir NODEDIR");
    fs::path dir = fs::absolute(context.dir).lexically_normal();
    if (!dir.has_filename()) dir = dir.parent_path();
    auto config = load_node_toml(NodeFolder{dir}.config());
    if (!config && config.error().code == Errc::not_found) return fail(Errc::not_found, "there is no node in " + dir.string(), "skerry join TOKEN --dir " + dir.string());
    if (!config) return fail(config.error());
    auto folder = units_folder();
    if (!folder) return fail(folder.error());
    const std::string name = "skerry-node-" + config->name + ".service";
    return Unit{name, *folder / name, dir};
}

/// A word of ExecStart: systemd knows quotes, backslashes, $ and %.
std::string word(const std::string& text) {
    std::string out = "\"";
    for (char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (c == '%' || c == '$') out += c;
        out += c;
    }
    return out + "\"";
}

std::string unit_text(const Unit& unit) {
    const std::string node = find_program("skerry-node");
    const std::string path = std::getenv("PATH") != nullptr ? std::getenv("PATH") : "/usr/local/bin:/usr/bin:/bin";
    return "# Written by skerry service install.\n"
           "[Unit]\n"
           "Description=Skerry node in " + unit.dir.string() + "\n"
           "Documentation=man:skerry-node(1)\n"
           "StartLimitIntervalSec=0\n"
           "\n"
           "[Service]\n"
           "ExecStart=" + word(node) + " run --dir " + word(unit.dir.string()) + "\n"
           "ExecReload=/bin/kill -HUP $MAINPID\n"
           "Environment=" + word("PATH=" + path) + "\n"
           "# The first signal finishes the step under way, which takes 30 s at most. The trainer ends with the agent.\n"
           "KillMode=mixed\n"
           "TimeoutStopSec=120\n"
           "Restart=on-failure\n"
           "RestartSec=5\n"
           "# Codes that a restart does not heal: usage, refused, incompatible, resources, data, no such run, security.\n"
           "RestartPreventExitStatus=2 11 12 13 14 15 16\n"
           "Nice=10\n"
           "CPUWeight=20\n"
           "IOSchedulingClass=idle\n"
           "UMask=0077\n"
           "NoNewPrivileges=yes\n"
           "\n"
           "[Install]\n"
           "WantedBy=default.target\n";
}

/// systemctl --user; why it cannot be had is an error.
Result<ProgramOutput> systemctl(std::vector<std::string> words) {
    words.insert(words.begin(), {"systemctl", "--user", "--no-pager"});
    return run_program(words);
}

std::string first_line(const ProgramOutput& output) { return output.text.substr(0, output.text.find('\n')); }

bool manager_answers() {
    auto answer = systemctl({"show-environment"});
    return answer && answer->status == 0;
}

bool lingers() { return fs::exists(fs::path("/var/lib/systemd/linger") / user_name()); }

Result<void> must(std::vector<std::string> words) {
    const std::string shown = "systemctl --user " + words.front() + " " + (words.size() > 1 ? words.back() : "");
    auto done = systemctl(std::move(words));
    if (!done) return fail(done.error());
    if (done->status != 0) return fail(Errc::bad_state, shown + " says: " + done->text, shown);
    return {};
}

Json to_json(const Unit& unit, bool manager) {
    Json out{{"schema", "skerry.service/1"}, {"unit", unit.name}, {"file", unit.file.string()}, {"installed", fs::exists(unit.file)},
             {"systemd", manager}, {"enabled", nullptr}, {"active", nullptr}, {"linger", lingers()}};
    if (!manager) return out;
    if (auto enabled = systemctl({"is-enabled", unit.name})) out["enabled"] = first_line(*enabled);
    if (auto active = systemctl({"is-active", unit.name})) out["active"] = first_line(*active);
    return out;
}

void say(const Context& context, const Unit& unit, bool manager) {
    const Json now = to_json(unit, manager);
    if (context.json) return print_json(now);
    std::printf("%s · %s", unit.file.c_str(), now["installed"] == true ? "installed" : "not installed");
    if (manager) std::printf(" · %s · %s", now["enabled"].get<std::string>().c_str(), now["active"].get<std::string>().c_str());
    std::printf("\n");
    if (now["installed"] != true) return;
    if (!manager) std::printf("systemd does not answer for this user here. Where it does:  systemctl --user daemon-reload && systemctl --user enable --now %s\n", unit.name.c_str());
    if (now["linger"] != true) std::printf("it ends when you log out, unless:  loginctl enable-linger %s\n", user_name().c_str());
}

Result<void> install(const Context& context, const Unit& unit) {
    auto made = make_private_folder(unit.file.parent_path());
    if (!made) return made;
    auto written = write_small_file(unit.file, unit_text(unit), 0644);
    if (!written) return written;
    const bool manager = manager_answers();
    if (manager) {
        // What runs in a terminal now keeps its folder to itself.
        const bool runs = static_cast<bool>(Channel::to_agent(unit.dir.string()));
        auto done = must({"daemon-reload"});
        if (done) done = runs ? must({"enable", unit.name}) : must({"enable", "--now", unit.name});
        if (!done) return done;
        if (runs && !context.json) std::printf("the node runs already: end it (Ctrl-C), then  systemctl --user start %s\n", unit.name.c_str());
    }
    say(context, unit, manager);
    return {};
}

Result<void> uninstall(const Context& context, const Unit& unit) {
    if (!fs::exists(unit.file)) return fail(Errc::not_found, "there is no " + unit.file.string(), "skerry service install --dir " + unit.dir.string());
    const bool manager = manager_answers();
    if (manager) {
        auto done = must({"disable", "--now", unit.name});
        if (!done) return done;
    }
    std::error_code error;
    fs::remove(unit.file, error);
    if (error) return fail(Errc::io_error, unit.file.string() + ": " + error.message(), "rm " + unit.file.string());
    if (manager) {
        auto done = must({"daemon-reload"});
        if (!done) return done;
    }
    say(context, unit, manager);
    return {};
}

}  // namespace

Result<void> service_command(const Context& context, const std::string& verb, bool print) {
    auto unit = unit_of(context);
    if (!unit) return fail(unit.error());
    if (print) {
        std::printf("%s", unit_text(*unit).c_str());
        return {};
    }
    if (verb == "install") return install(context, *unit);
    if (verb == "uninstall") return uninstall(context, *unit);
    say(context, *unit, manager_answers());
    return {};
}

}  // namespace skerry::node
