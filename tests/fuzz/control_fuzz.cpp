// Control frames: what is accepted survives another trip unchanged.

#include "protocol/base/assert.hpp"
#include "protocol/wire/control_codec.hpp"
#include "protocol/wire/limits.hpp"
#include "tests/fuzz/fuzz_target.hpp"
#include "tests/support/samples.hpp"

namespace skerry::test {

std::vector<Bytes> fuzz_samples() {
    std::vector<Bytes> out;
    for (const auto& [name, message] : sample_control_messages()) out.push_back(*to_frame(message, kMaxFrame));
    return out;
}

void fuzz_one(ByteSpan input) {
    auto message = parse_frame(input, kMaxFrame);
    if (!message) return;
    auto frame = to_frame(*message, kMaxFrame);
    if (!frame) return;  // a text of a later version may have been shorter than what we say for it
    auto again = parse_frame(*frame, kMaxFrame);
    SKERRY_ASSERT(again && *again == *message);
}
}  // namespace skerry::test
