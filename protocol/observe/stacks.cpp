#include "protocol/observe/stacks.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <vector>

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry {
namespace {

constexpr int kMaxFrames = 64;
constexpr std::size_t kMaxThreads = 256;

/// What the handler writes. `wanted` names the one thread that may write; a late answer finds another number there.
struct Mailbox {
    std::atomic<pid_t> wanted{0};
    std::array<void*, kMaxFrames> frames{};
    int count = 0;
    sem_t done;
};

Mailbox& mailbox() {
    static Mailbox* one = [] {
        auto* made = new Mailbox;  // never destroyed: a signal may come at exit
        ::sem_init(&made->done, 0, 0);
        return made;
    }();
    return *one;
}

std::atomic<bool> g_prepared{false};
int stack_signal() { return SIGRTMIN + 5; }

pid_t own_thread() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

// backtrace() has loaded what it needs in prepare_stacks, so it allocates nothing here.
void on_signal(int) {
    const int kept = errno;
    Mailbox& box = mailbox();
    pid_t me = own_thread();
    if (box.wanted.compare_exchange_strong(me, -me)) {
        box.count = ::backtrace(box.frames.data(), kMaxFrames);
        ::sem_post(&box.done);
    }
    errno = kept;
}

std::string first_line(const std::string& file) {
    std::ifstream in(file);
    std::string line;
    std::getline(in, line);
    return line;
}

/// "module(function+0x12) [+0x3456]": the last is the offset in the module, for addr2line -e MODULE.
std::string frame_text(void* address) {
    char text[64];
    Dl_info info{};
    if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) {
        std::snprintf(text, sizeof text, "%p", address);
        return text;
    }
    const std::string module = std::filesystem::path(info.dli_fname).filename().string();
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    std::snprintf(text, sizeof text, " [+0x%zx]", at - reinterpret_cast<std::uintptr_t>(info.dli_fbase));
    if (info.dli_sname == nullptr) return module + text;
    int status = 0;
    std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), std::free);
    std::string name = status == 0 && plain ? plain.get() : info.dli_sname;
    if (name.size() > 200) name = name.substr(0, 200) + "...";  // Asio's coroutine frames
    return module + " " + name + text;
}

std::string facts(pid_t thread) {
    const std::string base = "/proc/self/task/" + std::to_string(thread);
    std::string state;
    std::ifstream status(base + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("State:")) state = line.substr(line.find_first_not_of(" \t", 6));
    return "thread " + std::to_string(thread) + " " + first_line(base + "/comm") + ", " + state + ", waits in " + first_line(base + "/wchan") + "\n";
}

std::vector<pid_t> threads() {
    std::vector<pid_t> out;
    std::error_code ec;
    for (auto it = std::filesystem::directory_iterator("/proc/self/task", ec); !ec && it != std::filesystem::directory_iterator(); it.increment(ec))
        out.push_back(static_cast<pid_t>(std::strtol(it->path().filename().c_str(), nullptr, 10)));
    std::sort(out.begin(), out.end());
    if (out.size() > kMaxThreads) out.resize(kMaxThreads);
    return out;
}

/// Waits for the handler of one thread. False: it did not answer.
bool answered(std::chrono::milliseconds patience) {
    timespec until{};
    ::clock_gettime(CLOCK_REALTIME, &until);
    const auto ns = until.tv_nsec + (patience.count() % 1000) * 1'000'000;
    until.tv_sec += patience.count() / 1000 + ns / 1'000'000'000;
    until.tv_nsec = ns % 1'000'000'000;
    for (;;) {
        if (::sem_timedwait(&mailbox().done, &until) == 0) return true;
        if (errno != EINTR) return false;
    }
}

std::string stack_of(pid_t thread, std::chrono::milliseconds patience) {
    Mailbox& box = mailbox();
    box.wanted = thread;
    const bool told = ::syscall(SYS_tgkill, ::getpid(), thread, stack_signal()) == 0;
    bool came = told && answered(patience);
    // A thread that began to write is waited for: it needs microseconds. One that did not may no longer write.
    pid_t untouched = thread;
    if (!came && !box.wanted.compare_exchange_strong(untouched, 0)) came = answered(std::chrono::seconds(5));
    if (!came) return told ? "  no answer: its signals are blocked, or it is stuck in the kernel\n" : "  it has ended\n";
    std::string out;
    for (int i = 0; i < box.count; ++i) out += "  " + frame_text(box.frames[static_cast<std::size_t>(i)]) + "\n";
    return out;
}

}  // namespace

void prepare_stacks() {
    void* one[1];
    ::backtrace(one, 1);  // loads libgcc_s now rather than in the handler
    mailbox();
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    ::sigemptyset(&action.sa_mask);
    g_prepared = ::sigaction(stack_signal(), &action, nullptr) == 0;
}

std::string stacks_of_all_threads(std::chrono::milliseconds patience) {
    std::string out;
    for (pid_t thread : threads()) {
        out += facts(thread);
        if (g_prepared) out += stack_of(thread, patience);
        out += "\n";
    }
    return out;
}

}  // namespace skerry
