// skerry doctor: the node's folder, its agent and its trainer.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "node/cli/channel.hpp"
#include "node/cli/doctor.hpp"
#include "node/log/verify.hpp"
#include "node/trainer/child_process.hpp"
#include "protocol/base/within.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/program.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;
constexpr std::size_t kMaxToken = 4096;
constexpr auto kAgentPatience = std::chrono::milliseconds(4000);
constexpr auto kTrainerPatience = std::chrono::milliseconds(30'000);
constexpr std::uint64_t kQuickLog = 2 * kGiB;  ///< more takes minutes to read
constexpr std::chrono::hours kOld{1};

std::string shell_word(const fs::path& path) { return "'" + path.string() + "'"; }

/// Of a running agent; one that was started with another path to the same folder counts, too.
fs::path real_path(const fs::path& path) {
    std::error_code none;
    auto out = fs::weakly_canonical(path, none);
    return none ? path : out;
}

/// `write_small_file` had not renamed it yet: a file of ours with a dot and six characters.
bool is_unfinished(const std::string& name) {
    if (name.size() < 8 || name[name.size() - 7] != '.') return false;
    const std::string of = name.substr(0, name.size() - 7);
    return of == "node.toml" || of == "token" || of == "owner.json" || of == "key";
}

/// Starts it as the agent would and lets it choose for a small model. Returns what it works with.
Result<TrainerSetup> start_and_ask(const std::string& program, const NodeToml& config) {
    asio::io_context io;
    ChildOptions options;
    options.command = {program};
    options.threads = config.threads > 0 ? static_cast<std::uint32_t>(config.threads) : std::max(1U, std::thread::hardware_concurrency());
    options.path = parse_path(config.path).value();
    ModelConfig model;
    TrainConfig train;
    train.schedule = Schedule::constant;
    train.precision = parse_precision(config.precision).value();
    ChildProcess trainer(io.get_executor(), options);
    auto spawned = trainer.spawn();
    if (!spawned) return fail(spawned.error());
    Result<TrainerSetup> out = fail(Errc::trainer_failed, "it said nothing");
    auto ask = [&]() -> Task<> {
        auto ready = co_await within(kTrainerPatience, trainer.ready());
        if (!ready) out = fail(ready.error());
        else {
            auto configured = co_await within(kTrainerPatience, trainer.configure(model, train));
            if (configured) out = trainer.status().setup;
            else out = fail(configured.error());
        }
        trainer.kill();
    };
    asio::co_spawn(io, trainer.run(), [](std::exception_ptr) {});
    asio::co_spawn(io, ask(), [](std::exception_ptr) {});
    io.run();
    return out;
}

}  // namespace

std::vector<std::pair<int, fs::path>> running_agents() {
    std::vector<std::pair<int, fs::path>> out;
    std::error_code none;
    for (fs::directory_iterator at("/proc", none), end; !none && at != end; at.increment(none)) {
        const std::string name = at->path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream in(at->path() / "cmdline", std::ios::binary);
        std::vector<std::string> words;
        for (std::string word; std::getline(in, word, '\0');) words.push_back(word);
        if (words.empty() || fs::path(words[0]).filename() != "skerry-node") continue;
        for (std::size_t i = 1; i + 1 < words.size(); ++i) {
            if (words[i] != "--dir") continue;
            fs::path dir = words[i + 1];
            std::error_code gone;
            if (dir.is_relative()) dir = fs::read_symlink(at->path() / "cwd", gone) / dir;
            out.emplace_back(std::stoi(name), real_path(dir));
        }
    }
    return out;
}

std::vector<int> agents_of(const fs::path& folder) {
    std::vector<int> out;
    for (const auto& [pid, dir] : running_agents())
        if (dir == real_path(folder)) out.push_back(pid);
    return out;
}

