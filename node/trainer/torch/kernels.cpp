#include "node/trainer/torch/kernels.hpp"

#include <cstdlib>
#include <string_view>

namespace skerry::node {

namespace isa_base {
extern const Kernels kSet;
}
#if defined(__x86_64__)
namespace isa_v3 {
extern const Kernels kSet;
}
namespace isa_v4 {
extern const Kernels kSet;
}
#endif

namespace {

const Kernels& choose() {
    // Tests run every set that the processor can run.
    const char* wish = std::getenv("SKERRY_KERNELS");
    const std::string_view wanted = wish ? wish : "";
    if (wanted == "base") return isa_base::kSet;
#if defined(__x86_64__)
    const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512cd");
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                           __builtin_cpu_supports("bmi2");
    if (v4 && wanted != "v3") return isa_v4::kSet;
    if (v3) return isa_v3::kSet;
#endif
    return isa_base::kSet;
}

}  // namespace

const Kernels& kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

template <>
const KernelSet<float>& kernel_set<float>() { return kernels().fp32; }
template <>
const KernelSet<Bf16>& kernel_set<Bf16>() { return kernels().bf16; }

}  // namespace skerry::node
