#include "coordinator/app/backup_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <set>

#include "coordinator/app/ustar.hpp"
#include "protocol/base/descriptor.hpp"
#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::coordinator {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::uint64_t kMaxManifest = 1024 * 1024;
constexpr std::size_t kMaxEntries = 4096;
constexpr const char* kManifest = "backup.json";
constexpr const char* kManifestHash = "backup.sha256";

Fail damaged(const fs::path& file, const std::string& what) {
    return fail(Errc::malformed, file.string() + " is no whole backup: " + what, "use another copy of it");
}

Fail hash_differs(const fs::path& file, const std::string& what) {
    return fail(Errc::digest_mismatch, file.string() + ": " + what + " is damaged", "use another copy of it");
}

// ---- names ---------------------------------------------------------------------------------------------

/// What a backup may hold. The root key is not among it, and no other path can be written by a restore.
bool is_allowed(const std::string& path) {
    static const std::set<std::string> kTop{"coordinator.toml", "root.pem", "service-key.pem", "service.pem", "admin-tokens.json"};
    static const std::set<std::string> kOfRun{"run.db", "settings.json", "first-evaluation.json"};
    if (kTop.contains(path)) return true;
    if (!path.starts_with("runs/")) return false;
    const auto slash = path.find('/', 5);
    if (slash == std::string::npos) return false;
    const std::string name = path.substr(5, slash - 5);
    return is_name(name) && name != "." && name != ".." && kOfRun.contains(path.substr(slash + 1));
}

// ---- writing -------------------------------------------------------------------------------------------

Result<std::uint64_t> read_source(const fs::path& file, const TakeBytes& take) {
    OwnedDescriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!in) return fail(file_error("cannot open", file, errno));
    return read_through(in.get(), file, take);
}

Json to_json(const BackupInfo& info) {
    Json out{{"schema", "skerry.backup/1"}, {"version", SKERRY_VERSION}, {"made", info.made},
             {"name", info.coordinator}, {"fingerprint", info.fingerprint}, {"runs", Json::array()}};
    for (const BackupRun& run : info.runs)
        out["runs"].push_back({{"run", run.name}, {"run_id", run.run_id}, {"term", run.term}, {"head", run.head},
                               {"h_head", run.h_head}, {"tokens", run.tokens}});
    return out;
}

Result<std::string> manifest_text(const BackupInfo& info, const std::vector<BackupEntry>& entries) {
    Json out = to_json(info);
    out["files"] = Json::array();
    for (const BackupEntry& entry : entries) {
        Sha256 hash;
        auto size = read_source(entry.source, [&](ByteSpan bytes) { hash.update(bytes); return Result<void>{}; });
        if (!size) return fail(size.error());
        if (*size > kUstarMaxFile || !is_allowed(entry.path)) return fail(Errc::too_large, entry.path + " does not fit into a backup");
        out["files"].push_back({{"path", entry.path}, {"bytes", *size}, {"mode", entry.mode}, {"sha256", hash.finish().hex()}});
    }
    return out.dump(1) + "\n";
}

Result<void> write_all(UstarWriter& tar, const std::string& manifest, const std::vector<BackupEntry>& entries) {
    auto done = tar.text(kManifest, manifest);
    if (done) done = tar.text(kManifestHash, sha256(as_bytes(manifest)).hex() + "  " + kManifest + "\n");
    const Json listed = Json::parse(manifest);
    for (std::size_t i = 0; done && i < entries.size(); ++i) {
        const auto bytes = listed["files"][i]["bytes"].get<std::uint64_t>();
        done = tar.header(entries[i].path, bytes, entries[i].mode);
        if (!done) break;
        auto size = read_source(entries[i].source, [&](ByteSpan part) { return tar.put(part); });
        if (!size) return fail(size.error());
        if (*size != bytes) return fail(Errc::io_error, entries[i].path + " changed while it was copied");
        done = tar.pad();
    }
    if (done) done = tar.end();
    return done;
}

// ---- reading -------------------------------------------------------------------------------------------

struct Listed {
    std::uint64_t bytes = 0;
    std::string sha256;
};

