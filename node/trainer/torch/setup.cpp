// Threads, and which of torch's float and bf16 products are right and fast on this processor.

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "node/trainer/torch/buffers.hpp"
#include "node/trainer/torch/model.hpp"
#include "node/trainer/torch/products.hpp"

namespace skerry::node {
namespace {

/// False where this libtorch has no such switch (before 2.10 it has another form).
bool allow_onednn_fp32([[maybe_unused]] bool allow) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 10
    at::globalContext().setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL,
                                            allow ? at::Float32Precision::BF16 : at::Float32Precision::IEEE);
    return true;
#else
    return false;
#endif
}

/// Best of several runs, in seconds.
template <class Run>
double best_of(const Run& run) {
    double best = 1e9;
    for (int i = 0; i < 12; ++i) {
        const auto begin = std::chrono::steady_clock::now();
        run();
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
        best = std::min(best, took.count());
    }
    return best;
}

/// Largest |x - y|.
double error(const at::Tensor& x, const at::Tensor& y) {
    const auto* a = x.const_data_ptr<float>();
    const auto* b = y.const_data_ptr<float>();
    double worst = 0;
    for (int64_t i = 0; i < x.numel(); ++i) worst = std::max(worst, std::abs(double{a[i]} - double{b[i]}));
    return worst;
}

}  // namespace

Setup set_up_torch(std::uint32_t threads) {
    at::set_num_threads(static_cast<int>(threads));
    at::globalContext().setFlushDenormal(true);  // threads made from now on inherit it
    c10::InferenceMode guard;
    const auto a = at::randn({512, 384});
    const auto b = at::randn({384, 384});
    auto mkl = at::randn({512, 384});
    auto onednn = at::randn({512, 384});
    const double mkl_s = best_of([&] { at::mm_out(mkl, a, b); });

    // "bf16 allowed" lets oneDNN take float products; where it really computes in bf16 the error tells
    // (about 1e-1 here against 1e-4), and the default stays.
    Setup out;
    const bool allowed = allow_onednn_fp32(true);
    const double onednn_s = best_of([&] { at::mm_out(onednn, a, b); });
    out.onednn_fp32 = allowed && error(mkl, onednn) < 1e-3 && onednn_s < 0.9 * mkl_s;
    allow_onednn_fp32(out.onednn_fp32);

    const auto a16 = a.to(at::kBFloat16);
    const auto b16 = b.to(at::kBFloat16);
    auto out16 = mkl.to(at::kBFloat16);
    const double native_s = best_of([&] { Products(nullptr).mm(out16, a16, b16); });
    const Buffer<float> tiles(kTileFloats);
    const double in_float_s = best_of([&] { Products(tiles.data()).mm(out16, a16, b16); });
    out.bf16_in_float = in_float_s < 0.9 * native_s;

    const double bf16_s = std::min(native_s, in_float_s);
    const double fp32_s = out.onednn_fp32 ? onednn_s : mkl_s;
    constexpr double kGflop = 2e-9 * 512 * 384 * 384;
    out.bf16_is_faster = bf16_s < 0.7 * fp32_s;
    out.fp32_gflops = kGflop / fp32_s;
    out.bf16_gflops = kGflop / bf16_s;
    return out;
}

}  // namespace skerry::node
