// skerry_sim --seeds A..B | --seed S [--trace] [--keep-going]
//
// Runs the real cores of coordinator and nodes on a virtual clock, network, disk and trainer. Exit status 0: no
// invariant broken and progress after healing, in every seed.

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/sim/simulation.hpp"

namespace {

std::uint64_t g_seed = 0;

void print_replay() { std::printf("replay: skerry_sim --seed %llu\n", static_cast<unsigned long long>(g_seed)); }

/// An assertion of a core: its message is out already.
void on_abort(int) {
    print_replay();
    std::fflush(stdout);
    ::_exit(1);
}

bool run_seed(std::uint64_t seed, bool trace, std::uint64_t& events, std::uint64_t& steps) {
    g_seed = seed;
    skerry::sim::Simulation simulation(seed, trace);
    try {
        simulation.run();
    } catch (const skerry::sim::Violation& broken) {
        std::printf("seed %llu, %.3f s: %s\n", static_cast<unsigned long long>(seed),
                    static_cast<double>(simulation.world.now.time_since_epoch().count()) / 1000.0, broken.what());
        print_replay();
        return false;
    }
    events += simulation.world.events;
    steps += simulation.coordinator->journal.head().value;
    return true;
}

int usage() {
    std::fprintf(stderr, "usage: skerry_sim --seeds A..B [--keep-going] | --seed S [--trace]\n");
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t from = 1;
    std::uint64_t to = 100;
    bool trace = false;
    bool keep_going = false;
    for (int i = 1; i < argc; ++i) {
        const std::string arg = argv[i];
        if (arg == "--trace") trace = true;
        else if (arg == "--keep-going") keep_going = true;
        else if (arg == "--seed" && i + 1 < argc) from = to = std::strtoull(argv[++i], nullptr, 10);
        else if (arg == "--seeds" && i + 1 < argc) {
            char* end = nullptr;
            from = std::strtoull(argv[++i], &end, 10);
            if (std::strncmp(end, "..", 2) != 0) return usage();
            to = std::strtoull(end + 2, nullptr, 10);
        } else return usage();
    }
    std::signal(SIGABRT, on_abort);
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t events = 0;
    std::uint64_t steps = 0;
    std::uint64_t failed = 0;
    for (std::uint64_t seed = from; seed <= to; ++seed) {
        if (run_seed(seed, trace, events, steps)) continue;
        ++failed;
        if (!keep_going) break;
    }
    const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("seeds %llu..%llu: %llu failed, %llu steps, %llu events, %.1f s\n", static_cast<unsigned long long>(from),
                static_cast<unsigned long long>(to), static_cast<unsigned long long>(failed),
                static_cast<unsigned long long>(steps), static_cast<unsigned long long>(events), took);
    if (failed == 0 && to > from)
        std::printf("value: %llu seeds, %llu steps, no invariant broken\n", static_cast<unsigned long long>(to - from + 1),
                    static_cast<unsigned long long>(steps));
    return failed == 0 ? 0 : 1;
}
