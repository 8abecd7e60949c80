// The metrics port as a client sees it: two pages, small limits, nothing else.

#include "protocol/observe/http_server.hpp"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/io_context.hpp>
#include <thread>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

namespace skerry {
namespace {

/// A blocking client: sends `request`, reads to the end.
std::string ask(std::uint16_t port, const std::string& request) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    timeval patience{20, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    std::string out;
    if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) {
        (void)!::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
        char part[4096];
        for (ssize_t n = 0; (n = ::recv(fd, part, sizeof part, 0)) > 0;) out.append(part, static_cast<std::size_t>(n));
    }
    ::close(fd);
    return out;
}

struct HttpServerTest : testing::Test {
    asio::io_context io;
    MetricsServer server{io.get_executor(), []() -> Task<std::string> { co_return "skerry_up 1\n"; }};
    asio::cancellation_signal end;
    std::thread thread;

    void start() {
        MetricsListen where;
        where.address = Address{"127.0.0.1", 0};
        where.must = true;
        ASSERT_TRUE(server.listen(where));
        ASSERT_NE(server.port(), 0);
        asio::co_spawn(io, server.run(), asio::bind_cancellation_slot(end.slot(), [](std::exception_ptr) {}));
        thread = std::thread([this] { io.run(); });
    }
    void TearDown() override {
        if (!thread.joinable()) return;
        asio::post(io, [this] { end.emit(asio::cancellation_type::terminal); });
        thread.join();
    }
    std::string get(const std::string& target, const std::string& more = "Host: 127.0.0.1\r\n", const std::string& verb = "GET") {
        return ask(server.port(), verb + " " + target + " HTTP/1.1\r\n" + more + "\r\n");
    }
};

TEST_F(HttpServerTest, TwoPagesAndNothingElse) {
    start();
    auto page = get("/metrics");
    EXPECT_TRUE(page.starts_with("HTTP/1.1 200")) << page;
    EXPECT_NE(page.find("text/plain; version=0.0.4"), std::string::npos);
    EXPECT_TRUE(page.ends_with("\r\n\r\nskerry_up 1\n")) << page;
    EXPECT_TRUE(get("/healthz").ends_with("ok\n"));
    EXPECT_TRUE(get("/").starts_with("HTTP/1.1 404"));
    EXPECT_TRUE(get("/metrics/../etc/passwd").starts_with("HTTP/1.1 404"));
    EXPECT_TRUE(get("/metrics", "Host: localhost:1\r\nContent-Length: 0\r\n", "POST").starts_with("HTTP/1.1 405"));
    EXPECT_TRUE(get("/metrics", "Host: [::1]:9\r\n", "HEAD").starts_with("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, ANameThatSomebodyElsePointsHereIsRefused) {
    start();
    EXPECT_TRUE(get("/metrics", "Host: evil.example\r\n").starts_with("HTTP/1.1 403"));
    EXPECT_TRUE(get("/metrics", "Host: 127.0.0.1.evil.example:7602\r\n").starts_with("HTTP/1.1 403"));
}

TEST_F(HttpServerTest, LongHeadsBodiesAndNoiseAreRefused) {
    start();
    EXPECT_TRUE(get("/metrics", "Host: 127.0.0.1\r\nX: " + std::string(20'000, 'x') + "\r\n").starts_with("HTTP/1.1 400"));
    EXPECT_TRUE(get("/metrics", "Host: 127.0.0.1\r\nContent-Length: 5\r\n\r\nhello").starts_with("HTTP/1.1 400"));
    EXPECT_TRUE(ask(server.port(), "\x16\x03\x01 no HTTP\r\n\r\n").starts_with("HTTP/1.1 400"));
    EXPECT_TRUE(get("/healthz").starts_with("HTTP/1.1 200"));
}

TEST_F(HttpServerTest, ASilentCallerIsLetGoAndHoldsNobodyUp) {
    start();
    std::thread silent([this] { EXPECT_EQ(ask(server.port(), "GET /met"), ""); });
    EXPECT_TRUE(get("/healthz").starts_with("HTTP/1.1 200"));
    silent.join();  // by the server's patience, not ours
}

TEST_F(HttpServerTest, CountsWhatItAnswered) {
    start();
    get("/healthz");
    get("/healthz");
    get("/nothing");
    MetricsText page;
    server.add_metrics(page);
    EXPECT_NE(page.text().find("skerry_http_requests_total{route=\"/healthz\",code=\"200\"} 2"), std::string::npos) << page.text();
    EXPECT_NE(page.text().find("{route=\"other\",code=\"404\"} 1"), std::string::npos) << page.text();
}

TEST_F(HttpServerTest, ATakenPortIsAnErrorOnlyWhereItWasWrittenDown) {
    start();
    MetricsListen where;
    where.address = Address{"127.0.0.1", server.port()};
    asio::io_context other;
    MetricsServer second(other.get_executor(), []() -> Task<std::string> { co_return ""; });
    where.must = true;
    auto refused = second.listen(where);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::port_in_use);
    where.must = false;
    EXPECT_TRUE(second.listen(where));
    EXPECT_NE(second.port(), 0);
    EXPECT_NE(second.port(), server.port());
}

TEST_F(HttpServerTest, NoneIsOff) {
    auto off = parse_metrics_listen("none", 7602);
    ASSERT_TRUE(off);
    EXPECT_TRUE(server.listen(*off));
    EXPECT_EQ(server.port(), 0);
    EXPECT_EQ(parse_metrics_listen("127.0.0.1", 7602)->address.port, 7602);
    EXPECT_FALSE(parse_metrics_listen("127.0.0.1:99999", 7602));
}

}  // namespace
}  // namespace skerry
