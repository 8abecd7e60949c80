#include "node/transport/peer_links.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <optional>
#include <set>

#include "node/transport/zmq_link.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/task_group.hpp"

namespace skerry::node {
namespace {

/// Routes whose owner left the roster or changed its key; libzmq cannot disconnect one, so their messages are
/// dropped until the shutdown of the descriptor has taken effect.
constexpr std::size_t kDeadRoutes = 4096;

/// libzmq collects the parts of a message without any bound but that on each part, and hands over nothing before the
/// last one. So a connection on which so much has come in since its last whole message is cut: the largest message,
/// full pipes and the kernel's buffers together stay well below it.
constexpr std::uint64_t kMostUndelivered = 64U << 20;
constexpr std::chrono::milliseconds kWatchEvery{200};

/// Zeros where the kernel does not say.
WireCounters tcp_counters(int fd) {
    WireCounters out;
    out.fd = fd;
    if (fd < 0) return out;
    // glibc's struct ends before these: the kernel's offsets are fixed by its ABI.
    constexpr std::size_t kAcked = 120, kReceived = 128, kBusy = 168;
    std::array<std::uint8_t, 256> info{};
    socklen_t size = info.size();
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.data(), &size) != 0) return out;
    auto read = [&](std::size_t offset, std::uint64_t& to) {
        if (size >= offset + sizeof to) std::memcpy(&to, info.data() + offset, sizeof to);
    };
    read(kAcked, out.acked_bytes);
    read(kReceived, out.received_bytes);
    read(kBusy, out.busy_us);
    return out;
}

std::uint64_t tcp_received(int fd) { return tcp_counters(fd).received_bytes; }

}  // namespace

class PeerLinks::Impl : public ZmqLinkEvents {
  public:
    /// What came in on an open descriptor.
    struct Intake {
        std::uint64_t mark = 0;  ///< bytes when a whole message was last seen
        bool delivered = false;  ///< since the last look
    };
    struct Dialler {
        std::shared_ptr<ZmqLink> link;
        asio::steady_timer changed;
        bool up = false;
        int fd = -1;
        Intake intake{};
    };
    struct Inbound {
        Route route;
        int fd = -1;
    };
    struct Peer {
        PeerTarget target;
        std::shared_ptr<Dialler> dialler;
        std::optional<Inbound> inbound;
        PeerTraffic traffic;
        bool up() const { return (dialler && dialler->up) || inbound; }
    };

    Impl(PeerLinks& owner, asio::any_io_executor executor, ZmqContext& context, ZapHandler& zap,
         const CurveKeyPair& keys, PeerLinksConfig config, PeerLinksEvents& events)
        : owner_(owner),
          executor_(executor),
          context_(context),
          zap_(zap),
          keys_(keys),
          config_(std::move(config)),
          events_(events),
          tasks_(executor) {}

    Result<std::uint16_t> bind();
    Task<> run();
    void set_targets(const std::vector<PeerTarget>& targets);

    Peer* find(const NodeId& node) {
        auto found = peers_.find(node);
        return found == peers_.end() ? nullptr : &found->second;
    }
    const std::map<NodeId, Peer>& peers() const { return peers_; }
    std::vector<WireCounters> wire() const {
        std::vector<WireCounters> out;
        for (const auto& [fd, intake] : accepted_) out.push_back(tcp_counters(fd));
        for (const auto& [node, peer] : peers_)
            if (peer.dialler && peer.dialler->fd >= 0) out.push_back(tcp_counters(peer.dialler->fd));
        return out;
    }
    /// The connection that carries what we send now.
    std::pair<ZmqLink*, Route> way_to(const NodeId& node);
    void count_sent(const NodeId& node, std::size_t bytes);

    void on_incoming(ZmqLink& link, IncomingMessage message) override;
    void on_connection(ZmqLink& link, ConnectionEvent event) override;
    void on_chunk_taken(ZmqLink& link, const Route& route) override;
    void on_route_lost(ZmqLink& link, const Route& route) override;

