#pragma once
// One way to compute: it has the weights and the inner optimizer's state, wherever they lie, and all that works on them. The inner loop
// knows nothing else of how a step is done. No torch in this header.

#include <cstdint>
#include <memory>
#include <span>

#include "node/trainer/torch/decoder.hpp"
#include "node/trainer/torch/model.hpp"

namespace skerry::node {

/// The vectors of P float32 that a path has. Without a second moment (Muon) `v` is 0.
enum class Vector { weights, m, v };

/// Forward only, with one set of weights that stays as it is for so long.
class Reader {
  public:
    virtual ~Reader() = default;
    /// Sum of the losses over all targets (nats).
    virtual double loss(const TokenBatch& tokens) = 0;
    /// Writes float logits of each position of one sequence to `out` [seq, vocab_size].
    virtual void logits(std::span<const std::int32_t> ids, std::span<float> out) = 0;
    /// Outlives the reader no longer than its weights stay.
    virtual std::unique_ptr<Decoder> decoder(std::uint32_t capacity) = 0;
};

/// One thread. Where memory runs out: std::bad_alloc, or an exception of ATen that says so; weights and optimizer are as they were.
class Path {
  public:
    virtual ~Path() = default;

    /// Gives up the workspace and makes that of `plan`.
    virtual void replan(const WorkspacePlan& plan) = 0;
    /// Gives up the workspace; `replan` comes next.
    virtual void release() = 0;

    /// Elements from `lo` on, to and from the host's memory.
    virtual void read(Vector what, std::uint64_t lo, std::span<float> out) const = 0;
    virtual void write(Vector what, std::uint64_t lo, std::span<const float> in) = 0;
    /// After all of the weights were written, before they are used.
    virtual void weights_written() = 0;

    /// Sum of the losses over all targets (nats). Keeps the gradient of that sum over `target_count` (0: over 1) until the next call.
    virtual double loss_and_gradient(const TokenBatch& tokens) = 0;
    virtual double gradient_norm() const = 0;
    virtual void copy_gradient(std::span<float> out) const = 0;

    /// One step of the inner optimizer with that gradient, whose norm is `norm`, at AdamW's rate `lr`.
    virtual void update(double lr, double norm) = 0;
    virtual void reset_optimizer() = 0;
    virtual std::uint64_t optimizer_steps() const = 0;
    virtual void set_optimizer_steps(std::uint64_t steps) = 0;

    /// theta: [P] on the host; null: the path's own weights. Made and used between steps.
    virtual std::unique_ptr<Reader> reader(const float* theta) = 0;
};

/// The hand-written passes on the CPU, over flat vectors.
std::unique_ptr<Path> make_fast_path(const ModelConfig& model, const TrainConfig& train, bool bf16);
/// libtorch's autograd, on the CPU or on CUDA's first device.
std::unique_ptr<Path> make_autograd_path(const ModelConfig& model, const TrainConfig& train, bool bf16, bool cuda);

/// What CUDA's first device has free; 0: not known.
std::uint64_t cuda_memory_available();

}  // namespace skerry::node
