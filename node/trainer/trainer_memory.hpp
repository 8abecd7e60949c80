#pragma once
// What a trainer of our own needs of the machine's memory, before it is started. Pure, no torch.
//
// The same layout is what the trainer allocates (node/trainer/torch/workspace.hpp), so the two cannot drift apart.

#include <cstdint>

#include "node/model_folder/model_config.hpp"
#include "node/trainer/train_config.hpp"

namespace skerry::node {

/// What of the forward pass the backward pass computes again instead of finding it in memory.
enum class Recompute {
    none,
    attention,  ///< the attention probabilities
    layers,     ///< all of a layer but its input
};

/// How the work of one inner step is cut.
struct WorkspacePlan {
    bool bf16 = false;
    std::uint32_t micro_batch = 1;  ///< sequences at a time; a larger batch is several of these, gradients added up
    std::uint32_t seq = 256;
    std::uint32_t threads = 1;
    bool training = true;     ///< false: no gradient, one layer's activations
    bool accumulate = false;  ///< room for the sum of several gradients
    Recompute recompute = Recompute::none;
    /// Attention probabilities that are not kept are computed in blocks of heads of about this size.
    std::uint64_t attention_block_bytes = std::uint64_t{256} << 20;

    friend bool operator==(const WorkspacePlan&, const WorkspacePlan&) = default;
};

/// A part of the workspace: its place, and its size in bytes.
struct Room {
    std::uint64_t offset = 0, bytes = 0;
};

/// Places of everything a model needs beside the weights and the optimizer's state. n = micro_batch * seq rows; "layers" is
/// 1 where layers are computed again. Element sizes: E is the model's precision, the rest is float.
struct WorkspaceLayout {
    Room x_in, x_mid;                                   ///< residual stream [layers + 1, n, d], [layers, n, d]
    Room inv1, inv2, inv_last, row_loss;                ///< [layers, n], [layers, n], [n], [n]
    Room h1, h2, q, k, v, heads_out, gate_up, p;        ///< kept activations, E
    Room qkv, y, s, out, last, logits;                  ///< of one layer, and the head; E
    Room d_h, d_cast, d_out, d_p, d_q, d_k, d_v;        ///< of the backward pass, E
    Room dx, scratch, rope;                             ///< [n, d], [threads, d], [seq, head_dim]
    Room gradient, accumulator;                         ///< [P] E, [P] float
    std::uint64_t bytes = 0;                            ///< of all
    std::uint64_t block = 0;                            ///< (sequence, key head) groups of attention handled at a time
    bool keep_attention = false;                        ///< the probabilities stay until the backward pass
    bool keep_layers = false;                           ///< every layer has activations of its own
};

/// `model` has passed `check`.
WorkspaceLayout make_workspace_layout(const ModelConfig& model, const WorkspacePlan& plan);

/// Bytes of a trainer process that trains, by what they are for.
struct TrainerMemory {
    std::uint64_t weights = 0;    ///< the global ones (shared with the agent), the local ones, their bf16 copy
    std::uint64_t optimizer = 0;  ///< m and v
    std::uint64_t workspace = 0;  ///< gradients and activations
    std::uint64_t program = 0;    ///< libtorch and what its products allocate for themselves
    std::uint64_t total = 0;
};

/// What the trainer needs with this plan.
TrainerMemory trainer_memory(const ModelConfig& model, const WorkspacePlan& plan);

}  // namespace skerry::node
