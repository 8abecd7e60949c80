#pragma once
// `skerry-trainer --oracle FILE`: one order in JSON, answered with raw float32 files. For tests that compare the
// trainer with another implementation; no agent, no protocol.

#include <string>

#include "node/trainer/torch/setup.hpp"

namespace skerry::node {

/// Returns the exit status. The order: model, train, theta (raw float32 file), data (token shard), sequences
/// (offsets, one batch), steps, lr, out (folder). Writes logits.f32 [seq, vocab] of the first sequence, and for
/// each step i from 1 gradient.<i>.f32 and weights.<i>.f32 (after it) [P]; prints the losses as JSON.
int run_oracle(const std::string& path, std::uint32_t threads, const Setup& setup);

}  // namespace skerry::node
