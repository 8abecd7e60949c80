#include "protocol/observe/process_metrics.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>

#include <sys/resource.h>
#include <unistd.h>

#include "protocol/base/log.hpp"

namespace skerry {
namespace {

constexpr MetricFamily kBuild{"skerry_build_info", MetricKind::gauge, "Program and version; always 1."};
constexpr MetricFamily kStart{"process_start_time_seconds", MetricKind::gauge, "Start of the process, Unix time."};
constexpr MetricFamily kCpu{"process_cpu_seconds_total", MetricKind::counter, "User and system CPU time."};
constexpr MetricFamily kResident{"process_resident_memory_bytes", MetricKind::gauge, "Resident memory."};
constexpr MetricFamily kVirtual{"process_virtual_memory_bytes", MetricKind::gauge, "Virtual memory."};
constexpr MetricFamily kFds{"process_open_fds", MetricKind::gauge, "Open file descriptors."};
constexpr MetricFamily kMaxFds{"process_max_fds", MetricKind::gauge, "Limit of open file descriptors."};
constexpr MetricFamily kThreads{"process_threads", MetricKind::gauge, "Threads of the process."};
constexpr MetricFamily kEvents{"skerry_events_total", MetricKind::counter, "Log lines written, by level."};

std::size_t entries(const char* folder) {
    std::error_code ec;
    std::size_t count = 0;
    for (auto it = std::filesystem::directory_iterator(folder, ec); !ec && it != std::filesystem::directory_iterator(); it.increment(ec)) ++count;
    return count;
}

double start_time() {
    static const double begun = [] {
        std::ifstream stat("/proc/self/stat");
        std::string text((std::istreambuf_iterator<char>(stat)), {});
        const auto close = text.rfind(')');
        if (close == std::string::npos) return 0.0;
        std::size_t at = close + 1;
        for (int field = 2; field < 21 && at != std::string::npos; ++field) at = text.find(' ', at + 1);
        if (at == std::string::npos) return 0.0;
        const double ticks = std::strtod(text.c_str() + at, nullptr);
        std::ifstream uptime("/proc/uptime");
        double up = 0;
        uptime >> up;
        const auto now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
        return now - up + ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
    }();
    return begun;
}

double seconds(const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); }

}  // namespace

void add_process_metrics(MetricsText& page, std::string_view program) {
    page.single(kBuild, std::uint64_t{1}, {{"program", std::string(program)}, {"version", SKERRY_VERSION}});
    page.single(kStart, start_time());
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    page.single(kCpu, seconds(used.ru_utime) + seconds(used.ru_stime));
    std::uint64_t total = 0;
    std::uint64_t resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    page.single(kResident, resident * page_bytes);
    page.single(kVirtual, total * page_bytes);
    page.single(kFds, std::uint64_t{entries("/proc/self/fd")});
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    page.single(kMaxFds, std::uint64_t{files.rlim_cur});
    page.single(kThreads, std::uint64_t{entries("/proc/self/task")});
    page.family(kEvents);
    constexpr std::string_view kLevels[] = {"debug", "info", "warn", "error"};
    const auto counts = log_counts();
    for (std::size_t i = 0; i < counts.size(); ++i) page.sample(counts[i], {{"level", std::string(kLevels[i])}});
}

}  // namespace skerry
