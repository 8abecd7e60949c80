#include "node/trainer/torch/progress_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "node/trainer/torch/line_channel.hpp"

namespace skerry::node {
namespace {

constexpr char kMagic[] = "SKPROG1\n";
constexpr std::size_t kMagicBytes = 8;
constexpr std::uint32_t kMaxHeader = 1 << 20;
constexpr std::uint64_t kWindow = 1 << 18;  ///< elements at a time

/// Against damage, not against malice: the file is ours.
class Checksum {
  public:
    void add(const void* data, std::size_t bytes) {
        auto* p = static_cast<const unsigned char*>(data);
        for (; bytes >= 8; p += 8, bytes -= 8) {
            std::uint64_t word;
            std::memcpy(&word, p, 8);
            mix(word);
        }
        std::uint64_t rest = bytes;
        std::memcpy(&rest, p, bytes);
        mix(rest ^ (std::uint64_t{bytes} << 56));
    }
    std::uint64_t value() const { return state_; }

  private:
    void mix(std::uint64_t word) {
        state_ = (state_ ^ word) * 0x9E3779B97F4A7C15U;
        state_ ^= state_ >> 29;
    }
    std::uint64_t state_ = 0x243F6A8885A308D3U;
};

Fail system_error(const std::string& what) {
    const Errc code = errno == ENOENT ? Errc::not_found : errno == ENOSPC || errno == EDQUOT ? Errc::disk_full : Errc::io_error;
    return fail(code, what + ": " + std::strerror(errno));
}

Result<void> write_all(int descriptor, const void* data, std::size_t bytes) {
    auto* p = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::write(descriptor, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_error("progress");
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return {};
}

Result<void> read_all(int descriptor, void* data, std::size_t bytes) {
    auto* p = static_cast<char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::read(descriptor, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return system_error("progress");
        if (n == 0) return fail(Errc::digest_mismatch, "progress file ends early");
        p += n;
        bytes -= static_cast<std::size_t>(n);
    }
    return {};
}

std::string header_text(const ProgressHeader& h) {
    nlohmann::json json = {{"elements", h.elements},          {"optimizer_step", h.optimizer_step},
                           {"steps", h.delta.steps},          {"sequences", h.delta.sequences},
                           {"tokens", h.delta.tokens},        {"loss", h.delta.loss},
                           {"targets", h.targets},            {"loss_sum", h.loss_sum},
                           {"note", h.note}};
    return json.dump();
}

Result<ProgressHeader> parse_header(const std::string& text) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    const auto count = [&](const char* key) { return json.value(key, std::uint64_t{0}); };
    if (!json.is_object()) return fail(Errc::digest_mismatch, "progress header is not JSON");
    ProgressHeader h;
    h.elements = count("elements");
    h.optimizer_step = count("optimizer_step");
    h.delta = {count("steps"), count("sequences"), count("tokens"), json.value("loss", 0.0)};
    h.targets = json.value("targets", h.delta.tokens);
    h.loss_sum = json.value("loss_sum", 0.0);
    h.note = json.value("note", "");
    return h;
}

Result<void> write_body(int descriptor, const ProgressHeader& header, const ReadElements& read,
                        const std::function<void()>& tick) {
    Checksum sum;
    const auto put = [&](const void* data, std::size_t bytes) {
        sum.add(data, bytes);
        return write_all(descriptor, data, bytes);
    };
    const std::string text = header_text(header);
    const auto size = static_cast<std::uint32_t>(text.size());
    std::string head = std::string(kMagic, kMagicBytes);
    head.append(reinterpret_cast<const char*>(&size), sizeof size).append(text);
    auto wrote = put(head.data(), head.size());
    if (!wrote) return wrote;

    std::vector<float> window(std::min(kWindow, 3 * header.elements));
    for (std::uint64_t lo = 0; lo < 3 * header.elements; lo += kWindow) {
        const std::span<float> part(window.data(), std::min(kWindow, 3 * header.elements - lo));
        read(lo, part);
        wrote = put(part.data(), part.size_bytes());
        if (!wrote) return wrote;
        if (tick) tick();
    }
    const std::uint64_t value = sum.value();
    wrote = write_all(descriptor, &value, sizeof value);
    if (!wrote) return wrote;
    if (::fsync(descriptor) != 0) return system_error("progress: fsync");
    return {};
}

Result<void> sync_folder(const std::string& path) {
    auto folder = std::filesystem::path(path).parent_path();
    if (folder.empty()) folder = ".";
    OwnedDescriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0) return system_error(folder.string());
    return {};
}

/// Reads the body after the header, a window at a time, feeding `sum` and, if given, `take`.
Result<void> walk_body(int descriptor, std::uint64_t count, Checksum& sum, const TakeElements* take) {
    std::vector<float> window(std::min(kWindow, count));
    for (std::uint64_t lo = 0; lo < count; lo += kWindow) {
        const std::span<float> part(window.data(), std::min(kWindow, count - lo));
        auto got = read_all(descriptor, part.data(), part.size_bytes());
        if (!got) return got;
        sum.add(part.data(), part.size_bytes());
        if (take) (*take)(lo, part);
    }
    return {};
}

}  // namespace

