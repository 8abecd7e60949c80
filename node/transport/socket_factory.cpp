#include "node/transport/socket_factory.hpp"

#include <zmq.h>

#include <atomic>

#include "protocol/wire/limits.hpp"

namespace skerry::node {
namespace {

// ZMQ_ZAP_ENFORCE_DOMAIN: in the library since 4.3, in the header only with ZMQ_BUILD_DRAFT_API.
constexpr int kZapEnforceDomain = 93;
#ifdef ZMQ_ZAP_ENFORCE_DOMAIN
static_assert(ZMQ_ZAP_ENFORCE_DOMAIN == kZapEnforceDomain);
#endif

/// Sets options until one fails, and remembers which.
class Options {
  public:
    explicit Options(void* socket) : socket_(socket) {}
    Options& number(int option, int value) { return raw(option, &value, sizeof value); }
    Options& number64(int option, std::int64_t value) { return raw(option, &value, sizeof value); }
    Options& raw(int option, const void* value, std::size_t size) {
        if (failed_ == 0 && zmq_setsockopt(socket_, option, value, size) != 0) failed_ = option;
        return *this;
    }
    int failed() const { return failed_; }

  private:
    void* socket_;
    int failed_ = 0;
};

void set_limits(Options& options) {
    options.number64(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(kMaxZmqMessage))
        .number(ZMQ_SNDHWM, kPipeMessages)
        .number(ZMQ_RCVHWM, kPipeMessages)
        .number(ZMQ_LINGER, 0)
        .number(ZMQ_BACKLOG, 128)
        .number(ZMQ_HANDSHAKE_IVL, 5000)
        .number(ZMQ_CONNECT_TIMEOUT, 5000)
        .number(ZMQ_RECONNECT_IVL, 200)
        .number(ZMQ_RECONNECT_IVL_MAX, 3000)
        .number(ZMQ_TCP_KEEPALIVE, 1)
        .number(ZMQ_TCP_KEEPALIVE_IDLE, 15)
        .number(ZMQ_TCP_KEEPALIVE_INTVL, 5)
        .number(ZMQ_TCP_KEEPALIVE_CNT, 4)
        .number(ZMQ_TCP_MAXRT, 30000)
        .number(ZMQ_HEARTBEAT_IVL, 0)
        .number(ZMQ_IMMEDIATE, 1)
        .number(ZMQ_IPV6, 1);
}

void set_zap_domain(Options& options) {
    options.raw(ZMQ_ZAP_DOMAIN, kZapDomain, sizeof kZapDomain - 1).number(kZapEnforceDomain, 1);
}

Result<ZmqSocket> finish(ZmqSocket socket, const Options& options) {
    if (options.failed() != 0) return fail(zmq_error("ZeroMQ refuses option " + std::to_string(options.failed())));
    return socket;
}

Result<ZmqSocket> make(ZmqContext& context, int type) {
    ZmqSocket socket(zmq_socket(context.native(), type));
    if (socket.native() == nullptr) return fail(zmq_error("cannot make a ZeroMQ socket"));
    return socket;
}

std::string to_endpoint(const std::string& host, std::uint16_t port) {
    bool ipv6 = host.find(':') != std::string::npos;
    return "tcp://" + (ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace

Result<ZmqSocket> make_listener(ZmqContext& context, const CurveKeyPair& own) {
    auto socket = make(context, ZMQ_ROUTER);
    if (!socket) return socket;
    Options options(socket->native());
    set_limits(options);
    set_zap_domain(options);
    options.number(ZMQ_ROUTER_MANDATORY, 1)
        .number(ZMQ_ROUTER_HANDOVER, 0)
        .number(ZMQ_CURVE_SERVER, 1)
        .raw(ZMQ_CURVE_SECRETKEY, own.secret.data(), own.secret.size());
    return finish(std::move(*socket), options);
}

Result<ZmqSocket> make_dialler(ZmqContext& context, const CurveKeyPair& own, const CurveKey& server) {
    auto socket = make(context, ZMQ_DEALER);
    if (!socket) return socket;
    Options options(socket->native());
    set_limits(options);
    options.number(ZMQ_PROBE_ROUTER, 1)
        .raw(ZMQ_CURVE_SERVERKEY, server.bytes.data(), server.bytes.size())
        .raw(ZMQ_CURVE_PUBLICKEY, own.public_key.bytes.data(), own.public_key.bytes.size())
        .raw(ZMQ_CURVE_SECRETKEY, own.secret.data(), own.secret.size());
    return finish(std::move(*socket), options);
}

Result<ZmqSocket> make_keyless_dialler(ZmqContext& context) {
    auto socket = make(context, ZMQ_DEALER);
    if (!socket) return socket;
    Options options(socket->native());
    set_limits(options);
    options.number(ZMQ_PROBE_ROUTER, 1);
    return finish(std::move(*socket), options);
}

Result<ZmqSocket> make_monitor(ZmqContext& context, ZmqSocket& watched) {
    static std::atomic<std::uint64_t> counter{0};
    std::string endpoint = "inproc://skerry-monitor-" + std::to_string(++counter);
    constexpr int kEvents = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED |
                            ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                            ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                            ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    if (zmq_socket_monitor(watched.native(), endpoint.c_str(), kEvents) != 0)
        return fail(zmq_error("cannot watch a ZeroMQ socket"));
    auto socket = make(context, ZMQ_PAIR);
    if (!socket) return socket;
    Options options(socket->native());
    options.number(ZMQ_LINGER, 0);
    if (zmq_connect(socket->native(), endpoint.c_str()) != 0) {
        stop_monitor(watched);
        return fail(zmq_error("cannot connect to " + endpoint));
    }
    return finish(std::move(*socket), options);
}

void stop_monitor(ZmqSocket& watched) {
    if (watched.native() != nullptr) zmq_socket_monitor(watched.native(), nullptr, 0);
}

Result<ZmqSocket> make_zap_socket(ZmqContext& context) {
    auto socket = make(context, ZMQ_REP);
    if (!socket) return socket;
    Options options(socket->native());
    // The time-out is how the thread notices that it should stop.
    options.number(ZMQ_LINGER, 0).number(ZMQ_RCVTIMEO, 100);
    if (zmq_bind(socket->native(), "inproc://zeromq.zap.01") != 0) {
        if (zmq_errno() == EADDRINUSE) return fail(Errc::already_exists, "this context has a ZAP handler");
        return fail(zmq_error("cannot bind the ZAP handler"));
    }
    return finish(std::move(*socket), options);
}

Result<std::uint16_t> bind_tcp(ZmqSocket& socket, const std::string& host, std::uint16_t port) {
    std::string endpoint = port == 0 ? "tcp://" + host + ":*" : to_endpoint(host, port);
    if (zmq_bind(socket.native(), endpoint.c_str()) != 0) return fail(zmq_error("cannot listen on " + endpoint));
    char bound[256];
    std::size_t size = sizeof bound;
    if (zmq_getsockopt(socket.native(), ZMQ_LAST_ENDPOINT, bound, &size) != 0)
        return fail(zmq_error("cannot read the bound endpoint"));
    std::string text(bound);
    return static_cast<std::uint16_t>(std::stoul(text.substr(text.rfind(':') + 1)));
}

Result<std::string> connect_tcp(ZmqSocket& socket, const std::string& host, std::uint16_t port) {
    std::string endpoint = to_endpoint(host, port);
    if (zmq_connect(socket.native(), endpoint.c_str()) != 0) return fail(zmq_error("cannot dial " + endpoint));
    return endpoint;
}

void disconnect_tcp(ZmqSocket& socket, const std::string& endpoint) {
    zmq_disconnect(socket.native(), endpoint.c_str());
}

}  // namespace skerry::node
