#pragma once
// The other end of the control plane: a TLS listener that a test scripts.

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <ctime>
#include <functional>

#include "node/control/coordinator_session.hpp"
#include "protocol/base/task_group.hpp"

namespace skerry::node::testing {

using namespace std::chrono_literals;

class CoordinatorTest : public ::testing::Test {
  protected:
    using Tcp = asio::ip::tcp;
    using Serve = std::function<Task<>(ControlStream&)>;

    CoordinatorTest() : acceptor(io, Tcp::endpoint(asio::ip::address_v4::loopback(), 0)), tasks(io.get_executor()) {}
    ~CoordinatorTest() override {
        boost::system::error_code ignored;
        acceptor.close(ignored);
        tasks.cancel();
        until([&] { return tasks.size() == 0; });
        disk.join();
    }

    bool until(const std::function<bool()>& done, std::chrono::milliseconds patience = 20s) {
        auto end = std::chrono::steady_clock::now() + patience;
        while (!done() && std::chrono::steady_clock::now() < end) {
            io.restart();
            io.run_one_for(20ms);
        }
        return done();
    }
    /// Accepts connections one after the other and lets `serve` speak on each.
    void listen(Serve serve) { tasks.spawn(accept_all(std::move(serve))); }
    Task<> accept_all(Serve serve) {
        auto tls = TlsContext::make_server(
            service, make_service_certificate(root, service.public_key(), std::time(nullptr)), make_root_certificate(root));
        for (;;) {
            auto [ec, socket] = co_await acceptor.async_accept(no_throw);
            if (ec) co_return;
            auto stream = co_await accept_tls(std::move(socket), *tls);
            if (!stream) continue;
            ++connections;
            ControlStream control(std::move(*stream));
            control.frames().set_receive_limit(kMaxFrame);
            co_await serve(control);
            control.frames().close();
        }
    }
    CoordinatorPeer peer() {
        return {"127.0.0.1", acceptor.local_endpoint().port(), to_pin(root.id()), key};
    }

    asio::io_context io;
    asio::thread_pool disk{1};
    Tcp::acceptor acceptor;
    KeyPair root = KeyPair::generate();
    KeyPair service = KeyPair::generate();
    KeyPair key = KeyPair::generate();
    TaskGroup tasks;
    int connections = 0;
};

}  // namespace skerry::node::testing
