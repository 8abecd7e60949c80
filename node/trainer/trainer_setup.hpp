#pragma once
// What a trainer works with, as it said in its answer to `config`; for people and for the status document.

#include <cstdint>
#include <string>
#include <string_view>

namespace skerry::node {

/// Empty or 0: it did not say.
struct TrainerSetup {
    std::string path;       ///< fast, autograd, cuda
    std::string device;     ///< cpu, cuda:0
    std::string precision;  ///< fp32, bf16
    std::string products;   ///< how matrices are multiplied, e.g. float (oneDNN)
    std::string kernels;    ///< set of instructions of the others, e.g. isa_v4
    std::uint64_t gflops = 0;  ///< 10^9 operations a second of one product, by its self-test
    std::uint64_t threads = 0;
    std::uint64_t micro_batch = 0;  ///< sequences at a time
    std::string recompute;          ///< none, attention, layers
    std::uint64_t memory_bytes = 0;

    friend bool operator==(const TrainerSetup&, const TrainerSetup&) = default;
};

/// What `json` (an object: the answer, or a notice of a smaller micro-batch) names replaces what was there.
void take(TrainerSetup& setup, std::string_view json);
/// One JSON object with all of it.
std::string to_json(const TrainerSetup& setup);
/// "fast path on cpu, fp32, float products at 150 GFLOP/s, isa_v4 kernels, 2 threads, micro-batch 4", of what is known.
std::string to_text(const TrainerSetup& setup);

}  // namespace skerry::node
