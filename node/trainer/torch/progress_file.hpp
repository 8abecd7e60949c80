#pragma once
// The trainer's progress: delta, optimizer state, counters and the agent's note, in one file.
//
// "SKPROG1\n", u32 length of a JSON header, the header, then delta, m, v (P float32 each), then a 64-bit checksum
// of all before it. Written to a temporary file, fsynced, renamed, folder fsynced.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "node/trainer/round.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

struct ProgressHeader {
    std::uint64_t elements = 0;
    std::uint64_t optimizer_step = 0;
    DeltaCounters delta;
    std::uint64_t targets = 0;  ///< of the delta's tokens, what loss_sum is over
    double loss_sum = 0;
    std::string note;
};

/// All of it in memory. elements: [3 P] delta, m, v; null: none were copied.
struct ProgressCopy {
    ProgressHeader header;
    std::unique_ptr<float[]> elements;
};

/// What this machine, and the control group that this process is in, has free.
std::uint64_t memory_available();

/// Fills `out` with elements [lo, lo + out.size()) of the three vectors laid end to end (3 P elements).
using ReadElements = std::function<void(std::uint64_t lo, std::span<float> out)>;
using TakeElements = std::function<void(std::uint64_t lo, std::span<const float> in)>;

/// Errors: disk_full, io_error. The file at `path` is the old one or the new one, never a part.
Result<void> write_progress(const std::string& path, const ProgressHeader& header, const ReadElements& read,
                            const std::function<void()>& tick);

/// The same of a copy.
Result<void> write_progress(const std::string& path, const ProgressCopy& copy);

/// Verifies the whole file first, then hands out its elements in order.
/// Errors: not_found, io_error, digest_mismatch (damaged), bad_shape (not `elements`); nothing was handed out then.
Result<ProgressHeader> read_progress(const std::string& path, std::uint64_t elements, const TakeElements& take);

}  // namespace skerry::node
