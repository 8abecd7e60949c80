#pragma once
// The weighted mean of contributions, bit for bit alike on every owner.

#include <cstdint>
#include <span>
#include <vector>

#include "node/compress/codec.hpp"

namespace skerry::node {

/// Weighted mean of one piece in plan order, each operation rounded to float32:
/// acc = 0; acc = acc + float(w_i) * x_i; acc / float(sum w).
///
/// One object per owned piece: add() the participants in plan order, then finish(). It never sums a
/// subset by itself: the caller adds all or throws it away. Any thread, one at a time.
class MeanBuilder {
  public:
    /// [elements] float32 of scratch, zeroed.
    explicit MeanBuilder(std::size_t elements) : sum_(elements, 0.0F) {}

    /// Adds the next participant's validated chunk.
    void add(const Codec& codec, ByteSpan chunk, std::uint64_t weight);
    /// The same for values that are not encoded; `values` has as many elements as the piece.
    void add(std::span<const float> values, std::uint64_t weight);

    /// Divides by the integer total of the weights. Needs at least one add() with a weight above
    /// zero. The span is valid until the object dies.
    std::span<const float> finish();
    std::uint64_t total_weight() const { return total_; }

  private:
    std::vector<float> sum_;
    std::uint64_t total_ = 0;
};

}  // namespace skerry::node
