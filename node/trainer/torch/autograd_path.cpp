// Weights, gradient and optimizer state as flat vectors on a device; the model is autograd's.

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "node/trainer/torch/autograd_model.hpp"
#include "node/trainer/torch/muon.hpp"
#include "node/trainer/torch/optimizer.hpp"
#include "node/trainer/torch/path.hpp"
#include "protocol/base/assert.hpp"

#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 12
#include <ATen/DeviceAccelerator.h>
#define SKERRY_TORCH_TELLS_MEMORY 1
#endif

namespace skerry::node {
namespace {

/// The host's floats as a tensor, for one copy.
at::Tensor on_host(const float* data, std::uint64_t n) {
    return at::from_blob(const_cast<float*>(data), {static_cast<int64_t>(n)}, at::TensorOptions().dtype(at::kFloat));
}

/// [batch, seq] int64 on the device.
at::Tensor to_ids(std::span<const std::int32_t> ids, long batch, const at::Device& device) {
    const auto n = static_cast<int64_t>(ids.size());
    const at::Tensor host = at::from_blob(const_cast<std::int32_t*>(ids.data()), {batch, n / batch}, at::TensorOptions().dtype(at::kInt));
    return host.to(device, at::kLong);
}

class AutogradPath final : public Path {
  public:
    AutogradPath(const ModelConfig& model, const TrainConfig& train, bool bf16, at::Device device);

    void replan(const WorkspacePlan& plan) override { plan_ = plan; }
    void release() override {}  // what a step needs it allocates itself

    void read(Vector what, std::uint64_t lo, std::span<float> out) const override {
        on_host(out.data(), out.size()).copy_(part(vector(what), lo, out.size()));
    }
    void write(Vector what, std::uint64_t lo, std::span<const float> in) override {
        const at::NoGradGuard guard;
        part(vector(what), lo, in.size()).copy_(on_host(in.data(), in.size()));
    }
    void weights_written() override {}

    double loss_and_gradient(const TokenBatch& tokens) override;
    double gradient_norm() const override;
    void copy_gradient(std::span<float> out) const override { on_host(out.data(), out.size()).copy_(gradient_); }

    void update(double lr, double norm) override;
    void reset_optimizer() override {
        m_.zero_();
        v_.zero_();
        steps_ = 0;
    }
    std::uint64_t optimizer_steps() const override { return steps_; }
    void set_optimizer_steps(std::uint64_t steps) override { steps_ = steps; }

    std::unique_ptr<Reader> reader(const float* theta) override;

    /// Sum over the batch of `work`'s tensors, a micro-batch at a time.
    template <class Work>
    double in_parts(const TokenBatch& tokens, const Work& work) const;
    const AutogradModel& model() const { return model_; }
    at::Device device() const { return device_; }

  private:
    static at::Tensor part(const at::Tensor& whole, std::uint64_t lo, std::uint64_t n) {
        return whole.narrow(0, static_cast<int64_t>(lo), static_cast<int64_t>(n));
    }
    const at::Tensor& vector(Vector what) const { return what == Vector::weights ? flat_ : what == Vector::m ? m_ : v_; }
    void adamw(double lr);
    void muon(const MuonGroup& group, double lr);

