#include "coordinator/server/listener.hpp"

#include "protocol/admin/admin_server.hpp"
#include "protocol/base/log.hpp"
#include "protocol/base/within.hpp"
#include "protocol/config/address.hpp"

namespace skerry::coordinator {
namespace {

using Tcp = asio::ip::tcp;
constexpr auto kSendPatience = std::chrono::seconds(20);
constexpr auto kShardIdlePatience = std::chrono::seconds(120);
constexpr auto kFinishPatience = std::chrono::seconds(2);
constexpr auto kLookPatience = std::chrono::seconds(5);  // a full disk may hold the answer
constexpr double kLooksPerS = 20;
constexpr double kLookBurst = 100;
constexpr std::size_t kTicketBytes = 32;
constexpr std::uint32_t kAskAgainMs = 2000;

Mono mono_now() { return std::chrono::time_point_cast<Millis>(std::chrono::steady_clock::now()); }

/// Counts a connection for as long as it lives.
class Seat {
  public:
    Seat(ConnectionGate& gate, std::string address) : gate_(gate), address_(std::move(address)) {}
    ~Seat() { gate_.leave(address_); }
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;

  private:
    ConnectionGate& gate_;
    std::string address_;
};

Bytes fresh_ticket() {
    Bytes out(kTicketBytes);
    fill_random(out);
    return out;
}

/// IPv4 in IPv6 is one address, not two.
std::string to_source(const Tcp::endpoint& endpoint) {
    auto ip = endpoint.address();
    if (ip.is_v6() && ip.to_v6().is_v4_mapped()) ip = asio::ip::make_address_v4(asio::ip::v4_mapped, ip.to_v6());
    return ip.to_string();
}

Task<> refuse(ControlStream& stream, Error why) {
    ControlMessage message;
    message.body = Refusal{why.code, why.detail, why.fix, 0};
    auto sent = co_await within(kSendPatience, stream.send(std::move(message)));
    if (sent) co_await stream.frames().finish(kFinishPatience);
}

}  // namespace

Listener::Listener(asio::any_io_executor io, ListenerConfig config, TlsContext tls, Backend& backend)
    : io_(io),
      config_(std::move(config)),
      tls_(std::move(tls)),
      backend_(backend),
      acceptor_(io),
      gate_(config_.gate),
      looks_(kLooksPerS, kLookBurst),
      connections_(io) {}

Result<void> Listener::listen() {
    boost::system::error_code ec;
    Tcp::resolver resolver(io_);
    auto found = resolver.resolve(config_.address.host, std::to_string(config_.address.port),
                                  asio::ip::resolver_base::passive | asio::ip::resolver_base::numeric_service, ec);
    std::string where = to_text(config_.address);
    if (ec || found.empty()) return fail(Errc::config_invalid, "cannot listen on " + where + ": " + ec.message());
    Tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), ec);
    if (!ec) acceptor_.set_option(Tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor_.bind(endpoint, ec);
    if (!ec) acceptor_.listen(64, ec);
    if (ec == asio::error::address_in_use)
        return fail(Errc::port_in_use, "another program listens on " + where, "stop it, or use --listen HOST:PORT");
    if (ec) return fail(Errc::io_error, "cannot listen on " + where + ": " + ec.message());
    port_ = acceptor_.local_endpoint(ec).port();
    return {};
}

Task<> Listener::run() {
    // A cancelled run still waits for its connections: they use what dies with it.
    co_await asio::this_coro::throw_if_cancelled(false);
    for (;;) {
        auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) break;
        if (ec) {  // mostly: out of descriptors
            asio::steady_timer pause(io_, std::chrono::milliseconds(100));
            co_await pause.async_wait(no_throw);
            continue;
        }
        boost::system::error_code gone;
        auto remote = socket.remote_endpoint(gone);
        if (gone) continue;
        std::string address = to_source(remote);
        if (gate_.enter(address, mono_now())) connections_.spawn(serve(std::move(socket), std::move(address)));
    }
    connections_.cancel();
    co_await connections_.join();
}

Task<Result<ControlMessage>> Listener::open_stream(Tcp::socket socket, std::unique_ptr<ControlStream>& out) {
    auto accepted = co_await accept_tls(std::move(socket), tls_, config_.handshake_timeout);
    if (!accepted) co_return fail(accepted.error());
    out = std::make_unique<ControlStream>(std::move(*accepted));
    co_return co_await out->receive();
}

