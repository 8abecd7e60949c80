#include "protocol/admin/admin_server.hpp"

#include <nlohmann/json.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include "protocol/base/within.hpp"
#include "protocol/session/local.hpp"

namespace skerry {
namespace {

using Local = asio::local::stream_protocol;
constexpr std::size_t kMaxConnections = 16;
constexpr auto kIdlePatience = std::chrono::minutes(10);
constexpr auto kSendPatience = std::chrono::seconds(20);

/// Whether somebody answers at the socket.
bool is_listened_on(asio::any_io_executor executor, const std::string& name) {
    Local::socket probe(executor);
    boost::system::error_code ec;
    probe.connect(Local::endpoint(name), ec);
    return !ec;
}

}  // namespace

AdminReply to_admin_reply(const Error& error) {
    AdminReply reply;
    reply.ok = false;
    reply.code = error.code;
    nlohmann::json json{{"message", error.detail}, {"fix", error.fix}};
    reply.json = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return reply;
}

std::optional<Error> error_of(const AdminReply& reply) {
    if (reply.ok) return std::nullopt;
    Error error{reply.code, "", ""};
    auto json = nlohmann::json::parse(reply.json, nullptr, false);
    auto text = [&](const char* key) {
        bool there = json.is_object() && json.contains(key) && json[key].is_string();
        return there ? json[key].get<std::string>() : std::string();
    };
    error.detail = text("message");
    error.fix = text("fix");
    return error;
}

Task<> serve_admin(ControlStream& stream, AdminHandler handler, std::function<Result<void>(const AdminRequest&)> check) {
    for (;;) {
        auto message = co_await within(kIdlePatience, stream.receive());
        if (!message) co_return;
        auto* request = std::get_if<AdminRequest>(&message->body);
        if (request == nullptr) co_return;
        auto allowed = check(*request);
        ControlMessage out;
        AdminReply reply;
        std::uint64_t id = request->id;
        if (allowed) {
            stream.frames().set_receive_limit(kMaxFrame);
            reply = co_await handler(std::move(*request));
        } else {
            reply = to_admin_reply(allowed.error());
        }
        reply.id = id;
        out.body = std::move(reply);
        auto sent = co_await within(kSendPatience, stream.send(std::move(out)));
        if (!sent) co_return;
        if (!allowed) {
            co_await stream.frames().finish(std::chrono::seconds(1));
            co_return;
        }
    }
}

AdminServer::AdminServer(asio::any_io_executor executor, std::filesystem::path path, AdminHandler handler)
    : executor_(executor), path_(std::move(path)), handler_(std::move(handler)), acceptor_(executor), connections_(executor) {}

AdminServer::~AdminServer() {
    if (bound_) ::unlink(path_.c_str());
}

Result<void> AdminServer::listen() {
    auto name = SocketPath::make(path_);
    if (!name) return fail(name.error());
    if (is_listened_on(executor_, name->text()))
        return fail(Errc::bad_state, "another process listens on " + path_.string(), "stop it, or use another --dir");
    ::unlink(path_.c_str());
    boost::system::error_code ec;
    acceptor_.open(Local(), ec);
    if (!ec) acceptor_.bind(Local::endpoint(name->text()), ec);
    // Nobody can connect before listen, so the mode holds from the first connection on.
    bool private_mode = !ec && ::chmod(path_.c_str(), 0600) == 0;
    if (private_mode) acceptor_.listen(16, ec);
    if (ec || !private_mode) return fail(Errc::io_error, "cannot listen on " + path_.string() + ": " + ec.message());
    bound_ = true;
    return {};
}

Task<> AdminServer::run() {
    // A cancelled run still waits for its connections: they use what dies with it.
    co_await asio::this_coro::throw_if_cancelled(false);
    for (;;) {
        auto [ec, socket] = co_await acceptor_.async_accept(no_throw);
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) break;
        if (ec) {
            asio::steady_timer pause(executor_, std::chrono::milliseconds(100));
            co_await pause.async_wait(no_throw);
        } else if (connections_.size() < kMaxConnections) {
            connections_.spawn(serve(std::move(socket)));
        }
    }
    connections_.cancel();
    co_await connections_.join();
}

Task<> AdminServer::serve(Local::socket socket) {
    ControlStream stream(make_local_stream(std::move(socket)));
    stream.frames().set_receive_limit(kMaxFrame);
    auto anybody = [](const AdminRequest&) { return Result<void>{}; };
    co_await serve_admin(stream, handler_, anybody);
}

}  // namespace skerry
