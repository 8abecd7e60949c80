#pragma once
// A bundle: what a program knows when it is stuck, in a folder that can be sent to whoever helps. No secrets.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "protocol/base/result.hpp"

namespace skerry {

struct BundlePart {
    std::string name;  ///< of the file
    std::string text;
};

/// What the watchdog of this process did.
struct WatchdogFacts {
    std::uint64_t bundles = 0;
    std::string last;    ///< folder of the newest bundle
    std::string reason;  ///< why it was written
};

/// How much of a disk bundles may take: `count` x `bytes`.
struct BundleLimits {
    std::size_t count = 5;                 ///< the oldest ones go
    std::size_t bytes = 4 * 1024 * 1024;   ///< of one: what is longer is cut, the largest part first
};

/// The text without what opens doors: tokens (skr1_...), PEM blocks, bearer words, and values of keys that sound like it.
std::string redacted(std::string text);

/// Parts that every program has: newest log lines, stacks of all threads, process and limits.
std::vector<BundlePart> process_parts();

/// Writes FOLDER/NAME/ (made whole, then renamed), every part redacted, and removes the oldest bundles above the limit.
/// Any thread. Returns the path. Errors: disk_full, io_error.
Result<std::filesystem::path> write_bundle(const std::filesystem::path& folder, const std::string& name,
                                           std::vector<BundlePart> parts, BundleLimits limits = {});

/// 20261127T101500Z: sorts by time.
std::string bundle_time();

}  // namespace skerry
