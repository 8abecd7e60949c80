#include "coordinator/server/outbox.hpp"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>

namespace skerry::coordinator {
namespace {

/// Writes down what it is told; a transaction is durable when the test says so.
struct Sink final : ActionSink {
    void persist(std::shared_ptr<const Tx> tx, std::function<void(Result<void>)> done) override {
        told.push_back("persist " + std::to_string(tx->term.value));
        waiting = std::move(done);
    }
    void send(SessionId session, ControlMessage message) override {
        told.push_back("send " + std::to_string(session.value) + "/" + std::to_string(message.seq));
    }
    void close(SessionId session) override { told.push_back("close " + std::to_string(session.value)); }
    void dial_back(DialBack) override { told.push_back("dial"); }
    void load_decisions(LoadDecisions) override { told.push_back("load"); }
    void answer(AdminAnswer) override { told.push_back("answer"); }
    void note(const Note& note) override { told.push_back("note " + note.event); }
    void stopped_by(const Error& why) override { told.push_back("stopped " + std::string(to_name(why.code))); }
    void disk_full(bool full) override { told.push_back(full ? "full" : "space"); }

    void finish(Result<void> result) {
        auto done = std::exchange(waiting, nullptr);
        done(std::move(result));
    }

    std::vector<std::string> told;
    std::function<void(Result<void>)> waiting;
};

Action persist(std::uint64_t mark) { return Persist{Tx{Term{mark}, {}}}; }
Action send(std::uint64_t session, std::uint64_t seq, ControlBody body = LeaseGrant{}) {
    ControlMessage message;
    message.seq = seq;
    message.body = std::move(body);
    return Send{SessionId{session}, std::move(message)};
}

using Told = std::vector<std::string>;

struct OutboxTest : testing::Test {
    asio::io_context io;
    Sink sink;
    Outbox outbox{io.get_executor(), sink, std::chrono::milliseconds(1)};
};

TEST_F(OutboxTest, NothingPassesATransactionBeforeItIsDurable) {
    outbox.push({send(1, 1), persist(7), send(1, 2), Close{SessionId{2}}});
    outbox.push({send(1, 3)});
    EXPECT_EQ(sink.told, (Told{"send 1/1", "persist 7"}));
    sink.finish({});
    EXPECT_EQ(sink.told, (Told{"send 1/1", "persist 7", "send 1/2", "close 2", "send 1/3"}));
    EXPECT_TRUE(outbox.empty());
}

TEST_F(OutboxTest, TransactionsGoOneByOneInOrder) {
    outbox.push({persist(1)});
    outbox.push({persist(2), send(1, 1)});
    EXPECT_EQ(sink.told, (Told{"persist 1"}));
    sink.finish({});
    EXPECT_EQ(sink.told, (Told{"persist 1", "persist 2"}));
    sink.finish({});
    EXPECT_EQ(sink.told.back(), "send 1/1");
}

TEST_F(OutboxTest, AFullDiskHoldsEverythingAndIsTriedAgain) {
    outbox.push({persist(1), send(1, 1)});
    sink.finish(fail(Errc::disk_full, "no space"));
    EXPECT_TRUE(outbox.disk_is_full());
    io.run();
    EXPECT_EQ(sink.told, (Told{"persist 1", "full", "persist 1"}));
    sink.finish(fail(Errc::disk_full, "no space"));
    io.restart();
    io.run();
    EXPECT_EQ(sink.told.back(), "persist 1");
    sink.finish({});
    EXPECT_FALSE(outbox.disk_is_full());
    EXPECT_EQ(sink.told, (Told{"persist 1", "full", "persist 1", "persist 1", "space", "send 1/1"}));
}

TEST_F(OutboxTest, WhileTheDiskIsFullOnlyTheNewestOrdersOfASessionAreKept) {
    outbox.push({persist(1)});
    for (std::uint64_t i = 0; i < 5000; ++i) {
        outbox.push({send(1, 2 * i, Orders{}), send(2, 2 * i + 1, Orders{})});
        if (i == 17) outbox.push({send(1, 99999)});
    }
    EXPECT_LT(outbox.size(), 3000U);
    sink.finish({});
    EXPECT_EQ(std::count(sink.told.begin(), sink.told.end(), "send 1/99999"), 1);
    EXPECT_EQ(sink.told[sink.told.size() - 2], "send 1/9998");
    EXPECT_EQ(sink.told.back(), "send 2/9999");
}

TEST_F(OutboxTest, AnIoErrorEndsItAndNothingBehindItIsSaid) {
    outbox.push({persist(1), send(1, 1)});
    sink.finish(fail(Errc::io_error, "the disk is gone"));
    outbox.push({send(1, 2)});
    EXPECT_EQ(sink.told, (Told{"persist 1", "stopped IO_ERROR"}));
}

}  // namespace
}  // namespace skerry::coordinator