  private:
    void start_dialler(Peer& peer);
    void stop_dialler(Peer& peer);
    Task<> dial(NodeId node, std::shared_ptr<Dialler> dialler);
    Task<std::vector<std::string>> resolve(Address address);
    std::optional<NodeId> node_of(const ZmqLink& link, const Route& route) const;
    std::optional<NodeId> admit(ZmqLink& link, const IncomingMessage& message);
    void take_route(const NodeId& node, const IncomingMessage& message);
    void bury(const Inbound& inbound);
    void cut(int fd);
    void watch_intake();
    bool is_stuffed(int fd, Intake& intake) const;
    void set_dialler_up(const NodeId& node, bool up);
    void lose_inbound(const NodeId& node);
    /// One way of a peer ended: what was under way on it is lost, even if there is another.
    void announce_loss(const NodeId& node);

    PeerLinks& owner_;
    asio::any_io_executor executor_;
    ZmqContext& context_;
    ZapHandler& zap_;
    CurveKeyPair keys_;
    PeerLinksConfig config_;
    PeerLinksEvents& events_;
    TaskGroup tasks_;
    std::shared_ptr<ZmqLink> listener_;
    std::map<NodeId, Peer> peers_;
    std::map<const ZmqLink*, NodeId> diallers_;
    std::map<Route, NodeId> routes_;
    std::map<int, Intake> accepted_;  ///< descriptors of the listener's open connections
    std::set<Route> dead_;
    bool stopping_ = false;
};

// ------------------------------------------------------------------------------------------- life

Result<std::uint16_t> PeerLinks::Impl::bind() {
    if (!config_.listen) return std::uint16_t{0};
    auto socket = make_listener(context_, keys_);
    if (!socket) return fail(socket.error());
    auto monitor = make_monitor(context_, *socket);
    if (!monitor) return fail(monitor.error());
    auto port = bind_tcp(*socket, config_.listen_host, config_.listen_port);
    if (!port) return port;
    listener_ = std::make_shared<ZmqLink>(executor_, std::move(*socket), std::move(*monitor), true,
                                          config_.outbox_bytes, *this);
    tasks_.spawn(listener_->run());
    return port;
}

Task<> PeerLinks::Impl::run() {
    co_await asio::this_coro::throw_if_cancelled(false);
    asio::steady_timer timer(executor_);
    for (;;) {
        timer.expires_after(kWatchEvery);
        auto [ec] = co_await timer.async_wait(no_throw);
        if (ec) break;
        watch_intake();
    }
    stopping_ = true;
    if (listener_) listener_->stop();
    for (auto& [node, peer] : peers_) stop_dialler(peer);
    tasks_.cancel();
    co_await tasks_.join();
    listener_.reset();
    peers_.clear();
}

void PeerLinks::Impl::set_targets(const std::vector<PeerTarget>& targets) {
    std::map<CurveKey, NodeId> allowed;
    std::map<NodeId, const PeerTarget*> wanted;
    for (const auto& target : targets) {
        allowed[target.curve] = target.node;
        wanted[target.node] = &target;
    }
    zap_.set_allowed(std::move(allowed));

    std::vector<NodeId> ended;
    for (auto& [node, peer] : peers_) {
        auto found = wanted.find(node);
        if (found == wanted.end() || found->second->curve != peer.target.curve) ended.push_back(node);
    }
    for (const NodeId& node : ended) {
        Peer& peer = peers_.at(node);
        bool was_up = peer.up();
        stop_dialler(peer);
        if (peer.inbound) bury(*peer.inbound);
        peers_.erase(node);
        if (was_up) events_.on_link(node, false);
    }
    for (const auto& target : targets) {
        Peer& peer = peers_[target.node];
        peer.target = target;
        if (target.dial && !peer.dialler && !stopping_) start_dialler(peer);
    }
}

// ---------------------------------------------------------------------------------------- dialling

void PeerLinks::Impl::start_dialler(Peer& peer) {
    auto socket = make_dialler(context_, keys_, peer.target.curve);
    auto monitor = socket ? make_monitor(context_, *socket) : Result<ZmqSocket>(fail(socket.error()));
    if (!monitor) {
        log_error("data_plane.dial_failed", {{"peer", peer.target.node.short_hex()}, {"why", monitor.error().detail}});
        return;
    }
    auto link = std::make_shared<ZmqLink>(executor_, std::move(*socket), std::move(*monitor), false,
                                          config_.outbox_bytes, *this);
    peer.dialler = std::make_shared<Dialler>(Dialler{link, asio::steady_timer(executor_)});
    diallers_[link.get()] = peer.target.node;
    // The task holds the link: it lives until its coroutine has ended.
    auto hold = [](std::shared_ptr<ZmqLink> held) -> Task<> { co_await held->run(); };
    tasks_.spawn(hold(link));
    tasks_.spawn(dial(peer.target.node, peer.dialler));
}

