#pragma once
// Frames over a byte stream: u32 length (little-endian), then that many bytes.

#include <chrono>
#include <memory>
#include <string>

#include "protocol/base/bytes.hpp"
#include "protocol/base/task.hpp"
#include "protocol/wire/limits.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry {

/// One connection. Belongs to its executor's thread. One send and one receive may wait at a time, from different
/// coroutines. After an error, or a cancelled send or receive, a frame may be half moved: the stream is of no more
/// use but to be closed.
///
/// Errors: closed (the other side ended it), too_large (the announced length, before anything is allocated for it),
/// cancelled, io_error.
class FrameStream {
  public:
    virtual ~FrameStream() = default;

    virtual Task<Result<void>> send(Bytes frame) = 0;
    virtual Task<Result<Bytes>> receive() = 0;
    /// Ends the connection now; what waits ends with an error.
    virtual void close() = 0;
    /// Lets what was sent arrive, then closes; gives up after `patience`. Nothing else may wait meanwhile.
    virtual Task<> finish(std::chrono::milliseconds patience) = 0;

    /// The key that the other side proved; zero on a local socket.
    virtual const PublicKey& peer_key() const = 0;
    /// `192.0.2.1:7600`, or `local`.
    virtual const std::string& peer_name() const = 0;

    /// Largest frame that is received.
    void set_receive_limit(std::size_t bytes) { receive_limit_ = bytes; }
    std::size_t receive_limit() const { return receive_limit_; }

  protected:
    std::size_t receive_limit_ = kMaxFrameBeforeWelcome;
};

/// Control messages over frames. Same rules as FrameStream; errors also malformed.
///
/// The side that accepted a stranger receives at most 16 KiB until it calls set_receive_limit(kMaxFrame) after its
/// Welcome; the side that dialled a coordinator with the pinned root may take kMaxFrame from the start.
class ControlStream {
  public:
    explicit ControlStream(std::unique_ptr<FrameStream> frames) : frames_(std::move(frames)) {}

    Task<Result<void>> send(ControlMessage message);
    Task<Result<ControlMessage>> receive();
    FrameStream& frames() { return *frames_; }
    const FrameStream& frames() const { return *frames_; }

  private:
    std::unique_ptr<FrameStream> frames_;
};

}  // namespace skerry
