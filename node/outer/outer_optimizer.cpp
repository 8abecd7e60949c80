#include "node/outer/outer_optimizer.hpp"

#include <bit>
#include <cstdint>

#include "node/compress/codec.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {

void apply_outer_step(std::span<float> theta, std::span<float> momentum,
                      std::span<const float> mean, const OuterHyper& hyper) {
    SKERRY_ASSERT(theta.size() == momentum.size() && theta.size() == mean.size());
    float* __restrict t = theta.data();
    float* __restrict m = momentum.data();
    const float* __restrict g = mean.data();
    const float eta = hyper.eta;
    const float mu = hyper.mu;
    for (std::size_t i = 0; i < theta.size(); ++i) {
        float velocity = mu * m[i] + g[i];
        m[i] = velocity;
        t[i] = t[i] - eta * (g[i] + mu * velocity);
    }
}

Result<double> compute_delta(std::span<const float> theta, std::span<const float> local,
                             std::span<float> delta) {
    SKERRY_ASSERT(theta.size() == local.size() && theta.size() == delta.size());
    double squares = 0;
    std::int32_t largest = 0;
    for (std::size_t i = 0; i < theta.size(); ++i) {
        float d = theta[i] - local[i];
        delta[i] = d;
        squares += static_cast<double>(d) * static_cast<double>(d);
        std::int32_t magnitude = std::bit_cast<std::int32_t>(d) & 0x7FFFFFFF;
        largest = magnitude > largest ? magnitude : largest;
    }
    if (largest >= std::bit_cast<std::int32_t>(kMagnitudeLimit))
        return fail(Errc::not_finite, "NaN, Inf or a magnitude above 2^64 in theta - local");
    return squares;
}

}  // namespace skerry::node
