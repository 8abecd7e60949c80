// Compiled once for each instruction set like kernels_impl.cpp, but without reassociation: the division and the
// root must be the correctly rounded ones, so that a step equals PyTorch's to the last bits.

#include <math.h>
#include <string.h>

#include "node/trainer/torch/kernels.hpp"

namespace skerry::node {
namespace SKERRY_ISA {
void adamw_fp32(float* p, float* m, float* v, const float* g, Bf16* shadow, long n, AdamW how);
void adamw_bf16(float* p, float* m, float* v, const Bf16* g, Bf16* shadow, long n, AdamW how);
}  // namespace SKERRY_ISA
namespace {

inline float to_float(float v) { return v; }
inline float to_float(Bf16 v) {
    const auto u = static_cast<std::uint32_t>(v) << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
inline Bf16 to_bf16(float v) {
    std::uint32_t u;
    memcpy(&u, &v, 4);
    u += 0x7fffU + ((u >> 16) & 1U);
    return static_cast<Bf16>(u >> 16);
}

template <class E, bool kShadow>
void adamw(float* __restrict__ p, float* __restrict__ m, float* __restrict__ v, const E* __restrict__ g,
           Bf16* __restrict__ shadow, long n, AdamW how) {
#pragma omp parallel for simd schedule(static) if (n >= 1 << 15)
    for (long i = 0; i < n; ++i) {
        const float gi = to_float(g[i]) * how.gradient_scale;
        const float mi = m[i] + how.one_minus_beta1 * (gi - m[i]);
        const float vi = v[i] * how.beta2 + how.one_minus_beta2 * (gi * gi);
        const float denominator = sqrtf(vi) * how.inverse2 + how.eps;
        const float pi = p[i] * how.keep - how.step * (mi / denominator);
        m[i] = mi;
        v[i] = vi;
        p[i] = pi;
        if (kShadow) shadow[i] = to_bf16(pi);
    }
}

}  // namespace

void SKERRY_ISA::adamw_fp32(float* p, float* m, float* v, const float* g, Bf16* shadow, long n, AdamW how) {
    shadow ? adamw<float, true>(p, m, v, g, shadow, n, how) : adamw<float, false>(p, m, v, g, shadow, n, how);
}
void SKERRY_ISA::adamw_bf16(float* p, float* m, float* v, const Bf16* g, Bf16* shadow, long n, AdamW how) {
    shadow ? adamw<Bf16, true>(p, m, v, g, shadow, n, how) : adamw<Bf16, false>(p, m, v, g, shadow, n, how);
}

}  // namespace skerry::node
