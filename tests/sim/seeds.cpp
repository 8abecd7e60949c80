#include "tests/sim/seeds.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <optional>
#include <string>

#include "protocol/base/assert.hpp"

namespace skerry::sim {

namespace {

constexpr std::uint64_t kTwiceEvery = 100;
constexpr std::size_t kMaxFailures = 64;

/// What a process of seeds tells its parent, in memory that both have.
struct Shared {
    std::uint64_t at = 0;  ///< the seed under way
    std::uint64_t seeds = 0;
    std::uint64_t steps = 0;
    std::uint64_t events = 0;
    std::uint64_t twice = 0;
    Probes probes;
    std::size_t failed = 0;
    struct Text {
        std::uint64_t seed = 0;
        char broken[32] = {};
        char what[2000] = {};
    };
    std::array<Text, kMaxFailures> failures;

    /// The newest failure is one to stop at.
    bool stops(const StopAt& stop) const { return failed > 0 && stop.stops(failures[failed - 1].broken); }
    bool noted(std::uint64_t seed) const { return failed > 0 && failures[failed - 1].seed == seed; }
    void fail(std::uint64_t seed, const std::string& broken, const std::string& what) {
        // The last place is for the newest: it may be the one that is looked for.
        failed = std::min(failed + 1, kMaxFailures);
        Text& text = failures[failed - 1];
        text.seed = seed;
        std::snprintf(text.broken, sizeof text.broken, "%s", broken.c_str());
        std::snprintf(text.what, sizeof text.what, "%s", what.c_str());
    }
};

/// Of this process, if it is one of seeds.
Shared* g_shared = nullptr;

/// The invariant that an assertion of the product stands for: its line ends with the name.
std::string name_of_assertion(const char* file, int line) {
    std::ifstream in(file);
    std::string text;
    for (int i = 0; i < line && std::getline(in, text); ++i) {}
    const auto at = text.rfind("// I");
    const auto number = at == std::string::npos ? std::string::npos : text.find_first_not_of("0123456789", at + 4);
    if (at == std::string::npos || at + 4 == text.size() || number != std::string::npos) return "assertion";
    return text.substr(at + 3);
}

Shared* share() {
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    return new (memory) Shared;
}

void one_seed(Shared& shared, const Overrides& common, std::uint64_t seed) {
    const Outcome outcome = run_seed(seed, common, false, shared.probes);
    ++shared.seeds;
    shared.steps += outcome.steps;
    shared.events += outcome.events;
    if (!outcome.broken.empty()) return shared.fail(seed, outcome.broken, outcome.what);
    if (seed % kTwiceEvery != 0) return;
    Probes unused;
    if (run_seed(seed, common, false, unused).hash == outcome.hash) ++shared.twice;
    else shared.fail(seed, "determinism", "two runs of one seed differ");
}

/// How a process of seeds ended that should not have; nothing if it ended well.
std::optional<std::string> death(int status) {
    if (WIFSIGNALED(status)) return "the process died of signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
    if (WEXITSTATUS(status) != 0) return "the process ended with status " + std::to_string(WEXITSTATUS(status));
    return {};
}

pid_t start(Shared& shared, const Overrides& common, std::uint64_t from, std::uint64_t to, std::uint64_t stride, const StopAt& stop) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child != 0) return child;
    g_shared = &shared;
    for (shared.at = from; shared.at <= to; shared.at += stride) {
        one_seed(shared, common, shared.at);
        if (shared.stops(stop)) break;
    }
    ::_exit(0);
}

}  // namespace

Outcome run_seed(std::uint64_t seed, const Overrides& overrides, bool trace, Probes& probes) {
    Outcome out;
    Simulation simulation(seed, overrides, trace, probes);
    try {
        simulation.run();
    } catch (const Violation& broken) {
        const std::string text = broken.what();
        out.broken = text.substr(0, text.find(':'));
        char when[32];
        std::snprintf(when, sizeof when, "%.3f s: ",
                      static_cast<double>(simulation.world.now.time_since_epoch().count()) / 1000.0);
        out.what = when + text;
    } catch (const std::exception& error) {
        out.broken = "exception";  // of memory, say: stderr is not seen
        out.what = error.what();
    }
    out.hash = simulation.world.hash;
    out.events = simulation.world.events;
    out.steps = simulation.coordinator->journal.head().value;
    return out;
}

Tried try_seed(std::uint64_t seed, const Overrides& overrides) {
    Shared* shared = share();
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
        g_shared = shared;
        const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        ::dup2(nowhere, 1);
        ::dup2(nowhere, 2);
        Probes unused;
        const Outcome outcome = run_seed(seed, overrides, false, unused);
        if (!outcome.broken.empty()) shared->fail(seed, outcome.broken, "");
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    Tried out;
    const auto why = death(status);
    out.died = why.has_value();
    if (out.died && shared->failed == 0) shared->fail(seed, "assertion", *why);
    if (shared->failed > 0) {
        out.broken = shared->failures[0].broken;
        out.what = shared->failures[0].what;
    }
    ::munmap(shared, sizeof(Shared));
    return out;
}

Totals run_seeds(const Overrides& common, std::uint64_t from, std::uint64_t to, int processes, const StopAt& stop) {
    struct Worker {
        Shared* shared = nullptr;
        pid_t child = 0;
    };
    std::vector<Worker> workers;
    const auto stride = static_cast<std::uint64_t>(processes);
    for (std::uint64_t i = 0; i < stride && from + i <= to; ++i) {
        Worker worker{share(), 0};
        worker.child = start(*worker.shared, common, from + i, to, stride, stop);
        workers.push_back(worker);
    }
    for (std::size_t running = workers.size(); running > 0;) {
        int status = 0;
        const pid_t ended = ::wait(&status);
        auto worker = std::find_if(workers.begin(), workers.end(), [&](const Worker& w) { return w.child == ended; });
        if (worker == workers.end()) continue;
        Shared& shared = *worker->shared;
        --running;
        if (const auto why = death(status)) {
            if (!shared.noted(shared.at)) shared.fail(shared.at, "assertion", *why);
            if (!shared.stops(stop) && shared.at + stride <= to) {
                worker->child = start(shared, common, shared.at + stride, to, stride, stop);
                ++running;
            }
        }
        if (!shared.stops(stop)) continue;
        for (Worker& other : workers)
            if (other.child != ended && other.child != 0) ::kill(other.child, SIGTERM);
    }
    Totals totals;
    for (const Worker& worker : workers) {
        const Shared& s = *worker.shared;
        totals.seeds += s.seeds;
        totals.steps += s.steps;
        totals.events += s.events;
        totals.twice += s.twice;
        totals.probes.add(s.probes);
        for (std::size_t i = 0; i < s.failed; ++i)
            totals.failures.push_back({s.failures[i].seed, s.failures[i].broken, s.failures[i].what});
        ::munmap(worker.shared, sizeof(Shared));
    }
    std::sort(totals.failures.begin(), totals.failures.end(), [](const auto& a, const auto& b) { return a.seed < b.seed; });
    return totals;
}

}  // namespace skerry::sim

/// The product's own, in its place: says which invariant it stands for.
void skerry::assertion_failed(const char* what, const char* file, int line) {
    std::fprintf(stderr, "assertion failed: %s at %s:%d\n", what, file, line);
    using namespace skerry::sim;
    if (g_shared != nullptr)
        g_shared->fail(g_shared->at, name_of_assertion(file, line), std::string("assertion: ") + what + " at " + file + ":" + std::to_string(line));
    std::abort();
}
