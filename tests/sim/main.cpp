// skerry_sim: the real cores of coordinator and nodes on a virtual clock, network, disk and trainer. See usage().

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "tests/sim/seeds.hpp"

using namespace skerry::sim;

namespace {

using Count = unsigned long long;

constexpr std::uint64_t kSeedsInCi = 1000;
constexpr double kProbesNeeded = 0.90;
constexpr std::uint64_t kProbeTimes = 10;

int usage() {
    std::fprintf(stderr,
                 "usage: skerry_sim --seeds A..B [--fork] [--jobs N] [--keep-going | --until I5,I9] [--probes] [--need-probes] [--no-shrink]\n"
                 "       skerry_sim --seed S [--fork] [--plan TEXT|@FILE] [--nodes N] [--followers N] [--heal MS] [--trace] [--no-shrink]\n"
                 "       skerry_sim --regressions FILE\n"
                 "       skerry_sim --ci      as CTest does: SKERRY_SIM_SEEDS seeds (default %llu, from which on probes are needed)\n",
                 static_cast<Count>(kSeedsInCi));
    return 2;
}

struct Options {
    std::uint64_t from = 1;
    std::uint64_t to = 100;
    bool single = false;
    Overrides overrides;
    std::string regressions;
    int jobs = 2;
    bool trace = false;
    StopAt stop;
    bool probes = false;
    bool need_probes = false;
    bool shrink = true;
};

std::optional<std::string> text_of(const std::string& arg) {
    if (arg.empty() || arg.front() != '@') return arg;
    std::ifstream in(arg.substr(1));
    std::string text;
    if (!in || !std::getline(in, text)) return {};
    return text;
}

bool parse_range(const std::string& text, Options& out) {
    char* end = nullptr;
    out.from = std::strtoull(text.c_str(), &end, 10);
    if (std::strncmp(end, "..", 2) != 0) return false;
    out.to = std::strtoull(end + 2, nullptr, 10);
    return out.from > 0 && out.from <= out.to;
}

std::optional<Options> parse(int argc, char** argv) {
    Options out;
    for (int i = 1; i < argc; ++i) {
        const std::string arg = argv[i];
        if (arg == "--trace") out.trace = true;
        else if (arg == "--keep-going") out.stop.keep_going = true;
        else if (arg == "--probes") out.probes = true;
        else if (arg == "--need-probes") out.need_probes = true;
        else if (arg == "--no-shrink") out.shrink = false;
        else if (arg == "--fork") out.overrides.fork = true;
        else if (arg == "--ci") {
            const char* seeds = std::getenv("SKERRY_SIM_SEEDS");
            out.to = seeds ? std::strtoull(seeds, nullptr, 10) : kSeedsInCi;
            out.need_probes = out.to >= kSeedsInCi;  // fewer do not meet each pair ten times
        } else if (i + 1 >= argc) return {};
        else if (arg == "--seeds" && parse_range(argv[i + 1], out)) ++i;
        else if (arg == "--until") {
            std::istringstream names(argv[++i]);
            for (std::string name; std::getline(names, name, ',');) out.stop.broken.insert(name);
        } else if (arg == "--seed") {
            out.from = out.to = std::strtoull(argv[++i], nullptr, 10);
            out.single = true;
        } else if (arg == "--jobs") out.jobs = std::max(1, std::atoi(argv[++i]));
        else if (arg == "--nodes") out.overrides.nodes = static_cast<std::uint32_t>(std::clamp(std::atoi(argv[++i]), 1, 8));
        else if (arg == "--followers") out.overrides.followers = static_cast<std::uint32_t>(std::clamp(std::atoi(argv[++i]), 0, 4));
        else if (arg == "--heal") out.overrides.fault_time = skerry::Millis(std::atoi(argv[++i]));
        else if (arg == "--regressions") out.regressions = argv[++i];
        else if (arg == "--plan") {
            const auto text = text_of(argv[++i]);
            if (text) out.overrides.plan = parse_faults(*text);
            if (!out.overrides.plan) return {};
        } else return {};
    }
    return out;
}

std::string replay_command(std::uint64_t seed, const Overrides& overrides) {
    std::string out = "skerry_sim --seed " + std::to_string(seed);
    if (overrides.fork) out += " --fork";
    if (overrides.nodes) out += " --nodes " + std::to_string(*overrides.nodes);
    if (overrides.followers) out += " --followers " + std::to_string(*overrides.followers);
    if (overrides.fault_time) out += " --heal " + std::to_string(overrides.fault_time->count());
    if (overrides.plan) out += " --plan \"" + to_text(*overrides.plan) + "\"";
    return out;
}

void report(const Failure& failure, const Overrides& overrides, bool shorten) {
    std::printf("seed %llu [%s], %s\nreplay: %s\n", static_cast<Count>(failure.seed), failure.broken.c_str(), failure.what.c_str(),
                replay_command(failure.seed, overrides).c_str());
    std::fflush(stdout);
    if (!shorten || failure.broken == "determinism") return;
    const Overrides small = shrink(failure.seed, overrides, failure.broken);
    std::printf("smaller: %s\n", replay_command(failure.seed, small).c_str());
}

int run_one(const Options& options) {
    if (!options.trace) {
        const Tried tried = try_seed(options.from, options.overrides);
        if (tried.died) {
            report({options.from, tried.broken, tried.what}, options.overrides, options.shrink);
            return 1;
        }
    }
    Probes probes;
    const Outcome outcome = run_seed(options.from, options.overrides, options.trace, probes);
    if (outcome.broken.empty()) {
        std::printf("seed %llu: %llu steps, %llu events, hash %016llx\n", static_cast<Count>(options.from),
                    static_cast<Count>(outcome.steps), static_cast<Count>(outcome.events), static_cast<Count>(outcome.hash));
        return 0;
    }
    report({options.from, outcome.broken, outcome.what}, options.overrides, options.shrink && !options.trace);
    return 1;
}

/// Lines of `seed nodes heal-ms plan`; # begins a remark.
int run_regressions(const std::string& file) {
    std::ifstream in(file);
    if (!in) return usage();
    int lines = 0;
    int failed = 0;
    for (std::string line; std::getline(in, line);) {
        if (line.empty() || line.front() == '#') continue;
        std::istringstream words(line);
        std::uint64_t seed = 0;
        std::uint32_t nodes = 0;
        std::int64_t heal = 0;
        std::string plan;
        words >> seed >> nodes >> heal >> plan;
        Overrides overrides{parse_faults(plan == "-" ? "" : plan), nodes, skerry::Millis(heal)};
        if (!overrides.plan || nodes == 0) {
            std::printf("%s: not a plan: %s\n", file.c_str(), line.c_str());
            return 2;
        }
        ++lines;
        const std::string broken = try_seed(seed, overrides).broken;
        if (broken.empty()) continue;
        ++failed;
        std::printf("%s is broken again\nreplay: %s\n", broken.c_str(), replay_command(seed, overrides).c_str());
    }
    std::printf("value: %d plans that once failed, %d fail\n", lines, failed);
    return failed == 0 ? 0 : 1;
}

int run_many(const Options& options) {
    const auto start = std::chrono::steady_clock::now();
    const Totals totals = run_seeds(options.overrides, options.from, options.to, options.jobs, options.stop);
    const auto took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (const Failure& failure : totals.failures)
        report(failure, options.overrides, options.shrink && &failure == totals.failures.data());
    if (options.probes) std::printf("%s", totals.probes.table().c_str());
    const double reached = totals.probes.reached(kProbeTimes);
    std::printf("seeds %llu..%llu: %zu failed, %llu steps, %llu events, %.1f s\n", static_cast<Count>(options.from),
                static_cast<Count>(options.to), totals.failures.size(), static_cast<Count>(totals.steps),
                static_cast<Count>(totals.events), took);
    if (!totals.failures.empty()) return 1;
    std::printf("value: %llu seeds, %llu steps, 0 divergent, 0 lost, 0 credited twice; %llu run twice with equal traces; "
                "%.0f %% of the pairs of state and fault met %llu times\n",
                static_cast<Count>(totals.seeds), static_cast<Count>(totals.steps), static_cast<Count>(totals.twice),
                100 * reached, static_cast<Count>(kProbeTimes));
    if (!options.need_probes || reached >= kProbesNeeded) return 0;
    std::printf("too few pairs of state and fault were met; missing:%s\n", totals.probes.missing(kProbeTimes).c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    const auto options = parse(argc, argv);
    if (!options) return usage();
    // What nodes log about the faults of their disks.
    if (!options->trace && std::freopen("/dev/null", "w", stderr) == nullptr) return usage();
    if (!options->regressions.empty()) return run_regressions(options->regressions);
    return options->single ? run_one(*options) : run_many(*options);
}
