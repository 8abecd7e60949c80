#include "coordinator/app/backup_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "protocol/config/files.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/identity/token.hpp"

namespace skerry::coordinator {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::size_t kBlock = 512;
constexpr std::size_t kWindow = 256 * 1024;
constexpr std::uint64_t kMaxManifest = 1024 * 1024;
constexpr std::uint64_t kMaxEntry = (std::uint64_t{1} << 33) - 1;  // eleven octal digits
constexpr std::size_t kMaxEntries = 4096;
constexpr const char* kManifest = "backup.json";
constexpr const char* kManifestHash = "backup.sha256";

Fail damaged(const fs::path& file, const std::string& what) {
    return fail(Errc::malformed, file.string() + " is no whole backup: " + what, "use another copy of it");
}

/// Closes on every way out.
class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }

  private:
    int fd_;
};

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

// ---- tar -----------------------------------------------------------------------------------------------

struct Header {
    std::array<char, kBlock> bytes{};
    void text(std::size_t at, std::size_t room, const std::string& value) { std::memcpy(bytes.data() + at, value.data(), std::min(room, value.size())); }
    void octal(std::size_t at, std::size_t room, std::uint64_t value) {
        char digits[32];
        std::snprintf(digits, sizeof digits, "%0*llo", static_cast<int>(room - 1), static_cast<unsigned long long>(value));
        text(at, room - 1, digits);
    }
};

std::uint64_t checksum(const std::array<char, kBlock>& bytes) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kBlock; ++i) sum += i >= 148 && i < 156 ? static_cast<unsigned char>(' ') : static_cast<unsigned char>(bytes[i]);
    return sum;
}

Header make_header(const std::string& path, std::uint64_t size, std::uint32_t mode) {
    Header h;
    h.text(0, 100, path);
    h.octal(100, 8, mode);
    h.octal(108, 8, 0);
    h.octal(116, 8, 0);
    h.octal(124, 12, size);
    h.octal(136, 12, 0);  // times say nothing: equal content, equal file
    h.text(156, 1, "0");
    h.text(257, 8, std::string("ustar\0" "00", 8));
    h.octal(148, 7, checksum(h.bytes));
    h.bytes[155] = ' ';
    return h;
}

std::optional<std::uint64_t> parse_octal(const std::array<char, kBlock>& bytes, std::size_t at, std::size_t room) {
    std::uint64_t value = 0;
    bool any = false;
    for (std::size_t i = at; i < at + room && bytes[i] != '\0' && bytes[i] != ' '; ++i) {
        if (bytes[i] < '0' || bytes[i] > '7') return {};
        value = value * 8 + static_cast<std::uint64_t>(bytes[i] - '0');
        any = true;
    }
    return any ? std::optional(value) : std::nullopt;
}

// ---- writing -------------------------------------------------------------------------------------------

class TarWriter {
  public:
    TarWriter(const fs::path& file, int fd) : file_(file), fd_(fd) {}

    Result<void> put(ByteSpan bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return fail(file_error("cannot write", file_, errno));
            bytes = bytes.subspan(static_cast<std::size_t>(n));
            written_ += static_cast<std::uint64_t>(n);
        }
        return {};
    }
    Result<void> pad() {
        static constexpr std::array<std::uint8_t, kBlock> kZero{};
        return put(ByteSpan(kZero.data(), (kBlock - written_ % kBlock) % kBlock));
    }
    Result<void> header(const std::string& path, std::uint64_t size, std::uint32_t mode) {
        const Header h = make_header(path, size, mode);
        return put(ByteSpan(reinterpret_cast<const std::uint8_t*>(h.bytes.data()), kBlock));
    }
    Result<void> text(const std::string& path, const std::string& content) {
        auto done = header(path, content.size(), 0600);
        if (done) done = put(as_bytes(content));
        if (done) done = pad();
        return done;
    }
    Result<void> end() {
        static constexpr std::array<std::uint8_t, 2 * kBlock> kZero{};
        return put(kZero);
    }

  private:
    const fs::path& file_;
    int fd_;
    std::uint64_t written_ = 0;
};