Task<> Listener::serve(Tcp::socket socket, std::string address) {
    Seat seat(gate_, address);
    boost::system::error_code ignored;
    socket.set_option(Tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    std::unique_ptr<ControlStream> stream;
    auto first = co_await within(config_.handshake_timeout, open_stream(std::move(socket), stream));
    if (!first) {
        log_debug("connection_dropped", {{"from", address}, {"why", first.error().detail}});
        co_return;
    }
    if (std::holds_alternative<Hello>(first->body)) {
        co_await serve_node(*stream, std::move(*first), std::move(address));
    } else if (std::holds_alternative<ShardGet>(first->body)) {
        co_await serve_shards(*stream, std::move(*first));
    } else if (std::holds_alternative<Look>(first->body)) {
        co_await serve_look(*stream, std::move(*first));
    } else if (std::holds_alternative<AdminRequest>(first->body)) {
        co_await serve_administrator(*stream, std::move(*first));
    } else {
        log_debug("connection_dropped", {{"from", address}, {"why", "an unexpected first message"}});
    }
    stream->frames().close();
}

Task<> Listener::serve_node(ControlStream& stream, ControlMessage first, std::string address) {
    Hello& hello = std::get<Hello>(first.body);
    RunHost* run = backend_.find_run(hello.run_name);
    if (run == nullptr) {
        Error why{Errc::no_such_run, "this coordinator has no run '" + hello.run_name + "'", "ask its operator for a new token"};
        co_await refuse(stream, std::move(why));
        co_return;
    }
    HelloReceived event;
    event.session = next_session_;
    next_session_ = next_session_.next();
    event.key = stream.frames().peer_key();
    event.node = node_id_of(event.key);
    event.hello = std::move(hello);
    event.remote = std::move(address);
    event.wall_unix_s = backend_.wall_unix_s();
    event.fresh_ticket = fresh_ticket();
    NodeSession session(event.session, stream, *run);
    co_await session.run(std::move(event));
}

Task<> Listener::serve_shards(ControlStream& stream, ControlMessage first) {
    NodeId node = node_id_of(stream.frames().peer_key());
    ControlMessage message = std::move(first);
    for (;;) {
        auto* get = std::get_if<ShardGet>(&message.body);
        if (get == nullptr) co_return;
        RunHost* run = backend_.find_run(message.run);
        bool member = run != nullptr && run->is_member(node);
        if (!member) {
            Error why{Errc::refused, "only nodes of the run may fetch its data", "skerry join TOKEN"};
            co_await refuse(stream, std::move(why));
            co_return;
        }
        ShardGet wanted = std::move(*get);
        auto answer = co_await answer_shard(*run, node, std::move(wanted));
        if (!answer) {
            Error why = answer.error();
            co_await refuse(stream, std::move(why));
            co_return;
        }
        ControlMessage out;
        out.run = message.run;
        out.seq = message.seq;
        out.body = std::move(*answer);
        auto sent = co_await within(kSendPatience, stream.send(std::move(out)));
        if (!sent) co_return;
        auto next = co_await within(kShardIdlePatience, stream.receive());
        if (!next) co_return;
        message = std::move(*next);
    }
}

/// A block, or who else may have it.
Task<Result<ControlBody>> Listener::answer_shard(RunHost& run, NodeId node, ShardGet get) {
    if (get.ask) {
        auto who = run.shard_desk().ask(get.shard, node, get.failed, mono_now());
        if (!who.serve) {
            auto hashes = co_await backend_.block_hashes(get.shard);
            if (hashes) co_return ControlBody(ShardSources{get.shard, std::move(who.sources), std::move(*hashes), kAskAgainMs});
            log_warn("shard_not_whole", {{"shard", get.shard.short_hex()}, {"detail", hashes.error().detail}});
        }
    }
    auto block = co_await backend_.read_shard(get.shard, get.offset, get.bytes);
    if (!block) co_return fail(block.error());
    // Who does not ask is too old to give it to others.
    run.shard_desk().sent(get.shard, get.ask ? node : NodeId{}, block->size(), get.offset + block->size(), mono_now());
    co_return ControlBody(ShardBlock{get.shard, get.offset, std::move(*block)});
}

// One answer, then the end: manifests are sent to whoever shows a token, so not often.
Task<> Listener::serve_look(ControlStream& stream, ControlMessage first) {
    if (!looks_.try_take(1, mono_now())) {
        Error busy{Errc::rate_limited, "too many look at runs of this coordinator at the moment", "try again in a few seconds"};
        co_await refuse(stream, std::move(busy));
        co_return;
    }
    const NodeId node = node_id_of(stream.frames().peer_key());
    Look look = std::get<Look>(std::move(first.body));
    auto answer = co_await within(kLookPatience, backend_.look(node, std::move(look)));
    if (!answer) {
        Error why = answer.error();
        co_await refuse(stream, std::move(why));
        co_return;
    }
    ControlMessage out;
    out.seq = 1;
    out.body = std::move(*answer);
    auto sent = co_await within(kSendPatience, stream.send(std::move(out)));
    if (sent) co_await stream.frames().finish(kFinishPatience);
}

Task<> Listener::serve_administrator(ControlStream& stream, ControlMessage first) {
    // The first request only shows the token: it came under the limit for strangers.
    AdminRequest request = std::get<AdminRequest>(std::move(first.body));
    auto check = [this](const AdminRequest& asked) { return backend_.check_admin(asked.token_id, asked.token_secret); };
    auto allowed = check(request);
    ControlMessage out;
    std::uint64_t id = request.id;
    AdminReply reply = allowed ? AdminReply{} : to_admin_reply(allowed.error());
    if (allowed) reply = co_await backend_.handle_admin(std::move(request));
    reply.id = id;
    out.body = std::move(reply);
    auto sent = co_await within(kSendPatience, stream.send(std::move(out)));
    if (!sent) co_return;
    if (!allowed) {
        co_await stream.frames().finish(kFinishPatience);
        co_return;
    }
    stream.frames().set_receive_limit(kMaxFrame);
    auto handler = [this](AdminRequest asked) { return backend_.handle_admin(std::move(asked)); };
    co_await serve_admin(stream, handler, check);
}

}  // namespace skerry::coordinator
