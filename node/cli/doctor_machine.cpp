// skerry doctor: the machine.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "node/cli/doctor.hpp"
#include "protocol/base/bytes.hpp"
#include "protocol/config/quantity.hpp"

namespace skerry::node {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kWrite = 16 * kMiB;
constexpr std::uint64_t kLeastSpace = 256 * kMiB;
constexpr std::uint64_t kGoodSpace = 2 * kGiB;
constexpr double kSlowWrite = 10e6;
constexpr std::uint64_t kLeastMemory = kGiB;
constexpr rlim_t kLeastDescriptors = 256, kGoodDescriptors = 1024;

/// Bytes of a line of /proc/meminfo.
std::uint64_t memory_line(const std::string& key) {
    std::ifstream in("/proc/meminfo");
    for (std::string word; in >> word;) {
        std::uint64_t kib = 0;
        if (word == key + ":" && in >> kib) return kib * kKiB;
    }
    return 0;
}

std::string processor_name() {
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);)
        if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
    return "processor";
}

bool has_flag(const std::string& flag) {
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);)
        if (line.rfind("flags", 0) == 0) return (line + " ").find(" " + flag + " ") != std::string::npos;
    return false;
}

/// Seconds to write and sync so many bytes there; below 0: it failed, with errno.
double write_time(const fs::path& file, std::uint64_t bytes) {
    int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    const auto begun = std::chrono::steady_clock::now();
    Bytes block(1U << 20, 0x5A);
    bool good = true;
    for (std::uint64_t done = 0; good && done < bytes; done += block.size())
        good = ::write(fd, block.data(), block.size()) == static_cast<ssize_t>(block.size());
    good = good && ::fsync(fd) == 0;
    const int why = errno;
    ::close(fd);
    ::unlink(file.c_str());
    errno = why;
    return good ? std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count() : -1;
}

}  // namespace

void Doctor::look_at_processor() {
    const unsigned threads = std::max(1U, std::thread::hardware_concurrency());
    std::string text = processor_name() + " · " + std::to_string(threads) + " threads";
    const bool amx = has_flag("amx_bf16"), bf16 = amx || has_flag("avx512_bf16"), wide = has_flag("avx512f"), avx2 = has_flag("avx2");
    text += amx ? " · AMX, bf16" : bf16 ? " · AVX-512, bf16" : wide ? " · AVX-512" : avx2 ? " · AVX2" : "";
    if (avx2 || wide) {
        ok("cpu", text + (bf16 ? "" : " · bf16 is not faster than fp32 here"));
        return;
    }
    warn("cpu", text + ": no AVX2, training is slow", "use a machine with AVX2, or --threads with all cores: nproc");
}

void Doctor::look_at_memory() {
    const std::uint64_t all = memory_line("MemTotal"), free = memory_line("MemAvailable");
    const std::string text = to_size_text(free) + " of " + to_size_text(all) + " free";
    const std::uint64_t limit = config_ && !config_->memory.empty() ? parse_size(config_->memory).value() : 0;
    if (limit > all)
        bad("memory", Errc::out_of_memory, "[limits] memory = \"" + config_->memory + "\" is more than the " + to_size_text(all) + " of this machine",
            "skerry limits set --memory " + std::to_string(all / 4 * 3 / kMiB) + "MiB --dir " + dir());
    else if (free < kLeastMemory) warn("memory", text, "end other programs: ps aux --sort=-rss | head");
    else ok("memory", text);
}

void Doctor::look_at_disk() {
    const fs::path where = has_folder() ? fs::path(dir()) : fs::current_path();
    std::error_code none;
    const auto space = fs::space(where, none);
    if (none) return bad("disk", Errc::io_error, where.string() + ": " + none.message(), "mount it, or another --dir");
    if (space.available < kLeastSpace)
        return bad("disk", Errc::disk_full, where.string() + ": only " + to_size_text(space.available) + " free", "make room: du -xh " + where.string() + " | sort -h | tail");
    const double seconds = write_time(where / ".skerry-doctor", kWrite);
    if (seconds < 0)
        return bad("disk", Errc::io_error, "cannot write in " + where.string() + ": " + std::strerror(errno), "chown -R \"$USER\" " + where.string());
    const double rate = static_cast<double>(kWrite) / seconds;
    std::string text = where.string() + " · " + to_size_text(space.available) + " free · " + to_count_text(rate) + "B/s written and synced";
    const std::uint64_t quota = config_ && !config_->disk.empty() ? parse_size(config_->disk).value() : 0;
    if (quota > space.available + kLeastSpace)
        warn("disk", text + " · [limits] disk = \"" + config_->disk + "\" is more than that", "skerry limits set --disk " + std::to_string(space.available / kMiB * 9 / 10) + "MiB --dir " + dir());
    else if (space.available < kGoodSpace) warn("disk", text, "make room: du -xh " + where.string() + " | sort -h | tail");
    else if (rate < kSlowWrite) warn("disk", text + ": slow, each step waits for it", "put --dir on another disk: df -h");
    else ok("disk", std::move(text));
}

void Doctor::look_at_descriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const std::string text = "up to " + std::to_string(limit.rlim_cur) + " open files";
    if (limit.rlim_cur < kLeastDescriptors) bad("open files", Errc::io_error, text + ": too few for peers and files", "ulimit -n 4096");
    else if (limit.rlim_cur < kGoodDescriptors) warn("open files", text, "ulimit -n 4096");
    else ok("open files", text);
}

// Only the coordinator's clock judges tokens, but its certificate is judged by ours.
void Doctor::look_at_clock() {
    const auto now = std::chrono::system_clock::now();
    const auto built = std::chrono::sys_days(std::chrono::year(2026) / std::chrono::January / 1);
    if (now < built) return bad("clock", Errc::bad_state, "this machine's clock is years behind: no certificate is valid for it", "timedatectl set-ntp true");
    timex state{};
    const int answer = ::adjtimex(&state);
    if (answer == TIME_ERROR || (state.status & STA_UNSYNC) != 0)
        return warn("clock", "this machine's clock is not synchronised", "timedatectl set-ntp true");
    ok("clock", "synchronised, within " + std::to_string(state.maxerror / 1000) + " ms");
}

}  // namespace skerry::node
