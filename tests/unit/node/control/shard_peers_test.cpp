// Data shards from other nodes: who is asked, who is passed over, and when the coordinator gives them itself.

#include <algorithm>
#include <deque>
#include <fstream>
#include <set>

#include "node/control/shard_fetch.hpp"
#include "protocol/identity/hash.hpp"
#include "protocol/wire/limits.hpp"
#include "tests/support/store_run.hpp"
#include "tests/unit/node/control/coordinator_fixture.hpp"

namespace skerry::node::testing {
namespace {

namespace fs = std::filesystem;

NodeId peer_named(std::uint8_t n) {
    NodeId out;
    out.bytes.fill(n);
    return out;
}

/// Nodes that do as they are told.
struct FakePeers : ShardPeers {
    enum class Kind : std::uint8_t { good, bad, silent, gone, later, down };
    FakePeers(asio::any_io_executor executor, const Bytes& bytes) : io(executor), data(bytes) {}
    bool is_up(const NodeId& peer) const override { return kinds.at(peer) != Kind::down; }
    Task<Result<Bytes>> get(NodeId peer, Digest, std::uint32_t block, std::chrono::milliseconds patience) override {
        asked.push_back({peer, block});
        asio::steady_timer timer(io, kinds.at(peer) == Kind::silent ? patience : 1ms);
        co_await timer.async_wait(no_throw);
        switch (kinds.at(peer)) {
            case Kind::silent: co_return fail(Errc::timed_out, "");
            case Kind::gone: co_return fail(Errc::not_found, "");
            case Kind::later: co_return fail(Errc::bad_state, "");
            default: break;
        }
        const std::size_t from = std::size_t{block} * kMaxShardBlockBytes;
        Bytes out(data.begin() + static_cast<std::ptrdiff_t>(from),
                  data.begin() + static_cast<std::ptrdiff_t>(std::min(data.size(), from + kMaxShardBlockBytes)));
        if (kinds.at(peer) == Kind::bad) out[7] ^= 1;
        co_return out;
    }
    asio::any_io_executor io;
    const Bytes& data;
    std::map<NodeId, Kind> kinds;
    std::vector<std::pair<NodeId, std::uint32_t>> asked;
};

class ShardPeersTest : public CoordinatorTest {
  protected:
    using Kind = FakePeers::Kind;
    ShardPeersTest() : data(3 * kMaxShardBlockBytes + 1000), peers(io.get_executor(), data) {
        for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::uint8_t>(i * 7 + (i >> 9));
        shard = {sha256(data), data.size()};
        for (std::size_t at = 0; at < data.size(); at += kMaxShardBlockBytes) {
            const Digest hash = sha256(ByteSpan(data).subspan(at, std::min(kMaxShardBlockBytes, data.size() - at)));
            hashes.insert(hashes.end(), hash.bytes.begin(), hash.bytes.end());
        }
        config.retry_after = 10ms;
        config.peer_patience = 100ms;
        config.link_patience = 100ms;
        config.later_pause = 5ms;
    }
    /// Names all peers that did not fail; gives blocks itself when nobody is left.
    void serve() {
        listen([this](ControlStream& stream) -> Task<> {
            for (;;) {
                auto ask = co_await stream.receive();
                if (!ask) co_return;
                auto get = std::get<ShardGet>(ask->body);
                EXPECT_TRUE(get.ask || peers_off);
                ControlMessage answer;
                ShardSources sources{get.shard, {}, hashes, 50};
                for (const auto& [peer, kind] : peers.kinds)
                    if (std::find(get.failed.begin(), get.failed.end(), peer) == get.failed.end()) sources.nodes.push_back(peer);
                failed.insert(get.failed.begin(), get.failed.end());
                ++questions;
                if (get.ask && !sources.nodes.empty() && (gives_after == 0 || questions < gives_after)) {
                    answer.body = std::move(sources);
                } else {
                    ++given;
                    answer.body = ShardBlock{get.shard, get.offset, Bytes(data.begin() + static_cast<std::ptrdiff_t>(get.offset),
                                                                          data.begin() + static_cast<std::ptrdiff_t>(get.offset + get.bytes))};
                }
                auto sent = co_await stream.send(std::move(answer));
                if (!sent) co_return;
            }
        });
    }
    Result<fs::path> fetch() {
        fetcher.emplace(io.get_executor(), disk.get_executor(), peer(), folder.path(), RunId{}, config);
        fetcher->set_files({shard}, {});
        fetcher->set_peers(&peers);
        std::optional<Result<fs::path>> out;
        tasks.spawn(collect(out));
        until([&] { return out.has_value(); });
        return out.value_or(fail(Errc::timed_out, "no answer"));
    }
    Task<> collect(std::optional<Result<fs::path>>& out) {
        auto result = co_await fetcher->fetch(shard);
        out.emplace(std::move(result));
    }
    void expect_whole() {
        serve();
        auto path = fetch();
        ASSERT_TRUE(path) << path.error().detail;
        EXPECT_TRUE(ShardFetch::verify_file(*path, shard));
        EXPECT_EQ(fetcher->bitmap(), Bytes{1});
        EXPECT_EQ(fetcher->look(shard.sha256)->here, shard.bytes);
        EXPECT_FALSE(fetcher->look(Digest{}));
    }

