#pragma once
// The words of the trainer protocol that both ends use. Plain values, no torch, no Asio.

#include <cstdint>
#include <string>
#include <vector>

#include "protocol/base/units.hpp"

namespace skerry::node {

/// A sequence of `seq` + 1 tokens in a registered token shard.
struct SequenceRef {
    std::uint32_t file = 0;    ///< id given to `Trainer::file`
    std::uint64_t offset = 0;  ///< first token
    friend bool operator==(const SequenceRef&, const SequenceRef&) = default;
};

/// What `local - theta` contains. `sequences` counts in the order of feeding, since the delta began.
struct DeltaCounters {
    std::uint64_t steps = 0;
    std::uint64_t sequences = 0;
    std::uint64_t tokens = 0;
    double loss = 0;  ///< mean over the targets among the tokens, nats; 0 when empty
    friend bool operator==(const DeltaCounters&, const DeltaCounters&) = default;
};

/// One round of inner steps. Inner step i = 1, 2, ... uses
/// learning_rate(committed_tokens + (first_step + i) * batch * seq * participants).
struct RoundOrder {
    std::uint64_t round = 0;
    std::uint64_t committed_tokens = 0;
    std::uint32_t participants = 1;  ///< planned
    std::uint64_t first_step = 0;    ///< steps already in the delta when a round is resumed
    std::uint64_t max_steps = 0;     ///< 0: no limit
    Millis deadline{0};              ///< from now; 0: none
};

/// Evenly spaced sequences: first, first + stride, ... (count of them).
struct EvalSpan {
    std::uint32_t file = 0;
    std::uint64_t first = 0;
    std::uint64_t stride = 0;
    std::uint64_t count = 0;
};

struct EvalResult {
    double loss = 0;  ///< nats per target (per byte with byte tokens)
    std::uint64_t tokens = 0;  ///< targets
};

struct GenerateOrder {
    std::vector<std::uint32_t> prompt;
    std::uint32_t count = 100;
    double temperature = 0.8;  ///< 0: greedy
    std::uint64_t seed = 1;
    std::uint32_t top_k = 0;  ///< of the so many likeliest; 0: of all
    double top_p = 1;         ///< of the likeliest that have this probability together; 1: of all
    std::vector<std::uint32_t> stop;  ///< tokens that end it
    bool cache = true;        ///< keep keys and values; false: read all again for each token (to compare with)
};

/// Without the token that stopped it.
struct Generated {
    std::vector<std::uint32_t> tokens;
    bool stopped = false;
    Millis spent{0};
};

struct Restored {
    std::string note;
    DeltaCounters delta;
};

enum class WeightSource { theta, local };

}  // namespace skerry::node
