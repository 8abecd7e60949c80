#pragma once
// Matrix products of views (torch inside). Internal to the model.

#include <ATen/core/Tensor.h>

namespace skerry::node {

/// ATen's products, or, for bf16 where the processor multiplies floats faster (AVX-512 without AMX on Intel), float products of
/// tiles that are widened on the way in and rounded once on the way out. Factors are contiguous or transposes of
/// contiguous matrices; results contiguous.
class Products {
  public:
    /// tiles: [kTileFloats], or null: ATen's own.
    explicit Products(float* tiles) : tiles_(tiles) {}

    /// out [m, n] = a [m, k] b [k, n], plus `bias` [n] on every row if it is defined.
    void mm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {}) const;
    /// The same for each matrix of a stack.
    void bmm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const;

  private:
    float* tiles_;
};

}  // namespace skerry::node
