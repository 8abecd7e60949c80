#pragma once
// libzmq's context and sockets as owned objects. <zmq.h> stays in the .cpp files of this folder.

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "protocol/base/ids.hpp"
#include "protocol/base/result.hpp"

namespace skerry::node {

/// One for each process: libzmq 4.3.4 has bugs around a context that ends while another lives. It must outlive
/// every socket, so the io_context whose coroutines hold sockets is destroyed first.
class ZmqContext {
  public:
    explicit ZmqContext(int io_threads = 1);
    /// Waits for libzmq at most kEndPatience: a process that was asked to stop must stop.
    ~ZmqContext();
    static constexpr std::chrono::milliseconds kEndPatience{2000};
    ZmqContext(const ZmqContext&) = delete;
    ZmqContext& operator=(const ZmqContext&) = delete;
    void* native() const { return context_; }

  private:
    void* context_;
};

/// A socket; made only by socket_factory. Used by one thread at a time.
class ZmqSocket {
  public:
    ZmqSocket() = default;
    explicit ZmqSocket(void* socket) : socket_(socket) {}
    ~ZmqSocket() { close(); }
    ZmqSocket(ZmqSocket&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
    ZmqSocket& operator=(ZmqSocket&& other) noexcept {
        if (this != &other) {
            close();
            socket_ = std::exchange(other.socket_, nullptr);
        }
        return *this;
    }
    void close();
    void* native() const { return socket_; }

  private:
    void* socket_ = nullptr;
};

/// libzmq's errno as an Error.
Error zmq_error(const std::string& what);

/// The name that the handshake gave the connection on which a message (zmq_msg_t) came; empty if none. libzmq's thread
/// made the text; tests/support/tsan.supp knows this function.
std::string connection_user(void* message);

}  // namespace skerry::node
