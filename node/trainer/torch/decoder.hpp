#pragma once
// Token by token through a model: keys and values of what was read are kept, so that a further token costs one row. No torch in this header.

#include <cstdint>
#include <memory>
#include <span>

#include "node/trainer/torch/model.hpp"

namespace skerry::node {

/// One context of at most `capacity` tokens. One thread calls it; it uses torch's threads inside.
class Decoder {
  public:
    virtual ~Decoder() = default;

    /// Reads `tokens` (one or more, within the capacity, ids below the vocabulary) behind what it has read. Writes the logits that follow
    /// the last to `logits` [vocab_size]. The weights are those of all calls since `clear`.
    virtual void feed(const Weights& weights, std::span<const std::uint32_t> tokens, std::span<float> logits) = 0;
    /// Forgets the context.
    virtual void clear() = 0;
    virtual std::uint32_t length() const = 0;  ///< tokens read
};

/// Memory: two vectors of kv_heads * head_dim in the model's precision for each layer and token. Throws std::bad_alloc.
std::unique_ptr<Decoder> make_decoder(const ModelConfig& config, bool bf16, std::uint32_t capacity);

}  // namespace skerry::node