void PeerLinks::Impl::stop_dialler(Peer& peer) {
    if (!peer.dialler) return;
    diallers_.erase(peer.dialler->link.get());
    peer.dialler->link->stop();
    peer.dialler->changed.cancel();
    peer.dialler.reset();
}

/// Connects to the peer's addresses in turn until one of them works; libzmq retries the current one by itself.
Task<> PeerLinks::Impl::dial(NodeId node, std::shared_ptr<Dialler> dialler) {
    co_await asio::this_coro::throw_if_cancelled(false);
    std::string endpoint;
    std::size_t turn = 0;
    for (;;) {
        Peer* peer = find(node);
        if (peer == nullptr || peer->dialler != dialler) co_return;
        if (!dialler->up && !peer->target.addresses.empty()) {
            std::size_t count = peer->target.addresses.size();
            Address address = peer->target.addresses[turn % count];
            auto hosts = co_await resolve(address);
            peer = find(node);
            if (peer == nullptr || peer->dialler != dialler) co_return;
            if (!hosts.empty() && !dialler->up) {
                const std::string& host = hosts[turn / count % hosts.size()];
                std::string next = host + " " + std::to_string(address.port);
                if (next != endpoint) {
                    if (!endpoint.empty()) disconnect_tcp(dialler->link->socket(), endpoint);
                    auto dialled = connect_tcp(dialler->link->socket(), host, address.port);
                    endpoint = dialled ? *dialled : "";
                    dialler->link->wake();
                }
            }
            ++turn;
        }
        // Stays with an address that worked; `changed` wakes us when the connection comes or goes.
        dialler->changed.expires_after(config_.address_patience);
        co_await dialler->changed.async_wait(no_throw);
    }
}

/// Numeric addresses: libzmq would look names up on its one I/O thread.
Task<std::vector<std::string>> PeerLinks::Impl::resolve(Address address) {
    std::vector<std::string> hosts;
    boost::system::error_code not_numeric;
    auto numeric = asio::ip::make_address(address.host, not_numeric);
    if (!not_numeric) {
        hosts.push_back(numeric.to_string());
        co_return hosts;
    }
    asio::ip::tcp::resolver resolver(executor_);
    auto [error, found] = co_await resolver.async_resolve(address.host, std::to_string(address.port), no_throw);
    if (!error) {
        for (const auto& entry : found) hosts.push_back(entry.endpoint().address().to_string());
    }
    co_return hosts;
}

// ------------------------------------------------------------------------------------------ events

std::pair<ZmqLink*, Route> PeerLinks::Impl::way_to(const NodeId& node) {
    Peer* peer = find(node);
    if (peer == nullptr) return {nullptr, {}};
    if (peer->dialler && peer->dialler->up) return {peer->dialler->link.get(), {}};
    if (peer->inbound) return {listener_.get(), peer->inbound->route};
    return {nullptr, {}};
}

void PeerLinks::Impl::count_sent(const NodeId& node, std::size_t bytes) {
    Peer* peer = find(node);
    for (PeerTraffic* traffic : {peer == nullptr ? nullptr : &peer->traffic, &owner_.total_}) {
        if (traffic == nullptr) continue;
        traffic->sent_bytes += bytes;
        ++traffic->sent_messages;
    }
}

std::optional<NodeId> PeerLinks::Impl::node_of(const ZmqLink& link, const Route& route) const {
    if (&link == listener_.get()) {
        auto found = routes_.find(route);
        return found == routes_.end() ? std::optional<NodeId>() : found->second;
    }
    auto found = diallers_.find(&link);
    return found == diallers_.end() ? std::optional<NodeId>() : found->second;
}

/// Who sent this, if it may speak now. A live connection outlives its revocation, so this is asked for each message.
std::optional<NodeId> PeerLinks::Impl::admit(ZmqLink& link, const IncomingMessage& message) {
    if (&link != listener_.get()) return node_of(link, {});
    auto claimed = parse_fixed_hex<NodeId>(message.user_id);
    if (!claimed || dead_.contains(message.route)) return {};
    if (find(*claimed) == nullptr) {
        cut(message.fd);
        return {};
    }
    return *claimed;
}

