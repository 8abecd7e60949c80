#pragma once
// The self-test at the start: which path this machine takes, and which products are right and fast on it. No torch in this header.

#include <cstdint>
#include <string>

#include "node/trainer/train_config.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

struct Setup {
    TrainerPath path = TrainerPath::fast;  ///< never automatic
    bool onednn_fp32 = false;     ///< oneDNN may do float products
    bool bf16_in_float = false;   ///< bf16 matrices are multiplied faster when widened (fast path)
    bool bf16_is_faster = false;  ///< than float, for the step as a whole
    double fp32_gflops = 0, bf16_gflops = 0;  ///< of one product, each the faster way
    double fp32_error = 0, bf16_error = 0;    ///< of these products' elements, largest, against double; their root mean square is about 20

    const char* device() const { return path == TrainerPath::cuda ? "cuda:0" : "cpu"; }
    bool bf16(Precision wish) const { return wish == Precision::bf16 || (wish == Precision::automatic && bf16_is_faster); }
    const char* products(bool in_bf16) const;
    double gflops(bool in_bf16) const { return in_bf16 ? bf16_gflops : fp32_gflops; }
};

/// Called once before any model; sets torch's threads. Takes about 50 ms, and on CUDA what its start takes.
/// Errors: config_invalid where `wish` is cuda and there is no GPU that works.
Result<Setup> set_up_torch(std::uint32_t threads, TrainerPath wish);

}  // namespace skerry::node
