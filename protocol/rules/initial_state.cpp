#include "protocol/rules/initial_state.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "protocol/identity/hash.hpp"
#include "protocol/rules/data_order.hpp"

namespace skerry {
namespace {
constexpr std::uint64_t kGamma = 0x9E3779B97F4A7C15ULL;
}

std::uint64_t init_stream(std::uint64_t run_seed, std::string_view tensor_name) {
    ByteWriter fields;
    fields.u64(run_seed);
    fields.text(tensor_name);
    Digest hash = tagged_hash("skerry/init/1", fields);
    std::uint64_t stream = 0;
    std::memcpy(&stream, hash.bytes.data(), sizeof stream);
    return stream;
}

void fill_initial(std::uint64_t stream, float scale, std::uint64_t first, std::span<float> out) {
    if (scale == 0.0F) {
        std::fill(out.begin(), out.end(), 1.0F);
        return;
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
        std::uint64_t state = stream + 4 * (first + i) * kGamma;
        std::int32_t sum = -(1 << 25);
        for (int j = 1; j <= 4; ++j) {
            state += kGamma;
            sum += static_cast<std::int32_t>(splitmix64_finalise(state) >> 40);
        }
        out[i] = static_cast<float>(sum) * scale;
    }
}

float init_scale_for(double sigma) { return static_cast<float>(sigma * std::sqrt(3.0) / 16777216.0); }

}  // namespace skerry
