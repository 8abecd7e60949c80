#pragma once
// The loops of the codecs, one table of them for each instruction set. All tables give the same
// bits: the sources are one file (kernels.inc), compiled without contraction and without
// reordering.

#include <cstddef>
#include <cstdint>

namespace skerry::node {

inline constexpr std::size_t kBlock =
    256;  ///< elements that share a scale; the last block may be short

struct Kernels {
    const char* name;
    /// maxima[b] = largest |x| of block b as float bits; NaN and Inf come out above every number.
    void (*block_maxima)(const float* x, std::size_t n, std::int32_t* maxima);
    /// q[i] = rint(x[i] / scales[i / 256]), to even; 0 where the scale is 0.
    void (*quantise)(const float* x, std::size_t n, const float* scales, std::int8_t* q);
    /// x[i] = q[i] * scales[i / 256].
    void (*dequantise)(const std::int8_t* q, std::size_t n, const float* scales, float* x);
    /// acc[i] = acc[i] + weight * (q[i] * scales[i / 256]).
    void (*accumulate_a8)(const std::int8_t* q, std::size_t n, const float* scales, float weight,
                          float* acc);
    /// acc[i] = acc[i] + weight * x[i]; x is float32 at any address.
    void (*accumulate_f32)(const std::uint8_t* x, std::size_t n, float weight, float* acc);
};

/// The best table this CPU can run.
const Kernels& kernels();
/// All tables this CPU can run, baseline first: for the tests that compare their bits. Ends with
/// nullptr.
const Kernels* const* all_kernels();

}  // namespace skerry::node
