// Hours, days and bytes of a day, on a clock of the test's own.

#include "node/app/owner_rules.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "node/config/node_toml.hpp"
#include "node/config/toml_edit.hpp"

namespace skerry::node {
namespace {

struct OwnerRulesTest : ::testing::Test {
    OwnerRulesTest() {
        ::setenv("TZ", "UTC", 1);
        ::tzset();
    }
    /// Of the week of Monday, 7 December 2026.
    static Wall at(int day, int hour, int minute = 0) {
        using namespace std::chrono;
        return sys_days(2026y / December / 7) + days(day) + hours(hour) + minutes(minute);
    }
    static WeekHours week(const std::vector<std::string>& texts) { return WeekHours::parse(texts).value(); }
    OwnerRules rules;
};

TEST_F(OwnerRulesTest, NothingIsSaidSoItWorks) { EXPECT_EQ(rules.look(at(0, 3)), PauseState{}); }

TEST_F(OwnerRulesTest, HoursOverMidnightBelongToTheDayTheyBeginOn) {
    rules.set(week({"fri 22:00-07:00", "sun"}), 0);
    EXPECT_EQ(rules.look(at(4, 21, 59)).reason, PauseReason::schedule);
    EXPECT_EQ(rules.look(at(4, 21, 59)).until, at(4, 22));
    EXPECT_EQ(rules.look(at(4, 22)).reason, PauseReason::none);
    EXPECT_EQ(rules.look(at(5, 6, 59)).reason, PauseReason::none);
    EXPECT_EQ(rules.look(at(5, 7)).until, at(6, 0));
    EXPECT_EQ(rules.look(at(6, 12)).reason, PauseReason::none);
    EXPECT_EQ(rules.look(at(7, 0)).until, at(11, 22)) << "over the end of the week";
}

TEST_F(OwnerRulesTest, APauseEndsWhenItsTimeIsUpAndOutlivesTheProcess) {
    rules.pause(at(0, 12));
    EXPECT_EQ(to_text(rules.look(at(0, 10)), at(0, 10)), "paused(user) until 12:00");
    OwnerRules next;
    next.restore(rules.to_json());
    EXPECT_EQ(next.look(at(0, 11, 59)).reason, PauseReason::user);
    EXPECT_EQ(next.look(at(0, 12)).reason, PauseReason::none);
    next.resume();
    EXPECT_EQ(next.look(at(0, 11)).reason, PauseReason::none);
}

TEST_F(OwnerRulesTest, TheDaysBytesHoldUntilMidnightAndOutliveTheProcess) {
    rules.set(WeekHours{}, 1000);
    rules.note_transfer(999, at(0, 23));
    EXPECT_EQ(rules.look(at(0, 23)).reason, PauseReason::none);
    OwnerRules next;
    next.set(WeekHours{}, 1000);
    next.restore(rules.to_json());
    next.note_transfer(1, at(0, 23, 30));
    EXPECT_EQ(next.look(at(0, 23, 30)), (PauseState{PauseReason::transfer, at(1, 0)}));
    EXPECT_EQ(next.look(at(1, 0)).reason, PauseReason::none);
    EXPECT_EQ(next.transferred(at(1, 0)), 0U);
}

TEST_F(OwnerRulesTest, ADamagedFileIsAnEmptyOne) {
    for (const char* text : {"", "{", "[]", R"({"schema":"other"})", R"({"schema":"skerry.owner/1","paused":1,"bytes":-5,"day":7,"paused_until":"x"})"}) {
        OwnerRules fresh;
        fresh.restore(text);
        EXPECT_EQ(fresh.look(at(0, 0)).reason, PauseReason::none) << text;
    }
}

TEST(WeekHours, WhatIsNoTimeIsRefused) {
    for (const char* text : {"", "22-07", "25:00-07:00", "12:00-12:00", "mon 1:00-02:00", "mon-xyz", "sat, sun", "24:00-08:00", "mon tue"})
        EXPECT_FALSE(WeekHours::parse({text})) << text;
    EXPECT_TRUE(WeekHours::parse({"00:00-24:00"}).value().always());
    EXPECT_TRUE(WeekHours::parse({"fri-mon", "tue,wed,thu"}).value().always());
}

TEST(TomlEdit, CommentsAndOrderStay) {
    const std::string before = "# mine\nname = \"a\"\n\n[limits]\nup = \"1Mbit\"   # the line of the house\nscrub_every = \"24h\"\n\n[metrics]\nlisten = \"none\"\n";
    std::string text = with_toml_value(before, "limits", "up", "\"2Mbit\"");
    EXPECT_NE(text.find("up = \"2Mbit\"   # the line of the house\n"), std::string::npos);
    EXPECT_NE(text.find("# mine\n"), std::string::npos);
    text = with_toml_value(text, "limits", "down", "\"3Mbit\"");
    EXPECT_NE(text.find("scrub_every = \"24h\"\ndown = \"3Mbit\"\n\n[metrics]"), std::string::npos) << text;
    text = with_toml_value(text, "schedule", "hours", "[\"sat\"]");
    EXPECT_NE(text.find("\n[schedule]\nhours = [\"sat\"]\n"), std::string::npos);
    EXPECT_EQ(with_toml_value(with_toml_value(with_toml_value(text, "limits", "up", "\"1Mbit\""), "limits", "down", ""), "schedule", "hours", ""),
              before + "\n[schedule]\n");
    EXPECT_EQ(with_toml_value("[schedule]\nhours = [\n  \"sat\",  # [one\n  \"sun\",\n]\n", "schedule", "hours", "[\"mon\"]"), "[schedule]\nhours = [\"mon\"]\n");
}

TEST(NodeToml, LimitsAreReadAndWhatIsWrongIsNamedWithItsLine) {
    const std::string top = "schema = \"skerry.node/1\"\nname = \"a\"\n";
    auto good = parse_node_toml(top + "[limits]\nup = \"2Mbit\"\nthreads = 3\ndaily_transfer = \"30GiB\"\n[schedule]\nhours = [\"22:00-07:00\"]\n", "node.toml");
    ASSERT_TRUE(good) << good.error().detail;
    EXPECT_EQ(good->up, "2Mbit");
    EXPECT_EQ(good->threads, 3);
    auto again = parse_node_toml(to_text(*good), "node.toml");
    ASSERT_TRUE(again) << again.error().detail;
    EXPECT_EQ(to_text(*again), to_text(*good));
    for (const char* bad : {"[limits]\nup = \"2MiB\"\n", "[limits]\nup = 5\n", "[limits]\ndaily_transfer = \"lots\"\n", "[schedule]\nhours = [\"evening\"]\n"}) {
        auto read = parse_node_toml(top + bad, "node.toml");
        ASSERT_FALSE(read) << bad;
        EXPECT_EQ(read.error().code, Errc::config_invalid);
        EXPECT_EQ(read.error().detail.rfind("node.toml:4:", 0), 0U) << read.error().detail;
    }
}

}  // namespace
}  // namespace skerry::node