void Doctor::look_at_folder() {
    const NodeFolder node = folder();
    if (!has_folder()) return bad("folder", Errc::not_found, "there is no node in " + dir(), "skerry join TOKEN --dir " + dir());
    struct Private {
        fs::path path;
        const char* what;
    };
    const Private files[] = {{node.key(), "the identity's key"}, {node.token(), "the token"}};
    bool good = true;
    for (const Private& file : files) {
        struct stat info {};
        if (::stat(file.path.c_str(), &info) != 0) {
            if (file.path != node.key()) continue;  // the token has a line of its own
            good = false;
            bad("folder", Errc::not_found, "there is no key in " + file.path.string(), "copy the folder of this node back from a backup, or join anew with another --dir");
        } else if ((info.st_mode & 077) != 0) {
            good = false;
            char mode[8];
            std::snprintf(mode, sizeof mode, "%04o", info.st_mode & 07777U);
            bad("folder", Errc::bad_state, std::string(file.what) + " can be read by others (mode " + mode + ")", "chmod 600 " + shell_word(file.path));
        } else if (info.st_uid != ::geteuid()) {
            good = false;
            bad("folder", Errc::bad_state, file.path.string() + " belongs to another user", "chown -R \"$USER\" " + shell_word(dir()));
        }
    }
    if (auto key = KeyPair::load(node.key()); good && !key) {
        good = false;
        bad("folder", key.error().code, key.error().detail, "copy " + shell_word(node.key()) + " back from a backup, or join anew with another --dir");
    }
    if (good) ok("folder", dir() + " · key and token are this user's alone");
}

void Doctor::look_at_config() {
    if (!has_folder()) return;
    auto config = load_node_toml(folder().config());
    if (!config) return bad("node.toml", config.error().code, config.error().detail, "edit " + shell_word(folder().config()) + "; docs: man skerry-node");
    config_ = std::move(*config);
    ok("node.toml", "name " + config_->name + " · listen " + config_->listen);
}

void Doctor::look_at_token() {
    if (!has_folder()) return;
    const std::string again = "ask the operator for a new one, then: skerry join TOKEN --dir " + dir();
    auto text = read_small_file(folder().token(), kMaxToken);
    if (!text) return bad("token", Errc::not_found, "there is no token in " + folder().token().string(), again);
    auto token = parse_token(text->substr(0, text->find_last_not_of(" \r\n") + 1));
    if (!token) return bad("token", token.error().code, token.error().detail, again);
    token_ = *token;
    const bool joined = fs::exists(folder().run());
    const bool expired = token->expires_at != 0 && static_cast<std::int64_t>(token->expires_at) < std::time(nullptr);
    if (expired && !joined) return bad("token", Errc::token_expired, "the token has expired, and this node has not joined yet", again);
    ok("token", "run " + token->run + " · coordinator " + token->host + ":" + std::to_string(token->port) +
                    (expired ? " · expired, which a node that has joined may ignore" : ""));
}

void Doctor::look_at_agent() {
    if (!has_folder()) return;
    const auto pids = agents_of(dir());
    const std::string start = "skerry-node run --dir " + shell_word(dir());
    auto channel = Channel::to_agent(dir());
    if (!channel) {
        if (pids.empty()) return warn("agent", "the node is not running", start);
        return bad("agent", Errc::unreachable, "process " + std::to_string(pids.front()) + " runs this folder but does not listen on its socket: " + folder().socket().string(),
                   "kill " + std::to_string(pids.front()) + " && " + start);
    }
    agent_runs_ = true;
    auto status = channel->call("status", Json::object(), {}, kAgentPatience);
    const std::string pid = pids.empty() ? "$(pgrep -f 'skerry-node run')" : std::to_string(pids.front());
    if (!status)
        return bad("agent", Errc::timed_out, "the agent (process " + pid + ") has its socket open but does not answer: it hangs or is stopped",
                   "kill -CONT " + pid + " || kill -KILL " + pid + " && " + start);
    status_ = status->dump();
    const Json error = status->value("error", Json());
    std::string text = "process " + std::to_string(status->value("pid", 0)) + " · " + status->value("phase", "");
    if (const Json pause = status->value("pause", Json()); pause.is_object()) text += " · " + pause.value("text", "");
    if (status->value("trainer_failures", 0) >= 3)
        return bad("agent", Errc::trainer_failed, text + " · the trainer fails again and again: " + status->value("trainer_error", ""), "see the log, then: skerry limits show --dir " + dir());
    if (error.is_object())
        return warn("agent", text + " · error[" + error.value("code", "") + "]: " + error.value("message", ""), error.value("fix", "skerry status --dir " + dir()));
    ok("agent", text);
}

