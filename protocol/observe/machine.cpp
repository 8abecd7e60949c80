#include "protocol/observe/machine.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <string>

#include "protocol/base/units.hpp"

namespace skerry {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> number_in(const fs::path& file) {
    std::ifstream in(file);
    std::string word;
    std::uint64_t out = 0;
    if (!(in >> word)) return std::nullopt;
    auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), out);
    return ec == std::errc{} ? std::optional(out) : std::nullopt;  // "max": no limit
}

void read_meminfo(MachineState& out) {
    std::ifstream in("/proc/meminfo");
    std::string key, unit;
    std::uint64_t kib = 0;
    while (in >> key >> kib && std::getline(in, unit)) {
        if (key == "MemTotal:") out.memory_bytes = kib * kKiB;
        if (key == "MemAvailable:") out.memory_free_bytes = kib * kKiB;
    }
}

/// Limits of control groups (version 2), from this process's up to the root's.
void apply_groups(MachineState& out) {
    std::ifstream in("/proc/self/cgroup");
    std::string line;
    while (std::getline(in, line) && line.rfind("0::", 0) != 0) {}
    if (line.rfind("0::/", 0) != 0) return;
    const fs::path root = "/sys/fs/cgroup";
    for (fs::path at = line.substr(4);; at = at.parent_path()) {
        const auto most = number_in(root / at / "memory.max"), used = number_in(root / at / "memory.current");
        if (most && (out.memory_bytes == 0 || *most < out.memory_bytes)) out.memory_bytes = *most;
        if (most && used) out.memory_free_bytes = std::min(out.memory_free_bytes, *most - std::min(*most, *used));
        if (at.empty() || at == at.parent_path()) return;
    }
}

}  // namespace

MachineState read_machine(const fs::path& folder) {
    MachineState out;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    if (::sched_getaffinity(0, sizeof cores, &cores) == 0) out.cores = static_cast<std::uint32_t>(CPU_COUNT(&cores));
    read_meminfo(out);
    apply_groups(out);
    std::error_code ec;
    fs::path at = fs::absolute(folder, ec);
    while (!fs::exists(at, ec) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
    const auto space = fs::space(at, ec);
    if (!ec) out.disk_free_bytes = space.available;
    return out;
}

}  // namespace skerry
