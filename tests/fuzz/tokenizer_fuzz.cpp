// tokenizer.json files, split patterns, and texts for a tokenizer with every part.

#include "node/tokenizer/encoder.hpp"
#include "node/tokenizer/split_pattern.hpp"
#include "protocol/base/assert.hpp"
#include "tests/fuzz/fuzz_target.hpp"
#include "tests/support/sample_tokenizer.hpp"

namespace skerry::test {
namespace {

using namespace node;

constexpr std::string_view kText = "the cat's\n\n  1\u0301 <pad> aaa\u3000\u6f22";

const Tokenizer& sample() {
    static const Tokenizer made = *Tokenizer::parse(as_bytes(sample_tokenizer().dump()));
    return made;
}

/// Whole and in parts the same, and ids that can be decoded.
void encode_both_ways(std::string_view text, std::size_t cut) {
    static Encoder whole(sample()), parts(sample());
    auto ids = whole.encode(text);
    TokenIds joined;
    Result<void> fed;
    for (std::size_t at = 0; fed && (at == 0 || at < text.size()); at += cut) fed = parts.feed(text.substr(at, cut), at + cut >= text.size(), joined);
    SKERRY_ASSERT(ids.has_value() == fed.has_value());
    if (!ids) return;
    SKERRY_ASSERT(*ids == joined);
    SKERRY_ASSERT(sample().decode(*ids, false).has_value());
}

void try_pattern(std::string_view text) {
    if (text.size() > 200 || check_utf8(text).state != Utf8State::whole) return;
    auto pattern = SplitPattern::compile(text);
    if (!pattern) return;
    Matcher matcher(*pattern);
    for (std::size_t at = 0; at < kText.size();) {
        auto match = matcher.find(kText, at, true);
        if (!match || match->kind != Match::found) break;
        SKERRY_ASSERT(match->begin >= at && match->end > match->begin && match->end <= kText.size());
        at = match->end;
    }
}

}  // namespace

std::vector<Bytes> fuzz_samples() {
    const auto bytes = [](std::string_view text) { return Bytes(text.begin(), text.end()); };
    return {bytes(sample_tokenizer().dump()), bytes(kText), bytes("a<pad> <r> \u212b<bos>e\u0301\u0323\n \n\u0345the"),
            bytes(R"((?i:'s|'ve)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}]+[\r\n]*|\s+(?!\S)|\s+)")};
}

void fuzz_one(ByteSpan input) {
    auto tokenizer = Tokenizer::parse(input);
    if (tokenizer) {
        Encoder encoder(*tokenizer);
        auto ids = encoder.encode(kText);
        if (ids) {
            for (std::uint32_t id : *ids) SKERRY_ASSERT(id < tokenizer->vocab_size());
            SKERRY_ASSERT(tokenizer->decode(*ids, false).has_value());
        }
    }
    try_pattern(as_text(input));
    if (!input.empty()) encode_both_ways(as_text(input.subspan(1)), std::size_t{input[0]} % 32 + 1);
}

}  // namespace skerry::test
