#pragma once
// The inner optimizer: AdamW, or Muon for the matrices of the layers and AdamW for the rest. No torch in this header.

#include <cstdint>
#include <vector>

#include "node/trainer/torch/buffers.hpp"
#include "node/trainer/torch/model.hpp"

namespace skerry::node {

/// Elements [lo, hi) of neighbouring tensors of one kind.
struct AdamWRange {
    std::uint64_t lo = 0, hi = 0;
    bool decays = false;  ///< matrices only
};

/// Which tensors Muon updates, and the ranges that are left to AdamW.
struct InnerSplit {
    InnerSplit(const ModelConfig& model, const TrainConfig& train);
    std::vector<MuonGroup> groups;
    std::vector<bool> by_muon;  ///< for each tensor of the table
    std::vector<AdamWRange> adamw;
};

/// What a gradient of this norm is multiplied by.
double clip_scale(const TrainConfig& train, double norm);
/// Muon's rate where AdamW's is `lr`.
double muon_rate(const TrainConfig& train, double lr);

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
    InnerSplit split_;
    Buffer<float> m_, v_, scratch_;
    std::uint64_t steps_ = 0;
};

}  // namespace skerry::node
