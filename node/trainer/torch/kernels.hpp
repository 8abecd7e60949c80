#pragma once
// Elementwise kernels of the decoder between the matrix products. No torch in here.
//
// `E` is the element of activations and gradients: float, or bf16 as uint16_t. All reductions run in
// float. Every function may use the OpenMP threads of its process; none allocates.

#include <cstdint>

namespace skerry::node {

using Bf16 = std::uint16_t;

/// Sizes of one call: B sequences of T tokens, H query heads over KV key heads of `hd` elements.
struct HeadDims {
    long batch, seq, heads, kv_heads, head_dim;
};

/// Computed in double and rounded once: 1 - 0.99F differs from 0.01F by sixteen units in the last place.
struct AdamW {
    float one_minus_beta1, beta2, one_minus_beta2, eps;
    float keep;               ///< 1 - lr * weight_decay
    float step;               ///< lr / (1 - beta1^t)
    float inverse2;           ///< 1 / sqrt(1 - beta2^t)
    float gradient_scale;     ///< clipping
};

template <class E>
struct KernelSet {
    /// x_out [rows,d] = x + add (E; may be null, then x_out is not written); h = x_out * inv * w; inv [rows].
    void (*rms_forward)(const float* x, const E* add, float* x_out, const float* w, E* h, float* inv,
                        long rows, long d, float eps);
    /// dx [rows,d] += gradient through the norm (or = when `first`); dx_cast: copy in E, may be null.
    /// dw [d] is overwritten. scratch: [threads, d].
    void (*rms_backward)(const E* dh, const float* x, const float* inv, const float* w, float* dx,
                         E* dx_cast, E* dw, float* scratch, long rows, long d, bool first);
    /// qkv [B*T, (H+2KV)*hd] -> q [B,H,T,hd], k and v [B,KV,T,hd]; rotary on q and k. cos_sin [T, hd]: cos, sin halves.
    void (*rope_unpack)(const E* qkv, const float* cos_sin, E* q, E* k, E* v, HeadDims n);
    /// The transpose (inverse rotation) of `rope_unpack`, for gradients.
    void (*rope_pack)(const E* dq, const E* dk, const E* dv, const float* cos_sin, E* dqkv, HeadDims n);
    /// [B,H,T,hd] -> [B,T,H,hd] and back.
    void (*heads_pack)(const E* in, E* out, HeadDims n);
    void (*heads_unpack)(const E* in, E* out, HeadDims n);
    /// Rows [rows, T], row r may see columns 0 .. r % T; the others become 0.
    void (*softmax_causal)(E* s, float scale, long rows, long seq);
    /// ds (in place of dp) = p * (dp - sum(p * dp)) * scale, 0 above the diagonal.
    void (*softmax_backward)(const E* p, E* dp, float scale, long rows, long seq);
    /// gate_up [rows, 2F] -> out [rows, F] = silu(gate) * up.
    void (*swiglu)(const E* gate_up, E* out, long rows, long f);
    /// In: gate_up, ds. Out: gate_up holds its gradient, ds holds silu(gate) * up again.
    void (*swiglu_backward)(E* gate_up, E* ds, long rows, long f);
    /// Sum of the rows' losses in nats; with `gradient` the logits become d(sum)/d(logits) * scale. row_loss: [rows]. A negative
    /// target is none: loss and gradient of its row are exactly 0.
    double (*cross_entropy)(E* logits, const std::int32_t* targets, float* row_loss, long rows, long vocab,
                            float scale, bool gradient);
    void (*embed)(const float* table, const std::int32_t* ids, float* x, long rows, long d);
    /// dtable[id] += sum of dx over the rows of that id. `order`: rows sorted by id; `runs`: starts of equal ids
    /// in `order`, `run_count` + 1 entries.
    void (*embed_backward)(const float* dx, const std::int32_t* ids, const std::int32_t* order,
                           const std::int32_t* runs, long run_count, E* dtable, long d);
    /// sum += g, or = when `first`.
    void (*accumulate)(const E* g, float* sum, long n, bool first);
    /// softmax_causal for `queries` new rows behind columns - queries earlier ones: row r sees columns 0 .. columns - queries + r % queries.
    void (*softmax_past)(E* s, float scale, long rows, long queries, long columns);
    double (*sum_squares)(const E* g, long n);
    /// p, m, v [n] updated; shadow (may be null) gets p in bf16. The order of operations is that of torch.optim.AdamW.
    void (*adamw)(float* p, float* m, float* v, const E* g, Bf16* shadow, long n, AdamW how);
    /// out = E(in)
    void (*convert)(const float* in, E* out, long n);
    /// [rows, columns] between storage with row length `stride` and a dense float matrix.
    void (*widen)(const E* in, long stride, float* out, long rows, long columns);
    void (*narrow)(const float* in, E* out, long stride, long rows, long columns);
    /// Muon: m [n] moves towards scale * g by `one_minus_beta`; out = the same mix of scale * g and the new m.
    void (*muon_momentum)(float* m, const E* g, float* out, long n, float one_minus_beta, float scale);
};

struct Kernels {
    const char* isa;
    /// p [n] = p * keep - step * update; shadow (may be null) gets p in bf16.
    void (*muon_apply)(float* p, const float* update, Bf16* shadow, long n, float keep, float step);
    KernelSet<float> fp32;
    KernelSet<Bf16> bf16;
};

/// The set for this processor.
const Kernels& kernels();

template <class E>
const KernelSet<E>& kernel_set();

}  // namespace skerry::node
