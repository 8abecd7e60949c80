#include "node/trainer/torch/optimizer.hpp"

#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "node/trainer/torch/views.hpp"

namespace skerry::node {
namespace {

/// Five rounds of the quintic Newton-Schulz iteration: brings the singular values of each matrix of x [n, rows, columns],
/// whose norm is at most 1, near 1. Returns where the result is: x or `next`. gram, square: [n, s, s], s the smaller side.
at::Tensor orthogonal(at::Tensor x, at::Tensor next, at::Tensor gram, at::Tensor square) {
    constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
    const bool tall = x.size(1) > x.size(2);
    for (int round = 0; round < 5; ++round) {
        const auto turned = x.transpose(1, 2);
        if (tall)
            at::bmm_out(gram, turned, x);
        else
            at::bmm_out(gram, x, turned);
        at::baddbmm_out(square, gram, gram, gram, kB, kC);
        if (tall)
            at::baddbmm_out(next, x, x, square, kA, 1);
        else
            at::baddbmm_out(next, x, square, x, kA, 1);
        std::swap(x, next);
    }
    return x;
}

/// Each of `count` matrices of n elements divided by its Frobenius norm.
void normalize(float* x, std::size_t count, std::uint64_t n) {
    for (std::size_t i = 0; i < count; ++i) {
        float* one = x + i * n;
        const double norm = std::sqrt(kernel_set<float>().sum_squares(one, static_cast<long>(n)));
        const auto by = static_cast<float>(1.0 / (norm + 1e-7));
        for (std::uint64_t j = 0; j < n; ++j) one[j] *= by;
    }
}

}  // namespace

Optimizer::Optimizer(const ModelConfig& model, const TrainConfig& train)
    : train_(train), table_(make_tensor_table(model)), by_muon_(table_.tensors.size()), m_(table_.elements), v_(table_.elements) {
    if (train.optimizer != InnerOptimizer::muon) return;
    groups_ = muon_groups(model);
    std::uint64_t most = 0;
    for (const MuonGroup& g : groups_) {
        for (const std::uint32_t i : g.tensors) by_muon_[i] = true;
        most = std::max(most, g.at_once * g.elements_each());
    }
    scratch_ = Buffer<float>(most);
}

void Optimizer::reset() {
    std::memset(m_.data(), 0, m_.bytes());
    // Where Muon works v is not touched, so that its pages cost nothing.
    for (std::size_t i = 0; i < table_.tensors.size(); ++i)
        if (!by_muon_[i]) std::fill_n(v_.data() + table_.tensors[i].offset, table_.tensors[i].elements, 0.F);
    steps_ = 0;
}

void Optimizer::step(const Model& model, float* weights, Bf16* shadow, double lr, double norm) {
    ++steps_;
    // As torch.nn.utils.clip_grad_norm_.
    const float scale = train_.clip > 0 ? static_cast<float>(std::min(1.0, train_.clip / (norm + 1e-6))) : 1.F;
    adamw(model, weights, shadow, lr, scale);
    if (!groups_.empty()) muon(model, weights, shadow, train_.lr > 0 ? train_.muon_lr * (lr / train_.lr) : 0, scale);
}

void Optimizer::adamw(const Model& model, float* weights, Bf16* shadow, double lr, float gradient_scale) {
    const auto t = static_cast<double>(steps_);
    AdamW how{};
    how.one_minus_beta1 = static_cast<float>(1.0 - train_.beta1);
    how.beta2 = static_cast<float>(train_.beta2);
    how.one_minus_beta2 = static_cast<float>(1.0 - train_.beta2);
    how.eps = static_cast<float>(train_.eps);
    how.step = static_cast<float>(lr / (1.0 - std::pow(train_.beta1, t)));
    how.inverse2 = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(train_.beta2, t)));
    how.gradient_scale = gradient_scale;
    const auto& all = table_.tensors;
    for (std::size_t i = 0; i < all.size();) {
        std::size_t j = i + 1;  // neighbours of one kind in one call
        while (j < all.size() && all[j].kind == all[i].kind && by_muon_[j] == by_muon_[i]) ++j;
        const double decay = all[i].kind == TensorKind::normal ? train_.weight_decay : 0.0;
        how.keep = static_cast<float>(1.0 - lr * decay);
        const std::uint64_t end = all[j - 1].offset + all[j - 1].elements;
        if (!by_muon_[i]) model.adamw(weights, m_.data(), v_.data(), shadow, all[i].offset, end, how);
        i = j;
    }
}

void Optimizer::muon(const Model& model, float* weights, Bf16* shadow, double lr, float gradient_scale) {
    c10::InferenceMode guard;
    for (const MuonGroup& g : groups_) {
        for (std::size_t first = 0; first < g.tensors.size(); first += g.at_once)
            muon_block(model, g, first, std::min<std::size_t>(g.at_once, g.tensors.size() - first), weights, shadow, lr, gradient_scale);
    }
}

void Optimizer::muon_block(const Model& model, const MuonGroup& group, std::size_t first, std::size_t count, float* weights,
                           Bf16* shadow, double lr, float gradient_scale) {
    const std::uint64_t n = group.rows * group.columns;
    const auto matrices = static_cast<long>(count), rows = static_cast<long>(group.rows), columns = static_cast<long>(group.columns),
               small = static_cast<long>(group.small());
    float* direction = scratch_.data();
    const auto offset = [&](std::size_t i) { return table_.tensors[group.tensors[first + i]].offset; };
    for (std::size_t i = 0; i < count; ++i)
        model.muon_momentum(m_.data() + offset(i), offset(i), {direction + i * n, n}, static_cast<float>(1.0 - train_.muon_momentum),
                            gradient_scale);
    normalize(direction, count, n);
    const float* after = direction + count * n;
    const float* gram = after + count * n;
    const at::Tensor result = orthogonal(view(static_cast<const float*>(direction), {matrices, rows, columns}), view(after, {matrices, rows, columns}),
                                         view(gram, {matrices, small, small}), view(gram + matrices * small * small, {matrices, small, small}));
    // The update of a matrix has about this root mean square whatever its shape.
    const double shape = std::sqrt(std::max(1.0, static_cast<double>(rows) / static_cast<double>(columns)));
    for (std::size_t i = 0; i < count; ++i)
        kernels().muon_apply(weights + offset(i), static_cast<const float*>(result.data_ptr()) + i * n, shadow ? shadow + offset(i) : nullptr,
                             static_cast<long>(n), static_cast<float>(1.0 - lr * train_.weight_decay), static_cast<float>(lr * shape));
}

}  // namespace skerry::node
