#pragma once
// Frames over any Asio stream; the part that TLS and local sockets share. For session/*.cpp only.

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstring>

#include "protocol/base/assert.hpp"
#include "protocol/base/thread_home.hpp"
#include "protocol/session/frame_stream.hpp"

namespace skerry {

/// An Asio error as ours. `stream_end` errors all mean that the other side is gone.
Fail to_stream_failure(const boost::system::error_code& ec, const std::string& peer);

template <class Stream>
Task<Result<void>> write_frame(Stream& stream, const Bytes& frame, const std::string& peer) {
    auto length = static_cast<std::uint32_t>(frame.size());
    std::array<std::uint8_t, kMaxFrameHeader> header{};
    std::memcpy(header.data(), &length, sizeof length);
    std::array<asio::const_buffer, 2> parts = {asio::buffer(header), asio::buffer(frame)};
    auto [ec, n] = co_await asio::async_write(stream, parts, no_throw);
    if (ec) co_return to_stream_failure(ec, peer);
    co_return Result<void>{};
}

template <class Stream>
Task<Result<Bytes>> read_frame(Stream& stream, std::size_t limit, const std::string& peer) {
    std::array<std::uint8_t, kMaxFrameHeader> header{};
    auto [ec, n] = co_await asio::async_read(stream, asio::buffer(header), no_throw);
    if (ec) co_return to_stream_failure(ec, peer);
    std::uint32_t length = 0;
    std::memcpy(&length, header.data(), sizeof length);
    if (length > limit)
        co_return fail(Errc::too_large, "a frame of " + std::to_string(length) + " bytes from " + peer +
                                            ", limit " + std::to_string(limit));
    Bytes frame(length);
    auto [ec2, n2] = co_await asio::async_read(stream, asio::buffer(frame), no_throw);
    if (ec2) co_return to_stream_failure(ec2, peer);
    co_return frame;
}

}  // namespace skerry
