#pragma once
// Matrix products of views (torch inside). Internal to the model.

#include <ATen/core/Tensor.h>

namespace skerry::node {

/// ATen's products, or, for bf16 where the processor multiplies floats faster (AVX-512 without AMX on Intel), float products of
/// tiles that are widened on the way in and rounded once on the way out; a factor that is float already (a weight) is taken as it
/// is. Factors are contiguous or transposes of contiguous matrices; results contiguous. Keys may be stacked with gaps.
class Products {
  public:
    /// tiles: [threads, kTileFloats]; null only where nothing is bf16 or all but `probabilities` is ATen's. in_float: products of bf16, too.
    explicit Products(float* tiles, bool in_float = true, long threads = 1)
        : tiles_(tiles), in_float_(in_float && tiles != nullptr), threads_(threads) {}

    /// out [m, n] = a [m, k] b [k, n], plus `bias` [n] on every row if it is defined.
    void mm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias = {}) const;
    /// The same for each matrix of a stack.
    void bmm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const;
    /// Attention's probabilities p [g, heads * queries, T] of queries q and transposed keys kt; the queries are the last of T tokens and
    /// see none after their own. Scores are float in every precision: what all scores of a row have in common changes nothing, but
    /// rounded to bf16 it would take their differences.
    void probabilities(const at::Tensor& p, const at::Tensor& q, const at::Tensor& kt, float scale, long queries) const;
    /// The gradient of the scores, from the probabilities, the gradient of what they weigh, and the transposed values.
    void d_scores(const at::Tensor& ds, const at::Tensor& p, const at::Tensor& d_out, const at::Tensor& vt, float scale) const;

  private:
    float* tiles_;
    bool in_float_;
    long threads_;
};

}  // namespace skerry::node
