// skerry-coordinator: init, run, renew, backup, restore.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>

#include "coordinator/app/backup.hpp"
#include "coordinator/app/coordinator_app.hpp"
#include "coordinator/app/rebuild_app.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/base/log.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/observe/stacks.hpp"

namespace skerry::coordinator {
namespace {

struct InitOptions {
    std::string dir;
    std::string name;
    std::string public_host = "127.0.0.1";
    std::uint16_t port = kDefaultPort;
};

Result<void> init(const InitOptions& options) {
    Places places{options.dir};
    if (!is_name(options.name))
        return fail(Errc::usage, "'" + options.name + "' is no name", "use 1 to 64 letters, digits, '.', '_' or '-'");
    auto host = parse_address(options.public_host, 0);
    if (!host) return fail(host.error());
    if (std::filesystem::exists(places.config()))
        return fail(Errc::already_exists, "there is a coordinator in " + options.dir + " already", "choose another --dir");
    auto made = make_private_folder(std::filesystem::absolute(places.dir));
    if (!made) return made;
    auto root = make_service_keys(places, static_cast<std::int64_t>(std::time(nullptr)));
    if (!root) return fail(root.error());
    for (const auto& folder : {places.shards(), places.runs()}) {
        made = make_private_folder(folder);
        if (!made) return made;
    }
    made = write_small_file(places.config(), make_config_text(options.name, options.public_host, options.port), 0644);
    if (!made) return made;
    std::string dir = options.dir;
    std::printf("Wrote %s/coordinator.toml and keys. Fingerprint %s\n", dir.c_str(), to_fingerprint_text(ByteSpan(root->bytes)).c_str());
    std::printf("Move %s/root-key.pem to a safe place that is not this machine: it replaces a lost coordinator,\n"
                "and is needed again in 60 days at the latest (skerry-coordinator renew).\n", dir.c_str());
    std::printf("Open inbound %u/tcp. Next:  skerry-coordinator run --dir %s\n", options.port, dir.c_str());
    return {};
}

Result<LogLevel> parse_level(const std::string& word) {
    if (word == "debug") return LogLevel::debug;
    if (word == "info") return LogLevel::info;
    if (word == "warn") return LogLevel::warn;
    if (word == "error") return LogLevel::error;
    return fail(Errc::usage, "--log: expected debug, info, warn or error");
}

Result<void> run(RunOptions options, const std::string& listen, const std::string& level, const std::string& format) {
    auto least = parse_level(level);
    if (!least) return fail(least.error());
    configure_log(*least, "skerry-coordinator", format == "json" ? LogFormat::json : LogFormat::text);
    prepare_stacks();
    if (!listen.empty()) {
        auto address = parse_address(listen, kDefaultPort);
        if (!address) return fail(address.error());
        options.listen = *address;
    }
    CoordinatorApp app(std::move(options));
    return app.run();
}

Result<void> run_rebuild(RebuildOptions options, const std::string& listen, const std::vector<std::string>& confirm,
                         const std::string& patience) {
    configure_log(LogLevel::warn, "skerry-coordinator");
    if (!listen.empty()) {
        auto address = parse_address(listen, kDefaultPort);
        if (!address) return fail(address.error());
        options.listen = *address;
    }
    for (const std::string& id : confirm) {
        auto node = parse_fixed_hex<NodeId>(id);
        if (!node) return fail(Errc::usage, "--confirm: '" + id + "' is no node id", "64 hex digits each, see skerry nodes --json");
        options.confirm.insert(*node);
    }
    auto wait = parse_duration(patience);
    if (!wait) return fail(wait.error());
    options.patience = *wait;
    return rebuild(options);
}

int report(const Result<void>& result) {
    if (result) return 0;
    std::fprintf(stderr, "%s\n", to_text(result.error()).c_str());
    return exit_code(result.error().code);
}

int main_of(int argc, char** argv) {
    CLI::App app{"Keeps the books of Skerry runs: membership, data leases, outer steps."};
    app.set_version_flag("--version", SKERRY_VERSION);
    app.require_subcommand(1);

    InitOptions init_options;
    auto* init_command = app.add_subcommand("init", "make keys and coordinator.toml in a new folder");
    init_command->add_option("--dir", init_options.dir, "the folder")->required();
    init_command->add_option("--name", init_options.name, "shown to people")->required();
    init_command->add_option("--public", init_options.public_host, "host name or address that nodes use")->capture_default_str();
    init_command->add_option("--port", init_options.port, "TCP port to listen on")->capture_default_str();

    RunOptions options;
    std::string dir;
    std::string listen;
    std::string ready_file;
    std::string level = "info";
    std::string format = "text";
    auto* run_command = app.add_subcommand("run", "serve until SIGTERM or SIGINT");
    run_command->add_option("--dir", dir, "the folder that init made")->required();
    run_command->add_option("--listen", listen, "HOST:PORT instead of the config's; port 0: any free one");
    run_command->add_option("--ready-file", ready_file, "written once the port is open: {\"port\",\"admin_socket\",\"pid\"}");
    run_command->add_option("--log", level, "debug, info, warn or error")->capture_default_str();
    run_command->add_option("--log-format", format, "text or json")->capture_default_str()->check(CLI::IsMember({"text", "json"}));

    std::string root_key;
    auto* renew_command = app.add_subcommand("renew", "sign a new service certificate with the root key");
    renew_command->add_option("--dir", dir, "the folder that init made")->required();
    renew_command->add_option("--root-key", root_key, "the root key's file")->required();

    std::string backup_file;
    auto* backup = app.add_subcommand("backup", "copy a running coordinator's state into one file");
    backup->add_option("--dir", dir, "the folder that init made")->required();
    backup->add_option("-o,--out", backup_file, "the file; one that is there is replaced")->required();
    auto* restore = app.add_subcommand("restore", "make a coordinator's folder from a backup");
    restore->add_option("file", backup_file, "the backup")->required();
    restore->add_option("--dir", dir, "the new folder")->required();
    RebuildOptions rebuild_options;
    std::vector<std::string> confirm;
    std::string rebuild_listen;
    std::string patience = "10min";
    std::string rebuild_dir, rebuild_key, settings_file, rebuild_ready;
    auto* rebuild_command = app.add_subcommand("rebuild", "make a lost coordinator's folder anew of what its nodes hold");
    rebuild_command->add_option("--dir", rebuild_dir, "the new folder")->required();
    rebuild_command->add_option("--root-key", rebuild_key, "the root key's file; not needed in a folder that restore made");
    rebuild_command->add_option("--run", rebuild_options.run, "the run's name")->required();
    rebuild_command->add_option("--name", rebuild_options.name, "where there is no coordinator.toml: as for init");
    rebuild_command->add_option("--public", rebuild_options.public_host, "as for init")->capture_default_str();
    rebuild_command->add_option("--port", rebuild_options.port, "as for init")->capture_default_str();
    rebuild_command->add_option("--listen", rebuild_listen, "HOST:PORT instead of the config's");
    rebuild_command->add_option("--settings", settings_file, "settings.json of the run, if it is kept somewhere");
    rebuild_command->add_option("--confirm", confirm, "ids of your nodes; nobody else is listened to, nothing is asked")->delimiter(',');
    rebuild_command->add_flag("--yes", rebuild_options.yes, "take whoever answers for a node of yours");
    rebuild_command->add_flag("--accept-loss", rebuild_options.accept_loss,
                              "go on with fewer answers than can prove that nothing is missing; the chain will say so");
    rebuild_command->add_flag("--paused", rebuild_options.paused, "do not set the run running: skerry run start does");
    rebuild_command->add_option("--patience", patience, "how long to wait for answers")->capture_default_str();
    rebuild_command->add_option("--ready-file", rebuild_ready, "written once the port is open");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : exit_code(Errc::usage);
    }
    if (init_command->parsed()) return report(init(init_options));
    if (backup->parsed()) return report(backup_command(dir, backup_file));
    if (restore->parsed()) return report(restore_command(backup_file, dir));
    if (rebuild_command->parsed()) {
        rebuild_options.dir = rebuild_dir;
        rebuild_options.root_key = rebuild_key;
        rebuild_options.settings = settings_file;
        rebuild_options.ready_file = rebuild_ready;
        return report(run_rebuild(std::move(rebuild_options), rebuild_listen, confirm, patience));
    }
    options.dir = dir;
    options.ready_file = ready_file;
    if (run_command->parsed()) return report(run(std::move(options), listen, level, format));
    return report(renew_service_certificate(Places{dir}, root_key, static_cast<std::int64_t>(std::time(nullptr))));
}

}  // namespace
}  // namespace skerry::coordinator

int main(int argc, char** argv) {
    try {
        return skerry::coordinator::main_of(argc, argv);
    } catch (const std::bad_alloc&) {
        std::fprintf(stderr, "error[NOT_ENOUGH_MEMORY]: out of memory\n");
        return skerry::exit_code(skerry::Errc::out_of_memory);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error[INTERNAL]: %s\n", error.what());
        return 1;
    }
}
