// skerry-node: the agent. `skerry join` makes its folder and starts it.

#include <CLI/CLI.hpp>
#include <cstdio>

#include "node/app/node_app.hpp"
#include "protocol/base/log.hpp"
#include "protocol/observe/stacks.hpp"

namespace {

using namespace skerry;
using namespace skerry::node;

int report(const Error& error) {
    if (error.code == Errc::cancelled) return 0;
    std::fprintf(stderr, "%s\n", to_text(error).c_str());
    return exit_code(error.code);
}

int run_node(const std::filesystem::path& dir, const std::filesystem::path& ready_file, bool says) {
    NodeFolder folder{std::filesystem::absolute(dir)};
    auto settings = load_settings(folder);
    if (!settings) return report(settings.error());
    auto key = KeyPair::load(folder.key());
    if (!key) return report(key.error());
    NodeApp app(NodeOptions{folder, std::move(*settings), std::move(*key), ready_file, says});
    return report(app.run());
}

LogLevel to_level(const std::string& text) {
    if (text == "debug") return LogLevel::debug;
    if (text == "warn") return LogLevel::warn;
    if (text == "error") return LogLevel::error;
    return LogLevel::info;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App cli{"skerry-node: one peer of a Skerry run"};
    cli.set_version_flag("--version", SKERRY_VERSION);
    cli.require_subcommand(1);
    std::string dir;
    std::string ready_file;
    std::string level = "info";
    std::string format = "text";
    auto* run = cli.add_subcommand("run", "run the node of a folder that `skerry join` made");
    run->add_option("--dir", dir, "the node's folder")->required();
    run->add_option("--ready-file", ready_file, "written once the sockets are open");
    run->add_option("--log", level, "debug, info, warn or error")->check(CLI::IsMember({"debug", "info", "warn", "error"}));
    run->add_option("--log-format", format, "text or json")->check(CLI::IsMember({"text", "json"}));
    try {
        cli.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        int status = cli.exit(error);
        return status == 0 ? 0 : 2;
    }
    configure_log(to_level(level), "node", format == "json" ? LogFormat::json : LogFormat::text);
    prepare_stacks();
    try {
        return run_node(dir, ready_file, format != "json");
    } catch (const std::bad_alloc&) {
        return report(Error{Errc::out_of_memory, "out of memory", "close other programs or use a larger machine"});
    } catch (const std::exception& error) {
        return report(Error{Errc::internal, error.what(), ""});
    }
}