void Doctor::look_at_identity() {
    if (!has_folder()) return;
    auto mine = KeyPair::load(folder().key());
    if (!mine) return;
    for (const auto& [pid, other] : running_agents()) {
        if (other == real_path(dir())) continue;
        auto theirs = KeyPair::load(NodeFolder{other}.key());
        if (theirs && theirs->id() == mine->id())
            return bad("identity", Errc::replaced, "process " + std::to_string(pid) + " runs " + other.string() + " with the same key: each puts the other out",
                       "kill " + std::to_string(pid) + "; the copy joins anew: rm -r " + shell_word(other / "identity") + " && skerry join TOKEN --dir " + other.string());
    }
    ok("identity", mine->id().hex().substr(0, 16) + ", used once on this machine");
}

void Doctor::look_at_trainer() {
    const std::string name = config_ && !config_->trainer.empty() ? config_->trainer : "skerry-trainer";
    const std::string program = find_program(name);
    auto setup = start_and_ask(program, config_ ? *config_ : NodeToml{});
    if (setup) return ok("trainer", program + " starts: " + skerry::node::to_text(*setup));
    const Error& why = setup.error();
    if (why.code == Errc::config_invalid) return bad("trainer", why.code, program + " refuses: " + why.detail, "path = \"auto\" in [trainer] of " + dir() + "/node.toml");
    if (why.code == Errc::not_found)
        return bad("trainer", Errc::not_found, "the trainer's program " + name + " is not there", "install it beside skerry-node, or skerry join TOKEN --trainer PROGRAM --dir " + dir());
    if (why.code == Errc::no_libtorch) return bad("trainer", why.code, program + ": " + why.detail, "deploy/setup.sh && deploy/build.sh");
    bad("trainer", why.code, program + " does not start: " + why.detail, program + " --version; ldd " + program + " | grep 'not found'");
}

void Doctor::look_at_log() {
    const fs::path run = has_folder() ? folder().run() : fs::path();
    if (run.empty() || !fs::exists(run)) return;
    std::uint64_t bytes = 0;
    std::error_code none;
    for (fs::recursive_directory_iterator at(run, none), end; !none && at != end; at.increment(none)) {
        std::error_code gone;
        if (at->is_regular_file(gone)) bytes += at->file_size(gone);
    }
    if (bytes > kQuickLog) return ok("log", to_size_text(bytes) + ", not read now: skerry verify " + dir());
    VerifyOptions options;
    options.replay = false;
    auto report = verify_run(run, options);
    // A running agent writes while this reads: damage is what is there a second time.
    if (report && agent_runs_ && !report->problems.empty()) {
        std::this_thread::sleep_for(std::chrono::seconds(1));
        const std::vector<std::string> before = std::move(report->problems);
        report = verify_run(run, options);
        if (report)
            std::erase_if(report->problems, [&](const std::string& one) { return std::find(before.begin(), before.end(), one) == before.end(); });
    }
    if (!report) return bad("log", report.error().code, report.error().detail, "start the node: it fetches what is missing; or another --dir");
    if (!report->problems.empty())
        return bad("log", Errc::digest_mismatch, std::to_string(report->problems.size()) + " damaged: " + report->problems.front(),
                   agent_runs_ ? "none needed: the node fetches it again; look again with skerry status --dir " + dir() : "skerry-node run --dir " + shell_word(dir()) + "  (it fetches damaged parts from its peers)");
    ok("log", "step " + std::to_string(report->head.value) + " · " + std::to_string(report->entries) + " entries, " + std::to_string(report->snapshots) + " snapshots, " + to_size_text(bytes) + " read, all whole");
}

/// Temporary files whose writers are long gone.
void Doctor::look_at_leftovers() {
    if (!has_folder()) return;
    std::vector<fs::path> found;
    const auto now = fs::file_time_type::clock::now();
    std::error_code none;
    for (fs::recursive_directory_iterator at(dir(), none), end; !none && at != end; at.increment(none)) {
        std::error_code gone;
        const std::string name = at->path().filename().string();
        const bool temporary = name.ends_with(".tmp") || name == ".skerry-doctor" || is_unfinished(name);
        if (temporary && at->is_regular_file(gone) && now - at->last_write_time(gone) > kOld && !gone) found.push_back(at->path());
    }
    if (found.empty()) return ok("leftovers", "none");
    std::string fix = "rm";
    for (std::size_t i = 0; i < std::min<std::size_t>(found.size(), 8); ++i) fix += " " + shell_word(found[i]);
    warn("leftovers", std::to_string(found.size()) + " temporary files of processes that were killed", fix);
}

}  // namespace skerry::node
