#include <zmq.h>

#include <chrono>
#include <optional>

#include "node/transport/zap_handler.hpp"

namespace skerry::node {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{5};

bool wait_readable(void* socket, Clock::time_point until) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
    zmq_pollitem_t item{socket, 0, ZMQ_POLLIN, 0};
    return left > 0 && zmq_poll(&item, 1, left) > 0;
}

std::uint16_t read_event(void* monitor) {
    std::uint8_t data[6] = {};
    zmq_recv(monitor, data, sizeof data, 0);
    zmq_recv(monitor, nullptr, 0, 0);
    std::uint16_t event = 0;
    std::memcpy(&event, data, sizeof event);
    return event;
}

/// Whether the dialler's handshake went through; nothing if neither outcome came in time.
std::optional<bool> handshake(void* monitor) {
    auto until = Clock::now() + kPatience;
    while (wait_readable(monitor, until)) {
        std::uint16_t event = read_event(monitor);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return true;
        if ((event & (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                      ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED)) != 0)
            return false;
    }
    return {};
}

/// User-Id of the next message, "" if it has none; nothing if no message comes until `until`.
std::optional<std::string> next_user(void* listener, Clock::time_point until) {
    if (!wait_readable(listener, until)) return {};
    std::string user;
    for (int more = 1; more != 0;) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        zmq_msg_recv(&frame, listener, 0);
        more = zmq_msg_more(&frame);
        user = connection_user(&frame);
        zmq_msg_close(&frame);
    }
    return user;
}

/// Dials and asks for the handshake to end as expected. Answers the dialler, still open.
Result<ZmqSocket> expect(ZmqContext& context, Result<ZmqSocket> dialler, std::uint16_t port, bool granted,
                    const std::string& who) {
    if (!dialler) return fail(dialler.error());
    auto monitor = make_monitor(context, *dialler);
    if (!monitor) return fail(monitor.error());
    auto dialled = connect_tcp(*dialler, "127.0.0.1", port);
    auto outcome = dialled ? handshake(monitor->native()) : std::nullopt;
    stop_monitor(*dialler);
    if (!dialled) return fail(dialled.error());
    // Its own thread must look at a socket before the announcement leaves.
    wait_readable(dialler->native(), Clock::now() + std::chrono::milliseconds(10));
    if (outcome == std::optional(granted)) return dialler;
    if (!outcome) return fail(Errc::bad_state, "admission self-test: no answer for " + who);
    return fail(Errc::bad_state, "admission self-test: " + who + (granted ? " was refused" : " was let in"));
}

/// Strangers first. Answers the listed dialler: its announcement is under way.
Result<ZmqSocket> prove(ZmqContext& context, const CurveKeyPair& server, const CurveKeyPair& listed,
                        std::uint16_t port) {
    auto stranger = make_curve_keys();
    auto other_server = make_curve_keys();
    auto refused = expect(context, make_dialler(context, stranger, server.public_key), port, false, "an unknown key");
    if (!refused) return refused;
    refused = expect(context, make_dialler(context, listed, other_server.public_key), port, false,
                     "a wrong server key");
    if (!refused) return refused;
    refused = expect(context, make_keyless_dialler(context), port, false, "a client without a key");
    if (!refused) return refused;
    return expect(context, make_dialler(context, listed, server.public_key), port, true, "a listed key");
}

}  // namespace

Result<void> prove_admission(ZmqContext& context, ZapHandler& handler) {
    auto server = make_curve_keys();
    auto listed = make_curve_keys();
    NodeId node;
    node.bytes.fill(0x5A);
    auto listener = make_listener(context, server);
    if (!listener) return fail(listener.error());
    auto port = bind_tcp(*listener, "127.0.0.1", 0);
    if (!port) return fail(port.error());

    handler.set_allowed({{listed.public_key, node}});
    auto proved = prove(context, server, listed, *port);
    handler.set_allowed({});
    if (!proved) return fail(proved.error());

    // Only the listed dialler's announcement comes, and under its name.
    auto first = next_user(listener->native(), Clock::now() + kPatience);
    if (first != std::optional(node.hex())) return fail(Errc::bad_state, "admission self-test: a message lost its name");
    if (next_user(listener->native(), Clock::now() + std::chrono::milliseconds(10)))
        return fail(Errc::bad_state, "admission self-test: a stranger's message came through");
    return {};
}

}  // namespace skerry::node
