#include "coordinator/app/backup.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>

#include "coordinator/app/backup_file.hpp"
#include "coordinator/app/config.hpp"
#include "coordinator/server/run_host.hpp"
#include "coordinator/store/journal_copy.hpp"
#include "coordinator/store/sqlite_journal.hpp"
#include "protocol/admin/admin_client.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"
#include "protocol/identity/certificate.hpp"
#include "protocol/identity/keys.hpp"
#include "protocol/session/local.hpp"
#include "protocol/wire/canonical.hpp"

namespace skerry::coordinator {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::size_t kMaxFile = 1024 * 1024;
constexpr auto kCopyPatience = std::chrono::minutes(30);

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

// ---- backup --------------------------------------------------------------------------------------------

Task<Result<AdminReply>> ask_for_copies(std::string socket) {
    auto dialled = co_await dial_local(std::move(socket));
    if (!dialled) co_return fail(dialled.error());
    ControlStream stream(std::move(*dialled));
    stream.frames().set_receive_limit(kMaxFrame);
    AdminRequest request;
    request.id = 1;
    request.verb = "backup";
    co_return co_await ask_admin(stream, std::move(request), kCopyPatience);
}

/// The folder in which the coordinator put the copies of its journals.
Result<fs::path> copies_of(const Places& places) {
    asio::io_context io;
    std::optional<Result<AdminReply>> reply;
    auto keep = [&](std::exception_ptr error, Result<AdminReply> result) {
        if (error) std::rethrow_exception(error);
        reply.emplace(std::move(result));
    };
    asio::co_spawn(io, ask_for_copies(places.admin_socket().string()), keep);
    io.run();
    if (!reply->has_value()) {
        Error why = reply->error();
        if (why.code == Errc::unreachable)
            return fail(Errc::unreachable, "no coordinator runs in " + places.dir.string(), "start it, or copy the folder while it is stopped");
        return fail(std::move(why));
    }
    const Json json = Json::parse((*reply)->json, nullptr, false);
    auto folder = json.is_object() ? json.find("folder") : json.end();
    if (folder == json.end() || !folder->is_string()) return fail(Errc::malformed, "the coordinator's answer cannot be read");
    return fs::path(folder->get<std::string>());
}

/// Gone on every way out: it holds the journals a second time.
class Staging {
  public:
    explicit Staging(fs::path folder) : folder_(std::move(folder)) {}
    ~Staging() {
        std::error_code ec;
        fs::remove_all(folder_, ec);
    }
    Staging(const Staging&) = delete;
    Staging& operator=(const Staging&) = delete;

  private:
    fs::path folder_;
};

Result<BackupRun> describe(const std::string& name, const fs::path& copy) {
    auto facts = check_copy(copy);
    if (!facts) {
        Error why = facts.error();
        why.detail = "run " + name + ": " + why.detail;
        return fail(std::move(why));
    }
    auto manifest = parse_manifest(facts->run.manifest);
    if (!manifest) return fail(manifest.error());
    return BackupRun{name, manifest->run.hex(), facts->term.value, facts->head.value, facts->h_head.hex(), facts->tokens};
}

std::string lines_of(const BackupInfo& info) {
    std::string out;
    for (const BackupRun& run : info.runs)
        out += "run " + run.name + ": " + std::to_string(run.head) + " steps decided, " + std::to_string(run.tokens) + " tokens, term " + std::to_string(run.term) + "\n";
    return out;
}

// ---- restore -------------------------------------------------------------------------------------------

/// A restored coordinator keeps everything in its own folder.
Result<void> own_data_dir(const fs::path& config) {
    auto text = read_small_file(config, kMaxFile);
    if (!text) return fail(text.error());
    std::string out;
    for (std::size_t at = 0; at < text->size();) {
        const std::size_t end = std::min(text->find('\n', at), text->size() - 1) + 1;
        const std::string line = text->substr(at, end - at);
        const auto first = line.find_first_not_of(" \t");
        const bool names_it = first != std::string::npos && line.compare(first, 8, "data_dir") == 0;
        out += names_it ? "data_dir = \".\"\n" : line;
        at = end;
    }
    return write_small_file(config, out, 0644);
}

/// Journals get numbers above all that the original may have given out since, and the mark.
Result<void> prepare_run(const fs::path& folder, const BackupRun& run, const std::string& made) {
    // One of an older program is brought to the schema of this one.
    auto opened = SqliteJournal::open(folder / "run.db");
    if (!opened) return fail(opened.error());
    opened->reset();
    auto facts = check_copy(folder / "run.db");
    if (!facts) return fail(facts.error());
    if (facts->head.value != run.head || facts->h_head.hex() != run.h_head)
        return fail(Errc::digest_mismatch, "run " + run.name + " is not what the backup's list says", "use another copy of it");
    auto raised = raise_numbers(folder / "run.db");
    if (!raised) return raised;
    Json mark{{"made", made}, {"head", run.head}, {"h_head", run.h_head}};
    return write_small_file(folder / kRestoredMark, mark.dump() + "\n", 0600);
}

Result<BackupResult> unpack(const fs::path& file, const fs::path& folder) {
    auto made = make_private_folder(folder);
    if (!made) return fail(made.error());
    auto read = read_backup(file, folder);
    if (!read) return fail(read.error());
    for (const char* name : {"runs", "shards"}) {
        made = make_private_folder(folder / name);
        if (!made) return fail(made.error());
    }
    made = own_data_dir(folder / "coordinator.toml");
    if (!made) return fail(made.error());
    for (const BackupRun& run : read->info.runs) {
        if (!is_name(run.name)) return fail(Errc::malformed, "the backup names a run that cannot be");
        made = prepare_run(folder / "runs" / run.name, run, read->info.made);
        if (!made) return fail(made.error());
    }
    return read;
}

}  // namespace

