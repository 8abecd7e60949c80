#include "node/app/agent_socket.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <nlohmann/json.hpp>

#include "protocol/base/task_group.hpp"
#include "protocol/base/within.hpp"
#include "protocol/session/local.hpp"

namespace skerry::node {
namespace {

using nlohmann::json;
constexpr std::size_t kMaxClients = 16;
constexpr std::chrono::seconds kClientPatience{60};

AdminReply refuse(std::uint64_t id, Errc code, std::string message) {
    return {id, code, false, json{{"message", std::move(message)}, {"fix", ""}}.dump()};
}

AdminReply answer(AgentCommands& commands, const AdminRequest& request) {
    json arguments = json::parse(request.json.empty() ? "{}" : request.json, nullptr, false);
    if (!arguments.is_object()) return refuse(request.id, Errc::malformed, "the argument is not a JSON object");
    if (request.verb == "status") return {request.id, Errc::internal, true, commands.status_json()};
    if (request.verb == "pause") commands.command(UserCommand::pause);
    else if (request.verb == "resume") commands.command(UserCommand::resume);
    else if (request.verb == "leave")
        commands.command(arguments.value("now", false) ? UserCommand::leave_now : UserCommand::leave_after_step);
    else if (request.verb == "stop") commands.command(UserCommand::stop);
    else return refuse(request.id, Errc::usage, "unknown verb '" + request.verb + "'");
    json status = json::parse(commands.status_json());
    return {request.id, Errc::internal, true, json{{"phase", status["phase"]}}.dump()};
}

}  // namespace

struct AgentSocket::Impl {
    Impl(asio::any_io_executor executor, std::filesystem::path file, AgentCommands& target)
        : io(executor), path(std::move(file)), commands(target), acceptor(executor), clients(executor) {}

    Task<> serve(asio::local::stream_protocol::socket socket);

    asio::any_io_executor io;
    std::filesystem::path path;
    AgentCommands& commands;
    asio::local::stream_protocol::acceptor acceptor;
    TaskGroup clients;
};

AgentSocket::AgentSocket(asio::any_io_executor io, std::filesystem::path path, AgentCommands& commands)
    : impl_(std::make_unique<Impl>(io, std::move(path), commands)) {}

AgentSocket::~AgentSocket() {
    if (impl_->acceptor.is_open()) unlink(impl_->path.c_str());
}

// sun_path holds 107 bytes and folders may be deeper: bind by way of the folder's descriptor.
Result<void> AgentSocket::open() {
    unlink(impl_->path.c_str());
    int folder = ::open(impl_->path.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return fail(Errc::io_error, "cannot open " + impl_->path.parent_path().string());
    std::string name = "/proc/self/fd/" + std::to_string(folder) + "/" + impl_->path.filename().string();
    boost::system::error_code ec;
    asio::local::stream_protocol::endpoint endpoint(name);
    mode_t old = umask(0177);
    impl_->acceptor.open(endpoint.protocol(), ec);
    if (!ec) impl_->acceptor.bind(endpoint, ec);
    if (!ec) impl_->acceptor.listen(static_cast<int>(kMaxClients), ec);
    umask(old);
    ::close(folder);
    if (ec) return fail(Errc::io_error, "cannot listen on " + impl_->path.string() + ": " + ec.message());
    return {};
}

Task<> AgentSocket::run() {
    for (;;) {
        auto [ec, socket] = co_await impl_->acceptor.async_accept(no_throw);
        if (ec == asio::error::operation_aborted) break;
        if (ec || impl_->clients.size() >= kMaxClients) continue;
        impl_->clients.spawn(impl_->serve(std::move(socket)));
    }
    impl_->clients.cancel();
    co_await impl_->clients.join();
}

Task<> AgentSocket::Impl::serve(asio::local::stream_protocol::socket socket) {
    ControlStream stream(make_local_stream(std::move(socket)));
    for (;;) {
        auto message = co_await within(kClientPatience, stream.receive());
        if (!message) co_return;
        auto* request = std::get_if<AdminRequest>(&message->body);
        if (request == nullptr) co_return;
        ControlMessage reply;
        reply.body = answer(commands, *request);
        auto sent = co_await within(kClientPatience, stream.send(std::move(reply)));
        if (!sent) co_return;
    }
}

}  // namespace skerry::node
