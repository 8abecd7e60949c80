#include "tests/sim/network.hpp"

#include "tests/sim/simulation.hpp"

namespace skerry::sim {

Network::Network(Simulation& sim) : sim_(sim), world_(sim.world, network_stream) {}

const Network::Link& Network::link(std::uint32_t from, std::uint32_t to) const {
    static const Link kGood;
    auto at = links_.find({from, to});
    return at == links_.end() ? kGood : at->second;
}

Mono Network::arrival(std::uint32_t from, std::uint32_t to) {
    Mono at = world_.now + world_.rng.ms(latency_lo.count(), latency_hi.count());
    const Link& way = link(from, to);
    if (way.more.count() > 0) at += world_.rng.ms(0, way.more.count());
    return std::max(at, way.clogged_until);
}

// ---------------------------------------------------------------------------------------------------- control

namespace {
/// A node's shell dials again when it has heard nothing for so long.
constexpr Millis kSessionPatience{4000};
}  // namespace

void Network::dial(std::uint32_t node) {
    if (!dialing_.insert(node).second) return;
    world_.after(world_.rng.ms(20, 400), [this, node] {
        dialing_.erase(node);
        SimNode& peer = *sim_.nodes[node];
        if (!peer.up() || session_of_.contains(node)) return;
        const std::uint64_t process = sim_.coordinator->answering();
        if (peer.frozen() || process == 0 || !passes(node, kCoordinator)) return dial(node);
        const std::uint64_t id = ++next_session_;
        sessions_[id].node = node;
        sessions_[id].process = process;
        sessions_[id].heard = world_.now;
        session_of_[node] = id;
        world_.say(peer.name(), "session " + std::to_string(id));
        peer.feed(node::SessionUp{});
        watch(id);
    });
}

void Network::watch(std::uint64_t id) {
    world_.after(Millis(1000), [this, id] {
        auto at = sessions_.find(id);
        if (at == sessions_.end()) return;
        const bool waits = !sim_.nodes[at->second.node]->frozen();
        if (waits && world_.now - at->second.heard >= kSessionPatience)
            return end_session(id, Millis(0), world_.rng.ms(200, 5000));
        watch(id);
    });
}

void Network::hang_up(std::uint32_t node) {
    auto at = session_of_.find(node);
    if (at != session_of_.end()) end_session(at->second, Millis(0), world_.rng.ms(latency_lo.count(), latency_hi.count()));
    else dial(node);
}

void Network::end_session(std::uint64_t id, Millis node_hears, Millis coordinator_hears) {
    auto at = sessions_.find(id);
    if (at == sessions_.end()) return;
    const std::uint32_t node = at->second.node;
    const std::uint64_t process = at->second.process;
    const bool known = at->second.announced;
    world_.say("network", "session " + std::to_string(id) + " ends");
    sessions_.erase(at);
    if (session_of_.contains(node) && session_of_[node] == id) session_of_.erase(node);
    if (known)
        world_.after(coordinator_hears, [this, id, process] {
            sim_.coordinator->feed(process, coordinator::SessionClosed{coordinator::SessionId{id}});
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

void Network::reset_sessions() {
    std::vector<std::uint64_t> ids;
    for (const auto& [id, session] : sessions_) ids.push_back(id);
    for (std::uint64_t id : ids) break_session(id);
}

void Network::node_says(std::uint32_t node, ControlMessage message) {
    auto at = session_of_.find(node);
    if (at == session_of_.end()) return;
    const std::uint64_t id = at->second;
    Session& session = sessions_[id];
    world_.mix(0x2000 + node * 64 + message.body.index());
    session.to_coordinator = std::max(session.to_coordinator, arrival(node, kCoordinator));
    world_.after(session.to_coordinator - world_.now, [this, id, node, m = std::move(message)] {
        auto found = sessions_.find(id);
        if (found == sessions_.end() || found->second.broken || link(node, kCoordinator).silent) return;
        if (link(node, kCoordinator).cut) return break_session(id);
        const std::uint64_t process = found->second.process;
        if (!sim_.coordinator->runs(process)) return;
        if (found->second.greeted) {
            sim_.coordinator->feed(process, coordinator::MessageReceived{coordinator::SessionId{id}, m});
            return;
        }
        found->second.greeted = found->second.announced = true;
        coordinator::HelloReceived hello;
        hello.session = coordinator::SessionId{id};
        hello.key = sim_.nodes[node]->key();
        hello.node = sim_.nodes[node]->id();
        hello.hello = std::get<Hello>(m.body);
        hello.wall_unix_s = sim_.wall_unix_s();
        for (int i = 0; i < 16; ++i) hello.fresh_ticket.push_back(static_cast<std::uint8_t>(world_.rng.next()));
        sim_.coordinator->feed(process, std::move(hello));
    });
}

void Network::coordinator_says(coordinator::SessionId session, ControlMessage message) {
    const std::uint64_t id = session.value;
    auto at = sessions_.find(id);
    if (at == sessions_.end()) return;
    world_.mix(0x3000 + message.body.index());
    at->second.to_node = std::max(at->second.to_node, arrival(kCoordinator, at->second.node));
    world_.after(at->second.to_node - world_.now, [this, id, m = std::move(message)] {
        auto found = sessions_.find(id);
        if (found == sessions_.end() || found->second.broken) return;
        const std::uint32_t node = found->second.node;
        if (link(kCoordinator, node).silent) return;
        if (link(kCoordinator, node).cut) return break_session(id);
        found->second.heard = world_.now;
        sim_.nodes[node]->feed(node::ControlIn{m});
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
            end_session(id, Millis(0), world_.rng.ms(latency_lo.count(), latency_hi.count()));
        }
    }
    refresh();
}

void Network::coordinator_died(std::uint64_t process) {
    std::vector<std::uint64_t> ids;
    for (auto& [id, session] : sessions_) {
        if (session.process != process) continue;
        session.announced = false;
        ids.push_back(id);
    }
    for (std::uint64_t id : ids) end_session(id, world_.rng.ms(latency_lo.count(), latency_hi.count()), Millis(0));
}

// ------------------------------------------------------------------------------------------------- data plane

bool Network::wanted(std::uint32_t a, std::uint32_t b) const {
    const SimNode& x = *sim_.nodes[a];
    const SimNode& y = *sim_.nodes[b];
    if (!x.up() || !y.up() || strangers.contains({a, b})) return false;
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
    // One identity may have two processes: the one that is connected is meant.
    std::uint32_t index = 0;
    const auto count = static_cast<std::uint32_t>(sim_.nodes.size());
    auto meant = [&] { return sim_.nodes[index]->id() == to && index != from && edges_[pair(from, index)].up; };
    while (index < count && !meant()) ++index;
    if (index == count) return;
    const Edge& edge = edges_[pair(from, index)];
    world_.mix(0x4000 + from * 64 + index * 8 + payload.index());
    const int copies = world_.rng.chance(doubled) ? 2 : 1;
    for (int i = 0; i < copies; ++i)
        world_.after(arrival(from, index) - world_.now + (i > 0 ? world_.rng.ms(0, 3000) : Millis(0)),
                     [this, from, index, generation = edge.generation, payload] { deliver(from, index, generation, payload); });
}

void Network::deliver(std::uint32_t from, std::uint32_t to, std::uint64_t generation, const PeerPayload& payload) {
    const Edge& edge = edges_[pair(from, to)];
    if (!edge.up || edge.generation != generation || link(from, to).dead()) return;
    sim_.nodes[to]->deliver(sim_.nodes[from]->id(), payload);
}

void Network::reset_connections() {
    for (auto& [ids, edge] : edges_)
        if (edge.up) drop_edge(ids.first, ids.second);
}

// ------------------------------------------------------------------------------------------------------ links

void Network::cut(std::uint32_t from, std::uint32_t to, bool cut) {
    links_[{from, to}].cut = cut;
    if (from == kCoordinator || to == kCoordinator) return;
    if (!cut) return refresh();
    const auto generation = edges_[pair(from, to)].generation;
    world_.after(world_.rng.ms(800, 6000), [this, from, to, generation] {
        const Edge& edge = edges_[pair(from, to)];
        if (edge.generation == generation && edge.up && !passes(from, to)) drop_edge(from, to);
    });
}

void Network::silence(std::uint32_t from, std::uint32_t to, bool silent) {
    const bool was = links_[{from, to}].silent;
    links_[{from, to}].silent = silent;
    if (silent || !was) return;
    const std::uint32_t node = from == kCoordinator ? to : from;
    const auto session = session_of_.find(node);
    if (from != kCoordinator && to != kCoordinator) drop_edge(from, to);
    else if (session != session_of_.end()) break_session(session->second);
}

void Network::slow(std::uint32_t from, std::uint32_t to, Millis more) { links_[{from, to}].more = more; }

void Network::clog(std::uint32_t from, std::uint32_t to, Mono until) { links_[{from, to}].clogged_until = until; }

void Network::heal() {
    // Half-open connections are found dead, the rest goes on.
    for (auto& [ends, link] : links_)
        if (link.silent) silence(ends.first, ends.second, false);
    links_.clear();
    refresh();
}

}  // namespace skerry::sim