Result<void> write_progress(const std::string& path, const ProgressHeader& header, const ReadElements& read,
                            const std::function<void()>& tick) {
    const std::string temporary = path + ".tmp";
    auto write = [&]() -> Result<void> {
        OwnedDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        if (file.get() < 0) return system_error(temporary);
        return write_body(file.get(), header, read, tick);
    };
    auto written = write();
    if (!written) {
        ::unlink(temporary.c_str());
        return written;
    }
    if (::rename(temporary.c_str(), path.c_str()) != 0) return system_error(path);
    return sync_folder(path);
}

Result<void> write_progress(const std::string& path, const ProgressCopy& copy) {
    const ReadElements read = [&](std::uint64_t lo, std::span<float> out) {
        std::memcpy(out.data(), copy.elements.get() + lo, out.size_bytes());
    };
    return write_progress(path, copy.header, read, {});
}

std::uint64_t memory_available() {
    std::uint64_t available = 0;
    std::ifstream meminfo("/proc/meminfo");
    for (std::string key, rest; meminfo >> key && available == 0; std::getline(meminfo, rest))
        if (key == "MemAvailable:" && meminfo >> available) available *= 1024;
    std::ifstream limit("/sys/fs/cgroup/memory.max"), used("/sys/fs/cgroup/memory.current");
    std::uint64_t most = 0, now = 0;  // "max" is no number: no limit
    if (limit >> most && used >> now) available = std::min(available, most - std::min(most, now));
    return available;
}

Result<ProgressHeader> read_progress(const std::string& path, std::uint64_t elements, const TakeElements& take) {
    OwnedDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) return system_error(path);
    std::string head(kMagicBytes + sizeof(std::uint32_t), '\0');
    auto got = read_all(file.get(), head.data(), head.size());
    if (!got) return fail(got.error());
    std::uint32_t size = 0;
    std::memcpy(&size, head.data() + kMagicBytes, sizeof size);
    if (head.compare(0, kMagicBytes, kMagic) != 0 || size > kMaxHeader)
        return fail(Errc::digest_mismatch, path + ": not a progress file");
    std::string text(size, '\0');
    got = read_all(file.get(), text.data(), text.size());
    if (!got) return fail(got.error());
    const off_t body = ::lseek(file.get(), 0, SEEK_CUR);
    auto header = parse_header(text);
    if (!header) return header;
    if (header->elements != elements)
        return fail(Errc::bad_shape, path + ": of a model with " + std::to_string(header->elements) + " elements");

    Checksum sum;
    head += text;
    sum.add(head.data(), head.size());
    got = walk_body(file.get(), 3 * elements, sum, nullptr);
    if (!got) return fail(got.error());
    std::uint64_t recorded = 0;
    got = read_all(file.get(), &recorded, sizeof recorded);
    if (!got) return fail(got.error());
    if (recorded != sum.value()) return fail(Errc::digest_mismatch, path + ": damaged (checksum)");

    if (::lseek(file.get(), body, SEEK_SET) != body) return system_error(path);
    got = walk_body(file.get(), 3 * elements, sum, &take);
    if (!got) return fail(got.error());
    return header;
}

}  // namespace skerry::node
