#pragma once
// The local socket by which `skerry` commands a program: AdminRequest in, AdminReply out. Node and coordinator alike.

#include <boost/asio/local/stream_protocol.hpp>
#include <filesystem>
#include <functional>

#include "protocol/base/task_group.hpp"
#include "protocol/config/socket_path.hpp"
#include "protocol/session/frame_stream.hpp"

namespace skerry {

/// Answers one request; `id` of the reply is filled in by the server.
using AdminHandler = std::function<Task<AdminReply>(AdminRequest)>;

/// Answers the requests of one connection until it ends. `check` is asked before the handler: an error is the
/// answer and ends the connection.
Task<> serve_admin(ControlStream& stream, AdminHandler handler, std::function<Result<void>(const AdminRequest&)> check);

/// A reply that says `error`.
AdminReply to_admin_reply(const Error& error);
/// The error that a reply says; none if it is ok.
std::optional<Error> error_of(const AdminReply& reply);

/// Belongs to the executor's thread.
class AdminServer {
  public:
    AdminServer(asio::any_io_executor executor, std::filesystem::path path, AdminHandler handler);
    /// Takes the file away.
    ~AdminServer();

    /// Makes the socket, mode 0600; one left by a process that died is replaced. Errors: bad_state if a process
    /// listens there, io_error.
    Result<void> listen();
    /// Serves until cancelled; at most 16 connections at once.
    Task<> run();

  private:
    Task<> serve(asio::local::stream_protocol::socket socket);

    asio::any_io_executor executor_;
    std::filesystem::path path_;
    AdminHandler handler_;
    asio::local::stream_protocol::acceptor acceptor_;
    TaskGroup connections_;
    bool bound_ = false;
};

}  // namespace skerry
