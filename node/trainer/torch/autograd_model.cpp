#include "node/trainer/torch/autograd_model.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "node/trainer/torch/views.hpp"

namespace skerry::node {
namespace {

constexpr long kNoTarget = -1;  // in `targets`

/// A view of flat [P] from `at` on, as a leaf of autograd whose gradient is the same view of `gradient`, if there is one.
at::Tensor leaf(const at::Tensor& flat, const at::Tensor& gradient, std::uint64_t at, std::initializer_list<long> sizes) {
    const std::vector<int64_t> shape(sizes);
    int64_t n = 1;
    for (const int64_t size : shape) n *= size;
    const auto part = [&](const at::Tensor& whole) { return whole.narrow(0, static_cast<int64_t>(at), n).view(shape).detach(); };
    at::Tensor out = part(flat);
    if (!gradient.defined()) return out;
    out.requires_grad_(true);
    out.mutable_grad() = part(gradient);
    return out;
}

}  // namespace

AutogradWeights view_weights(const ModelConfig& config, const at::Tensor& flat, const at::Tensor& gradient) {
    const ModelOffsets offsets = make_offsets(config, make_tensor_table(config));
    const Dimensions n(config, {});
    const auto make = [&](std::uint64_t at, std::initializer_list<long> sizes) { return leaf(flat, gradient, at, sizes); };
    const auto bias = [&](std::uint64_t at, long size) { return at == 0 ? at::Tensor() : make(at, {size}); };
    AutogradWeights out;
    out.embedding = make(0, {n.vocab, n.d});
    for (const LayerOffsets& o : offsets.layers)
        out.layers.push_back({make(o.norm1, {n.d}), make(o.qkv, {n.qkv_width(), n.d}), bias(o.qkv_bias, n.qkv_width()),
                              make(o.o, {n.d, n.heads * n.hd}), bias(o.o_bias, n.d), make(o.norm2, {n.d}),
                              make(o.gate_up, {2 * n.f, n.d}), make(o.down, {n.d, n.f})});
    out.norm = make(offsets.norm, {n.d});
    out.head = config.tie_word_embeddings ? out.embedding : make(offsets.head, {n.vocab, n.d});
    return out;
}

AutogradWeights AutogradModel::prepared(const AutogradWeights& weights) const {
    const at::NoGradGuard guard;
    const auto ready = [this](const at::Tensor& t) { return t.defined() ? cast(t).detach() : t; };
    AutogradWeights out{weights.embedding.detach(), weights.norm.detach(), ready(weights.head), {}};
    for (const AutogradLayer& w : weights.layers)
        out.layers.push_back({w.norm1.detach(), ready(w.qkv), ready(w.qkv_bias), ready(w.o), ready(w.o_bias), w.norm2.detach(), ready(w.gate_up),
                              ready(w.down)});
    return out;
}

AutogradCache AutogradModel::make_cache(long capacity, const at::Tensor& like) const {
    AutogradCache out;
    const std::vector<int64_t> shape{1, config_.num_key_value_heads, capacity, config_.head_dim};
    const auto room = [&] { return at::empty(shape, like.options().dtype(bf16_ ? at::kBFloat16 : at::kFloat)); };
    for (std::uint32_t i = 0; i < config_.num_hidden_layers; ++i) {
        out.keys.push_back(room());
        out.values.push_back(room());
    }
    return out;
}

AutogradModel::Rope AutogradModel::rope(long from, long positions, const at::Tensor& like) const {
    if (!rope_.cosines.defined() || rope_.cosines.size(0) < from + positions) {
        const long half = static_cast<long>(config_.head_dim) / 2;
        // A decoder asks for one more with every token.
        const long all = std::max(from + positions, std::min(2 * (from + positions), static_cast<long>(config_.max_position_embeddings)));
        const at::Tensor table = at::empty({all, 2 * half}, at::TensorOptions().dtype(at::kFloat));
        fill_rope(config_, all, table.mutable_data_ptr<float>());
        const auto twice = [&](long first) {
            const at::Tensor part = table.narrow(1, first, half);
            return at::cat({part, part}, 1).to(like.device());
        };
        rope_ = {twice(0), twice(half)};
    }
    return {rope_.cosines.narrow(0, from, positions), rope_.sines.narrow(0, from, positions)};
}

at::Tensor AutogradModel::cast(const at::Tensor& t) const { return bf16_ ? t.to(at::kBFloat16) : t; }

at::Tensor AutogradModel::linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) const {
    return at::linear(x, cast(w), bias.defined() ? std::optional(cast(bias)) : std::nullopt);
}

at::Tensor AutogradModel::norm(const at::Tensor& x, const at::Tensor& w) const {
    return at::rms_norm(x, {static_cast<int64_t>(config_.hidden_size)}, w, config_.rms_norm_eps);
}

at::Tensor AutogradModel::rotate(const at::Tensor& x, const Rope& rope) const {
    const at::Tensor wide = x.to(at::kFloat);
    const auto halves = wide.chunk(2, -1);
    return cast(wide * rope.cosines + at::cat({-halves[1], halves[0]}, -1) * rope.sines);
}

