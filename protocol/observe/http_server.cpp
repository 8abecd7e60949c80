#include "protocol/observe/http_server.hpp"

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <tuple>

#include "protocol/base/log.hpp"

namespace skerry {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = asio::ip::tcp;

constexpr std::size_t kMaxHead = 8 * 1024;
constexpr std::size_t kMaxConnections = 16;
constexpr auto kPatience = std::chrono::seconds(5);
constexpr MetricFamily kRequests{"skerry_http_requests_total", MetricKind::counter, "Answers of the metrics port."};

/// A page of another site must not read this one through a name that it points here (DNS rebinding).
bool is_plain_host(std::string_view host) {
    if (host.empty()) return true;
    if (host.front() == '[') return true;
    host = host.substr(0, host.rfind(':') == std::string_view::npos ? host.size() : host.rfind(':'));
    if (host == "localhost") return true;
    boost::system::error_code ec;
    asio::ip::make_address(host, ec);
    return !ec;
}

}  // namespace

Result<MetricsListen> parse_metrics_listen(const std::string& text, std::uint16_t default_port) {
    MetricsListen out;
    out.must = true;
    if (text == "none") {
        out.on = false;
        return out;
    }
    auto address = parse_address(text, default_port);
    if (!address) return fail(address.error());
    out.address = *address;
    return out;
}

MetricsServer::MetricsServer(asio::any_io_executor io, std::function<Task<std::string>()> page)
    : io_(io), page_(std::move(page)), acceptor_(io), connections_(io) {}

Result<void> MetricsServer::open(const Address& address) {
    boost::system::error_code ec;
    auto host = asio::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, ec);
    if (ec) return fail(Errc::config_invalid, "metrics: '" + address.host + "' is no IP address", "listen = \"127.0.0.1:PORT\"");
    Tcp::endpoint endpoint(host, address.port);
    Tcp::acceptor fresh(io_);
    fresh.open(endpoint.protocol(), ec);
    if (!ec) fresh.set_option(Tcp::acceptor::reuse_address(true), ec);
    if (!ec) fresh.bind(endpoint, ec);
    if (!ec) fresh.listen(16, ec);
    if (ec == boost::system::errc::address_in_use)
        return fail(Errc::port_in_use, "metrics: " + to_text(address) + " is taken", "[metrics] listen with another port, or \"none\"");
    if (ec) return fail(Errc::io_error, "metrics: cannot listen on " + to_text(address) + ": " + ec.message());
    acceptor_ = std::move(fresh);
    port_ = acceptor_.local_endpoint(ec).port();
    return {};
}

Result<void> MetricsServer::listen(const MetricsListen& where) {
    if (!where.on) return {};
    auto opened = open(where.address);
    if (opened || where.must || opened.error().code != Errc::port_in_use) return opened;
    opened = open(Address{where.address.host, 0});
    if (opened) log_info("metrics.port_taken", {{"wanted", std::to_string(where.address.port)}, {"port", std::to_string(port_)}});
    return opened;
}

Task<> MetricsServer::run() {
    // A cancelled run still waits for its connections: they use what dies with it.
    co_await asio::this_coro::throw_if_cancelled(false);
    asio::steady_timer pause(io_);
    while (port_ != 0) {
        const bool full = connections_.size() >= kMaxConnections;
        boost::system::error_code ec;
        Tcp::socket socket(io_);
        if (!full) {
            auto accepted = co_await acceptor_.async_accept(no_throw);
            std::tie(ec, socket) = std::move(accepted);
        }
        auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) break;
        if (!full && !ec) {
            connections_.spawn(serve(std::move(socket)));
            continue;
        }
        pause.expires_after(std::chrono::milliseconds(100));
        co_await pause.async_wait(no_throw);
        state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) break;
    }
    if (port_ == 0) {  // off: nothing to do until everything ends
        pause.expires_at(asio::steady_timer::time_point::max());
        co_await pause.async_wait(no_throw);
    }
    connections_.cancel();
    co_await connections_.join();
}

Task<> MetricsServer::serve(Tcp::socket socket) {
    beast::tcp_stream stream(std::move(socket));
    stream.expires_after(kPatience);
    beast::flat_buffer buffer(kMaxHead);
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kMaxHead);
    parser.body_limit(0);
    auto [ec, read] = co_await http::async_read(stream, buffer, parser, no_throw);
    if (ec == http::error::end_of_stream || ec == beast::error::timeout) co_return;
    http::response<http::string_body> answer;
    answer.version(11);
    answer.keep_alive(false);
    answer.set(http::field::content_type, "text/plain; charset=utf-8");
    std::string route = "other";
    if (ec) {
        answer.result(http::status::bad_request);
    } else {
        const auto& request = parser.get();
        const std::string target(request.target().substr(0, request.target().find('?')));
        const bool reads = request.method() == http::verb::get || request.method() == http::verb::head;
        if (target == "/metrics" || target == "/healthz") route = target;
        if (!is_plain_host(request[http::field::host])) {
            answer.result(http::status::forbidden);
            answer.body() = "ask by IP address or localhost\n";
        } else if (route == "other") {
            answer.result(http::status::not_found);
            answer.body() = "/metrics or /healthz\n";
        } else if (!reads) {
            answer.result(http::status::method_not_allowed);
            answer.set(http::field::allow, "GET, HEAD");
        } else if (route == "/healthz") {
            answer.body() = "ok\n";
        } else {
            answer.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
            answer.body() = co_await page_();
        }
        answer.prepare_payload();
        if (request.method() == http::verb::head) answer.body().clear();
    }
    if (ec) answer.prepare_payload();
    ++requests_[{route, answer.result_int()}];
    stream.expires_after(kPatience);
    http::response_serializer<http::string_body> serializer(answer);
    co_await http::async_write(stream, serializer, no_throw);
    boost::system::error_code ignored;
    stream.socket().shutdown(Tcp::socket::shutdown_send, ignored);
}

void MetricsServer::add_metrics(MetricsText& page) const {
    page.family(kRequests);
    for (const auto& [key, count] : requests_)
        page.sample(count, {{"route", key.first}, {"code", std::to_string(key.second)}});
}

}  // namespace skerry
