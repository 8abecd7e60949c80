#pragma once
// One node's session: frames become events of its run, the run's messages become frames.

#include <boost/asio/steady_timer.hpp>
#include <deque>

#include "coordinator/server/connection_gate.hpp"
#include "coordinator/server/run_host.hpp"
#include "protocol/session/frame_stream.hpp"

namespace skerry::coordinator {

/// Belongs to the io thread. The outbox is bounded: Orders that were not sent yet give way to newer ones (which inherit
/// the bodies that are told only once); a node that takes nothing for `kSendPatience`, or lets too much pile up, is
/// disconnected.
class NodeSession final : private SessionLink {
  public:
    NodeSession(SessionId id, ControlStream& stream, RunHost& run);

    /// From Hello to the end of the connection, or until cancelled.
    Task<> run(HelloReceived hello);

  private:
    void send(ControlMessage message) override;
    void close() override;

    Task<> read_loop();
    Task<> write_loop();
    Task<> wait_for_change();
    void changed();

    SessionId id_;
    ControlStream& stream_;
    RunHost& run_;
    RateLimit rate_;
    std::deque<ControlMessage> outbox_;
    asio::steady_timer wake_;
    asio::steady_timer welcome_;
    bool welcomed_ = false;
    bool closing_ = false;
};

/// What `newer` must also say if `older` is never sent: bodies that the core tells only once.
void inherit_bodies(const Orders& older, Orders& newer);

}  // namespace skerry::coordinator
