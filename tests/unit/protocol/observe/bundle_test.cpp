#include "protocol/observe/bundle.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include <sys/stat.h>

#include "protocol/config/files.hpp"

namespace skerry {
namespace {

namespace fs = std::filesystem;

struct BundleTest : testing::Test {
    fs::path folder;
    void SetUp() override {
        char name[] = "/tmp/skerry-bundle-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        folder = fs::path(name) / "bundles";
    }
    void TearDown() override { fs::remove_all(folder.parent_path()); }
    std::vector<std::string> names() const {
        std::vector<std::string> out;
        for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path().filename().string());
        std::sort(out.begin(), out.end());
        return out;
    }
    static std::string at(int minute) { return "20261127T10" + std::string(minute < 10 ? "0" : "") + std::to_string(minute) + "00Z-step1"; }
};

TEST_F(BundleTest, HoldsItsPartsForTheOwnerAlone) {
    auto written = write_bundle(folder, at(1), {{"why.json", "{}"}, {"log.txt", "a line\n"}});
    ASSERT_TRUE(written) << written.error().detail;
    EXPECT_EQ(*read_small_file(*written / "log.txt", 100), "a line\n");
    struct stat st {};
    ASSERT_EQ(::stat((*written / "log.txt").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0600U);
    ASSERT_EQ(::stat(written->c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 0777U, 0700U);
}

TEST_F(BundleTest, TheOldestGo) {
    for (int i = 1; i <= 8; ++i) ASSERT_TRUE(write_bundle(folder, at(i), {{"a", "b"}}, BundleLimits{3, 1000}));
    EXPECT_EQ(names(), (std::vector<std::string>{at(6), at(7), at(8)}));
}

TEST_F(BundleTest, WhatSomebodyElseLeftThereStays) {
    ASSERT_TRUE(make_private_folder(folder / "notes"));
    for (int i = 1; i <= 3; ++i) ASSERT_TRUE(write_bundle(folder, at(i), {{"a", "b"}}, BundleLimits{1, 1000}));
    EXPECT_EQ(names(), (std::vector<std::string>{at(3), "notes"}));
}

TEST_F(BundleTest, ItsSizeIsBounded) {
    std::vector<BundlePart> parts{{"big", std::string(100'000, 'x')}, {"small", "kept"}, {"other", std::string(30'000, 'y')}};
    auto written = write_bundle(folder, at(1), parts, BundleLimits{5, 20'000});
    ASSERT_TRUE(written);
    std::uintmax_t total = 0;
    for (const auto& file : fs::directory_iterator(*written)) total += file.file_size();
    EXPECT_LE(total, 20'100U);
    EXPECT_GT(total, 5'000U);
    EXPECT_EQ(*read_small_file(*written / "small", 100), "kept");
    EXPECT_NE(read_small_file(*written / "big", 100'000)->find("[cut"), std::string::npos);
}

TEST_F(BundleTest, OpensNoDoors) {
    const std::string pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIC\n-----END PRIVATE KEY-----\n";
    EXPECT_EQ(redacted("skerry://host/reef#skr1_abcdefgh234567 rest"), "skerry://host/reef#skr1_[removed] rest");
    EXPECT_EQ(redacted(pem).find("MC4C"), std::string::npos);
    EXPECT_EQ(redacted("ticket=0a0b0c step=1"), "ticket=[removed] step=1");
    EXPECT_EQ(redacted("{\"token_secret\": \"0a0b\", \"step\": 1}").find("0a0b"), std::string::npos);
    EXPECT_EQ(redacted("step=3 loss=2.9"), "step=3 loss=2.9");
    auto written = write_bundle(folder, at(1), {{"config.toml", "a = 1\n" + pem + "skr1_abcdefgh\n"}});
    ASSERT_TRUE(written);
    const std::string text = *read_small_file(*written / "config.toml", 10'000);
    EXPECT_EQ(text.find("MC4C"), std::string::npos) << text;
    EXPECT_EQ(text.find("abcdefgh"), std::string::npos) << text;
}

TEST_F(BundleTest, ProcessPartsKnowTheLogTheStacksAndTheProcess) {
    auto parts = process_parts();
    ASSERT_EQ(parts.size(), 3U);
    EXPECT_NE(parts[1].text.find("thread "), std::string::npos);
    EXPECT_NE(parts[2].text.find("VmRSS"), std::string::npos);
}

}  // namespace
}  // namespace skerry
