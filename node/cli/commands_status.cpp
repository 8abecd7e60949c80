#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include <sys/ioctl.h>
#include <unistd.h>

#include "node/cli/channel.hpp"
#include "node/cli/commands.hpp"
#include "node/cli/status_view.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
constexpr auto kRedrawEvery = std::chrono::milliseconds(500);
constexpr auto kPlainEvery = std::chrono::seconds(5);

bool is_coordinator_folder(const std::string& dir) { return std::filesystem::exists(std::filesystem::path(dir) / "coordinator.toml"); }

Result<Json> fetch_status(const Context& context) {
    Json args = Json::object();
    if (!context.run.empty()) args["run"] = context.run;
    bool agent = !context.dir.empty() && !is_coordinator_folder(context.dir);
    Context target = context;
    if (!agent && target.coordinator_dir.empty()) target.coordinator_dir = context.dir;
    auto channel = agent ? Channel::to_agent(context.dir) : Channel::to_coordinator(target);
    if (!channel) return fail(channel.error());
    return channel->call("status", args);
}

unsigned terminal_columns() {
    winsize size{};
    return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80U;
}

/// Cuts after `columns` characters, never inside one (UTF-8).
std::string cut(const std::string& line, unsigned columns) {
    unsigned shown = 0;
    for (std::size_t i = 0; i < line.size(); ++i) {
        bool first_byte = (static_cast<unsigned char>(line[i]) & 0xC0) != 0x80;
        if (first_byte && shown++ == columns) return line.substr(0, i);
    }
    return line;
}

void redraw(const std::vector<std::string>& lines, std::size_t& drawn) {
    if (drawn > 0) std::printf("\x1b[%zuA", drawn);
    unsigned columns = terminal_columns();
    for (const std::string& line : lines) std::printf("\r\x1b[2K%s\n", cut(line, columns - 1).c_str());
    // What was longer before is blanked.
    for (std::size_t i = lines.size(); i < drawn; ++i) std::printf("\r\x1b[2K\n");
    if (drawn > lines.size()) std::printf("\x1b[%zuA", drawn - lines.size());
    drawn = lines.size();
    std::fflush(stdout);
}

Result<void> watch_status(const Context& context) {
    bool live = ::isatty(STDOUT_FILENO) != 0 && !context.json;
    std::size_t drawn = 0;
    for (;;) {
        auto status = fetch_status(context);
        // A program that restarts is waited for; a wrong command is not.
        if (!status && !retryable(status.error().code)) return fail(status.error());
        if (!status) {
            std::string line = status.error().detail;
            if (live) {
                redraw({line}, drawn);
            } else {
                std::fprintf(stderr, "%s\n", line.c_str());
            }
        } else if (context.json) {
            print_json(*status);
        } else if (live) {
            redraw(to_lines(*status), drawn);
        } else {
            std::printf("%s\n", to_line(*status).c_str());
        }
        std::fflush(stdout);
        if (status && is_over(*status)) return {};
        std::this_thread::sleep_for(live ? std::chrono::milliseconds(kRedrawEvery) : std::chrono::milliseconds(kPlainEvery));
    }
}

}  // namespace

Result<void> status_command(const Context& context, bool watch) {
    if (watch) return watch_status(context);
    auto status = fetch_status(context);
    if (!status) return fail(status.error());
    if (context.json) {
        print_json(*status);
        return {};
    }
    for (const std::string& line : to_lines(*status)) std::printf("%s\n", line.c_str());
    return {};
}

}  // namespace skerry::node
