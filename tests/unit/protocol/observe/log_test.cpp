// Which lines carry what: run, step, attempt and peer, in text and as JSON.

#include "protocol/base/log.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

namespace skerry {
namespace {

struct LogTest : testing::Test {
    void SetUp() override { configure_log(LogLevel::info, "test"); }
    void TearDown() override {
        set_log_context({});
        configure_log(LogLevel::info, "test");
    }
    static std::string last() { return recent_log_lines().back(); }
};

TEST_F(LogTest, EveryLineOfTheProcessCarriesWhatGoesOn) {
    set_log_context({"reef", "12", "3", ""});
    log_info("event", {{"detail", "a b"}});
    EXPECT_NE(last().find("info test event detail=\"a b\" run=reef step=12 attempt=3"), std::string::npos) << last();
    std::thread([] { log_warn("other_thread"); }).join();
    EXPECT_NE(last().find("other_thread run=reef step=12 attempt=3"), std::string::npos) << last();
}

TEST_F(LogTest, TheNearestWordWins) {
    set_log_context({"reef", "12", "", ""});
    LogScope outer({"atoll", "4", "", ""});
    {
        LogScope inner({"", "5", "2", "0a1b2c3d"});
        log_info("event", {{"attempt", "9"}});
    }
    EXPECT_TRUE(last().ends_with("event attempt=9 step=5 peer=0a1b2c3d run=atoll")) << last();
    log_info("event");
    EXPECT_TRUE(last().ends_with("event run=atoll step=4")) << last();
}

TEST_F(LogTest, AScopeIsOfItsThreadAlone) {
    LogScope scope({"reef", "1", "", ""});
    std::thread([] { log_info("elsewhere"); }).join();
    EXPECT_EQ(last().find("run="), std::string::npos) << last();
}

TEST_F(LogTest, AsJsonALineIsOneObject) {
    configure_log(LogLevel::info, "node", LogFormat::json);
    set_log_context({"reef", "12", "", ""});
    log_warn("event", {{"text", "he said \"no\"\nand left\\"}});
    auto json = nlohmann::json::parse(last(), nullptr, false);
    ASSERT_TRUE(json.is_object()) << last();
    EXPECT_EQ(json["level"], "warning");
    EXPECT_EQ(json["program"], "node");
    EXPECT_EQ(json["event"], "event");
    EXPECT_EQ(json["text"], "he said \"no\" and left\\");
    EXPECT_EQ(json["run"], "reef");
    EXPECT_EQ(json["step"], "12");
    EXPECT_FALSE(json.contains("attempt"));
}

TEST_F(LogTest, KeepsTheNewestLinesAndCountsAll) {
    const auto before = log_counts()[static_cast<std::size_t>(LogLevel::warn)];
    for (std::size_t i = 0; i < kRecentLogLines + 10; ++i) log_warn("many", {{"i", std::to_string(i)}});
    auto lines = recent_log_lines();
    EXPECT_EQ(lines.size(), kRecentLogLines);
    EXPECT_NE(lines.back().find("i=" + std::to_string(kRecentLogLines + 9)), std::string::npos);
    EXPECT_EQ(log_counts()[static_cast<std::size_t>(LogLevel::warn)], before + kRecentLogLines + 10);
    log_debug("below the level");
    EXPECT_EQ(recent_log_lines().back(), lines.back());
}

}  // namespace
}  // namespace skerry
