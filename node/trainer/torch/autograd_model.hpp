#pragma once
// The decoder in libtorch's own operations, differentiated by autograd: the oracle of the hand-written passes, and the model on CUDA. The
// device is that of the weights; nothing here depends on it. Torch inside; internal to autograd_path.cpp.

#include <ATen/core/Tensor.h>

#include <vector>

#include "node/model_folder/tensor_table.hpp"

namespace skerry::node {

/// What one layer has, in the shapes that products take: q, k, v are one matrix, gate and up another. Biases are undefined where the
/// model has none.
struct AutogradLayer {
    at::Tensor norm1, qkv, qkv_bias, o, o_bias, norm2, gate_up, down;
};

struct AutogradWeights {
    at::Tensor embedding, norm, head;  ///< a tied head is the same tensor as the embedding
    std::vector<AutogradLayer> layers;
};

/// Views of `flat` [P] float32. With a `gradient` [P] they are leaves of autograd, and backward passes add to the views of it.
AutogradWeights view_weights(const ModelConfig& config, const at::Tensor& flat, const at::Tensor& gradient);

/// Keys and values of one context in every layer, [1, kv_heads, capacity, head_dim] each.
struct AutogradCache {
    std::vector<at::Tensor> keys, values;
    long length = 0;
};

/// Residual stream, norms, rotary embedding, softmax and loss are float32; products and attention bf16 if asked for, their gradients are
/// added up in float32. All functions may throw what ATen throws.
class AutogradModel {
  public:
    AutogradModel(const ModelConfig& config, bool bf16) : config_(config), bf16_(bf16) {}

    /// ids, targets [batch, seq] int64 on the weights' device; a negative target is none. Returns the sum of the losses, on the device.
    at::Tensor loss(const AutogradWeights& weights, const at::Tensor& ids, const at::Tensor& targets) const;
    /// The same, and adds the gradient of `scale` times it to the weights' gradients. `again`: of a layer only its input is kept and the
    /// rest is computed again, to the same bits.
    at::Tensor loss_and_gradient(const AutogradWeights& weights, const at::Tensor& ids, const at::Tensor& targets, double scale, bool again) const;
    /// Without gradient: logits float32 [batch, seq, vocab_size]; [batch, 1, vocab_size] with a cache, of the last of the tokens `ids`, which follow those in it.
    at::Tensor logits(const AutogradWeights& weights, const at::Tensor& ids, AutogradCache* cache = nullptr) const;

    /// Matrices and biases in the products' precision, once for many calls; no leaves.
    AutogradWeights prepared(const AutogradWeights& weights) const;
    AutogradCache make_cache(long capacity, const at::Tensor& like) const;

  private:
    struct Rope {
        at::Tensor cosines, sines;  ///< [positions, head_dim]
    };
    /// Of positions [from, from + positions), on the device of `like`.
    Rope rope(long from, long positions, const at::Tensor& like) const;
    at::Tensor cast(const at::Tensor& t) const;
    at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) const;
    at::Tensor norm(const at::Tensor& x, const at::Tensor& w) const;
    at::Tensor rotate(const at::Tensor& x, const Rope& rope) const;
    at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const;
    at::Tensor layer(const AutogradLayer& w, const at::Tensor& x, const Rope& rope, AutogradCache* cache, std::size_t index) const;
    at::Tensor head(const AutogradWeights& weights, const at::Tensor& x) const;
    at::Tensor head_loss(const AutogradWeights& weights, const at::Tensor& x, const at::Tensor& targets) const;

    ModelConfig config_;
    bool bf16_;
    mutable Rope rope_;  ///< of all positions that were asked for; made again where more are
};

}  // namespace skerry::node