/// Feeds a file to `take`, window by window; answers its size.
Result<std::uint64_t> read_through(const fs::path& file, const std::function<Result<void>(ByteSpan)>& take) {
    Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (in.get() < 0) return fail(file_error("cannot open", file, errno));
    std::vector<std::uint8_t> window(kWindow);
    std::uint64_t total = 0;
    for (;;) {
        const ssize_t n = ::read(in.get(), window.data(), window.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(file_error("cannot read", file, errno));
        if (n == 0) return total;
        total += static_cast<std::uint64_t>(n);
        auto taken = take(ByteSpan(window.data(), static_cast<std::size_t>(n)));
        if (!taken) return fail(taken.error());
    }
}

Json to_json(const BackupInfo& info) {
    Json out{{"schema", "skerry.backup/1"}, {"version", SKERRY_VERSION}, {"made", info.made},
             {"name", info.coordinator}, {"fingerprint", info.fingerprint}, {"runs", Json::array()}};
    for (const BackupRun& run : info.runs)
        out["runs"].push_back({{"run", run.name}, {"run_id", run.run_id}, {"term", run.term}, {"head", run.head},
                               {"h_head", run.h_head}, {"tokens", run.tokens}});
    return out;
}

struct Listed {
    std::uint64_t bytes = 0;
    std::string sha256;
};

Result<std::string> manifest_text(const BackupInfo& info, const std::vector<BackupEntry>& entries) {
    Json out = to_json(info);
    out["files"] = Json::array();
    for (const BackupEntry& entry : entries) {
        Sha256 hash;
        auto size = read_through(entry.source, [&](ByteSpan bytes) { hash.update(bytes); return Result<void>{}; });
        if (!size) return fail(size.error());
        if (*size > kMaxEntry || !is_allowed(entry.path)) return fail(Errc::too_large, entry.path + " does not fit into a backup");
        out["files"].push_back({{"path", entry.path}, {"bytes", *size}, {"mode", entry.mode}, {"sha256", hash.finish().hex()}});
    }
    return out.dump(1) + "\n";
}

Result<void> write_all(TarWriter& tar, const std::string& manifest, const std::vector<BackupEntry>& entries) {
    auto done = tar.text(kManifest, manifest);
    if (done) done = tar.text(kManifestHash, sha256(as_bytes(manifest)).hex() + "  " + kManifest + "\n");
    const Json listed = Json::parse(manifest);
    for (std::size_t i = 0; done && i < entries.size(); ++i) {
        const auto bytes = listed["files"][i]["bytes"].get<std::uint64_t>();
        done = tar.header(entries[i].path, bytes, entries[i].mode);
        if (!done) break;
        auto size = read_through(entries[i].source, [&](ByteSpan part) { return tar.put(part); });
        if (!size) return fail(size.error());
        if (*size != bytes) return fail(Errc::io_error, entries[i].path + " changed while it was copied");
        done = tar.pad();
    }
    if (done) done = tar.end();
    return done;
}

// ---- reading -------------------------------------------------------------------------------------------

std::string text_of(const Json& json, const char* key) {
    auto at = json.find(key);
    return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::uint64_t count_of(const Json& json, const char* key) {
    auto at = json.find(key);
    return at != json.end() && at->is_number_unsigned() ? at->get<std::uint64_t>() : 0;
}

/// Walks one backup: header by header, each file against the list that came first.
class TarReader {
  public:
    /// `folder` empty: only checks.
    TarReader(const fs::path& file, int fd, fs::path folder) : file_(file), fd_(fd), folder_(std::move(folder)) {}

    Result<BackupResult> run() {
        auto manifest = small_entry(kManifest);
        if (!manifest) return fail(manifest.error());
        auto hash = small_entry(kManifestHash);
        if (!hash) return fail(hash.error());
        if (hash->substr(0, 64) != sha256(as_bytes(*manifest)).hex()) return fail(Errc::digest_mismatch, file_.string() + ": its list of files is damaged", "use another copy of it");
        auto listed = parse(*manifest);
        if (!listed) return fail(listed.error());
        for (const auto& [path, entry] : files_) {
            auto copied = copy(path, entry);
            if (!copied) return fail(copied.error());
        }
        auto ended = take(2 * kBlock, [](ByteSpan) { return Result<void>{}; });
        if (!ended) return fail(ended.error());
        result_.bytes = read_;
        result_.sha256 = whole_.finish().hex();
        return result_;
    }

  private:
    Result<void> take(std::uint64_t bytes, const std::function<Result<void>(ByteSpan)>& use) {
        std::vector<std::uint8_t> window(std::min<std::uint64_t>(bytes, kWindow));
        while (bytes > 0) {
            const ssize_t n = ::read(fd_, window.data(), std::min<std::uint64_t>(bytes, window.size()));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return fail(file_error("cannot read", file_, errno));
            if (n == 0) return damaged(file_, "it ends after " + std::to_string(read_) + " bytes");
            const ByteSpan part(window.data(), static_cast<std::size_t>(n));
            whole_.update(part);
            read_ += part.size();
            bytes -= part.size();
            auto used = use(part);
            if (!used) return used;
        }
        return {};
    }

    /// The next header; its file must be `path`.
    Result<std::uint64_t> header(const std::string& path) {
        std::array<char, kBlock> bytes{};
        std::size_t at = 0;
        auto got = take(kBlock, [&](ByteSpan part) {
            std::memcpy(bytes.data() + at, part.data(), part.size());
            at += part.size();
            return Result<void>{};
        });
        if (!got) return fail(got.error());
        const auto size = parse_octal(bytes, 124, 12);
        const auto sum = parse_octal(bytes, 148, 8);
        const std::string name(bytes.data(), ::strnlen(bytes.data(), 100));
        const bool fits = size && sum && *sum == checksum(bytes) && bytes[156] == '0' && name == path && *size <= kMaxEntry;
        if (!fits) return damaged(file_, "expected " + path);
        return *size;
    }

    Result<void> padding(std::uint64_t size) {
        return take((kBlock - size % kBlock) % kBlock, [](ByteSpan) { return Result<void>{}; });
    }

    Result<std::string> small_entry(const char* path) {
        auto size = header(path);
        if (!size) return fail(size.error());
        if (*size > kMaxManifest) return damaged(file_, std::string(path) + " is too large");
        std::string text;
        auto got = take(*size, [&](ByteSpan part) {
            text.append(reinterpret_cast<const char*>(part.data()), part.size());
            return Result<void>{};
        });
        if (got) got = padding(*size);
        if (!got) return fail(got.error());
        return text;
    }

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

    Result<void> copy(const std::string& path, const Listed& listed) {
        auto size = header(path);
        if (!size) return fail(size.error());
        if (*size != listed.bytes) return damaged(file_, path + " has another size than its list says");
        const fs::path out_path = folder_ / path;
        int out = -1;
        if (!folder_.empty()) {
            auto made = make_private_folder(out_path.parent_path());
            if (!made) return made;
            out = ::open(out_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
            if (out < 0) return fail(file_error("cannot create", out_path, errno));
        }
        Descriptor keep(out);
        TarWriter writer(out_path, out);
        Sha256 hash;
        auto got = take(*size, [&](ByteSpan part) {
            hash.update(part);
            return out < 0 ? Result<void>{} : writer.put(part);
        });
        if (got) got = padding(*size);
        if (!got) return got;
        if (hash.finish().hex() != listed.sha256) return fail(Errc::digest_mismatch, file_.string() + ": " + path + " is damaged", "use another copy of it");
        if (out >= 0 && ::fsync(out) != 0) return fail(file_error("cannot sync", out_path, errno));
        return {};
    }

    const fs::path& file_;
    int fd_;
    fs::path folder_;
    Sha256 whole_;
    std::uint64_t read_ = 0;
    std::vector<std::pair<std::string, Listed>> files_;
    BackupResult result_;
};

Result<void> sync_folder(const fs::path& folder) {
    Descriptor at(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (at.get() < 0 || ::fsync(at.get()) != 0) return fail(file_error("cannot sync", folder, errno));
    return {};
}

}  // namespace

Result<BackupResult> read_backup(const fs::path& file, const fs::path& folder) {
    Descriptor in(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (in.get() < 0 && errno == ENOENT) return fail(Errc::not_found, "there is no file " + file.string());
    if (in.get() < 0) return fail(file_error("cannot open", file, errno));
    return TarReader(file, in.get(), folder).run();
}

Result<BackupResult> check_backup(const fs::path& file) { return read_backup(file, {}); }

Result<BackupResult> write_backup(const fs::path& file, BackupInfo info, const std::vector<BackupEntry>& entries) {
    auto manifest = manifest_text(info, entries);
    if (!manifest) return fail(manifest.error());
    const fs::path fresh = file.string() + ".part";
    auto write = [&]() -> Result<BackupResult> {
        Descriptor out(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (out.get() < 0) return fail(file_error("cannot create", fresh, errno));
        TarWriter tar(fresh, out.get());
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
