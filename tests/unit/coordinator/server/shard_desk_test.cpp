#include "coordinator/shards/shard_desk.hpp"

#include <gtest/gtest.h>

#include <string>

#include "protocol/wire/limits.hpp"

namespace skerry::coordinator {
namespace {

struct ShardDeskTest : testing::Test {
    static constexpr std::uint64_t kSize = 1000;
    Digest x = named<Digest>(1);
    Digest y = named<Digest>(2);
    ShardDesk desk{{{x, kSize}, {y, kSize}}};
    Mono now{Millis(1'000'000)};

    template <class Id>
    static Id named(std::uint8_t n) {
        Id out;
        out.bytes.fill(n);
        return out;
    }
    static NodeId node(std::uint8_t n) { return named<NodeId>(n); }
    ShardDesk::Answer ask(std::uint8_t n, std::vector<NodeId> failed = {}) { return desk.ask(x, node(n), failed, now); }
    void give(std::uint8_t n, std::uint64_t from, std::uint64_t to) { desk.sent(x, node(n), to - from, to, now); }
};

TEST_F(ShardDeskTest, OneIsServedAndTheOthersAskIt) {
    EXPECT_TRUE(ask(1).serve);
    for (std::uint8_t n = 2; n < 10; ++n) {
        const auto answer = ask(n);
        EXPECT_FALSE(answer.serve);
        ASSERT_FALSE(answer.sources.empty());
        EXPECT_EQ(answer.sources.front(), node(1));
        EXPECT_EQ(std::count(answer.sources.begin(), answer.sources.end(), node(n)), 0);
    }
    give(1, 0, 500);
    EXPECT_TRUE(ask(1).serve) << "who is served goes on being served";
    EXPECT_TRUE(desk.ask(y, node(2), {}, now).serve) << "another shard, another seat";
    EXPECT_TRUE(desk.ask(named<Digest>(9), node(2), {}, now).serve) << "not of this run: for the store to refuse";
}

TEST_F(ShardDeskTest, WhoHoldsItIsAskedFromThenOn) {
    EXPECT_TRUE(ask(1).serve);
    give(1, 0, kSize);
    now += Millis(30'000);  // it reads all of it to check the hash
    EXPECT_FALSE(ask(2).serve);
    desk.report(node(1), Bytes{0b01});
    now += Millis(3'600'000);
    EXPECT_EQ(ask(2).sources, std::vector<NodeId>{node(1)});
    desk.report(node(1), Bytes{0b10});
    EXPECT_TRUE(ask(2).serve) << "it lost that one";
}

TEST_F(ShardDeskTest, ADeadHolderIsNotWaitedFor) {
    EXPECT_TRUE(ask(1).serve);
    give(1, 0, 300);
    EXPECT_FALSE(ask(2).serve);
    desk.gone(node(1));
    EXPECT_TRUE(ask(2).serve);
    EXPECT_FALSE(ask(3).serve);
    now += Millis(11'000);  // 2 hangs: its session stands, it asks for nothing
    EXPECT_TRUE(ask(3).serve);
}

TEST_F(ShardDeskTest, WhomNobodyElseServesIsServed) {
    for (std::uint8_t n : {1, 2}) desk.report(node(n), Bytes{0b01});
    EXPECT_FALSE(ask(3).serve);
    EXPECT_EQ(ask(3, {node(1)}).sources, std::vector<NodeId>{node(2)});
    EXPECT_TRUE(ask(3, {node(1), node(2)}).serve);
}

TEST_F(ShardDeskTest, CountsWhatItSends) {
    EXPECT_EQ(desk.facts().most_copies, 0);
    (void)ask(1);
    give(1, 0, kSize);
    (void)ask(2);
    desk.gone(node(1));
    (void)ask(2);
    give(2, 500, kSize);
    const ShardFacts facts = desk.facts();
    EXPECT_EQ(facts.files, 2U);
    EXPECT_EQ(facts.sent_bytes, kSize + 500);
    EXPECT_DOUBLE_EQ(facts.most_copies, 1.5);
    EXPECT_EQ(facts.referred, 1U);
}

TEST_F(ShardDeskTest, NamesAFewOfMany) {
    for (std::uint8_t n = 1; n < 100; ++n) desk.report(node(n), Bytes{0b01});
    EXPECT_EQ(ask(200).sources.size(), kMaxShardSources);
    EXPECT_NE(ask(200).sources.front(), ask(201).sources.front()) << "each begins with another";
    desk.report(node(5), Bytes{});
    desk.report(node(6), Bytes(2000, 0xFF));  // more bits than files
}

TEST(FilesOfADataManifest, AreReadInTheirOrderOrNotAtAll) {
    const std::string a(64, 'a');
    const std::string b(64, 'b');
    auto parse = [](const std::string& json) { return files_of(Bytes(json.begin(), json.end())); };
    const auto files = parse(R"({"shards":[{"sha256":")" + b + R"(","bytes":7},{"sha256":")" + a + R"(","bytes":9}]})");
    ASSERT_EQ(files.size(), 2U);
    EXPECT_EQ(files[0].first.hex(), b);
    EXPECT_EQ(files[1].second, 9U);
    for (const char* bad : {"", "[]", "{}", R"({"shards":7})", R"({"shards":[{"sha256":"x","bytes":1}]})", R"({"shards":[{"bytes":1}]})"})
        EXPECT_TRUE(parse(bad).empty()) << bad;
}

}  // namespace
}  // namespace skerry::coordinator
