#pragma once
// The file of the state that a forked run begins with: tag "skerry/file/base/1", zero byte, u64 P, then theta and momentum as
// P float32 each, all little-endian. The manifest names it by its SHA-256 (initial_root). It holds no run, step or tokens:
// whose state it was is in the manifest, too.

#include <cstdint>

#include "protocol/base/bytes.hpp"

namespace skerry {

/// What comes before theta, of P elements.
Bytes base_file_header(std::uint64_t elements);
/// Size of the whole file.
std::uint64_t base_file_bytes(std::uint64_t elements);

}  // namespace skerry
