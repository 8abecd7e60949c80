#pragma once
// The asking side of an administration channel.

#include <chrono>

#include "protocol/session/frame_stream.hpp"

namespace skerry {

/// Sends one request and waits for its reply. Errors: of the stream, timed_out, malformed; an answer that is not ok
/// is its own error (code, message, fix).
Task<Result<AdminReply>> ask_admin(ControlStream& stream, AdminRequest request, std::chrono::milliseconds patience);

}  // namespace skerry
