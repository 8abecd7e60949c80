#pragma once
// The node's side of the control plane: keeps one session with the coordinator, for ever.

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "protocol/base/task.hpp"
#include "protocol/base/thread_home.hpp"
#include "protocol/identity/certificate.hpp"
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
    std::chrono::milliseconds dial_patience{5000};     ///< name, TCP and TLS together, for each address
    std::chrono::milliseconds welcome_patience{10000};
    std::chrono::milliseconds silence_patience{10000}; ///< Orders come every second
    std::chrono::milliseconds backoff_first{200};      ///< doubled up to backoff_most, each drawn from [1/2, 1] of it
    std::chrono::milliseconds backoff_most{5000};
    std::size_t outbox_messages = 256;                 ///< a queued Report is replaced by a newer one
};

/// What the session tells its owner, on the io thread.
class CoordinatorEvents {
  public:
    virtual ~CoordinatorEvents() = default;
    /// Called at each dial: where this node stands now.
    virtual Hello make_hello() = 0;
    /// The session is open. `service` is the coordinator's key: it signs rosters and decisions.
    virtual void on_welcome(const Welcome& welcome, const PublicKey& service) = 0;
    virtual void on_message(const ControlMessage& message) = 0;
    /// The session ended, or a dial failed; the next one follows by itself after `retry_in`. For `status`.
    virtual void on_lost(const Error& why, std::chrono::milliseconds retry_in) = 0;
};

/// Belongs to the io thread.
class CoordinatorSession {
  public:
    CoordinatorSession(asio::any_io_executor executor, CoordinatorPeer peer, CoordinatorSessionConfig config,
                       CoordinatorEvents& events);

    /// Dials, says Hello, moves messages both ways, dials again. Returns only when cancelled (Errc::cancelled), or
    /// when the coordinator's answer will not change by itself: the refusal's code and fix (token_*, revoked,
    /// version_mismatch, wrong_coordinator, no_such_run, run_ended), or `replaced`.
    Task<Result<void>> run();

    /// Queues a message for the open session, in the envelope of its Welcome. False: no session, or the outbox is
    /// full; states are repeated anyway, so nobody needs to retry.
    bool send(ControlBody body);

    bool is_open() const { return open_; }
    std::uint64_t dials() const { return dials_; }

  private:
    struct Wire;
    Task<Result<void>> session();
    Task<Result<void>> pump_in(Wire& wire);
    Task<Result<void>> pump_out(Wire& wire);
    std::chrono::milliseconds next_backoff();

    CoordinatorPeer peer_;
    CoordinatorSessionConfig config_;
    CoordinatorEvents& events_;
    asio::steady_timer wake_;
    std::deque<ControlBody> outbox_;
    RunId run_;
    Term term_;
    Incarnation incarnation_;
    std::uint64_t seq_ = 0;
    std::uint64_t dials_ = 0;
    unsigned failures_ = 0;
    bool open_ = false;
    ThreadHome home_;
};

/// Whether dialling again can help.
bool is_final(Errc code);

}  // namespace skerry::node
