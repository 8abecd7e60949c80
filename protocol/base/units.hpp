#pragma once
// Time as the pure cores see it, and sizes for people.

#include <chrono>
#include <cstdint>
#include <string>

namespace skerry {

/// Monotonic time; the shell reads the clock, the cores only get values.
using Mono = std::chrono::time_point<std::chrono::steady_clock, std::chrono::milliseconds>;
using Millis = std::chrono::milliseconds;

inline constexpr std::uint64_t kKiB = 1024;
inline constexpr std::uint64_t kMiB = 1024 * kKiB;
inline constexpr std::uint64_t kGiB = 1024 * kMiB;

}  // namespace skerry
