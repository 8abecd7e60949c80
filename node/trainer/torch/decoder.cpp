#include "node/trainer/torch/decoder.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "node/trainer/torch/buffers.hpp"
#include "node/trainer/torch/products.hpp"
#include "node/trainer/torch/views.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {
namespace {

WorkspacePlan plan_of(std::uint32_t rows) {
    WorkspacePlan plan;
    plan.seq = rows;
    return plan;
}

template <class E>
class FlatDecoder final : public Decoder {
  public:
    FlatDecoder(const ModelConfig& config, const Weights& weights, std::uint32_t capacity);

    void feed(std::span<const std::uint32_t> tokens, std::span<float> logits) override;
    void clear() override { length_ = 0; }
    std::uint32_t length() const override { return length_; }

  private:
    /// Up to kDecoderChunk tokens. `last_` then holds the last one's hidden state.
    void read(std::span<const std::uint32_t> tokens);
    void attend(std::size_t layer, long rows);
    static const E* base_of(const Weights& weights) {
        if constexpr (std::is_same_v<E, float>) return weights.master;
        else return weights.shadow;
    }
    /// A cache as heads of `rows` tokens.
    at::Tensor cached(const Buffer<E>& cache, std::size_t layer, long rows) const {
        return view(cache.data() + static_cast<long>(layer) * per_layer_, {n_.kv, capacity_, n_.hd}).narrow(1, 0, rows);
    }

    Dimensions n_;  ///< t is the chunk
    ModelOffsets offsets_;
    const float* const master_;  ///< [P]
    const MatrixViews matrices_;
    const KernelSet<E>& kernel_ = kernel_set<E>();
    const long capacity_, per_layer_;  ///< tokens; elements of one layer's keys
    const float scale_, eps_;
    std::uint32_t length_ = 0;