void PeerLinks::Impl::on_incoming(ZmqLink& link, IncomingMessage message) {
    if (auto accepted = accepted_.find(message.fd); &link == listener_.get() && accepted != accepted_.end())
        accepted->second.delivered = true;
    auto node = admit(link, message);
    if (!node) {
        ++owner_.counters_.dropped_unknown;
        return;
    }
    if (&link == listener_.get()) take_route(*node, message);
    if (message.too_large) {
        ++owner_.counters_.dropped_malformed;
        return;
    }
    if (message.envelope.empty()) return;  // a dialler announcing itself
    Peer* peer = find(*node);
    if (peer == nullptr) return;
    if (peer->dialler && peer->dialler->link.get() == &link) peer->dialler->intake.delivered = true;
    std::size_t bytes = message.envelope.size() + message.chunk.size();
    for (PeerTraffic* traffic : {&peer->traffic, &owner_.total_}) {
        traffic->received_bytes += bytes;
        ++traffic->received_messages;
    }
    events_.on_message(*node, std::move(message.envelope), std::move(message.chunk));
}

void PeerLinks::Impl::take_route(const NodeId& node, const IncomingMessage& message) {
    Peer& peer = peers_.at(node);
    if (peer.inbound && peer.inbound->route == message.route) return;
    bool was_up = peer.up();
    if (peer.inbound) {
        // The peer dialled again before we noticed that the old connection is dead.
        listener_->drop(peer.inbound->route);
        routes_.erase(peer.inbound->route);
    }
    peer.inbound = Inbound{message.route, accepted_.contains(message.fd) ? message.fd : -1};
    routes_[message.route] = node;
    if (was_up && !(peer.dialler && peer.dialler->up)) events_.on_link(node, false);
    if (!(peer.dialler && peer.dialler->up)) events_.on_link(node, true);
}

void PeerLinks::Impl::bury(const Inbound& inbound) {
    listener_->drop(inbound.route);
    routes_.erase(inbound.route);
    if (dead_.size() >= kDeadRoutes) dead_.erase(dead_.begin());
    dead_.insert(inbound.route);
    cut(inbound.fd);
}

/// Ends a live connection: libzmq 4.3.4 has no call for it, but it notices a shut-down descriptor like a peer that
/// hung up. Only descriptors that the monitor knows as open are touched.
void PeerLinks::Impl::cut(int fd) {
    if (!accepted_.contains(fd)) return;
    ++owner_.counters_.connections_cut;
    ::shutdown(fd, SHUT_RDWR);
}

bool PeerLinks::Impl::is_stuffed(int fd, Intake& intake) const {
    std::uint64_t bytes = tcp_received(fd);
    if (std::exchange(intake.delivered, false) || bytes < intake.mark) intake.mark = bytes;
    return bytes - intake.mark > kMostUndelivered;
}

void PeerLinks::Impl::watch_intake() {
    for (auto& [fd, intake] : accepted_) {
        if (is_stuffed(fd, intake)) cut(fd);
    }
    for (auto& [node, peer] : peers_) {
        if (!peer.dialler || peer.dialler->fd < 0 || !is_stuffed(peer.dialler->fd, peer.dialler->intake)) continue;
        ++owner_.counters_.connections_cut;
        ::shutdown(peer.dialler->fd, SHUT_RDWR);
    }
}

void PeerLinks::Impl::on_connection(ZmqLink& link, ConnectionEvent event) {
    using Kind = ConnectionEvent::Kind;
    if (event.kind == Kind::failed) ++owner_.counters_.handshakes_failed;
    if (event.kind == Kind::refused_accept) ++owner_.counters_.accept_failed;
    if (&link == listener_.get()) {
        if (event.kind == Kind::opened) {
            accepted_[event.fd] = {};
            ++owner_.counters_.accepted;
        }
        if (event.kind != Kind::down) return;
        accepted_.erase(event.fd);
        std::vector<NodeId> lost;
        for (const auto& [node, peer] : peers_) {
            if (peer.inbound && peer.inbound->fd == event.fd) lost.push_back(node);
        }
        for (const NodeId& node : lost) lose_inbound(node);
        return;
    }
    auto node = node_of(link, {});
    if (!node) return;
    Peer* peer = find(*node);
    if (peer == nullptr || !peer->dialler) return;
    if (event.kind == Kind::opened) {
        peer->dialler->fd = event.fd;
        peer->dialler->intake = {};
    }
    if (event.kind == Kind::up) set_dialler_up(*node, true);
    if (event.kind == Kind::down) set_dialler_up(*node, false);
}

