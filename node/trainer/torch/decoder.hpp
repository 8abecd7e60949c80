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
    /// the last to `logits` [vocab_size].
    virtual void feed(std::span<const std::uint32_t> tokens, std::span<float> logits) = 0;
    /// Forgets the context.
    virtual void clear() = 0;
    virtual std::uint32_t length() const = 0;  ///< tokens read
};

/// The prompt is read so many tokens at a time.
constexpr std::uint32_t kDecoderChunk = 128;

/// Of the fast path: in bf16 if `weights` have a shadow; they stay as they are. Memory: two vectors of kv_heads * head_dim in the model's
/// precision for each layer and token. Throws std::bad_alloc.
std::unique_ptr<Decoder> make_decoder(const ModelConfig& config, const Weights& weights, std::uint32_t capacity);

}  // namespace skerry::node
