#include "coordinator/store/sqlite_journal.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "tests/support/memory_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

namespace fs = std::filesystem;

struct SqliteJournalTest : testing::Test {
    fs::path folder;
    fs::path file;
    void SetUp() override {
        char name[] = "/tmp/skerry-journal-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        folder = name;
        file = folder / "run.db";
    }
    void TearDown() override { fs::remove_all(folder); }
    std::unique_ptr<co::SqliteJournal> create() {
        auto journal = co::SqliteJournal::create(file, run_row(small_manifest()));
        EXPECT_TRUE(journal.has_value()) << journal.error().detail;
        return std::move(*journal);
    }
    std::unique_ptr<co::SqliteJournal> open() {
        auto journal = co::SqliteJournal::open(file);
        EXPECT_TRUE(journal.has_value()) << journal.error().detail;
        return std::move(*journal);
    }
};

TEST_F(SqliteJournalTest, ANewRunIsEmptyAndPrivate) {
    auto image = create()->load();
    ASSERT_TRUE(image);
    EXPECT_EQ(image->run, run_row(small_manifest()));
    EXPECT_EQ(image->term, Term{0});
    EXPECT_EQ(image->meta.run_state, RunState::created);
    EXPECT_EQ(image->head, Step{0});
    struct stat st {};
    ASSERT_EQ(::stat(file.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0600U);
    EXPECT_FALSE(fs::exists(file.string() + ".new"));
}

TEST_F(SqliteJournalTest, CreateNeverReplaces) {
    create();
    auto again = co::SqliteJournal::create(file, run_row(small_manifest()));
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code, Errc::already_exists);
    auto bad = co::SqliteJournal::create(folder / "x.db", {{1, 2, 3}, {}});
    EXPECT_FALSE(bad);
}

