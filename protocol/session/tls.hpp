#pragma once
// TLS 1.3 both ways with Ed25519 keys: ALPN skerry/1, no tickets, no early data, no renegotiation, certificate lists
// of at most 16 KiB, a deadline on the handshake.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "protocol/identity/certificate.hpp"
#include "protocol/session/frame_stream.hpp"

namespace skerry {

inline constexpr std::chrono::milliseconds kHandshakePatience{5000};

/// Keys and settings of one side, shared by its connections. Copies share it. One thread.
class TlsContext {
  public:
    /// The coordinator's side: shows its service certificate and the root's, asks for the other side's key.
    /// Errors: malformed; bad_state if the certificate is not that of the key.
    static Result<TlsContext> make_server(const KeyPair& service, const std::string& service_pem,
                                          const std::string& root_pem);
    /// A node's or the command line's side.
    static TlsContext make_client(const KeyPair& key);

    struct State;
    State& state() const { return *state_; }

  private:
    explicit TlsContext(std::shared_ptr<State> state) : state_(std::move(state)) {}
    std::shared_ptr<State> state_;
};

/// Dials a coordinator. `patience` is for name, TCP and TLS together. Nothing is sent to a coordinator that does not
/// show a valid service certificate of the pinned root.
/// Errors: unreachable, timed_out, wrong_coordinator, version_mismatch (no common ALPN), closed, malformed.
Task<Result<std::unique_ptr<FrameStream>>> dial_tls(std::string host, std::uint16_t port, TlsContext context,
                                                    RootPin pin, std::chrono::milliseconds patience);

/// The handshake of an accepted connection. Any Ed25519 key is accepted: who it belongs to is for admission to say.
Task<Result<std::unique_ptr<FrameStream>>> accept_tls(asio::ip::tcp::socket socket, TlsContext context,
                                                      std::chrono::milliseconds patience = kHandshakePatience);

}  // namespace skerry
