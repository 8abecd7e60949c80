#include "node/transport/zmq_link.hpp"

#include <zmq.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <vector>

#include "protocol/base/assert.hpp"
#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

using namespace asio::experimental::awaitable_operators;

/// A large exchange must not delay a control frame or a timer by more than this many messages.
constexpr int kMessagesPerWake = 32;
/// Any call on a ZeroMQ socket may swallow the edge that a blocked send waits for.
constexpr std::chrono::milliseconds kRetryBlockedSend{5};
constexpr std::size_t kMaxMessageBytes = kMaxEnvelopeBytes + kMaxBlockBytes;
constexpr int kMaxFrames = 1 + static_cast<int>(kMaxBlockBytes / kMaxDataFrame);

int descriptor_of(const ZmqSocket& socket) {
    int fd = -1;
    std::size_t size = sizeof fd;
    SKERRY_ASSERT(zmq_getsockopt(socket.native(), ZMQ_FD, &fd, &size) == 0);
    return fd;
}

struct Frame {
    zmq_msg_t message;
    Frame() { zmq_msg_init(&message); }
    ~Frame() { zmq_msg_close(&message); }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    bool receive(void* socket) { return zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) >= 0; }
    bool more() const { return zmq_msg_more(&message) != 0; }
    ByteSpan bytes() {
        return {static_cast<const std::uint8_t*>(zmq_msg_data(&message)), zmq_msg_size(&message)};
    }
};

/// Takes in what follows the routing id; false if there is nothing. All parts are here already: libzmq hands out
/// whole messages only.
bool receive_parts(void* socket, IncomingMessage& out) {
    std::size_t total = 0;
    bool more = true;
    for (int index = 0; more; ++index) {
        Frame frame;
        if (!frame.receive(socket)) return index > 0;
        more = frame.more();
        auto bytes = frame.bytes();
        total += bytes.size();
        if (index >= kMaxFrames || total > kMaxMessageBytes || (index == 0 && bytes.size() > kMaxEnvelopeBytes)) {
            out.too_large = true;
            out.envelope.clear();
            out.chunk = Bytes();
        }
        if (index == 0) {
            // 4.3.4 loses the metadata of a routing id that was fetched ahead; the payload frame keeps it.
            out.user_id = connection_user(&frame.message);
            out.fd = zmq_msg_get(&frame.message, ZMQ_SRCFD);
        }
        if (out.too_large) continue;
        Bytes& target = index == 0 ? out.envelope : out.chunk;
        target.insert(target.end(), bytes.begin(), bytes.end());
    }
    return true;
}

void release_shared(void*, void* hint) { delete static_cast<std::shared_ptr<const Bytes>*>(hint); }

/// Sends one part of a shared chunk without copying it.
bool send_part(void* socket, const std::shared_ptr<const Bytes>& owner, ByteSpan part, int flags) {
    zmq_msg_t message;
    auto* hint = new std::shared_ptr<const Bytes>(owner);
    // libzmq only reads it.
    auto* data = const_cast<std::uint8_t*>(part.data());
    if (zmq_msg_init_data(&message, data, part.size(), release_shared, hint) != 0) {
        delete hint;
        return false;
    }
    if (zmq_msg_send(&message, socket, flags) >= 0) return true;
    zmq_msg_close(&message);
    return false;
}

}  // namespace

ZmqLink::ZmqLink(asio::any_io_executor executor, ZmqSocket socket, ZmqSocket monitor, bool is_listener,
                 std::size_t outbox_bytes, ZmqLinkEvents& events)
    : socket_(std::move(socket)),
      monitor_(std::move(monitor)),
      is_listener_(is_listener),
      outbox_bytes_(outbox_bytes),
      events_(events),
      socket_fd_(executor, descriptor_of(socket_)),
      monitor_fd_(executor, descriptor_of(monitor_)),
      wake_(executor) {}

ZmqLink::~ZmqLink() {
    stop_monitor(socket_);
    socket_fd_.release();  // libzmq's, only borrowed
    monitor_fd_.release();
}

void ZmqLink::stop() {
    stopping_ = true;
    wake();
}

void ZmqLink::wake() {
    woken_ = true;
    wake_.cancel();
}

bool ZmqLink::queue(const Route& route, Bytes envelope) {
    Outbox& box = outboxes_[route];
    if (box.small_bytes + envelope.size() > outbox_bytes_) return false;
    box.small_bytes += envelope.size();
    box.small.push_back({std::move(envelope), nullptr});
    wake();
    return true;
}

bool ZmqLink::has_room(const Route& route) const {
    auto found = outboxes_.find(route);
    return found == outboxes_.end() || found->second.chunk.empty();
}

bool ZmqLink::queue_chunk(const Route& route, Bytes envelope, std::shared_ptr<const Bytes> chunk) {
    Outbox& box = outboxes_[route];
    if (!box.chunk.empty()) return false;
    box.chunk.push_back({std::move(envelope), std::move(chunk)});
    wake();
    return true;
}

/// ZMQ_FD is edge-triggered: it says "something changed", not "there is data", and any call on the socket may
/// swallow the edge. So: work until nothing moves, ask for the state as the very last call, and only then sleep.
Task<> ZmqLink::run() {
    auto executor = co_await asio::this_coro::executor;
    co_await asio::this_coro::throw_if_cancelled(false);
    while (!stopping_) {
        woken_ = false;
        int budget = kMessagesPerWake;
        bool moved = true;
        while (moved && budget > 0 && !stopping_) {
            moved = move_some();
            --budget;
        }
        if (stopping_) break;
        if (moved || woken_ || readable_now()) {
            co_await asio::post(executor, asio::use_awaitable);
            continue;
        }
        co_await sleep();
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) stopping_ = true;
    }
}

