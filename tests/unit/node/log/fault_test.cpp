// The i-th write, fsync or rename fails, for all i. This program's own definitions of those calls
// come before libc's.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "node/log/run_store.hpp"
#include "protocol/wire/canonical.hpp"
#include "tests/support/store_run.hpp"

namespace {

// Calls until the one that fails; negative: none does.
thread_local long calls_left = -1;
thread_local int failure = 0;

bool fails_now() {
    if (calls_left < 0 || calls_left-- > 0) return false;
    errno = failure;
    return true;
}

/// No call fails while one of these lives.
class Calm {
  public:
    ~Calm() { calls_left = kept_; }

  private:
    long kept_ = std::exchange(calls_left, -1);
};

}  // namespace

extern "C" {
ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
    return fails_now() ? -1 : syscall(SYS_pwrite64, fd, data, size, at);
}
int fdatasync(int fd) { return fails_now() ? -1 : static_cast<int>(syscall(SYS_fdatasync, fd)); }
int fsync(int fd) { return fails_now() ? -1 : static_cast<int>(syscall(SYS_fsync, fd)); }
int rename(const char* from, const char* to) noexcept {
    return fails_now() ? -1
                       : static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
}

namespace skerry::node {
namespace {

using test::StoreRun;

/// Runs `work` with the i-th call failing, for i = 0, 1, ... until none fails. Returns how many
/// did.
template <class Work>
int for_every_failure(int error, Work work) {
    for (int i = 0; i < 500; ++i) {
        calls_left = i;
        failure = error;
        Result<void> done = work();
        bool failed = calls_left < 0;
        calls_left = -1;
        if (!failed) {
            EXPECT_TRUE(done) << "fails without a failure";
            return i;
        }
        EXPECT_FALSE(done) << "failure " << i << " was not noticed";
        if (done) continue;
        EXPECT_EQ(done.error().code, error == ENOSPC ? Errc::disk_full : Errc::io_error)
            << i << " " << done.error().detail;
    }
    ADD_FAILURE() << "too many calls";
    return 0;
}

class Faults : public ::testing::TestWithParam<int> {};

TEST_P(Faults, OfPrepareNeverCountAsDurable) {
    StoreRun run(2);
    Step k = run.head();
    auto ready = run.contribute(k);
    std::uint32_t attempt = 0;
    int failures = for_every_failure(GetParam(), [&]() -> Result<void> {
        Plan plan;
        std::shared_ptr<StagedEntry> staged;
        {
            Calm calm;
            plan = run.make_plan(k, ready, ++attempt);
            run.exchange(plan);
            staged = run.staged(0, plan);
        }
        auto prepared = run.store(0).prepare(*staged);
        EXPECT_EQ(run.store(0).prepared().size(), prepared ? 1U : 0U);
        if (!prepared) return fail(prepared.error());
        return {};
    });
    EXPECT_EQ(failures, 4);  // head, fsync, rename, folder
    ASSERT_TRUE(run.reopen(0));
    EXPECT_EQ(run.store(0).prepared().size(), 1U);
}

TEST_P(Faults, OfPrepareAreOvercomeByAnotherTryOnANewFile) {
    for (long failing = 0; failing < 4; ++failing) {
        StoreRun run(2);
        Step k = run.head();
        Plan plan = run.make_plan(k, run.contribute(k));
        run.exchange(plan);
        auto staged = run.staged(0, plan);
        calls_left = failing;
        failure = GetParam();
        EXPECT_FALSE(run.store(0).prepare(*staged));
        calls_left = -1;
        auto prepared = run.store(0).prepare(*staged);
        ASSERT_TRUE(prepared) << failing << " " << prepared.error().detail;
        ASSERT_TRUE(run.reopen(0));
        ASSERT_EQ(run.store(0).prepared().size(), 1U);
        EXPECT_EQ(run.store(0).prepared()[0].root, prepared->root);
    }
}

TEST_P(Faults, OfADecisionsFsyncMakeTheNextAppendWriteANewFile) {
    StoreRun run(1);
    run.run_step();
    Plan plan;
    plan.step = run.head();
    plan.kind = EntryKind::config;
    SignedDecision decision = run.decide(plan, Digest{});
    calls_left = 1;
    failure = GetParam();
    ASSERT_FALSE(run.store(0).append_decision(decision));
    calls_left = -1;
    ASSERT_TRUE(run.store(0).append_decision(decision));
    EXPECT_EQ(run.store(0).decisions().read(Step{1}, 1)->front(), decision);
    ASSERT_TRUE(run.reopen(0));
    EXPECT_EQ(run.store(0).decisions().next(), Step{2});
}

TEST_P(Faults, OfAnAppendedDecisionLeaveTheLogAsItWas) {
    StoreRun run(1);
    run.run_step();
    Plan plan;
    plan.step = run.head();
    plan.kind = EntryKind::config;
    SignedDecision decision = run.decide(plan, Digest{});
    int failures = for_every_failure(GetParam(), [&]() -> Result<void> {
        auto appended = run.store(0).append_decision(decision);
        if (appended) return {};
        Calm calm;
        EXPECT_EQ(run.store(0).decisions().next(), Step{1});
        EXPECT_TRUE(run.reopen(0));
        EXPECT_EQ(run.store(0).decisions().next(), Step{1});
        return appended;
    });
    EXPECT_EQ(failures, 2);  // write, fsync
    ASSERT_TRUE(run.reopen(0));
    EXPECT_EQ(run.store(0).decisions().next(), Step{2});
}

TEST_P(Faults, OfASnapshotLeaveNoneThatIsNotWhole) {
    StoreRun run(1);
    run.run_step();
    int failures = for_every_failure(GetParam(), [&]() -> Result<void> {
        auto written = run.store(0).write_snapshot();
        if (written) return {};
        Calm calm;
        EXPECT_TRUE(run.reopen(0));
        for (const SnapshotInfo& info : run.store(0).snapshots())
            EXPECT_TRUE(run.store(0).verify_snapshot(info.step));
        EXPECT_FALSE(fs::exists(run.folder(0) / "snapshots" / "1.tmp"));
        run.close(0);
        fs::remove_all(run.folder(0) / "snapshots" / "1");
        EXPECT_TRUE(run.reopen(0));
        EXPECT_TRUE(run.store(0).load_state(Step{1}));
        return fail(written.error());
    });
    EXPECT_GE(failures, 10);
    EXPECT_TRUE(run.store(0).verify_snapshot(Step{1}));
}

TEST_P(Faults, OfSmallFilesLeaveTheOldContentOrTheNew) {
    test::TemporaryFolder folder;
    NodeFiles files(folder.path());
    std::uint64_t term = 1;
    int failures = for_every_failure(GetParam(), [&]() -> Result<void> {
        {
            Calm calm;
            EXPECT_TRUE(files.write_seen(Seen{Term{1}, {}, {}, {}, {}}));
        }
        auto written = files.write_seen(Seen{Term{++term}, {}, {}, {}, {}});
        auto seen = files.read_seen();
        // The new one may be in place after a failed fsync of the folder; it is not known to be
        // durable then.
        EXPECT_TRUE(seen && (seen->term.value == 1 || seen->term.value == term));
        return written;
    });
    EXPECT_EQ(failures, 4);
}

TEST_P(Faults, OfAContributionCostOnlyIt) {
    StoreRun run(1);
    Step k = run.head();
    auto local = run.local_weights(0, k);
    int failures = for_every_failure(GetParam(), [&]() -> Result<void> {
        auto writer = run.store(0).begin_contribution(k);
        if (!writer) return fail(writer.error());
        auto pushed = (*writer)->push(local);
        if (!pushed) return pushed;
        auto finished = run.store(0).finish_contribution(**writer, {});
        if (!finished) return fail(finished.error());
        return {};
    });
    EXPECT_GE(failures, 4);
    EXPECT_TRUE(run.store(0).own_contribution());
}

TEST_P(Faults, OfAReceivedPieceLeaveItWanted) {
    StoreRun run(2);
    Step k = run.head();
    auto ready = run.contribute(k);
    auto part = run.store(1).read_contribution(k, ready[1].contribution, PieceIndex{0});
    auto gathered = *run.store(0).gather(k, ready[1].contribution);
    for_every_failure(GetParam(), [&]() -> Result<void> {
        auto put = gathered->put(PieceIndex{0}, part->chunk, part->proof);
        EXPECT_EQ(gathered->has(PieceIndex{0}), put.has_value());
        return put;
    });
    EXPECT_TRUE(gathered->read(PieceIndex{0}));
}

INSTANTIATE_TEST_SUITE_P(Errors, Faults, ::testing::Values(ENOSPC, EIO), [](const auto& p) {
    return p.param == ENOSPC ? std::string("DiskFull") : std::string("InputOutput");
});

}  // namespace
}  // namespace skerry::node
