// Bodies: what is accepted is written back byte for byte.

#include "protocol/base/assert.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/fuzz/fuzz_target.hpp"
#include "tests/support/samples.hpp"

namespace skerry::test {
namespace {
template <class Parsed>
void check(const Parsed& parsed, ByteSpan input) {
    if (!parsed) return;
    Bytes again = to_bytes(*parsed);
    SKERRY_ASSERT(std::equal(again.begin(), again.end(), input.begin(), input.end()));
}
}  // namespace

std::vector<Bytes> fuzz_samples() {
    return {to_bytes(sample_manifest()), to_bytes(sample_roster()), to_bytes(sample_plan()),
            to_bytes(sample_decision())};
}

void fuzz_one(ByteSpan input) {
    check(parse_manifest(input), input);
    check(parse_roster(input), input);
    check(parse_plan(input), input);
    check(parse_decision(input), input);
}
}  // namespace skerry::test
