#pragma once
// S_0 by integers, so that every machine computes the same bits.
//
// Element i of tensor t is float(u1 + u2 + u3 + u4 - 2^25) * c_t, u_j the top 24 bits of
// finalise(s_t + (4 i + j) * 0x9E3779B97F4A7C15), s_t the first 8 bytes of H("skerry/init/1", seed, tensor name).

#include <cstdint>
#include <span>
#include <string_view>

namespace skerry {

/// s_t.
std::uint64_t init_stream(std::uint64_t run_seed, std::string_view tensor_name);

/// Fills elements [first, first + out.size()) of one tensor. A `scale` (c_t) of zero means all ones.
void fill_initial(std::uint64_t stream, float scale, std::uint64_t first, std::span<float> out);

/// A `scale` of zero means all zeros for a bias, by its name: Hugging Face calls nothing else ".bias".
inline bool starts_as_zero(std::string_view tensor_name, float scale) { return scale == 0.0F && tensor_name.ends_with(".bias"); }

/// c_t for a standard deviation sigma: sigma * sqrt(3) / 2^24, rounded once to float.
float init_scale_for(double sigma);

}  // namespace skerry
