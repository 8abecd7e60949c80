#include "node/compress/kernels.hpp"

#include <array>

namespace skerry::node {

extern const Kernels kernels_baseline;
#if defined(__x86_64__)
extern const Kernels kernels_v3;
extern const Kernels kernels_v4;
#endif

namespace {

struct Tables {
    std::array<const Kernels*, 4> list{};
    std::size_t count = 0;

    Tables() {
        list[count++] = &kernels_baseline;
#if defined(__x86_64__)
        __builtin_cpu_init();
        bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
        bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
        if (v3) list[count++] = &kernels_v3;
        if (v4) list[count++] = &kernels_v4;
#endif
    }
};

const Tables& tables() {
    static const Tables instance;
    return instance;
}

}  // namespace

const Kernels& kernels() { return *tables().list[tables().count - 1]; }
const Kernels* const* all_kernels() { return tables().list.data(); }

}  // namespace skerry::node
