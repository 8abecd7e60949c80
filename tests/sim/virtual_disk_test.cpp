#include "tests/sim/virtual_disk.hpp"

#include <gtest/gtest.h>

#include <set>

namespace skerry::sim {
namespace {

Bytes text(std::string_view s) { return Bytes(s.begin(), s.end()); }

struct VirtualDiskTest : testing::Test {
    VirtualDisk disk{DiskModel{.sector_bytes = 8}};

    VirtualDisk::File put(std::string_view path, std::string_view content) {
        auto file = disk.create(path);
        EXPECT_TRUE(file.has_value()) << file.error().detail;
        EXPECT_TRUE(disk.resize(*file, 0) && disk.write(*file, 0, text(content)));
        return *file;
    }
    VirtualDisk::File put_durably(std::string_view path, std::string_view content) {
        auto file = put(path, content);
        EXPECT_TRUE(disk.sync(file) && disk.sync_folder("/"));
        return file;
    }
    static std::string content(const VirtualDisk& of, std::string_view path) {
        auto file = of.open(path);
        if (!file) return "(none)";
        std::string out(*of.size(*file), '\0');
        EXPECT_EQ(*of.read(*file, 0, {reinterpret_cast<std::uint8_t*>(out.data()), out.size()}), out.size());
        return out;
    }
    std::string content(std::string_view path) const { return content(disk, path); }
    /// What a power cut may make of a file, over many seeds.
    std::set<std::string> outcomes(std::string_view path, int seeds = 300) const {
        std::set<std::string> all;
        for (int seed = 0; seed < seeds; ++seed) {
            VirtualDisk other = disk.clone();
            Rng rng(static_cast<std::uint64_t>(seed), 9);
            other.crash(rng);
            all.insert(content(other, path));
        }
        return all;
    }
    using Texts = std::set<std::string>;
};

TEST_F(VirtualDiskTest, ReadsSeeWhatWasWritten) {
    auto file = put("/a", "hello");
    ASSERT_TRUE(disk.write(file, 8, text("world")));
    EXPECT_EQ(content("/a"), std::string("hello\0\0\0world", 13));
    ASSERT_TRUE(disk.resize(file, 4) && disk.resize(file, 6));
    EXPECT_EQ(content("/a"), std::string("hell\0\0", 6));
    Bytes out(4);
    EXPECT_EQ(*disk.read(file, 3, out), 3U);
    EXPECT_EQ(*disk.read(file, 6, out), 0U);
    EXPECT_EQ(disk.open("/b").error().code, Errc::not_found);
    EXPECT_EQ(disk.create("/a", true).error().code, Errc::already_exists);
    EXPECT_EQ(disk.create("/no/a").error().code, Errc::not_found);
}

TEST_F(VirtualDiskTest, WhatIsSyncedStays) {
    put_durably("/a", "0123456789abcdef");
    EXPECT_EQ(outcomes("/a"), Texts{"0123456789abcdef"});
}

TEST_F(VirtualDiskTest, AFileWithoutASyncedNameMayBeGone) {
    auto file = put("/a", "0123");
    ASSERT_TRUE(disk.sync(file));
    EXPECT_EQ(outcomes("/a"), (Texts{"(none)", "0123"}));
}

TEST_F(VirtualDiskTest, AnUnsyncedSectorIsOldNewTornOrDamagedAndItsNeighbourIsNone) {
    auto file = put_durably("/a", "AAAAAAAABBBBBBBB");
    ASSERT_TRUE(disk.write(file, 0, text("CCCCCCCC")));
    const auto all = outcomes("/a", 3000);
    EXPECT_TRUE(all.contains("AAAAAAAABBBBBBBB") && all.contains("CCCCCCCCBBBBBBBB"));
    EXPECT_TRUE(all.contains("CCCCAAAABBBBBBBB") && all.contains("AAACCCCCBBBBBBBB"));
    EXPECT_GT(all.size(), 14U + 5) << "damaged ones";
    for (const auto& one : all) EXPECT_EQ(one.substr(8), "BBBBBBBB");
}

TEST_F(VirtualDiskTest, BytesBesideAWriteAreSafeOnlyWithPowersafeOverwrite) {
    for (bool safe : {true, false}) {
        disk = VirtualDisk(DiskModel{8, safe});
        auto file = put_durably("/a", "AAAA");
        ASSERT_TRUE(disk.write(file, 4, text("BBBB")));
        bool hurt = false;
        for (const auto& one : outcomes("/a")) hurt = hurt || one.substr(0, 4) != "AAAA";
        EXPECT_EQ(hurt, !safe);
    }
}

TEST_F(VirtualDiskTest, AContentInBetweenIsPossible) {
    auto file = put_durably("/a", "AAAAAAAA");
    ASSERT_TRUE(disk.write(file, 0, text("BBBBBBBB")) && disk.write(file, 0, text("CCCCCCCC")));
    EXPECT_TRUE(outcomes("/a").contains("BBBBBBBB"));
}

TEST_F(VirtualDiskTest, ASizeIsOldNewOrBetween) {
    auto file = put_durably("/a", "AAAAAAAA");
    ASSERT_TRUE(disk.write(file, 8, text("BBBBBBBBCCCCCCCC")));
    std::set<std::size_t> sizes;
    for (const auto& one : outcomes("/a")) sizes.insert(one.size());
    EXPECT_EQ(sizes, (std::set<std::size_t>{8, 16, 24}));
    ASSERT_TRUE(disk.sync(file) && disk.resize(file, 3));
    EXPECT_TRUE(outcomes("/a").contains("AAA") && outcomes("/a").contains("AAAAAAAABBBBBBBBCCCCCCCC"));
}

TEST_F(VirtualDiskTest, ARenameHappensWholeOrNot) {
    put_durably("/a", "old");
    auto fresh = put("/b", "new");
    ASSERT_TRUE(disk.sync(fresh) && disk.sync_folder("/") && disk.rename("/b", "/a"));
    EXPECT_EQ(content("/a"), "new");
    EXPECT_EQ(outcomes("/a"), (Texts{"old", "new"}));
    EXPECT_EQ(outcomes("/b"), (Texts{"(none)", "new"}));
    ASSERT_TRUE(disk.sync_folder("/"));
    EXPECT_EQ(outcomes("/a"), Texts{"new"});
    EXPECT_EQ(outcomes("/b"), Texts{"(none)"});
}

TEST_F(VirtualDiskTest, ARenamedFileIsNoSaferThanItsContent) {
    put_durably("/a", "old");
    put("/b", "new");
    ASSERT_TRUE(disk.rename("/b", "/a") && disk.sync_folder("/"));
    EXPECT_TRUE(outcomes("/a").contains("")) << "the rename is durable, the content is not";
}

TEST_F(VirtualDiskTest, BetweenFoldersNothingIsLost) {
    ASSERT_TRUE(disk.make_folder("/x") && disk.make_folder("/y") && disk.sync_folder("/"));
    auto file = put("/x/a", "data");
    ASSERT_TRUE(disk.sync(file) && disk.sync_folder("/x") && disk.rename("/x/a", "/y/a"));
    Texts seen;
    for (int seed = 0; seed < 200; ++seed) {
        VirtualDisk other = disk.clone();
        Rng rng(static_cast<std::uint64_t>(seed), 9);
        other.crash(rng);
        seen.insert(content(other, "/x/a") + " " + content(other, "/y/a"));
    }
    EXPECT_EQ(seen, (Texts{"data (none)", "(none) data"}));
    VirtualDisk other = disk.clone();
    ASSERT_TRUE(disk.sync_folder("/y"));
    EXPECT_EQ(outcomes("/y/a"), Texts{"data"});
    EXPECT_EQ(outcomes("/x/a"), (Texts{"(none)", "data"})) << "until its old folder is synced it may be in both";
    disk = std::move(other);
    ASSERT_TRUE(disk.sync_folder("/x"));
    EXPECT_EQ(outcomes("/y/a"), Texts{"data"});
    EXPECT_EQ(outcomes("/x/a"), Texts{"(none)"});
}

TEST_F(VirtualDiskTest, ARemovalMayNotHaveHappened) {
    put_durably("/a", "data");
    ASSERT_TRUE(disk.remove("/a"));
    EXPECT_FALSE(disk.exists("/a"));
    EXPECT_EQ(outcomes("/a"), (Texts{"(none)", "data"}));
    ASSERT_TRUE(disk.sync_folder("/"));
    EXPECT_EQ(outcomes("/a"), Texts{"(none)"});
}

TEST_F(VirtualDiskTest, ALinkIsASecondName) {
    auto file = put_durably("/a", "data");
    ASSERT_TRUE(disk.link("/a", "/b") && disk.remove("/a") && disk.sync_folder("/"));
    EXPECT_EQ(outcomes("/b"), Texts{"data"});
    EXPECT_TRUE(disk.write(file, 0, text("more")));
    EXPECT_EQ(content("/b"), "more");
    EXPECT_EQ(disk.link("/b", "/b").error().code, Errc::already_exists);
}

TEST_F(VirtualDiskTest, AfterAFailedSyncALaterOneSavesNothing) {
    auto file = put_durably("/a", "AAAAAAAA");
    ASSERT_TRUE(disk.write(file, 0, text("BBBBBBBB")));
    disk.fail_sync_at(1);
    EXPECT_EQ(disk.sync(file).error().code, Errc::io_error);
    ASSERT_TRUE(disk.sync(file));
    EXPECT_EQ(content("/a"), "BBBBBBBB");
    EXPECT_EQ(outcomes("/a"), (Texts{"AAAAAAAA", "BBBBBBBB"}));
    ASSERT_TRUE(disk.write(file, 0, text("BBBBBBBB")) && disk.sync(file));
    EXPECT_EQ(outcomes("/a"), Texts{"BBBBBBBB"}) << "written again";
    EXPECT_EQ(disk.failed_syncs(), 1U);
}

TEST_F(VirtualDiskTest, CachesMayForgetWhatAFailedSyncLeft) {
    Texts seen;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        auto file = put_durably("/a", "AAAAAAAA");
        disk.fail_sync_at(1);
        ASSERT_TRUE(disk.write(file, 0, text("BBBBBBBB")));
        ASSERT_FALSE(disk.sync(file));
        Rng rng(seed, 9);
        disk.drop_caches(rng);
        seen.insert(content("/a"));
    }
    EXPECT_EQ(seen, (Texts{"AAAAAAAA", "BBBBBBBB"}));
}

TEST_F(VirtualDiskTest, TheNthOperationStopsEverything) {
    auto file = put("/a", "");
    disk.stop_at(2);
    ASSERT_TRUE(disk.write(file, 0, text("one")));
    EXPECT_EQ(disk.write(file, 3, text("two")).error().code, Errc::io_error);
    EXPECT_TRUE(disk.stopped());
    EXPECT_FALSE(disk.sync(file) || disk.open("/a") || disk.remove("/a"));
    disk.end_process();
    EXPECT_EQ(content("/a"), "one");
    EXPECT_EQ(disk.write(file, 3, text("two")).error().code, Errc::bad_state) << "its process has ended";
}

TEST_F(VirtualDiskTest, AFullDiskTakesOverwritesOnly) {
    auto file = put("/a", "AAAA");
    disk.set_full(true);
    EXPECT_TRUE(disk.write(file, 0, text("BBBB")) && disk.rename("/a", "/b"));
    EXPECT_EQ(disk.write(file, 4, text("C")).error().code, Errc::disk_full);
    EXPECT_EQ(disk.create("/c").error().code, Errc::disk_full);
    EXPECT_EQ(disk.make_folder("/c").error().code, Errc::disk_full);
    disk.set_full(false);
    disk.fill_at(2);
    EXPECT_TRUE(disk.write(file, 4, text("C")));
    EXPECT_EQ(disk.write(file, 0, Bytes(32, 'D')).error().code, Errc::disk_full);
    EXPECT_EQ(content("/b"), std::string(16, 'D')) << "a part of it";
    EXPECT_TRUE(disk.write(file, 0, text("E")));
}

TEST_F(VirtualDiskTest, EqualSeedsGiveEqualDisks) {
    auto file = put_durably("/a", std::string(100, 'A'));
    ASSERT_TRUE(disk.write(file, 50, Bytes(100, 'B')));
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        VirtualDisk one = disk.clone();
        VirtualDisk two = disk.clone();
        Rng a(seed, 9);
        Rng b(seed, 9);
        one.crash(a);
        two.crash(b);
        EXPECT_EQ(content(one, "/a"), content(two, "/a"));
    }
    EXPECT_EQ(content("/a").size(), 150U) << "a clone's crash is not ours";
}

TEST_F(VirtualDiskTest, EveryOperationIsCountedAndSeen) {
    std::vector<std::string> seen;
    disk.before_operation = [&](std::string_view what, std::string_view) { seen.emplace_back(what); };
    auto file = put("/a", "x");
    ASSERT_TRUE(disk.sync(file) && disk.rename("/a", "/b") && disk.remove("/b") && disk.sync_folder("/"));
    EXPECT_EQ(seen, (std::vector<std::string>{"create", "resize", "write", "sync", "rename", "remove", "sync folder"}));
    EXPECT_EQ(disk.operations(), seen.size());
    EXPECT_EQ(disk.syncs(), 2U);
}

}  // namespace
}  // namespace skerry::sim
