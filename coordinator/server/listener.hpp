#pragma once
// The TCP port: limits before TLS, the handshake, and what the first message makes of a connection.

#include <boost/asio/ip/tcp.hpp>
#include <functional>

#include "coordinator/server/connection_gate.hpp"
#include "coordinator/server/node_session.hpp"
#include "coordinator/shards/shard_store.hpp"
#include "protocol/base/task_group.hpp"
#include "protocol/session/tls.hpp"

namespace skerry::coordinator {

/// What a connection may reach behind the listener. Calls come on the io thread.
class Backend {
  public:
    virtual ~Backend() = default;
    /// Null if there is no such run.
    virtual RunHost* find_run(const std::string& name) = 0;
    virtual RunHost* find_run(const RunId& id) = 0;
    /// One block of a data shard, read on the thread for files.
    virtual Task<Result<Bytes>> read_shard(Digest shard, std::uint64_t offset, std::uint32_t bytes) = 0;
    /// ShardStore::block_hashes, on the thread for files.
    virtual Task<Result<Bytes>> block_hashes(Digest shard) = 0;
    /// What a stranger with a token may know of the run that it names.
    virtual Task<Result<LookAnswer>> look(NodeId node, Look look) = 0;
    virtual Result<void> check_admin(ByteSpan token_id, ByteSpan token_secret) = 0;
    virtual Task<AdminReply> handle_admin(AdminRequest request) = 0;
    virtual std::int64_t wall_unix_s() const = 0;
};

struct ListenerConfig {
    Address address;
    GateLimits gate;
    Millis handshake_timeout{10'000};  ///< TLS and the first message together
};

/// A connection's first message says what it is: Hello a node's session, ShardGet one for data shards, Look one question
/// before joining, AdminRequest one of an administrator. Anything else ends it. Belongs to the io thread.
class Listener {
  public:
    Listener(asio::any_io_executor io, ListenerConfig config, TlsContext tls, Backend& backend);

    /// Errors: port_in_use, io_error.
    Result<void> listen();
    /// The port that is listened on.
    std::uint16_t port() const { return port_; }
    /// Serves until cancelled; then ends all connections.
    Task<> run();

    std::size_t connections() const { return gate_.open(); }

  private:
    Task<> serve(asio::ip::tcp::socket socket, std::string address);
    Task<Result<ControlMessage>> open_stream(asio::ip::tcp::socket socket, std::unique_ptr<ControlStream>& out);
    Task<> serve_node(ControlStream& stream, ControlMessage first, std::string address);
    Task<> serve_shards(ControlStream& stream, ControlMessage first);
    Task<Result<ControlBody>> answer_shard(RunHost& run, NodeId node, ShardGet get);
    Task<> serve_look(ControlStream& stream, ControlMessage first);
    Task<> serve_administrator(ControlStream& stream, ControlMessage first);

    asio::any_io_executor io_;
    ListenerConfig config_;
    TlsContext tls_;
    Backend& backend_;
    asio::ip::tcp::acceptor acceptor_;
    ConnectionGate gate_;
    RateLimit looks_;
    TaskGroup connections_;
    std::uint16_t port_ = 0;
    SessionId next_session_{1};
};

}  // namespace skerry::coordinator
