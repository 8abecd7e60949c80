// Compiled once for each instruction set (SKERRY_ISA names its namespace), with reassociation allowed.
// Nothing but internal functions and plain loops: an inline function of a shared header that was compiled here
// for AVX-512 could otherwise be the copy that the linker keeps for everybody.

#include <math.h>
#include <omp.h>
#include <string.h>

#include "node/trainer/torch/kernels.hpp"

namespace skerry::node {
namespace SKERRY_ISA {
void adamw_fp32(float* p, float* m, float* v, const float* g, Bf16* shadow, long n, AdamW how);
void adamw_bf16(float* p, float* m, float* v, const Bf16* g, Bf16* shadow, long n, AdamW how);
extern const Kernels kSet;
}  // namespace SKERRY_ISA
namespace {

inline float to_float(float v) { return v; }
inline float to_float(Bf16 v) {
    const auto u = static_cast<std::uint32_t>(v) << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
inline void put(float* p, float v) { *p = v; }
/// Round to nearest even. A NaN whose low bits carry into the exponent would become infinite: still not finite.
inline void put(Bf16* p, float v) {
    std::uint32_t u;
    memcpy(&u, &v, 4);
    u += 0x7fffU + ((u >> 16) & 1U);
    *p = static_cast<Bf16>(u >> 16);
}

/// e^x to about 1e-7 relative, in a form that vectorises; NaN stays NaN.
inline float fast_exp(float x) {
    x = x < -87.F ? -87.F : x;
    x = x > 88.F ? 88.F : x;
    const float i = rintf(x * 1.44269504F);
    const float r = (x - i * 0.693359375F) + i * 2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.F;
    const auto e = static_cast<std::uint32_t>(static_cast<std::int32_t>(i) + 127) << 23;
    float s;
    memcpy(&s, &e, 4);
    return p * s;
}

/// Largest of n >= 1 values. In lanes, because without -ffinite-math-only a plain loop is not vectorised; a NaN is passed
/// over here and shows in the sum of exponentials.
template <class E>
inline float row_max(const E* row, long n) {
    constexpr long kLanes = 32;
    float lane[kLanes];
    for (long j = 0; j < kLanes; ++j) lane[j] = to_float(row[0]);
    long i = 0;
    for (; i + kLanes <= n; i += kLanes) {
        for (long j = 0; j < kLanes; ++j) {
            const float v = to_float(row[i + j]);
            lane[j] = v > lane[j] ? v : lane[j];
        }
    }
    for (; i < n; ++i) {
        const float v = to_float(row[i]);
        lane[0] = v > lane[0] ? v : lane[0];
    }
    for (long j = 1; j < kLanes; ++j) lane[0] = lane[j] > lane[0] ? lane[j] : lane[0];
    return lane[0];
}

/// Work below this many elements is not worth waking threads for.
constexpr long kParallel = 1 << 15;

template <class E>
void rms_forward(const float* x, const E* add, float* x_out, const float* w, E* h, float* inv, long rows,
                 long d, float eps) {
#pragma omp parallel for schedule(static) if (rows * d >= kParallel)
    for (long r = 0; r < rows; ++r) {
        const float* in = x + r * d;
        if (add) {
            const E* more = add + r * d;
            float* out = x_out + r * d;
            for (long i = 0; i < d; ++i) out[i] = in[i] + to_float(more[i]);
            in = out;
        }
        // One loop for both cases: where a layer is computed again from its kept input, every bit must come out the same.
        float sum = 0;
        for (long i = 0; i < d; ++i) sum += in[i] * in[i];
        const float scale = 1.F / sqrtf(sum / static_cast<float>(d) + eps);
        inv[r] = scale;
        E* out = h + r * d;
        for (long i = 0; i < d; ++i) put(out + i, in[i] * scale * w[i]);
    }
}

template <class E>
void rms_backward(const E* dh, const float* x, const float* inv, const float* w, float* dx, E* dx_cast,
                  E* dw, float* scratch, long rows, long d, bool first) {
    int used = 1;
#pragma omp parallel if (rows * d >= kParallel)
    {
        const int threads = omp_get_num_threads();
        const int me = omp_get_thread_num();
        if (me == 0) used = threads;
        float* mine = scratch + me * d;
        for (long i = 0; i < d; ++i) mine[i] = 0;
        const long begin = rows * me / threads;
        const long end = rows * (me + 1) / threads;
        for (long r = begin; r < end; ++r) {
            const E* g = dh + r * d;
            const float* in = x + r * d;
            float* out = dx + r * d;
            const float scale = inv[r];
            float dot = 0;
            for (long i = 0; i < d; ++i) {
                const float n = in[i] * scale;
                const float dn = to_float(g[i]);
                mine[i] += dn * n;
                dot += dn * w[i] * n;
            }
            dot /= static_cast<float>(d);
            if (first) {
                for (long i = 0; i < d; ++i)
                    out[i] = scale * (to_float(g[i]) * w[i] - in[i] * scale * dot);
            } else {
                for (long i = 0; i < d; ++i)
                    out[i] += scale * (to_float(g[i]) * w[i] - in[i] * scale * dot);
            }
            if (dx_cast) {
                E* cast = dx_cast + r * d;
                for (long i = 0; i < d; ++i) put(cast + i, out[i]);
            }
        }
    }
    for (int t = 1; t < used; ++t)
        for (long i = 0; i < d; ++i) scratch[i] += scratch[t * d + i];
    for (long i = 0; i < d; ++i) put(dw + i, scratch[i]);
}

template <class E>
inline void rotate(const E* in, const float* cs, E* out, long half, float sign) {
    for (long i = 0; i < half; ++i) {
        const float a = to_float(in[i]);
        const float b = to_float(in[i + half]);
        const float c = cs[i];
        const float s = cs[i + half] * sign;
        put(out + i, a * c - b * s);
        put(out + i + half, b * c + a * s);
    }
}

template <class E>
void rope_unpack(const E* qkv, const float* cos_sin, E* q, E* k, E* v, HeadDims n) {
    const long hd = n.head_dim;
    const long width = (n.heads + 2 * n.kv_heads) * hd;
#pragma omp parallel for schedule(static) if (n.batch * n.seq * width >= kParallel)
    for (long r = 0; r < n.batch * n.seq; ++r) {
        const long b = r / n.seq;
        const long t = r % n.seq;
        const float* cs = cos_sin + t * hd;
        const E* in = qkv + r * width;
        for (long h = 0; h < n.heads; ++h, in += hd)
            rotate(in, cs, q + ((b * n.heads + h) * n.seq + t) * hd, hd / 2, 1.F);
        for (long h = 0; h < n.kv_heads; ++h, in += hd)
            rotate(in, cs, k + ((b * n.kv_heads + h) * n.seq + t) * hd, hd / 2, 1.F);
        for (long h = 0; h < n.kv_heads; ++h, in += hd)
            memcpy(v + ((b * n.kv_heads + h) * n.seq + t) * hd, in, static_cast<size_t>(hd) * sizeof(E));
    }
}

template <class E>
void rope_pack(const E* dq, const E* dk, const E* dv, const float* cos_sin, E* dqkv, HeadDims n) {
    const long hd = n.head_dim;
    const long width = (n.heads + 2 * n.kv_heads) * hd;
#pragma omp parallel for schedule(static) if (n.batch * n.seq * width >= kParallel)
    for (long r = 0; r < n.batch * n.seq; ++r) {
        const long b = r / n.seq;
        const long t = r % n.seq;
        const float* cs = cos_sin + t * hd;
        E* out = dqkv + r * width;
        for (long h = 0; h < n.heads; ++h, out += hd)
            rotate(dq + ((b * n.heads + h) * n.seq + t) * hd, cs, out, hd / 2, -1.F);
        for (long h = 0; h < n.kv_heads; ++h, out += hd)
            rotate(dk + ((b * n.kv_heads + h) * n.seq + t) * hd, cs, out, hd / 2, -1.F);
        for (long h = 0; h < n.kv_heads; ++h, out += hd)
            memcpy(out, dv + ((b * n.kv_heads + h) * n.seq + t) * hd, static_cast<size_t>(hd) * sizeof(E));
    }
}

template <class E, bool kPack>
void move_heads(const E* in, E* out, HeadDims n) {
    const size_t bytes = static_cast<size_t>(n.head_dim) * sizeof(E);
#pragma omp parallel for schedule(static) if (n.batch * n.seq * n.heads * n.head_dim >= kParallel)
    for (long r = 0; r < n.batch * n.seq; ++r) {
        const long b = r / n.seq;
        const long t = r % n.seq;
        for (long h = 0; h < n.heads; ++h) {
            const long by_head = ((b * n.heads + h) * n.seq + t) * n.head_dim;
            const long by_token = (r * n.heads + h) * n.head_dim;
            if (kPack)
                memcpy(out + by_token, in + by_head, bytes);
            else
                memcpy(out + by_head, in + by_token, bytes);
        }
    }
}

template <class E>
void softmax_past(E* s, float scale, long rows, long queries, long columns) {
#pragma omp parallel for schedule(static) if (rows * columns >= kParallel)
    for (long r = 0; r < rows; ++r) {
        E* row = s + r * columns;
        const long n = columns - queries + r % queries + 1;
        const float top = row_max(row, n);
        // The exponentials pass through a small block so that bf16 rounds them once, after the division.
        constexpr long kBlock = 256;
        float block[kBlock];
        float sum = 0;
        if (n <= kBlock) {
            for (long i = 0; i < n; ++i) {
                block[i] = fast_exp((to_float(row[i]) - top) * scale);
                sum += block[i];
            }
            const float by = 1.F / sum;
            for (long i = 0; i < n; ++i) put(row + i, block[i] * by);
        } else {
            for (long i = 0; i < n; ++i) sum += fast_exp((to_float(row[i]) - top) * scale);
            const float by = 1.F / sum;
            for (long i = 0; i < n; ++i) put(row + i, fast_exp((to_float(row[i]) - top) * scale) * by);
        }
        memset(row + n, 0, static_cast<size_t>(columns - n) * sizeof(E));
    }
}

template <class E>
void softmax_causal(E* s, float scale, long rows, long seq) {
    softmax_past(s, scale, rows, seq, seq);
}

template <class E>
void softmax_backward(const E* p, E* dp, float scale, long rows, long seq) {
#pragma omp parallel for schedule(static) if (rows * seq >= kParallel)
    for (long r = 0; r < rows; ++r) {
        const E* prob = p + r * seq;
        E* row = dp + r * seq;
        const long n = r % seq + 1;
        float dot = 0;
        for (long i = 0; i < n; ++i) dot += to_float(prob[i]) * to_float(row[i]);
        for (long i = 0; i < n; ++i) put(row + i, to_float(prob[i]) * (to_float(row[i]) - dot) * scale);
        memset(row + n, 0, static_cast<size_t>(seq - n) * sizeof(E));
    }
}

template <class E>
void swiglu(const E* gate_up, E* out, long rows, long f) {
#pragma omp parallel for schedule(static) if (rows * f >= kParallel)
    for (long r = 0; r < rows; ++r) {
        const E* gate = gate_up + 2 * r * f;
        const E* up = gate + f;
        E* o = out + r * f;
        for (long i = 0; i < f; ++i) {
            const float g = to_float(gate[i]);
            put(o + i, g / (1.F + fast_exp(-g)) * to_float(up[i]));
        }
    }
}

template <class E>
void swiglu_backward(E* gate_up, E* ds, long rows, long f) {
#pragma omp parallel for schedule(static) if (rows * f >= kParallel)
    for (long r = 0; r < rows; ++r) {
        E* gate = gate_up + 2 * r * f;
        E* up = gate + f;
        E* grad = ds + r * f;
        for (long i = 0; i < f; ++i) {
            const float g = to_float(gate[i]);
            const float u = to_float(up[i]);
            const float d = to_float(grad[i]);
            const float sig = 1.F / (1.F + fast_exp(-g));
            const float silu = g * sig;
            put(gate + i, d * u * sig * (1.F + g * (1.F - sig)));
            put(up + i, d * silu);
            put(grad + i, silu * u);
        }
    }
}

template <class E>
double cross_entropy(E* logits, const std::int32_t* targets, float* row_loss, long rows, long vocab,
                     float scale, bool gradient) {
#pragma omp parallel for schedule(static) if (rows * vocab >= kParallel)
    for (long r = 0; r < rows; ++r) {
        E* row = logits + r * vocab;
        const long target = targets[r];
        if (target < 0) {
            row_loss[r] = 0;
            if (gradient) memset(row, 0, static_cast<size_t>(vocab) * sizeof(E));
            continue;
        }
        const float top = row_max(row, vocab);
        float sum = 0;
        for (long i = 0; i < vocab; ++i) sum += fast_exp(to_float(row[i]) - top);
        row_loss[r] = logf(sum) + top - to_float(row[target]);
        if (!gradient) continue;
        const float by = scale / sum;
        const float at_target = fast_exp(to_float(row[target]) - top) * by - scale;
        for (long i = 0; i < vocab; ++i) put(row + i, fast_exp(to_float(row[i]) - top) * by);
        put(row + target, at_target);
    }
    double total = 0;
    for (long r = 0; r < rows; ++r) total += static_cast<double>(row_loss[r]);
    return total;
}

void embed(const float* table, const std::int32_t* ids, float* x, long rows, long d) {
    for (long r = 0; r < rows; ++r)
        memcpy(x + r * d, table + ids[r] * d, static_cast<size_t>(d) * sizeof(float));
}

template <class E>
void embed_backward(const float* dx, const std::int32_t* ids, const std::int32_t* order,
                    const std::int32_t* runs, long run_count, E* dtable, long d) {
#pragma omp parallel for schedule(dynamic, 16) if (runs[run_count] * d >= kParallel)
    for (long run = 0; run < run_count; ++run) {
        E* out = dtable + ids[order[runs[run]]] * d;
        // Columns in blocks, rows inside: the sum stays in float until it is complete.
        constexpr long kBlock = 128;
        for (long c = 0; c < d; c += kBlock) {
            const long n = d - c < kBlock ? d - c : kBlock;
            float acc[kBlock];
            for (long i = 0; i < n; ++i) acc[i] = to_float(out[c + i]);
            for (long j = runs[run]; j < runs[run + 1]; ++j) {
                const float* row = dx + order[j] * d + c;
                for (long i = 0; i < n; ++i) acc[i] += row[i];
            }
            for (long i = 0; i < n; ++i) put(out + c + i, acc[i]);
        }
    }
}

template <class E>
void accumulate(const E* g, float* sum, long n, bool first) {
#pragma omp parallel for schedule(static) if (n >= kParallel)
    for (long i = 0; i < n; ++i) sum[i] = (first ? 0.F : sum[i]) + to_float(g[i]);
}

template <class E>
double sum_squares(const E* g, long n) {
    constexpr long kBlock = 4096;
    const long blocks = (n + kBlock - 1) / kBlock;
    double total = 0;
#pragma omp parallel for schedule(static) reduction(+ : total) if (n >= kParallel)
    for (long b = 0; b < blocks; ++b) {
        const long end = (b + 1) * kBlock < n ? (b + 1) * kBlock : n;
        float sum = 0;
        for (long i = b * kBlock; i < end; ++i) sum += to_float(g[i]) * to_float(g[i]);
        total += static_cast<double>(sum);
    }
    return total;
}

template <class E>
void convert(const float* in, E* out, long n) {
#pragma omp parallel for schedule(static) if (n >= kParallel)
    for (long i = 0; i < n; ++i) put(out + i, in[i]);
}

template <class E>
void widen(const E* in, long stride, float* out, long rows, long columns) {
#pragma omp parallel for schedule(static) if (rows * columns >= kParallel)
    for (long r = 0; r < rows; ++r)
        for (long i = 0; i < columns; ++i) out[r * columns + i] = to_float(in[r * stride + i]);
}

template <class E>
void narrow(const float* in, E* out, long stride, long rows, long columns) {
#pragma omp parallel for schedule(static) if (rows * columns >= kParallel)
    for (long r = 0; r < rows; ++r)
        for (long i = 0; i < columns; ++i) put(out + r * stride + i, in[r * columns + i]);
}

template <class E>
void muon_momentum(float* m, const E* g, float* out, long n, float one_minus_beta, float scale) {
#pragma omp parallel for simd schedule(static) if (n >= kParallel)
    for (long i = 0; i < n; ++i) {
        const float gi = to_float(g[i]) * scale;
        const float mi = m[i] + one_minus_beta * (gi - m[i]);
        m[i] = mi;
        out[i] = mi + one_minus_beta * (gi - mi);
    }
}

void muon_apply(float* p, const float* update, Bf16* shadow, long n, float keep, float step) {
#pragma omp parallel for schedule(static) if (n >= kParallel)
    for (long i = 0; i < n; ++i) p[i] = p[i] * keep - step * update[i];
    if (shadow) convert(p, shadow, n);
}

/// Compiled apart, see kernels_adamw.cpp.
inline void adamw(float* p, float* m, float* v, const float* g, Bf16* shadow, long n, AdamW how) {
    SKERRY_ISA::adamw_fp32(p, m, v, g, shadow, n, how);
}
inline void adamw(float* p, float* m, float* v, const Bf16* g, Bf16* shadow, long n, AdamW how) {
    SKERRY_ISA::adamw_bf16(p, m, v, g, shadow, n, how);
}

template <class E>
constexpr KernelSet<E> kFunctions = {
    rms_forward<E>,   rms_backward<E>,        rope_unpack<E>,     rope_pack<E>,
    move_heads<E, true>, move_heads<E, false>, softmax_causal<E>, softmax_backward<E>,
    swiglu<E>,        swiglu_backward<E>,     cross_entropy<E>,   embed,
    embed_backward<E>, accumulate<E>,       softmax_past<E>,     sum_squares<E>,      adamw,              convert<E>,
    widen<E>,         narrow<E>,              muon_momentum<E>,
};

#define SKERRY_STRING2(x) #x
#define SKERRY_STRING(x) SKERRY_STRING2(x)

}  // namespace

const Kernels SKERRY_ISA::kSet = {SKERRY_STRING(SKERRY_ISA), muon_apply, kFunctions<float>, kFunctions<Bf16>};

}  // namespace skerry::node
