#include "coordinator/app/rebuild_folder.hpp"

#include <ctime>

#include "coordinator/server/run_host.hpp"
#include "coordinator/store/sqlite_journal.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/keys.hpp"

namespace skerry::coordinator {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxSettings = 64 * 1024;

std::int64_t unix_now() { return static_cast<std::int64_t>(std::time(nullptr)); }

Result<void> keep_or_write(const fs::path& file, const std::string& text, ::mode_t mode) {
    if (fs::exists(file)) return {};
    return write_small_file(file, text, mode);
}

}  // namespace

Result<ServiceKeys> prepare_folder(const RebuildOptions& options, const Places& places) {
    // A restored coordinator has its keys: the root key may stay where it is.
    const bool complete = fs::exists(places.config()) && fs::exists(places.service_key()) && fs::exists(places.service_certificate());
    if (options.root_key.empty() && complete) return load_service_keys(places, unix_now());
    if (options.root_key.empty())
        return fail(Errc::usage, places.dir.string() + " has no service key and certificate", "give --root-key FILE: it signs new ones");
    auto root = KeyPair::load(options.root_key);
    if (!root) return fail(root.error());
    for (const auto& folder : {places.dir, places.shards(), places.runs()})
        if (auto made = make_private_folder(folder); !made) return fail(made.error());
    if (!fs::exists(places.config()) && !is_name(options.name))
        return fail(Errc::usage, "there is no coordinator.toml in " + places.dir.string(), "give --name, --public and --port as they were");
    auto done = keep_or_write(places.config(), make_config_text(options.name, options.public_host, options.port), 0644);
    if (done) done = keep_or_write(places.root_certificate(), make_root_certificate(*root), 0644);
    if (done && !fs::exists(places.service_key())) done = KeyPair::generate().save(places.service_key());
    if (done) done = renew_service_certificate(places, options.root_key, unix_now());
    if (!done) return fail(done.error());
    return load_service_keys(places, unix_now());
}

Result<void> write_run(const Places& places, const RebuildOptions& options, const Rebuilt& rebuilt) {
    const fs::path folder = places.run(options.run);
    std::string settings = "{}";
    fs::path settings_from = options.settings;
    if (settings_from.empty() && fs::exists(folder / "settings.json")) settings_from = folder / "settings.json";
    if (!settings_from.empty()) {
        auto text = read_small_file(settings_from, kMaxSettings);
        if (!text) return fail(text.error());
        settings = *text;
    }
    if (auto parsed = parse_run_settings(settings); !parsed) return fail(parsed.error());
    if (auto made = make_private_folder(folder); !made) return made;
    if (auto wrote = write_small_file(folder / "settings.json", settings, 0600); !wrote) return wrote;
    // Complete under another name first: a run that is there is whole.
    const fs::path fresh = folder / "rebuild.db";
    std::error_code ignored;
    for (const char* ending : {"", "-wal", "-shm", "-journal"}) fs::remove(fresh.string() + ending, ignored);
    {
        auto journal = SqliteJournal::create(fresh, rebuilt.run);
        if (!journal) return fail(journal.error());
        if (auto applied = (*journal)->apply(rebuilt.tx); !applied) return applied;
    }
    fs::rename(fresh, folder / "run.db", ignored);
    if (ignored) return fail(Errc::io_error, "cannot rename " + fresh.string() + ": " + ignored.message());
    // Known to be no older than what the nodes hold.
    fs::remove(folder / kRestoredMark, ignored);
    return {};
}

}  // namespace skerry::coordinator
