#pragma once
// Who may open a connection: answers libzmq's authentication requests from the roster's CURVE keys.

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "node/transport/socket_factory.hpp"

namespace skerry::node {

/// Denies by default: no roster, no entry. NULL and PLAIN, another domain and malformed requests are refused.
/// An accepted connection gets `User-Id` = hex(node id), which libzmq attaches to each of its messages.
///
/// Runs on a thread of its own ("zap"), so that a busy io thread fails nobody's handshake. Made before any socket
/// is bound; there is one for each context. A live connection is not ended by a new list: see PeerLinks.
class ZapHandler {
  public:
    /// Errors: already_exists if the context has a handler.
    static Result<std::unique_ptr<ZapHandler>> start(ZmqContext& context);
    ~ZapHandler();

    /// Replaces the list. Any thread.
    void set_allowed(std::map<CurveKey, NodeId> allowed);

    std::uint64_t accepted() const { return accepted_; }
    std::uint64_t refused() const { return refused_; }

  private:
    ZapHandler() = default;
    void serve(ZmqSocket socket);

    // Guarded: the io thread replaces the list while "zap" reads it; a message would have to be awaited in a
    // handshake.
    std::mutex mutex_;
    std::map<CurveKey, NodeId> allowed_;
    std::atomic<std::uint64_t> accepted_{0};
    std::atomic<std::uint64_t> refused_{0};
    std::atomic<bool> stopping_{false};
    std::thread thread_;
};

/// Proves on loopback that this libzmq refuses an unknown key, a wrong server key and a client without a key
/// (NULL), and that a listed key gets through. Takes some 10 ms; call it before the first bind, with the handler
/// that will serve. The list is empty afterwards. Errors: bad_state, with what was let in.
Result<void> prove_admission(ZmqContext& context, ZapHandler& handler);

}  // namespace skerry::node
