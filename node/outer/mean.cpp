#include "node/outer/mean.hpp"

#include "protocol/base/assert.hpp"

namespace skerry::node {

void MeanBuilder::add(const Codec& codec, ByteSpan chunk, std::uint64_t weight) {
    codec.accumulate(chunk, static_cast<float>(weight), sum_);
    total_ += weight;
}

void MeanBuilder::add(std::span<const float> values, std::uint64_t weight) {
    SKERRY_ASSERT(values.size() == sum_.size());
    auto factor = static_cast<float>(weight);
    const float* x = values.data();
    float* acc = sum_.data();
    for (std::size_t i = 0; i < sum_.size(); ++i) acc[i] = acc[i] + factor * x[i];
    total_ += weight;
}

std::span<const float> MeanBuilder::finish() {
    SKERRY_ASSERT(total_ > 0);
    auto divisor = static_cast<float>(total_);
    for (float& value : sum_) value = value / divisor;
    return sum_;
}

}  // namespace skerry::node
