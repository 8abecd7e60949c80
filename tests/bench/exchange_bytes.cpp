// Bytes and time of one exchange between engines with real sockets and stores.
//
//   exchange_bytes [elements=16777216] [nodes=3] [a8|f32]
//
// Prints one line and exits 1 beyond the bars: all nodes within 2 % of 2 (N-1) x encoded size, none above 1.05 of its share.

#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

#include "protocol/wire/chunk_codec.hpp"
#include "tests/support/exchange_run.hpp"

using namespace skerry;

int main(int argc, char** argv) {
    std::uint64_t elements = argc > 1 ? std::stoull(argv[1]) : 16'777'216;
    std::size_t count = argc > 2 ? std::stoul(argv[2]) : 3;
    CodecId codec = argc > 3 && std::string(argv[3]) == "f32" ? CodecId::f32 : CodecId::a8;
    test::ExchangeRun run(count, test::small_manifest(codec, elements));
    if (!run.connect()) return std::puts("the nodes do not connect"), 1;
    auto plan = run.begin_step();
    auto start = std::chrono::steady_clock::now();
    auto all = [&] {
        for (std::size_t i = 0; i < count; ++i)
            if (!run.node(i).complete()) return false;
        return true;
    };
    if (!run.until(all, std::chrono::seconds(300))) return std::puts("the exchange did not end"), 1;
    std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;

    PieceGrid grid{elements, run.stores().manifest().piece_elements};
    double encoded = 0;
    for (std::uint32_t p = 0; p < grid.count(); ++p) encoded += static_cast<double>(chunk_bytes(codec, grid.size(PieceIndex{p})));
    double bound = 2.0 * static_cast<double>(count - 1) * encoded;
    double total = 0;
    double most = 0;
    for (std::size_t i = 0; i < count; ++i) {
        auto sent = static_cast<double>(run.node(i).engine().links().total_traffic().sent_bytes);
        total += sent;
        most = std::max(most, sent);
    }
    double share = bound / static_cast<double>(count);
    std::printf("%.1f M elements, %zu nodes: %.4f of the lower bound, largest node %.4f of its share, %.2f s, %.0f MB/s\n",
                static_cast<double>(elements) / 1e6, count, total / bound, most / share, spent.count(),
                total / 1e6 / spent.count());
    return std::abs(total / bound - 1) <= 0.02 && most / share <= 1.05 ? 0 : 1;
}
