#pragma once
// Element-wise loops on windows of the flat vector: what every replica computes alike, bit for bit.
// No contraction, no reordering; each operation is rounded to float32. All spans of a call have one
// length. Any thread; the caller owns the buffers for the duration of the call.

#include <span>

#include "protocol/base/result.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// m = mu * m + mean; theta = theta - eta * (mean + mu * m). PyTorch's Nesterov, m starts at zero.
void apply_outer_step(std::span<float> theta, std::span<float> momentum,
                      std::span<const float> mean, const OuterHyper& hyper);

/// delta = theta - local (the pseudo-gradient). Returns the sum of squares in double, in index
/// order. errors  not_finite: NaN, Inf or a magnitude no codec accepts; `delta` is then
/// unspecified.
Result<double> compute_delta(std::span<const float> theta, std::span<const float> local,
                             std::span<float> delta);

}  // namespace skerry::node
