#pragma once
// Sessions and data-plane connections: latency, links that are cut, silent, slow or clogged in either direction, loss
// at reconnect, doubled and late messages.

#include <algorithm>
#include <map>
#include <set>

#include "coordinator/core/events.hpp"
#include "tests/sim/sim_node.hpp"

namespace skerry::sim {

/// The coordinator's place in a link; nodes have their index.
inline constexpr std::uint32_t kCoordinator = 0xffffffff;

class Network {
  public:
    explicit Network(Simulation& sim);

    // Control.
    void dial(std::uint32_t node);
    void hang_up(std::uint32_t node);
    void node_says(std::uint32_t node, ControlMessage message);
    void coordinator_says(coordinator::SessionId session, ControlMessage message);
    void coordinator_closes(coordinator::SessionId session);
    void node_died(std::uint32_t node, bool power_cut);
    void coordinator_died(std::uint64_t process);
    /// Connections break; what is under way on them is lost.
    void reset_sessions();

    // Data plane.
    void refresh();
    void peer_says(std::uint32_t from, const NodeId& to, PeerPayload payload);
    void reset_connections();

    /// Whether these two talk when nothing is wrong.
    bool wanted(std::uint32_t a, std::uint32_t b) const;

    // One direction of a link.
    /// Nothing passes; the ends notice after a while.
    void cut(std::uint32_t from, std::uint32_t to, bool cut);
    /// Nothing passes and nobody notices; when it ends, the connection turns out to be dead.
    void silence(std::uint32_t from, std::uint32_t to, bool silent);
    /// Every message takes up to so much longer; on the data plane it may be overtaken.
    void slow(std::uint32_t from, std::uint32_t to, Millis more);
    /// Messages pile up until then and arrive at once.
    void clog(std::uint32_t from, std::uint32_t to, Mono until);
    void heal();

    /// Settings of a seed.
    Millis latency_lo{1};
    Millis latency_hi{20};
    double doubled = 0;
    std::vector<bool> reachable;
    /// Pairs of nodes that never connect.
    std::set<std::pair<std::uint32_t, std::uint32_t>> strangers;
    /// Some pair sees each other only through a third, who must then not leave.
    bool needs_relays() const { return !strangers.empty() || std::count(reachable.begin(), reachable.end(), false) > 1; }

  private:
    using Pair = std::pair<std::uint32_t, std::uint32_t>;
    struct Session {
        std::uint32_t node = 0;
        std::uint64_t process = 0;  ///< of the coordinator
        bool greeted = false;       ///< the Hello arrived
        bool announced = false;     ///< the coordinator knows it and does not know its end
        bool broken = false;
        Mono to_coordinator;
        Mono to_node;
        Mono heard;                 ///< by the node
    };
    struct Edge {
        bool up = false;
        bool connecting = false;
        std::uint64_t generation = 0;
    };
    struct Link {
        bool cut = false;
        bool silent = false;
        Millis more{0};
        Mono clogged_until;
        bool dead() const { return cut || silent; }
    };
    /// When a message that leaves now arrives.
    Mono arrival(std::uint32_t from, std::uint32_t to);
    const Link& link(std::uint32_t from, std::uint32_t to) const;
    void watch(std::uint64_t session);
    void end_session(std::uint64_t id, Millis node_hears, Millis coordinator_hears);
    void break_session(std::uint64_t id);
    bool passes(std::uint32_t a, std::uint32_t b) const { return !link(a, b).dead() && !link(b, a).dead(); }
    void drop_edge(std::uint32_t a, std::uint32_t b);
    void deliver(std::uint32_t from, std::uint32_t to, std::uint64_t generation, const PeerPayload& payload);
    static Pair pair(std::uint32_t a, std::uint32_t b) { return std::minmax(a, b); }

    Simulation& sim_;
    Corner world_;
    std::map<std::uint64_t, Session> sessions_;
    std::map<std::uint32_t, std::uint64_t> session_of_;
    std::uint64_t next_session_ = 0;
    std::set<std::uint32_t> dialing_;
    std::map<Pair, Link> links_;
    std::map<Pair, Edge> edges_;
};

}  // namespace skerry::sim
