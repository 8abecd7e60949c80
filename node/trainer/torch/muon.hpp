#pragma once
// Muon's iteration on any device. Torch inside; internal to the optimizers.

#include <ATen/core/Tensor.h>

namespace skerry::node {

/// Five rounds of the quintic Newton-Schulz iteration: brings the singular values of each matrix of x [n, rows, columns],
/// whose norm is at most 1, near 1. Returns where the result is: x or `next`. gram, square: [n, s, s], s the smaller side.
at::Tensor orthogonal(at::Tensor x, at::Tensor next, at::Tensor gram, at::Tensor square);

}  // namespace skerry::node