    ModelConfig config_;
    TrainConfig train_;
    TensorTable table_;
    at::Device device_;
    InnerSplit split_;
    AutogradModel model_;
    at::Tensor flat_, gradient_, m_, v_;  ///< [P] float32
    AutogradWeights leaves_;
    WorkspacePlan plan_;
    std::uint64_t steps_ = 0;
};

AutogradPath::AutogradPath(const ModelConfig& model, const TrainConfig& train, bool bf16, at::Device device)
    : config_(model), train_(train), table_(make_tensor_table(model)), device_(device), split_(model, train), model_(model, bf16) {
    const auto vector = [&] { return at::zeros({static_cast<int64_t>(table_.elements)}, at::TensorOptions().dtype(at::kFloat).device(device)); };
    flat_ = vector();
    gradient_ = vector();
    m_ = vector();
    v_ = vector();
    leaves_ = view_weights(model, flat_, gradient_);
}

template <class Work>
double AutogradPath::in_parts(const TokenBatch& tokens, const Work& work) const {
    const std::size_t t = tokens.inputs.size() / tokens.batch;
    double sum = 0;
    for (std::uint32_t at = 0; at < tokens.batch; at += plan_.micro_batch) {
        const std::uint32_t count = std::min(plan_.micro_batch, tokens.batch - at);
        const auto rows = [&](std::span<const std::int32_t> ids) { return to_ids(ids.subspan(at * t, count * t), count, device_); };
        sum += work(rows(tokens.inputs), rows(tokens.targets)).template item<double>();
    }
    return sum;
}

double AutogradPath::loss_and_gradient(const TokenBatch& tokens) {
    gradient_.zero_();
    const double scale = 1.0 / static_cast<double>(std::max<std::uint64_t>(1, tokens.target_count));
    return in_parts(tokens, [&](const at::Tensor& ids, const at::Tensor& targets) {
        return model_.loss_and_gradient(leaves_, ids, targets, scale, plan_.recompute == Recompute::layers);
    });
}

double AutogradPath::gradient_norm() const {
    std::vector<at::Tensor> norms;
    for (const TensorInfo& t : table_.tensors) norms.push_back(at::linalg_vector_norm(part(gradient_, t.offset, t.elements)));
    return at::linalg_vector_norm(at::stack(norms).to(at::kDouble)).item<double>();
}

void AutogradPath::update(double lr, double norm) {
    const at::NoGradGuard guard;
    ++steps_;
    if (const double scale = clip_scale(train_, norm); scale != 1) gradient_.mul_(scale);
    adamw(lr);
    for (const MuonGroup& group : split_.groups) muon(group, muon_rate(train_, lr));
}

void AutogradPath::adamw(double lr) {
    // Two calls: what decays and what does not.
    for (const bool decays : {true, false}) {
        std::vector<at::Tensor> weights, gradients, first, second;
        for (const AdamWRange& range : split_.adamw) {
            if (range.decays != decays) continue;
            const auto of = [&](const at::Tensor& whole) { return part(whole, range.lo, range.hi - range.lo); };
            weights.push_back(of(flat_));
            gradients.push_back(of(gradient_));
            first.push_back(of(m_));
            second.push_back(of(v_));
        }
        if (weights.empty()) continue;
        const std::vector<at::Tensor> steps(weights.size(), at::scalar_tensor(static_cast<double>(steps_), flat_.options()));
        at::_fused_adamw_(weights, gradients, first, second, {}, steps, lr, train_.beta1, train_.beta2, decays ? train_.weight_decay : 0.0,
                          train_.eps, false, false);
    }
}

void AutogradPath::muon(const MuonGroup& group, double lr) {
    const auto rows = static_cast<int64_t>(group.rows), columns = static_cast<int64_t>(group.columns), small = static_cast<int64_t>(group.small());
    const double momentum = train_.muon_momentum;
    for (std::size_t first = 0; first < group.tensors.size(); first += group.at_once) {
        const std::size_t count = std::min<std::size_t>(group.at_once, group.tensors.size() - first);
        const auto of = [&](const at::Tensor& whole, std::size_t i) {
            const TensorInfo& t = table_.tensors[group.tensors[first + i]];
            return part(whole, t.offset, t.elements);
        };
        std::vector<at::Tensor> directions;
        for (std::size_t i = 0; i < count; ++i) {
            const at::Tensor m = of(m_, i), g = of(gradient_, i);
            m.lerp_(g, 1 - momentum);
            directions.push_back(g.lerp(m, momentum).view({rows, columns}));
        }
        const at::Tensor all = at::stack(directions);
        all.div_(at::linalg_vector_norm(all, 2, {1, 2}, true) + 1e-7);
        const auto room = [&](int64_t a, int64_t b) { return at::empty({static_cast<int64_t>(count), a, b}, all.options()); };
        const at::Tensor update = orthogonal(all, room(rows, columns), room(small, small), room(small, small));
        for (std::size_t i = 0; i < count; ++i)
            of(flat_, i).mul_(1 - lr * train_.weight_decay).sub_(update[static_cast<int64_t>(i)].reshape({-1}), lr * group.update_scale());
    }
}

class AutogradDecoder final : public Decoder {
  public:
    AutogradDecoder(const AutogradModel& model, const AutogradWeights& weights, at::Device device, std::uint32_t capacity)
        : model_(model), weights_(weights), device_(device), cache_(model.make_cache(capacity, weights.embedding)) {}

    void feed(std::span<const std::uint32_t> tokens, std::span<float> logits) override {
        SKERRY_ASSERT(!tokens.empty());
        at::Tensor out;
        while (!tokens.empty()) {
            const std::vector<std::int32_t> ids(tokens.begin(), tokens.begin() + static_cast<long>(std::min<std::size_t>(tokens.size(), kDecoderChunk)));
            tokens = tokens.subspan(ids.size());
            out = model_.logits(weights_, to_ids(ids, 1, device_), &cache_);
        }
        on_host(logits.data(), logits.size()).copy_(out.reshape({-1}));
    }
    void clear() override { cache_.length = 0; }
    std::uint32_t length() const override { return static_cast<std::uint32_t>(cache_.length); }

  private:
    const AutogradModel& model_;
    AutogradWeights weights_;
    at::Device device_;
    AutogradCache cache_;
};

class AutogradReader final : public Reader {
  public:
    AutogradReader(const AutogradPath& path, const AutogradWeights& weights) : path_(path), weights_(path.model().prepared(weights)) {}

    double loss(const TokenBatch& tokens) override {
        return path_.in_parts(tokens, [&](const at::Tensor& ids, const at::Tensor& targets) { return path_.model().loss(weights_, ids, targets); });
    }
    void logits(std::span<const std::int32_t> ids, std::span<float> out) override {
        on_host(out.data(), out.size()).copy_(path_.model().logits(weights_, to_ids(ids, 1, path_.device())).reshape({-1}));
    }
    std::unique_ptr<Decoder> decoder(std::uint32_t capacity) override {
        return std::make_unique<AutogradDecoder>(path_.model(), weights_, path_.device(), capacity);
    }

  private:
    const AutogradPath& path_;
    AutogradWeights weights_;
};

std::unique_ptr<Reader> AutogradPath::reader(const float* theta) {
    if (theta == nullptr) return std::make_unique<AutogradReader>(*this, leaves_);
    return std::make_unique<AutogradReader>(*this, view_weights(config_, on_host(theta, table_.elements).to(device_), {}));
}

}  // namespace

std::unique_ptr<Path> make_autograd_path(const ModelConfig& model, const TrainConfig& train, bool bf16, bool cuda) {
    return std::make_unique<AutogradPath>(model, train, bf16, cuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU));
}

std::uint64_t cuda_memory_available() {
#ifdef SKERRY_TORCH_TELLS_MEMORY
    try {
        return at::accelerator::getMemoryInfo(0).first;
    } catch (const std::exception&) {  // an allocator that does not tell
    }
#endif
    return 0;
}

}  // namespace skerry::node