std::string text_of(const Json& json, const char* key) {
    auto at = json.find(key);
    return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::uint64_t count_of(const Json& json, const char* key) {
    auto at = json.find(key);
    return at != json.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

/// Walks one backup: each file against the list that came first.
class BackupReader {
  public:
    /// `folder` empty: only checks.
    BackupReader(const fs::path& file, int fd, fs::path folder) : file_(file), tar_(file, fd), folder_(std::move(folder)) {}

    Result<BackupResult> run() {
        auto manifest = tar_.text(kManifest, kMaxManifest);
        if (!manifest) return fail(manifest.error());
        auto hash = tar_.text(kManifestHash, kMaxManifest);
        if (!hash) return fail(hash.error());
        if (hash->substr(0, 64) != sha256(as_bytes(*manifest)).hex()) return hash_differs(file_, "its list of files");
        auto done = parse(*manifest);
        for (std::size_t i = 0; done && i < files_.size(); ++i) done = copy(files_[i].first, files_[i].second);
        if (done) done = tar_.end();
        if (!done) return fail(done.error());
        result_.bytes = tar_.bytes();
        result_.sha256 = tar_.finish_hash().hex();
        return result_;
    }

  private:
    Result<void> parse(const std::string& manifest) {
        const Json json = Json::parse(manifest, nullptr, false);
        if (!json.is_object() || text_of(json, "schema") != "skerry.backup/1")
            return fail(Errc::version_mismatch, file_.string() + " is no backup that this program knows", "use the skerry-coordinator that made it, or a newer one");
        auto files = json.find("files");
        auto runs = json.find("runs");
        const bool lists = files != json.end() && files->is_array() && files->size() <= kMaxEntries && runs != json.end() && runs->is_array();
        if (!lists) return damaged(file_, "its list of files cannot be read");
        for (const Json& one : *files) {
            const std::string path = text_of(one, "path");
            if (!is_allowed(path)) return damaged(file_, "'" + path + "' has no place in a backup");
            files_.emplace_back(path, Listed{count_of(one, "bytes"), text_of(one, "sha256")});
        }
        result_.info = {text_of(json, "name"), text_of(json, "fingerprint"), text_of(json, "made"), {}};
        for (const Json& one : *runs) {
            if (!one.is_object()) return damaged(file_, "its list of runs cannot be read");
            result_.info.runs.push_back({text_of(one, "run"), text_of(one, "run_id"), count_of(one, "term"), count_of(one, "head"),
                                         text_of(one, "h_head"), count_of(one, "tokens")});
        }
        return {};
    }

    Result<OwnedDescriptor> create(const fs::path& path) {
        auto made = make_private_folder(path.parent_path());
        if (!made) return fail(made.error());
        OwnedDescriptor out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!out) return fail(file_error("cannot create", path, errno));
        return out;
    }

    Result<void> copy(const std::string& path, const Listed& listed) {
        auto size = tar_.header(path);
        if (!size) return fail(size.error());
        if (*size != listed.bytes) return damaged(file_, path + " has another size than its list says");
        const fs::path out_path = folder_ / path;
        OwnedDescriptor out;
        if (!folder_.empty()) {
            auto created = create(out_path);
            if (!created) return fail(created.error());
            out = std::move(*created);
        }
        Sha256 hash;
        auto got = tar_.content(*size, [&](ByteSpan part) {
            hash.update(part);
            return out ? write_through(out.get(), out_path, part) : Result<void>{};
        });
        if (!got) return got;
        if (hash.finish().hex() != listed.sha256) return hash_differs(file_, path);
        if (out && ::fsync(out.get()) != 0) return fail(file_error("cannot sync", out_path, errno));
        return {};
    }

    const fs::path& file_;
    UstarReader tar_;
    fs::path folder_;
    std::vector<std::pair<std::string, Listed>> files_;
    BackupResult result_;
};

Result<void> sync_folder(const fs::path& folder) {
    OwnedDescriptor at(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!at || ::fsync(at.get()) != 0) return fail(file_error("cannot sync", folder, errno));
    return {};
}

}  // namespace

Result<BackupResult> read_backup(const fs::path& file, const fs::path& folder) {
    OwnedDescriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!in && errno == ENOENT) return fail(Errc::not_found, "there is no file " + file.string());
    if (!in) return fail(file_error("cannot open", file, errno));
    return BackupReader(file, in.get(), folder).run();
}

Result<BackupResult> check_backup(const fs::path& file) { return read_backup(file, {}); }

Result<BackupResult> write_backup(const fs::path& file, BackupInfo info, const std::vector<BackupEntry>& entries) {
    auto manifest = manifest_text(info, entries);
    if (!manifest) return fail(manifest.error());
    const fs::path fresh = file.string() + ".part";
    auto write = [&]() -> Result<BackupResult> {
        OwnedDescriptor out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!out) return fail(file_error("cannot create", fresh, errno));
        UstarWriter tar(fresh, out.get());
        auto done = write_all(tar, *manifest, entries);
        if (!done) return fail(done.error());
        if (::fsync(out.get()) != 0) return fail(file_error("cannot sync", fresh, errno));
        return check_backup(fresh);
    };
    auto result = write();
    std::error_code ec;
    if (!result) {
        fs::remove(fresh, ec);
        return result;
    }
    fs::rename(fresh, file, ec);
    if (ec) return fail(file_error("cannot rename", fresh, ec.value()));
    auto synced = sync_folder(file.parent_path());
    if (!synced) return fail(synced.error());
    return result;
}

}  // namespace skerry::coordinator
