#pragma once
// GET /metrics and GET /healthz on a local port, and nothing else.

#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <map>
#include <string>

#include "protocol/base/result.hpp"
#include "protocol/base/task.hpp"
#include "protocol/base/task_group.hpp"
#include "protocol/config/address.hpp"
#include "protocol/observe/metrics_text.hpp"

namespace skerry {

/// Where a program shows its metrics. The default lets a second program on the machine take any free port.
struct MetricsListen {
    bool on = true;
    bool must = false;  ///< the port was written down: if it is taken, that is an error
    Address address;
};

/// "none", or "HOST:PORT" as an owner wrote it. Errors: config_invalid.
Result<MetricsListen> parse_metrics_listen(const std::string& text, std::uint16_t default_port);

/// A request has a head of at most 8 KiB and no body, and 5 s; an answer closes the connection. At most 16 at once:
/// more wait in the kernel. Belongs to the executor's thread.
class MetricsServer {
  public:
    /// `page`: the text of /metrics, asked for each time.
    MetricsServer(asio::any_io_executor io, std::function<Task<std::string>()> page);

    /// Errors: port_in_use, io_error.
    Result<void> listen(const MetricsListen& where);
    /// 0: not listening.
    std::uint16_t port() const { return port_; }
    /// Serves until cancelled.
    Task<> run();

    /// skerry_http_requests_total.
    void add_metrics(MetricsText& page) const;

  private:
    Task<> serve(asio::ip::tcp::socket socket);
    Result<void> open(const Address& address);

    asio::any_io_executor io_;
    std::function<Task<std::string>()> page_;
    asio::ip::tcp::acceptor acceptor_;
    TaskGroup connections_;
    std::uint16_t port_ = 0;
    std::map<std::pair<std::string, unsigned>, std::uint64_t> requests_;  ///< by route and status
};

}  // namespace skerry
