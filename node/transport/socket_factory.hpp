#pragma once
// The one place that creates ZeroMQ sockets, and the one that knows libzmq 4.3.4's traps:
// - MAXMSGSIZE is unlimited by default and is the only limit that holds before authentication;
// - CURVE without a ZAP handler lets everybody in, unless a domain is set *and* option 93 (enforce the domain),
//   which Debian's header hides, is on;
// - high-water marks count messages, and a multipart message counts once;
// - resolving a host name blocks the one I/O thread: give numeric addresses.
// Only tcp is used (and inproc for ZAP and monitors); ZMTP heartbeats stay off, liveness is ours.

#include <string>

#include "node/transport/curve_keys.hpp"
#include "node/transport/zmq_context.hpp"

namespace skerry::node {

inline constexpr char kZapDomain[] = "skerry";
/// Messages (not bytes) that libzmq may hold for one connection and direction; each has at most kMaxChunkBytes.
inline constexpr int kPipeMessages = 2;

/// ROUTER, CURVE server; not bound yet. Refuses a second connection with a routing id in use.
Result<ZmqSocket> make_listener(ZmqContext& context, const CurveKeyPair& own);
/// DEALER, CURVE client of exactly one server key; not connected yet. Announces itself with an empty message
/// after every handshake, so that the listener learns the route.
Result<ZmqSocket> make_dialler(ZmqContext& context, const CurveKeyPair& own, const CurveKey& server);
/// DEALER without any key (the self-test shows that it is refused).
Result<ZmqSocket> make_keyless_dialler(ZmqContext& context);
/// PAIR that hears about connections of `watched`: accepted, handshake done or failed, disconnected, retried.
/// Call stop_monitor before it is closed: libzmq's I/O thread waits for ever on a monitor that nobody reads.
Result<ZmqSocket> make_monitor(ZmqContext& context, ZmqSocket& watched);
void stop_monitor(ZmqSocket& watched);
/// REP bound where libzmq looks for the authenticator of this context.
Result<ZmqSocket> make_zap_socket(ZmqContext& context);

/// Binds to tcp; port 0 takes a free one. Answers the port. Errors: port_in_use; unreachable for no such address.
Result<std::uint16_t> bind_tcp(ZmqSocket& socket, const std::string& host, std::uint16_t port);
/// Starts connecting in the background; `host` must be numeric. Answers the endpoint for disconnect_tcp.
Result<std::string> connect_tcp(ZmqSocket& socket, const std::string& host, std::uint16_t port);
void disconnect_tcp(ZmqSocket& socket, const std::string& endpoint);

}  // namespace skerry::node
