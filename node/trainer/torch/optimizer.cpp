#include "node/trainer/torch/optimizer.hpp"

#include <ATen/core/Tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "node/trainer/torch/muon.hpp"
#include "node/trainer/torch/views.hpp"

namespace skerry::node {
namespace {

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

InnerSplit::InnerSplit(const ModelConfig& model, const TrainConfig& train) {
    const std::vector<TensorInfo> all = make_tensor_table(model).tensors;
    by_muon.resize(all.size());
    if (train.optimizer == InnerOptimizer::muon) groups = muon_groups(model);
    for (const MuonGroup& g : groups)
        for (const std::uint32_t i : g.tensors) by_muon[i] = true;
    for (std::size_t i = 0; i < all.size();) {
        std::size_t j = i + 1;  // neighbours of one kind in one range
        while (j < all.size() && all[j].kind == all[i].kind && by_muon[j] == by_muon[i]) ++j;
        if (!by_muon[i]) adamw.push_back({all[i].offset, all[j - 1].offset + all[j - 1].elements, all[i].kind == TensorKind::normal});
        i = j;
    }
}

// As torch.nn.utils.clip_grad_norm_.
double clip_scale(const TrainConfig& train, double norm) { return train.clip > 0 ? std::min(1.0, train.clip / (norm + 1e-6)) : 1.0; }

double muon_rate(const TrainConfig& train, double lr) { return train.lr > 0 ? train.muon_lr * (lr / train.lr) : 0; }

Optimizer::Optimizer(const ModelConfig& model, const TrainConfig& train)
    : train_(train), table_(make_tensor_table(model)), split_(model, train), m_(table_.elements), v_(table_.elements) {
    std::uint64_t most = 0;
    for (const MuonGroup& g : split_.groups) most = std::max(most, g.at_once * g.elements_each());
    scratch_ = Buffer<float>(most);
}

void Optimizer::reset() {
    std::memset(m_.data(), 0, m_.bytes());
    // Where Muon works v is not touched, so that its pages cost nothing.
    for (std::size_t i = 0; i < table_.tensors.size(); ++i)
        if (!split_.by_muon[i]) std::fill_n(v_.data() + table_.tensors[i].offset, table_.tensors[i].elements, 0.F);
    steps_ = 0;
}

void Optimizer::step(const Model& model, float* weights, Bf16* shadow, double lr, double norm) {
    ++steps_;
    const auto scale = static_cast<float>(clip_scale(train_, norm));
    adamw(model, weights, shadow, lr, scale);
    if (!split_.groups.empty()) muon(model, weights, shadow, muon_rate(train_, lr), scale);
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
    for (const AdamWRange& range : split_.adamw) {
        how.keep = static_cast<float>(1.0 - lr * (range.decays ? train_.weight_decay : 0.0));
        model.adamw(weights, m_.data(), v_.data(), shadow, range.lo, range.hi, how);
    }
}

void Optimizer::muon(const Model& model, float* weights, Bf16* shadow, double lr, float gradient_scale) {
    c10::InferenceMode guard;
    for (const MuonGroup& g : split_.groups) {
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
    for (std::size_t i = 0; i < count; ++i)
        kernels().muon_apply(weights + offset(i), static_cast<const float*>(result.data_ptr()) + i * n, shadow ? shadow + offset(i) : nullptr,
                             static_cast<long>(n), static_cast<float>(1.0 - lr * train_.weight_decay), static_cast<float>(lr * group.update_scale()));
}

}  // namespace skerry::node