Result<void> backup_command(const fs::path& dir, const fs::path& file) {
    auto config = load_config(dir);
    if (!config) return fail(config.error());
    Places places{config->data_dir};
    auto root_pem = read_small_file(places.root_certificate(), kMaxFile);
    if (!root_pem) return fail(root_pem.error());
    auto root = parse_certificate(*root_pem);
    if (!root) return fail(root.error());
    auto copies = copies_of(places);
    if (!copies) return fail(copies.error());
    Staging staging(*copies);

    BackupInfo info{config->name, to_fingerprint_text(ByteSpan(root->id.bytes)), utc_now(), {}};
    std::vector<BackupEntry> entries{{"coordinator.toml", Places{dir}.config(), 0644},
                                     {"root.pem", places.root_certificate(), 0644},
                                     {"service-key.pem", places.service_key(), 0600},
                                     {"service.pem", places.service_certificate(), 0644}};
    if (fs::exists(places.admin_tokens())) entries.push_back({"admin-tokens.json", places.admin_tokens(), 0600});
    for (const auto& copy : fs::directory_iterator(*copies)) {
        const std::string name = copy.path().stem().string();
        auto run = describe(name, copy.path());
        if (!run) return fail(run.error());
        info.runs.push_back(std::move(*run));
        entries.push_back({"runs/" + name + "/run.db", copy.path(), 0600});
        for (const char* small : {"settings.json", "first-evaluation.json"}) {
            auto source = places.run(name) / small;
            if (fs::exists(source)) entries.push_back({"runs/" + name + "/" + small, source, 0600});
        }
    }
    auto written = write_backup(fs::absolute(file), std::move(info), entries);
    if (!written) return fail(written.error());
    std::printf("Wrote %s: %s, sha256 %s\n%sIt holds the service key: keep it as safe as the coordinator. The root key is not in it, nor are data shards.\n",
                file.c_str(), to_size_text(written->bytes).c_str(), written->sha256.c_str(), lines_of(written->info).c_str());
    return {};
}

Result<void> restore_command(const fs::path& file, const fs::path& dir) {
    const fs::path target = fs::absolute(dir).lexically_normal();
    std::error_code ec;
    if (fs::exists(target, ec) && !fs::is_empty(target, ec))
        return fail(Errc::already_exists, target.string() + " is not empty", "choose another --dir");
    const fs::path fresh = target.string() + ".part";
    fs::remove_all(fresh, ec);
    auto read = unpack(file, fresh);
    if (!read) {
        fs::remove_all(fresh, ec);
        return fail(read.error());
    }
    fs::remove(target, ec);  // an empty one
    fs::rename(fresh, target, ec);
    if (ec) return fail(file_error("cannot rename", fresh, ec.value()));
    std::printf("Restored coordinator %s (fingerprint %s) as of %s\n%s", read->info.coordinator.c_str(), read->info.fingerprint.c_str(),
                read->info.made.c_str(), lines_of(read->info).c_str());
    std::printf("Make sure that the old coordinator does not run. Nodes may know more than this backup, so a run holds until it has caught up.\n"
                "Next, for each run:  skerry-coordinator rebuild --dir %s --run NAME\n"
                "Then:  skerry-coordinator run --dir %s, and skerry data push (data shards are not in a backup)\n", target.c_str(), target.c_str());
    return {};
}

}  // namespace skerry::coordinator
