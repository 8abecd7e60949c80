#pragma once
// The CURVE key of this process. It lives as long as the process and reaches peers only in the roster.

#include <array>
#include <cstdint>

#include "protocol/base/ids.hpp"

namespace skerry::node {

struct CurveKeyPair {
    CurveKey public_key;
    std::array<std::uint8_t, 32> secret{};
};

/// A new random pair. Any thread.
CurveKeyPair make_curve_keys();

}  // namespace skerry::node
