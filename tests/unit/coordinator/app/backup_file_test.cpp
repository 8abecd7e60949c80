// One file that holds all, is whole or refused, and writes nowhere else.

#include "coordinator/app/backup_file.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include <sys/stat.h>

#include "protocol/config/files.hpp"

namespace skerry::coordinator {
namespace {

namespace fs = std::filesystem;

std::string slurp(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}
void spit(const fs::path& file, const std::string& text) { std::ofstream(file, std::ios::binary) << text; }

struct BackupFileTest : testing::Test {
    fs::path folder;
    fs::path file;
    void SetUp() override {
        char name[] = "/tmp/skerry-backup-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        folder = name;
        file = folder / "b.skerry";
        std::mt19937 draw(7);
        std::string database(700'001, '\0');
        for (char& c : database) c = static_cast<char>(draw());
        spit(folder / "db", database);
        spit(folder / "toml", "name = \"acme\"\n");
        spit(folder / "empty", "");
    }
    void TearDown() override { fs::remove_all(folder); }

    std::vector<BackupEntry> entries() const {
        return {{"coordinator.toml", folder / "toml", 0644}, {"service-key.pem", folder / "empty", 0600},
                {"runs/reef/run.db", folder / "db", 0600}};
    }
    static BackupInfo info() { return {"acme", "2c88-e01f", "2026-11-27T10:00:00Z", {{"reef", "00ff", 3, 12, "abcd", 368'640}}}; }
};

TEST_F(BackupFileTest, WhatGoesInComesOut) {
    auto written = write_backup(file, info(), entries());
    ASSERT_TRUE(written) << written.error().detail;
    EXPECT_EQ(written->bytes, fs::file_size(file));
    EXPECT_FALSE(fs::exists(file.string() + ".part"));
    struct stat st {};
    ASSERT_EQ(::stat(file.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0600U);
    auto read = read_backup(file, folder / "out");
    ASSERT_TRUE(read) << read.error().detail;
    EXPECT_EQ(read->sha256, written->sha256);
    EXPECT_EQ(read->info.coordinator, "acme");
    ASSERT_EQ(read->info.runs.size(), 1U);
    EXPECT_EQ(read->info.runs[0].head, 12U);
    EXPECT_EQ(read->info.runs[0].tokens, 368'640U);
    EXPECT_EQ(slurp(folder / "out/runs/reef/run.db"), slurp(folder / "db"));
    EXPECT_EQ(slurp(folder / "out/coordinator.toml"), "name = \"acme\"\n");
    EXPECT_EQ(slurp(folder / "out/service-key.pem"), "");
}

TEST_F(BackupFileTest, EveryFlippedByteIsFound) {
    ASSERT_TRUE(write_backup(file, info(), entries()));
    const std::string whole = slurp(file);
    std::mt19937 draw(11);
    for (int i = 0; i < 300; ++i) {
        std::string bad = whole;
        // Half of them in the headers and lists, where there is more to get wrong.
        const std::size_t at = draw() % (i % 2 == 0 ? 4096 : bad.size());
        bad[at] = static_cast<char>(bad[at] ^ (1 << (draw() % 8)));
        spit(file, bad);
        auto read = check_backup(file);
        // A padding byte says nothing; then what comes out must be what went in.
        if (read) {
            fs::remove_all(folder / "out");
            ASSERT_TRUE(read_backup(file, folder / "out"));
            EXPECT_EQ(slurp(folder / "out/runs/reef/run.db"), slurp(folder / "db")) << "byte " << at;
            EXPECT_EQ(slurp(folder / "out/coordinator.toml"), "name = \"acme\"\n") << "byte " << at;
        } else {
            EXPECT_TRUE(read.error().code == Errc::malformed || read.error().code == Errc::digest_mismatch || read.error().code == Errc::version_mismatch)
                << to_name(read.error().code) << ", byte " << at;
        }
    }
}

TEST_F(BackupFileTest, EveryCutIsFound) {
    ASSERT_TRUE(write_backup(file, info(), entries()));
    const std::string whole = slurp(file);
    for (std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{511}, std::size_t{512}, std::size_t{5000}, whole.size() / 2, whole.size() - 1024, whole.size() - 1}) {
        spit(file, whole.substr(0, size));
        auto read = check_backup(file);
        ASSERT_FALSE(read) << size;
        EXPECT_EQ(read.error().code, Errc::malformed) << size;
    }
}

TEST_F(BackupFileTest, NamesThatHaveNoPlaceAreRefusedBothWays) {
    for (const char* path : {"root-key.pem", "../evil", "runs/../../evil", "runs/reef/other", "/etc/passwd", "runs/reef", "runs//run.db"}) {
        std::vector<BackupEntry> bad{{path, folder / "toml", 0600}};
        EXPECT_FALSE(write_backup(file, info(), bad)) << path;
        EXPECT_FALSE(fs::exists(file)) << path;
    }
    // The same in a list that fits its hash: only a program of ours would not write it.
    ASSERT_TRUE(write_backup(file, info(), {{"runs/reef/settings.json", folder / "toml", 0600}}));
    EXPECT_TRUE(check_backup(file));
}

TEST_F(BackupFileTest, AFailedBackupLeavesTheOldOne) {
    ASSERT_TRUE(write_backup(file, info(), entries()));
    const std::string before = slurp(file);
    auto gone = entries();
    gone.push_back({"root.pem", folder / "is not there", 0644});
    EXPECT_FALSE(write_backup(file, info(), gone));
    EXPECT_EQ(slurp(file), before);
}

}  // namespace
}  // namespace skerry::coordinator
