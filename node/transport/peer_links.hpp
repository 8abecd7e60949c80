#pragma once
// The data plane's connections: one listening socket, one dialled socket for each peer that this node dials.
// A connection serves both directions, whoever dialled.

#include <boost/asio/any_io_executor.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/transport/curve_keys.hpp"
#include "node/transport/rate_meter.hpp"
#include "node/transport/zap_handler.hpp"
#include "protocol/base/bytes.hpp"
#include "protocol/base/task.hpp"
#include "protocol/base/thread_home.hpp"
#include "protocol/wire/messages.hpp"

namespace skerry::node {

/// A peer of the roster, and whether this node is the one that dials it (the core says so).
struct PeerTarget {
    NodeId node;
    CurveKey curve;
    std::vector<Address> addresses;
    bool dial = false;
};

/// What PeerLinks tells its owner, on the io thread. May call back into PeerLinks.
class PeerLinksEvents {
  public:
    virtual ~PeerLinksEvents() = default;
    /// A message of a node that is in the roster now. `chunk` is empty unless data frames followed the envelope;
    /// sizes are within limits.hpp, nothing else is checked.
    virtual void on_message(const NodeId& from, Bytes envelope, Bytes chunk) = 0;
    virtual void on_link(const NodeId& peer, bool up) = 0;
    /// The transport takes one more chunk for this peer (see has_room).
    virtual void on_room(const NodeId& peer) = 0;
};

struct PeerLinksConfig {
    std::string listen_host = "*";
    std::uint16_t listen_port = 7610;    ///< 0: any free port
    bool listen = true;                  ///< false: closed to incoming connections, dials only
    std::size_t outbox_bytes = 1 << 20;  ///< control-like frames kept for one peer; beyond it they are dropped
    std::chrono::milliseconds address_patience{4000};  ///< then the next address of the peer is tried
};

struct PeerTraffic {
    std::uint64_t sent_bytes = 0;      ///< envelopes and chunks handed to the transport
    std::uint64_t received_bytes = 0;
    std::uint64_t sent_messages = 0;
    std::uint64_t received_messages = 0;
};

struct PeerLinksCounters {
    std::uint64_t accepted = 0;           ///< TCP connections, before any handshake
    std::uint64_t handshakes_failed = 0;
    std::uint64_t accept_failed = 0;
    std::uint64_t dropped_unknown = 0;    ///< no User-Id, or of a node that is not in the roster now
    std::uint64_t dropped_malformed = 0;  ///< too many frames or bytes
    std::uint64_t dropped_outbox = 0;     ///< outbox full or no link
    std::uint64_t connections_cut = 0;    ///< of nodes that left the roster, or that sent a message without an end
};

/// Owns the sockets and their coroutines. Belongs to the io thread.
///
/// Memory for each peer: outbox_bytes, one chunk waiting, and kPipeMessages in libzmq for each direction.
/// A peer that has left the roster gets nothing in from that moment on, and its TCP connection is shut down.
class PeerLinks {
  public:
    /// `zap` lets in the roster's keys: set_targets keeps its list.
    PeerLinks(asio::any_io_executor executor, ZmqContext& context, ZapHandler& zap, const CurveKeyPair& keys,
              PeerLinksConfig config, PeerLinksEvents& events);
    ~PeerLinks();

    /// Binds the listening socket; answers the port (0 where config.listen is false). Errors: port_in_use.
    Result<std::uint16_t> bind();
    /// Moves frames until cancelled; on return all sockets are closed.
    Task<> run();

    /// The roster as it holds from now on, without this node itself.
    void set_targets(const std::vector<PeerTarget>& targets);

    bool is_up(const NodeId& peer) const;
    std::vector<NodeId> up() const;

    /// Queues a control-like frame; these go before chunks. False, and counted: no link or outbox full (whoever
    /// asked repeats the question).
    bool send(const NodeId& peer, Bytes envelope);
    /// Whether send_chunk takes a chunk now: at most one waits for each peer.
    bool has_room(const NodeId& peer) const;
    /// Queues an envelope with its chunk. False: no link, or no room.
    bool send_chunk(const NodeId& peer, Bytes envelope, std::shared_ptr<const Bytes> chunk);

    PeerTraffic traffic(const NodeId& peer) const;
    /// Bytes that TCP has received on the peer's open connections, chunks under way included; 0 if there is none.
    std::uint64_t wire_received(const NodeId& peer) const;
    /// What the kernel counts of every open connection.
    std::vector<WireCounters> wire() const;
    /// Of all peers since the start, also those that are gone.
    PeerTraffic total_traffic() const { return total_; }
    const PeerLinksCounters& counters() const { return counters_; }

  private:
    class Impl;
    PeerTraffic total_;
    PeerLinksCounters counters_;
    std::unique_ptr<Impl> impl_;
};

}  // namespace skerry::node
