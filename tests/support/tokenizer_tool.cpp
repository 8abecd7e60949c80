// Encodes and decodes for the oracle and the benchmark.
//
// usage: tokenizer_tool TOKENIZER_JSON                      answers lines on standard input:
//          encode HEX [CUT]   ids of the text, fed in parts of CUT bytes -> "ok ID..." or "error CODE: ..."
//          decode ID...       bytes of the ids -> "ok HEX"
//        tokenizer_tool TOKENIZER_JSON --speed FILE [RUNS]  best of RUNS: "TOKENS SECONDS"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>

#include "node/tokenizer/encoder.hpp"
#include "protocol/config/files.hpp"

namespace {

using namespace skerry;
using namespace skerry::node;

Result<TokenIds> encode(Encoder& encoder, std::string_view text, std::size_t cut) {
    TokenIds out;
    do {
        const std::string_view part = text.substr(0, cut);
        text.remove_prefix(part.size());
        auto fed = encoder.feed(part, text.empty(), out);
        if (!fed) return fail(fed.error());
    } while (!text.empty());
    return out;
}

void answer_encode(Encoder& encoder, std::istringstream& words) {
    std::string hex;
    std::size_t cut = std::numeric_limits<std::size_t>::max();
    words >> hex >> cut;
    if (!words) cut = std::numeric_limits<std::size_t>::max();
    auto text = parse_hex(hex == "-" ? "" : hex);
    if (!text) return static_cast<void>(std::puts("error hex"));
    auto ids = encode(encoder, as_text(*text), cut);
    if (!ids) return static_cast<void>(std::printf("%s\n", to_text(ids.error()).c_str()));
    std::fputs("ok", stdout);
    for (auto id : *ids) std::printf(" %u", id);
    std::puts("");
}

void answer_decode(const Tokenizer& tokenizer, std::istringstream& words) {
    TokenIds ids;
    for (std::uint32_t id; words >> id;) ids.push_back(id);
    auto text = tokenizer.decode(ids, false);
    std::puts(text ? ("ok " + to_hex(as_bytes(*text))).c_str() : to_text(text.error()).c_str());
}

/// Documents of `file`, a zero byte between them, one after another.
int speed(const Tokenizer& tokenizer, const char* file, int runs) {
    auto text = read_small_file(file, std::size_t{1} << 30);
    if (!text) return std::fprintf(stderr, "%s\n", to_text(text.error()).c_str()), 1;
    double best = std::numeric_limits<double>::infinity();
    std::size_t tokens = 0;
    for (int run = 0; run < runs; ++run) {
        Encoder encoder(tokenizer);
        tokens = 0;
        auto begin = std::chrono::steady_clock::now();
        for (std::string_view rest = *text; !rest.empty();) {
            const std::string_view document = rest.substr(0, rest.find('\0'));
            rest.remove_prefix(std::min(rest.size(), document.size() + 1));
            auto ids = encoder.encode(document);
            if (!ids) return std::fprintf(stderr, "%s\n", to_text(ids.error()).c_str()), 1;
            tokens += ids->size();
        }
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
        best = std::min(best, spent.count());
    }
    std::printf("%zu %.6f\n", tokens, best);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) return std::fputs("usage: tokenizer_tool TOKENIZER_JSON [--speed FILE [RUNS]]\n", stderr), 2;
    auto json = read_tokenizer_json(argv[1]);
    auto tokenizer = json ? Tokenizer::parse(as_bytes(*json)) : Result<Tokenizer>(fail(json.error()));
    if (!tokenizer) return std::fprintf(stderr, "%s\n", to_text(tokenizer.error()).c_str()), exit_code(tokenizer.error().code);
    if (argc > 3) return speed(*tokenizer, argv[3], argc > 4 ? std::atoi(argv[4]) : 3);
    Encoder encoder(*tokenizer);
    for (std::string line, verb; std::getline(std::cin, line);) {
        std::istringstream words(line);
        words >> verb;
        if (verb == "encode") answer_encode(encoder, words);
        else answer_decode(*tokenizer, words);
        std::fflush(stdout);
    }
    return 0;
}
