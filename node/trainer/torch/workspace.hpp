#pragma once
// One mapping with all that a model needs beside its weights, laid out as trainer_memory.hpp says. No torch.

#include <cmath>
#include <type_traits>
#include <utility>

#include "node/trainer/torch/buffers.hpp"
#include "node/trainer/torch/kernels.hpp"
#include "node/trainer/trainer_memory.hpp"

namespace skerry::node {

/// The model's sizes as the signed numbers that kernels and views take.
struct Dimensions {
    long t, d, f, vocab, heads, kv, hd, layers;
    long group;     ///< query heads per key head
    long max_rows;  ///< micro_batch * t

    Dimensions(const ModelConfig& model, const WorkspacePlan& plan)
        : t(plan.seq),
          d(model.hidden_size),
          f(model.intermediate_size),
          vocab(model.vocab_size),
          heads(model.num_attention_heads),
          kv(model.num_key_value_heads),
          hd(model.head_dim),
          layers(model.num_hidden_layers),
          group(heads / kv),
          max_rows(static_cast<long>(plan.micro_batch) * t) {}

    long qkv_width() const { return (heads + 2 * kv) * hd; }
    HeadDims head_dims(long batch) const { return {batch, t, heads, kv, hd}; }
};

/// E: float or Bf16. Throws std::bad_alloc.
template <class E>
class Workspace {
  public:
    Workspace(const ModelConfig& model, const WorkspacePlan& plan)
        : size(model, plan), layout(make_workspace_layout(model, plan)), memory_(layout.bytes) {
        static_assert(sizeof(E) == 2 || std::is_same_v<E, float>);
    }

    E* elements(const Room& room) const { return reinterpret_cast<E*>(memory_.data() + room.offset); }
    float* floats(const Room& room) const { return reinterpret_cast<float*>(memory_.data() + room.offset); }

    /// Where layer l's part of a room of activations begins; the same for all where layers are computed again.
    E* slot(const Room& room, long l, long per_token) const {
        return elements(room) + (layout.keep_layers ? l : 0) * size.max_rows * per_token;
    }
    float* float_slot(const Room& room, long l, long per_token) const {
        return floats(room) + (layout.keep_layers ? l : 0) * size.max_rows * per_token;
    }

    const Dimensions size;
    const WorkspaceLayout layout;

  private:
    Buffer<unsigned char> memory_;
};

}  // namespace skerry::node