TEST_F(SqliteJournalTest, ASecondProcessIsRefused) {
    auto journal = create();
    const pid_t child = ::fork();
    if (child == 0) {
        auto second = co::SqliteJournal::open(file);
        ::_exit(!second && second.error().code == Errc::bad_state ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(SqliteJournalTest, MissingDamagedAndForeignFilesAreNamed) {
    EXPECT_EQ(co::SqliteJournal::open(file).error().code, Errc::not_found);
    std::ofstream(file) << std::string(8192, 'x');
    EXPECT_EQ(co::SqliteJournal::open(file).error().code, Errc::malformed);
    fs::remove(file);
    create();
    std::fstream raw(file, std::ios::in | std::ios::out | std::ios::binary);
    for (int page = 1; page < 8; ++page) {
        raw.seekp(page * 4096);
        raw << std::string(2048, '\x5a');
    }
    raw.close();
    EXPECT_EQ(co::SqliteJournal::open(file).error().code, Errc::malformed);
}

TEST_F(SqliteJournalTest, TheTermIsClaimedOnceAndOldTermsCannotWrite) {
    auto journal = create();
    EXPECT_TRUE(journal->apply({Term{1}, {co::op::ClaimTerm{Term{1}}}}));
    EXPECT_EQ(journal->apply({Term{1}, {co::op::ClaimTerm{Term{1}}}}).error().code, Errc::internal);
    EXPECT_TRUE(journal->apply({Term{2}, {co::op::ClaimTerm{Term{2}}}}));
    EXPECT_EQ(journal->apply({Term{1}, {co::op::PutFree{0, 1}}}).error().code, Errc::stale);
    EXPECT_TRUE(journal->load()->free_ranges.empty());
}

TEST_F(SqliteJournalTest, AFailedCheckLeavesNothingBehind) {
    auto journal = create();
    ASSERT_TRUE(journal->apply({Term{1}, {co::op::ClaimTerm{Term{1}}}}));
    auto done = journal->apply({Term{1}, {co::op::PutFree{0, 5}, co::op::DropFree{9}}});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, Errc::internal);
    EXPECT_TRUE(journal->load()->free_ranges.empty());
}

TEST_F(SqliteJournalTest, ChecksOfThePlanAndTheDecision) {
    auto journal = create();
    ASSERT_TRUE(journal->apply({Term{1}, {co::op::ClaimTerm{Term{1}}}}));
    auto code = [&](std::vector<co::Op> ops) {
        auto done = journal->apply({Term{1}, std::move(ops)});
        return done ? std::optional<Errc>() : std::optional<Errc>(done.error().code);
    };
    co::PlanRow plan{Step{0}, Term{1}, Attempt{1}, Epoch{1}, digest_of(1), {1}};
    auto later = plan;
    later.step = Step{1};
    EXPECT_EQ(code({co::op::PutPlan{later}}), Errc::internal);
    EXPECT_FALSE(code({co::op::PutPlan{plan}}));
    auto second = plan;
    second.attempt = Attempt{2};
    second.digest = digest_of(2);
    EXPECT_EQ(code({co::op::PutPlan{second}}), Errc::internal) << "one plan is in force";
    EXPECT_EQ(code({co::op::EndPlan{digest_of(2), co::PlanEnd::superseded, ""}}), Errc::internal);
    EXPECT_FALSE(code({co::op::EndPlan{digest_of(1), co::PlanEnd::superseded, "x"}, co::op::PutPlan{second}}));

    co::DecisionRow d;
    d.step = Step{0};
    d.term = Term{1};
    d.attempt = Attempt{1};
    d.plan_digest = digest_of(1);
    EXPECT_EQ(code({co::op::PutDecision{d}}), Errc::internal) << "not the plan in force";
    d.attempt = Attempt{2};
    d.plan_digest = digest_of(2);
    EXPECT_FALSE(code({co::op::PutDecision{d}, co::op::EndPlan{digest_of(2), co::PlanEnd::decided, ""}}));
    EXPECT_EQ(code({co::op::PutDecision{d}}), Errc::internal) << "one decision per step";
    EXPECT_EQ(code({co::op::PutPlan{plan}}), Errc::internal) << "a plan of a decided step";
}

TEST_F(SqliteJournalTest, ChecksOfLeases) {
    auto journal = create();
    ASSERT_TRUE(journal->apply({Term{1}, {co::op::ClaimTerm{Term{1}}}}));
    auto ok = [&](std::vector<co::Op> ops) { return journal->apply({Term{1}, std::move(ops)}).has_value(); };
    co::NodeRow node;
    node.node.bytes[0] = 1;
    co::LeaseRow lease{LeaseId{1}, 0, 10, 0, node.node, Step{0}};
    EXPECT_FALSE(ok({co::op::PutLease{lease}})) << "a holder that is not known";
    EXPECT_TRUE(ok({co::op::PutNode{node}, co::op::PutLease{lease}, co::op::PutMeta{{Epoch{1}, LeaseId{2}, 10, 0, RunState::running, "", false}}}));
    EXPECT_FALSE(ok({co::op::CreditLease{LeaseId{1}, {}, 0, 5}}));
    EXPECT_FALSE(ok({co::op::CreditLease{LeaseId{1}, node.node, 1, 5}}));
    EXPECT_FALSE(ok({co::op::CreditLease{LeaseId{1}, node.node, 0, 11}}));
    EXPECT_TRUE(ok({co::op::CreditLease{LeaseId{1}, node.node, 0, 5}}));
    EXPECT_FALSE(ok({co::op::CreditLease{LeaseId{1}, node.node, 0, 5}}));
    EXPECT_TRUE(ok({co::op::DropLease{LeaseId{1}}}));
    EXPECT_FALSE(ok({co::op::PutLease{lease}})) << "an id is used once";
    EXPECT_FALSE(ok({co::op::PutMeta{{Epoch{0}, LeaseId{2}, 10, 0, RunState::running, "", false}}})) << "the epoch falls";
    node.incarnation = Incarnation{3};
    EXPECT_TRUE(ok({co::op::PutNode{node}}));
    node.incarnation = Incarnation{2};
    EXPECT_FALSE(ok({co::op::PutNode{node}})) << "an incarnation falls";
}

/// On a disk of one megabyte of its own, in a child process.
int with_a_full_disk(const fs::path& folder) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", folder.c_str(), "tmpfs", 0, "size=1m") != 0)
        return 77;
    auto made = co::SqliteJournal::create(folder / "run.db", run_row(small_manifest()));
    if (!made) return 1;
    auto& journal = **made;
    if (!journal.apply({Term{1}, {co::op::ClaimTerm{Term{1}}}})) return 2;
    std::ofstream(folder / "fill") << std::string(2 << 20, 'x');
    co::TokenRow token;
    std::uint64_t kept = 0;
    for (int i = 0; i < 2000; ++i) {
        std::memcpy(token.id.bytes.data(), &i, sizeof i);
        token.label = std::string(2000, 'y');
        auto done = journal.apply({Term{1}, {co::op::PutToken{token}}});
        if (done) ++kept;
        else if (done.error().code != Errc::disk_full) return 3;
        else break;
        if (i == 1999) return 4;
    }
    fs::remove(folder / "fill");
    if (!journal.apply({Term{1}, {co::op::PutToken{token}}})) return 5;  // the same transaction, tried again
    return journal.load()->tokens.size() == kept + 1 ? 0 : 6;
}

TEST_F(SqliteJournalTest, AFullDiskRefusesATransactionWholeAndTakesItLater) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(with_a_full_disk(folder));
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "needs root, for a small disk of its own";
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

/// A run of some steps gives the same image from SQLite as from memory.
TEST_F(SqliteJournalTest, BothJournalsHoldTheSame) {
    auto play = [](std::unique_ptr<co::Journal> journal) {
        Rig rig(std::move(journal));
        FakeNode& a = rig.join("a");
        FakeNode& b = rig.join("b");
        FakeNode& c = rig.join("c");
        rig.admin(co::admin::StartRun{});
        for (std::uint64_t n = 1; n <= 4; ++n) {
            for (FakeNode* node : {&a, &b, &c}) rig.ready(*node, 10 * n + node->key.bytes[0]);
            if (n == 2) rig.admin(co::admin::RevokeNode{c.id, "gone"});
            for (FakeNode* node : {&a, &b, &c}) {
                if (node->session == co::SessionId{}) continue;
                rig.vote(*node, n);
                node->report.digests = {{Step{n - 1}, digest_of(n)}};
            }
            for (FakeNode* node : {&a, &b, &c}) rig.apply(*node);
            if (n == 3) {
                rig.restart();
                rig.hello(a);
                rig.hello(b);
            }
        }
        rig.lease(a, 3);
        EXPECT_EQ(rig.status().head, Step{4});
        return rig.image();
    };
    create().reset();
    const co::Image from_sqlite = play(open());
    const co::Image from_memory = play(std::make_unique<MemoryJournal>(run_row(small_manifest())));
    EXPECT_EQ(from_sqlite.run, from_memory.run);
    EXPECT_EQ(from_sqlite.term, from_memory.term);
    EXPECT_EQ(from_sqlite.meta, from_memory.meta);
    EXPECT_EQ(from_sqlite.tokens, from_memory.tokens);
    EXPECT_EQ(from_sqlite.nodes, from_memory.nodes);
    EXPECT_EQ(from_sqlite.leases, from_memory.leases);
    EXPECT_EQ(from_sqlite.free_ranges, from_memory.free_ranges);
    EXPECT_EQ(from_sqlite.plan, from_memory.plan);
    EXPECT_EQ(from_sqlite.last_attempt, from_memory.last_attempt);
    EXPECT_EQ(from_sqlite.head, from_memory.head);
    EXPECT_EQ(from_sqlite.decisions, from_memory.decisions);
    EXPECT_EQ(from_sqlite.digests, from_memory.digests);
    EXPECT_EQ(from_sqlite.requests, from_memory.requests);

    auto records = open()->decisions(Step{1}, 2);
    ASSERT_TRUE(records);
    ASSERT_EQ(records->size(), 2U);
    EXPECT_EQ((*records)[0], from_memory.decisions[1].record);
}

}  // namespace
}  // namespace skerry::test
