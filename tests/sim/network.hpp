#pragma once
// Sessions and data-plane connections: latency, links cut in either direction, loss at reconnect, doubled messages.

#include <map>
#include <set>

#include "coordinator/core/events.hpp"
#include "tests/sim/sim_node.hpp"

namespace skerry::sim {

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
    void coordinator_died();
    void cut_control(std::uint32_t node, bool up, bool down);

    // Data plane.
    void refresh();
    void peer_says(std::uint32_t from, const NodeId& to, PeerPayload payload);
    /// One direction of an edge.
    void cut_edge(std::uint32_t from, std::uint32_t to, bool cut);
    void reset_connections();
    void heal();

    /// Settings of a seed.
    Millis latency_lo{1};
    Millis latency_hi{20};
    double doubled = 0;
    std::vector<bool> reachable;

  private:
    struct Session {
        std::uint32_t node = 0;
        bool greeted = false;   ///< the Hello arrived
        bool announced = false; ///< the coordinator knows it and does not know its end
        bool broken = false;
        Mono to_coordinator;
        Mono to_node;
    };
    struct Edge {
        bool up = false;
        bool connecting = false;
        std::uint64_t generation = 0;
    };
    Millis latency();
    void end_session(std::uint64_t id, Millis node_hears, Millis coordinator_hears);
    void break_session(std::uint64_t id);
    bool wanted(std::uint32_t a, std::uint32_t b) const;
    bool passes(std::uint32_t a, std::uint32_t b) const { return !cut_.contains({a, b}) && !cut_.contains({b, a}); }
    void drop_edge(std::uint32_t a, std::uint32_t b);
    void deliver(std::uint32_t from, std::uint32_t to, std::uint64_t generation, const PeerPayload& payload);
    static std::pair<std::uint32_t, std::uint32_t> pair(std::uint32_t a, std::uint32_t b) { return std::minmax(a, b); }

    Simulation& sim_;
    World& world_;
    std::map<std::uint64_t, Session> sessions_;
    std::map<std::uint32_t, std::uint64_t> session_of_;
    std::uint64_t next_session_ = 0;
    std::set<std::uint32_t> dialing_;
    std::set<std::uint32_t> cut_up_;
    std::set<std::uint32_t> cut_down_;
    std::set<std::pair<std::uint32_t, std::uint32_t>> cut_;
    std::map<std::pair<std::uint32_t, std::uint32_t>, Edge> edges_;
};

}  // namespace skerry::sim
