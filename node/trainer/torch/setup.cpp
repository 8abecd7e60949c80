#include "node/trainer/torch/setup.hpp"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>

#include "node/trainer/torch/buffers.hpp"
#include "node/trainer/torch/products.hpp"
#include "node/trainer/trainer_memory.hpp"

namespace skerry::node {
namespace {

// Products of normal numbers, 384 deep: elements of about 20. Rounding to bf16 alone costs up to 0.25, inputs that were rounded unasked 0.1.
constexpr double kFloatError = 1e-3, kBf16Error = 1.0;

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

struct Tried {
    double seconds = std::numeric_limits<double>::infinity(), error = std::numeric_limits<double>::infinity();

    bool good(double bar) const { return error <= bar; }
    double gflops(double gflop) const { return gflop / seconds; }
};

/// What the products of a device are good for.
void judge(Setup& out, const Tried& fp32, const Tried& bf16, double gflop) {
    out.bf16_is_faster = bf16.good(kBf16Error) && bf16.seconds < 0.7 * fp32.seconds;
    out.fp32_gflops = fp32.gflops(gflop);
    out.bf16_gflops = bf16.gflops(gflop);
    out.fp32_error = fp32.error;
    out.bf16_error = bf16.error;
}

/// Factors of one product and its result in double.
class Sample {
  public:
    Sample(long rows, long columns) : a(at::randn({rows, 384})), b(at::randn({384, columns})), right_(at::mm(a.to(at::kDouble), b.to(at::kDouble))) {}

    /// Best time of several runs of `product`, which leaves its result in `out`.
    template <class Product>
    Tried run(const at::Tensor& out, const Product& product) const {
        Tried tried;
        const bool cuda = out.is_cuda();
        for (int i = 0; i < 12; ++i) {
            if (cuda) torch::cuda::synchronize();
            const auto begin = std::chrono::steady_clock::now();
            product();
            if (cuda) torch::cuda::synchronize();
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
            tried.seconds = std::min(tried.seconds, took.count());
        }
        tried.error = (out.to(at::kCPU, at::kDouble) - right_).abs().max().item<double>();
        return tried;
    }
    double gflop() const { return 2e-9 * static_cast<double>(a.size(0)) * 384 * static_cast<double>(b.size(1)); }

    const at::Tensor a, b;

  private:
    at::Tensor right_;
};

Setup try_cpu() {
    const Sample sample(512, 384);
    Setup out;
    auto wide = at::randn({512, 384});
    const auto product = [&] { at::mm_out(wide, sample.a, sample.b); };
    const Tried mkl = sample.run(wide, product);
    // "bf16 allowed" lets oneDNN take float products; where it really computes in bf16 the error tells, and the default stays.
    const bool allowed = allow_onednn_fp32(true);
    const Tried onednn = sample.run(wide, product);
    out.onednn_fp32 = allowed && onednn.good(kFloatError) && onednn.seconds < 0.9 * mkl.seconds;
    allow_onednn_fp32(out.onednn_fp32);
    const Tried fp32 = out.onednn_fp32 ? onednn : mkl;

    const auto a16 = sample.a.to(at::kBFloat16), b16 = sample.b.to(at::kBFloat16);
    auto narrow = wide.to(at::kBFloat16);
    const Tried native = sample.run(narrow, [&] { Products(nullptr).mm(narrow, a16, b16); });
    const Buffer<float> tiles(kTileFloats);
    const Tried in_float = sample.run(narrow, [&] { Products(tiles.data()).mm(narrow, a16, b16); });
    out.bf16_in_float = !native.good(kBf16Error) || (in_float.good(kBf16Error) && in_float.seconds < 0.9 * native.seconds);
    const Tried bf16 = out.bf16_in_float ? in_float : native;

    judge(out, fp32, bf16, sample.gflop());
    return out;
}

/// Errors: config_invalid if there is no GPU, or it does not multiply right.
Result<Setup> try_cuda() {
    if (!torch::cuda::is_available()) return fail(Errc::config_invalid, "this machine's libtorch finds no CUDA GPU", "[trainer] path = \"auto\" in node.toml");
    try {
        const Sample sample(4096, 4096);
        const at::Device gpu(at::kCUDA, 0);
        const auto a = sample.a.to(gpu), b = sample.b.to(gpu);
        auto wide = at::mm(a, b);
        const Tried fp32 = sample.run(wide, [&] { at::mm_out(wide, a, b); });
        const auto a16 = a.to(at::kBFloat16), b16 = b.to(at::kBFloat16);
        auto narrow = at::mm(a16, b16);
        const Tried bf16 = sample.run(narrow, [&] { at::mm_out(narrow, a16, b16); });
        if (!fp32.good(kFloatError)) return fail(Errc::config_invalid, "the GPU's float products are wrong by up to " + std::to_string(fp32.error));
        Setup out;
        out.path = TrainerPath::cuda;
        judge(out, fp32, bf16, sample.gflop());
        return out;
    } catch (const std::exception& e) {
        const std::string what = e.what();
        return fail(Errc::config_invalid, "the GPU does not work: " + what.substr(0, what.find('\n')));
    }
}

}  // namespace

const char* Setup::products(bool in_bf16) const {
    if (path == TrainerPath::cuda) return in_bf16 ? "bf16 (CUDA)" : "float (CUDA)";
    const bool wide = !in_bf16 || (path == TrainerPath::fast && bf16_in_float);
    return !wide ? "bf16" : onednn_fp32 ? "float (oneDNN)" : "float";
}

Result<Setup> set_up_torch(std::uint32_t threads, TrainerPath wish) {
    at::set_num_threads(static_cast<int>(threads));
    at::globalContext().setFlushDenormal(true);  // threads made from now on inherit it
    const c10::InferenceMode guard;
    if (wish == TrainerPath::cuda || (wish == TrainerPath::automatic && torch::cuda::is_available())) {
        auto cuda = try_cuda();
        if (cuda || wish == TrainerPath::cuda) return cuda;
    }
    Setup out = try_cpu();
    if (wish == TrainerPath::autograd) out.path = wish;
    return out;
}

}  // namespace skerry::node
