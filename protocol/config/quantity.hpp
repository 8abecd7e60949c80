#pragma once
// Durations and sizes as people write them, in config files and on the command line.

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/base/result.hpp"
#include "protocol/base/units.hpp"

namespace skerry {

/// `500ms`, `10s`, `5min`, `1h`, `7d`, `1h30min`. Errors: usage.
Result<Millis> parse_duration(std::string_view text);
/// `4096`, `512KiB`, `20MiB`, `8GiB`, `1TiB`; also `8GB` (powers of ten). Errors: usage.
Result<std::uint64_t> parse_size(std::string_view text);

/// Bytes a second of `20Mbit`, `500kbit`, `1Gbit` (powers of ten). Errors: usage.
Result<std::uint64_t> parse_rate(std::string_view text);

std::string to_duration_text(Millis value);        ///< `3 d 4 h`, `2 min 5 s`, `840 ms`
std::string to_size_text(std::uint64_t bytes);     ///< `1.4 GiB`
std::string to_count_text(double value);           ///< `61.2 k`, `8.00 M`

}  // namespace skerry
