// Tokens, keys and certificates as people paste them.

#include "protocol/base/assert.hpp"
#include "protocol/identity/token.hpp"
#include "tests/fuzz/fuzz_target.hpp"
#include "tests/support/samples.hpp"

namespace skerry::test {

std::vector<Bytes> fuzz_samples() {
    Token token{"swarm.reef.example", 443, "reef-350m", TokenKind::join, {}, {}, {}, 1800000000};
    Token admin{"2001:db8::1", 7600, "", TokenKind::admin, {}, {}, {}, 0};
    std::vector<Bytes> out;
    for (const std::string& text : {to_text(token), to_text(admin), make_node_certificate(sample_keys()[0])})
        out.emplace_back(text.begin(), text.end());
    return out;
}

void fuzz_one(ByteSpan input) {
    auto token = parse_token(as_text(input));
    if (token) {
        auto again = parse_token(to_text(*token));
        SKERRY_ASSERT(again && *again == *token);
    }
    (void)parse_certificate(as_text(input)).has_value();
    (void)KeyPair::parse_pem(as_text(input)).has_value();
}
}  // namespace skerry::test
