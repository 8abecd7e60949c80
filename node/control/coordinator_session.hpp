#pragma once
// The node's side of the control plane: keeps one session with the coordinator, for ever.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "protocol/base/task.hpp"
#include "protocol/base/thread_home.hpp"
#include "protocol/identity/certificate.hpp"
#include "protocol/session/tls.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// Where the coordinator is and how it is recognised. `key` is the node's identity, proved in the handshake.
struct CoordinatorPeer {
    std::string host;
    std::uint16_t port = 7600;
    RootPin root;
    KeyPair key;
};

struct CoordinatorSessionConfig {
    std::chrono::milliseconds dial_patience{5000};     ///< name, TCP and TLS together
    std::chrono::milliseconds silence_patience{10000}; ///< the coordinator sends Orders every second
    /// Pauses are doubled; the first `soon_dials` of them stay short, for a coordinator that restarts. Each is drawn
    /// from its upper half.
    std::chrono::milliseconds backoff_first{100};
    std::chrono::milliseconds backoff_soon{500};
    std::chrono::milliseconds backoff_most{5000};
    unsigned soon_dials = 60;
    std::size_t outbox_messages = 256;                 ///< a queued Report is replaced by a newer one
};

/// What the session tells its owner, on the io thread.
class CoordinatorEvents {
  public:
    virtual ~CoordinatorEvents() = default;
    /// The coordinator has proved the pinned root: say Hello. `service` is its key, which signs rosters and
    /// decisions.
    virtual void on_session(const PublicKey& service) = 0;
    /// Also Welcome, Refusal and Replaced: what they mean is for the core to say.
    virtual void on_message(ControlMessage message) = 0;
    /// An open session ended (`was_open`), or a dial failed; the next dial follows by itself after `retry_in`.
    virtual void on_lost(const Error& why, std::chrono::milliseconds retry_in, bool was_open) = 0;
};

/// Belongs to the io thread.
class CoordinatorSession {
  public:
    CoordinatorSession(asio::any_io_executor executor, CoordinatorPeer peer, CoordinatorSessionConfig config,
                       CoordinatorEvents& events);

    /// Dials, moves messages both ways, dials again, until cancelled.
    Task<> run();

    /// Queues a message for the open session. False: no session, or the outbox is full; states are repeated anyway,
    /// so nobody needs to retry. What is queued when the session ends is dropped.
    bool send(ControlMessage message);

    /// Ends the session, or cuts the pause before the next dial short. The back-off goes on until a Welcome.
    void redial(std::string reason);

    bool is_open() const { return open_; }
    std::uint64_t dials() const { return dials_; }

  private:
    Task<Error> session();
    Task<Result<void>> pump_in(ControlStream& stream);
    Task<Result<void>> pump_out(ControlStream& stream);
    std::chrono::milliseconds next_pause();

    asio::any_io_executor executor_;
    CoordinatorPeer peer_;
    TlsContext tls_;
    CoordinatorSessionConfig config_;
    CoordinatorEvents& events_;
    asio::steady_timer wake_;   ///< something to send, or to end
    asio::steady_timer pause_;  ///< before the next dial
    std::deque<ControlMessage> outbox_;
    std::optional<std::string> redial_;
    std::uint64_t dials_ = 0;
    unsigned failures_ = 0;
    bool open_ = false;
    ThreadHome home_;
};

}  // namespace skerry::node
