#include "node/data/text_reader.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "protocol/base/bytes.hpp"
#include "protocol/base/descriptor.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kWindow = 64 * 1024;

Fail system_error(const std::string& what) {
    const int number = errno;
    return fail(number == ENOENT ? Errc::not_found : Errc::io_error, what + ": " + std::strerror(number));
}

Result<OwnedDescriptor> open_text(const fs::path& path) {
    OwnedDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return system_error(path.string());
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) return system_error(path.string());
    if (S_ISDIR(info.st_mode)) return fail(Errc::data_invalid, path.string() + " is a folder", "name text files");
    return file;
}

/// The next window; empty: the end.
Result<std::string_view> read_window(const OwnedDescriptor& file, std::string& window, const fs::path& path) {
    window.resize(kWindow);
    for (;;) {
        const ssize_t n = ::read(file.get(), window.data(), window.size());
        if (n >= 0) return std::string_view(window.data(), static_cast<std::size_t>(n));
        if (errno != EINTR) return system_error(path.string());
    }
}

/// Refuses what is not text, by what it saw of it.
class TextCheck {
  public:
    Result<void> add(std::string_view text, const std::string& name) {
        for (const auto b : as_bytes(text)) {
            if (b == 0) return fail(Errc::data_invalid, name + " is binary: it has NUL bytes", "give a plain text file");
            strange_ += b < 32 && b != '\t' && b != '\n' && b != '\r' && b != '\f' && b != '\v' && b != 27;
        }
        total_ += text.size();
        return {};
    }
    Result<void> finish(const std::string& name) const {
        if (total_ == 0) return fail(Errc::data_invalid, name + " is empty", "give a text file with something in it");
        if (strange_ * 100 > total_)
            return fail(Errc::data_invalid, name + " is binary: more than 1 % control characters", "give a plain text file");
        return {};
    }

  private:
    std::uint64_t total_ = 0, strange_ = 0;
};

/// One line of JSONL: its text, empty where there is none.
Result<std::string> text_of_line(std::string_view line, const std::string& field, const std::string& place) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) return fail(Errc::data_invalid, place + " is not a JSON object", "one JSON object a line, in UTF-8");
    const auto found = json.find(field);
    if (found == json.end() || found->is_null()) return std::string();
    if (!found->is_string()) return fail(Errc::data_invalid, place + ": \"" + field + "\" is not a text", "--field with the member that is");
    return found->get<std::string>();
}

}  // namespace

Result<void> read_text(const fs::path& path, const TakePart& take) {
    auto file = open_text(path);
    if (!file) return fail(file.error());
    std::string window;
    TextCheck check;
    for (;;) {
        auto part = read_window(*file, window, path);
        if (!part) return fail(part.error());
        if (part->empty()) break;
        auto good = check.add(*part, path.string());
        if (!good) return good;
        auto taken = take(*part, false);
        if (!taken) return taken;
    }
    auto good = check.finish(path.string());
    return good ? take({}, true) : good;
}

Result<void> read_lines(const fs::path& path, std::uint64_t& blank, const TakeLine& take) {
    auto file = open_text(path);
    if (!file) return fail(file.error());
    std::string window, line;
    std::uint64_t number = 0;
    const auto use = [&]() -> Result<bool> {
        ++number;
        const bool empty = line.find_first_not_of(" \t\r") == std::string::npos;
        blank += empty;
        auto taken = empty ? Result<bool>(true) : take(line, number);
        line.clear();
        return taken;
    };
    for (;;) {
        auto part = read_window(*file, window, path);
        if (!part) return fail(part.error());
        if (part->empty()) {
            auto used = line.empty() ? Result<bool>(true) : use();
            return used ? Result<void>{} : fail(used.error());
        }
        for (std::string_view rest = *part; !rest.empty();) {
            const std::size_t end = rest.find('\n');
            line += rest.substr(0, end);
            if (line.size() > kMaxJsonLine)
                return fail(Errc::too_large, path.string() + ":" + std::to_string(number + 1) + " is longer than " +
                                                 std::to_string(kMaxJsonLine >> 20) + " MiB", "split such documents, or give them as plain text files");
            if (end == std::string_view::npos) break;
            rest.remove_prefix(end + 1);
            auto used = use();
            if (!used) return fail(used.error());
            if (!*used) return {};
        }
    }
}

Result<void> read_jsonl(const fs::path& path, const std::string& field, std::uint64_t& empty, const TakePart& take) {
    return read_lines(path, empty, [&](std::string_view line, std::uint64_t number) -> Result<bool> {
        auto text = text_of_line(line, field, path.string() + ":" + std::to_string(number));
        if (!text) return fail(text.error());
        empty += text->empty();
        auto taken = text->empty() ? Result<void>{} : take(*text, true);
        return taken ? Result<bool>(true) : fail(taken.error());
    });
}

Result<std::uint64_t> file_bytes(const fs::path& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) return system_error(path.string());
    return static_cast<std::uint64_t>(info.st_size);
}

}  // namespace skerry::node
