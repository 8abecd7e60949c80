// skerry-trainer: the model and the inner optimizer, as a child of skerry-node.

#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <iostream>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "node/trainer/torch/oracle.hpp"
#include "node/trainer/torch/session.hpp"

namespace skerry::node {
namespace {

constexpr const char* kUsage =
    "usage: skerry-trainer --fd N [--threads T] [--memory BYTES] [--path P]   child of skerry-node (docs/trainer-protocol.md)\n"
    "       skerry-trainer --self-test [--threads T] [--path P]\n"
    "       skerry-trainer --oracle FILE [--threads T] [--path P]\n"
    "       skerry-trainer --version\n"
    "P: auto, fast, autograd or cuda\n";

struct Arguments {
    int descriptor = -1;
    std::uint32_t threads = 0;
    std::uint64_t memory = 0;
    TrainerPath path = TrainerPath::automatic;
    std::string oracle;
    bool version = false, self_test = false;
};

std::optional<std::int64_t> parse_int(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
    return value;
}

std::optional<Arguments> parse_arguments(int argc, char** argv) {
    Arguments out;
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--version") {
            out.version = true;
            continue;
        }
        if (name == "--self-test") {
            out.self_test = true;
            continue;
        }
        if (i + 1 >= argc) return std::nullopt;
        const std::string_view value = argv[++i];
        if (name == "--oracle") {
            out.oracle = value;
            continue;
        }
        if (name == "--path") {
            auto path = parse_path(value);
            if (!path) return std::nullopt;
            out.path = *path;
            continue;
        }
        const auto number = parse_int(value);
        if (!number) return std::nullopt;
        if (name == "--fd" && *number <= 1 << 20)
            out.descriptor = static_cast<int>(*number);
        else if (name == "--memory")
            out.memory = static_cast<std::uint64_t>(*number);
        else if (name == "--threads" && *number >= 1 && *number <= 1024)
            out.threads = static_cast<std::uint32_t>(*number);
        else
            return std::nullopt;
    }
    if (!out.version && !out.self_test && out.oracle.empty() && out.descriptor < 0) return std::nullopt;
    if (out.threads == 0) out.threads = std::max(1U, std::thread::hardware_concurrency());
    return out;
}

int serve(const Arguments& a) {
    Session session(a.descriptor, a.threads, a.memory, set_up_torch(a.threads, a.path));
    try {
        return static_cast<int>(session.run());
    } catch (const std::bad_alloc& e) {
        session.report(Errc::out_of_memory, e.what());
        return static_cast<int>(ExitStatus::out_of_memory);
    } catch (const std::exception& e) {
        // ATen says "not enough memory" by an exception of its own, whose further lines are a stack.
        const std::string what = e.what();
        const bool memory = what.find("memory") != what.npos;
        session.report(memory ? Errc::out_of_memory : Errc::internal, what.substr(0, what.find('\n')));
        return static_cast<int>(memory ? ExitStatus::out_of_memory : ExitStatus::internal);
    }
}

/// What a node of this machine would train with, in JSON.
int self_test(const Arguments& a, const Setup& setup) {
    const auto products = [&](bool bf16) {
        return Json{{"products", setup.products(bf16)}, {"gflops", static_cast<std::uint64_t>(setup.gflops(bf16))}, {"error", bf16 ? setup.bf16_error : setup.fp32_error}};
    };
    const bool bf16 = setup.bf16(Precision::automatic);
    std::cout << Json{{"path", to_name(setup.path)}, {"device", setup.device()}, {"threads", a.threads}, {"precision", bf16 ? "bf16" : "fp32"},
                      {"kernels", kernels().isa}, {"fp32", products(false)}, {"bf16", products(true)}}.dump() << std::endl;
    return 0;
}

/// Without an agent.
int run_alone(const Arguments& a) {
    const auto setup = set_up_torch(a.threads, a.path);
    if (!setup) {
        std::cerr << to_text(setup.error()) << std::endl;
        return static_cast<int>(ExitStatus::usage);
    }
    if (a.self_test) return self_test(a, *setup);
    try {
        return run_oracle(a.oracle, a.threads, *setup);
    } catch (const std::exception& e) {
        std::cerr << "skerry-trainer --oracle: " << e.what() << std::endl;
        return static_cast<int>(ExitStatus::internal);
    }
}

int run(int argc, char** argv) {
    const auto arguments = parse_arguments(argc, argv);
    if (!arguments) {
        std::cerr << kUsage;
        return static_cast<int>(ExitStatus::usage);
    }
    if (arguments->version) {
        std::cout << "skerry-trainer " SKERRY_VERSION << std::endl;
        return 0;
    }
    if (arguments->self_test || !arguments->oracle.empty()) return run_alone(*arguments);
    // oneDNN allocates and frees scratch memory in every product: let the heap keep it.
    ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
    // The agent may have died before this line; then end of file on the socket ends us instead.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::signal(SIGINT, SIG_IGN);  // Ctrl-C goes to the whole group; the agent decides when we end
    return serve(*arguments);
}

}  // namespace
}  // namespace skerry::node

int main(int argc, char** argv) {
    const int status = skerry::node::run(argc, argv);
    ::_exit(status);  // two runtimes' static destructors have nothing left to do that is worth a crash
}
