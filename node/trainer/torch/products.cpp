#include "node/trainer/torch/products.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "node/trainer/torch/kernels.hpp"
#include "node/trainer/torch/views.hpp"
#include "node/trainer/trainer_memory.hpp"
#include "protocol/base/assert.hpp"

namespace skerry::node {
namespace {

constexpr auto kRows = static_cast<long>(kTileRows);
constexpr auto kColumns = static_cast<long>(kTileColumns);
constexpr auto kDepth = static_cast<long>(kTileDepth);

template <class E>
E* data(const at::Tensor& t) {
    return static_cast<E*>(t.data_ptr());
}

/// A factor as it lies in memory, maybe read as its transpose.
struct Factor {
    at::Tensor whole;
    bool wide;  ///< float: read where it is
    bool transposed;
    long stride;

    explicit Factor(const at::Tensor& t)
        : whole(t),
          wide(t.scalar_type() == at::kFloat),
          transposed(t.stride(-1) != 1),
          stride(transposed ? t.stride(-1) : t.stride(-2)) {}

    /// Elements [row, row + rows) x [column, column + columns) in float; what has to be widened is, at `to`.
    at::Tensor tile(float* to, long row, long rows, long column, long columns) const {
        if (wide) return whole.narrow(0, row, rows).narrow(1, column, columns);
        const auto& k = kernel_set<Bf16>();
        const Bf16* from = data<Bf16>(whole);
        if (transposed) {
            k.widen(from + column * stride + row, stride, to, columns, rows);
            return view(static_cast<const float*>(to), {columns, rows}).t();
        }
        k.widen(from + row * stride + column, stride, to, rows, columns);
        return view(static_cast<const float*>(to), {rows, columns});
    }
};

/// One set for each thread.
struct TileSets {
    float* first;
    long count;
};

struct Tiles {
    float *a, *b, *c;
    explicit Tiles(float* all) : a(all), b(a + kRows * kDepth), c(b + kDepth * kColumns) {}
};

/// Calls work(begin, end, tiles) for parts of [0, jobs), each on a thread of its own with tiles of its own: one meeting of the threads for
/// all jobs, not several for each.
template <class Work>
void share_out(long jobs, const TileSets& sets, const Work& work) {
    if (sets.count == 1 || jobs == 1) {
        work(0, jobs, Tiles(sets.first));
        return;
    }
    const long each = (jobs + sets.count - 1) / sets.count;
    at::parallel_for(0, sets.count, 1, [&](int64_t from, int64_t to) {
        const c10::InferenceMode guard;
        for (long i = from; i < to && i * each < jobs; ++i)
            work(i * each, std::min(jobs, (i + 1) * each), Tiles(sets.first + i * static_cast<long>(kTileFloats)));
    });
}

void mm_in_tiles(const at::Tensor& out, const Factor& a, const Factor& b, const at::Tensor& bias, const TileSets& sets) {
    const long m = out.size(0), n = out.size(1), depth = a.whole.size(1);
    const bool one_piece = depth <= kDepth;
    const long across = (n + kColumns - 1) / kColumns;
    // As many rows of tiles as give every thread the same work.
    const long down = ((m + kRows - 1) / kRows + sets.count - 1) / sets.count * sets.count;
    const long height = (m + down - 1) / down;
    share_out((m + height - 1) / height * across, sets, [&](long begin, long end, const Tiles& tiles) {
        at::Tensor left, right;
        for (long job = begin; job < end; ++job) {
            const long i = job / across * height, j = job % across * kColumns;
            const long rows = std::min(height, m - i), columns = std::min(kColumns, n - j);
            auto sum = view(static_cast<const float*>(tiles.c), {rows, columns});
            for (long k = 0; k < depth; k += kDepth) {
                const long deep = std::min(kDepth, depth - k);
                if (job == begin || j == 0 || !one_piece) left = a.tile(tiles.a, i, rows, k, deep);
                if (job == begin || across > 1 || !one_piece) right = b.tile(tiles.b, k, deep, j, columns);
                if (k > 0)
                    at::addmm_out(sum, sum, left, right);
                else if (bias.defined())
                    at::addmm_out(sum, bias.narrow(0, j, columns).to(at::kFloat), left, right);
                else
                    at::mm_out(sum, left, right);
            }
            kernel_set<Bf16>().narrow(tiles.c, data<Bf16>(out) + i * n + j, n, rows, columns);
        }
    });
}

/// Matrices [g, g + count) of a stack in float; each is dense.
at::Tensor widened(const at::Tensor& t, long g, long count, float* to) {
    const Factor first(t);
    const long rows = t.size(first.transposed ? 2 : 1);
    const long columns = t.size(first.transposed ? 1 : 2);
    kernel_set<Bf16>().widen(data<Bf16>(t) + g * rows * columns, columns, to, count * rows, columns);
    auto all = view(static_cast<const float*>(to), {count, rows, columns});
    return first.transposed ? all.transpose(1, 2) : all;
}

/// How many matrices of these stacks the tiles hold; 0: not one.
long fitting(const at::Tensor& out, const at::Tensor& a) {
    const long m = out.size(1), n = out.size(2), depth = a.size(2);
    return std::min({kRows * kDepth / (m * depth), kDepth * kColumns / (depth * n), kRows * kColumns / (m * n)});
}

/// The product of a stack in float, as many matrices at a time as fit (at least one). `finish(tiles, g, count)` is called for matrices
/// [g, g + count), which lie in tiles.c; then they are rounded.
template <class Finish>
void bmm_in_tiles(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, const TileSets& sets, const Finish& finish) {
    const long m = out.size(1), n = out.size(2), fit = fitting(out, a);
    share_out(out.size(0), sets, [&](long begin, long end, const Tiles& tiles) {
        for (long g = begin; g < end; g += fit) {
            const long count = std::min(fit, end - g);
            auto sum = view(static_cast<const float*>(tiles.c), {count, m, n});
            at::bmm_out(sum, widened(a, g, count, tiles.a), widened(b, g, count, tiles.b));
            finish(tiles, g, count);
            kernel_set<Bf16>().narrow(tiles.c, data<Bf16>(out) + g * m * n, n, count * m, n);
        }
    });
}

/// Probabilities of one matrix: whole heads, or some rows of one head at a time. Those see no column after the last one's own, so
/// such are not computed.
void probabilities_in_rows(const at::Tensor& p, const at::Tensor& q, const at::Tensor& kt, float scale, long queries, const Tiles& tiles) {
    const long all = p.size(0), columns = p.size(1), depth = q.size(1), width = kDepth * kColumns / depth;
    const long fit = std::min(kRows * kColumns / columns, kRows * kDepth / depth);
    SKERRY_ASSERT(fit > 0 && width > 0);
    const Factor left(q), right(kt);
    long rows = 0;
    for (long row = 0; row < all; row += rows) {
        const long first = row % queries;  // in its head
        rows = fit >= queries ? std::min(fit / queries * queries, all - row) : std::min(fit, queries - first);
        const long seen = fit >= queries ? columns : columns - queries + first + rows;
        const auto scores = view(static_cast<const float*>(tiles.c), {rows, seen});
        const auto some = left.tile(tiles.a, row, rows, 0, depth);
        for (long j = 0; j < seen; j += width) {
            auto part = scores.narrow(1, j, std::min(width, seen - j));
            at::mm_out(part, some, right.tile(tiles.b, 0, depth, j, part.size(1)));
        }
        kernel_set<float>().softmax_past(tiles.c, scale, rows, std::min(rows, queries), seen);
        Bf16* to = data<Bf16>(p) + row * columns;
        kernel_set<Bf16>().narrow(tiles.c, to, columns, rows, seen);
        for (long r = 0; r < rows; ++r) std::fill(to + r * columns + seen, to + (r + 1) * columns, Bf16{0});
    }
}

}  // namespace

void Products::mm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) const {
    auto result = out;
    if (in_float_ && out.scalar_type() == at::kBFloat16)
        mm_in_tiles(out, Factor(a), Factor(b), bias, {tiles_, threads_});
    else if (bias.defined())
        at::addmm_out(result, bias, a, b);
    else
        at::mm_out(result, a, b);
}

