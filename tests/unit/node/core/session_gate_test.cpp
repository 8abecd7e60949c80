#include "node/core/session_gate.hpp"

#include <gtest/gtest.h>

#include "tests/unit/node/core/support.hpp"

namespace skerry::node {
namespace {

using testing::Bench;
using testing::numbered;

struct SessionGateTest : ::testing::Test {
    Bench bench;
    SessionGate gate{bench.context, bench.roster};

    SessionGateTest() {
        bench.context.manifest->run = numbered<RunId>(5);
        NodeImage image;
        image.term = Term{4};
        image.incarnation = Incarnation{2};
        gate.begin(image);
        gate.up(Step{0}, {});
        bench.context.out.clear();
    }
    static Welcome welcome(std::uint64_t term) {
        Welcome w;
        w.run = numbered<RunId>(5);
        w.term = Term{term};
        w.incarnation = Incarnation{3};
        w.ticket = {1};
        return w;
    }
    bool may_speak() {
        Send send;
        send.message.body = Report{};
        Actions actions{send};
        gate.stamp(actions);
        return !actions.empty();
    }
};

TEST_F(SessionGateTest, NothingIsSaidInATermBeforeItIsOnDisk) {
    EXPECT_EQ(gate.on_welcome(welcome(5)), SessionGate::Greeting::accepted);
    EXPECT_FALSE(may_speak());
    const auto stored = bench.take<PersistSeen>();
    ASSERT_EQ(stored.size(), 1U);
    EXPECT_EQ(stored[0].term, Term{5});
    EXPECT_TRUE(gate.on_done({stored[0].op, {}, {}}));
    EXPECT_TRUE(may_speak());
}

// The session broke while the disk was still at it: the same question once more must not be answered from memory.
TEST_F(SessionGateTest, ARebuildIsAnsweredOnceItsTermIsOnDisk) {
    const RebuildAsk ask{Term{1004}, RebuildPart::facts, {}};
    gate.on_rebuild(ask);
    const auto first = bench.take<PersistSeen>();
    ASSERT_EQ(first.size(), 1U);
    EXPECT_EQ(first[0].term, Term{1004});
    EXPECT_FALSE(gate.take_rebuild());
    gate.down();
    gate.up(Step{0}, {});
    bench.context.out.clear();
    gate.on_rebuild(ask);
    const auto again = bench.take<PersistSeen>();
    ASSERT_EQ(again.size(), 1U);
    EXPECT_FALSE(gate.take_rebuild());
    gate.on_done({again[0].op, {}, {}});
    EXPECT_TRUE(gate.take_rebuild());
    gate.on_rebuild(ask);
    EXPECT_TRUE(bench.take<PersistSeen>().empty());
    EXPECT_TRUE(gate.take_rebuild());
}

TEST_F(SessionGateTest, ACoordinatorOfALowerTermIsRefused) {
    EXPECT_EQ(gate.on_welcome(welcome(3)), SessionGate::Greeting::refused);
    EXPECT_EQ(bench.take<Redial>().size(), 1U);
    EXPECT_FALSE(may_speak());
}

TEST_F(SessionGateTest, MessagesOfAnotherTermOrOldOnesAreDropped) {
    gate.on_welcome(welcome(5));
    ControlMessage message;
    message.run = numbered<RunId>(5);
    message.term = Term{5};
    message.incarnation = Incarnation{3};
    message.seq = 2;
    message.body = Orders{};
    EXPECT_TRUE(gate.admits(message));
    EXPECT_FALSE(gate.admits(message));
    message.seq = 3;
    message.term = Term{4};
    EXPECT_FALSE(gate.admits(message));
    EXPECT_EQ(gate.dropped(), 2U);
}

TEST_F(SessionGateTest, ARebuildIsAnsweredOnceItsTermIsOnDiskAndNotBefore) {
    RebuildAsk ask;
    ask.term = Term{1004};
    gate.on_rebuild(ask);
    EXPECT_FALSE(gate.take_rebuild());
    const auto lost = bench.take<PersistSeen>();
    ASSERT_EQ(lost.size(), 1U);
    // The session breaks before the disk has answered; the same question comes again.
    gate.down();
    gate.up(Step{0}, {});
    bench.context.out.clear();
    gate.on_rebuild(ask);
    EXPECT_FALSE(gate.take_rebuild());
    const auto stored = bench.take<PersistSeen>();
    ASSERT_EQ(stored.size(), 1U) << "nobody knows whether the first one was written";
    EXPECT_EQ(stored[0].term, Term{1004});
    EXPECT_EQ(stored[0].incarnation, Incarnation{2});
    EXPECT_FALSE(gate.on_done({stored[0].op, {}, {}}));
    EXPECT_TRUE(gate.take_rebuild());
    gate.on_rebuild(ask);
    EXPECT_TRUE(gate.take_rebuild()) << "it is on disk";
}

TEST_F(SessionGateTest, AWelcomeThatTheDiskRefusedIsStoredTheNextTime) {
    Welcome again = welcome(5);
    again.ticket.clear();
    gate.on_welcome(again);
    const auto first = bench.take<PersistSeen>();
    ASSERT_EQ(first.size(), 1U);
    EXPECT_FALSE(gate.on_done({first[0].op, Error{Errc::disk_full, "", ""}, {}}));
    gate.up(Step{0}, {});
    bench.context.out.clear();
    gate.on_welcome(again);
    EXPECT_FALSE(may_speak());
    EXPECT_EQ(bench.take<PersistSeen>().size(), 1U);
}

}  // namespace
}  // namespace skerry::node
