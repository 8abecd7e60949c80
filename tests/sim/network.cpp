#include "tests/sim/network.hpp"

#include "tests/sim/simulation.hpp"

namespace skerry::sim {

Network::Network(Simulation& sim) : sim_(sim), world_(sim.world) {}

Millis Network::latency() { return world_.rng.ms(latency_lo.count(), latency_hi.count()); }

// ---------------------------------------------------------------------------------------------------- control

void Network::dial(std::uint32_t node) {
    if (!dialing_.insert(node).second) return;
    world_.after(world_.rng.ms(20, 400), [this, node] {
        dialing_.erase(node);
        SimNode& peer = *sim_.nodes[node];
        if (!peer.up() || session_of_.contains(node)) return;
        if (peer.frozen() || !sim_.coordinator->up() || cut_up_.contains(node) || cut_down_.contains(node)) return dial(node);
        const std::uint64_t id = ++next_session_;
        sessions_[id].node = node;
        session_of_[node] = id;
        world_.say(peer.name(), "session " + std::to_string(id));
        peer.feed(node::SessionUp{});
    });
}

void Network::hang_up(std::uint32_t node) {
    auto at = session_of_.find(node);
    if (at != session_of_.end()) end_session(at->second, Millis(0), latency());
    else dial(node);
}

void Network::end_session(std::uint64_t id, Millis node_hears, Millis coordinator_hears) {
    auto at = sessions_.find(id);
    if (at == sessions_.end()) return;
    const std::uint32_t node = at->second.node;
    const bool known = at->second.announced;
    world_.say("network", "session " + std::to_string(id) + " ends");
    sessions_.erase(at);
    if (session_of_.contains(node) && session_of_[node] == id) session_of_.erase(node);
    if (known)
        world_.after(coordinator_hears, [this, id] {
            if (sim_.coordinator->up()) sim_.coordinator->feed(coordinator::SessionClosed{coordinator::SessionId{id}});
        });
    world_.after(node_hears, [this, node] {
        SimNode& peer = *sim_.nodes[node];
        if (!peer.up() || session_of_.contains(node)) return;
        peer.feed(node::SessionDown{});
        dial(node);
    });
}

/// Something was lost on it, so nothing behind it arrives; the ends notice in their own time.
void Network::break_session(std::uint64_t id) {
    auto at = sessions_.find(id);
    if (at == sessions_.end() || at->second.broken) return;
    at->second.broken = true;
    const Millis node_hears = world_.rng.ms(200, 5000);
    const Millis coordinator_hears = world_.rng.ms(200, 5000);
    world_.after(std::min(node_hears, coordinator_hears), [this, id, node_hears, coordinator_hears] {
        const Millis first = std::min(node_hears, coordinator_hears);
        end_session(id, node_hears - first, coordinator_hears - first);
    });
}

void Network::node_says(std::uint32_t node, ControlMessage message) {
    auto at = session_of_.find(node);
    if (at == session_of_.end()) return;
    const std::uint64_t id = at->second;
    Session& session = sessions_[id];
    session.to_coordinator = std::max(session.to_coordinator, world_.now + latency());
    world_.after(session.to_coordinator - world_.now, [this, id, node, m = std::move(message)] {
        auto found = sessions_.find(id);
        if (found == sessions_.end() || found->second.broken) return;
        if (cut_up_.contains(node)) return break_session(id);
        if (!sim_.coordinator->up()) return;
        if (found->second.greeted) {
            sim_.coordinator->feed(coordinator::MessageReceived{coordinator::SessionId{id}, m});
            return;
        }
        found->second.greeted = found->second.announced = true;
        coordinator::HelloReceived hello;
        hello.session = coordinator::SessionId{id};
        hello.key = sim_.nodes[node]->key();
        hello.node = sim_.nodes[node]->id();
        hello.hello = std::get<Hello>(m.body);
        for (int i = 0; i < 16; ++i) hello.fresh_ticket.push_back(static_cast<std::uint8_t>(world_.rng.next()));
        sim_.coordinator->feed(std::move(hello));
    });
}

void Network::coordinator_says(coordinator::SessionId session, ControlMessage message) {
    const std::uint64_t id = session.value;
    auto at = sessions_.find(id);
    if (at == sessions_.end()) return;
    at->second.to_node = std::max(at->second.to_node, world_.now + latency());
    world_.after(at->second.to_node - world_.now, [this, id, m = std::move(message)] {
        auto found = sessions_.find(id);
        if (found == sessions_.end() || found->second.broken) return;
        if (cut_down_.contains(found->second.node)) return break_session(id);
        sim_.nodes[found->second.node]->feed(node::ControlIn{m});
    });
}

void Network::coordinator_closes(coordinator::SessionId session) {
    auto at = sessions_.find(session.value);
    if (at == sessions_.end()) return;
    const Mono when = std::max(at->second.to_node, world_.now) + Millis(1);
    at->second.announced = false;
    world_.after(when - world_.now, [this, id = session.value] { end_session(id, Millis(0), Millis(0)); });
}

void Network::node_died(std::uint32_t node, bool power_cut) {
    auto at = session_of_.find(node);
    if (at != session_of_.end()) {
        const std::uint64_t id = at->second;
        // A killed process resets its connections; a machine without power says nothing.
        if (power_cut) {
            sessions_.erase(id);
            session_of_.erase(node);
        } else {
            end_session(id, Millis(0), latency());
        }
    }
    refresh();
}

void Network::coordinator_died() {
    std::vector<std::uint64_t> ids;
    for (auto& [id, session] : sessions_) {
        session.announced = false;
        ids.push_back(id);
    }
    for (std::uint64_t id : ids) end_session(id, latency(), Millis(0));
}

void Network::cut_control(std::uint32_t node, bool up, bool down) {
    if (up) cut_up_.insert(node);
    else cut_up_.erase(node);
    if (down) cut_down_.insert(node);
    else cut_down_.erase(node);
}

// ------------------------------------------------------------------------------------------------- data plane

bool Network::wanted(std::uint32_t a, std::uint32_t b) const {
    const SimNode& x = *sim_.nodes[a];
    const SimNode& y = *sim_.nodes[b];
    if (!x.up() || !y.up()) return false;
    auto to_y = x.peers.find(y.id());
    auto to_x = y.peers.find(x.id());
    if (to_y == x.peers.end() || to_x == y.peers.end()) return false;
    if (to_y->second.entry.curve != y.curve() || to_x->second.entry.curve != x.curve()) return false;
    return (to_y->second.dial && reachable[b]) || (to_x->second.dial && reachable[a]);
}

void Network::refresh() {
    const auto n = static_cast<std::uint32_t>(sim_.nodes.size());
    for (std::uint32_t a = 0; a < n; ++a) {
        for (std::uint32_t b = a + 1; b < n; ++b) {
            Edge& edge = edges_[{a, b}];
            const bool want = wanted(a, b);
            if (edge.up && !want) drop_edge(a, b);
            if (edge.up || edge.connecting || !want || !passes(a, b)) continue;
            edge.connecting = true;
            world_.after(world_.rng.ms(5, 60), [this, a, b] {
                Edge& e = edges_[{a, b}];
                e.connecting = false;
                if (e.up || !wanted(a, b) || !passes(a, b)) return;
                e.up = true;
                ++e.generation;
                sim_.nodes[a]->feed(node::PeerUp{sim_.nodes[b]->id()});
                sim_.nodes[b]->feed(node::PeerUp{sim_.nodes[a]->id()});
            });
        }
    }
}

void Network::drop_edge(std::uint32_t a, std::uint32_t b) {
    Edge& edge = edges_[pair(a, b)];
    if (!edge.up) return;
    edge.up = false;
    ++edge.generation;
    for (auto [self, other] : {std::pair{a, b}, std::pair{b, a}})
        world_.after(Millis(1), [this, self, other, generation = edge.generation] {
            const Edge& e = edges_[pair(self, other)];
            if (e.generation == generation && !e.up) sim_.nodes[self]->feed(node::PeerDown{sim_.nodes[other]->id()});
        });
    world_.after(world_.rng.ms(50, 500), [this] { refresh(); });
}

void Network::peer_says(std::uint32_t from, const NodeId& to, PeerPayload payload) {
    SimNode* peer = sim_.find(to);
    if (!peer) return;
    std::uint32_t index = 0;
    while (sim_.nodes[index].get() != peer) ++index;
    const Edge& edge = edges_[pair(from, index)];
    if (!edge.up) return;
    const int copies = world_.rng.chance(doubled) ? 2 : 1;
    for (int i = 0; i < copies; ++i)
        world_.after(latency() + (i > 0 ? world_.rng.ms(0, 3000) : Millis(0)),
                     [this, from, index, generation = edge.generation, payload] { deliver(from, index, generation, payload); });
}

void Network::deliver(std::uint32_t from, std::uint32_t to, std::uint64_t generation, const PeerPayload& payload) {
    const Edge& edge = edges_[pair(from, to)];
    if (!edge.up || edge.generation != generation || cut_.contains({from, to})) return;
    sim_.nodes[to]->deliver(sim_.nodes[from]->id(), payload);
}

void Network::cut_edge(std::uint32_t from, std::uint32_t to, bool cut) {
    if (!cut) {
        cut_.erase({from, to});
        refresh();
        return;
    }
    cut_.insert({from, to});
    const auto generation = edges_[pair(from, to)].generation;
    world_.after(world_.rng.ms(800, 6000), [this, from, to, generation] {
        const Edge& edge = edges_[pair(from, to)];
        if (edge.generation == generation && edge.up && !passes(from, to)) drop_edge(from, to);
    });
}

void Network::reset_connections() {
    for (auto& [ids, edge] : edges_)
        if (edge.up) drop_edge(ids.first, ids.second);
}

void Network::heal() {
    cut_up_.clear();
    cut_down_.clear();
    cut_.clear();
    refresh();
}

}  // namespace skerry::sim