void Products::bmm(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const {
    auto result = out;
    if (!in_float_ || out.scalar_type() != at::kBFloat16)
        at::bmm_out(result, a, b);
    else if (fitting(out, a) > 0)
        bmm_in_tiles(out, a, b, {tiles_, threads_}, [](const Tiles&, long, long) {});
    else
        for (long g = 0; g < out.size(0); ++g) mm(out.select(0, g), a.select(0, g), b.select(0, g));
}

void Products::probabilities(const at::Tensor& p, const at::Tensor& q, const at::Tensor& kt, float scale, long queries) const {
    const long m = p.size(1), columns = p.size(2);
    if (p.scalar_type() == at::kFloat) {
        bmm(p, q, kt);
        kernel_set<float>().softmax_past(data<float>(p), scale, p.size(0) * m, queries, columns);
        return;
    }
    SKERRY_ASSERT(tiles_ != nullptr);
    const bool dense = kt.transpose(1, 2).is_contiguous();
    if (dense && fitting(p, q) > 0)
        bmm_in_tiles(p, q, kt, {tiles_, threads_}, [&](const Tiles& tiles, long, long count) {
            kernel_set<float>().softmax_past(tiles.c, scale, count * m, queries, columns);
        });
    else
        for (long g = 0; g < p.size(0); ++g)
            probabilities_in_rows(p.select(0, g), q.select(0, g), kt.select(0, g), scale, queries, Tiles(tiles_));
}

void Products::d_scores(const at::Tensor& ds, const at::Tensor& p, const at::Tensor& d_out, const at::Tensor& vt, float scale) const {
    const long m = p.size(1), t = p.size(2), rows = p.size(0) * m;
    if (in_float_ && p.scalar_type() == at::kBFloat16 && fitting(ds, d_out) > 0) {
        bmm_in_tiles(ds, d_out, vt, {tiles_, threads_}, [&](const Tiles& tiles, long g, long count) {
            // The right factor is not needed any more, and its tile holds more than a result.
            kernel_set<Bf16>().widen(data<Bf16>(p) + g * m * t, t, tiles.b, count * m, t);
            kernel_set<float>().softmax_backward(tiles.b, tiles.c, scale, count * m, t);
        });
        return;
    }
    bmm(ds, d_out, vt);
    if (p.scalar_type() == at::kBFloat16)
        kernel_set<Bf16>().softmax_backward(data<Bf16>(p), data<Bf16>(ds), scale, rows, t);
    else
        kernel_set<float>().softmax_backward(data<float>(p), data<float>(ds), scale, rows, t);
}

}  // namespace skerry::node
