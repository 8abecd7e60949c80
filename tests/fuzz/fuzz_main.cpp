// Replays a corpus as a normal test, and mutates it a little, where there is no libFuzzer (g++).
//
// usage: NAME [--rounds N] [FILE...]   without files: the samples and N mutations of each, from a fixed seed

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_target.hpp"

namespace {

using Input = std::vector<std::uint8_t>;

std::uint64_t state = 1;
std::uint64_t draw() {  // SplitMix64
    std::uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}
std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(draw() % n); }

void mutate(Input& input, const std::vector<Input>& corpus) {
    static constexpr std::uint8_t kEdges[] = {0, 1, 0x7F, 0x80, 0xFF};
    auto at = static_cast<std::ptrdiff_t>(below(input.size() + 1));
    switch (below(6)) {
        case 0:
            if (!input.empty()) input[below(input.size())] ^= static_cast<std::uint8_t>(1U << below(8));
            break;
        case 1:
            if (!input.empty()) input[below(input.size())] = kEdges[below(5)];
            break;
        case 2: input.resize(static_cast<std::size_t>(at)); break;
        case 3: input.insert(input.begin() + at, below(16) + 1, kEdges[below(5)]); break;
        case 4: {
            auto end = at + static_cast<std::ptrdiff_t>(below(input.size() - static_cast<std::size_t>(at) + 1));
            input.erase(input.begin() + at, input.begin() + end);
            break;
        }
        default: {
            const Input& other = corpus[below(corpus.size())];
            auto from = static_cast<std::ptrdiff_t>(below(other.size()));
            input.insert(input.begin() + at, other.begin() + from, other.end());
        }
    }
    if (input.size() > 70000) input.resize(70000);
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t rounds = 20000;
    std::vector<Input> corpus = skerry::test::fuzz_samples();
    for (int i = 1; i < argc; ++i) {
        std::string word = argv[i];
        if (word == "--rounds" && i + 1 < argc) {
            rounds = std::strtoul(argv[++i], nullptr, 10);
            continue;
        }
        std::ifstream file(word, std::ios::binary);
        Input input{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
        skerry::test::fuzz_one({input.data(), input.size()});
        rounds = 0;
    }
    if (argc > 1 && rounds == 0) return 0;
    for (const Input& sample : corpus) skerry::test::fuzz_one({sample.data(), sample.size()});
    for (std::size_t round = 0; round < rounds; ++round) {
        for (const Input& sample : corpus) {
            Input input = sample;
            for (std::size_t n = below(6) + 1; n > 0; --n) mutate(input, corpus);
            skerry::test::fuzz_one({input.data(), input.size()});
        }
    }
    std::printf("%zu samples, %zu mutations of each\n", corpus.size(), rounds);
    return 0;
}
