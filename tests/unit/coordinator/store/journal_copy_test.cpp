// Copies of a live journal: whole, checked, and with numbers that were never given out.

#include "coordinator/store/journal_copy.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "coordinator/store/sqlite_journal.hpp"
#include "tests/unit/coordinator/core/rig.hpp"

namespace skerry::test {
namespace {

namespace fs = std::filesystem;

struct JournalCopyTest : testing::Test {
    fs::path folder;
    std::unique_ptr<co::SqliteJournal> journal;
    Term term{1};
    void SetUp() override {
        char name[] = "/tmp/skerry-copy-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        folder = name;
        auto made = co::SqliteJournal::create(folder / "run.db", run_row(small_manifest()));
        ASSERT_TRUE(made);
        journal = std::move(*made);
        ASSERT_TRUE(journal->apply({term, {co::op::ClaimTerm{term}}}));
    }
    void TearDown() override {
        journal.reset();
        fs::remove_all(folder);
    }
    void add_tokens(int from, int count) {
        for (int i = from; i < from + count; ++i) {
            co::TokenRow row;
            row.id.bytes[0] = static_cast<std::uint8_t>(i);
            row.id.bytes[1] = static_cast<std::uint8_t>(i >> 8);
            row.label = std::string(3000, 'x');
            ASSERT_TRUE(journal->apply({term, {co::op::PutToken{row}}}));
        }
    }
    void finish(co::JournalCopy& copy, int pages) {
        for (int i = 0; i < 10'000; ++i) {
            auto done = copy.step(pages);
            ASSERT_TRUE(done) << done.error().detail;
            if (*done) return;
        }
        FAIL() << "the copy never ends";
    }
};

TEST_F(JournalCopyTest, WhatIsCommittedMeanwhileIsInIt) {
    add_tokens(0, 40);
    auto copy = journal->begin_copy(folder / "copy.db");
    ASSERT_TRUE(copy) << copy.error().detail;
    for (int i = 0; i < 5; ++i) {
        auto done = (*copy)->step(3);
        ASSERT_TRUE(done && !*done) << "it is made in steps";
        add_tokens(40 + i, 1);
    }
    finish(**copy, 3);
    copy->reset();
    auto facts = co::check_copy(folder / "copy.db");
    ASSERT_TRUE(facts) << facts.error().detail;
    EXPECT_EQ(facts->term, term);
    EXPECT_EQ(facts->head, Step{0});
    auto opened = co::SqliteJournal::open(folder / "copy.db");
    ASSERT_TRUE(opened) << opened.error().detail;
    EXPECT_EQ((*opened)->load()->tokens.size(), 45U);
}

TEST_F(JournalCopyTest, CheckingChangesNothing) {
    add_tokens(0, 5);
    auto copy = journal->begin_copy(folder / "copy.db");
    ASSERT_TRUE(copy);
    finish(**copy, 64);
    copy->reset();
    auto before = fs::last_write_time(folder / "copy.db");
    ASSERT_TRUE(co::check_copy(folder / "copy.db"));
    EXPECT_EQ(fs::last_write_time(folder / "copy.db"), before);
    EXPECT_FALSE(fs::exists(folder / "copy.db-wal"));
}

TEST_F(JournalCopyTest, DamageIsFound) {
    add_tokens(0, 40);
    auto copy = journal->begin_copy(folder / "copy.db");
    ASSERT_TRUE(copy);
    finish(**copy, 64);
    copy->reset();
    const auto size = fs::file_size(folder / "copy.db");
    int found = 0;
    for (std::uintmax_t page = 0; page * 4096 < size; ++page) {
        fs::copy_file(folder / "copy.db", folder / "bad.db", fs::copy_options::overwrite_existing);
        {
            std::fstream file(folder / "bad.db", std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(page * 4096));
            file.write("\xff\xff\xff\xff\xff\xff\xff\xff", 8);  // every page begins with its kind
        }
        found += co::check_copy(folder / "bad.db") ? 0 : 1;
    }
    EXPECT_GE(found, static_cast<int>(size / 4096) - 20) << "overflow pages of a text have no kind";
    EXPECT_GT(found, 5);
    EXPECT_EQ(co::check_copy(folder / "none.db").error().code, Errc::io_error);
}

TEST_F(JournalCopyTest, AnUnfinishedCopyHarmsNobody) {
    add_tokens(0, 10);
    auto copy = journal->begin_copy(folder / "copy.db");
    ASSERT_TRUE(copy);
    ASSERT_TRUE((*copy)->step(2));
    copy->reset();
    add_tokens(10, 1);
    EXPECT_EQ(journal->load()->tokens.size(), 11U);
    EXPECT_EQ(journal->begin_copy(folder / "copy.db").error().code, Errc::already_exists);
}

TEST_F(JournalCopyTest, RaisedNumbersAreAboveAllThatWasGivenOut) {
    auto before = journal->load();
    ASSERT_TRUE(before);
    journal.reset();
    ASSERT_TRUE(co::raise_numbers(folder / "run.db"));
    auto opened = co::SqliteJournal::open(folder / "run.db");
    ASSERT_TRUE(opened);
    auto after = (*opened)->load();
    ASSERT_TRUE(after);
    EXPECT_EQ(after->term.value, before->term.value + 1000);
    EXPECT_EQ(after->meta.epoch.value, before->meta.epoch.value + 1000);
    EXPECT_EQ(after->meta.next_lease.value, before->meta.next_lease.value + (std::uint64_t{1} << 32));
    EXPECT_EQ(after->meta.tail, before->meta.tail);
}

}  // namespace
}  // namespace skerry::test