/// q [batch, heads, t, hd], k and v [batch, kv_heads, past + t, hd]: the queries are the last t positions.
at::Tensor AutogradModel::attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
    const int64_t t = q.size(2), all = k.size(2), groups = q.size(1) / k.size(1);
    std::optional<at::Tensor> mask;
    if (t > 1 && t < all) mask = at::ones({t, all}, q.options().dtype(at::kBool)).tril(all - t);
    const bool causal = t > 1 && t == all;
    // CUDA's bf16 kernels share the heads of keys; the others would fall back to the one that keeps all the scores.
    if (groups == 1 || (q.is_cuda() && bf16_)) return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, std::nullopt, groups > 1);
    const auto shared = [&](const at::Tensor& x) {
        return x.unsqueeze(2).expand({x.size(0), x.size(1), groups, all, x.size(3)}).reshape({x.size(0), q.size(1), all, x.size(3)});
    };
    return at::scaled_dot_product_attention(q, shared(k), shared(v), mask, 0.0, causal);
}

/// x [batch, t, d] float32 -> the same.
at::Tensor AutogradModel::layer(const AutogradLayer& w, const at::Tensor& x, const Rope& rope, AutogradCache* cache, std::size_t index) const {
    const int64_t batch = x.size(0), t = x.size(1), heads = config_.num_attention_heads, kv = config_.num_key_value_heads;
    const at::Tensor qkv = linear(cast(norm(x, w.norm1)), w.qkv, w.qkv_bias).view({batch, t, heads + 2 * kv, -1}).transpose(1, 2);
    const at::Tensor qk = rotate(qkv.narrow(1, 0, heads + kv), rope);
    const at::Tensor q = qk.narrow(1, 0, heads);
    at::Tensor k = qk.narrow(1, heads, kv), v = qkv.narrow(1, heads + kv, kv);
    if (cache != nullptr) {
        const auto keep = [&](const at::Tensor& room, const at::Tensor& rows) {
            room.narrow(2, cache->length, t).copy_(rows);
            return room.narrow(2, 0, cache->length + t);
        };
        k = keep(cache->keys[index], k);
        v = keep(cache->values[index], v);
    }
    const at::Tensor out = attention(q, k, v).transpose(1, 2).reshape({batch, t, -1});
    const at::Tensor mid = x + linear(out, w.o, w.o_bias);
    const auto gate_up = linear(cast(norm(mid, w.norm2)), w.gate_up, {}).chunk(2, -1);
    return mid + linear(at::silu(gate_up[0]) * gate_up[1], w.down, {});
}

at::Tensor AutogradModel::head(const AutogradWeights& weights, const at::Tensor& x) const {
    return linear(cast(norm(x, weights.norm)), weights.head, {}).to(at::kFloat);
}

/// [batch * t]: 0 where there is no target.
at::Tensor AutogradModel::head_loss(const AutogradWeights& weights, const at::Tensor& x, const at::Tensor& targets) const {
    const at::Tensor logits = head(weights, x).view({-1, static_cast<int64_t>(config_.vocab_size)});
    return at::cross_entropy_loss(logits, targets.reshape({-1}), {}, at::Reduction::None, kNoTarget);
}

at::Tensor AutogradModel::loss(const AutogradWeights& weights, const at::Tensor& ids, const at::Tensor& targets) const {
    const at::NoGradGuard guard;
    const Rope turn = rope(0, ids.size(1), ids);
    at::Tensor x = at::embedding(weights.embedding, ids);
    for (std::size_t i = 0; i < weights.layers.size(); ++i) x = layer(weights.layers[i], x, turn, nullptr, i);
    return head_loss(weights, x, targets).sum(at::kDouble);
}

at::Tensor AutogradModel::logits(const AutogradWeights& weights, const at::Tensor& ids, AutogradCache* cache) const {
    const at::NoGradGuard guard;
    const Rope turn = rope(cache ? cache->length : 0, ids.size(1), ids);
    at::Tensor x = at::embedding(weights.embedding, ids);
    for (std::size_t i = 0; i < weights.layers.size(); ++i) x = layer(weights.layers[i], x, turn, cache, i);
    if (cache != nullptr) {
        cache->length += ids.size(1);
        x = x.narrow(1, ids.size(1) - 1, 1);
    }
    return head(weights, x);
}

// The graph is cut between the layers, whether they are computed again or not: so both add up in the same order.
at::Tensor AutogradModel::loss_and_gradient(const AutogradWeights& weights, const at::Tensor& ids, const at::Tensor& targets, double scale,
                                            bool again) const {
    const at::AutoGradMode guard(true);
    const Rope turn = rope(0, ids.size(1), ids);
    const auto cut = [](const at::Tensor& x) { return x.detach().requires_grad_(true); };
    const std::size_t layers = weights.layers.size();
    std::vector<at::Tensor> in(layers), out(layers);
    const at::Tensor embedded = at::embedding(weights.embedding, ids);
    at::Tensor x = embedded.detach();
    for (std::size_t i = 0; i < layers; ++i) {
        in[i] = cut(x);
        const at::AutoGradMode keep(!again);
        out[i] = layer(weights.layers[i], in[i], turn, nullptr, i);
        x = out[i].detach();
        if (again) out[i].reset();
    }
    const at::Tensor last = cut(x);
    const at::Tensor losses = head_loss(weights, last, targets);
    const at::Tensor sum = losses.detach().sum(at::kDouble);
    losses.backward(at::full(losses.sizes(), scale, losses.options().requires_grad(false)));
    at::Tensor gradient = last.grad();
    for (std::size_t i = layers; i-- > 0;) {
        if (again) out[i] = layer(weights.layers[i], in[i], turn, nullptr, i);
        out[i].backward(gradient);
        gradient = in[i].grad();
        in[i].reset();
        out[i].reset();
    }
    embedded.backward(gradient);
    return sum;
}

}  // namespace skerry::node
