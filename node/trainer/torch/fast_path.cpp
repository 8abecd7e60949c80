// The hand-written passes (model.hpp) and the optimizer over flat vectors of the host.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "node/trainer/torch/buffers.hpp"
#include "node/trainer/torch/optimizer.hpp"
#include "node/trainer/torch/path.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {
namespace {

class FastPath final : public Path {
  public:
    FastPath(const ModelConfig& model, const TrainConfig& train, bool bf16)
        : config_(model), bf16_(bf16), weights_(make_tensor_table(model).elements), shadow_(bf16 ? weights_.size() : 0), optimizer_(model, train) {}

    void replan(const WorkspacePlan& plan) override {
        model_.reset();
        model_ = make_model(config_, plan);
    }
    void release() override { model_.reset(); }

    void read(Vector what, std::uint64_t lo, std::span<float> out) const override {
        std::memcpy(out.data(), vector(what) + lo, out.size_bytes());
    }
    void write(Vector what, std::uint64_t lo, std::span<const float> in) override {
        float* to = vector(what) + lo;
        if (what != Vector::v) {
            std::memcpy(to, in.data(), in.size_bytes());
            return;
        }
        for (std::size_t i = 0; i < in.size(); ++i)
            if (to[i] != in[i]) to[i] = in[i];  // pages of zeros stay untouched
    }
    void weights_written() override { narrow(weights_.data(), shadow_); }

    double loss_and_gradient(const TokenBatch& tokens) override { return model_->loss_and_gradient(own(), tokens); }
    double gradient_norm() const override { return std::sqrt(model_->gradient_sum_squares()); }
    void copy_gradient(std::span<float> out) const override { model_->copy_gradient(out); }

    void update(double lr, double norm) override {
        optimizer_.step(*model_, weights_.data(), bf16_ ? shadow_.data() : nullptr, lr, norm);
    }
    void reset_optimizer() override { optimizer_.reset(); }
    std::uint64_t optimizer_steps() const override { return optimizer_.steps(); }
    void set_optimizer_steps(std::uint64_t steps) override { optimizer_.set_steps(steps); }

    std::unique_ptr<Reader> reader(const float* theta) override;

    Weights own() const { return {weights_.data(), bf16_ ? shadow_.data() : nullptr}; }
    Model& model() const { return *model_; }
    const ModelConfig& config() const { return config_; }
    bool bf16() const { return bf16_; }
    static void narrow(const float* from, Buffer<Bf16>& to) {
        if (to.size() > 0) kernel_set<Bf16>().convert(from, to.data(), static_cast<long>(to.size()));
    }

  private:
    float* vector(Vector what) const {
        if (what == Vector::weights) return weights_.data();
        return what == Vector::m ? optimizer_.m() : optimizer_.v();
    }

    ModelConfig config_;
    bool bf16_;
    Buffer<float> weights_;
    Buffer<Bf16> shadow_;
    Optimizer optimizer_;
    std::unique_ptr<Model> model_;
};

class FastReader final : public Reader {
  public:
    FastReader(FastPath& path, const float* theta) : path_(path), weights_(path.own()) {
        if (theta == nullptr) return;
        weights_ = {theta, nullptr};
        if (!path.bf16()) return;
        shadow_ = Buffer<Bf16>(make_tensor_table(path.config()).elements);
        FastPath::narrow(theta, shadow_);
        weights_.shadow = shadow_.data();
    }
    double loss(const TokenBatch& tokens) override { return path_.model().loss(weights_, tokens); }
    void logits(std::span<const std::int32_t> ids, std::span<float> out) override {
        const std::size_t vocab = path_.config().vocab_size;
        for (std::size_t at = 0; at < ids.size(); ++at)
            path_.model().logits(weights_, {ids, ids, 1, ids.size()}, static_cast<std::uint32_t>(at), out.subspan(at * vocab, vocab));
    }
    std::unique_ptr<Decoder> decoder(std::uint32_t capacity) override {
        return make_decoder(path_.config(), weights_, capacity);
    }

  private:
    FastPath& path_;
    Buffer<Bf16> shadow_;
    Weights weights_;
};

std::unique_ptr<Reader> FastPath::reader(const float* theta) { return std::make_unique<FastReader>(*this, theta); }

}  // namespace

std::unique_ptr<Path> make_fast_path(const ModelConfig& model, const TrainConfig& train, bool bf16) {
    return std::make_unique<FastPath>(model, train, bf16);
}

}  // namespace skerry::node
