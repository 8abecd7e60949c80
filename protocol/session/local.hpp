#pragma once
// The same frames over a local (Unix) socket, without TLS: who may connect is the file's mode to say.

#include <sys/types.h>

#include <boost/asio/local/stream_protocol.hpp>

#include "protocol/session/frame_stream.hpp"

namespace skerry {

/// Errors: unreachable if nobody listens there.
Task<Result<std::unique_ptr<FrameStream>>> dial_local(std::string path);

std::unique_ptr<FrameStream> make_local_stream(asio::local::stream_protocol::socket socket);

/// The user at the other end, as the kernel says.
Result<uid_t> local_peer_user(asio::local::stream_protocol::socket& socket);

}  // namespace skerry