    test::TemporaryFolder folder;
    Bytes data;
    ShardInfo shard;
    Bytes hashes;
    FakePeers peers;
    ShardFetchConfig config;
    std::optional<ShardFetch> fetcher;
    std::set<NodeId> failed;
    int given = 0;
    int questions = 0;
    int gives_after = 0;  ///< questions; 0: as long as somebody is left, never
    bool peers_off = false;
};

TEST_F(ShardPeersTest, AllOfItComesFromOthersInTurn) {
    for (std::uint8_t n : {1, 2}) peers.kinds[peer_named(n)] = Kind::good;
    expect_whole();
    EXPECT_EQ(given, 0);
    EXPECT_EQ(connections, 1);
    EXPECT_EQ(fetcher->from_peers_bytes(), shard.bytes);
    std::set<NodeId> asked;
    for (const auto& [peer, block] : peers.asked) asked.insert(peer);
    EXPECT_EQ(asked.size(), 2U);
}

TEST_F(ShardPeersTest, WhoGivesAWrongBlockIsAskedOnce) {
    peers.kinds[peer_named(1)] = Kind::bad;
    peers.kinds[peer_named(2)] = Kind::good;
    expect_whole();
    EXPECT_EQ(given, 0);
    EXPECT_EQ(fetcher->corrupted(), 1U);
    EXPECT_EQ(std::count_if(peers.asked.begin(), peers.asked.end(), [](const auto& a) { return a.first == peer_named(1); }), 1);
}

TEST_F(ShardPeersTest, WithNobodyLeftTheCoordinatorGivesIt) {
    peers.kinds[peer_named(1)] = Kind::bad;
    peers.kinds[peer_named(2)] = Kind::silent;
    peers.kinds[peer_named(3)] = Kind::gone;
    peers.kinds[peer_named(4)] = Kind::down;
    expect_whole();
    EXPECT_EQ(failed.size(), 4U);
    EXPECT_EQ(given, 4);
    EXPECT_EQ(fetcher->from_peers_bytes(), 0U);
}

TEST_F(ShardPeersTest, WhoHasNotGotItYetIsAskedAgainAndTheCoordinatorNowAndThen) {
    peers.kinds[peer_named(1)] = Kind::later;
    gives_after = 3;
    expect_whole();
    EXPECT_TRUE(failed.empty()) << "to be late is no failure";
    EXPECT_GE(peers.asked.size(), 4U);
    EXPECT_EQ(given, 4);
}

TEST_F(ShardPeersTest, APartThatEndsWithinABlockGoesBackToItsBeginning) {
    std::ofstream part(folder.path() / (shard.sha256.hex() + ".part"), std::ios::binary);
    part.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(kMaxShardBlockBytes + 77));
    part.close();
    peers.kinds[peer_named(1)] = Kind::good;
    expect_whole();
    EXPECT_EQ(fetcher->fetched_bytes(), shard.bytes - kMaxShardBlockBytes);
}

TEST_F(ShardPeersTest, WithoutHashesAWrongBlockIsFoundAtTheEndAndAllComesFromTheCoordinator) {
    hashes.clear();
    peers_off = true;
    peers.kinds[peer_named(1)] = Kind::bad;
    expect_whole();
    EXPECT_EQ(given, 4);
    EXPECT_EQ(fetcher->corrupted(), 1U);
}

}  // namespace
}  // namespace skerry::node::testing
