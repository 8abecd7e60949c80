#include "coordinator/core/deadlines.hpp"

#include <gtest/gtest.h>

#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

using co::Deadlines;
using co::PhaseTimes;
using co::StepPhase;

NodeId node(std::uint8_t number) {
    NodeId id;
    id.bytes[0] = number;
    return id;
}

void add(PhaseTimes& times, std::initializer_list<int> samples) {
    for (int ms : samples) times.add(Millis(ms));
}

TEST(PhaseTimesTest, MedianAndDeviationOfOddAndEvenCounts) {
    PhaseTimes times;
    EXPECT_EQ(times.estimate(), Millis(0));
    add(times, {10, 50, 20});
    EXPECT_EQ(times.median(), Millis(20));
    EXPECT_EQ(times.deviation(), Millis(10));  // of 10, 30, 0
    add(times, {40});
    EXPECT_EQ(times.median(), Millis(30));
    EXPECT_EQ(times.deviation(), Millis(15));  // of 20, 20, 10, 10
    EXPECT_EQ(times.estimate(), Millis(90));
    EXPECT_FALSE(times.enough());
    add(times, {30});
    EXPECT_TRUE(times.enough());
}

TEST(PhaseTimesTest, OneOutlierMovesTheEstimateLittle) {
    PhaseTimes times;
    add(times, {100, 102, 98, 101, 99, 100, 60'000});
    EXPECT_LE(times.estimate(), Millis(110));
}

TEST(PhaseTimesTest, OnlyTheLastTwentyCount) {
    PhaseTimes times;
    for (int i = 0; i < 20; ++i) times.add(Millis(5000));
    for (int i = 0; i < 20; ++i) times.add(Millis(7));
    EXPECT_EQ(times.count(), PhaseTimes::kKept);
    EXPECT_EQ(times.estimate(), Millis(7));
}

TEST(PhaseTimesTest, SamplesOutOfRangeAreCut) {
    PhaseTimes times;
    add(times, {-5});
    EXPECT_EQ(times.median(), Millis(0));
    PhaseTimes late;
    late.add(Millis(INT64_MAX));
    EXPECT_EQ(late.median(), Millis(86'400'000));
}

struct DeadlinesTest : testing::Test {
    co::CoreConfig config;
    std::optional<Deadlines> deadlines;

    DeadlinesTest() {
        config.exchange_deadline = Millis(30'000);
        begin();
    }
    void begin() { deadlines.emplace(config, Millis(60'000)); }
    void fill(StepPhase phase, int ms, int count = 5) {
        for (int i = 0; i < count; ++i) deadlines->add(phase, node(1), Millis(ms));
    }
};

TEST_F(DeadlinesTest, BeforeFiveSamplesTheConfiguredTimesHold) {
    fill(StepPhase::exchange, 500, 4);
    fill(StepPhase::collect, 70'000, 4);
    fill(StepPhase::votes, 9000, 4);
    EXPECT_EQ(deadlines->exchange(node(1), 100), Millis(30'000));
    EXPECT_EQ(deadlines->collect(node(1)), Millis(120'000)) << "three rounds, and two at most";
    EXPECT_EQ(deadlines->votes(node(1)), Millis(5000));
    EXPECT_EQ(deadlines->exchange(node(9), 100), Millis(30'000)) << "a node that nobody has seen";
}

TEST_F(DeadlinesTest, ThePredictionFollowsWhatPlansTookAndTheirLoad) {
    EXPECT_EQ(deadlines->prediction(100), Millis(10'000));
    deadlines->add_transfer(100, Millis(8000));
    EXPECT_EQ(deadlines->prediction(100), Millis(8000));
    EXPECT_EQ(deadlines->prediction(200), Millis(16'000));
    EXPECT_EQ(deadlines->exchange(node(1), 200), Millis(3 * 16'000)) << "too few samples: three predictions";
    deadlines->add_transfer(0, Millis(8000));
    EXPECT_EQ(deadlines->prediction(0), Millis(1));
}

TEST_F(DeadlinesTest, ExchangeStaysBetweenItsBounds) {
    fill(StepPhase::exchange, 100);
    EXPECT_EQ(deadlines->exchange(node(1), 100), Millis(10'000));
    fill(StepPhase::exchange, 20'000, 20);
    EXPECT_EQ(deadlines->exchange(node(1), 100), Millis(20'000));
    fill(StepPhase::exchange, 900'000, 20);
    EXPECT_EQ(deadlines->exchange(node(1), 100), Millis(100'000)) << "ten predictions";
    config.exchange_most = Millis(45'000);
    begin();
    fill(StepPhase::exchange, 900'000);
    EXPECT_EQ(deadlines->exchange(node(1), 100), Millis(45'000));
}

TEST_F(DeadlinesTest, AShortConfiguredDeadlineIsItsOwnLeast) {
    config.exchange_deadline = Millis(4000);
    begin();
    fill(StepPhase::exchange, 100);
    EXPECT_EQ(deadlines->exchange(node(1), 100), Millis(4000));
}

TEST_F(DeadlinesTest, CollectIsAtLeastARoundAndAtMostTwo) {
    fill(StepPhase::collect, 20'000);
    EXPECT_EQ(deadlines->collect(node(1)), Millis(60'000));
    fill(StepPhase::collect, 75'000, 20);
    EXPECT_EQ(deadlines->collect(node(1)), Millis(75'000));
    fill(StepPhase::collect, 500'000, 20);
    EXPECT_EQ(deadlines->collect(node(1)), Millis(120'000));
    config.collect_most = Millis(90'000);
    begin();
    fill(StepPhase::collect, 500'000);
    EXPECT_EQ(deadlines->collect(node(1)), Millis(90'000));
}

TEST_F(DeadlinesTest, VotesAreWaitedForWithinTenTimesTheLeast) {
    fill(StepPhase::votes, 0);
    EXPECT_EQ(deadlines->votes(node(1)), Millis(5000));
    fill(StepPhase::votes, 8000, 20);
    EXPECT_EQ(deadlines->votes(node(1)), Millis(8000));
    fill(StepPhase::votes, 800'000, 20);
    EXPECT_EQ(deadlines->votes(node(1)), Millis(50'000));
}

TEST_F(DeadlinesTest, NodesAndPhasesAreMeasuredApart) {
    fill(StepPhase::exchange, 20'000);
    deadlines->add(StepPhase::exchange, node(2), Millis(1));
    EXPECT_EQ(deadlines->status(StepPhase::exchange, node(1), 100).samples, 5U);
    EXPECT_EQ(deadlines->status(StepPhase::exchange, node(2), 100).samples, 1U);
    EXPECT_EQ(deadlines->status(StepPhase::votes, node(1), 100).samples, 0U);
}

TEST_F(DeadlinesTest, TheLoadIsThatOfTheBusiestMember) {
    Plan plan;
    plan.members = {node(1), node(2), node(3), node(4)};
    for (std::uint8_t n = 1; n <= 4; ++n) plan.participants.push_back({node(n), {}, {}, 10, {}});
    plan.piece_owner = {0, 1, 2, 3};
    EXPECT_EQ(Deadlines::load_of(plan), 6U);  // 2 (N-1) P / N
    plan.piece_owner = {0, 0, 0, 0};
    EXPECT_EQ(Deadlines::load_of(plan), 12U) << "one owner gives everything to everybody";
    plan.participants = {{node(2), {}, {}, 10, {}}};
    plan.members = {node(2)};
    EXPECT_EQ(Deadlines::load_of(plan), 0U);
}

// --------------------------------------------------------------------------- in the step machine

struct MeasuredSteps : testing::Test {
    Rig rig{small_manifest(), config()};
    FakeNode& a = rig.join("a");
    FakeNode& b = rig.join("b");
    FakeNode& c = rig.join("c");
    std::uint64_t contribution = 1;

    static co::CoreConfig config() {
        co::CoreConfig out;
        out.exchange_deadline = Millis(30'000);
        return out;
    }
    void SetUp() override { EXPECT_FALSE(rig.admin(co::admin::StartRun{})); }
    void wait(int ms) { rig.pass(Millis(ms), {&a, &b, &c}); }
    void complete(FakeNode& n) {
        n.report.exchange = ExchangeState{};
        n.report.exchange->plan = rig.image().plan->digest;
        n.report.exchange->results_have = n.report.exchange->results_need = 5;
        rig.report(n);
    }
    /// c is READY `collect` after the others and complete `exchange` after them.
    void step(int collect, int exchange) {
        const std::uint64_t head = rig.status().head.value;
        rig.ready(a, contribution++);
        rig.ready(b, contribution++);
        wait(collect);
        rig.ready(c, contribution++);
        ASSERT_TRUE(rig.has_plan()) << head;
        complete(a);
        complete(b);
        wait(exchange);
        complete(c);
        for (FakeNode* n : {&a, &b, &c}) rig.vote(*n, 100 + head);
        ASSERT_EQ(rig.status().head.value, head + 1);
        for (FakeNode* n : {&a, &b, &c}) rig.apply(*n);
    }
};

TEST_F(MeasuredSteps, ALateButSteadyNodeIsWaitedForAndOneThatIsLaterStillIsNot) {
    rig.config.collect_most = Millis(0);
    for (int i = 0; i < 7; ++i) step(9000, 500);
    const auto& status = rig.node_status(c);
    EXPECT_GE(status.collect.samples, 5U);
    EXPECT_NEAR(static_cast<double>(status.collect.median.count()), 9000, 600);
    // Deadline of a round is 10 s: what is usual for c lies below it, so the round holds.
    EXPECT_EQ(status.collect.deadline, Millis(10'000));
    rig.ready(a, 900);
    rig.ready(b, 901);
    wait(10'750);
    EXPECT_FALSE(rig.has_plan());
    wait(750);
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().members.size(), 2U);
}

TEST_F(MeasuredSteps, ANodeThatUsuallyNeedsLongerThanTheRoundGetsItsTime) {
    step(1000, 500);  // the first round of a process is not measured
    for (int i = 0; i < 5; ++i) step(13'500, 500);  // waited for: nothing is known of it
    EXPECT_EQ(rig.node_status(c).collect.samples, 5U);
    EXPECT_GT(rig.node_status(c).collect.deadline, Millis(13'000));
    EXPECT_LT(rig.node_status(c).collect.deadline, Millis(15'000));
    rig.ready(a, contribution++);
    rig.ready(b, contribution++);
    wait(13'250);
    EXPECT_FALSE(rig.has_plan()) << "beyond the round and its grace";
    wait(3500);
    ASSERT_TRUE(rig.has_plan()) << "beyond its own time and the grace";
    EXPECT_EQ(rig.plan().members.size(), 2U);
}

TEST_F(MeasuredSteps, AProcessThatBeganInThisRoundIsNotWaitedForBeyondIt) {
    step(1000, 500);
    for (int i = 0; i < 5; ++i) step(14'000, 500);
    ASSERT_GT(rig.node_status(c).collect.deadline, Millis(13'000));
    rig.ready(a, 900);
    rig.ready(b, 901);
    wait(3000);
    c.boot.bytes[1] = 9;  // killed and started again
    c.in_memory = {};
    rig.hello(c);
    c.report.ready.reset();
    wait(7500);
    EXPECT_FALSE(rig.has_plan());
    wait(1000);
    ASSERT_TRUE(rig.has_plan());
    EXPECT_EQ(rig.plan().members.size(), 2U);
}

TEST_F(MeasuredSteps, ALateReadyIsMeasuredWhileTheOthersExchange) {
    for (int i = 0; i < 6; ++i) step(1000, 500);
    ASSERT_EQ(rig.node_status(c).collect.deadline, Millis(10'000));
    rig.ready(a, contribution++);
    rig.ready(b, contribution++);
    rig.lease(c, 10);
    wait(11'250);
    ASSERT_TRUE(rig.has_plan());
    ASSERT_EQ(rig.plan().members.size(), 2U);
    const auto before = rig.node_status(c).collect.samples;
    rig.ready(c, contribution++);
    EXPECT_EQ(rig.node_status(c).collect.samples, before + 1);
}

TEST_F(MeasuredSteps, TheExchangeDeadlineFollowsTheSlowestMember) {
    EXPECT_EQ(rig.node_status(c).exchange.deadline, Millis(30'000));
    for (int i = 0; i < 7; ++i) step(500, 16'000);
    const auto& status = rig.node_status(c);
    EXPECT_EQ(status.exchange.samples, 7U);
    EXPECT_GE(status.exchange.deadline, Millis(16'000));
    EXPECT_LT(status.exchange.deadline, Millis(20'000));
    EXPECT_EQ(rig.node_status(a).exchange.deadline, Millis(10'000)) << "the least";
    rig.ready(a, 900);
    rig.ready(b, 901);
    rig.ready(c, 902);
    EXPECT_EQ(rig.status().attempt_deadline, rig.node_status(c).exchange.deadline);
    EXPECT_GE(a.orders->edge_patience_ms, 4000U);
    wait(15'500);
    EXPECT_EQ(rig.plan().attempt, Attempt{1});
    wait(5000);
    EXPECT_EQ(rig.plan().attempt, Attempt{2});
    EXPECT_EQ(rig.status().attempt_deadline, 2 * rig.node_status(c).exchange.deadline);
}

TEST_F(MeasuredSteps, AfterARestartNothingIsMeasuredAndTheOpenPlanTeachesNothing) {
    for (int i = 0; i < 6; ++i) step(500, 2000);
    rig.ready(a, 900);
    rig.ready(b, 901);
    rig.ready(c, 902);
    ASSERT_TRUE(rig.has_plan());
    rig.restart();
    for (FakeNode* n : {&a, &b, &c}) rig.hello(*n);
    EXPECT_EQ(rig.node_status(c).exchange.samples, 0U);
    EXPECT_EQ(rig.status().attempt_deadline, Millis(30'000));
    for (FakeNode* n : {&a, &b, &c}) complete(*n);
    for (FakeNode* n : {&a, &b, &c}) rig.vote(*n, 77);
    EXPECT_EQ(rig.status().head, Step{7});
    EXPECT_EQ(rig.node_status(c).exchange.samples, 0U);
}

}  // namespace
}  // namespace skerry::test
