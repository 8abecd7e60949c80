// Databases of older programs: opened, brought to this program's schema, nothing of them lost.

#include <gtest/gtest.h>

#include <map>

#include "coordinator/store/sqlite_db.hpp"
#include "coordinator/store/sqlite_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"
#include "tests/unit/coordinator/store/schema_1.hpp"

namespace skerry::test {
namespace {

namespace fs = std::filesystem;

struct MigrationTest : testing::Test {
    fs::path folder;
    fs::path file;
    void SetUp() override {
        char name[] = "/tmp/skerry-migration-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        folder = name;
        file = folder / "run.db";
    }
    void TearDown() override { fs::remove_all(folder); }

    void run_script(const std::string& sql) {
        auto db = co::SqliteDb::open(file, co::os_files());
        ASSERT_TRUE(db) << db.error().detail;
        auto done = (*db)->script(sql.c_str());
        ASSERT_TRUE(done) << done.error().detail;
    }

    /// A run with decisions, leases and a plan in force, in this program's schema.
    co::Image play(const fs::path& where) {
        { EXPECT_TRUE(co::SqliteJournal::create(where, run_row(small_manifest()))); }
        Rig rig(std::move(*co::SqliteJournal::open(where)));
        FakeNode& a = rig.join("a");
        FakeNode& b = rig.join("b");
        rig.admin(co::admin::StartRun{});
        for (std::uint64_t n = 1; n <= 3; ++n) {
            rig.ready(a, 10 * n);
            rig.ready(b, 10 * n + 1);
            if (n == 3) break;
            rig.vote(a, n);
            rig.vote(b, n);
            rig.apply(a);
            rig.apply(b);
        }
        EXPECT_TRUE(rig.has_plan());
        return rig.image();
    }
    /// The same rows in the schema of version 1 or 2.
    void write_as(int version, const fs::path& from) {
        ASSERT_TRUE(co::os_files().create_private(file));
        std::string sql = kSchema1;
        if (version == 2)
            sql += "ALTER TABLE meta ADD COLUMN void_sequences INTEGER NOT NULL DEFAULT 0;"
                   "ALTER TABLE meta ADD COLUMN loss_to_record INTEGER NOT NULL DEFAULT 0;"
                   "ALTER TABLE plan ADD COLUMN must_end_decided INTEGER NOT NULL DEFAULT 0;";
        sql += "PRAGMA user_version = " + std::to_string(version) + "; ATTACH '" + from.string() + "' AS now;";
        const std::map<std::string, std::string> kept = {
            {"node", "node_id, key, name, site, state, incarnation, boot_id, ticket, curve_key, addresses, reachable, since_epoch, reason, diverged, credited_tokens"}};
        for (const char* table : {"run", "token", "node", "roster", "lease", "free_range", "plan_log", "decision", "digest", "request"})
            sql += std::string("INSERT INTO ") + table + " SELECT " + (kept.contains(table) ? kept.at(table) : "*") + " FROM now." + table + ";";
        std::string meta = "only_row, term, epoch, next_lease, tail, run_state, end_reason", plan = "only_row, step, term, attempt, epoch, digest, body";
        if (version == 2) {
            meta += ", void_sequences, loss_to_record";
            plan += ", must_end_decided";
        }
        sql += "INSERT INTO meta (" + meta + ") SELECT " + meta + " FROM now.meta; INSERT INTO plan (" + plan + ") SELECT " + plan + " FROM now.plan;";
        run_script(sql);
    }
    /// What nodes gave besides tokens was not kept before version 3.
    static co::Image without_given(co::Image image) {
        for (co::NodeRow& node : image.nodes) node.given = {};
        return image;
    }
};

struct OlderVersions : MigrationTest, testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(, OlderVersions, testing::Values(1, 2));

TEST_P(OlderVersions, ADatabaseGoesOn) {
    const co::Image before = play(folder / "now.db");
    EXPECT_NE(before, without_given(before)) << "there is something that they do not have";
    write_as(GetParam(), folder / "now.db");
    {
        auto journal = co::SqliteJournal::open(file);
        ASSERT_TRUE(journal) << journal.error().detail;
        auto image = (*journal)->load();
        ASSERT_TRUE(image) << image.error().detail;
        EXPECT_EQ(*image, without_given(before));
    }
    // Once and for all: the next start finds it done, the run goes on, and a backup of it is whole.
    {
        Rig rig(std::move(*co::SqliteJournal::open(file)));
        EXPECT_EQ(rig.status().head, before.head);
        EXPECT_FALSE(rig.admin(co::admin::PauseRun{}));
    }
    auto facts = co::check_copy(file);
    ASSERT_TRUE(facts) << facts.error().detail;
    EXPECT_EQ(facts->head, before.head);
}

TEST_F(MigrationTest, NewerAndForeignDatabasesAreRefusedAndNotTouched) {
    play(file);
    for (const char* version : {"4", "0"}) {
        run_script(std::string("PRAGMA user_version = ") + version);
        auto opened = co::SqliteJournal::open(file);
        ASSERT_FALSE(opened);
        EXPECT_EQ(opened.error().code, Errc::version_mismatch);
    }
}

}  // namespace
}  // namespace skerry::test