Task<> ZmqLink::sleep() {
    bool blocked = false;
    for (const auto& [route, box] : outboxes_) blocked = blocked || !box.small.empty() || !box.chunk.empty();
    if (blocked) {
        wake_.expires_after(kRetryBlockedSend);
    } else {
        wake_.expires_at(asio::steady_timer::time_point::max());
    }
    auto data = socket_fd_.async_wait(asio::posix::stream_descriptor::wait_read, no_throw);
    auto news = monitor_fd_.async_wait(asio::posix::stream_descriptor::wait_read, no_throw);
    auto woken = wake_.async_wait(no_throw);
    co_await (std::move(data) || std::move(news) || std::move(woken));
}

bool ZmqLink::readable_now() {
    int events = 0;
    std::size_t size = sizeof events;
    zmq_getsockopt(monitor_.native(), ZMQ_EVENTS, &events, &size);
    if ((events & ZMQ_POLLIN) != 0) return true;
    zmq_getsockopt(socket_.native(), ZMQ_EVENTS, &events, &size);
    return (events & ZMQ_POLLIN) != 0;
}

bool ZmqLink::move_some() {
    // The monitor first: what it says about a descriptor was true before any message that is read now.
    bool moved = false;
    while (pull_monitor()) moved = true;
    if (pull_one()) moved = true;
    if (push_round()) moved = true;
    return moved;
}

bool ZmqLink::pull_monitor() {
    Frame frame;
    if (!frame.receive(monitor_.native())) return false;
    auto bytes = frame.bytes();
    std::uint16_t event = 0;
    std::int32_t value = 0;
    if (bytes.size() == sizeof event + sizeof value) {
        std::memcpy(&event, bytes.data(), sizeof event);
        std::memcpy(&value, bytes.data() + sizeof event, sizeof value);
    }
    Frame address;
    address.receive(monitor_.native());
    switch (event) {
        case ZMQ_EVENT_ACCEPTED:
        case ZMQ_EVENT_CONNECTED:
            events_.on_connection(*this, {ConnectionEvent::Kind::opened, value});
            break;
        case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
            events_.on_connection(*this, {ConnectionEvent::Kind::up, -1});
            break;
        case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
            events_.on_connection(*this, {ConnectionEvent::Kind::failed, -1});
            break;
        case ZMQ_EVENT_ACCEPT_FAILED:
            events_.on_connection(*this, {ConnectionEvent::Kind::refused_accept, -1});
            break;
        case ZMQ_EVENT_DISCONNECTED:
            events_.on_connection(*this, {ConnectionEvent::Kind::down, value});
            break;
        case ZMQ_EVENT_CONNECT_RETRIED:
            events_.on_connection(*this, {ConnectionEvent::Kind::retried, -1});
            break;
        default: break;
    }
    return true;
}

bool ZmqLink::pull_one() {
    IncomingMessage message;
    if (is_listener_) {
        Frame route;
        if (!route.receive(socket_.native())) return false;
        message.route = std::string(as_text(route.bytes()));
        if (!route.more()) return true;
    }
    if (!receive_parts(socket_.native(), message)) return false;
    events_.on_incoming(*this, std::move(message));
    return true;
}

/// One message of each route that has any.
bool ZmqLink::push_round() {
    bool moved = false;
    std::vector<Route> routes;
    for (const auto& [route, box] : outboxes_) routes.push_back(route);
    for (const Route& route : routes) {
        auto found = outboxes_.find(route);
        if (found == outboxes_.end()) continue;
        Outbox& box = found->second;
        bool is_chunk = box.small.empty();
        auto& line = is_chunk ? box.chunk : box.small;
        if (line.empty()) continue;
        Sent sent = push_one(route, line.front());
        if (sent == Sent::full) continue;
        moved = true;
        if (sent == Sent::unroutable) {
            outboxes_.erase(found);
            events_.on_route_lost(*this, route);
            continue;
        }
        if (!is_chunk) box.small_bytes -= line.front().envelope.size();
        line.pop_front();
        if (is_chunk) events_.on_chunk_taken(*this, route);
    }
    return moved;
}

ZmqLink::Sent ZmqLink::push_one(const Route& route, const Outgoing& message) {
    void* socket = socket_.native();
    auto outcome = [] { return zmq_errno() == EAGAIN ? Sent::full : Sent::unroutable; };
    if (is_listener_ && zmq_send(socket, route.data(), route.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) return outcome();
    std::size_t size = message.chunk == nullptr ? 0 : message.chunk->size();
    int flags = ZMQ_DONTWAIT | (size > 0 ? ZMQ_SNDMORE : 0);
    if (zmq_send(socket, message.envelope.data(), message.envelope.size(), flags) < 0) return outcome();
    // Once the first part is in, libzmq takes the rest of the message whatever its marks say.
    for (std::size_t at = 0; at < size; at += kMaxDataFrame) {
        std::size_t part = std::min(kMaxDataFrame, size - at);
        bool last = at + part == size;
        if (send_part(socket, message.chunk, ByteSpan(*message.chunk).subspan(at, part),
                      ZMQ_DONTWAIT | (last ? 0 : ZMQ_SNDMORE)))
            continue;
        // The connection is gone in mid-message. A dealer swallows frames until the message's last one.
        if (!last) zmq_send(socket, "", 0, ZMQ_DONTWAIT);
        return Sent::unroutable;
    }
    return Sent::taken;
}

}  // namespace skerry::node
