#include "node/control/coordinator_session.hpp"

#include "tests/unit/node/control/coordinator_fixture.hpp"

namespace skerry::node::testing {
namespace {

class SessionTest : public CoordinatorTest, public CoordinatorEvents {
  protected:
    void start() {
        session = std::make_unique<CoordinatorSession>(io.get_executor(), peer(), config, *this);
        tasks.spawn(session->run());
    }
    ~SessionTest() override {
        tasks.cancel();
        until([&] { return tasks.size() == 0; });
    }
    static ControlMessage message(ControlBody body, std::uint64_t seq = 1) {
        ControlMessage out;
        out.seq = seq;
        out.body = std::move(body);
        return out;
    }
    void on_session(const PublicKey& of) override {
        service_seen = of;
        ++sessions;
        session->send(message(Hello{}));
    }
    void on_message(ControlMessage in) override { received.push_back(std::move(in)); }
    void on_lost(const Error& why, std::chrono::milliseconds retry_in, bool was_open) override {
        lost.push_back({why.code, retry_in, was_open});
    }

    struct Lost {
        Errc code;
        std::chrono::milliseconds pause;
        bool was_open;
    };
    CoordinatorSessionConfig config{.backoff_first = 10ms, .backoff_most = 200ms};
    std::unique_ptr<CoordinatorSession> session;
    PublicKey service_seen;
    int sessions = 0;
    std::vector<ControlMessage> received;
    std::vector<Lost> lost;
};

TEST_F(SessionTest, MessagesGoBothWaysAndTheServiceKeyIsKnown) {
    std::vector<ControlMessage> heard;
    listen([&](ControlStream& stream) -> Task<> {
        auto hello = co_await stream.receive();
        if (hello) heard.push_back(*hello);
        auto sent = co_await stream.send(message(Welcome{}, 7));
        EXPECT_TRUE(sent);
        auto next = co_await stream.receive();
        if (next) heard.push_back(*next);
    });
    start();
    ASSERT_TRUE(until([&] { return received.size() == 1; }));
    EXPECT_EQ(service_seen, service.public_key());
    EXPECT_EQ(received[0].seq, 7U);
    EXPECT_TRUE(session->send(message(Report{}, 8)));
    ASSERT_TRUE(until([&] { return heard.size() == 2; }));
    EXPECT_TRUE(std::holds_alternative<Hello>(heard[0].body));
    EXPECT_EQ(heard[1].seq, 8U);
}

TEST_F(SessionTest, AClosedSessionIsDialledAgainForEver) {
    listen([&](ControlStream& stream) -> Task<> { co_await stream.receive(); });
    start();
    ASSERT_TRUE(until([&] { return sessions >= 3; }));
    EXPECT_TRUE(lost[0].was_open);
    EXPECT_EQ(lost[0].code, Errc::closed);
}

TEST_F(SessionTest, PausesGrowUntilAWelcome) {
    bool welcome = false;
    listen([&](ControlStream& stream) -> Task<> {
        co_await stream.receive();
        if (welcome) co_await stream.send(message(Welcome{}));
    });
    start();
    ASSERT_TRUE(until([&] { return lost.size() >= 6; }));
    EXPECT_GE(lost[5].pause, 100ms);
    welcome = true;
    std::size_t at = lost.size();
    ASSERT_TRUE(until([&] { return lost.size() >= at + 2; }));
    EXPECT_LE(lost.back().pause, 10ms);
}

TEST_F(SessionTest, AnotherRootIsSaidSoAndGetsNoHello) {
    listen([&](ControlStream& stream) -> Task<> { co_await stream.receive(); });
    auto wrong = peer();
    wrong.root = to_pin(key.id());
    session = std::make_unique<CoordinatorSession>(io.get_executor(), wrong, config, *this);
    tasks.spawn(session->run());
    ASSERT_TRUE(until([&] { return !lost.empty(); }));
    EXPECT_EQ(lost[0].code, Errc::wrong_coordinator);
    EXPECT_FALSE(lost[0].was_open);
    EXPECT_EQ(sessions, 0);
}

TEST_F(SessionTest, NobodyThereIsUnreachable) {
    auto nowhere = peer();
    nowhere.port = 1;
    session = std::make_unique<CoordinatorSession>(io.get_executor(), nowhere, config, *this);
    tasks.spawn(session->run());
    ASSERT_TRUE(until([&] { return !lost.empty(); }));
    EXPECT_EQ(lost[0].code, Errc::unreachable);
    EXPECT_FALSE(session->send(message(Report{})));
}

TEST_F(SessionTest, SilenceEndsTheSession) {
    config.silence_patience = 100ms;
    listen([&](ControlStream& stream) -> Task<> {
        co_await stream.receive();
        co_await stream.receive();  // ends when the node hangs up
    });
    start();
    ASSERT_TRUE(until([&] { return !lost.empty(); }));
    EXPECT_EQ(lost[0].code, Errc::timed_out);
}

TEST_F(SessionTest, RedialEndsTheSession) {
    listen([&](ControlStream& stream) -> Task<> {
        co_await stream.receive();
        co_await stream.receive();
    });
    start();
    ASSERT_TRUE(until([&] { return sessions == 1; }));
    session->redial("the core wants it");
    ASSERT_TRUE(until([&] { return sessions == 2; }));
    EXPECT_TRUE(lost[0].was_open);
}

TEST_F(SessionTest, OfQueuedReportsTheNewestIsSent) {
    std::vector<std::uint64_t> heard;
    listen([&](ControlStream& stream) -> Task<> {
        for (;;) {
            auto next = co_await stream.receive();
            if (!next) co_return;
            heard.push_back(next->seq);
        }
    });
    start();
    ASSERT_TRUE(until([&] { return heard.size() == 1; }));
    session->send(message(Report{}, 10));
    session->send(message(LeaseRequest{}, 11));
    session->send(message(Report{}, 12));
    ASSERT_TRUE(until([&] { return heard.size() == 3; }));
    EXPECT_EQ(heard, (std::vector<std::uint64_t>{1, 11, 12}));
}

}  // namespace
}  // namespace skerry::node::testing
