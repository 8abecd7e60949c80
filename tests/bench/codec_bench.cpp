// Speed of the codecs and of the outer loops on one core, in Gparam/s, best of several runs.
//   codec_bench [--floors]      exits 1 below the floors of the acceptance list (A8 encode 0.5,
//   dequantise + add 2.5)

#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include "node/compress/codec.hpp"
#include "node/compress/kernels.hpp"
#include "node/outer/mean.hpp"
#include "node/outer/outer_optimizer.hpp"
#include "tests/support/synthetic.hpp"

namespace {

using namespace skerry;
using namespace skerry::node;

constexpr std::size_t kPiece = 1U << 20;

double gparams_per_s(const std::function<void()>& work) {
    double best = 0;
    for (int run = 0; run < 15; ++run) {
        auto begin = std::chrono::steady_clock::now();
        work();
        std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
        best = std::max(best, static_cast<double>(kPiece) / spent.count() / 1e9);
    }
    return best;
}

}  // namespace

int main(int argc, char** argv) {
    bool floors = argc > 1 && std::strcmp(argv[1], "--floors") == 0;
    const Codec& codec = **find_codec(CodecId::a8);
    auto x = test::synthetic(1, kPiece, -8);
    ChunkHeader place;
    place.elements = kPiece;
    Bytes chunk(chunk_bytes(CodecId::a8, kPiece));
    std::vector<float> acc(kPiece), theta(kPiece), m(kPiece), delta(kPiece);

    bool ok = true;
    auto line = [&](const char* what, double value, double floor) {
        bool fine = value >= floor;
        ok = ok && fine;
        std::printf("%-28s %6.2f Gparam/s   floor %.1f %s\n", what, value, floor,
                    fine ? "ok" : "LOW");
    };
    std::printf("instruction set: %s\n", kernels().name);
    line("A8 encode", gparams_per_s([&] { static_cast<void>(codec.encode(place, x, chunk)); }),
         0.5);
    line("A8 dequantise + accumulate", gparams_per_s([&] { codec.accumulate(chunk, 3.0F, acc); }),
         2.5);
    line("A8 decode", gparams_per_s([&] { codec.decode(chunk, acc); }), 1.0);
    line("A8 validate", gparams_per_s([&] { static_cast<void>(codec.validate(place, chunk)); }),
         1.0);
    line("theta - local", gparams_per_s([&] { static_cast<void>(compute_delta(theta, x, delta)); }),
         0.3);
    line("outer step", gparams_per_s([&] { apply_outer_step(theta, m, x, OuterHyper{}); }), 0.3);
    return floors && !ok ? 1 : 0;
}
