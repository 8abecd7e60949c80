#pragma once
// What a trainer of our own needs of the machine's memory, before it is started. Pure, no torch.
//
// The same layout is what the trainer allocates (node/trainer/torch/workspace.hpp), so the two cannot drift apart.

#include <cmath>
#include <cstdint>
#include <vector>

#include "node/model_folder/model_config.hpp"
#include "node/trainer/train_config.hpp"

namespace skerry::node {

/// How the work of one inner step is cut.
struct WorkspacePlan {
    bool autograd = false;          ///< libtorch's autograd; what it keeps is its own affair, and is estimated
    bool bf16 = false;
    bool in_float = false;          ///< bf16 products computed as float ones of widened tiles and of the float weights
    std::uint32_t micro_batch = 1;  ///< sequences at a time; a larger batch is several of these, gradients added up
    std::uint32_t seq = 256;
    std::uint32_t threads = 1;
    bool training = true;     ///< false: no gradient, one layer's activations
    bool accumulate = false;  ///< room for the sum of several gradients
    Recompute recompute = Recompute::none;  ///< not automatic
    /// Attention probabilities that are not kept are computed in blocks of heads of about this size.
    std::uint64_t attention_block_bytes = std::uint64_t{256} << 20;

    friend bool operator==(const WorkspacePlan&, const WorkspacePlan&) = default;
};

/// The tiles of a product computed in float: left factor, right factor, result.
constexpr std::uint64_t kTileRows = 512, kTileColumns = 1024, kTileDepth = 2048;
constexpr std::uint64_t kTileFloats = kTileRows * kTileDepth + kTileDepth * kTileColumns + kTileRows * kTileColumns;

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
    Room tiles;                                         ///< [threads, kTileFloats], where bf16 is widened
    std::uint64_t bytes = 0;                            ///< of all
    std::uint64_t block = 0;                            ///< (sequence, key head) groups of attention handled at a time
    bool keep_attention = false;                        ///< the probabilities stay until the backward pass
    bool keep_layers = false;                           ///< every layer has activations of its own
};

/// Of the hand-written passes. `model` has passed `check`.
WorkspaceLayout make_workspace_layout(const ModelConfig& model, const WorkspacePlan& plan);

/// Matrices of one shape that Muon handles together: `tensors` are indices into the tensor table, `at_once` of them at a time.
struct MuonGroup {
    std::uint64_t rows = 0, columns = 0;
    std::vector<std::uint32_t> tensors;
    std::uint64_t at_once = 1;

    std::uint64_t small() const { return rows < columns ? rows : columns; }
    /// Of the update, its next round and two products, for one matrix.
    std::uint64_t elements_each() const { return 2 * rows * columns + 2 * small() * small(); }
    /// Times the rate: so an update has about the same root mean square whatever the matrix's shape.
    double update_scale() const { return rows > columns ? std::sqrt(static_cast<double>(rows) / static_cast<double>(columns)) : 1.0; }
};
/// The matrices of the layers; everything else (embedding, head, norms) is AdamW's.
std::vector<MuonGroup> muon_groups(const ModelConfig& model);

/// Bytes of a trainer process that trains, by what they are for.
struct TrainerMemory {
    std::uint64_t weights = 0;    ///< the global ones (shared with the agent), the local ones, their bf16 copy
    std::uint64_t optimizer = 0;  ///< its state and its scratch
    std::uint64_t workspace = 0;  ///< gradients and activations
    std::uint64_t program = 0;    ///< libtorch and what its products allocate for themselves
    std::uint64_t total = 0;
};

/// What the trainer needs with this plan.
TrainerMemory trainer_memory(const ModelConfig& model, const TrainConfig& train, const WorkspacePlan& plan);

/// Every way to cut a step that `train` allows, the fastest first: smaller micro-batches, then with more computed again.
/// `base` says precision and threads.
std::vector<WorkspacePlan> workspace_plans(const TrainConfig& train, const WorkspacePlan& base);

/// The first of `plans` that needs at most `available` bytes; plans.size() if none does.
std::size_t first_that_fits(const ModelConfig& model, const TrainConfig& train, const std::vector<WorkspacePlan>& plans,
                            std::uint64_t available);

/// The same for somebody who has not asked the trainer: what it would need if it chose precision `bf16`, with at most
/// `available` bytes (0: no limit). Where nothing fits: the least.
TrainerMemory trainer_memory(const ModelConfig& model, const TrainConfig& train, bool bf16, std::uint32_t threads,
                             std::uint64_t available);

}  // namespace skerry::node
