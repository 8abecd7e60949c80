// skerry doctor --bundle: what a bug report needs and nothing that opens anything.

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <regex>

#include "node/cli/doctor.hpp"
#include "node/cli/run_program.hpp"
#include "protocol/config/files.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMostLog = 256 * kKiB;
constexpr std::uint64_t kMostFile = kMiB;
constexpr std::size_t kMostListed = 2000;

/// The last bytes of a text file, from a whole line on.
std::string tail(const fs::path& file, std::uint64_t most) {
    std::ifstream in(file, std::ios::binary);
    if (!in) return "not there\n";
    in.seekg(0, std::ios::end);
    const auto size = static_cast<std::uint64_t>(std::max<std::streamoff>(0, in.tellg()));
    in.seekg(static_cast<std::streamoff>(size > most ? size - most : 0));
    std::string text((std::istreambuf_iterator<char>(in)), {});
    if (size > most) text.erase(0, text.find('\n') + 1);
    return text;
}

std::string versions() {
    utsname system{};
    ::uname(&system);
    return std::string("skerry " SKERRY_VERSION "\n") + system.sysname + " " + system.release + " " + system.machine + "\n" + tail("/etc/os-release", 4096);
}

/// Names and sizes, no contents.
std::string listing(const fs::path& folder) {
    std::string out;
    std::size_t listed = 0;
    std::error_code none;
    for (fs::recursive_directory_iterator at(folder, none), end; !none && at != end && listed < kMostListed; at.increment(none), ++listed) {
        std::error_code gone;
        const auto bytes = at->is_regular_file(gone) ? at->file_size(gone) : 0;
        out += std::to_string(bytes) + "\t" + fs::relative(at->path(), folder, gone).string() + "\n";
    }
    return out;
}

std::optional<fs::path> newest_folder(const fs::path& parent) {
    std::optional<fs::path> out;
    std::error_code none;
    for (fs::directory_iterator at(parent, none), end; !none && at != end; at.increment(none))
        if (at->is_directory() && (!out || at->path() > *out)) out = at->path();
    return out;
}

struct Scratch {
    fs::path path;
    ~Scratch() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
};

}  // namespace

std::string without_secrets(const std::string& text) {
    static const std::regex kToken("skr[0-9a-z]_[a-z2-7]{8,}");
    static const std::regex kKey("-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(-----END [A-Z ]*PRIVATE KEY-----)?");
    return std::regex_replace(std::regex_replace(text, kToken, "skr1_(removed)"), kKey, "(private key removed)");
}

Result<void> write_doctor_bundle(const Doctor& doctor, const fs::path& folder, const fs::path& file) {
    std::string pattern = (fs::temp_directory_path() / "skerry-doctor-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return fail(Errc::io_error, "no temporary folder: " + std::string(std::strerror(errno)), "export TMPDIR=DIR");
    const Scratch scratch{pattern};
    const fs::path into = scratch.path / "skerry-doctor";
    auto made = make_private_folder(into);
    if (!made) return made;
    std::vector<std::pair<std::string, std::string>> parts = {{"versions.txt", versions()},
                                                              {"doctor.json", doctor.to_json() + "\n"},
                                                              {"status.json", doctor.agent_status() + "\n"},
                                                              {"memory.txt", tail("/proc/meminfo", 4096)}};
    if (!folder.empty()) {
        parts.emplace_back("node.toml", tail(NodeFolder{folder}.config(), kMostFile));
        parts.emplace_back("node.log", tail(folder / "node.log", kMostLog));
        parts.emplace_back("files.txt", listing(folder));
        if (auto newest = newest_folder(NodeFolder{folder}.bundles()))
            for (const auto& one : fs::directory_iterator(*newest))
                if (one.is_regular_file()) parts.emplace_back("watchdog-" + one.path().filename().string(), tail(one.path(), kMostFile));
    }
    for (const auto& [name, text] : parts) {
        auto written = write_small_file(into / name, without_secrets(text), 0600);
        if (!written) return written;
    }
    const fs::path part = file.string() + ".part";
    auto packed = run_program({"tar", "-C", scratch.path.string(), "-czf", part.string(), "skerry-doctor"});
    if (!packed) return fail(packed.error());
    std::error_code error;
    if (packed->status == 0) fs::rename(part, file, error);
    if (packed->status == 0 && !error) return {};
    std::error_code ignored;
    fs::remove(part, ignored);
    return fail(Errc::io_error, "cannot write " + file.string() + ": " + (error ? error.message() : packed->text), "another folder: --bundle FILE.tar.gz");
}

}  // namespace skerry::node
