#include "protocol/config/strict_toml.hpp"

#include <gtest/gtest.h>

#include "protocol/config/quantity.hpp"

namespace skerry {
namespace {

constexpr const char* kFile = R"(schema = "skerry.test/1"
name = "x"
[sync]
local_steps = 40
outer = { name = "nesterov", lr = 0.7 }
deadline = "60s"
[limits]
disk = "8GiB"
list = ["a", "b"]
)";

std::string error_of(std::string_view text) {
    auto toml = StrictToml::parse(text, "t.toml");
    if (!toml) return toml.error().detail;
    toml->expect_schema("skerry.test/1");
    toml->root().text("name", "");
    auto sync = toml->section("sync");
    sync.integer("local_steps", 1, 1, 100);
    sync.duration("deadline", Millis(0));
    auto outer = toml->section("sync.outer");
    outer.text("name", "");
    outer.number("lr", 0, 0, 10);
    auto limits = toml->section("limits");
    limits.size("disk", 0);
    limits.texts("list");
    auto done = toml->finish();
    return done ? "" : done.error().detail;
}

TEST(StrictToml, ReadsEveryKindOfValue) {
    auto toml = StrictToml::parse(kFile, "t.toml");
    ASSERT_TRUE(toml);
    auto sync = toml->section("sync");
    EXPECT_EQ(sync.integer("local_steps", 1, 1, 100), 40);
    EXPECT_EQ(sync.duration("deadline", Millis(0)), Millis(60000));
    EXPECT_EQ(toml->section("sync.outer").number("lr", 0, 0, 10), 0.7);
    EXPECT_EQ(toml->section("limits").size("disk", 0), 8 * kGiB);
    EXPECT_EQ(toml->section("limits").texts("list"), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(toml->section("none").text("nothing", "default"), "default");
    EXPECT_EQ(error_of(kFile), "");
}

TEST(StrictToml, AnUnknownKeyIsNamedWithItsLineAndTheKeyThatWasMeant) {
    std::string text = std::string(kFile) + "dsik = 1\n";
    EXPECT_EQ(error_of(text), "t.toml:10: unknown key 'dsik' in [limits]; did you mean 'disk'?");
    EXPECT_EQ(error_of("schema = \"skerry.test/1\"\n[sync.outer]\nmomentun = 1\n"),
              "t.toml:3: unknown key 'momentun' in [sync.outer]");
    EXPECT_EQ(error_of("schema = \"skerry.test/1\"\nlocal_steps = 1\n"),
              "t.toml:2: unknown key 'local_steps' at the top; it belongs in [sync]");
    EXPECT_EQ(error_of("schema = \"skerry.test/1\"\n[limit]\na = 1\n"),
              "t.toml:2: unknown section [limit]; did you mean 'limits'?");
}

TEST(StrictToml, TheFirstErrorByLineIsReported) {
    EXPECT_EQ(error_of("schema = \"skerry.test/1\"\n[sync]\nlocal_steps = 0\nx = 1\n"),
              "t.toml:3: 'local_steps' in [sync]: expected a whole number from 1 to 100");
    EXPECT_NE(error_of("schema = \"skerry.test/1\"\n[sync]\ndeadline = 5\n").find("t.toml:3: 'deadline'"),
              std::string::npos);
    EXPECT_NE(error_of("schema = \"skerry.test/2\"\n").find("this program reads"), std::string::npos);
    EXPECT_NE(error_of("schema = \n").find("t.toml:1: "), std::string::npos);
}

TEST(StrictToml, ATableIsGivenAsJsonOfTheKnownKeys) {
    auto toml = StrictToml::parse("[model]\nhidden_size = 128\neps = 1e-5\ntied = true\nother = 1\n", "t.toml");
    ASSERT_TRUE(toml);
    auto json = toml->section("model").to_json({"hidden_size", "eps", "tied", "absent"});
    EXPECT_NE(json.find("\"hidden_size\""), std::string::npos);
    EXPECT_EQ(json.find("other"), std::string::npos);
    EXPECT_EQ(toml->finish().error().detail, "t.toml:5: unknown key 'other' in [model]");
}

TEST(Quantity, ReadsAndWritesPeoplesUnits) {
    EXPECT_EQ(*parse_duration("1h30min"), Millis(5'400'000));
    EXPECT_EQ(*parse_duration("500ms"), Millis(500));
    EXPECT_FALSE(parse_duration("10"));
    EXPECT_FALSE(parse_duration(""));
    EXPECT_FALSE(parse_duration("99999999999999999999d"));
    EXPECT_EQ(*parse_size("20MiB"), 20 * kMiB);
    EXPECT_EQ(*parse_size("1000"), 1000U);
    EXPECT_FALSE(parse_size("8 XB"));
    EXPECT_EQ(to_duration_text(Millis(125'000)), "2 min 5 s");
    EXPECT_EQ(to_size_text(1536 * kMiB), "1.50 GiB");
    EXPECT_EQ(to_count_text(61234), "61.2 k");
}

}  // namespace
}  // namespace skerry
