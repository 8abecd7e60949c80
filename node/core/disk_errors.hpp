#pragma once
// What an error of something that was to be read or written on the disk says.

#include "protocol/base/error.hpp"
#include "protocol/base/units.hpp"

namespace skerry::node {

/// The disk refused; the bytes are not to blame, and the same may be tried again.
inline bool is_disk_error(Errc code) { return code == Errc::disk_full || code == Errc::io_error; }
/// So long the disk is left alone then.
inline constexpr Millis kDiskAgain{2000};
/// Of something that was kept: it is not what it was.
inline bool is_damage(Errc code) { return code == Errc::digest_mismatch || code == Errc::malformed; }

}  // namespace skerry::node
