#include "protocol/observe/bundle.hpp"

#include <algorithm>
#include <cctype>
#include <ctime>
#include <fstream>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/log.hpp"
#include "protocol/config/files.hpp"
#include "protocol/observe/stacks.hpp"

namespace skerry {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxProcFile = 64 * 1024;
constexpr const char* kCut = "\n[cut: the bundle is full]\n";

std::string read_proc(const char* file) {
    std::ifstream in(file);
    std::string text;
    text.resize(kMaxProcFile);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(0, in.gcount())));
    return text;
}

std::string lines_of_log() {
    std::string out;
    for (const std::string& line : recent_log_lines()) out += line + "\n";
    return out;
}

/// Cuts the largest part again and again until all fit.
void fit(std::vector<BundlePart>& parts, std::size_t bytes) {
    for (;;) {
        std::size_t total = 0;
        for (const BundlePart& part : parts) total += part.text.size();
        if (total <= bytes || parts.empty()) return;
        auto largest = std::max_element(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.text.size() < b.text.size(); });
        const std::size_t over = total - bytes + std::char_traits<char>::length(kCut);
        const std::size_t keep = largest->text.size() > over ? std::max(largest->text.size() - over, largest->text.size() / 2) : largest->text.size() / 2;
        largest->text.resize(keep);
        if (keep > 64) largest->text += kCut;
    }
}

bool is_bundle(const fs::path& path) {
    const std::string name = path.filename().string();
    return name.size() >= 16 && name[8] == 'T' && name[15] == 'Z' && name.find_first_not_of("0123456789") == 8;
}

void remove_oldest(const fs::path& folder, std::size_t keep) {
    std::vector<fs::path> found;
    std::error_code ec;
    for (auto it = fs::directory_iterator(folder, ec); !ec && it != fs::directory_iterator(); it.increment(ec)) {
        if (it->path().extension() == ".part") fs::remove_all(it->path(), ec);  // of a process that died
        else if (is_bundle(it->path())) found.push_back(it->path());
    }
    std::sort(found.begin(), found.end());
    for (std::size_t i = 0; i + keep < found.size(); ++i) fs::remove_all(found[i], ec);
}

// By hand rather than by std::regex, which recurses with the length of what it searches.

/// From BEGIN to END, or to the end of the text.
void remove_pem(std::string& text) {
    for (std::size_t at = 0; (at = text.find("-----BEGIN ", at)) != std::string::npos;) {
        std::size_t end = text.find("-----END ", at);
        if (end != std::string::npos) end = text.find("-----", end + 9);
        end = end == std::string::npos ? text.size() : end + 5;
        text.replace(at, end - at, "[removed: a key or certificate]");
    }
}

void remove_tokens(std::string& text) {
    constexpr std::string_view kPrefix = "skr1_";
    for (std::size_t at = 0; (at = text.find(kPrefix, at)) != std::string::npos;) {
        at += kPrefix.size();
        std::size_t end = at;
        while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end])) != 0) ++end;
        text.replace(at, end - at, "[removed]");
    }
}

/// key=VALUE, "key": "VALUE", key: VALUE.
void remove_values(std::string& text, std::string_view key) {
    auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
    auto from = text.begin();
    for (;;) {
        auto found = std::search(from, text.end(), key.begin(), key.end(), same);
        if (found == text.end()) return;
        std::size_t at = static_cast<std::size_t>(found - text.begin()) + key.size();
        from = text.begin() + static_cast<std::ptrdiff_t>(at);
        at = std::min(text.find_first_not_of("\"' ", at), text.size());
        if (at == text.size() || (text[at] != '=' && text[at] != ':')) continue;
        at = std::min(text.find_first_not_of(" \"'", at + 1), text.size());
        const std::size_t end = std::min(text.find_first_of("\"' \n,}", at), text.size());
        text.replace(at, end - at, "[removed]");
        from = text.begin() + static_cast<std::ptrdiff_t>(at);
    }
}

}  // namespace

std::string redacted(std::string text) {
    remove_pem(text);
    remove_tokens(text);
    for (std::string_view key : {"secret", "ticket", "password", "private_key", "bearer"}) remove_values(text, key);
    return text;
}

std::vector<BundlePart> process_parts() {
    std::string process = read_proc("/proc/self/status") + "\n" + read_proc("/proc/self/limits");
    return {{"log.txt", lines_of_log()}, {"stacks.txt", stacks_of_all_threads()}, {"process.txt", process}};
}

Result<fs::path> write_bundle(const fs::path& folder, const std::string& name, std::vector<BundlePart> parts, BundleLimits limits) {
    auto made = make_private_folder(folder);
    if (!made) return fail(made.error());
    for (BundlePart& part : parts) part.text = redacted(std::move(part.text));
    fit(parts, limits.bytes);
    const fs::path path = folder / name;
    const fs::path fresh = path.string() + ".part";
    std::error_code ec;
    fs::remove_all(fresh, ec);
    made = make_private_folder(fresh);
    for (const BundlePart& part : parts) {
        if (!made) return fail(made.error());
        made = write_small_file(fresh / part.name, part.text, 0600);
    }
    if (!made) {
        fs::remove_all(fresh, ec);
        return fail(made.error());
    }
    fs::remove_all(path, ec);
    fs::rename(fresh, path, ec);
    if (ec) return fail(file_error("cannot rename", fresh, ec.value()));
    remove_oldest(folder, limits.count);
    return path;
}

std::string bundle_time() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &parts);
    return text;
}

}  // namespace skerry
