#pragma once
// A trainer process: consumes positions in order, one inner step after the other.

#include <deque>
#include <optional>

#include "node/core/events.hpp"
#include "tests/sim/model.hpp"

namespace skerry::sim {

struct SimTrainer {
    bool alive = false;
    bool hung = false;
    std::uint64_t life = 0;
    std::uint32_t salt = 0;  ///< of a trainer that, restarted, does not compute the same to the bit
    bool loaded = false;
    Values delta;
    node::TrainedSoFar counters;
    std::vector<Segment> truth;      ///< what the delta contains
    std::optional<Step> true_base;   ///< S on which its oldest part was trained
    std::deque<Segment> queue;

    // The round under way.
    std::optional<node::TrainerTrain> order;
    std::uint64_t steps_done = 0;
    Mono deadline = Mono::max();
    bool freezing = false;

    void clear(std::uint32_t pieces) {
        delta.assign(pieces, 0);
        counters = {};
        truth.clear();
        true_base.reset();
        queue.clear();
        loaded = true;
    }
    /// One inner step on up to `batch` positions; `theta` are bits of each piece's first weight.
    void inner_step(const std::vector<std::uint32_t>& theta, Step at, std::uint32_t batch, std::uint32_t sequence_tokens) {
        for (std::uint32_t i = 0; i < batch && !queue.empty(); ++i) {
            Segment& next = queue.front();
            const std::uint64_t position = next.from++;
            take(next.lease, position);
            for (std::uint32_t p = 0; p < delta.size(); ++p) delta[p] += gradient(position, p, theta[p] + salt);
            if (next.from == next.to) queue.pop_front();
            ++counters.sequences;
            counters.tokens += sequence_tokens;
        }
        if (!true_base) true_base = at;
        ++counters.steps;
        ++steps_done;
        counters.loss = 1.0;
    }

    /// What it saves, and takes back.
    Bytes to_bytes(Step base) const;
    void restore(ByteSpan bytes);

  private:
    void take(LeaseId lease, std::uint64_t position) {
        for (Segment& s : truth) {
            if (s.lease != lease) continue;
            if (s.to == position) {
                ++s.to;
                return;
            }
        }
        truth.push_back({lease, position, position + 1});
    }
};

}  // namespace skerry::sim