void PeerLinks::Impl::set_dialler_up(const NodeId& node, bool up) {
    Peer& peer = peers_.at(node);
    if (peer.dialler->up == up) return;
    bool was_up = peer.up();
    peer.dialler->up = up;
    if (!up) peer.dialler->fd = -1;
    peer.dialler->changed.cancel();
    if (up) {
        if (was_up) events_.on_link(node, false);  // what was queued for the inbound way may come late: ask anew
        events_.on_link(node, true);
        return;
    }
    peer.dialler->link->drop({});
    announce_loss(node);
}

void PeerLinks::Impl::lose_inbound(const NodeId& node) {
    Peer& peer = peers_.at(node);
    if (!peer.inbound) return;
    listener_->drop(peer.inbound->route);
    routes_.erase(peer.inbound->route);
    peer.inbound.reset();
    if (peer.dialler && peer.dialler->up) return;  // nothing of ours went that way
    announce_loss(node);
}

void PeerLinks::Impl::announce_loss(const NodeId& node) {
    events_.on_link(node, false);
    Peer* peer = find(node);
    if (peer != nullptr && peer->up()) events_.on_link(node, true);
}

void PeerLinks::Impl::on_chunk_taken(ZmqLink& link, const Route& route) {
    if (auto node = node_of(link, route)) events_.on_room(*node);
}

void PeerLinks::Impl::on_route_lost(ZmqLink& link, const Route& route) {
    auto node = node_of(link, route);
    if (!node) return;
    if (&link == listener_.get()) {
        lose_inbound(*node);
    } else {
        set_dialler_up(*node, false);
    }
}

// ------------------------------------------------------------------------------------------ facade

PeerLinks::PeerLinks(asio::any_io_executor executor, ZmqContext& context, ZapHandler& zap, const CurveKeyPair& keys,
                     PeerLinksConfig config, PeerLinksEvents& events)
    : impl_(std::make_unique<Impl>(*this, executor, context, zap, keys, std::move(config), events)) {}

PeerLinks::~PeerLinks() = default;

Result<std::uint16_t> PeerLinks::bind() { return impl_->bind(); }

Task<> PeerLinks::run() { return impl_->run(); }

void PeerLinks::set_targets(const std::vector<PeerTarget>& targets) { impl_->set_targets(targets); }

bool PeerLinks::is_up(const NodeId& peer) const {
    auto* found = impl_->find(peer);
    return found != nullptr && found->up();
}

std::vector<NodeId> PeerLinks::up() const {
    std::vector<NodeId> nodes;
    for (const auto& [node, peer] : impl_->peers()) {
        if (peer.up()) nodes.push_back(node);
    }
    return nodes;
}

bool PeerLinks::send(const NodeId& peer, Bytes envelope) {
    auto [link, route] = impl_->way_to(peer);
    std::size_t bytes = envelope.size();
    if (link == nullptr || !link->queue(route, std::move(envelope))) {
        ++counters_.dropped_outbox;
        return false;
    }
    impl_->count_sent(peer, bytes);
    return true;
}

bool PeerLinks::has_room(const NodeId& peer) const {
    auto [link, route] = impl_->way_to(peer);
    return link != nullptr && link->has_room(route);
}

bool PeerLinks::send_chunk(const NodeId& peer, Bytes envelope, std::shared_ptr<const Bytes> chunk) {
    auto [link, route] = impl_->way_to(peer);
    std::size_t bytes = envelope.size() + (chunk == nullptr ? 0 : chunk->size());
    if (link == nullptr || !link->queue_chunk(route, std::move(envelope), std::move(chunk))) return false;
    impl_->count_sent(peer, bytes);
    return true;
}

PeerTraffic PeerLinks::traffic(const NodeId& peer) const {
    auto* found = impl_->find(peer);
    return found == nullptr ? PeerTraffic{} : found->traffic;
}

std::vector<WireCounters> PeerLinks::wire() const { return impl_->wire(); }

std::uint64_t PeerLinks::wire_received(const NodeId& peer) const {
    auto* found = impl_->find(peer);
    if (found == nullptr) return 0;
    std::uint64_t bytes = found->inbound ? tcp_received(found->inbound->fd) : 0;
    return bytes + (found->dialler ? tcp_received(found->dialler->fd) : 0);
}

}  // namespace skerry::node
