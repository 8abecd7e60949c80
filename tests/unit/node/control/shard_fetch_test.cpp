#include "node/control/shard_fetch.hpp"

#include <fstream>

#include "protocol/identity/hash.hpp"
#include "tests/support/store_run.hpp"
#include "tests/unit/node/control/coordinator_fixture.hpp"

namespace skerry::node::testing {
namespace {

namespace fs = std::filesystem;

class ShardTest : public CoordinatorTest {
  protected:
    ShardTest() : data(1'300'000) {
        for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i * 7 + (i >> 9));
        shard = {sha256(data), data.size()};
    }
    /// Gives blocks; hangs up after `blocks` of them, each time. Damages block `damaged` once.
    void serve(int blocks = 1000, int damaged = -1) {
        listen([this, blocks, damaged](ControlStream& stream) -> Task<> {
            for (int i = 0; i < blocks; ++i) {
                auto ask = co_await stream.receive();
                if (!ask) co_return;
                auto get = std::get<ShardGet>(ask->body);
                ++asked;
                ControlMessage answer;
                ShardBlock block{get.shard, get.offset, {}};
                block.data.assign(data.begin() + static_cast<std::ptrdiff_t>(get.offset),
                                  data.begin() + static_cast<std::ptrdiff_t>(get.offset + get.bytes));
                if (asked == damaged) block.data[5] ^= 1;
                answer.body = std::move(block);
                auto sent = co_await stream.send(std::move(answer));
                if (!sent) co_return;
            }
        });
    }
    Result<fs::path> fetch() {
        ShardFetchConfig config;
        config.retry_after = 10ms;
        ShardFetch one(io.get_executor(), disk.get_executor(), peer(), folder.path(), RunId{}, config);
        std::optional<Result<fs::path>> out;
        tasks.spawn(collect(one, out));
        until([&] { return out.has_value(); });
        corrupted = one.corrupted();
        fetched = one.fetched_bytes();
        return out.value_or(fail(Errc::timed_out, "no answer"));
    }
    Task<> collect(ShardFetch& one, std::optional<Result<fs::path>>& out) {
        auto result = co_await one.fetch(shard);
        out.emplace(std::move(result));
    }

    test::TemporaryFolder folder;
    Bytes data;
    ShardInfo shard;
    int asked = 0;
    std::uint64_t corrupted = 0;
    std::uint64_t fetched = 0;
};

TEST_F(ShardTest, AShardComesOnceAndIsThenInTheCache) {
    serve();
    auto first = fetch();
    ASSERT_TRUE(first) << first.error().detail;
    EXPECT_TRUE(ShardFetch::verify_file(*first, shard));
    EXPECT_EQ(fetched, data.size());
    auto second = fetch();
    ASSERT_TRUE(second);
    EXPECT_EQ(fetched, 0U);
    EXPECT_EQ(connections, 1);
}

TEST_F(ShardTest, ALostConnectionCostsOnlyWhatIsMissing) {
    serve(1);
    auto path = fetch();
    ASSERT_TRUE(path) << path.error().detail;
    EXPECT_GE(connections, 3);
    EXPECT_EQ(fetched, data.size());
}

TEST_F(ShardTest, AnEarlierPartIsGoneOnWith) {
    std::ofstream part(folder.path() / (shard.sha256.hex() + ".part"), std::ios::binary);
    part.write(reinterpret_cast<const char*>(data.data()), 1'000'000);
    part.close();
    serve();
    ASSERT_TRUE(fetch());
    EXPECT_EQ(fetched, data.size() - 1'000'000);
}

TEST_F(ShardTest, ACorruptedFileIsFetchedAgain) {
    serve();
    auto path = fetch();
    ASSERT_TRUE(path);
    test::flip_byte(*path, 777);
    auto again = fetch();
    ASSERT_TRUE(again);
    EXPECT_EQ(corrupted, 1U);
    EXPECT_TRUE(ShardFetch::verify_file(*again, shard));
}

TEST_F(ShardTest, AShardDamagedOnTheWayIsFetchedAgain) {
    serve(1000, 2);
    auto path = fetch();
    ASSERT_TRUE(path) << path.error().detail;
    EXPECT_EQ(corrupted, 1U);
    EXPECT_TRUE(ShardFetch::verify_file(*path, shard));
}

TEST_F(ShardTest, ARefusalIsSaidAsItIs) {
    listen([](ControlStream& stream) -> Task<> {
        co_await stream.receive();
        ControlMessage answer;
        answer.body = Refusal{Errc::not_found, "no such shard", "push it", 0};
        co_await stream.send(std::move(answer));
        co_await stream.receive();
    });
    auto path = fetch();
    ASSERT_FALSE(path);
    EXPECT_EQ(path.error().code, Errc::not_found);
}

}  // namespace
}  // namespace skerry::node::testing
