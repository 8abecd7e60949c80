#pragma once
// One ZeroMQ socket with its monitor, and the coroutine that alone touches them.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "node/transport/socket_factory.hpp"
#include "protocol/base/bytes.hpp"
#include "protocol/base/task.hpp"

namespace skerry::node {

/// libzmq's name of one connection of a listener; empty for a dialler, which has one only.
using Route = std::string;

struct IncomingMessage {
    Route route;
    std::string user_id;  ///< what ZAP said; empty: none (always so at a dialler)
    int fd = -1;          ///< socket that it came in on; may be closed by now
    Bytes envelope;
    Bytes chunk;
    bool too_large = false;  ///< more frames or bytes than any message of ours; nothing of it is kept
};

struct ConnectionEvent {
    enum class Kind : std::uint8_t {
        opened,          ///< TCP is up on `fd`, the handshake follows
        up,              ///< a handshake succeeded
        failed,          ///< a handshake failed
        refused_accept,  ///< accept() failed: out of descriptors
        down,            ///< `fd` is closed
        retried,
    };
    Kind kind;
    int fd = -1;
};

/// What a link tells its owner, from inside its coroutine.
class ZmqLinkEvents {
  public:
    virtual ~ZmqLinkEvents() = default;
    virtual void on_incoming(class ZmqLink& link, IncomingMessage message) = 0;
    virtual void on_connection(class ZmqLink& link, ConnectionEvent event) = 0;
    /// libzmq took the chunk that waited for this route.
    virtual void on_chunk_taken(class ZmqLink& link, const Route& route) = 0;
    /// The route is dead; what waited for it is gone.
    virtual void on_route_lost(class ZmqLink& link, const Route& route) = 0;
};

/// Frames of a route wait in two places: small ones in a queue bounded in bytes, and one chunk. Small ones go first;
/// routes take turns, one message each.
class ZmqLink {
  public:
    ZmqLink(asio::any_io_executor executor, ZmqSocket socket, ZmqSocket monitor, bool is_listener,
            std::size_t outbox_bytes, ZmqLinkEvents& events);
    ~ZmqLink();

    /// Moves frames both ways until stop() or cancelled. The only code that touches the socket.
    Task<> run();
    void stop();
    /// After the socket was used from outside (connect, disconnect): looks at it again.
    void wake();

    bool queue(const Route& route, Bytes envelope);
    bool has_room(const Route& route) const;
    bool queue_chunk(const Route& route, Bytes envelope, std::shared_ptr<const Bytes> chunk);
    /// Forgets what waits for a route.
    void drop(const Route& route) { outboxes_.erase(route); }

    ZmqSocket& socket() { return socket_; }

  private:
    struct Outgoing {
        Bytes envelope;
        std::shared_ptr<const Bytes> chunk;
    };
    struct Outbox {
        std::deque<Outgoing> small;
        std::size_t small_bytes = 0;
        std::deque<Outgoing> chunk;  ///< none or one
    };
    enum class Sent : std::uint8_t { taken, full, unroutable };

    bool move_some();
    bool pull_monitor();
    bool pull_one();
    bool push_round();
    Sent push_one(const Route& route, const Outgoing& message);
    bool readable_now();
    Task<> sleep();

    ZmqSocket socket_;
    ZmqSocket monitor_;
    bool is_listener_;
    std::size_t outbox_bytes_;
    ZmqLinkEvents& events_;
    asio::posix::stream_descriptor socket_fd_;
    asio::posix::stream_descriptor monitor_fd_;
    asio::steady_timer wake_;
    std::map<Route, Outbox> outboxes_;
    bool woken_ = false;
    bool stopping_ = false;
};

}  // namespace skerry::node
