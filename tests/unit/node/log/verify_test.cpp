#include "node/log/verify.hpp"

#include <gtest/gtest.h>

#include "tests/support/store_run.hpp"

namespace skerry::node {
namespace {

using test::flip_byte;
using test::StoreRun;

bool mentions(const VerifyReport& report, const std::string& text) {
    for (const std::string& problem : report.problems) {
        if (problem.find(text) != std::string::npos) return true;
    }
    return false;
}

TEST(Verify, ASoundRunHasNoProblemsAndEqualDigests) {
    StoreRun run(2);
    std::vector<Digest> digests;
    for (int k = 0; k < 5; ++k) {
        digests.push_back(run.run_step());
        if (k == 2) {
            ASSERT_TRUE(run.store(0).write_snapshot());
        }
    }
    VerifyOptions options;
    options.service_key = run.service().public_key();
    auto report = verify_run(run.folder(0), options);
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->problems.empty()) << report->problems.front();
    EXPECT_EQ(report->head, Step{5});
    EXPECT_EQ(report->h_head, run.h_head());
    EXPECT_EQ(report->entries, 5U);
    EXPECT_EQ(report->snapshots, 1U);
    EXPECT_EQ(report->credited_sequences, 50U);
    ASSERT_EQ(report->states.size(), 6U);
    for (std::size_t k = 0; k < digests.size(); ++k)
        EXPECT_EQ(report->states[k + 1].digest, digests[k]);
}

TEST(Verify, FollowsARollback) {
    StoreRun run(1);
    run.run_step();
    std::uint64_t tokens = run.tokens_committed();
    run.run_step();
    ASSERT_TRUE(run.store(0).append_decision(run.decide_rollback(Step{2}, Step{1}, tokens)));
    ASSERT_TRUE(run.store(0).apply(Step{2}));
    Digest last = run.run_step();
    auto report = verify_run(run.folder(0), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->problems.empty()) << report->problems.front();
    EXPECT_EQ(report->states[3].digest, report->states[1].digest);
    EXPECT_EQ(report->states[4].digest, last);
}

TEST(Verify, FindsDamageAndGaps) {
    StoreRun run(2);
    for (int k = 0; k < 3; ++k) run.run_step();
    ASSERT_TRUE(run.store(0).write_snapshot());
    flip_byte(run.folder(0) / "entries" / "1", fs::file_size(run.folder(0) / "entries" / "1") - 1);
    flip_byte(run.folder(0) / "snapshots" / "3" / "theta", 77);
    auto report = verify_run(run.folder(0), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(mentions(*report, "entry 1: "));
    EXPECT_TRUE(mentions(*report, "entry 1 is missing"));
    EXPECT_TRUE(mentions(*report, "snapshot 3: "));

    fs::remove(run.folder(1) / "entries" / "1");
    report = verify_run(run.folder(1), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(mentions(*report, "entry 1 is missing"));
}

TEST(Verify, AGapUnderASnapshotIsNoProblem) {
    StoreRun run(1);
    for (int k = 0; k < 3; ++k) {
        run.run_step();
        if (k == 1) {
            ASSERT_TRUE(run.store(0).write_snapshot());
        }
    }
    fs::remove(run.folder(0) / "entries" / "1");
    auto report = verify_run(run.folder(0), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->problems.empty()) << report->problems.front();
    EXPECT_EQ(report->replayed_from, Step{2});
    EXPECT_EQ(report->states.size(), 2U);
}

TEST(Verify, AKillBeforeTheNewestEntryGotItsNameIsNoDamage) {
    StoreRun run(1);
    for (int k = 0; k < 3; ++k) run.run_step();
    fs::create_directories(run.folder(0) / "prepared");
    fs::rename(run.folder(0) / "entries" / "2", run.folder(0) / "prepared" / "2.1.1");
    auto report = verify_run(run.folder(0), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->problems.empty()) << report->problems.front();
    EXPECT_EQ(report->states.size(), 4U);

    flip_byte(run.folder(0) / "prepared" / "2.1.1", fs::file_size(run.folder(0) / "prepared" / "2.1.1") - 1);
    report = verify_run(run.folder(0), {});
    ASSERT_TRUE(report);
    EXPECT_TRUE(mentions(*report, "entry 2 is missing"));
}

TEST(Verify, FindsDataThatWasCreditedTwice) {
    StoreRun run(1);
    auto ready = run.contribute(run.head());
    for (int i = 0; i < 2; ++i) {
        Plan plan = run.make_plan(run.head(), ready);
        ASSERT_TRUE(run.store(0).append_decision(run.decide(plan, Digest{})));
    }
    VerifyOptions options;
    options.replay = false;
    auto report = verify_run(run.folder(0), options);
    ASSERT_TRUE(report);
    EXPECT_TRUE(mentions(*report, "were credited before"));
}

TEST(Verify, FindsASignatureOfAnotherCoordinator) {
    StoreRun run(1);
    run.run_step();
    VerifyOptions options;
    options.service_key = KeyPair::generate().public_key();
    auto report = verify_run(run.folder(0), options);
    ASSERT_TRUE(report);
    EXPECT_TRUE(mentions(*report, "not signed by the service key"));
}

TEST(Verify, LeavesNothingBehindAndRefusesWhatIsNoRun) {
    StoreRun run(1);
    run.run_step();
    test::TemporaryFolder scratch;
    VerifyOptions options;
    options.scratch = scratch.path();
    ASSERT_TRUE(verify_run(run.folder(0), options));
    EXPECT_TRUE(fs::is_empty(scratch.path()));
    EXPECT_EQ(verify_run(scratch.path(), {}).error().code, Errc::not_found);
}

}  // namespace
}  // namespace skerry::node
