#pragma once
// Nodes with real sockets on loopback, all on one io_context.

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>

#include "node/transport/peer_links.hpp"
#include "protocol/base/task_group.hpp"

namespace skerry::node::testing {

using namespace std::chrono_literals;

inline NodeId node_id(std::uint8_t n) {
    NodeId id;
    id.bytes.fill(n);
    return id;
}

struct Received {
    NodeId from;
    Bytes envelope;
    Bytes chunk;
};

/// A node's data plane, recording what it hears.
struct TestNode : PeerLinksEvents {
    TestNode(asio::io_context& io, std::uint8_t number, PeerLinksConfig config = loopback())
        : id(node_id(number)),
          zap(ZapHandler::start(context)),
          links(std::make_unique<PeerLinks>(io.get_executor(), context, **zap, keys, std::move(config), *this)),
          running(io.get_executor()) {
        auto bound = links->bind();
        EXPECT_TRUE(bound) << bound.error().detail;
        port = *bound;
        running.spawn(links->run());
    }
    static PeerLinksConfig loopback() {
        PeerLinksConfig config;
        config.listen_host = "127.0.0.1";
        config.listen_port = 0;
        return config;
    }
    PeerTarget target(bool dial, std::vector<Address> addresses = {}) const {
        if (addresses.empty()) addresses.push_back({"127.0.0.1", port});
        return {id, keys.public_key, std::move(addresses), dial};
    }
    void on_message(const NodeId& from, Bytes envelope, Bytes chunk) override {
        received.push_back({from, std::move(envelope), std::move(chunk)});
    }
    void on_link(const NodeId& peer, bool up) override { (up ? ups : downs).push_back(peer); }
    void on_room(const NodeId&) override { ++rooms; }

    ZmqContext context;
    CurveKeyPair keys = make_curve_keys();
    NodeId id;
    Result<std::unique_ptr<ZapHandler>> zap;
    std::unique_ptr<PeerLinks> links;
    TaskGroup running;
    std::uint16_t port = 0;
    std::vector<Received> received;
    std::vector<NodeId> ups, downs;
    int rooms = 0;
};

class LinksTest : public ::testing::Test {
  protected:
    ~LinksTest() override {
        for (auto& node : nodes) node->running.cancel();
        until([&] {
            for (auto& node : nodes)
                if (node->running.size() > 0) return false;
            return true;
        });
    }
    TestNode& add(std::uint8_t number, PeerLinksConfig config = TestNode::loopback()) {
        nodes.push_back(std::make_unique<TestNode>(io, number, std::move(config)));
        return *nodes.back();
    }
    /// Runs the loop until `done` or the patience ends.
    bool until(const std::function<bool()>& done, std::chrono::milliseconds patience = 10s) {
        auto end = std::chrono::steady_clock::now() + patience;
        while (!done() && std::chrono::steady_clock::now() < end) io.run_one_for(20ms);
        return done();
    }
    void join(TestNode& dialler, TestNode& listener) {
        dialler.links->set_targets({listener.target(true)});
        listener.links->set_targets({dialler.target(false)});
    }

    asio::io_context io;
    std::vector<std::unique_ptr<TestNode>> nodes;
};

inline Bytes text(const char* s) { return Bytes(as_bytes(s).begin(), as_bytes(s).end()); }

}  // namespace skerry::node::testing
