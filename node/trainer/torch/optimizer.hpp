#pragma once
// The inner optimizer: AdamW, or Muon for the matrices of the layers and AdamW for the rest. No torch in this header.

#include <cstdint>
#include <vector>

#include "node/trainer/torch/buffers.hpp"
#include "node/trainer/torch/model.hpp"

namespace skerry::node {

/// State of P weights: `m` and `v` (float32 [P]; v is never touched where Muon works) and the number of steps.
class Optimizer {
  public:
    Optimizer(const ModelConfig& model, const TrainConfig& train);

    /// One step with the gradient that `model` holds, whose norm is `norm`, at AdamW's rate `lr`. `shadow` may be null.
    void step(const Model& model, float* weights, Bf16* shadow, double lr, double norm);
    void reset();

    float* m() const { return m_.data(); }
    float* v() const { return v_.data(); }
    std::uint64_t steps() const { return steps_; }
    void set_steps(std::uint64_t steps) { steps_ = steps; }

  private:
    void adamw(const Model& model, float* weights, Bf16* shadow, double lr, float gradient_scale);
    void muon(const Model& model, float* weights, Bf16* shadow, double lr, float gradient_scale);
    void muon_block(const Model& model, const MuonGroup& group, std::size_t first, std::size_t count, float* weights,
                    Bf16* shadow, double lr, float gradient_scale);

    TrainConfig train_;
    TensorTable table_;
    std::vector<MuonGroup> groups_;
    std::vector<bool> by_muon_;  ///< for each tensor
    Buffer<float> m_, v_, scratch_;
    std::uint64_t steps_ = 0;
};

}  // namespace skerry::node
