#pragma once
// The decoder: forward and hand-written backward over flat vectors. No torch in this header.
//
// All buffers and views are made once; a step allocates nothing of its own. The products are ATen's, everything
// between them is in kernels.hpp. Residual stream, norms, softmax and loss are float in both precisions.

#include <cstdint>
#include <memory>
#include <span>

#include "node/model_folder/tensor_table.hpp"
#include "node/trainer/torch/kernels.hpp"
#include "node/trainer/trainer_memory.hpp"

namespace skerry::node {

/// Where weights are read from: `master` [P] float32, and for a bf16 model `shadow` [P], the same in bf16 (not read where products
/// are computed in float).
struct Weights {
    const float* master = nullptr;
    const Bf16* shadow = nullptr;
};

/// Token ids of `batch` sequences of `seq` tokens, [batch, seq] each. A negative target is none: no loss, a gradient of exactly 0.
struct TokenBatch {
    std::span<const std::int32_t> inputs, targets;
    std::uint32_t batch = 0;
    std::uint64_t target_count = 0;  ///< what the gradient's mean is over: the targets that there are, of the whole step
};

/// One model with its workspace. One thread calls it; it uses torch's threads inside.
///
/// A batch larger than the plan's micro_batch is computed in several passes; their gradients are added up in float.
class Model {
  public:
    virtual ~Model() = default;

    /// Sum of the losses over all targets (nats). Leaves the gradient of that sum over `target_count` (0: over 1) in `gradient()`.
    virtual double loss_and_gradient(const Weights& weights, const TokenBatch& tokens) = 0;
    /// Forward only. Sum of the losses over all targets.
    virtual double loss(const Weights& weights, const TokenBatch& tokens) = 0;
    /// Forward only. Writes float logits of position `at` of the first sequence to `out` [vocab_size].
    virtual void logits(const Weights& weights, const TokenBatch& tokens, std::uint32_t at,
                        std::span<float> out) = 0;

    /// Of the gradient [P], which is in the model's own precision, or float where it was added up.
    virtual double gradient_sum_squares() const = 0;
    /// One AdamW step over elements [lo, hi).
    virtual void adamw(float* p, float* m, float* v, Bf16* shadow, std::uint64_t lo, std::uint64_t hi,
                       const AdamW& how) const = 0;
    /// Muon's momentum for the gradient's elements from `lo` on: m [n] is updated, out [n] is the direction.
    virtual void muon_momentum(float* m, std::uint64_t lo, std::span<float> out, float one_minus_beta, float scale) const = 0;
    virtual void copy_gradient(std::span<float> out) const = 0;
};

/// Throws std::bad_alloc.
std::unique_ptr<Model> make_model(const ModelConfig& config, const WorkspacePlan& plan);

}  // namespace skerry::node
