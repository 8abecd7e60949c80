#include "node/trainer/torch/products.hpp"

#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <cstdint>

#include "node/trainer/torch/kernels.hpp"
#include "node/trainer/torch/views.hpp"
#include "node/trainer/trainer_memory.hpp"

namespace skerry::node {
namespace {

constexpr auto kRows = static_cast<long>(kTileRows);
constexpr auto kColumns = static_cast<long>(kTileColumns);
constexpr auto kDepth = static_cast<long>(kTileDepth);

/// A bf16 matrix as it lies in memory: rows of `stride`, maybe read as its transpose.
struct Stored {
    Bf16* data;
    long stride;
    bool transposed;

    explicit Stored(const at::Tensor& t)
        : data(static_cast<Bf16*>(t.data_ptr())),
          stride(t.stride(-1) == 1 ? t.stride(-2) : t.stride(-1)),
          transposed(t.stride(-1) != 1) {}

    /// Elements [row, row + rows) x [column, column + columns) in float, at `to`.
    at::Tensor tile(float* to, long row, long rows, long column, long columns) const {
        const auto& k = kernel_set<Bf16>();
        if (transposed) {
            k.widen(data + column * stride + row, stride, to, columns, rows);
            return view(static_cast<const float*>(to), {columns, rows}).t();
        }
        k.widen(data + row * stride + column, stride, to, rows, columns);
        return view(static_cast<const float*>(to), {rows, columns});
    }
};

struct Tiles {
    float *a, *b, *c;
    explicit Tiles(float* all) : a(all), b(a + kRows * kDepth), c(b + kDepth * kColumns) {}
};

void mm_in_tiles(const Stored& out, const Stored& a, const Stored& b, const at::Tensor& bias, long m, long n,
                 long depth, const Tiles& tiles) {
    for (long j = 0; j < n; j += kColumns) {
        const long columns = std::min(kColumns, n - j);
        at::Tensor right, add;
        if (bias.defined()) add = bias.narrow(0, j, columns).to(at::kFloat);
        for (long i = 0; i < m; i += kRows) {
            const long rows = std::min(kRows, m - i);
            auto sum = view(static_cast<const float*>(tiles.c), {rows, columns});
            for (long k = 0; k < depth; k += kDepth) {
                const long deep = std::min(kDepth, depth - k);
                if (i == 0 || depth > kDepth) right = b.tile(tiles.b, k, deep, j, columns);
                const auto left = a.tile(tiles.a, i, rows, k, deep);
                if (k > 0)
                    at::addmm_out(sum, sum, left, right);
                else if (add.defined())
                    at::addmm_out(sum, add, left, right);
                else
                    at::mm_out(sum, left, right);
            }
            kernel_set<Bf16>().narrow(tiles.c, out.data + i * out.stride + j, out.stride, rows, columns);
        }
    }
}

/// Matrices [g, g + count) of a stack in float; each is dense.
at::Tensor widened(const at::Tensor& t, long g, long count, float* to) {
    const Stored first(t);
    const long rows = t.size(first.transposed ? 2 : 1);
    const long columns = t.size(first.transposed ? 1 : 2);
    kernel_set<Bf16>().widen(first.data + g * rows * columns, columns, to, count * rows, columns);
    auto all = view(static_cast<const float*>(to), {count, rows, columns});
    return first.transposed ? all.transpose(1, 2) : all;
}

}  // namespace

void Products::mm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) const {
    auto result = out;
    if (tiles_ != nullptr && out.scalar_type() == at::kBFloat16)
        mm_in_tiles(Stored(out), Stored(a), Stored(b), bias, out.size(0), out.size(1), a.size(1), Tiles(tiles_));
    else if (bias.defined())
        at::addmm_out(result, bias, a, b);
    else
        at::mm_out(result, a, b);
}

void Products::bmm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const {
    auto result = out;
    if (tiles_ == nullptr || out.scalar_type() != at::kBFloat16) {
        at::bmm_out(result, a, b);
        return;
    }
    const long m = out.size(1), n = out.size(2), depth = a.size(2);
    const Tiles tiles(tiles_);
    const long fit = std::min({kRows * kDepth / (m * depth), kDepth * kColumns / (depth * n), kRows * kColumns / (m * n)});
    if (fit == 0) {
        for (long g = 0; g < out.size(0); ++g) mm(out.select(0, g), a.select(0, g), b.select(0, g));
        return;
    }
    for (long g = 0; g < out.size(0); g += fit) {
        const long count = std::min<long>(fit, out.size(0) - g);
        auto sum = view(static_cast<const float*>(tiles.c), {count, m, n});
        at::bmm_out(sum, widened(a, g, count, tiles.a), widened(b, g, count, tiles.b));
        const Stored to(out);
        kernel_set<Bf16>().narrow(tiles.c, to.data + g * m * n, n, count * m, n);
    }
}

}  // namespace skerry::node
