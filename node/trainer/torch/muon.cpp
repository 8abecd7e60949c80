#include "node/trainer/torch/muon.hpp"

#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>

#include <utility>

namespace skerry::node {

at::Tensor orthogonal(at::Tensor x, at::Tensor next, at::Tensor gram, at::Tensor square) {
    constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315;
    const bool tall = x.size(1) > x.size(2);
    for (int round = 0; round < 5; ++round) {
        const auto turned = x.transpose(1, 2);
        if (tall)
            at::bmm_out(gram, turned, x);
        else
            at::bmm_out(gram, x, turned);
        at::baddbmm_out(square, gram, gram, gram, kB, kC);
        if (tall)
            at::baddbmm_out(next, x, x, square, kA, 1);
        else
            at::baddbmm_out(next, x, square, x, kA, 1);
        std::swap(x, next);
    }
    return x;
}

}  // namespace skerry::node