    Buffer<E> keys_, values_;  ///< [layers, kv, capacity, hd]
    Buffer<float> rope_, x_, inv_, tiles_;
    Buffer<E> h_, qkv_, q_, k_, v_, scores_, out_, heads_out_, y_, gate_up_, s_, logits_;
    std::vector<std::int32_t> ids_;
};

template <class E>
FlatDecoder<E>::FlatDecoder(const ModelConfig& config, const Weights& weights, std::uint32_t capacity)
    : n_(config, plan_of(std::min(kDecoderChunk, capacity))),
      offsets_(make_offsets(config, make_tensor_table(config))),
      master_(weights.master),
      matrices_(make_matrix_views(n_, offsets_, base_of(weights))),
      capacity_(capacity),
      per_layer_(n_.kv * capacity_ * n_.hd),
      scale_(1.F / std::sqrt(static_cast<float>(config.head_dim))),
      eps_(static_cast<float>(config.rms_norm_eps)) {
    const auto size = [](long elements) { return static_cast<std::size_t>(elements); };
    keys_ = Buffer<E>(size(n_.layers * per_layer_));
    values_ = Buffer<E>(size(n_.layers * per_layer_));
    x_ = Buffer<float>(size(n_.t * n_.d));
    if (!std::is_same_v<E, float>) tiles_ = Buffer<float>(kTileFloats);
    inv_ = Buffer<float>(size(n_.t));
    h_ = Buffer<E>(size(n_.t * n_.d));
    qkv_ = Buffer<E>(size(n_.t * n_.qkv_width()));
    q_ = Buffer<E>(size(n_.t * n_.heads * n_.hd));
    k_ = Buffer<E>(size(n_.t * n_.kv * n_.hd));
    v_ = Buffer<E>(size(n_.t * n_.kv * n_.hd));
    scores_ = Buffer<E>(size(n_.heads * n_.t * capacity_));
    out_ = Buffer<E>(size(n_.t * n_.heads * n_.hd));
    heads_out_ = Buffer<E>(size(n_.t * n_.heads * n_.hd));
    y_ = Buffer<E>(size(n_.t * n_.d));
    gate_up_ = Buffer<E>(size(n_.t * 2 * n_.f));
    s_ = Buffer<E>(size(n_.t * n_.f));
    logits_ = Buffer<E>(size(n_.vocab));
    rope_ = Buffer<float>(size(capacity_ * n_.hd));
    fill_rope(config, capacity_, rope_.data());
}

template <class E>
void FlatDecoder<E>::attend(std::size_t layer, long rows) {
    const long before = static_cast<long>(length_), all = before + rows;
    const HeadDims dims{1, rows, n_.heads, n_.kv, n_.hd};
    kernel_.rope_unpack(qkv_.data(), rope_.data() + before * n_.hd, q_.data(), k_.data(), v_.data(), dims);
    for (long head = 0; head < n_.kv; ++head) {
        const long to = static_cast<long>(layer) * per_layer_ + (head * capacity_ + before) * n_.hd, from = head * rows * n_.hd;
        const auto bytes = static_cast<std::size_t>(rows * n_.hd) * sizeof(E);
        std::memcpy(keys_.data() + to, k_.data() + from, bytes);
        std::memcpy(values_.data() + to, v_.data() + from, bytes);
    }
    auto scores = view(scores_.data(), {n_.kv, n_.group * rows, all});
    auto out = view(out_.data(), {n_.kv, n_.group * rows, n_.hd});
    const Products products(tiles_.data(), false);
    products.probabilities(scores, view(q_.data(), {n_.kv, n_.group * rows, n_.hd}), cached(keys_, layer, all).transpose(1, 2), scale_, rows);
    at::bmm_out(out, scores, cached(values_, layer, all));
    kernel_.heads_pack(out_.data(), heads_out_.data(), dims);
}

template <class E>
void FlatDecoder<E>::read(std::span<const std::uint32_t> tokens) {
    const MatrixViews& w = matrices_;
    const auto rows = static_cast<long>(tokens.size());
    ids_.assign(tokens.begin(), tokens.end());
    kernel_.embed(master_, ids_.data(), x_.data(), rows, n_.d);
    auto h = view(h_.data(), {rows, n_.d}), y = view(y_.data(), {rows, n_.d}), qkv = view(qkv_.data(), {rows, n_.qkv_width()});
    auto gate_up = view(gate_up_.data(), {rows, 2 * n_.f});
    const E* add = nullptr;  // what the residual stream still has to receive
    for (std::size_t i = 0; i < w.layers.size(); ++i) {
        const auto& o = offsets_.layers[i];
        kernel_.rms_forward(x_.data(), add, x_.data(), master_ + o.norm1, h_.data(), inv_.data(), rows, n_.d, eps_);
        product(qkv, h, w.layers[i].qkv.wt, w.layers[i].qkv_bias);
        attend(i, rows);
        product(y, view(heads_out_.data(), {rows, n_.heads * n_.hd}), w.layers[i].o.wt, w.layers[i].o_bias);
        kernel_.rms_forward(x_.data(), y_.data(), x_.data(), master_ + o.norm2, h_.data(), inv_.data(), rows, n_.d, eps_);
        at::mm_out(gate_up, h, w.layers[i].gate_up.wt);
        kernel_.swiglu(gate_up_.data(), s_.data(), rows, n_.f);
        at::mm_out(y, view(s_.data(), {rows, n_.f}), w.layers[i].down.wt);
        add = y_.data();
    }
    kernel_.rms_forward(x_.data(), add, x_.data(), master_ + offsets_.norm, h_.data(), inv_.data(), rows, n_.d, eps_);
    length_ += static_cast<std::uint32_t>(rows);
}

template <class E>
void FlatDecoder<E>::feed(std::span<const std::uint32_t> tokens, std::span<float> logits) {
    SKERRY_ASSERT(!tokens.empty() && length_ + tokens.size() <= static_cast<std::size_t>(capacity_));
    c10::InferenceMode guard;
    long rows = 0;
    for (; !tokens.empty(); tokens = tokens.subspan(static_cast<std::size_t>(rows))) {
        rows = std::min(static_cast<long>(tokens.size()), n_.t);
        read(tokens.first(static_cast<std::size_t>(rows)));
    }
    auto out = view(logits_.data(), {1, n_.vocab});
    at::mm_out(out, view(h_.data() + (rows - 1) * n_.d, {1, n_.d}), matrices_.head.wt);
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = as_float(logits_.data()[i]);
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const ModelConfig& config, const Weights& weights, std::uint32_t capacity) {
    if (weights.shadow != nullptr) return std::make_unique<FlatDecoder<Bf16>>(config, weights, capacity);
    return std::make_unique<FlatDecoder<float>>(config, weights, capacity);
}

}  // namespace skerry::node
