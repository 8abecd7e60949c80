// Files of a run folder, as a bad disk gives them back.

#include "node/log/decision_log.hpp"
#include "node/log/state_files.hpp"
#include "protocol/base/assert.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/fuzz/fuzz_target.hpp"
#include "tests/support/samples.hpp"

namespace skerry::test {

namespace {
constexpr const char* kTag = "skerry/file/fuzz/1";
}

std::vector<Bytes> fuzz_samples() {
    SignedDecision decision;
    decision.decision.body = to_bytes(sample_decision());
    for (const KeyPair& key : sample_keys())
        decision.voters.push_back({key.id(), key.public_key(), {}});
    node::StateRoots roots{7, counting<Digest>(1), counting<Digest>(2)};
    return {node::seal(kTag, Bytes{1, 2, 3}), node::to_bytes(decision), node::to_bytes(roots)};
}

void fuzz_one(ByteSpan input) {
    auto payload = node::unseal(kTag, input);
    if (payload) SKERRY_ASSERT(node::seal(kTag, *payload) == Bytes(input.begin(), input.end()));
    auto decision = node::parse_signed_decision(input);
    if (decision) SKERRY_ASSERT(node::to_bytes(*decision) == Bytes(input.begin(), input.end()));
    auto roots = node::parse_state_roots(input);
    if (roots) SKERRY_ASSERT(node::to_bytes(*roots) == Bytes(input.begin(), input.end()));
}

}  // namespace skerry::test
